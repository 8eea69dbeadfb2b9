"""Errors that are meant to be read by people."""

from collections.abc import Iterable


class QmlbookError(Exception):
    """Something went wrong that one clear sentence explains; the command exits with status 1."""


class UsageError(QmlbookError):
    """The request itself is wrong (unknown name, bad value); the command exits with status 2."""


class WriteError(QmlbookError, OSError):
    """Something cannot be written, a full disk for instance; also the error that Python raises."""


def shown(given: object) -> str:
    """Return a value as a sentence shows it: quoted, on one line, and never long.

    Of a long one the end is shown, too, where a path has its name.
    """
    text = ascii(given) if isinstance(given, str) and not given.isprintable() else repr(given)
    return text if len(text) <= 80 else f"{text[:35]}...{text[-35:]} ({len(text)} characters)"


def choose(argument: str, given: object, allowed: Iterable[object]) -> UsageError:
    """Return the error for a value outside a list: argument, value, choices."""
    choices = ", ".join(map(str, allowed))
    return UsageError(f"{argument} {shown(given)} is not known; choose from: {choices}.")
