"""How often the rule of a referee errs, on cases whose truth is known.

A case is drawn from stored runs: the leads over several controls in one seed are drawn together,
moved so that their means are the truth. Everything but the training is done as in
a real case: a pilot, seeds by power, fresh draws, the rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..base.rng import stream
from ..evidence import stats
from ..evidence.claims import load_claims
from ..evidence.verdicts import load_runs, value_of
from ..papers import names
from .decide import PILOT, Floats, rule, seeds_for

CASES = 500
FAR = 10.0  # margins by which other rivals are behind, where one decides


class Rate(NamedTuple):
    """How often something happened, with a one-sided 95 % bound on either side."""

    share: float
    low: float
    high: float
    seeds: float  # planned, on average
    cases: int


# kind -> true leads over the rivals, in margins, and the word that is counted
def _one(lead: float) -> Callable[[int], Floats]:
    return lambda rivals: np.array([lead, *[FAR] * (rivals - 1)])


def _all(lead: float) -> Callable[[int], Floats]:
    return lambda rivals: np.full(rivals, lead)


KINDS: dict[str, tuple[Callable[[int], Floats], str]] = {
    "adds nothing": (_one(0.0), stats.SURVIVES),
    "adds exactly the margin": (_one(1.0), stats.SURVIVES),
    "adds twice the margin over every rival": (_all(2.0), stats.SURVIVES),
    "adds just more than the margin over every rival": (_all(1.001), stats.EXPLAINED_BY),
}


def stored_laws(least: int = 2, seeds: int = 20) -> dict[str, Floats]:
    """Return the laws of leads over controls that stored runs show, (controls, draws) by name.

    Claims of a paper with the same controls are one law. Leads of each are taken about their own
    mean and in units of their own spread, and pooled: what is fitted is the shape, and how leads
    over several controls go together. The rule is the same in all units.

    Args:
        least: controls that a law must have.
        seeds: draws that it must have.
    """
    pooled: dict[str, list[Floats]] = {}
    for paper in names():
        runs = load_runs(paper)
        for claim in load_claims(paper):
            controls = claim.controls if not isinstance(claim.controls, str) else {}
            if len(controls) < least or claim.kind == "property":
                continue
            cells = [claim.cells(claim.variants), *map(claim.cells, controls.values())]
            have = [set(runs.usable.get(cell, {})) for group in cells for cell in group]
            common = sorted(set.intersection(*have))
            if len(common) < stats.MIN_PAIRS:
                continue
            values = np.array([
                [np.mean([value_of(claim, runs.usable[cell][seed]) for cell in group])
                 for seed in common] for group in cells
            ])  # fmt: skip
            leads = values[0] - values[1:]
            if (leads.std(1) == 0).any():  # a control that is the circuit in every run has no law
                continue
            name = f"{paper}: {', '.join(sorted(controls))}"
            pooled.setdefault(name, []).append(_standard(leads))
    laws = {name: np.concatenate(parts, 1) for name, parts in pooled.items()}
    return {name: law for name, law in laws.items() if law.shape[1] >= seeds}


def _standard(leads: Floats) -> Floats:
    return (leads - leads.mean(1, keepdims=True)) / leads.std(1, ddof=1, keepdims=True)


def rates(law: Floats, margin: float, cases: int = CASES, seed: int = 0) -> dict[str, Rate]:
    """Return how often each kind of case is given the word that is counted for it.

    Args:
        law: leads that cases are drawn from, (rivals, draws); their means do not matter.
        margin: of the rule.
        cases: of each kind.
        seed: of the draws.
    """
    centred, rivals = law - law.mean(1, keepdims=True), len(law)
    made = {}
    for kind, (truth, word) in KINDS.items():
        rng = stream(seed, "referee", "rates", kind)
        moved = centred + margin * truth(rivals)[:, None]
        hits, planned = 0, []
        for _ in range(cases):
            n = seeds_for(moved[:, rng.integers(moved.shape[1], size=PILOT)], margin)
            survives, explaining = rule(moved[:, rng.integers(moved.shape[1], size=n)], margin)
            hits += int(survives if word == stats.SURVIVES else explaining.any())
            planned.append(n)
        made[kind] = Rate(hits / cases, *bounds(hits, cases), float(np.mean(planned)), cases)
    return made


def bounds(hits: int, n: int) -> tuple[float, float]:
    """Return the bounds of Clopper and Pearson, each missed in one of twenty studies."""
    from scipy.special import betaincinv

    low = betaincinv(hits, n - hits + 1, 0.05) if hits else 0.0
    high = betaincinv(hits + 1, n - hits, 0.95) if hits < n else 1.0
    return float(low), float(high)
