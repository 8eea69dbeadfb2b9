"""What a run can be asked: every setting with the source of its default.

Sources: martaskrt/qdeq at a668197 (README.md, train_qdeq.py, qdeq_model.py, lib/solvers.py), and
earlier commits of it where one is named. Everything runs in double precision.
"""

from dataclasses import dataclass

from ...base.errors import UsageError, require_known, require_least
from . import circuits, surrogates
from .solvers import SOLVERS, STOPS

DATASETS = ("mnist", "fashion_mnist", "cifar10")
FOUR, TEN = (0, 3, 6, 9), tuple(range(10))
MODELS = ("direct", "implicit", "linear", "baseline")
EQUILIBRIUM = 0  # the depth that stands for the fixed point
METHODS = ("plain", "broyden")
# The circuit, with and without its entangling gates, and layers that know no quantum computer.
LAYERS = (*circuits.ENTANGLERS, *surrogates.KINDS)
SPOILED = ("nothing", "labels", "inputs")


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
    layer: str = "released"  # one of LAYERS; the others are controls
    spoiled: str = "nothing"  # labels shuffled before training, or noise for every input

    def __post_init__(self) -> None:
        """Refuse what nothing here understands."""
        object.__setattr__(self, "classes", tuple(self.classes))
        require_known(
            self,
            dataset=DATASETS,
            encoder=circuits.ENCODERS,
            model=MODELS,
            solver=SOLVERS,
            stop=STOPS,
            adjoint=("exact", "solver"),
            schedule=("constant", "cosine"),
            selection=("best", "last"),
            layer=LAYERS,
            spoiled=SPOILED,
        )
        if self.layer in surrogates.KINDS and self.encoder != "amplitude":
            raise UsageError(
                f"layer {self.layer!r} encodes no angles: its encoder must be 'amplitude', not "
                f"{self.encoder!r}."
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


@dataclass(frozen=True)
class Memory:
    """One training step, every gate simulated by PennyLane's default.qubit in single precision."""

    n_wires: int = 4
    layers: int = EQUILIBRIUM  # stacked, or the equilibrium
    encoder: str = "amplitude"
    batch_size: int = 256
    threshold: int = 10  # solver steps, all of which are made
    checkpoint: bool = False  # stacked layers keep their inputs alone, and are run again backward


@dataclass(frozen=True)
class Roots:
    """Iterate from 0 on real images, image by image."""

    method: str = "plain"  # or broyden
    images: int = 400
    steps: int = 300
    tolerance: float = 1e-6  # of |f(z) - z|

    def __post_init__(self) -> None:
        """Refuse unknown methods."""
        require_known(self, method=METHODS)
