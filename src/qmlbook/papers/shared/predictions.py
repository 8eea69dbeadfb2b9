"""What a trained model says of every test image, to ask later what an accuracy cannot tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Predictions:
    """Labels and scores of one run's test images, in their order.

    Attributes:
        labels: (N,) uint8, the true classes.
        scores: (N, C) float16, what the model gives every class; probabilities sum to 1.
        params: (P,) float64, the trained numbers of a model that is small enough to keep.

    Raises:
        ValueError: if there is not a row of scores for every label, or a score is not finite.
    """

    labels: np.ndarray
    scores: np.ndarray
    params: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.scores.ndim != 2 or self.labels.shape != self.scores.shape[:1]:
            shapes = f"labels {self.labels.shape} and scores {self.scores.shape}"
            raise ValueError(f"predictions have {shapes}, not (N,) and (N, C)")
        if not np.isfinite(self.scores).all():
            raise ValueError("predictions have scores that are not finite")

    @classmethod
    def of(cls, labels: Tensor, scores: Tensor, params: Tensor | None = None) -> Predictions:
        """Return predictions of tensors (N,), (N, C) and (P,) in the precision of the file."""
        with np.errstate(over="ignore"):  # the class refuses what becomes infinite
            half: np.ndarray = scores.detach().numpy().astype(np.float16)
        trained = None if params is None else params.detach().double().numpy()
        return cls(labels.numpy().astype(np.uint8), half, trained)
