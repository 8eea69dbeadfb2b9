"""What every command does alike: errors in one sentence, interruptions in one line, plain letters.

A terminal or a pipe whose encoding lacks a letter gets a readable replacement; files are always
UTF-8. A first signal ends the command in order, programs in hand included; a third at once.
"""

import codecs
import os
import re
import shlex
import signal
import sys
import textwrap
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from .errors import QmlbookError, UsageError, shown

_PLAIN = {
    **{"−": "-", "–": "-", "—": "-", "±": "+/-", "×": "x", "·": "*", "→": "->", "←": "<-"},
    **{"≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "“": '"', "”": '"', "‘": "'", "’": "'"},
}
#: What is said, by whatever library, where a process gets no more memory, threads or address space.
NO_MEMORY = re.compile(
    "MemoryError|failed to map segment|[Cc]an(not|'t) allocate memory|can't start new thread"
    "|Resource temporarily unavailable"
)
_GOES_ON = "What is finished is kept; the same command goes on."
_ANEW = "Nothing is kept of it; the same command starts anew."
_AGAIN = "Still stopping; a third time leaves at once."


def exit_status(command: Callable[[], object], name: str, *words: str, keeps: bool = True) -> int:
    """Run a command; say what goes wrong, or what was interrupted; return the exit status.

    Args:
        command: does the work; what it raises becomes one sentence on standard error.
        name: how the command is called, for instance ``qmlbook``.
        *words: its arguments.
        keeps: whether it keeps what it has finished when it is interrupted.

    Returns:
        0 if all went well, 1 for a failure, 2 for a request that is wrong, 128 and the number of
        the signal for an interruption; what ``command`` asks for if it exits by itself.
    """
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="readable")
    with _interruptible(f"{name} {shlex.join(words)}".rstrip(), keeps) as signals:
        status, sentence = _outcome(command)
        if sentence and not signals:
            print(sentence, file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # nobody takes what is left, and the interpreter would try once more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signals[0] if signals else status


def _outcome(command: Callable[[], object]) -> tuple[int, str]:
    """Run a command; return its exit status and the sentence that says why."""
    try:
        command()
        sys.stdout.flush()
    except SystemExit as stop:
        return (1, stop.code) if isinstance(stop.code, str) else (stop.code or 0, "")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT, "Interrupted."
    except QmlbookError as error:
        return 2 if isinstance(error, UsageError) else 1, f"Error: {error}"
    except BrokenPipeError:  # whoever reads has seen enough
        return 1, ""
    except OSError as error:  # a full disk, no permission: nobody needs a traceback for it
        file = f"{shown(error.filename)}: " if error.filename else ""
        return 1, f"Error: {file}{error.strerror or error}."
    except (MemoryError, ImportError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or NO_MEMORY.search(str(error))):
            raise
        return 1, "Error: there is not enough memory for this."
    return 0, ""


@contextmanager
def _interruptible(words: str, keeps: bool) -> Iterator[list[int]]:
    """Let the first signal end the block in order; yield the list of those that came."""
    signals: list[int] = []
    what = textwrap.shorten(words, 100, placeholder=" ...")
    said = f"Interrupted: {what}. {_GOES_ON if keeps else _ANEW}"

    def interrupt(number: int, _: FrameType | None) -> None:
        signals.append(number)
        if len(signals) > 2:
            os._exit(128 + number)
        # Not by print: the signal may have come in the midst of a write to the same stream.
        os.write(2, f"{said if len(signals) == 1 else _AGAIN}\n".encode())
        if len(signals) == 1:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    usual = {"SIGINT": signal.default_int_handler, "SIGTERM": signal.SIG_DFL}
    replaced = {}
    if threading.current_thread() is threading.main_thread():
        for name, handler in (usual | {"SIGHUP": signal.SIG_DFL}).items():
            number = getattr(signal, name, None)
            if number and signal.getsignal(number) == handler:  # what nohup set stays in force
                replaced[number] = signal.signal(number, interrupt)
    try:
        yield signals
    finally:
        for number, handler in replaced.items():
            if not signals:  # else the interpreter is on its way out and must not be disturbed
                signal.signal(number, handler)


def _readable(error: UnicodeError) -> tuple[str, int]:
    """Replace what an encoding lacks by ASCII; an error handler for :mod:`codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_ascii, error.object[error.start : error.end])), error.end


def _ascii(letter: str) -> str:
    """Return the plainest spelling of a letter: ``-`` for a minus, ``alpha`` for a Greek one."""
    if "\ud800" <= letter <= "\udfff":  # a byte of a file's name that is no text
        return ascii(letter)[1:-1]
    parts = unicodedata.normalize("NFKD", letter)
    if plain := _PLAIN.get(letter) or "".join(filter(str.isascii, parts)):
        return plain
    kind, *words = unicodedata.name(parts[0], "?").split()
    if kind == "GREEK":
        return words[-1].title() if "CAPITAL" in words else words[-1].lower()
    if kind == "BOX":  # the lines of a table
        return "+" if "AND" in words else {"HORIZONTAL": "-", "VERTICAL": "|"}.get(words[-1], "+")
    return "?"


codecs.register_error("readable", _readable)
