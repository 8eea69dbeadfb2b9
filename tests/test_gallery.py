"""The catalogue of papers: what it holds, what its chips leave out, and where programs find it."""

import json
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from rooms import OURS

from qmlbook import papers
from qmlbook.base.errors import QmlbookError
from qmlbook.book import gallery, notebooks, verdict_pages
from qmlbook.book.site import build
from qmlbook.evidence.report import tally
from qmlbook.evidence.verdicts import verdicts

ROOT = Path(__file__).resolve().parents[1]
KINDS = {"text": str, "number": float, "object": dict, "null": type(None)}


@pytest.fixture(scope="module")
def shown():
    return gallery.Gallery.of_book()


def test_the_catalogue_is_what_its_schema_says(shown):
    assert [paper["paper"] for paper in shown.papers] == verdict_pages.reading_order()
    assert {paper["paper"] for paper in shown.papers} == set(papers.names())
    bundle = shown._repr_mimebundle_()
    told = json.loads(json.dumps(bundle[notebooks.PAPERS]))
    assert set(told) == {"schema", "papers"}
    for paper in told["papers"]:
        assert list(paper) == list(told["schema"])
        for name, value in paper.items():
            kind = told["schema"][name]["kind"]
            if kind.startswith("list of "):
                one = KINDS[kind.removeprefix("list of ").removesuffix("s")]
                assert all(isinstance(each, one) for each in value), name
            else:
                assert isinstance(value, tuple(KINDS[word] for word in kind.split(" or "))), name
    assert len(gallery.schema_markdown().splitlines()) == 2 + len(gallery.SCHEMA)


def test_what_the_gallery_says_is_what_the_verdicts_say(shown):
    for paper in shown.papers:
        counted, others = tally(verdicts([paper["paper"]]))
        assert [claim["claim"] for claim in paper["claims"]] == [v.claim for v in counted]
        assert sum(paper["counts"].values()) == len(counted)
        assert paper["not_counted"] == others
        for control in paper["explained_by"]:
            assert any(control in v.controls for v in counted)
        if paper["paper"] in OURS:
            assert paper["sentence"]
            assert all(paper[name] for name in ("task", "encoding", "data"))
        assert (ROOT / "book" / f"{paper['paper']}.md").is_file() == bool(paper["chapter"])


def test_the_gallery_is_a_list_with_a_picture_in_words_for_each_paper(shown):
    page = BeautifulSoup(shown.html(), "html.parser")
    assert not page.find("script")
    cards = page.find_all("li")
    assert [card["id"] for card in cards] == [f"card-{paper['paper']}" for paper in shown.papers]
    for card, paper in zip(cards, shown.papers, strict=True):
        assert f"book/{card.a['href']}" == paper["chapter"]
        assert paper["sentence"] in card.get_text()
        words = [f"{number} {outcome}" for outcome, number in paper["counts"].items()]
        assert all(word in card.svg["aria-label"] for word in words)
        assert len(card.find_all("rect")) == len(paper["claims"])
        explained = [c for c in paper["claims"] if c["controls"].startswith("explained")]
        assert len(card.find_all("circle")) == len(explained)
    names = [box["id"] for box in page.find_all("input")]
    assert len(names) == len(set(names)) >= 10
    assert all(box.parent.name == "label" for box in page.find_all("input"))


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.nightly)])
def test_chips_leave_out_what_is_not_so(shown, browser, width):
    page = browser.new_page(viewport={"width": width, "height": 800})
    css = (ROOT / "book" / "_static" / "book.css").read_text("utf-8")
    page.set_content(f"<style>{css}</style><article class='bd-article'>{shown.html()}</article>")
    everything = [paper["paper"] for paper in shown.papers]

    def visible():
        return [name for name in everything if page.locator(f"#card-{name}").is_visible()]

    assert visible() == everything
    for name in gallery.FILTERS:
        for value in {value for paper in shown.papers for value in paper[name]}:
            heading = gallery.HEADINGS.get(name, name)
            box = page.get_by_role("group", name=heading).get_by_label(value, exact=True)
            box.check()
            assert visible() == [p["paper"] for p in shown.papers if value in p[name]]
            box.uncheck()
    assert visible() == everything
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_the_built_book_has_the_catalogue_as_a_file(shown, tmp_path):
    bundle = shown._repr_mimebundle_()
    output = nbformat.v4.new_output("display_data", data=bundle)
    cell = nbformat.v4.new_code_cell("gallery", outputs=[output])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    build._write_catalogue(notebook, tmp_path / "extra")
    told = json.loads((tmp_path / "extra" / "papers.json").read_text("utf-8"))
    assert told == json.loads(json.dumps(bundle[notebooks.PAPERS]))
    assert set(cell.outputs[0].data) == {"text/html", "text/plain"}  # no page carries it twice


@pytest.mark.slow
def test_the_file_is_at_the_top_of_the_book(html):
    told = json.loads((html / "papers.json").read_text("utf-8"))
    assert [paper["paper"] for paper in told["papers"]] == verdict_pages.reading_order()
    for paper in told["papers"]:
        assert (html / paper["chapter"]).is_file()


@pytest.mark.parametrize(
    "content", ["nosuch: {sentence: x}\n", "klssl: x\n", "klssl: {colour: [red]}\n"]
)
def test_what_is_told_of_no_paper_or_in_no_field_is_one_sentence(tmp_path, monkeypatch, content):
    (tmp_path / "papers.yml").write_text(content)
    monkeypatch.setattr(gallery, "TOLD", tmp_path / "papers.yml")
    with pytest.raises(QmlbookError, match=r"papers\.yml: '(nosuch|klssl)' must be a paper \("):
        gallery._told()
