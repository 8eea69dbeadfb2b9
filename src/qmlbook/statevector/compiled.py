"""The compiled form of a QNode: its structure is recorded once, its numbers bound every call."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pennylane as qml
import torch
from pennylane.measurements import MeasurementProcess
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from . import torch_path
from .device import StatevectorDevice, unqueued
from .errors import NAME, CircuitError
from .plan import Binding, bound, common_device, precision
from .reading import Reading
from .recording import Recorder, Unrecordable, Watch

RECORDS = 128  # shapes of arguments that a compiled circuit remembers
BRANCHES = 8  # recordings for arguments of the same shapes
_DIFFERENTIATING = ("autograd", "jax", "pennylane", "tensorflow")


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
        self.__setstate__({"qnode": qnode})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "qnode":
            raise AttributeError(name)
        return getattr(self.qnode, name)

    def __getstate__(self) -> dict[str, Any]:
        return {"qnode": self.qnode}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.qnode = state["qnode"]
        self._records: dict[tuple, list[_Record | None]] = {}
        self._watch = Watch(self.qnode.func)
        self._warned = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the QNode returns."""
        arguments = _Arguments(args, kwargs)
        if arguments.foreign or torch_path.is_needed(()):
            return self._plainly(*args, **kwargs)
        if not self._watch.unchanged():
            self.__setstate__(self.__getstate__())
        records = self._records.setdefault(arguments.key, [])
        if len(self._records) > RECORDS:  # the oldest makes room
            self._records.pop(next(iter(self._records)))
        for record in records:
            if record and (results := record(arguments.numbers)) is not None:
                return results
        results = self._plainly(*args, **kwargs)
        if len(records) < BRANCHES and None not in records:
            record, results = _recorded(self.qnode, arguments, results)
            records.append(record)
        elif not self._warned and None not in records:
            self._warned = True
            warnings.warn(
                "The circuit depends on the values of its arguments in so many ways that compiling "
                "it does not pay; it runs as the QNode.",
                stacklevel=2,
            )
        return results

    def _plainly(self, *args: Any, **kwargs: Any) -> Any:
        # A QNode remembers what its function last returned, so that threads cannot share one.
        return copy.copy(self.qnode)(*args, **kwargs)


class _Arguments:
    """The arguments of a call.

    Attributes:
        key: all about them that belongs to the structure.
        foreign: whether a number belongs to another library that differentiates.
        originals: what may change, as it was given.
        numbers: the same as tensors.
    """

    def __init__(self, args: tuple, kwargs: dict) -> None:
        self.leaves, self._spec = list(args), cast(Any, len(args))
        if kwargs or not all(isinstance(arg, Tensor) for arg in args):  # a tree to walk through
            self.leaves, self._spec = tree_flatten((args, dict(sorted(kwargs.items()))))
        varies = [_varies(leaf) for leaf in self.leaves]
        self._varying = [at for at, may in enumerate(varies) if may]
        self.key = (self._spec, torch.is_grad_enabled(), *map(_kept, self.leaves, varies))
        self.foreign = any(
            type(leaf).__module__.startswith(_DIFFERENTIATING) for leaf in self.leaves
        )
        self.originals = [self.leaves[at] for at in self._varying]
        self.numbers = [n if isinstance(n, Tensor) else _tensor(n) for n in self.originals]

    def filled(self, numbers: Sequence[Tensor]) -> tuple[tuple, dict[str, Any]]:
        """Return arguments with other numbers."""
        leaves = list(self.leaves)
        for at, number in zip(self._varying, numbers, strict=True):
            leaves[at] = number
        if isinstance(self._spec, int):
            return tuple(leaves), {}
        return tree_unflatten(leaves, self._spec)


def _varies(leaf: Any) -> bool:
    """Return whether an argument is a floating point number, or an array or tensor of them."""
    if isinstance(leaf, Tensor):
        return leaf.is_floating_point() or leaf.is_complex()
    if type(leaf) is np.ndarray:
        return leaf.dtype.kind in "fc"
    return type(leaf) is float or isinstance(leaf, np.floating)


def _kept(leaf: Any, varies: bool) -> tuple:
    """Return what of an argument belongs to the structure."""
    if isinstance(leaf, Tensor):
        more = (leaf.device, leaf.requires_grad) if varies else leaf.reshape(-1).tolist()
        return leaf.shape, leaf.dtype, *more
    if type(leaf) is np.ndarray and leaf.dtype != object:
        return leaf.shape, leaf.dtype, None if varies else leaf.tobytes()
    if leaf is None or type(leaf) in (int, bool, str, complex):
        return type(leaf), leaf
    return type(leaf), None if varies else id(leaf)


def _tensor(number: Any) -> Tensor:
    """Return an array in its own precision, anything else in double precision."""
    return torch.tensor(number, dtype=None if type(number) is np.ndarray else torch.float64)


def _recorded(qnode: qml.QNode, arguments: _Arguments, results: Any) -> tuple[_Record | None, Any]:
    """Return a record and its results; ``None`` and the given ones, if there cannot be one.

    The record's own are the same to the last bit as those of the calls that follow.
    """
    try:
        record = _Record(qnode, arguments, results)
        again = record(arguments.numbers)
    except Unrecordable:
        return None, results
    agree = again is not None and all(map(_agree, tree_leaves(results), tree_leaves(again)))
    return (record, again) if agree else (None, results)


def _agree(one: Any, other: Any) -> bool:
    a, b = (torch.as_tensor(value).detach().cpu() for value in (one, other))
    same = a.shape == b.shape and a.dtype == b.dtype
    return same and torch.allclose(a, b, rtol=1e-4, atol=1e-4, equal_nan=True)


class _Record:
    """One structure, for arguments of given shapes."""

    def __init__(self, qnode: qml.QNode, arguments: _Arguments, results: Any) -> None:
        device: StatevectorDevice = qnode.device
        self._others = arguments.leaves  # alive, their identity is nobody else's
        self._numeric = not any(isinstance(leaf, Tensor) for leaf in tree_leaves(results))
        leaves = [leaf.detach().requires_grad_(leaf.requires_grad) for leaf in arguments.numbers]
        recorder = Recorder(leaves)
        args, kwargs = arguments.filled(leaves)
        with recorder, qml.queuing.AnnotatedQueue() as queue:
            returned = qnode.func(*args, **kwargs)
            reading = device.read(qml.tape.QuantumScript.from_queue(queue))
            self._simulation = device.planned(reading)
        self._measurements = reading.measurements
        for mp in reading.measurements:
            numbers = [] if mp.obs is None else [*mp.obs.data, *(mp.obs.pauli_rep or {}).values()]
            if any(isinstance(number, Tensor) for number in numbers):
                raise Unrecordable("an observable has numbers of its own")
        _, self._shape = qml.pytrees.flatten(
            returned, is_leaf=lambda part: isinstance(part, MeasurementProcess)
        )
        # By far the most frequent, and a tree would be walked through at every call.
        measured = returned if type(returned) is list else [None]
        self._is_list = all(isinstance(part, MeasurementProcess) for part in measured)
        self._device = device.torch_device
        numbers = [*reading.parameters, *reading.given]
        constants = [value for value in numbers if not isinstance(value, Tensor)]
        captured = [recorder.tensors[number] for number in recorder.captured]
        dtype = device.dtype or precision([*arguments.originals, *constants, *captured])
        self._find(recorder, reading, dtype)

    def _find(self, recorder: Recorder, reading: Reading, dtype: torch.dtype) -> None:
        """Find where every number comes from."""
        # Constants are parts of one tensor that is always the same.
        constants = [value for value in reading.parameters if not isinstance(value, Tensor)]
        joined = np.hstack([*constants, 0.0])
        with recorder:
            known = torch.tensor(joined, dtype=dtype, device=self._device)
            pieces = iter(known.split([*map(np.size, constants), 1]))
        numbers = [v if isinstance(v, Tensor) else next(pieces) for v in reading.parameters]
        found = [recorder.origin(recorder.number(number)) for number in numbers]
        wanted = list(dict.fromkeys(number for number, _ in found))
        sizes = [recorder.tensors[number].numel() for number in wanted]
        start = dict(zip(wanted, np.cumsum([0, *sizes]), strict=False))
        elements = [start[number] + index.reshape(-1) for number, index in found]
        self._binding = Binding(elements, sizes)
        wanted += [recorder.number(torch.as_tensor(value)) for value in reading.given]
        prepared = reading.amplitudes is not None
        features = recorder.features(wanted[len(sizes)]) if prepared else None
        self._fixed = prepared, reading.batch, dtype, features
        self._replay = recorder.replay(wanted)

    def __call__(self, numbers: Sequence[Tensor]) -> Any:
        """Return the results; ``None`` if the recording does not hold for these numbers."""
        made = self._replay(numbers)
        if made is None:
            return None
        device = self._device or common_device(made)
        values = bound(self._binding, made, device, *self._fixed)
        with unqueued():
            results = self._simulation(values, self._measurements, self._numeric)
        return results if self._is_list else qml.pytrees.unflatten(results, self._shape)
