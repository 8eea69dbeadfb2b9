"""Questions by which readers check themselves."""

import re
from pathlib import Path

import numpy as np
import pytest
from browsing import axe
from bs4 import BeautifulSoup

from qmlbook.base.errors import UsageError
from qmlbook.book import questions

BOOK = Path(__file__).parents[1] / "book"
TEACH = (BOOK / "teach.md").read_text("utf-8")
every = pytest.mark.parametrize("chapter", questions.known())


def misconceptions(chapter):
    """Return the misconceptions that the page on teaching names, without roles and full stops."""
    line = next(line for line in TEACH.splitlines() if line.startswith(f"**{{doc}}`{chapter}`.**"))
    quoted = re.findall(r'"([^"]+)"', line.partition("*Misconceptions:*")[2])
    return {re.sub(r"\{term\}`([^`<]+?)(?: <[^`]*>)?`", r"\1", one).rstrip(".") for one in quoted}


@every
def test_every_misconception_of_the_page_on_teaching_has_its_question(chapter):
    asked = questions.check_yourself(chapter).questions
    assert 3 <= len(asked) <= 5
    led = [a.misconception for q in asked for a in q.answers if a.misconception]
    assert sorted(led) == sorted(misconceptions(chapter))
    for question in asked:
        assert question.ask.endswith("?")
        assert sum(answer.right for answer in question.answers) == 1
        assert len({answer.say for answer in question.answers}) == len(question.answers)
        assert not any(answer.right and answer.misconception for answer in question.answers)


def test_all_chapters_that_teach_have_questions():
    taught = re.findall(r"^\*\*\{doc\}`(\w+)`\.\*\* \*Goals", TEACH, re.MULTILINE)
    assert sorted(taught) == list(questions.known())
    for chapter in taught:
        text = (BOOK / f"{chapter}.md").read_text("utf-8")
        assert f'check_yourself("{chapter}")' in text


@every
def test_a_page_tells_of_every_answer_whether_it_is_right(chapter):
    asked = questions.check_yourself(chapter)
    soup = BeautifulSoup(asked.html(), "html.parser")
    assert len(soup.select("li > details")) == sum(len(q.answers) for q in asked.questions)
    assert not soup.find_all(["script", "form", "input"])
    assert len(soup.find_all(string="✓ Right.")) == len(asked.questions)
    letters = re.findall(r"\d (\w)", asked.text().splitlines()[-1])
    marks = [re.findall("[✓✗]", str(item)) for item in soup.select("ol > li")]
    assert letters == ["abc"[mark.index("✓")] for mark in marks]


def test_the_right_answer_may_be_at_any_place_and_stays_there():
    lines = [questions.check_yourself(chapter).text() for chapter in questions.known()]
    assert set(re.findall(r"\d (\w)", " ".join(text.splitlines()[-1] for text in lines))) == set(
        "abc"
    )
    assert lines == [questions.check_yourself(chapter).text() for chapter in questions.known()]


def test_a_chapter_without_questions_is_named():
    with pytest.raises(UsageError, match="chapter"):
        questions.check_yourself("house")


SHOTS = "needed must be a number of shots"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (-1, "needed must be positive"),
        (500, SHOTS),
        (0, f"{SHOTS} (ZeroDivisionError: division by zero)"),
        ({}, f"{SHOTS} (TypeError: '<' not supported between instances of 'dict' and 'int')"),
        (np.ones(2), f"{SHOTS} (ValueError: The truth value of an array with more than one "
                     "element is ambiguous. Use a.any() or a.all())"),
    ],
)  # fmt: skip
def test_whatever_is_wrong_with_an_answer_says_what_was_expected(answer, told):
    # As a text, since pytest fills in the messages of asserts.
    check = "assert not answer < 0, 'needed must be positive'\nassert 100 / answer > 1"
    with pytest.raises(AssertionError) as error, questions.expected(SHOTS):
        exec(check, {"answer": answer})
    assert error.value.args == (told,)
    assert error.value.__suppress_context__ == (told != "needed must be positive")


def test_a_long_error_is_told_shortly():
    with pytest.raises(AssertionError) as error, questions.expected(SHOTS):
        raise ValueError("one line\n" * 100)
    assert len(str(error.value)) < 200
    assert "\n" not in str(error.value)


def test_a_right_answer_is_told_nothing_and_a_missing_one_its_name():
    with questions.expected(SHOTS):
        pass
    with pytest.raises(NameError, match="needed"), questions.expected(SHOTS):
        exec("needed > 0", {})
    with pytest.raises(KeyboardInterrupt), questions.expected(SHOTS):
        raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_answer_is_opened_by_keyboard(show_parts, theme):
    tab = show_parts(questions.check_yourself("circuits"), theme=theme)
    first = tab.locator("details").first
    assert not first.locator("p").is_visible()
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    assert first.locator("p").inner_text()[0] in "✓✗"
    assert tab.locator("details p:visible").count() == 1
    assert axe(tab) == []
