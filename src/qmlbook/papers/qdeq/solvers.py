"""Fixed points z = f(z) of batched maps: two quasi-Newton solvers and the implicit gradient.

A map takes (B, D) to (B, D), each row for itself. The solvers follow Bai, Koltun and Kolter (2021)
and the QDEQ release: one stopping decision for the whole batch, but steps of each row's own.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...base.errors import QmlbookError, UsageError, require_choice

Map = Callable[[Tensor], Tensor]
STOPS = ("rel", "abs")
RIDGE = 1e-4  # added to the squared residuals before Anderson's weights are solved for
START = 1e8  # a criterion must be below this to count as the lowest so far


@dataclass(frozen=True)
class Solution:
    """The best iterate of a solver and how it was found.

    Attributes:
        z: (B, D) the iterate with the lowest criterion.
        step: its number.
        lowest: its criterion.
        abs_trace: |f(z) - z| over the batch, per recorded iterate.
        rel_trace: the same divided by |f(z)| (and a small constant).
        evaluations: how often f was called.
        converged: whether the lowest criterion is below the tolerance asked for.
    """

    z: Tensor
    step: int
    lowest: float
    abs_trace: list[float]
    rel_trace: list[float]
    evaluations: int
    converged: bool = False

    def padded(self, length: int) -> tuple[list[float], list[float]]:
        """Return both traces, filled up to ``length`` with the lowest value of each."""
        absolute, relative = (
            trace + [float(np.nanmin([START, *trace]))] * (length - len(trace))
            for trace in (self.abs_trace, self.rel_trace)
        )
        return absolute, relative


class _Search:
    """What both solvers keep: the traces and the best iterate."""

    def __init__(self, start: Tensor, eps: float, stop: str, guard: float) -> None:
        require_choice("stop", stop, STOPS)
        self.best, self.step, self.lowest = start, 0, START
        self.eps, self.guard = eps, guard
        self.traces: dict[str, list[float]] = {"abs": [], "rel": []}
        self.criteria = self.traces[stop]

    def record(self, step: int, z: Tensor, residual: Tensor) -> bool:
        """Note iterate ``z`` with f(z) - z; return whether it is good enough."""
        absolute = residual.norm().item()
        relative = absolute / ((residual + z).norm().item() + self.guard)
        self.traces["abs"].append(absolute)
        self.traces["rel"].append(relative)
        if self.criterion < self.lowest:
            self.best, self.step, self.lowest = z, step, self.criterion
        return self.criterion < self.eps

    @property
    def criterion(self) -> float:
        return self.criteria[-1]

    def solution(self, evaluations: int) -> Solution:
        if self.step == 0 and not math.isfinite(self.criterion):
            raise QmlbookError(
                "the map gave numbers that are not finite from the start: check its data and "
                "parameters for NaN, infinity and vectors of length 0."
            )
        converged = self.lowest < self.eps
        traces = self.traces["abs"], self.traces["rel"]
        return Solution(self.best, self.step, self.lowest, *traces, evaluations, converged)


@torch.no_grad()
def broyden(
    f: Map, start: Tensor, threshold: int, eps: float = 1e-3, stop: str = "rel"
) -> Solution:
    """Solve z = f(z) by Broyden's good method, without a line search.

    Starts from the inverse Jacobian -1, so that the first iterate is f(start). Stops when the
    criterion is below ``eps``, after ``threshold`` iterations, when nothing has moved for 30
    iterations (within a factor 1.3, below 3 eps), or when it diverges.

    Args:
        f: (B, D) -> (B, D).
        start: (B, D); never the answer itself.
        threshold: iterations, 1 or more.
        eps: criterion to reach.
        stop: ``rel`` for |f(z) - z| / |f(z)| over the batch, ``abs`` for |f(z) - z|.

    Raises:
        UsageError: if ``stop`` or ``threshold`` is out of range.
        QmlbookError: if f gives no finite numbers.
    """
    if threshold < 1:
        raise UsageError(f"threshold must be 1 or more for Broyden, not {threshold}.")
    search = _Search(start, eps, stop, guard=1e-9)
    diverged = start.shape[1] * (1e6 if stop == "abs" else 1e3)
    left, right = start.new_empty(2, threshold, *start.shape)  # inverse: -1 + sum_k u_k v_k^T

    def inverse(x: Tensor, k: int) -> Tensor:
        return _low_rank(left[:k], right[:k], x)

    z, residual = start, f(start) - start
    for step in range(1, threshold + 1):
        change = -inverse(residual, step - 1)
        z, before = z + change, residual
        residual = f(z) - z
        if search.record(step, z, residual) or _stalled(search):
            break
        if search.criterion > search.criteria[0] * diverged:
            break
        bend = residual - before
        v = _low_rank(right[: step - 1], left[: step - 1], change)
        u = (change - inverse(bend, step - 1)) / (v * bend).sum(1, keepdim=True)
        # A row that has arrived divides zero by zero: it keeps its inverse.
        for store, vector in ((left, u), (right, v)):
            store[step - 1] = vector.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    return search.solution(evaluations=1 + step)


def _low_rank(left: Tensor, right: Tensor, x: Tensor) -> Tensor:
    """Return -x + sum_k left_k (right_k . x), row by row."""
    return -x + torch.einsum("kbd,kb->bd", left, torch.einsum("kbd,bd->kb", right, x))


def _stalled(search: _Search) -> bool:
    recent = search.criteria[-30:]
    return (
        len(search.criteria) > 30
        and search.criterion < 3 * search.eps
        and max(recent) < 1.3 * min(recent)
    )


@torch.no_grad()
def anderson(
    f: Map, start: Tensor, threshold: int, eps: float = 1e-3, stop: str = "rel", window: int = 6
) -> Solution:
    """Solve z = f(z) by Anderson acceleration: mix the last values of f to shrink the residual.

    Args:
        f: (B, D) -> (B, D).
        start: (B, D); it and f(start) are never the answer.
        threshold: iterates in all, the two first ones included; 3 or more.
        eps: criterion to reach.
        stop: as for `broyden`.
        window: how many iterates are mixed, 1 or more; 1 is plain iteration.

    Raises:
        UsageError: if ``stop``, ``threshold`` or ``window`` is out of range.
        QmlbookError: if f gives no finite numbers.
    """
    if threshold < 3:
        raise UsageError(f"threshold must be 3 or more for Anderson, not {threshold}.")
    if window < 1:
        raise UsageError(f"window must be 1 or more, not {window}.")
    search = _Search(start, eps, stop, guard=1e-5)
    points, values = start.new_zeros(2, len(start), window, start.shape[1])
    points[:, 0], values[:, 0] = start, f(start)
    second = 1 % window
    points[:, second], values[:, second] = values[:, 0], f(values[:, 0])
    for step in range(2, threshold):
        n, slot = min(step, window), step % window
        weights = _mixture(values[:, :n] - points[:, :n])
        points[:, slot] = (weights[:, :, None] * values[:, :n]).sum(1)
        values[:, slot] = f(points[:, slot])
        z = points[:, slot].clone()
        if search.record(step, z, values[:, slot] - z):
            break
    return search.solution(evaluations=1 + step)


SOLVERS = {"broyden": broyden, "anderson": anderson}


def _mixture(residuals: Tensor) -> Tensor:
    """Return the weights (B, n), of sum 1, that mix residuals (B, n, D) to the shortest."""
    n = residuals.shape[1]
    system = residuals.new_zeros(len(residuals), n + 1, n + 1)
    system[:, 0, 1:] = system[:, 1:, 0] = 1
    identity = torch.eye(n, dtype=residuals.dtype, device=residuals.device)
    system[:, 1:, 1:] = residuals @ residuals.mT + RIDGE * identity
    right = torch.zeros_like(system[:, 0])
    right[:, 0] = 1
    return torch.linalg.solve(system, right)[:, 1:]


def jacobian(f: Map, z: Tensor, create_graph: bool = False) -> Tensor:
    """Return the Jacobian (B, M, D) of a map (B, D) -> (B, M) at z, one backward pass per output.

    ``create_graph`` keeps it differentiable in whatever else ``f`` depends on.
    """
    z = z.detach().requires_grad_()
    with torch.enable_grad():
        return _rows(f(z), z, create_graph)


def _rows(value: Tensor, z: Tensor, create_graph: bool = False) -> Tensor:
    rows: list[Tensor] = []
    for j in range(value.shape[1]):
        unit = torch.zeros_like(value)
        unit[:, j] = 1
        rows += torch.autograd.grad(value, z, unit, retain_graph=True, create_graph=create_graph)
    return torch.stack(rows, dim=1)


def find_root(f: Map, start: Tensor, tolerance: float = 1e-13, iterations: int = 300) -> Tensor:
    """Return the fixed point that Broyden's method reaches from ``start``, to machine precision.

    Broyden's steps lead near it and Newton's finish; every row's |f(z) - z| ends below
    ``tolerance`` times the square root of D.

    Args:
        f: (B, D) -> (B, D), differentiable.
        start: (B, D).
        tolerance: largest root mean square of a row's residual.
        iterations: Broyden steps at most.

    Raises:
        QmlbookError: if a row does not get there.
    """
    z = broyden(f, start, iterations, eps=1e-9, stop="abs").z
    for _ in range(50):
        with torch.no_grad():
            residual = f(z) - z
        arrived = residual.norm(dim=1) <= tolerance * z.shape[1] ** 0.5
        if arrived.all():
            return z
        z = torch.where(arrived[:, None], z, z + _solved(jacobian(f, z).mT, residual))
    raise QmlbookError(f"{int((~arrived).sum())} of {len(z)} fixed points were not reached.")


def implicit(
    f: Map,
    root: Tensor,
    adjoint: Callable[[Map, Tensor], Solution] | None = None,
    slopes: Map | None = None,
    order: int | None = None,
) -> Tensor:
    """Return f(root), differentiated as the fixed point is, by the implicit function theorem.

    Going backward, the incoming gradient g becomes y = g + J^T y, with J the Jacobian of f at the
    root, before it enters f's own parameters. At a point that is no root the gradient belongs to
    none: look at `Solution.converged`.

    Args:
        f: (B, D) -> (B, D); everything else it depends on receives gradients.
        root: (B, D) fixed point of f.
        adjoint: solver of the equation for y, called with its map and a start, for instance
            ``partial(broyden, threshold=10)``; by default the equation is solved exactly.
        slopes: root -> J (B, D, D), where a formula is known; D backward passes by default.
        order: how often the result can be differentiated, and how often f is evaluated, whatever
            led to the root; 2 by default, and 1, the most, with ``adjoint``.

    Raises:
        UsageError: if ``order`` is out of range.
        QmlbookError: in the backward pass, if the equation for y has no finite solution, or
            if a second derivative is prepared (``create_graph``) where ``order`` is 1.
    """
    order = (1 if adjoint else 2) if order is None else order
    if order < 1 or (adjoint and order > 1):
        raise UsageError(f"order must be 1{'' if adjoint else ' or more'}, not {order}.")
    if not torch.is_grad_enabled():
        return f(root)
    z = at = root.detach().requires_grad_()
    first = value = f(z)

    @functools.cache
    def jacobian_at_root() -> Tensor:
        with torch.no_grad():
            return _rows(first, at) if slopes is None else slopes(at.detach())

    def pulled(y: Tensor) -> Tensor:
        return torch.autograd.grad(first, at, y, retain_graph=True)[0]

    def through_the_root(gradient: Tensor) -> Tensor:
        if order == 1 and torch.is_grad_enabled():
            raise QmlbookError("the implicit gradient has order 1: it has no second derivative.")
        if adjoint is None:
            y = _solved(jacobian_at_root(), gradient)
        else:
            y = adjoint(lambda y: pulled(y) + gradient, torch.zeros_like(gradient)).z
        if not y.isfinite().all():
            raise QmlbookError("the implicit gradient is not finite: 1 - J cannot be inverted.")
        return y

    if not value.requires_grad:
        return value
    for _ in range(order - 1):
        z = _ChordStep.apply(z, value, at, through_the_root)
        value = f(z)
    return _ChordStep.apply(z, value, value, through_the_root)


class _ChordStep(torch.autograd.Function):
    """A number with the derivatives of z + (f(z) - z) / (1 - J), where J is a constant.

    That is a step of Newton's method with an old Jacobian: each makes one more derivative, in
    whatever f depends on, that of the root. None of them moves the number: it is the root already.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, value: Tensor, number: Tensor, inverse: Map) -> Tensor:
        ctx.inverse = inverse
        return number.view_as(number)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        y = ctx.inverse(gradients[0])
        return gradients[0] - y, y, None, None


def _solved(slopes: Tensor, right: Tensor) -> Tensor:
    """Return y with (1 - J)^T y = right; not finite where 1 - J is singular."""
    identity = torch.eye(slopes.shape[1], dtype=slopes.dtype, device=slopes.device)
    y, failed = torch.linalg.solve_ex(identity - slopes.mT, right)
    return torch.where(failed[:, None] == 0, y, torch.nan)
