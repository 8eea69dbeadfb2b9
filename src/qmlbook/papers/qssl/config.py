"""What a run can be asked: every setting with the source of its default.

Sources: bjader/QSSL at f3eeba7 and bjader/quantum-neural-network at 3f23e14; where the paper's text
(arXiv:2103.14653, version 1) says something else, both can be asked for.
"""

from dataclasses import dataclass

from ...base.errors import UsageError, require_known, require_least
from . import circuits

FIVE = (0, 1, 2, 3, 4)
NETWORKS = (*circuits.ANSATZE, "classical", "neighbours", "fourier", "identity", "cosine")
VIEWS = ("released", "text")
BENDS = ("leaky_relu", "tanh")


@dataclass(frozen=True)
class Config:
    """Settings of one run; the defaults are the released ones of the exact ring circuit."""

    network: str = "ring"  # one of NETWORKS [README: sim_circ_14_half]
    width: int = 8  # features, and qubits [train_simclr.py --width]
    layers: int = 2  # of the circuit or the classical network [--layers; all-to-all: 3]
    trained: bool = True  # False: the circuit keeps its initial angles
    activation: str = "null"  # between the circuit's layers [--activation]
    gates: str = "all"  # of circuits.GATE_SETS: which gates on two wires stay
    read: str = "z"  # of circuits.READS: what is measured of every qubit [pauli Z]
    shots: int | None = None  # per circuit, None: exact [statevector_simulator]
    gradient: str = "exact"  # or two-term, as released [gradient_calculator.py 10-19]
    bend: str = "leaky_relu"  # or tanh, of the classical network [hybrid_resnet.py 100-102]
    bend_last: bool = True  # whether it also ends with one
    head: bool = True  # projection head in pre-training [moco/builder.py 202-211]
    dataset: str = "cifar10"  # or digits, scikit-learn's
    classes: tuple[int, ...] = FIVE  # [README: --classes 5]
    n_train: int | None = None  # images; None: all 25,000 [train_simclr.py 272-283]
    n_test: int | None = None  # None: all 5,000 [linear_probe_simclr.py 370-380]
    held_out: int = 0  # training images that are the test images, in a search for settings
    channels: tuple[int, ...] = (64, 128, 256, 512)  # [hybrid_resnet.py 76-88]
    crop: tuple[float, float] = (0.2, 1.0)  # share of the area [train_simclr.py 256]
    views: str = "released"  # or text, with rotation and blur [arXiv v1, Methods]
    batch_size: int = 256  # images, twice as many views [train_simclr.py 285-287]
    batches: int = 194  # two epochs [README]
    checkpoints: tuple[int, ...] = (1, 92, 176)  # batches after which a probe is trained
    temperature: float = 0.07  # [train_simclr.py --temperature]
    learning_rate: float = 1e-3  # [train_simclr.py 225]
    weight_decay: float = 1e-6  # [train_simclr.py 225]
    probe: str = "adam"  # or logistic, for few images [linear_probe_simclr.py 313]
    probe_epochs: int = 100  # [linear_probe_simclr.py --epochs]
    probe_crop: tuple[float, float] = (0.08, 1.0)  # [linear_probe_simclr.py 348]
    probe_passes: int = 2  # sets of views a probe learns from, in turn [released: one an epoch]
    spoiled: str = "nothing"  # or labels: those that a probe learns from are shuffled
    seeds_from: int = 0  # added to the seed of a run
    dtype: str = "float32"  # [torch's default]

    def __post_init__(self) -> None:
        """Refuse what no procedure here understands."""
        require_known(
            self,
            network=NETWORKS,
            activation=circuits.ACTIVATIONS,
            gates=circuits.GATE_SETS,
            read=circuits.READS,
            views=VIEWS,
            spoiled=("nothing", "labels"),
            gradient=("exact", "two-term"),
            bend=BENDS,
            dataset=("cifar10", "digits"),
            probe=("adam", "logistic"),
            dtype=("float32", "float64"),
        )
        require_least(self, width=2, layers=1, batch_size=2, batches=1)
        if self.shots is not None and self.shots < 1:
            raise UsageError(f"shots must be 1 or more, or None for exact runs, not {self.shots}.")
        if self.network not in circuits.ANSATZE and self.of_circuits != _PLAIN:
            raise UsageError(
                f"trained, activation, gates, read, shots and gradient belong to circuits, not to "
                f"network {self.network!r}."
            )
        if self.shots is not None and self.read != "z":
            raise UsageError(f"shots read the bits of every qubit, read='z', not {self.read!r}.")
        if list(self.classes) != sorted(set(self.classes)):
            raise UsageError(f"classes must rise, not {list(self.classes)}.")
        if any(not 1 <= number <= self.batches for number in self.checkpoints):
            raise UsageError(
                f"checkpoints must lie between 1 and batches={self.batches}, not "
                f"{list(self.checkpoints)}."
            )

    @property
    def of_circuits(self) -> tuple[object, ...]:
        """The settings that other networks have no use for."""
        return self.trained, self.activation, self.gates, self.read, self.shots, self.gradient

    @property
    def features(self) -> int:
        """How many numbers a representation network returns."""
        return self.width * circuits.READS[self.read]


_PLAIN = (True, "null", "all", "z", None, "exact")  # `Config.of_circuits` by default
PUBLISHED = Config()

# A small faithful version: scikit-learn's 8x8 digits 0 to 4, three convolutions, small warps as
# views, and logistic regression as the probe.
DIGITS = Config(
    dataset="digits",
    channels=(16, 32, 64),
    batch_size=64,
    batches=176,
    probe="logistic",
    probe_passes=0,
    dtype="float64",
)

# The same on part of CIFAR-10, with a quarter of ResNet-18's channels: where the images are here.
SOME_CIFAR10 = Config(
    n_train=2500,
    n_test=1000,
    channels=(16, 32, 64, 128),
    batch_size=128,
    batches=60,
    checkpoints=(1, 30, 60),
    probe="logistic",
    probe_passes=0,
)


@dataclass(frozen=True)
class Hardware:
    """Encoded test images and what runs the network on them."""

    network: str = "ring"  # of networks.STORED
    run_on: str = "exact"  # or a backend of qmlbook.backends [abstract: ibmq_paris]
    images: int = 900  # [results/figures: sums of the tables]
    shots: int = 1000  # [the text: 100, arXiv v1, II.F]
    recompiled: str = "no"  # or one of recompiled.CONNECTED [text: with the machine's, or any]
    mitigate: bool = False  # undo readout errors [the text names none]
    dataset: str = "cifar10"  # or digits


@dataclass(frozen=True)
class Properties:
    """How far exact statements are checked."""

    widths: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8)
