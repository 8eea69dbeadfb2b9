"""Read a tape: its structure, which is the key of a plan, apart from the values on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pennylane as qml
import torch
from pennylane.operation import Operator, StatePrepBase
from pennylane.tape import QuantumScript

from .errors import NAME, CircuitError, WrongWires
from .gates import WIDEST_DENSE, Monomial, factors, simplest, static, structure
from .plan import Gate, Ref
from .program import Circuit

SKIPPED = (qml.Identity, qml.Barrier, qml.WireCut, qml.Snapshot)
# Gates whose structure is their type; each parameter is a number or one number per circuit.
SIMPLE = frozenset(
    {
        *(qml.RX, qml.RY, qml.RZ, qml.PhaseShift, qml.U1, qml.Rot, qml.U3),
        *(qml.CRX, qml.CRY, qml.CRZ, qml.ControlledPhaseShift, qml.CRot),
        *(qml.IsingXX, qml.IsingYY, qml.IsingZZ),
        *(qml.X, qml.Y, qml.Z, qml.Hadamard, qml.S, qml.T, qml.SX),
        *(qml.CNOT, qml.CZ, qml.CY, qml.CH, qml.SWAP, qml.ISWAP),
        *(qml.Toffoli, qml.CCZ, qml.CSWAP),
    }
)


class Read(NamedTuple):
    """What one pass over a tape finds.

    Attributes:
        key: structure, hashable.
        scalars: parameters shared by the batch.
        vectors: parameters with one value per circuit.
        dense: matrices.
        first: amplitudes of a prepared state, or ``None``.
        batch: circuits in the batch, ``None`` for a single circuit.
    """

    key: tuple
    scalars: list[Any]
    vectors: list[Any]
    dense: list[Any]
    first: Any
    batch: int | None

    @property
    def only_amplitudes_vary(self) -> bool:
        """Return whether a state is prepared and nothing else may differ in the batch."""
        shared = not self.vectors and all(matrix.ndim == 2 for matrix in self.dense)
        return self.first is not None and shared


def supports(op: Operator, first: bool = False) -> bool:
    """Return whether the device runs an operation as it is; ``first`` if it opens the circuit."""
    if type(op) in SIMPLE or isinstance(op, SKIPPED):
        return True
    if isinstance(op, StatePrepBase):
        return first
    if isinstance(op, qml.PhaseFlip) or (op.num_params and factors(op) is not None):
        return True
    if isinstance(op, qml.QubitUnitary) and not qml.math.is_abstract(op.data[0]):
        return not isinstance(op.data[0], (list, tuple)) and not _is_sparse(op.data[0])
    if not isinstance(op, (qml.operation.Operation, qml.ops.op_math.SymbolicOp)):
        return False
    if op.num_params == 0:
        return static(op) is not None
    if type(op).__name__.startswith("Pow") and any(map(qml.math.requires_grad, op.data)):
        return False
    return 0 < len(op.wires) <= WIDEST_DENSE and op.has_matrix


def _is_sparse(value: Any) -> bool:
    return hasattr(value, "tocsr")


def read(tape: QuantumScript, place: dict) -> Read:
    """Read a tape whose operations are all supported.

    Args:
        tape: the circuit.
        place: wire label -> position.

    Raises:
        WrongWires: for a wire that is not in ``place``.
        CircuitError: if batch sizes do not agree.
    """
    key: list[tuple] = []
    scalars, vectors, dense = [], [], []
    first, sizes = None, set()
    try:
        for number, op in enumerate(tape.operations):
            wires = tuple([place[wire] for wire in op.wires])
            if type(op) in SIMPLE:
                kind, angles = type(op), op.data
            elif isinstance(op, SKIPPED):
                continue
            elif number == 0 and isinstance(op, StatePrepBase):
                first = _prepared(op, key, wires, sizes)
                continue
            elif _has_scalars(op):
                kind, angles = structure(op), _angles(op)
            elif op.num_params:
                matrix = _matrix(op)
                dense.append(matrix)
                batched = matrix.ndim == 3
                if batched:
                    sizes.add(len(matrix))
                key.append(("dense", wires, batched))
                continue
            else:
                kind, angles = structure(op), ()
            flags = []
            for value in angles:
                batched = _ndim(value) > 0
                flags.append(batched)
                if batched:
                    vectors.append(value)
                    sizes.add(len(value))
                else:
                    scalars.append(value)
            key.append((kind, wires, *flags))
    except KeyError as error:
        raise wrong_wire(error.args[0], place) from None
    if len(sizes) > 1:
        raise CircuitError(
            f"The batch sizes {', '.join(map(str, sorted(sizes)))} in one circuit differ; every "
            "parameter must be one number or have one entry per circuit of the same batch."
        )
    return Read(tuple(key), scalars, vectors, dense, first, next(iter(sizes), None))


def wrong_wire(wire: Any, place: dict) -> WrongWires:
    """Return the error for a wire that the device does not have."""
    known = ", ".join(map(str, place)) if len(place) <= 12 else f"{len(place)} wires"
    return WrongWires(f"Wire {wire!r} is not on device {NAME}, which has: {known}.")


def _ndim(value: Any) -> int:
    return value.ndim if isinstance(value, (torch.Tensor, np.ndarray)) else np.ndim(value)


def _has_scalars(op: Operator) -> bool:
    """Return whether all parameters are angles of factors."""
    return isinstance(op, qml.PhaseFlip) or (op.num_params > 0 and factors(op) is not None)


def _angles(op: Operator) -> tuple[Any, ...]:
    """Return the parameters of an operation; of a phase flip, the angle of its rotation."""
    if not isinstance(op, qml.PhaseFlip):
        return tuple(op.data)
    return (2 * qml.math.arcsin(qml.math.sqrt(op.data[0])),)


def _matrix(op: Operator) -> Any:
    return op.data[0] if type(op) is qml.QubitUnitary else op.matrix()


def _prepared(op: StatePrepBase, key: list, wires: tuple[int, ...], sizes: set[int]) -> Any:
    """Return the amplitudes (2^k,) or (B, 2^k) of a prepared state, ``None`` for a basis state."""
    if isinstance(op, qml.BasisState):
        key.append(("basis", wires, tuple(int(bit) for bit in op.data[0])))
        return None
    if type(op) in (qml.StatePrep, qml.AmplitudeEmbedding) and not op.is_sparse:
        amplitudes = op.data[0]
    else:
        found = op.state_vector(wire_order=op.wires)
        found = found.toarray() if _is_sparse(found) else found
        amplitudes = found.reshape(-1) if op.batch_size is None else found.reshape(len(found), -1)
    batched = amplitudes.ndim == 2
    if batched:
        sizes.add(len(amplitudes))
    key.append(("first", wires, batched))
    return amplitudes


def circuit(tape: QuantumScript, place: dict, n: int, measured: set[int]) -> Circuit:
    """Return the structure of a tape for planning; parameters are counted as in `read`."""
    gates: list[Gate] = []
    counts = {"scalar": 0, "vector": 0, "dense": 0, "extra": n}
    prepared: tuple[int, ...] = ()
    basis: tuple[int, ...] = ()
    for number, op in enumerate(tape.operations):
        if isinstance(op, SKIPPED):
            continue
        wires = tuple(place[wire] for wire in op.wires)
        if number == 0 and isinstance(op, StatePrepBase):
            if isinstance(op, qml.BasisState):
                bits = dict(zip(wires, map(int, op.data[0]), strict=True))
                basis = tuple(bits.get(wire, 0) for wire in range(n))
            else:
                prepared = wires
            continue
        gates.extend(_gates(op, wires, counts))
    total = counts["extra"]
    if basis:
        basis += (0,) * (total - n)
    return Circuit(total, gates, prepared, basis, tuple(measured))


def extra_wires(tape: QuantumScript) -> int:
    """Return how many wires dephasing adds to a tape."""
    return sum(isinstance(op, qml.PhaseFlip) for op in tape.operations)


def _gates(op: Operator, wires: tuple[int, ...], counts: dict[str, int]) -> Iterator[Gate]:
    if isinstance(op, qml.PhaseFlip):
        yield from _dephasing(op, wires[0], counts)
    elif op.num_params == 0:
        found = static(op)
        if isinstance(found, Monomial):
            yield Gate(wires, monomial=found)
        else:
            yield Gate(wires, matrix=found)
    elif _has_scalars(op):
        refs = [_ref(value, counts) for value in op.data]
        pairs = tuple((f, refs[f.parameter]) for f in factors(op))  # type: ignore[union-attr]
        width = len(pairs[0][0].terms[0]).bit_length() - 1
        if not width:  # a phase of no wire in particular
            pairs = tuple((replace(f, terms=f.terms * np.eye(2)), ref) for f, ref in pairs)
        wires = wires[:width] or (0,)  # a global phase needs one wire of its many
        yield Gate(wires, factors=pairs, batched=any(ref.batched for ref in refs))
    else:
        counts["dense"] += 1
        yield Gate(wires, dense=counts["dense"] - 1, batched=_matrix(op).ndim == 3)


def _ref(value: Any, counts: dict[str, int]) -> Ref:
    batched = _ndim(value) > 0
    kind = "vector" if batched else "scalar"
    counts[kind] += 1
    return Ref(batched, counts[kind] - 1)


def _dephasing(op: Operator, wire: int, counts: dict[str, int]) -> Iterator[Gate]:
    """Turn the wire's phase by pi with probability p: a new wire that nothing else touches."""
    extra = counts["extra"]
    counts["extra"] += 1
    ref = _ref(op.data[0], counts)
    rotation = factors(qml.RY(0.0, 0))[0]  # type: ignore[index]
    yield Gate((extra,), factors=((rotation, ref),), batched=ref.batched)
    yield Gate((wire, extra), monomial=simplest(np.diag([1, 1, 1, -1]).astype(complex)))  # type: ignore[arg-type]
