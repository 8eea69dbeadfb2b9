"""The magic square of Mermin and Peres: its operators, the fillings that fail, the game it wins.

Qubit 0 is written first: "XI" is X on qubit 0. Rows 1 and 3 are the stabilisers of the two graph
states on two vertices, without and with an edge.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.measurements import ProbabilityMP
from scipy.optimize import Bounds, LinearConstraint, milp

from ..shared.qnodes import qnode
from .circuits import ANCILLA

SQUARE = (("XI", "IX", "XX"), ("IZ", "ZI", "ZZ"), ("XZ", "ZX", "YY"))
CELLS = tuple(product(range(3), range(3)))
# The six sets of operators that can be measured together, cells counted row by row; and the signs
# of their products.
_NUMBERED = np.arange(9).reshape(3, 3)
CONTEXTS = tuple(map(tuple, [*_NUMBERED.tolist(), *_NUMBERED.T.tolist()]))
SIGNS = (1, 1, 1, 1, 1, -1)


def matrix(word: str) -> np.ndarray:
    """Return a Pauli word as a matrix (4, 4)."""
    return qml.matrix(_operator(word, (0, 1)), wire_order=(0, 1))


def _operator(word: str, wires: Sequence[int]) -> qml.operation.Operator:
    return qml.pauli.string_to_pauli_word(word, dict(zip(wires, range(2), strict=True)))


def fillings() -> np.ndarray:
    """Return all (512, 9) fillings of the square with 1 and -1."""
    return np.array(list(product((1, -1), repeat=9)))


def served(filled: np.ndarray) -> np.ndarray:
    """Return (N, 6) whether fillings (N, 9) have the right product in each context."""
    return filled[:, np.array(CONTEXTS)].prod(-1) == SIGNS


# --- how many fillings it takes ---


def greedy_cover(can: np.ndarray) -> list[int]:
    """Return rows of ``can`` (N, C) that together have every column, the best one first each time.

    An upper bound of the smallest number.
    """
    chosen, left = [], np.ones(can.shape[1], dtype=bool)
    while left.any():
        chosen.append(int((can & left).sum(1).argmax()))
        left &= ~can[chosen[-1]]
    return chosen


def smallest_cover(can: np.ndarray) -> int:
    """Return the least number of rows of ``can`` (N, C) that together have every column."""
    rows = np.ones(len(can))
    every = LinearConstraint(can.T.astype(float), lb=1)
    return round(milp(rows, constraints=every, integrality=rows, bounds=Bounds(0, 1)).fun)


# --- the game: Alice fills a row, Bob a column, and they must agree where these meet ---

ALICE, BOB = (0, 1), (2, 3)


def play(row: int, column: int) -> ProbabilityMP:
    """Return the probabilities (64,) of Alice's three answers and Bob's, most significant first.

    They share two Bell pairs; each measures the operators of the line asked for, one by one.
    """
    for pair in zip(ALICE, BOB, strict=True):
        qml.Hadamard(pair[0])
        qml.CNOT(pair)
    mine, yours = SQUARE[row], [line[column] for line in SQUARE]
    asked = [(word, ALICE) for word in mine] + [(word, BOB) for word in yours]
    return qml.probs(op=[_measured(word, wires) for word, wires in asked])


def _measured(word: str, wires: Sequence[int]) -> Any:
    """Measure a Pauli word by an ancilla, so that the other operators of its line stay sharp."""
    qml.Hadamard(ANCILLA)
    qml.ctrl(_operator(word, wires), control=ANCILLA)
    qml.Hadamard(ANCILLA)
    return qml.measure(ANCILLA, reset=True)


def wins(row: int, column: int, answers: Sequence[int]) -> bool:
    """Return whether six outcomes (0 for +1), Alice's row and Bob's column, win the round."""
    values = 1 - 2 * np.asarray(answers)
    alice, bob = values[:3], values[3:]
    right = alice.prod() == SIGNS[row] and bob.prod() == SIGNS[3 + column]
    return bool(right and alice[column] == bob[row])


def quantum_value() -> float:
    """Return the probability of winning with two Bell pairs, the worst of the nine rounds."""
    node, words = qnode(play), list(product((0, 1), repeat=6))
    return min(
        sum(p for p, word in zip(node(*cell), words, strict=True) if wins(*cell, word))
        for cell in CELLS
    )


def classical_value() -> float:
    """Return the best probability without quantum states, over fixed answers: 8 of 9 rounds."""
    lines = np.array(list(product((1, -1), repeat=3)))
    rows = np.array([rows for rows in product(lines, repeat=3)])
    rows = rows[(rows.prod(2) == SIGNS[:3]).all(1)]
    columns = rows * np.array([1, 1, -1])[:, None]  # one sign more turns the products into Bob's
    same = rows[:, None] == columns[None].swapaxes(2, 3)
    return float(same.mean((2, 3)).max())
