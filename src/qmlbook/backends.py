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
releases hold Qiskit back to older versions; what is needed of it is the table `GATES` below.

Bit order: Qiskit writes qubit 0 last, PennyLane writes wire 0 first. Wire k of n measured wires is
therefore read into classical bit n - 1 - k, and nothing is reversed afterwards.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.devices import Device, ExecutionConfig
from pennylane.devices.preprocess import decompose
from pennylane.measurements import ExpectationMP, ProbabilityMP, VarianceMP
from pennylane.tape import QuantumScript
from pennylane.transforms import broadcast_expand, defer_measurements, split_non_commuting
from pennylane.transforms.core import CompilePipeline, transform

from .errors import QmlbookError, UsageError, choose
from .rng import stream

PENNYLANE = ("default.qubit", "lightning.qubit")
QISKIT = ("aer", "aer-noise", "ibm")
BACKENDS = PENNYLANE + QISKIT
DEVICE = "FakeParisV2"  # the noise of ibmq_paris, 27 qubits, as stored by IBM
SHOTS = 1_000
CALIBRATION_SHOTS = 8_192  # at least, of each of the two circuits that measure readout errors
DENSE = 10  # up to so many qubits a density matrix is faster than one noisy run per shot
REP_DELAY = 250e-6  # seconds between shots, where a machine does not tell its own

# PennyLane's gate -> the method of QuantumCircuit that takes the same parameters and wires.
GATES = {
    "RX": "rx",
    "RY": "ry",
    "RZ": "rz",
    "PhaseShift": "p",
    "U3": "u",
    "Hadamard": "h",
    "PauliX": "x",
    "PauliY": "y",
    "PauliZ": "z",
    "S": "s",
    "T": "t",
    "SX": "sx",
    "Adjoint(S)": "sdg",
    "Adjoint(T)": "tdg",
    "Adjoint(SX)": "sxdg",
    "CNOT": "cx",
    "CY": "cy",
    "CZ": "cz",
    "CH": "ch",
    "SWAP": "swap",
    "CRX": "crx",
    "CRY": "cry",
    "CRZ": "crz",
    "ControlledPhaseShift": "cp",
    "IsingXX": "rxx",
    "IsingYY": "ryy",
    "IsingZZ": "rzz",
    "Toffoli": "ccx",
    "CSWAP": "cswap",
}
# What Aer runs rightly when it is given a circuit with open angles. It leaves controlled rotations
# at angle 0 for some entries of a batch (Qiskit/qiskit-aer, issues 2391 and 2403); `ch` it lacks.
AER = sorted(set(GATES.values()) - {"crx", "cry", "crz", "cp", "rxx", "ryy", "rzz", "ch"})
NOTHING = ("GlobalPhase", "Identity", "Barrier")  # act on no measured number


@dataclass(frozen=True)
class Size:
    """How large a circuit is: gates (measurements not counted), two-qubit gates, depth."""

    gates: int
    two_qubit: int
    depth: int


@dataclass(frozen=True)
class Description:
    """A circuit as written (its gates taken as they are) and as compiled for a backend."""

    qubits: int
    written: Size
    transpiled: Size


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
    result: Callable[[], list[np.ndarray]]  # one (circuits, outcomes) table a circuit sent
    circuits: str  # fingerprint


# -- what readers call -----------------------------------------------------------------------------


def on(
    qnode: qml.QNode,
    backend: str = "aer",
    *,
    shots: int | None = None,
    device: str | None = None,
    seed: int = 0,
    mitigate: bool = False,
    compact: bool | None = None,
    hardware: bool = False,
) -> qml.QNode:
    """Return the same QNode on another backend.

    Args:
        qnode: any QNode that returns expectation values of Pauli words and their sums, variances of
            Pauli words, or probabilities. Its quantum function is used as it is.
        backend: one of `BACKENDS`.
        shots: samples per circuit; ``None`` keeps those of the QNode, and where it has none is
            exact on ideal simulators and 1,000 on noisy ones.
        device: for ``aer-noise`` and ``ibm`` a fake device of `qiskit_ibm_runtime.fake_provider`,
            by default FakeParisV2; with ``hardware``, the name of the real machine.
        seed: root of the streams "shots", "simulator" and "transpiler". Every call draws new
            samples; the same seed repeats the same sequence of calls.
        mitigate: undo readout errors, qubit by qubit, with confusion matrices measured in the same
            job (all 0 and all 1 prepared). Probabilities may come out slightly negative.
        compact: compile onto as many connected qubits as the circuit has, so that the simulation
            stays small, instead of letting the compiler use the whole machine. By default so for
            simulated devices, not for hardware.
        hardware: send to a real machine with the saved account. The number of circuits, shots and
            an estimate of the time are printed before.

    Returns:
        A QNode. Called with a batch, it returns the batch.

    Raises:
        UsageError: for an unknown backend or device, or options that do not go together.
        QmlbookError: if a package is missing or the account cannot be opened.

    Example:
        >>> @qml.qnode(qml.device("default.qubit", wires=2))
        ... def circuit(x):
        ...     qml.RX(x, wires=0)
        ...     qml.CNOT(wires=(0, 1))
        ...     return qml.expval(qml.Z(1))
        >>> on(circuit, "aer")(np.array([0.0, np.pi])).round(6).tolist()
        [1.0, -1.0]
    """
    if backend not in BACKENDS:
        raise choose("backend", backend, BACKENDS)
    if shots is not None and (not isinstance(shots, int | np.integer) or shots < 1):
        raise UsageError(f"shots must be a whole number of 1 or more, not {shots!r}.")
    if seed < 0:
        raise UsageError(f"seed must be 0 or more, not {seed}.")
    if backend not in ("aer-noise", "ibm") and (device or mitigate or compact is not None):
        raise UsageError(
            f"device, mitigate and compact belong to aer-noise and ibm, not to {backend!r}."
        )
    if hardware and (backend != "ibm" or not device):
        raise UsageError(
            "hardware=True needs backend 'ibm' and device, the name of a machine of your account."
        )
    if backend in PENNYLANE:
        wires = qnode.device.wires
        target = qml.device(backend, wires=wires, seed=stream(seed, "shots"))
    else:
        target = QiskitDevice(backend, device, seed, mitigate, compact, hardware)
    moved = qnode.update(device=target, diff_method="best")
    if shots is None and not moved.shots.total_shots and backend in ("aer-noise", "ibm"):
        shots = SHOTS
    return moved if shots is None else qml.set_shots(moved, int(shots))


def submit(qnode: qml.QNode, *args: Any, **kwargs: Any) -> str:
    """Send a QNode's circuits and return the id of the job without waiting for it.

    Args:
        qnode: a QNode made by ``on(..., "ibm")``.
        *args: what the QNode is called with; keywords likewise.

    Raises:
        UsageError: if the QNode is on another backend.
    """
    tapes, _ = _prepared(qnode, args, kwargs)
    return _ibm_device(qnode).send(tapes).name


def resume(job_id: str, qnode: qml.QNode, *args: Any, **kwargs: Any) -> Any:
    """Wait for a job sent earlier, in this session or another, and return the QNode's results.

    Nothing is kept on this machine: the job carries a fingerprint of its circuits, and the same
    QNode with the same arguments reads the answer. A job of local testing mode ends with its
    session.

    Args:
        job_id: what `submit` returned, or what a call printed.
        qnode: the QNode, made by ``on(..., "ibm")`` as it was when the job was sent.
        *args: what it was called with; keywords likewise.

    Raises:
        UsageError: if the job is unknown or was sent for other circuits, angles or shots.
        QmlbookError: if the job failed.
    """
    tapes, finish = _prepared(qnode, args, kwargs)
    device = _ibm_device(qnode)
    return finish(device.collect(device.find(job_id, tapes), tapes))


def describe(
    qnode: qml.QNode, *args: Any, backend: str = "aer-noise", options: dict | None = None, **kwargs
) -> Description:
    """Return the size of a circuit before and after it is compiled for a backend.

    Where the measurements need several circuits, the one with most two-qubit gates is described.

    Args:
        qnode: any QNode that `on` takes.
        *args: what it is called with; keywords likewise.
        backend: "aer", "aer-noise" or "ibm".
        options: further options of `on`, for instance ``{"device": "FakeSherbrooke"}``.
    """
    if backend not in QISKIT:
        raise choose("backend", backend, QISKIT)
    moved = on(qnode, backend, **(options or {}))
    tapes, _ = _prepared(moved, args, kwargs)
    pairs = [(_written(tape), moved.device.compiled(tape)) for tape in tapes]
    written, compiled = max(pairs, key=lambda pair: _size(pair[1]).two_qubit)
    return Description(written.num_qubits, _size(written), _size(compiled))


def compare(
    qnode: qml.QNode, *args: Any, runs: dict[str, dict] | None = None, **kwargs: Any
) -> list[dict[str, Any]]:
    """Run one QNode on several backends and return the table of agreement.

    Args:
        qnode: any QNode that `on` takes.
        *args: what it is called with; keywords likewise.
        runs: name of the row -> options of `on`; by default one exact row for each ideal simulator,
            one with shots and one with noise.

    Returns:
        One row a run: ``run``, ``shots`` (``None`` for exact), ``largest`` and ``rms`` difference
        from the exact values, ``seconds``.
    """
    runs = runs or {
        "default.qubit": {"backend": "default.qubit"},
        "lightning.qubit": {"backend": "lightning.qubit"},
        "aer, exact": {"backend": "aer"},
        "aer, shots": {"backend": "aer", "shots": SHOTS},
        "aer, noise of ibmq_paris": {"backend": "aer-noise"},
    }
    # Torch's interface would round what lightning.qubit returns to torch's default precision.
    qnode = qnode.update(interface="auto")
    exact = _flat(qml.set_shots(on(qnode, "default.qubit"), None)(*args, **kwargs))
    rows = []
    for run, options in runs.items():
        moved = on(qnode, **options)
        start = time.perf_counter()
        error = _flat(moved(*args, **kwargs)) - exact
        rows.append(
            {
                "run": run,
                "shots": moved.shots.total_shots,
                "largest": float(np.abs(error).max()),
                "rms": float(np.sqrt(np.mean(error**2))),
                "seconds": time.perf_counter() - start,
            }
        )
    return rows


def to_qiskit(tape: QuantumScript) -> Any:
    """Return the gates of a tape as a Qiskit circuit; qubit k is wire k of ``tape.wires``.

    Global phases are left out. Gates that Qiskit does not name alike are decomposed.

    Args:
        tape: a circuit without a batch, for instance from `qml.tape.make_qscript`.

    Raises:
        UsageError: if a gate has a batch or cannot be decomposed.
    """
    tape = _decomposed(tape)
    if tape.batch_size is not None:
        raise UsageError("A tape with a batch is many circuits; convert them one by one.")
    return _written(tape).assign_parameters(_values(tape)[0])


# -- from PennyLane to Qiskit ----------------------------------------------------------------------


def _prepared(qnode: qml.QNode, args: tuple, kwargs: dict) -> tuple[Sequence, Callable]:
    """Return the circuits that the device would be given, and how to finish their results."""
    tapes, restore = qml.workflow.construct_batch(qnode, level="device")(*args, **kwargs)
    return tapes, lambda results: restore(results)[0]


def _ibm_device(qnode: qml.QNode) -> QiskitDevice:
    device = qnode.device
    if not isinstance(device, QiskitDevice) or device.backend != "ibm":
        raise UsageError("Jobs need a QNode on backend 'ibm': on(qnode, 'ibm', ...).")
    return device


def _flat(results: Any) -> np.ndarray:
    results = results if isinstance(results, tuple | list) else (results,)
    return np.concatenate([np.ravel(qml.math.to_numpy(result)) for result in results])


def _known(op: qml.operation.Operator) -> bool:
    return op.name in GATES or op.name in NOTHING


def _decomposed(tape: QuantumScript) -> QuantumScript:
    (tape,), _ = decompose(
        tape,
        stopping_condition=_known,
        skip_initial_state_prep=False,
        name="qiskit",
        error=UsageError,
    )
    return tape


@transform
def _checked(tape: QuantumScript) -> Any:
    """Refuse what cannot be read from counts of bit strings."""
    for mp in tape.measurements:
        pauli = mp.obs is None or mp.obs.pauli_rep is not None
        pauli = pauli and not (isinstance(mp, VarianceMP) and len(mp.obs.pauli_rep) > 1)
        if not isinstance(mp, ExpectationMP | VarianceMP | ProbabilityMP) or not pauli:
            raise UsageError(
                f"Measurement {mp} is not offered on Qiskit backends; return expval or var of "
                "Pauli words or probs, or use default.qubit."
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
    """Expand a batch of state vectors or matrices; a batch of angles stays one circuit."""
    if any(op.batch_size and any(op.ndim_params) for op in tape.operations):
        return broadcast_expand(tape)
    return (tape,), lambda results: results[0]


def _measured(tape: QuantumScript) -> list:
    """Return the wires to read out, in the order of the circuit."""
    asked = {wire for mp in tape.measurements for wire in (mp.wires or tape.wires)}
    return [wire for wire in tape.wires if wire in asked]


def _structure(tape: QuantumScript) -> tuple:
    place = {wire: k for k, wire in enumerate(tape.wires)}
    gates = tuple((op.name, tuple(place[w] for w in op.wires)) for op in _gates(tape))
    return gates, len(place), tuple(place[wire] for wire in _measured(tape))


def _gates(tape: QuantumScript) -> list:
    return [op for op in tape.operations if op.name not in NOTHING]


def _values(tape: QuantumScript) -> np.ndarray:
    """Return all angles of a tape, (batch or 1, parameters), float64, radians; the first is 0."""
    angles = [qml.math.to_numpy(value) for op in _gates(tape) for value in op.data]
    batch = tape.batch_size or 1
    columns = [np.broadcast_to(np.asarray(angle, float), batch) for angle in (0, *angles)]
    return np.stack(columns, axis=1)


def _written(tape: QuantumScript) -> Any:
    """Return a decomposed tape as a Qiskit circuit with an open parameter for every angle.

    One more parameter, the first, is the global phase: no compiler drops it, so that a batch stays
    a batch even where all other angles turn out to be without effect.
    """
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector

    gates = _gates(tape)
    place = {wire: k for k, wire in enumerate(tape.wires)}
    angles = iter(ParameterVector("angle", 1 + sum(op.num_params for op in gates)))
    circuit = QuantumCircuit(len(place), global_phase=next(angles))
    for op in gates:
        parameters = [next(angles) for _ in range(op.num_params)]
        getattr(circuit, GATES[op.name])(*parameters, *(place[wire] for wire in op.wires))
    return circuit


def _size(circuit: Any) -> Size:
    gates = [g for g in circuit.data if g.operation.name not in ("measure", "save_probabilities")]
    names = {g.operation.name for g in gates}
    return Size(
        gates=len(gates),
        two_qubit=sum(len(gate.qubits) == 2 for gate in gates),
        depth=circuit.depth(lambda gate: gate.operation.name in names),
    )


# -- the device ------------------------------------------------------------------------------------


def require(*packages: str) -> None:
    """Say in one sentence what is missing, before anything is built.

    Raises:
        QmlbookError: if one of the packages is not installed.
    """
    try:
        for package in packages:
            importlib.import_module(package)
    except ImportError as error:
        raise QmlbookError(
            f"Package {error.name} is missing for this backend: pip install 'qmlbook[hardware]'."
        ) from None


@functools.cache
def _fake(name: str) -> Any:
    from qiskit_ibm_runtime import fake_provider

    if not name.startswith("Fake") or "Provider" in name or not hasattr(fake_provider, name):
        raise UsageError(
            f"device {name!r} is not a fake device of qiskit_ibm_runtime.fake_provider; choose one "
            "such as FakeParisV2 or FakeSherbrooke."
        )
    return getattr(fake_provider, name)()


@functools.cache
def _aer(machine: Any) -> Any:
    from qiskit_aer import AerSimulator

    together = {"max_parallel_experiments": 0}  # circuits side by side, one thread each
    if machine is None:
        return AerSimulator(**together)
    return AerSimulator.from_backend(machine, **together)


def _account() -> Any:
    """Open the saved account. What the service says may hold parts of a token: never repeat it."""
    from qiskit_ibm_runtime import QiskitRuntimeService
    from qiskit_ibm_runtime.accounts import AccountNotFoundError

    try:
        return QiskitRuntimeService()
    except Exception as error:
        kind = type(error)
    if issubclass(kind, AccountNotFoundError):
        raise UsageError(
            "No IBM Quantum account is saved on this machine: call QiskitRuntimeService."
            "save_account once in your own shell (never in a notebook), then try again."
        )
    raise QmlbookError(f"The saved IBM Quantum account could not be opened ({kind.__name__}).")


def _discreet(what: str, call: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call the service; on failure name what failed and the kind of error, not its text."""
    try:
        return call(*args, **kwargs)
    except Exception as error:
        kind = type(error).__name__
    raise QmlbookError(f"{what} failed ({kind}); your IBM Quantum pages show more.")


class QiskitDevice(Device):
    """The Qiskit backends as one PennyLane device; made by `on`.

    Args:
        backend: "aer", "aer-noise" or "ibm".
        device: fake device, or the machine's name with ``hardware``.
        seed: root of the streams "simulator" and "transpiler".
        mitigate, compact, hardware: see `on`.
    """

    def __init__(
        self,
        backend: str = "aer",
        device: str | None = None,
        seed: int = 0,
        mitigate: bool = False,
        compact: bool | None = None,
        hardware: bool = False,
    ) -> None:
        require("qiskit_aer", "qiskit_ibm_runtime")
        super().__init__()
        self.backend, self.hardware, self.mitigate = backend, hardware, mitigate
        self.compact = not hardware if compact is None else compact
        self._seeds = stream(seed, "simulator")
        self._transpiler_seed = int(stream(seed, "transpiler").integers(1, 2**31))
        self._compiled: dict[tuple, Any] = {}
        self._jobs: dict[str, Job] = {}
        self._machine: Any = None
        if backend != "aer":
            machine_of = self._real if hardware else _fake
            self._machine = machine_of(device or DEVICE)

    @property
    def name(self) -> str:
        """Return the name that error messages show."""
        return f"qmlbook.backends.{self.backend}"

    def _real(self, name: str) -> Any:
        self._service = _account()
        return _discreet(f"Opening machine {name!r}", self._service.backend, name)

    # -- what PennyLane asks

    def preprocess_transforms(
        self, execution_config: ExecutionConfig | None = None
    ) -> CompilePipeline:
        """Return the transforms after which a circuit is gates of `GATES` and bits to read."""
        pipeline = CompilePipeline()
        pipeline.add_transform(defer_measurements, allow_postselect=False)
        pipeline.add_transform(_checked)
        pipeline.add_transform(split_non_commuting)
        pipeline.add_transform(_rotated)
        pipeline.add_transform(_scalar)
        pipeline.add_transform(
            decompose,
            stopping_condition=_known,
            skip_initial_state_prep=False,
            name=self.name,
            error=UsageError,
        )
        return pipeline

    def execute(
        self,
        circuits: Sequence[QuantumScript],
        execution_config: ExecutionConfig | None = None,
    ) -> tuple[Any, ...]:
        """Run circuits, all in one job; one result, or a tuple of them, for each."""
        return self.collect(self.send(circuits), circuits)

    # -- sending

    def compiled(self, tape: QuantumScript) -> Any:
        """Return the compiled circuit of a tape's structure, its angles open; compiled once."""
        key = (_structure(tape), tape.shots.total_shots is None)
        if key not in self._compiled:
            self._compiled[key] = self._compile(tape)
        return self._compiled[key]

    def _compile(self, tape: QuantumScript) -> Any:
        from qiskit.transpiler import generate_preset_pass_manager

        options = {"optimization_level": 3, "seed_transpiler": self._transpiler_seed}
        circuit = _written(tape)
        if self._machine is None:
            options = options | {"optimization_level": 0, "basis_gates": AER}
            return _with_readout(generate_preset_pass_manager(**options).run(circuit), tape)
        circuit = _with_readout(circuit, tape)
        if circuit.num_qubits > self._machine.num_qubits:
            raise UsageError(
                f"The circuit has {circuit.num_qubits} qubits, {self._machine.name} has "
                f"{self._machine.num_qubits}."
            )
        if self.compact:
            return _compactly(circuit, self._machine, options)
        return generate_preset_pass_manager(backend=self._machine, **options).run(circuit)

    def send(self, tapes: Sequence[QuantumScript]) -> Job:
        """Send circuits in one job, without waiting where the backend allows it."""
        groups = _grouped(tapes)
        if not tapes[0].shots:
            return Job("exact", lambda: self._exact(groups, tapes), "")
        pubs = []
        for (_, shots), group in groups.items():
            circuit = self.compiled(tapes[group.tapes[0]])
            columns = [parameter.index for parameter in circuit.parameters]
            pubs.append((circuit, group.table()[:, columns], shots))
            if self.mitigate:
                rest = np.zeros((-(-CALIBRATION_SHOTS // shots), 1))
                pubs += [(blank, rest, shots) for blank in _calibration(circuit)]
        if self.hardware:
            _announce(self._machine, pubs)
        job = self._run(pubs, _fingerprint(groups, self.mitigate))
        self._jobs[job.name] = job
        if self.hardware:
            print(f"Job {job.name}; resume('{job.name}', ...) reads it later.", flush=True)
        return job

    def _run(self, pubs: list[tuple], fingerprint: str) -> Job:
        seed = int(self._seeds.integers(1, 2**31))
        if self.hardware:
            from qiskit_ibm_runtime.executor_sampler import Sampler

            sampler = Sampler(mode=self._machine)
            sampler.options.environment.job_tags = [fingerprint]
            sent = _discreet("Sending the job", sampler.run, pubs)
        elif self.backend == "ibm":
            from qiskit_ibm_runtime.executor_sampler import Sampler

            options = {"seed_simulator": seed, "angle_decimals": 12}
            mode = self._simulator(max(_active(circuit) for circuit, _, _ in pubs))
            sent = Sampler(mode=mode, options={"simulator": options}).run(pubs)
        else:
            from qiskit_aer.primitives import SamplerV2

            mode = self._simulator(max(_active(circuit) for circuit, _, _ in pubs))
            sent = SamplerV2.from_backend(mode, seed=seed).run(pubs)
        return Job(sent.job_id(), lambda: _tables(sent, self.hardware), fingerprint)

    def _simulator(self, qubits: int) -> Any:
        """Return Aer, with the noise of the fake device where there is one."""
        simulator = _aer(self._machine)
        noisy = self._machine is not None and qubits <= DENSE
        simulator.set_options(method="density_matrix" if noisy else "statevector")
        return simulator

    def _exact(self, groups: dict, tapes: Sequence[QuantumScript]) -> list[np.ndarray]:
        """Return probabilities, (1, outcomes), of every circuit of every group in turn."""
        circuits = [self.compiled(tapes[group.tapes[0]]) for group in groups.values()]
        binds = [
            {p: group.table()[:, p.index].tolist() for p in circuit.parameters}
            for circuit, group in zip(circuits, groups.values(), strict=True)
        ]
        job = self._simulator(0).run(circuits, parameter_binds=binds)
        return [np.asarray(r.data.probabilities)[None] for r in job.result().results]

    # -- reading

    def find(self, job_id: str, tapes: Sequence[QuantumScript]) -> Job:
        """Return a job sent earlier, after making sure that it was sent for these circuits."""
        fingerprint = _fingerprint(_grouped(tapes), self.mitigate)
        if job_id in self._jobs:
            job = self._jobs[job_id]
        elif self.hardware:
            sent = _discreet(f"Finding job {job_id!r}", self._service.job, job_id)
            tags = sent.tags or []
            same = fingerprint if fingerprint in tags else ", ".join(tags)
            job = Job(job_id, lambda: _tables(sent, True), same)
        else:
            raise UsageError(f"Job {job_id!r} is not one of this session's local jobs.")
        if job.circuits != fingerprint:
            raise UsageError(
                f"Job {job_id!r} was sent for other circuits, angles or shots than these."
            )
        return job

    def collect(self, job: Job, tapes: Sequence[QuantumScript]) -> tuple[Any, ...]:
        """Wait for a job and return one result, or a tuple of them, for each circuit."""
        tables = iter(job.result())
        results: list[Any] = [None] * len(tapes)
        for group in _grouped(tapes).values():
            found = _take(tables, len(group.table()))
            if self.mitigate:
                found = _mitigated(found, next(tables).mean(0), next(tables).mean(0))
            start = 0
            for number, values in zip(group.tapes, group.values, strict=True):
                results[number] = _read(tapes[number], found[start : start + len(values)])
                start += len(values)
        return tuple(results)


def _with_readout(circuit: Any, tape: QuantumScript) -> Any:
    """Append what reads the measured wires: bits where the tape has shots, else probabilities."""
    from qiskit import ClassicalRegister

    place = {wire: k for k, wire in enumerate(tape.wires)}
    reverse = [place[wire] for wire in _measured(tape)][::-1]  # Qiskit counts from the right
    if not tape.shots:
        circuit.save_probabilities(reverse)
    else:
        circuit.add_register(ClassicalRegister(len(reverse), "bits"))
        circuit.measure(reverse, range(len(reverse)))
    return circuit


def _compactly(circuit: Any, machine: Any, options: dict) -> Any:
    """Compile onto the best connected qubits of a machine, as many as the circuit has."""
    from qiskit import QuantumCircuit
    from qiskit.transpiler import PassManager, generate_preset_pass_manager
    from qiskit.transpiler.passes import DenseLayout

    search = PassManager([DenseLayout(target=machine.target)])
    search.run(circuit)
    layout = search.property_set["layout"]
    region = sorted(layout[qubit] for qubit in circuit.qubits)
    inside = generate_preset_pass_manager(
        basis_gates=[name for name in machine.operation_names if name != "reset"],
        coupling_map=machine.coupling_map.reduce(region),
        **options,
    ).run(circuit)
    whole = QuantumCircuit(machine.num_qubits)
    for register in inside.cregs:
        whole.add_register(register)
    return whole.compose(inside, qubits=region, clbits=range(inside.num_clbits))


def _active(circuit: Any) -> int:
    return len({qubit for instruction in circuit.data for qubit in instruction.qubits})


def _grouped(tapes: Sequence[QuantumScript]) -> dict[tuple, Group]:
    groups: dict[tuple, Group] = {}
    for number, tape in enumerate(tapes):
        group = groups.setdefault((_structure(tape), tape.shots.total_shots), Group())
        group.tapes.append(number)
        group.values.append(_values(tape))
    return groups


def _calibration(circuit: Any) -> list:
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


def _fingerprint(groups: dict[tuple, Group], mitigate: bool) -> str:
    digest = hashlib.sha256(b"mitigated" if mitigate else b"")
    for key, group in groups.items():
        digest.update(repr(key).encode())
        digest.update(group.table().astype("<f8").tobytes())
    return f"qmlbook-{digest.hexdigest()[:16]}"


def _announce(machine: Any, pubs: list[tuple]) -> None:
    """Print what is about to be sent."""
    circuits = sum(len(values) for _, values, _ in pubs)
    total = sum(len(values) * shots for _, values, shots in pubs)
    delay = getattr(machine, "default_rep_delay", None) or REP_DELAY
    print(
        f"Sending to {machine.name}: {circuits} circuits, {total} shots in all, an estimated "
        f"{max(1, round(total * delay))} s of machine time ({delay * 1e6:.0f} us a shot).",
        flush=True,
    )


def _tables(sent: Any, remote: bool = False) -> list[np.ndarray]:
    """Wait for a sampler and return relative frequencies, (circuits, outcomes), of every part."""
    results = _discreet("Waiting for the job", sent.result) if remote else sent.result()
    tables = []
    for result in results:
        bits = next(iter(result.data.values()))
        packed = bits.array.reshape(-1, *bits.array.shape[-2:])
        weights = 256 ** np.arange(packed.shape[-1])[::-1]  # bytes arrive high end first
        outcomes = (packed.astype(np.int64) * weights).sum(-1)
        counts = [np.bincount(row, minlength=2**bits.num_bits) for row in outcomes]
        tables.append(np.stack(counts) / outcomes.shape[1])
    return tables


def _take(tables: Any, circuits: int) -> np.ndarray:
    parts = []
    while sum(map(len, parts)) < circuits:
        parts.append(next(tables))
    return np.concatenate(parts)


def _mitigated(found: np.ndarray, zeros: np.ndarray, ones: np.ndarray) -> np.ndarray:
    """Undo readout errors qubit by qubit with the inverse of each measured confusion matrix."""
    n = int(found.shape[1]).bit_length() - 1
    cube = found.reshape(-1, *(2,) * n)
    for k in range(n):
        columns = [table.reshape(2**k, 2, -1).sum((0, 2)) for table in (zeros, ones)]
        inverse = np.linalg.inv(np.stack(columns, axis=1))  # column = what was prepared
        cube = np.moveaxis(np.tensordot(inverse, cube, (1, k + 1)), 0, k + 1)
    return cube.reshape(found.shape)


def _read(tape: QuantumScript, found: np.ndarray) -> Any:
    """Turn probabilities of bit strings, (batch, outcomes), into a tape's measurements."""
    wires = _measured(tape)
    cube = found.reshape(-1, *(2,) * len(wires))
    results = []
    for mp in tape.measurements:
        axes = [wires.index(wire) + 1 for wire in (mp.wires or tape.wires)]
        kept = np.moveaxis(cube, axes, range(1, len(axes) + 1))
        value = kept.reshape(len(cube), 2 ** len(axes), -1).sum(-1)
        if not isinstance(mp, ProbabilityMP):
            levels = np.real(mp.eigvals())
            mean = value @ levels
            value = mean if isinstance(mp, ExpectationMP) else value @ levels**2 - mean**2
        results.append(value if tape.batch_size is not None else value[0])
    return results[0] if len(results) == 1 else tuple(results)
