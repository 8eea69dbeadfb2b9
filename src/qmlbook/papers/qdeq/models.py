"""The classifiers around the layer: equilibrium or stacked, and the controls.

Sources: martaskrt/qdeq at a668197, qdeq_model.py 126-239, and for the baseline
baselines/another_wang_line.py at bd9f57b1. Data features u are (B, D), logits (B, classes). What
changes during training is handed over at every call: ``depth``, the number of stacked layers or
`EQUILIBRIUM`, and the random ``Draws`` of a training step (``None`` at evaluation).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...base.rng import stream
from . import circuits
from .layer import Layer, Reduced, expand
from .solvers import Solution, anderson, broyden, implicit

if TYPE_CHECKING:
    from .experiment import Config

EQUILIBRIUM = 0  # the depth that stands for the fixed point
DEVICE = "qmlbook.statevector"
SOLVERS = {"broyden": broyden, "anderson": anderson}
DTYPE = torch.float64


class Draws:
    """The random numbers of training steps, each kind from a stream of its own."""

    def __init__(self, seed: int) -> None:
        """Open the streams of a run."""
        self.batches, self.dropout = stream(seed, "batches"), stream(seed, "dropout")
        self.budget, self.penalty = stream(seed, "budget"), stream(seed, "penalty")


@dataclass
class Tally:
    """What training cost.

    Attributes:
        steps: of the optimiser.
        evaluations: circuit evaluations and vector-Jacobian products per image, summed over steps.
        unconverged: solver calls, forward or backward, that ended above their tolerance.
    """

    steps: int = 0
    evaluations: int = 0
    unconverged: int = 0


class Logistic(nn.Module):
    """The control that knows no quantum computer: logistic regression on the features."""

    def __init__(self, config: Config, seed: int) -> None:
        """Draw the weights as torch's linear layer would, from the stream of the run."""
        super().__init__()
        self.linear, self.tally = _linear(config.n_wires, seed), Tally()

    def forward(self, u: Tensor, depth: int, draws: Draws | None = None) -> tuple[Tensor, Tensor]:
        """Return logits and a penalty of 0."""
        return self.linear(u), u.new_zeros(())


class QDEQ(nn.Module):
    """The layer to a depth or to its equilibrium, dropout, ReLU and a linear classifier.

    Dropout never works in place: the released ReLU does, and overwrites the equilibrium that the
    gradient needs as soon as dropout is off.
    """

    def __init__(self, config: Config, seed: int) -> None:
        """Draw the angles uniformly in (-pi, pi) and the classifier as torch would."""
        super().__init__()
        self.config, self.tally = config, Tally()
        self.theta, self.phi = _angles(config, seed)
        self.linear = _linear(config.n_wires, seed)

    def layer(self) -> Layer:
        """Simulate the circuit at the present angles."""
        config = self.config
        return Layer.of(
            self.theta, self.phi, config.n_wires, config.encoder, DEVICE, config.random_layer
        )

    def forward(self, u: Tensor, depth: int, draws: Draws | None = None) -> tuple[Tensor, Tensor]:
        """Return logits and the Jacobian penalty (0 where it does not apply)."""
        f = self.layer().reduced(u)
        m = self.states(f, depth, draws)
        return self.classify(m, draws), self.penalty(f, m, depth, draws)

    def states(self, f: Reduced, depth: int, draws: Draws | None = None) -> Tensor:
        """Return the expectations (B, n) that stand for z.

        The equilibrium is searched with the released rules (rel < 1e-3 over the batch, at most
        ``threshold`` steps, up to ``delta`` fewer in training). Its gradient is the implicit one:
        the linear equation for it has n unknowns and is solved exactly; with ``adjoint="solver"``
        the solver's method is used again, as released (there with n^2 unknowns).
        """
        m = f.u.new_zeros(len(f.u), self.config.n_wires)
        if depth == EQUILIBRIUM:
            return self._equilibrium(f, m, draws)
        for _ in range(depth):
            m = f(m)
        self._count(depth * (2 if self.theta.requires_grad else 1), draws)
        return m

    def _equilibrium(self, f: Reduced, start: Tensor, draws: Draws | None) -> Tensor:
        config, less = self.config, 0
        if draws is not None and config.delta:
            less = int(draws.budget.integers(config.delta + 1))
        solver = SOLVERS[config.solver]
        found = solver(f, start, config.threshold - less, config.eps, config.stop)
        if draws is None:
            return found.z
        self._count_solver(found)
        self._count(1 + self.theta.requires_grad, draws)
        if not self.theta.requires_grad:
            return f(found.z)
        if config.adjoint == "exact":
            self._count(config.n_wires, draws)  # the Jacobian's rows
            return implicit(f, found.z, slopes=f.jacobian)
        solve = partial(solver, threshold=config.adjoint_threshold, eps=config.eps)
        return implicit(f, found.z, lambda pulled, zero: self._count_solver(solve(pulled, zero)))

    def _count(self, evaluations: int, draws: Draws | None) -> None:
        """Note what a training step costs; evaluation is not counted."""
        if draws is not None:
            self.tally.evaluations += evaluations

    def _count_solver(self, found: Solution) -> Solution:
        self.tally.evaluations += found.evaluations
        self.tally.unconverged += not found.converged
        return found

    def classify(self, m: Tensor, draws: Draws | None = None) -> Tensor:
        """Return logits of states m (B, n)."""
        z, dropout = expand(m), self.config.dropout
        if draws is not None and dropout:
            kept = torch.from_numpy(draws.dropout.random(z.shape) >= dropout)
            z = z * (kept.to(z.dtype) / (1 - dropout))
        return self.linear(F.relu(z))

    def penalty(self, f: Reduced, m: Tensor, depth: int, draws: Draws | None = None) -> Tensor:
        """Return |e^T J|^2 / (B D) for one Gaussian vector e, with the root held constant.

        Its mean is the squared Frobenius norm of the Jacobian J (D x D) of f over B D. J repeats
        every row of dq/dv n times, so that e enters through n sums of variance n.
        """
        config = self.config
        applies = draws is not None and depth == EQUILIBRIUM and config.gamma > 0
        if not applies or draws.penalty.random() >= config.frequency:
            return m.new_zeros(())
        self._count(1, draws)
        sums = torch.from_numpy(draws.penalty.normal(0, config.n_wires**0.5, m.shape))
        return f.pulled(m, sums.to(m.dtype)).square().sum() / f.u.numel()


class Baseline(QDEQ):
    """The earlier classifier without a fixed point: the expectations themselves are the logits."""

    def __init__(self, config: Config, seed: int) -> None:
        """Draw the angles; there is nothing else."""
        super().__init__(config, seed)
        del self.linear

    def classify(self, m: Tensor, draws: Draws | None = None) -> Tensor:
        """Return m."""
        return m


def build(config: Config, seed: int) -> nn.Module:
    """Return the untrained model of a configuration; equal seeds give equal angles and weights."""
    return {"linear": Logistic, "baseline": Baseline}.get(config.model, QDEQ)(config, seed)


def _angles(config: Config, seed: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Return the angles of the random layer and of the tail."""
    random_layer = circuits.random_layer(config.n_wires, config.random_layer)
    parts = {
        "theta": (random_layer, config.train_angles),
        "phi": (circuits.tail(config.n_wires), config.train_angles and config.train_tail),
    }
    drawn = []
    for name, (gates, trained) in parts.items():
        size = circuits.count_angles(gates)
        angles = torch.from_numpy(stream(seed, "angles", name).uniform(-np.pi, np.pi, size))
        drawn.append(nn.Parameter(angles, requires_grad=trained))
    return tuple(drawn)


def _linear(n_wires: int, seed: int) -> nn.Linear:
    """Return a linear map from n^2 features to n classes."""
    linear, rng = nn.Linear(n_wires**2, n_wires, dtype=DTYPE), stream(seed, "classifier")
    with torch.no_grad():
        for tensor in (linear.weight, linear.bias):  # bound 1 / sqrt(fan in), as torch's
            tensor.copy_(torch.from_numpy(rng.uniform(-1, 1, tensor.shape) / n_wires))
    return linear
