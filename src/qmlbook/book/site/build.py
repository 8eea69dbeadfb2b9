"""The book: executed chapters and plain pages become a site (Jupyter Book 1.x).

The site is built from a staged copy, ``_build/site/``, in which the executed notebook stands in
the place of each chapter's source, so that a page shows exactly the run that was stored. Every
build starts from nothing (warnings of an earlier build would otherwise stay hidden) and takes the
place of the last good book only when it succeeded without a warning. Whatever stops a build, even
between the two renames that put a new book in place, the last good book is there for the next one.

Given the address of the repository, the pages also offer to open their chapter in Colab and
Binder. What these open are twins of the chapters, notebooks without outputs whose first cell
installs the library where it is missing. A build writes them to ``_build/notebooks/``, and whoever
publishes the book puts that folder, as ``notebooks/``, on the branch ``notebooks`` beside the files
of the book (``.github/workflows/book.yml`` does).
"""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from nbformat import NotebookNode, v4

from ...base import files, paths
from ...base.errors import QmlbookError, UsageError
from .. import chapters, doors, execute, notebooks
from . import sphinx_cards, sphinx_light, sphinx_pages

_HERE = Path(__file__).parent
#: What the pages have that neither Sphinx nor the theme gives them.
EXTENSIONS = (sphinx_pages, sphinx_cards, sphinx_light)
_JUPYTER_BOOK = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
_MARK = ".fingerprint"
_NEW, _OLD = ".new-", ".old"  # in _build: the book that is being made, the one that makes room
#: Branch of the repository with the twins of the chapters, and their folder on it and in _build/.
CATALOGUE = "papers.json"  # at the top of the book
TWINS = "notebooks"
#: Environment variable with the address where the book will be, for links to it from elsewhere.
ADDRESS = "QMLBOOK_URL"


def build(
    *,
    open_browser: bool = False,
    jobs: int = 2,
    repository: str | None = None,
    root: Path | None = None,
    echo: Callable[[str], object] = execute.say,
) -> Path:
    """Run the chapters that need it and build the book to ``_build/html/``, warnings as errors.

    Args:
        open_browser: show the book in the reader's browser.
        jobs: how many chapters run at a time.
        repository: address of the book on GitHub; with it, pages offer Colab and Binder.
        root: the checkout; by default :func:`qmlbook.base.paths.project_root`.
        echo: called with lines of progress.

    Returns:
        The book's ``index.html``.

    Raises:
        UsageError: for a ``repository`` that is not the address of one on GitHub, or if
            ``QMLBOOK_URL``, the address where the book will be, is not one.
        QmlbookError: if Jupyter Book 1.x is not installed, a chapter failed, a number in a text is
            not what the row says that it is linked to, the site has a warning or an error, or it
            cannot be written; the last good book then stays as it is.
    """
    root = root or paths.project_root()
    repository = _github(repository) if repository else None
    version = _require_jupyter_book()
    address = _address()
    folder = root / "_build"
    site, html = folder / "site", folder / "html"
    with files.locked(folder / ".lock"):
        _recover(folder)
        for remains in folder.glob(f"{_NEW}*"):  # of a build that was killed
            shutil.rmtree(remains, ignore_errors=True)
        results = execute.run(jobs=jobs, root=root, echo=echo)
        if bad := [result.name for result in results if not result.ok]:
            raise QmlbookError(
                f"The book was not built, because these chapters failed: {', '.join(bad)}."
            )
        with files.writing(folder):
            executed = {result.name: result.path for result in results if result.path}
            _stage(root, site, executed, repository, address)
            _write_twins(root, repository)
            fingerprint = _fingerprint(site, version)
            if _is_current(html, fingerprint):
                echo("book: up to date")
            else:
                if wrong := doors.check(root):
                    raise QmlbookError(" ".join(["The book was not built.", *wrong]))
                echo("book: building the pages")
                _render(site, html, fingerprint, echo)
    index = html / "index.html"
    if open_browser:
        webbrowser.open(index.as_uri())
    return index


def _require_jupyter_book() -> str:
    """Return the version of Jupyter Book; version 2 ignores ``_config.yml`` and ``_toc.yml``."""
    try:
        version = importlib.metadata.version("jupyter-book")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    if version.split(".")[0] == "1":
        return version
    state = f"Jupyter Book {version} is installed" if version else "Jupyter Book is not installed"
    raise QmlbookError(f"{state}, but the book needs version 1: pip install 'jupyter-book<2'.")


def _recover(folder: Path) -> None:
    """Put back the last good book if a build ended between two renames; else remove the old."""
    old, html = folder / _OLD, folder / "html"
    if old.exists() and not html.exists():
        old.replace(html)
    if old.exists():
        shutil.rmtree(old)


def _github(address: str) -> str:
    """Return the address of a GitHub repository without what may follow it."""
    repository = re.fullmatch(r"(https://github\.com/[\w.-]+/[\w.-]+?)(?:\.git)?/?", address)
    if not repository:
        raise UsageError(
            f"repository {address!r} must be https://github.com/OWNER/NAME: "
            "Colab opens notebooks from GitHub alone."
        )
    return repository[1]


def _address() -> str:
    """Return the address where the book will be, empty if nobody said."""
    address = os.environ.get(ADDRESS, "")
    if address and not re.fullmatch(r"https?://\S+/", address):
        raise UsageError(f"{ADDRESS} is {address!r} and must be like https://HOST/PATH/.")
    return address


def _stage(
    root: Path, site: Path, executed: Mapping[str, Path], repository: str | None, address: str
) -> None:
    """Write the folder the site is built from: pages, executed notebooks, a config of its own."""
    if site.exists():
        shutil.rmtree(site)
    unwanted = shutil.ignore_patterns(".*", "_build*", "*.ipynb")
    shutil.copytree(root / "book", site / "book", ignore=unwanted)
    for name, source in chapters.sources(root).items():
        page = source.relative_to(root)
        (site / page).unlink(missing_ok=True)
        notebook = notebooks.read(executed[name])
        notebook.metadata.pop("qmlbook", None)  # what it looked at is nothing for readers
        _write_catalogue(notebook, site / sphinx_pages.EXTRA)
        notebooks.write(notebook, site / page.with_suffix(".ipynb"))
        offered = site / sphinx_pages.EXTRA / sphinx_pages.DOWNLOADS / page
        offered.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, offered)
    if (examples := root / "examples").is_dir():  # the page on adding a paper shows one
        shutil.copytree(examples, site / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(root / "_toc.yml", site / "_toc.yml")
    config = _config(root, repository, address)
    (site / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")


def _write_catalogue(notebook: NotebookNode, folder: Path) -> None:
    """Write the catalogue of papers to the top of the book, if this chapter has it; in place."""
    for _, cell in notebooks.code_cells(notebook):
        for output in cell.outputs:
            if (found := output.get("data", {}).pop(notebooks.PAPERS, None)) is not None:
                text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
                folder.mkdir(parents=True, exist_ok=True)
                (folder / CATALOGUE).write_text(text, "utf-8")


def _config(root: Path, repository: str | None, address: str) -> dict[str, Any]:
    """Return the settings of Jupyter Book for the staged site."""
    config = chapters.from_yaml(chapters.read_text(root / "_config.yml"), "_config.yml")
    try:
        settings = config["sphinx"]["config"]
        settings["extensions"] = [
            *settings["extensions"],
            *(extension.__name__ for extension in EXTENSIONS),
        ]
    except (LookupError, TypeError):
        raise QmlbookError("_config.yml: sphinx, config, extensions must be a list.") from None
    settings["html_extra_path"] = [sphinx_pages.EXTRA]
    # The notebooks are executed already; the patterns that keep notebooks out of a plain build
    # of the sources would keep them out here.
    config |= {"execute": {"execute_notebooks": "off"}, "exclude_patterns": []}
    if repository:
        launch = files.fill(_HERE / "launch.yml", repository=repository, twins=TWINS)
        config |= yaml.safe_load(launch)
    if address:
        settings |= dict.fromkeys(("html_baseurl", "ogp_site_url"), address)
    return config


def _write_twins(root: Path, repository: str | None) -> None:
    """Write the notebooks that Colab and Binder open; without a repository there are none."""
    folder = root / "_build" / TWINS
    shutil.rmtree(folder, ignore_errors=True)
    if not repository:
        return
    for source in chapters.sources(root).values():
        file = folder / source.relative_to(root).with_suffix(".ipynb")
        notebooks.write(_twin(source, root, repository), file)


def _twin(source: Path, root: Path, repository: str) -> NotebookNode:
    """Return a chapter without outputs whose first cell installs the library if it is missing."""
    twin = chapters.read(source)
    first = files.fill(_HERE / "first_cell.txt", repository=repository)
    twin.cells.insert(0, v4.new_code_cell(first))
    notebooks.scrub(twin, root, {})
    return twin


def _fingerprint(site: Path, version: str) -> str:
    """Return the digest of a staged site and of the programs that build it."""
    staged = {path.relative_to(site).as_posix(): path for path in site.rglob("*")}
    parts = {name: path.read_bytes() for name, path in staged.items() if path.is_file()}
    parts |= {"": version.encode()}
    parts |= {module.__name__: Path(str(module.__file__)).read_bytes() for module in EXTENSIONS}
    digests = {name: files.sha256(content) for name, content in sorted(parts.items())}
    return files.sha256(json.dumps(digests).encode())


def _is_current(html: Path, fingerprint: str) -> bool:
    """Return whether a book was made from this and nobody (a plain build) wrote over it since."""
    mark, search = html / _MARK, html / "searchindex.js"
    return (
        mark.is_file()
        and search.is_file()
        and mark.read_text("utf-8") == fingerprint
        and search.stat().st_mtime_ns <= mark.stat().st_mtime_ns
    )


def _render(site: Path, html: Path, fingerprint: str, echo: Callable[[str], object]) -> None:
    """Build the site beside the last good book and, when it is good, put it in its place."""
    # A name of its own: the pages of a build that was killed may still be on their way.
    with tempfile.TemporaryDirectory(prefix=_NEW, dir=html.parent) as new:
        options = ["--path-output", new, "-W", "--keep-going", "-n", "--quiet"]
        process = subprocess.run(
            [sys.executable, "-c", _JUPYTER_BOOK, "build", site, *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if process.returncode:
            said, full = (process.stdout + process.stderr).strip(), os.strerror(errno.ENOSPC)
            if full in said:  # then every file has a warning of its own
                raise OSError(errno.ENOSPC, full)
            echo(said)
            raise QmlbookError("The book was not built, because of the errors and warnings above.")
        fresh = Path(new, "_build", "html")
        (fresh / _MARK).write_text(fingerprint, "utf-8")
        try:
            if html.exists():
                html.replace(html.with_name(_OLD))
            fresh.replace(html)
        finally:
            _recover(html.parent)
