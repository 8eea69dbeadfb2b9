"""One quantum function on several backends: exact, sampled, noisy, and real hardware.

`on` takes a QNode and returns the same QNode on another backend:

``default.qubit``, ``lightning.qubit``
    PennyLane's simulators; exact, or as many shots as given.
``aer``
    Qiskit Aer, ideal; exact, or as many shots as given.
``aer-noise``
    Qiskit Aer with the noise model of a device, compiled for it; 1,000 shots unless given.
``ibm``
    IBM Runtime, a fake device in local testing mode or hardware; 1,000 shots unless given.

The Qiskit backends are one PennyLane device. A batch (PennyLane's broadcasting) becomes one circuit
with open parameters, compiled once and sent with the table of its angles in a single job: 900
inputs cost one compilation. PennyLane's own Qiskit plugin would run every entry by itself, and its
releases hold Qiskit back to older versions; what is needed of it is the table `GATES`.

Bit order: Qiskit writes qubit 0 last, PennyLane writes wire 0 first. Wire k of n measured wires is
therefore read into classical bit n - 1 - k, and nothing is reversed afterwards.
"""

from .device import QiskitDevice
from .jobs import Group, Job
from .machines import require
from .qnodes import SHOTS, Description, compare, describe, on, resume, submit, with_and_without
from .translate import GATES, Size, to_qiskit

__all__ = [
    "GATES",
    "SHOTS",
    "Description",
    "Group",
    "Job",
    "QiskitDevice",
    "Size",
    "compare",
    "describe",
    "on",
    "require",
    "resume",
    "submit",
    "to_qiskit",
    "with_and_without",
]
