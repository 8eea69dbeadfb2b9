"""What holds without training: counts, the closed form, untrained networks by the thousand."""

from collections.abc import Iterable

import numpy as np
import torch

from ...base.rng import stream
from ..shared.qnodes import qnode
from ..shared.splits import Split
from . import models
from .circuits import ANCILLA, head
from .config import CLASSIFIERS, ClosedForm


def fewer_parameters(depths: Iterable[int]) -> tuple[bool, bool]:
    """Return whether the quantum network has fewer at every depth: in all, and trained ones."""
    quantum, classical = (
        np.array([models.published_sizes(kind, n) for n in depths]) for kind in CLASSIFIERS
    )
    in_all, trained = np.all(quantum < classical, axis=0)
    return bool(in_all), bool(trained)


def closed_form_error(config: ClosedForm, seed: int) -> float:
    """Return the largest difference between parities of the closed form and of the circuit."""
    rng, circuit, worst = stream(seed, "closed form"), qnode(head, wires=ANCILLA + 1), 0.0
    for n in range(1, config.deepest + 1):
        features = torch.from_numpy(rng.normal(size=(config.images, models.FEATURES)))
        weights = [torch.from_numpy(w) for w in rng.uniform(0, 2 * np.pi, (3, n, 2))]
        simulated = circuit(features, *weights) @ torch.tensor([1.0, -1.0], dtype=torch.float64)
        formula = models.parity(features, models.effective_phases(*weights))
        worst = max(worst, float((simulated - formula).abs().max()))
    return worst


def untrained_accuracies(
    trained_on: Split, evaluated_on: Split, draws: int, seed: int
) -> np.ndarray:
    """Return the accuracies (draws,) of untrained quantum networks.

    Random angles make the four phases independent and uniform at every even depth, so the phases
    are drawn directly; filters are Xavier-uniform, batch norm uses the training split.
    """
    rng = stream(seed, "draws")
    bound = models.XAVIER  # the filter's bias drops out under batch norm
    filters = torch.from_numpy(rng.uniform(-bound, bound, (draws, models.KERNEL**2)))
    phases = torch.from_numpy(rng.uniform(0, 2 * np.pi, (draws, models.FEATURES)))
    mean, sd = _response_moments(trained_on, filters)
    outcomes = torch.zeros(draws)
    halves = (half.split(1024) for half in (evaluated_on.inputs, evaluated_on.labels))
    for part, labels in zip(*halves, strict=True):
        features = (_patches(part) @ filters.T - mean) / sd  # (B, 4, draws)
        z = torch.cos(features + phases.T).prod(1)
        outcomes += ((z < 0) == labels[:, None].bool()).sum(0)
    return (outcomes.double() / len(evaluated_on)).numpy()


def _patches(images: torch.Tensor) -> torch.Tensor:
    """Return (B, 4, 49): the four patches under the filter."""
    patches = torch.nn.functional.unfold(images[:, None], models.KERNEL, stride=models.STRIDE)
    return patches.mT


def _response_moments(split: Split, filters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation (draws,) of each filter's responses over a split."""
    patches = _patches(split.inputs).flatten(0, 1)
    mean = patches.mean(0)
    centred = patches - mean
    covariance = centred.T @ centred / (len(patches) - 1)
    variance = (filters @ covariance * filters).sum(1)
    return filters @ mean, (variance + 1e-5).sqrt()
