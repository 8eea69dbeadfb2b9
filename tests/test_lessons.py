"""What five reruns teach: read from claims and records, and true as long as the rows say so."""

import io
import re
from pathlib import Path

import pytest
from pypdf import PdfReader
from rooms import OURS

from qmlbook.book import lessons
from qmlbook.evidence.claims import load_claims
from qmlbook.evidence.report import tally
from qmlbook.evidence.verdicts import verdicts

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def judged():
    return {(verdict.paper, verdict.claim): verdict for verdict in verdicts(OURS)}


@pytest.mark.parametrize("paper", OURS)
def test_kinds_of_controls_say_what_the_verdicts_say(paper):
    counted = {verdict.claim: verdict.controls for verdict in tally(verdicts([paper]))[0]}
    told = lessons.controls(paper)
    for claim, kinds in told.items():
        words, whole = set(kinds.values()), counted[claim]
        if whole.startswith("explained by"):
            assert "explained by" in words
        else:
            assert "explained by" not in words
            assert (words == {"survives"}) == (whole == "survives")
    silent = {claim for claim, whole in counted.items() if whole.startswith("not ")}
    assert set(counted) - set(told) == silent


def test_every_control_of_a_counted_claim_has_a_kind():
    kinds = [name for names in lessons.KINDS.values() for name in names]
    assert len(kinds) == len(set(kinds))
    for paper in OURS:
        claims = {claim.id: claim for claim in load_claims(paper)}
        for claim in lessons.controls(paper):
            assert set(claims[claim].controls) <= set(kinds), claim


def test_a_lead_in_spreads_is_the_lead_of_the_verdict(judged):
    found = {effect.name: effect for paper in OURS for effect in lessons.effects(paper)}
    assert {"c2q K2", "qssl C6", "qdeq Q1", "klssl K5"} <= set(found)
    for name, effect in found.items():
        verdict = judged[tuple(name.split())]
        assert effect.ours.mean * effect.spread == pytest.approx(verdict.ours["mean"])
        assert effect.ours.n == verdict.ours["n"]
        if effect.published is not None:
            assert effect.published * effect.spread == pytest.approx(verdict.published["mean"])


def test_settings_that_were_tried_move_what_is_tuned():
    assert lessons.settings("contextuality") == {}
    moved = lessons.settings("klssl")
    assert len(moved) == 18
    assert all(move >= 0 and spread > 0 for move, spread in moved.values())
    assert max(move for move, _ in moved.values()) > 0.1


def test_survivors_reproduce_and_nothing_explains_them():
    found = lessons.survivors()
    assert ("contextuality", "X6") in {(verdict.paper, verdict.claim) for verdict in found}
    for verdict in found:
        assert verdict.outcome == "reproduced"
        assert verdict.controls in ("survives", "not applicable")
        assert verdict.provenance == "published"


def test_a_referee_s_questions_are_true_today(judged):
    asked = lessons.questions()
    assert 10 <= len(asked) <= 14
    assert {row.split()[0] for one in asked for row in one.rows} == set(OURS)
    for one in asked:
        assert one.ask.endswith("?")
        assert not re.search(r"\d", one.told), "numbers stand in the rows"
        first, (outcome, control) = judged[tuple(one.rows[0].split())], one.when
        assert first.outcome == outcome, one.rows
        assert control in first.controls, one.rows
        assert all(tuple(row.split()) in judged for row in one.rows)


def test_the_list_links_every_row_and_gives_a_command(judged):
    text, asked = lessons.checklist(), lessons.questions()
    for one in asked:
        for paper, claim in map(str.split, one.rows):
            assert f'<a href="verdicts.html#{paper}-{claim}">{paper} {claim}</a>: ' in text
        assert f"<code>{judged[tuple(one.rows[0].split())].command}</code>" in text
    assert text.count("<li>") == lessons.sheet().count("☐") == len(asked)


@pytest.mark.slow
def test_the_sheet_is_one_sheet(browser):
    style = "".join(
        (ROOT / "book" / "_static" / f"{name}.css").read_text("utf-8") for name in ("book", "print")
    )
    title, *text = (ROOT / "book" / "sheet.md").read_text("utf-8").split("# ")[-1].split("\n")
    page = browser.new_page()
    page.set_content(
        f"<style>{style}</style><article class='bd-article'><h1>{title}</h1><p>{text[1]}</p>"
        f"{lessons.sheet()}</article>"
    )
    margins = dict.fromkeys(("top", "right", "bottom", "left"), "18mm")
    for size in ("A4", "Letter"):
        printed = PdfReader(io.BytesIO(page.pdf(format=size, margin=margins)))
        assert len(printed.pages) == 1, size
        assert lessons.questions()[-1].ask in printed.pages[0].extract_text().replace("\n", " ")
    page.close()
