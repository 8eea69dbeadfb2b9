"""Experiments of the C2Q paper: which runs, in which profile, from how many seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from ..shared.grids import Axis, Experiment, axis, by_name, variants
from .config import CLASSICAL_HEADS, PAIRS, QUANTUM_HEADS, RULES, Config, Network, Properties
from .runs import run, run_properties, run_source

PUBLISHED = Config()
CLASSICAL = replace(PUBLISHED, stepsize=0.001)

# A small faithful version: one epoch of the source network, whose running statistics therefore
# move five times as fast, one source network for all seeds, and fewer digits.
SMALL: dict[str, Any] = {
    "n_train": 2000,
    "n_test": 1000,
    "source_images": 12000,
    "source_epochs": 1,
    "source_averaging": 0.05,
    "source_dtype": "float64",
    "source_seed": 0,
}
QUICK = replace(PUBLISHED, **SMALL)
QUICK_CLASSICAL = replace(CLASSICAL, **SMALL)

# Variants are named <head>-<pair>; quantum heads <convolution>-<pooling>, as in the charts.
ANGLE_HEADS = ("4-zx", "7-general", "10-zx", "10-general", "10-trivial", "11-trivial")
LINEAR = (6, 12, 18, 24, 27, 30, 36, 45, 48, 51, 63)  # parameters of some quantum head


def _quantum(heads: Iterable[str]) -> Axis:
    chosen = {head: QUANTUM_HEADS[head] for head in heads}
    return {
        head: {"ansatz": ansatz, "pooling": pooling} for head, (ansatz, pooling) in chosen.items()
    }


def _linear(sizes: Iterable[int]) -> Axis:
    return {f"linear-{n}": {"head": "linear", "projections": n - 1} for n in sizes}


EVERY, SOME, ONE = (
    _quantum(heads)
    for heads in (QUANTUM_HEADS, ("4-zx", "7-general", "10-general"), ("10-general",))
)
OTHERS = axis("head", CLASSICAL_HEADS)
ON, QUICK_ON = axis("pair", PAIRS), axis("pair", {"2v3": PAIRS["2v3"]})
BY = axis("optimiser", RULES)

# Other processors round features differently; measured between instruction sets, none of the
# accuracies moved by more than a few test images.
TOLERANCE = 5e-3
_experiment = partial(Experiment.of, run=run, seeds=10, tolerance=TOLERANCE)


def _quantum_heads(**changes: Any) -> tuple[dict[str, Config], dict[str, Config]]:
    """Return the variants of both profiles, all with the same changes."""
    return (
        variants(replace(PUBLISHED, **changes), EVERY, ON),
        variants(replace(QUICK, **changes), SOME, QUICK_ON),
    )


EXPERIMENTS = by_name(
    _experiment(
        "source",
        "source networks on the clothes they were trained on",
        {"256": Network(256), "8": Network(8)},
        {"256": Network(256, 12000, 1, 0.05, "float64", 3000)},
        run=run_source,
    ),
    _experiment(
        "grid",
        "the released quantum heads, with both optimisers",
        variants(PUBLISHED, EVERY, ON, BY),
        variants(QUICK, SOME, QUICK_ON, BY),
    ),
    _experiment(
        "classical",
        "the released classical heads, at Keras' step size",
        variants(CLASSICAL, OTHERS, ON),
        variants(QUICK_CLASSICAL, OTHERS, QUICK_ON),
    ),
    _experiment(
        "equal-step",
        "classical and linear heads at the quantum heads' step size",
        variants(PUBLISHED, {**OTHERS, **_linear(LINEAR)}, ON),
        variants(QUICK, {**OTHERS, **_linear((18, 36, 63))}, QUICK_ON),
    ),
    _experiment(
        "small-step",
        "the largest quantum head at the classical heads' step size",
        variants(CLASSICAL, ONE, ON),
        variants(QUICK_CLASSICAL, ONE, QUICK_ON),
    ),
    _experiment(
        "untrained",
        "quantum heads with their initial parameters",
        *_quantum_heads(steps=0),
    ),
    _experiment(
        "random-source",
        "quantum heads on the features of a source network with its initial weights",
        *_quantum_heads(features="untrained"),
    ),
    _experiment(
        "pixels",
        "quantum heads on digits shrunk to 16x16 pixels, without a network",
        *_quantum_heads(features="pixels"),
    ),
    _experiment(
        "angle",
        "quantum heads on 8 features, encoded as angles",
        variants(replace(PUBLISHED, encoding="angle"), _quantum(ANGLE_HEADS), ON),
        variants(replace(QUICK, encoding="angle"), _quantum(("4-zx", "10-general")), QUICK_ON),
    ),
    _experiment(
        "properties",
        "exact statements about all 22 heads, checked at random parameters",
        {"exact": Properties()},
        {"exact": Properties()},
        seeds=1,
        run=run_properties,
        tolerance=1e-9,
    ),
)
# What the chapter trains live, by profile.
PRESETS = {
    "quick": {"quantum": QUICK, "classical": QUICK_CLASSICAL},
    "full": {"quantum": PUBLISHED, "classical": CLASSICAL},
}
