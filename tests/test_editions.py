"""The first edition's verdicts are kept, and whatever is another today says why."""

import json

import pytest
from rooms import OURS

from qmlbook import papers
from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.base.files import sha256
from qmlbook.base.paths import data_root
from qmlbook.book import verdict_pages
from qmlbook.evidence import editions
from qmlbook.evidence.verdicts import verdicts

# Of the verdicts of the first edition, as they were stored.
FIRST = "81a43e8db3324232c778dfcca547a592d021e6eb2f2813295f94156b4e06d654"


def test_the_verdicts_of_the_first_edition_are_kept():
    before = editions.first_edition()
    assert len(before) == 404
    assert {each.paper for each in before} == set(OURS)
    by_claim = {(each.paper, each.claim): each for each in before}
    assert by_claim["klssl", "K1"].controls == "explained by untrained, classical"
    assert by_claim["klssl", "K1"].ours["n"] == 400
    assert by_claim["contextuality", "X1"].outcome == "reproduced"


def test_the_first_edition_is_history_and_changes_no_more():
    content = (data_root() / "editions" / "first.json").read_bytes().replace(b"\r\n", b"\n")
    assert sha256(content) == FIRST


@pytest.mark.parametrize("paper", papers.names())
def test_every_verdict_is_there_before_and_now_and_says_why_they_differ(paper):
    rows = {row.claim: row for row in editions.compare(paper)}
    now = {verdict.claim: verdict for verdict in verdicts([paper])}
    assert set(rows) >= set(now)
    for name, row in rows.items():
        assert row.now == now.get(name)
        if row.before and row.now:
            before, today = ((v.outcome, v.controls) for v in (row.before, row.now))
            assert bool(row.why) == (before != today), name
    text = verdict_pages.edition_section(paper)
    for name in rows:
        assert text.count(f"| **{name}** |") == 1


def test_reasons_name_the_rule_that_changed():
    why = {(p, row.claim): row.why for p in papers.names() for row in editions.compare(p)}
    exact, chances = why["klssl", "K1"].split("; ")
    assert exact == why["klssl", "K5"] == "closed form: the circuit itself, by R6"
    assert chances == "chances of reaching the maximum are compared"
    assert why["klssl", "K12"] == "one published run decides nothing"
    assert why["qdeq", "Q1"].startswith("linear: no control of this claim")
    assert why["contextuality", "X1"] == "illustrated rows decide nothing"
    assert why["qssl", "C13-distance"].startswith("our pre-training had five classes")
    assert why["qssl", "C7"].startswith("the margin of its controls is 0.9")
    assert why["contextuality", "X2"] == ""


def test_fresh_seeds_and_claims_that_came_or_went_are_told(tmp_path, monkeypatch):
    kept = json.loads((data_root() / "editions" / "first.json").read_text())
    gone = {"paper": "klssl", "claim": "K0", "outcome": "reproduced", "controls": "", "ours": None}
    kept = [each for each in kept if each["claim"] != "R6"]
    (tmp_path / "data" / "editions").mkdir(parents=True)
    file = tmp_path / "data" / "editions" / "first.json"
    file.write_text(json.dumps([*kept, gone]))
    real = editions.load_claims

    def fresh(paper):
        moved = {"R2": range(100, 500)}
        for claim in real(paper):
            object.__setattr__(claim, "seeds", moved.get(claim.id, claim.seeds))
            yield claim

    monkeypatch.setattr(editions, "load_claims", fresh)
    monkeypatch.setattr(editions, "data_root", lambda: tmp_path / "data")
    today = {verdict.claim: verdict for verdict in verdicts(["klssl"])}
    object.__setattr__(today["R2"], "outcome", "not reproduced")
    monkeypatch.setattr(editions, "verdicts", lambda *_, **__: list(today.values()))
    rows = {row.claim: row for row in editions.compare("klssl")}
    assert rows["R2"].why == "fresh seeds, 100 to 499; closed form: the circuit itself, by R6"
    assert (rows["R6"].before, rows["R6"].why) == (None, "a new claim")
    assert (rows["K0"].now, rows["K0"].why) == (None, "dropped")
    assert "| **K0** | reproduced | – | dropped |" in verdict_pages.edition_section("klssl")
    file.write_text("[{}]")
    with pytest.raises(QmlbookError, match=r"first edition are damaged\.$"):
        editions.compare("klssl")
    file.unlink()
    with pytest.raises(QmlbookError, match="the verdicts of the first edition"):
        editions.compare("klssl")
    with pytest.raises(UsageError, match="paper 'x' is not known"):
        editions.compare("x")
