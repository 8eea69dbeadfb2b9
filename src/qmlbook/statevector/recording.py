"""Record what a function does with tensors, to do it again with other numbers.

A `Recorder` sees every torch function that is called. Values that leave torch (a comparison in an
``if``, ``item``, ``numpy``) are *looks*: the recording holds for all numbers that look the same. A
`Watch` notices that a variable which the function refers to has become something else.
"""

from __future__ import annotations

import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pennylane as qml
import torch
from pennylane.ops.qubit.state_preparation import TOLERANCE
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

# What these say follows from shapes and dtypes, which belong to the structure.
_FACTS = {
    *("size", "dim", "ndimension", "numel", "nelement", "element_size", "stride", "__len__"),
    *("is_complex", "is_floating_point", "is_contiguous", "is_tensor", "get_device", "type"),
    *("result_type", "promote_types", "is_conj", "is_neg", "__hash__", "is_inference"),
}
# Functions that make the same tensor every time.
_CONSTANTS = {"tensor", "as_tensor", "from_numpy", "zeros", "ones", "full", "eye", "arange"}
_JOINS = {"cat", "concatenate", "concat", "hstack"}
_SCALES = {"div", "true_divide", "__truediv__"}


class Unrecordable(Exception):
    """What the function does cannot be done again from a recording."""


class _Name(NamedTuple):
    """A tensor of a recording, by its number, which is its identity."""

    number: int


class _Step(NamedTuple):
    name: str
    function: Callable
    arguments: list[Any]
    spec: Any
    results: list[int | None]  # numbers of the tensors that come out; empty for a look
    seen: Callable[[Any], Any]  # what matters of a look
    look: Any  # how that was

    def names(self) -> list[int]:
        """Return the numbers of the tensors that go in."""
        return [argument.number for argument in self.arguments if isinstance(argument, _Name)]

    def run(self, tensors: Any) -> Any:
        """Do it again."""
        given = [tensors[a.number] if isinstance(a, _Name) else a for a in self.arguments]
        args, kwargs = tree_unflatten(given, self.spec)
        return self.function(*args, **kwargs)


_GIVEN = _Step("", copy, [], None, [], copy, None)  # what no step made


class Recorder(TorchFunctionMode):
    """Records the torch functions that run inside it.

    Args:
        leaves: the tensors that will be others the next time.
    """

    def __init__(self, leaves: Sequence[Tensor]) -> None:
        super().__init__()
        self.tensors: dict[int, Tensor] = {}  # alive, their identity is nobody else's
        self.captured: list[int] = []
        self._constants: set[int] = set()
        self._maker: dict[int, _Step] = {}
        self._steps: list[_Step] = []
        self._graded = torch.is_grad_enabled()
        self._leaves = [self._noted(leaf) for leaf in leaves]

    def _noted(self, tensor: Tensor) -> int:
        self.tensors[id(tensor)] = tensor
        return id(tensor)

    def number(self, tensor: Tensor) -> int:
        """Return the number of a tensor; one from elsewhere is taken again as it is."""
        if id(tensor) not in self.tensors:
            if tensor.grad_fn is not None:
                raise Unrecordable("a tensor comes from a function that torch does not show")
            self.captured.append(self._noted(tensor))
        return id(tensor)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function and remember it."""
        kwargs = kwargs or {}
        attribute = getattr(func, "__name__", "") == "__get__"
        name = getattr(func.__self__ if attribute else func, "__name__", "")
        if name in _FACTS:
            return func(*args, **kwargs)
        if name in _CONSTANTS and not (args and isinstance(args[0], Tensor)):
            made = func(*args, **kwargs)
            self._constants.add(self.number(made))
            return made
        inplace = name.endswith("_") if not name.endswith("__") else name.startswith("__i")
        changes = inplace and name not in ("__index__", "__int__", "__invert__")
        changes = changes or name in ("__setitem__", "__set__", "backward") or "out" in kwargs
        if changes or torch.is_grad_enabled() != self._graded:
            raise Unrecordable(name)
        arguments, spec = tree_flatten((args, kwargs))
        arguments = [_Name(self.number(a)) if isinstance(a, Tensor) else a for a in arguments]
        returned = func(*args, **kwargs)
        outputs = tree_leaves(returned)
        tensors = [output for output in outputs if isinstance(output, Tensor)]
        if not tensors and (attribute or not arguments):
            return returned
        new = [id(tensor) for tensor in tensors if id(tensor) not in self.tensors]
        results = [self._noted(o) if isinstance(o, Tensor) else None for o in outputs if tensors]
        seen = _are_one if isinstance(returned, np.ndarray) and _asks_for_length() else copy
        look = None if results else seen(returned)
        self._steps.append(_Step(name, func, arguments, spec, results, seen, look))
        self._maker.update(dict.fromkeys(new, self._steps[-1]))
        return returned

    def origin(self, number: int) -> tuple[int, np.ndarray]:
        """Return the tensor whose elements a tensor shows unchanged, and which of them."""
        tensor, step = self.tensors[number], self._maker.get(number, _GIVEN)
        # A view of one tensor; an index that is a tensor may be another the next time.
        view = tensor._base is not None and tensor._base.dtype == tensor.dtype
        if not view or len(step.names()) != 1:
            return number, np.arange(tensor.numel()).reshape(tuple(tensor.shape))
        (name,) = step.names()
        base, index = self.origin(name)
        outputs = tree_leaves(step.run({name: torch.from_numpy(index.copy())}))
        return base, outputs[step.results.index(number)].numpy()

    def features(self, number: int) -> int:
        """Return after how many entries of a tensor's last axis there are only zeros, always."""
        size, step = self.tensors[number].shape[-1], self._maker.get(number, _GIVEN)
        names = step.names()
        if step.name in _SCALES and step.arguments[0] == (names[0],):
            return self.features(names[0])
        if step.name not in _JOINS or names[-1] not in self._constants:
            return size
        last = self.tensors[names[-1]]
        along = size == sum(self.tensors[n].shape[-1] for n in names)
        return size - last.shape[-1] if along and not last.any() else size

    def replay(self, wanted: Sequence[int]) -> Callable[[Sequence[Tensor]], list[Tensor] | None]:
        """Return what makes some tensors again, of other leaves.

        It returns ``None`` if something looks different.
        """
        needed, kept = set(wanted), []
        for step in reversed(self._steps):
            if not step.results or needed.intersection(step.results):
                kept.append(step)
                needed.update(step.names())
        captured = {n: self.tensors[n] for n in self.captured if n in needed}
        kinds = [(t, t.dtype, t.shape) for t in captured.values()]
        others = self._leaves  # what was recorded besides goes with the recorder

        def again(leaves: Sequence[Tensor]) -> list[Tensor] | None:
            if any(t.dtype != kind or t.shape != shape for t, kind, shape in kinds):
                return None
            known: dict[Any, Tensor] = dict(zip(others, leaves, strict=True)) | captured
            for step in reversed(kept):
                returned = step.run(known)
                if step.results:
                    known.update(zip(step.results, tree_leaves(returned), strict=True))
                elif not _same(step.look, step.seen(returned)):
                    return None
            return [known[number] for number in wanted]

        return again


def _are_one(lengths: np.ndarray) -> bool:
    """Return all that matters of lengths of amplitudes."""
    return np.allclose(lengths, 1.0, atol=TOLERANCE)


def _asks_for_length() -> bool:
    """Return whether it is PennyLane's preparation of a state that looks."""
    asking = qml.StatePrep._preprocess.__code__
    return any(frame.f_code is asking for frame, _ in traceback.walk_stack(None))


def _same(one: Any, other: Any) -> bool:
    """Return whether two looks are the same."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other, equal_nan=True)
    return type(one) is type(other) and bool(one == other or (one != one and other != other))


# -- variables -----------------------------------------------------------------------------------

_LIBRARIES = ("pennylane", "torch", "numpy", "scipy", "autograd")
_SMALL = 1000  # elements of an array or a container that are compared one by one


class Watch:
    """Values of variables that a function closes over, and of globals, also of functions it calls.

    Args:
        function: a Python function, method, partial or callable object.
    """

    def __init__(self, function: Any) -> None:
        # Values are kept alive, so that their identity is nobody else's.
        found = _variables(function, set())
        self._seen = [(get, _snapshot(value), value) for get, value in found]

    def unchanged(self) -> bool:
        """Return whether every variable has the value that it had."""
        try:
            return all(_snapshot(get()) == before for get, before, _ in self._seen)
        except (KeyError, ValueError):  # one of them is gone
            return False


def _variables(function: Any, known: set[int]) -> Iterator[tuple[Callable[[], Any], Any]]:
    """Yield how variables of a function are read, and their values; ``known`` are seen before."""
    while isinstance(function, partial):
        function = function.func
    if not isinstance(function, (types.FunctionType, types.MethodType)):
        function = getattr(function, "__call__", None)  # noqa: B004  # the bound method
    code = getattr(function, "__code__", None)
    if code is None or id(code) in known:
        return
    known.add(id(code))
    readers = [partial(getattr, cell, "cell_contents") for cell in function.__closure__ or ()]
    attributes = getattr(getattr(function, "__self__", None), "__dict__", {})
    for scope in (attributes, function.__globals__):
        readers += [partial(scope.__getitem__, name) for name in code.co_names if name in scope]
    for read in readers:
        try:
            value = read()
        except ValueError:  # a cell that is still empty
            continue
        module = getattr(value, "__module__", None) or ""
        if isinstance(value, (types.ModuleType, type)) or module.startswith(_LIBRARIES):
            continue
        if isinstance(value, (types.FunctionType, types.MethodType, partial)):
            yield from _variables(value, known)
        yield read, value


def _snapshot(value: Any) -> Any:
    """Return what is compared: numbers and small containers by value, all else by identity."""
    if isinstance(value, np.ndarray) and value.size <= _SMALL and value.dtype != object:
        return value.shape, value.dtype, value.tobytes()
    if type(value) in (list, tuple, dict) and len(value) <= _SMALL:
        return type(value), *map(_snapshot, value.items() if type(value) is dict else value)
    if type(value) in (int, float, bool, str, complex):
        return type(value), value
    return id(value)
