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

from .device import StatevectorDevice, amplitudes, attached, ready
from .errors import NAME, CircuitError
from .measure import Readout
from .plan import Gate, Ref
from .program import Program, Values
from .quadratic import matrices, pays, quadratic_form, row_count, split
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


class _Source(NamedTuple):
    """Where a list of numbers comes from: rows of all variable arguments laid end to end."""

    index: Tensor
    shape: tuple[int, ...]


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
            self.place = self.device.place(tape)
            tapes.append(tape)
            reads.append(read(tape, self.place))
            probes.append([leaf for leaf in probe if _varies(leaf)])
        _same_structure(tapes, reads, self.place)
        del reads[2], probes[2]  # equal numbers among those given would hide an origin
        self.tape: QuantumScript = tapes[0]
        self.batch = reads[0].batch
        self._sizes = [leaf.numel() for leaf in variable]
        self._find(reads, probes)
        self._plan()

    # -- recording --------------------------------------------------------------------------------

    def _find(self, reads: Sequence[Read], probes: Sequence[Sequence[Tensor]]) -> None:
        """Find the origin of every number."""
        flat = [_numbers(probe) for probe in probes]
        self._constants: list[float] = []
        finder = _Finder(flat, self._constants)
        scalars = finder.rows([r.scalars for r in reads], "a gate")
        self._unique, self._scalar_map = np.unique(scalars, return_inverse=True)
        vectors = finder.rows([r.vectors for r in reads], "a gate")
        vectors = vectors.reshape(len(reads[0].vectors), self.batch or 1)
        self._vectors, self._vector_map = (
            np.unique(vectors, axis=0, return_inverse=True)
            if len(vectors)
            else (vectors, np.zeros(0, int))
        )
        self._dense = [
            _whole(found, probes, "a matrix")
            for found in zip(*(r.dense for r in reads), strict=True)
        ]
        self._first = None
        if reads[0].first is not None:
            self._first = _encoded([r.first for r in reads], probes)

    def _plan(self) -> None:
        """Make the program: parameters that share their origin share their row."""
        scalar_map, vector_map = self._scalar_map, np.ravel(self._vector_map)
        device = self.device

        def renamed(gate: Gate) -> Gate:
            pairs = tuple(
                (
                    factor,
                    ref
                    and Ref(ref.batched, int((vector_map if ref.batched else scalar_map)[ref.row])),
                )
                for factor, ref in gate.factors
            )
            return replace(gate, factors=pairs)

        n = len(self.place)
        measured = device.measured(self.tape, self.place)
        structure = circuit(self.tape, self.place, n, measured)
        structure = replace(structure, gates=[renamed(gate) for gate in structure.gates])
        self._structure = structure
        self._form_size = 0
        self.program, self.readout = self._programmed(self.batch or 1)
        self._try_form()
        used = np.concatenate([self._unique, self._vectors.reshape(-1)])
        total = sum(self._sizes)
        self._constant = None
        if self._constants:
            self._constant = torch.tensor(self._constants, dtype=self.program.real, device=self.on)
        # only the arguments that gates take are laid end to end
        starts = np.cumsum([0, *self._sizes])
        needed = [
            bool(((used >= start) & (used < start + size)).any())
            for start, size in zip(starts, self._sizes, strict=False)
        ]
        self._needed = [i for i, need in enumerate(needed) if need]
        shift = np.zeros(total + len(self._constants), int)
        place = 0
        for i, need in enumerate(needed):
            if need:
                shift[starts[i] : starts[i + 1]] = place + np.arange(self._sizes[i])
                place += self._sizes[i]
        shift[total:] = place + np.arange(len(self._constants))
        self._scalar_source = self._source(shift[self._unique], self._unique.shape)
        self._vector_source = self._source(shift[self._vectors].reshape(-1), self._vectors.shape)

    def _programmed(self, batch: int) -> tuple[Program, Readout]:
        program = Program(self._structure, batch, self.device.dtype, self.on)
        readout = Readout(
            self.tape.measurements,
            self.place,
            program.n,
            program.order,
            self.device.dtype,
            self.on,
        )
        return program, readout

    def _try_form(self) -> None:
        """Use quadratic forms where that is cheaper."""
        if self._first is None or self._first.complex or not self.batch or len(self._vectors):
            return
        size, rows = self._first.features, row_count(self.tape.measurements)
        if rows is None or self.batch < size or any(d is not None for d in self._dense):
            return
        program, readout = self._programmed(size)
        estimates = self.program.microseconds, program.microseconds
        if pays(*estimates, program.n, size, rows, self.batch):
            self._form_size, self.program, self.readout = size, program, readout

    def _source(self, rows: np.ndarray, shape: tuple[int, ...]) -> _Source | None:
        if not rows.size:
            return None
        return _Source(torch.from_numpy(np.asarray(rows, np.int64)).to(self.on), shape)

    # -- running ----------------------------------------------------------------------------------

    def run(self, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return one result per measurement."""
        real = self.program.real
        parts = [leaves[i].reshape(-1).to(self.on, real) for i in self._needed]
        if self._constant is not None:
            parts.append(self._constant)
        flat = parts[0] if len(parts) == 1 else torch.cat(parts) if parts else None
        dense = [found.bind(leaves, self.program.dtype) for found in self._dense]
        values = Values(_take(flat, self._scalar_source), _take(flat, self._vector_source), dense)
        first = self._first.bind(leaves, self.program.dtype) if self._first else None
        if self._form_size:
            eye = torch.eye(self._form_size, dtype=self.program.dtype, device=self.on)
            columns = self.program.run(values._replace(first=eye))
            forms = matrices(columns, self.readout, self.tape.measurements)
            results = split(quadratic_form(forms, first.t()), self.tape.measurements)  # type: ignore[union-attr]
        else:
            state = self.program.run(values._replace(first=first))
            if self.batch is not None and state.shape[1] < self.batch:
                state = state.expand(-1, self.batch).contiguous()
            results = self.readout(state, self.tape.measurements, self.batch is not None)
        return attached(results, values._replace(first=first))

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


def _take(flat: Tensor | None, source: _Source | None) -> Tensor | None:
    if source is None:
        return None
    return flat.index_select(0, source.index).view(source.shape)  # type: ignore[union-attr]


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

    def __init__(self, flat: Sequence[np.ndarray], constants: list[float]) -> None:
        self.flat, self.constants = flat, constants
        self.sorted = np.argsort(flat[0], kind="stable")
        self.known: dict[float, int] = {}

    def rows(self, values: Sequence[Sequence[Any]], what: str) -> np.ndarray:
        """Return for every number its row; constants are put behind the arguments."""
        one, two = (np.array([_array(v) for v in found]).reshape(-1) for found in values)
        if not one.size:
            return np.zeros(0, int)
        size = len(self.flat[0])
        place = np.searchsorted(self.flat[0], one, sorter=self.sorted).clip(0, max(size - 1, 0))
        rows = self.sorted[place] if size else np.zeros(len(one), int)
        hit = (self.flat[0][rows] == one) & (self.flat[1][rows] == two) if size else one != one
        for i in np.flatnonzero(~hit):
            if one[i] != two[i]:
                raise CircuitError(COMPUTED.format(what=what))
            if one[i] not in self.known:
                self.known[one[i]] = size + len(self.constants)
                self.constants.append(float(one[i]))
            rows[i] = self.known[one[i]]
        return rows


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


class _Whole(NamedTuple):
    """A matrix or state that is an argument as it is, or a constant."""

    leaf: int
    fixed: Tensor | None
    columns: bool = False  # a state: rows become columns
    complex: bool = False
    features: int = 0
    normalize: bool = False

    def bind(self, leaves: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """Return the tensor for the device."""
        if self.fixed is not None:
            return self.fixed
        leaf = leaves[self.leaf]
        if not self.columns:
            return leaf.to(dtype)
        columns = amplitudes(leaf, dtype)
        if self.normalize:
            columns = columns / torch.linalg.vector_norm(columns, dim=0)
        return columns


def _whole(found: Sequence[Any], probes: Sequence[Sequence[Tensor]], what: str) -> _Whole:
    one, two = map(_array, found)
    if one.shape == two.shape and np.array_equal(one, two):
        return _Whole(-1, torch.from_numpy(one))
    for i, leaves in enumerate(zip(*probes, strict=True)):
        if all(np.array_equal(_array(a), b) for a, b in zip(leaves, (one, two), strict=True)):
            return _Whole(i, None)
    raise CircuitError(COMPUTED.format(what=what))


def _encoded(found: Sequence[Any], probes: Sequence[Sequence[Tensor]]) -> _Whole:
    """Find the argument that an amplitude encoding takes, as it is or padded and normalised."""
    one, two = (np.atleast_2d(_array(f)) for f in found)
    if np.array_equal(one, two):
        kind = np.iscomplexobj(one)
        return _Whole(-1, torch.from_numpy(one.T.copy()), True, kind, one.shape[1])
    for i, leaves in enumerate(zip(*probes, strict=True)):
        rows = [_array(leaf).reshape(-1, leaf.shape[-1]) if leaf.dim() else None for leaf in leaves]
        if rows[0] is None or len(rows[0]) != len(one) or rows[0].shape[1] > one.shape[1]:
            continue
        padding = ((0, 0), (0, one.shape[1] - rows[0].shape[1]))
        padded = [np.pad(r, padding) for r in rows]
        scaled = [p / np.linalg.norm(p, axis=1, keepdims=True) for p in padded]
        for normalize, tried in ((False, padded), (True, scaled)):
            if all(np.allclose(a, b, atol=1e-12) for a, b in zip(tried, (one, two), strict=True)):
                size = rows[0].shape[1]
                return _Whole(i, None, True, np.iscomplexobj(rows[0]), size, normalize)
    raise CircuitError(COMPUTED.format(what="an amplitude encoding"))
