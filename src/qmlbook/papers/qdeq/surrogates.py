"""Layers that know no quantum computer and have as many trained numbers as the circuit has angles.

A dense layer of this size has more weights than that, so its weights w are w_0 + P x: a random
start w_0 of every run, a random subspace P that stays the same, as the circuit's gates do, and the
trained coordinates x (Li, Farkhoor, Liu and Yosinski 2018, arXiv:1804.08838).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ...base.rng import stream
from .layer import Layer, expand

KINDS = ("tanh", "quadratic")
RANK = 2  # of a quadratic form: one positive and one negative square


@dataclass(frozen=True)
class Tanh:
    """The classical equilibrium's layer, m -> tanh(W m + U u + b), whose states are R m.

    Attributes:
        returned: W (n, n), what is fed back.
        data: U (n, D).
        bias: b (n,).
    """

    returned: Tensor
    data: Tensor
    bias: Tensor

    @property
    def n_wires(self) -> int:
        """Number of units n; states have D = n^2 entries, every unit's n times, as a circuit's."""
        return len(self.bias)

    def reduced(self, u: Tensor) -> TanhMap:
        """Return the map on (B, n) for data u (B, D)."""
        return TanhMap(self, u)


class TanhMap:
    """The map m -> tanh(W m + U u + b) on (B, n) for data u (B, D)."""

    def __init__(self, layer: Tanh, u: Tensor) -> None:
        """Make what does not change now: later, inside a solver, it would get no gradient."""
        self.layer, self.u = layer, u
        self.driven = u @ layer.data.T + layer.bias

    def __call__(self, m: Tensor) -> Tensor:
        """Return the units' values after m (B, n) was fed back."""
        return torch.tanh(m @ self.layer.returned.T + self.driven)

    def jacobian(self, m: Tensor) -> Tensor:
        """Return its Jacobian (B, n, n)."""
        return (1 - self(m).square())[:, :, None] * self.layer.returned

    def pulled(self, m: Tensor, g: Tensor) -> Tensor:
        """Return g^T dm/dz (B, D) for g (B, n), m held constant; differentiable in the weights.

        The states z = R m are read as the mean of every unit's n copies.
        """
        slopes = 1 - self(m.detach()).square()
        return expand((g * slopes) @ self.layer.returned) / self.layer.n_wires


def quadratic(weights: Tensor, n_wires: int) -> Layer:
    """Return m_q = v^T B_q v / |v|^2 with B_q = a a^T - b b^T, a form of rank 2 for every q.

    A circuit after an amplitude encoder is such a quotient, too; its forms have full rank.

    Args:
        weights: the vectors a and b of all q, (2 n D,).
        n_wires: n.
    """
    plus, minus = weights.view(n_wires, RANK, n_wires**2).unbind(1)
    forms = plus[:, :, None] * plus[:, None] - minus[:, :, None] * minus[:, None]
    return Layer(forms, "amplitude")


def tanh(weights: Tensor, n_wires: int) -> Tanh:
    """Return the layer whose weights W, U and b are given one row after the other, (n (n+D+1),)."""
    rows = weights.view(n_wires, -1)
    return Tanh(rows[:, :n_wires], rows[:, n_wires:-1], rows[:, -1])


MAKERS: dict[str, Callable[[Tensor, int], Layer | Tanh]] = {"tanh": tanh, "quadratic": quadratic}


def start(kind: str, n_wires: int, seed: int) -> Tensor:
    """Return the weights w_0 of a run, float64.

    Those of ``tanh`` are drawn as by torch's linear layer, uniform within 1 / sqrt(n + D); the
    vectors of ``quadratic`` are Gaussian, of length 1 on average.
    """
    rng, features = stream(seed, "surrogate", kind), n_wires**2
    if kind == "tanh":
        inputs = n_wires + features
        drawn = rng.uniform(-1, 1, n_wires * (inputs + 1)) / inputs**0.5
    else:
        drawn = rng.normal(size=n_wires * RANK * features) / features**0.5
    return torch.from_numpy(drawn)


@cache
def subspace(kind: str, n_wires: int, dimensions: int, seed: int) -> Tensor:
    """Return orthonormal directions (weights, dimensions) in the space of all weights, float64."""
    weights = len(start(kind, n_wires, seed))
    drawn = stream(seed, "subspace", kind).normal(size=(weights, dimensions))
    return torch.from_numpy(np.linalg.qr(drawn)[0])
