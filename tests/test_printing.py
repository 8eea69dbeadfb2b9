"""The whole book on paper: one PDF, made from the built pages."""

import os
import re
import subprocess
import sys
import unicodedata

import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import reader, without_a_browser
from pypdf import PdfReader
from pypdf.generic import Destination

from qmlbook.base.errors import QmlbookError
from qmlbook.base.paths import project_root
from qmlbook.book import chapters as contents
from qmlbook.book import pdf

ROOT = project_root()
DOCUMENTS = contents.documents(ROOT)
A4 = (595, 842)


def call(*arguments, before=""):
    """Run the command in a process of its own, as every loop of events needs one."""
    imports = "from qmlbook import cli; from qmlbook.book import execute, pdf"
    code = f"import sys; {imports}; {before or None}; cli.main()"
    words = [sys.executable, "-c", code, "pdf", *map(str, arguments)]
    return subprocess.run(words, env=reader(), capture_output=True, text=True)


def test_without_a_browser_one_sentence_says_what_to_install(tmp_path):
    missing = [{"executable_path": str(tmp_path / "chromium")}]
    before = f"pdf._browsers = lambda: {missing}; execute.run = None"
    done = call("--to", tmp_path / "book.pdf", before=before)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "install Chromium" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail), ("", pytest.skip)])
def test_pages_without_a_browser_are_not_tested_and_where_changes_are_checked_that_is_red(
    monkeypatch, ci, outcome
):
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome.Exception, match=r"need a browser\. None is installed\."):
        without_a_browser(QmlbookError("None is installed."))


def test_a_folder_is_no_file(tmp_path):
    done = call("--to", tmp_path)
    assert done.returncode == 2
    assert f"--to {str(tmp_path)!r} is a folder" in done.stderr


@pytest.mark.nightly
def test_what_was_built_with_an_address_is_printed_as_it_is(project, browser):
    """Publishing builds, prints, and then needs the notebooks that the build has written."""
    where = {"QMLBOOK_REPOSITORY": "https://github.com/someone/book"}
    env = {**os.environ, **where, "QMLBOOK_ROOT": str(project.root)}
    for command in ("build", "pdf"):
        program = [sys.executable, "-m", "qmlbook.cli", command]
        done = subprocess.run(program, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        page = (project.root / "_build" / "html" / "book" / "tiny.html").read_text("utf-8")
        assert "colab.research.google.com/github/someone/book" in page
        assert (project.root / "_build" / "notebooks" / "book" / "tiny.ipynb").is_file()
    assert "book: up to date" in done.stdout
    assert PdfReader(project.root / "_build" / "book.pdf").pages


# --- two small pages ----------------------------------------------------------------------------

PAGE = """<html><head><link rel="stylesheet" href="../_static/book.css"><script src="other.js">
</script>{formulas}</head><body><nav class="bd-links"><a class="reference internal"
href="one.html">One</a><p class="caption">Part &amp; piece</p><a class="reference internal"
href="two.html">Two</a></nav><article class="bd-article"><section id="top"><h1>{title} &amp; all
<a class="headerlink" href="#top">#</a></h1>{body}</section></article></body></html>"""
ONE = """<p><a href="two.html#exercises">there</a> <a href="#exercises">here</a>
<a href="two.html">whole</a> <a href="https://example.org/a#b">out</a>
<a href="../genindex.html">index</a></p><img src="../_images/a.png" alt="a">
<section id="exercises"><h2>Exercises</h2>
<details class="hide above-input"><summary>Show code</summary>plot()</details>
<details class="hide above-output"><summary>Show outputs</summary>more</details></section>
<script>x()</script>"""
TWO = '<section id="exercises"><h2>Exercises</h2><p aria-labelledby="exercises">two</p></section>'


@pytest.fixture
def joined(tmp_path):
    """Return two pages joined to one document, parsed."""
    (tmp_path / "_toc.yml").write_text(
        "root: book/one\nparts: [{caption: Part & piece, chapters: [{file: book/two}]}]"
    )
    (tmp_path / "_config.yml").write_text(yaml.safe_dump({"title": "A & B", "author": "We <us>"}))
    (tmp_path / "book").mkdir()
    formulas = "<script>window.MathJax = {}</script>"
    for name, body, more in (("one", ONE, ""), ("two", TWO, formulas)):
        page = PAGE.format(title=name.title(), body=body, formulas=more)
        (tmp_path / "book" / f"{name}.html").write_text(page)
    return BeautifulSoup(pdf.document(tmp_path, tmp_path), "html.parser")


def test_links_between_pages_stay_in_the_document(joined):
    links = {tag.get_text(): tag["href"] for tag in joined.select("#book\\/one a")}
    assert links == {
        "there": "#book/two.exercises",
        "here": "#book/one.exercises",
        "whole": "#book/two",
        "out": "https://example.org/a#b",
    }
    anchors = [tag["id"] for tag in joined.select("[id]")]
    assert len(anchors) == len(set(anchors))
    assert {link[1:] for link in links.values() if link[0] == "#"} <= set(anchors)
    assert joined.select_one("[aria-labelledby]")["aria-labelledby"] == "book/two.exercises"
    assert "index" in joined.select_one("#book\\/one p").get_text()


def test_files_are_found_and_scripts_stay_behind(joined):
    assert joined.select_one("main img")["src"] == "_images/a.png"
    assert [tag["href"] for tag in joined.select("link")] == ["_static/book.css"]
    assert [tag.string for tag in joined.select("script")] == ["window.MathJax = {}"]
    assert "more" in joined.main.get_text()
    assert not joined.select("details, summary")
    assert "plot" not in joined.main.get_text()
    assert "#" not in joined.main.get_text()


def test_the_front_names_book_parts_and_chapters(joined):
    assert joined.title.get_text() == joined.select_one(".title").get_text() == "A & B"
    assert joined.select_one(".author").get_text() == "We <us>"
    lines = [line.get_text() for line in joined.select(".book-contents p")]
    assert lines == ["One & all", "Exercises", "Part & piece", "Two & all", "Exercises"]
    pages = [tag["data-page"] for tag in joined.select("[data-page]")]
    assert pages == ["book/one", "book/one.exercises", "book/two", "book/two.exercises"]
    assert '@page c0 { @top-center { content: "One & all" } }' in joined.style.string


# --- the book -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def book(browser, html, tmp_path_factory):
    """Return the PDF of the whole book."""
    assert browser
    file = tmp_path_factory.mktemp("pdf") / "book.pdf"
    done = call("--to", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"The PDF is at {file}"
    assert [path.name for path in file.parent.iterdir()] == ["book.pdf"]
    return PdfReader(file)


def parsed(html, name):
    return BeautifulSoup((html / f"{name}.html").read_text("utf-8"), "html.parser")


def squeezed(text):
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", text))  # without ligatures


@pytest.fixture(scope="module")
def texts(book):
    """Return the text of each page without white space."""
    return [squeezed(page.extract_text()) for page in book.pages]


@pytest.fixture(scope="module")
def titles(html):
    """Return the chapters' titles, in reading order."""
    pages = (parsed(html, name) for name in DOCUMENTS)
    return [page.h1.get_text().removesuffix("#") for page in pages]


@pytest.mark.nightly
def test_the_bookmarks_name_every_chapter_where_it_begins(book, texts, titles, html):
    top = [mark for mark in book.outline if isinstance(mark, Destination)]
    assert [mark.title for mark in top] == ["Contents", *titles]
    starts = [book.get_destination_page_number(mark) for mark in top]
    assert starts == sorted(set(starts))
    for start, title in zip(starts[1:], titles, strict=True):
        title = squeezed(title)
        assert texts[start].startswith(f"{title}{start + 1}{title}"), "head, number, heading"
    pages = [(html / f"{document}.html").read_text("utf-8") for document in DOCUMENTS]
    divided = ["<h2>" in page[page.index("<article") :] for page in pages]
    assert sum(isinstance(marks, list) for marks in book.outline) >= sum(divided) > 10


@pytest.mark.nightly
def test_the_contents_name_the_pages(book, texts):
    marks = [mark for mark in book.outline if isinstance(mark, Destination)]
    first, last = (book.get_destination_page_number(mark) for mark in marks[:2])
    contents = "".join(texts[first:last])
    for mark in marks[1:]:
        number = book.get_destination_page_number(mark) + 1
        assert f"{squeezed(mark.title)}{number}" in contents


@pytest.mark.nightly
def test_links_lead_into_the_book_or_out_of_it(book, html):
    places = {name.lstrip("/") for name in book.named_destinations}
    inside, outside = [], []
    for page in book.pages:
        for note in page.get("/Annots", []):
            note = note.get_object()
            action = note.get("/A", {})
            if "/Dest" in note:
                inside.append(str(note["/Dest"]).lstrip("/"))
            elif "/URI" in action:
                outside.append(action["/URI"])
            else:
                inside.append(str(action["/D"]).lstrip("/"))
    assert set(inside) <= places
    assert len(inside) > 10 * len(DOCUMENTS)
    assert set(DOCUMENTS) <= set(inside)
    assert outside
    assert not [link for link in outside if re.search(r"book\.invalid|127\.0\.0\.1|file:", link)]
    written = set()
    for name in DOCUMENTS:
        page = parsed(html, name)
        written |= {tag["href"] for tag in page.select("article a.external[href]")}
    assert {link.rstrip("/") for link in written} <= {link.rstrip("/") for link in outside}


@pytest.mark.nightly
def test_it_is_a_book_on_paper(book, texts, html):
    assert book.metadata.title == "Quantum Learning, Rerun"
    assert book.trailer["/Root"]["/Lang"] == "en"
    assert book.trailer["/Root"]["/MarkInfo"]["/Marked"]
    assert 5 * len(DOCUMENTS) < len(book.pages) < 30 * len(DOCUMENTS)
    for page in book.pages:
        assert [round(side) for side in page.mediabox[2:]] == pytest.approx(A4, abs=1)
    blank = [number for number, text in enumerate(texts, 1) if len(text) < 20]
    assert blank == []
    whole = "".join(texts)
    pictures = sum(len(page.images) for page in book.pages)
    shown = 0
    for name in DOCUMENTS:
        for image in parsed(html, name).select("article img:not([hidden])"):
            if image["src"].endswith(".svg"):  # stays lines and letters on paper
                drawing = ((html / name).parent / image["src"]).read_text("utf-8")
                words = BeautifulSoup(drawing, "html.parser").find_all("text")
                assert all(squeezed(word.get_text()) in whole for word in words)
            else:
                shown += 1
    assert pictures >= shown
    assert not re.search("(Show|Hide)codecell", whole)
    assert "Solutionto" in whole
    assert r"\(" not in re.sub(r"r?\"[^\"]*\"", "", whole), "a formula was not typeset"
