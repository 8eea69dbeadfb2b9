"""What verdicts look like on pages: sections, the table of papers, the README's copy of it."""

from pathlib import Path

from qmlbook import papers
from qmlbook.book import verdict_pages
from qmlbook.evidence import report
from qmlbook.evidence.verdicts import verdicts


def test_the_table_of_papers_in_the_readme_is_fresh():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert verdict_pages.with_papers_table(readme) == readme, "run `make readme`"


def test_the_table_of_papers_links_only_papers_that_have_a_chapter():
    table = verdict_pages.papers_table()
    assert '<a href="klssl.html">' in table
    toc = (Path(__file__).parents[1] / "_toc.yml").read_text(encoding="utf-8")
    for name in papers.names():
        assert (f"{name}.html" in table) == (f"book/{name}\n" in toc), name
    assert len(table.splitlines()) == 2 + len(papers.names())
    for told in ("compatible: K12", "set aside: K4", "illustrates: X1", "cannot be decided: "):
        assert told in table


def test_sections_of_the_verdicts_page_follow_the_contents():
    order = verdict_pages.reading_order()
    assert sorted(order) == papers.names()
    assert order.index("klssl") < order.index("qssl") < order.index("c2q")
    text = verdict_pages.section("klssl")
    assert text.startswith('<h3 id="verdicts-klssl">Self-supervision with quantum classifiers</h3>')
    assert "{cite:t}`tran2025`" in text
    assert '<a href="klssl.html">' in text
    main, refined = report.headlines(verdicts(["klssl"]))
    assert f"The same in detail: {len(refined)} rows" in text
    for verdict in main + refined:
        assert f'| <span id="klssl-{verdict.claim}"></span>**{verdict.claim}** ' in text
    assert text.count("<details>") == text.count("</details>") == 3
    for reason in (
        "Not counted: it cannot succeed",
        "five published runs with a standard deviation",
    ):
        assert reason in text


def test_orders_are_told_together():
    text = verdict_pages.orders_markdown(verdicts())
    orders = [v for v in verdicts() if v.kind == "order" and v.ours]
    assert text.startswith(f"Of {len(orders)} orders with runs, ")
    assert "qssl R1" in text
    assert "c2q Q1" not in text.replace("c2q Q1-", "")
    assert "these do not: none." in verdict_pages.orders_markdown([])


def test_without_the_book_a_section_links_nothing(monkeypatch, tmp_path):
    text = verdict_pages.section("klssl")
    (tmp_path / "book").mkdir()
    (tmp_path / "_toc.yml").write_text("root: book/intro\n")
    monkeypatch.setenv("QMLBOOK_ROOT", str(tmp_path))
    alone = verdict_pages.section("klssl")
    assert "cite:t" not in alone
    assert "klssl.html" not in alone
    assert text.splitlines()[0] == alone.splitlines()[0]
    assert verdict_pages.reading_order() == papers.names()
