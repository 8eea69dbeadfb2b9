"""Measurements of a batch of final states.

Every observable that is a sum of Pauli words is read at once: words that flip the same wires share
one product of amplitudes, and their signs are rows of one constant matrix. Everything else that
needs no samples goes to PennyLane's own functions, on the same tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
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

LARGEST = 256  # Pauli words of an observable that is read directly

Rows = list[dict[tuple[tuple[int, str], ...], complex]]


def sentence(obs: Any, place: dict) -> dict | None:
    """Return {((wire, letter), ...): coefficient} of a Pauli sum with constant coefficients."""
    if obs is None or obs.pauli_rep is None or len(obs.pauli_rep) > LARGEST:
        return None
    found = {}
    for word, coefficient in obs.pauli_rep.items():
        if isinstance(coefficient, torch.Tensor) and coefficient.requires_grad:
            return None
        key = tuple(sorted((place[wire], letter) for wire, letter in word.items()))
        found[key] = found.get(key, 0) + complex(coefficient)
    return found


def is_direct(mp: MeasurementProcess) -> bool:
    """Return whether a measurement is read without PennyLane's functions."""
    if isinstance(mp, ExpectationMP | VarianceMP):
        obs = mp.obs
        if obs is None:
            return False
        if obs.pauli_rep is not None:
            return not any(
                isinstance(c, torch.Tensor) and c.requires_grad for c in obs.pauli_rep.values()
            )
        return isinstance(obs, qml.Hermitian)
    return _is_probabilities(mp)


def _is_probabilities(mp: MeasurementProcess) -> bool:
    return type(mp) is ProbabilityMP and mp.obs is None and mp.eigvals() is None


def signature(mp: MeasurementProcess, place: dict) -> tuple:
    """Return what a measurement is, hashable; values that may change from call to call left out."""
    kind = type(mp)
    if kind in (ExpectationMP, VarianceMP) and mp.obs is not None:
        obs = mp.obs
        if type(obs) in _LETTERS:  # by far the most frequent
            return (kind, ((place[obs.wires[0]], _LETTERS[type(obs)]),))
        found = sentence(obs, place)
        if found is not None:
            return (kind, tuple(found.items()))
        if isinstance(obs, qml.Hermitian):
            return (kind, "Hermitian", tuple(place[w] for w in obs.wires))
    if _is_probabilities(mp):
        return (kind, tuple(place[w] for w in mp.wires))
    if kind is StateMP:
        return (kind,)
    return (kind, type(mp.obs), tuple(place[w] for w in mp.wires))  # read by PennyLane


_LETTERS = {qml.X: "X", qml.Y: "Y", qml.Z: "Z"}


class Readout:
    """The measurements of a circuit, for states whose axes have a known order.

    Args:
        measurements: PennyLane's, in order.
        place: wire label -> position.
        n: wires of the state.
        order: positions in the order of the axes.
        dtype: complex dtype of the state.
        device: of the state.
    """

    def __init__(
        self,
        measurements: Sequence[MeasurementProcess],
        place: dict,
        n: int,
        order: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.n, self.order, self.place = n, tuple(order), place
        self.device = device
        self.real = dtype.to_real()
        self._rows: Rows = []
        self._takers = [self._taker(mp) for mp in measurements]
        self._only_expectations = all(taker is _expectation for taker, _ in self._takers)
        self.masks = self._tables() if self._rows else []

    def __call__(
        self, state: Tensor, measurements: Sequence[MeasurementProcess], batched: bool
    ) -> tuple[Tensor, ...]:
        """Return one result per measurement, the batch (if any) in front."""
        moments = self.moments(state) if self.masks else None
        if self._only_expectations:
            values = moments if batched else moments[:, 0]  # type: ignore[index]
            return values.unbind(0)  # type: ignore[union-attr]
        row, results = 0, []
        for (taker, rows), mp in zip(self._takers, measurements, strict=True):
            taken = moments[row : row + rows] if rows else None  # type: ignore[index]
            row += rows
            results.append(taker(self, state, mp, taken, batched))
        return tuple(results)

    def _taker(self, mp: MeasurementProcess) -> tuple[Callable[..., Tensor], int]:
        """Return what reads one measurement, and how many rows of expectation values it takes."""
        if isinstance(mp, ExpectationMP | VarianceMP) and mp.obs is not None:
            found = sentence(mp.obs, self.place)
            if found is not None and isinstance(mp, ExpectationMP):
                self._rows.append(found)
                return _expectation, 1
            if found is not None and len(found) <= 16:
                self._rows += [found, _squared(found)]
                return _variance, 2
            if isinstance(mp.obs, qml.Hermitian):
                return _hermitian, 0
        elif _is_probabilities(mp):
            return _probabilities, 0
        elif type(mp) is StateMP:
            return _state, 0
        return _by_pennylane, 0

    def _tables(self) -> list[tuple[Tensor | None, Tensor, Tensor | None]]:
        """Return for each set of flipped wires (index, real part, imaginary part of the signs)."""
        states = np.arange(2**self.n)
        shift = {wire: self.n - 1 - axis for axis, wire in enumerate(self.order)}
        tables: dict[int, np.ndarray] = {}
        for row, words in enumerate(self._rows):
            for word, coefficient in words.items():
                flips = sum(1 << shift[wire] for wire, letter in word if letter in "XY")
                signs = np.full(len(states), coefficient, complex)
                for wire, letter in word:
                    if letter in "YZ":
                        signs *= 1 - 2 * ((states >> shift[wire]) & 1)
                    if letter == "Y":
                        signs *= -1j
                table = tables.setdefault(flips, np.zeros((len(self._rows), len(states)), complex))
                table[row] += signs
        made = []
        for flips, table in tables.items():
            index = torch.from_numpy(states ^ flips).to(self.device) if flips else None
            real = torch.from_numpy(table.real.copy()).to(self.device, self.real)
            imaginary = torch.from_numpy(table.imag.copy()).to(self.device, self.real)
            made.append((index, real, imaginary if flips and imaginary.abs().sum() else None))
        return made

    def moments(self, state: Tensor) -> Tensor:
        """Return (rows, B) real expectation values."""
        total = None
        for index, real, imaginary in self.masks:
            if index is None:
                part = diagonal(state, real)
            else:
                products = state.conj() * state.index_select(0, index)
                part = real @ products.real
                if imaginary is not None:
                    part = part - imaginary @ products.imag
            total = part if total is None else total + part
        return total  # type: ignore[return-value]

    def outcomes(self, mp: MeasurementProcess) -> Tensor:
        """Return (2^k, 2^(n-k)) basis states that belong to each outcome of k wires."""
        states = np.arange(2**self.n)
        value = np.zeros_like(states)
        for wire in mp.wires:
            axis = self.order.index(self.place[wire])
            value = 2 * value + ((states >> (self.n - 1 - axis)) & 1)
        found = np.argsort(value, kind="stable").reshape(2 ** len(mp.wires), -1)
        return torch.from_numpy(found).to(self.device)

    def standard(self, state: Tensor) -> Tensor:
        """Return (B, 2, ..., 2), the wires in their order."""
        axes = [1 + self.order.index(wire) for wire in range(self.n)]
        return state.t().reshape(-1, *(2,) * self.n).permute(0, *axes)


def _squared(words: dict) -> dict:
    """Return the square of a Pauli sum."""
    total = qml.pauli.PauliSentence(
        {qml.pauli.PauliWord(dict(word)): coefficient for word, coefficient in words.items()}
    )
    return {tuple(sorted(word.items())): complex(c) for word, c in (total @ total).items()}


def _expectation(readout, state, mp, moments, batched) -> Tensor:
    return moments[0] if batched else moments[0, 0]


def _variance(readout, state, mp, moments, batched) -> Tensor:
    value = moments[1] - moments[0] ** 2
    return value if batched else value[0]


def _hermitian(readout: Readout, state, mp, moments, batched) -> Tensor:
    """Expectation or variance of a Hermitian matrix on few wires."""
    axes = [readout.order.index(readout.place[wire]) for wire in mp.obs.wires]
    rest = [axis for axis in range(readout.n) if axis not in axes]
    matrix = torch.as_tensor(mp.obs.data[0]).to(state.device, state.dtype)
    view = state.view(*(2,) * readout.n, -1).permute(*axes, *rest, readout.n)
    view = view.reshape(len(matrix), -1, state.shape[-1])
    moved = torch.mm(matrix, view.reshape(len(matrix), -1)).view(view.shape)
    value = (view.conj() * moved).real.sum((0, 1))
    if isinstance(mp, VarianceMP):
        value = (moved.conj() * moved).real.sum((0, 1)) - value**2
    return value if batched else value[0]


def _probabilities(readout: Readout, state, mp, moments, batched) -> Tensor:
    wires = [readout.place[wire] for wire in mp.wires]
    held = [wire for wire in readout.order if wire in wires]
    rest = [i for i, wire in enumerate(readout.order) if wire not in wires]
    found = torch.view_as_real(state).square().sum(-1).view(*(2,) * readout.n, -1)
    if rest:
        found = found.sum(rest)
    found = found.permute(len(wires), *(held.index(wire) for wire in wires))
    found = found.reshape(found.shape[0], -1)
    return found if batched else found[0]


def _state(readout: Readout, state, mp, moments, batched) -> Tensor:
    found = readout.standard(state).reshape(state.shape[-1], -1)
    return found if batched else found[0]


def _by_pennylane(readout: Readout, state, mp, moments, batched) -> Tensor:
    found = readout.standard(state) if batched else readout.standard(state)[0]
    mapped = mp.map_wires(readout.place)
    if state.requires_grad or (
        mp.obs is not None and any(map(qml.math.requires_grad, mp.obs.data))
    ):
        return qml.devices.qubit.measure(mapped, found, batched)
    # without a gradient numpy will do, and is all that some measurements know
    found = qml.devices.qubit.measure(mapped, found.detach().cpu().numpy(), batched)
    return torch.as_tensor(found, device=state.device)


def diagonal(state: Tensor, signs: Tensor) -> Tensor:
    """Return (Q, B) sums over basis states of (Q, 2^n) signs times probabilities."""
    if torch.is_grad_enabled() and state.requires_grad:
        return _Diagonal.apply(state, signs)
    return _diagonal(state, signs)


def _diagonal(state: Tensor, signs: Tensor) -> Tensor:
    squares = torch.view_as_real(state).view(len(state), -1).square()
    return (signs @ squares).view(len(signs), -1, 2).sum(-1)


class _Diagonal(torch.autograd.Function):
    """`_diagonal` with a gradient that never makes a weight per amplitude complex."""

    @staticmethod
    def forward(ctx, state, signs):
        ctx.save_for_backward(state, signs)
        return _diagonal(state, signs)

    @staticmethod
    def backward(ctx, gradient):
        state, signs = ctx.saved_tensors
        weights = signs.t() @ (2 * gradient).repeat_interleave(2, 1)
        real = torch.view_as_real(state) * weights.view(*state.shape, 2)
        return torch.view_as_complex(real), None
