"""What is run: a circuit with what is measured, and the numbers of a call.

Everything that is differentiated enters as tensors: *bases*, whose elements are the parameters of
the circuit, then the amplitudes of a prepared state, then matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from .lowering import SWAP, Lowering, Rows
from .structure import Structure


class Plan:
    """A structure with what is measured.

    Args:
        structure: the circuit.
        rows: what the kernels measure.
        state: whether the final state is returned, too.
        measured: wires that are looked at.
    """

    def __init__(self, structure: Structure, rows: Rows, state: bool, measured: set[int]) -> None:
        self.structure, self.rows, self.state = structure, rows, state
        self.operations = structure.felt_by(measured)
        self._lowered: dict[int, Lowering] = {}

    def lowered(self, step: int) -> Lowering:
        """Return the arrays for the kernels, for chunks of ``step`` circuits."""
        if step not in self._lowered:
            self._lowered[step] = Lowering(self.structure, self.operations, self.rows, step)
        return self._lowered[step]


class Binding:
    """Where a call finds the parameters: element ``offset + stride * sample`` of a base.

    Args:
        base: (parameters,) number of the base.
        offset: (parameters,) element of that base.
        stride: (parameters,) 0 for a parameter that the batch shares.
        sizes: numbers of elements of the bases.
    """

    def __init__(
        self, base: np.ndarray, offset: np.ndarray, stride: np.ndarray, sizes: Sequence[int]
    ) -> None:
        starts = np.cumsum([0, *sizes])
        self.base, self.stride = base.astype(np.int64), stride.astype(np.int64)
        self.offset = starts[self.base] + offset.astype(np.int64)
        self.edges = starts.tolist()
        # Plans come and go; what was found for one goes with it.
        self._known: WeakKeyDictionary[Lowering, dict[tuple, Any]] = WeakKeyDictionary()

    def index(self, lowering: Lowering, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where the angles (angles, samples) are made, and which of them the batch shares.

        Constants are made of the zero that comes after all bases.
        """
        known = self._known.setdefault(lowering, {})
        key = "index", len(samples), int(samples[-1])
        if key not in known:
            stride = np.append(self.stride, 0)[lowering.owners]
            offset = np.append(self.offset, self.edges[-1])[lowering.owners]
            known[key] = offset[:, None] + stride[:, None] * samples, stride == 0
        return known[key]

    def stop(self, lowering: Lowering, wanted: tuple[bool, ...]) -> int:
        """Return the first operation that somebody wants the gradient of."""
        known = self._known.setdefault(lowering, {})
        key = "stop", *wanted
        if key not in known:
            ops, felt = lowering.circuit.ops, np.array(wanted, dtype=bool)[self.base]
            felt = np.append(felt, False)[lowering.owners]
            feels, turns = ops["given"] > 0, ops["kind"] < SWAP
            feels[turns] = felt[ops["at"][turns]]
            known[key] = int(np.append(np.flatnonzero(feels), len(ops))[0])
        return known[key]


@dataclass(frozen=True, eq=False)
class Values:
    """The numbers of a call.

    Attributes:
        binding: where the parameters are among the bases.
        bases: real tensors.
        amplitudes: (2^k,) or (B, 2^k), or ``None``.
        matrices: (d, d) or (B, d, d).
        batch: circuits, ``None`` for one without a batch axis.
        dtype: float32 or float64.
        features: amplitudes after these are always zero, and none that anybody differentiates.
    """

    binding: Binding
    bases: Sequence[Tensor]
    amplitudes: Tensor | None
    matrices: Sequence[Tensor]
    batch: int | None
    dtype: torch.dtype
    features: int | None = None

    @cached_property
    def tensors(self) -> list[Tensor]:
        """Return all tensors: bases, amplitudes, matrices."""
        amplitudes = [] if self.amplitudes is None else [self.amplitudes]
        return [*self.bases, *amplitudes, *self.matrices]

    def of(self, tensors: Sequence[Tensor]) -> Values:
        """Return the same with other tensors."""
        some = iter(tensors)
        bases = [next(some) for _ in self.bases]
        amplitudes = None if self.amplitudes is None else next(some)
        return replace(self, bases=bases, amplitudes=amplitudes, matrices=list(some))
