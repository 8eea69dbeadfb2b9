"""Where what a command makes goes: a file or a folder that is named, or standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import FORMATS, QmlbookError, UsageError, WriteError, shown
from .files import write


def file(name: str) -> Path:
    """Return the path of a file to write; ``-`` is standard output.

    Raises:
        UsageError: it is empty, or a folder.
    """
    if not name or name.endswith(("/", os.sep)) or os.path.isdir(name):
        what = "is a folder" if name else "is no name"
        raise UsageError(f"--to {shown(name)} {what}; give the name of a file.")
    return Path(name)


def no_format(name: str) -> str:
    """Return the name of what to write in the format that ``--format`` names.

    Raises:
        UsageError: it is the name of a format.
    """
    if name in FORMATS:  # what follows it was meant as the file
        raise UsageError(
            f"--to {shown(name)} is the name of a format; say --format {name} --to PATH, "
            f"or --to ./{name} for a file of that name."
        )
    return name


def file_of_format(name: str) -> Path:
    """Return the path of a file to write in the format that ``--format`` names.

    Raises:
        UsageError: as :func:`file` and :func:`no_format` do.
    """
    return file(no_format(name))


def folder(name: str, option: str = "--to") -> Path:
    """Return the path of a folder to write, which may be there already.

    Args:
        name: what was given.
        option: the option that it was given to.

    Raises:
        UsageError: it is empty or ``-``, or there is something else of that name or above it.
    """
    places = (Path(name), *Path(name).parents)
    there = next(filter(os.path.lexists, places), Path())
    if name in ("", "-") or (there == places[0] and not there.is_dir()):
        raise UsageError(f"{option} {shown(name)} is no folder; give the name of one.")
    if not there.is_dir():
        raise UsageError(f"{option} {shown(name)} cannot be a folder, because {there} is none.")
    return Path(name)


def put(content: str | bytes, to: Path | None) -> None:
    """Write what was asked for to a file, or show it.

    Args:
        content: all of it, UTF-8 where it is text.
        to: the file; standard output when ``None``.

    Raises:
        UsageError: bytes would go to a terminal.
        QmlbookError: the file cannot be written.
    """
    if to is None or is_stdout(to):
        if isinstance(content, bytes):
            if sys.stdout.isatty():
                raise UsageError("This format is no text; name a file with --to.")
            sys.stdout.buffer.write(content)
        else:
            print(content, end="")
        return
    with written("--to", to, "file"):
        write(to, content.encode() if isinstance(content, str) else content)


@contextmanager
def written(option: str, name: Path | str, what: str) -> Iterator[None]:
    """Say which option names a file or a folder that cannot be written.

    Args:
        option: for instance ``--to``.
        name: what it was given.
        what: ``file`` or ``folder``.

    Raises:
        QmlbookError: where the block raises a ``WriteError``.
    """
    try:
        yield
    except WriteError as error:
        raise QmlbookError(
            f"{option} {name}: the {what} cannot be written ({error.strerror})."
        ) from error


def is_stdout(path: Path) -> bool:
    """Tell whether a file is where standard output goes, by whatever name."""
    try:
        same = os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except OSError:  # no such file, or no output to compare with
        same = False
    return same or str(path) == "-"
