"""What is run: a circuit with what is measured, and the numbers of a call.

Everything that is differentiated enters as tensors: *bases*, whose elements are the parameters of
the circuit, then the amplitudes of a prepared state, then matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from .errors import CircuitError
from .lowering import SWAP, Lowering, Rows
from .reading import Reading
from .structure import Structure

Tensors = Sequence[Tensor]
SINGLE = {"float16", "bfloat16", "float32", "complex32", "complex64"}  # computed in float32


@dataclass(frozen=True, eq=False)
class Plan:
    """A structure with what is measured.

    Attributes:
        structure: the circuit, without operations that nothing feels.
        rows: what the kernels measure.
        state: whether the final state is returned, too.
    """

    structure: Structure
    rows: Rows
    state: bool
    _lowered: dict[int, Lowering] = field(default_factory=dict, init=False)

    @cached_property
    def whole(self) -> Plan:
        """Return the same, where nothing but the final state is wanted."""
        return replace(self, rows=Rows(0, [], []), state=True)

    def lowered(self, step: int) -> Lowering:
        """Return the arrays for the kernels, for chunks of ``step`` circuits."""
        if step not in self._lowered:
            self._lowered[step] = Lowering(self.structure, self.rows, step)
        return self._lowered[step]


class Binding:
    """Where a call finds the parameters among the elements of all bases.

    Constants are made of one more parameter, the last one: the zero after all bases.

    Args:
        elements: of each parameter (1,) or (B,).
        sizes: numbers of elements of the bases.
    """

    def __init__(self, elements: Sequence[np.ndarray], sizes: Sequence[int]) -> None:
        self.bases, self.edges = len(sizes), np.cumsum([0, *sizes]).tolist()
        several = [*elements, np.array(self.edges[-1:])]
        self.elements = [e[:1] if (e == e[0]).all() else e for e in several]
        # Plans come and go; what was found for one goes with it.
        self._known: WeakKeyDictionary[Lowering, dict[tuple, Any]] = WeakKeyDictionary()

    def index(self, lowering: Lowering, samples: np.ndarray) -> tuple[np.ndarray, list[tuple]]:
        """Return of what the angles (angles, samples) are made, and how in two groups.

        Those that the batch shares are made once. A group is (angles, elements of all bases, and
        `Lowering.half` and ``shift`` of these).
        """
        known = self._known.setdefault(lowering, {})
        key = "index", len(samples), int(samples[-1])
        if key not in known:
            index = np.zeros((len(lowering.owners), len(samples)), np.int64)
            for made, owner in zip(index, lowering.owners, strict=True):
                found = self.elements[owner]
                made[:] = found[samples * (len(found) > 1)]
            shared = (index == index[:, :1]).all(1)
            groups = []
            for chosen, where in ((shared, index[:, :1]), (~shared, index)):
                if chosen.any():
                    at = slice(None) if chosen.all() else np.flatnonzero(chosen)
                    groups.append((at, where[at], lowering.half[at], lowering.shift[at]))
            known[key] = index, groups  # all at once, since other threads look, too
        return known[key]

    def stop(self, lowering: Lowering, index: np.ndarray, wanted: tuple[bool, ...]) -> int:
        """Return the first operation that somebody wants the gradient of."""
        known = self._known.setdefault(lowering, {})
        key = "stop", *wanted
        if key not in known:
            base = np.searchsorted(self.edges[1:], index[:, 0], "right")  # of each angle
            ops, felt = lowering.circuit.ops, np.array([*wanted, False])[base]
            feels, turns = ops["given"] > 0, ops["kind"] < SWAP
            feels[turns] = felt[ops["at"][turns]]
            known[key] = int(np.append(np.flatnonzero(feels), len(ops))[0])
        return known[key]


@dataclass(frozen=True, eq=False)
class Values:
    """The numbers of a call.

    Attributes:
        binding: where the parameters are among the bases.
        tensors: bases, which are real; amplitudes (2^k,) or (B, 2^k); matrices (d, d) or (B, d, d).
        prepared: whether there are amplitudes.
        batch: circuits, ``None`` for one without a batch axis.
        dtype: float32 or float64.
        features: amplitudes after these are always zero, and none that anybody differentiates.
    """

    binding: Binding
    tensors: Tensors
    prepared: bool
    batch: int | None
    dtype: torch.dtype
    features: int | None = None

    @property
    def bases(self) -> Tensors:
        """Return the tensors that hold the parameters."""
        return self.tensors[: self.binding.bases]

    @property
    def amplitudes(self) -> Any:
        """Return those of a prepared state, ``None`` without one."""
        return self.tensors[self.binding.bases] if self.prepared else None

    @property
    def matrices(self) -> Tensors:
        """Return the given matrices."""
        return self.tensors[self.binding.bases + self.prepared :]

    @property
    def only_amplitudes_vary(self) -> bool:
        """Return whether nothing but a prepared state may differ in the batch."""
        shared = all(len(found) == 1 for found in self.binding.elements)
        return self.prepared and shared and all(m.ndim == 2 for m in self.matrices)


def bound(binding: Binding, numbers: Tensors, device: torch.device, *fixed: Any) -> Values:
    """Return the numbers of a call on one device, all but the bases in its precision.

    Args:
        binding, numbers, *fixed: as of `Values`.
        device: where to compute.

    Raises:
        CircuitError: if a vector of amplitudes is NaN, infinite or all zero.
    """
    tensors, many = [number.to(device) for number in numbers], binding.bases
    values = Values(binding, tensors, *fixed)
    if values.prepared:
        tensors[many] = _checked(tensors[many], values.dtype)
    for at in range(many + values.prepared, len(tensors)):
        tensors[at] = tensors[at].to(values.dtype.to_complex())
    return values


# -- from a tape ----------------------------------------------------------------------------------


def precision(numbers: Sequence[Any]) -> torch.dtype:
    """Return the real precision that torch promotes numbers to; numbers of Python are weak."""
    arrays = [n for n in numbers if isinstance(n, Tensor) or (isinstance(n, np.ndarray) and n.ndim)]
    names = {str(kind).removeprefix("torch.") for kind in {n.dtype for n in arrays}}
    floating = {name for name in names if name.startswith(("float", "bfloat", "complex"))}
    return torch.float32 if floating and floating <= SINGLE else torch.float64


def common_device(numbers: Sequence[Any]) -> torch.device:
    """Return the device of the first tensor that is not on the processor; else the processor."""
    given = [n.device for n in numbers if isinstance(n, Tensor)]
    return next((d for d in given if d.type != "cpu"), torch.device("cpu"))


def values(reading: Reading, dtype: torch.dtype | None, device: torch.device | None) -> Values:
    """Return the numbers of a tape.

    Args:
        reading: the numbers.
        dtype: float32 or float64, ``None`` follows the numbers.
        device: where to compute, ``None`` follows the numbers.
    """
    numbers = [*reading.parameters, *reading.given]
    dtype = dtype or precision(numbers)
    device = device or common_device(numbers)
    batched = tuple([np.ndim(value) > 0 for value in reading.parameters])
    pairs = list(zip(reading.parameters, batched, strict=True))
    groups = [p for p, many in pairs if not many], [p for p, many in pairs if many]
    bases = [_stacked(group, dtype, device) for group in groups if group]
    binding = _binding(batched, reading.batch or 1)
    prepared = reading.amplitudes is not None
    tensors = [*bases, *map(torch.as_tensor, reading.given)]
    return bound(binding, tensors, device, prepared, reading.batch, dtype)


@lru_cache(maxsize=64)
def _binding(batched: tuple[bool, ...], batch: int) -> Binding:
    """Return where parameters are: shared ones in the first base, the others in the second."""
    shared = batched.count(False)
    rest = np.arange(shared, shared + batch * (len(batched) - shared)).reshape(-1, batch)
    alone, several = iter(np.arange(shared)[:, None]), iter(rest)
    elements = [next(several if many else alone) for many in batched]
    return Binding(elements, [size for size in (shared, rest.size) if size])


def _stacked(numbers: Sequence[Any], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return numbers or equally long vectors as one tensor; torch tensors keep their gradient."""
    if not any(isinstance(n, Tensor) for n in numbers):
        return torch.as_tensor(np.array(numbers, dtype=np.float64)).to(device, dtype)
    return torch.stack([torch.as_tensor(n, dtype=dtype, device=device) for n in numbers])


def _checked(rows: Tensor, dtype: torch.dtype) -> Tensor:
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
