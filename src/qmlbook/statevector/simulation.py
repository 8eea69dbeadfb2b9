"""A circuit with its measurements and numbers: results by states, or by quadratic forms."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from pennylane.measurements import MeasurementProcess
from torch import Tensor

from .errors import CircuitError
from .execution import run
from .measure import Readout
from .plan import Binding, Plan, Values
from .quadratic import Forms, quadratic_form
from .reading import Reading
from .structure import Structure


class Simulation:
    """How circuits of one structure run.

    Args:
        structure: the circuit.
        signatures: what `measure.signature` says of the measurements; without any, the final state
            is all there is.
        wires: how many wires have labels; those that dephasing adds come after them.
    """

    def __init__(self, structure: Structure, signatures: Sequence[tuple], wires: int) -> None:
        self.readout = readout = Readout(signatures, wires)
        measured = set(range(structure.wires)) if readout.state else readout.measured
        self.plan = Plan(structure, readout.rows, readout.state, measured)
        self.forms = Forms(self.plan, not readout.state)

    def __call__(
        self, values: Values, measurements: Sequence[MeasurementProcess], place: dict
    ) -> tuple[Tensor, ...]:
        """Return one result per measurement."""
        state = None
        if self.forms.pay(values):
            matrices = self.forms.matrices(values, values.features)
            rows = quadratic_form(matrices, values.amplitudes[:, : values.features])  # type: ignore[index]  # they pay with amplitudes only
        else:
            rows, *states = run(self.plan, values)
            state = states[0] if states else None
        return self.readout(rows, state, measurements, place, values.batch is not None)

    def final_state(self, values: Values) -> Tensor:
        """Return the final state, (2^n,) or (B, 2^n)."""
        return run(self.plan, values)[-1]


# -- from a tape ----------------------------------------------------------------------------------


def precision(numbers: Sequence[Any]) -> torch.dtype:
    """Return the real precision that torch promotes numbers to; numbers of Python are weak."""
    kinds = {n.dtype for n in numbers if isinstance(n, Tensor)}
    kinds |= {
        torch.from_numpy(np.empty(0, n.dtype)).dtype
        for n in numbers
        if isinstance(n, np.ndarray) and n.ndim and n.dtype.kind in "fc"
    }
    kinds = {k.to_real() if k.is_complex else k for k in kinds}
    kinds = {k for k in kinds if k.is_floating_point}
    return torch.float32 if kinds and torch.float64 not in kinds else torch.float64


def values(reading: Reading, dtype: torch.dtype | None, device: torch.device | None) -> Values:
    """Return the numbers of a tape.

    Args:
        reading: the numbers.
        dtype: float32 or float64, ``None`` follows the numbers.
        device: where to compute, ``None`` follows the numbers.
    """
    numbers = reading.values
    dtype = dtype or precision(numbers)
    if device is None:
        given = [n.device for n in numbers if isinstance(n, Tensor)]
        device = next((d for d in given if d.type != "cpu"), torch.device("cpu"))
    pairs = list(zip(reading.parameters, reading.batched, strict=True))
    groups = [p for p, many in pairs if not many], [p for p, many in pairs if many]
    bases = [_stacked(group, dtype, device) for group in groups if group]
    matrices = [torch.as_tensor(m).to(device, dtype.to_complex()) for m in reading.matrices]
    amplitudes = reading.amplitudes
    if amplitudes is not None:
        amplitudes = checked(torch.as_tensor(amplitudes).to(device), dtype)
    binding = _binding(tuple(reading.batched), reading.batch or 1)
    return Values(binding, bases, amplitudes, matrices, reading.batch, dtype)


@lru_cache(maxsize=64)
def _binding(batched: tuple[bool, ...], batch: int) -> Binding:
    """Return where parameters are: shared ones in the first base, the others in the second."""
    several = np.array(batched, dtype=bool)
    many = int(several.sum())
    offset = np.where(several, (np.cumsum(several) - 1) * batch, np.cumsum(~several) - 1)
    sizes = [size for size in (len(batched) - many, many * batch) if size]
    return Binding(several * (many < len(batched)), offset, several, sizes)


def _stacked(numbers: Sequence[Any], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return numbers or equally long vectors as one tensor; torch tensors keep their gradient."""
    if all(isinstance(n, Tensor) for n in numbers):
        if len({(n.dtype, n.device) for n in numbers}) == 1:
            return torch.stack(list(numbers)).to(device, dtype)
    elif not any(isinstance(n, Tensor) for n in numbers):
        return torch.as_tensor(np.array(numbers, dtype=np.float64)).to(device, dtype)
    return torch.stack([torch.as_tensor(n, dtype=dtype, device=device) for n in numbers])


def checked(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """Return amplitudes (2^k,) or (B, 2^k) in a precision; real ones stay real.

    Raises:
        CircuitError: if a vector is NaN, infinite or all zero.
    """
    rows = rows.to(dtype.to_complex() if rows.is_complex() else dtype)
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return rows  # nothing can be looked at inside a transform
    norms = torch.linalg.vector_norm(rows.detach(), dim=-1).reshape(-1)
    good = torch.isfinite(norms) & (norms > 0)
    if not bool(good.all()):
        row = int((~good).nonzero()[0])
        what = "all zero" if norms[row] == 0 else "not finite"
        raise CircuitError(
            f"Amplitude encoding needs vectors with a length; vector {row} is {what}."
        )
    return rows
