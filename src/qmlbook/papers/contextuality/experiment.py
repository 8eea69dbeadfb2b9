"""Configurations and runs of the contextuality papers.

Only abstracts and public summaries of the papers could be read: task and cell are reconstructions,
and all settings are this book's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from ...base.errors import UsageError, require_known, require_least
from ...base.rng import stream
from .. import Experiment, by_name, properties
from . import checks, models, noise, sequences, training


@dataclass(frozen=True)
class Config:
    """Settings of one run: sequences, and what is trained on them. Default is the k-HRNN."""

    model: str = "hrnn"  # one of models.MODELS
    width: int = 0  # hidden units, of a Transformer its dimension, of a binary net bits
    n: int = 3  # vertices
    k: int = 2  # vertices in a hyperedge
    kind: str = "uniform"  # one of sequences.KINDS
    blocks: int = 4  # of n tokens
    flips: int = 1  # hyperedges that change from block to block (toggle)
    start: str = "uniform"  # or near, of the angles
    steps: int = 200  # of Adam, a fresh batch each
    batch_size: int = 128  # sequences
    learning_rate: float = 0.1
    clip: float | None = None  # of the norm of all gradients
    test: int = 2000  # sequences scored
    dtype: str = "float64"

    def __post_init__(self) -> None:
        """Refuse what nothing here understands."""
        require_known(self, model=models.MODELS, start=models.STARTS, dtype=models.DTYPES)
        require_least(self, steps=1, batch_size=1, test=1)
        sequences.check(self.kind, self.n, self.k, self.blocks, self.flips)
        if self.model == "hrnn" and self.kind == "local":
            raise UsageError("kind 'local' has tokens that the cell of model 'hrnn' cannot ask.")
        if (self.width < 1) is (self.model in models.SIZED):
            raise UsageError(
                f"width must be 1 or more for {', '.join(models.SIZED)} and 0 for other models, "
                f"not {self.width} for {self.model!r}."
            )
        if self.model == "transformer" and self.width % models.HEADS:
            raise UsageError(
                f"width of a transformer must be a multiple of {models.HEADS}, not {self.width}."
            )
        for name in ("learning_rate", "clip"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise UsageError(f"{name} must be above 0, not {value}.")


# --- runs ---


def run(config: Config, seed: int) -> dict[str, float | list[float]]:
    """Train a model, if there is something to train, and score it on fresh sequences.

    Returns:
        The metrics of `learning.score`, and for trained models ``curve`` (see `learning.curve`).
        For the k-HRNN also ``learned``, 1 if ``kl`` is below 0.001, and ``away``, share of angles
        nearer to 0 than to pi. For fixed answers ``validity`` alone: their ``kl`` is infinite.
    """
    questions, exact = training.test_set(config, seed)
    rng = stream(seed, "answers")
    if config.model == "half":
        return training.score(models.build(config, seed), questions, exact, rng)
    if config.model in models.MEMORYLESS:
        y = training.answers(models.build(config, seed), questions, rng)
        return {"validity": training.validity(y, questions)}
    model, curve = training.curve(config, seed)
    found = {**training.score(model, questions, exact, rng), "curve": curve}
    if isinstance(model, models.HRNN):
        far = (model.angles.detach() % (2 * math.pi) - math.pi).abs() > math.pi / 2
        found |= {
            "learned": float(found["kl"] < training.LEARNED),
            "away": far.double().mean().item(),
        }
    return found


def run_binary(config: Config, seed: int) -> dict[str, float]:
    """Train a net with a memory of bits and let it give its likelier answers.

    Returns:
        ``failed``, share of sequences with an impossible answer; ``errs``, 1 if there is one.
    """
    model = training.train(config, seed)
    questions, _ = training.test_set(config, seed)
    failed = 1 - training.validity(training.answers(model, questions, None), questions)
    return {"errs": float(failed > 0), "failed": failed}


# --- variants ---

HRNN = {f"n{n}k{k}": Config(n=n, k=k) for n, k in ((3, 2), (4, 2), (5, 2), (4, 3))}
NETWORK = Config(
    model="gru", width=32, steps=10_000, batch_size=256, learning_rate=3e-3, clip=1.0,
    dtype="float32",
)  # fmt: skip
WIDTHS = (("gru", 4), ("gru", 16), ("gru", 64), ("gru", 256), ("lstm", 64), ("transformer", 32))
NETWORKS = {
    f"n{n}-{model}{width}": replace(NETWORK, n=n, model=model, width=width)
    for n in (3, 4)
    for model, width in WIDTHS
}
BASELINES = {
    f"{size}-{model}": replace(config, model=model)
    for size, config in HRNN.items()
    for model in models.MEMORYLESS
    if config.k == 2 or model != "table"
}
TASKS = {kind: replace(NETWORK, kind=kind, steps=4000) for kind in ("uniform", "toggle", "local")}
# On independent tokens every sequence can occur, as the bound needs; on whole blocks at n = 3 even
# a fixed table of answers is never impossible (`checks.block_table`).
BINARY = {
    f"n{n}-d{d}": replace(NETWORK, n=n, kind="free", model="binary", width=d, steps=3000)
    for n in (3, 4)
    for d in range(1, 11)
}
START = {
    name: Config(n=6, k=3, kind="toggle", blocks=3, start=name) for name in ("uniform", "near")
}
GRADIENTS = {links: checks.Gradients(links=links) for links in ("sparse", "dense")}
STRENGTHS = (0.0, 0.001, 0.003, 0.01, 0.03)
NOISE = {f"p{strength:g}": noise.Noise(strength=strength) for strength in STRENGTHS}


def _smaller(variants: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {name: replace(config, **changes) for name, config in variants.items()}


def _short(variants: dict[str, Config]) -> dict[str, Config]:
    """Return a few steps of the same at n = 3, in double precision."""
    chosen = {name: config for name, config in variants.items() if config.n == 3}
    return _smaller(chosen, steps=100, batch_size=64, test=500, dtype="float64")


# --- experiments ---

# Single precision and thousands of steps amplify rounding: between instruction sets of one machine
# 1,200 steps of a GRU of 64 units differed by 0.013 bits at their end and by 0.06 on the way.
NETWORK_TOLERANCE = 0.25
_experiment = partial(Experiment.of, run=run, seeds=8, quick_seeds=3)

EXPERIMENTS = by_name(
    _experiment(
        "hrnn",
        "the trained k-HRNN on four blocks of fresh hypergraphs",
        HRNN,
        _smaller(HRNN, test=500),
        tolerance=0.01,
    ),
    _experiment(
        "networks",
        "GRU, LSTM and Transformer on the same sequences",
        NETWORKS,
        _short(NETWORKS),
        tolerance=NETWORK_TOLERANCE,
        dtype="float32",
    ),
    _experiment(
        "baselines",
        "no memory: a fair coin, always +1, a fixed table of answers",
        BASELINES,
        _smaller(BASELINES, test=500),
    ),
    _experiment(
        "tasks",
        "a GRU on fresh, slowly changing and non-contextual sequences",
        TASKS,
        _short(TASKS),
        tolerance=NETWORK_TOLERANCE,
        dtype="float32",
    ),
    _experiment(
        "binary",
        "nets with a memory of 1 to 10 bits, on independent tokens",
        BINARY,
        _short(BINARY),
        seeds=5,
        run=run_binary,
        tolerance=NETWORK_TOLERANCE,
        dtype="float32",
    ),
    _experiment(
        "gradients",
        "gradients of the k-HRNN at random angles against the number of qubits",
        GRADIENTS,
        _smaller(GRADIENTS, sizes=(3, 4, 5, 6), draws=4),
        seeds=16,
        run=checks.run_gradients,
    ),
    _experiment(
        "start",
        "the k-HRNN at n = 6, k = 3 from far and near angles",
        START,
        _smaller(START, n=4, steps=60, test=500),
        tolerance=0.05,
    ),
    _experiment(
        "noise",
        "exact cells with errors of gates and readings, on Qiskit Aer",
        NOISE,
        _smaller(NOISE, sequences=20, shots=20),
        run=noise.run_noise,
        tolerance=0.05,
    ),
    properties(checks.PROPERTIES, default="square"),
)


def published() -> dict[str, Any]:
    """Return numbers read off a published figure, as ``published.yml`` says."""
    return yaml.safe_load(Path(__file__).with_name("published.yml").read_text(encoding="utf-8"))


# What the chapter trains live, by profile.
PRESETS = {
    profile: {
        "hrnn": EXPERIMENTS["hrnn"].variants[profile]["n3k2"],
        **{
            f"{model}{width}": replace(
                EXPERIMENTS["networks"].variants[profile][f"n3-{model}{width}"], **changes
            )
            for model, width in WIDTHS[:3]
        },
    }
    for profile, changes in (("quick", {"steps": 300}), ("full", {}))
}
