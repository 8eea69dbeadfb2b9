"""The PennyLane device `qmlbook.statevector`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pennylane as qml
import torch
from pennylane.allocation import DynamicWire
from pennylane.devices import Device, ExecutionConfig, default_qubit, preprocess
from pennylane.devices.modifiers import simulator_tracking, single_tape_support
from pennylane.devices.qubit.sampling import measure_with_samples
from pennylane.math import Interface
from pennylane.measurements import ClassicalShadowMP, ShadowExpvalMP
from pennylane.ops import MidMeasure
from pennylane.queuing import AnnotatedQueue, QueuingManager
from pennylane.tape import QuantumScript
from pennylane.transforms import broadcast_expand, defer_measurements
from pennylane.transforms.core import CompilePipeline, transform
from pennylane.wires import Wires
from torch import Tensor

from .autograd import differentiable
from .errors import NAME, CircuitError, WrongWires
from .execution import run
from .plan import Values, values
from .reading import Reading, read, structure, supports
from .simulation import Simulation, by_wires, signature, whole

DTYPES = {"complex64": torch.float32, "complex128": torch.float64}
PLANS = 256  # circuits whose plan is remembered
INTERFACES = (Interface.NUMPY, Interface.TORCH, Interface.AUTO, Interface.AUTOGRAD)
EXACT = ("best", "backprop", "adjoint", "device")  # all are the same gradient here


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
def prepare(tape: QuantumScript, device: StatevectorDevice, config: ExecutionConfig) -> Any:
    """Bring a tape into the form that the device runs; most tapes have it and pass untouched."""
    if device.wires is not None:
        for wire in tape.wires:
            if wire not in device.wires and not isinstance(wire, DynamicWire):
                many = len(device.wires) > 12
                known = f"{len(device.wires)} wires" if many else ", ".join(map(str, device.wires))
                raise WrongWires(f"Wire {wire!r} is not on device {NAME}, which has: {known}.")
    with unqueued():  # looking at a gate may make others
        ready_made = device.runs(tape)
    if ready_made:
        return (tape,), lambda results: results[0]
    refuse(tape)
    pipeline = CompilePipeline()
    if device.wires is not None and not any(isinstance(w, DynamicWire) for w in tape.wires):
        pipeline.add_transform(preprocess.validate_device_wires, device.wires, name=NAME)
    pipeline.add_transform(defer_measurements, allow_postselect=False)
    pipeline.add_transform(
        preprocess.decompose,
        stopping_condition=supports,
        skip_initial_state_prep=True,
        device_wires=device.wires,
        name=NAME,
        error=CircuitError,
    )
    resolve = preprocess.device_resolve_dynamic_wires
    pipeline.add_transform(resolve, wires=device.wires, allow_resets=False)
    if any(isinstance(m, (ShadowExpvalMP, ClassicalShadowMP)) for m in tape.measurements):
        pipeline.add_transform(broadcast_expand)
    if config.gradient_method == "backprop":
        pipeline.add_transform(preprocess.no_sampling, name=f"backprop + {NAME}")
    with unqueued():
        tapes, restore = pipeline((tape,))
    return tapes, lambda results: restore(results)[0]


def refuse(tape: QuantumScript) -> None:
    """Raise an error for what no preparation brings into the device's form.

    Raises:
        CircuitError: for a selected outcome, or a measurement that does not go with the shots.
    """
    for op in tape.operations:
        if isinstance(op, MidMeasure) and op.postselect is not None:
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
        self.dtype = None if dtype is None else DTYPES[name]
        self.torch_device = None if device is None else torch.device(device)
        self._rng = np.random.default_rng(seed)
        self._plans: dict[tuple, Simulation] = {}
        self._debugger: Any = None  # of qml.snapshots

    @property
    def name(self) -> str:
        """Return the name under which PennyLane finds the device."""
        return NAME

    # -- what PennyLane asks ----------------------------------------------------------------------

    def supports_derivatives(
        self, execution_config: ExecutionConfig | None = None, circuit: QuantumScript | None = None
    ) -> bool:
        """Return whether a circuit is differentiated exactly: where nothing is sampled."""
        config = execution_config
        if config is None:
            return True
        if config.gradient_method not in EXACT or config.interface not in INTERFACES:
            return False
        return circuit is None or not (
            circuit.shots
            or any(isinstance(mp.obs, qml.SparseHamiltonian) for mp in circuit.measurements)
        )

    def setup_execution_config(
        self, config: ExecutionConfig | None = None, circuit: QuantumScript | None = None
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
        return replace(
            config,
            gradient_method="backprop" if exact else config.gradient_method,
            use_device_gradient=exact,
            use_device_jacobian_product=False,
            grad_on_execution=False,
            mcm_config=replace(config.mcm_config, mcm_method="deferred"),
        )

    def preprocess_transforms(
        self, execution_config: ExecutionConfig | None = None
    ) -> CompilePipeline:
        """Return the one transform that circuits pass before they run."""
        pipeline = CompilePipeline()
        pipeline.add_transform(prepare, device=self, config=execution_config or ExecutionConfig())
        return pipeline

    def execute(
        self, circuits: Sequence[QuantumScript], execution_config: ExecutionConfig | None = None
    ) -> tuple[Any, ...]:
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
        operations = tape.operations
        if not all(supports(op, first=number == 0) for number, op in enumerate(operations)):
            return False
        return not tape.shots and all(
            mp.mv is None and default_qubit.accepted_analytic_measurement(mp)
            for mp in tape.measurements
        )

    def place(self, tape: QuantumScript) -> dict[Any, int]:
        """Return the position of every wire that is simulated."""
        wires: Any = tape.wires.tolist()
        if self.wires is None:
            if set(wires) == set(range(len(wires))):
                acted = len(tape.op_wires)  # as in PennyLane, what is only measured comes last
                if set(wires[:acted]) == set(range(acted)):
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
        if "autograd" in libraries:
            return self._through_autograd(tape, numbers)
        place = self.place(tape)
        reading = read(tape, place)
        numeric = not any(isinstance(number, Tensor) for number in [*numbers, *reading.values])
        values = self.values(reading)
        results = self.planned(tape, place, reading)(values, tape.measurements, place)
        made: Any = [r.detach().cpu().numpy() for r in results] if numeric else results
        return made[0] if len(made) == 1 else tuple(made)

    def _through_autograd(self, tape: QuantumScript, numbers: Sequence[Any]) -> Any:
        def run(*values: Tensor) -> Sequence[Tensor]:
            found = self._run(tape.bind_new_parameters(list(values), range(len(values))))
            return found if isinstance(found, tuple) else (found,)

        made = differentiable(run)(*numbers)
        return made[0] if len(made) == 1 else tuple(made)

    def planned(self, tape: QuantumScript, place: dict, reading: Reading) -> Simulation:
        """Return the plan of a tape."""
        asked = tuple([signature(mp, place) for mp in tape.measurements])
        key = reading.key, asked, len(place)
        plan = self._plans.pop(key, None)
        if plan is None:
            circuit = structure(reading.key, len(place))
            if circuit.wires > len(place) and "state" in dict(asked):
                raise CircuitError(
                    "A dephased circuit has no state vector; measure expectation values or "
                    "probabilities, or use default.mixed."
                )
            plan = Simulation(circuit, asked, len(place))
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
                found = self._run(ready(QuantumScript(before, [measured], shots=shots), self))
                known = found.detach() if isinstance(found, Tensor) else found
                self._debugger.snapshots[op.tag] = known

    def _sampled(self, tape: QuantumScript) -> Any:
        """Sample with PennyLane's functions from the exact state."""
        unmeasured = tape.copy(measurements=[])
        place = self.place(tape) or self.place(unmeasured)
        reading = read(tape, place)
        plan = self.planned(unmeasured, place, reading).plan
        with torch.no_grad():
            state = run(plan, self.values(reading))[-1].to(torch.complex128)
        state = state / torch.linalg.vector_norm(state, dim=-1, keepdim=True)
        (named,), _ = preprocess.validate_device_wires(tape, wires=Wires(list(place)), name=NAME)
        results = measure_with_samples(
            [mp.map_wires(place) for mp in named.measurements],
            by_wires(state).cpu().numpy(),
            shots=tape.shots,
            is_state_batched=reading.batch is not None,
            rng=self._rng,
        )
        if len(tape.measurements) > 1:
            return results
        if tape.shots.has_partitioned_shots:
            return tuple(result[0] for result in results)
        return results[0]


def ready(tape: QuantumScript, device: StatevectorDevice) -> QuantumScript:
    """Return a tape in the form that the device runs.

    Raises:
        CircuitError: if it becomes several tapes.
    """
    tapes, _ = prepare(tape, device=device, config=ExecutionConfig())
    if len(tapes) != 1:
        raise CircuitError("The circuit must stay one circuit when it is prepared for the device.")
    return tapes[0]
