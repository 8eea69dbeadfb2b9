"""Experiments of the C2Q paper: which runs, in which profile, from how many seeds."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product

from ..shared.grids import Experiment, by_name
from .config import CLASSICAL_HEADS, PAIRS, QUANTUM_HEADS, RULES, Config, Network, Properties
from .runs import run, run_properties, run_source

ANGLE_HEADS = ("4-zx", "7-general", "10-zx", "10-general", "10-trivial", "11-trivial")
LINEAR = (6, 12, 18, 24, 27, 30, 36, 45, 48, 51, 63)  # parameters of some quantum head
PUBLISHED = Config()
CLASSICAL = replace(PUBLISHED, stepsize=0.001)
# A small faithful version: one epoch of the source network, whose running statistics therefore
# move five times as fast, one source network for all seeds, and fewer digits.
SMALL = {
    "n_train": 2000,
    "n_test": 1000,
    "source_images": 12000,
    "source_epochs": 1,
    "source_averaging": 0.05,
    "source_dtype": "float64",
    "source_seed": 0,
}
QUICK = replace(PUBLISHED, **SMALL)


def _quantum(template: Config, heads=tuple(QUANTUM_HEADS), pairs=tuple(PAIRS)) -> dict[str, Config]:
    """Name quantum heads ``<convolution>-<pooling>-<pair>`` over a template."""
    return {
        f"{head}-{pair}": replace(
            template,
            pair=PAIRS[pair],
            ansatz=QUANTUM_HEADS[head][0],
            pooling=QUANTUM_HEADS[head][1],
        )
        for pair, head in product(pairs, heads)
    }


def _grid(template: Config, heads=tuple(QUANTUM_HEADS), pairs=tuple(PAIRS)) -> dict[str, Config]:
    return {
        f"{name}-{optimiser}": replace(config, optimiser=optimiser)
        for name, config in _quantum(template, heads, pairs).items()
        for optimiser in RULES
    }


def _classical(template: Config, pairs=tuple(PAIRS)) -> dict[str, Config]:
    return {
        f"{kind}-{pair}": replace(template, head=kind, pair=PAIRS[pair])
        for pair, kind in product(pairs, CLASSICAL_HEADS)
    }


def _linear(template: Config, sizes=LINEAR, pairs=tuple(PAIRS)) -> dict[str, Config]:
    return {
        f"linear-{n}-{pair}": replace(template, head="linear", projections=n - 1, pair=PAIRS[pair])
        for pair, n in product(pairs, sizes)
    }


# Other processors round features differently; measured between instruction sets, none of the
# accuracies moved by more than a few test images.
TOLERANCE = 5e-3
QUICK_HEADS, QUICK_PAIRS = ("4-zx", "7-general", "10-general"), ("2v3",)
_experiment = partial(Experiment.of, run=run, seeds=10, tolerance=TOLERANCE)


def _quick_quantum(**changes) -> dict[str, Config]:
    return _quantum(replace(QUICK, **changes), QUICK_HEADS, QUICK_PAIRS)


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
        _grid(PUBLISHED),
        _grid(QUICK, QUICK_HEADS, QUICK_PAIRS),
    ),
    _experiment(
        "classical",
        "the released classical heads, at Keras' step size",
        _classical(CLASSICAL),
        _classical(replace(CLASSICAL, **SMALL), QUICK_PAIRS),
    ),
    _experiment(
        "equal-step",
        "classical and linear heads at the quantum heads' step size",
        {**_classical(PUBLISHED), **_linear(PUBLISHED)},
        {**_classical(QUICK, QUICK_PAIRS), **_linear(QUICK, (18, 36, 63), QUICK_PAIRS)},
    ),
    _experiment(
        "small-step",
        "the largest quantum head at the classical heads' step size",
        _quantum(CLASSICAL, ("10-general",)),
        _quantum(replace(CLASSICAL, **SMALL), ("10-general",), QUICK_PAIRS),
    ),
    _experiment(
        "untrained",
        "quantum heads with their initial parameters",
        _quantum(replace(PUBLISHED, steps=0)),
        _quick_quantum(steps=0),
    ),
    _experiment(
        "random-source",
        "quantum heads on the features of a source network with its initial weights",
        _quantum(replace(PUBLISHED, features="untrained")),
        _quick_quantum(features="untrained"),
    ),
    _experiment(
        "pixels",
        "quantum heads on digits shrunk to 16x16 pixels, without a network",
        _quantum(replace(PUBLISHED, features="pixels")),
        _quick_quantum(features="pixels"),
    ),
    _experiment(
        "angle",
        "quantum heads on 8 features, encoded as angles",
        _quantum(replace(PUBLISHED, encoding="angle"), ANGLE_HEADS),
        _quantum(replace(QUICK, encoding="angle"), ("4-zx", "10-general"), QUICK_PAIRS),
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
    "quick": {"quantum": QUICK, "classical": replace(CLASSICAL, **SMALL)},
    "full": {"quantum": PUBLISHED, "classical": CLASSICAL},
}
