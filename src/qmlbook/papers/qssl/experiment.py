"""Configurations and runs of the QSSL paper.

Sources: bjader/QSSL at f3eeba7 and bjader/quantum-neural-network at 3f23e14; the paper's own text
could not be read. Accuracies are in % of the test images of five classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from ...base.errors import UsageError, choose, require_known, require_least
from ...base.rng import stream
from .. import Experiment, by_name
from . import checks, circuits, hardware, losses, models, training, weights

FIVE = (0, 1, 2, 3, 4)
LAST = 20  # batches whose loss is averaged


@dataclass(frozen=True)
class Config:
    """Settings of one run; the defaults are the released ones of the exact ring circuit."""

    network: str = "ring"  # one of models.NETWORKS [README: sim_circ_14_half]
    width: int = 8  # features, and qubits [train_simclr.py --width]
    layers: int = 2  # of the circuit or the classical network [--layers; all-to-all: 3]
    trained: bool = True  # False: the circuit keeps its initial angles
    activation: str = "null"  # between the circuit's layers [--activation]
    shots: int | None = None  # per circuit, None: exact [statevector_simulator]
    gradient: str = "exact"  # or two-term, as released [gradient_calculator.py 10-19]
    bend: str = "leaky_relu"  # or tanh, of the classical network [hybrid_resnet.py 100-102]
    bend_last: bool = True  # whether it also ends with one
    head: bool = True  # projection head in pre-training [moco/builder.py 202-211]
    dataset: str = "cifar10"  # or digits, scikit-learn's
    classes: tuple[int, ...] = FIVE  # [README: --classes 5]
    n_train: int | None = None  # images; None: all 25,000 [train_simclr.py 272-283]
    n_test: int | None = None  # None: all 5,000 [linear_probe_simclr.py 370-380]
    held_out: int = 0  # training images that are the test images, in a search for settings
    channels: tuple[int, ...] = (64, 128, 256, 512)  # [hybrid_resnet.py 76-88]
    crop: tuple[float, float] = (0.2, 1.0)  # share of the area [train_simclr.py 256]
    batch_size: int = 256  # images, twice as many views [train_simclr.py 285-287]
    batches: int = 194  # two epochs [README]
    checkpoints: tuple[int, ...] = (1, 92, 176)  # batches after which a probe is trained
    temperature: float = 0.07  # [train_simclr.py --temperature]
    learning_rate: float = 1e-3  # [train_simclr.py 225]
    weight_decay: float = 1e-6  # [train_simclr.py 225]
    probe: str = "adam"  # or logistic, for few images [linear_probe_simclr.py 313]
    probe_epochs: int = 100  # [linear_probe_simclr.py --epochs]
    probe_crop: tuple[float, float] = (0.08, 1.0)  # [linear_probe_simclr.py 348]
    probe_passes: int = 2  # sets of views a probe learns from, in turn [released: one an epoch]
    seeds_from: int = 0  # added to the seed of a run
    dtype: str = "float32"  # [torch's default]

    def __post_init__(self) -> None:
        """Refuse what no procedure here understands."""
        require_known(
            self,
            network=models.NETWORKS,
            activation=circuits.ACTIVATIONS,
            gradient=("exact", "two-term"),
            bend=models.BENDS,
            dataset=("cifar10", "digits"),
            probe=training.PROBES,
            dtype=models.DTYPES,
        )
        require_least(self, width=2, layers=1, batch_size=2, batches=1)
        if self.shots is not None and self.shots < 1:
            raise UsageError(f"shots must be 1 or more, or None for exact runs, not {self.shots}.")
        plain = (self.trained, self.activation, self.shots, self.gradient)
        if self.network not in circuits.ANSATZE and plain != (True, "null", None, "exact"):
            raise UsageError(
                f"trained, activation, shots and gradient belong to circuits, not to network "
                f"{self.network!r}."
            )
        if list(self.classes) != sorted(set(self.classes)):
            raise UsageError(f"classes must rise, not {list(self.classes)}.")
        if any(not 1 <= number <= self.batches for number in self.checkpoints):
            raise UsageError(
                f"checkpoints must lie between 1 and batches={self.batches}, not "
                f"{list(self.checkpoints)}."
            )


PUBLISHED = Config()

# A small faithful version: scikit-learn's 8x8 digits 0 to 4, three convolutions, small warps as
# views, and logistic regression as the probe.
DIGITS = Config(
    dataset="digits",
    channels=(16, 32, 64),
    batch_size=64,
    batches=176,
    probe="logistic",
    probe_passes=0,
    dtype="float64",
)

# The same on part of CIFAR-10, with a quarter of ResNet-18's channels: where the images are here.
SOME_CIFAR10 = Config(
    n_train=2500,
    n_test=1000,
    channels=(16, 32, 64, 128),
    batch_size=128,
    batches=60,
    checkpoints=(1, 30, 60),
    probe="logistic",
    probe_passes=0,
)

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


# --- runs ---


def run_pretrain(config: Config, seed: int) -> dict[str, Any]:
    """Pre-train without labels, then train a linear probe after each checkpoint.

    Returns:
        ``accuracy_<k>``, best accuracy in % of the probe after k batches; ``loss_<k>`` of the last
        of them, the mean contrastive loss of the 20 batches that end there; ``losses``, all of
        them.
    """
    seed += config.seeds_from
    trained = training.pretrain(config, seed)
    angles = training.encode(trained)
    probes = {k: training.probe(trained, k, angles[k]) for k in config.checkpoints}
    if config.batches in probes:
        keep(encoded(trained, angles[config.batches], probes[config.batches]), config, seed)
    last = max(config.checkpoints)
    return {
        **{f"accuracy_{k}": probe.accuracy for k, probe in probes.items()},
        f"loss_{last}": fmean(trained.losses[max(0, last - LAST) : last]),
        "losses": [round(loss, 4) for loss in trained.losses],
    }


def states(config: Config, step: training.Step) -> Tensor:
    """Return the quantum states (2B, 2^W) of a batch; without a circuit, those of the encoding."""
    circuit = config.network in circuits.ANSATZE
    node = models.compiled(
        circuits.state,
        config.dtype,
        ansatz=config.network if circuit else "ring",
        layers=config.layers if circuit else 0,
    )
    return node(step.angles, step.params if circuit else step.angles.new_zeros(0))


def run_separation(config: Config, seed: int) -> dict[str, Any]:
    """Follow the Hilbert-Schmidt distance between the states of different images.

    Returns:
        The metrics that ``claims.yml`` names, and the series ``losses`` and ``distances``.
    """
    series: dict[str, list[float]] = {"losses": []}

    def watch(step: training.Step) -> None:
        series["losses"].append(step.loss)
        found = losses.hilbert_schmidt_pairs(losses.overlaps(states(config, step)))
        for name, value in found.items():
            series.setdefault(name, []).append(value.item())

    training.pretrain(config, seed, watch)
    early = {name: fmean(values[1:10]) for name, values in series.items()}
    late = {name: fmean(values[90:100]) for name, values in series.items()}
    return {
        "loss_90": late["losses"],
        "distance_90": late["d_hs"],
        "loss_fall": early["losses"] - late["losses"],
        "distance_gain": late["d_hs"] - early["d_hs"],
        "purity_gain": late["tr_rho2"] - early["tr_rho2"],
        "spread_gain": early["tr_sigma2"] - late["tr_sigma2"],
        "correlation": np.corrcoef(series["losses"], series["d_hs"])[0, 1],
        "losses": [round(value, 4) for value in series["losses"]],
        "distances": [round(value, 4) for value in series["d_hs"]],
    }


# --- hardware ---


@dataclass(frozen=True)
class Hardware:
    """Encoded test images and what runs the network on them."""

    network: str = "ring"  # or classical
    run_on: str = "exact"  # or a backend of qmlbook.backends [abstract: ibmq_paris]
    images: int = 900  # [results/figures: sums of the tables]
    shots: int = 1000  # [not available]
    mitigate: bool = False  # undo readout errors [not available]
    dataset: str = "cifar10"  # or digits


def pretraining(network: str, dataset: str) -> Config:
    """Return the pre-training whose networks the hardware experiment takes."""
    template = replace(PUBLISHED, batches=176) if dataset == "cifar10" else DIGITS
    return replace(template, **NETWORKS[network])


STORED = {name: pretraining(name, "cifar10") for name in ("ring", "classical")}


def encoded(
    trained: training.Pretrained, angles: training.Angles, probe: training.Probe, n: int = 900
) -> weights.Encoded:
    """Return ``n`` test images, drawn by the seed, as the hardware experiment takes them."""
    config, labels = trained.config, training.pictures(trained.config).test.labels
    rows = torch.from_numpy(stream(trained.seed, "hardware").permutation(len(labels))[:n])
    state = {name: value.float() for name, value in trained.at(config.batches).state_dict().items()}
    return weights.Encoded(
        angles.test[rows].float(), labels[rows], state, probe.weight.float(), probe.bias.float()
    )


def keep(found: weights.Encoded, config: Config, seed: int) -> None:
    """Leave a network of the hardware experiment in the cache, so that nobody trains it twice."""
    for name, wanted in STORED.items():
        if config == wanted:
            with suppress(OSError):  # a run does not fail for want of a cache
                weights.save(found, weights.kept(), name, seed)


@lru_cache(maxsize=8)
def network_after_training(network: str, dataset: str, seed: int) -> weights.Encoded:
    """Return a network of the hardware experiment: stored, kept in the cache, or trained now.

    Raises:
        UsageError: if the network is not one of the experiment's.
        QmlbookError: if a stored file is damaged, or images are missing.
    """
    if network not in STORED:
        raise choose("network", network, STORED)
    if dataset == "cifar10":
        for where in (weights.folder(), weights.kept()):
            if found := weights.load(where, network, seed):
                return found
    config = pretraining(network, dataset)
    config = replace(config, checkpoints=(config.batches,))
    trained = training.pretrain(config, seed)
    angles = training.encode(trained)[config.batches]
    return encoded(trained, angles, training.probe(trained, config.batches, angles))


def run_hardware(config: Hardware, seed: int) -> dict[str, Any]:
    """Name test images by a trained network and its probe.

    Returns:
        ``accuracy`` in % of the images, and ``table``, how often which answer was given, rows true
        labels, flattened.
    """
    found = network_after_training(config.network, config.dataset, seed)
    if config.run_on == "exact":
        answers = hardware.answers(found, exact_features(found, config)[: config.images])
    else:
        options = {"shots": config.shots, "mitigate": config.mitigate, "seed": seed}
        answers = hardware.run(found, config.run_on, images=config.images, **options)
    return {"accuracy": answers.accuracy, "table": answers.table().ravel()}


def exact_features(found: weights.Encoded, config: Hardware) -> Tensor:
    """Return the exact outputs (n, W) of a stored network."""
    settings = replace(pretraining(config.network, config.dataset), dtype="float32")
    network = models.representation(settings, 0).float()
    network.load_state_dict(found.network)
    with torch.no_grad():
        return network(found.angles)


# --- exact statements ---


@dataclass(frozen=True)
class Properties:
    """How far exact statements are checked."""

    widths: tuple[int, ...] = tuple(checks.WIDTHS)


def run_properties(config: Properties, seed: int) -> dict[str, float]:
    """Check what can be computed of both circuits.

    Returns:
        1 or 0 for ``shift_rules``, ``chain`` and ``fewer_parameters``; ``checked``, the number of
        circuits: both, at every width.
    """
    pairs = [(ansatz, n) for ansatz in checks.LAYERS for n in config.widths]
    return {
        "shift_rules": float(all(checks.shift_rules_hold(*pair, seed) for pair in pairs)),
        "chain": float(all(checks.chain_holds(n) for n in config.widths)),
        "fewer_parameters": float(checks.fewer_parameters()),
        "checked": len(pairs),
    }


# --- experiments ---

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
    run=run_pretrain,
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
        run=run_separation,
    ),
    _experiment(
        "hardware",
        "900 test images through trained networks, under the noise of ibmq_paris and exactly",
        _hardware(),
        _hardware(dataset="digits", images=60),
        seeds=8,
        run=run_hardware,
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
        run=run_properties,
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
