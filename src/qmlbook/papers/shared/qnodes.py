"""Circuits as QNodes: as they are, on any PennyLane device, and compiled; the values of Z."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pennylane as qml
import torch

from ...statevector import compile_qnode

AMPLITUDES = {"float32": "complex64", "float64": "complex128"}  # of the numbers they turn into


def qnode(
    circuit: Callable[..., Any],
    device: str | qml.devices.Device = "default.qubit",
    wires: int | None = None,
    **options: Any,
) -> qml.QNode:
    """Return a circuit as a QNode that torch differentiates.

    Args:
        circuit: a quantum function.
        device: name of a PennyLane device, or the device (one with a seed for shots, for instance).
        wires: number of wires of a named device; some must know it.
        **options: arguments of the circuit that stay the same at every call.
    """
    if isinstance(device, str):
        device = qml.device(device, wires=wires)
    return qml.QNode(partial(circuit, **options) if options else circuit, device)


@cache
def ours(
    circuit: Callable[..., Any], wires: int | None = None, dtype: str = "float64", **options: Any
) -> qml.QNode:
    """Return a circuit as a QNode on this book's simulator, the same one for equal arguments.

    Args:
        circuit, wires, **options: as of `qnode`.
        dtype: precision of its numbers, float32 or float64.
    """
    device = qml.device("qmlbook.statevector", wires=wires, dtype=AMPLITUDES[dtype])
    return qnode(circuit, device, **options)


@cache
def compiled(
    circuit: Callable[..., Any], wires: int | None = None, dtype: str = "float64", **options: Any
) -> Callable[..., Any]:
    """Return a circuit in its compiled form, compiled once for equal arguments (those of `ours`).

    Its arguments are tensors of that precision, a batch in the leading axis.
    """
    return compile_qnode(ours(circuit, wires, dtype, **options))


@cache
def signs(n_wires: int, dtype: torch.dtype) -> torch.Tensor:
    """Return (2^n, n): the value of Z, 1 or -1, of every wire in every bit string, wire 0 first."""
    bits = torch.arange(2**n_wires)[:, None] >> torch.arange(n_wires - 1, -1, -1)
    return 1 - 2 * (bits & 1).to(dtype)
