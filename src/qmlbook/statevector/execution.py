"""Run a circuit: by the kernels on the processor, by plain torch operations everywhere else.

Everything that is differentiated enters as tensors: *bases*, whose elements are the parameters of
the circuit, then the amplitudes of a prepared state, then matrices. `run` returns the measured
rows and, where a plan asks for it, the final state.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import torch_path
from .lowering import AT, GIVEN, KIND, SWAP, Call, Lowering, Rows, Slopes, is_unitary
from .structure import Structure

BLOCK = 256  # circuits whose states are made together
REGISTER = 32  # bytes
LINE = 64  # bytes
NUMPY: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.float64: np.float64}


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
        self._known: dict[tuple, Any] = {}

    def index(self, lowering: Lowering, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where the angles (angles, samples) are made, and which of them the batch shares.

        Constants are made of the zero that comes after all bases.
        """
        key = lowering, len(samples), int(samples[-1])
        if key not in self._known:
            stride = np.append(self.stride, 0)[lowering.owners]
            offset = np.append(self.offset, self.edges[-1])[lowering.owners]
            self._known[key] = offset[:, None] + stride[:, None] * samples, stride == 0
        return self._known[key]

    def stop(self, lowering: Lowering, wanted: tuple[bool, ...]) -> int:
        """Return the first operation that somebody wants the gradient of."""
        key = lowering, wanted
        if key not in self._known:
            ops, felt = lowering.circuit.ops, np.array(wanted, dtype=bool)[self.base]
            felt = np.append(felt, False)[lowering.owners]
            feels, turns = ops[:, GIVEN] > 0, ops[:, KIND] < SWAP
            feels[turns] = felt[ops[turns, AT]]
            self._known[key] = int(np.append(np.flatnonzero(feels), len(ops))[0])
        return self._known[key]


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


def run(plan: Plan, values: Values) -> tuple[Tensor, ...]:
    """Return the rows (B, rows) and, if the plan asks for it, the state (B, 2^n).

    Without a batch, both have no axis for it.
    """
    if torch_path.is_needed(values.tensors):
        return torch_path.evolve(plan, values)
    if torch.is_grad_enabled() and any(t.requires_grad for t in values.tensors):
        run = _Run(plan, values, True)
        if not run.undoes:
            return torch_path.evolve(plan, values)
        return _Evolve.apply(run, *values.tensors)
    return _Run(plan, values, False).results()


class _Evolve(torch.autograd.Function):
    """The kernels as one function whose gradient walks back."""

    @staticmethod
    def forward(ctx: Any, run: _Run, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.run = run
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        return run.results()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        tensors, wanted = ctx.saved_tensors, ctx.needs_input_grad[1:]
        if not torch.is_grad_enabled():
            pairs = zip(wanted, ctx.next_functions, strict=True)
            asked = tuple(want and _is_asked(node) for want, (node, _) in pairs)
            return None, *ctx.run.back(gradients, asked)
        # A derivative of a derivative: by operations that torch differentiates itself.
        # On other names, since one of the tensors may have been computed from another.
        names = [t.view_as(t) for t in tensors]
        results = torch_path.evolve(ctx.run.plan, ctx.run.values.of(names))
        pairs = [(r, g) for r, g in zip(results, gradients, strict=True) if g is not None]
        outputs, seeds = zip(*pairs, strict=True)
        inputs = [t for t, want in zip(names, wanted, strict=True) if want]
        made = iter(
            torch.autograd.grad(
                outputs, inputs, seeds, create_graph=True, allow_unused=True, materialize_grads=True
            )
        )
        return None, *[next(made) if want else None for want in wanted]


def _is_asked(node: Any) -> bool:
    """Return whether this walk back goes on to a node: `torch.autograd.grad` may leave it out."""
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:  # of a leaf that is asked for by name
        return True


class _Run:
    """One call of the kernels, and what walking back needs of it."""

    def __init__(self, plan: Plan, values: Values, differentiated: bool) -> None:
        self.plan, self.values, self.kind = plan, values, NUMPY[values.dtype]
        self.batch = 1 if values.batch is None else values.batch
        step = 1 if self.batch == 1 else REGISTER // np.dtype(self.kind).itemsize
        self.lowering, self.circuit = plan.lowered(step), plan.lowered(step).circuit
        self.chunks = -(-self.batch // step)
        # Kept for the way back, where another thread may have another number.
        self.threads = min(torch.get_num_threads(), self.chunks)
        self.block = min(-(-self.chunks // self.threads), max(1, BLOCK // step))
        # The last circuit fills what is left of its register.
        self.samples = np.minimum(np.arange(self.chunks * step), self.batch - 1)
        self.like = self.kind(0) if step == 1 else np.zeros(1, self.kind)
        tolerance = 1e-12 if self.kind == np.float64 else 1e-5
        self.given = [_array(matrix) for matrix in values.matrices]
        self.undoes = self.lowering.unitary and all(is_unitary(m, tolerance) for m in self.given)
        self.keeps = differentiated or plan.state

    def results(self) -> tuple[Tensor, ...]:
        """Run; return rows, and the state if it is asked for."""
        self.cosine, self.sine = self._angles()
        call = self._call(back=False)
        out = np.zeros((self.circuit.rows, len(self.samples)), self.kind)

        def block(kernels: Any, first: int, last: int) -> np.ndarray | None:
            states = self._initial(first, last)
            kernels.forward(first, self.circuit, call, out, states, self.like)
            return states if self.keeps else None

        self.states = self._blocks(block)
        made = [out[:, : self.batch].T]
        if self.plan.state:
            made.append(self._joined(self.states))
        alone = self.values.batch is None
        return tuple(torch.from_numpy(part[0] if alone else part) for part in made)

    def back(
        self, gradients: Sequence[Tensor | None], wanted: tuple[bool, ...]
    ) -> list[Tensor | None]:
        """Return the gradients of the tensors that want one."""
        values, many = self.values, len(self.values.bases)
        prepared = values.amplitudes is not None and wanted[many]
        stop = 0 if prepared else values.binding.stop(self.lowering, wanted[:many])
        alone = sum(wanted) == prepared
        call, rows, seeds = self._call(back=True), *self._seeds(gradients)
        m = np.zeros((2, call.m_re.shape[0] * bool(self.given), len(self.samples)), self.kind)
        slopes = Slopes(np.zeros_like(self.cosine), m[0], m[1])

        def block(kernels: Any, first: int, last: int) -> np.ndarray | None:
            states = self.states[first // self.block]
            adjoints = _zeros(states.shape, self.kind) if seeds is None else seeds[first:last]
            kernels.backward(
                first, stop, alone, self.circuit, call, rows, states, adjoints, slopes, self.like
            )
            return adjoints if prepared else None

        adjoints = self._blocks(block)
        made = self._for_bases(slopes.angle)
        if values.amplitudes is not None:
            made.append(self._for_amplitudes(adjoints) if prepared else None)
        made += self._for_matrices(m[0] + 1j * m[1])
        return [
            _like(gradient, tensor) if want else None
            for gradient, tensor, want in zip(made, values.tensors, wanted, strict=True)
        ]

    def _blocks(self, work: Callable[[Any, int, int], Any]) -> list[Any]:
        """Do work for every block of chunks, in as many threads as torch takes."""
        from . import kernels  # Numba is imported with the first circuit

        each = map if self.threads < 2 else _pool(os.getpid(), self.threads).map
        starts = range(0, self.chunks, self.block)
        return list(each(lambda at: work(kernels, at, min(at + self.block, self.chunks)), starts))

    # -- what goes in ---------------------------------------------------------------------------

    def _angles(self) -> tuple[np.ndarray, np.ndarray]:
        """Return cosines and sines (angles, samples) of half angles."""
        bases = [_array(base).reshape(-1) for base in self.values.bases]
        flat = np.concatenate([*bases, np.zeros(1, self.kind)], dtype=self.kind)
        index, alike = self.values.binding.index(self.lowering, self.samples)
        scale, shift = self.lowering.scale / 2, self.lowering.shift / 2
        made = np.empty((2, *index.shape), self.kind)
        for which, columns in ((alike, slice(1)), (~alike, slice(None))):
            half = flat[index[which, columns]] * scale[which] + shift[which]
            made[0, which], made[1, which] = np.cos(half), np.sin(half)
        return made[0], made[1]

    def _call(self, back: bool) -> Call:
        """Return what the kernels take: angles and matrices, or what undoes them."""
        batched = any(matrix.ndim == 3 for matrix in self.given)
        samples = self.samples if batched else self.samples[: self.circuit.step] * 0
        columns = [np.zeros((0, len(samples)), complex)]
        for _, operation in self.lowering.matrices:
            matrix = operation.matrix
            if matrix is None:
                matrix = self.given[operation.parameter or 0]
            if back:
                matrix = matrix.conj().swapaxes(-1, -2)
            entries = matrix.reshape(-1, matrix.shape[-1] ** 2)
            columns.append(entries[samples * (len(entries) > 1)].T)
        table = np.concatenate(columns)
        m_re, m_im = (np.ascontiguousarray(part, self.kind) for part in (table.real, table.imag))
        return Call(self.cosine, -self.sine if back else self.sine, m_re, m_im)

    def _initial(self, first: int, last: int) -> np.ndarray:
        """Return the states (chunks, 2, size) of a block before the first operation."""
        step, amplitudes = self.circuit.step, self.values.amplitudes
        states = _zeros((last - first, 2, self.circuit.size // step, step), self.kind)
        if amplitudes is None:
            states[:, 0, self.lowering.initial] = 1
        else:
            given = np.atleast_2d(_array(amplitudes))
            mine = given[first * step : last * step]
            if len(mine) < (last - first) * step:
                mine = given[self.samples[first * step : last * step] * (len(given) > 1)]
            mine = mine.reshape(last - first, step, -1).swapaxes(1, 2)
            states[:, 0, self.lowering.initial] = mine.real
            if np.iscomplexobj(mine):
                states[:, 1, self.lowering.initial] = mine.imag
        return states.reshape(last - first, 2, -1)

    def _seeds(self, gradients: Sequence[Tensor | None]) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the gradients of the rows and of the final states."""
        rows = np.zeros((self.circuit.rows, len(self.samples)), self.kind)
        if gradients[0] is not None:
            rows[:, : self.batch] = _array(gradients[0]).reshape(self.batch, -1).T
        if not self.plan.state or gradients[1] is None:
            return rows, None
        given = np.zeros((len(self.samples), self.circuit.size // self.circuit.step), complex)
        given[: self.batch] = _array(gradients[1]).reshape(self.batch, -1)
        chunked = given.reshape(self.chunks, self.circuit.step, -1).swapaxes(1, 2)
        seeds = np.stack([chunked.real, chunked.imag], 1).reshape(self.chunks, 2, -1)
        return rows, seeds.astype(self.kind)

    # -- what comes out -------------------------------------------------------------------------

    def _joined(self, states: Sequence[np.ndarray]) -> np.ndarray:
        """Return states (chunks, 2, size) of all blocks as (B, 2^n) complex numbers."""
        re, im = self._parts(states)
        return re + 1j * im

    def _parts(self, states: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield real and imaginary parts (B, 2^n) of the states (chunks, 2, size) of all blocks."""
        whole = states[0] if len(states) == 1 else np.concatenate(states)
        parts = whole.reshape(self.chunks, 2, -1, self.circuit.step).swapaxes(2, 3)
        for part in range(2):
            yield parts[:, part].reshape(len(self.samples), -1)[: self.batch]

    def _for_bases(self, slopes: np.ndarray) -> list[np.ndarray | None]:
        edges = self.values.binding.edges
        index, _ = self.values.binding.index(self.lowering, self.samples)
        weights = (self.lowering.scale / 2 * slopes)[:, : self.batch]
        flat = np.bincount(index[:, : self.batch].ravel(), weights.ravel(), edges[-1] + 1)
        return [flat[a:b] for a, b in pairwise(edges)]

    def _for_amplitudes(self, adjoints: Sequence[np.ndarray]) -> np.ndarray:
        amplitudes: Tensor = self.values.amplitudes  # type: ignore[assignment]  # there are some
        parts = (part[:, self.lowering.initial] for part in self._parts(adjoints))
        gradient = next(parts) if not amplitudes.is_complex() else next(parts) + 1j * next(parts)
        return gradient if amplitudes.ndim == 2 else gradient.sum(0)

    def _for_matrices(self, slopes: np.ndarray) -> list[np.ndarray | None]:
        made: list[np.ndarray | None] = [None] * len(self.given)  # of those that nothing feels
        for entry, operation in self.lowering.matrices:
            if operation.matrix is None:
                number = operation.parameter or 0
                mine = slopes[entry : entry + 4 ** len(operation.wires), : self.batch]
                made[number] = mine.T if self.given[number].ndim == 3 else mine.sum(1)
        return made


def _like(gradient: np.ndarray | None, tensor: Tensor) -> Tensor:
    if gradient is None:
        return torch.zeros_like(tensor)
    if not tensor.is_complex():
        gradient = gradient.real
    made = torch.from_numpy(np.ascontiguousarray(gradient, dtype=NUMPY.get(tensor.dtype)))
    return made.view(tensor.shape).to(tensor.dtype)


def _zeros(shape: tuple[int, ...], kind: Any) -> np.ndarray:
    """Return zeros that begin with a cache line: a register that straddles two costs more."""
    raw = np.zeros(prod(shape) + LINE, kind)
    start = -raw.ctypes.data % LINE // raw.itemsize
    return raw[start : start + prod(shape)].reshape(shape)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().resolve_conj().resolve_neg().numpy()


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return threads of this process; a forked child makes its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="qmlbook-statevector")
