"""From a structure to the arrays that the kernels read.

A state is kept as an array of *elements*: real or imaginary parts of amplitudes, those of one
amplitude for the circuits of a chunk side by side in one register. Every operation has a list of
*places*, the elements from which it reaches the others by flipping bits. Places with control bits
of another value, and those that are still zero because nothing has turned their wire yet, are not
in the list: nothing else has to be known about controls, and an angle encoding costs next to
nothing.
"""

from __future__ import annotations

import ctypes
from array import array
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .structure import Letters, Operation, Structure, basis_states, mask, outcomes, pauli

REGISTER = 32  # bytes
IMAGINARY, REAL, PHASE, SWAP, DENSE = range(5)  # kinds
Bits = tuple[int, int]  # values of bits, and which of them count
# An operation: its kind; start, middle and stop of its places (the sign of the generator changes in
# the middle); bits to flip; number of its angle, or first entry of its matrix; start and number of
# the shifts from a place to the elements that a matrix mixes; whether the matrix is given with
# every call.
_FIELDS = ("kind", "start", "middle", "stop", "flip", "at", "shifts", "mixed", "given")
OPERATION = np.dtype([(name, np.int64) for name in _FIELDS])
# A word of Paulis: row of the result, element of the word of Z, weight.
TERM = np.dtype([("row", np.int64), ("at", np.int64), ("weight", np.float64)])


class Circuit(NamedTuple):
    """A structure for the kernels.

    Attributes:
        ops: of the type `OPERATION`.
        places: int32 elements.
        shifts: see above.
        groups: (groups, 4) of words of Paulis: bits to flip, whether their number of Y is odd,
            first and last term.
        terms: of the type `TERM`.
        outcomes: (probability measurements, 2^n) row of the result.
        size: elements of a state.
        step: circuits in a chunk: as many as fit into a register, or 1.
        rows: of results, at least one.
    """

    ops: np.ndarray
    places: np.ndarray
    shifts: np.ndarray
    groups: np.ndarray
    terms: np.ndarray
    outcomes: np.ndarray
    size: int
    step: int
    rows: int


class Call(NamedTuple):
    """What a call brings; every column belongs to a circuit, of matrices perhaps to all.

    Attributes:
        turns: (angles, cosine and sine of the half, samples).
        matrices: (entries, real and imaginary part, samples or circuits of a chunk).
    """

    turns: np.ndarray
    matrices: np.ndarray


class Slopes(NamedTuple):
    """What walking back fills: gradients in angles and in entries of matrices.

    Attributes:
        angles: (angles, samples) twice the gradient.
        matrices: (entries, real and imaginary part, samples).
    """

    angles: np.ndarray
    matrices: np.ndarray


class Rows(NamedTuple):
    """What is measured.

    Attributes:
        number: of rows.
        words: row, weight and word of Paulis; those of one row are added.
        probabilities: first row, and wires.
    """

    number: int
    words: Sequence[tuple[int, float, Letters]]
    probabilities: Sequence[tuple[int, tuple[int, ...]]]


class Lowering:
    """A circuit for the kernels, and what a call has to fill in.

    Args:
        structure: the circuit.
        rows: what is measured.
        step: circuits in a chunk.

    Attributes:
        circuit: the arrays.
        owners: (angles,) number of the parameter that each is made of, -1 for a constant.
        half, shift: (angles, 1) half angles are ``half`` of these parameters and ``shift``.
        matrices: first entry and operation of every matrix.
        initial: basis states of the prepared amplitudes; a slice, where they are neighbours.
        unitary: whether all constant matrices are, so that walking back can undo them.
    """

    def __init__(self, structure: Structure, rows: Rows, step: int) -> None:
        self._n = structure.wires
        self._states = np.arange(1 << self._n)
        self._start = structure.start
        self._active = mask(structure.prepared, self._n)
        self._ops: list[tuple[int, ...]] = []
        self._places: list[np.ndarray] = [np.zeros(0, np.int64)]
        self._known: dict[tuple, tuple[int, int, int]] = {}
        self._shifts: list[int] = []
        self._angles: dict[tuple[int, float, float], int] = {}
        self._entries = self._placed = 0
        self.matrices: list[tuple[int, Operation]] = []
        self.unitary = True
        for operation in structure.operations:
            if operation.kind == "rotation":
                self._rotation(operation)
            elif operation.kind == "given" or not self._monomial(operation):
                self._dense(operation)
        self.owners = np.array([key[0] for key in self._angles], dtype=np.int64)
        affine = np.array([key[1:] for key in self._angles], dtype=float).reshape(-1, 2)
        self.half, self.shift = affine[:, :1] / 2, affine[:, 1:] / 2
        initial = self._start + basis_states(structure.prepared, self._n)
        inner = bool((np.diff(initial) == 1).all())
        self.initial = slice(initial[0], initial[-1] + 1) if inner else initial
        self.circuit = self._finished(rows, step)

    @cached_property
    def table(self) -> array[int]:
        """Return where the arrays of the circuit are, for the kernels."""
        return table(*self.circuit)

    def __getstate__(self) -> dict[str, Any]:
        """Return all but addresses, which a copy has others of."""
        return {name: value for name, value in vars(self).items() if name != "table"}

    def _finished(self, rows: Rows, step: int) -> Circuit:
        """Return the arrays; up to here, elements are the basis states that they belong to."""
        ops = np.array(self._ops, OPERATION)
        ops["flip"] *= step
        words: dict[tuple[int, int], list[tuple[int, int, float]]] = defaultdict(list)
        for row, weight, letters in rows.words:
            flip, signs, odd, sign = pauli(letters, self._n)
            words[flip * step, odd].append((row, signs * step, sign * weight))
        ends = np.cumsum([0, *map(len, words.values())])
        groups = [(*key, *ends[i : i + 2]) for i, key in enumerate(words)]
        found = np.zeros((len(rows.probabilities), len(self._states)), dtype=np.int64)
        for outcome, (first, wires) in zip(found, rows.probabilities, strict=True):
            states = outcomes(wires, self._n)
            outcome[states] = first + np.arange(len(states))[:, None]
        places = (np.concatenate(self._places) * step).astype(np.int32)
        shifts = np.array(self._shifts, dtype=np.int64) * step
        terms = np.array([term for members in words.values() for term in members], TERM)
        arrays = ops, places, shifts, np.array(groups, np.int64).reshape(-1, 4), terms, found
        return Circuit(*arrays, len(self._states) * step, step, max(1, rows.number))

    # -- operations -----------------------------------------------------------------------------

    def _row(
        self, kind: int, where: Bits, low: int, flip: int, at: int, signs: int, *mixes: int
    ) -> None:
        """Add an operation that visits some places.

        Args:
            kind: of the operation.
            where: bits that its places have, among those that are checked.
            low: bits that are 0, besides.
            flip: bits to flip; their wires are active from now on.
            at: angle or matrix.
            signs: places with an odd number of these bits come last; of `REAL` they are left out.
            *mixes: of a matrix, start and number of the shifts, and whether it is given.
        """
        self._active |= flip | (low if kind == DENSE else 0)
        on, checked = where
        key = where, low, signs, self._active, kind == REAL
        if key not in self._known:
            asleep = (self._states ^ self._start) & ~self._active
            wanted = (self._states & checked == on) & (self._states & low == 0) & (asleep == 0)
            places = self._states[wanted]
            odd = np.bitwise_count(places & signs) & 1 == 1
            start = self._placed
            parts = [places[~odd]] if kind == REAL else [places[~odd], places[odd]]
            self._places += parts
            self._placed += sum(map(len, parts))
            self._known[key] = start, start + len(parts[0]), self._placed
        self._ops.append((kind, *self._known[key], flip, at, *(mixes or (0, 0, 0))))

    def _angle(self, owner: int, scale: float, shift: float) -> int:
        return self._angles.setdefault((owner, scale, shift), len(self._angles))

    def _rotation(self, operation: Operation) -> None:
        flip, signs, odd, sign = pauli(operation.letters, self._n)
        owner = -1 if operation.parameter is None else operation.parameter
        at = self._angle(owner, sign * operation.scale, sign * operation.shift)
        kind = PHASE if not flip else REAL if odd else IMAGINARY
        low = 0 if odd else flip & -flip  # one of two partners
        self._row(kind, operation.condition(self._n), low, flip, at, signs)

    def _monomial(self, operation: Operation) -> bool:
        """Add a constant matrix as swaps and phases, if it is made of them."""
        matrix: np.ndarray = operation.matrix  # type: ignore[assignment]  # the kind says so
        large = np.abs(matrix) > 1e-14
        source, states = large.argmax(1), np.arange(len(large))
        phases = matrix[states, source]
        swaps = (large.sum(0) == 1).all() and (large.sum(1) == 1).all()
        if not swaps or (source[source] != states).any() or (abs(abs(phases) - 1) > 1e-14).any():
            return False
        on, checked = operation.condition(self._n)
        spread = basis_states(operation.wires, self._n).tolist()
        checked |= mask(operation.wires, self._n)
        for state in np.flatnonzero(source > states).tolist():
            flip = spread[state] ^ spread[source[state]]
            self._row(SWAP, (on | spread[state], checked), 0, flip, 0, 0)
        for state in np.flatnonzero(phases != 1).tolist():
            at = self._angle(-1, 0.0, -2 * float(np.angle(phases[state])))
            self._row(PHASE, (on | spread[state], checked), 0, 0, at, 0)
        return True

    def _dense(self, operation: Operation) -> None:
        shifts = basis_states(operation.wires, self._n).tolist()
        low, given = mask(operation.wires, self._n), operation.kind == "given"
        mixes = len(self._shifts), len(shifts), int(given)
        self._row(DENSE, operation.condition(self._n), low, 0, self._entries, 0, *mixes)
        self._shifts += shifts
        self.unitary = self.unitary and (given or is_unitary(operation.matrix))  # type: ignore[arg-type]  # the kind says so
        self.matrices.append((self._entries, operation))
        self._entries += len(shifts) ** 2


def table(*parts: int | np.ndarray) -> array[int]:
    """Return what tells a kernel where its arrays are: numbers, and of arrays address and shape.

    To a kernel every array is one of rows: those of the last axis.

    Args:
        *parts: numbers and arrays, which have to stay alive while a kernel reads the table.

    Raises:
        ValueError: if the elements of an array do not follow one another.
    """
    made: list[int] = []
    for part in parts:
        if isinstance(part, np.ndarray):
            if not part.flags.c_contiguous:
                raise ValueError("A kernel reads arrays only whose elements follow one another.")
            # several times faster than what numpy offers
            address = part.size and ctypes.addressof(ctypes.c_char.from_buffer(part))  # type: ignore[arg-type]  # arrays are buffers
            made += address, part.size // (part.shape[-1] or 1), part.shape[-1]
        else:
            made.append(part)
    return array("q", made)


def is_unitary(matrices: np.ndarray, tolerance: float = 1e-12) -> bool:
    """Return whether (..., d, d) matrices are unitary."""
    product = matrices.conj().swapaxes(-1, -2) @ matrices
    return bool((np.abs(product - np.eye(matrices.shape[-1])) < tolerance).all())
