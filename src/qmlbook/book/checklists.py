"""Checklists that authors of papers know, answered from ``checklists.yml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..base.errors import QmlbookError, require_choice, shown
from ..evidence.claims import load
from ..evidence.report import markdown_table
from . import chapters, verdict_pages

FILE = Path(__file__).with_name("checklists.yml")
ANSWERS = ("yes", "partly", "no", "not read", "does not apply")
OWN = "book"  # the subject that is no paper


def read() -> dict[str, Any]:
    """Return the file: ``items``, name -> question; ``subjects``, name -> item -> answer, evidence.

    Raises:
        QmlbookError: the file cannot be read, or an answer is missing, has no evidence, or is not
            one of `ANSWERS`.
    """
    content = chapters.from_yaml(chapters.read_text(FILE), FILE.name)
    for subject, answers in content["subjects"].items():
        if list(answers) != list(content["items"]):
            raise QmlbookError(f"{FILE.name}: {subject} must answer every item, in their order.")
        for item, given in answers.items():
            answer, evidence = given if isinstance(given, list) and len(given) == 2 else ("", "")
            if answer not in ANSWERS or not evidence:
                raise QmlbookError(
                    f"{FILE.name}: {item} of {subject} is {shown(given)} and must be an answer "
                    f"({', '.join(ANSWERS)}) with its evidence."
                )
    return dict(content)


def subjects() -> list[str]:
    """Return whom the checklists are about: papers as their chapters come, then the book."""
    told = read()["subjects"]
    return [name for name in [*verdict_pages.reading_order(), OWN] if name in told]


def markdown(subject: str) -> str:
    """Return one subject's checklists as a table in Markdown.

    Raises:
        UsageError: it is not one of `subjects`.
    """
    content = read()
    require_choice("subject", subject, content["subjects"])
    rows = [
        (content["items"][item], f"**{answer}**", evidence)
        for item, (answer, evidence) in content["subjects"][subject].items()
    ]
    return markdown_table(("question", "answer", "evidence"), rows)


def all_markdown() -> str:
    """Return the checklists of all subjects, each below its name."""
    titles = {name: load(name).title for name in subjects() if name != OWN} | {OWN: "This book"}
    return "\n\n".join(f"<h2>{titles[name]}</h2>\n\n{markdown(name)}" for name in subjects())
