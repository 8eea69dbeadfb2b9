"""The two optimisers of the released runs, as PennyLane defines them.

Torch's own differ: its Nesterov momentum returns the look-ahead point, and its Adam adds eps after
the bias correction. PennyLane's compute with numpy, which rounds a last bit otherwise now and then:
the recorded runs were made with torch.
"""

from collections.abc import Callable

import torch
from torch import Tensor


class Nesterov:
    """Momentum with the gradient taken at the look-ahead point ``params - momentum velocity``."""

    def __init__(self, stepsize: float = 0.01, momentum: float = 0.9) -> None:
        """Start at rest."""
        self.stepsize, self.momentum = stepsize, momentum
        self.velocity = torch.zeros(())

    def point(self, params: Tensor) -> Tensor:
        """Return where the next gradient is taken."""
        return params - self.momentum * self.velocity

    def step(self, params: Tensor, gradient: Tensor) -> Tensor:
        """Return the next parameters."""
        self.velocity = self.momentum * self.velocity + self.stepsize * gradient
        return params - self.velocity


class Adam:
    """Adam with the bias corrections in the step size, and eps added to the bare root."""

    def __init__(
        self, stepsize: float = 0.01, betas: tuple[float, float] = (0.9, 0.99), eps: float = 1e-8
    ) -> None:
        """Start without memory."""
        self.stepsize, self.betas, self.eps = stepsize, betas, eps
        self.mean, self.square, self.steps = torch.zeros(()), torch.zeros(()), 0

    def point(self, params: Tensor) -> Tensor:
        """Return where the next gradient is taken: here."""
        return params

    def step(self, params: Tensor, gradient: Tensor) -> Tensor:
        """Return the next parameters."""
        first, second = self.betas
        self.steps += 1
        self.mean = first * self.mean + (1 - first) * gradient
        self.square = second * self.square + (1 - second) * gradient**2
        size = self.stepsize * (1 - second**self.steps) ** 0.5 / (1 - first**self.steps)
        return params - size * self.mean / (self.square.sqrt() + self.eps)


def value_and_gradient(
    cost: Callable[..., Tensor], params: Tensor, *step: int
) -> tuple[Tensor, Tensor]:
    """Return cost (...,) and gradient (..., P) at ``params`` (..., P); leading axes are repeats.

    The cost is a function of the parameters, and of a step if one is given.
    """
    params = params.detach().requires_grad_()
    value = cost(params, *step)
    if not params.numel():  # index 1 without pooling has nothing to train
        return value, params.detach()
    (gradient,) = torch.autograd.grad(value.sum(), params)
    return value.detach(), gradient


def minimise(
    rule: Nesterov | Adam, cost: Callable[[Tensor, int], Tensor], params: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Take ``steps`` steps from ``params`` (..., P).

    Args:
        rule: a fresh optimiser.
        cost: ``cost(params, step)`` -> (...,), step 0 first; the step chooses the batch.
        params: start values; leading axes are independent repeats.
        steps: number of steps; with none the parameters stay as they are.

    Returns:
        Last parameters (..., P), and (steps, ...) costs where each gradient was taken.
    """
    costs = []
    for step in range(steps):
        value, gradient = value_and_gradient(cost, rule.point(params), step)
        params = rule.step(params.detach(), gradient)
        costs.append(value)
    return params, torch.stack(costs) if costs else params.new_empty(0)
