"""From a configuration and a seed to metrics; accuracies are in % of the images of five classes."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import numpy as np
from torch import Tensor

from . import checks, circuits, hardware, losses, models, networks, training
from .config import Config, Hardware, Properties

LAST = 20  # batches whose loss is averaged


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
        networks.keep(
            networks.encoded(trained, angles[config.batches], probes[config.batches]), config, seed
        )
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


def run_hardware(config: Hardware, seed: int) -> dict[str, Any]:
    """Name test images by a trained network and its probe.

    Returns:
        ``accuracy`` in % of the images, and ``table``, how often which answer was given, rows true
        labels, flattened.
    """
    found = networks.network_after_training(config.network, config.dataset, seed)
    if config.run_on == "exact":
        answers = hardware.answers(found, networks.exact_features(found, config)[: config.images])
    else:
        options = {"shots": config.shots, "mitigate": config.mitigate, "seed": seed}
        answers = hardware.run(found, config.run_on, images=config.images, **options)
    return {"accuracy": answers.accuracy, "table": answers.table().ravel()}


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
