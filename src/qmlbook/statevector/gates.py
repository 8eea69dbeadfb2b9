"""What PennyLane's operations are: rotations, or controlled matrices.

Wires, controls and parameters of these are counted among those of the gate.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pennylane as qml
import torch
from pennylane.operation import Operator
from pennylane.ops.op_math import Adjoint, Controlled

from .structure import Operation

Parts = tuple[Operation, ...]


def _rotation(word: str, parameter: int | None = 0, scale: float = 1.0) -> Operation:
    """Return exp(-i t P / 2) on the first wires."""
    wires = tuple(range(len(word)))
    return Operation("rotation", wires, word=word, parameter=parameter, scale=scale)


def _phase(parameter: int = 0) -> Operation:
    """Return exp(i t) where the wire is 1."""
    return Operation("rotation", (), (0,), (1,), parameter=parameter, scale=-2.0)


ROTATIONS: dict[type, Parts] = {
    qml.RX: (_rotation("X"),),
    qml.RY: (_rotation("Y"),),
    qml.RZ: (_rotation("Z"),),
    qml.PhaseShift: (_phase(),),
    qml.U1: (_phase(),),
    qml.Rot: (_rotation("Z", 0), _rotation("Y", 1), _rotation("Z", 2)),
    qml.U2: (_phase(1), replace(_rotation("Y", None), shift=np.pi / 2), _phase(0)),
    qml.U3: (_phase(2), _rotation("Y", 0), _phase(1)),
    qml.IsingXX: (_rotation("XX"),),
    qml.IsingYY: (_rotation("YY"),),
    qml.IsingZZ: (_rotation("ZZ"),),
    qml.IsingXY: (_rotation("XX", scale=-0.5), _rotation("YY", scale=-0.5)),
    qml.SingleExcitation: (_rotation("XY", scale=-0.5), _rotation("YX", scale=0.5)),
}
# Gates that are known by their type alone; each parameter is a number or one number per circuit.
SIMPLE = {
    *ROTATIONS,
    *(qml.CRX, qml.CRY, qml.CRZ, qml.CRot, qml.ControlledPhaseShift),
    *(qml.X, qml.Y, qml.Z, qml.Hadamard, qml.S, qml.T, qml.SX),
    *(qml.CNOT, qml.CZ, qml.CY, qml.CH, qml.SWAP, qml.ISWAP, qml.SISWAP, qml.ECR),
    *(qml.Toffoli, qml.CCZ, qml.CSWAP),
}
# The wire's phase turns by pi with some probability: so says a second wire, which is new.
DEPHASING = (
    Operation("rotation", (1,), word="Y", parameter=0),
    Operation("matrix", (0,), (1,), (1,), matrix=np.diag([1.0 + 0j, -1])),
)


@cache
def simple(kind: Any) -> Parts:
    """Return the parts of gates of a type in `SIMPLE`."""
    return parts(kind(*[0.0] * kind.num_params, wires=range(kind.num_wires)))[0]


def parts(op: Operator) -> tuple[Parts, Any]:
    """Return the parts of an operation, the first applied first, and the matrix it is given."""
    if isinstance(op, Adjoint):
        inner, given = parts(op.base)
        return tuple(map(_adjoint, inner[::-1])), _dagger(given)
    if isinstance(op, Controlled):
        inner, given = parts(op.base)
        bits = tuple(int(value) for value in op.control_values)
        controls, others = tuple(range(len(bits))), range(len(bits), len(op.wires))
        moved = [part.on(others) for part in inner]
        made = [replace(p, controls=controls + p.controls, values=bits + p.values) for p in moved]
        return tuple(made), given
    if type(op) is qml.GlobalPhase:
        return (_rotation("", scale=2.0),), None
    if type(op) is qml.MultiRZ:
        return (_rotation("Z" * len(op.wires)),), None
    if type(op) is qml.PauliRot:
        word = op.hyperparameters["pauli_word"]
        on = [wire for wire, letter in enumerate(word) if letter != "I"]
        return (_rotation(word.replace("I", "")).on(on),), None
    rotations = ROTATIONS.get(type(op))
    return _matrix(op) if rotations is None else (rotations, None)


def _adjoint(part: Operation) -> Operation:
    if part.kind == "rotation":
        return replace(part, scale=-part.scale, shift=-part.shift)
    return replace(part, matrix=_dagger(part.matrix))


def _dagger(matrix: Any) -> Any:
    return None if matrix is None else qml.math.conj(matrix).swapaxes(-1, -2)


def _matrix(op: Operator) -> tuple[Parts, Any]:
    """Return an operation as a constant matrix, or as the (., d, d) that it is given."""
    wires = tuple(range(len(op.wires)))
    exponents: Any = getattr(op, "z", 0)
    if isinstance(op, qml.QubitUnitary):
        matrix = op.data[0]
    elif np.ndim(exponents) == 1:
        matrix = qml.math.stack([qml.pow(op.base, z, lazy=True).matrix() for z in exponents])
    else:
        matrix = op.matrix()
    tensor = isinstance(matrix, torch.Tensor)
    if not tensor:
        matrix = np.array(matrix, complex)
    # A tensor in an attribute of a user's gate may be another the next time.
    if tensor or op.num_params or np.ndim(exponents):
        return (Operation("given", wires, parameter=0),), matrix
    return (Operation("matrix", wires, matrix=matrix),), None


def dephase(wires: Any) -> None:
    """Measure wires in the computational basis and forget the outcome, exactly.

    A quantum function: call it inside a QNode on `qmlbook.statevector` or on `default.mixed`. Each
    wire and call doubles the state that `qmlbook.statevector` carries, so m dephased wires cost 2^m
    times the time and memory; expectation values and probabilities are exact and differentiable.

    Args:
        wires: one label or several.
    """
    for wire in qml.wires.Wires(wires):
        qml.PhaseFlip(0.5, wires=wire)
