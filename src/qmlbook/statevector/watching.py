"""Notice that what a function refers to has become something else."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

_LIBRARIES = ("pennylane", "torch", "numpy", "scipy", "autograd")
_SMALL = 1000  # elements of an array or a container that are compared one by one


class Watch:
    """Values of variables that a function closes over, and of globals, also of functions it calls.

    Args:
        function: a Python function, method, partial or callable object.
    """

    def __init__(self, function: Any) -> None:
        self._seen: list[tuple[Callable[[], Any], Any, Any]] = []
        self._known: set[int] = set()
        self._function(function)

    def unchanged(self) -> bool:
        """Return whether every variable has the value that it had."""
        try:
            return all(_snapshot(get()) == before for get, before, _ in self._seen)
        except (KeyError, ValueError, AttributeError):  # one of them is gone
            return False

    def _function(self, function: Any) -> None:
        while isinstance(function, partial):
            function = function.func
        if not isinstance(function, (types.FunctionType, types.MethodType)):
            function = getattr(function, "__call__", None)  # noqa: B004  # the bound method
        code = getattr(function, "__code__", None)
        if code is None or id(code) in self._known:
            return
        self._known.add(id(code))
        owner = getattr(function, "__self__", None)
        variables = [partial(getattr, cell, "cell_contents") for cell in function.__closure__ or ()]
        for name in code.co_names:
            if name in getattr(owner, "__dict__", {}):
                variables.append(partial(getattr, owner, name))
            if name in function.__globals__:
                variables.append(partial(function.__globals__.__getitem__, name))
        for get in variables:
            self._variable(get)

    def _variable(self, get: Callable[[], Any]) -> None:
        try:
            value = get()
        except ValueError:  # a cell that is still empty
            return
        module = getattr(value, "__module__", None) or ""
        if isinstance(value, (types.ModuleType, type)) or module.startswith(_LIBRARIES):
            return
        if isinstance(value, (types.FunctionType, types.MethodType, partial)):
            self._function(value)
        self._seen.append((get, _snapshot(value), value))  # alive, its identity is nobody else's


def _snapshot(value: Any) -> Any:
    """Return what is compared: numbers and small containers by value, all else by identity."""
    if isinstance(value, np.ndarray) and value.size <= _SMALL and value.dtype != object:
        return value.shape, value.dtype, value.tobytes()
    if type(value) in (list, tuple) and len(value) <= _SMALL:
        return type(value), *map(_snapshot, value)
    if type(value) is dict and len(value) <= _SMALL:
        return tuple((key, _snapshot(part)) for key, part in value.items())
    if type(value) in (int, float, bool, str, complex):
        return type(value), value
    return id(value)
