"""Read a tape once: its structure, which is the key of a plan, and the values on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pennylane as qml
import torch
from pennylane.operation import Operation as Gate
from pennylane.operation import Operator, StatePrepBase
from pennylane.ops.op_math import SymbolicOp
from pennylane.tape import QuantumScript

from .errors import NAME, CircuitError, WrongWires
from .gates import SIMPLE, WIDEST_DENSE, constant, signature, turns
from .structure import Operation, Structure

SKIPPED = (qml.Identity, qml.Barrier, qml.WireCut, qml.Snapshot)


class Reading(NamedTuple):
    """What one pass over a tape collects.

    Attributes:
        key: structure, hashable.
        parameters: angles, each a number or one number per circuit.
        batched: whether each of them differs in the batch.
        matrices: given matrices, (d, d) or (B, d, d).
        amplitudes: of a prepared state, (2^k,) or (B, 2^k), or ``None``.
        batch: circuits in the batch, ``None`` for a single circuit.
    """

    key: tuple
    parameters: list[Any]
    batched: list[bool]
    matrices: list[Any]
    amplitudes: Any
    batch: int | None

    @property
    def only_amplitudes_vary(self) -> bool:
        """Return whether a state is prepared and nothing else may differ in the batch."""
        shared = not any(self.batched) and all(matrix.ndim == 2 for matrix in self.matrices)
        return self.amplitudes is not None and shared

    @property
    def values(self) -> list[Any]:
        """Return all numbers."""
        first = [] if self.amplitudes is None else [self.amplitudes]
        return [*self.parameters, *self.matrices, *first]


def supports(op: Operator, first: bool = False) -> bool:
    """Return whether the device runs an operation as it is; ``first`` if it opens the circuit."""
    if type(op) in SIMPLE or isinstance(op, SKIPPED):
        return True
    if isinstance(op, StatePrepBase):
        return first
    if isinstance(op, qml.PhaseFlip) or turns(op) is not None:
        return True
    if isinstance(op, qml.QubitUnitary):
        return not isinstance(op.data[0], (list, tuple)) and not _is_sparse(op.data[0])
    if not isinstance(op, (Gate, SymbolicOp)):
        return False
    if op.num_params == 0 and np.ndim(getattr(op, "z", 0)) == 0:
        return constant(op) is not None
    return 0 < len(op.wires) <= WIDEST_DENSE and op.has_matrix


def _is_sparse(value: Any) -> bool:
    return hasattr(value, "tocsr")


def read(tape: QuantumScript, place: dict) -> Reading:
    """Read a tape whose operations are all supported.

    Args:
        tape: the circuit.
        place: wire label -> position.

    Raises:
        WrongWires: for a wire that is not in ``place``.
        CircuitError: if batch sizes do not agree, or a parameter has too many dimensions.
    """
    key: list[tuple] = []
    parameters: list[Any] = []
    matrices: list[Any] = []
    amplitudes = None
    sizes: set[int] = set()
    try:
        for number, op in enumerate(tape.operations):
            kind: Any = type(op)
            wires = tuple([place[wire] for wire in op.wires])
            if kind in SIMPLE:
                parameters += op.data
            elif isinstance(op, SKIPPED):
                continue
            elif number == 0 and isinstance(op, StatePrepBase):
                kind, amplitudes = _prepared(op)
                if amplitudes is not None and amplitudes.ndim == 2:
                    sizes.add(len(amplitudes))
            elif isinstance(op, qml.PhaseFlip):
                parameters.append(dephasing_angle(op.data[0]))
            elif turns(op) is not None:
                kind = signature(op)
                parameters += op.data
            elif _is_constant(op):
                kind = signature(op)
            else:
                matrix = _matrix(op)
                if matrix.ndim == 3:
                    sizes.add(len(matrix))
                matrices.append(matrix)
                kind = "given"
            key.append((kind, wires))
    except KeyError as error:
        raise wrong_wire(error.args[0], place) from None
    batched = [_is_batched(value, sizes) for value in parameters]
    if len(sizes) > 1:
        raise CircuitError(
            f"The batch sizes {', '.join(map(str, sorted(sizes)))} in one circuit differ; every "
            "parameter must be one number or have one entry per circuit of the same batch."
        )
    if 0 in sizes:
        raise CircuitError("The batch is empty: every parameter needs at least one entry.")
    return Reading(tuple(key), parameters, batched, matrices, amplitudes, next(iter(sizes), None))


def _is_constant(op: Operator) -> bool:
    return op.num_params == 0 and np.ndim(getattr(op, "z", 0)) == 0


def _is_batched(value: Any, sizes: set[int]) -> bool:
    dimensions = value.ndim if isinstance(value, (torch.Tensor, np.ndarray)) else np.ndim(value)
    if dimensions > 1:
        raise CircuitError(
            f"A parameter has the shape {tuple(value.shape)}; a gate takes one number, or one "
            "number per circuit of a batch."
        )
    if dimensions:
        sizes.add(len(value))
    return dimensions > 0


def wrong_wire(wire: Any, place: dict) -> WrongWires:
    """Return the error for a wire that the device does not have."""
    known = ", ".join(map(str, place)) if len(place) <= 12 else f"{len(place)} wires"
    return WrongWires(f"Wire {wire!r} is not on device {NAME}, which has: {known}.")


def _matrix(op: Operator) -> Any:
    """Return the matrix of an operation with parameters, or with several exponents."""
    if type(op) is qml.QubitUnitary:
        return op.data[0]
    exponents = getattr(op, "z", 0)
    if np.ndim(exponents) == 1:
        return qml.math.stack([qml.pow(op.base, z, lazy=True).matrix() for z in exponents])
    return op.matrix()


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


def _prepared(op: StatePrepBase) -> tuple[Any, Any]:
    """Return what a prepared state is, and its amplitudes (2^k,) or (B, 2^k) if it has any."""
    if isinstance(op, qml.BasisState):
        return ("basis", tuple(int(bit) for bit in op.data[0])), None
    if type(op) in (qml.StatePrep, qml.AmplitudeEmbedding) and not op.is_sparse:
        amplitudes = op.data[0]
    else:
        amplitudes = op.state_vector(wire_order=op.wires)
        amplitudes = amplitudes.toarray() if _is_sparse(amplitudes) else amplitudes
        rows = () if op.batch_size is None else (len(amplitudes),)
        amplitudes = amplitudes.reshape(*rows, -1)
    if not hasattr(amplitudes, "ndim"):
        amplitudes = np.asarray(amplitudes)
    return "prepared", amplitudes


def structure(tape: QuantumScript, place: dict) -> Structure:
    """Return the structure of a tape; parameters and matrices are counted as in `read`."""
    operations: list[Operation] = []
    parameters = matrices = 0
    n = len(place)
    prepared: tuple[int, ...] = ()
    basis = [0] * n
    for number, op in enumerate(tape.operations):
        if isinstance(op, SKIPPED):
            continue
        wires = tuple(place[wire] for wire in op.wires)
        if number == 0 and isinstance(op, StatePrepBase):
            if isinstance(op, qml.BasisState):
                for wire, value in zip(wires, op.data[0], strict=True):
                    basis[wire] = int(value)
            else:
                prepared = wires
        elif isinstance(op, qml.PhaseFlip):
            operations += _dephasing(wires[0], n, parameters)
            basis.append(0)
            n, parameters = n + 1, parameters + 1
        elif (found := turns(op)) is not None:
            for turn in found:
                operations.append(_placed(turn, wires, parameters))
            parameters += op.num_params
        elif _is_constant(op):
            held = constant(op)
            k = len(held.values)  # type: ignore[union-attr]
            operations.append(
                Operation("matrix", wires[k:], wires[:k], held.values, matrix=held.matrix)  # type: ignore[union-attr]
            )
        else:
            operations.append(Operation("given", wires, parameter=matrices))
            matrices += 1
    return Structure(n, operations, prepared, tuple(basis), parameters)


def _placed(turn: Any, wires: Sequence[int], before: int) -> Operation:
    number = None if turn.parameter is None else before + turn.parameter
    return Operation(
        "rotation",
        tuple(wires[w] for w in turn.wires),
        tuple(wires[w] for w in turn.controls),
        turn.values,
        turn.word,
        number,
        turn.scale,
        turn.shift,
    )


def _dephasing(wire: int, extra: int, parameter: int) -> list[Operation]:
    """Turn the wire's phase by pi with some probability: a new wire that nothing else touches."""
    flip = Operation("matrix", (wire,), (extra,), (1,), matrix=np.diag([1.0 + 0j, -1]))
    return [Operation("rotation", (extra,), word="Y", parameter=parameter), flip]


def extra_wires(tape: QuantumScript) -> int:
    """Return how many wires dephasing adds to a tape."""
    return sum(isinstance(op, qml.PhaseFlip) for op in tape.operations)
