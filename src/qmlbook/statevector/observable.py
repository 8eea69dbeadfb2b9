"""The observables of an amplitude-encoded QNode as matrices."""

from __future__ import annotations

from typing import Any

import pennylane as qml
from torch import Tensor

from .device import StatevectorDevice, ready
from .errors import NAME, CircuitError
from .reading import read


def observable_matrix(
    qnode: qml.QNode, *args: Any, features: int | None = None, **kwargs: Any
) -> Tensor:
    """Return A with <O_q> = x^T A_q x for all measurements of an amplitude-encoded circuit.

    Args:
        qnode: on device `qmlbook.statevector`; starts with `qml.AmplitudeEmbedding` or
            `qml.StatePrep`, uses its data nowhere else, and measures expectation values of Pauli
            words, their sums, or probabilities.
        *args: arguments of the QNode; the encoded data does not matter: a single vector will do.
        features: length of x where the encoding pads it; the amplitudes' length by default.
        **kwargs: keyword arguments of the QNode.

    Returns:
        (rows, features, features) real symmetric, differentiable in the circuit's weights. One
        row per expectation value, 2^k for the probabilities of k wires, in the order measured.

    Raises:
        CircuitError: if the circuit has another form.

    Example:
        >>> A = observable_matrix(circuit, x, weights)  # doctest: +SKIP
        >>> quadratic_form(A, x / x.norm(dim=-1, keepdim=True))  # doctest: +SKIP
    """
    device = qnode.device
    if not isinstance(device, StatevectorDevice):
        raise CircuitError(f"qnode runs on {device.name}; observable_matrix needs {NAME}.")
    tape = ready(qnode.construct(args, kwargs), device)
    place = device.place(tape)
    found = read(tape, place)
    values = device.values(found)
    if not values.only_amplitudes_vary:
        raise CircuitError(
            "A quadratic form needs amplitude encoding first and no other data in the circuit."
        )
    simulation = device.planned(tape, place, found)
    if not simulation.forms.possible:
        raise CircuitError(
            "A quadratic form needs expectation values of Pauli words, their sums, or "
            "probabilities; execute the QNode for other measurements."
        )
    return simulation.forms.matrices(values, features or found.amplitudes.shape[-1])
