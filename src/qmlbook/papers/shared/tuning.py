"""What a paper tunes: trials of its experiment ``tuning``, and where the best settings are kept.

The settings are chosen by ``qmlbook tune`` (`qmlbook.evidence.tuning`) and written to ``tuned.yml``
in the paper's room; the paper reads them when it makes its grids.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .grids import read_numbers

FILE = "tuned.yml"
Settings = Mapping[str, Any]  # fields of a configuration


@dataclass(frozen=True)
class Tuning:
    """The trials of everything that a paper tunes, as ``TUNING`` of its ``experiments.py``.

    Attributes:
        trials: name of what is tuned -> variant of the experiment ``tuning`` -> its settings.
        score: metrics of a run -> numbers, of which the first that differs decides; the highest
            mean over the seeds is best, of equals the first trial.
        about: what the chosen settings are, in sentences; it heads their file.
    """

    trials: Mapping[str, Mapping[str, Settings]]
    score: Callable[[Mapping[str, Any]], tuple[float, ...]]
    about: str


def tuned(paper: str) -> dict[str, dict[str, Any]]:
    """Return the chosen settings by name of what was tuned; empty before the first tuning."""
    return read_numbers(paper, FILE)
