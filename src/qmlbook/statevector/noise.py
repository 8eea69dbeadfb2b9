"""Exact dephasing inside a circuit."""

from __future__ import annotations

from typing import Any

import pennylane as qml
from pennylane.wires import Wires


def dephase(wires: Any) -> None:
    """Measure wires in the computational basis and forget the outcome, exactly.

    A quantum function: call it inside a QNode on `qmlbook.statevector` or on `default.mixed`. Each
    wire and call doubles the state that `qmlbook.statevector` carries, so m dephased wires cost 2^m
    times the time and memory; expectation values and probabilities are exact and differentiable.

    Args:
        wires: one label or several.
    """
    for wire in Wires(wires):
        qml.PhaseFlip(0.5, wires=wire)
