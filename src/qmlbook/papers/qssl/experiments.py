"""Variants and seeds of every experiment, in both profiles."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ..shared.grids import Experiment, by_name, told, variants
from ..shared.tuning import Settings, Tuning, tuned
from . import runs
from .config import DIGITS, PUBLISHED, SOME_CIFAR10, Hardware, Properties

Choices = dict[str, dict[str, Any]]  # variant -> what it changes

REPRESENTATIONS: Choices = {
    "ring": {},
    "all-to-all": {"network": "all-to-all", "layers": 3},
    "classical": {"network": "classical"},
    "ring-100-shots": {"shots": 100},
    "identity": {"network": "identity"},
    "cosine": {"network": "cosine"},
    "untrained-ring": {"trained": False},
}
SEPARATION = {name: REPRESENTATIONS[name] for name in ("ring", "untrained-ring", "cosine")}

MACHINES: Choices = {
    "ring-paris": {"run_on": "aer-noise"},
    "ring-exact": {},
    "classical": {"network": "classical"},
}

# Classical networks of at most 144 parameters that a search chooses from.
SEARCH: Choices = {
    "leaky-relu": {"network": "classical", "bend": "leaky_relu", "bend_last": True},
    "leaky-relu-between": {"network": "classical", "bend": "leaky_relu", "bend_last": False},
    "tanh": {"network": "classical", "bend": "tanh", "bend_last": True},
    "tanh-between": {"network": "classical", "bend": "tanh", "bend_last": False},
}


def probed(metrics: Mapping[str, Any]) -> tuple[float]:
    """Return the accuracy of the probe, on the images that the search holds out."""
    return (metrics["accuracy_92"],)


TUNING = Tuning(
    trials={"classical-tuned": SEARCH},
    score=probed,
    about="The classical network that did best on held-out training images, of four.",
)

# A step of training in single precision rounds differently on every processor, and 176 steps make
# another network of it: what stays is how good such networks are.
TRAINED_TOLERANCE = 0.15
FULL = replace(PUBLISHED, batches=176)  # nothing is measured afterwards
QUICK = replace(DIGITS, dtype="float32")
NO_HEAD: dict[str, Any] = {"head": False, "batches": 100, "checkpoints": ()}
HELD_OUT: dict[str, Any] = {
    "held_out": 5000,
    "batches": 92,
    "checkpoints": (92,),
    "seeds_from": 1000,
}


def extras(settings: Mapping[str, Settings]) -> dict[str, Settings]:
    """Return what else is pre-trained; the tuned network is the released one before the search.

    Args:
        settings: what `tuned` returns.
    """
    return {
        "ring-100-shots-partial": {"shots": 100, "activation": "partial_measurement_half"},
        "classical-w16": {"network": "classical", "width": 16},
        "classical-w32": {"network": "classical", "width": 32},
        "classical-tuned": settings.get("classical-tuned", SEARCH["leaky-relu"]),
    }


def exact(choices: Mapping[str, Settings]) -> dict[str, Settings]:
    """Leave out what is sampled: a minute a run even for small images."""
    return {name: changes for name, changes in choices.items() if "shots" not in changes}


ABOUT = {
    "pretrain": "pre-training without labels, probed after 1, 92 and 176 batches",
    "extras": "measured qubits between layers, wider and tuned classical networks",
    "separation": "loss and distance between states in a pre-training without head",
    "hardware": "900 test images through trained networks, with noise of ibmq_paris and exactly",
    "tuning": "four classical networks on held-out training images; chooses classical-tuned",
    "properties": "exact statements about both circuits at 2 to 8 qubits",
}


def experiments() -> dict[str, Experiment]:
    """Return all experiments by name, with the settings that ``tuned.yml`` holds now."""
    more = extras(tuned("qssl"))
    make = told(ABOUT, run=runs.run_pretrain, quick_seeds=3)
    training = partial(make, tolerance=TRAINED_TOLERANCE, dtype="float32")
    return by_name(
        training(
            "pretrain",
            variants(FULL, REPRESENTATIONS),
            variants(QUICK, exact(REPRESENTATIONS)),
            seeds=8,
        ),
        training("extras", variants(FULL, more), variants(QUICK, exact(more)), seeds=4),
        training(
            "separation",
            variants(replace(FULL, **NO_HEAD), SEPARATION),
            variants(replace(QUICK, **NO_HEAD), SEPARATION),
            seeds=5,
            run=runs.run_separation,
        ),
        training(
            "hardware",
            variants(Hardware(), MACHINES),
            variants(Hardware(dataset="digits", images=60), MACHINES),
            seeds=8,
            run=runs.run_hardware,
        ),
        training("tuning", variants(replace(FULL, **HELD_OUT), SEARCH), {}, seeds=3),
        make("properties", {"exact": Properties()}, seeds=1, run=runs.run_properties),
    )


# What the chapter trains live, by profile; "cifar10" is the quick one where the images are here.
PRESETS = {
    "quick": variants(DIGITS, REPRESENTATIONS),
    "cifar10": variants(SOME_CIFAR10, REPRESENTATIONS),
    "full": variants(PUBLISHED, REPRESENTATIONS),
}
