"""A kernel that notes what the code of a chapter looks at: files, folders, and what is not there.

Run as a program it installs the notes and becomes the usual kernel of Jupyter. It stands alone, so
that it serves whatever library the chapter imports, and notes modules of that library, too.
"""

import hashlib
import importlib.util
import json
import os
import runpy
import shutil  # noqa: F401  (asks for `os.stat` when it is imported, and must meet the real one)
import sys
import threading
from collections.abc import Mapping
from types import FrameType
from typing import Any

#: Environment variables: the file for the notes, and the folders to watch (JSON, name -> path).
NOTES, WATCHED = "QMLBOOK_NOTES", "QMLBOOK_WATCHED"
#: How a path was looked at, the weakest way first: is it there, what is in the folder, in the file?
WAYS = ("path", "folder", "file")
_IMPORTS = ("importlib", "importlib_metadata", "_frozen_importlib_external", "pkgutil")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def state(way: str, path: str) -> str:
    """Return what a look at a path would find now: the way, and a digest or a word.

    Names that are hidden, Markdown, compiled modules, backups and records set aside do not count as
    content of a folder, and a folder without content counts as absent, in another one as well.
    """
    if way == "file":
        try:
            with open(path, "rb") as stream:
                return f"file {hashlib.file_digest(stream, 'sha256').hexdigest()}"
        except OSError:
            return "file absent"
    try:
        entries = sorted(os.listdir(path))
    except NotADirectoryError:
        return f"{way} there"
    except OSError:
        return f"{way} absent"
    content = [name for name in entries if not (_ignored(name) or _is_husk(f"{path}/{name}"))]
    if not content or way == "path":
        return f"{way} {'there' if content else 'absent'}"
    return f"folder {hashlib.sha256(json.dumps(content).encode()).hexdigest()}"


def _ignored(name: str) -> bool:
    return _made(name) or name.endswith((".md", "~", ".rejected"))


def _is_husk(path: str) -> bool:
    """Return whether a folder holds nothing but what was made from what is gone."""
    try:
        return all(map(_made, os.listdir(path)))
    except OSError:  # a file
        return False


def _made(name: str) -> bool:
    """Return whether a name is hidden or compiled: it follows from others, or is under way."""
    return name.startswith(".") or name == "__pycache__"


def _searches_modules(frame: FrameType | None) -> bool:
    """Return whether a folder is listed to find modules or plugins, not for its content."""
    names: list[str] = []
    while frame and len(names) < 6:
        names.append(frame.f_globals.get("__name__", "").partition(".")[0])
        frame = frame.f_back
    # The import system is below every module that is being imported, so only the caller counts.
    return names[0] in _IMPORTS or "stevedore" in names


class Notes:
    """Looks of this process at watched folders, each noted once, at the moment when it happened.

    Args:
        file: where to, a line of JSON for each: name of the folder and path in it, state.
        watched: name -> folder. The innermost one claims a path. Python's own files do not count.
    """

    def __init__(self, file: str, watched: Mapping[str, str]):
        real = {name: os.path.realpath(path) for name, path in watched.items()}
        pairs = {(path, name) for each in (watched, real) for name, path in each.items()}
        self._watched = sorted(pairs, key=lambda pair: -len(pair[0]))
        self._stream = open(file, "a", encoding="utf-8", buffering=1)  # noqa: SIM115
        self._seen: set[tuple[str, str]] = set()
        self._busy = threading.local()  # whether this thread is taking a note, which looks, too

    def start(self) -> None:
        """Begin to note: opened files and listed folders, and paths that are asked for."""
        real = os.stat

        def stat(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
            self.look("path", path)
            return real(path, *arguments, **options)

        for known in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            known.add(stat)
        os.stat = stat
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take an event of Python."""
        if event == "open":
            path, _, flags = arguments
            if not (isinstance(flags, int) and flags & _WRITES):
                self.look("file", path)
        elif event in ("os.listdir", "os.scandir") and not _searches_modules(sys._getframe(1)):
            self.look("folder", arguments[0])

    def look(self, way: str, path: Any) -> None:
        """Note a look at a path, unless it is outside of what is watched."""
        if hasattr(self._busy, "now") or isinstance(path, int) or path is None:
            return
        self._busy.now = True
        try:
            whole = os.path.abspath(os.fsdecode(path))
            if not whole.isprintable():  # a text: IPython asks whether it is the name of a file
                return
            if "__pycache__" in whole and whole.endswith(".pyc"):
                whole = importlib.util.source_from_cache(whole)
            if (way, whole) not in self._seen and (name := self._name(whole)):
                self._seen.add((way, whole))
                self._stream.write(f"{json.dumps([name, state(way, whole)])}\n")
        except (OSError, TypeError, ValueError):  # no path at all: the caller will hear of it
            return
        finally:
            del self._busy.now

    def _name(self, whole: str) -> str:
        for folder, name in self._watched:
            if whole == folder or whole.startswith(folder + os.sep):
                if whole.startswith(sys.prefix + os.sep) and sys.prefix.startswith(folder):
                    return ""  # an environment inside the checkout
                inside = whole[len(folder) + 1 :].split(os.sep)
                return "" if any(map(_made, inside)) else "/".join([name, *inside])
        return ""


if __name__ == "__main__":
    sys.path[0] = ""  # as for any kernel, and not the folder of this file
    Notes(os.environ.pop(NOTES), json.loads(os.environ.pop(WATCHED))).start()
    runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
