"""The QDEQ circuits as PennyLane quantum functions (martaskrt/qdeq at a668197, qdeq_model.py).

Wire 0 is the most significant bit; n wires stand for D = n^2 features.
"""

from functools import cache
from typing import Any

import numpy as np
import pennylane as qml

from ..shared.qnodes import qnode

SEED, LENGTH = 1111, 50  # of the random layer
ENCODERS = ("amplitude", "angle")
ENTANGLERS = ("released", "removed", "uncontrolled")  # what is done to the two-wire gates
TURNING = ("RX", "RY", "RZ", "CRX")  # the gates with an angle
GATES = {name: getattr(qml, name) for name in (*TURNING, "CNOT", "SX")} | {"H": qml.Hadamard}
ANGLE_AXES = ("RY", "RX", "RZ")  # of ten wires in turn, as released

Gate = tuple[str, tuple[int, ...]]  # name, wires (control first)
Numbers = Any  # an array of numpy, or a tensor of torch


@cache
def random_layer(n_wires: int, seed: int = SEED) -> tuple[Gate, ...]:
    """Return the fixed list of 50 gates that the released code draws.

    The draws follow numpy's legacy stream, which is frozen; ``choice`` consumes it differently
    with and without its weights.
    """
    draw = np.random.RandomState(seed)
    gates = []
    for _ in range(LENGTH):
        name = ("RX", "RY", "RZ", "CNOT")[draw.choice(4, p=[0.25] * 4)]
        wires = draw.permutation(n_wires)[: 2 if name == "CNOT" else 1]
        gates.append((name, tuple(wires.tolist())))
    return tuple(gates)


@cache
def tail(n_wires: int) -> tuple[Gate, ...]:
    """Return the gates after the random layer; the released code never trains their angles."""
    gates: list[Gate] = []
    blocks = range(0, n_wires - 2, 2)
    for i in blocks:
        gates += [("RX", (i,)), ("RY", (i + 1,)), ("RZ", (i + 3,)), ("CRX", (i, i + 2))]
    for i in blocks:
        gates += [("H", (i + 3,)), ("SX", (i + 2,)), ("CNOT", (i + 3, i))]
    return tuple(gates)


def kept(gate: Gate, entanglers: str) -> Gate | None:
    """Return what is left of a gate in a circuit that cannot entangle.

    Bowles, Ahmed and Schuld (2024, arXiv:2403.07059) compare circuits with such versions of them.

    Args:
        gate: name and wires, control first.
        entanglers: ``released`` keeps every gate, ``removed`` none that acts on two wires;
            ``uncontrolled`` turns the second wire of a controlled rotation whatever the first one
            holds, and keeps no other gate on two wires.
    """
    name, wires = gate
    if entanglers == "released" or len(wires) == 1:
        return gate
    if entanglers == "uncontrolled" and name in TURNING:
        return name.removeprefix("C"), wires[1:]
    return None


def gates(n_wires: int, entanglers: str = "released", seed: int = SEED) -> tuple[Gate, ...]:
    """Return the gates of `transform` in their order."""
    every = (kept(gate, entanglers) for gate in random_layer(n_wires, seed) + tail(n_wires))
    return tuple(gate for gate in every if gate)


def count_angles(gates: tuple[Gate, ...]) -> int:
    """Return how many of the gates turn by an angle."""
    return sum(name in TURNING for name, _ in gates)


def encode(v: Numbers, n_wires: int, encoder: str) -> None:
    """Prepare the state of data v (..., D), from |0...0>.

    ``amplitude`` puts v / |v| on the first D basis states. ``angle`` rotates: on four wires RY, RZ,
    RX, RY with four features each; on ten wires feature i turns wire i // 10 about one axis, so
    that the ten features of an image row merge into one angle (the released layout).
    """
    if encoder == "amplitude":
        qml.AmplitudeEmbedding(v, wires=range(n_wires), pad_with=0.0, normalize=True)
    elif n_wires == 4:
        for group, axis in enumerate(("RY", "RZ", "RX", "RY")):
            for wire in range(4):
                GATES[axis](v[..., 4 * group + wire], wires=wire)
    else:
        for i in range(n_wires**2):
            wire = i // n_wires
            GATES[ANGLE_AXES[wire % 3]](v[..., i], wires=wire)


def transform(
    theta: Numbers, phi: Numbers, n_wires: int, seed: int = SEED, entanglers: str = "released"
) -> None:
    """Apply the random layer with angles theta and the tail with angles phi (radians).

    Without entanglers (see `kept`) every gate keeps its angle; that of a removed one is not used.
    """
    for listed, angles in ((random_layer(n_wires, seed), theta), (tail(n_wires), phi)):
        remaining = iter(angles)
        for gate in listed:
            turn = [next(remaining)] if gate[0] in TURNING else []
            if left := kept(gate, entanglers):
                GATES[left[0]](*turn, wires=left[1])


def layer(
    v: Numbers, theta: Numbers, phi: Numbers, n_wires: int, encoder: str = "amplitude"
) -> list[qml.measurements.ExpectationMP]:
    """Return <Z> of every wire after encoding v = z + u and the transformation.

    Args:
        v: (..., D) data plus fed-back state.
        theta: angles of the random layer, (35,) for 4 wires and (40,) for 10.
        phi: angles of the tail, (4,) or (16,).
        n_wires: 4 or 10.
        encoder: ``amplitude`` or ``angle``.
    """
    encode(v, n_wires, encoder)
    transform(theta, phi, n_wires)
    return [qml.expval(qml.Z(wire)) for wire in range(n_wires)]


def evolved(
    states: Numbers,
    theta: Numbers,
    phi: Numbers,
    n_wires: int,
    seed: int = SEED,
    entanglers: str = "released",
) -> qml.measurements.StateMP:
    """Return what becomes of given states (..., 2^n); of basis states, the unitary's columns.

    ``seed`` draws the gates of the random layer; ``entanglers`` is one of `ENTANGLERS`.
    """
    qml.StatePrep(states, wires=range(n_wires), validate_norm=False)
    transform(theta, phi, n_wires, seed, entanglers)
    return qml.state()


def sketch(n_wires: int, start: int = 0, stop: int | None = None) -> qml.QNode:
    """Return some gates of the transformation, random layer before tail, for drawing.

    ``start`` and ``stop`` count gates, as in a slice; all angles are 0.
    """

    def part() -> qml.measurements.StateMP:
        for name, wires in (random_layer(n_wires) + tail(n_wires))[start:stop]:
            GATES[name](*[0.0] * (name in TURNING), wires=wires)
        return qml.state()

    return qnode(part, wires=n_wires)
