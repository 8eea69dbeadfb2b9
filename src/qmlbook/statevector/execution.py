"""Run a circuit: by the kernels on the processor, by plain torch operations everywhere else.

Everything that is differentiated enters as tensors: *bases*, whose elements are the parameters of
the circuit, then the amplitudes of a prepared state, then matrices. `run` returns the measured
rows and, where a plan asks for it, the final state.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import torch_path
from .lowering import AT, GIVEN, KIND, SWAP, Gradient, Lowering, Numbers, Rows, is_unitary
from .structure import Structure

BLOCK = 64  # circuits whose gradients are summed together, whatever the number of threads
REGISTER = 32  # bytes
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

    def sources(self, lowering: Lowering) -> np.ndarray:
        """Return `Numbers.sources`."""
        key = (lowering,)
        if key not in self._known:
            owners = lowering.owners  # -1 is a constant and takes what is appended
            stride = np.append(self.stride, 0)[owners]
            rows = np.where(stride != 0, np.cumsum(stride != 0) - 1, -1)
            offset = np.append(self.offset, -1)[owners]
            self._known[key] = np.stack([offset, stride, rows], 1).astype(np.int64)
        return self._known[key]

    def differing(self, lowering: Lowering) -> int:
        """Return how many angles differ from circuit to circuit."""
        return int(np.count_nonzero(self.sources(lowering)[:, 1]))

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
            return None, *ctx.run.back(gradients, wanted)
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


class _Run:
    """One call of the kernels, and what walking back needs of it."""

    def __init__(self, plan: Plan, values: Values, differentiated: bool) -> None:
        self.plan, self.values, self.kind = plan, values, NUMPY[values.dtype]
        self.batch = 1 if values.batch is None else values.batch
        step = 1 if self.batch == 1 else REGISTER // np.dtype(self.kind).itemsize
        self.lowering = plan.lowered(step)
        self.chunks = -(-self.batch // step)
        self.like = self.kind(0) if step == 1 else np.zeros(1, self.kind)
        tolerance = 1e-12 if self.kind == np.float64 else 1e-5
        given = (_array(m) for m in values.matrices)
        self.undoes = self.lowering.unitary and all(is_unitary(m, tolerance) for m in given)
        self.keeps = differentiated or plan.state

    @cached_property
    def numbers(self) -> Numbers:
        """Return what goes into the kernels."""
        values, kind = self.values, self.kind
        bases = [_array(t).reshape(-1) for t in values.bases]
        flat = bases[0] if len(bases) == 1 else np.concatenate([*bases, np.zeros(int(not bases))])
        a_re, a_im, stride = np.ones(1, kind), np.zeros(0, kind), 0
        if values.amplitudes is not None:
            amplitudes = _array(values.amplitudes)
            stride = amplitudes.shape[-1] if amplitudes.ndim > 1 else 0
            a_re = np.ascontiguousarray(amplitudes.real, dtype=kind).reshape(-1)
            if np.iscomplexobj(amplitudes):
                a_im = np.ascontiguousarray(amplitudes.imag, dtype=kind).reshape(-1)
        return Numbers(
            batch=self.batch,
            flat=np.ascontiguousarray(flat, dtype=kind),
            sources=values.binding.sources(self.lowering),
            **self._matrices(),
            a_re=a_re,
            a_im=a_im,
            a_stride=stride,
        )

    def _matrices(self) -> dict[str, np.ndarray]:
        """Return the table and the entries of constant and given matrices."""
        known = self.lowering.constants.get(self.kind)
        if known:
            return known
        table, parts, at = [], [], 0
        for entry, operation in self.lowering.matrices:
            matrix = operation.matrix
            if matrix is None:
                matrix = _array(self.values.matrices[operation.parameter or 0])
            size = matrix.shape[-1]
            table.append((entry, size, at, size * size if matrix.ndim == 3 else 0))
            parts.append(matrix.reshape(-1))
            at += matrix.size
        entries = np.concatenate([*parts, np.zeros(int(not parts), complex)])
        made = {
            "matrices": np.array(table, dtype=np.int64).reshape(-1, 4),
            "m_re": np.ascontiguousarray(entries.real, dtype=self.kind),
            "m_im": np.ascontiguousarray(entries.imag, dtype=self.kind),
        }
        if not self.values.matrices:
            self.lowering.constants[self.kind] = made
        return made

    def results(self) -> tuple[Tensor, ...]:
        """Run; return rows, and the state if it is asked for."""
        circuit, numbers = self.lowering.circuit, self.numbers
        out = np.zeros((circuit.rows, self.chunks * circuit.step), self.kind)
        self.states = np.empty((self.chunks * self.keeps, 2, circuit.size), self.kind)
        self._blocks(
            lambda kernels, first, last, _: kernels.forward(
                first, last, circuit, numbers, out.reshape(-1), self.states, self.like
            )
        )
        made = [out[:, : self.batch].T]
        if self.plan.state:
            made.append(self._joined(self.states)[: self.batch])
        alone = self.values.batch is None
        return tuple(torch.from_numpy(part[0] if alone else part) for part in made)

    def _joined(self, states: np.ndarray) -> np.ndarray:
        """Return states (chunks, 2, size) as (samples, 2^n) complex numbers."""
        parts = states.reshape(self.chunks, 2, -1, self.lowering.circuit.step).swapaxes(2, 3)
        joined = parts[:, 0] + 1j * parts[:, 1]
        return joined.reshape(-1, parts.shape[-1])[:, self.lowering.order]

    def _blocks(self, work: Callable[[Any, int, int, int], None]) -> None:
        """Do work for every block of chunks, in as many threads as torch takes."""
        size, kernels = self.chunks_in_a_block, _kernels()
        starts = range(0, self.chunks, size)
        threads = min(torch.get_num_threads(), len(starts))

        def block(number: int) -> None:
            work(kernels, starts[number], min(starts[number] + size, self.chunks), number)

        each = map if threads < 2 else _pool(os.getpid(), threads).map
        list(each(block, range(len(starts))))

    @property
    def chunks_in_a_block(self) -> int:
        """Return how many chunks share sums."""
        return max(1, BLOCK // self.lowering.circuit.step)

    # -- walking back ---------------------------------------------------------------------------

    def back(
        self, gradients: Sequence[Tensor | None], wanted: tuple[bool, ...]
    ) -> list[Tensor | None]:
        """Return the gradients of the tensors that want one."""
        values, circuit, numbers, kind = self.values, self.lowering.circuit, self.numbers, self.kind
        many = len(values.bases)
        prepared = values.amplitudes is not None and wanted[many]
        stop = 0 if prepared else values.binding.stop(self.lowering, wanted[:many])
        blocks, width = -(-self.chunks // self.chunks_in_a_block), self.chunks * circuit.step
        slopes, seeds = self._slopes(gradients, width)
        batched = np.zeros((values.binding.differing(self.lowering), width), kind)
        shared = np.zeros((blocks, len(circuit.affine)))
        m = np.zeros((2, blocks, circuit.entries, width if values.matrices else 1))
        a = np.zeros((2, len(circuit.initial) * prepared, width), kind)
        self._blocks(
            lambda kernels, first, last, block: kernels.backward(
                first, last, stop, circuit, numbers, slopes.reshape(-1), seeds, self.states,
                Gradient(shared[block], batched, m[0, block], m[1, block], a[0], a[1]), self.like,
            )
        )  # fmt: skip
        flat = np.zeros(len(numbers.flat))
        total = shared.sum(0) if blocks > 1 else shared[0]
        _kernels().gather(numbers.sources, total, batched, self.batch, flat)
        made: list[np.ndarray | None] = [flat[a:b] for a, b in pairwise(values.binding.edges)]
        if values.amplitudes is not None:
            made.append(self._summed(a[0] + 1j * a[1], values.amplitudes.ndim == 1))
        for_matrices: list[np.ndarray | None] = [None] * len(values.matrices)
        entries = (m[0] + 1j * m[1]).sum(0)
        for entry, operation in self.lowering.matrices:
            if operation.matrix is None:
                number = operation.parameter or 0
                mine = entries[entry : entry + 4 ** len(operation.wires)]
                for_matrices[number] = self._summed(mine, values.matrices[number].ndim == 2)
        made += for_matrices
        return [
            _like(gradient, tensor) if want else None
            for gradient, tensor, want in zip(made, values.tensors, wanted, strict=True)
        ]

    def _summed(self, gradient: np.ndarray, alone: bool) -> np.ndarray:
        return gradient.sum(1) if alone else gradient[:, : self.batch].T

    def _slopes(
        self, gradients: Sequence[Tensor | None], width: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradients of the rows and of the final states."""
        circuit = self.lowering.circuit
        slopes = np.zeros((circuit.rows, width), self.kind)
        seeds = np.zeros((0, 2, circuit.size), self.kind)
        if gradients[0] is not None:
            slopes[:, : self.batch] = _array(gradients[0]).reshape(self.batch, -1).T
        if self.plan.state and gradients[1] is not None:
            given = np.zeros((width, len(self.lowering.order)), complex)
            given[: self.batch, self.lowering.order] = _array(gradients[1]).reshape(self.batch, -1)
            chunked = given.reshape(self.chunks, circuit.step, -1).swapaxes(1, 2)
            seeds = np.stack([chunked.real, chunked.imag], 1).reshape(self.chunks, 2, -1)
        return slopes, np.ascontiguousarray(seeds, dtype=self.kind)


def _like(gradient: np.ndarray | None, tensor: Tensor) -> Tensor:
    if gradient is None:
        return torch.zeros_like(tensor)
    if not tensor.is_complex():
        gradient = gradient.real
    made = torch.from_numpy(np.ascontiguousarray(gradient, dtype=NUMPY.get(tensor.dtype)))
    return made.view(tensor.shape).to(tensor.dtype)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().resolve_conj().resolve_neg().numpy()


@cache
def _kernels() -> Any:
    from . import kernels  # Numba is imported with the first circuit

    return kernels


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return threads of this process; a forked child makes its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="qmlbook-statevector")
