"""One room per paper, all with the same furniture.

A room is a folder. In reading order: ``claims.yml`` (what the paper says and the rule that decides
it), ``circuits.py`` (PennyLane functions), ``config.py`` (what a run can be asked), ``models.py``,
``training.py``, ``checks.py`` (what holds without training), ``runs.py`` (from a configuration and
a seed to metrics), ``experiments.py`` (variants and seeds) and ``vectors.py`` (reference values).
Mathematics of a paper's own stays beside them. Rooms never import each other; what several need is
in ``shared``.
"""

import importlib
from pathlib import Path
from typing import Any

from ..base.errors import require_choice
from .shared.grids import PROFILES as PROFILES
from .shared.grids import Experiment as Experiment


def names() -> list[str]:
    """Return the papers, in alphabetical order: every folder here that has a ``claims.yml``."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/claims.yml"))


def validate(selected: list[str] | tuple[str, ...] | None) -> list[str]:
    """Return ``selected``, each once, or all papers when it is empty; refuse unknown names.

    Raises:
        UsageError: names the first unknown paper and lists the known ones.
    """
    known = names()
    for name in selected or ():
        require_choice("paper", name, known)
    return list(dict.fromkeys(selected or known))


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
    """Return the experiments of a paper by name; empty while the paper has only claims.

    They are ``EXPERIMENTS`` of its ``experiments.py``, or what ``experiments()`` there returns,
    where settings are read from a file.
    """
    room = module(paper, "experiments")
    if room is None:
        return {}
    return dict(room.experiments() if hasattr(room, "experiments") else room.EXPERIMENTS)
