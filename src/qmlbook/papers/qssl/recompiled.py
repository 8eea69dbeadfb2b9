"""Few CNOTs in place of many: the state of every picture's circuit, prepared approximately.

The circuits that the authors sent to the machine were recompiled picture by picture, to an overlap
of at least 99 % (arXiv:2103.14653v1, II.F, by incremental structural learning). Here the CNOTs come
in the same order for all pictures, which are therefore fitted side by side, and a picture takes as
many of them as it needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
import pennylane as qml
import torch
from pennylane.measurements import ExpectationMP, StateMP
from torch import Tensor

from ...base.errors import require_choice
from ...base.rng import stream
from ..shared.qnodes import compiled

CONNECTED = ("any", "line")  # between which qubits a CNOT may be: around the ring, or along a line
LEAST, MOST = 0.99, 24  # overlap that is enough, CNOTs after which nothing more is tried
STEPS, RATE = 150, 0.1  # of Adam after every CNOT that is added
PER_CNOT = 4  # angles of the rotations that follow it

Pairs = tuple[tuple[int, int], ...]


def order(n_qubits: int, connected: str, number: int) -> Pairs:
    """Return the first CNOTs, control first: every second pair of neighbours, then the others.

    Args:
        n_qubits: an even number of qubits.
        connected: one of `CONNECTED`.
        number: how many CNOTs.
    """
    require_choice("connected", connected, CONNECTED)
    every = [(q, (q + 1) % n_qubits) for q in range(n_qubits - (connected == "line"))]
    return tuple(islice(cycle([*every[::2], *every[1::2]]), number))


def _prepare(angles: Any, pairs: Pairs, n_qubits: int) -> None:
    """Rotate every qubit; after every CNOT rotate its qubits again. Angles (..., P)."""
    place = iter(range(angles.shape[-1]))

    def rotate(qubit: int) -> None:
        qml.RY(angles[..., next(place)], wires=qubit)
        qml.RZ(angles[..., next(place)], wires=qubit)

    for qubit in range(n_qubits):
        rotate(qubit)
    for control, target in pairs:
        qml.CNOT(wires=(control, target))
        rotate(control)
        rotate(target)


def state(angles: Any, pairs: Pairs, n_qubits: int) -> StateMP:
    """Return the amplitudes that a recompiled circuit prepares."""
    _prepare(angles, pairs, n_qubits)
    return qml.state()


def features(angles: Any, pairs: Pairs, n_qubits: int) -> list[ExpectationMP]:
    """Return <Z> of every qubit after a recompiled circuit."""
    _prepare(angles, pairs, n_qubits)
    return [qml.expval(qml.Z(qubit)) for qubit in range(n_qubits)]


@dataclass(frozen=True, eq=False)
class Recompiled:
    """Circuits in place of others.

    Attributes:
        cnots: (B,) how many each has.
        overlap: (B,) |<state|state>|^2 of each with the original.
        angles: number of CNOTs -> rows (b,) of the pictures that have so many, and angles (b, P).
    """

    cnots: np.ndarray
    overlap: np.ndarray
    angles: Mapping[int, tuple[np.ndarray, np.ndarray]]


def recompile(
    targets: Tensor, connected: str = "any", seed: int = 0, least: float = LEAST, most: int = MOST
) -> Recompiled:
    """Find circuits of few CNOTs that prepare states approximately.

    CNOTs are added one by one; after each, all angles of the pictures that are not done are fitted.

    Args:
        targets: (B, 2^n) complex128 states.
        connected: one of `CONNECTED`.
        seed: root of the stream of first angles.
        least: overlap that is enough.
        most: CNOTs after which a picture keeps what it has.
    """
    n_qubits = targets.shape[1].bit_length() - 1
    left, rng = torch.arange(len(targets)), stream(seed, "recompiled", connected)
    cnots, overlap = np.zeros(len(targets), int), np.zeros(len(targets))
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    angles = torch.from_numpy(rng.normal(0, 0.1, (len(targets), 2 * n_qubits)))
    for number in range(most + 1):
        pairs = order(n_qubits, connected, number)
        angles, near = _fit(angles, targets[left], pairs, n_qubits)
        done = (near >= least) | (number == most)
        rows = left[done].numpy()
        cnots[rows], overlap[rows] = number, near[done].numpy()
        if len(rows):
            found[number] = rows, angles[done].numpy()
        left, angles = left[~done], angles[~done]
        if not len(left):
            break
        fresh = rng.normal(0, 0.1, (len(left), PER_CNOT))
        angles = torch.cat([angles, torch.from_numpy(fresh)], 1)
    return Recompiled(cnots, overlap, found)


def _fit(start: Tensor, targets: Tensor, pairs: Pairs, n_qubits: int) -> tuple[Tensor, Tensor]:
    """Return the best angles (b, P) on the way from a start, and their overlaps (b,)."""
    prepared = compiled(state, pairs=pairs, n_qubits=n_qubits)
    angles = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([angles], RATE)
    best, near = start.clone(), torch.zeros(len(start), dtype=start.dtype)
    for step in range(STEPS + 1):
        overlaps = (targets.conj() * prepared(angles)).sum(-1).abs() ** 2
        better = overlaps.detach() > near
        best[better], near[better] = angles.detach()[better], overlaps.detach()[better]
        if step < STEPS:
            optimiser.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
            optimiser.zero_grad()
            (1 - overlaps).sum().backward()
            optimiser.step()
    return best, near
