"""The compiled form of a QNode: its structure is recorded once, its parameters bound every call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pennylane as qml
import torch
from pennylane.measurements import MeasurementProcess
from pennylane.queuing import AnnotatedQueue
from pennylane.tape import QuantumScript
from torch import Tensor

from .device import StatevectorDevice, amplitudes, ready
from .errors import NAME, CircuitError
from .plan import Ref
from .program import Circuit, Values
from .simulation import Simulation, fastest
from .tape import Read, circuit, read

COMPUTED = (
    "A parameter of {what} is computed inside the circuit; compute it before the circuit and pass "
    "it as an argument, or call the QNode itself."
)
DEPENDS = (
    "The structure of the circuit depends on the values of its arguments; call the QNode itself."
)


def compile_qnode(qnode: qml.QNode) -> Compiled:
    """Return a function with the values and gradients of a QNode, for training loops.

    The first call with arguments of given shapes runs the quantum function on made-up numbers, to
    record its structure and which element of which argument every gate takes. Later calls only
    bind numbers: nothing of the quantum function is run again.

    Args:
        qnode: exact (no shots), on device `qmlbook.statevector`, without further transforms.

    Returns:
        A function of the same arguments. Torch tensors of floating point numbers may change from
        call to call; anything else belongs to the structure. Parameters must be elements of the
        arguments or constants; amplitude encodings take a whole argument.

    Raises:
        CircuitError: for another device, shots or transforms; and, when called, if a parameter is
            computed inside the function or the structure depends on the values.

    Example:
        >>> fast = compile_qnode(circuit)  # doctest: +SKIP
        >>> loss = fast(inputs, weights)[0].mean()  # doctest: +SKIP
    """
    return Compiled(qnode)


class Compiled:
    """See `compile_qnode`."""

    def __init__(self, qnode: qml.QNode) -> None:
        if not isinstance(qnode, qml.QNode) or not isinstance(qnode.device, StatevectorDevice):
            raise CircuitError(f"qnode must be a qml.QNode on device {NAME} to be compiled.")
        if qnode.shots:
            raise CircuitError("A QNode with shots cannot be compiled; call the QNode itself.")
        if len(qnode.compile_pipeline):
            raise CircuitError("A QNode with transforms cannot be compiled; call the QNode itself.")
        self.qnode = qnode
        self._records: dict[tuple, _Record] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the QNode returns."""
        leaves, build = _flatten(args, kwargs)
        key = tuple(
            (leaf.shape, leaf.dtype, leaf.device) if _varies(leaf) else _fixed(leaf)
            for leaf in leaves
        )
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = _Record(self.qnode, leaves, build)
        return record.output(record.run([leaf for leaf in leaves if _varies(leaf)]))


def _varies(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex())


def _fixed(leaf: Any) -> Any:
    if isinstance(leaf, (np.ndarray, Tensor)):
        return (type(leaf), tuple(leaf.shape), np.asarray(leaf).tobytes())
    return (type(leaf), repr(leaf))


def _flatten(args: tuple, kwargs: dict) -> tuple[list[Any], Callable[[Sequence[Any]], tuple]]:
    """Return the leaves of all arguments, and the way back to (args, kwargs)."""
    if not kwargs and all(isinstance(arg, Tensor) for arg in args):
        return list(args), lambda leaves: (tuple(leaves), {})
    leaves, structure = qml.pytrees.flatten((args, kwargs))
    return leaves, lambda found: qml.pytrees.unflatten(found, structure)


class _Record:
    """One structure, for arguments of given shapes."""

    def __init__(self, qnode: qml.QNode, leaves: list[Any], build: Callable) -> None:
        self.device: StatevectorDevice = qnode.device
        variable = [leaf for leaf in leaves if _varies(leaf)]
        self.on = self.device.torch_device or (
            variable[0].device if variable else torch.device("cpu")
        )
        tapes, reads, probes = [], [], []
        for probe in (_probe(leaves, 1), _probe(leaves, 2), leaves):
            args, kwargs = build(probe)
            with torch.no_grad(), AnnotatedQueue() as queue:
                self._shape = qnode.func(*args, **kwargs)
            tape = ready(QuantumScript.from_queue(queue), self.device)
            place = self.device.place(tape)
            tapes.append(tape)
            reads.append(read(tape, place))
            probes.append([leaf for leaf in probe if _varies(leaf)])
        _same_structure(tapes, reads, place)
        del reads[2], probes[2]  # equal numbers among those given would hide an origin
        self.measurements = tapes[0].measurements
        self.batch = reads[0].batch
        scalar_map, vector_map = self._find(reads, probes)
        measured = self.device.measured(tapes[0], place)
        structure = circuit(tapes[0], place, len(place), measured)
        structure = _renamed(structure, scalar_map, vector_map)
        given = self.device.dtype, self.on
        self._simulate = fastest(
            lambda batch: Simulation(structure, self.measurements, place, batch, *given),
            reads[0],
            self.measurements,
            self._first.features if self._first else None,
        )

    # -- recording --------------------------------------------------------------------------------

    def _find(
        self, reads: Sequence[Read], probes: Sequence[Sequence[Tensor]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the origin of every number; return which row each scalar and each vector has."""
        finder = _Finder([_numbers(probe) for probe in probes])
        scalars, scalar_map = finder.rows([r.scalars for r in reads])
        vectors, vector_map = finder.rows([r.vectors for r in reads], self.batch or 1)
        # only the arguments that gates take are laid end to end, constants behind them
        sizes = [leaf.numel() for leaf in probes[0]]
        ends = np.cumsum([*sizes, len(finder.constants)])
        used = np.concatenate([scalars.ravel(), vectors.ravel()])
        owners = np.unique(np.searchsorted(ends, used, side="right")).tolist()
        self._needed = [i for i in owners if i < len(sizes)]
        laid = [np.arange(start, end) for start, end in zip((0, *ends[:-1]), ends, strict=True)]
        laid = np.concatenate([np.zeros(0, int), *(laid[i] for i in owners)])
        self._scalars, self._vectors = (
            torch.from_numpy(np.searchsorted(laid, rows)).to(self.on)
            for rows in (scalars[:, 0], vectors)
        )
        self._constants = torch.tensor(
            list(finder.constants), dtype=self.device.dtype.to_real(), device=self.on
        )
        self._dense = [
            _matrix(found, probes) for found in zip(*(r.dense for r in reads), strict=True)
        ]
        self._first = None
        if reads[0].first is not None:
            self._first = _encoded([r.first for r in reads], probes)
        return scalar_map, vector_map

    # -- running ----------------------------------------------------------------------------------

    def run(self, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return one result per measurement."""
        dtype = self.device.dtype
        parts = [leaves[i].reshape(-1).to(self.on, dtype.to_real()) for i in self._needed]
        if len(self._constants):
            parts.append(self._constants)
        flat = parts[0] if len(parts) == 1 else torch.cat(parts) if parts else None
        values = Values(
            _take(flat, self._scalars),
            _take(flat, self._vectors),
            [found.take(leaves).to(self.on, dtype) for found in self._dense],
            self._first and self._first.amplitudes(leaves, self.on, dtype),
        )
        return self._simulate(values, self.measurements, self.batch)

    def output(self, results: tuple[Tensor, ...]) -> Any:
        """Return results as the quantum function returns its measurements."""
        if isinstance(self._shape, MeasurementProcess):
            return results[0]
        if isinstance(self._shape, (list, tuple)):
            return type(self._shape)(results)
        _, structure = qml.pytrees.flatten(
            self._shape, is_leaf=lambda x: isinstance(x, MeasurementProcess)
        )
        return qml.pytrees.unflatten(results, structure)


def _renamed(structure: Circuit, scalars: np.ndarray, vectors: np.ndarray) -> Circuit:
    """Let parameters that share their origin share their row."""

    def renamed(ref: Ref | None) -> Ref | None:
        return ref and Ref(ref.batched, int((vectors if ref.batched else scalars)[ref.row]))

    gates = [
        replace(gate, factors=tuple((factor, renamed(ref)) for factor, ref in gate.factors))
        for gate in structure.gates
    ]
    return replace(structure, gates=gates)


def _take(flat: Tensor | None, index: Tensor) -> Tensor | None:
    if not index.numel():
        return None
    return flat.index_select(0, index.view(-1)).view(index.shape)  # type: ignore[union-attr]


def _probe(leaves: Sequence[Any], seed: int) -> list[Any]:
    """Return the arguments with other numbers in place of those that may vary."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for leaf in leaves:
        if _varies(leaf):
            dtype = torch.complex128 if leaf.is_complex() else torch.float64
            numbers = torch.rand(leaf.shape, generator=generator, dtype=torch.float64) + 0.1
            leaf = numbers.to(leaf.device, dtype)
        made.append(leaf)
    return made


def _numbers(probe: Sequence[Tensor]) -> np.ndarray:
    parts = [leaf.cpu().numpy().real.reshape(-1) for leaf in probe]
    return np.concatenate(parts) if parts else np.zeros(0)


def _same_structure(tapes: Sequence[QuantumScript], reads: Sequence[Read], place: dict) -> None:
    for tape, found in zip(tapes[1:], reads[1:], strict=True):
        pairs = list(zip(tapes[0].measurements, tape.measurements, strict=False))
        if found.key != reads[0].key or len(tape.measurements) != len(tapes[0].measurements):
            raise CircuitError(DEPENDS)
        if any(type(a) is not type(b) or type(a.obs) is not type(b.obs) for a, b in pairs):
            raise CircuitError(DEPENDS)
        if not all(qml.equal(a, b) for a, b in pairs):
            raise CircuitError(COMPUTED.format(what="a measurement"))


class _Finder:
    """Finds numbers of a tape among the numbers of the arguments, in two recordings at once."""

    def __init__(self, flat: Sequence[np.ndarray]) -> None:
        self.flat = flat
        self.sorted = np.argsort(flat[0], kind="stable")
        self.constants: dict[float, int] = {}  # number -> its row, behind the arguments

    def rows(
        self, values: Sequence[Sequence[Any]], width: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the different origins, each (width,) rows, and which of them each value has."""
        one, two = (np.array([_array(v) for v in found]).reshape(-1) for found in values)
        if not one.size:
            return np.zeros((0, width), int), np.zeros(0, int)
        size = len(self.flat[0])
        place = np.searchsorted(self.flat[0], one, sorter=self.sorted).clip(0, max(size - 1, 0))
        rows = self.sorted[place] if size else np.zeros(len(one), int)
        hit = (self.flat[0][rows] == one) & (self.flat[1][rows] == two) if size else one != one
        for i in np.flatnonzero(~hit):
            if one[i] != two[i]:
                raise CircuitError(COMPUTED.format(what="a gate"))
            rows[i] = self.constants.setdefault(float(one[i]), size + len(self.constants))
        origins, which = np.unique(rows.reshape(-1, width), axis=0, return_inverse=True)
        return origins, which.ravel()


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


class _Whole(NamedTuple):
    """A matrix or states that are an argument as it is, or a constant."""

    leaf: int
    constant: Tensor | None = None

    def take(self, leaves: Sequence[Tensor]) -> Tensor:
        return leaves[self.leaf] if self.constant is None else self.constant


class _Encoded(NamedTuple):
    """States that an amplitude encoding takes: ``features`` numbers each, perhaps normalised."""

    whole: _Whole
    features: int
    normalize: bool = False

    def amplitudes(
        self, leaves: Sequence[Tensor], device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        """Return the columns that a program takes."""
        columns = amplitudes(self.whole.take(leaves).to(device), dtype)
        return columns / torch.linalg.vector_norm(columns, dim=0) if self.normalize else columns


def _matrix(found: Sequence[Any], probes: Sequence[Sequence[Tensor]]) -> _Whole:
    one, two = map(_array, found)
    if np.array_equal(one, two):
        return _Whole(-1, torch.from_numpy(one))
    for i, leaves in enumerate(zip(*probes, strict=True)):
        if all(np.array_equal(_array(a), b) for a, b in zip(leaves, (one, two), strict=True)):
            return _Whole(i)
    raise CircuitError(COMPUTED.format(what="a matrix"))


def _encoded(found: Sequence[Any], probes: Sequence[Sequence[Tensor]]) -> _Encoded:
    """Find the argument that an amplitude encoding takes, as it is or padded and normalised."""
    one, two = (np.atleast_2d(_array(f)) for f in found)
    if np.array_equal(one, two):
        return _Encoded(_Whole(-1, torch.from_numpy(one)), one.shape[1])
    for i, leaves in enumerate(zip(*probes, strict=True)):
        rows = [_array(leaf).reshape(-1, leaf.shape[-1]) if leaf.dim() else None for leaf in leaves]
        if rows[0] is None or len(rows[0]) != len(one) or rows[0].shape[1] > one.shape[1]:
            continue
        padding = ((0, 0), (0, one.shape[1] - rows[0].shape[1]))
        padded = [np.pad(r, padding) for r in rows]
        scaled = [p / np.linalg.norm(p, axis=1, keepdims=True) for p in padded]
        for normalize, tried in ((False, padded), (True, scaled)):
            if all(np.allclose(a, b, atol=1e-12) for a, b in zip(tried, (one, two), strict=True)):
                return _Encoded(_Whole(i), rows[0].shape[1], normalize)
    raise CircuitError(COMPUTED.format(what="an amplitude encoding"))
