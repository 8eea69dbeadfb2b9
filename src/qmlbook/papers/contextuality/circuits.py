"""The circuits of the task as PennyLane quantum functions; vertex i is wire i.

A token (i, link) asks for the outcome of K = X_i times one phase -1 per set of its link: a set
stands for the vertices that must all be 1. Links never contain i.
"""

from collections.abc import Sequence
from typing import Any

import pennylane as qml
from pennylane.measurements import ProbabilityMP
from pennylane.operation import Operator
from torch import Tensor

ANCILLA = "a"

Wire = int | str
Sets = Sequence[Sequence[int]]  # of vertices


def phase(wires: Sequence[Wire], angle: Tensor | None = None) -> Operator:
    """Turn the phase of |1...1> of the wires: by -1 (Z, CZ, CCZ, ...), or by exp(i angle).

    An angle may be a batch.
    """
    *controls, last = wires
    gate = qml.Z(last) if angle is None else qml.PhaseShift(angle, wires=last)
    return qml.ctrl(gate, control=controls) if controls else gate


def prepare(n: int, edges: Sets = (), signs: Sequence[int] = ()) -> None:
    """Prepare the signed hypergraph state of n vertices from |0...0>: |+>^n without edges."""
    for wire in range(n):
        qml.Hadamard(wire)
    for edge in edges:
        phase(edge)
    for wire, sign in enumerate(signs):
        if sign:
            qml.Z(wire)


def generator(i: int, link: Sets) -> Operator:
    """Return a token's operator K, X_i times the phases of its link, for ``qml.expval``."""
    with qml.QueuingManager.stop_recording():
        factors = [phase(sorted(vertices)) for vertices in link]
    return qml.prod(qml.X(i), *factors) if factors else qml.X(i)


def start(i: int) -> None:
    """Open a cell: the ancilla's superposition decides whether vertex i is flipped."""
    qml.Hadamard(ANCILLA)
    qml.CNOT(wires=(ANCILLA, i))


def edge(vertices: Sequence[int], angle: Tensor | None = None) -> None:
    """Take one set of the link into the cell: a gate on k wires."""
    phase([ANCILLA, *vertices], angle)


def read(postselect: int | None = None) -> Any:
    """Close the cell: return the outcome (0 for eigenvalue +1) and free the ancilla.

    ``postselect`` keeps the runs with this outcome only.
    """
    qml.Hadamard(ANCILLA)
    return qml.measure(ANCILLA, reset=True, postselect=postselect)


def cell(i: int, link: Sets, angles: Tensor | None = None, postselect: int | None = None) -> Any:
    """Answer one token: the unit cell, |link| + 4 operations, each on at most k wires.

    Args:
        i: the flipped vertex.
        link: sets of k - 1 other vertices.
        angles: one trainable phase per set; -1 each (angle pi) by default.
        postselect: keep runs with this outcome only.

    Returns:
        The outcome of measuring the ancilla.
    """
    start(i)
    for number, vertices in enumerate(link):
        edge(vertices, None if angles is None else angles[..., number])
    return read(postselect)


def translate(
    tokens: Sequence[tuple[int, Sets]],
    n: int,
    edges: Sets = (),
    signs: Sequence[int] = (),
    angles: Sequence[Tensor] | None = None,
) -> ProbabilityMP:
    """Answer a sequence of tokens (i, link): the probabilities of all strings of outcomes.

    The first token's outcome is the most significant bit. Starts in |+>^n, or in the given signed
    hypergraph state. ``angles`` holds one (..., |link|) of trainable phases per token.
    """
    prepare(n, edges, signs)
    phases = [None] * len(tokens) if angles is None else angles
    return qml.probs(
        op=[cell(i, link, turns) for (i, link), turns in zip(tokens, phases, strict=True)]
    )


def memory(tokens: Sequence[tuple[int, Sets]], outcomes: Sequence[int], n: int) -> ProbabilityMP:
    """Return the memory's basis probabilities after tokens whose outcomes were the given ones."""
    prepare(n)
    for (i, link), outcome in zip(tokens, outcomes, strict=True):
        cell(i, link, postselect=outcome)
    return qml.probs(wires=range(n))
