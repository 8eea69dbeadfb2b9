"""A planned circuit with its measurements: results by states, or by quadratic forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from pennylane.measurements import MeasurementProcess
from torch import Tensor

from .measure import Readout
from .program import Circuit, Program, Values
from .quadratic import matrices, pays, quadratic_form, row_count, split
from .tape import Read

Measurements = Sequence[MeasurementProcess]
Results = tuple[Tensor, ...]


class Simulation:
    """A circuit planned for batches of about one size, and how its final states are read.

    Measurements are given again with every run: the plan depends on their structure only.

    Args:
        circuit: the structure.
        measurements: PennyLane's, in order.
        place: wire label -> position.
        batch: states side by side for which the plan is made.
        dtype: complex64 or complex128.
        device: where it runs.
    """

    def __init__(
        self,
        circuit: Circuit,
        measurements: Measurements,
        place: dict,
        batch: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.program = Program(circuit, batch, dtype, device)
        self.readout = Readout(measurements, place, circuit.n, self.program.order, dtype, device)

    def by_states(self, values: Values, measurements: Measurements, batch: int | None) -> Results:
        """Return one result per measurement, ``None`` is the batch of a single circuit."""
        state = self.program.run(values)
        if batch is not None and state.shape[1] < batch:
            state = state.expand(-1, batch).contiguous()
        return _attached(self.readout(state, measurements, batch is not None), values)

    def by_forms(self, values: Values, measurements: Measurements, batch: int) -> Results:
        """Return what `by_states` does, where `fastest` allows it."""
        forms = self.forms(values, measurements, len(values.first))  # type: ignore[arg-type]
        found = quadratic_form(forms, values.first.t())  # type: ignore[union-attr]
        return _attached(split(found, measurements), values)

    def forms(self, values: Values, measurements: Measurements, features: int) -> Tensor:
        """Return (rows, features, features) matrices of all measurements."""
        program = self.program
        eye = torch.eye(features, dtype=program.dtype, device=program.device)
        return matrices(program.run(values._replace(first=eye)), self.readout, measurements)


def fastest(
    planned: Callable[[int], Simulation],
    found: Read,
    measurements: Measurements,
    features: int | None,
) -> Callable[[Values, Measurements, int | None], Results]:
    """Return the cheaper way to run a circuit: `Simulation.by_states` or `Simulation.by_forms`.

    Args:
        planned: makes the plan for a number of states side by side.
        found: the circuit's numbers.
        measurements: PennyLane's, in order.
        features: length of the vectors that are encoded as amplitudes, if any are.
    """
    states = planned(found.batch or 1)
    if features is None or found.batch is None or found.batch < features:
        return states.by_states
    rows = row_count(measurements)
    if rows is None or not found.only_amplitudes_vary or torch.as_tensor(found.first).is_complex():
        return states.by_states
    forms = planned(features)
    estimates = states.program.microseconds, forms.program.microseconds
    cheaper = pays(*estimates, states.program.n, features, rows, found.batch)
    return forms.by_forms if cheaper else states.by_states


def _attached(results: Results, values: Values) -> Results:
    """Tie results to the parameters, so that those that no result feels have the gradient 0."""
    if not torch.is_grad_enabled() or all(result.requires_grad for result in results):
        return results
    given = [values.scalars, values.vectors, *values.dense, values.first]
    given = [t for t in given if t is not None and t.requires_grad]
    if not given:
        return results
    zero = sum((t * 0).sum().real for t in given)
    return tuple(r if r.requires_grad else r + zero for r in results)
