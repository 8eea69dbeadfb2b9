"""The contrastive loss, its projection head, and the Hilbert-Schmidt distance (bjader/QSSL).

All functions are differentiable by torch and keep the precision of their inputs.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def contrastive(z1: Tensor, z2: Tensor, temperature: float, positive_below: bool = True) -> Tensor:
    """Return the normalised-temperature cross entropy of two views (train_simclr.py 363-379).

    Summed in log space: exp(1/T) overflows below T = 0.0014 in double and 0.011 in single
    precision.

    Args:
        z1, z2: (B, d) outputs for the two views, of any length; row i of both is one image.
        temperature: T > 0.
        positive_below: whether the positive pair is also in the denominator, as released.

    Returns:
        () mean over the 2B rows, in nats; log(2B - 1) when all rows are parallel.
    """
    z = F.normalize(torch.cat([z1, z2]), dim=-1)
    similarity = z @ z.T / temperature
    rows = torch.arange(len(z), device=z.device)
    partner = rows.roll(len(z1))
    positive = similarity[rows, partner]
    left_out = rows[:, None] == rows
    if not positive_below:
        left_out = left_out | (partner[:, None] == rows)
    return (similarity.masked_fill(left_out, -torch.inf).logsumexp(-1) - positive).mean()


def overlaps(states: Tensor) -> Tensor:
    """Return |<v_i|v_j>|^2 (N, N) of normalised states (N, D)."""
    return (states.conj() @ states.T).abs() ** 2


def _distance(rho2: Tensor, sigma2: Tensor, rho_sigma: Tensor) -> dict[str, Tensor]:
    return {
        "tr_rho2": rho2,
        "tr_sigma2": sigma2,
        "tr_rho_sigma": rho_sigma,
        "d_hs": rho2 + sigma2 - 2 * rho_sigma,
    }


def hilbert_schmidt_pairs(overlap: Tensor) -> dict[str, Tensor]:
    """Return traces and distance between a pair of views and all other states, mean over pairs.

    rho_i is the mean projector of the two states of pair i, sigma_i that of the other 2B - 2
    (train_simclr.py lines 426-483). Every trace is a sum of overlaps, so no density matrix is
    built.

    Args:
        overlap: (2B, 2B) squared overlaps, first view before second.

    Returns:
        ``tr_rho2``, ``tr_sigma2``, ``tr_rho_sigma`` and ``d_hs`` = tr (rho - sigma)^2.
    """
    batch = len(overlap) // 2
    pairs = overlap.reshape(2, batch, 2, batch).sum((0, 2))  # every pair with every pair
    own, every, total = pairs.diagonal(), pairs.sum(-1), pairs.sum()
    others = 2 * batch - 2
    sigma2 = (total - 2 * every + own) / others**2
    return _distance((own / 4).mean(), sigma2.mean(), ((every - own) / (2 * others)).mean())


def hilbert_schmidt_classes(overlap: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return traces and distance between the states of label 0 and all others.

    Args:
        overlap: (2B, 2B) squared overlaps.
        labels: (2B,) labels of the states.
    """
    rho = (labels == 0).to(overlap.dtype)
    rho, sigma = rho / rho.sum(), (1 - rho) / (1 - rho).sum()
    return _distance(rho @ overlap @ rho, sigma @ overlap @ sigma, rho @ overlap @ sigma)
