"""Which runs, from how many seeds."""

from dataclasses import replace

from ..shared.grids import Experiment, axis, by_name, changed, variants
from .config import Config
from .runs import run_fit, run_spectrum

SPECTRUM = variants(Config(steps=0), axis("encodings", (1, 2, 3), "r{}"))
FIT = variants(Config(), axis("encodings", (1, 2), "r{}"))
FIT["r2-untrained"] = replace(FIT["r2"], steps=0)

EXPERIMENTS = by_name(
    Experiment.of("spectrum", "frequencies", SPECTRUM, SPECTRUM, seeds=5, run=run_spectrum),
    Experiment.of(
        "fit", "cos(2x)", FIT, changed(FIT, points=16), seeds=8, quick_seeds=2, run=run_fit
    ),
)
