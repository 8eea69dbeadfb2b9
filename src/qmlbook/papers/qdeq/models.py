"""The classifiers around the layer: equilibrium or stacked, and the controls.

Sources: martaskrt/qdeq at a668197, qdeq_model.py 126-239, and for the baseline
baselines/another_wang_line.py at bd9f57b1. Data features u are (B, D), logits (B, classes). What
changes during training is handed over at every call: ``depth``, the number of stacked layers or
`EQUILIBRIUM`, and the random ``Draws`` of a training step (``None`` at evaluation).
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...base.rng import stream
from ..shared.initial import assign
from . import circuits, surrogates
from .config import EQUILIBRIUM, Config
from .layer import Feedback, Layer, expand
from .solvers import SOLVERS, Solution, implicit

DEVICE = "qmlbook.statevector"
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


class Classifier(nn.Module):
    """A linear map from features u (B, D) to logits (B, classes).

    By itself it is the control that knows no quantum computer: logistic regression.
    """

    def __init__(self, config: Config, seed: int) -> None:
        """Draw the weights as torch's linear layer would, from the stream of the run."""
        super().__init__()
        self.config, self.tally = config, Tally()
        self.linear: nn.Module = draw_linear(config.n_wires, seed)

    def forward(self, u: Tensor, depth: int, draws: Draws | None = None) -> tuple[Tensor, Tensor]:
        """Return logits and the penalty of a training step, whose draws are given: 0 here."""
        return self.linear(u), u.new_zeros(())


class Layered(Classifier):
    """A layer to a depth or to its equilibrium, dropout, ReLU and a linear classifier.

    Dropout never works in place: the released ReLU does, and overwrites the equilibrium that the
    gradient needs as soon as dropout is off.

    Attributes:
        theta: what the layer trains.
    """

    theta: nn.Parameter

    def layer(self) -> Layer | surrogates.Tanh:
        """Return the layer as it is now, differentiable in what it trains."""
        raise NotImplementedError

    def forward(self, u: Tensor, depth: int, draws: Draws | None = None) -> tuple[Tensor, Tensor]:
        """Return logits and the Jacobian penalty (0 where it does not apply)."""
        f = self.layer().reduced(u)
        m = self.states(f, depth, draws)
        return self.classify(m, draws), self.penalty(f, m, depth, draws)

    def states(self, f: Feedback, depth: int, draws: Draws | None = None) -> Tensor:
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
        self._count(depth * self._passes(), draws)
        return m

    def _equilibrium(self, f: Feedback, start: Tensor, draws: Draws | None) -> Tensor:
        config, less = self.config, 0
        if draws is not None and config.delta:
            less = int(draws.budget.integers(config.delta + 1))
        solver = SOLVERS[config.solver]
        root = solver(f, start, config.threshold - less, config.eps, config.stop)
        if draws is None:
            return root.z
        self._count_solver(root)
        self._count(self._passes(), draws)
        if not self.theta.requires_grad:
            return f(root.z)
        if config.adjoint == "exact":
            self._count(config.n_wires, draws)  # the Jacobian's rows
            return implicit(f, root.z, slopes=f.jacobian, order=1)
        solve = partial(solver, threshold=config.adjoint_threshold, eps=config.eps)
        return implicit(f, root.z, lambda pulled, zero: self._count_solver(solve(pulled, zero)))

    def _count(self, evaluations: int, draws: Draws | None) -> None:
        """Note what a training step costs; evaluation is not counted."""
        if draws is not None:
            self.tally.evaluations += evaluations

    def _count_solver(self, solution: Solution) -> Solution:
        self.tally.evaluations += solution.evaluations
        if not solution.converged:
            self.tally.unconverged += 1
        return solution

    def _passes(self) -> int:
        """Return how often a training step passes a layer: forward, and back to its angles."""
        return 2 if self.theta.requires_grad else 1

    def classify(self, m: Tensor, draws: Draws | None = None) -> Tensor:
        """Return logits of states m (B, n)."""
        z, dropout = expand(m), self.config.dropout
        if draws is not None and dropout:
            kept = torch.from_numpy(draws.dropout.random(z.shape) >= dropout)
            z = z * (kept.to(z.dtype) / (1 - dropout))
        return self.linear(F.relu(z))

    def penalty(self, f: Feedback, m: Tensor, depth: int, draws: Draws | None = None) -> Tensor:
        """Return |e^T J|^2 / (B D) for one Gaussian vector e, with the root held constant.

        Its mean is the squared Frobenius norm of the Jacobian J (D x D) of f over B D. J repeats
        every row of dq/dv n times, so that e enters through n sums of variance n.
        """
        if draws is None or depth != EQUILIBRIUM or self.config.gamma == 0:
            return m.new_zeros(())
        if draws.penalty.random() >= self.config.frequency:
            return m.new_zeros(())
        self._count(1, draws)
        sums = torch.from_numpy(draws.penalty.normal(0, self.config.n_wires**0.5, m.shape))
        return f.pulled(m, sums.to(m.dtype)).square().sum() / f.u.numel()


class QDEQ(Layered):
    """The circuit as the layer, or the circuit without its entangling gates."""

    def __init__(self, config: Config, seed: int) -> None:
        """Draw the angles uniformly in (-pi, pi) and the classifier as torch would."""
        super().__init__(config, seed)
        layer = circuits.random_layer(config.n_wires, config.random_layer)
        self.theta = draw_angles(seed, "theta", layer, trained=config.train_angles)
        tail, train_tail = circuits.tail(config.n_wires), config.train_angles and config.train_tail
        self.phi = draw_angles(seed, "phi", tail, trained=train_tail)

    def layer(self) -> Layer:
        """Simulate the circuit at the present angles."""
        config = self.config
        settings = config.n_wires, config.encoder, DEVICE, config.random_layer, config.layer
        return Layer.of(self.theta, self.phi, *settings)


class Surrogate(Layered):
    """A layer without a quantum computer, of as many trained numbers as the circuit has angles."""

    def __init__(self, config: Config, seed: int) -> None:
        """Draw the start; the subspace is that of the gates' seed, the same in every run."""
        super().__init__(config, seed)
        drawn_as = circuits.random_layer(config.n_wires, config.random_layer)
        size = circuits.count_angles(drawn_as)
        kind, n = config.layer, config.n_wires
        self.theta = nn.Parameter(torch.zeros(size, dtype=DTYPE), config.train_angles)
        self.start = surrogates.start(kind, n, seed)
        self.subspace = surrogates.subspace(kind, n, size, config.random_layer)

    def layer(self) -> Layer | surrogates.Tanh:
        """Return the layer at the present point of the subspace."""
        weights = self.start + self.subspace @ self.theta
        return surrogates.MAKERS[self.config.layer](weights, self.config.n_wires)


class Baseline(QDEQ):
    """The earlier classifier without a fixed point: the expectations themselves are the logits."""

    def __init__(self, config: Config, seed: int) -> None:
        """Draw the angles; there is nothing else."""
        super().__init__(config, seed)
        self.linear = nn.Identity()

    def classify(self, m: Tensor, draws: Draws | None = None) -> Tensor:
        """Return m."""
        return m


def build(config: Config, seed: int) -> Classifier:
    """Return the untrained model of a configuration; equal seeds give equal angles and weights."""
    kinds = {"linear": Classifier, "baseline": Baseline}
    layered = Surrogate if config.layer in surrogates.KINDS else QDEQ
    return kinds.get(config.model, layered)(config, seed)


def draw_angles(
    seed: int, name: str, gates: tuple[circuits.Gate, ...], trained: bool
) -> nn.Parameter:
    """Return the angles of some gates, uniform in (-pi, pi), from the stream of that name."""
    size = circuits.count_angles(gates)
    drawn = stream(seed, "angles", name).uniform(-np.pi, np.pi, size)
    return nn.Parameter(torch.from_numpy(drawn), requires_grad=trained)


def draw_linear(n_wires: int, seed: int) -> nn.Linear:
    """Return a linear map from n^2 features to n classes."""
    layer, rng = nn.Linear(n_wires**2, n_wires, dtype=DTYPE), stream(seed, "classifier")
    for parameter in (layer.weight, layer.bias):  # bound 1 / sqrt(fan in), as torch's
        assign(parameter, rng.uniform(-1, 1, parameter.shape) / n_wires)
    return layer
