"""The representation circuits as PennyLane quantum functions (bjader/quantum-neural-network).

One feature per qubit, encoded once; then ``ring`` or ``all-to-all`` blocks; <Z> of every qubit,
qubit 0 first, whatever the device. (The released code lists qubit 0 first from state vectors and
last from counts, quantum_network_circuit.py lines 110-133.)
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pennylane as qml
from pennylane.measurements import ExpectationMP, ProbabilityMP, StateMP

from ...base.errors import require_choice

Numbers = Any  # an array of numpy, or a tensor of torch


# What is left of the gates on two wires: all of them, or local ones alone. ``uncontrolled`` makes
# each controlled rotation one of its target and deletes fixed gates, ``removed`` deletes both. The
# angles of deleted gates stay in the list and do nothing.
GATE_SETS = ("all", "uncontrolled", "removed")
# What is measured: <Z> of every qubit, also of every pair of neighbours, also <X> and <Y>; by how
# many numbers a qubit gives.
READS = {"z": 1, "pairs": 2, "axes": 4}


def _ring(params: Numbers, n_qubits: int, gates: str) -> None:
    """RY on every qubit, then a controlled RX from each qubit to the next, closing the ring."""
    _rotate_all(params, n_qubits)
    for qubit in range(n_qubits):
        angle, target = params[..., n_qubits + qubit], (qubit + 1) % n_qubits
        if gates == "all":
            qml.CRX(angle, wires=(qubit, target))
        elif gates == "uncontrolled":
            qml.RX(angle, wires=target)


def _all_to_all(params: Numbers, n_qubits: int, gates: str) -> None:
    """A CNOT from every qubit to every later one, then RY on every qubit."""
    for control in range(n_qubits if gates == "all" else 0):
        for target in range(control + 1, n_qubits):
            qml.CNOT(wires=(control, target))
    _rotate_all(params, n_qubits)


def _rotate_all(params: Numbers, n_qubits: int) -> None:
    for qubit in range(n_qubits):
        qml.RY(params[..., qubit], wires=qubit)


# Name in the README: (gates before the blocks, their angles per qubit, one block, its angles per
# qubit). Released as sim_circ_14_half.py and abbas.py in qnn/ansatz/.
ANSATZE = {"ring": (None, 0, _ring, 2), "all-to-all": (_rotate_all, 1, _all_to_all, 1)}


# What happens between layers (partial_meas_activation_function.py): nothing, or every second qubit
# is measured and the result thrown away. The last entry is the same map written as a channel, for
# devices that hold density matrices; the measurements cost other simulators a wire each.
ACTIVATIONS: dict[str, Callable[[int], object] | None] = {
    "null": None,
    "partial_measurement_half": qml.measure,
    "partial_dephasing_half": partial(qml.PhaseFlip, 0.5),
}


def count_params(ansatz: str, n_qubits: int, layers: int, sweeps: int = 1) -> int:
    """Return the number of trainable angles: 2 n L s for the ring, n (L s + 1) for all-to-all.

    Raises:
        UsageError: if the ansatz is not known.
    """
    require_choice("ansatz", ansatz, ANSATZE)
    _, before, _, per_block = ANSATZE[ansatz]
    return n_qubits * (before + per_block * layers * sweeps)


def network(
    angles: Numbers,
    params: Numbers,
    ansatz: str = "ring",
    layers: int = 2,
    sweeps: int = 1,
    activation: str = "null",
    gates: str = "all",
) -> None:
    """Apply encoding and ansatz; no measurement of the outputs.

    Sources: vector_data_handler.py lines 13-14 (encoding), variational_ansatz.py lines 24-33
    (layers and sweeps).

    Args:
        angles: (..., n) encoding angles in radians; angle i is an RX rotation of qubit i.
        params: (..., P) trainable angles in gate order, P as `count_params` says. Leading axes of
            ``angles`` and ``params`` are PennyLane's broadcast axis; either may have none.
        ansatz: ``ring`` or ``all-to-all``.
        layers: number of layers.
        sweeps: how often a layer repeats its block, with fresh angles.
        activation: what happens between layers, a key of `ACTIVATIONS`.
        gates: which gates on two wires stay, one of `GATE_SETS`.

    Raises:
        UsageError: if the ansatz, the activation or the gates are not known.
        ValueError: if the number of angles in ``params`` does not fit.
    """
    n_qubits = angles.shape[-1]
    wanted = count_params(ansatz, n_qubits, layers, sweeps)
    if params.shape[-1] != wanted:
        raise ValueError(
            f"params must hold {wanted} angles for {layers} layers of {ansatz} on {n_qubits} "
            f"qubits, not {params.shape[-1]}."
        )
    require_choice("activation", activation, ACTIVATIONS)
    require_choice("gates", gates, GATE_SETS)
    first, before, block, per_block = ANSATZE[ansatz]
    between = ACTIVATIONS[activation]
    start, width = before * n_qubits, per_block * n_qubits
    for qubit in range(n_qubits):
        qml.RX(angles[..., qubit], wires=qubit)
    if first:
        first(params[..., :start], n_qubits)
    for number in range(layers * sweeps):
        if number and number % sweeps == 0 and between:
            for qubit in range(0, n_qubits, 2):
                between(qubit)
        block(params[..., start + number * width : start + (number + 1) * width], n_qubits, gates)


def features(
    angles: Numbers, params: Numbers, read: str = "z", **options: Any
) -> list[ExpectationMP]:
    """Return <Z> of every qubit, qubit 0 first; other arguments as in `network`.

    Args:
        angles, params, **options: as of `network`.
        read: a key of `READS`; ``pairs`` adds <Z Z> of every qubit and the next around the ring,
            ``axes`` these and <X> and <Y> of every qubit.
    """
    network(angles, params, **options)
    qubits = range(angles.shape[-1])
    measured = [qml.Z(qubit) for qubit in qubits]
    if read != "z":
        measured += [qml.Z(qubit) @ qml.Z((qubit + 1) % len(qubits)) for qubit in qubits]
    if read == "axes":
        measured += [axis(qubit) for axis in (qml.X, qml.Y) for qubit in qubits]
    return [qml.expval(observable) for observable in measured]


def state(angles: Numbers, params: Numbers, **options: Any) -> StateMP:
    """Return the amplitudes, qubit 0 in the most significant bit; arguments as in `network`."""
    network(angles, params, **options)
    return qml.state()


def probabilities(angles: Numbers, params: Numbers, **options: Any) -> ProbabilityMP:
    """Return the probabilities of all bit strings, qubit 0 first; arguments as in `network`."""
    network(angles, params, **options)
    return qml.probs(wires=range(angles.shape[-1]))
