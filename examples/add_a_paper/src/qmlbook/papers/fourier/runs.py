"""What a run measures: the spectrum of a random circuit, and a fit that needs frequency 2."""

import numpy as np
import torch

from ...base.rng import stream
from .circuits import model
from .config import Config


def draw(config: Config, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the inputs and random weights; the same seed, the same weights."""
    angles = stream(seed, "weights").uniform(0, 2 * np.pi, (config.encodings + 1, 3))
    x = 2 * torch.pi * torch.arange(config.points, dtype=torch.float64) / config.points
    return x, torch.tensor(angles)


def run_spectrum(config: Config, seed: int) -> dict[str, float]:
    """Return whether every Fourier coefficient above r vanishes."""
    x, weights = draw(config, seed)
    size = np.abs(np.fft.rfft(model(x, weights).numpy())) / config.points
    above = size[config.encodings + 1 :]
    return {"holds": float(above.max() < 1e-12), "checked": len(above), "largest": above.max()}


def run_fit(config: Config, seed: int) -> dict[str, float]:
    """Return the share of the variance of cos(2x) that the circuit explains."""
    x, weights = draw(config, seed)
    target = torch.cos(2 * x)
    weights.requires_grad_()
    adam = torch.optim.Adam([weights], lr=0.3)
    for _ in range(config.steps):
        adam.zero_grad()
        torch.mean((model(x, weights) - target) ** 2).backward()
        adam.step()
    error = torch.mean((model(x, weights) - target) ** 2).item()
    return {"r2": 1 - error / torch.var(target, correction=0).item()}
