"""A fast batched statevector simulator, as a PennyLane device that torch differentiates."""

from .device import StatevectorDevice

__all__ = ["StatevectorDevice"]
