"""What is sent in one job, and how its answer is read."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pennylane.measurements import ExpectationMP, ProbabilityMP
from pennylane.tape import QuantumScript
from pennylane.wires import Wires

from ..base.errors import counted
from .machines import discreet
from .translate import SHOT_BY_SHOT, angle_table, measured_wires, signature

REP_DELAY = 250e-6  # seconds between shots, where a machine does not tell its own


@dataclass
class Group:
    """Circuits of one structure: they share one compiled circuit and differ in their angles."""

    tapes: list[int] = field(default_factory=list)  # positions in the batch given to the device
    values: list[np.ndarray] = field(default_factory=list)  # (entries, parameters) of each tape

    def table(self) -> np.ndarray:
        """Return the angles of all circuits, (circuits, parameters), in radians."""
        return np.concatenate(self.values)


@dataclass
class Job:
    """Something sent: its name, how to wait for the answer, and what it was sent for."""

    name: str
    result: Callable[[], list[np.ndarray]]  # one (circuits, outcomes) table a group
    circuits: str  # fingerprint


# -- sending ---------------------------------------------------------------------------------------


def grouped(tapes: Sequence[QuantumScript]) -> dict[tuple, Group]:
    """Return the circuits of one job by structure and shots."""
    groups: dict[tuple, Group] = {}
    for number, tape in enumerate(tapes):
        group = groups.setdefault((signature(tape), tape.shots.total_shots), Group())
        group.tapes.append(number)
        group.values.append(angle_table(tape))
    return groups


def calibration(circuit: Any) -> list:
    """Return two circuits that read the same qubits after preparing all 0 and all 1."""
    made = []
    for bit in (0, 1):
        blank = circuit.copy_empty_like()
        blank.global_phase = circuit.parameters[0]  # the one that is always there
        for gate in circuit.data:
            if gate.operation.name == "measure":
                if bit:
                    blank.x(gate.qubits[0])
                blank.measure(gate.qubits[0], gate.clbits[0])
        made.append(blank)
    return made


def fingerprint_of(groups: dict[tuple, Group], mitigate: bool) -> str:
    """Return what a job is recognised by later: structure, angles, shots, readout circuits."""
    digest = hashlib.sha256(b"mitigated" if mitigate else b"")
    for key, group in groups.items():
        digest.update(repr(key).encode())
        digest.update(group.table().astype("<f8").tobytes())
    return f"qmlbook-{digest.hexdigest()[:16]}"


def announce(machine: Any, pubs: list[tuple]) -> None:
    """Print what is about to be sent."""
    circuits = sum(len(values) for _, values, _ in pubs)
    total = sum(len(values) * shots for _, values, shots in pubs)
    delay = getattr(machine, "default_rep_delay", None) or REP_DELAY
    seconds = max(1, round(total * delay))
    print(
        f"Sending to {machine.name}: {counted(circuits, 'circuit')}, {total} shots in all, an "
        f"estimated {seconds} s of machine time ({delay * 1e6:.0f} us a shot).",
        flush=True,
    )


# -- reading ---------------------------------------------------------------------------------------


def frequencies(sent: Any, remote: bool = False) -> list[np.ndarray]:
    """Wait for a sampler and return relative frequencies, (circuits, outcomes), of every part."""
    results = discreet("Waiting for the job", sent.result) if remote else sent.result()
    tables = []
    for result in results:
        bits = next(iter(result.data.values()))
        packed = bits.array.reshape(-1, *bits.array.shape[-2:])
        weights = 256 ** np.arange(packed.shape[-1])[::-1]  # bytes arrive high end first
        outcomes = (packed.astype(np.int64) * weights).sum(-1)
        counts = [np.bincount(shots, minlength=2**bits.num_bits) for shots in outcomes]
        tables.append(np.stack(counts) / outcomes.shape[1])
    return tables


def single_shots(
    tape: QuantumScript, outcomes: np.ndarray, order: np.random.Generator
) -> np.ndarray:
    """Return bits, (batch, shots, wires) or (shots, wires), with these frequencies."""
    shots, wires = tape.shots.total_shots, measured_wires(tape)
    numbers = np.arange(outcomes.shape[1])
    counts = np.rint(outcomes * shots).astype(int)
    drawn = np.stack([order.permutation(np.repeat(numbers, entry)) for entry in counts])
    bits = drawn[..., None] >> np.arange(len(wires))[::-1] & 1
    return bits if tape.batch_size is not None else bits[0]


def mitigated(outcomes: np.ndarray, zeros: np.ndarray, ones: np.ndarray) -> np.ndarray:
    """Undo readout errors qubit by qubit with the inverse of each measured confusion matrix."""
    n = int(outcomes.shape[1]).bit_length() - 1
    cube = outcomes.reshape(-1, *(2,) * n)
    for k in range(n):
        columns = [table.reshape(2**k, 2, -1).sum((0, 2)) for table in (zeros, ones)]
        inverse = np.linalg.inv(np.stack(columns, axis=1))  # column = what was prepared
        cube = np.moveaxis(np.tensordot(inverse, cube, (1, k + 1)), 0, k + 1)
    return cube.reshape(outcomes.shape)


def read(tape: QuantumScript, outcomes: np.ndarray, order: np.random.Generator) -> Any:
    """Turn probabilities of bit strings, (batch, outcomes), into a tape's measurements.

    Args:
        tape: what was measured.
        outcomes: relative frequencies, or exact probabilities.
        order: draws the order of single shots, which frequencies do not tell.
    """
    wires = measured_wires(tape)
    cube = outcomes.reshape(-1, *(2,) * len(wires))
    single = any(isinstance(mp, SHOT_BY_SHOT) for mp in tape.measurements)
    bits = single_shots(tape, outcomes, order) if single else None
    results: list[Any] = []
    for mp in tape.measurements:
        if isinstance(mp, SHOT_BY_SHOT):
            results.append(mp.process_samples(bits, Wires(wires)))
            continue
        axes = [wires.index(wire) + 1 for wire in (mp.wires or tape.wires)]
        kept = np.moveaxis(cube, axes, range(1, len(axes) + 1))
        value = kept.reshape(len(cube), 2 ** len(axes), -1).sum(-1)
        if not isinstance(mp, ProbabilityMP):
            levels = np.real(mp.eigvals())
            mean = value @ levels
            value = mean if isinstance(mp, ExpectationMP) else value @ levels**2 - mean**2
        results.append(value if tape.batch_size is not None else value[0])
    return results[0] if len(results) == 1 else tuple(results)
