"""Errors that are meant to be read by people, and what is chosen by a word: one list each."""

import math
import reprlib
import sys
from collections.abc import Callable, Iterable
from typing import Literal

# How much of a paper is run.
Profile = Literal["quick", "full"]
# How a list is written: for people, or for programs.
ListFormat = Literal["table", "json"]
# How run records are written.
RecordFormat = Literal["csv", "json"]
# How verdicts are written.
ReportFormat = Literal["table", "markdown", "json", "csv"]


class QmlbookError(Exception):
    """Something went wrong that one clear sentence explains; the command exits with status 1."""


class UsageError(QmlbookError):
    """The request itself is wrong (unknown name, bad value); the command exits with status 2."""


class WriteError(QmlbookError, OSError):
    """Something cannot be written, a full disk for instance; also the error that Python raises."""


_BRIEF = reprlib.Repr()
_BRIEF.maxlevel = 3
_BRIEF.maxstring = _BRIEF.maxother = 80


def shown(given: object) -> str:
    """Return a value as a sentence shows it: quoted, on one line, and never long.

    Of a long one the end is shown, too, where a path has its name. However large the value is,
    little of it is looked at.
    """
    if isinstance(given, int) and given.bit_length() > 256:
        return f"a number of {round(given.bit_length() * math.log10(2))} digits"
    if not isinstance(given, str):
        try:
            text = " ".join(_BRIEF.repr(given).split())
        except ValueError:  # a number inside is too long for Python to write
            text = f"a {type(given).__name__}"
        return text if len(text) <= 80 else f"{text[:77]}..."
    ends = given if len(given) <= 200 else given[:100] + given[-100:]
    text = repr(ends) if ends.isprintable() else ascii(ends)
    if len(text) <= 80:
        return text
    return f"{text[:35]}...{text[-35:]} ({len(given) + 2} characters)"


def count(number: int, thing: str) -> str:
    """Return a number with what it counts: ``1 run``, ``2,440 runs``."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def choose(argument: str, given: object, allowed: Iterable[object]) -> UsageError:
    """Return the error for a value outside a list: argument, value, choices."""
    choices = ", ".join(map(str, allowed))
    return UsageError(f"{argument} {shown(given)} is not known; choose from: {choices}.")


def require_known(settings: object, **allowed: Iterable[object]) -> None:
    """Refuse settings (attributes, by name) that are not among the allowed values.

    Raises:
        UsageError: names the first such setting, its value and the choices.
    """
    for name, choices in allowed.items():
        if (value := getattr(settings, name)) not in tuple(choices):
            raise choose(name, value, choices)


def require_least(settings: object, **least: float) -> None:
    """Refuse settings (attributes, by name) that are smaller than they may be.

    Raises:
        UsageError: names the first such setting, its value and the smallest one.
    """
    for name, bound in least.items():
        if (value := getattr(settings, name)) < bound:
            raise UsageError(f"{name} must be {bound} or more, not {value}.")


def exit_status(command: Callable[[], object]) -> int:
    """Run a command; print what goes wrong as one sentence; return the exit status."""
    try:
        command()
    except QmlbookError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0
