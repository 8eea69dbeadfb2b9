"""From a configuration and a seed to metrics."""

import numpy as np
import torch

from ..shared.predictions import Predictions
from ..shared.splits import Split
from ..shared.tuning import tuning_seed
from .checks import random_layer, saved_bytes
from .config import FOUR, Config, Memory, Roots
from .features import load_pooled
from .models import Layered
from .solvers import broyden
from .training import Trained, logits, residuals, score, splits, train


def run(config: Config, seed: int) -> dict[str, float]:
    """Train a model and test it.

    Returns:
        ``accuracy`` on the test split, and ``validation_accuracy``, of the selected epoch. For
        models with a layer ``residual`` and ``residual_logged`` over the test split (see
        `training.residuals`); ``evaluations``, circuit evaluations and vector-Jacobian products
        per image and training step: those of the solver, one to carry the gradient, n for the
        exact implicit gradient, one for the angles, one for the penalty; ``unconverged``, solver
        calls per step that ended above the tolerance. For the baseline ``accuracy_75``, on the
        first 75 test images.
    """
    return predict(config, seed)[0]


def predict(config: Config, seed: int) -> tuple[dict[str, float], Predictions]:
    """Return the metrics of `run`, and the probabilities of the classes of every test image."""
    training, validation, test = splits(config, seed)
    trained = train(config, seed, training, validation)
    scores = logits(trained.model, test, trained.depth).softmax(1)
    return evaluate(config, trained, test), Predictions.of(test.labels, scores)


def evaluate(config: Config, trained: Trained, test: Split) -> dict[str, float]:
    """Return the metrics of `run` for a trained model."""
    model, tally = trained.model, trained.model.tally
    metrics = {"accuracy": score(model, test, trained.depth)[1]}
    if not isinstance(model, Layered):
        return metrics
    metrics["validation_accuracy"] = trained.validation_accuracy[trained.epoch]
    if config.model == "baseline":
        return metrics | {"accuracy_75": score(model, test[:75], trained.depth)[1]}
    return {
        **metrics,
        **residuals(model, test, trained.depth),
        "evaluations": tally.evaluations / tally.steps,
        "unconverged": tally.unconverged / tally.steps,
    }


def run_tuning(config: Config, seed: int) -> dict[str, float]:
    """Train one configuration; its seed is drawn, so that it is none of the evidence.

    Returns:
        ``validation_accuracy`` and ``validation_loss`` of the epoch with the lowest loss.
    """
    other = tuning_seed(seed)
    training, validation, _ = splits(config, other)
    trained = train(config, other, training, validation)
    return {
        "validation_accuracy": trained.validation_accuracy[trained.epoch],
        "validation_loss": trained.validation_loss[trained.epoch],
    }


def run_memory(config: Memory, seed: int) -> dict[str, float]:
    """Return ``saved_mb``, millions of bytes kept for the backward pass."""
    return {"saved_mb": saved_bytes(config, seed) / 1e6}


@torch.no_grad()
def run_roots(config: Roots, seed: int) -> dict[str, float]:
    """Return ``converged``, the share of images whose iteration reached its fixed point."""
    layer = random_layer(seed, 4)
    u = load_pooled("mnist", FOUR, "test", config.images).inputs
    f, m = layer.reduced(u), torch.zeros(len(u), 4, dtype=u.dtype)
    goal = config.tolerance / 2  # |z| = sqrt(n) |m|
    if config.method == "plain":
        for _ in range(config.steps):
            m = f(m)
        arrived = (f(m) - m).norm(dim=1) < goal
        return {"converged": arrived.double().mean().item()}
    converged = [
        broyden(layer.reduced(image), start, config.steps, goal, "abs").converged
        for image, start in zip(u.split(1), m.split(1), strict=True)
    ]
    return {"converged": float(np.mean(converged))}
