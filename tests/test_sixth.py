"""A paper more: the example of the page *Add a paper* joins a copy of the book and is at home."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "add_a_paper"
MAKE_README = """
import pathlib
from qmlbook.book import verdict_pages
page = pathlib.Path("README.md")
page.write_text(verdict_pages.with_papers_table(page.read_text("utf-8")), "utf-8")
"""
# Builds the pages with what the copy executed, and for the other chapters with what the book did.
BUILD = """
import sys
from pathlib import Path
from qmlbook.book import chapters
from qmlbook.book.site import build
root, other = Path.cwd(), Path(sys.argv[1])
folder = Path("_build", "executed", "quick")
executed = {name: other / folder / f"{name}.ipynb" for name in chapters.names(root)}
executed |= {path.stem: path for path in (root / folder).glob("*.ipynb")}
build._stage(root, root / "_build" / "site", executed, None, "")
build._render(root / "_build" / "site", root / "_build" / "html", "", print)
"""
# The tests that read the book as a whole.
WHOLE = ("api", "available", "claims", "export", "glossary", "report", "status")
TITLE = "Effect of data encoding on the expressive power"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Return a copy of the book to which the three things were added, and nothing else."""
    root = tmp_path_factory.mktemp("book")
    for name in ("src", "book", "data", "examples", "tests"):
        shutil.copytree(
            ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", ".pending")
        )
    for name in ("_config.yml", "README.md", "pyproject.toml", "requirements.lock"):
        shutil.copyfile(ROOT / name, root / name)
    shutil.copytree(EXAMPLE, root, dirs_exist_ok=True)
    contents = (ROOT / "_toc.yml").read_text("utf-8")
    after = "      - file: book/klssl\n"
    (root / "_toc.yml").write_text(contents.replace(after, f"{after}      - file: book/fourier\n"))
    return root


@pytest.fixture(scope="module")
def call(project):
    """Return a function that runs Python in the copy and gives back what it printed."""
    env = {key: value for key, value in os.environ.items() if key != "QMLBOOK_DATA"}
    env |= {"PYTHONPATH": str(project / "src"), "QMLBOOK_ROOT": str(project)}

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=project, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    return run


def test_the_example_is_a_folder_and_a_chapter():
    files = [path.relative_to(EXAMPLE).as_posix() for path in EXAMPLE.rglob("*") if path.is_file()]
    files = [name for name in files if "__pycache__" not in name]
    assert "book/fourier.md" in files
    room = "src/qmlbook/papers/fourier/"
    others = {name for name in files if not name.startswith(room)}
    assert others == {"book/fourier.md", "tests/vectors/fourier.json"}
    assert f"{room}claims.yml" in files
    assert f"{room}experiments.py" in files


@pytest.fixture(scope="module")
def swept(call):
    """Make the runs of the example; return what was said."""
    quick = call("-m", "qmlbook.cli", "sweep", "fourier", "--profile", "quick", "--workers", "1")
    return quick, call("-m", "qmlbook.cli", "sweep", "fourier", "--workers", "1")


@pytest.mark.nightly
def test_a_sixth_paper_needs_a_folder_and_gets_verdicts(call, swept):
    listed = call("-m", "qmlbook.cli", "chapters", "fourier", "--parameters")
    assert "encodings: int = 2" in listed
    quick, full = swept
    assert "21 of 21 runs made" in quick
    # The runs of the full profile that are the same need not be made again.
    assert "24 of 24 runs made" in full
    found = json.loads(call("-m", "qmlbook.cli", "report", "fourier", "--format", "json"))
    claims = {claim["claim"]: claim for claim in found}
    assert claims["F1"]["outcome"] == claims["F2"]["outcome"] == "reproduced"
    assert claims["F1"]["ours"]["checked"] > 100
    assert claims["F2"]["controls"] == "survives"
    assert claims["F2"]["ours"]["n"] == 8


@pytest.mark.nightly
@pytest.mark.timeout(1800)  # two minutes of one core, in processes that may have to wait for it
def test_a_sixth_paper_needs_a_chapter_and_a_line(project, call, swept, html):
    call("-m", "qmlbook.cli", "chapters", "fourier", "verdicts")
    executed = project / "_build" / "executed" / "quick"
    chapter = nbformat.read(executed / "fourier.ipynb", as_version=4)
    printed = "".join(
        output["text"]
        for cell in chapter.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream"
    )
    assert re.search(r"frequency 2: 0\.\d*[1-9]", printed)
    assert "frequency 3: 0.000" in printed
    verdicts = (executed / "verdicts.ipynb").read_text("utf-8")
    assert 'id=\\"verdicts-fourier\\"' in verdicts
    assert '<a href=\\"fourier.html\\">' in verdicts
    assert "{cite:t}`tran2025`" in verdicts
    assert "{cite:t}`schuld2021`" in verdicts

    # What the page calls generated: the reference of the chapter, and the README's table.
    call("-m", "qmlbook.cli", "check", "fourier", "--update")
    # The other pages that name papers are as before in what is compared.
    agreed = call("-m", "qmlbook.cli", "check", "fourier", "available", "status")
    assert agreed.count(": agrees") == 3
    call("-c", MAKE_README)
    whole = [f"tests/test_{name}.py" for name in WHOLE]
    assert " passed" in call(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *whole
    )
    table = "verdict_pages.papers_table(verdict_pages.README_LINK)"
    readme = f"from qmlbook.book import verdict_pages; print({table})"
    rows = call("-c", readme).splitlines()[2:]
    assert rows[1].startswith(f"| [{TITLE}")  # after the first chapter, as in the contents
    assert "](book/fourier.md) | 2 | 2 | 0 |" in rows[1]

    call("-c", BUILD, str(ROOT))
    pages = project / "_build" / "html" / "book"
    assert "frequency 3: 0.000" in (pages / "fourier.html").read_text("utf-8")
    assert 'href="fourier.html"' in (pages / "intro.html").read_text("utf-8")
