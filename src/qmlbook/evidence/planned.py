"""What a paper's experiments ask for, without importing what runs them.

A verdict needs names, versions, seeds and keys of settings, and no PyTorch. They are kept in the
cache, under the digest of all that they are made from, and made anew when any of that changes.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pydantic.dataclasses
from pydantic import TypeAdapter, ValidationError

from .. import papers
from ..base import files, paths
from ..base.errors import QmlbookError
from .store import config_key


@pydantic.dataclasses.dataclass(frozen=True)
class Planned:
    """An experiment as far as verdicts need it.

    Attributes:
        version: raised whenever a fix changes results.
        variants: profile -> variant -> key of its configuration.
        seeds: profile -> number of seeds of every variant.
        devices: where it can run.
    """

    version: int
    variants: Mapping[str, Mapping[str, str]]
    seeds: Mapping[str, int]
    devices: tuple[str, ...]


_FILE = TypeAdapter(dict[str, Planned])


def planned(paper: str) -> dict[str, Planned]:
    """Return the experiments of a paper by name; empty while the paper has only claims.

    Raises:
        UsageError: the paper is not known.
    """
    papers.validate([paper])
    room = Path(papers.__file__).parent / paper
    if not room.is_dir():  # a paper that exists in this process alone
        return _of(papers.experiments(paper))
    file = paths.cache_dir() / ".planned" / f"{paper}-{_digest(room)}.json"
    with suppress(QmlbookError, OSError, ValidationError):
        return _FILE.validate_json(file.read_bytes())
    made = _of(papers.experiments(paper))
    with suppress(QmlbookError):  # without a cache it is made each time
        for old in file.parent.glob(f"{paper}-*.json"):
            old.unlink(missing_ok=True)
        files.write(file, _FILE.dump_json(made))
    return made


def _of(experiments: Mapping[str, papers.Experiment]) -> dict[str, Planned]:
    return {
        name: Planned(
            version=experiment.version,
            variants={
                profile: {variant: config_key(config) for variant, config in variants.items()}
                for profile, variants in experiment.variants.items()
            },
            seeds=experiment.seeds,
            devices=experiment.devices,
        )
        for name, experiment in experiments.items()
    }


def _digest(room: Path) -> str:
    """Return a digest of what plans are made of: a paper's room, what it stands on, and this one.

    Other papers and what shows results are no part of it: whoever reads a plan looks at this.
    """
    package = room.parent.parent
    folders = (room, room.parent, room.parent / "shared", package / "data", package / "base")
    files_in = [path for folder in folders for path in folder.iterdir() if path.is_file()]
    digest = hashlib.sha256()
    for path in sorted([*files_in, Path(__file__), Path(__file__).with_name("store.py")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
