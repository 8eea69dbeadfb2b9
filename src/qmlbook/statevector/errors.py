"""Errors of the device, each also the kind of error PennyLane raises in its place."""

from pennylane.exceptions import DeviceError, WireError

from ..base.errors import QmlbookError

NAME = "qmlbook.statevector"


class CircuitError(QmlbookError, DeviceError, ValueError):
    """The device cannot run a circuit as it is given."""


class WrongWires(QmlbookError, WireError):
    """A circuit uses wires that the device does not have."""
