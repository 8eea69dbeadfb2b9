"""A fast batched statevector simulator, as a PennyLane device that torch differentiates.

`StatevectorDevice` is ``qml.device("qmlbook.statevector", wires=n)``; `compile_qnode` takes the
cost of building operations out of training loops; `observable_matrix` and `quadratic_form` are
amplitude-encoded measurements as mathematics; `dephase` forgets the phases of wires.
"""

from .compiled import compile_qnode
from .device import StatevectorDevice
from .gates import dephase
from .quadratic import observable_matrix, quadratic_form

__all__ = ["StatevectorDevice", "compile_qnode", "dephase", "observable_matrix", "quadratic_form"]
