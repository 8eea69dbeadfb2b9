"""The book on paper: the built pages, one after another, printed to one PDF by a browser.

The PDF is made from the very pages that readers see in ``_build/html/``: their articles are joined
to one document, in the order of ``_toc.yml``, behind a title page and a table of contents. The
browser gets nothing but the files of the book.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import metadata
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urljoin, urlsplit

from bs4 import BeautifulSoup, Tag

from ..base import files, paths
from ..base.errors import QmlbookError, UsageError
from . import chapters, execute
from .site import build

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

_HERE = Path(__file__).parent
_SITE = "http://book.invalid/"  # never asked: every request is answered from the folder
_PAGE = "print.html"
# A browser that shows local pages has nothing to tell or to fetch.
_IDLE = ("background-networking", "component-update", "gpu", "quic", "sync")
_OPTIONS = [*(f"--disable-{name}" for name in _IDLE), "--no-first-run"]


def pdf(
    to: Path | None = None,
    *,
    jobs: int = 2,
    repository: str | None = None,
    root: Path | None = None,
    echo: Callable[[str], object] = execute.say,
) -> Path:
    """Build the book if it is not up to date and print the whole of it to one PDF.

    Args:
        to: the file to write; by default ``_build/book.pdf``.
        jobs: how many chapters run at a time, should any have to run.
        repository: address of the book on GitHub, if it was or is to be built with one.
        root: the checkout; by default :func:`qmlbook.base.paths.project_root`.
        echo: called with lines of progress.

    Returns:
        The PDF.

    Raises:
        UsageError: if ``to`` is a folder, or as :func:`qmlbook.book.site.build.build`.
        QmlbookError: if there is no browser to print with, or the book cannot be built.
    """
    if to and to.is_dir():
        raise UsageError(f"--to {to} is a folder; give the name of a file.")
    for package in ("playwright", "pypdf"):
        if not find_spec(package):
            raise QmlbookError(f"Printing the book needs {package}: pip install {package}.")
    root = root or paths.project_root()
    to = to or root / "_build" / "book.pdf"
    with browser() as program:  # before anything that takes long
        html = build.build(jobs=jobs, repository=repository, root=root, echo=echo).parent
        echo("pdf: printing the pages")
        files.write(to, _print(program, html, document(html, root)))
    return to


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser without a window: one on the path, an installed Chrome or Edge, Playwright's.

    Raises:
        QmlbookError: if there is none.
    """
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        for way in _browsers():
            try:
                started = playwright.chromium.launch(**way, args=_OPTIONS)
            except Error:
                continue
            with started:
                yield started
            return
    raise QmlbookError(
        "No browser was found: install Chromium, Chrome or Edge, or run `playwright install "
        "chromium`."
    )


def _browsers() -> list[dict[str, str]]:
    """Return the ways to start a browser, the first choice first."""
    names = ("chromium", "chromium-browser", "google-chrome")
    programs = [{"executable_path": path} for path in map(shutil.which, names) if path]
    return [*programs, {"channel": "chrome"}, {"channel": "msedge"}, {}]


# --- one document of all pages ------------------------------------------------------------------


def document(html: Path, root: Path) -> str:
    """Return all pages of a built book as one page, to be read in the folder of the book.

    Args:
        html: the built book.
        root: the checkout that it was built from.
    """
    pages = {
        name: BeautifulSoup((html / f"{name}.html").read_text("utf-8"), "html.parser")
        for name in chapters.documents(root)
    }
    config = chapters.from_yaml(chapters.read_text(root / "_config.yml"), "_config.yml")
    about = metadata("qmlbook")
    articles = [_article(name, page, pages) for name, page in pages.items()]
    for number, article in enumerate(articles):
        article["style"] = f"page: c{number}"
    return files.fill(
        _HERE / "print.html",
        title=config["title"],
        subtitle=about["Summary"].removeprefix(f"{config['title']}: "),
        author=config["author"],
        version=about["Version"],
        entries=_contents(next(iter(pages.values())), articles),
        head=_head(pages),
        titles=map(_title, articles),
        articles=articles,
    )


def _article(name: str, page: BeautifulSoup, pages: Mapping[str, BeautifulSoup]) -> Tag:
    """Return what a page says, with its anchors and links made to fit one document of all."""
    article = page.select_one("article.bd-article")
    for tag in article.select("script, button, .headerlink"):
        tag.decompose()
    for tag in article.select("details"):  # on paper nobody opens them
        if "above-input" in tag.get("class", ()):  # code that draws a figure
            tag.decompose()
        else:
            tag.summary.decompose()
            tag.unwrap()
    for tag in article.select("[id]"):  # the same on many pages: exercises, id1
        tag["id"] = f"{name}.{tag['id']}"
    for tag in article.select("[aria-labelledby], [aria-describedby]"):
        for key in {"aria-labelledby", "aria-describedby"} & tag.attrs.keys():
            tag[key] = " ".join(f"{name}.{each}" for each in tag[key].split())
    for tag in article.select("[src]"):
        tag["src"] = _inside(name, tag["src"]) or tag["src"]
        tag.attrs.pop("loading", None)  # nobody scrolls down to a picture
    for tag in article.select("a[href]"):
        if inside := _inside(name, tag["href"]):
            path, _, anchor = inside.partition("#")
            if (target := unquote(path).removesuffix(".html")) in pages:
                tag["href"] = f"#{target}.{anchor}" if anchor else f"#{target}"
            else:
                tag.unwrap()  # a file of the online book
    article["id"] = name
    return article


def _inside(name: str, link: str) -> str:
    """Return where a link of a page leads, from the book's folder; nothing if out of the book."""
    whole = urljoin(f"{_SITE}{quote(name)}.html", link)
    return whole.removeprefix(_SITE) if whole.startswith(_SITE) else ""


def _title(section: Tag) -> str:
    return " ".join(section.find(["h1", "h2"]).get_text().split())


def _contents(page: BeautifulSoup, articles: list[Tag]) -> Iterator[tuple[str, str, str]]:
    """Yield the table of contents, with the parts of a page's sidebar: kind, title, anchor."""
    by_name = {article["id"]: article for article in articles}
    first = next(iter(by_name))
    for tag in page.select("nav.bd-links :is(p.caption, a.reference.internal)"):
        if tag.name == "p":
            yield "part", tag.get_text(strip=True), ""
            continue
        name = unquote(_inside(first, tag["href"]).partition("#")[0]).removesuffix(".html")
        article = by_name[name]
        yield "chapter", _title(article), name
        for section in article.select("section:has(> h2)"):
            yield "section", _title(section), section["id"]


def _head(pages: Mapping[str, BeautifulSoup]) -> Iterator[str]:
    """Yield the style sheets of the pages, and what typesets formulas."""
    seen = set()
    for name, page in pages.items():
        for tag in page.head.select("link[rel=stylesheet], script"):
            key = "href" if tag.name == "link" else "src"
            if tag.name == "script" and "mathjax" not in f"{tag.get('src')} {tag.string}".lower():
                continue
            if key in tag.attrs:
                tag[key] = _inside(name, tag[key])
            if (text := str(tag)) not in seen:
                seen.add(text)
                yield text


# --- from the document to paper -----------------------------------------------------------------


def _print(program: Browser, html: Path, text: str) -> bytes:
    """Print twice: where pages end is known only after the first time."""
    from pypdf import PdfReader

    page = program.new_page()
    _open(page, html, text)
    options = {"prefer_css_page_size": True, "print_background": True}
    draft = PdfReader(BytesIO(page.pdf(**options)))
    places = {
        unquote(name.lstrip("/")): draft.get_destination_page_number(goal) + 1
        for name, goal in draft.named_destinations.items()
    }
    page.evaluate((_HERE / "print.js").read_text("utf-8"), places)
    return page.pdf(**options, outline=True, tagged=True)


def _open(page: Page, html: Path, text: str) -> None:
    """Show the document with the files of the book and no others; wait until it is complete."""
    missing = []

    def answer(route: Route) -> None:
        url = route.request.url
        file = html / unquote(urlsplit(url).path[1:])
        if url == _SITE + _PAGE:
            route.fulfill(body=text, content_type="text/html")
        elif url.startswith(_SITE) and file.is_file():
            route.fulfill(path=file)
        else:
            missing.append(url)
            route.abort()

    page.route("**/*", answer)
    page.emulate_media(media="print")
    page.goto(_SITE + _PAGE, timeout=300_000)  # milliseconds, for a busy machine
    page.evaluate("Promise.all([window.MathJax?.startup.promise, document.fonts.ready])")
    if missing:
        raise QmlbookError(f"The book asks for what it does not hold: {', '.join(missing)}.")
