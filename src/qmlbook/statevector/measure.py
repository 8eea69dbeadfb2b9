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


def _is_probabilities(mp: MeasurementProcess) -> bool:
    return type(mp) is ProbabilityMP and mp.obs is None and mp.eigvals() is None


def signature(mp: MeasurementProcess, place: dict) -> tuple:
    """Return what decides how a measurement is read, hashable."""
    kind = type(mp)
    if kind is ExpectationMP:
        words = _words(mp.obs, place)
        if words is not None:
            return kind, words
    if _is_probabilities(mp):
        return kind, tuple(place[w] for w in mp.wires)
    return kind, None, tuple(place[w] for w in mp.wires)


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

    def __init__(self, signatures: Sequence[tuple], wires: int) -> None:
        self._words: list[Word] = []
        self._probabilities: list[tuple[int, tuple[int, ...]]] = []
        self._sizes: list[int] = []  # rows of each part; 0 for a single number
        self._count = 0
        self._how = [self._reader(entry, wires) for entry in signatures]
        self.state = not signatures or bool({"state", "PennyLane"}.intersection(self._how))
        self.rows = Rows(self._count, self._words, self._probabilities)
        self.measured = {wire for word in self._words for wire, _ in word.letters}
        self.measured.update(wire for _, asked in self._probabilities for wire in asked)

    def _reader(self, entry: tuple, wires: int) -> str:
        kind, asked = entry[0], entry[1]
        if kind is ExpectationMP and asked is not None:
            self._add(asked)
            return "value"
        if kind is ProbabilityMP and asked is not None:
            asked = asked or tuple(range(wires))
            self._probabilities.append((self._count, asked))
            self._sizes.append(2 ** len(asked))
            self._count += 2 ** len(asked)
            return "value"
        return "state" if kind is StateMP else "PennyLane"

    def _add(self, words: Words) -> None:
        self._words += [Word(self._count, weight, letters) for letters, weight in words]
        self._sizes.append(0)
        self._count += 1

    def _parts(self, values: Tensor) -> Sequence[Tensor]:
        if not any(self._sizes):
            return values.unbind(-1)[: len(self._sizes)]
        parts = values.split([size or 1 for size in self._sizes], -1)
        return [p if n else p.squeeze(-1) for p, n in zip(parts, self._sizes, strict=True)]

    def __call__(
        self,
        values: Tensor,
        state: Any,
        measurements: Sequence[MeasurementProcess],
        place: dict,
        batched: bool,
    ) -> tuple[Tensor, ...]:
        """Return one result per measurement from what `execution.run` returned."""
        made: list[Tensor] = []
        parts = iter(self._parts(values))
        for how, mp in zip(self._how, measurements, strict=True):
            if how == "value":
                made.append(next(parts))
            elif how == "state":
                made.append(state)
            else:
                made.append(_by_pennylane(mp.map_wires(place), state, batched))
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
