"""Apply the steps of a plan to a batch of states, forwards and backwards.

The state is a (2^n, B) complex tensor. A window of wires that lie side by side is one batched
matrix product. The backward pass is the adjoint sweep: it carries the conjugated gradient back
through the steps and needs the state before every matrix, which is kept while all of them fit
`KEEP` bytes and otherwise recomputed from the end of the circuit by the inverse steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .build import again

KEEP = 256 * 2**20  # bytes of intermediate states that a forward pass may keep


class Move(NamedTuple):
    """One step on tensors.

    Attributes:
        kind: "permute", "matrix", "batched" or "monomial".
        shape: of the view: the axes for "permute", else (before, d) of the wires.
        at: for a matrix (stack, row); for "permute" the order of the axes.
        index: for "monomial" the source of each amplitude.
        phase: for "monomial" (2^n, 1) phases, ``None`` where all are 1.
        inverse: for "permute" and "monomial" the way back.
    """

    kind: str
    shape: tuple[int, ...]
    at: tuple[int, ...] = ()
    index: Tensor | None = None
    phase: Tensor | None = None
    inverse: Any = None


def evolve(moves: Sequence[Move], state: Tensor, stacks: Sequence[Tensor]) -> Tensor:
    """Return the state after all moves.

    Args:
        moves: the steps.
        state: (2^n, B or 1) complex; B appears with the first step that differs in the batch.
        stacks: (K, d, d) complex matrices, or (K, d, d, B) for those that differ in the batch.
    """
    needed = torch.is_grad_enabled() and (
        state.requires_grad or any(stack.requires_grad for stack in stacks)
    )
    if not needed:
        with torch.no_grad():
            return _forward(moves, state, stacks, None)
    return _Evolve.apply(moves, state, *stacks)


def _forward(
    moves: Sequence[Move], state: Tensor, stacks: Sequence[Tensor], kept: list[Tensor] | None
) -> Tensor:
    for move in moves:
        if kept is not None and move.kind in ("matrix", "batched"):
            kept.append(state)
        state = _apply(move, state, stacks)
    return state


def _apply(move: Move, state: Tensor, stacks: Sequence[Tensor]) -> Tensor:
    if move.kind == "matrix":
        return _product(stacks[move.at[0]][move.at[1]], move.shape, state)
    if move.kind == "permute":
        return _permute(state, move.shape, move.at)
    if move.kind == "monomial":
        state = state.index_select(0, move.index)  # type: ignore[arg-type]
        return state if move.phase is None else state * move.phase
    return _batched(stacks[move.at[0]][move.at[1]], move.shape, state)


def _permute(state: Tensor, shape: tuple[int, ...], order: tuple[int, ...]) -> Tensor:
    batch = state.shape[-1]
    return state.view(*shape, batch).permute(*order, len(shape)).reshape(-1, batch)


def _product(matrix: Tensor, shape: tuple[int, ...], state: Tensor) -> Tensor:
    """Multiply the wires' axis of a state by one matrix."""
    before, d = shape
    if before == 1:
        return torch.mm(matrix, state.reshape(d, -1)).view(state.shape)
    view = state.view(before, d, -1)
    if view.shape[2] == 1:
        return torch.mm(view.view(before, d), matrix.t()).view(state.shape)
    return torch.bmm(matrix.expand(before, d, d), view).view(state.shape)


def _batched(matrix: Tensor, shape: tuple[int, ...], state: Tensor) -> Tensor:
    """Multiply the wires' axis of a state by a matrix (d, d, B) of each circuit of the batch."""
    before, d = shape
    batch = matrix.shape[-1]
    old = state.view(before, d, -1, state.shape[-1])
    if torch.is_grad_enabled():
        return (old.unsqueeze(1) * matrix.unsqueeze(2)).sum(2).view(-1, batch)
    new = old.new_empty(before, d, old.shape[2], batch)
    for i in range(d):
        torch.mul(old[:, 0], matrix[i, 0], out=new[:, i])
        for j in range(1, d):
            new[:, i].addcmul_(old[:, j], matrix[i, j])
    return new.view(-1, batch)


class _Evolve(torch.autograd.Function):
    """All moves as one function with the adjoint sweep as its gradient."""

    @staticmethod
    def forward(ctx, moves, state, *stacks):
        steps = sum(move.kind in ("matrix", "batched") for move in moves)
        batch = max([state.shape[-1], *(s.shape[-1] for s in stacks if s.dim() == 4)])
        size = steps * state.shape[0] * batch * state.element_size()
        kept: list[Tensor] | None = [] if size <= KEEP else None
        final = _forward(moves, state, stacks, kept)
        ctx.moves, ctx.kept = moves, kept
        ctx.save_for_backward(state, final if kept is None else None, *stacks)
        return final

    @staticmethod
    def backward(ctx, gradient):
        first, final, *stacks = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():  # a second derivative is wanted: ordinary operations
            inputs = [first, *stacks]
            return (None, *again(lambda s, *m: _forward(ctx.moves, s, m, None), inputs, [gradient]))
        grads = _sweep(ctx.moves, stacks, gradient, ctx.kept, final, wanted, first.shape[-1])
        return (None, *grads)


def _sweep(
    moves: Sequence[Move],
    stacks: Sequence[Tensor],
    gradient: Tensor,
    kept: list[Tensor] | None,
    state: Tensor | None,
    wanted: Sequence[bool],
    width: int,
) -> list[Tensor | None]:
    """Return the gradients of the first state and of the stacks.

    ``carried`` is the conjugate of the gradient, so that only small matrices are conjugated. Its
    batch stays B where the state had one column: their gradients are summed at the end (``width``).
    """
    grads: list[Tensor | None] = [
        torch.empty_like(stack) if want else None
        for stack, want in zip(stacks, wanted[1:], strict=True)
    ]
    carried = gradient.conj().resolve_conj().contiguous()
    place = len(kept) if kept is not None else 0
    last = 0 if wanted[0] else _first_wanted(moves, wanted)
    for number in range(len(moves) - 1, -1, -1):
        move = moves[number]
        if kept is None:
            state = _undo(move, state, stacks)
        if move.kind in ("matrix", "batched"):
            stack, row = move.at
            matrix = stacks[stack][row]
            if kept is not None:
                place -= 1
                state = kept[place]
            if grads[stack] is not None:
                outer = _outer if move.kind == "matrix" else _outer_batched
                grads[stack][row] = outer(carried, state, move.shape)
            if number <= last and not wanted[0]:
                break
            if move.kind == "matrix":
                carried = _product(matrix.t(), move.shape, carried)
            else:
                carried = _batched(matrix.transpose(0, 1), move.shape, carried)
        elif move.kind == "permute":
            carried = _permute(carried, *move.inverse)
        else:
            carried = carried if move.phase is None else carried * move.phase
            carried = carried.index_select(0, move.inverse)
    conjugated = [None if grad is None else grad.conj() for grad in grads]
    if not wanted[0]:
        return [None, *conjugated]
    if width < carried.shape[-1]:
        carried = carried.sum(-1, keepdim=True)
    return [carried.conj(), *conjugated]


def _first_wanted(moves: Sequence[Move], wanted: Sequence[bool]) -> int:
    """Return the first move whose matrix has a gradient."""
    return next(
        number
        for number, move in enumerate(moves)
        if move.kind in ("matrix", "batched") and wanted[1 + move.at[0]]
    )


def _undo(move: Move, state: Tensor, stacks: Sequence[Tensor]) -> Tensor:
    """Return the state before a unitary move."""
    if move.kind == "permute":
        return _permute(state, *move.inverse)
    if move.kind == "monomial":
        state = state if move.phase is None else state * move.phase.conj()
        return state.index_select(0, move.inverse)
    matrix = stacks[move.at[0]][move.at[1]]
    if move.kind == "matrix":
        return _product(matrix.mH.resolve_conj(), move.shape, state)
    return _batched(matrix.transpose(0, 1).conj().resolve_conj(), move.shape, state)


def _outer(carried: Tensor, state: Tensor, shape: tuple[int, ...]) -> Tensor:
    before, d = shape
    if state.shape[-1] < carried.shape[-1]:  # the state was shared by the batch at this step
        carried = carried.sum(-1, keepdim=True)
    if before == 1:
        return torch.mm(carried.view(d, -1), state.reshape(d, -1).t())
    left, right = carried.view(before, d, -1), state.view(before, d, -1)
    if left.shape[2] == 1:
        return torch.mm(left.view(before, d).t(), right.view(before, d))
    return torch.bmm(left, right.transpose(1, 2)).sum(0)


def _outer_batched(carried: Tensor, state: Tensor, shape: tuple[int, ...]) -> Tensor:
    before, d = shape
    left = carried.view(before, d, -1, carried.shape[-1])
    right = state.view(before, d, -1, state.shape[-1])
    products = [(left[:, i] * right[:, j]).sum((0, 1)) for i in range(d) for j in range(d)]
    return torch.stack(products).view(d, d, -1)
