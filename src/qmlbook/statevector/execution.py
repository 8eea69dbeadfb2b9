"""Run a circuit: by the kernels on the processor, by plain torch operations everywhere else.

`run` returns the measured rows and, where a plan asks for it, the final state.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, lru_cache
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import torch_path
from .lowering import REGISTER, Call, Slopes, is_unitary, table
from .machine import kernel
from .plan import Plan, Values

BLOCK = 256  # circuits that are together in memory, at most
LINE = 64  # bytes
FEW = 64  # circuits; asking torch what it wants takes about as long as they take
Gradients = Sequence[Tensor | None]
NUMPY: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.float64: np.float64}


def run(plan: Plan, values: Values) -> tuple[Tensor, ...]:
    """Return the rows (B, rows) and, if the plan asks for it, the state (B, 2^n).

    Without a batch, both have no axis for it.
    """
    differentiated = torch.is_grad_enabled() and any(t.requires_grad for t in values.tensors)
    run = None if torch_path.is_needed(values.tensors) else _Run(plan, values, differentiated)
    if run is None or (differentiated and not run.undoes):
        return torch_path.evolve(plan, values)
    return _Evolve.apply(run, *values.tensors) if differentiated else run.results()


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
            if len(ctx.run.samples) > FEW:
                edges = zip(wanted, ctx.next_functions, strict=True)
                wanted = tuple(want and _is_asked(node) for want, (node, _) in edges)
            return None, *ctx.run.back(gradients, wanted)
        # A derivative of a derivative: by operations that torch differentiates itself.
        # On other names, since one of the tensors may have been computed from another.
        names = [t.view_as(t) for t in tensors]
        results = torch_path.evolve(ctx.run.plan, replace(ctx.run.values, tensors=names))
        pairs = [(r, g) for r, g in zip(results, gradients, strict=True) if g is not None]
        parts, seeds = zip(*pairs, strict=True)
        inputs = [t for t, want in zip(names, wanted, strict=True) if want]
        made = torch.autograd.grad(parts, inputs, seeds, create_graph=True, materialize_grads=True)
        some = iter(made)
        return None, *[next(some) if want else None for want in wanted]


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
        self.batch = values.batch or 1
        step = 1 if self.batch == 1 else REGISTER // np.dtype(self.kind).itemsize
        self.lowering, self.circuit = plan.lowered(step), plan.lowered(step).circuit
        self.chunks = -(-self.batch // step)
        share = -(-self.chunks // torch.get_num_threads())
        self.block = max(1, min(share, BLOCK // step))  # chunks whose states are made together
        self.samples = _samples(self.batch, step)
        tolerance = 1e-12 if self.kind == np.float64 else 1e-5
        x = values.amplitudes
        self.amplitudes = np.ones((1, 1)) if x is None else np.atleast_2d(x.numpy(force=True))
        self.given = [matrix.numpy(force=True) for matrix in values.matrices]
        self.undoes = self.lowering.unitary and all(is_unitary(m, tolerance) for m in self.given)
        self.keeps = differentiated or plan.state

    def results(self) -> tuple[Tensor, ...]:
        """Run; return rows, and the state if it is asked for."""
        self.turns = self._turns()
        call = self._call(back=False)
        out = np.zeros((self.circuit.rows, len(self.samples)), self.kind)

        def block(first: int, last: int) -> np.ndarray | None:
            states = self._initial(first, last)
            self._walk("forward", call, first, out, states)
            return states if self.keeps else None

        self.states = self._blocks(block)
        made = [out[:, : self.batch].T]
        if self.plan.state:
            made.append(self._part(self.states, 0) + 1j * self._part(self.states, 1))
        alone = self.values.batch is None
        return tuple(torch.from_numpy(part[0] if alone else part) for part in made)

    def back(self, gradients: Gradients, wanted: tuple[bool, ...]) -> list[Tensor | None]:
        """Return the gradients of the tensors that want one."""
        values, many = self.values, self.values.binding.bases
        prepared = values.prepared and wanted[many]
        stop = 0 if prepared else values.binding.stop(self.lowering, self.index, wanted[:many])
        alone = sum(wanted) == prepared
        call, rows, seeds = self._call(back=True), *self._seeds(gradients)
        lanes, entries = len(self.samples), len(call.matrices) * bool(self.given)
        shapes = (len(self.turns), lanes), (entries, 2, lanes)
        slopes = Slopes(*(np.zeros(shape, self.kind) for shape in shapes))

        def block(first: int, last: int) -> np.ndarray | None:
            states = self.states[first // self.block]
            adjoints = self._zeros(last - first) if seeds is None else seeds[first:last]
            self._walk("backward", call, first, rows, states, stop, alone, adjoints, *slopes)
            return adjoints if prepared else None

        adjoints = self._blocks(block)
        made: list[Any] = self._for_bases(slopes.angles)
        if values.prepared:
            made.append(self._for_amplitudes(adjoints) if prepared else None)
        made += self._for_matrices(slopes.matrices)
        return [
            _like(gradient, tensor) if want else None
            for gradient, tensor, want in zip(made, values.tensors, wanted, strict=True)
        ]

    def _walk(self, name: str, call: Call, first: int, rows: np.ndarray, states: np.ndarray,
              stop: int = 0, alone: bool = False, *back: np.ndarray) -> None:  # fmt: skip
        """Run a kernel on a block; `kernels` says what it takes."""
        room = self._zeros(2).reshape(2, -1)
        given = table(first, stop, alone, *call, rows, states, room, *back)
        told = self.lowering.table + given
        kernel(name, self.kind, self.circuit.step > 1)(told.buffer_info()[0])

    def _blocks(self, work: Callable[[int, int], Any]) -> list[Any]:
        """Do work for every block of chunks, in as many threads as torch takes."""
        starts = range(0, self.chunks, self.block)
        threads = min(torch.get_num_threads(), len(starts))
        each = map if threads < 2 else _pool(os.getpid(), threads).map
        return list(each(lambda at: work(at, min(at + self.block, self.chunks)), starts))

    # -- what goes in ---------------------------------------------------------------------------

    def _turns(self) -> np.ndarray:
        """Return cosines and sines of half angles."""
        bases = [base.numpy(force=True).reshape(-1) for base in self.values.bases]
        flat = np.concatenate([*bases, np.zeros(1, self.kind)], dtype=self.kind)
        self.index, groups = self.values.binding.index(self.lowering, self.samples)
        turns = np.empty((len(self.index), 2, len(self.samples)), self.kind)
        with np.errstate(invalid="ignore"):  # an angle that is no number is no number afterwards
            for which, where, scale, shift in groups:
                half = flat[where] * scale + shift
                turns[which, 0], turns[which, 1] = np.cos(half), np.sin(half)
        return turns

    def _call(self, back: bool) -> Call:
        """Return what the kernels take: angles and matrices, or what undoes them."""
        turns = self.turns * np.array([[1], [-1]], self.kind) if back else self.turns
        if not self.lowering.matrices:
            return Call(turns, np.zeros((0, 2, 1), self.kind))
        batched = any(matrix.ndim == 3 for matrix in self.given)
        samples = self.samples if batched else self.samples[: self.circuit.step] * 0
        columns = []
        for _, op in self.lowering.matrices:
            matrix: Any = op.matrix if op.parameter is None else self.given[op.parameter]
            if back:
                matrix = matrix.conj().swapaxes(-1, -2)
            flat = matrix.reshape(-1, matrix.shape[-1] ** 2)
            columns.append(flat[samples * (len(flat) > 1)].T)
        entries = np.concatenate(columns)
        parts = np.stack([entries.real, entries.imag], 1)
        return Call(turns, np.ascontiguousarray(parts, self.kind))

    def _zeros(self, chunks: int) -> np.ndarray:
        """Return states (chunks, 2, size) of zeros.

        They begin with a cache line: a register that straddles two costs more.
        """
        shape = chunks, 2, self.circuit.size
        if self.circuit.step == 1:
            return np.zeros(shape, self.kind)
        raw = np.zeros(prod(shape) + LINE, self.kind)
        start = -raw.ctypes.data % LINE // raw.itemsize
        return raw[start : start + prod(shape)].reshape(shape)

    def _initial(self, first: int, last: int) -> np.ndarray:
        """Return the states (chunks, 2, size) of a block before the first operation."""
        given, step = self.amplitudes, self.circuit.step
        mine = given[first * step : last * step]
        if len(mine) < (last - first) * step:
            mine = given[self.samples[first * step : last * step] * (len(given) > 1)]
        return self._chunked(mine, self.lowering.initial)

    def _chunked(self, rows: np.ndarray, where: Any) -> np.ndarray:
        """Return states (chunks, 2, size) with some amplitudes (samples, K); all others are 0."""
        step = self.circuit.step
        states = self._zeros(len(rows) // step)
        amplitudes = states.reshape(len(states), 2, -1, step)
        chunked = rows.reshape(len(states), step, -1).swapaxes(1, 2)
        amplitudes[:, 0, where] = chunked.real
        if np.iscomplexobj(rows):
            amplitudes[:, 1, where] = chunked.imag
        return states

    def _seeds(self, gradients: Gradients) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the gradients of the rows and of the final states."""
        rows = np.zeros((self.circuit.rows, len(self.samples)), self.kind)
        if gradients[0] is not None:
            rows[:, : self.batch] = gradients[0].numpy(force=True).reshape(self.batch, -1).T
        if not self.plan.state or gradients[1] is None:
            return rows, None
        given = np.zeros((len(self.samples), self.circuit.size // self.circuit.step), complex)
        given[: self.batch] = gradients[1].numpy(force=True).reshape(self.batch, -1)
        return rows, self._chunked(given, slice(None))

    # -- what comes out -------------------------------------------------------------------------

    def _part(self, states: Sequence[np.ndarray], part: int) -> np.ndarray:
        """Return real (0) or imaginary (1) parts (B, 2^n) of the states of all blocks."""
        whole = states[0] if len(states) == 1 else np.concatenate(states)
        chunked = whole.reshape(self.chunks, 2, -1, self.circuit.step)[:, part].swapaxes(1, 2)
        return chunked.reshape(len(self.samples), -1)[: self.batch]

    def _for_bases(self, slopes: np.ndarray) -> list[np.ndarray | None]:
        edges, columns = self.values.binding.edges, slice(self.batch)
        weights = (self.lowering.half * slopes)[:, columns]
        flat = np.bincount(self.index[:, columns].ravel(), weights.ravel(), edges[-1] + 1)
        return [flat[a:b] for a, b in pairwise(edges)]

    def _for_amplitudes(self, adjoints: Sequence[np.ndarray]) -> np.ndarray:
        gradient = self._part(adjoints, 0)
        if self.values.amplitudes.is_complex():
            gradient = gradient + 1j * self._part(adjoints, 1)
        return gradient[:, self.lowering.initial]

    def _for_matrices(self, slopes: np.ndarray) -> list[np.ndarray | None]:
        made: list[np.ndarray | None] = [None] * len(self.given)  # of those that nothing feels
        for at, op in self.lowering.matrices:
            if op.parameter is not None:
                part = slopes[at : at + 4 ** len(op.wires), :, : self.batch]
                made[op.parameter] = (part[:, 0] + 1j * part[:, 1]).T
        return made


@lru_cache(maxsize=64)
def _samples(batch: int, step: int) -> np.ndarray:
    """Return the circuit of every lane; the last one fills what is left of its register."""
    return np.minimum(np.arange(-(-batch // step) * step), batch - 1)


def _like(gradient: np.ndarray | None, tensor: Tensor) -> Tensor:
    """Return a gradient in the form of a tensor; what the batch shares has that of its sum."""
    if gradient is None:
        return torch.zeros_like(tensor)
    if gradient.size != tensor.numel():
        gradient = gradient.sum(0)
    if not tensor.is_complex():
        gradient = gradient.real
    made = np.ascontiguousarray(gradient, dtype=NUMPY.get(tensor.dtype)).reshape(tensor.shape)
    return torch.from_numpy(made).to(tensor.dtype)


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Return threads of this process; a forked child makes its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix="qmlbook-statevector")
