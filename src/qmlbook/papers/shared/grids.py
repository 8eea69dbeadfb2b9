"""Experiments: families of runs, their variants in both profiles, and how variants are named."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from ...base import files
from ...base.errors import Profile

if TYPE_CHECKING:
    from .predictions import Predictions

Config = TypeVar("Config", bound=Any)  # a frozen dataclass
Axis = Mapping[str, Mapping[str, Any]]  # part of a variant's name -> the settings it stands for

PROFILES = get_args(Profile)


@dataclass(frozen=True)
class Experiment:
    """A family of runs that belong in one file of records.

    Attributes:
        name: file name of its records, ``data/results/<paper>/<name>.jsonl``.
        version: raised whenever a fix changes results (``experiment_version`` of a record).
        run: ``run(config, seed) -> metrics``, a dict of numbers or short lists; it must draw all
            randomness from ``rng.stream(seed, ...)``.
        variants: profile -> variant name -> config (a frozen dataclass with a default per field).
        seeds: profile -> number of seeds, 0 .. n-1, of every variant.
        tolerance: largest difference of a metric, relative to the larger of 1 and its size, when a
            stored run is made again on another machine.
        dtype: precision of the run as recorded.
        devices: where it can run; with anything but ``cpu``, ``run`` takes a keyword ``device``.
        about: one line for people.
        predict: what ``run`` does, with the predictions on the test images beside the metrics.
        predicted: variants of the full profile whose runs from fresh seeds, those beyond ``seeds``,
            keep their predictions.
        run_all: what ``run`` does for several seeds, where making them at once pays; one mapping of
            metrics for each.
    """

    name: str
    version: int
    run: Callable[[Any, int], Mapping[str, Any]]
    variants: Mapping[str, Mapping[str, Any]]
    seeds: Mapping[str, int]
    tolerance: float = 1e-9
    dtype: str = "float64"
    devices: tuple[str, ...] = ("cpu",)
    about: str = field(default="", compare=False)
    predict: Callable[[Any, int], tuple[Mapping[str, Any], Predictions]] | None = None
    predicted: tuple[str, ...] = ()
    run_all: Callable[[Any, Sequence[int]], Sequence[Mapping[str, Any]]] | None = None

    @classmethod
    def of(
        cls,
        name: str,
        about: str,
        full: Mapping[str, Any],
        quick: Mapping[str, Any],
        *,
        seeds: int,
        quick_seeds: int = 5,
        version: int = 1,
        **options: Any,
    ) -> Experiment:
        """Return an experiment with the variants of both profiles.

        Args:
            name, about, version: as the attributes.
            full, quick: variants of the profiles.
            seeds: of the full profile; the quick one has at most ``quick_seeds`` of them.
            quick_seeds: see ``seeds``.
            **options: the other attributes.
        """
        return cls(
            name=name,
            version=version,
            variants={"quick": quick, "full": full},
            seeds={"quick": min(seeds, quick_seeds), "full": seeds},
            about=about,
            **options,
        )


def told(about: Mapping[str, str], **common: Any) -> Callable[..., Experiment]:
    """Return what makes the experiments of a room that says in one place what they are about.

    Args:
        about: name of an experiment -> one line for people.
        **common: options of `Experiment.of` that most of them share.

    Returns:
        ``make(name, full, quick=None, **options)``; without ``quick``, both profiles have the same
        variants.
    """

    def make(
        name: str, full: Mapping[str, Any], quick: Mapping[str, Any] | None = None, **options: Any
    ) -> Experiment:
        quick = full if quick is None else quick
        return Experiment.of(name, about[name], full, quick, **{**common, **options})

    return make


def by_name(*experiments: Experiment) -> dict[str, Experiment]:
    """Return the experiments of a room by their names, as its ``EXPERIMENTS``."""
    return {experiment.name: experiment for experiment in experiments}


Check = Callable[[int], Collection[bool]]  # says for a seed of every case if a statement holds


def by_function(*checks: Check) -> dict[str, Check]:
    """Return checks by names for people: those of the functions, with hyphens."""
    return {check.__name__.replace("_", "-"): check for check in checks}


def properties(checks: Mapping[str, Check], default: str) -> Experiment:
    """Return the experiment ``properties``: statements, each decided by one computation.

    A run gives ``holds``, 1 or 0, and ``checked``, the number of cases.

    Args:
        checks: by name of the statement, what decides it.
        default: one of the names; its run is stored under the key of a configuration without
            changes, so that another default would ask for two runs anew.
    """
    settings = make_dataclass("Property", [("name", str, default)], frozen=True)

    def run(config: Any, seed: int) -> dict[str, float]:
        cases = checks[config.name](seed)
        return {"holds": float(all(cases)), "checked": len(cases)}

    variants = {name: settings(name) for name in checks}
    about = "statements that a computation decides"
    return Experiment.of("properties", about, variants, variants, seeds=1, run=run)


def axis(setting: str, values: Mapping[str, Any] | Iterable[Any], name: str = "{}") -> Axis:
    """Return the choices of one setting.

    Args:
        setting: field of a configuration.
        values: by name, or values that name themselves.
        name: how a value names itself, for instance ``n{}``.
    """
    named = values if isinstance(values, Mapping) else {name.format(v): v for v in values}
    return {word: {setting: value} for word, value in named.items()}


def variants(template: Config, *axes: Axis) -> dict[str, Config]:
    """Return a template with every choice from every axis, named ``<choice>-<choice>-...``."""
    named = {}
    for chosen in product(*(each.items() for each in axes)):
        changes = {name: value for _, settings in chosen for name, value in settings.items()}
        named["-".join(word for word, _ in chosen)] = replace(template, **changes)
    return named


def changed(configs: Mapping[str, Config], **changes: Any) -> dict[str, Config]:
    """Return variants of the same names, all with the same changes."""
    return {name: replace(config, **changes) for name, config in configs.items()}


def read_numbers(paper: str, file: str) -> dict[str, Any]:
    """Return what a YAML file in a room says, nothing where there is none.

    For instance ``published.yml``, numbers read off the paper's figures.

    Raises:
        QmlbookError: if it cannot be read.
    """
    path = Path(__file__).parents[1] / paper / file
    from ...base import strict_yaml  # only where numbers are read: the command starts without YAML

    if not path.exists():
        return {}
    with files.reading(path):
        return strict_yaml.load_of(f"{paper}/{file}", path.read_bytes()) or {}
