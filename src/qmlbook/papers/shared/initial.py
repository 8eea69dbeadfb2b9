"""Initial weights from a named stream: torch's own come from its global generator."""

import numpy as np
import torch
from torch import Tensor


def assign(parameter: Tensor, values: np.ndarray) -> None:
    """Set a parameter to drawn values of its shape."""
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(values))


def draw_uniform(rng: np.random.Generator, bound: float, *parameters: Tensor) -> None:
    """Set parameters, one after the other, to values uniform in +-``bound``."""
    for parameter in parameters:
        assign(parameter, rng.uniform(-bound, bound, parameter.shape))
