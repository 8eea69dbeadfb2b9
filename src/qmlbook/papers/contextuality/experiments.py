"""Experiments of the contextuality papers: which runs, in which profile, how many seeds."""

from dataclasses import replace
from functools import partial
from typing import Any

from ..shared.grids import axis, by_name, changed, properties, read_numbers, told, variants
from . import checks
from .config import MEMORYLESS, Config, Gradients, Noise
from .runs import run, run_binary, run_gradients, run_noise

HRNN = {f"n{n}k{k}": Config(n=n, k=k) for n, k in ((3, 2), (4, 2), (5, 2), (4, 3))}
NETWORK = Config(
    model="gru", width=32, steps=10_000, batch_size=256, learning_rate=3e-3, clip=1.0,
    dtype="float32",
)  # fmt: skip
WIDTHS = (("gru", 4), ("gru", 16), ("gru", 64), ("gru", 256), ("lstm", 64), ("transformer", 32))
SIZES = axis("n", (3, 4), "n{}")
CLASSICAL = variants(
    NETWORK, SIZES, {f"{model}{width}": {"model": model, "width": width} for model, width in WIDTHS}
)
BASELINES = {
    f"{size}-{model}": replace(config, model=model)
    for size, config in HRNN.items()
    for model in MEMORYLESS
    if config.k == 2 or model != "table"
}
TASKS = variants(replace(NETWORK, steps=4000), axis("kind", ("uniform", "toggle", "local")))
# On independent tokens every sequence can occur, as the bound needs; on whole blocks at n = 3 even
# a fixed table of answers is never impossible (`checks.block_table`).
BINARY = variants(
    replace(NETWORK, kind="free", model="binary", steps=3000, width=1),
    SIZES,
    axis("width", range(1, 11), "d{}"),
)
START = variants(Config(n=6, k=3, kind="toggle", blocks=3), axis("start", ("uniform", "near")))
GRADIENTS = variants(Gradients(), axis("links", ("sparse", "dense")))
NOISE = variants(Noise(), axis("strength", (0.0, 0.001, 0.003, 0.01, 0.03), "p{:g}"))


def _short(configs: dict[str, Config]) -> dict[str, Config]:
    """Return a few steps of the same at n = 3, in double precision."""
    chosen = {name: config for name, config in configs.items() if config.n == 3}
    return changed(chosen, steps=100, batch_size=64, test=500, dtype="float64")


# Single precision and thousands of steps amplify rounding: between instruction sets of one machine
# 1,200 steps of a GRU of 64 units differed by 0.013 bits at their end and by 0.06 on the way.
NETWORK_TOLERANCE = 0.25
ABOUT = {
    "hrnn": "the trained k-HRNN on four blocks of fresh hypergraphs",
    "networks": "GRU, LSTM and Transformer on the same sequences",
    "baselines": "no memory: a fair coin, always +1, a fixed table of answers",
    "tasks": "a GRU on fresh, slowly changing and non-contextual sequences",
    "binary": "nets with a memory of 1 to 10 bits, on independent tokens",
    "gradients": "gradients of the k-HRNN at random angles against the number of qubits",
    "start": "the k-HRNN at n = 6, k = 3 from far and near angles",
    "noise": "exact cells with errors of gates and readings, on Qiskit Aer",
}
_experiment = told(ABOUT, run=run, seeds=8, quick_seeds=3)
_in_single = partial(_experiment, tolerance=NETWORK_TOLERANCE, dtype="float32")
EXPERIMENTS = by_name(
    _experiment("hrnn", HRNN, changed(HRNN, test=500), tolerance=0.01),
    _in_single("networks", CLASSICAL, _short(CLASSICAL)),
    _experiment("baselines", BASELINES, changed(BASELINES, test=500)),
    _in_single("tasks", TASKS, _short(TASKS)),
    _in_single("binary", BINARY, _short(BINARY), seeds=5, run=run_binary),
    _experiment(
        "gradients",
        GRADIENTS,
        changed(GRADIENTS, sizes=(3, 4, 5, 6), draws=4),
        seeds=16,
        run=run_gradients,
    ),
    _experiment("start", START, changed(START, n=4, steps=60, test=500), tolerance=0.05),
    _experiment(
        "noise", NOISE, changed(NOISE, sequences=20, shots=20), run=run_noise, tolerance=0.05
    ),
    properties(checks.PROPERTIES, default="square"),
)


def published() -> dict[str, Any]:
    """Return numbers read off a published figure, as ``published.yml`` says."""
    return read_numbers("contextuality", "published.yml")


# What the chapter trains live, by profile.
PRESETS = {}
for profile, changes in (("quick", {"steps": 300}), ("full", {})):
    networks = changed(EXPERIMENTS["networks"].variants[profile], **changes)
    names = [f"{model}{width}" for model, width in WIDTHS[:3]]
    PRESETS[profile] = {
        "hrnn": EXPERIMENTS["hrnn"].variants[profile]["n3k2"],
        **{name: networks[f"n3-{name}"] for name in names},
    }
