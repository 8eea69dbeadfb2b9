"""What every training loop repeats: shuffled batches, one step of an optimiser, the best epoch."""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ...base.errors import QmlbookError

Score = TypeVar("Score", float, tuple[float, ...])


def shuffled(rng: np.random.Generator, images: int, batch_size: int) -> tuple[Tensor, ...]:
    """Return one epoch: the numbers of all images, int64, in random order, split into batches.

    The last batch may be smaller.
    """
    return torch.from_numpy(rng.permutation(images)).split(batch_size)


def endless(rng: np.random.Generator, images: int, batch_size: int) -> Iterator[Tensor]:
    """Yield batches without end, reshuffled whenever all images have been seen."""
    while True:
        yield from shuffled(rng, images, batch_size)


def descend(optimiser: torch.optim.Optimizer, loss: Tensor, clip: float | None = None) -> None:
    """Make one step against the gradient of a loss.

    Args:
        optimiser: holds what is trained, in one group.
        loss: a single number.
        clip: largest norm of the whole gradient, infinity to check it only; ``None`` for neither.

    Raises:
        QmlbookError: if the gradient was to be checked and is not finite.
    """
    optimiser.zero_grad()
    loss.backward()
    if clip is not None:
        (group,) = optimiser.param_groups
        if not nn.utils.clip_grad_norm_(group["params"], clip).isfinite():
            raise QmlbookError(
                "the gradient is not finite: lower learning_rate, or look for NaN in the images."
            )
    optimiser.step()


def keep_best(network: nn.Module, epochs: Iterable[Score]) -> list[Score]:
    """Train epoch by epoch; leave the network as it was after the best epoch.

    Args:
        network: what is trained; without an epoch it stays as it is.
        epochs: trains an epoch at a time and yields its score, the lowest of which is best; of
            equals, the first.

    Returns:
        The scores of all epochs.
    """
    scores: list[Score] = []
    best = None
    for score in epochs:
        if best is None or score < min(scores):
            best = deepcopy(network.state_dict())
        scores.append(score)
    if best is not None:
        network.load_state_dict(best)
    return scores
