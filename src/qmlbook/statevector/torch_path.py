"""The same circuits by plain torch operations, one gate at a time.

For tensors of a GPU, for the transforms of ``torch.func`` and for derivatives of derivatives:
everything that torch can do with its own operations works here.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .lowering import Rows
from .plan import Plan, Tensors, Values, common_device
from .structure import Letters, Operation, Structure, basis_states, outcomes, pauli


def is_needed(tensors: Tensors) -> bool:
    """Return whether tensors are not ordinary ones of the processor."""
    transformed = torch._C._functorch.peek_interpreter_stack() is not None
    if transformed or torch.autograd.forward_ad._current_level >= 0:
        return True
    return any(t.device.type != "cpu" for t in tensors)


def evolve(plan: Plan, values: Values) -> tuple[Tensor, ...]:
    """Return what `execution.run` does."""
    states, tensors = States(plan, values), values.tensors
    angles = _angles(values, states.device)
    state = states.first(plan.structure, values.amplitudes)
    for operation in plan.structure.operations:
        state = states.apply(operation, state, angles, values.matrices)
    state = state.expand(values.batch or 1, -1)
    made = [states.rows(plan.rows, state), *([state] if plan.state else [])]
    if torch.is_grad_enabled():  # numbers that nothing feels have the gradient 0
        nothing = sum((t * 0).sum().real for t in tensors if t.requires_grad)
        made = [part + nothing for part in made]
    return tuple(part if values.batch is not None else part[0] for part in made)


def _angles(values: Values, device: torch.device) -> list[Tensor]:
    """Return every parameter as (1,) or (B,); the last is 0."""
    bases = [base.reshape(-1).to(device, values.dtype) for base in values.bases]
    flat = torch.cat([*bases, torch.zeros(1, dtype=values.dtype, device=device)])
    places = [torch.from_numpy(found).to(device) for found in values.binding.elements]
    return [flat.index_select(0, place) for place in places]


class States:
    """States (1 or B, 2^n) of the wires of a plan."""

    def __init__(self, plan: Plan, values: Values) -> None:
        self.n, self.kind = plan.structure.wires, values.dtype.to_complex()
        self.device = common_device(values.tensors)
        self.states = np.arange(1 << self.n)

    def tensor(self, values: np.ndarray) -> Tensor:
        """Return a constant; complex numbers in the precision of the states."""
        made = torch.from_numpy(np.ascontiguousarray(values)).to(self.device)
        return made.to(self.kind) if made.is_complex() else made

    def first(self, structure: Structure, amplitudes: Tensor | None) -> Tensor:
        """Return the first state."""
        index = structure.start + basis_states(structure.prepared, self.n)
        given = torch.ones(1, device=self.device) if amplitudes is None else amplitudes
        given = given.reshape(-1, given.shape[-1])
        state = given.new_zeros(len(given), len(self.states), dtype=self.kind)
        return state.index_copy(1, self.tensor(index), given.to(self.kind))

    def pauli(self, state: Tensor, letters: Letters) -> Tensor:
        """Return a word of Paulis applied to states."""
        flip, signs, odd, sign = pauli(letters, self.n)
        negative = np.bitwise_count(self.states & signs) & 1 == 1
        phases = np.where(negative, -sign, sign) * (-1j if odd else 1 + 0j)
        return state.index_select(1, self.tensor(self.states ^ flip)) * self.tensor(phases)

    def apply(self, op: Operation, state: Tensor, angles: Tensors, given: Tensors) -> Tensor:
        """Return states after an operation."""
        if op.kind == "rotation":
            return self.rotation(op, state, angles)
        matrix = given[op.parameter or 0] if op.matrix is None else self.tensor(op.matrix)
        on, _ = op.condition(self.n)
        places = on + outcomes(op.wires, self.n, op.controls)  # (d, R)
        index = self.tensor(places.ravel())
        old = state.index_select(1, index).reshape(len(state), *places.shape)
        new = torch.matmul(matrix, old).flatten(1)
        return state.expand(len(new), -1).index_copy(1, index, new)

    def rotation(self, op: Operation, state: Tensor, angles: Tensors) -> Tensor:
        """Return states after exp(-i t P / 2)."""
        angle = angles[-1 if op.parameter is None else op.parameter]
        half = (op.scale * angle + op.shift) / 2
        turned = self.pauli(state, op.letters)
        new = half.cos().unsqueeze(1) * state - 1j * half.sin().unsqueeze(1) * turned
        if not op.controls:
            return new
        on, checked = op.condition(self.n)
        return torch.where(self.tensor(self.states & checked == on), new, state)

    def rows(self, rows: Rows, state: Tensor) -> Tensor:
        """Return what is measured, (B, rows)."""
        made = [state.real.new_zeros(len(state))] * max(1, rows.number)
        for row, weight, letters in rows.words:
            product = (state.conj() * self.pauli(state, letters)).real.sum(1)
            made[row] = made[row] + weight * product
        chances = state.real**2 + state.imag**2
        for first, wires in rows.probabilities:
            places = outcomes(wires, self.n)
            found = chances.index_select(1, self.tensor(places.ravel()))
            found = found.reshape(len(state), *places.shape).sum(2)
            made[first : first + len(places)] = found.unbind(1)
        return torch.stack(made, 1)
