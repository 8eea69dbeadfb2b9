"""Notice that what a function refers to has become something else."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

_LIBRARIES = ("pennylane", "torch", "numpy", "scipy", "autograd")
_SMALL = 1000  # elements of a container that are compared one by one


class Watch:
    """Values of variables that a function closes over, and of globals, also of functions it calls.

    Args:
        function: a Python function, method, partial or callable object.
    """

    def __init__(self, function: Any) -> None:
        self._seen: list[tuple[Callable[[], Any], Any]] = []
        self._known: set[int] = set()
        self._function(function)

    def unchanged(self) -> bool:
        """Return whether every variable has the value that it had."""
        try:
            return all(_equal(get(), value) for get, value in self._seen)
        except (KeyError, ValueError, AttributeError):
            return False

    def _function(self, function: Any) -> None:
        if id(function) in self._known:
            return
        self._known.add(id(function))
        if isinstance(function, partial):
            self._function(function.func)
            return
        code = getattr(function, "__code__", None)
        if code is None:
            call = getattr(type(function), "__call__", None)
            if isinstance(call, types.FunctionType):
                self._function(types.MethodType(call, function))
            return
        if isinstance(function, types.MethodType):
            owner = function.__self__
            for name in code.co_names:
                if name in getattr(owner, "__dict__", {}):
                    self._variable(partial(getattr, owner, name))
            function = function.__func__
        for cell in function.__closure__ or ():
            self._variable(partial(getattr, cell, "cell_contents"))
        for name in code.co_names:
            if name in function.__globals__:
                self._variable(partial(function.__globals__.__getitem__, name))

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
        self._seen.append((get, _copied(value)))


def _copied(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.size <= _SMALL:
        return value.copy()
    if type(value) in (list, dict, set) and len(value) <= _SMALL:
        return value.copy()
    return value


def _equal(value: Any, before: Any) -> bool:
    if value is before:
        return True
    if type(value) is not type(before):
        return False
    if isinstance(value, np.ndarray):
        return value.size <= _SMALL and np.array_equal(value, before)
    if type(value) in (int, float, bool, str, complex):
        return value == before
    if type(value) in (list, tuple):
        same = len(value) == len(before)
        return same and all(map(_equal, value, before))
    if type(value) is dict:
        same = value.keys() == before.keys()
        return same and all(_equal(value[key], before[key]) for key in value)
    return False
