"""Training on fresh sequences, scores on other fresh sequences."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...base.rng import stream
from ..shared.training import descend
from . import models, sequences
from .config import Config
from .sequences import Judged, Questions

FORCED = 1e-5  # an outcome of smaller probability counts as impossible, the other as forced
LEARNED = 1e-3  # bits a sequence
POINTS = 20  # of a training curve
CURVE = 500  # sequences it is measured on


def draw_sequences(
    config: Config, rng: np.random.Generator, batch: int
) -> tuple[Questions, Judged]:
    """Return fresh sequences and exact answers."""
    questions = sequences.draw(
        config.kind, config.n, config.k, batch, rng, blocks=config.blocks, flips=config.flips
    )
    return questions, sequences.answer(questions, rng)


def test_set(config: Config, seed: int) -> tuple[Questions, Judged]:
    """Return the sequences that a run is scored on."""
    return draw_sequences(config, stream(seed, "test"), config.test)


def train(
    config: Config, seed: int, watch: Callable[[int, nn.Module], None] | None = None
) -> nn.Module:
    """Train a model: Adam on the mean log-loss of a sequence, every batch drawn afresh.

    Args:
        config: what is trained on what.
        seed: root of the streams "init" and "train".
        watch: called with the number of steps made and the model, before every step.

    Raises:
        QmlbookError: if the gradient is not finite.
    """
    model, rng = models.build(config, seed), stream(seed, "train")
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    clip = math.inf if config.clip is None else config.clip
    for step in range(config.steps):
        if watch:
            watch(step, model)
        questions, exact = draw_sequences(config, rng, config.batch_size)
        descend(optimiser, log_loss(model(questions, exact.y), exact.y), clip)
    return model.eval()


def log_loss(odds: Tensor, y: Tensor) -> Tensor:
    """Return the mean log-loss of a sequence, in nats."""
    return F.binary_cross_entropy_with_logits(odds, y.to(odds), reduction="sum") / len(y)


def train_watched(config: Config, seed: int) -> tuple[nn.Module, list[float]]:
    """Train; return the model and its bits lost (`divergence`) before, during and after.

    At 20 steps, evenly spaced, on 500 test sequences at most.
    """
    questions, exact = test_set(config, seed)
    questions, exact = questions[:CURVE], Judged(*(part[:CURVE] for part in exact))
    stops = {config.steps * point // POINTS for point in range(POINTS)}
    lost: list[float] = []

    def watch(step: int, model: nn.Module) -> None:
        if step in stops:
            lost.append(divergence(log_odds(model.eval(), questions, exact.y), exact))
            model.train()

    model = train(config, seed, watch)
    watch(min(stops), model)
    return model.eval(), lost


# --- scores ---


@torch.no_grad()
def log_odds(model: nn.Module, questions: Questions, y: Tensor) -> Tensor:
    """Return (B, T) float64, log-odds of a model along given answers."""
    return model(questions, y).double()


@torch.no_grad()
def own_answers(model: nn.Module, questions: Questions, rng: np.random.Generator | None) -> Tensor:
    """Return a model's own answers (B, T) bool, each fed back before the next question.

    Args:
        model: any model.
        questions: the sequences.
        rng: draws the answers; without it the likelier one is given (+1 when both are as likely).
    """
    y = torch.zeros(len(questions), questions.length, dtype=torch.bool)
    for step in range(questions.length):
        odds = model(questions[:, : step + 1], y[:, : step + 1])[:, step].double()
        goal = 0.5 if rng is None else torch.from_numpy(rng.random(len(y)))
        y[:, step] = odds.sigmoid() > goal
    return y


def divergence(odds: Tensor, exact: Judged) -> float:
    """Return bits a sequence: KL divergence of the exact answers from the predicted ones."""
    p1, p0 = exact.p1, 1 - exact.p1
    gained = torch.xlogy(p1, p1) + torch.xlogy(p0, p0)
    given = _times(p1, F.logsigmoid(odds)) + _times(p0, F.logsigmoid(-odds))
    return ((gained - given).sum(1).mean() / math.log(2)).item()


def _times(p: Tensor, log: Tensor) -> Tensor:
    """Return the product, 0 where the probability counts as 0: the logarithm may be infinite."""
    return torch.where(p > sequences.IMPOSSIBLE, p * log, 0.0)


def score(
    model: nn.Module, questions: Questions, exact: Judged, rng: np.random.Generator
) -> dict[str, float]:
    """Return how well a model answers.

    Args:
        model: any model.
        questions: fresh sequences.
        exact: their exact answers.
        rng: draws the model's own answers, and its guess where both are as likely.

    Returns:
        ``kl``, bits a sequence (see `divergence`); ``kl_share`` of the fair coin's; ``gain``, the
        fair coin's minus the model's; ``validity``, share of sequences answered by the model itself
        without an impossible answer; of the answers that are forced, along exact ones,
        ``forced_error``, share for which the model thinks the other likelier, ``sequence_error``,
        share of sequences with such an error, and ``leak``, its mean probability of the other.
    """
    odds = log_odds(model, questions, exact.y)
    kl, coin = divergence(odds, exact), divergence(torch.zeros_like(odds), exact)
    forced = (exact.p1 - 0.5).abs() > 0.5 - FORCED
    right = exact.p1 > 0.5
    guess = torch.where(odds == 0, torch.from_numpy(rng.random(odds.shape) < 0.5), odds > 0)
    wrong = forced & (guess != right)
    return {
        "kl": kl,
        "kl_share": kl / coin,
        "gain": coin - kl,
        "validity": validity(own_answers(model, questions, rng), questions),
        "forced_error": (wrong.sum() / forced.sum()).item(),
        "sequence_error": wrong.any(1).double().mean().item(),
        "leak": torch.where(right, -odds, odds).sigmoid()[forced].mean().item(),
    }


def validity(y: Tensor, questions: Questions) -> float:
    """Return the share of sequences without an impossible answer."""
    return sequences.judge(questions, y).possible[:, -1].double().mean().item()
