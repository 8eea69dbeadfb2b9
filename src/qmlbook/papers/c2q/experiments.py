"""Experiments of the C2Q paper: which runs, in which profile, from how many seeds."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from typing import Any

from ..shared.grids import Axis, Experiment, axis, by_name, told, variants
from ..shared.splits import SPOILED
from ..shared.tuning import Settings, Tuning, adjusted, tuned
from .circuits import GATE_SETS
from .config import CLASSICAL_HEADS, PAIRS, QUANTUM_HEADS, RULES, Config, Network, Properties
from .runs import predict, run, run_properties, run_source, run_tuning

PUBLISHED = Config()
KERAS_STEP = 0.001
CLASSICAL = replace(PUBLISHED, stepsize=KERAS_STEP)

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
    fields = ("ansatz", "pooling")
    return {head: dict(zip(fields, QUANTUM_HEADS[head], strict=True)) for head in heads}


def _linear(sizes: Iterable[int]) -> Axis:
    return {f"linear-{n}": {"head": "linear", "projections": n - 1} for n in sizes}


def _quadratic(sizes: Iterable[int]) -> Axis:
    return {f"quadratic-{n}": {"head": "quadratic", "size": n} for n in sizes}


EVERY, SOME, ONE = (
    _quantum(heads)
    for heads in (QUANTUM_HEADS, ("4-zx", "7-general", "10-general"), ("10-general",))
)
OTHERS = axis("head", CLASSICAL_HEADS)
ON, QUICK_ON = axis("pair", PAIRS), axis("pair", {"2v3": PAIRS["2v3"]})

# --- tuning ---

# Eight trials for the two largest heads and their rivals, on every pair: step size and batch size.
RIVALS = {**OTHERS, **_linear((51, 63)), **_quadratic((51, 63))}
NETWORKS = variants(PUBLISHED, {**_quantum(("10-general", "10-zx")), **RIVALS}, ON)
TRIALS = [
    {"stepsize": step, "batch_size": size}
    for step, size in product((0.003, 0.01, 0.03, 0.1), (50, 100))
]


def trials(network: str) -> dict[str, Settings]:
    """Return the eight settings that a head may choose from, by their variant of ``tuning``."""
    return {f"{network}-{number}": settings for number, settings in enumerate(TRIALS)}


TUNING = Tuning(
    trials={network: trials(network) for network in NETWORKS},
    score=lambda metrics: (metrics["accuracy"], -metrics["cost"]),
    about="The settings of every head that did best on a fifth of the training digits, by mean "
    "accuracy over two seeds and then by cost, of eight each.",
)


# --- experiments ---

# The curve of accuracy against step size: ten steps, quantum heads of ten sizes, all others.
STEPS = (0.0003, 0.001, 0.003, 0.006, 0.01, 0.02, 0.03, 0.06, 0.1, 0.3)
TEN_HEADS = (
    *("1-zx", "2-zx", "4-zx", "7-zx", "11-trivial", "7-general", "10-trivial", "8-general"),
    *("10-zx", "10-general"),
)
CURVES = {**_quantum(TEN_HEADS), **OTHERS, **_linear((18, 36, 63)), **_quadratic((18, 36, 63))}
SPOILT = {**ONE, "1d": {"head": "1d"}, **_linear((63,)), **_quadratic((63,))}

# Other processors round features differently; measured between instruction sets, none of the
# accuracies moved by more than a few test images.
TOLERANCE = 5e-3
ABOUT = {
    "source": "source networks on the clothes they were trained on",
    "grid": "the released quantum heads, with both optimisers",
    "classical": "the released classical heads, at Keras' step size",
    "equal-step": "classical and linear heads at the quantum heads' step size",
    "small-step": "the largest quantum head at the classical heads' step size",
    "untrained": "quantum heads with their initial parameters",
    "random-source": "quantum heads on the features of a source network with its initial weights",
    "pixels": "quantum heads on digits shrunk to 16x16 pixels, without a network",
    "angle": "quantum heads on 8 features, encoded as angles",
    "local": "quantum heads without gates on two wires, all wires read by a trained combination",
    "quadratic": "low-rank quadratic forms of random projections, trained as the quantum heads",
    "pixels-classical": "classical and linear heads on 16x16 pixels, at the quantum heads' step",
    "curve": "accuracy against step size, heads of all sizes, 2 v 3",
    "spoiled": "labels shuffled, or noise as images: what leaks through",
    "tuning": "eight configurations of every head on held-out digits; chooses for `tuned`",
    "tuned": "the two largest quantum heads and their rivals with settings by `tuning`",
    "properties": "exact statements about all 22 heads, checked at random parameters",
}
PREDICTED = {  # those of the first figure
    "grid": ("10-general-2v3-adam", "10-general-8v9-adam"),
    "classical": ("1d-2v3", "1d-8v9"),
    "equal-step": ("1d-2v3", "1d-8v9", "linear-63-2v3", "linear-63-8v9"),
}
_experiment = told(ABOUT, run=run, seeds=10, tolerance=TOLERANCE)


def _heads(
    name: str, full: Axis = EVERY, quick: Axis = SOME, by: tuple[Axis, ...] = (), **changes: Any
) -> Experiment:
    """Return heads on the pairs of digits of each profile, all with the same changes."""
    return _experiment(
        name,
        variants(replace(PUBLISHED, **changes), full, ON, *by),
        variants(replace(QUICK, **changes), quick, QUICK_ON, *by),
        predict=predict,
        predicted=PREDICTED.get(name, ()),
    )


def experiments() -> dict[str, Experiment]:
    """Return all experiments by name, with the settings that ``tuned.yml`` holds now."""
    return by_name(
        _experiment(
            "source",
            {"256": Network(256), "8": Network(8)},
            {"256": Network(256, 12000, 1, 0.05, "float64", 3000)},
            run=run_source,
        ),
        _heads("grid", by=(axis("optimiser", RULES),)),
        _heads("classical", OTHERS, OTHERS, stepsize=KERAS_STEP),
        _heads("equal-step", {**OTHERS, **_linear(LINEAR)}, {**OTHERS, **_linear((18, 36, 63))}),
        _heads("small-step", ONE, ONE, stepsize=KERAS_STEP),
        _heads("untrained", steps=0),
        _heads("random-source", features="untrained"),
        _heads("pixels", features="pixels"),
        _heads("angle", _quantum(ANGLE_HEADS), _quantum(("4-zx", "10-general")), encoding="angle"),
        _heads("local", by=(axis("gates", GATE_SETS[1:]),)),
        _heads("quadratic", _quadratic(LINEAR), _quadratic((18, 36, 63))),
        _heads(
            "pixels-classical",
            {**OTHERS, **_linear(LINEAR)},
            {**OTHERS, **_linear((18, 36, 63))},
            features="pixels",
        ),
        _experiment("curve", variants(PUBLISHED, CURVES, QUICK_ON, axis("stepsize", STEPS)), {}),
        _heads("spoiled", SPOILT, SPOILT, by=(axis("spoiled", SPOILED[1:]),)),
        _experiment("tuning", TUNING.configs(NETWORKS), {}, seeds=2, run=run_tuning),
        _experiment("tuned", adjusted(NETWORKS, tuned("c2q")), {}),
        _experiment(
            "properties", {"exact": Properties()}, seeds=1, run=run_properties, tolerance=1e-9
        ),
    )


# What the chapter trains live, by profile.
PRESETS = {
    "quick": {"quantum": QUICK, "classical": QUICK_CLASSICAL},
    "full": {"quantum": PUBLISHED, "classical": CLASSICAL},
}
