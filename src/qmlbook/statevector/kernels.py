"""The machine code: one interpreter for all circuits, forwards and backwards.

A chunk of circuits, one in each lane of a register, is a pair of arrays (real, imaginary) of
``2^n`` registers; a circuit that is alone, of ``2^n`` numbers. ``like`` says which of them is
meant: an array, or a number. An operation visits the *places* of `lowering.Circuit`; the partner of
a place is ``place ^ flip``. Walking back undoes every gate on the state and on its adjoint
together, and the derivative of a rotation is the imaginary part of their overlap with its
generator: nothing has to be remembered.

Compiled when first needed, for each precision, and kept by `machine`, which loads it the next time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .lanes import load, store, zero
from .lowering import DENSE, IMAGINARY, OPERATION, REAL, SWAP, Call, Circuit, Slopes

Array = np.ndarray
Op = np.record  # one of the type `lowering.OPERATION`
Pair = tuple[Array, Array, Array]  # real and imaginary parts of a state, and room to work
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


def _compiled(function: Callable) -> Any:
    return numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(function)


# -- one operation ------------------------------------------------------------------------------
# What becomes of the amplitudes a + ib of a place and p + iq of its partner.


@_compiled
def _imaginary(c: Any, s: Any, a: Any, b: Any, p: Any, q: Any) -> tuple:
    return c * a + s * q, c * b - s * p, c * p + s * b, c * q - s * a


@_compiled
def _real(c: Any, s: Any, a: Any, b: Any, p: Any, q: Any) -> tuple:
    return c * a - s * p, c * b - s * q, c * p + s * a, c * q + s * b


@_compiled
def _swapped(c: Any, s: Any, a: Any, b: Any, p: Any, q: Any) -> tuple:
    return p, q, a, b


@_compiled
def _at(state: Pair, i: int, j: int, like: Any) -> tuple:
    re, im = state[0], state[1]
    return load(re, i, like), load(im, i, like), load(re, j, like), load(im, j, like)


@_compiled
def _put(state: Pair, i: int, j: int, amplitudes: tuple) -> None:
    store(state[0], i, amplitudes[0])
    store(state[1], i, amplitudes[1])
    store(state[0], j, amplitudes[2])
    store(state[1], j, amplitudes[3])


def _pairs(turn: Any) -> Any:
    """Return what does ``turn`` at some places."""

    @_compiled
    def walk(state: Pair, places: Array, flip: int, c: Any, s: Any) -> None:
        for i in places:
            a, b, p, q = _at(state, i, i ^ flip, c)
            _put(state, i, i ^ flip, turn(c, s, a, b, p, q))

    return walk


_imaginaries, _reals, _swaps = _pairs(_imaginary), _pairs(_real), _pairs(_swapped)


@_compiled
def _phases(state: Pair, places: Array, c: Any, s: Any) -> None:
    re, im = state[0], state[1]
    for i in places:
        a, b = load(re, i, c), load(im, i, c)
        store(re, i, c * a + s * b)
        store(im, i, c * b - s * a)


@_compiled
def _two(state: Pair, places: Array, flip: int, call: Call, at: int, like: Any) -> None:
    n = call.m_re.shape[1]
    r, s = load(call.m_re, at, like), load(call.m_re, at + n, like)
    t, u = load(call.m_re, at + 2 * n, like), load(call.m_re, at + 3 * n, like)
    v, w = load(call.m_im, at, like), load(call.m_im, at + n, like)
    x, y = load(call.m_im, at + 2 * n, like), load(call.m_im, at + 3 * n, like)
    for i in places:
        a, b, p, q = _at(state, i, i ^ flip, like)
        c, d = (r * a - v * b) + (s * p - w * q), (r * b + v * a) + (s * q + w * p)
        e, f = (t * a - x * b) + (u * p - y * q), (t * b + x * a) + (u * q + y * p)
        _put(state, i, i ^ flip, (c, d, e, f))


@_compiled
def _dense(state: Pair, op: Op, circuit: Circuit, call: Call, sample: int, like: Any) -> None:
    re, im, held = state
    step, size, columns = circuit.step, op.mixed, call.m_re.shape[1]
    shifts, at = circuit.shifts[op.shifts : op.shifts + size], op.at * columns
    if columns > step:
        at += sample
    if size == 2:  # by far the most frequent
        _two(state, circuit.places[op.start : op.stop], shifts[1], call, at, like)
        return
    for base in circuit.places[op.start : op.stop]:
        for a in range(size):
            store(held, 2 * a * step, load(re, base + shifts[a], like))
            store(held, (2 * a + 1) * step, load(im, base + shifts[a], like))
        for a in range(size):
            total_re = total_im = zero(like, re)
            for b in range(size):
                entry = at + (a * size + b) * columns
                x, y = load(call.m_re, entry, like), load(call.m_im, entry, like)
                p, q = load(held, 2 * b * step, like), load(held, (2 * b + 1) * step, like)
                total_re = total_re + (x * p - y * q)
                total_im = total_im + (x * q + y * p)
            store(re, base + shifts[a], total_re)
            store(im, base + shifts[a], total_im)


@_compiled
def _apply(state: Pair, op: Op, circuit: Circuit, call: Call, sample: int, like: Any) -> None:
    even, odd = circuit.places[op.start : op.middle], circuit.places[op.middle : op.stop]
    if op.kind == SWAP:
        _swaps(state, even, op.flip, like, like)
    elif op.kind == DENSE:
        _dense(state, op, circuit, call, sample, like)
    else:
        at = op.at * call.cosine.shape[1] + sample
        c, s = load(call.cosine, at, like), load(call.sine, at, like)
        if op.kind == REAL:
            _reals(state, even, op.flip, c, s)
        elif op.kind == IMAGINARY:
            _imaginaries(state, even, op.flip, c, s)
            _imaginaries(state, odd, op.flip, c, -s)
        else:
            _phases(state, even, c, s)
            _phases(state, odd, c, -s)


# -- one operation back -------------------------------------------------------------------------
# The adjoint is e + if at the place and g + ih at its partner.


@_compiled
def _imaginary_slope(a: Any, b: Any, p: Any, q: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    return (e * q - f * p) + (g * b - h * a)


@_compiled
def _real_slope(a: Any, b: Any, p: Any, q: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    return (g * a + h * b) - (e * p + f * q)


def _pairs_back(turn: Any, slope: Any) -> Any:
    """Return what undoes ``turn`` and adds up ``slope``."""

    @_compiled
    def walk(
        state: Pair, adjoint: Pair, places: Array, flip: int, c: Any, s: Any, total: Any
    ) -> Any:
        for i in places:
            j = i ^ flip
            a, b, p, q = _at(state, i, j, c)
            e, f, g, h = _at(adjoint, i, j, c)
            total = total + slope(a, b, p, q, e, f, g, h)
            _put(state, i, j, turn(c, s, a, b, p, q))
            _put(adjoint, i, j, turn(c, s, e, f, g, h))
        return total

    return walk


_imaginaries_back = _pairs_back(_imaginary, _imaginary_slope)
_reals_back = _pairs_back(_real, _real_slope)


@_compiled
def _phase_slope(state: Pair, adjoint: Pair, places: Array, total: Any) -> Any:
    for i in places:
        a, b = load(state[0], i, total), load(state[1], i, total)
        e, f = load(adjoint[0], i, total), load(adjoint[1], i, total)
        total = total + (e * b - f * a)
    return total


@_compiled
def _outer(
    state: Pair, adjoint: Pair, op: Op, circuit: Circuit, slopes: Slopes, sample: int, like: Any
) -> None:
    """Add the gradient of a matrix: the adjoint after it times the conjugated state before it."""
    g_re, g_im, size, width = slopes.m_re, slopes.m_im, op.mixed, slopes.m_re.shape[1]
    shifts = circuit.shifts[op.shifts : op.shifts + size]
    for base in circuit.places[op.start : op.stop]:
        for a in range(size):
            i = base + shifts[a]
            e, f = load(adjoint[0], i, like), load(adjoint[1], i, like)
            for b in range(size):
                at, j = (op.at + a * size + b) * width + sample, base + shifts[b]
                p, q = load(state[0], j, like), load(state[1], j, like)
                store(g_re, at, load(g_re, at, like) + (e * p + f * q))
                store(g_im, at, load(g_im, at, like) + (f * p - e * q))


@_compiled
def _back(
    state: Pair, adjoint: Pair, op: Op, circuit: Circuit, call: Call, slopes: Slopes,
    sample: int, like: Any,
) -> None:  # fmt: skip
    even, odd = circuit.places[op.start : op.middle], circuit.places[op.middle : op.stop]
    if op.kind == SWAP or op.kind == DENSE:
        _apply(state, op, circuit, call, sample, like)
        if op.given:
            _outer(state, adjoint, op, circuit, slopes, sample, like)
        _apply(adjoint, op, circuit, call, sample, like)
        return
    at = op.at * call.cosine.shape[1] + sample
    c, s, t = load(call.cosine, at, like), load(call.sine, at, like), load(slopes.angle, at, like)
    if op.kind == REAL:
        t = _reals_back(state, adjoint, even, op.flip, c, s, t)
    elif op.kind == IMAGINARY:
        t = -_imaginaries_back(state, adjoint, even, op.flip, c, s, t)
        t = -_imaginaries_back(state, adjoint, odd, op.flip, c, -s, t)
    else:
        t = -_phase_slope(state, adjoint, odd, -_phase_slope(state, adjoint, even, t))
        _apply(state, op, circuit, call, sample, like)
        _apply(adjoint, op, circuit, call, sample, like)
    store(slopes.angle, at, t)


# -- measurements -------------------------------------------------------------------------------


@_compiled
def _hadamard(values: Array, step: int, like: Any) -> None:
    """Replace values by their sums with the signs of every word of Z."""
    half = step
    while half < len(values):
        for base in range(0, len(values), 2 * half):
            for i in range(base, base + half, step):
                a, b = load(values, i, like), load(values, i + half, like)
                store(values, i, a + b)
                store(values, i + half, a - b)
        half *= 2


@_compiled
def _measure(state: Pair, circuit: Circuit, out: Array, sample: int, like: Any) -> None:
    """Add up words of Paulis, group by group, and probabilities."""
    step, width, values = circuit.step, out.shape[1], state[2][: circuit.size]
    for flip, odd, first, last in circuit.groups:
        for i in range(0, circuit.size, step):
            a, b, p, q = _at(state, i, i ^ flip, like)
            if odd:
                store(values, i, a * q - b * p)
            else:
                store(values, i, a * p + b * q)
        _hadamard(values, step, like)
        for t in range(first, last):
            row, at = circuit.terms[t]
            for lane in range(step):
                out[row, sample + lane] += circuit.weights[t] * values[at + lane]
    for outcome in circuit.outcomes:
        for number in range(len(outcome)):
            a, b = load(state[0], number * step, like), load(state[1], number * step, like)
            at = outcome[number] * width + sample
            store(out, at, load(out, at, like) + (a * a + b * b))


@_compiled
def _seed(
    state: Pair, adjoint: Pair, circuit: Circuit, rows: Array, sample: int, like: Any
) -> None:
    """Add to the adjoint what the gradients of the measured rows make of the state."""
    ad_re, ad_im, values = adjoint[0], adjoint[1], state[2][: circuit.size]
    step, width = circuit.step, rows.shape[1]
    for flip, odd, first, last in circuit.groups:
        values[:] = 0
        for t in range(first, last):
            row, at = circuit.terms[t]
            for lane in range(step):
                values[at + lane] += 2 * circuit.weights[t] * rows[row, sample + lane]
        _hadamard(values, step, like)
        for i in range(0, circuit.size, step):
            w, j = load(values, i, like), i ^ flip
            p, q = load(state[0], j, like), load(state[1], j, like)
            if odd:
                p, q = q, -p
            store(ad_re, i, load(ad_re, i, like) + w * p)
            store(ad_im, i, load(ad_im, i, like) + w * q)
    for outcome in circuit.outcomes:
        for number in range(len(outcome)):
            i, w = number * step, load(rows, outcome[number] * width + sample, like)
            store(ad_re, i, load(ad_re, i, like) + (w + w) * load(state[0], i, like))
            store(ad_im, i, load(ad_im, i, like) + (w + w) * load(state[1], i, like))


# -- blocks of chunks ---------------------------------------------------------------------------
# A kernel takes the address of a table of int64: numbers, and of every array its address and shape.
# (`lowering.table` makes it.) This is what stands where in it.

CALL, FIRST, ROWS, STATES, ROOM = 20, 32, 33, 36, 40  # `Circuit` comes first
ADJOINTS, SLOPES, STOP, ALONE, END = 42, 46, 55, 56, 57


@intrinsic
def _pointer(typing: Any, address: Any) -> Any:
    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.intp), code


@_compiled
def _line(table: Array, at: int, kind: Any) -> Array:
    return numba.carray(_pointer(table[at]), table[at + 1], kind)


@_compiled
def _grid(table: Array, at: int, kind: Any) -> Array:
    return numba.carray(_pointer(table[at]), (table[at + 1], table[at + 2]), kind)


@_compiled
def _block(table: Array, at: int, kind: Any) -> Array:
    shape = table[at + 1], table[at + 2], table[at + 3]
    return numba.carray(_pointer(table[at]), shape, kind)


@_compiled
def _circuit(table: Array) -> Circuit:
    return Circuit(
        table[0], table[1], table[2], _line(table, 3, OPERATION), _line(table, 5, np.int32),
        _line(table, 7, np.int64), _grid(table, 9, np.int64), _grid(table, 12, np.int64),
        _line(table, 15, np.float64), _grid(table, 17, np.int64),
    )  # fmt: skip


@_compiled
def _call(table: Array, kind: Any) -> Call:
    return Call(
        _grid(table, CALL, kind), _grid(table, CALL + 3, kind), _grid(table, CALL + 6, kind),
        _grid(table, CALL + 9, kind),
    )  # fmt: skip


@_compiled
def _forward(table: Array, kind: Any, like: Any) -> None:
    """Run the chunks of a block.

    Its table: `Circuit`, `Call`, number of the first chunk; (rows, samples) zeros, filled with
    what is measured; (chunks, 2, size) states where they start, and where they end; room of 4 *
    size to work in.

    Args:
        table: see above.
        kind: precision.
        like: an array for chunks of many circuits, a number for those of one.
    """
    circuit, call = _circuit(table), _call(table, kind)
    out, states = _grid(table, ROWS, kind), _block(table, STATES, kind)
    scratch = _line(table, ROOM, kind)[: 2 * circuit.size]
    for chunk in range(len(states)):
        sample = (table[FIRST] + chunk) * circuit.step
        state = states[chunk, 0], states[chunk, 1], scratch
        for op in circuit.ops:
            _apply(state, op, circuit, call, sample, like)
        _measure(state, circuit, out, sample, like)


@_compiled
def _backward(table: Array, kind: Any, like: Any) -> None:
    """Walk back through the chunks of a block.

    Its table: as for `_forward`, with what undoes the operations (opposite angles and adjoint
    matrices), gradients of what was measured, and states as `_forward` left them; then (chunks, 2,
    size) gradients of the final states, which become those of the first ones; `Slopes`, zeros that
    are filled; the first operation that has to be undone; whether only gradients of the first
    states are wanted, which need no state on the way.
    """
    circuit, call = _circuit(table), _call(table, kind)
    rows, states = _grid(table, ROWS, kind), _block(table, STATES, kind)
    adjoints, room, size = _block(table, ADJOINTS, kind), _line(table, ROOM, kind), circuit.size
    slopes = Slopes(
        _grid(table, SLOPES, kind), _grid(table, SLOPES + 3, kind), _grid(table, SLOPES + 6, kind)
    )
    scratch, re, im = room[: 2 * size], room[2 * size : 3 * size], room[3 * size : 4 * size]
    for chunk in range(len(states)):
        for i in range(size):  # numba's `re[:] =` would ask for its memory and exceptions
            re[i], im[i] = states[chunk, 0, i], states[chunk, 1, i]
        state, adjoint = (re, im, scratch), (adjoints[chunk, 0], adjoints[chunk, 1], scratch)
        sample = (table[FIRST] + chunk) * circuit.step
        _seed(state, adjoint, circuit, rows, sample, like)
        for number in range(len(circuit.ops) - 1, table[STOP] - 1, -1):
            if table[ALONE]:
                _apply(adjoint, circuit.ops[number], circuit, call, sample, like)
            else:
                _back(state, adjoint, circuit.ops[number], circuit, call, slopes, sample, like)


def entry(name: str, kind: Any, many: bool, called: bool) -> Any:
    """Return a kernel that Numba has compiled: a function of the address of its table.

    Args:
        name: "forward" or "backward".
        kind: precision, a type of numpy.
        many: whether it walks along many circuits at once.
        called: whether Python calls it; if not, only its code is wanted.
    """
    walk = {"forward": _forward, "backward": _backward}[name]

    def of_many(address: int) -> None:
        table = numba.carray(_pointer(address), END, np.int64)
        walk(table, kind, _line(table, ROOM, kind))

    def of_one(address: int) -> None:
        walk(numba.carray(_pointer(address), END, np.int64), kind, kind(0))

    compiled = (numba.njit(**_OPTIONS) if called else _compiled)(of_many if many else of_one)
    compiled.compile((types.intp,))
    return compiled


def assembly(compiled: Any) -> tuple[str, str]:
    """Return what LLVM is told of a compiled kernel, and under which name."""
    (made,) = compiled.overloads.values()
    return compiled.inspect_llvm((types.intp,)), made.fndesc.llvm_func_name
