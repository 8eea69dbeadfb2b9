"""Questions by which readers check themselves: answers open, nothing is kept or sent.

A question belongs to a misconception that the page on teaching names. The questions of a chapter
are in ``questions/NAME.yml``; a page shows them with plain HTML, so that they work without scripts,
in Jupyter as on the book's pages. Answers to exercises are checked by code, which says with
:func:`expected` what they should have been.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass as checked

from ..base import strict_yaml
from ..base.errors import require_choice
from ..base.files import fill
from ..base.rng import stream

FOLDER = Path(__file__).parent / "questions"
Text = Annotated[str, Field(min_length=1)]


@checked(frozen=True)
class Answer:
    """An answer that one may choose.

    Attributes:
        say: the answer.
        because: why it is right or not.
        right: whether it is.
        misconception: the one that leads to it, as the page on teaching names it.
    """

    say: Text
    because: Text
    right: bool = False
    misconception: str = ""


@checked(frozen=True)
class Question:
    """A question with its answers, one of them right."""

    ask: Text
    answers: Annotated[tuple[Answer, ...], Field(min_length=2)]


@dataclass(frozen=True)
class Questions:
    """The questions of a chapter, as a page shows them."""

    questions: tuple[Question, ...]

    def html(self) -> str:
        """Return the page's part: every answer opens to whether it is right, and why."""
        return fill(FOLDER / "questions.html", questions=self.questions)

    def text(self) -> str:
        """Return questions and answers as plain text, the right ones last."""
        lines, letters = [], "abcdefgh"
        for number, question in enumerate(self.questions, 1):
            lines.append(f"{number}. {question.ask}")
            pairs = list(zip(letters, question.answers, strict=False))
            lines += [f"   {letter}) {answer.say}" for letter, answer in pairs]
        right = [
            f"{number} {next(a for a, one in zip(letters, q.answers, strict=False) if one.right)}"
            for number, q in enumerate(self.questions, 1)
        ]
        return "\n".join([*lines, f"Right are: {', '.join(right)}."])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": self.text()}


@cache
def known() -> tuple[str, ...]:
    """Return the names of the chapters that have questions."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yml")))


def check_yourself(chapter: str) -> Questions:
    """Return the questions of a chapter.

    Raises:
        UsageError: the chapter has none.
    """
    require_choice("chapter", chapter, known())
    file = FOLDER / f"{chapter}.yml"
    content = strict_yaml.load_of(file.name, file.read_bytes())
    asked = TypeAdapter(tuple[Question, ...]).validate_python(content)
    return Questions(tuple(_shuffled(question) for question in asked))


@contextmanager
def expected(what: str) -> Iterator[None]:
    """Say what was expected of an answer, in whatever way a check of it goes wrong.

    An answer of another type or shape makes the check itself raise, in words that tell nothing of
    what was asked for. A name that is missing stays a ``NameError``, which says enough.

    Args:
        what: what must hold of which name, for instance "needed must be a number of shots".

    Raises:
        AssertionError: the block raised one, with its own message if it has any, or another error.
    """
    try:
        yield
    except Exception as error:
        ours = isinstance(error, AssertionError)
        if (ours and str(error)) or isinstance(error, NameError):
            raise
        why = "" if ours else f" ({shorten(f'{type(error).__name__}: {error}', 120)})"
        raise AssertionError(what + why) from None


def _shuffled(question: Question) -> Question:
    """Return a question with its answers in an order that tells nothing, always the same."""
    order = stream(0, "answers", question.ask).permutation(len(question.answers))
    return replace(question, answers=tuple(question.answers[place] for place in order))
