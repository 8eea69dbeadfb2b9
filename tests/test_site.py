"""Pages: built whole, from the very run that was stored, and the last good ones kept."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from bs4 import BeautifulSoup
from small_project import PARAMETERS, TINY, chapter, printed

from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.book.site import build as book

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("version", "message"),
    [("2.0.1", "Jupyter Book 2.0.1 is installed"), (None, "Jupyter Book is not installed")],
)
def test_only_jupyter_book_1_will_do(project, monkeypatch, version, message):
    def installed(name):
        if version is None:
            raise book.importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(book.importlib.metadata, "version", installed)
    with pytest.raises(QmlbookError, match=f"{message}, but the book needs version 1: pip"):
        project.build()
    assert not (project.root / "_build").exists()


@pytest.mark.parametrize("address", ["book.example", "https://", "ftp://book.example/", "/book/"])
def test_an_address_that_is_none_is_refused_before_anything_runs(project, monkeypatch, address):
    monkeypatch.setenv("QMLBOOK_URL", address)
    with pytest.raises(UsageError, match="QMLBOOK_URL"):
        project.build()
    assert not project.said


@pytest.mark.nightly
def test_pages_show_the_very_run_that_was_stored(project):
    index = project.build()
    assert index == project.root / "_build" / "html" / "index.html"
    (nonce,) = project.outputs("tiny")[2]
    page = index.parent / "book" / "tiny.html"
    assert nonce.strip() in page.read_text("utf-8")
    before = page.stat().st_mtime_ns

    project.said.clear()
    assert project.build() == index
    assert project.said[:2] == ["tiny: up to date", "book: up to date"]
    assert page.stat().st_mtime_ns == before
    assert project.outputs("tiny")[2] == [nonce]

    # A plain build writes over the pages; the book is then no longer the one that was built here.
    search = index.parent / "searchindex.js"
    mark = index.parent / ".fingerprint"
    os.utime(search, ns=(mark.stat().st_atime_ns, mark.stat().st_mtime_ns + 1))
    project.build()
    assert "book: building the pages" in project.said


@pytest.mark.parametrize(
    "address",
    [
        "example.org/a/b",
        "https://github.com/a",
        "https://github.com/a/b/c",
        "http://github.com/a/b",
        "https://gitlab.com/a/b",
        'https://github.com/a/b"; rm',
    ],
)
def test_only_an_address_on_github_will_do(project, address):
    with pytest.raises(UsageError, match=r"must be https://github\.com/OWNER/NAME"):
        project.build(repository=address)
    assert not (project.root / "_build").exists()


def buttons(page):
    """Return the links of a page's header and those behind the rocket: text -> address."""
    soup = BeautifulSoup(page.read_text("utf-8"), "html.parser")
    links = soup.select(".article-header-buttons a[href]")
    return {link.get_text(strip=True): link["href"] for link in links}


@pytest.mark.nightly
@pytest.mark.slow
def test_pages_offer_downloads_and_where_the_repository_is_known_colab_and_binder(project):
    html = project.build().parent
    tiny, before = html / "book" / "tiny.html", {}
    for page in ("book/tiny.html", "book/intro.html"):
        before[page] = (html / page).read_text("utf-8")
        assert not re.search("colab|mybinder|github.com/someone", before[page])
    assert not (project.root / "_build" / "notebooks").exists()
    offered = buttons(tiny)
    executed = nbformat.read(tiny.parent / offered[".ipynb, as executed"], as_version=4)
    assert printed(executed)[1] == ["product 6.0 in profile quick\n"]
    assert (tiny.parent / offered[".md, the source"]).read_text("utf-8") == TINY
    assert list(buttons(html / "book" / "intro.html")) == [".md"]

    project.build(repository="https://github.com/someone/some.book.git")
    offered = buttons(tiny)
    place = "someone/some.book"
    path = "notebooks/book/tiny.ipynb"  # on the branch called notebooks
    colab = f"https://colab.research.google.com/github/{place}/blob/notebooks/{path}"
    binder = f"https://mybinder.org/v2/gh/{place}/notebooks?urlpath=lab/tree/{path}"
    assert (offered["Colab"], offered["Binder"]) == (colab, binder)
    assert offered[".ipynb, as executed"].startswith("../_sources/")
    assert "Colab" not in buttons(html / "book" / "intro.html")  # nothing to run there
    twin = nbformat.read(project.root / "_build" / path, as_version=4)
    nbformat.validate(twin)
    assert (
        f'%pip install --quiet "qmlbook[hardware] @ git+https://github.com/{place}"'
        in twin.cells[0].source
    )
    source = jupytext.reads(TINY, fmt="md:myst")
    assert [cell.source for cell in twin.cells[1:]] == [cell.source for cell in source.cells]
    assert not any(cell.get("outputs") for cell in twin.cells)

    # The ordinary book is as if nothing had happened.
    project.build()
    assert {page: (html / page).read_text("utf-8") for page in before} == before
    assert not (project.root / "_build" / "notebooks").exists()


@pytest.mark.slow
def test_a_twin_runs_where_the_library_is_installed(project):
    book._write_twins(project.root, "https://github.com/someone/book")
    source = jupytext.writes(
        nbformat.read(project.root / "_build" / "notebooks" / "book" / "tiny.ipynb", as_version=4),
        fmt="md:myst",
    )
    project.chapters(twin=source)
    assert project.run()["twin"].ok, project.said
    install, _, product, *_ = project.outputs("twin")
    assert install == []  # nothing to install, nothing said
    assert product == ["product 6.0 in profile quick\n"]


@pytest.mark.nightly
def test_pages_name_the_address_that_is_given(project, monkeypatch):
    monkeypatch.setenv("QMLBOOK_URL", "https://book.example/rerun/")
    page = project.build().parent / "book" / "tiny.html"
    soup = BeautifulSoup(page.read_text("utf-8"), "html.parser")
    address = "https://book.example/rerun/"
    assert soup.find("link", rel="canonical")["href"] == f"{address}book/tiny.html"
    said = {tag["property"]: tag["content"] for tag in soup.select("meta[property^='og:']")}
    assert said["og:url"] == f"{address}book/tiny.html"
    assert said["og:image"].startswith(f"{address}_images/")


@pytest.mark.slow
def test_a_broken_build_leaves_the_last_good_book(project):
    project.build()
    page = project.root / "_build" / "html" / "book" / "intro.html"
    good = page.read_text("utf-8")
    project.write("book/intro.md", "# The new book\n\nSee {doc}`nowhere`.\n")
    with pytest.raises(QmlbookError, match="because of the errors and warnings above"):
        project.build()
    assert "nowhere" in project.said[-1]
    assert page.read_text("utf-8") == good

    project.write("book/intro.md", "# The new book\n")
    project.chapters(tiny=TINY.replace("scale * 3", "scale / 0"))
    with pytest.raises(QmlbookError, match="these chapters failed: tiny"):
        project.build()
    assert any("tiny: FAILED in code cell 2: ZeroDivisionError" in line for line in project.said)
    assert page.read_text("utf-8") == good

    project.chapters(tiny=TINY)
    project.build()
    assert "The new book" in page.read_text("utf-8")
    assert sorted(path.name for path in (project.root / "_build").iterdir()) == [
        ".lock",
        "executed",
        "html",
        "site",
    ]


@pytest.mark.nightly
def test_a_plain_jupyter_book_build_works_too_and_is_strict(project):
    def plain():
        program = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-c", program, "build", ".", "-W", "--keep-going", "-n"],
            cwd=project.root,
            env={**os.environ, "PYTHONPATH": str(project.root / "src")},
            capture_output=True,
            text=True,
        )

    # The library's own extension, beside the tiny library that the tiny chapter imports.
    extension = Path("src", "qmlbook", "book", "site", "sphinx_docstrings.py")
    for name in ("book/__init__.py", "book/site/__init__.py"):
        project.write(f"src/qmlbook/{name}", "")
    shutil.copyfile(ROOT / extension, project.root / extension)
    # Notebooks that lie about are none of its business.
    project.write("book/tiny.ipynb", "{}")
    project.write("_build/executed/quick/tiny.ipynb", "{}")
    good = plain()
    assert good.returncode == 0, good.stdout + good.stderr
    page = (project.root / "_build" / "html" / "book" / "tiny.html").read_text("utf-8")
    assert "product 6.0 in profile quick" in page
    warns = chapter("Tiny", ("parameters", PARAMETERS), "import sys\n\nprint('x', file=sys.stderr)")
    project.chapters(tiny=warns)
    red = plain()
    assert red.returncode
    assert "stderr was found in the cell outputs" in red.stderr
