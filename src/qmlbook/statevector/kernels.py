"""The machine code: one interpreter for all circuits, forwards and backwards.

A chunk of circuits, one in each lane of a register, is a pair of arrays (real, imaginary) of
``2^n`` registers; a circuit that is alone, of ``2^n`` numbers. ``like`` says which of them is
meant: an array, or a number. An operation visits the *places* of `lowering.Circuit`; the partner of
a place is ``place ^ flip``. Walking back undoes every gate on the state and on its adjoint
together, and the derivative of a rotation is the imaginary part of their overlap with its
generator: nothing has to be remembered.

Compiled when first needed, for each precision, and kept beside this file or, where that cannot be
written, in Numba's folder for caches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

from .lanes import load, store
from .lowering import (
    AT,
    DENSE,
    FLIP,
    GIVEN,
    IMAGINARY,
    KIND,
    MIDDLE,
    REAL,
    SHIFTS,
    SIZE,
    START,
    STOP,
    SWAP,
    Circuit,
    Gradient,
    Numbers,
)

Array = np.ndarray
Pair = tuple[Array, Array]  # real and imaginary parts of a state
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


def _compiled(function: Callable) -> Any:
    return numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(function)


def _cached(function: Callable) -> Any:
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no folder can be written: compiled again by every process
        return numba.njit(**_OPTIONS)(function)


class Tables(NamedTuple):
    """What a chunk's angles and matrices are, number by number for each lane, and their slopes."""

    cosine: np.ndarray
    sine: np.ndarray
    slope: np.ndarray
    m_re: np.ndarray
    m_im: np.ndarray
    held_re: np.ndarray
    held_im: np.ndarray
    slope_re: np.ndarray
    slope_im: np.ndarray
    zero: np.ndarray


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
    re, im = state
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
def _phase(state: Pair, places: Array, c: Any, s: Any) -> None:
    re, im = state
    for i in places:
        a, b = load(re, i, c), load(im, i, c)
        store(re, i, c * a + s * b)
        store(im, i, c * b - s * a)


@_compiled
def _dense(state: Pair, op: Array, circuit: Circuit, tables: Tables, like: Any) -> None:
    step, size, (re, im) = circuit.step, op[SIZE], state
    shifts = circuit.shifts[op[SHIFTS] : op[SHIFTS] + size]
    for base in circuit.places[op[START] : op[STOP]]:
        for a in range(size):
            store(tables.held_re, a * step, load(re, base + shifts[a], like))
            store(tables.held_im, a * step, load(im, base + shifts[a], like))
        for a in range(size):
            total_re = total_im = load(tables.zero, 0, like)
            for b in range(size):
                at = (op[AT] + a * size + b) * step
                x, y = load(tables.m_re, at, like), load(tables.m_im, at, like)
                p, q = load(tables.held_re, b * step, like), load(tables.held_im, b * step, like)
                total_re = total_re + (x * p - y * q)
                total_im = total_im + (x * q + y * p)
            store(re, base + shifts[a], total_re)
            store(im, base + shifts[a], total_im)


@_compiled
def _apply(state: Pair, op: Array, circuit: Circuit, tables: Tables, like: Any) -> None:
    even, odd = circuit.places[op[START] : op[MIDDLE]], circuit.places[op[MIDDLE] : op[STOP]]
    if op[KIND] == SWAP:
        _swaps(state, even, op[FLIP], like, like)
    elif op[KIND] == DENSE:
        _dense(state, op, circuit, tables, like)
    else:
        at = op[AT] * circuit.step
        c, s = load(tables.cosine, at, like), load(tables.sine, at, like)
        if op[KIND] == REAL:
            _reals(state, even, op[FLIP], c, s)
        elif op[KIND] == IMAGINARY:
            _imaginaries(state, even, op[FLIP], c, s)
            _imaginaries(state, odd, op[FLIP], c, -s)
        else:
            _phase(state, even, c, s)
            _phase(state, odd, c, -s)


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
    state: Pair, adjoint: Pair, op: Array, circuit: Circuit, tables: Tables, like: Any
) -> None:
    """Add the gradient of a matrix: the adjoint after it times the conjugated state before it."""
    g_re, g_im, size = tables.slope_re, tables.slope_im, op[SIZE]
    shifts = circuit.shifts[op[SHIFTS] : op[SHIFTS] + size]
    for base in circuit.places[op[START] : op[STOP]]:
        for a in range(size):
            i = base + shifts[a]
            e, f = load(adjoint[0], i, like), load(adjoint[1], i, like)
            for b in range(size):
                at, j = (op[AT] + a * size + b) * circuit.step, base + shifts[b]
                p, q = load(state[0], j, like), load(state[1], j, like)
                store(g_re, at, load(g_re, at, like) + (e * p + f * q))
                store(g_im, at, load(g_im, at, like) + (f * p - e * q))


@_compiled
def _back(
    state: Pair, adjoint: Pair, op: Array, circuit: Circuit, tables: Tables, like: Any
) -> None:
    even, odd = circuit.places[op[START] : op[MIDDLE]], circuit.places[op[MIDDLE] : op[STOP]]
    if op[KIND] == SWAP or op[KIND] == DENSE:
        _apply(state, op, circuit, tables, like)
        if op[GIVEN]:
            _outer(state, adjoint, op, circuit, tables, like)
        _apply(adjoint, op, circuit, tables, like)
        return
    at = op[AT] * circuit.step
    c, s, t = (
        load(tables.cosine, at, like),
        load(tables.sine, at, like),
        load(tables.slope, at, like),
    )
    if op[KIND] == REAL:
        t = _reals_back(state, adjoint, even, op[FLIP], c, -s, t)
    elif op[KIND] == IMAGINARY:
        t = -_imaginaries_back(state, adjoint, even, op[FLIP], c, -s, t)
        t = -_imaginaries_back(state, adjoint, odd, op[FLIP], c, s, t)
    else:
        t = -_phase_slope(state, adjoint, odd, -_phase_slope(state, adjoint, even, t))
        for one in (state, adjoint):
            _phase(one, even, c, -s)
            _phase(one, odd, c, s)
    store(tables.slope, at, t)


# -- the numbers of a chunk ---------------------------------------------------------------------


@_compiled
def _tables(circuit: Circuit, numbers: Numbers) -> Tables:
    kind, step = numbers.flat.dtype, circuit.step
    angles = np.zeros((3, len(circuit.affine) * step), kind)
    entries = np.zeros((6, (circuit.entries + 1) * step), kind)
    return Tables(
        angles[0], angles[1], angles[2], entries[0], entries[1], entries[2], entries[3],
        entries[4], entries[5], np.zeros(step, kind),
    )  # fmt: skip


@_compiled
def _fill(
    tables: Tables, circuit: Circuit, numbers: Numbers, sample: int, count: int, back: bool
) -> None:
    """Fill in half angles and matrices (or, ``back``, their adjoints) of a chunk."""
    step = circuit.step
    for p in range(len(circuit.affine)):
        offset, stride, _ = numbers.sources[p]
        for lane in range(step):
            at = p * step + lane
            if lane and (stride == 0 or lane >= count):
                tables.cosine[at], tables.sine[at] = tables.cosine[at - 1], tables.sine[at - 1]
                continue
            half = 0.5 * circuit.affine[p, 1]
            if offset >= 0:
                half += 0.5 * circuit.affine[p, 0] * numbers.flat[offset + stride * (sample + lane)]
            tables.cosine[at], tables.sine[at] = math.cos(half), math.sin(half)
    for to, size, source, stride in numbers.matrices:
        for entry in range(size * size):
            at = source + (entry % size * size + entry // size if back else entry)
            for lane in range(step):
                of = at + stride * (sample + min(lane, count - 1))
                tables.m_re[(to + entry) * step + lane] = numbers.m_re[of]
                tables.m_im[(to + entry) * step + lane] = (
                    -numbers.m_im[of] if back else numbers.m_im[of]
                )


@_compiled
def _start(state: Pair, circuit: Circuit, numbers: Numbers, sample: int, count: int) -> None:
    state[0][:] = 0
    state[1][:] = 0
    for a in range(len(circuit.initial)):
        for lane in range(circuit.step):
            at = numbers.a_stride * (sample + min(lane, count - 1)) + a
            state[0][circuit.initial[a] + lane] = numbers.a_re[at]
            if len(numbers.a_im):
                state[1][circuit.initial[a] + lane] = numbers.a_im[at]


@_compiled
def _collect(
    adjoint: Pair, circuit: Circuit, numbers: Numbers, tables: Tables, gradient: Gradient,
    sample: int, count: int,
) -> None:  # fmt: skip
    """Add the slopes of a chunk: to sums where a number is shared, else to its sample."""
    step = circuit.step
    for p in range(len(circuit.affine)):
        row = numbers.sources[p, 2]
        for lane in range(count):
            slope = 0.5 * circuit.affine[p, 0] * tables.slope[p * step + lane]
            if row < 0:
                gradient.shared[p] += slope
            else:
                gradient.batched[row, sample + lane] = slope
    for to, size, _, stride in numbers.matrices:
        for entry in range(to, to + size * size):
            for lane in range(count):
                column = sample + lane if stride else 0
                gradient.m_re[entry, column] += tables.slope_re[entry * step + lane]
                gradient.m_im[entry, column] += tables.slope_im[entry * step + lane]
    for a in range(len(gradient.a_re)):
        for lane in range(count):
            gradient.a_re[a, sample + lane] = adjoint[0][circuit.initial[a] + lane]
            gradient.a_im[a, sample + lane] = adjoint[1][circuit.initial[a] + lane]


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
def _measure(
    state: Pair, circuit: Circuit, out: Array, sample: int, values: Array, like: Any
) -> None:
    """Add up words of Paulis, group by group, and probabilities."""
    step, width = circuit.step, len(out) // circuit.rows
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
                out[row * width + sample + lane] += circuit.weights[t] * values[at + lane]
    for outcome in circuit.outcomes:
        for number in range(len(outcome)):
            a, b = load(state[0], number * step, like), load(state[1], number * step, like)
            at = outcome[number] * width + sample
            store(out, at, load(out, at, like) + (a * a + b * b))


@_compiled
def _seed(
    state: Pair, adjoint: Pair, circuit: Circuit, slopes: Array, sample: int, values: Array,
    like: Any,
) -> None:  # fmt: skip
    """Add to the adjoint what the gradients ``slopes`` of the measured rows make of the state."""
    step, width, (ad_re, ad_im) = circuit.step, len(slopes) // circuit.rows, adjoint
    for flip, odd, first, last in circuit.groups:
        values[:] = 0
        for t in range(first, last):
            row, at = circuit.terms[t]
            for lane in range(step):
                values[at + lane] += 2 * circuit.weights[t] * slopes[row * width + sample + lane]
        _hadamard(values, step, like)
        for i in range(0, circuit.size, step):
            w, p, q = (
                load(values, i, like),
                load(state[0], i ^ flip, like),
                load(state[1], i ^ flip, like),
            )
            if odd:
                p, q = q, -p
            store(ad_re, i, load(ad_re, i, like) + w * p)
            store(ad_im, i, load(ad_im, i, like) + w * q)
    for outcome in circuit.outcomes:
        for number in range(len(outcome)):
            i, w = number * step, load(slopes, outcome[number] * width + sample, like)
            store(ad_re, i, load(ad_re, i, like) + (w + w) * load(state[0], i, like))
            store(ad_im, i, load(ad_im, i, like) + (w + w) * load(state[1], i, like))


# -- blocks of chunks ---------------------------------------------------------------------------


@_cached
def forward(
    first: int, last: int, circuit: Circuit, numbers: Numbers, out: Array, states: Array, like: Any
) -> None:
    """Run chunks.

    Args:
        first, last: which chunks.
        circuit, numbers: see `lowering`.
        out: (rows * samples,) zeros, filled with what is measured.
        states: (chunks, 2, size) for the final states, or (0, 2, size).
        like: an array for chunks of many circuits, a number for those of one.
    """
    tables = _tables(circuit, numbers)
    state = np.empty(circuit.size, out.dtype), np.empty(circuit.size, out.dtype)
    values = np.empty(circuit.size, out.dtype)
    for chunk in range(first, last):
        sample = chunk * circuit.step
        count = min(circuit.step, numbers.batch - sample)
        _fill(tables, circuit, numbers, sample, count, False)
        _start(state, circuit, numbers, sample, count)
        for op in circuit.ops:
            _apply(state, op, circuit, tables, like)
        _measure(state, circuit, out, sample, values, like)
        if len(states):
            states[chunk, 0], states[chunk, 1] = state


@_cached
def backward(
    first: int, last: int, stop: int, circuit: Circuit, numbers: Numbers, slopes: Array,
    seeds: Array, states: Array, gradient: Gradient, like: Any,
) -> None:  # fmt: skip
    """Walk back, see `forward`.

    Args:
        first, last: which chunks.
        stop: the first operation that has to be undone.
        circuit, numbers, states, like: as after `forward`; the states are undone.
        slopes: (rows * samples,) gradients of what was measured.
        seeds: (chunks, 2, size) gradients of the final states, or (0, 2, size).
        gradient: what is filled, see `lowering.Gradient`; sums over the chunks of this block.
    """
    tables = _tables(circuit, numbers)
    state = np.empty(circuit.size, slopes.dtype), np.empty(circuit.size, slopes.dtype)
    adjoint = np.empty(circuit.size, slopes.dtype), np.empty(circuit.size, slopes.dtype)
    values = np.empty(circuit.size, slopes.dtype)
    for chunk in range(first, last):
        sample = chunk * circuit.step
        count = min(circuit.step, numbers.batch - sample)
        _fill(tables, circuit, numbers, sample, count, True)
        for slope in (tables.slope, tables.slope_re, tables.slope_im):
            slope[:] = 0
        for part in range(2):
            state[part][:] = states[chunk, part]
            adjoint[part][:] = 0
            if len(seeds):
                adjoint[part][:] = seeds[chunk, part]
        _seed(state, adjoint, circuit, slopes, sample, values, like)
        for number in range(len(circuit.ops) - 1, stop - 1, -1):
            _back(state, adjoint, circuit.ops[number], circuit, tables, like)
        _collect(adjoint, circuit, numbers, tables, gradient, sample, count)


@_cached
def gather(sources: Array, shared: Array, batched: Array, batch: int, flat: Array) -> None:
    """Add the slopes of angles to the gradients of the parameters that they are made of."""
    for angle in range(len(sources)):
        offset, stride, row = sources[angle]
        if row >= 0:
            for sample in range(batch):
                flat[offset + stride * sample] += batched[row, sample]
        elif offset >= 0:
            flat[offset] += shared[angle]
