"""From PennyLane to Qiskit: which circuits are taken, and how they are written."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.devices.preprocess import decompose, validate_device_wires
from pennylane.measurements import CountsMP, ExpectationMP, ProbabilityMP, SampleMP, VarianceMP
from pennylane.tape import QuantumScript
from pennylane.transforms import broadcast_expand, defer_measurements, split_non_commuting
from pennylane.transforms.core import CompilePipeline, transform

from ..base.errors import UsageError

# Gates that Qiskit calls like PennyLane, but for capitals.
_SAME = ("RX", "RY", "RZ", "S", "T", "SX", "CY", "CZ", "CH", "SWAP", "CRX", "CRY", "CRZ", "CSWAP")
# PennyLane's gate -> the method of QuantumCircuit that takes the same parameters and wires.
GATES = {name: name.lower() for name in _SAME} | {
    "PhaseShift": "p",
    "U3": "u",
    "Hadamard": "h",
    "PauliX": "x",
    "PauliY": "y",
    "PauliZ": "z",
    "Adjoint(S)": "sdg",
    "Adjoint(T)": "tdg",
    "Adjoint(SX)": "sxdg",
    "CNOT": "cx",
    "ControlledPhaseShift": "cp",
    "IsingXX": "rxx",
    "IsingYY": "ryy",
    "IsingZZ": "rzz",
    "Toffoli": "ccx",
}
# What Aer runs rightly when it is given a circuit with open angles. It leaves controlled rotations
# at angle 0 for some entries of a batch (Qiskit/qiskit-aer, issues 2391 and 2403); `ch` it lacks.
AER = sorted(set(GATES.values()) - {"crx", "cry", "crz", "cp", "rxx", "ryy", "rzz", "ch"})
SHOT_BY_SHOT = (CountsMP, SampleMP)
READ = (ExpectationMP, VarianceMP, ProbabilityMP, *SHOT_BY_SHOT)  # measurements offered
NOTHING = ("GlobalPhase", "Identity", "Barrier")  # act on no measured number


@dataclass(frozen=True)
class Size:
    """How large a circuit is: gates (measurements not counted), two-qubit gates, depth."""

    gates: int
    two_qubit: int
    depth: int


def to_qiskit(tape: QuantumScript) -> Any:
    """Return the gates of a tape as a Qiskit circuit; qubit k is wire k of ``tape.wires``.

    Global phases are left out. Gates that Qiskit does not name alike are decomposed.

    Args:
        tape: a circuit without a batch, for instance from `qml.tape.make_qscript`.

    Raises:
        UsageError: if a gate has a batch or cannot be decomposed.
    """
    (tape,), _ = decompose(tape, name="qiskit", **TO_GATES)
    if tape.batch_size is not None:
        raise UsageError("A tape with a batch is many circuits; convert them one by one.")
    return open_circuit(tape).assign_parameters(angle_table(tape)[0])


# -- PennyLane's side ------------------------------------------------------------------------------


def _known(op: qml.operation.Operator) -> bool:
    return op.name in GATES or op.name in NOTHING


TO_GATES = {"stopping_condition": _known, "skip_initial_state_prep": False, "error": UsageError}


def preparation(name: str, wires: Any = None, mitigate: bool = False) -> CompilePipeline:
    """Return the transforms after which a circuit is gates of `GATES` and bits to read.

    Args:
        name: of the device, for messages.
        wires: of the device; a measurement without wires is one of all of them.
        mitigate: whether readout errors are undone, so that there are no shots to return.
    """
    pipeline = CompilePipeline()
    pipeline.add_transform(validate_device_wires, wires, name=name)
    pipeline.add_transform(defer_measurements, allow_postselect=False)
    pipeline.add_transform(_checked, mitigate=mitigate)
    pipeline.add_transform(split_non_commuting)
    pipeline.add_transform(_rotated)
    pipeline.add_transform(_scalar)
    pipeline.add_transform(decompose, name=name, **TO_GATES)
    return pipeline


@transform
def _checked(tape: QuantumScript, mitigate: bool) -> Any:
    """Refuse what cannot be read from counts of bit strings."""
    for mp in tape.measurements:
        pauli = mp.obs is None or mp.obs.pauli_rep is not None
        words = VarianceMP, *SHOT_BY_SHOT  # of a sum, the terms would be sampled one by one
        pauli = pauli and not (mp.obs and isinstance(mp, words) and len(mp.obs.pauli_rep) > 1)
        if not isinstance(mp, READ) or not pauli:
            raise UsageError(
                f"Measurement {mp} is not offered on Qiskit backends; return expval of Pauli "
                "words and sums, var, counts or sample of Pauli words, counts, sample or probs of "
                "wires, or use default.qubit."
            )
        if isinstance(mp, SHOT_BY_SHOT) and (mitigate or not tape.shots):
            raise UsageError(
                f"Measurement {mp} needs single shots: "
                + ("mitigate=True has none to return." if mitigate else "give shots to on().")
            )
    if tape.shots.has_partitioned_shots:
        raise UsageError(f"shots must be one number on Qiskit backends, not {tape.shots}.")
    return (tape,), lambda results: results[0]


@transform
def _rotated(tape: QuantumScript) -> Any:
    """Append the rotations after which every measurement reads bits."""
    operations = [*tape.operations, *tape.diagonalizing_gates]
    return (tape.copy(operations=operations),), lambda results: results[0]


@transform
def _scalar(tape: QuantumScript) -> Any:
    """Expand a batch of what only single entries have gates for; other angles stay one circuit."""
    if all(map(_keeps_batch, tape.operations)):
        return (tape,), lambda results: results[0]
    return broadcast_expand(tape)


def _keeps_batch(op: qml.operation.Operator) -> bool:
    """Return whether a batch of a gate becomes gates of `GATES` with batches of angles."""
    if not op.batch_size or _known(op):
        return True
    if any(op.ndim_params):
        return False
    try:
        decompose(QuantumScript([op]), name="qiskit", **TO_GATES)
    except UsageError:  # rotations with many controls have rules for single angles only
        return False
    return True


@transform
def shift_one_by_one(tape: QuantumScript) -> Any:
    """Expand a batch whose gradient is asked for: PennyLane shifts no parameter with a batch."""
    moving = (tape.par_info[index]["op"] for index in tape.trainable_params)
    if any(op.batch_size for op in moving):
        return broadcast_expand(tape)
    return (tape,), lambda results: results[0]


def measured_wires(tape: QuantumScript) -> list:
    """Return the wires to read out, in the order of the circuit."""
    asked = {wire for mp in tape.measurements for wire in (mp.wires or tape.wires)}
    return [wire for wire in tape.wires if wire in asked]


def signature(tape: QuantumScript) -> tuple:
    """Return what a circuit is apart from its angles: gates, number of wires, measured wires."""
    qubit = {wire: k for k, wire in enumerate(tape.wires)}
    gates = tuple((op.name, tuple(qubit[w] for w in op.wires)) for op in _gates(tape))
    return gates, len(qubit), tuple(qubit[wire] for wire in measured_wires(tape))


def _gates(tape: QuantumScript) -> list:
    return [op for op in tape.operations if op.name not in NOTHING]


def angle_table(tape: QuantumScript) -> np.ndarray:
    """Return all angles of a tape, (batch or 1, parameters), float64, radians; the first is 0."""
    angles = [qml.math.to_numpy(value) for op in _gates(tape) for value in op.data]
    batch = tape.batch_size or 1
    columns = [np.broadcast_to(np.asarray(angle, float), batch) for angle in (0, *angles)]
    return np.stack(columns, axis=1)


def open_circuit(tape: QuantumScript) -> Any:
    """Return a decomposed tape as a Qiskit circuit with an open parameter for every angle.

    One more parameter, the first, is the global phase: no compiler drops it, so that a batch stays
    a batch even where all other angles turn out to be without effect.
    """
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector

    gates = _gates(tape)
    qubit = {wire: k for k, wire in enumerate(tape.wires)}
    angles = iter(ParameterVector("angle", 1 + sum(op.num_params for op in gates)))
    circuit = QuantumCircuit(len(qubit), global_phase=next(angles))
    for op in gates:
        parameters = [next(angles) for _ in range(op.num_params)]
        getattr(circuit, GATES[op.name])(*parameters, *(qubit[wire] for wire in op.wires))
    return circuit


def size_of(circuit: Any) -> Size:
    """Return the size of a Qiskit circuit."""

    def counts(gate: Any) -> bool:
        return gate.operation.name not in ("measure", "save_probabilities")

    gates = list(filter(counts, circuit.data))
    return Size(len(gates), sum(len(g.qubits) == 2 for g in gates), circuit.depth(counts))


def with_readout(circuit: Any, tape: QuantumScript) -> Any:
    """Append what reads the measured wires: bits where the tape has shots, else probabilities."""
    from qiskit import ClassicalRegister

    qubit = {wire: k for k, wire in enumerate(tape.wires)}
    reverse = [qubit[wire] for wire in measured_wires(tape)][::-1]  # Qiskit counts from the right
    if not tape.shots:
        circuit.save_probabilities(reverse)
    else:
        circuit.add_register(ClassicalRegister(len(reverse), "bits"))
        circuit.measure(reverse, range(len(reverse)))
    return circuit
