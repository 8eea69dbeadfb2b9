"""Functions of torch for autograd, which is behind PennyLane's numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from autograd.extend import defvjp_argnum, primitive
from torch import Tensor


def differentiable(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """Return a function of arrays that autograd differentiates, to any order.

    Args:
        function: takes tensors and returns one, differentiably.
    """

    @primitive
    def run(*arrays: Any) -> np.ndarray:
        return function(*(torch.as_tensor(np.asarray(a)) for a in arrays)).detach().numpy()

    def slope(argument: int, _: Any, arrays: tuple, __: dict) -> Callable[[Any], Any]:
        return lambda gradient: differentiable(_slope(function, argument))(gradient, *arrays)

    defvjp_argnum(run, slope)
    return run


def _slope(function: Callable[..., Tensor], argument: int) -> Callable[..., Tensor]:
    """Return the gradient in one argument; autograd's are the conjugates of torch's."""

    def run(gradient: Tensor, *values: Tensor) -> Tensor:
        with torch.enable_grad():
            inputs = list(values)
            if not inputs[argument].requires_grad:
                inputs[argument] = inputs[argument].detach().requires_grad_()
            result = function(*inputs)
            gradient = gradient.conj().to(result.dtype)
            return torch.autograd.grad(
                result, inputs[argument], gradient, create_graph=True, materialize_grads=True,
                allow_unused=True,
            )[0].conj()  # fmt: skip

    return run
