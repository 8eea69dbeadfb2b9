"""The PennyLane device `qmlbook.statevector`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pennylane as qml
import torch
from pennylane.devices import Device, ExecutionConfig
from pennylane.devices.default_qubit import (
    accepted_analytic_measurement,
    accepted_sample_measurement,
)
from pennylane.devices.modifiers import simulator_tracking, single_tape_support
from pennylane.devices.preprocess import (
    decompose,
    device_resolve_dynamic_wires,
    no_sampling,
    validate_device_wires,
)
from pennylane.devices.qubit.sampling import measure_with_samples
from pennylane.measurements import ClassicalShadowMP, MeasurementProcess, ShadowExpvalMP, StateMP
from pennylane.ops import MidMeasure
from pennylane.tape import QuantumScript
from pennylane.transforms import broadcast_expand, defer_measurements
from pennylane.transforms.core import CompilePipeline, transform
from pennylane.wires import Wires
from torch import Tensor

from .errors import NAME, CircuitError
from .measure import is_direct, signature
from .program import Values
from .simulation import Simulation, fastest
from .tape import Read, circuit, extra_wires, read, supports, wrong_wire

DTYPES = {"complex64": torch.complex64, "complex128": torch.complex128}
PLANS = 512  # circuits whose plan is remembered


def _first(results: Sequence[Any]) -> Any:
    return results[0]


@transform
def prepare(tape: QuantumScript, device: StatevectorDevice, config: ExecutionConfig) -> Any:
    """Bring a tape into the form that the device runs; most tapes have it and pass untouched."""
    if device.wires is not None:
        known = device.place(QuantumScript())
        for wire in tape.wires:
            if wire not in known:
                raise wrong_wire(wire, known)
    if device.runs(tape):
        return (tape,), _first
    refuse(tape)
    pipeline = CompilePipeline()
    if device.wires is not None:
        pipeline.add_transform(validate_device_wires, device.wires, name=NAME)
    pipeline.add_transform(defer_measurements, allow_postselect=False)
    pipeline.add_transform(
        decompose,
        stopping_condition=supports,
        skip_initial_state_prep=True,
        device_wires=device.wires,
        name=NAME,
        error=CircuitError,
    )
    pipeline.add_transform(device_resolve_dynamic_wires, wires=device.wires, allow_resets=False)
    if any(isinstance(m, (ShadowExpvalMP, ClassicalShadowMP)) for m in tape.measurements):
        pipeline.add_transform(broadcast_expand)
    if config.gradient_method == "backprop":
        pipeline.add_transform(no_sampling, name=f"backprop + {NAME}")
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
    for mp in tape.measurements:
        if not tape.shots and not accepted_analytic_measurement(mp):
            raise CircuitError(
                f"Measurement {mp} is not accepted for analytic simulation on {NAME}; give it "
                "shots with qml.set_shots, or use default.qubit."
            )
        if tape.shots and not accepted_sample_measurement(mp):
            raise CircuitError(
                f"Measurement {mp} is not accepted with finite shots on {NAME}; remove the shots, "
                "or use default.qubit."
            )


@simulator_tracking
@single_tape_support
class StatevectorDevice(Device):
    """A batched statevector simulator that torch differentiates.

    Circuits run with all entries of a broadcast batch side by side. Gates are fused into few
    large steps; the plan is remembered by the structure of the circuit. Gradients in inputs and
    weights are exact, of any order, and need no state per gate.

    Args:
        wires: number of wires, or their labels; ``None`` takes those of each circuit.
        shots: default number of samples, ``None`` for exact results.
        seed: of the samples (anything `numpy.random.default_rng` takes). The same seed gives the
            same samples; the next execution draws new ones.
        dtype: "complex64" or "complex128".
        device: torch device, "cpu" or "cuda"; ``None`` takes that of the circuit's tensors.

    Raises:
        CircuitError: for a ``dtype`` that is not known.

    Example:
        >>> import pennylane as qml, torch
        >>> @qml.qnode(qml.device("qmlbook.statevector", wires=2, dtype="complex128"))
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
        dtype: str = "complex64",
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__(wires=wires, shots=shots)
        name = str(dtype).removeprefix("torch.")
        if name not in DTYPES:
            raise CircuitError(f"dtype {dtype!r} is not known; choose from: {', '.join(DTYPES)}.")
        self.dtype = DTYPES[name]
        self.torch_device = None if device is None else torch.device(device)
        self._rng = np.random.default_rng(seed)
        self._plans: dict[tuple, Simulation] = {}
        self._place = None if self.wires is None else {w: i for i, w in enumerate(self.wires)}
        self._debugger = None

    @property
    def name(self) -> str:
        """Return the name under which PennyLane finds the device."""
        return NAME

    # -- what PennyLane asks ----------------------------------------------------------------------

    def supports_derivatives(
        self, execution_config: ExecutionConfig | None = None, circuit: QuantumScript | None = None
    ) -> bool:
        """Return whether torch differentiates a circuit: it does where nothing is sampled."""
        if execution_config is None:
            return True
        if execution_config.gradient_method not in ("backprop", "best"):
            return False
        interface = execution_config.interface
        if interface == qml.math.Interface.NUMPY:
            return circuit is not None and not circuit.shots  # nothing will be differentiated
        if interface not in (qml.math.Interface.TORCH, qml.math.Interface.AUTO):
            return False
        return circuit is None or not (
            circuit.shots or any(map(_has_sparse_matrix, circuit.measurements))
        )

    def setup_execution_config(
        self, config: ExecutionConfig | None = None, circuit: QuantumScript | None = None
    ) -> ExecutionConfig:
        """Fill in what the device decides: backpropagation, and measurements put at the end."""
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
        best = config.gradient_method == "best"
        gradient = "backprop" if best else config.gradient_method
        back = gradient == "backprop"
        return replace(
            config,
            gradient_method=gradient,
            use_device_gradient=back,
            use_device_jacobian_product=bool(config.use_device_jacobian_product),
            grad_on_execution=bool(config.grad_on_execution),
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
        self,
        circuits: Sequence[QuantumScript],
        execution_config: ExecutionConfig | None = None,
    ) -> tuple[Any, ...]:
        """Run circuits; one result, or a tuple with one result per measurement, for each.

        Raises:
            CircuitError: if batch sizes differ, amplitudes are NaN or all zero, or the circuit's
                numbers belong to another library than torch or numpy.
            WrongWires: for a wire that the device does not have.
        """
        return tuple(self._run(tape) for tape in circuits)

    # -- running ----------------------------------------------------------------------------------

    def runs(self, tape: QuantumScript) -> bool:
        """Return whether a tape needs no preparation."""
        operations = tape.operations
        if not all(supports(op, first=number == 0) for number, op in enumerate(operations)):
            return False
        if tape.shots:
            return False
        return all(
            is_direct(mp)
            if mp.obs is not None or len(mp.wires)
            else type(mp) is StateMP and self.wires is not None
            for mp in tape.measurements
        )

    def place(self, tape: QuantumScript) -> dict[Any, int]:
        """Return the position of every wire."""
        wires = tape.wires
        if self._place is None:
            numbered = set(wires) == set(range(len(wires)))
            return {wire: i for i, wire in enumerate(range(len(wires)) if numbered else wires)}
        extra = [wire for wire in wires if wire not in self._place]
        if not extra:
            return self._place
        # wires of deferred measurements come after ours
        return {**self._place, **{w: len(self._place) + i for i, w in enumerate(extra)}}

    def _run(self, tape: QuantumScript) -> Any:
        place = self.place(tape)
        found = read(tape, place)
        numeric = not _is_torch(found)
        values = self.values(found)
        if tape.shots:
            return self._sampled(tape, place, found, values)
        run = fastest(
            lambda batch: self.planned(tape, place, found, batch),
            found,
            tape.measurements,
            None if values.first is None else len(values.first),
        )
        results = run(values, tape.measurements, found.batch)
        if numeric:
            results = tuple(result.detach().cpu().numpy() for result in results)
        return results[0] if len(results) == 1 else results

    def planned(self, tape: QuantumScript, place: dict, found: Read, batch: int) -> Simulation:
        """Return the plan of a tape for ``batch`` states side by side."""
        device = self._device(found)
        try:
            asked = tuple(signature(mp, place) for mp in tape.measurements)
        except KeyError as error:
            raise wrong_wire(error.args[0], place) from None
        key = (found.key, asked, len(place), batch.bit_length(), device)
        if key not in self._plans:
            if len(self._plans) >= PLANS:
                self._plans.pop(next(iter(self._plans)))
            structure = circuit(tape, place, len(place), self.measured(tape, place))
            self._plans[key] = Simulation(
                structure, tape.measurements, place, batch, self.dtype, device
            )
        return self._plans[key]

    def measured(self, tape: QuantumScript, place: dict) -> set[int]:
        """Return the wires that the measurements look at; without any, the whole state matters.

        Raises:
            CircuitError: for the state vector of a dephased circuit.
        """
        measured = set() if tape.measurements else set(range(len(place)))
        for mp in tape.measurements:
            if isinstance(mp, StateMP) and extra_wires(tape):
                raise CircuitError(
                    "A dephased circuit has no state vector; measure expectation values or "
                    "probabilities, or use default.mixed."
                )
            measured.update([place[w] for w in mp.wires] if len(mp.wires) else range(len(place)))
        return measured

    def values(self, found: Read) -> Values:
        """Return what was read from a tape as tensors."""
        device, real = self._device(found), self.dtype.to_real()
        scalars = _stacked(found.scalars, real, device)
        vectors = _stacked(found.vectors, real, device)
        dense = [torch.as_tensor(matrix).to(device, self.dtype) for matrix in found.dense]
        first = None
        if found.first is not None:
            first = amplitudes(torch.as_tensor(found.first).to(device), self.dtype)
        return Values(scalars, vectors, dense, first)

    def _sampled(self, tape: QuantumScript, place: dict, found: Read, values: Values) -> Any:
        """Sample with PennyLane's functions from the exact state."""
        unmeasured = tape.copy(measurements=[])
        plan = self.planned(unmeasured, place, found, found.batch or 1)
        with torch.no_grad():
            state = plan.readout.standard(plan.program.run(values)).to(torch.complex128)
        batched = found.batch is not None
        state = state.expand(found.batch, *state.shape[1:]) if batched else state[0]
        axes = tuple(range(-plan.program.n, 0))
        state = state / torch.linalg.vector_norm(state, dim=axes, keepdim=True)
        measurements = [self._on_labels(mp, place) for mp in tape.measurements]
        results = measure_with_samples(
            measurements,
            state.cpu().numpy(),
            shots=tape.shots,
            is_state_batched=batched,
            rng=self._rng,
        )
        if len(measurements) > 1:
            return results
        if tape.shots.has_partitioned_shots:
            return tuple(result[0] for result in results)
        return results[0]

    def _device(self, found: Read) -> torch.device:
        if self.torch_device is not None:
            return self.torch_device
        given = (*found.vectors, found.first, *found.scalars, *found.dense)
        return next((v.device for v in given if isinstance(v, Tensor)), torch.device("cpu"))

    def _on_labels(self, mp: MeasurementProcess, place: dict) -> MeasurementProcess:
        mapped = mp.map_wires(place)
        if not mapped.wires and mapped.obs is None:
            mapped = type(mp)(wires=Wires(range(len(place))))
        return mapped


def ready(tape: QuantumScript, device: StatevectorDevice) -> QuantumScript:
    """Return a tape in the form that the device runs.

    Raises:
        CircuitError: if it becomes several tapes.
    """
    tapes, _ = prepare(tape, device=device, config=ExecutionConfig())
    if len(tapes) != 1:
        raise CircuitError("The circuit must stay one circuit when it is prepared for the device.")
    return tapes[0]


def _has_sparse_matrix(mp: MeasurementProcess) -> bool:
    return isinstance(mp.obs, qml.SparseHamiltonian)


def _is_torch(found: Read) -> bool:
    everything = (*found.scalars, *found.vectors, *found.dense, found.first)
    for value in everything:
        if isinstance(value, torch.Tensor):
            return True
    for value in everything:
        module = type(value).__module__.partition(".")[0]
        if module in ("autograd", "jax", "jaxlib", "tensorflow"):
            raise CircuitError(
                f"Device {NAME} differentiates torch tensors only, not those of {module}; pass "
                "torch tensors, or use default.qubit."
            )
    return False


def _stacked(values: Sequence[Any], dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """Return numbers or equally long vectors as one tensor; torch tensors keep their gradient."""
    if not values:
        return None
    kinds = {type(v) for v in values}
    if len(kinds) == 1 and issubclass(next(iter(kinds)), torch.Tensor):
        dtypes = {(v.dtype, v.device) for v in values}
        if len(dtypes) == 1:
            return torch.stack(list(values)).to(device, dtype)
    if not any(isinstance(v, torch.Tensor) for v in values):
        return torch.as_tensor(np.array(values, dtype=np.float64)).to(device, dtype)
    return torch.stack([torch.as_tensor(v, dtype=dtype, device=device) for v in values])


def amplitudes(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Return checked amplitudes (B, 2^k) or (2^k,) as (2^k, B or 1) columns; real ones stay real.

    Raises:
        CircuitError: if a vector is NaN, infinite or all zero.
    """
    dtype = dtype if rows.is_complex() else dtype.to_real()
    columns = rows.reshape(-1, rows.shape[-1]).to(dtype).t()
    norms = torch.linalg.vector_norm(columns.detach(), dim=0)
    good = torch.isfinite(norms) & (norms > 0)
    if not bool(good.all()):
        row = int((~good).nonzero()[0])
        what = "all zero" if norms[row] == 0 else "not finite"
        raise CircuitError(
            f"Amplitude encoding needs vectors with a length; vector {row} is {what}."
        )
    return columns
