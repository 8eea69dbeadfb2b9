"""What the rooms' ``vectors.py`` share: kinds of cases, and the tensors and formulas in them."""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

Inputs = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """How the cases of one kind are recomputed and compared.

    Attributes:
        compute: takes the inputs of a case and returns what the file calls ``expected``.
        tolerances: largest absolute error allowed, by a pattern for the last part of a field's name
            (``grad_*``), the first that fits; 1e-8 where nothing is said.
        refused: a case passes when the computation refuses its inputs.
        exact: where the file lists everything possible, nothing more may be possible for us.
        steps: name of the result with one entry a step; their number becomes the input ``steps``.
    """

    compute: Callable[[Inputs], dict[str, Any]]
    tolerances: Mapping[str, float] = field(default_factory=dict)
    refused: bool = False
    exact: bool = False
    steps: str = ""


def plain(*functions: Callable[[Inputs], dict[str, Any]]) -> dict[str, Kind]:
    """Return kinds without settings, each named like the function that recomputes its cases."""
    return {function.__name__: Kind(function) for function in functions}


def tensor(values: Any) -> Tensor:
    """Return numbers of a case as float64."""
    return torch.tensor(values, dtype=torch.float64)


def variables(inputs: Inputs, *names: str) -> list[Tensor]:
    """Return inputs of a case as float64, to be differentiated by."""
    return [tensor(inputs[name]).requires_grad_() for name in names]


def gradients(value: Tensor, **variables: Tensor) -> dict[str, Tensor]:
    """Return the gradients of a number, each by the name that the file gives it.

    The graph is kept: a case may ask for more derivatives of what lies below the number.
    """
    derivatives = torch.autograd.grad(value, list(variables.values()), retain_graph=True)
    return dict(zip(variables, derivatives, strict=True))


_OPERATORS: dict[type, Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
}
_FUNCTIONS: dict[str, Callable] = {
    **{name: getattr(np, name) for name in ("abs", "floor", "round", "sqrt", "sin", "cos", "exp")},
    **{"int": np.trunc, "min": np.minimum, "max": np.maximum},
}


def formula(text: str, names: Mapping[str, np.ndarray]) -> Any:
    """Evaluate arithmetic on named arrays; nothing else is understood.

    A title before a sign of equality and remarks after a comma are left out. ``mod`` is %, ``^`` a
    power.

    Raises:
        ValueError: if the text holds anything but arithmetic on the names.
    """
    expression = re.split(r"(?<![<>=])=(?!=)", _without_remarks(text))[-1]
    expression = re.sub(r"\bmod\b", "%", expression).replace("^", "**").strip()
    try:
        return _value(ast.parse(expression, mode="eval").body, {"pi": math.pi, **names})
    except SyntaxError:
        raise ValueError(f"cannot read the formula {text!r}.") from None


def _without_remarks(text: str) -> str:
    """Return the text up to the first comma or semicolon that stands in no bracket."""
    depth = 0
    for position, sign in enumerate(text):
        depth += (sign in "([") - (sign in ")]")
        if depth == 0 and sign in ",;":
            return text[:position]
    return text


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    def value(part: ast.expr) -> Any:
        return _value(part, names)

    match node:
        case ast.Constant(value=int(number) | float(number)):
            return number
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](value(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](value(left), value(right))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](value(left), value(right)) * 1
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return np.where(value(test), value(body), value(orelse))
        case ast.Call(func=ast.Name(id=name), args=args) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*map(value, args))
    raise ValueError(f"cannot evaluate {ast.unparse(node)!r} in a formula.")
