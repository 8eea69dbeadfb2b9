"""Write `requirements.lock`: versions for what `pyproject.toml` asks for, and their hashes.

And the same as `pylock.toml`, whose files lie in a folder `wheels` beside it, not at an address.

Versions that still fit are kept. Each package comes with the SHA-256 of every file that its index
has of that version, so one lock serves Linux, macOS and Windows. PyTorch is left to
`requirements-torch.lock`, and so are packages that belong to one build of it: that file says why.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parents[1]
LOCK, TORCH = ROOT / "requirements.lock", ROOT / "requirements-torch.lock"
PYLOCK = ROOT / "pylock.toml"
# Extras with an environment of their own: their packages are not needed here.
BESIDE = {"mlflow", "standards"}
TORCHS_OWN = re.compile(r"(torch|triton|(?:cuda|nvidia)-[\w-]+)==(\d[\w.]*)", re.MULTILINE)


def compiled(uv: str, *options: str) -> str:
    """Return what uv chooses for all extras, given the versions of today's lock."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = sorted(set(extras["optional-dependencies"]) - BESIDE)
    part = ROOT / ".lock.part"
    part.write_text(LOCK.read_text("utf-8") + TORCH.read_text("utf-8"), "utf-8")
    try:
        command = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
        command += [f"--extra={name}" for name in names]
        command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
        subprocess.run([*command, *options, "-o", part, "pyproject.toml"], check=True, cwd=ROOT)
        return part.read_text("utf-8")
    finally:
        part.unlink()


def pylock(uv: str) -> str:
    """Return the hashed lock in the form of PEP 751, with file names in the place of addresses."""
    part = ROOT / "pylock.part.toml"
    command = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--no-deps", "--no-header", "--generate-hashes", "--format", "pylock.toml"]
    try:
        subprocess.run([*command, "-o", part, LOCK], check=True, cwd=ROOT)
        made = part.read_text("utf-8")
    finally:
        part.unlink(missing_ok=True)
    return re.sub(
        r'url = "[^"]*/([^"/]+)"(, upload-time = [^,]*)?(, size = \d+)?',
        lambda found: f'path = "wheels/{unquote(found[1])}"',
        made,
    )


def comments(file: Path) -> str:
    """Return the lines at the top of a file that say what it is."""
    return "".join(re.findall(r"^#.*\n", file.read_text("utf-8"), re.MULTILINE))


def main(uv: str = "uv") -> None:
    """Write the files; ``uv`` is the program."""
    torchs_own = dict(TORCHS_OWN.findall(compiled(uv)))
    left_out = [f"--no-emit-package={name}" for name in torchs_own]
    hashed = compiled(uv, "--generate-hashes", *left_out)
    LOCK.write_text(comments(LOCK) + hashed, "utf-8")
    TORCH.write_text(f"{comments(TORCH)}torch=={torchs_own['torch']}\n", "utf-8")
    PYLOCK.write_text(comments(PYLOCK) + pylock(uv), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
