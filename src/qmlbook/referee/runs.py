"""One run of a case: a player, a setting and a seed become numbers, as runs of papers do."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..base.errors import QmlbookError
from ..base.rng import stream
from ..papers.shared.grids import Experiment
from ..papers.shared.splits import Split, set_apart, spoil
from . import circuits
from .case import Case, load_case
from .players import CURVE, Net, Player, players, steps
from .together import steps as steps_together
from .together import together

HERE = "qmlbook.referee.runs"
KINDS = ("tuning", "pilot", "runs")
VALIDATION = 0.25  # of the training examples, in tuning
FIRST = {"tuning": 2_000_000, "pilot": 1_000_000, "runs": 0}  # seed; none is used twice

_open: dict[str, Case] = {}  # cases of this process that are in no file


@dataclass(frozen=True)
class Setting:
    """What a run of a case can be asked.

    Attributes:
        player: who takes part.
        value: of what is tuned, a learning rate or a penalty.
        tuning: judged by a part of the training examples, never by the test.
        case: digest of the case.
    """

    player: str = "circuit"
    value: float = 0.0
    tuning: bool = False
    case: str = ""


def source(case: Case, file: Path | None) -> str:
    """Return where other processes find a case; one that is in no file is kept for this one."""
    _found.cache_clear()  # a file may have become another one
    if file is None:
        _open[case.digest] = case
    return f"{HERE}:{case.digest if file is None else file.resolve()}"


def variant(player: str, value: float) -> str:
    """Return the name of a player with a setting."""
    return f"{player}.{value:g}"


@functools.lru_cache(maxsize=4)
def _found(name: str) -> tuple[Case, dict[str, Player]]:
    case = _open[name] if name in _open else load_case(Path(name))
    return case, players(case)


def experiments(name: str) -> dict[str, Experiment]:
    """Return the experiments of a case: tuning, pilot and runs.

    Args:
        name: a file, or the digest of a case that is open in this process.
    """
    case, known = _found(name)
    made = {}
    for kind in KINDS:
        settings = {
            variant(player, value): Setting(player, value, kind == "tuning", case.digest)
            for player, who in known.items()
            for value in who.settings or known[who.like].settings
        }
        run = functools.partial(_run, case, known)
        run_all = functools.partial(measured, case, known)
        made[kind] = Experiment(kind, 1, run, {"full": settings}, {"full": 1}, run_all=run_all)
    return made


def _run(case: Case, known: dict[str, Player], setting: Setting, seed: int) -> dict[str, Any]:
    return measured(case, known, setting, [seed])[0]


def measured(
    case: Case, known: dict[str, Player], setting: Setting, seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """Return what a player comes to for several seeds, as `measure` tells it.

    Raises:
        QmlbookError: the setting is of another case.
    """
    if setting.case != case.digest:
        raise QmlbookError("the case is another one than this run was planned for.")
    player, trains, tests = known[setting.player], [], []
    for seed in seeds:
        train, test = case.examples.drawn(case.train, seed), case.examples.test
        if setting.tuning:
            train, test = set_apart(train, VALIDATION, stream(seed, "referee", "validation"))
        trains.append(_spoiled(train, player.spoiled, seed))
        tests.append(test)
    return measure(case, player, setting.value, seeds, trains, tests)


def _spoiled(train: Split, what: str, seed: int) -> Split:
    rng = stream(seed, "referee", "spoiled")
    if what == "inputs":  # every feature of another example: the same values, nothing to learn
        columns = [rng.permutation(len(train)) for _ in range(train.inputs.shape[1])]
        mixed = torch.stack([train.inputs[c, i] for i, c in enumerate(columns)], 1)
        return replace(train, inputs=mixed)
    return spoil(train, what, rng)


def measure(
    case: Case, player: Player, value: float, seeds: Sequence[int], trains: Sequence[Split],
    tests: Sequence[Split],
) -> list[dict[str, Any]]:  # fmt: skip
    """Return what a player with a setting comes to, for every seed."""
    models = [player.model(case, seed) for seed in seeds]
    every = list(zip(models, trains, tests, strict=True))
    if not isinstance(models[0], nn.Module):
        return [
            {"score": score(case, model.fit(train, value)(test.inputs), test)}
            for model, train, test in every
        ]
    if abreast := together(models, [train.inputs[:2] for train in trains]):
        epochs = steps_together(case, abreast, trains, value, seeds)
    else:
        alone = (steps(case, m, t, value, s) for m, t, s in zip(models, trains, seeds, strict=True))
        epochs = map(np.array, zip(*alone, strict=True))
    points = set(np.linspace(0, case.epochs - 1, CURVE).round().astype(int).tolist())
    curves, losses = [], []
    for epoch, loss in enumerate(epochs):
        if epoch in points:
            if abreast:
                inputs = torch.stack([test.inputs for test in tests])
                said = list(_predicted(case, abreast, inputs))
            else:
                said = [_predicted(case, model, test.inputs) for model, _, test in every]
            curves.append([score(case, one, test) for one, test in zip(said, tests, strict=True)])
            losses.append(loss.tolist())
    found = []
    for number, (model, _, test) in enumerate(every):
        curve = [scores[number] for scores in curves]
        made = {"score": curve[-1], "curve": curve, "loss": [loss[number] for loss in losses]}
        if isinstance(model, Net) and model.run is not None:
            with torch.no_grad():
                made["shots"] = circuits.shots_needed(model.measured(test.inputs))
        if player.elsewhere:
            model.run = circuits.elsewhere(case.circuit, seed=seeds[number], **player.elsewhere)
            made["score"] = score(case, _predicted(case, model, test.inputs), test)
        found.append(made)
    return found


def _predicted(case: Case, model: nn.Module, x: Tensor) -> np.ndarray:
    with torch.no_grad():
        made = model(x)
    return (made.argmax(-1) if case.of_classes else made[..., 0]).numpy()


def score(case: Case, predicted: np.ndarray, test: Split) -> float:
    """Return the metric of predictions (N,): a share, or 1 - squared error over variance."""
    labels = test.labels.numpy()
    if case.of_classes:
        return float((predicted == labels).mean())
    return float(1 - ((predicted - labels) ** 2).mean() / labels.var())


def chance(case: Case) -> float:
    """Return what a model scores that has learned nothing but how frequent labels are."""
    labels = case.examples.test.labels
    if not case.of_classes:
        return 0.0
    return float(labels.bincount().max() / len(labels))
