"""From a configuration and a seed to metrics; accuracies are in % of the images of five classes."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import numpy as np
from torch import Tensor

from ...base.rng import stream
from ..shared.predictions import Predictions
from ..shared.qnodes import compiled
from . import checks, circuits, hardware, losses, models, networks, probes, recompiled, training
from .config import Config, Hardware, Properties
from .pictures import pictures

LAST = 20  # batches whose loss is averaged


def run_pretrain(config: Config, seed: int) -> dict[str, Any]:
    """Pre-train without labels, then train a linear probe after each checkpoint.

    Returns:
        ``accuracy_<k>``, best accuracy in % of the probe after k batches, and ``last_<k>``, that of
        its last epoch, where it is trained in epochs; ``loss_<k>`` of the last of them, the mean
        contrastive loss of the 20 batches that end there; ``losses``, all of them.
    """
    return predict(config, seed)[0]


def predict(config: Config, seed: int) -> tuple[dict[str, Any], Predictions]:
    """Return the metrics of `run_pretrain`, and what the last probe says of every test image.

    Features that are estimated from shots are drawn once more for it. Of a circuit, its trained
    angles are kept as well.
    """
    seed += config.seeds_from
    trained = training.pretrain(config, seed)
    angles = probes.encode(trained)
    judges = probes.probe(trained, angles)
    networks.keep(trained, angles, judges)
    last = max(judges)
    lasts = {f"last_{k}": judge.last for k, judge in judges.items() if judge.last is not None}
    metrics = {
        **{f"accuracy_{k}": judge.accuracy for k, judge in judges.items()},
        **lasts,
        f"loss_{last}": fmean(trained.losses[max(0, last - LAST) : last]),
        "losses": [round(loss, 4) for loss in trained.losses],
    }
    return metrics, _predictions(trained, angles, judges)


def _predictions(
    trained: training.Pretrained,
    angles: Mapping[int, probes.Angles],
    judges: Mapping[int, probes.Probe],
) -> Predictions:
    last = max(judges)
    network, rng = trained.at(last), stream(trained.seed, "shots", "predictions")
    features = probes.reader(network, angles[last].test, rng)()
    labels = pictures(trained.config).test.labels
    params = network.params if isinstance(network, models.Circuit) else None
    return Predictions.of(labels, judges[last].scores(features).softmax(-1), params)


def states(config: Config, step: training.Step) -> Tensor:
    """Return the quantum states (2B, 2^W) of a batch; without a circuit, those of the encoding."""
    if step.params is None:
        encoding = compiled(circuits.state, dtype=config.dtype, layers=0)
        return encoding(step.angles, step.angles.new_zeros(0))
    options = {"ansatz": config.network, "layers": config.layers, "gates": config.gates}
    return compiled(circuits.state, dtype=config.dtype, **options)(step.angles, step.params)


def run_separation(config: Config, seed: int) -> dict[str, Any]:
    """Follow the Hilbert-Schmidt distance between the states of different images.

    Returns:
        The metrics that ``claims.yml`` names, and the series ``losses`` and ``distances``.
    """
    series: dict[str, list[float]] = {"losses": []}

    def watch(step: training.Step) -> None:
        series["losses"].append(step.loss)
        traces = losses.hilbert_schmidt_pairs(losses.overlaps(states(config, step)))
        for name, value in traces.items():
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
        ``accuracy`` in % of the images, and ``table``, how often which label was named, rows true
        labels, flattened. For recompiled circuits also means over the images: ``cnots`` as
        recompiled, ``routed`` as compiled for the machine; ``overlap``, the smallest one, and
        ``short``, the share of images above 99 %.
    """
    encoded = networks.network_after_training(config.network, config.dataset, seed)
    if config.run_on == "exact":
        exact = networks.exact_features(encoded, config.network, config.dataset)
        named = hardware.classify(encoded, exact[: config.images])
    elif config.recompiled != "no":
        return _run_recompiled(config, encoded, seed)
    else:
        options = {name: getattr(config, name) for name in ("images", "shots", "mitigate")}
        named = hardware.run(encoded, config.run_on, seed=seed, **options)
    return {"accuracy": named.accuracy, "table": named.table().ravel()}


def _run_recompiled(config: Hardware, encoded: networks.Encoded, seed: int) -> dict[str, Any]:
    options = {name: getattr(config, name) for name in ("images", "shots", "mitigate")}
    found = hardware.run_recompiled(encoded, config.recompiled, config.run_on, seed=seed, **options)
    overlap = found.circuits.overlap
    return {
        "accuracy": found.named.accuracy,
        "table": found.named.table().ravel(),
        "cnots": found.circuits.cnots.mean(),
        "routed": found.routed.mean(),
        "overlap": overlap.min(),
        "short": (overlap >= recompiled.LEAST).mean(),
    }


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
