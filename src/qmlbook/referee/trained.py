"""How often the rule errs on cases that are trained end to end.

Runs of a stored case, many more seeds than it asked for, are cut into cases: a pilot, seeds by
power, fresh seeds, the rule. Truth is the mean lead of all seeds, and the margin is set so that the
nearest rival has the lead that a kind of case asks for. A circuit that adds nothing is the one
without entanglement, held against all rivals. ``python -m qmlbook.referee.trained deeper`` makes
the runs, a block of seeds at a time; what is stored is not made again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..base import files, paths
from ..base.command import exit_status
from ..base.errors import QmlbookError, require_least
from ..evidence import stats
from .case import load_case
from .decide import PILOT, Floats, rule, seeds_for
from .players import RIVAL, SUBJECT, players
from .rates import Rate, bounds
from .report import Report
from .runs import Setting, measured

FIRST = 3_000_000  # seed; no case has it
BLOCK = 144  # seeds side by side
CASES = 20  # of each kind, at least
NOTHING = "no-entanglement"  # the rival that adds nothing
# kind -> lead over the nearest rival in margins, and the word that is counted
KINDS = {
    "adds exactly the margin": (1.0, stats.SURVIVES),
    "adds twice the margin over every rival": (2.0, stats.SURVIVES),
    "adds just more than the margin over every rival": (1.001, stats.EXPLAINED_BY),
}


def file_of(name: str) -> Path:
    """Return where the scores of a stored case's further seeds are."""
    return paths.data_root() / "referee" / name / "seeds.csv"


def load(name: str) -> tuple[list[str], Floats]:
    """Return the players of a stored case, the circuit first, and their scores (players, seeds).

    Raises:
        QmlbookError: they cannot be read.
    """
    with files.reading(file_of(name)):
        header, *rows = file_of(name).read_text("utf-8").split()
    return header.split(","), np.array([row.split(",") for row in rows], dtype=float).T


def leads(name: str, subject: str = SUBJECT) -> Floats:
    """Return the leads of a stored case's circuit, or a rival, over rivals, (rivals, seeds)."""
    who, scores = load(name)
    rivals = [number for number, player in enumerate(who) if player not in (SUBJECT, subject)]
    return scores[who.index(subject)] - scores[rivals]


def rate(found: Floats, margin: float, word: str) -> Rate:
    """Return how often cases that are cut from leads (rivals, seeds) are given a word.

    Args:
        found: leads of seeds that are used once, in their order; cases are cut until they end.
        margin: of the rule.
        word: *survives* or *explained by*.

    Raises:
        QmlbookError: there are not enough seeds.
    """
    hits, planned, at = 0, [], 0
    while at + PILOT < found.shape[1]:
        n = seeds_for(found[:, at : at + PILOT], margin)
        mine = found[:, at + PILOT : (at := at + PILOT + n)]
        if mine.shape[1] < n:
            break
        survives, explaining = rule(mine, margin)
        hits += int(survives if word == stats.SURVIVES else explaining.any())
        planned.append(n)
    cases = len(planned)
    if cases < CASES:
        raise QmlbookError(f"{found.shape[1]} seeds are too few for {CASES} cases.")
    return Rate(hits / cases, *bounds(hits, cases), float(np.mean(planned)), cases)


def rates(name: str, margin: float) -> dict[str, Rate]:
    """Return how often each kind of case is given the word that is counted for it.

    Args:
        name: a stored case whose circuit leads every rival.
        margin: of cases in which nothing is added.
    """
    found = leads(name)
    least = found.mean(1).min()
    made = {"adds nothing": rate(leads(name, NOTHING), margin, stats.SURVIVES)}
    return made | {kind: rate(found, least / t, word) for kind, (t, word) in KINDS.items()}


def make(name: str, seeds: int) -> None:
    """Make the runs that are missing."""
    folder, target = paths.data_root() / "referee" / name, file_of(name)
    case = load_case(folder / "case.py")
    known = players(case)
    planned = Report.from_json((folder / "report.json").read_text("utf-8")).plan.players
    taking = [who for who in planned if known[who].role in (SUBJECT, RIVAL)]
    header, scores = load(name) if target.is_file() else (taking, np.zeros((len(taking), 0)))
    if header != taking:
        raise QmlbookError(f"{target.name} has other players than {name}.")
    for first in range(scores.shape[1], seeds, BLOCK):
        block = range(FIRST + first, FIRST + min(first + BLOCK, seeds))
        made = [
            [run["score"] for run in measured(case, known, Setting(
                who, planned[who]["value"], False, case.digest), block)]
            for who in taking
        ]  # fmt: skip
        scores = np.concatenate([scores, made], 1)
        rows = [",".join(taking), *(",".join(f"{x:.4f}" for x in row) for row in scores.T)]
        files.write(target, ("\n".join(rows) + "\n").encode(), checksum=True)
        print(f"{name}: {scores.shape[1]} of {seeds} seeds", flush=True)


def main(words: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m qmlbook.referee.trained", description="Make more seeds of stored cases."
    )
    parser.add_argument("cases", nargs="+", help="folders in data/referee")
    parser.add_argument("--seeds", type=int, default=2688, help="of each case")

    def work() -> None:
        arguments = parser.parse_args(words)
        require_least(arguments, seeds=1)
        for name in arguments.cases:
            make(name, arguments.seeds)

    return exit_status(work, parser.prog, *words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
