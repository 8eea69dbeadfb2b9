"""The quantum head as a PennyLane quantum function (namhai03/QSSL, code/model.py lines 42-59)."""

import pennylane as qml
from pennylane.measurements import ProbabilityMP
from torch import Tensor

BLOCKS = ((0, 1), (2, 3), (1, 2))  # wires of the trainable blocks, in the order they are applied
ANCILLA = 4


def head(
    features: Tensor, w_1: Tensor, w_2: Tensor, w_3: Tensor, entangling: bool = True
) -> ProbabilityMP:
    """Encode four features, entangle neighbours, and collect the parity in an ancilla.

    Args:
        features: (..., 4) angles in radians; feature i is an RX rotation of wire i.
        w_1, w_2, w_3: (n, 2) angles of the blocks on wires (0, 1), (2, 3) and (1, 2). A layer is
            one RX on each of the two wires and one CNOT from the first to the second.
        entangling: ``False`` deletes the CNOTs of the blocks, the control *removed*. No rotation
            is controlled, so *uncontrolled* is the same circuit. The four CNOTs onto the ancilla
            stay: they are the measurement of Z0 Z1 Z2 Z3, and without them nothing is read.

    Returns:
        Probabilities of the two outcomes of the ancilla: (1 + z)/2 and (1 - z)/2 with the parity
        z = <Z0 Z1 Z2 Z3> of the data wires.
    """
    qml.AngleEmbedding(features, wires=range(4), rotation="X")
    for weights, wires in zip((w_1, w_2, w_3), BLOCKS, strict=True):
        for first, second in weights:
            qml.RX(first, wires=wires[0])
            qml.RX(second, wires=wires[1])
            if entangling:
                qml.CNOT(wires=wires)
    for wire in range(ANCILLA):
        qml.CNOT(wires=(wire, ANCILLA))
    return qml.probs(wires=ANCILLA)
