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
    VarianceMP,
)
from torch import Tensor

from .execution import Part
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
        if isinstance(weight, Tensor) and weight.requires_grad or qml.math.ndim(weight):
            return None
        if complex(weight).imag:
            return None
        letters = tuple(sorted((place[wire], letter) for wire, letter in word.items()))
        found.append((letters, complex(weight).real))
    return tuple(found)


def _squared(words: Words) -> Words | None:
    """Return the square of a sum, ``None`` if it is long."""
    if len(words) > 16:
        return None
    total = qml.pauli.PauliSentence(
        {qml.pauli.PauliWord(dict(letters)): weight for letters, weight in words}
    )
    squared = (total @ total).items()
    return tuple((tuple(sorted(word.items())), complex(c).real) for word, c in squared)


def whole(mp: MeasurementProcess) -> bool:
    """Return whether a measurement without wires means all wires."""
    return not len(mp.wires) and mp.obs is None and mp.eigvals() is None


def _is_probabilities(mp: MeasurementProcess) -> bool:
    return type(mp) is ProbabilityMP and mp.obs is None and mp.eigvals() is None


def signature(mp: MeasurementProcess, place: dict) -> tuple:
    """Return what decides how a measurement is read, hashable."""
    kind = type(mp)
    if kind in (ExpectationMP, VarianceMP):
        words = _words(mp.obs, place)
        if words is not None:
            return kind, words
    if _is_probabilities(mp):
        return kind, tuple(place[w] for w in mp.wires)
    return kind, None, tuple(place[w] for w in mp.wires)


class Readout:
    """The measurements of a circuit.

    Attributes:
        rows: what the kernels measure.
        parts: how they return it.
        state: whether the final state is needed.
    """

    def __init__(self, signatures: Sequence[tuple], wires: int) -> None:
        self.wires = wires
        self._words: list[Word] = []
        self._probabilities: list[tuple[int, tuple[int, ...]]] = []
        self.parts: list[Part] = []
        self._count = 0
        self._how = [self._reader(entry) for entry in signatures]
        self.state = "state" in self._how or "PennyLane" in self._how
        self.rows = Rows(self._count, self._words, self._probabilities)
        self.only_expectations = all(how == "value" for how in self._how)

    def _reader(self, entry: tuple) -> str:
        kind, asked = entry[0], entry[1]
        if kind is ExpectationMP and asked is not None:
            self._add(asked)
            return "value"
        if kind is VarianceMP and asked is not None and (squared := _squared(asked)) is not None:
            self._add(asked)
            self._add(squared)
            return "variance"
        if kind is ProbabilityMP and asked is not None:
            wires = asked or tuple(range(self.wires))
            self._probabilities.append((self._count, wires))
            self.parts.append(Part(self._count, 2 ** len(wires)))
            self._count += 2 ** len(wires)
            return "value"
        return "state" if kind is StateMP else "PennyLane"

    def _add(self, words: Words) -> None:
        self._words += [Word(self._count, weight, letters) for letters, weight in words]
        self.parts.append(Part(self._count))
        self._count += 1

    def __call__(
        self,
        results: Sequence[Tensor],
        measurements: Sequence[MeasurementProcess],
        place: dict,
        batched: bool,
    ) -> tuple[Tensor, ...]:
        """Return one result per measurement from what `execution.run` returned."""
        if self.only_expectations:
            return tuple(results)
        parts, made = iter(results), []
        for how, mp in zip(self._how, measurements, strict=True):
            if how == "value":
                made.append(next(parts))
            elif how == "variance":
                mean = next(parts)
                made.append(next(parts) - mean**2)
            elif how == "state":
                made.append(results[-1])
            else:
                made.append(_by_pennylane(mp.map_wires(place), results[-1], batched))
        return tuple(made)


def _by_pennylane(mp: MeasurementProcess, state: Tensor, batched: bool) -> Tensor:
    n = state.shape[-1].bit_length() - 1
    state = state.reshape(*state.shape[:-1], *(2,) * n)
    numbers = [] if mp.obs is None else mp.obs.data
    if state.requires_grad or any(isinstance(value, Tensor) for value in numbers):
        return qml.devices.qubit.measure(mp, state, batched)
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return qml.devices.qubit.measure(mp, state, batched)
    # without a gradient numpy will do, and is all that some measurements know
    found = qml.devices.qubit.measure(mp, state.detach().cpu().numpy(), batched)
    return torch.as_tensor(found, device=state.device)
