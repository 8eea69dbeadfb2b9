"""What a plan needs to know of each operation: its matrix as a sum of constants.

Every entry of a one-parameter gate of the papers is a combination of 1, cos(t/2), sin(t/2), cos(t)
and sin(t). A gate is therefore a short product of *factors*, each five constant matrices that the
parameter only weighs; the matrices of a whole circuit are then made by a few batched products.
Gates without parameters that only permute basis states and turn their phases are *monomial*: they
need no arithmetic to speak of, however wide they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pennylane.operation import Operator
from pennylane.ops.op_math import Adjoint, Controlled

TERMS = 5  # 1, cos(t/2), sin(t/2), cos(t), sin(t)
WIDEST_DENSE = 4  # wires up to which a gate without factors is applied as its matrix

_PAULI = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]),
}
_ROTATIONS = {
    "RX": "X", "RY": "Y", "RZ": "Z", "IsingXX": "XX", "IsingYY": "YY", "IsingZZ": "ZZ",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Factor:
    """One factor of a gate.

    Attributes:
        terms: (5, d, d) complex128, weights of 1, cos(t/2), sin(t/2), cos(t), sin(t).
        parameter: which parameter of the operation is t; ``None`` for a constant.
    """

    terms: np.ndarray
    parameter: int | None = None


@dataclass(frozen=True, eq=False)
class Monomial:
    """A gate that moves basis states: new amplitude s is ``phase[s]`` times old ``source[s]``."""

    source: np.ndarray
    phase: np.ndarray

    def matrix(self) -> np.ndarray:
        """Return the (d, d) matrix."""
        dense = np.zeros((len(self.source),) * 2, complex)
        dense[np.arange(len(self.source)), self.source] = self.phase
        return dense


def constant(matrix: np.ndarray) -> Factor:
    """Return a factor without a parameter."""
    terms = np.zeros((TERMS, *matrix.shape), complex)
    terms[0] = matrix
    return Factor(terms)


def _rotation(word: str, parameter: int = 0) -> Factor:
    """Return exp(-i t P / 2) for the Pauli word P."""
    generator = np.eye(1)
    for letter in word:
        generator = np.kron(generator, _PAULI[letter])
    terms = np.zeros((TERMS, *generator.shape), complex)
    terms[1], terms[2] = np.eye(len(generator)), -1j * generator
    return Factor(terms, parameter)


def _phase(parameter: int = 0) -> Factor:
    """Return diag(1, exp(i t))."""
    terms = np.zeros((TERMS, 2, 2), complex)
    terms[0, 0, 0], terms[3, 1, 1], terms[4, 1, 1] = 1, 1, 1j
    return Factor(terms, parameter)


def _global_phase(wires: int) -> Factor:
    """Return exp(-i t)."""
    terms = np.zeros((TERMS, 2**wires, 2**wires), complex)
    terms[3], terms[4] = np.eye(2**wires), -1j * np.eye(2**wires)
    return Factor(terms, 0)


def factors(op: Operator) -> list[Factor] | None:
    """Return the factors of an operation, first applied first; ``None`` if it has no such form.

    Only operations with parameters have one, on at most two wires (a global phase on its first).
    It is remembered by structure.
    """
    key = structure(op)
    if key not in _FACTORS:
        _FACTORS[key] = _factors(op)
    return _FACTORS[key]


_FACTORS: dict[tuple, list[Factor] | None] = {}
_STATIC: dict[tuple, np.ndarray | Monomial | None] = {}


def _factors(op: Operator) -> list[Factor] | None:
    if op.name == "GlobalPhase":
        return [_global_phase(min(len(op.wires), 1))]
    if op.num_params == 0 or len(op.wires) > 2:
        return None
    if isinstance(op, Adjoint):
        inner = factors(op.base)
        if inner is None:
            return None
        return [Factor(f.terms.conj().transpose(0, 2, 1), f.parameter) for f in reversed(inner)]
    if isinstance(op, Controlled):
        inner = factors(op.base)
        return None if inner is None else _controlled(inner, op.control_values)
    if op.name in _ROTATIONS:
        return [_rotation(_ROTATIONS[op.name])]
    if op.name in ("PhaseShift", "U1"):
        return [_phase()]
    if op.name == "Rot":
        return [_rotation("Z", 0), _rotation("Y", 1), _rotation("Z", 2)]
    if op.name == "U3":
        return [_phase(2), _rotation("Y", 0), _phase(1)]
    if op.name == "PauliRot":
        return [_rotation(op.hyperparameters["pauli_word"])]
    if op.name == "MultiRZ":
        return [_rotation("Z" * len(op.wires))]
    return None


def _controlled(inner: list[Factor], values: Sequence[bool]) -> list[Factor]:
    """Apply factors only where the control wires, which come first, have these values."""
    on = np.zeros((2 ** len(values),) * 2)
    place = int("".join("1" if value else "0" for value in values), 2)
    on[place, place] = 1
    made = []
    for factor in inner:
        terms = np.stack([np.kron(on, term) for term in factor.terms])
        terms[0] += np.kron(np.eye(len(on)) - on, np.eye(factor.terms.shape[1]))
        made.append(Factor(terms, factor.parameter))
    return made


def static(op: Operator) -> np.ndarray | Monomial | None:
    """Return the matrix of an operation without parameters, as a `Monomial` where it is one."""
    if op.num_params:
        return None
    key = structure(op)
    if key not in _STATIC:
        _STATIC[key] = _static(op)
    return _STATIC[key]


def _static(op: Operator) -> np.ndarray | Monomial | None:
    if isinstance(op, Controlled):
        inner = static(op.base)
        if isinstance(inner, Monomial):
            return _controlled_monomial(inner, op.control_values)
    if isinstance(op, Adjoint):
        inner = static(op.base)
        if isinstance(inner, Monomial):
            inverse = np.argsort(inner.source)
            return Monomial(inverse, inner.phase[inverse].conj())
    if len(op.wires) > WIDEST_DENSE or not op.has_matrix:
        return None
    return simplest(np.asarray(op.matrix(), complex))


def _controlled_monomial(inner: Monomial, values: Sequence[bool]) -> Monomial:
    size = len(inner.source)
    source = np.arange(size * 2 ** len(values))
    phase = np.ones(len(source), complex)
    start = size * int("".join("1" if value else "0" for value in values), 2)
    source[start : start + size] = start + inner.source
    phase[start : start + size] = inner.phase
    return Monomial(source, phase)


def simplest(matrix: np.ndarray) -> np.ndarray | Monomial:
    """Return a matrix as a `Monomial` if it is one."""
    large = np.abs(matrix) > 1e-12
    if (large.sum(0) == 1).all() and (large.sum(1) == 1).all():
        source = large.argmax(1)
        return Monomial(source, matrix[np.arange(len(matrix)), source])
    return matrix


def structure(op: Operator) -> tuple:
    """Return what an operation is apart from the values of its parameters, hashable."""
    if isinstance(op, Adjoint):
        return ("Adjoint", structure(op.base))
    if isinstance(op, Controlled):
        return ("C", *map(bool, op.control_values), structure(op.base))
    extra = tuple(
        (name, structure(value) if isinstance(value, Operator) else _hashable(value))
        for name, value in op.hyperparameters.items()
    )
    return (type(op), op.name, len(op.wires), *extra)


def _hashable(value: object) -> object:
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else repr(value)
