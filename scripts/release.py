"""Make all that a release consists of in one new folder: `python scripts/release.py FOLDER`.

The wheel, the source distribution, the book as pages and as PDF, the run records as a crate, a bill
of materials of the locked environment, and the checksums of them all, which `sha256sum --check
SHA256SUMS` verifies anywhere. The bill is made by `cyclonedx-py` of the extra `standards`, which
has an environment of its own: put it on the path, or name its folder in `QMLBOOK_STANDARDS_BIN`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from qmlbook import __version__
from qmlbook.base import files
from qmlbook.base.command import exit_status
from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.book import pdf
from qmlbook.book.site import build
from qmlbook.evidence import crate

ROOT = Path(__file__).resolve().parents[1]
SUMS = "SHA256SUMS"


def packages(folder: Path) -> None:
    """Build wheel and source distribution of what git tracks, without a network."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    tracked = [name for name in listed.stdout.split("\0") if (ROOT / name).is_file() and name]
    if not tracked:
        raise QmlbookError("The packages cannot be built: this is no checkout of git.")
    with tempfile.TemporaryDirectory() as scratch:  # pending runs and the like stay here
        for name in tracked:
            target = Path(scratch, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
        command = [sys.executable, "-m", "hatchling", "build", "--directory", folder.resolve()]
        made = subprocess.run(command, cwd=scratch, capture_output=True, text=True)
    if made.returncode:
        raise QmlbookError(f"The packages cannot be built: {(made.stdout + made.stderr)[-300:]}")


def bill(folder: Path) -> None:
    """Write the bill of materials, CycloneDX, validated by the program that writes it."""
    own = os.environ.get("QMLBOOK_STANDARDS_BIN", "")
    program = shutil.which("cyclonedx-py", path=own or None)
    if program is None:
        raise QmlbookError(
            "cyclonedx-py is missing: install the extra standards into an environment of its own "
            "and name its folder of programs in QMLBOOK_STANDARDS_BIN."
        )
    command = [program, "requirements", "--validate", "--output-reproducible", "--of", "JSON"]
    command += ["-o", folder / f"qmlbook-{__version__}-sbom.cdx.json"]
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch, "requirements.txt")
        locks = [ROOT / "requirements.lock", ROOT / "requirements-torch.lock"]
        whole.write_text("".join(lock.read_text("utf-8") for lock in locks), "utf-8")
        made = subprocess.run([*command, whole], capture_output=True, text=True)
    if made.returncode:
        raise QmlbookError(f"The bill of materials cannot be written: {made.stderr[-300:]}")


def book(folder: Path) -> None:
    """Build the pages and the PDF."""
    pages = build.build().parent
    shutil.make_archive(str(folder / f"qmlbook-{__version__}-book"), "zip", pages)
    pdf.pdf(folder / f"qmlbook-{__version__}-book.pdf")


def records(folder: Path) -> None:
    """Write all run records as a crate, in one file."""
    with tempfile.TemporaryDirectory() as scratch:
        made = crate.write(None, Path(scratch, "crate"))
        shutil.make_archive(str(folder / f"qmlbook-{__version__}-records-crate"), "zip", made)


def checksums(folder: Path) -> None:
    """Write the checksums of all files."""
    lines = [
        f"{files.sha256(path.read_bytes())}  {path.name}\n"
        for path in sorted(folder.iterdir())
        if path.name != SUMS
    ]
    files.write(folder / SUMS, "".join(lines).encode())


PARTS = (packages, bill, records, book)


def release(folder: Path, parts: tuple = PARTS) -> None:
    """Make a release; a folder that cannot be finished is not left behind.

    Raises:
        UsageError: the folder exists.
        QmlbookError: a part cannot be made.
    """
    if folder.exists():
        raise UsageError(f"{folder} exists; name a new folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".release-") as scratch:
        (made := Path(scratch, "made")).mkdir()
        for part in parts:
            print(f"{part.__name__} ...", flush=True)
            part(made)
        checksums(made)
        made.replace(folder)
    print(f"The release is in {folder}")


def main() -> None:
    """Read the command line."""
    if len(sys.argv) != 2:
        raise UsageError("Name the folder of the release, and nothing else.")
    release(Path(sys.argv[1]).resolve())


if __name__ == "__main__":
    sys.exit(exit_status(main, "release", *sys.argv[1:]))
