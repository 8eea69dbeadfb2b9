"""What is run: the spectrum of random circuits, and a fit that needs frequency 2."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from ...base.rng import stream
from .. import Experiment, by_name
from .circuits import model


@dataclass(frozen=True)
class Config:
    """Settings of one run; all values are ours."""

    encodings: int = 1  # r, how often the data enter
    steps: int = 25  # of Adam; 0 leaves the circuit untrained
    points: int = 32  # inputs, evenly over one period


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


SPECTRUM = {f"r{r}": Config(encodings=r, steps=0) for r in (1, 2, 3)}
FIT = {
    "r1": Config(encodings=1),
    "r2": Config(encodings=2),
    "r2-untrained": Config(encodings=2, steps=0),
}
QUICK = {name: replace(config, points=16) for name, config in FIT.items()}

EXPERIMENTS = by_name(
    Experiment.of("spectrum", "frequencies", SPECTRUM, SPECTRUM, seeds=5, run=run_spectrum),
    Experiment.of("fit", "cos(2x)", FIT, QUICK, seeds=8, quick_seeds=2, run=run_fit),
)
