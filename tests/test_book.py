"""The book as readers get it: every page of ``_build/html``, read by a parser."""

from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup

from qmlbook.book import chapters

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = chapters.documents(ROOT)
CHAPTERS = chapters.names(ROOT)


@pytest.fixture(scope="module")
def pages(html):
    """Return every page, parsed: path relative to the book -> soup."""
    return {
        path.relative_to(html).as_posix(): BeautifulSoup(path.read_text("utf-8"), "html.parser")
        for path in sorted(html.rglob("*.html"))
        if "_static" not in path.relative_to(html).parts
    }


def follow(page, target):
    """Return path and anchor of a link inside the book; ``None`` if it leads out of it."""
    url = urlsplit(urljoin(f"http://book/{page}", target))
    return (unquote(url.path[1:]), unquote(url.fragment)) if url.netloc == "book" else None


# --- what the pages hold ------------------------------------------------------------------------


def test_every_document_has_a_page_with_a_title(pages):
    for document in DOCUMENTS:
        assert pages[f"{document}.html"].find("h1").get_text().strip("# \n"), document


def test_every_internal_link_leads_somewhere(html, pages):
    anchors = {
        page: {tag[key] for key in ("id", "name") for tag in soup.find_all(attrs={key: True})}
        for page, soup in pages.items()
    }
    broken, followed = [], 0
    for page, soup in pages.items():
        targets = [tag["href"] for tag in soup.find_all(["a", "link"], href=True)]
        targets += [tag["src"] for tag in soup.find_all(["img", "script"], src=True)]
        for target in targets:
            if found := follow(page, target):
                path, anchor = found
                followed += 1
                if not (anchor in anchors.get(path, ()) if anchor else (html / path).is_file()):
                    broken.append(f"{page}: {target}")
    assert not broken
    assert followed > 20 * len(DOCUMENTS)


def test_every_image_is_there_and_described(html, pages):
    seen = 0
    for page, soup in pages.items():
        for image in soup.find_all("img"):
            seen += 1
            described = image.get("alt", "").strip()
            if image["src"].startswith("data:image/png;base64,"):  # of a live figure
                assert len(image["src"]) > 1000, page
                assert described, f"{page}: a picture of a live figure has no alternative text"
                continue
            source, _ = follow(page, image["src"])
            assert (html / source).stat().st_size > 0, f"{page}: {source}"
            assert described, f"{page}: {source} has no alternative text"
            assert Path(source).name not in described, f"{page}: {source} is described by its name"
    assert seen


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_shared_link_has_a_title_a_sentence_and_a_card(html, pages, document):
    page = f"{document}.html"
    said = {tag["property"]: tag["content"] for tag in pages[page].select("meta[property^='og:']")}
    assert said["og:title"] == pages[page].find("h1").get_text().strip("# \n")
    assert len(said["og:description"]) > 20 or document.endswith("references")
    # Nobody said where this book will be, so no address was made up: paths from its first page.
    assert (html / said["og:image"]).stat().st_size > 5000
    assert said["og:url"] == page


def test_headings_leave_no_level_out(pages):
    for document in DOCUMENTS:
        article = pages[f"{document}.html"].select_one("article.bd-article")
        levels = [int(tag.name[1]) for tag in article.select("h1, h2, h3, h4, h5, h6")]
        assert levels[0] == 1, document
        assert levels.count(1) == 1, document
        assert all(after <= before + 1 for before, after in pairwise(levels)), document


def test_no_page_shows_an_error(pages):
    for page, soup in pages.items():
        assert not soup.select(".output.traceback, .output.stderr, .system-message"), page
        assert "Traceback (most recent call last)" not in soup.get_text(), page


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapters_offer_the_executed_notebook_and_the_source(html, pages, name):
    page = chapters.sources(ROOT)[name].relative_to(ROOT).with_suffix(".html").as_posix()
    offered = [
        follow(page, tag["href"])[0]
        for tag in pages[page].select(".article-header-buttons a[href]")
        if tag["href"].endswith(".ipynb")
    ]
    assert len(offered) == 1
    notebook = nbformat.read(html / offered[0], as_version=4)
    assert any(cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    sources = [
        follow(page, tag["href"])[0]
        for tag in pages[page].select(".article-header-buttons a[href]")
        if tag["href"].endswith(".md")
    ]
    assert len(sources) == 1
    assert (html / sources[0]).read_bytes() == chapters.sources(ROOT)[name].read_bytes()


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_plot_is_described_captioned_and_named(html, name):
    executed = ROOT / "_build" / "executed" / "quick" / f"{name}.ipynb"
    for number, cell in enumerate(nbformat.read(executed, as_version=4).cells):
        kinds = [set(out.get("data", {})) for out in cell.get("outputs", [])]
        # What is shown as HTML (a live figure) carries its own descriptions.
        if any("image/png" in each and "text/html" not in each for each in kinds):
            shown = cell.metadata.get("mystnb", {})
            alt = (shown.get("image") or {}).get("alt", "")
            assert len(alt) > 20, f"cell {number}: no alt text"
            assert shown.get("figure", {}).get("caption"), f"cell {number}: no caption"
            assert shown.get("figure", {}).get("name"), f"cell {number}: no name"


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_described_figure_was_drawn(html, name):
    executed = ROOT / "_build" / "executed" / "quick" / f"{name}.ipynb"
    for cell in nbformat.read(executed, as_version=4).cells:
        if "image" in cell.metadata.get("mystnb", {}):
            kinds = [kind for output in cell.outputs for kind in output.get("data", {})]
            assert "image/png" in kinds, cell.source


def test_figures_are_numbered_and_captioned(pages):
    for page, soup in pages.items():
        numbers = []
        for figure in soup.select("article figure"):
            number = figure.select_one("figcaption .caption-number")
            assert number, f"{page}: a figure without a number"
            assert figure.select_one("figcaption .caption-text").get_text(strip=True), page
            numbers.append(number.get_text(strip=True))
        assert len(numbers) == len(set(numbers)), page


def test_the_search_index_knows_every_page(html):
    index = (html / "searchindex.js").read_text("utf-8")
    for document in DOCUMENTS:
        assert f'"{document}"' in index


def test_a_link_to_a_figure_has_words_of_its_own():
    """Without any, its whole caption would stand in the sentence."""
    bare = [
        page.name for page in (ROOT / "book").glob("*.md") if "[](fig-" in page.read_text("utf-8")
    ]
    assert not bare
