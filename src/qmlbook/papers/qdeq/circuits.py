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


def transform(theta: Numbers, phi: Numbers, n_wires: int, seed: int = SEED) -> None:
    """Apply the random layer with angles theta and the tail with angles phi (radians)."""
    for gates, angles in ((random_layer(n_wires, seed), theta), (tail(n_wires), phi)):
        remaining = iter(angles)
        for name, wires in gates:
            turn = [next(remaining)] if name in TURNING else []
            GATES[name](*turn, wires=wires)


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
    states: Numbers, theta: Numbers, phi: Numbers, n_wires: int, seed: int = SEED
) -> qml.measurements.StateMP:
    """Return what becomes of given states (..., 2^n); of basis states, the unitary's columns.

    ``seed`` draws the gates of the random layer.
    """
    qml.StatePrep(states, wires=range(n_wires), validate_norm=False)
    transform(theta, phi, n_wires, seed)
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
