"""Amplitude-encoded measurements as quadratic forms.

A circuit that prepares the real amplitudes x and then does the same to all of them, U, measures
<O> = x^T A x with the real symmetric A = Re(U^dagger O U). A is made once; every further
evaluation is a small matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pennylane.measurements import ExpectationMP, MeasurementProcess, ProbabilityMP
from torch import Tensor

from .measure import Readout, is_direct

GIGA = 75e3  # multiplications a microsecond in a large real product, for estimates


def quadratic_form(matrices: Tensor, x: Tensor) -> Tensor:
    """Return x^T A x.

    Args:
        matrices: (..., D, D) real symmetric A.
        x: (B, D) or (D,) real.

    Returns:
        (B, ...) values; without B for a single x. Differentiable in both, to any order.
    """
    flat = matrices.reshape(-1, *matrices.shape[-2:])
    found = _Form.apply(flat, x.reshape(-1, x.shape[-1]))
    return found.reshape(*x.shape[:-1], *matrices.shape[:-2])


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


def _is_quadratic(mp: MeasurementProcess) -> bool:
    if isinstance(mp, ExpectationMP):
        return is_direct(mp) and mp.obs.pauli_rep is not None
    return type(mp) is ProbabilityMP and is_direct(mp)


def matrices(
    columns: Tensor, readout: Readout, measurements: Sequence[MeasurementProcess]
) -> Tensor:
    """Return (rows, D, D) from the columns (2^n, D) of the circuit's unitary."""
    made = [_gram(columns, readout)] if readout.masks else []
    if all(isinstance(mp, ExpectationMP) for mp in measurements):
        return made[0]
    expectations, row, parts = made[0] if made else None, 0, []
    for mp in measurements:
        if isinstance(mp, ExpectationMP):
            parts.append(expectations[row : row + 1])  # type: ignore[index]
            row += 1
        else:
            groups = readout.outcomes(mp)  # (2^k, 2^(n-k)) basis states
            picked = torch.cat([columns.real[groups], columns.imag[groups]], 1)
            parts.append(torch.bmm(picked.transpose(1, 2), picked))
    return torch.cat(parts)


def _gram(columns: Tensor, readout: Readout) -> Tensor:
    """Return Re(W^dagger O W), (rows, D, D), for the columns W and all observables O."""
    both = torch.cat([columns.real, columns.imag])  # (2 2^n, D)
    applied = None  # (2 2^n, rows, D), the observables applied to the columns
    for index, real, imaginary in readout.masks:
        moved = columns if index is None else columns.index_select(0, index)
        parts = both if index is None else torch.cat([moved.real, moved.imag])
        part = parts.unsqueeze(1) * real.t().repeat(2, 1).unsqueeze(2)
        if imaginary is not None:
            turned = torch.cat([-moved.imag, moved.real])
            part = part + turned.unsqueeze(1) * imaginary.t().repeat(2, 1).unsqueeze(2)
        applied = part if applied is None else applied + part
    _, rows, d = applied.shape  # type: ignore[union-attr]
    return (both.t() @ applied.view(-1, rows * d)).view(d, rows, d).transpose(0, 1)  # type: ignore[union-attr]


def pays(microseconds: float, once: float, n: int, size: int, rows: int, batch: int) -> bool:
    """Return whether forms are cheaper than states.

    Args:
        microseconds: estimate for evolving the batch.
        once: estimate for evolving ``size`` columns.
        n: wires.
        size: length of x.
        rows: matrices.
        batch: vectors x.
    """
    build = 3 * rows * 2 ** (n + 1) * size**2 / GIGA
    each = 3 * rows * size**2 * batch / GIGA
    return once + build + each < microseconds


def row_count(measurements: Sequence[MeasurementProcess]) -> int | None:
    """Return how many matrices measurements need; ``None`` if they are no quadratic forms."""
    return sum(map(_rows, measurements)) if all(map(_is_quadratic, measurements)) else None


def _rows(mp: MeasurementProcess) -> int:
    return 1 if isinstance(mp, ExpectationMP) else 2 ** len(mp.wires)


def split(values: Tensor, measurements: Sequence[MeasurementProcess]) -> tuple[Tensor, ...]:
    """Return one result per measurement from (B, rows) values."""
    parts = values.split([_rows(mp) for mp in measurements], 1)
    pairs = zip(parts, measurements, strict=True)
    return tuple(part[:, 0] if isinstance(mp, ExpectationMP) else part for part, mp in pairs)
