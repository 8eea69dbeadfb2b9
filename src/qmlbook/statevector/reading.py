"""Read a tape once: its structure and measurements, the key of a plan, and the values on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pennylane as qml
import torch
from pennylane.devices.default_qubit import stopping_condition
from pennylane.measurements import ExpectationMP, MeasurementProcess, ProbabilityMP, StateMP
from pennylane.operation import Operator, StatePrepBase
from pennylane.tape import QuantumScript

from .errors import CircuitError
from .gates import DEPHASING, SIMPLE, parts, simple
from .structure import Letters, Operation, Structure

SKIPPED = (qml.Identity, qml.Snapshot)  # a barrier is gone before
_LETTERS = {qml.X: "X", qml.Y: "Y", qml.Z: "Z"}


class Reading(NamedTuple):
    """What one pass over a tape collects.

    Attributes:
        key: structure, hashable.
        asked: what `signature` says of every measurement.
        measurements: those that PennyLane makes are of positions in place of labels.
        wires: how many have labels.
        parameters: angles, each a number or one number per circuit.
        matrices: given matrices, (d, d) or (B, d, d).
        amplitudes: of a prepared state, (2^k,) or (B, 2^k), or ``None``.
        batch: circuits in the batch, ``None`` for a single circuit.
    """

    key: tuple
    asked: tuple[tuple[str, Any], ...]
    measurements: list[MeasurementProcess]
    wires: int
    parameters: list[Any]
    matrices: list[Any]
    amplitudes: Any
    batch: int | None

    @property
    def given(self) -> list[Any]:
        """Return amplitudes, if there are any, and matrices."""
        return [*([] if self.amplitudes is None else [self.amplitudes]), *self.matrices]


def supports(op: Operator, first: bool = False) -> bool:
    """Return whether the device runs an operation as it is; ``first`` if it opens the circuit."""
    if type(op) in SIMPLE or isinstance(op, (*SKIPPED, qml.PhaseFlip)):
        return True
    if isinstance(op, StatePrepBase):
        return first
    return stopping_condition(op, allow_mcms=False) and op.has_matrix


def read(tape: QuantumScript, place: dict) -> Reading:
    """Read a tape whose operations are all supported.

    Args:
        tape: the circuit.
        place: wire label -> position, of all its wires.

    Raises:
        CircuitError: if batch sizes do not agree, or a parameter has too many dimensions.
    """
    key: list[tuple] = []
    parameters: list[Any] = []
    matrices: list[Any] = []
    amplitudes = None
    for number, op in enumerate(tape.operations):
        kind: Any = type(op)
        content = b""
        wires = tuple([place[wire] for wire in op.wires])
        if kind in SIMPLE:
            parameters += op.data
        elif isinstance(op, SKIPPED):
            continue
        elif number == 0 and isinstance(op, qml.BasisState):
            kind = "basis"
            wires = tuple([wire for wire, bit in zip(wires, op.data[0], strict=True) if bit])
        elif number == 0 and isinstance(op, StatePrepBase):
            kind, amplitudes = "prepared", _amplitudes(op)
        elif isinstance(op, qml.PhaseFlip):
            kind = DEPHASING
            parameters.append(dephasing_angle(op.data[0]))
        else:
            kind, matrix = parts(op)
            if kind[0].kind == "rotation":
                parameters += op.data
            elif matrix is not None:
                matrices.append(matrix)
            else:  # operations are equal whatever their matrix
                content = kind[0].matrix.tobytes()
        key.append((kind, wires, content))
    asked = tuple([signature(mp, place) for mp in tape.measurements])
    pairs = zip(asked, tape.measurements, strict=True)
    measured = [mp.map_wires(place) if how == "PennyLane" else mp for (how, _), mp in pairs]
    batch = _batch(parameters, matrices, amplitudes)
    numbers = parameters, matrices, amplitudes, batch
    return Reading(tuple(key), asked, measured, len(place), *numbers)


def _words(obs: Any, place: dict) -> tuple[tuple[Letters, float], ...] | None:
    """Return (letters, weight) of a sum of words of Paulis with constant, real weights."""
    if type(obs) in _LETTERS:  # by far the most frequent
        return ((((place[obs.wires[0]], _LETTERS[type(obs)]),), 1.0),)
    if obs is None or obs.pauli_rep is None:
        return None
    found = []
    for word, weight in obs.pauli_rep.items():
        trained = isinstance(weight, torch.Tensor) and weight.requires_grad
        if trained or qml.math.ndim(weight) or complex(weight).imag:
            return None
        letters = tuple(sorted((place[wire], letter) for wire, letter in word.items()))
        found.append((letters, complex(weight).real))
    return tuple(found)


def whole(mp: MeasurementProcess) -> bool:
    """Return whether a measurement without wires means all wires."""
    return not len(mp.wires) and mp.obs is None and mp.eigvals() is None


def signature(mp: MeasurementProcess, place: dict) -> tuple[str, Any]:
    """Return how a measurement is read, and which words or wires; hashable."""
    words = _words(mp.obs, place) if type(mp) is ExpectationMP else None
    if words is not None:
        return "words", words
    wires = tuple(place[w] for w in mp.wires)
    if type(mp) is ProbabilityMP and mp.obs is None and mp.eigvals() is None:
        return "probabilities", wires or tuple(range(len(place)))
    return "state" if type(mp) is StateMP else "PennyLane", wires


def _batch(parameters: Sequence[Any], matrices: Sequence[Any], amplitudes: Any) -> int | None:
    """Return how many circuits there are."""
    many = [value for value in parameters if np.ndim(value)]
    for value in many:
        if value.ndim > 1:
            raise CircuitError(
                f"A parameter has the shape {tuple(value.shape)}; a gate takes one number, or one "
                "number per circuit of a batch."
            )
    many += [matrix for matrix in matrices if matrix.ndim == 3]
    many += [amplitudes] if amplitudes is not None and amplitudes.ndim == 2 else []
    sizes = set(map(len, many))
    if len(sizes) > 1:
        raise CircuitError(
            f"The batch sizes {', '.join(map(str, sorted(sizes)))} in one circuit differ; every "
            "parameter must be one number or have one entry per circuit of the same batch."
        )
    if 0 in sizes:
        raise CircuitError("The batch is empty: every parameter needs at least one entry.")
    return next(iter(sizes), None)


def dephasing_angle(p: Any) -> Any:
    """Return the angle t with sin(t/2)^2 = p.

    Results are linear in p, so their derivative is the same next to the ends as at the ends,
    where the angle has none.

    Raises:
        CircuitError: if p is no probability.
    """
    plain = qml.math.toarray(qml.math.unwrap([p])[0]) if not isinstance(p, torch.Tensor) else p
    if not bool(((plain >= 0) & (plain <= 1)).all()):
        raise CircuitError(f"PhaseFlip needs a probability between 0 and 1, not {p}.")
    if not isinstance(p, torch.Tensor):
        return 2 * np.arcsin(np.sqrt(p))
    if p.requires_grad:
        edge = 1e-12 if p.dtype == torch.float64 else 1e-6
        p = p + (p.clamp(edge, 1 - edge) - p).detach()
    return 2 * torch.asin(torch.sqrt(p))


def _amplitudes(op: StatePrepBase) -> Any:
    """Return the amplitudes (2^k,) or (B, 2^k) of a prepared state."""
    if type(op) in (qml.StatePrep, qml.AmplitudeEmbedding) and not op.is_sparse:
        amplitudes = op.data[0]
    else:
        amplitudes = op.state_vector(wire_order=op.wires)
        amplitudes = amplitudes.toarray() if hasattr(amplitudes, "tocsr") else amplitudes
        rows = () if op.batch_size is None else (len(amplitudes),)
        amplitudes = amplitudes.reshape(*rows, -1)
    return amplitudes if hasattr(amplitudes, "ndim") else np.asarray(amplitudes)


def structure(key: tuple, wires: int) -> Structure:
    """Return the structure that a key stands for.

    Args:
        key: of a `Reading`.
        wires: how many have labels; those that dephasing adds come after them.
    """
    operations: list[Operation] = []
    prepared: tuple[int, ...] = ()
    basis = [0] * wires
    given: Counter[str] = Counter()  # numbers, of rotations and of matrices
    for kind, on, _ in key:
        if kind == "prepared":
            prepared = on
        elif kind == "basis":
            for wire in on:
                basis[wire] = 1
        else:
            if kind is DEPHASING:
                on = *on, len(basis)
                basis.append(0)
            before = given.copy()
            for part in simple(kind) if isinstance(kind, type) else kind:
                operation = part.on(on, before[part.kind])
                operations.append(operation)
                if operation.parameter is not None:
                    given[part.kind] = max(given[part.kind], operation.parameter + 1)
    return Structure(len(basis), operations, prepared, tuple(basis), given["rotation"])
