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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from .structure import Operation, Structure, basis_states, outcomes

IMAGINARY, REAL, PHASE, SWAP, DENSE = range(5)  # kinds
Bits = tuple[int, int]  # values of bits, and which of them count
# An operation: its kind; start, middle and stop of its places (the sign of the generator changes in
# the middle); bits to flip; number of its angle, or first entry of its matrix; start and number of
# the shifts from a place to the elements that a matrix mixes; whether the matrix is given with
# every call.
_FIELDS = ("kind", "start", "middle", "stop", "flip", "at", "shifts", "mixed", "given")
OPERATION = np.dtype([(name, np.int64) for name in _FIELDS])


class Circuit(NamedTuple):
    """A structure for the kernels.

    Attributes:
        size: elements of a state.
        step: circuits in a chunk: as many as fit into a register, or 1.
        rows: of results, at least one.
        ops: of the type `OPERATION`.
        places: int32 elements.
        shifts: see above.
        groups: (groups, 4) of words of Paulis: bits to flip, whether their number of Y is odd,
            first and last term.
        terms: (terms, 2) row of the result, element of the word of Z.
        weights: of the terms.
        outcomes: (probability measurements, 2^n) row of the result.
    """

    size: int
    step: int
    rows: int
    ops: np.ndarray
    places: np.ndarray
    shifts: np.ndarray
    groups: np.ndarray
    terms: np.ndarray
    weights: np.ndarray
    outcomes: np.ndarray


class Call(NamedTuple):
    """What a call brings; every column belongs to a circuit, of matrices perhaps to all.

    Attributes:
        cosine, sine: (angles, samples) of half angles.
        m_re, m_im: (entries, samples or circuits of a chunk) of all matrices.
    """

    cosine: np.ndarray
    sine: np.ndarray
    m_re: np.ndarray
    m_im: np.ndarray


class Slopes(NamedTuple):
    """What walking back fills: gradients in angles and in entries of matrices.

    Attributes:
        angle: (angles, samples) twice the gradient.
        m_re, m_im: (entries, samples).
    """

    angle: np.ndarray
    m_re: np.ndarray
    m_im: np.ndarray


class Word(NamedTuple):
    """A weighted word of Paulis of one result: ``letters`` are (wire, letter) pairs."""

    row: int
    weight: float
    letters: tuple[tuple[int, str], ...]


@dataclass(frozen=True, eq=False)
class Rows:
    """Measured rows: words of Paulis, and (first row, wires) of probabilities."""

    count: int
    words: Sequence[Word]
    probabilities: Sequence[tuple[int, tuple[int, ...]]]


class Lowering:
    """A circuit for the kernels, and what a call has to fill in.

    Args:
        structure: the circuit.
        operations: those of its operations that are felt.
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

    def __init__(
        self, structure: Structure, operations: Sequence[Operation], rows: Rows, step: int
    ) -> None:
        n = structure.wires
        self._step = step
        self._bit = {wire: step << (n - 1 - wire) for wire in range(n)}
        self._elements = np.arange(1 << n, dtype=np.int64) * step
        self._active = self._mask(structure.prepared)
        self._start = self._mask([wire for wire, bit in enumerate(structure.basis) if bit])
        self._ops: list[tuple[int, ...]] = []
        self._places: list[np.ndarray] = [np.zeros(0, np.int64)]
        self._known: dict[tuple, tuple[int, int, int]] = {}
        self._shifts: list[int] = []
        self._angles: dict[tuple[int, float, float], int] = {}
        self._entries = self._placed = 0
        self.matrices: list[tuple[int, Operation]] = []
        self.unitary = True
        for operation in operations:
            if operation.kind == "rotation":
                self._rotation(operation)
            elif operation.kind == "given" or not self._monomial(operation):
                self._dense(operation)
        self.owners = np.array([key[0] for key in self._angles], dtype=np.int64)
        affine = np.array([key[1:] for key in self._angles], dtype=float).reshape(-1, 2)
        self.half, self.shift = affine[:, :1] / 2, affine[:, 1:] / 2
        initial = (self._start + self._spread(structure.prepared)) // step
        inner = bool((np.diff(initial) == 1).all())
        self.initial = slice(initial[0], initial[-1] + 1) if inner else initial
        self.circuit = self._finished(structure, rows)

    @cached_property
    def table(self) -> array[int]:
        """Return where the arrays of the circuit are, for the kernels."""
        return table(*self.circuit)

    def __getstate__(self) -> dict[str, Any]:
        """Return all but addresses, which a copy has others of."""
        return {name: value for name, value in vars(self).items() if name != "table"}

    def _finished(self, structure: Structure, rows: Rows) -> Circuit:
        groups, terms, weights = self._words(rows.words)
        found = np.zeros((len(rows.probabilities), len(self._elements)), dtype=np.int64)
        for outcome, (first, wires) in zip(found, rows.probabilities, strict=True):
            places = outcomes(wires, structure.wires)
            outcome[places] = first + np.arange(len(places))[:, None]
        return Circuit(
            size=len(self._elements) * self._step,
            step=self._step,
            rows=max(1, rows.count),
            ops=np.array(self._ops, OPERATION),
            places=np.concatenate(self._places).astype(np.int32),
            shifts=np.array(self._shifts, dtype=np.int64),
            groups=np.array(groups, dtype=np.int64).reshape(-1, 4),
            terms=np.array(terms, dtype=np.int64).reshape(-1, 2),
            weights=np.array(weights, dtype=float),
            outcomes=found,
        )

    def _mask(self, wires: Iterable[int]) -> int:
        return sum(self._bit[wire] for wire in wires)

    def _spread(self, wires: Sequence[int]) -> np.ndarray:
        """Return the elements of the basis states of some wires."""
        return basis_states(wires, len(self._bit)) * self._step

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
            asleep = (self._elements ^ self._start) & ~self._active
            wanted = (self._elements & checked == on) & (self._elements & low == 0) & (asleep == 0)
            places = self._elements[wanted]
            odd = np.bitwise_count(places & signs) & 1 == 1
            start = self._placed
            parts = [places[~odd]] if kind == REAL else [places[~odd], places[odd]]
            self._places += parts
            self._placed += sum(map(len, parts))
            self._known[key] = start, start + len(parts[0]), self._placed
        self._ops.append((kind, *self._known[key], flip, at, *(mixes or (0, 0, 0))))

    def _on(self, operation: Operation) -> Bits:
        pairs = zip(operation.controls, operation.values, strict=True)
        return self._mask(w for w, value in pairs if value), self._mask(operation.controls)

    def _angle(self, owner: int, scale: float, shift: float) -> int:
        return self._angles.setdefault((owner, scale, shift), len(self._angles))

    def _rotation(self, operation: Operation) -> None:
        flip, signs, odd, sign = self._pauli(zip(operation.wires, operation.word, strict=True))
        constant = operation.parameter is None
        owner = -1 if operation.parameter is None else operation.parameter
        at = self._angle(owner, sign * operation.scale * (not constant), sign * operation.shift)
        kind = PHASE if not flip else REAL if odd else IMAGINARY
        low = 0 if odd else flip & -flip  # one of two partners
        self._row(kind, self._on(operation), low, flip, at, signs)

    def _pauli(self, letters: Iterable[tuple[int, str]]) -> tuple[int, int, bool, int]:
        """Return bits to flip, bits that change the sign, whether Y is odd, and a sign."""
        flip = signs = count = 0
        for wire, letter in letters:
            flip |= self._bit[wire] if letter in "XY" else 0
            signs |= self._bit[wire] if letter in "YZ" else 0
            count += letter == "Y"
        return flip, signs, bool(count % 2), -1 if count % 4 > 1 else 1

    def _monomial(self, operation: Operation) -> bool:
        """Add a constant matrix as swaps and phases, if it is made of them."""
        matrix: np.ndarray = operation.matrix  # type: ignore[assignment]  # the kind says so
        large = np.abs(matrix) > 1e-14
        source, states = large.argmax(1), np.arange(len(large))
        phases = matrix[states, source]
        swaps = (large.sum(0) == 1).all() and (large.sum(1) == 1).all()
        if not swaps or (source[source] != states).any() or (abs(abs(phases) - 1) > 1e-14).any():
            return False
        on, checked = self._on(operation)
        spread = self._spread(operation.wires).tolist()
        checked |= self._mask(operation.wires)
        for state in np.flatnonzero(source > states).tolist():
            flip = spread[state] ^ spread[source[state]]
            self._row(SWAP, (on | spread[state], checked), 0, flip, 0, 0)
        for state in np.flatnonzero(phases != 1).tolist():
            at = self._angle(-1, 0.0, -2 * float(np.angle(phases[state])))
            self._row(PHASE, (on | spread[state], checked), 0, 0, at, 0)
        return True

    def _dense(self, operation: Operation) -> None:
        shifts = self._spread(operation.wires).tolist()
        low, given = self._mask(operation.wires), operation.kind == "given"
        mixes = len(self._shifts), len(shifts), int(given)
        self._row(DENSE, self._on(operation), low, 0, self._entries, 0, *mixes)
        self._shifts += shifts
        self.unitary = self.unitary and (given or is_unitary(operation.matrix))  # type: ignore[arg-type]  # the kind says so
        self.matrices.append((self._entries, operation))
        self._entries += len(shifts) ** 2

    # -- measurements ---------------------------------------------------------------------------

    def _words(self, words: Sequence[Word]) -> tuple[list, list, list]:
        """Return groups, terms and weights."""
        grouped: dict[tuple[int, bool], list[tuple[int, int, float]]] = {}
        for word in words:
            flip, signs, odd, sign = self._pauli(word.letters)
            grouped.setdefault((flip, odd), []).append((word.row, signs, sign * word.weight))
        groups: list[tuple[int, int, int, int]] = []
        terms: list[tuple[int, int, float]] = []
        for (flip, odd), members in grouped.items():
            groups.append((flip, int(odd), len(terms), len(terms) + len(members)))
            terms += members
        return groups, [term[:2] for term in terms], [term[2] for term in terms]


def table(*parts: int | np.ndarray) -> array[int]:
    """Return what tells a kernel where its arrays are: numbers, and of arrays address and shape.

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
            first: Any = part
            made.append(part.size and ctypes.addressof(ctypes.c_char.from_buffer(first)))
            made += part.shape
        else:
            made.append(part)
    return array("q", made)


def is_unitary(matrices: np.ndarray, tolerance: float = 1e-12) -> bool:
    """Return whether (..., d, d) matrices are unitary."""
    product = matrices.conj().swapaxes(-1, -2) @ matrices
    return bool((np.abs(product - np.eye(matrices.shape[-1])) < tolerance).all())
