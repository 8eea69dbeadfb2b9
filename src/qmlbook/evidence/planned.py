"""What a paper's experiments and claims ask for, without importing what runs them.

A verdict needs names, versions, seeds and keys of settings, and no PyTorch. They are kept in the
cache, under the digest of all that they are made from, and made anew when any of that changes.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pydantic.dataclasses
from pydantic import TypeAdapter, ValidationError

from .. import papers
from ..base import files, paths
from ..base.errors import QmlbookError, UsageError, shown
from .cells import Cell
from .claims import MOST_SEEDS, load_claims
from .store import config_key


@pydantic.dataclasses.dataclass(frozen=True)
class Planned:
    """An experiment as far as verdicts need it.

    Attributes:
        version: raised whenever a fix changes results.
        variants: profile -> variant -> key of its configuration.
        seeds: profile -> variant -> its seeds. In full these are the ones that claims ask for, or
            as many as the experiment says where no claim looks at a variant.
        devices: where it can run.
    """

    version: int
    variants: Mapping[str, Mapping[str, str]]
    seeds: Mapping[str, Mapping[str, tuple[int, ...]]]
    devices: tuple[str, ...]


_FILE = TypeAdapter(dict[str, Planned])


def planned(paper: str) -> dict[str, Planned]:
    """Return the experiments of a paper by name; empty while the paper has only claims.

    Raises:
        UsageError: the paper is not known.
        QmlbookError: its claims cannot be read.
    """
    papers.validate([paper])
    room = Path(papers.__file__).parent / paper
    if not room.is_dir():  # a paper that exists in this process alone
        return _of(paper)
    file = paths.cache_dir() / ".planned" / f"{paper}-{_digest(room)}.json"
    with suppress(QmlbookError, OSError, ValidationError):
        return _FILE.validate_json(file.read_bytes())
    made = _of(paper)
    with suppress(QmlbookError):  # without a cache it is made each time
        for old in file.parent.glob(f"{paper}-*.json"):
            old.unlink(missing_ok=True)
        files.write(file, _FILE.dump_json(made))
    return made


def seeds_of(text: str) -> range:
    """Return the seeds that ``N`` (that many, from 0) or ``A-B`` (both included) stands for.

    Raises:
        UsageError: it is neither.
    """
    if given := re.fullmatch(r"(?:(\d{1,9})-)?(\d{1,9})", text, re.ASCII):
        first, last = given.groups()
        seeds = range(int(last)) if first is None else range(int(first), int(last) + 1)
        if 0 < len(seeds) <= MOST_SEEDS:
            return seeds
    raise UsageError(
        f"seeds is {shown(text)} and must be N, 1 or more, or A-B, both included, and "
        f"{MOST_SEEDS:,} seeds at most."
    )


def seeds_text(seeds: range) -> str:
    """Return ``N`` or ``A-B``, which `seeds_of` reads."""
    return f"{seeds[0]}-{seeds[-1]}" if seeds[0] else str(len(seeds))


def _of(paper: str) -> dict[str, Planned]:
    written = papers.claims_file(paper).is_file()  # not for a paper of this process alone
    asked: defaultdict[Cell, set[int]] = defaultdict(set)
    for claim in load_claims(paper) if written else ():
        for cell in claim.every_cell:
            asked[cell].update(claim.seeds)

    def seeds(experiment: papers.Experiment, profile: str, variant: str) -> tuple[int, ...]:
        wanted = asked[Cell(experiment.name, variant)] if profile == "full" else set()
        return tuple(sorted(wanted) or range(experiment.seeds.get(profile, 0)))

    return {
        name: Planned(
            version=experiment.version,
            variants={
                profile: {variant: config_key(config) for variant, config in variants.items()}
                for profile, variants in experiment.variants.items()
            },
            seeds={
                profile: {variant: seeds(experiment, profile, variant) for variant in variants}
                for profile, variants in experiment.variants.items()
            },
            devices=experiment.devices,
        )
        for name, experiment in papers.experiments(paper).items()
    }


def _digest(room: Path) -> str:
    """Return a digest of what plans are made of: a paper's room, what it stands on, and this one.

    Other papers and what shows results are no part of it: whoever reads a plan looks at this.
    """
    package = room.parent.parent
    folders = (room, room.parent, room.parent / "shared", package / "data", package / "base")
    files_in = [path for folder in folders for path in folder.iterdir() if path.is_file()]
    digest = hashlib.sha256()
    here = [Path(__file__).with_name(f"{name}.py") for name in ("planned", "claims", "store")]
    for path in sorted([*files_in, *here]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
