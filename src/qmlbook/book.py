"""The book: executed chapters and plain pages become a site (Jupyter Book 1.x).

The site is built from a staged copy, ``_build/site/``, in which the executed notebook stands in
the place of each chapter's source, so that a page shows exactly the run that was stored. Every
build starts from nothing (warnings of an earlier build would otherwise stay hidden) and takes the
place of the last good book only when it succeeded without a warning.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from . import chapters, paths
from .errors import QmlbookError, UsageError

_JUPYTER_BOOK = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
_MARK = ".fingerprint"
#: Environment variable with the address where the book will be, for links to it from elsewhere.
ADDRESS = "QMLBOOK_URL"


def build(
    *,
    open_browser: bool = False,
    jobs: int = 2,
    root: Path | None = None,
    echo: Callable[[str], object] = chapters.say,
) -> Path:
    """Run the chapters that need it and build the book to ``_build/html/``, warnings as errors.

    Args:
        open_browser: show the book in the reader's browser.
        jobs: how many chapters run at a time.
        root: the checkout; by default :func:`qmlbook.paths.project_root`.
        echo: called with lines of progress.

    Returns:
        The book's ``index.html``.

    Raises:
        UsageError: if ``QMLBOOK_URL``, the address where the book will be, is not one.
        QmlbookError: if Jupyter Book 1.x is not installed, a chapter failed, or the site has a
            warning or an error; the last good book then stays as it is.
    """
    root = root or paths.project_root()
    version = _require_jupyter_book()
    address = _address()
    results = chapters.run(jobs=jobs, root=root, echo=echo)
    if bad := [result.name for result in results if not result.ok]:
        raise QmlbookError(
            f"The book was not built, because these chapters failed: {', '.join(bad)}."
        )
    site, html = root / "_build" / "site", root / "_build" / "html"
    _stage(root, site, {result.name: result.path for result in results}, address)
    fingerprint = _fingerprint(site, version)
    if _is_current(html, fingerprint):
        echo("book: up to date")
    else:
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
    found = f"Jupyter Book {version} is installed" if version else "Jupyter Book is not installed"
    raise QmlbookError(f"{found}, but the book needs version 1: pip install 'jupyter-book<2'.")


def _address() -> str:
    """Return the address where the book will be, empty if nobody said."""
    address = os.environ.get(ADDRESS, "")
    if address and not re.fullmatch(r"https?://\S+/", address):
        raise UsageError(f"{ADDRESS} is {address!r} and must be like https://HOST/PATH/.")
    return address


def _stage(root: Path, site: Path, executed: Mapping[str, Path], address: str) -> None:
    """Write the folder the site is built from: pages, executed notebooks, a config of its own."""
    sources = chapters.sources(root)

    def unwanted(folder: str, entries: list[str]) -> list[str]:
        return [
            entry
            for entry in entries
            if entry.startswith((".", "_build"))
            or entry.endswith(".ipynb")
            or Path(folder, entry) in sources.values()
        ]

    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(root / "book", site / "book", ignore=unwanted)
    for name, source in sources.items():
        page = source.relative_to(root).with_suffix(".ipynb")
        shutil.copyfile(executed[name], site / page)
    shutil.copyfile(root / "_toc.yml", site / "_toc.yml")
    config = yaml.safe_load((root / "_config.yml").read_text("utf-8"))
    # The notebooks are executed already; the patterns that keep notebooks out of a plain build
    # of the sources would keep them out here.
    config |= {"execute": {"execute_notebooks": "off"}, "exclude_patterns": []}
    if address:
        config["sphinx"]["config"] |= dict.fromkeys(("html_baseurl", "ogp_site_url"), address)
    (site / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")


def _fingerprint(site: Path, version: str) -> str:
    """Return the digest of a staged site and of the program that builds it."""
    whole = hashlib.sha256(version.encode())
    for path in sorted(site.rglob("*")):
        if path.is_file():
            whole.update(f"\n{path.relative_to(site).as_posix()} ".encode())
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


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
    with tempfile.TemporaryDirectory(prefix="book-", dir=html.parent) as scratch:
        options = ["--path-output", scratch, "-W", "--keep-going", "-n", "--quiet"]
        process = subprocess.run(
            [sys.executable, "-c", _JUPYTER_BOOK, "build", site, *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if process.returncode:
            echo((process.stdout + process.stderr).strip())
            raise QmlbookError("The book was not built, because of the errors and warnings above.")
        fresh, old = Path(scratch, "_build", "html"), Path(scratch, "old")
        (fresh / _MARK).write_text(fingerprint, "utf-8")
        if html.exists():
            os.replace(html, old)
        os.replace(fresh, html)
