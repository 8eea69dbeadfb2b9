"""Stamps: what an executed notebook was made from, so that no page shows what is no longer so.

While a chapter runs its kernel (:mod:`qmlbook.book.kernel`) notes what the chapter looks at. The
stamp, kept in the notebook's metadata, holds these looks with what they found, beside profile and
parameters. A notebook is fresh while all the same looks would find the same: the source and the
lock of the chapter, the modules and the data that it read, no other file.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..base import paths
from ..base.files import sha256
from .kernel import WAYS, state

#: Places of the reader's own data, which may answer in place of the repository's.
CACHE, OWN = "cache", "own"
LOCKS = ("requirements.lock", "requirements-torch.lock")


def library(root: Path) -> Path:
    """Return the package that chapters of a checkout import: its own, else the running one."""
    own = root / "src" / "qmlbook"
    return own if own.is_dir() else paths.PACKAGE


def has_own_data() -> bool:
    """Return whether the reader has data that could answer in place of the repository's."""
    return bool(paths.named_by("QMLBOOK_DATA")) or any(paths.cache_dir().glob("[!.]*"))


class View:
    """What a chapter sees of a machine: the folders that count, and what a look finds there now.

    Args:
        root: the checkout.
        embedded: whether the reader's own data are hidden.

    Attributes:
        folders: name -> folder.
    """

    def __init__(self, root: Path, *, embedded: bool):
        self.folders = {"project": root.absolute(), "package": library(root).absolute()}
        if not embedded:
            self.folders[CACHE] = paths.cache_dir().absolute()
            if own := paths.named_by("QMLBOOK_DATA"):
                self.folders[OWN] = own.absolute()
        self._found: dict[tuple[str, str], str] = {}

    def finds(self, name: str, way: str) -> str:
        """Return what a look (see :func:`qmlbook.book.kernel.state`) finds; each is done once."""
        if (name, way) not in self._found:
            folder, _, rest = name.partition("/")
            known = folder in self.folders
            now = state(way, str(self.folders[folder] / rest)) if known else f"{way} absent"
            self._found[name, way] = now
        return self._found[name, way]

    def is_fresh(self, stored: Any, profile: str, changed: Mapping[str, Any]) -> bool:
        """Return whether a notebook with such a stamp is what a run would make now.

        Args:
            stored: the notebook's stamp; anything else is never fresh.
            profile: asked for.
            changed: parameters asked for, where they are not the chapter's own.
        """
        try:
            if (stored["profile"], stored["parameters"]) != (profile, changed):
                return False
            looks = stored["looks"]
            asked = {name.partition("/")[0] for name in looks} & {CACHE, OWN}
            # A chapter that asks for images asks the reader's folder first, if there is one.
            if asked and (OWN in asked) != (OWN in self.folders):
                return False
            return all(self.finds(name, was.split()[0]) == was for name, was in looks.items())
        except (AttributeError, LookupError, TypeError):  # another kind of stamp, or none
            return False


def stamp_of(target: Path) -> Any:
    """Return what an executed notebook was made from; ``None`` if there is no readable one."""
    try:
        return json.loads(target.read_text("utf-8"))["metadata"].get("qmlbook")
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def looks(notes: Path, source: Path, content: bytes, root: Path) -> dict[str, str]:
    """Return the looks of a run, with the source and the lock of the chapter: name -> found.

    Args:
        notes: the file that the kernel wrote.
        source: the chapter.
        content: what the chapter held when it was run.
        root: the checkout.
    """
    noted = {
        f"project/{source.relative_to(root).as_posix()}": f"file {sha256(content)}",
        **{f"project/{name}": state("file", str(root / name)) for name in LOCKS},
    }
    for line in notes.read_text("utf-8").splitlines() if notes.is_file() else ():
        name, what = json.loads(line)
        known = noted.get(name)
        if known is None or _strength(what) > _strength(known):
            noted[name] = what
    return dict(sorted(noted.items()))


def _strength(found: str) -> int:
    return WAYS.index(found.split()[0])
