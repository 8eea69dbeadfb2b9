"""One qubit, data in between trainable rotations."""

import pennylane as qml
import torch
from pennylane.measurements import ExpectationMP


def reuploading(x: torch.Tensor, weights: torch.Tensor) -> ExpectationMP:
    """Rotate by the data between trainable rotations.

    Args:
        x: (batch,) inputs.
        weights: (r + 1, 3) angles; between two of them the data enter once.

    Returns:
        The expectation value of Z.
    """
    qml.Rot(*weights[0], wires=0)
    for angles in weights[1:]:
        qml.RX(x, wires=0)
        qml.Rot(*angles, wires=0)
    return qml.expval(qml.Z(0))


def model(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the circuit's values at (batch,) inputs, on the book's simulator."""
    exact = qml.device("qmlbook.statevector", wires=1, dtype="complex128")
    return qml.QNode(reuploading, exact, interface="torch")(x, weights)
