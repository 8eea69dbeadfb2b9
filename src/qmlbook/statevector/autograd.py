"""Functions of torch for autograd, which is behind PennyLane's numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pennylane as qml
import torch
from autograd.extend import defvjp_argnums, primitive
from torch import Tensor

Several = Callable[..., Sequence[Tensor]]


def differentiable(function: Several) -> Callable[..., list[Any]]:
    """Return a function of arrays that autograd differentiates, to any order.

    Args:
        function: takes tensors and returns several, differentiably.
    """
    parts: list[Tensor] = []

    @primitive
    def joined(*arrays: Any) -> np.ndarray:
        parts[:] = function(*(torch.as_tensor(np.asarray(a)) for a in arrays))
        return torch.cat([part.detach().reshape(-1) for part in parts]).numpy()

    def slopes(wanted: Sequence[int], _: Any, arrays: tuple, __: dict) -> Callable[[Any], Any]:
        gradients = differentiable(partial(_slopes, function, wanted))
        return lambda gradient: gradients(gradient, *arrays)

    defvjp_argnums(joined, slopes)

    def run(*arrays: Any) -> list[Any]:
        vector, start, made = joined(*arrays), 0, []
        for part in parts:
            piece = vector[start : start + part.numel()].reshape(tuple(part.shape))
            made.append(piece if part.is_complex() else qml.math.real(piece))
            start += part.numel()
        return made

    return run


def _slopes(
    function: Several, wanted: Sequence[int], gradient: Tensor, *values: Tensor
) -> list[Tensor]:
    """Return the gradients in some arguments; autograd's are the conjugates of torch's."""
    with torch.enable_grad():
        inputs = list(values)
        for at in wanted:
            if not values[at].requires_grad:
                inputs[at] = values[at].detach().requires_grad_()
        chosen = [inputs[at] for at in wanted]
        result = torch.cat([part.reshape(-1) for part in function(*inputs)])
        if not result.requires_grad:  # of what is linear, the second derivative
            return [torch.zeros_like(part) for part in chosen]
        seed = gradient.conj().to(result.dtype)
        made = torch.autograd.grad(result, chosen, seed, create_graph=True, materialize_grads=True)
        return [part.conj() for part in made]
