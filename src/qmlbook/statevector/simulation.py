"""A circuit with its measurements and numbers: results by states, or by quadratic forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from pennylane.measurements import MeasurementProcess
from torch import Tensor

from .errors import CircuitError
from .execution import COMPLEX, Call, Layout, Plan, run
from .measure import Readout
from .quadratic import Forms, quadratic_form
from .reading import Reading
from .structure import Structure


@dataclass(eq=False)
class Values:
    """The numbers of a call.

    Attributes:
        layout: where the parameters are among the bases.
        bases: real tensors.
        amplitudes: (2^k,) or (B, 2^k), or ``None``.
        matrices: (d, d) or (B, d, d).
        batch: circuits, ``None`` for one without a batch axis.
        dtype: float32 or float64.
    """

    layout: Layout
    bases: Sequence[Tensor]
    amplitudes: Tensor | None
    matrices: Sequence[Tensor]
    batch: int | None
    dtype: torch.dtype
    tensors: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        prepared = [] if self.amplitudes is None else [self.amplitudes]
        self.tensors = [*self.bases, *prepared, *self.matrices]

    def call(self, plan: Plan) -> Call:
        """Return everything but the tensors."""
        prepared = self.amplitudes is not None
        return Call(plan, self.layout, self.batch, self.dtype, len(self.bases), prepared)


class Simulation:
    """How circuits of one structure run.

    Args:
        structure: the circuit.
        signatures: what `measure.signature` says of the measurements; without any, the final state
            is all there is.
        wires: how many wires have labels; those that dephasing adds come after them.
    """

    def __init__(self, structure: Structure, signatures: Sequence[tuple], wires: int) -> None:
        self.readout = Readout(signatures, wires)
        everything = self.readout.state or not signatures
        measured = set(range(structure.wires)) if everything else set()
        for word in self.readout.rows.words:
            measured.update(wire for wire, _ in word.letters)
        for _, asked in self.readout.rows.probabilities:
            measured.update(asked)
        rows, parts = self.readout.rows, self.readout.parts
        self.plan = Plan(structure, rows, parts, everything, measured)
        self.forms = Forms(structure, self.readout, measured)
        self.layouts: dict[tuple, Layout] = {}

    def __call__(
        self, values: Values, measurements: Sequence[MeasurementProcess], place: dict
    ) -> tuple[Tensor, ...]:
        """Return one result per measurement."""
        if self.forms.pay(self.plan, values):
            found = quadratic_form(self.forms.matrices(values), values.amplitudes)
            results: Sequence[Tensor] = self.forms.split(found)
        else:
            results = run(values.call(self.plan), values.tensors)
        results = self.readout(results, measurements, place, values.batch is not None)
        return _attached(results, values.tensors)

    def final_state(self, values: Values) -> Tensor:
        """Return the final state, (2^n,) or (B, 2^n)."""
        return run(values.call(self.plan), values.tensors)[-1]


def _attached(results: tuple[Tensor, ...], tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Tie results to the parameters, so that those that no result feels have the gradient 0."""
    if not torch.is_grad_enabled() or all(result.requires_grad for result in results):
        return results
    given = [t for t in tensors if t.requires_grad]
    if not given:
        return results
    zero = sum((t * 0).sum().real for t in given)
    return tuple(r if r.requires_grad else r + zero for r in results)


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


def values(
    reading: Reading, dtype: torch.dtype | None, device: torch.device | None
) -> Values:
    """Return the numbers of a tape.

    Args:
        reading: the numbers.
        dtype: float32 or float64, ``None`` follows the numbers.
        device: where to compute, ``None`` follows the numbers.
    """
    numbers = reading.values
    if dtype is None:
        dtype = precision(numbers)
    if device is None:
        given = [n.device for n in numbers if isinstance(n, Tensor)]
        device = next((d for d in given if d.type != "cpu"), given[0] if given else None)
    device = device or torch.device("cpu")
    alone = [p for p, many in zip(reading.parameters, reading.batched, strict=True) if not many]
    many = [p for p, several in zip(reading.parameters, reading.batched, strict=True) if several]
    bases = [_stacked(group, dtype, device) for group in (alone, many) if group]
    layout = _layout(tuple(reading.batched), reading.batch or 1)
    matrices = [torch.as_tensor(m).to(device, COMPLEX[dtype]) for m in reading.matrices]
    amplitudes = reading.amplitudes
    if amplitudes is not None:
        amplitudes = checked(torch.as_tensor(amplitudes).to(device), dtype)
    return Values(layout, bases, amplitudes, matrices, reading.batch, dtype)


_layouts: dict[tuple, Layout] = {}


def _layout(batched: tuple[bool, ...], batch: int) -> Layout:
    """Return where parameters are: shared ones in the first base, the others in the second."""
    key = batched, batch
    if key not in _layouts:
        if len(_layouts) >= 64:
            _layouts.pop(next(iter(_layouts)))
        several = np.array(batched, dtype=bool)
        many = int(several.sum())
        offset = np.where(several, (np.cumsum(several) - 1) * batch, np.cumsum(~several) - 1)
        sizes = [size for size in (len(batched) - many, many * batch) if size]
        base = several.astype(np.int64) * (0 < many < len(batched))
        _layouts[key] = Layout(base, offset, several.astype(np.int64), sizes)
    return _layouts[key]


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
    rows = rows.to(COMPLEX[dtype] if rows.is_complex() else dtype)
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
