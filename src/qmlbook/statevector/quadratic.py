"""Amplitude-encoded measurements as quadratic forms.

A circuit that prepares the real amplitudes x and then does the same to all of them, U, measures
<O> = x^T A x with the real symmetric A = Re(U^dagger O U). A is made once; every further
evaluation is a small matrix product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .execution import COMPLEX, REGISTER, Call, Plan, run
from .lowering import Rows
from .measure import Readout
from .structure import Structure
from .torch_path import States

if TYPE_CHECKING:
    from .simulation import Values

PRODUCT = 25e3  # multiplications a microsecond in a large real product, for estimates
VISIT = 0.006  # microseconds for an operation to visit one place, there and back


def quadratic_form(matrices: Tensor, x: Tensor) -> Tensor:
    """Return x^T A x.

    Args:
        matrices: (..., D, D) real symmetric A.
        x: (B, D) or (D,) real.

    Returns:
        (B, ...) values; without B for a single x. Differentiable in both, to any order.
    """
    flat = matrices.reshape(-1, *matrices.shape[-2:])
    values = _Form.apply(flat, x.reshape(-1, x.shape[-1]))
    return values.reshape(*x.shape[:-1], *matrices.shape[:-2])


class _Form(torch.autograd.Function):
    """(Q, D, D) and (B, D) to (B, Q), using in the backward pass that A is symmetric."""

    @staticmethod
    def forward(ctx, matrices, x):
        products = _products(matrices, x)
        ctx.save_for_backward(matrices, x, products)
        return (products * x.unsqueeze(1)).sum(2)

    @staticmethod
    def backward(ctx, gradient):
        matrices, x, products = ctx.saved_tensors
        if torch.is_grad_enabled():
            products = _products(matrices, x)
        for_x = for_matrices = None
        if ctx.needs_input_grad[1]:
            for_x = 2 * torch.bmm(gradient.unsqueeze(1), products).squeeze(1)
        if ctx.needs_input_grad[0]:
            weighted = gradient.t().unsqueeze(2) * x  # (Q, B, D)
            for_matrices = weighted.transpose(1, 2) @ x
        return for_matrices, for_x


def _products(matrices: Tensor, x: Tensor) -> Tensor:
    """Return (B, Q, D) products of every x with every matrix."""
    wide = matrices.transpose(0, 1).reshape(x.shape[1], -1)
    return (x @ wide).view(len(x), *matrices.shape[:2])


class Forms:
    """The measurements of an amplitude-encoded circuit as quadratic forms.

    Args:
        structure: the circuit.
        readout: its measurements.
        measured: wires that they look at.
    """

    def __init__(self, structure: Structure, readout: Readout, measured: set[int]) -> None:
        self.readout, self.structure = readout, structure
        self.plan = Plan(structure, Rows(0, [], []), [], True, measured)
        self.possible = bool(structure.prepared) and not readout.state and bool(readout.parts)

    def pay(self, plan: Plan, values: Values) -> bool:
        """Return whether forms are cheaper than states for a batch of real vectors."""
        x = values.amplitudes
        if not self.possible or x is None or x.ndim < 2 or x.is_complex() or len(x) < x.shape[-1]:
            return False
        if values.layout.stride.any() or any(m.ndim == 3 for m in values.matrices):
            return False
        lanes = REGISTER // x.element_size()
        ops = plan.lowered(lanes, False).circuit.ops
        once = VISIT * float((ops[:, 3] - ops[:, 1]).sum())
        batch, size = x.shape
        form = self.readout.rows.count * size**2 / PRODUCT * (8 / lanes)
        forms = once * size / lanes + form * 2 ** (self.structure.wires + 1) + form * batch
        return forms < once * batch / lanes

    def matrices(self, values: Values, features: int | None = None) -> Tensor:
        """Return (rows, D, D) from what becomes of the first D basis states."""
        size = 2 ** len(self.structure.prepared)
        real = values.dtype
        device = next((t.device for t in values.tensors), torch.device("cpu"))
        first = torch.eye(features or size, size, dtype=real, device=device)
        call = Call(self.plan, values.layout, len(first), real, len(values.bases), True)
        columns = run(call, [*values.bases, first, *values.matrices])[-1]
        states = States(self.structure.wires, COMPLEX[real], device)
        rows: list[Tensor | float] = [0.0] * self.readout.rows.count
        for word in self.readout.rows.words:
            applied = word.weight * states.pauli(columns, word.letters)
            rows[word.row] = rows[word.row] + applied
        made = [None if isinstance(a, float) else (columns.conj() @ a.t()).real for a in rows]
        for first_row, wires in self.readout.rows.probabilities:
            idle = [wire for wire in range(self.structure.wires) if wire not in wires]
            places = states.spread(wires)[:, None] + states.spread(idle)
            for row, place in enumerate(places, first_row):
                picked = columns.index_select(1, states.tensor(np.ascontiguousarray(place)))
                made[row] = picked.real @ picked.real.t() + picked.imag @ picked.imag.t()
        return torch.stack(made)  # type: ignore[arg-type]

    def split(self, values: Tensor) -> list[Tensor]:
        """Return the parts of a plan from (B, rows) values."""
        parts = self.readout.parts
        return [
            values[:, first] if count is None else values[:, first : first + count]
            for first, count in parts
        ]
