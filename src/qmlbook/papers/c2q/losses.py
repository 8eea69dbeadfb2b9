"""Costs and predictions of the quantum head (QOSF/Training.py, QOSF/Benchmarking.py)."""

from torch import Tensor


def cross_entropy(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy in nats, *summed* over the batch as released.

    Args:
        probabilities: (..., B, 2) probabilities of the labels 0 and 1.
        labels: (..., B) labels, int64.
    """
    chosen = probabilities.gather(-1, labels[..., None])[..., 0]
    return -(chosen + 1e-7).log().sum(-1)


def mean_squared_error(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over the batch of (label - <Z>)^2, labels 0 and 1 as they are.

    <Z> = P0 - P1 is +1 for a certain 0, so the released cost pulls towards the wrong label or the
    middle; it is here because it was released, the paper's runs use `cross_entropy`.
    """
    z = probabilities[..., 0] - probabilities[..., 1]
    return ((labels - z) ** 2).mean(-1)


def predict(probabilities: Tensor) -> Tensor:
    """Return the likelier label, int64; ties go to 1."""
    return (probabilities[..., 0] <= probabilities[..., 1]).long()


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Return the share of likelier labels that are right, in %."""
    return 100 * (predict(probabilities) == labels).double().mean().item()
