"""The rule of a referee: from runs of a circuit and its rivals to one of the book's words.

The circuit *survives* if the 99 % interval of its lead lies above the margin for every rival. It is
*explained by* a rival over which its lead is surely at most the margin, where several rivals share
the 0.5 % in which such a rule may err, by Holm's method. It is *undecided* otherwise. The book's
own claims have intervals at 95 %; nobody knows the law of a new case, and with some skewed laws of
stored runs that rule erred more often than in one case of twenty.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..evidence import stats

SIDE = 0.005  # chance of an error on one side
PILOT = 6  # seeds of a pilot, at least
UPPER = 0.8  # limit of the spread that seeds are planned for
LEAST, MOST = 30, 1000  # seeds; of fewer, one run in ten that fails is too often unseen
TARGET = 2  # times the margin: the lead that is to be seen

Floats = NDArray[np.float64]


class Decision(NamedTuple):
    """A word, and the interval of the lead over each rival."""

    word: str
    intervals: dict[str, stats.Interval]


def decide(leads: Mapping[str, ArrayLike], margin: float) -> Decision:
    """Apply the rule.

    Args:
        leads: rival -> circuit minus rival, (seeds,).
        margin: a lead of this size would not matter.
    """
    names = list(leads)
    values = np.array([np.asarray(leads[name], dtype=float) for name in names])
    survives, explaining = rule(values, margin)
    intervals = {name: interval(row) for name, row in zip(names, values, strict=True)}
    if survives:
        return Decision(stats.SURVIVES, intervals)
    if explaining.any():
        found = ", ".join(name for name, is_one in zip(names, explaining, strict=True) if is_one)
        return Decision(f"{stats.EXPLAINED_BY} {found}", intervals)
    return Decision(stats.UNDECIDED, intervals)


def interval(values: ArrayLike) -> stats.Interval:
    """Return the 99 % t interval of the mean of (seeds,)."""
    from scipy.special import stdtrit

    mean, _, high, n = stats.t_interval(values)
    half = (high - mean) * stdtrit(n - 1, 1 - SIDE) / stdtrit(n - 1, (1 + stats.LEVEL) / 2)
    return stats.Interval(float(mean), float(mean - half), float(mean + half), n)


def rule(leads: Floats, margin: float) -> tuple[bool, NDArray[np.bool_]]:
    """Return whether a circuit survives, and which rivals explain it; leads are (rivals, seeds)."""
    from scipy.special import stdtr

    rivals, n = leads.shape
    mean, se = leads.mean(1), leads.std(1, ddof=1) / np.sqrt(n)
    flat = se <= 1e-12
    t = (mean - margin) / np.where(flat, 1.0, se)
    ahead = np.where(flat, (mean <= margin) * 1.0, stdtr(n - 1, -t))  # p of "leads by the margin"
    behind = np.where(flat, (mean > margin) * 1.0, stdtr(n - 1, t))  # p of "leads by more"
    order = np.argsort(behind)
    holm = behind[order] <= SIDE / np.arange(rivals, 0, -1)
    explaining = np.zeros(rivals, dtype=bool)
    explaining[order] = np.cumprod(holm).astype(bool)
    return bool((ahead < SIDE).all()), explaining


def seeds_for(pilot: Floats, margin: float) -> int:
    """Return how many seeds let a circuit survive that leads every rival by twice the margin.

    In 80 % of studies it then survives all of them together, if the spread of its leads is the
    upper 80 % limit of what the pilot shows.

    Args:
        pilot: circuit minus rival, (rivals, seeds); these seeds are not used again.
        margin: of the rule.
    """
    from scipy.special import chdtri

    rivals, n = pilot.shape
    # chdtri(df, p) is exceeded with probability p.
    limit = pilot.std(1, ddof=1).max() * np.sqrt((n - 1) / chdtri(n - 1, UPPER))
    wide = np.sqrt(np.arange(LEAST, MOST + 1)) * (TARGET - 1) * margin / reach(rivals)
    return LEAST + int(np.searchsorted(wide, limit)) if limit <= wide[-1] else MOST


@cache
def reach(rivals: int) -> Floats:
    """Return by how many standard errors a lead must exceed the margin, for 30 to 1,000 seeds.

    Then it fails to be seen for each rival in at most a share of 20 %, which they divide.
    """
    from scipy.special import nctdtrinc, stdtrit

    df = np.arange(LEAST, MOST + 1) - 1.0
    return nctdtrinc(df, (1 - stats.POWER) / rivals, stdtrit(df, 1 - SIDE))


def above_chance(scores: ArrayLike, chance: float, margin: float) -> bool:
    """Return whether scores of a sanity check are surely above chance by more than the margin."""
    return bool(interval(scores).low > chance + margin)
