"""What runs are made of: a cell is a variant of an experiment, and a cell with a seed is a run."""

from __future__ import annotations

import re
from typing import NamedTuple

_PLAIN = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)


class Cell(NamedTuple):
    """A variant of an experiment; sorts by both names, and is written ``experiment/variant``.

    Attributes:
        experiment: name of the experiment.
        variant: name of its variant.
    """

    experiment: str
    variant: str

    @classmethod
    def parse(cls, text: str, experiment: str = "") -> Cell:
        """Return the cell that ``experiment/variant`` names, or ``variant`` of ``experiment``."""
        named, slash, variant = text.partition("/")
        return cls(named, variant) if slash else cls(experiment, text)

    def __str__(self) -> str:
        return f"{self.experiment}/{self.variant}"


class Run(NamedTuple):
    """One run of a cell; sorts by cell, then by seed.

    Attributes:
        cell: what is run.
        seed: root of its random streams.
    """

    cell: Cell
    seed: int

    def __str__(self) -> str:
        return f"{self.cell}, seed {self.seed}"


class Key(NamedTuple):
    """What makes a run this run and no other, in the order of the file."""

    experiment: str
    version: int
    variant: str
    config_key: str
    seed: int


class OfRun:
    """What belongs to one run, by the names of its experiment and variant and its seed."""

    experiment: str
    variant: str
    seed: int

    @property
    def cell(self) -> Cell:
        """The experiment and the variant."""
        return Cell(self.experiment, self.variant)

    @property
    def run(self) -> Run:
        """The cell and the seed."""
        return Run(self.cell, self.seed)


def is_plain(name: str) -> bool:
    """Say whether a name may be one of an experiment or a variant.

    Letters, digits and ``._+-`` of ASCII, the first one a letter or digit: it is part of file names
    and command lines.
    """
    return _PLAIN.fullmatch(name) is not None
