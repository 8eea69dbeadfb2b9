"""The Qiskit backends as one PennyLane device."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pennylane.devices import Device, ExecutionConfig
from pennylane.tape import QuantumScript
from pennylane.transforms.core import CompilePipeline

from ..base.errors import UsageError
from ..base.rng import stream
from . import machines
from .jobs import Job, announce, calibration, fingerprint_of, frequencies, grouped, mitigated, read
from .translate import AER, open_circuit, preparation, signature, with_readout

DEVICE = "FakeParisV2"  # the noise of ibmq_paris, 27 qubits, as stored by IBM
CALIBRATION_SHOTS = 8_192  # at least, of each of the two circuits that measure readout errors
DENSE = 10  # up to so many qubits a density matrix is faster than one noisy run per shot


class QiskitDevice(Device):
    """The Qiskit backends as one PennyLane device; made by `on`.

    Args:
        backend: "aer", "aer-noise" or "ibm".
        device: fake device, or the machine's name with ``hardware``.
        seed: root of the streams "simulator", "transpiler" and "order".
        mitigate, compact, hardware: see `on`.
        wires: labels; a measurement without wires is one of all of them.
    """

    def __init__(
        self,
        backend: str = "aer",
        device: str | None = None,
        seed: int = 0,
        mitigate: bool = False,
        compact: bool | None = None,
        hardware: bool = False,
        wires: Any = None,
    ) -> None:
        machines.require("qiskit_aer", "qiskit_ibm_runtime")
        super().__init__(wires=wires)
        self.backend, self.hardware, self.mitigate = backend, hardware, mitigate
        self.compact = not hardware if compact is None else compact
        self._seeds = stream(seed, "simulator")
        self._order = stream(seed, "order")
        self._transpiler_seed = int(stream(seed, "transpiler").integers(1, 2**31))
        self._compiled: dict[tuple, Any] = {}
        self._jobs: dict[str, Job] = {}
        self._machine: Any = None
        if backend != "aer":
            machine_of = self._real if hardware else machines.fake
            self._machine = machine_of(device or DEVICE)

    @property
    def name(self) -> str:
        """Return the name that error messages show."""
        return f"qmlbook.backends.{self.backend}"

    def _real(self, name: str) -> Any:
        self._service = machines.account()
        return machines.discreet(f"Opening machine {name!r}", self._service.backend, name)

    # -- what PennyLane asks

    def preprocess_transforms(
        self, execution_config: ExecutionConfig | None = None
    ) -> CompilePipeline:
        """Return the transforms after which a circuit is gates of `GATES` and bits to read."""
        return preparation(self.name, self.wires, self.mitigate)

    def execute(
        self, circuits: Sequence[QuantumScript], execution_config: ExecutionConfig | None = None
    ) -> tuple[Any, ...]:
        """Run circuits, all in one job; one result, or a tuple of them, for each."""
        return self.collect(self.send(circuits), circuits)

    # -- sending

    def compiled(self, tape: QuantumScript) -> Any:
        """Return the compiled circuit of a tape's structure, its angles open; compiled once."""
        key = (signature(tape), tape.shots.total_shots is None)
        if key not in self._compiled:
            self._compiled[key] = self._compile(tape)
        return self._compiled[key]

    def _compile(self, tape: QuantumScript) -> Any:
        from qiskit.transpiler import generate_preset_pass_manager

        circuit, seed = open_circuit(tape), self._transpiler_seed
        if self._machine is None:
            manager = generate_preset_pass_manager(0, basis_gates=AER, seed_transpiler=seed)
            return with_readout(manager.run(circuit), tape)
        options: dict[str, Any] = {"optimization_level": 3, "seed_transpiler": seed}
        circuit = with_readout(circuit, tape)
        if circuit.num_qubits > self._machine.num_qubits:
            raise UsageError(
                f"The circuit has {circuit.num_qubits} qubits, {self._machine.name} has "
                f"{self._machine.num_qubits}."
            )
        if self.compact:
            return machines.compactly(circuit, self._machine, options)
        return generate_preset_pass_manager(backend=self._machine, **options).run(circuit)

    def send(self, tapes: Sequence[QuantumScript]) -> Job:
        """Send circuits in one job, without waiting where the backend allows it."""
        groups = grouped(tapes)
        if not tapes[0].shots:
            return Job("exact", lambda: self._exact(groups, tapes), "")
        pubs = []
        for (_, shots), group in groups.items():
            circuit = self.compiled(tapes[group.tapes[0]])
            columns = [parameter.index for parameter in circuit.parameters]
            pubs.append((circuit, group.table()[:, columns], shots))
            if self.mitigate:
                rest = np.zeros((-(-CALIBRATION_SHOTS // shots), 1))
                pubs += [(blank, rest, shots) for blank in calibration(circuit)]
        if self.hardware:
            announce(self._machine, pubs)
        job = self._run(pubs, fingerprint_of(groups, self.mitigate))
        self._jobs[job.name] = job
        if self.hardware:
            print(f"Job {job.name}; resume('{job.name}', ...) reads it later.", flush=True)
        return job

    def _run(self, pubs: list[tuple], fingerprint: str) -> Job:
        from qiskit_aer.primitives import SamplerV2
        from qiskit_ibm_runtime.executor_sampler import Sampler

        seed = int(self._seeds.integers(1, 2**31))
        if self.hardware:
            sampler = Sampler(mode=self._machine)
            sampler.options.environment.job_tags = [fingerprint]
            sent = machines.discreet("Sending the job", sampler.run, pubs)
        else:
            simulator = self._simulator(max(_active(circuit) for circuit, _, _ in pubs))
            if self.backend == "ibm":
                options = {"seed_simulator": seed, "angle_decimals": 12}
                sent = Sampler(mode=simulator, options={"simulator": options}).run(pubs)
            else:
                sent = SamplerV2.from_backend(simulator, seed=seed).run(pubs)
        return Job(sent.job_id(), lambda: frequencies(sent, self.hardware), fingerprint)

    def _simulator(self, qubits: int) -> Any:
        """Return Aer, with the noise of the fake device where there is one."""
        simulator = machines.aer(self._machine)
        noisy = self._machine is not None and qubits <= DENSE
        simulator.set_options(method="density_matrix" if noisy else "statevector")
        return simulator

    def _exact(self, groups: dict, tapes: Sequence[QuantumScript]) -> list[np.ndarray]:
        """Return probabilities, (circuits, outcomes), of every group."""
        circuits = [self.compiled(tapes[group.tapes[0]]) for group in groups.values()]
        binds = [
            {p: group.table()[:, p.index].tolist() for p in circuit.parameters}
            for circuit, group in zip(circuits, groups.values(), strict=True)
        ]
        done = iter(self._simulator(0).run(circuits, parameter_binds=binds).result().results)
        return [
            np.stack([next(done).data.probabilities for _ in group.table()])
            for group in groups.values()
        ]

    # -- reading

    def find(self, job_id: str, tapes: Sequence[QuantumScript]) -> Job:
        """Return a job sent earlier, after making sure that it was sent for these circuits."""
        fingerprint = fingerprint_of(grouped(tapes), self.mitigate)
        if job_id in self._jobs:
            job = self._jobs[job_id]
        elif self.hardware:
            sent = machines.discreet(f"Finding job {job_id!r}", self._service.job, job_id)
            tags = sent.tags or []
            same = fingerprint if fingerprint in tags else ", ".join(tags)
            job = Job(job_id, lambda: frequencies(sent, True), same)
        else:
            raise UsageError(f"Job {job_id!r} is not one of this session's local jobs.")
        if job.circuits != fingerprint:
            raise UsageError(
                f"Job {job_id!r} was sent for other circuits, angles or shots than these."
            )
        return job

    def collect(
        self, job: Job, tapes: Sequence[QuantumScript], raw: bool = False
    ) -> tuple[Any, ...]:
        """Wait for a job and return one result, or a tuple of them, for each circuit.

        Args:
            job: what `send` returned.
            tapes: what it was sent.
            raw: leave readout errors in, although those of the job were measured.
        """
        tables = iter(job.result())
        results: list[Any] = [None] * len(tapes)
        for group in grouped(tapes).values():
            outcomes = next(tables)
            if self.mitigate:
                errors = next(tables).mean(0), next(tables).mean(0)
                outcomes = outcomes if raw else mitigated(outcomes, *errors)
            ends = np.cumsum([len(values) for values in group.values])
            for number, part in zip(group.tapes, np.split(outcomes, ends[:-1]), strict=True):
                results[number] = read(tapes[number], part, self._order)
        return tuple(results)


def _active(circuit: Any) -> int:
    return len({qubit for instruction in circuit.data for qubit in instruction.qubits})
