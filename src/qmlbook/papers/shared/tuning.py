"""What a paper tunes: trials of its experiment ``tuning``, and where the best settings are kept.

The settings are chosen by ``qmlbook tune`` (`qmlbook.evidence.tuning`) and written to ``tuned.yml``
in the paper's room; the paper reads them when it makes its grids.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...base.rng import stream
from .grids import Config, read_numbers

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

    def configs(self, networks: Mapping[str, Config]) -> dict[str, Config]:
        """Return the configuration of every trial, from what is tuned by name."""
        return {
            trial: replace(networks[name], **settings)
            for name, trials in self.trials.items()
            for trial, settings in trials.items()
        }


def tuning_seed(seed: int) -> int:
    """Return the root of the random streams of tuning, far from all seeds of evidence."""
    return int(stream(seed, "tuning").integers(10**6, 2**31))


def adjusted(networks: Mapping[str, Config], chosen: Mapping[str, Settings]) -> dict[str, Config]:
    """Return networks with the settings chosen for them, those without any as they are."""
    return {name: replace(config, **chosen.get(name, {})) for name, config in networks.items()}


def tuned(paper: str) -> dict[str, dict[str, Any]]:
    """Return the chosen settings by name of what was tuned; empty before the first tuning."""
    return read_numbers(paper, FILE)
