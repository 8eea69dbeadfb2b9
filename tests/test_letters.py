"""Letters to the authors: one a paper, a page, friendly, and true to today's verdicts."""

import re
from pathlib import Path

import pytest
from rooms import OURS

from qmlbook.evidence.verdicts import verdicts

LETTERS = Path(__file__).parents[1] / "book" / "letters"
QUOTED = re.compile(r"(-?\d+\.(\d+)) \[(-?\d+\.\d+), (-?\d+\.\d+)\]")


def letter(paper):
    return (LETTERS / f"{paper}.md").read_text("utf-8")


@pytest.mark.parametrize("paper", OURS)
def test_a_letter_is_a_page_with_thanks_doubts_and_three_questions(paper):
    text = letter(paper)
    assert 300 <= len(text.split()) <= 560
    parts = ["What we ran.", "the good first.", "What we may have got wrong.", "Three questions."]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert len(re.findall(r"^\d\. .*\?", text, re.MULTILINE)) == 3
    assert "we will change it" in text
    assert text.rindex("With thanks") > places[-1]


@pytest.mark.parametrize("paper", OURS)
def test_numbers_of_a_letter_are_those_of_the_verdicts(paper):
    text, known = letter(paper), {verdict.claim: verdict for verdict in verdicts([paper])}
    rows = re.findall(r"rows? ((?:[A-Z][\w-]*(?:, )?)+)(?:: ([^)]*))?", text)
    assert rows
    for names, quoted in rows:
        for name in names.split(", "):
            assert name in known, f"{paper} has no row {name}"
        if not quoted:
            continue
        mean, digits, low, high = QUOTED.match(quoted).groups()
        ours, half = known[names].ours, 0.5 * 10 ** -len(digits) + 1e-9
        for said, meant in ((mean, "mean"), (low, "low"), (high, "high")):
            assert abs(float(said) - ours[meant]) <= half, f"{paper} {names}: {quoted}, now {ours}"
    assert len(QUOTED.findall(text)) == sum(bool(quoted) for _, quoted in rows)


def test_every_paper_has_a_letter_and_the_book_does_not_print_them():
    assert sorted(path.stem for path in LETTERS.glob("*.md")) == sorted(OURS)
    assert "letters" not in (LETTERS.parents[1] / "_toc.yml").read_text("utf-8")
