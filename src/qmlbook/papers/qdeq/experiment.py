"""Configurations and runs of the QDEQ paper.

Sources: martaskrt/qdeq at a668197 (README.md, train_qdeq.py, qdeq_model.py, lib/solvers.py), and
earlier commits of it where one is named. Everything runs in double precision.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from ...base.errors import UsageError, require_known, require_least
from ...base.rng import stream
from .. import Experiment, by_name, properties
from . import checks, circuits, models
from . import training as learning
from .solvers import STOPS

DATASETS = ("mnist", "fashion_mnist", "cifar10")
FOUR, TEN = (0, 3, 6, 9), tuple(range(10))
MODELS = ("direct", "implicit", "linear", "baseline")


@dataclass(frozen=True)
class Config:
    """Settings of one run; the defaults are the example of the README, for MNIST-4."""

    dataset: str = "mnist"  # one of DATASETS
    classes: tuple[int, ...] = FOUR  # as many as there are wires [train_qdeq.py 190-198]
    encoder: str = "amplitude"  # or angle [train_qdeq.py 40-41]
    model: str = "implicit"  # one of MODELS
    layers: int = 2  # stacked: of a direct model, of a warm-up [239ee5a9 qdeq_mnist_warmup_4c.sh]
    warmup: float = 0.0  # share of the steps before the equilibrium [README: pretrain_steps 0]
    solver: str = "broyden"  # or anderson, both ways [README]
    stop: str = "rel"  # criterion forward [README]
    eps: float = 1e-3  # its goal [lib/solvers.py]
    threshold: int = 10  # solver steps at most [README: f_thres]
    delta: int = 2  # up to so many fewer in training [README: rand_f_thres_delta]
    adjoint: str = "exact"  # or solver, as released
    adjoint_threshold: int = 10  # steps at most of that solver [README: b_thres]
    gamma: float = 0.8  # weight of the Jacobian penalty [README: jac_loss_weight]
    frequency: float = 1.0  # share of the steps that have it [README: jac_loss_freq]
    train_angles: bool = True  # False: only the classifier learns
    train_tail: bool = False  # the tail's angles never reach the optimiser [qdeq_model.py 39-42]
    random_layer: int = circuits.SEED  # of numpy, before the gates are drawn [qdeq_model.py]
    dropout: float = 0.05  # [qdeq_model.py: hard-coded]
    epochs: int = 100  # [README: 18,800 steps of 188 an epoch]
    batch_size: int = 256  # [README]
    learning_rate: float = 0.005  # of Adam [README]
    weight_decay: float = 0.0  # [train_qdeq.py]
    schedule: str = "constant"  # or cosine, down to 0 by epochs [README]
    clip: float | None = 0.25  # of the norm of all gradients [train_qdeq.py]
    selection: str = "best"  # epoch of lowest validation loss, or the last one [train_qdeq.py]
    validation: float = 0.2  # share of the training images [load_mnist.py]
    n_train: int | None = None  # images trained and validated on; None: the whole split
    n_test: int | None = None  # images tested on; None: the whole split

    def __post_init__(self) -> None:
        """Refuse what nothing here understands."""
        object.__setattr__(self, "classes", tuple(self.classes))
        require_known(
            self,
            dataset=DATASETS,
            encoder=circuits.ENCODERS,
            model=MODELS,
            solver=models.SOLVERS,
            stop=STOPS,
            adjoint=("exact", "solver"),
            schedule=("constant", "cosine"),
            selection=("best", "last"),
        )
        require_least(self, layers=1, epochs=1, batch_size=1)
        if len(set(self.classes)) != len(self.classes) or len(self.classes) not in (4, 10):
            raise UsageError(f"classes must be 4 or 10 different labels, not {self.classes}.")
        for name in ("warmup", "frequency", "gamma", "dropout", "weight_decay"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise UsageError(f"{name} must lie between 0 and 1, not {value}.")
        if self.threshold - self.delta < 3 or self.delta < 0 or self.adjoint_threshold < 3:
            raise UsageError(
                "threshold - delta and adjoint_threshold must be 3 or more and delta 0 or more, "
                f"not {self.threshold} - {self.delta}, {self.adjoint_threshold} and {self.delta}."
            )
        if not 0 < self.validation < 1 or not self.learning_rate > 0 or not self.eps > 0:
            raise UsageError(
                "validation must lie strictly between 0 and 1, learning_rate and eps above 0, "
                f"not {self.validation}, {self.learning_rate} and {self.eps}."
            )

    @property
    def n_wires(self) -> int:
        """Number of qubits, classes and expectations."""
        return len(self.classes)


# --- runs ---


def run(config: Config, seed: int) -> dict[str, float]:
    """Train a model and test it.

    Returns:
        ``accuracy`` on the test split, and ``validation_accuracy``, of the selected epoch. For
        models with a layer ``residual`` and ``residual_logged`` over the test split (see
        `learning.residuals`); ``evaluations``, circuit evaluations and vector-Jacobian products
        per image and training step: those of the solver, one to carry the gradient, n for the
        exact implicit gradient, one for the angles, one for the penalty; ``unconverged``, solver
        calls per step that ended above the tolerance. For the baseline ``accuracy_75``, on the
        first 75 test images.
    """
    training, validation, test = learning.splits(config, seed)
    return evaluate(config, learning.train(config, seed, training, validation), test)


def evaluate(config: Config, trained: learning.Trained, test: learning.Split) -> dict[str, float]:
    """Return the metrics of `run` for a trained model."""
    model, tally = trained.model, trained.model.tally
    found = {"accuracy": learning.score(model, test, trained.depth)[1]}
    if config.model == "linear":
        return found
    found["validation_accuracy"] = trained.validation_accuracy[trained.epoch]
    if config.model == "baseline":
        return found | {"accuracy_75": learning.score(model, test[:75], trained.depth)[1]}
    return (
        found
        | learning.residuals(model, test, trained.depth)
        | {
            "evaluations": tally.evaluations / tally.steps,
            "unconverged": tally.unconverged / tally.steps,
        }
    )


def run_tuning(config: Config, seed: int) -> dict[str, float]:
    """Train one configuration; its seed is drawn, so that it is none of the evidence.

    Returns:
        ``validation_accuracy`` and ``validation_loss`` of the epoch with the lowest loss.
    """
    training, validation, _ = learning.splits(config, other := tuning_seed(seed))
    trained = learning.train(config, other, training, validation)
    return {
        "validation_accuracy": trained.validation_accuracy[trained.epoch],
        "validation_loss": trained.validation_loss[trained.epoch],
    }


def tuning_seed(seed: int) -> int:
    """Return the root of the random streams of tuning, far from all seeds of evidence."""
    return int(stream(seed, "tuning").integers(10**6, 2**31))


# --- variants ---

DIRECT = {f"direct{n}": Config(model="direct", layers=n) for n in (1, 2, 5, 10)}
IMPLICIT = Config()
WARMUP = replace(IMPLICIT, warmup=0.5, layers=2)  # half of the steps [239ee5a9]
UNTRAINED = replace(IMPLICIT, train_angles=False, gamma=0.0)
LINEAR = Config(model="linear")

AMPLITUDE_4 = {
    **DIRECT,
    "implicit": IMPLICIT,
    "warmup": WARMUP,
    "implicit-free": replace(IMPLICIT, gamma=0.0),
    "implicit-penalty": IMPLICIT,
    "implicit-tail": replace(IMPLICIT, train_tail=True),
    "untrained": UNTRAINED,
    "linear": LINEAR,
}
ANGLE_4 = {name: AMPLITUDE_4[name] for name in (*DIRECT, "implicit", "warmup", "untrained")}
AMPLITUDE_10 = {
    name: AMPLITUDE_4[name]
    for name in ("direct1", "direct5", "implicit", "warmup", "untrained", "linear")
}
# The earlier script [bd9f57b1 baselines/another_wang_line.py, output_*_mnist_4.py].
BASELINE = Config(
    model="baseline",
    train_tail=True,
    random_layer=0,
    weight_decay=1e-4,
    schedule="cosine",
    clip=None,
    selection="last",
    validation=0.1,
)

# Experiment -> what its variants have in common. On MNIST-4, 50 epochs are the 3,750 steps of the
# earlier scripts [239ee5a9 qdeq_mnist_warmup_4c.sh]; on ten classes 10 epochs are 1,880 of 18,800.
SETTINGS: dict[str, dict[str, Any]] = {
    "mnist4": {"epochs": 50},
    "mnist4_angle": {"encoder": "angle", "epochs": 50},
    "mnist10": {"classes": TEN, "epochs": 10},
    "fashion_mnist10": {"classes": TEN, "epochs": 10, "dataset": "fashion_mnist"},
    "cifar10": {"classes": TEN, "epochs": 10, "dataset": "cifar10"},
}
FAMILIES = {"mnist4": AMPLITUDE_4, "mnist4_angle": ANGLE_4, "mnist10": AMPLITUDE_10}

# Eight configurations for every model, on validation images. The published search [42fe552f,
# 239ee5a9] had the rates 0.005, 0.0075, 0.01 and 0.05 for all models, and weights of the penalty
# for the implicit ones, with 100 epochs; with fewer epochs larger rates must be on offer.
RATES = (0.002, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.2)
GRID = tuple({"learning_rate": rate} for rate in RATES)
PENALTY_GRID = tuple(
    {"learning_rate": rate, "gamma": gamma}
    for rate, gamma in product((0.005, 0.01, 0.05, 0.1), (0.8, 0.0))
)
TUNED = Path(__file__).with_name("tuned.yml")
TUNED_AS = {"fashion_mnist10": "mnist10", "cifar10": "mnist10"}  # not tuned of their own
TUNING_EPOCHS = {"mnist4": 20, "mnist4_angle": 20, "mnist10": 4}


def grid(model: str) -> tuple[dict[str, float], ...]:
    """Return the eight configurations that a model may choose from."""
    return PENALTY_GRID if model in ("implicit", "warmup", "implicit-tail") else GRID


def tuned() -> dict[str, dict[str, dict[str, float]]]:
    """Return the chosen settings: family -> model -> settings (``tuned.yml``)."""
    if not TUNED.exists():
        return {}
    return yaml.safe_load(TUNED.read_text(encoding="utf-8")) or {}


def best(records: Iterable[Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the settings with the highest validation accuracy, from records of `tuning`.

    Of equals, the one with the lower loss. A model whose eight runs are not all there is left out.
    """
    scores: dict[str, tuple[float, float]] = {
        record.variant: (record.metrics["validation_accuracy"], -record.metrics["validation_loss"])
        for record in records
        if record.experiment == "tuning" and record.profile == "full" and record.status == "ok"
    }
    found: dict[str, dict[str, dict[str, float]]] = {}
    for family, variants in FAMILIES.items():
        for model in variants:
            names = [f"{family}-{model}-{i}" for i in range(len(grid(model)))]
            if all(name in scores for name in names):
                place = max(range(len(names)), key=lambda i, names=names: scores[names[i]])
                found.setdefault(family, {})[model] = dict(grid(model)[place])
    return found


def _full(experiment: str) -> dict[str, Config]:
    family = TUNED_AS.get(experiment, experiment)
    chosen = tuned().get(family, {})
    return {
        name: replace(config, **SETTINGS[experiment], **chosen.get(name, {"learning_rate": 0.05}))
        for name, config in FAMILIES[family].items()
    }


SMALL = {  # wires -> a small version on the embedded images, seconds a run
    4: {"n_train": 1000, "n_test": 1000, "batch_size": 64, "epochs": 6, "learning_rate": 0.05},
    10: {"n_train": 1000, "n_test": 1000, "batch_size": 64, "epochs": 3, "learning_rate": 0.05},
}


def _quick(experiment: str) -> dict[str, Config]:
    if SETTINGS[experiment].get("dataset") == "cifar10":
        return {}  # no sample of it travels with the package
    changes = SETTINGS[experiment] | SMALL[10 if "classes" in SETTINGS[experiment] else 4]
    family = FAMILIES[TUNED_AS.get(experiment, experiment)]
    return {name: replace(config, **changes) for name, config in family.items()}


def _tuning(**more: Any) -> dict[str, Config]:
    """Name every configuration ``<family>-<model>-<number>``."""
    return {
        f"{family}-{model}-{i}": replace(
            config, **SETTINGS[family] | {"epochs": TUNING_EPOCHS[family]} | settings | more
        )
        for family, variants in FAMILIES.items()
        for model, config in variants.items()
        for i, settings in enumerate(grid(model))
    }


def _baseline(**more: Any) -> dict[str, Config]:
    return {name: replace(BASELINE, encoder=name, **more) for name in circuits.ENCODERS}


MEMORY = {
    f"n{n}-{name}": checks.Memory(n_wires=n, layers=layers)
    for n, depths in ((4, (1, 5, 0)), (10, (5, 0)))
    for layers in depths
    for name in (f"direct{layers}" if layers else "implicit",)
}
ROOTS = {name: checks.Roots(method=name) for name in checks.METHODS}

# --- experiments ---

# Training at the equilibrium amplifies rounding: while some images have no attracting root, ten
# steps of a solver end where they end. Between instruction sets of one machine, 20 epochs on
# MNIST-4 differed by up to 0.01 in accuracy and 0.03 in other metrics; stacked layers and ten
# qubits by nothing visible.
TRAINED_TOLERANCE = 0.05


_experiment = partial(Experiment.of, run=run, seeds=8, quick_seeds=3, tolerance=TRAINED_TOLERANCE)


ABOUT = {
    "mnist4": "digits 0, 3, 6, 9 on four qubits, amplitude encoder",
    "mnist4_angle": "digits 0, 3, 6, 9 on four qubits, angle encoder",
    "mnist10": "ten digits on ten qubits, amplitude encoder",
    "fashion_mnist10": "FashionMNIST on ten qubits, amplitude encoder",
    "cifar10": "CIFAR-10 on ten qubits, amplitude encoder",
}

EXPERIMENTS = by_name(
    _experiment(
        "memory",
        "bytes kept for one backward pass, every gate simulated",
        MEMORY,
        {name: config for name, config in MEMORY.items() if config.n_wires == 4},
        seeds=3,
        quick_seeds=1,
        run=checks.run_memory,
        tolerance=1e-9,
        dtype="float32",
    ),
    properties(checks.PROPERTIES, default="memory-flat"),
    _experiment(
        "roots",
        "shares of images whose iteration reaches a fixed point, random circuits",
        ROOTS,
        {name: replace(config, images=100) for name, config in ROOTS.items()},
        seeds=20,
        run=checks.run_roots,
    ),
    *(
        _experiment(name, f"{about}; settings by `tuning`", _full(name), _quick(name))
        for name, about in ABOUT.items()
    ),
    _experiment(
        "baseline",
        "the earlier classifier without a fixed point, 100 epochs",
        _baseline(),
        _baseline(n_train=1000, n_test=1000, epochs=10, batch_size=64),
    ),
    _experiment(
        "tuning",
        "eight configurations of every model on validation images; chooses for the others",
        _tuning(),
        {},
        seeds=1,
        run=run_tuning,
    ),
)

# What the chapter trains live, by profile.
PRESETS = {
    profile: {
        name: EXPERIMENTS["mnist4"].variants[profile][name]
        for name in ("direct1", "direct5", "implicit", "warmup", "linear")
    }
    for profile in ("quick", "full")
}
