"""What a run of the contextuality papers can be asked.

Only abstracts and public summaries of the papers could be read: task and cell are reconstructions,
and all settings are this book's own.
"""

from dataclasses import dataclass

import numpy as np

from ...base.errors import UsageError, require_known, require_least
from . import sequences

SIZED = ("gru", "lstm", "transformer", "binary")  # have a width
MEMORYLESS = ("half", "plus", "table")
MODELS = ("hrnn", *SIZED, *MEMORYLESS)
STARTS = {"uniform": (0.0, 2 * np.pi), "near": (np.pi / 2, 3 * np.pi / 2)}
DTYPES = ("float32", "float64")
ATTENTION_HEADS = 4


@dataclass(frozen=True)
class Config:
    """Settings of one run: sequences, and what is trained on them. Default is the k-HRNN."""

    model: str = "hrnn"  # one of MODELS
    width: int = 0  # hidden units, of a Transformer its dimension, of a binary net bits
    n: int = 3  # vertices
    k: int = 2  # vertices in a hyperedge
    kind: str = "uniform"  # one of sequences.SEQUENCES
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
        require_known(self, model=MODELS, start=STARTS, dtype=DTYPES)
        require_least(self, steps=1, batch_size=1, test=1)
        sequences.check(self.kind, self.n, self.k, self.blocks, self.flips)
        if self.model == "hrnn" and self.kind == "local":
            raise UsageError("kind 'local' has tokens that the cell of model 'hrnn' cannot ask.")
        if (self.width < 1) is (self.model in SIZED):
            raise UsageError(
                f"width must be 1 or more for {', '.join(SIZED)} and 0 for other models, "
                f"not {self.width} for {self.model!r}."
            )
        if self.model == "transformer" and self.width % ATTENTION_HEADS:
            raise UsageError(
                f"width of a transformer must be a multiple of {ATTENTION_HEADS}, not {self.width}."
            )
        for name in ("learning_rate", "clip"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise UsageError(f"{name} must be above 0, not {value}.")


@dataclass(frozen=True)
class Gradients:
    """Random tokens, random angles, one for every vertex and set; k = 2."""

    links: str = "sparse"  # or dense
    sizes: tuple[int, ...] = tuple(range(3, 11))  # n
    blocks: int = 2  # of n independent tokens
    batch_size: int = 64
    draws: int = 16  # of angles

    def __post_init__(self) -> None:
        """Refuse what nothing here understands."""
        object.__setattr__(self, "sizes", tuple(self.sizes))
        require_known(self, links=("sparse", "dense"))
        require_least(self, blocks=1, batch_size=1, draws=1)
        if len(self.sizes) < 2 or min(self.sizes) < 2:
            raise UsageError(f"sizes must be two or more numbers from 2 on, not {self.sizes}.")


@dataclass(frozen=True)
class Noise:
    """Exact cells under noise: depolarising two-qubit gates, readings that flip; k = 2."""

    strength: float = 0.0  # probability of an error, of a two-qubit gate and of a reading
    n: int = 3
    blocks: int = 4
    sequences: int = 100
    shots: int = 100  # of each sequence

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated."""
        sequences.check("uniform", self.n, 2, self.blocks)
        if not 0 <= self.strength <= 1:
            raise UsageError(f"strength must lie between 0 and 1, not {self.strength}.")
        require_least(self, sequences=1, shots=1)
