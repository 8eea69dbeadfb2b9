"""The verdicts as a figure that is questioned: what it is given, and how it answers."""

import json
import re
from collections import Counter

import javascript
import numpy as np
import pytest
from browsing import axe

from qmlbook import papers
from qmlbook.book import verdict_explorer, verdict_pages
from qmlbook.book.figures import live_figures
from qmlbook.evidence import report, stats
from qmlbook.evidence.verdicts import CANNOT, ILLUSTRATES, verdicts

MOST = 1_500_000  # bytes


@pytest.fixture(scope="module")
def page():
    """Return the page's part."""
    return verdict_explorer.html()


@pytest.fixture(scope="module")
def data(page):
    """Return what the script is given."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.S)[1])


@pytest.fixture(scope="module")
def rows(data):
    return data["rows"]


def asked(body, given):
    script = live_figures.script("verdicts") + f"\nfunction asked(given) {{ {body} }}\n"
    return javascript.ask(script, "asked", given)


# --- what the page is given ---


def test_every_verdict_is_there_in_the_order_of_the_chapters(page, data, rows):
    assert list(data["titles"]) == verdict_pages.reading_order()
    judged = verdicts(verdict_pages.reading_order())
    assert [(r["paper"], r["claim"]) for r in rows] == [(v.paper, v.claim) for v in judged]
    for row, verdict in zip(rows, judged, strict=True):
        assert row["outcome"] == verdict.outcome
        assert row["controls"] == verdict.controls
        assert row["ours_text"] == report.ours_text(verdict)
        assert row["published_text"] == report.published_text(verdict.published)
    assert len(page.encode()) < MOST
    assert {row["paper"] for row in rows} == set(papers.names())


def test_dots_and_bars_are_those_that_decided(rows):
    drawn = Counter()
    for row in rows:
        ours, name = row["ours"], f"{row['paper']} {row['claim']}"
        if not ours or "low" not in ours:
            assert row["values"] == []
            continue
        drawn[row["kind"]] += 1
        values = np.array(row["values"])
        assert len(values) == ours["n"], name
        if ours["statistic"] != "max":
            digits = 1e-3 * max(np.abs(values).max(), 1e-6)  # four of every run
            assert values.mean() == pytest.approx(ours["mean"], abs=digits), name
        if row["kind"] != "order":
            continue
        told = {m[1]: m.group(2, 3, 4) for d in row["details"] for m in MINUS.finditer(d)}
        for control, interval in row["others"].items():
            said = [float(number) for number in told[control]]
            assert interval == pytest.approx(said, rel=1e-2, abs=1e-3), name
    assert drawn["order"] > 40
    assert drawn["value"] > 100


MINUS = re.compile(r"^minus ([^:]*): (\S+) \[(\S+), (\S+)\]")


def test_rows_tell_what_they_were_in_the_first_edition(rows):
    told = [row for row in rows if row["before"]]
    assert all(row["changed"] for row in told)
    assert all(row["before"] != f"{row['outcome']}; controls: {row['controls']}" for row in told)
    assert told


# --- what the script makes of it ---


def test_at_its_own_margin_every_row_says_what_the_book_says(rows):
    said = asked("return given.map((row) => would(row, row.margin) ?? null);", rows)
    right = Counter()
    for row, word in zip(rows, said, strict=True):
        if word is None or row["outcome"] in (CANNOT, ILLUSTRATES):
            continue
        right[word] += 1
        assert word == row["outcome"], f"{row['paper']} {row['claim']}"
    assert right[stats.REPRODUCED] > 50
    assert right[stats.NOT_REPRODUCED] > 10
    assert right[stats.INCONCLUSIVE] > 10


@pytest.mark.parametrize("factor", [0, 0.3, 2, 10])
def test_at_another_margin_every_number_is_judged_by_the_rule_of_the_book(rows, factor):
    rng, cases, rights = np.random.default_rng(int(10 * factor)), [], []
    for published in ({"mean": 0.6}, {"mean": 0.6, "sd": 0.05, "n": 5}, {"single": 0.6}):
        for n in (3, 10, 40):
            runs, margin = rng.normal(0.62, 0.05, n), 0.03 * factor
            right, interval = stats.value_outcome(runs, published, margin)
            ours = {"low": interval.low, "high": interval.high}
            cases.append(({"kind": "value", "published": published, "ours": ours}, margin))
            rights.append(right)
    for n in (8, 30):
        over, under = rng.normal(0.62, 0.05, n), rng.normal(0.6, 0.05, n)
        right, interval, _ = stats.order_outcome(over, under, 0.03 * factor, rng)
        ours = {"low": interval.low, "high": interval.high}
        cases.append(({"kind": "order", "published": None, "ours": ours}, 0.03 * factor))
        rights.append(right)
    assert asked("return given.map(([row, margin]) => would(row, margin));", cases) == rights


def test_filters_keep_what_they_say(rows):
    nothing = dict.fromkeys(("paper", "outcome", "controls", "provenance"), "all") | {"text": ""}
    wanted = [
        nothing,
        nothing | {"paper": "qssl"},
        nothing | {"outcome": "inconclusive", "controls": "explained"},
        nothing | {"provenance": "own before any run"},
        nothing | {"text": "PARITY qssl"},
        nothing | {"text": "no such words anywhere"},
    ]
    body = "return given[0].map((w) => chosen(given[1], w).map((r) => [r.paper, r.claim]));"
    every, qssl, explained, own, text, none = asked(body, [wanted, rows])
    assert len(every) == len(rows)
    assert qssl == [[r["paper"], r["claim"]] for r in rows if r["paper"] == "qssl"]
    right = [r for r in rows if r["outcome"] == "inconclusive"]
    right = [r for r in right if r["controls"].startswith("explained")]
    assert explained == [[r["paper"], r["claim"]] for r in right]
    assert len(own) == sum(r["provenance"] == "own before any run" for r in rows)
    assert all(paper == "qssl" for paper, _ in text)
    assert none == []


def test_every_picture_has_room_for_all_that_it_shows(rows):
    found = asked("return given.map((row) => ends(row));", rows)
    for row, span in zip(rows, found, strict=True):
        if row["ours"] and "low" in row["ours"]:
            low, high = span
            numbers = [row["ours"]["low"], row["ours"]["high"], *row["values"]]
            numbers += [end for interval in row["others"].values() for end in interval]
            assert low < min(numbers)
            assert max(numbers) < high


# --- how it is worked ---


class Part:
    """What `show_parts` wants: the page's part, and a table as the page has them."""

    def __init__(self, page, row):
        self.page, self.row = page, row

    def html(self):
        address = f"{self.row['paper']}-{self.row['claim']}"
        table = f'<table><tr><td><span id="{address}"></span>{self.row["claim"]}</td></tr></table>'
        return f'{self.page}<div class="qmlbook-tables">{table}</div>'


@pytest.fixture
def ordinary(rows):
    """Return a row whose margin can be moved."""
    return next(r for r in rows if r["kind"] == "order" and r["ours"] and r["others"])


@pytest.mark.slow
def test_rows_are_filtered_and_opened_by_keyboard(show_parts, page, ordinary, rows):
    tab = show_parts(Part(page, ordinary))
    figure = tab.locator(".qmlbook-live")
    status = figure.get_by_role("status").first
    assert status.inner_text() == f"{len(rows)} of {len(rows)} rows."
    assert figure.locator("li:visible").count() == len(rows)
    figure.get_by_role("combobox", name="paper").select_option(ordinary["paper"])
    figure.get_by_role("searchbox", name="text").fill(ordinary["claim"] + " " + ordinary["source"])
    assert int(status.inner_text().split()[0]) == figure.locator("li:visible").count() < 30
    name = f"{ordinary['paper']}-{ordinary['claim']}"
    row = figure.locator(f"[id='{name}']")
    head = row.get_by_role("button").first
    head.press("Enter")
    assert head.get_attribute("aria-expanded") == "true"
    assert tab.url.endswith(f"#{name}")
    assert row.locator("svg circle").count() > len(ordinary["values"])
    assert ordinary["command"] in row.inner_text()
    said = row.get_by_role("status").first
    assert said.inner_text().startswith("The margin, fixed beforehand, is")
    row.get_by_role("slider", name="what if the margin were").press("End")
    assert "it would be" in said.inner_text()
    assert "This is a thought" in said.inner_text()
    assert ordinary["outcome"] in row.get_by_role("textbox", name="citation").input_value()
    row.get_by_role("button", name="copy citation").press("Enter")
    row.get_by_role("status").last.filter(has_text=re.compile("Copied|Ctrl")).wait_for()
    head.press("Space")
    assert row.locator(".opened").count() == 0
    head.press("Enter")
    row.get_by_role("button", name=f"close {name.replace('-', ' ', 1)}").press("Enter")
    assert row.locator(".opened").count() == 0
    assert head.evaluate("head => head === document.activeElement")


@pytest.mark.slow
def test_an_address_opens_its_row_and_leads_to_the_tables_without_scripts(show_parts, page, rows):
    last = rows[-1]
    name = f"{last['paper']}-{last['claim']}"
    still = show_parts(Part(page, last), java_script_enabled=False)
    still.goto(f"{still.url}#{name}")
    assert still.locator(f"span[id='{name}']").count() == 1
    assert still.locator("table:visible").count() == 1
    assert still.locator(".qmlbook-live li").count() == 0
    tab = show_parts(Part(page, last))
    assert tab.locator(f"[id='{name}']").count() == 1
    assert tab.locator("table:visible").count() == 0
    tab.goto(f"{tab.url.split('#')[0]}#{name}")
    opened = tab.locator(f"li[id='{name}'] .opened")
    opened.wait_for()
    assert tab.evaluate("document.activeElement.closest('li').id") == name
    address = tab.url
    tab.goto("about:blank")  # from another page, where the browser looks for the address as well
    tab.goto(address)
    tab.wait_for_function("document.activeElement.closest('li')")
    assert tab.evaluate("document.activeElement.closest('li').id") == name
    tables = tab.get_by_role("button", name="show the same as tables")
    tables.press("Enter")
    assert tab.locator("table:visible").count() == 1
    assert tab.locator(".qmlbook-live li:visible").count() == 0
    tables.press("Enter")
    assert tab.locator("table:visible").count() == 0
    tab.emulate_media(media="print")
    assert tab.locator("table:visible").count() == 1
    assert tab.locator(".qmlbook-live li:visible").count() == 0


@pytest.mark.slow
@pytest.mark.nightly  # axe also looks at the page, with its rows closed
@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1280, "light")])
def test_verdicts_fit_and_are_accessible(show_parts, page, ordinary, rows, width, theme):
    tab = show_parts(Part(page, ordinary), theme=theme, viewport={"width": width, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    # as many rows as differ: axe looks at every word
    tab.get_by_role("combobox", name="paper").select_option("klssl")
    kinds = {(row["kind"], row["outcome"]): f"{row['paper']}-{row['claim']}" for row in rows}
    for name in [name for name in kinds.values() if name.startswith("klssl")][:4]:
        tab.locator(f"li[id='{name}'] > button").click()
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert axe(tab) == []
