"""Runs that differ by their seed alone, side by side in one batch.

For a circuit the seeds are the last axis of the weights, so that an element of them,
``weights[i, j]``, is one number for every circuit of a batch, just as an encoded feature is; torch
maps over the seeds of anything else. Every seed keeps its own start, examples, batches and
read-out; the sum of the losses has the gradient of each, and Adam takes every number by itself.
What a seed comes to is what it comes to alone, within rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ..base.rng import stream
from ..papers.shared.splits import Split
from ..papers.shared.training import descend, shuffled
from .case import Case
from .circuits import Circuit
from .players import Net, losses


class Together(nn.Module):
    """Networks of one circuit, each with weights and a linear read-out of its own.

    Args:
        run: the circuit.
        nets: weights and read-out of each of S seeds.
    """

    def __init__(self, run: Circuit, nets: Sequence[tuple[nn.Parameter, nn.Linear]]) -> None:
        super().__init__()
        self.run, self.nets = run, nets
        self.weights = _stacked([weights for weights, _ in nets], -1)
        self.matrices = _stacked([after.weight for _, after in nets], 0)
        self.biases = _stacked([after.bias for _, after in nets], 0)

    def forward(self, x: Tensor) -> Tensor:
        """Return (S, B, outputs) for inputs (S, B, features)."""
        weights = self.weights.repeat_interleave(x.shape[1], -1)
        measured = self.run(x.flatten(0, 1), weights).unflatten(0, x.shape[:2])
        return torch.baddbmm(self.biases[:, None], measured, self.matrices.mT)

    @torch.no_grad()
    def give_back(self) -> None:
        """Give every network what was learned."""
        for number, (weights, after) in enumerate(self.nets):
            weights.copy_(self.weights[..., number])
            after.weight.copy_(self.matrices[number])
            after.bias.copy_(self.biases[number])


class Abreast(nn.Module):
    """Networks of torch alone, of one shape.

    Args:
        models: of S seeds.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = [*models]  # in a list, they are no part of this one
        self.names = [name for name, _ in models[0].named_parameters()]
        each = zip(*(model.parameters() for model in models), strict=True)
        self.stacked = nn.ParameterList([_stacked(parts, 0) for parts in each])

    def forward(self, x: Tensor) -> Tensor:
        """Return (S, B, outputs) for inputs (S, B, features)."""

        def one(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self.models[0], parameters, (x,))

        return vmap(one)(dict(zip(self.names, self.stacked, strict=True)), x)

    @torch.no_grad()
    def give_back(self) -> None:
        """Give every network what was learned."""
        for number, model in enumerate(self.models):
            for mine, learned in zip(model.parameters(), self.stacked, strict=True):
                mine.copy_(learned[number])


def _stacked(parts: Sequence[Tensor], axis: int) -> nn.Parameter:
    return nn.Parameter(torch.stack([p.detach() for p in parts], axis), parts[0].requires_grad)


def together(models: Sequence[nn.Module], x: Sequence[Tensor]) -> Together | Abreast | None:
    """Return models side by side, or ``None`` where they cannot be taken like that.

    Args:
        models: of S seeds.
        x: inputs (B, features) of each, to try it with.
    """
    try:
        with torch.no_grad():
            if len(models) < 2 or (made := _side_by_side(models)) is None:
                return None
            alone = torch.stack([model(part) for model, part in zip(models, x, strict=True)])
            return made if torch.allclose(made(torch.stack([*x])), alone, atol=1e-9) else None
    except Exception:  # whatever a circuit says that wants its weights in their shape
        return None


def _side_by_side(models: Sequence[nn.Module]) -> Together | Abreast | None:
    run = models[0].run if type(models[0]) is Net else None
    if run is None:  # what a layer keeps besides its parameters is each seed's own
        return None if any(True for _ in models[0].buffers()) else Abreast(models)
    nets = [
        (net.weights, net.after)
        for net in models
        if isinstance(net, Net) and isinstance(net.after, nn.Linear) and net.after.bias is not None
        if isinstance(net.before, nn.Identity)
    ]
    return Together(run, nets) if len(nets) == len(models) else None


def steps(
    case: Case, model: Together | Abreast, trains: Sequence[Split], rate: float,
    seeds: Sequence[int],
) -> Iterator[np.ndarray]:  # fmt: skip
    """Train as `players.steps` does; yield the mean losses (S,) of every epoch."""
    learned = [p for p in model.parameters() if p.requires_grad]
    draws = [stream(seed, "referee", "batches") for seed in seeds]
    optimiser = torch.optim.Adam(learned, lr=rate) if learned else None
    inputs = torch.stack([train.inputs for train in trains])
    labels = torch.stack([train.labels for train in trains])
    rows = torch.arange(len(seeds))[:, None]
    for _ in range(case.epochs):
        orders = [shuffled(rng, labels.shape[1], case.batch) for rng in draws]
        found = []
        for batch in map(torch.stack, zip(*orders, strict=True)):
            made = model(inputs[rows, batch]).flatten(0, 1)
            each = losses(case, made, labels[rows, batch].flatten()).view(batch.shape).mean(1)
            if optimiser:
                descend(optimiser, each.sum(), math.inf)
            found.append(each.detach().numpy())
        model.give_back()
        yield np.mean(found, 0)
