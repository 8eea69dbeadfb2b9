"""What PennyLane's operations are: rotations, or controlled matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pennylane as qml
from pennylane.operation import Operator
from pennylane.ops.op_math import Adjoint, Controlled


@dataclass(frozen=True)
class Turn:
    """A rotation as part of a gate; wires and controls are counted among those of the gate.

    Attributes:
        word: letters of Pauli matrices.
        wires: one for each letter.
        parameter: which parameter of the gate; ``None`` for the constant angle ``shift``.
        scale, shift: of the parameter.
        controls, values: control wires and their bits.
    """

    word: str
    wires: tuple[int, ...]
    parameter: int | None = 0
    scale: float = 1.0
    shift: float = 0.0
    controls: tuple[int, ...] = ()
    values: tuple[int, ...] = ()


def _phase(parameter: int = 0, controls: tuple[int, ...] = (0,)) -> Turn:
    """exp(i t) where the controls are 1."""
    return Turn("", (), parameter, -2.0, 0.0, controls, (1,) * len(controls))


def _rotation(letter: str, parameter: int = 0) -> Turn:
    return Turn(letter, tuple(range(len(letter))), parameter)


def _controlled(turns: Sequence[Turn], values: Sequence[bool | int]) -> tuple[Turn, ...]:
    """Return rotations that act only where wires in front of theirs have these values."""
    k = len(values)
    bits = tuple(int(value) for value in values)
    return tuple(
        replace(
            turn,
            wires=tuple(wire + k for wire in turn.wires),
            controls=(*range(k), *(wire + k for wire in turn.controls)),
            values=bits + turn.values,
        )
        for turn in turns
    )


_ROT = (_rotation("Z", 0), _rotation("Y", 1), _rotation("Z", 2))
_EXCITATION = (Turn("XY", (0, 1), 0, -0.5), Turn("YX", (0, 1), 0, 0.5))
ROTATIONS: dict[type, tuple[Turn, ...]] = {
    qml.RX: (_rotation("X"),),
    qml.RY: (_rotation("Y"),),
    qml.RZ: (_rotation("Z"),),
    qml.PhaseShift: (_phase(),),
    qml.U1: (_phase(),),
    qml.Rot: _ROT,
    qml.U2: (_phase(1), Turn("Y", (0,), None, 1.0, np.pi / 2), _phase(0)),
    qml.U3: (_phase(2), _rotation("Y", 0), _phase(1)),
    qml.CRX: _controlled((_rotation("X"),), (1,)),
    qml.CRY: _controlled((_rotation("Y"),), (1,)),
    qml.CRZ: _controlled((_rotation("Z"),), (1,)),
    qml.CRot: _controlled(_ROT, (1,)),
    qml.ControlledPhaseShift: (_phase(0, (0, 1)),),
    qml.IsingXX: (_rotation("XX"),),
    qml.IsingYY: (_rotation("YY"),),
    qml.IsingZZ: (_rotation("ZZ"),),
    qml.IsingXY: (Turn("XX", (0, 1), 0, -0.5), Turn("YY", (0, 1), 0, -0.5)),
    qml.SingleExcitation: _EXCITATION,
}
FIXED = (
    *(qml.X, qml.Y, qml.Z, qml.Hadamard, qml.S, qml.T, qml.SX),
    *(qml.CNOT, qml.CZ, qml.CY, qml.CH, qml.SWAP, qml.ISWAP, qml.SISWAP, qml.ECR),
    *(qml.Toffoli, qml.CCZ, qml.CSWAP),
)
# Gates that are known by their type alone; each parameter is a number or one number per circuit.
SIMPLE = frozenset({*ROTATIONS, *FIXED})


def turns(op: Operator) -> tuple[Turn, ...] | None:
    """Return the rotations of an operation, the first applied first; ``None`` if it has none."""
    known = ROTATIONS.get(type(op))
    if known is not None or op.num_params == 0:
        return known
    if type(op) is qml.GlobalPhase:
        return (Turn("", (), 0, 2.0),)
    if type(op) is qml.PauliRot:
        letters = enumerate(op.hyperparameters["pauli_word"])
        kept = [(wire, letter) for wire, letter in letters if letter != "I"]
        return (Turn("".join(letter for _, letter in kept), tuple(wire for wire, _ in kept)),)
    if type(op) is qml.MultiRZ:
        return (_rotation("Z" * len(op.wires)),)
    if isinstance(op, Adjoint):
        inner = turns(op.base)
        return inner and tuple(
            replace(turn, scale=-turn.scale, shift=-turn.shift) for turn in reversed(inner)
        )
    if isinstance(op, Controlled):
        inner = turns(op.base)
        return inner and _controlled(inner, op.control_values)
    return None


def bare(op: Operator) -> tuple[tuple[int, ...], bool, Operator]:
    """Return bits of the control wires in front, whether it is the adjoint, and the operation."""
    values: tuple[int, ...] = ()
    adjoint = False
    while isinstance(op, (Adjoint, Controlled)):
        if isinstance(op, Controlled):
            values += tuple(int(value) for value in op.control_values)
        else:
            adjoint = not adjoint
        op = op.base
    return values, adjoint, op
