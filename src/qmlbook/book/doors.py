"""Numbers in the text are doors: links to the row of the verdicts that they come from.

``[4 points](verdicts.md#qssl-C6)`` says that a number of this row is 4, rounded as it is written; a
title, ``[C6](verdicts.md#qssl-C6 "reproduced; undecided")``, says its verdict too. The links are
ordinary Markdown, and a book in which one of them is not what its row says is not built.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..base.errors import UsageError, shown
from ..evidence.stats import EXPLAINED_BY
from ..evidence.store import Store
from ..evidence.verdicts import Verdict, verdicts
from . import chapters

PUBLISHED = ("mean", "sd", "single", "best")
_DOOR = re.compile(
    r"\[(?P<words>[^][]+)\]\(verdicts\.md#(?P<paper>\w+?)-(?P<claim>[^\s)]+)"
    r"(?:\s+\"(?P<title>[^\"]*)\")?\)(?=(?P<after>\s?[\w%]*))"
)
_NAMES = (
    *("one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
_NUMBER = re.compile(
    rf"(?<![\w.])(\d+(?:,\d{{3}})*(?:\.\d+)?)(?![\w-]|\.\d)|\b({'|'.join(_NAMES)})\b", re.IGNORECASE
)
_SHARE = re.compile(r"%|per cent|point")


@dataclass(frozen=True)
class Door:
    """A link of a page to a row.

    Attributes:
        line: where it is, from 1.
        words: what the page says, in Markdown.
        row: paper and claim.
        said: parts of the title, words of the verdict.
        share: whether the numbers are per cent or points.
    """

    line: int
    words: str
    row: tuple[str, str]
    said: tuple[str, ...]
    share: bool


def doors(text: str) -> Iterator[Door]:
    """Yield the doors of a page, in order."""
    for match in _DOOR.finditer(text):
        words, said = match["words"], match["title"]
        yield Door(
            text.count("\n", 0, match.start()) + 1,
            words,
            (match["paper"], match["claim"]),
            tuple(said.split("; ")) if said else (),
            bool(_SHARE.search(words + match["after"])),
        )


def written(words: str) -> list[tuple[float, int]]:
    """Return the numbers of some words, each with its number of decimal places."""
    found = []
    for digits, name in _NUMBER.findall(words):
        plain = digits.replace(",", "")
        number = float(plain) if plain else 1.0 + _NAMES.index(name.lower())
        found.append((number, len(plain.partition(".")[2])))
    return found


def numbers(verdict: Verdict, words: str) -> list[float]:
    """Return what a row has to say where these words stand.

    The value of ours and its interval, and what was published; the number of runs or seeds, of
    checked cases, and the margin, where the words name them.
    """
    ours = verdict.ours or {}
    named = {"run": "n", "seed": "n", "case": "checked", "p =": "p"}
    names = ["mean", "low", "high"] + [name for word, name in named.items() if word in words]
    found = [ours[name] for name in names if name in ours]
    if isinstance(verdict.published, Mapping):
        found += [verdict.published[name] for name in PUBLISHED if name in verdict.published]
    if verdict.margin is not None and "margin" in words:
        found.append(verdict.margin)
    return [float(number) for number in found]


def check(root: Path, store: Store | None = None) -> list[str]:
    """Return a sentence for every door of the book that is not what its row says.

    Args:
        root: the checkout.
        store: where records are; the book's own when omitted.
    """
    found = {
        f"{name}.md": list(doors(chapters.read_text(root / f"{name}.md")))
        for name in chapters.documents(root)
    }
    rows: dict[tuple[str, str], Verdict] = {}
    wrong = []
    for paper in dict.fromkeys(door.row[0] for of in found.values() for door in of):
        try:
            rows |= {(paper, one.claim): one for one in verdicts([paper], store=store)}
        except UsageError:
            continue  # not a paper: its rows are missing
    for page, of in found.items():
        wrong += [f"{page}, line {door.line}: {why}" for door in of if (why := _wrong(door, rows))]
    return wrong


def _wrong(door: Door, rows: Mapping[tuple[str, str], Verdict]) -> str:
    """Return what is wrong with a door, empty if it leads to what it says."""
    verdict, words = rows.get(door.row), shown(door.words)
    if verdict is None:
        return f"{words} leads to {'-'.join(door.row)}, which is no row."
    if missing := [part for part in door.said if not _is_said(part, verdict)]:
        known = "; ".join(filter(None, (verdict.outcome, verdict.controls)))
        return f"{words} says {shown('; '.join(missing))}, but its row says {known}."
    if door.words.strip("*") == verdict.claim:
        return ""
    says, values = written(door.words), numbers(verdict, door.words)
    if not says and not door.said:
        return f"{words} has neither a number nor a title with words of the verdict."
    scale = 100 if door.share and all(abs(value) <= 1 for value in values) else 1
    for number, places in says:
        off = [abs(abs(scale * value) - number) for value in values]
        if min(off, default=1.0) > 0.5 * 10**-places + 1e-9:
            row = ", ".join(f"{scale * value:.4g}" for value in values) or "none"
            return f"{words} says {number:g}, but the numbers of its row are {row}."
    return ""


def _is_said(part: str, verdict: Verdict) -> bool:
    """Return whether a part of a title is of the verdict; of several controls it may name some."""
    by, names = f"{EXPLAINED_BY} ", verdict.controls.removeprefix(f"{EXPLAINED_BY} ").split(", ")
    if part.startswith(by) and verdict.controls.startswith(by):
        return set(part.removeprefix(by).split(", ")) <= set(names)
    outcome = verdict.outcome.partition(" (")[0]
    return part in (outcome, verdict.controls, (verdict.ours or {}).get("size"))
