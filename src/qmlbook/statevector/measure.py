"""What is read from final states.

Sums of words of Paulis and probabilities are measured by the kernels themselves. Everything else
that needs no samples goes to PennyLane's own functions, on the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pennylane as qml
import torch
from pennylane.measurements import (
    ExpectationMP,
    MeasurementProcess,
    ProbabilityMP,
    StateMP,
)
from torch import Tensor

from .lowering import Rows, Word

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
        if (isinstance(weight, Tensor) and weight.requires_grad) or qml.math.ndim(weight):
            return None
        if complex(weight).imag:
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


class Readout:
    """The measurements of a circuit.

    Args:
        signatures: what `signature` says of them.
        wires: how many wires have labels.

    Attributes:
        rows: what the kernels measure.
        state: whether the final state is needed.
        measured: wires that are looked at, where it is not.
    """

    def __init__(self, signatures: Sequence[tuple[str, Any]], wires: int) -> None:
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
        self.state = not signatures or bool({"state", "PennyLane"}.intersection(self._how))
        self.rows = Rows(count, words, probabilities)
        self.measured = {wire for word in words for wire, _ in word.letters}
        self.measured.update(wire for _, asked in probabilities for wire in asked)

    def __call__(
        self,
        values: Tensor,
        state: Any,
        measurements: Sequence[MeasurementProcess],
        place: dict,
        batched: bool,
    ) -> tuple[Tensor, ...]:
        """Return one result per measurement from what `execution.run` returned."""
        parts = iter(values.unbind(-1))
        if any(self._sizes):
            pieces = values.split([size or 1 for size in self._sizes], -1)
            parts = (p if n else p.squeeze(-1) for p, n in zip(pieces, self._sizes, strict=True))
        made: list[Tensor] = []
        for how, mp in zip(self._how, measurements, strict=True):
            if how == "PennyLane":
                made.append(_by_pennylane(mp.map_wires(place), state, batched))
            else:
                made.append(state if how == "state" else next(parts))
        return tuple(made)


def by_wires(state: Tensor) -> Tensor:
    """Return states (2^n,) or (B, 2^n) with an axis for every wire."""
    n = state.shape[-1].bit_length() - 1
    return state.reshape(*state.shape[:-1], *(2,) * n)


def _by_pennylane(mp: MeasurementProcess, state: Tensor, batched: bool) -> Tensor:
    state = by_wires(state)
    numbers = [] if mp.obs is None else mp.obs.data
    if state.requires_grad or any(isinstance(value, Tensor) for value in numbers):
        return qml.devices.qubit.measure(mp, state, batched)
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return qml.devices.qubit.measure(mp, state, batched)
    # without a gradient numpy will do, and is all that some measurements know
    found = qml.devices.qubit.measure(mp, state.detach().cpu().numpy(), batched)
    return torch.as_tensor(found, device=state.device)
