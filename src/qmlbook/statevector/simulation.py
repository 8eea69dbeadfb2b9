"""A circuit with its measurements: results by states, or by quadratic forms.

Sums of words of Paulis and probabilities are measured by the kernels themselves. Everything else
that needs no samples goes to PennyLane's own functions, on the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pennylane as qml
import torch
from pennylane.measurements import ExpectationMP, MeasurementProcess, ProbabilityMP, StateMP
from torch import Tensor

from .execution import run
from .lowering import Rows, Word
from .plan import Plan, Values
from .quadratic import Forms, quadratic_form
from .structure import Structure

_LETTERS = {qml.X: "X", qml.Y: "Y", qml.Z: "Z"}
Words = tuple[tuple[tuple[tuple[int, str], ...], float], ...]


def _words(obs: Any, place: dict) -> Words | None:
    """Return (letters, weight) of a sum of words of Paulis with constant, real weights."""
    if type(obs) in _LETTERS:  # by far the most frequent
        return ((((place[obs.wires[0]], _LETTERS[type(obs)]),), 1.0),)
    if obs is None or obs.pauli_rep is None:
        return None
    found = []
    for word, weight in obs.pauli_rep.items():
        trained = isinstance(weight, Tensor) and weight.requires_grad
        if trained or qml.math.ndim(weight) or complex(weight).imag:
            return None
        letters = tuple(sorted((place[wire], letter) for wire, letter in word.items()))
        found.append((letters, complex(weight).real))
    return tuple(found)


def whole(mp: MeasurementProcess) -> bool:
    """Return whether a measurement without wires means all wires."""
    return not len(mp.wires) and mp.obs is None and mp.eigvals() is None


def signature(mp: MeasurementProcess, place: dict) -> tuple[str, Any]:
    """Return how a measurement is read, and which words or wires; hashable."""
    if type(mp) is ExpectationMP:
        words = _words(mp.obs, place)
        if words is not None:
            return "words", words
    wires = tuple(place[w] for w in mp.wires)
    if type(mp) is ProbabilityMP and mp.obs is None and mp.eigvals() is None:
        return "probabilities", wires
    return "state" if type(mp) is StateMP else "PennyLane", wires


class Simulation:
    """How circuits of one structure run.

    Args:
        structure: the circuit.
        signatures: what `signature` says of the measurements; without any, the final state is all
            there is.
        wires: how many wires have labels; those that dephasing adds come after them.
    """

    def __init__(
        self, structure: Structure, signatures: Sequence[tuple[str, Any]], wires: int
    ) -> None:
        words: list[Word] = []
        probabilities: list[tuple[int, tuple[int, ...]]] = []
        self._how = [how for how, _ in signatures]
        self._sizes: list[int] = []  # rows of each part; 0 for a single number
        count = 0
        for how, asked in signatures:
            if how == "words":
                words += [Word(count, weight, letters) for letters, weight in asked]
                self._sizes.append(0)
                count += 1
            elif how == "probabilities":
                asked = asked or tuple(range(wires))
                probabilities.append((count, asked))
                self._sizes.append(2 ** len(asked))
                count += self._sizes[-1]
        state = not signatures or bool({"state", "PennyLane"}.intersection(self._how))
        measured = {wire for word in words for wire, _ in word.letters}
        measured.update(wire for _, asked in probabilities for wire in asked)
        operations = structure.operations if state else structure.felt_by(measured)
        self.plan = Plan(structure, operations, Rows(count, words, probabilities), state)
        self.forms = Forms(self.plan)

    def __call__(
        self, values: Values, measurements: Sequence[MeasurementProcess], place: dict
    ) -> tuple[Tensor, ...]:
        """Return one result per measurement."""
        if self.forms.pay(values):
            matrices = self.forms.matrices(values, values.features)
            rows = quadratic_form(matrices, values.amplitudes[:, : values.features])  # type: ignore[index]  # they pay with amplitudes only
        else:
            rows, *states = run(self.plan, values)
        parts = iter(rows.unbind(-1))
        if any(self._sizes):
            pieces = rows.split([size or 1 for size in self._sizes], -1)
            parts = (p if n else p.squeeze(-1) for p, n in zip(pieces, self._sizes, strict=True))
        made: list[Tensor] = []
        for how, mp in zip(self._how, measurements, strict=True):
            if how == "PennyLane":
                batched = values.batch is not None
                made.append(_by_pennylane(mp.map_wires(place), states[0], batched))
            else:
                made.append(states[0] if how == "state" else next(parts))
        return tuple(made)


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
