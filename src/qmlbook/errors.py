"""Errors that are meant to be read by people."""


class QmlbookError(Exception):
    """Something went wrong that one clear sentence explains; the command exits with status 1."""


class UsageError(QmlbookError):
    """The request itself is wrong (unknown name, bad value); the command exits with status 2."""


def choose(argument: str, given: object, allowed: object) -> UsageError:
    """Return the error for a value outside a list: argument, value, choices."""
    choices = ", ".join(map(str, allowed))
    return UsageError(f"{argument} {given!r} is not known; choose from: {choices}.")
