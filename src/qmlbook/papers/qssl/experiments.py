"""Variants and seeds of every experiment, in both profiles."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

from ..shared.grids import Experiment, axis, by_name, read_numbers, told, variants
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
# The points of Figs. 5 and 9, and the last one of the recorded lists, which the figures leave out.
CURVE = (1, 14, 27, 40, 53, 66, 79, 92, 98, 111, 124, 137, 150, 163, 176, 189)
PARTIAL: Settings = {"shots": 100, "activation": "partial_measurement_half"}
LOCAL: Choices = {how: {"gates": how} for how in ("removed", "uncontrolled")}
CURVES: Choices = {name: REPRESENTATIONS[name] for name in REPRESENTATIONS if name != "cosine"}
CURVES |= LOCAL
WIDTHS = (2, 4, 8, 16, 32, 512)  # [arXiv v1, Fig. 7]; 512 is no compression
# Rivals of the circuit's size, of its own waves, and circuits and angles read through as many
# features as wider classical networks have.
RIVALS: Choices = {
    "neighbours": {"network": "neighbours"},
    "fourier": {"network": "fourier"},
    "ring-16": {"read": "pairs"},
    "ring-32": {"read": "axes"},
    "identity-16": {"network": "identity", "width": 16},
    "identity-32": {"network": "identity", "width": 32},
    "ring-labels": {"spoiled": "labels"},
    "classical-labels": {"network": "classical", "spoiled": "labels"},
}
# What the text says and the released code does otherwise. (That the code keeps the best epoch of a
# probe and the text its last needs no run: every run records both.)
TEXT: Choices = {
    "ring-views": {"views": "text"},
    "classical-views": {"network": "classical", "views": "text"},
    "ring-two-term": {"gradient": "two-term"},
}
SEPARATION = {name: REPRESENTATIONS[name] for name in ("ring", "untrained-ring", "cosine")}
STATES = {name: CURVES[name] for name in ("ring", "untrained-ring", *LOCAL)}
HEADLINES = ("ring", "ring-100-shots", "classical")  # keep what they say of every test image

MACHINES: Choices = {
    "ring-paris": {"run_on": "aer-noise"},
    "ring-exact": {},
    "classical": {"network": "classical"},
}
# As the text has it: a network trained with 100 shots, and as many on the machine [arXiv v1, II.F].
PARIS: Settings = {"network": "ring-100-shots", "run_on": "aer-noise"}
AS_PUBLISHED: Choices = {
    "paris-100": {**PARIS, "shots": 100},
    "paris-100-mitigated": {**PARIS, "shots": 100, "mitigate": True},
    "paris-100-any": {**PARIS, "shots": 100, "recompiled": "any"},
    "paris-100-line": {**PARIS, "shots": 100, "recompiled": "line"},
    "paris-1000": dict(PARIS),
    "paris-1000-mitigated": {**PARIS, "mitigate": True},
    "exact": {"network": "ring-100-shots"},
    "classical": {"network": "classical"},
}

# Classical networks of at most 144 parameters that a search chooses from.
SEARCH: Choices = {
    "leaky-relu": {"network": "classical", "bend": "leaky_relu", "bend_last": True},
    "leaky-relu-between": {"network": "classical", "bend": "leaky_relu", "bend_last": False},
    "tanh": {"network": "classical", "bend": "tanh", "bend_last": True},
    "tanh-between": {"network": "classical", "bend": "tanh", "bend_last": False},
}


# Equal effort: the same eight trials for the ring and for the classical network.
EQUAL: Choices = {"ring": {}, "classical": {"network": "classical"}}
TRIALS: list[Settings] = [
    {"learning_rate": rate, "temperature": temperature}
    for rate, temperature in product((3e-4, 1e-3, 3e-3, 1e-2), (0.07, 0.2))
]


def trials(network: str) -> dict[str, Settings]:
    """Return the eight settings that a network chooses from, by their variant of ``tuning``."""
    return {
        f"{network}-{number}": {**EQUAL[network], **settings}
        for number, settings in enumerate(TRIALS)
    }


def probed(metrics: Mapping[str, Any]) -> tuple[float]:
    """Return the accuracy of the probe, on the images that the search holds out."""
    return (metrics["accuracy_92"],)


TUNING = Tuning(
    trials={"classical-tuned": SEARCH, **{f"{name}-equal": trials(name) for name in EQUAL}},
    score=probed,
    about="The classical network that did best on held-out training images, of four; the ring and "
    "the classical network with the rate and the temperature that did best there, of eight.",
)

# A step of training in single precision rounds differently on every processor, and 176 steps make
# another network of it: what stays is how good such networks are.
TRAINED_TOLERANCE = 0.15
FULL = replace(PUBLISHED, batches=176)  # nothing is measured afterwards
LONG = replace(PUBLISHED, batches=max(CURVE), checkpoints=CURVE)
END = replace(FULL, checkpoints=(176,))
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
        "ring-100-shots-partial": PARTIAL,
        "classical-w16": {"network": "classical", "width": 16},
        "classical-w32": {"network": "classical", "width": 32},
        "classical-tuned": settings.get("classical-tuned", SEARCH["leaky-relu"]),
    }


def equal(settings: Mapping[str, Settings]) -> dict[str, Settings]:
    """Return the ring and the classical network as tuned with equal effort, or as released.

    Args:
        settings: what `tuned` returns.
    """
    return {name: settings.get(f"{name}-equal", changes) for name, changes in EQUAL.items()}


def published() -> dict[str, Any]:
    """Return numbers read off the paper's figures, as ``published.yml`` says."""
    return read_numbers("qssl", "published.yml")


def exact(choices: Mapping[str, Settings]) -> dict[str, Settings]:
    """Leave out what is sampled: a minute a run even for small images."""
    return {name: changes for name, changes in choices.items() if "shots" not in changes}


ABOUT = {
    "pretrain": "pre-training without labels, probed after 1, 92 and 176 batches",
    "extras": "measured qubits between layers, wider and tuned classical networks",
    "curves": "pre-training probed at the sixteen points of the recorded curves",
    "widths": "classical networks of 2 to 512 features",
    "rivals": "32 parameters, the circuit's own waves, wider readings, shuffled labels",
    "text": "views and gradients where text and code differ",
    "two-classes": "the states of two classes move apart, as published",
    "tuned": "ring and classical network, tuned with equal effort",
    "machine": "900 test images on the noise of ibmq_paris, trained and run with 100 shots",
    "separation": "loss and distance between states in a pre-training without head",
    "hardware": "900 test images through trained networks, with noise of ibmq_paris and exactly",
    "tuning": "settings on held-out training images; chooses classical-tuned and those of tuned",
    "properties": "exact statements about both circuits at 2 to 8 qubits",
}


def experiments() -> dict[str, Experiment]:
    """Return all experiments by name, with the settings that ``tuned.yml`` holds now."""
    settings = tuned("qssl")
    more, searched = extras(settings), {**SEARCH, **trials("ring"), **trials("classical")}
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
            "curves",
            variants(LONG, CURVES | {"ring-100-shots-partial": PARTIAL}),
            variants(QUICK, exact(CURVES)),
            seeds=8,
            predict=runs.predict,
            predicted=HEADLINES,
        ),
        training(
            "widths",
            variants(replace(END, network="classical"), axis("width", WIDTHS, "w{}")),
            {},
            seeds=8,
        ),
        training("rivals", variants(END, RIVALS), variants(QUICK, RIVALS), seeds=8),
        training("text", variants(END, TEXT), {}, seeds=8),
        training("tuned", variants(END, equal(settings)), {}, seeds=8),
        training(
            "two-classes",
            variants(replace(FULL, **NO_HEAD, classes=(0, 1)), STATES),
            variants(replace(QUICK, **NO_HEAD, classes=(0, 1)), STATES),
            seeds=12,
            run=runs.run_separation,
        ),
        training("machine", variants(Hardware(), AS_PUBLISHED), {}, seeds=8, run=runs.run_hardware),
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
        training("tuning", variants(replace(FULL, **HELD_OUT), searched), {}, seeds=3),
        make("properties", {"exact": Properties()}, seeds=1, run=runs.run_properties),
    )


# What the chapter trains live, by profile; "cifar10" is the quick one where the images are here.
PRESETS = {
    "quick": variants(DIGITS, REPRESENTATIONS),
    "cifar10": variants(SOME_CIFAR10, REPRESENTATIONS),
    "full": variants(PUBLISHED, REPRESENTATIONS),
}
