"""Configurations and runs of the C2Q paper.

Source: sky-born/QCNN_transfer_learning at 7e5a792. Accuracies are in % of all test images of a
pair of digits; labels are 1 for the smaller digit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import pennylane as qml
import torch
from torch import Tensor

from ...base.errors import UsageError, require_known, require_least
from ...base.rng import stream
from .. import Experiment, by_name
from . import models, training
from .circuits import ENCODINGS, MEASURED, WIRES, block_sizes, count_params, network
from .training import Recipe

PAIRS = {"0v1": (0, 1), "2v3": (2, 3), "8v9": (8, 9)}
# The heads of the charts: number of the convolution, and the word for the pooling in them.
POOLINGS = {"zx": "zx", "general": "general", "trivial": "none"}
HEADS = {
    f"{ansatz}-{word}": (ansatz, POOLINGS[word])
    for ansatz, word in (
        *product(range(1, 11), ("zx", "general")),
        (10, "trivial"),
        (11, "trivial"),
    )
}
ANGLE_HEADS = ("4-zx", "7-general", "10-zx", "10-general", "10-trivial", "11-trivial")
KINDS = ("quantum", *models.CLASSICAL, "linear")
LINEAR = (6, 12, 18, 24, 27, 30, 36, 45, 48, 51, 63)  # parameters of some quantum head


@dataclass(frozen=True)
class Config:
    """Settings of one run; the defaults are the released ones of the quantum heads."""

    pair: tuple[int, int] = (2, 3)  # digits, the smaller first [CQtransfer_FtoM_bench.py 221]
    head: str = "quantum"  # quantum, 1d, 2d, dense or linear
    ansatz: int = 10  # number of the convolution in the charts
    pooling: str = "general"  # zx, general or none
    encoding: str = "amplitude"  # amplitude (256 features) or angle (8) [QOSF/embedding.py 10-14]
    projections: int = 62  # of a linear head
    features: str = "source"  # source, untrained (initial source network) or pixels (no network)
    optimiser: str = "adam"  # adam or nesterov, of quantum heads [QOSF/Training.py]
    stepsize: float = 0.01  # [QOSF/Training.py; classical heads: Keras' 0.001]
    steps: int = 200  # [both]; 0 leaves the head untrained
    batch_size: int = 50  # [both]
    first: int = 10000  # training images of classical heads [CCtransfer_FtoM.py 114-127]
    n_train: int | None = None  # digits; None: all of the pair
    n_test: int | None = None
    source_images: int | None = None  # Fashion-MNIST images; None: all 60,000
    source_epochs: int = 5  # [CQtransfer_FtoM_bench.py]
    source_averaging: float = 0.01  # running statistics [Keras: momentum 0.99]
    source_dtype: str = "float32"
    source_seed: int | None = None  # one source network for all seeds; None: each seed its own

    def __post_init__(self) -> None:
        """Refuse what no procedure here understands."""
        require_known(
            self,
            pair=PAIRS.values(),
            head=KINDS,
            encoding=ENCODINGS,
            features=("source", "untrained", "pixels"),
            optimiser=training.RULES,
            source_dtype=("float32", "float64"),
        )
        require_least(self, steps=0, batch_size=1)
        block_sizes(self.ansatz, self.pooling)
        if self.encoding == "angle" and (self.head != "quantum" or self.features == "pixels"):
            raise UsageError(
                "encoding 'angle' takes 8 features of a source network to a quantum head; "
                f"head is {self.head!r} and features is {self.features!r}."
            )

    @property
    def recipe(self) -> Recipe:
        """How the source network is made."""
        return Recipe(
            width=models.WIDTHS[self.encoding],
            epochs=self.source_epochs if self.features == "source" else 0,
            n_train=self.source_images,
            averaging=self.source_averaging,
            dtype=self.source_dtype,
        )


PUBLISHED = Config()
CLASSICAL = replace(PUBLISHED, stepsize=0.001)

# A small faithful version: one epoch of the source network, whose running statistics therefore
# move five times as fast, one source network for all seeds, and fewer digits.
SMALL = {
    "n_train": 2000,
    "n_test": 1000,
    "source_images": 12000,
    "source_epochs": 1,
    "source_averaging": 0.05,
    "source_dtype": "float64",
    "source_seed": 0,
}
QUICK = replace(PUBLISHED, **SMALL)


def run(config: Config, seed: int) -> dict[str, float]:
    """Train a head and evaluate it.

    Returns:
        ``accuracy``, % of the test images of the pair.
    """
    split = training.features(config, seed)
    return {"accuracy": training.train(config, seed, split.train).accuracy(split.test)}


@dataclass(frozen=True)
class Network:
    """A source network to be judged by Fashion-MNIST's test images."""

    width: int = 256
    source_images: int | None = None
    source_epochs: int = 5
    source_averaging: float = 0.01
    source_dtype: str = "float32"
    n_test: int | None = None


def run_source(config: Network, seed: int) -> dict[str, float]:
    """Evaluate a source network, stored or trained now.

    Returns:
        ``accuracy`` in %, and ``dead``, the number of features that are the same for all images.
    """
    recipe = Recipe(
        config.width,
        config.source_epochs,
        config.source_images,
        config.source_averaging,
        config.source_dtype,
    )
    found = training.source(recipe, seed)
    digits = training.digits(PAIRS["2v3"], "test", 1000)
    spread = found.extract(digits.values.to(getattr(torch, recipe.dtype))).std(0)
    return {
        "accuracy": training.source_accuracy(found, config.n_test),
        "dead": int((spread < 1e-9).sum()),
    }


@dataclass(frozen=True)
class Properties:
    """How far exact statements are checked."""

    images: int = 20
    inputs: int = 150


def run_properties(config: Properties, seed: int) -> dict[str, float]:
    """Check what can be proved of all 22 heads, at random parameters.

    Returns:
        1 or 0 for ``quadratic_form``, ``poolings_agree`` and ``fewer_effective``; ``checked``, the
        number of heads; ``effective``, their ranks in the order of `HEADS`.
    """
    quadratic = [is_quadratic_form(*head, seed, config.images) for head in HEADS.values()]
    ranks = [effective_parameters(*head, seed, config.inputs) for head in HEADS.values()]
    fewer = [rank < count_params(*head) for rank, head in zip(ranks, HEADS.values(), strict=True)]
    return {
        "quadratic_form": float(all(quadratic)),
        "poolings_agree": float(poolings_agree(seed, config.images)),
        "fewer_effective": float(all(fewer)),
        "checked": len(HEADS),
        "effective": ranks,
    }


def _drawn(seed: int, *names: str | int, size: tuple[int, ...] | int) -> Tensor:
    return torch.from_numpy(stream(seed, "properties", *names).normal(size=size))


def is_quadratic_form(ansatz: int, pooling: str, seed: int, images: int) -> bool:
    """Return whether P(1) = x'Ax / x'x holds to 1e-10, with A's complex form a projector of 128.

    The unitary comes from PennyLane's default.qubit, P(1) from this book's simulator.
    """
    params = _drawn(seed, ansatz, pooling, size=count_params(ansatz, pooling))

    @qml.qnode(qml.device("default.qubit", wires=WIRES))
    def columns(basis):
        qml.StatePrep(basis, wires=range(WIRES))
        network(params, ansatz, pooling)
        return qml.state()

    unitary = columns(torch.eye(2**WIRES, dtype=torch.complex128)).T
    ones = (torch.arange(2**WIRES) >> (WIRES - 1 - MEASURED)) & 1 == 1
    matrix = unitary[ones].conj().T @ unitary[ones]
    x = _drawn(seed, "images", size=(images, 2**WIRES))
    form = ((x @ matrix.real) * x).sum(1) / (x * x).sum(1)
    simulated = models.quantum(ansatz, pooling)(x, params)[:, 1]
    eigenvalues = torch.linalg.eigvalsh(matrix)
    half = 2 ** (WIRES - 1)
    return bool(
        (form - simulated).abs().max() < 1e-10
        and eigenvalues[:half].abs().max() < 1e-10
        and (eigenvalues[half:] - 1).abs().max() < 1e-10
    )


def poolings_agree(seed: int, images: int, ansatz: int = 10) -> bool:
    """Return whether all poolings are the same circuit when their parameters are zero."""
    convolution = _drawn(seed, "poolings", size=count_params(ansatz, "none"))
    x = _drawn(seed, "images", size=(images, 2**WIRES))
    found = []
    for pooling in POOLINGS.values():
        zeros = torch.zeros(count_params(ansatz, pooling) - len(convolution), dtype=x.dtype)
        found.append(models.quantum(ansatz, pooling)(x, torch.cat([convolution, zeros])))
    return all(bool((other - found[0]).abs().max() < 1e-10) for other in found[1:])


def effective_parameters(ansatz: int, pooling: str, seed: int = 0, inputs: int = 150) -> int:
    """Return the rank of dP(1)/dparameters at a random point over random amplitude inputs."""
    params = _drawn(seed, ansatz, pooling, size=count_params(ansatz, pooling))
    if not len(params):
        return 0
    x = _drawn(seed, "inputs", size=(inputs, 2**WIRES))
    circuit = models.quantum(ansatz, pooling)
    derivatives = torch.autograd.functional.jacobian(lambda p: circuit(x, p)[:, 1], params)
    return int(torch.linalg.matrix_rank(derivatives, rtol=1e-8))


def _quantum(template: Config, heads=tuple(HEADS), pairs=tuple(PAIRS)) -> dict[str, Config]:
    """Name quantum heads ``<convolution>-<pooling>-<pair>`` over a template."""
    return {
        f"{head}-{pair}": replace(
            template, pair=PAIRS[pair], ansatz=HEADS[head][0], pooling=HEADS[head][1]
        )
        for pair, head in product(pairs, heads)
    }


def _grid(template: Config, heads=tuple(HEADS), pairs=tuple(PAIRS)) -> dict[str, Config]:
    return {
        f"{name}-{optimiser}": replace(config, optimiser=optimiser)
        for name, config in _quantum(template, heads, pairs).items()
        for optimiser in training.RULES
    }


def _classical(template: Config, pairs=tuple(PAIRS)) -> dict[str, Config]:
    return {
        f"{kind}-{pair}": replace(template, head=kind, pair=PAIRS[pair])
        for pair, kind in product(pairs, models.CLASSICAL)
    }


def _linear(template: Config, sizes=LINEAR, pairs=tuple(PAIRS)) -> dict[str, Config]:
    return {
        f"linear-{n}-{pair}": replace(template, head="linear", projections=n - 1, pair=PAIRS[pair])
        for pair, n in product(pairs, sizes)
    }


# Other processors round features differently; measured between instruction sets, none of the
# accuracies moved by more than a few test images.
TOLERANCE = 5e-3
QUICK_HEADS, QUICK_PAIRS = ("4-zx", "7-general", "10-general"), ("2v3",)


_experiment = partial(Experiment.of, run=run, seeds=10, tolerance=TOLERANCE)


def _quick_quantum(**changes) -> dict[str, Config]:
    return _quantum(replace(QUICK, **changes), QUICK_HEADS, QUICK_PAIRS)


EXPERIMENTS = by_name(
    _experiment(
        "source",
        "source networks on the clothes they were trained on",
        {"256": Network(256), "8": Network(8)},
        {"256": Network(256, 12000, 1, 0.05, "float64", 3000)},
        run=run_source,
    ),
    _experiment(
        "grid",
        "the released quantum heads, with both optimisers",
        _grid(PUBLISHED),
        _grid(QUICK, QUICK_HEADS, QUICK_PAIRS),
    ),
    _experiment(
        "classical",
        "the released classical heads, at Keras' step size",
        _classical(CLASSICAL),
        _classical(replace(CLASSICAL, **SMALL), QUICK_PAIRS),
    ),
    _experiment(
        "equal-step",
        "classical and linear heads at the quantum heads' step size",
        {**_classical(PUBLISHED), **_linear(PUBLISHED)},
        {**_classical(QUICK, QUICK_PAIRS), **_linear(QUICK, (18, 36, 63), QUICK_PAIRS)},
    ),
    _experiment(
        "small-step",
        "the largest quantum head at the classical heads' step size",
        _quantum(CLASSICAL, ("10-general",)),
        _quantum(replace(CLASSICAL, **SMALL), ("10-general",), QUICK_PAIRS),
    ),
    _experiment(
        "untrained",
        "quantum heads with their initial parameters",
        _quantum(replace(PUBLISHED, steps=0)),
        _quick_quantum(steps=0),
    ),
    _experiment(
        "random-source",
        "quantum heads on the features of a source network with its initial weights",
        _quantum(replace(PUBLISHED, features="untrained")),
        _quick_quantum(features="untrained"),
    ),
    _experiment(
        "pixels",
        "quantum heads on digits shrunk to 16x16 pixels, without a network",
        _quantum(replace(PUBLISHED, features="pixels")),
        _quick_quantum(features="pixels"),
    ),
    _experiment(
        "angle",
        "quantum heads on 8 features, encoded as angles",
        _quantum(replace(PUBLISHED, encoding="angle"), ANGLE_HEADS),
        _quantum(replace(QUICK, encoding="angle"), ("4-zx", "10-general"), QUICK_PAIRS),
    ),
    _experiment(
        "properties",
        "exact statements about all 22 heads, checked at random parameters",
        {"exact": Properties()},
        {"exact": Properties()},
        seeds=1,
        run=run_properties,
        tolerance=1e-9,
    ),
)

# What the chapter trains live, by profile.
PRESETS = {
    "quick": {"quantum": QUICK, "classical": replace(CLASSICAL, **SMALL)},
    "full": {"quantum": PUBLISHED, "classical": CLASSICAL},
}
