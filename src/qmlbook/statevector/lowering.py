"""From a structure to the arrays that the kernels read.

A state is kept as an array of *elements*: real or imaginary parts of amplitudes, those of one
amplitude for the circuits of a chunk side by side in one register. A chunk of one circuit has no
circuits to put there and keeps the amplitudes of its quietest wires side by side instead.

Every operation has a list of *places*, the elements (or registers) from which it reaches the
others by flipping bits. Places with control bits of another value, and those that are still zero
because nothing has turned their wire yet, are not in the list: nothing else has to be known about
controls, and an angle encoding costs next to nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .structure import Operation, Structure

IMAGINARY, REAL, PHASE, SWAP, DENSE = range(5)


class Circuit(NamedTuple):
    """A structure for the kernels; all integers are 64 bits but ``places``.

    Attributes:
        size: elements of a state.
        step: circuits in a chunk: a register's, or 1.
        entries: of all matrices together.
        ops: one row each: kind; start, middle and stop of its places (the sign of the generator
            changes in the middle); bits to flip; row of its angle, or first entry of its matrix;
            start and length of its shifts; whether it visits single elements; where the state
            before it is kept, or -1; whether its matrix is given.
        places: int32 elements.
        shifts: from a place to the elements that a matrix mixes.
        affine: (angles, 2) scale and shift.
        fixed: (angles that are constant, 2) cosine and sine of their half.
        initial: elements of the prepared amplitudes.
        groups: (groups, 4) of words of Paulis: bits to flip, whether their number of Y is odd,
            first and last term.
        terms: (terms, 2) row of the result, element of the word of Z.
        weights: of the terms.
        outcomes: (probability measurements, 2^n) row of the result.
    """

    size: int
    step: int
    entries: int
    ops: np.ndarray
    places: np.ndarray
    shifts: np.ndarray
    affine: np.ndarray
    fixed: np.ndarray
    initial: np.ndarray
    groups: np.ndarray
    terms: np.ndarray
    weights: np.ndarray
    outcomes: np.ndarray


class Numbers(NamedTuple):
    """What a call brings.

    Attributes:
        batch: circuits.
        flat: the parameters' numbers.
        sources: (angles, 3) first element in ``flat``, how far to that of the next circuit,
            row in `Gradient.batched` or -1.
        matrices: (matrices, 4) first entry in the table, size, first entry in ``m_re``, how far to
            that of the next circuit.
        m_re, m_im: entries.
        a_re, a_im: amplitudes; the second is empty if they are real.
        a_stride: how far it is to the amplitudes of the next circuit.
    """

    batch: int
    flat: np.ndarray
    sources: np.ndarray
    matrices: np.ndarray
    m_re: np.ndarray
    m_im: np.ndarray
    a_re: np.ndarray
    a_im: np.ndarray
    a_stride: int


class Gradient(NamedTuple):
    """Gradients that walking back fills: of parameters, matrices and amplitudes.

    Attributes:
        shared: (angles,) float64, sums.
        batched: (angles that differ, samples).
        m_re, m_im: (entries, samples or 1) float64.
        a_re, a_im: (amplitudes, samples), or empty.
    """

    shared: np.ndarray
    batched: np.ndarray
    m_re: np.ndarray
    m_im: np.ndarray
    a_re: np.ndarray
    a_im: np.ndarray


class Tables(NamedTuple):
    """A register for every angle and every entry of a matrix, and for the slope of each."""

    cosine: np.ndarray
    sine: np.ndarray
    slope: np.ndarray
    m_re: np.ndarray
    m_im: np.ndarray
    held_re: np.ndarray
    held_im: np.ndarray
    slope_re: np.ndarray
    slope_im: np.ndarray


class Word(NamedTuple):
    """A weighted word of Paulis of one result: ``letters`` are (wire, letter) pairs."""

    row: int
    weight: float
    letters: tuple[tuple[int, str], ...]


class Rows(NamedTuple):
    """Measured rows: words of Paulis, and (first row, wires) of probabilities."""

    count: int
    words: Sequence[Word]
    probabilities: Sequence[tuple[int, tuple[int, ...]]]


@dataclass(frozen=True, eq=False)
class Lowered:
    """A circuit for the kernels, and how a call fills it.

    Attributes:
        circuit: the arrays.
        owners: (angles,) number of the parameter that each is made of.
        matrices: first entry in the table and operation of every matrix.
        order: row of every basis state.
        slots: states that are kept, before constant matrices that are not unitary.
        constants: the entries of matrices, where none is given, for each precision.
    """

    circuit: Circuit
    owners: np.ndarray
    matrices: list[tuple[int, Operation]]
    order: np.ndarray
    slots: int
    constants: dict = field(default_factory=dict)


def lower(
    structure: Structure, operations: Sequence[Operation], rows: Rows, lanes: int, single: bool
) -> Lowered:
    """Return what the kernels read.

    Args:
        structure: the circuit.
        operations: those of its operations that are felt.
        rows: what is measured.
        lanes: numbers in a register.
        single: whether a chunk is one circuit.
    """
    lowering = _Lowering(structure, operations, lanes, single)
    for operation in operations:
        lowering.add(operation)
    return lowering.finished(rows)


def is_unitary(matrices: np.ndarray, tolerance: float = 1e-12) -> bool:
    """Return whether (..., d, d) matrices are unitary."""
    product = matrices.conj().swapaxes(-1, -2) @ matrices
    return bool((np.abs(product - np.eye(matrices.shape[-1])) < tolerance).all())


class _Lowering:
    def __init__(
        self, structure: Structure, operations: Sequence[Operation], lanes: int, single: bool
    ) -> None:
        n, order = structure.wires, list(range(structure.wires))
        self.structure, self.lanes, self.single = structure, lanes, single
        self.step = 1 if single else lanes
        if single:  # the quietest wires go into the lanes
            uses = Counter(wire for operation in operations for wire in operation.touched)
            order.sort(key=lambda wire: (-uses[wire], wire))
        self.bit = {wire: self.step << (n - 1 - at) for at, wire in enumerate(order)}
        self.elements = np.arange(1 << n, dtype=np.int64) * self.step
        self.active = self.mask(structure.prepared)
        basis = enumerate(structure.basis)
        self.start = self.mask([wire for wire, value in basis if value])
        self.ops: list[list[int]] = []
        self.places: list[np.ndarray] = []
        self.known: dict[tuple, list[int]] = {}
        self.placed = self.entries = self.slots = 0
        self.shifts: list[np.ndarray] = []
        self.angles: dict[tuple[int, float, float], int] = {}
        self.fixed: list[tuple[float, float]] = []
        self.matrices: list[tuple[int, Operation]] = []

    def mask(self, wires: Sequence[int]) -> int:
        """Return the bits of some wires."""
        return sum(self.bit[wire] for wire in wires)

    def finished(self, rows: Rows) -> Lowered:
        """Return the arrays."""
        for op in self.ops:  # angles that are constant come after the others
            if op[0] != DENSE and op[5] < 0:
                op[5] = len(self.angles) - 1 - op[5]
        groups, terms, weights = self._words(rows.words)
        outcomes = [row + self._outcomes(wires) for row, wires in rows.probabilities]
        circuit = Circuit(
            size=len(self.elements) * self.step,
            step=self.step,
            entries=self.entries,
            ops=np.array(self.ops, dtype=np.int64).reshape(-1, 11),
            places=np.concatenate([np.zeros(0), *self.places]).astype(np.int32),
            shifts=np.concatenate([np.zeros(0), *self.shifts]).astype(np.int64),
            affine=np.array([key[1:] for key in self.angles], dtype=float).reshape(-1, 2),
            fixed=np.array(self.fixed, dtype=float).reshape(-1, 2),
            initial=self.start + self._spread(self.structure.prepared),
            groups=np.array(groups, dtype=np.int64).reshape(-1, 4),
            terms=np.array(terms, dtype=np.int64).reshape(-1, 2),
            weights=np.array(weights, dtype=float),
            outcomes=np.array(outcomes, dtype=np.int64).reshape(-1, len(self.elements)),
        )
        owners = np.array([key[0] for key in self.angles], dtype=np.int64)
        order = self._spread(range(self.structure.wires)) // self.step
        return Lowered(circuit, owners, self.matrices, order, self.slots)

    def _spread(self, wires: Sequence[int]) -> np.ndarray:
        """Return the elements of the basis states of some wires."""
        states = np.arange(1 << len(wires), dtype=np.int64)
        spread = np.zeros_like(states)
        for at, wire in enumerate(reversed(wires)):
            spread += (states >> at & 1) * self.bit[wire]
        return spread

    # -- operations -----------------------------------------------------------------------------

    def add(self, operation: Operation) -> None:
        """Add the rows of an operation."""
        if operation.kind == "rotation":
            self._rotation(operation)
        elif operation.kind == "given" or not self._monomial(operation):
            self._dense(operation)

    def _row(
        self, kind: int, on: int, checked: int, low: int, flip: int, at: int, signs: int = 0
    ) -> list[int]:
        """Add a row of ``ops`` whose places have the bits ``on`` among those ``checked``.

        Args:
            kind: of the row.
            on, checked: which places.
            low: bits that are 0, besides.
            flip: bits to flip; their wires are active from now on.
            at: angle or matrix.
            signs: places with an odd number of these bits come last; of `REAL` they are left out.
        """
        self.active |= flip | (low if kind == DENSE else 0)
        involved = low | checked | signs | flip
        lanes = self.lanes - 1 if self.single else 0
        narrow = bool(lanes & involved) or self.single and len(self.elements) < self.lanes
        key = on, checked, low, signs, self.active, narrow, kind == REAL
        if key not in self.known:
            hidden = 0 if narrow else lanes  # one place stands for a register
            asleep = (self.elements ^ self.start) & ~self.active & ~hidden
            wanted = (self.elements & checked == on) & (self.elements & (low | hidden) == 0)
            places = self.elements[wanted & (asleep == 0)]
            odd = _parity(places & signs)
            even = places[odd == 0]
            places = even if kind == REAL else np.concatenate([even, places[odd == 1]])
            self.known[key] = [self.placed, self.placed + len(even), self.placed + len(places)]
            self.placed += len(places)
            self.places.append(places)
        self.ops.append([kind, *self.known[key], flip, at, 0, 0, int(narrow), -1, 0])
        return self.ops[-1]

    def _on(self, operation: Operation) -> tuple[int, int]:
        pairs = zip(operation.controls, operation.values, strict=True)
        return self.mask([w for w, value in pairs if value]), self.mask(operation.controls)

    def _rotation(self, operation: Operation) -> None:
        flip, signs, odd, sign = self._pauli(zip(operation.wires, operation.word, strict=True))
        if operation.parameter is None:
            half = sign * operation.shift / 2
            at = self._constant(np.cos(half), np.sin(half))
        else:
            key = operation.parameter, sign * operation.scale, sign * operation.shift
            at = self.angles.setdefault(key, len(self.angles))
        kind = PHASE if not flip else REAL if odd else IMAGINARY
        low = 0 if odd else flip & -flip  # one of two partners
        self._row(kind, *self._on(operation), low, flip, at, signs)

    def _constant(self, cosine: float, sine: float) -> int:
        """Return a row, counted down from -1, for an angle with these values of its half."""
        self.fixed.append((cosine, sine))
        return -len(self.fixed)

    def _pauli(self, letters: Iterable[tuple[int, str]]) -> tuple[int, int, bool, int]:
        """Return bits to flip, bits that change the sign, whether Y is odd, and a sign."""
        flip = signs = count = 0
        for wire, letter in letters:
            flip |= self.bit[wire] if letter in "XY" else 0
            signs |= self.bit[wire] if letter in "YZ" else 0
            count += letter == "Y"
        return flip, signs, bool(count % 2), -1 if count % 4 > 1 else 1

    def _monomial(self, operation: Operation) -> bool:
        """Add a constant matrix as swaps and phases, if it is made of them."""
        matrix = operation.matrix
        large = np.abs(matrix) > 1e-14  # type: ignore[arg-type]
        source, states = large.argmax(1), np.arange(len(large))
        phases = matrix[states, source]  # type: ignore[index]
        swaps = (large.sum(0) == 1).all() and (large.sum(1) == 1).all()
        if not swaps or (source[source] != states).any() or (abs(abs(phases) - 1) > 1e-14).any():
            return False
        on, checked = self._on(operation)
        spread = self._spread(operation.wires).tolist()
        checked |= self.mask(operation.wires)
        for state in np.flatnonzero(source > states).tolist():
            flip = spread[state] ^ spread[source[state]]
            self._row(SWAP, on | spread[state], checked, 0, flip, 0)
        for state in np.flatnonzero(phases != 1).tolist():
            at = self._constant(phases[state].real, -phases[state].imag)
            self._row(PHASE, on | spread[state], checked, 0, 0, at)
        return True

    def _dense(self, operation: Operation) -> None:
        given = operation.kind == "given"
        row = self._row(
            DENSE, *self._on(operation), self.mask(operation.wires), 0, self.entries
        )
        shifts = self._spread(operation.wires)
        row[6], row[7], row[10] = sum(map(len, self.shifts)), len(shifts), int(given)
        self.shifts.append(shifts)
        if not given and not is_unitary(operation.matrix):  # type: ignore[arg-type]
            row[9] = self.slots
            self.slots += 1
        self.matrices.append((self.entries, operation))
        self.entries += len(shifts) ** 2

    # -- measurements ---------------------------------------------------------------------------

    def _words(self, words: Sequence[Word]) -> tuple[list, list, list]:
        """Return groups, terms and weights."""
        grouped: dict[tuple[int, bool], list[tuple[int, int, float]]] = {}
        for word in words:
            flip, signs, odd, sign = self._pauli(word.letters)
            grouped.setdefault((flip, odd), []).append((word.row, signs, sign * word.weight))
        groups, terms = [], []
        for (flip, odd), members in grouped.items():
            groups.append((flip, int(odd), len(terms), len(terms) + len(members)))
            terms += members
        return groups, [term[:2] for term in terms], [term[2] for term in terms]

    def _outcomes(self, wires: Sequence[int]) -> np.ndarray:
        """Return the outcome on some wires of every row."""
        value = np.zeros_like(self.elements)
        for wire in wires:
            value = 2 * value + (self.elements & self.bit[wire] != 0)
        return value


def _parity(values: np.ndarray) -> np.ndarray:
    """Return whether the number of bits is odd, as 0 or 1."""
    for shift in (32, 16, 8, 4, 2, 1):
        values = values ^ (values >> shift)
    return values & 1
