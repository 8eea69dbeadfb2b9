"""Errors that are meant to be read by people, and what is chosen by a word: one list each."""

import reprlib
from collections.abc import Iterable
from typing import Literal, get_args

# How much of a paper is run.
Profile = Literal["quick", "full"]
# How a list is written: for people, or for programs.
ListFormat = Literal["table", "json"]
# How run records are written.
RecordFormat = Literal["csv", "json", "parquet", "ro-crate", "mlflow"]
# How verdicts are written.
ReportFormat = Literal["table", "markdown", "json", "csv"]
FORMATS = {name for each in (ListFormat, RecordFormat, ReportFormat) for name in get_args(each)}


class QmlbookError(Exception):
    """Something went wrong that one clear sentence explains; the command exits with status 1."""


class UsageError(QmlbookError):
    """The request itself is wrong (unknown name, bad value); the command exits with status 2."""


class WriteError(QmlbookError, OSError):
    """Something cannot be written, a full disk for instance; also the error that Python raises."""


# A value is never written out whole first: one that holds itself many times over would fill memory.
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxother, _BRIEF.maxlong = 3, 80, 80


def shown(given: object) -> str:
    """Return a value as a sentence shows it: quoted, on one line, and never long.

    Of a long text the end is shown, too, where a path has its name.
    """
    if isinstance(given, str):
        text = repr(given) if given.isprintable() else ascii(given)
    else:
        try:
            text = " ".join(_BRIEF.repr(given).split())
        except ValueError:  # a whole number with more digits than Python turns into text
            text = f"a value of type {type(given).__name__}"
    return text if len(text) <= 80 else f"{text[:35]}...{text[-35:]} ({len(text)} characters)"


def counted(number: int, thing: str, things: str = "") -> str:
    """Return a number with its noun: ``1 run``, ``1,200 runs``."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def choose(argument: str, given: object, allowed: Iterable[object]) -> UsageError:
    """Return the error for a value outside a list: argument, value, choices."""
    choices = ", ".join(map(str, allowed))
    return UsageError(f"{argument} {shown(given)} is not known; choose from: {choices}.")


def require_choice(
    argument: str, given: object, allowed: Iterable[object], *, none: str = ""
) -> None:
    """Refuse a value outside a list.

    Args:
        argument: what the value is for.
        given: the value.
        allowed: the list.
        none: what is said in place of the choices where there are none.

    Raises:
        UsageError: names argument, value and choices.
    """
    choices = tuple(allowed)
    if given not in choices:
        raise choose(argument, given, choices or [none])


def require_known(settings: object, **allowed: Iterable[object]) -> None:
    """Refuse settings (attributes, by name) that are not among the allowed values.

    Raises:
        UsageError: names the first such setting, its value and the choices.
    """
    for name, choices in allowed.items():
        require_choice(name, getattr(settings, name), choices)


def require_least(settings: object, **least: float) -> None:
    """Refuse settings (attributes, by name) that are smaller than they may be.

    Raises:
        UsageError: names the first such setting, its value and the smallest one.
    """
    for name, bound in least.items():
        if (value := getattr(settings, name)) < bound:
            raise UsageError(f"{name} must be {bound} or more, not {shown(value)}.")
