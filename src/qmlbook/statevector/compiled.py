"""The compiled form of a QNode: its structure is recorded once, its numbers bound every call."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pennylane as qml
import torch
from pennylane.measurements import MeasurementProcess
from pennylane.queuing import AnnotatedQueue
from pennylane.tape import QuantumScript
from torch import Tensor

from .device import StatevectorDevice, ready
from .errors import NAME, CircuitError
from .execution import COMPLEX, Layout
from .reading import Reading, read
from .recording import Recorder, Unrecordable
from .simulation import Simulation, Values, checked, precision
from .watching import Watch

RECORDS = 128  # recordings that a compiled circuit keeps
BRANCHES = 8  # recordings for arguments of the same shapes


def compile_qnode(qnode: qml.QNode) -> Compiled:
    """Return a function with the values and gradients of a QNode, for training loops.

    The first call with arguments of given shapes records what the quantum function does with them:
    its structure, and what torch computes on the way to every gate. Later calls repeat that
    arithmetic and run the circuit, without making one operation of PennyLane. Where the function
    looks at values, to branch on them for instance, a recording holds for those that look the
    same; a function that cannot be recorded at all runs as the QNode it is.

    Args:
        qnode: exact (no shots), on device `qmlbook.statevector`, without further transforms.

    Returns:
        A function of the same arguments. Floating point numbers (tensors, numpy arrays, Python's)
        may change from call to call; anything else belongs to the structure.

    Raises:
        CircuitError: for another device, shots or transforms.

    Example:
        >>> fast = compile_qnode(circuit)  # doctest: +SKIP
        >>> loss = fast(inputs, weights)[0].mean()  # doctest: +SKIP
    """
    return Compiled(qnode)


class Compiled:
    """See `compile_qnode`; attributes that it does not have are those of the QNode."""

    def __init__(self, qnode: qml.QNode) -> None:
        if not isinstance(qnode, qml.QNode) or not isinstance(qnode.device, StatevectorDevice):
            raise CircuitError(f"qnode must be a qml.QNode on device {NAME} to be compiled.")
        if qnode.shots:
            raise CircuitError("A QNode with shots cannot be compiled; call the QNode itself.")
        if len(qnode.compile_pipeline):
            raise CircuitError("A QNode with transforms cannot be compiled; call the QNode itself.")
        self.qnode = qnode
        self._forget()

    def _forget(self) -> None:
        self._records: dict[tuple, list[_Record]] = {}
        self._watch = Watch(self.qnode.func)
        self._warned = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "qnode":
            raise AttributeError(name)
        return getattr(self.qnode, name)

    def __getstate__(self) -> dict[str, Any]:
        return {"qnode": self.qnode}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the QNode returns."""
        arguments = _Arguments(self.qnode.func, args, kwargs)
        if not arguments.plain or torch._C._functorch.peek_interpreter_stack() is not None:
            return self.qnode(*args, **kwargs)
        if torch.autograd.forward_ad._current_level >= 0:
            return self.qnode(*args, **kwargs)
        if not self._watch.unchanged():
            self._forget()
        key = (*arguments.key, torch.is_grad_enabled())
        records = self._records.pop(key, [])
        self._records[key] = records  # the last used comes last
        for record in records:
            results = record(arguments.leaves)
            if results is not None:
                return results
        if len(records) >= BRANCHES:
            self._warn()
            return self.qnode(*args, **kwargs)
        if len(self._records) > RECORDS:
            self._records.pop(next(iter(self._records)))
        record, results = _recorded(self.qnode, arguments)
        records.append(record)
        return results

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                "The circuit depends on the values of its arguments in so many ways that compiling "
                "it does not pay; it runs as the QNode.",
                stacklevel=3,
            )


# -- arguments ------------------------------------------------------------------------------------


class _Arguments:
    """The arguments of a call.

    Attributes:
        key: all about them that belongs to the structure.
        leaves: the numbers that may change, as tensors.
        originals: the same, as they were given.
        plain: whether they are numbers of torch, numpy or Python.
    """

    def __init__(self, function: Callable, args: tuple, kwargs: dict) -> None:
        self.leaves: list[Tensor] = []
        self.originals: list[Any] = []
        self.plain = True
        self._parts: list[Any] = []
        self.args, self.kwargs = args, kwargs
        for arg in args:
            self._add(arg)
        for name in sorted(kwargs):
            self._parts.append(name)
            self._add(kwargs[name])
        self.key = tuple(self._parts)

    def _add(self, value: Any) -> None:
        parts = self._parts
        if isinstance(value, Tensor):
            if value.is_floating_point() or value.is_complex():
                parts.append((value.shape, value.dtype, value.device))
                self.leaves.append(value)
                self.originals.append(value)
            else:
                parts.append((value.shape, value.dtype, tuple(value.reshape(-1).tolist())))
        elif type(value) is float or isinstance(value, np.floating):
            parts.append(type(value))
            self.leaves.append(torch.tensor(float(value), dtype=torch.float64))
            self.originals.append(value)
        elif type(value) is np.ndarray:
            if value.dtype.kind in "fc":
                parts.append((value.shape, value.dtype))
                self.leaves.append(torch.from_numpy(np.ascontiguousarray(value)))
                self.originals.append(value)
            else:
                parts.append((value.shape, value.dtype, value.tobytes()))
        elif type(value) in (list, tuple, dict):
            parts.append((type(value), tuple(value) if type(value) is dict else len(value)))
            for part in value.values() if type(value) is dict else value:
                self._add(part)
        elif value is None or type(value) in (int, bool, str, complex):
            parts.append((type(value), value))
        else:
            parts.append((type(value), id(value)))
            self.plain = self.plain and not type(value).__module__.startswith(
                ("autograd", "jax", "pennylane.numpy", "tensorflow")
            )

    def filled(self, leaves: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return arguments with other leaves."""
        remaining = iter(leaves)

        def fill(value: Any) -> Any:
            if isinstance(value, Tensor):
                varies = value.is_floating_point() or value.is_complex()
                return next(remaining) if varies else value
            if type(value) is float or isinstance(value, np.floating):
                return next(remaining)
            if type(value) is np.ndarray:
                return next(remaining) if value.dtype.kind in "fc" else value
            if type(value) is dict:
                return {name: fill(part) for name, part in value.items()}
            if type(value) in (list, tuple):
                return type(value)(fill(part) for part in value)
            return value

        args = [fill(arg) for arg in self.args]
        kwargs = {name: fill(self.kwargs[name]) for name in sorted(self.kwargs)}
        return args, kwargs


# -- recording ------------------------------------------------------------------------------------


def _recorded(qnode: qml.QNode, arguments: _Arguments) -> tuple[Any, Any]:
    """Return a record, and the results of this call, which are the QNode's."""
    results = qnode(*arguments.args, **arguments.kwargs)
    numeric = not any(isinstance(leaf, Tensor) for leaf in _leaves(results))
    try:
        record: Any = _Record(qnode, arguments, numeric)
        again = record(arguments.leaves)
        if not _agree(results, again):
            raise Unrecordable("the recording computes something else")
    except Unrecordable:
        record = _always(qnode, arguments)
    return record, results


def _always(qnode: qml.QNode, arguments: _Arguments) -> Callable[[Sequence[Any]], Any]:
    """Return a record that runs the QNode."""
    floats = [isinstance(o, Tensor) for o in arguments.originals]

    def call(leaves: Sequence[Tensor]) -> Any:
        given = [
            leaf if is_tensor else (leaf.item() if not leaf.ndim else leaf.numpy())
            for leaf, is_tensor in zip(leaves, floats, strict=True)
        ]
        args, kwargs = arguments.filled(given)
        return qnode(*args, **kwargs)

    return call


def _leaves(results: Any) -> list[Any]:
    if isinstance(results, dict):
        results = list(results.values())
    if isinstance(results, (list, tuple)):
        return [leaf for part in results for leaf in _leaves(part)]
    return [results]


def _agree(results: Any, again: Any) -> bool:
    pairs = list(zip(_leaves(results), _leaves(again), strict=False))
    if len(_leaves(results)) != len(_leaves(again)):
        return False
    for one, other in pairs:
        a, b = (torch.as_tensor(v).detach().cpu() for v in (one, other))
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        if not torch.allclose(a, b, rtol=1e-4, atol=1e-4, equal_nan=True):
            return False
    return True


class _Source(NamedTuple):
    """A tensor of the replay, or a constant."""

    at: int
    constant: Tensor | None = None

    def take(self, made: Sequence[Tensor]) -> Tensor:
        return made[self.at] if self.constant is None else self.constant


class _Record:
    """One structure, for arguments of given shapes."""

    def __init__(self, qnode: qml.QNode, arguments: _Arguments, numeric: bool) -> None:
        device: StatevectorDevice = qnode.device
        self.numeric = numeric
        leaves = [leaf.detach().requires_grad_(leaf.requires_grad) for leaf in arguments.leaves]
        recorder = Recorder(leaves)
        args, kwargs = arguments.filled(leaves)
        with recorder, AnnotatedQueue() as queue:
            self._shape = qnode.func(*args, **kwargs)
            tape = ready(QuantumScript.from_queue(queue), device)
            place = device.place(tape)
            reading = read(tape, place)
            self.measurements = [mp.map_wires(place) for mp in tape.measurements]
            simulation = device.planned(tape, place, reading)
        for mp in tape.measurements:
            numbers = [] if mp.obs is None else [*mp.obs.data, *(mp.obs.pauli_rep or {}).values()]
            if any(isinstance(number, Tensor) for number in numbers):
                raise Unrecordable("an observable has numbers of its own")
        self.simulation: Simulation = simulation
        self.places = {wire: wire for wire in range(len(place))}
        self.batch = reading.batch
        self.on = device.torch_device
        originals = dict(zip(map(id, leaves), arguments.originals, strict=True))
        self.dtype = device.dtype or precision(
            [*arguments.originals, *_constants(reading, originals)]
            + [recorder.tensors[n] for n in recorder.captured]
        )
        self._find(recorder, reading)

    def _find(self, recorder: Recorder, reading: Reading) -> None:
        """Find where every number comes from."""
        wanted: list[int] = []
        constants: list[float] = []
        base, offset, stride = [], [], []

        def position(number: int) -> int:
            if number not in wanted:
                wanted.append(number)
            return wanted.index(number)

        for value in reading.parameters:
            if isinstance(value, Tensor):
                number, index = recorder._origins(recorder.number(value))
                index = index.reshape(-1)
                steps = np.diff(index)
                if len(steps) and (steps != steps[0]).any():
                    number, index, steps = recorder.number(value), np.arange(len(index)), [1]
                base.append(position(number))
                offset.append(int(index[0]))
                stride.append(int(steps[0]) if len(steps) else 0)
            else:
                numbers = np.atleast_1d(np.asarray(value, dtype=float)).tolist()
                base.append(-1)
                offset.append(len(constants))
                stride.append(int(len(numbers) > 1))
                constants += numbers
        self._matrices = [self._source(recorder, m, position) for m in reading.matrices]
        self._amplitudes = None
        if reading.amplitudes is not None:
            self._amplitudes = self._source(recorder, reading.amplitudes, position)
        self._bases = sorted({b for b in base if b >= 0})
        renumbered = [self._bases.index(b) if b >= 0 else len(self._bases) for b in base]
        sizes = [recorder.tensors[wanted[b]].numel() for b in self._bases]
        self._constants = torch.tensor(constants, dtype=self.dtype, device=self.on)
        self._layout = Layout(
            np.array(renumbered, dtype=np.int64), np.array(offset, dtype=np.int64),
            np.array(stride, dtype=np.int64), [*sizes, *([len(constants)] if constants else [])],
        )  # fmt: skip
        self._replay = recorder.replay(wanted)
        self._captured = [(t, t.dtype, t.shape) for t in self._replay.captured.values()]

    def _source(self, recorder: Recorder, value: Any, position: Callable[[int], int]) -> _Source:
        if isinstance(value, Tensor):
            return _Source(position(recorder.number(value)))
        return _Source(-1, torch.as_tensor(np.asarray(value)))

    # -- running --------------------------------------------------------------------------------

    def __call__(self, leaves: Sequence[Tensor]) -> Any:
        """Return the results; ``None`` if the recording does not hold for these numbers."""
        if any(t.dtype != kind or t.shape != shape for t, kind, shape in self._captured):
            return None
        made = self._replay(leaves)
        if made is None:
            return None
        bases = [made[b] for b in self._bases]
        on = self.on or (bases[0].device if bases else None)
        if self.on is not None:
            bases = [b.to(self.on) for b in bases]
        if len(self._constants):
            bases.append(self._constants if on is None else self._constants.to(on))
        matrices = [m.take(made).to(on, COMPLEX[self.dtype]) for m in self._matrices]
        amplitudes = None
        if self._amplitudes is not None:
            amplitudes = checked(self._amplitudes.take(made).to(on), self.dtype)
        values = Values(self._layout, bases, amplitudes, matrices, self.batch, self.dtype)
        results = self.simulation(values, self.measurements, self.places)
        if self.numeric:
            results = tuple(result.detach().cpu().numpy() for result in results)
        return self._shaped(results)

    def _shaped(self, results: Sequence[Any]) -> Any:
        """Return results as the quantum function returns its measurements."""
        if isinstance(self._shape, MeasurementProcess):
            return results[0]
        if isinstance(self._shape, (list, tuple)) and len(self._shape) == len(results):
            return type(self._shape)(results)
        _, structure = qml.pytrees.flatten(
            self._shape, is_leaf=lambda x: isinstance(x, MeasurementProcess)
        )
        return qml.pytrees.unflatten(results, structure)


def _constants(reading: Reading, originals: dict[int, Any]) -> list[Any]:
    """Return the numbers on a tape that are no tensors."""
    return [value for value in reading.values if not isinstance(value, Tensor)]
