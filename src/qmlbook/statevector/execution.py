"""Run a circuit: by the kernels on the processor, by plain torch operations everywhere else.

Everything that is differentiated enters as tensors: *bases*, whose elements are the parameters of
the circuit, then the amplitudes of a prepared state, then matrices. `run` returns one tensor for
every part of a plan.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from . import torch_path
from .lowering import Gradient, Lowered, Numbers, Rows, is_unitary, lower
from .structure import Structure

BLOCK = 64  # circuits whose gradients are summed together, whatever the number of threads
REGISTER = 32  # bytes
NUMPY = {torch.float32: np.float32, torch.float64: np.float64}
COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}


class Part(NamedTuple):
    """Measured rows that belong together; ``count`` is ``None`` for a single number."""

    first: int
    count: int | None = None


class Plan:
    """A structure with what is measured.

    Args:
        structure: the circuit.
        rows: what the kernels measure.
        parts: how the rows are returned.
        state: whether the final state is returned, too, as the last part.
        measured: wires that are looked at.
    """

    def __init__(
        self,
        structure: Structure,
        rows: Rows,
        parts: Sequence[Part],
        state: bool,
        measured: set[int],
    ) -> None:
        self.structure, self.rows, self.parts, self.state = structure, rows, parts, state
        self.operations = structure.felt_by(measured)
        self._lowered: dict[tuple[int, bool], Lowered] = {}

    def lowered(self, lanes: int, single: bool) -> Lowered:
        """Return the arrays for the kernels."""
        key = lanes, single
        if key not in self._lowered:
            given = self.structure, self.operations, self.rows, lanes, single
            self._lowered[key] = lower(*given)
        return self._lowered[key]


class Layout:
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
        starts = np.concatenate([[0], np.cumsum(np.array(sizes, dtype=np.int64))])
        self.base, self.stride = base.astype(np.int64), stride.astype(np.int64)
        self.offset = starts[self.base] + offset if len(base) else offset.astype(np.int64)
        self.ends = starts[1:-1].tolist()
        self._known: WeakKeyDictionary[Lowered, dict] = WeakKeyDictionary()

    def sources(self, lowered: Lowered, alone: bool) -> np.ndarray:
        """Return `Numbers.sources`; ``alone``: for a batch of one circuit."""
        known = self._known.setdefault(lowered, {})
        if alone not in known:
            stride = self.stride[lowered.owners] * (not alone)
            rows = np.where(stride != 0, np.cumsum(stride != 0) - 1, -1)
            offset = self.offset[lowered.owners]
            known[alone] = np.stack([offset, stride, rows], 1).astype(np.int64)
        return known[alone]

    def stop(self, lowered: Lowered, wanted: tuple[bool, ...]) -> int:
        """Return the first operation that somebody wants the gradient of."""
        known = self._known.setdefault(lowered, {})
        if wanted not in known:
            angles = np.array(wanted, dtype=bool)[self.base][lowered.owners]
            ops = lowered.circuit.ops
            feels = np.zeros(len(ops), dtype=bool)
            turned = (ops[:, 0] < 3) & (ops[:, 5] < len(angles))
            feels[turned] = angles[ops[turned, 5]]
            first = np.flatnonzero(feels | (ops[:, 10] > 0))
            known[wanted] = int(first[0]) if len(first) else len(ops)
        return known[wanted]


@dataclass(frozen=True, eq=False)
class Call:
    """A plan with everything about its numbers that is not a tensor.

    Attributes:
        plan: the circuit.
        layout: where its parameters are.
        batch: circuits, ``None`` for one without a batch axis.
        dtype: float32 or float64.
        bases: how many of the tensors are bases.
        prepared: whether amplitudes come after them.
    """

    plan: Plan
    layout: Layout
    batch: int | None
    dtype: torch.dtype
    bases: int
    prepared: bool


def run(call: Call, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the parts of a plan, each with the batch (if any) in front; the state comes last."""
    if torch_path.is_needed(tensors):
        return torch_path.evolve(call, tensors)
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return _Evolve.apply(call, *tensors)
    return _Run(call, tensors, False).results()


class _Evolve(torch.autograd.Function):
    """The kernels as one function whose gradient walks back."""

    @staticmethod
    def forward(ctx: Any, call: Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.run = _Run(call, tensors, True)
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        return ctx.run.results()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        tensors, wanted = ctx.saved_tensors, ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():  # a second derivative is wanted
            return None, *_again(ctx.run.call, tensors, wanted, gradients)
        return None, *ctx.run.back(gradients, wanted)


def _again(
    call: Call,
    tensors: Sequence[Tensor],
    wanted: Sequence[bool],
    gradients: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """Return gradients that can be differentiated themselves."""
    results = torch_path.evolve(call, tensors)
    pairs = [(r, g) for r, g in zip(results, gradients, strict=True) if g is not None]
    pairs = [(r, g) for r, g in pairs if r.requires_grad]
    inputs = [t for t, want in zip(tensors, wanted, strict=True) if want]
    if not pairs:
        return [torch.zeros_like(t) if w else None for t, w in zip(tensors, wanted, strict=True)]
    outputs, seeds = zip(*pairs, strict=True)
    made = iter(
        torch.autograd.grad(
            outputs, inputs, seeds, create_graph=True, allow_unused=True, materialize_grads=True
        )
    )
    return [next(made) if want else None for want in wanted]


# -- the kernels ----------------------------------------------------------------------------------


class _Run:
    """One call of the kernels; what walking back needs is kept."""

    def __init__(self, call: Call, tensors: Sequence[Tensor], differentiated: bool) -> None:
        self.call, self.kind = call, NUMPY[call.dtype]
        self.batch = 1 if call.batch is None else call.batch
        lanes = REGISTER // np.dtype(self.kind).itemsize
        single = 2 * self.batch <= lanes
        self.lowered = call.plan.lowered(lanes, single)
        self.shapes = [(t.shape, t.dtype) for t in tensors]
        self.circuit = self.lowered.circuit
        self.chunks = -(-self.batch // self.circuit.step)
        self.numbers = self._numbers(tensors)
        size = self.circuit.size
        width = self.chunks * self.circuit.step
        kept = self.chunks if differentiated or call.plan.state else 0
        self.out = np.zeros((max(1, call.plan.rows.count), width), self.kind)
        self.states = np.empty((kept, 2, size), self.kind)
        self.kept = np.empty(2 * size * self.chunks * self.slots * differentiated, self.kind)
        if not differentiated and self.slots:
            ops = self.circuit.ops.copy()
            ops[:, 9] = -1
            self.circuit = self.circuit._replace(ops=ops)
        self._blocks(
            lambda kernels, first, last, _: kernels.forward(
                first, last, self.circuit, self.numbers, self.out.reshape(-1), width,
                self.states.reshape(-1), self.kept, self.slots,
            )
        )

    def _blocks(self, work: Callable[[Any, int, int, int], None]) -> int:
        """Do work for every block of chunks, in as many threads as torch takes."""
        size = max(1, BLOCK // self.circuit.step)
        starts = range(0, self.chunks, size)
        threads = min(torch.get_num_threads(), len(starts))

        def block(number: int) -> None:
            work(kernels, starts[number], min(starts[number] + size, self.chunks), number)

        kernels = _kernels()
        if threads < 2:
            for number in range(len(starts)):
                block(number)
        else:
            list(_pool(os.getpid(), threads).map(block, range(len(starts))))
        return len(starts)

    # -- what goes in ---------------------------------------------------------------------------

    def _numbers(self, tensors: Sequence[Tensor]) -> Numbers:
        call, kind = self.call, self.kind
        arrays = [_array(t) for t in tensors]
        bases = [a.reshape(-1) for a in arrays[: call.bases]]
        flat = bases[0] if len(bases) == 1 else np.concatenate(bases) if bases else np.zeros(1)
        flat = np.ascontiguousarray(flat, dtype=kind)
        a_re, a_im, stride = np.ones(1, kind), np.zeros(0, kind), 0
        if call.prepared:
            amplitudes = arrays[call.bases]
            stride = amplitudes.shape[-1] if amplitudes.ndim > 1 else 0
            a_re = np.ascontiguousarray(amplitudes.real, dtype=kind).reshape(-1)
            if np.iscomplexobj(amplitudes):
                a_im = np.ascontiguousarray(amplitudes.imag, dtype=kind).reshape(-1)
        matrices, m_re, m_im = self._matrices(arrays[call.bases + call.prepared :])
        sources = call.layout.sources(self.lowered, self.batch == 1)
        return Numbers(
            self.batch, flat, sources, matrices, m_re, m_im, a_re, a_im, stride * (self.batch > 1)
        )

    def _matrices(self, given: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the table and the entries of constant and given matrices."""
        self.slots, self.given = self.lowered.slots, bool(given)
        if not given and self.kind in self.lowered.constants:
            return self.lowered.constants[self.kind]
        rows, parts, at = [], [], 0
        for entry, operation in self.lowered.matrices:
            matrix = operation.matrix
            if operation.kind == "given":
                matrix = given[operation.parameter]
            size = matrix.shape[-1]
            stride = size * size if matrix.ndim == 3 and self.batch > 1 else 0
            rows.append((entry, size, at, stride))
            parts.append(matrix.reshape(-1))
            at += matrix.size
        tolerance = 1e-12 if self.kind == np.float64 else 1e-6
        if not all(is_unitary(matrix, tolerance) for matrix in given):
            self._keep_all()
        entries = np.concatenate(parts) if parts else np.zeros(1, complex)
        made = (
            np.array(rows, dtype=np.int64).reshape(-1, 4),
            np.ascontiguousarray(entries.real, dtype=self.kind),
            np.ascontiguousarray(entries.imag, dtype=self.kind),
        )
        if not given:
            self.lowered.constants[self.kind] = made
        return made

    def _keep_all(self) -> None:
        """Keep the states before all given matrices: walking back cannot undo one of them."""
        ops = self.circuit.ops.copy()
        given = np.flatnonzero(ops[:, 10])
        ops[given, 9] = self.slots + np.arange(len(given))
        self.slots += len(given)
        self.circuit = self.circuit._replace(ops=ops)

    # -- what comes out -------------------------------------------------------------------------

    def results(self) -> tuple[Tensor, ...]:
        """Return all parts."""
        alone = self.call.batch is None
        columns: Any = 0 if alone else slice(self.batch)
        made = []
        for first, count in self.call.plan.parts:
            if count is None:
                part = self.out[first : first + 1, :1].reshape(()) if alone else self.out[first, columns]
            else:
                part = self.out[first : first + count, columns].T
            made.append(torch.from_numpy(np.ascontiguousarray(part) if part.ndim else part))
        if self.call.plan.state:
            made.append(torch.from_numpy(self._state()[columns]))
        return tuple(made)

    def _state(self) -> np.ndarray:
        """Return the final states (B, 2^n)."""
        parts = self.states.reshape(self.chunks, 2, -1, self.circuit.step)
        state = np.empty((self.chunks, self.circuit.step, parts.shape[2]), COMPLEX_OF[self.kind])
        state.real, state.imag = parts[:, 0].swapaxes(1, 2), parts[:, 1].swapaxes(1, 2)
        return state.reshape(-1, parts.shape[2])[:, self.lowered.order]

    def back(
        self, gradients: Sequence[Tensor | None], wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        """Return the gradients of the tensors that want one."""
        call, circuit = self.call, self.circuit
        slopes, seeds = self._slopes(gradients)
        stop = call.layout.stop(self.lowered, tuple(wanted[: call.bases]))
        prepared = call.prepared and wanted[call.bases]
        blocks = -(-self.chunks // max(1, BLOCK // circuit.step))
        width, angles = slopes.shape[1], len(circuit.affine)
        batched = np.zeros((int(self.numbers.sources[:, 2].max(initial=-1)) + 1, width), self.kind)
        columns = width if self.numbers.matrices[:, 3].any() else 1
        shared = np.zeros((blocks, angles))
        m = np.zeros((2, blocks, circuit.entries, columns))
        a = np.zeros((2, len(circuit.initial) if prepared else 0, width), self.kind)
        self._blocks(
            lambda kernels, first, last, block: kernels.backward(
                first, last, 0 if prepared else stop, circuit, self.numbers, slopes.reshape(-1),
                width, seeds.reshape(-1), self.states.reshape(-1), self.kept, self.slots,
                Gradient(shared[block], batched, m[0, block], m[1, block], a[0], a[1]),
            )
        )  # fmt: skip
        made: list[np.ndarray | None] = [None] * len(wanted)
        made[: call.bases] = self._of_bases(shared.sum(0) if blocks > 1 else shared[0], batched)
        if prepared:
            amplitudes = a[0] + 1j * a[1]
            alone = len(self.shapes[call.bases][0]) == 1
            made[call.bases] = amplitudes.sum(1) if alone else amplitudes[:, : self.batch].T
        entries = m[0].sum(0) + 1j * m[1].sum(0) if self.given else None
        for entry, operation in self.lowered.matrices:
            if operation.kind == "given":
                at = call.bases + call.prepared + operation.parameter
                mine = entries[entry : entry + 4 ** len(operation.wires)]
                alone = len(self.shapes[at][0]) == 2
                made[at] = mine[:, 0] if alone else mine[:, : self.batch].T
        return [
            _like(gradient, *shape) if want else None
            for gradient, shape, want in zip(made, self.shapes, wanted, strict=True)
        ]

    def _slopes(self, gradients: Sequence[Tensor | None]) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradients of the rows and of the final states."""
        slopes = np.zeros(self.out.shape, self.kind)
        seeds = np.zeros((0, 2, self.circuit.size), self.kind)
        parts = self.call.plan.parts
        if len(parts) == len(slopes) and all(g is not None for g in gradients[: len(parts)]):
            slopes[:, : self.batch] = _array(torch.stack(gradients[: len(parts)])).reshape(len(parts), -1)
            parts = []
        for (first, count), gradient in zip(parts, gradients, strict=False):
            if gradient is not None:
                rows = slice(first, first + (count or 1))
                slopes[rows, : self.batch] += _array(gradient).reshape(self.batch, -1).T
        if self.call.plan.state and gradients[-1] is not None:
            given = np.zeros((self.out.shape[1], len(self.lowered.order)), complex)
            given[: self.batch, self.lowered.order] = _array(gradients[-1]).reshape(self.batch, -1)
            given = given.reshape(self.chunks, self.circuit.step, -1).swapaxes(1, 2)
            seeds = np.stack([given.real, given.imag], 1).reshape(self.chunks, 2, -1)
            seeds = np.ascontiguousarray(seeds, dtype=self.kind)
        return slopes, seeds

    def _of_bases(self, shared: np.ndarray, batched: np.ndarray) -> list[np.ndarray | None]:
        """Return the gradients of all bases, each in one row."""
        flat = np.zeros(len(self.numbers.flat))
        _kernels().gather(self.numbers.sources, shared, batched, self.batch, flat)
        ends = self.call.layout.ends
        edges = [0, *ends, len(flat)]
        return [flat[a:b] for a, b in pairwise(edges)] if self.call.bases else []


def _like(gradient: np.ndarray | None, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    if gradient is None:
        return torch.zeros(shape, dtype=dtype)
    made = torch.from_numpy(np.ascontiguousarray(gradient)).view(shape)
    return made.to(dtype) if dtype.is_complex or not made.is_complex() else made.real.to(dtype)


COMPLEX_OF = {np.float32: np.complex64, np.float64: np.complex128}


def _array(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.is_complex() or tensor.is_neg():
        tensor = tensor.resolve_conj().resolve_neg()
    return tensor.numpy()


@cache
def _kernels() -> Any:
    from . import kernels  # Numba is imported with the first circuit

    return kernels


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return threads of this process; a forked child makes its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="qmlbook-statevector")
