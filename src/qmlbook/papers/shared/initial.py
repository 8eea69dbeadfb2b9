"""Initial weights from a named stream: torch's own come from its global generator."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module


def assign(parameter: Tensor, values: np.ndarray) -> None:
    """Set a parameter to drawn values of its shape."""
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(values))


def draw_uniform(rng: np.random.Generator, bound: float, module: Module) -> None:
    """Set a layer's own parameters, weights before biases, to values uniform in +-``bound``."""
    for parameter in module.parameters(recurse=False):
        assign(parameter, rng.uniform(-bound, bound, parameter.shape))
