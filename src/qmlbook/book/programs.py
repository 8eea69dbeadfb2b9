"""Programs that run side by side, and end together when the command is interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from ..base.errors import QmlbookError

#: Seconds a program has to end by itself, its kernel included, before it is killed.
GRACE = 15


class Programs:
    """Programs started by threads; if the ``with`` block is left by an error, they are stopped.

    Each has a session of its own, so that Ctrl-C in a terminal reaches only this process, which
    passes it on once: a second one would keep a program from shutting down its kernel.
    """

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._over = False

    def run(self, command: Sequence[object], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, as :func:`subprocess.run` does, and keep what it says.

        Args:
            command: the program and its arguments.
            **options: of :class:`subprocess.Popen`, ``env`` and ``cwd`` for instance.

        Raises:
            QmlbookError: if the programs were stopped before this one began.
        """
        pipe = subprocess.PIPE
        with self._lock:
            if self._over:
                raise QmlbookError("The command was interrupted.")
            process = subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
                text=True,
                start_new_session=True,
                **options,
            )
            self._running.add(process)
        said = process.communicate()
        with self._lock:
            self._running.remove(process)
        return subprocess.CompletedProcess(process.args, process.returncode, *said)

    def __enter__(self) -> Programs:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop what still runs if an error ended the block."""
        if kind is None:
            return
        with self._lock:
            self._over = True
            running = list(self._running)
        for process in running:
            process.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGINT)
        for process in running:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
