"""Runs of the C2Q paper: from a configuration and a seed to metrics."""

from dataclasses import replace

import torch

from ...base.rng import stream
from ..shared.predictions import Predictions
from ..shared.splits import set_apart
from ..shared.tuning import tuning_seed
from . import losses, training
from .checks import effective_parameters, is_quadratic_form, poolings_agree
from .circuits import count_params
from .config import PAIRS, QUANTUM_HEADS, Config, Network, Properties, source_recipe

VALIDATION = 0.2  # share of the training digits that a trial is judged by


def run(config: Config, seed: int) -> dict[str, float]:
    """Train a head and evaluate it.

    Returns:
        ``accuracy``, % of the test images of the pair.
    """
    return predict(config, seed)[0]


def predict(config: Config, seed: int) -> tuple[dict[str, float], Predictions]:
    """Return the metrics of `run`, the probabilities of both labels, and the trained numbers."""
    split = training.load_features(config, seed)
    made = training.train(config, seed, split.train)
    with torch.no_grad():
        scores = made.scores(split.test.inputs)
    metrics = {"accuracy": losses.accuracy(scores, split.test.labels)}
    return metrics, Predictions.of(split.test.labels, scores, made.params)


def run_tuning(config: Config, seed: int) -> dict[str, float]:
    """Train a head on four fifths of its digits and judge it by the rest.

    The test digits are not looked at. Seed s takes the source network s, and draws everything else
    far from all seeds of evidence.

    Returns:
        ``accuracy`` in %, and ``cost``, the mean cross entropy in nats, both on the rest.
    """
    other = tuning_seed(seed)
    digits = training.load_features(replace(config, source_seed=seed), other).train
    trained_on, validation = set_apart(digits, VALIDATION, stream(other, "validation"))
    made = training.train(config, other, trained_on)
    with torch.no_grad():
        cost = losses.cross_entropy(made.scores(validation.inputs), validation.labels)
    return {"accuracy": made.accuracy(validation), "cost": float(cost) / len(validation)}


def run_source(config: Network, seed: int) -> dict[str, float]:
    """Evaluate a source network, stored or trained now.

    Returns:
        ``accuracy`` in %, and ``dead``, the number of features that are the same for all images.
    """
    made = source_recipe(config, config.width, config.source_epochs)
    network = training.source(made, seed)
    digits = training.load_digits(PAIRS["2v3"], "test", 1000)
    spread = network.extract(digits.inputs.to(getattr(torch, made.dtype))).std(0)
    return {
        "accuracy": training.source_accuracy(network, config.n_test),
        "dead": int((spread < 1e-9).sum()),
    }


def run_properties(config: Properties, seed: int) -> dict[str, float | list[int]]:
    """Check what can be proved of all 22 heads, at random parameters.

    Returns:
        1 or 0 for ``quadratic_form``, ``poolings_agree`` and ``fewer_effective``; ``checked``, the
        number of heads; ``effective``, their ranks in the order of `QUANTUM_HEADS`.
    """
    heads = QUANTUM_HEADS.values()
    quadratic = [is_quadratic_form(*head, seed, config.images) for head in heads]
    ranks = [effective_parameters(*head, seed, config.inputs) for head in heads]
    fewer = [rank < count_params(*head) for rank, head in zip(ranks, heads, strict=True)]
    return {
        "quadratic_form": float(all(quadratic)),
        "poolings_agree": float(poolings_agree(seed, config.images)),
        "fewer_effective": float(all(fewer)),
        "checked": len(heads),
        "effective": ranks,
    }
