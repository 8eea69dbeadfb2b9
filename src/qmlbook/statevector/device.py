"""The PennyLane device `qmlbook.statevector`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pennylane as qml
import torch
from pennylane.allocation import DynamicWire
from pennylane.devices import Device, ExecutionConfig, default_qubit, preprocess
from pennylane.devices.modifiers import simulator_tracking, single_tape_support
from pennylane.math import Interface
from pennylane.queuing import AnnotatedQueue, QueuingManager
from pennylane.tape import QuantumScript
from pennylane.transforms.core import CompilePipeline, transform
from torch import Tensor

from .autograd import differentiable
from .errors import NAME, CircuitError, WrongWires
from .execution import run
from .plan import Values, values
from .reading import Reading, read, structure, supports, whole
from .simulation import Simulation, by_wires

DTYPES = {"complex64": torch.float32, "complex128": torch.float64}
PLANS = 256  # circuits whose plan is remembered
INTERFACES = (Interface.NUMPY, Interface.TORCH, Interface.AUTO, Interface.AUTOGRAD)
EXACT = ("best", "backprop", "adjoint", "device")  # all are the same gradient here
Config: TypeAlias = ExecutionConfig | None
Tape: TypeAlias = QuantumScript | None


@contextmanager
def unqueued() -> Iterator[None]:
    """Keep the gates of the block out of a circuit around it that this thread is making.

    PennyLane's list of circuits in the making belongs to whichever thread holds its lock;
    ``stop_recording`` alone would take it away from that thread.
    """
    lock = AnnotatedQueue._lock
    ours = lock.acquire(blocking=False)  # it is free, or this thread has it already
    inside = ours and QueuingManager.recording()
    if ours:
        lock.release()
    with QueuingManager.stop_recording() if inside else nullcontext():
        yield


@transform
@unqueued()  # looking at a gate may make others
def prepare(tape: QuantumScript, device: StatevectorDevice, config: ExecutionConfig) -> Any:
    """Bring a tape into the form that the device runs; most tapes have it and pass untouched."""
    if device.wires is not None:
        for wire in tape.wires:
            if wire not in device.wires and not isinstance(wire, DynamicWire):
                many = len(device.wires) > 12
                known = f"{len(device.wires)} wires" if many else ", ".join(map(str, device.wires))
                raise WrongWires(f"Wire {wire!r} is not on device {NAME}, which has: {known}.")
    if device.runs(tape):
        return (tape,), lambda results: results[0]
    refuse(tape)
    pipeline = CompilePipeline()
    add, ours = pipeline.add_transform, {"name": NAME, "error": CircuitError}
    if device.wires is not None and not any(isinstance(w, DynamicWire) for w in tape.wires):
        add(preprocess.validate_device_wires, device.wires, name=NAME)
    add(qml.defer_measurements, allow_postselect=False)
    options = {"stopping_condition": supports, "skip_initial_state_prep": True, **ours}
    add(preprocess.decompose, device_wires=device.wires, **options)
    add(preprocess.device_resolve_dynamic_wires, wires=device.wires, allow_resets=False)
    shadows = qml.measurements.ClassicalShadowMP, qml.measurements.ShadowExpvalMP
    if any(isinstance(mp, shadows) for mp in tape.measurements):
        add(qml.transforms.broadcast_expand)
    if config.gradient_method == "backprop":
        add(preprocess.no_sampling, name=f"backprop + {NAME}")
    tapes, restore = pipeline((tape,))
    return tapes, lambda results: restore(results)[0]


def refuse(tape: QuantumScript) -> None:
    """Raise an error for what no preparation brings into the device's form.

    Raises:
        CircuitError: for a selected outcome, or a measurement that does not go with the shots.
    """
    for op in tape.operations:
        if isinstance(op, qml.ops.MidMeasure) and op.postselect is not None:
            raise CircuitError(f"Postselection is not supported on {NAME}; use default.qubit.")
    if tape.shots:
        accepted = default_qubit.accepted_sample_measurement
        unless = f"with finite shots on {NAME}; remove the shots"
    else:
        accepted = default_qubit.accepted_analytic_measurement
        unless = f"for analytic simulation on {NAME}; give it shots with qml.set_shots"
    for mp in tape.measurements:
        if not accepted(mp):
            raise CircuitError(f"Measurement {mp} is not accepted {unless}, or use default.qubit.")


@simulator_tracking
@single_tape_support
class StatevectorDevice(Device):
    """A batched statevector simulator that torch differentiates.

    Circuits of a broadcast batch run side by side, in machine code on a processor and by torch on a
    GPU. Gradients in inputs and weights are exact, of any order, whatever ``diff_method`` asks for
    them ("best", "backprop", "adjoint" and "device" are the same); walking back through the
    circuit needs no state per gate. Only the wires that a circuit uses are simulated.

    Args:
        wires: number of wires, or their labels; ``None`` takes those of each circuit.
        shots: default number of samples, ``None`` for exact results.
        seed: of the samples (anything `numpy.random.default_rng` takes). The same seed gives the
            same samples; the next execution draws new ones.
        dtype: "complex64" or "complex128"; ``None`` follows the circuit's numbers as torch
            promotes them: float32 tensors are computed in complex64, all else in complex128.
        device: torch device, "cpu" or "cuda"; ``None`` takes that of the circuit's tensors.

    Raises:
        CircuitError: for a ``dtype`` that is not known.

    Example:
        >>> import pennylane as qml, torch
        >>> @qml.qnode(qml.device("qmlbook.statevector", wires=2))
        ... def circuit(x):
        ...     qml.RX(x, wires=0)
        ...     qml.CNOT(wires=(0, 1))
        ...     return qml.expval(qml.Z(1))
        >>> circuit(torch.tensor([0.0, torch.pi], dtype=torch.float64))
        tensor([ 1., -1.], dtype=torch.float64)
    """

    name = NAME

    def __init__(
        self,
        wires: Any = None,
        shots: Any = None,
        seed: Any = None,
        dtype: str | torch.dtype | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__(wires=wires, shots=shots)
        name = str(dtype).removeprefix("torch.")
        if dtype is not None and name not in DTYPES:
            raise CircuitError(f"dtype {dtype!r} is not known; choose complex64 or complex128.")
        self.dtype = DTYPES.get(name)
        self.torch_device = None if device is None else torch.device(device)
        self._rng = np.random.default_rng(seed)
        self._plans: dict[tuple, Simulation] = {}
        self._debugger: Any = None  # of qml.snapshots

    # -- what PennyLane asks ----------------------------------------------------------------------

    def supports_derivatives(self, execution_config: Config = None, circuit: Tape = None) -> bool:
        """Return whether a circuit is differentiated exactly: where nothing is sampled."""
        config = execution_config
        if config is None:
            return True
        if config.gradient_method not in EXACT or config.interface not in INTERFACES:
            return False
        observables = [] if circuit is None else [mp.obs for mp in circuit.measurements]
        sparse = any(isinstance(obs, qml.SparseHamiltonian) for obs in observables)
        return circuit is None or not (circuit.shots or sparse)

    def setup_execution_config(
        self, config: Config = None, circuit: Tape = None
    ) -> ExecutionConfig:
        """Fill in what the device decides: the exact gradient, measurements put at the end."""
        config = config or ExecutionConfig()
        if config.device_options:
            option = next(iter(config.device_options))
            raise CircuitError(f"Device option {option!r} is not known to device {NAME}.")
        method = config.mcm_config.mcm_method
        if method not in (None, "deferred", "device"):
            raise CircuitError(
                f"mcm_method {method!r} is not supported on {NAME}; choose 'deferred', or use "
                "default.qubit."
            )
        exact = config.gradient_method in EXACT
        decided: dict[str, Any] = {"gradient_method": "backprop"} if exact else {}
        decided |= {"use_device_jacobian_product": False, "grad_on_execution": False}
        mcm = replace(config.mcm_config, mcm_method="deferred")
        return replace(config, use_device_gradient=exact, mcm_config=mcm, **decided)

    def preprocess_transforms(self, execution_config: Config = None) -> CompilePipeline:
        """Return the one transform that circuits pass before they run."""
        pipeline = CompilePipeline()
        pipeline.add_transform(prepare, device=self, config=execution_config or ExecutionConfig())
        return pipeline

    def execute(self, circuits: Sequence[QuantumScript], execution_config: Config = None) -> tuple:
        """Run circuits; one result, or a tuple with one result per measurement, for each.

        Raises:
            CircuitError: if batch sizes differ, amplitudes are NaN or all zero, or the circuit's
                numbers are JAX's.
            WrongWires: for a wire that the device does not have.
        """
        one: Any = self._run
        if torch.compiler.is_compiling():  # torch.compile would trace numpy as if it were torch
            one = torch._dynamo.disable(one)
        with unqueued():  # inside another circuit nothing of this is its own
            return tuple(map(one, circuits))

    # -- running ----------------------------------------------------------------------------------

    def runs(self, tape: QuantumScript) -> bool:
        """Return whether a tape needs no preparation."""
        if tape.shots or not all(supports(op, at == 0) for at, op in enumerate(tape.operations)):
            return False
        accepted = default_qubit.accepted_analytic_measurement
        return all(mp.mv is None and accepted(mp) for mp in tape.measurements)

    def place(self, tape: QuantumScript) -> dict[Any, int]:
        """Return the position of every wire that is simulated."""
        wires: Any = tape.wires.tolist()
        if self.wires is None:
            acted = len(tape.op_wires)  # as in PennyLane, what is only measured comes last
            if all(set(wires[:many]) == set(range(many)) for many in (acted, len(wires))):
                wires = sorted(wires)
            return {wire: i for i, wire in enumerate(wires)}
        everything = not tape.measurements or any(map(whole, tape.measurements))
        used = list(self.wires) if everything else [w for w in self.wires if w in wires]
        # wires of deferred measurements come after ours
        extra = [wire for wire in wires if wire not in self.wires]
        return {wire: i for i, wire in enumerate([*used, *extra])}

    def _run(self, tape: QuantumScript) -> Any:
        if self._debugger is not None and self._debugger.active:
            self._snapshots(tape)
        numbers = tape.get_parameters(trainable_only=False)
        libraries = {type(number).__module__.partition(".")[0] for number in numbers}
        if others := libraries & {"jax", "jaxlib"}:
            raise CircuitError(
                f"Device {NAME} differentiates torch tensors only, not those of {others.pop()}; "
                "pass torch tensors, or use default.qubit."
            )
        if tape.shots:
            return self._sampled(tape)

        def exact(*values: Any) -> Sequence[Any]:
            bound = tape.bind_new_parameters(list(values), range(len(values)))
            return self._exact(bound, values)

        autograd = "autograd" in libraries
        made = differentiable(exact)(*numbers) if autograd else self._exact(tape, numbers)
        return made[0] if len(made) == 1 else tuple(made)

    def _exact(self, tape: QuantumScript, numbers: Sequence[Any]) -> Sequence[Any]:
        """Return results without shots; ``numbers`` are those of the tape."""
        reading = read(tape, self.place(tape))
        given = [*numbers, *reading.parameters, *reading.given]
        numeric = not any(isinstance(number, Tensor) for number in given)
        return self.planned(reading)(self.values(reading), reading.measurements, numeric)

    def ready(self, tape: QuantumScript) -> QuantumScript:
        """Return a tape in the form that the device runs.

        Raises:
            CircuitError: if it becomes several tapes.
        """
        tapes, _ = prepare(tape, device=self, config=ExecutionConfig())
        if len(tapes) != 1:
            raise CircuitError(
                "The circuit must stay one circuit when it is prepared for the device."
            )
        return tapes[0]

    def read(self, tape: QuantumScript) -> Reading:
        """Return what a tape asks for, in the form that the device runs, and the numbers on it."""
        tape = self.ready(tape)
        return read(tape, self.place(tape))

    def planned(self, reading: Reading) -> Simulation:
        """Return how a tape is run."""
        key = reading.key, reading.asked, reading.wires
        plan = self._plans.pop(key, None)
        if plan is None:
            circuit = structure(reading.key, reading.wires)
            if circuit.wires > reading.wires and "state" in dict(reading.asked):
                raise CircuitError(
                    "A dephased circuit has no state vector; measure expectation values or "
                    "probabilities, or use default.mixed."
                )
            plan = Simulation(circuit, reading.asked)
            if len(self._plans) >= PLANS:
                self._plans.pop(next(iter(self._plans)))
        self._plans[key] = plan  # the last used comes last
        return plan

    def values(self, reading: Reading) -> Values:
        """Return what was read from a tape as tensors."""
        return values(reading, self.dtype, self.torch_device)

    def _snapshots(self, tape: QuantumScript) -> None:
        """Run a circuit up to each of its snapshots."""
        for number, op in enumerate(tape.operations):
            if isinstance(op, qml.Snapshot):
                measured, shots = op.hyperparameters["measurement"], op.hyperparameters["shots"]
                before = [o for o in tape.operations[:number] if not isinstance(o, qml.Snapshot)]
                shots = tape.shots if shots == "workflow" else shots
                found = self._run(self.ready(QuantumScript(before, [measured], shots=shots)))
                known = found.detach() if isinstance(found, Tensor) else found
                self._debugger.snapshots[op.tag] = known

    def _sampled(self, tape: QuantumScript) -> Any:
        """Sample with PennyLane's functions from the exact state."""
        unmeasured = tape.copy(measurements=[])
        place = self.place(tape) or self.place(unmeasured)
        reading = read(unmeasured, place)
        plan = self.planned(reading).plan
        with torch.no_grad():
            state = run(plan, self.values(reading))[-1].to(torch.complex128)
        state = state / torch.linalg.vector_norm(state, dim=-1, keepdim=True)
        labels = qml.wires.Wires(list(place))
        (named,), _ = preprocess.validate_device_wires(tape, wires=labels, name=NAME)
        measured = named.copy(measurements=[mp.map_wires(place) for mp in named.measurements])
        amplitudes, batched = by_wires(state).cpu().numpy(), reading.batch is not None
        return qml.devices.qubit.measure_final_state(measured, amplitudes, batched, rng=self._rng)
