"""The machine code: one interpreter for all circuits, forwards and backwards.

A chunk of circuits, one in each lane of a register, is a pair of arrays (real, imaginary) of
``2^n`` registers; a circuit that is alone, of ``2^n`` numbers. ``like`` says which of them is
meant: a register of zeros, or the number 0. An operation visits the *places* of `lowering.Circuit`;
the partner of a place is ``place ^ flip``. Walking back undoes every gate on the state and on its
adjoint together, and the derivative of a rotation is the imaginary part of their overlap with its
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

from .lanes import load, store, zeros
from .lowering import DENSE, IMAGINARY, OPERATION, REAL, SWAP, TERM, Call, Circuit, Slopes

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
    for i in places:
        a, b = load(state[0], i, c), load(state[1], i, c)
        store(state[0], i, c * a + s * b)
        store(state[1], i, c * b - s * a)


@_compiled
def _two(state: Pair, places: Array, flip: int, table: Array, at: int, like: Any) -> None:
    n = table.shape[1]
    r, v = load(table, at, like), load(table, at + n, like)
    s, w = load(table, at + 2 * n, like), load(table, at + 3 * n, like)
    t, x = load(table, at + 4 * n, like), load(table, at + 5 * n, like)
    u, y = load(table, at + 6 * n, like), load(table, at + 7 * n, like)
    for i in places:
        a, b, p, q = _at(state, i, i ^ flip, like)
        c, d = (r * a - v * b) + (s * p - w * q), (r * b + v * a) + (s * q + w * p)
        e, f = (t * a - x * b) + (u * p - y * q), (t * b + x * a) + (u * q + y * p)
        _put(state, i, i ^ flip, (c, d, e, f))


@_compiled
def _dense(state: Pair, op: Op, circuit: Circuit, call: Call, sample: int, like: Any) -> None:
    re, im, held = state
    step, size, columns = circuit.step, op.mixed, call.matrices.shape[1]
    shifts, at = circuit.shifts[op.shifts : op.shifts + size], 2 * op.at * columns
    if columns > step:
        at += sample
    if size == 2:  # by far the most frequent
        _two(state, circuit.places[op.start : op.stop], shifts[1], call.matrices, at, like)
        return
    for base in circuit.places[op.start : op.stop]:
        for a in range(size):
            store(held, 2 * a * step, load(re, base + shifts[a], like))
            store(held, (2 * a + 1) * step, load(im, base + shifts[a], like))
        for a in range(size):
            total_re = total_im = like
            for b in range(size):
                entry = at + 2 * (a * size + b) * columns
                x, y = load(call.matrices, entry, like), load(call.matrices, entry + columns, like)
                p, q = load(held, 2 * b * step, like), load(held, (2 * b + 1) * step, like)
                total_re = total_re + (x * p - y * q)
                total_im = total_im + (x * q + y * p)
            store(re, base + shifts[a], total_re)
            store(im, base + shifts[a], total_im)


@_compiled
def _turn(op: Op, call: Call, sample: int, like: Any) -> tuple:
    """Return cosine and sine of half the angle of a rotation."""
    columns = call.turns.shape[1]
    at = 2 * op.at * columns + sample
    return load(call.turns, at, like), load(call.turns, at + columns, like)


@_compiled
def _apply(state: Pair, op: Op, circuit: Circuit, call: Call, sample: int, like: Any) -> None:
    even, odd = circuit.places[op.start : op.middle], circuit.places[op.middle : op.stop]
    if op.kind == SWAP:
        _swaps(state, even, op.flip, like, like)
    elif op.kind == DENSE:
        _dense(state, op, circuit, call, sample, like)
    else:
        c, s = _turn(op, call, sample, like)
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
    state: Pair, adjoint: Pair, op: Op, circuit: Circuit, slopes: Array, sample: int, like: Any
) -> None:
    """Add the gradient of a matrix: the adjoint after it times the conjugated state before it."""
    size, columns = op.mixed, slopes.shape[1]
    shifts = circuit.shifts[op.shifts : op.shifts + size]
    for base in circuit.places[op.start : op.stop]:
        for a in range(size):
            i = base + shifts[a]
            e, f = load(adjoint[0], i, like), load(adjoint[1], i, like)
            for b in range(size):
                at, j = 2 * (op.at + a * size + b) * columns + sample, base + shifts[b]
                p, q = load(state[0], j, like), load(state[1], j, like)
                store(slopes, at, load(slopes, at, like) + (e * p + f * q))
                at += columns
                store(slopes, at, load(slopes, at, like) + (f * p - e * q))


@_compiled
def _back(
    state: Pair, adjoint: Pair, op: Op, circuit: Circuit, call: Call, slopes: Slopes,
    sample: int, like: Any,
) -> None:  # fmt: skip
    even, odd = circuit.places[op.start : op.middle], circuit.places[op.middle : op.stop]
    if op.kind == SWAP or op.kind == DENSE:
        _apply(state, op, circuit, call, sample, like)
        if op.given:
            _outer(state, adjoint, op, circuit, slopes.matrices, sample, like)
        _apply(adjoint, op, circuit, call, sample, like)
        return
    at = op.at * slopes.angles.shape[1] + sample
    (c, s), t = _turn(op, call, sample, like), load(slopes.angles, at, like)
    if op.kind == REAL:
        t = _reals_back(state, adjoint, even, op.flip, c, s, t)
    elif op.kind == IMAGINARY:
        t = -_imaginaries_back(state, adjoint, even, op.flip, c, s, t)
        t = -_imaginaries_back(state, adjoint, odd, op.flip, c, -s, t)
    else:
        t = -_phase_slope(state, adjoint, odd, -_phase_slope(state, adjoint, even, t))
        _apply(state, op, circuit, call, sample, like)
        _apply(adjoint, op, circuit, call, sample, like)
    store(slopes.angles, at, t)


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
        for term in circuit.terms[first:last]:
            for lane in range(step):
                out[term.row, sample + lane] += term.weight * values[term.at + lane]
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
        for term in circuit.terms[first:last]:
            for lane in range(step):
                values[term.at + lane] += 2 * term.weight * rows[term.row, sample + lane]
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
# A kernel takes the address of a table of int64, which `lowering.table` makes: three for each array
# (address, rows, columns), or three numbers. `Circuit` comes first; this is what stands where.

SIZE, STEP, RESULTS = 18, 19, 20
FIRST, STOP, ALONE = 21, 22, 23
TURNS, MATRICES, ROWS, STATES, ROOM, ADJOINTS, ANGLE_SLOPES, MATRIX_SLOPES = range(8, 16)
END = 48


@intrinsic
def _pointer(typing: Any, address: Any) -> Any:
    def code(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.intp), code


@_compiled
def _array(table: Array, number: int, kind: Any) -> Array:
    at = 3 * number
    return numba.carray(_pointer(table[at]), (table[at + 1], table[at + 2]), kind)


@_compiled
def _given(table: Array, kind: Any) -> tuple:
    """Return what is common to both kernels: circuit, call, rows, states and room."""
    ops, places = _array(table, 0, OPERATION)[0], _array(table, 1, np.int32)[0]
    shifts, groups = _array(table, 2, np.int64)[0], _array(table, 3, np.int64)
    terms, outcomes = _array(table, 4, TERM)[0], _array(table, 5, np.int64)
    numbers = table[SIZE], table[STEP], table[RESULTS]
    circuit = Circuit(ops, places, shifts, groups, terms, outcomes, *numbers)
    call = Call(_array(table, TURNS, kind), _array(table, MATRICES, kind))
    rows, states = _array(table, ROWS, kind), _array(table, STATES, kind)
    return circuit, call, rows, states, _array(table, ROOM, kind)


@_compiled
def _forward(table: Array, kind: Any, like: Any) -> None:
    """Run the chunks of a block.

    Its table: `Circuit`; number of the first chunk, and two numbers for the way back; `Call`;
    (rows, samples) zeros, filled with what is measured; (chunks, 2, size) states where they start,
    and where they end; room of (2, 2 * size) to work in.

    Args:
        table: see above.
        kind: precision.
        like: zero, in chunks of many circuits a register of them.
    """
    circuit, call, out, states, room = _given(table, kind)
    for chunk in range(len(states) // 2):
        sample = (table[FIRST] + chunk) * circuit.step
        state = states[2 * chunk], states[2 * chunk + 1], room[0]
        for op in circuit.ops:
            _apply(state, op, circuit, call, sample, like)
        _measure(state, circuit, out, sample, like)


@_compiled
def _backward(table: Array, kind: Any, like: Any) -> None:
    """Walk back through the chunks of a block.

    Its table: as for `_forward`, with what undoes the operations (opposite angles and adjoint
    matrices), gradients of what was measured, and states as `_forward` left them; then (chunks, 2,
    size) gradients of the final states, which become those of the first ones; `Slopes`, zeros that
    are filled. The two numbers: the first operation that has to be undone; whether only gradients
    of the first states are wanted, which need no state on the way.
    """
    circuit, call, rows, states, room = _given(table, kind)
    size, adjoints = circuit.size, _array(table, ADJOINTS, kind)
    slopes = Slopes(_array(table, ANGLE_SLOPES, kind), _array(table, MATRIX_SLOPES, kind))
    scratch, re, im = room[0], room[1, :size], room[1, size:]
    for chunk in range(len(states) // 2):
        for i in range(size):  # numba's `re[:] =` would ask for its memory and exceptions
            re[i], im[i] = states[2 * chunk, i], states[2 * chunk + 1, i]
        state, adjoint = (re, im, scratch), (adjoints[2 * chunk], adjoints[2 * chunk + 1], scratch)
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
        walk(table, kind, zeros(_array(table, ROOM, kind)))

    def of_one(address: int) -> None:
        walk(numba.carray(_pointer(address), END, np.int64), kind, kind(0))

    compiled = (numba.njit(**_OPTIONS) if called else _compiled)(of_many if many else of_one)
    compiled.compile((types.intp,))
    return compiled


def assembly(compiled: Any) -> tuple[str, str]:
    """Return what LLVM is told of a compiled kernel, and under which name."""
    (made,) = compiled.overloads.values()
    return compiled.inspect_llvm((types.intp,)), made.fndesc.llvm_func_name
