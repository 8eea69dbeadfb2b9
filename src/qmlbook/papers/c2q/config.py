"""What a run of the C2Q paper can be asked; the defaults are the released ones.

Source: sky-born/QCNN_transfer_learning at 7e5a792. Accuracies are in % of all test images of a
pair of digits; labels are 1 for the smaller digit.
"""

from dataclasses import dataclass
from itertools import product

from ...base.errors import UsageError, require_known, require_least
from ..shared.splits import SPOILED
from .circuits import ENCODINGS, GATE_SETS, WIRES, block_sizes

# Of the task, and of the source network: no field of a configuration asks for others.
IMAGES = ("mnist", "fashion_mnist")
PAIRS = {"0v1": (0, 1), "2v3": (2, 3), "8v9": (8, 9)}
# The heads of the charts: number of the convolution, and the word for the pooling in them.
CHARTED_POOLINGS = {"zx": "zx", "general": "general", "trivial": "none"}
_CHARTED = (*product(range(1, 11), ("zx", "general")), (10, "trivial"), (11, "trivial"))
QUANTUM_HEADS: dict[str, tuple[int, str]] = {
    f"{ansatz}-{word}": (ansatz, CHARTED_POOLINGS[word]) for ansatz, word in _CHARTED
}
CLASSICAL_HEADS = ("1d", "2d", "dense")
LIKE_QUANTUM = ("quantum", "quadratic")  # trained as the quantum heads are
HEADS = (*LIKE_QUANTUM, *CLASSICAL_HEADS, "linear")
RULES = ("adam", "nesterov")
WIDTHS = {"amplitude": 2**WIRES, "angle": WIRES}  # features that an encoding takes


@dataclass(frozen=True)
class Recipe:
    """How a source network is made; the defaults are the released ones."""

    width: int = 256  # 256 features for amplitudes, 8 for angles
    epochs: int = 5  # 0: the initial weights
    n_train: int | None = None  # Fashion-MNIST images; None: all 60,000
    averaging: float = 0.01  # of a batch in the running statistics [Keras: momentum 0.99]
    dtype: str = "float32"  # of the training; weights are then kept in half precision
    batch_size: int = 32  # [Keras' default]


@dataclass(frozen=True)
class Config:
    """Settings of one run; the defaults are the released ones of the quantum heads."""

    pair: tuple[int, int] = (2, 3)  # digits, the smaller first [CQtransfer_FtoM_bench.py 221]
    head: str = "quantum"  # quantum, quadratic, 1d, 2d, dense or linear
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
    gates: str = "all"  # of a quantum head; uncontrolled or removed leave local ones [ours]
    size: int = 63  # parameters of a quadratic head [ours]
    spoiled: str = "nothing"  # or labels (shuffled), images (noise): what leaks through is seen

    def __post_init__(self) -> None:
        """Refuse what no procedure here understands."""
        require_known(
            self,
            pair=PAIRS.values(),
            head=HEADS,
            encoding=ENCODINGS,
            features=("source", "untrained", "pixels"),
            optimiser=RULES,
            source_dtype=("float32", "float64"),
            gates=GATE_SETS,
            spoiled=SPOILED,
        )
        require_least(self, steps=0, batch_size=1, size=2)
        block_sizes(self.ansatz, self.pooling)
        if self.gates != "all" and (self.head, self.encoding) != ("quantum", "amplitude"):
            raise UsageError(
                "gates are left out of a quantum head with encoding 'amplitude' alone; "
                f"head is {self.head!r} and encoding is {self.encoding!r}."
            )
        if self.encoding == "angle" and (self.head != "quantum" or self.features == "pixels"):
            raise UsageError(
                "encoding 'angle' takes 8 features of a source network to a quantum head; "
                f"head is {self.head!r} and features is {self.features!r}."
            )

    @property
    def recipe(self) -> Recipe:
        """How the source network is made."""
        epochs = self.source_epochs if self.features == "source" else 0
        return source_recipe(self, WIDTHS[self.encoding], epochs)


@dataclass(frozen=True)
class Network:
    """A source network to be judged by Fashion-MNIST's test images."""

    width: int = 256
    source_images: int | None = None
    source_epochs: int = 5
    source_averaging: float = 0.01
    source_dtype: str = "float32"
    n_test: int | None = None


def source_recipe(settings: Config | Network, width: int, epochs: int) -> Recipe:
    """Return how a source network is made, by the settings whose names begin with ``source``."""
    made = settings.source_images, settings.source_averaging, settings.source_dtype
    return Recipe(width, epochs, *made)


@dataclass(frozen=True)
class Properties:
    """How far exact statements are checked."""

    images: int = 20
    inputs: int = 150
