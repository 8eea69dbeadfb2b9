"""From parameters to matrices and product states, with gradients worked out by hand.

Both functions are chains of a dozen small tensor operations; as one function each they cost half of
what automatic differentiation of the chain would. Backward passes carry the conjugate of the
gradient, so that no matrix has to be conjugated. Second derivatives go through the same forward
functions, differentiated automatically.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(eq=False)
class Table:
    """Products of factors, several at once: ``slots`` factors for each of ``items`` matrices.

    Attributes:
        terms: constants, (slots * items, 5, 2 d d) if shared by the batch, else
            (slots * items, 2 d d, 5); real, see `Factor`.
        rows: (slots * items,) which parameter each factor takes.
        slots: factors of each matrix; of shared tables a power of two, stored so that every level
            of the product multiplies one half by the other.
        items: matrices.
        d: their size.
    """

    terms: Tensor
    rows: Tensor
    slots: int
    items: int
    d: int


def basis(angles: Tensor) -> Tensor:
    """Return 1, cos(t/2), sin(t/2), cos(t), sin(t) along a new axis 1."""
    half = angles * 0.5
    cos, sin = half.cos(), half.sin()
    return torch.stack([torch.ones_like(cos), cos, sin, cos * cos - sin * sin, 2 * sin * cos], 1)


def _angle_gradient(weights: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient of angles from that of their `basis`."""
    _, cos_half, sin_half, cos, sin = weights.unbind(1)
    _, g_cos_half, g_sin_half, g_cos, g_sin = gradient.unbind(1)
    half = 0.5 * (cos_half * g_sin_half - sin_half * g_cos_half)
    return half + cos * g_sin - sin * g_cos


def again(forward: Callable, inputs: Sequence[Any], gradients: Sequence[Tensor]) -> list[Any]:
    """Return differentiable gradients of the inputs that have one."""
    wanted = [t for t in inputs if isinstance(t, Tensor) and t.requires_grad]
    with torch.enable_grad():
        outputs = forward(*inputs)
    outputs = [outputs] if isinstance(outputs, Tensor) else outputs
    found = iter(
        torch.autograd.grad(outputs, wanted, gradients, create_graph=True, allow_unused=True)
    )
    return [next(found) if isinstance(t, Tensor) and t.requires_grad else None for t in inputs]


# -- windows --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Windows:
    """How the matrices of all windows are made.

    Attributes:
        cores: their factors, ``None`` if there are only constants.
        pool: entries of constant matrices.
        index: for each set of windows of one shape (entries in the pool, slots, d); the pool is
            followed by the cores and by the matrices given at run time.
    """

    cores: Table | None
    pool: Tensor
    index: Sequence[tuple[Tensor, int, int]]


def window_matrices(
    windows: Windows, scalars: Tensor | None, dense: Sequence[Tensor]
) -> list[Tensor]:
    """Return for each set of windows their (K, d, d) matrices.

    Args:
        windows: constants.
        scalars: (S,) parameters.
        dense: (d, d) matrices given at run time.
    """
    given = [t for t in (scalars, *dense) if t is not None]
    if torch.is_grad_enabled() and any(t.requires_grad for t in given):
        return list(_Windows.apply(windows, scalars, *dense))
    return _windows(windows, scalars, *dense)[0]


def _windows(windows: Windows, scalars: Tensor | None, *dense: Tensor) -> tuple[list[Tensor], Any]:
    parts, kept = [windows.pool], None
    if windows.cores is not None:
        table = windows.cores
        weights = basis(scalars)  # type: ignore[arg-type]
        found = (weights.index_select(0, table.rows).unsqueeze(2) * table.terms).sum(1)
        matrices = torch.view_as_complex(found.view(-1, table.d, table.d, 2))
        product, levels = _tree(matrices, table.slots)
        parts.append(product.reshape(-1))
        kept = weights, levels
    parts += [matrix.reshape(-1) for matrix in dense]
    pool = torch.cat(parts) if len(parts) > 1 else windows.pool
    made = [
        _tree(pool.index_select(0, index).view(-1, d, d), slots)
        for index, slots, d in windows.index
    ]
    return [product for product, _ in made], (kept, [levels for _, levels in made], len(pool))


def _tree(matrices: Tensor, slots: int) -> tuple[Tensor, list[Tensor]]:
    """Multiply (slots * items, d, d) matrices along the slots, the last times the first."""
    levels = []
    while slots > 1:
        levels.append(matrices)
        first, second = matrices.chunk(2)
        matrices = torch.bmm(second, first)
        slots //= 2
    return matrices, levels


def _tree_back(carried: Tensor, levels: Sequence[Tensor]) -> Tensor:
    for level in reversed(levels):
        first, second = level.chunk(2)
        below = torch.empty_like(level)
        torch.bmm(second.transpose(1, 2), carried, out=below[: len(first)])
        torch.bmm(carried, first.transpose(1, 2), out=below[len(first) :])
        carried = below
    return carried


class _Windows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, windows, scalars, *dense):
        made, ctx.kept = _windows(windows, scalars, *dense)
        ctx.windows = windows
        ctx.save_for_backward(scalars, *dense)
        return tuple(made)

    @staticmethod
    def backward(ctx, *gradients):
        windows, (scalars, *dense) = ctx.windows, ctx.saved_tensors
        if torch.is_grad_enabled():
            inputs = [scalars, *dense]
            return (None, *again(lambda *t: _windows(windows, *t)[0], inputs, gradients))
        core, levels, size = ctx.kept
        pool = torch.zeros(size, dtype=windows.pool.dtype, device=windows.pool.device)
        for (index, _, _), gradient, level in zip(windows.index, gradients, levels, strict=True):
            carried = _tree_back(gradient.conj().resolve_conj(), level)
            pool.index_add_(0, index, carried.reshape(-1))
        place, for_scalars = len(windows.pool), None
        if core is not None:
            table, (weights, below) = windows.cores, core
            length = table.items * table.d**2
            carried = pool[place : place + length].view(-1, table.d, table.d)
            carried = _tree_back(carried, below).conj().resolve_conj()
            place += length
            real = torch.view_as_real(carried).reshape(len(table.rows), 1, -1)
            found = (real * table.terms).sum(2)
            summed = torch.zeros_like(weights).index_add_(0, table.rows, found)
            for_scalars = _angle_gradient(weights, summed)
        elif scalars is not None:
            for_scalars = torch.zeros_like(scalars)
        for_dense = []
        for matrix in dense:
            part = pool[place : place + matrix.numel()].conj()
            for_dense.append(part.view(matrix.shape))
            place += matrix.numel()
        return (None, for_scalars, *for_dense)


# -- product states -------------------------------------------------------------------------------


def batched_factors(table: Table, weights: Tensor) -> Tensor:
    """Return (slots, items, d, d, B) complex matrices from the (R, 5, B) `basis`."""
    found = torch.bmm(table.terms, weights.index_select(0, table.rows))
    real, imaginary = found.chunk(2, 1)
    return torch.complex(real, imaginary).view(table.slots, table.items, table.d, table.d, -1)


def product_state(table: Table, angles: Tensor) -> Tensor:
    """Return the (2^n, B) state of n wires that each see only gates of their own.

    Args:
        table: of n items of size 2.
        angles: (R, B) parameters.
    """
    if torch.is_grad_enabled() and angles.requires_grad:
        return _Product.apply(table, angles)
    return _product(table, angles)[0]


def _product(table: Table, angles: Tensor) -> tuple[Tensor, Any]:
    weights = basis(angles)
    factors = batched_factors(table, weights)
    columns = [factors[0, :, :, 0]]
    for factor in factors[1:]:
        columns.append((factor * columns[-1].unsqueeze(1)).sum(2))
    groups, levels, start = [], [], 0
    for size in _powers(table.items):  # neighbours are multiplied, the first is most significant
        group, below = columns[-1][start : start + size], []
        while len(group) > 1:
            below.append(group)
            group = _outer(group[0::2], group[1::2])
        groups.append(group)
        levels.append(below)
        start += size
    joined = [groups[0]]
    for group in groups[1:]:
        joined.append(_outer(joined[-1], group))
    return joined[-1][0], (weights, factors, columns, groups, levels, joined)


def _powers(number: int) -> list[int]:
    """Return the powers of two that add up to a number, largest first."""
    return [1 << bit for bit in reversed(range(number.bit_length())) if number >> bit & 1]


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """Return the (m, d d', B) tensor products of (m, d, B) and (m, d', B) states."""
    return (left.unsqueeze(2) * right.unsqueeze(1)).view(len(left), -1, left.shape[-1])


def _outer_back(carried: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    both = carried.view(len(left), left.shape[1], right.shape[1], -1)
    return (both * right.unsqueeze(1)).sum(2), (both * left.unsqueeze(2)).sum(1)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table, angles):
        state, ctx.kept = _product(table, angles)
        ctx.table = table
        ctx.save_for_backward(angles)
        return state

    @staticmethod
    def backward(ctx, gradient):
        table, (angles,) = ctx.table, ctx.saved_tensors
        if torch.is_grad_enabled():
            return (None, *again(lambda t: _product(table, t)[0], [angles], [gradient]))
        weights, factors, columns, groups, levels, joined = ctx.kept
        carried = gradient.conj().resolve_conj().unsqueeze(0)
        parts = []
        for place in range(len(groups) - 1, -1, -1):
            part = carried
            if place:
                carried, part = _outer_back(carried, joined[place - 1], groups[place])
            for level in reversed(levels[place]):
                pair = _outer_back(part, level[0::2], level[1::2])
                part = torch.stack(pair, 1).view(len(level), -1, part.shape[-1])
            parts.append(part)
        column = torch.cat(parts[::-1]) if len(parts) > 1 else parts[0]
        found = torch.zeros_like(factors)
        for slot in range(table.slots - 1, 0, -1):
            found[slot] = column.unsqueeze(2) * columns[slot - 1].unsqueeze(1)
            column = (factors[slot] * column.unsqueeze(2)).sum(1)
        found[0, :, :, 0] = column
        parts = found.view(len(table.rows), -1, found.shape[-1])
        real = torch.cat([parts.real, -parts.imag], 1)
        taken = torch.bmm(table.terms.transpose(1, 2), real)
        summed = torch.zeros_like(weights).index_add_(0, table.rows, taken)
        return None, _angle_gradient(weights, summed)
