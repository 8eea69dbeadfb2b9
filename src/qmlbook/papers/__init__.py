"""One room per paper, all with the same furniture.

A room is a folder with ``claims.yml`` (what the paper says and the rule that decides it) and, once
the paper is rerun, ``circuits.py``, ``models.py``, ``experiment.py`` and ``vectors.py``. Rooms
never import each other; what several need stands beside them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..base.errors import Profile, choose

if TYPE_CHECKING:
    from torch.nn import Module

PROFILES = get_args(Profile)


@dataclass(frozen=True)
class Experiment:
    """A family of runs that belong in one file of records.

    Attributes:
        name: file name of its records, ``data/results/<paper>/<name>.jsonl``.
        version: raised whenever a fix changes results (``experiment_version`` of a record).
        run: ``run(config, seed) -> metrics``, a dict of numbers or short lists; it must draw all
            randomness from ``rng.stream(seed, ...)``.
        variants: profile -> variant name -> config (a frozen dataclass with a default per field).
        seeds: profile -> number of seeds, 0 .. n-1, of every variant.
        tolerance: largest difference of a metric, relative to the larger of 1 and its size, when a
            stored run is made again on another machine.
        dtype: precision of the run as recorded.
        devices: where it can run; with anything but ``cpu``, ``run`` takes a keyword ``device``.
        about: one line for people.
    """

    name: str
    version: int
    run: Callable[[Any, int], Mapping[str, Any]]
    variants: Mapping[str, Mapping[str, Any]]
    seeds: Mapping[str, int]
    tolerance: float = 1e-9
    dtype: str = "float64"
    devices: tuple[str, ...] = ("cpu",)
    about: str = field(default="", compare=False)

    @classmethod
    def of(
        cls,
        name: str,
        about: str,
        full: Mapping[str, Any],
        quick: Mapping[str, Any],
        *,
        seeds: int,
        quick_seeds: int = 5,
        version: int = 1,
        **options: Any,
    ) -> Experiment:
        """Return an experiment with the variants of both profiles.

        Args:
            name, about, version: as the attributes.
            full, quick: variants of the profiles.
            seeds: of the full profile; the quick one has at most ``quick_seeds`` of them.
            quick_seeds: see ``seeds``.
            **options: the other attributes.
        """
        return cls(
            name=name,
            version=version,
            variants={"quick": quick, "full": full},
            seeds={"quick": min(seeds, quick_seeds), "full": seeds},
            about=about,
            **options,
        )


def by_name(*experiments: Experiment) -> dict[str, Experiment]:
    """Return the experiments of a room by their names, as its ``EXPERIMENTS``."""
    return {experiment.name: experiment for experiment in experiments}


def properties(checks: Mapping[str, Callable[[int], Collection[bool]]], default: str) -> Experiment:
    """Return the experiment ``properties``: statements, each decided by one computation.

    A run gives ``holds``, 1 or 0, and ``checked``, the number of cases.

    Args:
        checks: by name of the statement, ``check(seed)``, which says of every case if it holds.
        default: one of the names; its run is stored under the key of a configuration without
            changes, so that another default would ask for two runs anew.
    """
    settings = make_dataclass("Property", [("name", str, default)], frozen=True)

    def run(config: Any, seed: int) -> dict[str, float]:
        cases = checks[config.name](seed)
        return {"holds": float(all(cases)), "checked": len(cases)}

    variants = {name: settings(name) for name in checks}
    about = "statements that a computation decides"
    return Experiment.of("properties", about, variants, variants, seeds=1, run=run)


def names() -> list[str]:
    """Return the papers, in alphabetical order: every folder here that has a ``claims.yml``."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/claims.yml"))


def validate(selected: list[str] | tuple[str, ...] | None) -> list[str]:
    """Return ``selected``, or all papers when it is empty; refuse unknown names.

    Raises:
        UsageError: names the first unknown paper and lists the known ones.
    """
    known = names()
    for name in selected or ():
        if name not in known:
            raise choose("paper", name, known)
    return list(selected or known)


def claims_file(paper: str) -> Path:
    """Return the path of a paper's ``claims.yml``."""
    return Path(__file__).parent / validate([paper])[0] / "claims.yml"


def module(paper: str, part: str) -> Any | None:
    """Import ``qmlbook.papers.<paper>.<part>``; ``None`` when the room has no such part yet."""
    validate([paper])
    if not (Path(__file__).parent / paper / f"{part}.py").is_file():
        return None
    return importlib.import_module(f"{__name__}.{paper}.{part}")


def experiments(paper: str) -> dict[str, Experiment]:
    """Return the experiments of a paper by name; empty while the paper has only claims."""
    room = module(paper, "experiment")
    return dict(room.EXPERIMENTS) if room else {}


def count_parameters(module: Module) -> int:
    """Return the number of trained numbers of a network."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
