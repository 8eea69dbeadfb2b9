"""What a run of the KL-SSL paper can be asked; the defaults are the released code.

Sources: namhai03/QSSL at 29ceb80 (code/), and the executed notebook of its first commit 32c274d,
which trained on the *test* split and was evaluated on the *train* split ("executed" below).
"""

from dataclasses import dataclass

from ...base.errors import UsageError, require_known, require_least
from ..shared.splits import SPOILED

DATASETS = ("mnist", "fashion_mnist", "kmnist")
DEPTHS = (2, 4, 8, 16)
CLASSIFIERS = ("quantum", "classical")
LOSSES = ("published", "loop_fixed", "sign_fixed", "corrected")
RELEASED_LOOP = ("published", "sign_fixed")  # their negatives are those of a whole batch
ROLES = {"released": ("train", "test"), "executed": ("test", "train")}  # (trained on, evaluated on)


@dataclass(frozen=True)
class Config:
    """Settings of one run; the defaults are the released code with the splits as executed."""

    dataset: str = "mnist"  # mnist, fashion_mnist or kmnist [figure B]
    classes: tuple[int, int] = (0, 1)  # raw labels c1, c2 [demo.py defaults]
    split: str = "executed"  # trained on test images; "released" trains on train [32c274d]
    classifier: str = "quantum"  # or classical, normalised, simulated (every gate executed)
    nlayers: int = 2  # n of the figure; {2, 4, 8, 16} there [notebook]
    loss: str = "published"  # one of LOSSES, or supervised
    gamma: float = 0.5  # weight of the positive term [demo.py default]
    own_positives: bool = False  # pair an image with its own bank row [SSL.py 6-19: it is not]
    attached: bool = True  # gradients also flow through the stored bank [SSL.py 6-19]
    frozen: bool = True  # encoder and hidden layers receive no gradient [model.py 19, 21, 37]
    crops: str = "batch"  # one crop and flip for a "batch" [train.py 68], or one per "image"
    epochs: int = 50  # [train.py at 29ceb80; 20 at 32c274d]; 0 leaves the network untrained
    batch_size: int = 512  # [train.py]
    learning_rate: float = 1e-3  # AdamW [train.py 47]
    weight_decay: float = 1e-4  # [train.py 47]
    period: int | None = 50  # T_max in steps, half a swing [train.py 48, 80]; None: all steps
    n_train: int | None = None  # images trained on; None: the whole split
    n_eval: int | None = None  # images evaluated on; None: the whole split
    spoiled: str = "nothing"  # or labels (shuffled), images (noise): what leaks through is seen

    def __post_init__(self) -> None:
        """Refuse what no procedure here understands."""
        require_known(
            self,
            dataset=DATASETS,
            split=ROLES,
            classifier=(*CLASSIFIERS, "normalised", "simulated"),
            loss=(*LOSSES, "supervised"),
            crops=("batch", "image"),
            spoiled=SPOILED,
        )
        require_least(self, nlayers=1, epochs=0)
        if not 0 < self.gamma < 1:
            raise UsageError(f"gamma must lie strictly between 0 and 1, not {self.gamma}.")
        if self.classifier == "normalised" and not self.epochs:
            raise UsageError(
                "classifier 'normalised' learns what it normalises by: epochs must be 1 or more."
            )
        if self.own_positives and self.loss in RELEASED_LOOP:
            raise UsageError(
                f"own_positives gives every image negatives of its own, and loss {self.loss!r} has "
                "one list for a whole batch; choose from: loop_fixed, corrected, supervised."
            )


@dataclass(frozen=True)
class Counts:
    """Depths at which parameters are counted."""

    depths: tuple[int, ...] = DEPTHS


@dataclass(frozen=True)
class ClosedForm:
    """How far the closed form is checked: depths 1 .. ``deepest``, ``images`` inputs each."""

    deepest: int = 17
    images: int = 20


@dataclass(frozen=True)
class Draws:
    """Many untrained networks at once: random filter, random angles, batch norm of the split."""

    dataset: str = "mnist"
    split: str = "executed"
    draws: int = 1000
    n_train: int | None = None
    n_eval: int | None = None
    best_of: int = 20  # also the maximum over groups of this many draws
