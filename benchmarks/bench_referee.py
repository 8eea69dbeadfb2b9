"""Sixteen runs of a case that differ by their seed alone, one after the other and side by side."""

import pytest
import torch

from qmlbook.base import paths
from qmlbook.referee import runs
from qmlbook.referee.case import load_case
from qmlbook.referee.players import players

torch.set_num_threads(1)

SEEDS = range(16)


@pytest.mark.parametrize("how", ["side by side", "one by one"])
def test_seeds_of_a_case(measure, how):
    case = load_case(paths.data_root() / "referee" / "digits" / "case.py")
    who, test = players(case)["circuit"], case.examples.test
    trains = [case.examples.drawn(case.train, seed) for seed in SEEDS]

    def side_by_side():
        runs.measure(case, who, 0.03, SEEDS, trains, [test] * len(SEEDS))

    def one_by_one():
        for seed, train in zip(SEEDS, trains, strict=True):
            runs.measure(case, who, 0.03, [seed], [train], [test])

    step = {"side by side": side_by_side, "one by one": one_by_one}[how]
    measure("(i) referee, digits, training of 16 seeds", how, step)
