"""A circuit with its measurements: results by states, or by quadratic forms.

Sums of words of Paulis and probabilities are measured by the kernels themselves. Everything else
that needs no samples goes to PennyLane's own functions, on the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pennylane as qml
import torch
from pennylane.measurements import MeasurementProcess
from torch import Tensor

from .execution import run
from .lowering import Rows
from .plan import Plan, Values
from .quadratic import matrices, pay, quadratic_form
from .structure import Letters, Structure

WHOLE = {"state", "PennyLane"}  # measurements that need the state


class Simulation:
    """How circuits of one structure run.

    Args:
        structure: the circuit.
        asked: what `reading.signature` says of the measurements; without any, the final state is
            all there is.
    """

    def __init__(self, structure: Structure, asked: Sequence[tuple[str, Any]]) -> None:
        words: list[tuple[int, float, Letters]] = []
        probabilities: list[tuple[int, tuple[int, ...]]] = []
        self._how = [how for how, _ in asked]
        self._sizes: list[int] = []  # rows of each part; 0 for a single number
        count = 0
        for how, of in asked:
            if how == "words":
                words += [(count, weight, letters) for letters, weight in of]
                self._sizes.append(0)
                count += 1
            elif how == "probabilities":
                probabilities.append((count, of))
                self._sizes.append(2 ** len(of))
                count += self._sizes[-1]
        state = not asked or not WHOLE.isdisjoint(self._how)
        measured = {wire for _, _, letters in words for wire, _ in letters}
        measured.update(wire for _, of in probabilities for wire in of)
        felt = structure if state else structure.felt_by(measured)
        self.plan = Plan(felt, Rows(count, words, probabilities), state)

    def __call__(self, values: Values, measured: list[MeasurementProcess], numeric: bool) -> list:
        """Return one result per measurement, without gradients and as arrays if ``numeric``."""
        if pay(self.plan, values):
            forms = matrices(self.plan, values, values.features)
            rows = quadratic_form(forms, values.amplitudes[:, : values.features])
        else:
            rows, *states = run(self.plan, values)
        parts = iter(rows.unbind(-1))
        if any(self._sizes):
            pieces = rows.split([size or 1 for size in self._sizes], -1)
            parts = (p if n else p.squeeze(-1) for p, n in zip(pieces, self._sizes, strict=True))
        made = [states[0] if how in WHOLE else next(parts) for how in self._how]
        for at, mp in enumerate(measured):
            if self._how[at] == "PennyLane":
                made[at] = _by_pennylane(mp, states[0], values.batch is not None)
        return [part.detach().cpu().numpy() for part in made] if numeric else made


def by_wires(state: Tensor) -> Tensor:
    """Return states (2^n,) or (B, 2^n) with an axis for every wire."""
    n = state.shape[-1].bit_length() - 1
    return state.reshape(*state.shape[:-1], *(2,) * n)


def _by_pennylane(mp: MeasurementProcess, state: Tensor, batched: bool) -> Tensor:
    state = by_wires(state)
    numbers = [] if mp.obs is None else mp.obs.data
    differentiated = state.requires_grad or any(isinstance(value, Tensor) for value in numbers)
    if differentiated or torch._C._functorch.peek_interpreter_stack() is not None:
        return qml.devices.qubit.measure(mp, state, batched)
    # without a gradient numpy will do, and is all that some measurements know
    found = qml.devices.qubit.measure(mp, state.detach().cpu().numpy(), batched)
    return torch.as_tensor(found, device=state.device)
