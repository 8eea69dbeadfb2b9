"""Record what a function does with tensors, to do it again with other numbers.

A `Recorder` sees every torch function that is called. Values that leave torch (a comparison in an
``if``, ``item``, ``numpy``) are *looks*: the recording holds for all numbers that look the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

_FACTS = {
    *("shape", "dtype", "device", "ndim", "requires_grad", "is_leaf", "grad_fn", "is_cuda"),
    *("layout", "grad", "is_sparse", "is_quantized", "is_meta", "names", "itemsize"),
}
_PROPERTIES = {
    *("size", "dim", "ndimension", "numel", "nelement", "element_size", "stride", "is_complex"),
    *("is_floating_point", "is_contiguous", "get_device", "is_tensor", "type", "__len__"),
    *("result_type", "promote_types", "is_conj", "is_neg", "is_signed", "__hash__", "is_inference"),
    *("__repr__", "__format__", "is_same_size", "can_cast", "is_set_to", "storage_offset"),
}
# Functions of one tensor whose result holds elements of it, unchanged.
_MOVES = {
    *("__getitem__", "select", "view", "reshape", "unbind", "flatten", "ravel", "transpose"),
    *("permute", "squeeze", "unsqueeze", "expand", "chunk", "split", "narrow", "contiguous"),
    *("t", "T", "mT", "movedim", "swapaxes", "unflatten", "flip", "expand_as", "view_as"),
}


class Unrecordable(Exception):
    """What the function does cannot be done again from a recording."""


class _Name(NamedTuple):
    """A tensor of a recording, by its number."""

    number: int


class _Step(NamedTuple):
    function: Callable
    arguments: list[Any]
    spec: Any
    results: list[int | None]  # numbers of the tensors that come out; empty for a look
    result_spec: Any
    look: Any


class Recorder(TorchFunctionMode):
    """Records the torch functions that run inside it.

    Args:
        leaves: the tensors that will be others the next time.
    """

    def __init__(self, leaves: Sequence[Tensor]) -> None:
        super().__init__()
        self.tensors: list[Tensor] = []  # also keeps them alive: numbers are found by identity
        self.numbers: dict[int, int] = {}
        self.leaves = [self._new(leaf) for leaf in leaves]
        self.captured: list[int] = []
        self.steps: list[_Step] = []
        self.graded = torch.is_grad_enabled()

    def _new(self, tensor: Tensor) -> int:
        self.numbers[id(tensor)] = len(self.tensors)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def number(self, tensor: Tensor) -> int:
        """Return the number of a tensor; one from elsewhere is taken again as it is."""
        if id(tensor) not in self.numbers:
            self.captured.append(self._new(tensor))
        return self.numbers[id(tensor)]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function and remember it."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__get__":
            name = getattr(getattr(func, "__self__", None), "__name__", "")
            if name in _FACTS:
                return func(*args, **kwargs)
        if name in _PROPERTIES:
            return func(*args, **kwargs)
        inplace = name.endswith("_") and not name.endswith("__") or name.startswith("__i")
        if (inplace and name not in ("__index__", "__int__", "__invert__")) or "out" in kwargs:
            raise Unrecordable(name)
        if name in ("__setitem__", "__set__", "backward", "requires_grad_"):
            raise Unrecordable(name)
        if torch.is_grad_enabled() != self.graded:
            raise Unrecordable("gradients are switched on or off inside")
        arguments, spec = tree_flatten((args, kwargs))
        arguments = [_Name(self.number(a)) if isinstance(a, Tensor) else a for a in arguments]
        found = func(*args, **kwargs)
        outputs, result_spec = tree_flatten(found)
        if any(isinstance(output, Tensor) for output in outputs):
            results = [self._result(o) if isinstance(o, Tensor) else None for o in outputs]
            self.steps.append(_Step(func, arguments, spec, results, result_spec, None))
        elif arguments:
            self.steps.append(_Step(func, arguments, spec, [], result_spec, _frozen(found)))
        return found

    def _result(self, tensor: Tensor) -> int:
        known = self.numbers.get(id(tensor))
        return self._new(tensor) if known is None else known

    def origin(self, number: int) -> tuple[int, np.ndarray]:
        """Return the tensor whose elements a tensor holds unchanged, and which of them."""
        index = np.arange(self.tensors[number].numel()).reshape(tuple(self.tensors[number].shape))
        if number in self.leaves or number in self.captured:
            return number, index
        at = next((i for i, s in enumerate(self.steps) if number in s.results), None)
        if at is None:
            return number, index
        step = self.steps[at]
        named = [a for a in step.arguments if isinstance(a, _Name)]
        if _function_name(step.function) not in _MOVES or len(named) != 1:
            return number, index
        if step.arguments[0] != named[0]:
            return number, index
        base, inner = self._origins(named[0].number)
        moved = [torch.from_numpy(inner.copy()) if a == named[0] else a for a in step.arguments]
        args, kwargs = tree_unflatten(moved, step.spec)
        outputs, _ = tree_flatten(step.function(*args, **kwargs))
        return base, outputs[step.results.index(number)].numpy()

    def _origins(self, number: int) -> tuple[int, np.ndarray]:
        self._memory = getattr(self, "_memory", {})
        if number not in self._memory:
            self._memory[number] = self.origin(number)
        return self._memory[number]

    def replay(self, wanted: Sequence[int]) -> Replay:
        """Return what makes some tensors again."""
        needed, kept = set(wanted), []
        for step in reversed(self.steps):
            if not step.results or needed.intersection(step.results):
                kept.append(step)
                needed.update(a.number for a in step.arguments if isinstance(a, _Name))
        captured = {n: self.tensors[n] for n in self.captured if n in needed}
        return Replay(kept[::-1], self.leaves, captured, list(wanted))


class Replay(NamedTuple):
    """A recording without what is not needed."""

    steps: list[_Step]
    leaves: list[int]
    captured: dict[int, Tensor]
    wanted: list[int]

    def __call__(self, leaves: Sequence[Tensor]) -> list[Tensor] | None:
        """Return the wanted tensors for other leaves; ``None`` if something looks different."""
        known = dict(zip(self.leaves, leaves, strict=True)) | self.captured
        for step in self.steps:
            given = [known[a.number] if isinstance(a, _Name) else a for a in step.arguments]
            args, kwargs = tree_unflatten(given, step.spec)
            found = step.function(*args, **kwargs)
            if not step.results:
                if not _same(found, step.look):
                    return None
                continue
            outputs, _ = tree_flatten(found)
            for number, output in zip(step.results, outputs, strict=True):
                if number is not None:
                    known[number] = output
        return [known[number] for number in self.wanted]


def _function_name(function: Any) -> str:
    name = getattr(function, "__name__", "")
    return getattr(function.__self__, "__name__", "") if name == "__get__" else name


def _frozen(value: Any) -> Any:
    return tree_map_only(np.ndarray, np.copy, value)


def _same(one: Any, other: Any) -> bool:
    """Return whether two looks are the same."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other, equal_nan=True)
    return type(one) is type(other) and bool(one == other or one != one and other != other)
