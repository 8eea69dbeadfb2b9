"""Variants and seeds of every experiment, in both profiles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from ..shared.grids import Experiment, by_name
from . import runs
from .config import DIGITS, PUBLISHED, SOME_CIFAR10, Config, Hardware, Properties

NETWORKS: dict[str, dict[str, Any]] = {
    "ring": {},
    "all-to-all": {"network": "all-to-all", "layers": 3},
    "classical": {"network": "classical"},
    "ring-100-shots": {"shots": 100},
    "identity": {"network": "identity"},
    "cosine": {"network": "cosine"},
    "untrained-ring": {"trained": False},
}

# Classical networks of at most 144 parameters that a search chooses from.
SEARCH: dict[str, dict[str, Any]] = {
    "leaky-relu": {"network": "classical", "bend": "leaky_relu", "bend_last": True},
    "leaky-relu-between": {"network": "classical", "bend": "leaky_relu", "bend_last": False},
    "tanh": {"network": "classical", "bend": "tanh", "bend_last": True},
    "tanh-between": {"network": "classical", "bend": "tanh", "bend_last": False},
}
TUNED = Path(__file__).with_name("tuned.yml")


def tuned() -> str:
    """Return the name of the classical network that the search chose (``tuned.yml``).

    Before the search it is the released one.
    """
    if not TUNED.exists():
        return "leaky-relu"
    return yaml.safe_load(TUNED.read_text(encoding="utf-8"))["classical-tuned"]


def best(records: Iterable[Any]) -> str | None:
    """Return the classical network of highest mean accuracy in the search.

    Args:
        records: of any runs; those of the full profile of ``tuning`` count.

    Returns:
        Its name, ``None`` unless all four have the same number of runs.
    """
    scores: dict[str, list[float]] = {name: [] for name in SEARCH}
    for record in records:
        place = (record.experiment, record.profile, record.status)
        if place == ("tuning", "full", "ok"):
            scores[record.variant].append(record.metrics["accuracy_92"])
    if len({len(found) for found in scores.values()}) > 1 or not scores["leaky-relu"]:
        return None
    return max(scores, key=lambda name: fmean(scores[name]))


# A step of training in single precision rounds differently on every processor, and 176 steps make
# another network of it: what stays is how good such networks are.
TRAINED_TOLERANCE = 0.15
QUICK = replace(DIGITS, dtype="float32")


def _variants(template: Config, networks: dict[str, dict[str, Any]]) -> dict[str, Config]:
    return {name: replace(template, **changes) for name, changes in networks.items()}


def _exact(networks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Leave out what is sampled: a minute a run even for small images."""
    return {name: changes for name, changes in networks.items() if "shots" not in changes}


_experiment = partial(
    Experiment.of,
    run=runs.run_pretrain,
    quick_seeds=3,
    tolerance=TRAINED_TOLERANCE,
    dtype="float32",
)


FULL = replace(PUBLISHED, batches=176)  # nothing is measured afterwards
EXTRAS: dict[str, dict[str, Any]] = {
    "ring-100-shots-partial": {"shots": 100, "activation": "partial_measurement_half"},
    "classical-w16": {"network": "classical", "width": 16},
    "classical-w32": {"network": "classical", "width": 32},
    "classical-tuned": SEARCH[tuned()],
}
SEPARATION = {name: NETWORKS[name] for name in ("ring", "untrained-ring", "cosine")}
NO_HEAD: dict[str, Any] = {"head": False, "batches": 100, "checkpoints": ()}
HELD_OUT: dict[str, Any] = {
    "held_out": 5000,
    "batches": 92,
    "checkpoints": (92,),
    "seeds_from": 1000,
}


def _hardware(**changes) -> dict[str, Hardware]:
    return {
        "ring-paris": Hardware(run_on="aer-noise", **changes),
        "ring-exact": Hardware(**changes),
        "classical": Hardware(network="classical", **changes),
    }


EXPERIMENTS = by_name(
    _experiment(
        "pretrain",
        "pre-training without labels, probed after 1, 92 and 176 batches",
        _variants(FULL, NETWORKS),
        _variants(QUICK, _exact(NETWORKS)),
        seeds=8,
    ),
    _experiment(
        "extras",
        "measured qubits between layers, wider and tuned classical networks",
        _variants(FULL, EXTRAS),
        _variants(QUICK, _exact(EXTRAS)),
        seeds=4,
    ),
    _experiment(
        "separation",
        "loss and distance between states in a pre-training without head",
        _variants(replace(FULL, **NO_HEAD), SEPARATION),
        _variants(replace(QUICK, **NO_HEAD), SEPARATION),
        seeds=5,
        run=runs.run_separation,
    ),
    _experiment(
        "hardware",
        "900 test images through trained networks, under the noise of ibmq_paris and exactly",
        _hardware(),
        _hardware(dataset="digits", images=60),
        seeds=8,
        run=runs.run_hardware,
    ),
    _experiment(
        "tuning",
        "four classical networks on held-out training images; chooses classical-tuned",
        _variants(replace(FULL, **HELD_OUT), SEARCH),
        {},
        seeds=3,
    ),
    _experiment(
        "properties",
        "exact statements about both circuits at 2 to 8 qubits",
        {"exact": Properties()},
        {"exact": Properties()},
        seeds=1,
        run=runs.run_properties,
        tolerance=1e-9,
        dtype="float64",
    ),
)

# What the chapter trains live, by profile; "cifar10" is the quick one where the images are here.
PRESETS = {
    "quick": _variants(DIGITS, NETWORKS),
    "cifar10": _variants(SOME_CIFAR10, NETWORKS),
    "full": _variants(PUBLISHED, NETWORKS),
}
