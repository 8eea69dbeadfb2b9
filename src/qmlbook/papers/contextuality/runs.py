"""Runs of the contextuality papers: from a configuration and a seed to metrics."""

import math

import numpy as np
import torch

from ...base.rng import stream
from . import models, noise, sequences, training
from .checks import squared_gradient
from .config import MEMORYLESS, Config, Gradients, Noise


def run(config: Config, seed: int) -> dict[str, float | list[float]]:
    """Train a model, if there is something to train, and score it on fresh sequences.

    Returns:
        The metrics of `training.score`, and for trained models ``curve`` (see
        `training.train_watched`). For the k-HRNN also ``learned``, 1 if ``kl`` is below 0.001, and
        ``away``, share of angles nearer to 0 than to pi. For fixed answers ``validity`` alone:
        their ``kl`` is infinite.
    """
    questions, exact = training.test_set(config, seed)
    rng = stream(seed, "answers")
    if config.model == "half":
        return {**training.score(models.build(config, seed), questions, exact, rng)}
    if config.model in MEMORYLESS:
        y = training.own_answers(models.build(config, seed), questions, rng)
        return {"validity": training.validity(y, questions)}
    model, curve = training.train_watched(config, seed)
    scores = training.score(model, questions, exact, rng)
    metrics: dict[str, float | list[float]] = {**scores, "curve": curve}
    if isinstance(model, models.HRNN):
        far = (model.angles.detach() % (2 * math.pi) - math.pi).abs() > math.pi / 2
        metrics |= {
            "learned": float(scores["kl"] < training.LEARNED),
            "away": far.double().mean().item(),
        }
    return metrics


def run_binary(config: Config, seed: int) -> dict[str, float]:
    """Train a net with a memory of bits and let it give its likelier answers.

    Returns:
        ``failed``, share of sequences with an impossible answer; ``errs``, 1 if there is one.
    """
    model = training.train(config, seed)
    questions, _ = training.test_set(config, seed)
    failed = 1 - training.validity(training.own_answers(model, questions, None), questions)
    return {"errs": float(failed > 0), "failed": failed}


def run_gradients(config: Gradients, seed: int) -> dict[str, float | list[float]]:
    """Measure the gradient of the mean log-loss of an answer, at random angles.

    Returns:
        ``slope``, of a line through log10 of the mean squared gradient, per added qubit, and the
        series ``squares`` of these means over ``qubits``.
    """
    squares = [squared_gradient(config, n, seed) for n in config.sizes]
    slope = float(np.polyfit(config.sizes, np.log10(squares), 1)[0])
    return {"slope": slope, "squares": squares, "qubits": list(config.sizes)}


def run_noise(config: Noise, seed: int) -> dict[str, float]:
    """Let noisy cells answer random sequences.

    Returns:
        ``validity``, share of answered sequences without an impossible answer; ``leak``, share of
        impossible answers among those that are forced by answers which were possible so far.
    """
    rng = stream(seed, "test")
    asked = sequences.draw("uniform", config.n, 2, config.sequences, rng, blocks=config.blocks)
    tokens = [asked.tokens(number) for number in range(len(asked))]
    start = int(stream(seed, "simulator").integers(2**31))
    y = noise.noisy_answers(config.n, tokens, config.strength, config.shots, start)
    questions = asked[torch.arange(len(asked)).repeat_interleave(config.shots)]
    judged = sequences.judge(questions, y)
    before = torch.cat([torch.ones(len(y), 1, dtype=torch.bool), judged.possible[:, :-1]], dim=1)
    forced = before & ((judged.p1 - 0.5).abs() > 0.5 - training.FORCED)
    return {
        "validity": judged.possible[:, -1].double().mean().item(),
        "leak": (forced & ~judged.possible).sum().item() / forced.sum().item(),
    }
