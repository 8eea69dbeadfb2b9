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
)

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


# -- one operation ------------------------------------------------------------------------------
# What becomes of the amplitudes a + ib of a place and p + iq of its partner.


@_compiled
def _imaginary(c, s, a, b, p, q):
    return c * a + s * q, c * b - s * p, c * p + s * b, c * q - s * a


@_compiled
def _real(c, s, a, b, p, q):
    return c * a - s * p, c * b - s * q, c * p + s * a, c * q + s * b


@_compiled
def _swapped(c, s, a, b, p, q):
    return p, q, a, b


def _pairs(turn: Any) -> Any:
    """Return what does ``turn`` at all places from ``start`` to ``stop``."""

    @_compiled
    def walk(re, im, places, start, stop, flip, c, s):
        for number in range(start, stop):
            i = places[number]
            j = i ^ flip
            a, b, p, q = load(re, i, c), load(im, i, c), load(re, j, c), load(im, j, c)
            a, b, p, q = turn(c, s, a, b, p, q)
            store(re, i, a)
            store(im, i, b)
            store(re, j, p)
            store(im, j, q)

    return walk


_imaginaries, _reals, _swaps = _pairs(_imaginary), _pairs(_real), _pairs(_swapped)


@_compiled
def _phase(re, im, places, start, stop, c, s):
    for number in range(start, stop):
        i = places[number]
        a, b = load(re, i, c), load(im, i, c)
        store(re, i, c * a + s * b)
        store(im, i, c * b - s * a)


@_compiled
def _dense(re, im, op, circuit, tables, like):
    shifts, step, size = circuit.shifts, circuit.step, op[SIZE]
    for number in range(op[START], op[STOP]):
        base = circuit.places[number]
        for a in range(size):
            i = base + shifts[op[SHIFTS] + a]
            store(tables.held_re, a * step, load(re, i, like))
            store(tables.held_im, a * step, load(im, i, like))
        for a in range(size):
            p, q = load(tables.held_re, 0, like), load(tables.held_im, 0, like)
            at = (op[AT] + a * size) * step
            x, y = load(tables.m_re, at, like), load(tables.m_im, at, like)
            total_re, total_im = x * p - y * q, x * q + y * p
            for b in range(1, size):
                p, q = load(tables.held_re, b * step, like), load(tables.held_im, b * step, like)
                x, y = (
                    load(tables.m_re, at + b * step, like),
                    load(tables.m_im, at + b * step, like),
                )
                total_re = total_re + (x * p - y * q)
                total_im = total_im + (x * q + y * p)
            i = base + shifts[op[SHIFTS] + a]
            store(re, i, total_re)
            store(im, i, total_im)


@_compiled
def _apply(re, im, op, circuit, tables, like):
    places, start, middle, stop, flip = circuit.places, op[START], op[MIDDLE], op[STOP], op[FLIP]
    if op[KIND] == SWAP:
        _swaps(re, im, places, start, stop, flip, like, like)
    elif op[KIND] == DENSE:
        _dense(re, im, op, circuit, tables, like)
    else:
        at = op[AT] * circuit.step
        c, s = load(tables.cosine, at, like), load(tables.sine, at, like)
        if op[KIND] == REAL:
            _reals(re, im, places, start, stop, flip, c, s)
        elif op[KIND] == IMAGINARY:
            _imaginaries(re, im, places, start, middle, flip, c, s)
            _imaginaries(re, im, places, middle, stop, flip, c, -s)
        else:
            _phase(re, im, places, start, middle, c, s)
            _phase(re, im, places, middle, stop, c, -s)


# -- one operation back -------------------------------------------------------------------------
# The adjoint is e + if at the place and g + ih at its partner.


@_compiled
def _imaginary_slope(a, b, p, q, e, f, g, h):
    return (e * q - f * p) + (g * b - h * a)


@_compiled
def _real_slope(a, b, p, q, e, f, g, h):
    return (g * a + h * b) - (e * p + f * q)


def _pairs_back(turn: Any, slope: Any) -> Any:
    """Return what undoes ``turn`` and adds up ``slope``."""

    @_compiled
    def walk(re, im, ad_re, ad_im, places, start, stop, flip, c, s, total):
        for number in range(start, stop):
            i = places[number]
            j = i ^ flip
            a, b, p, q = load(re, i, c), load(im, i, c), load(re, j, c), load(im, j, c)
            e, f, g, h = load(ad_re, i, c), load(ad_im, i, c), load(ad_re, j, c), load(ad_im, j, c)
            total = total + slope(a, b, p, q, e, f, g, h)
            a, b, p, q = turn(c, s, a, b, p, q)
            e, f, g, h = turn(c, s, e, f, g, h)
            store(re, i, a)
            store(im, i, b)
            store(re, j, p)
            store(im, j, q)
            store(ad_re, i, e)
            store(ad_im, i, f)
            store(ad_re, j, g)
            store(ad_im, j, h)
        return total

    return walk


_imaginaries_back = _pairs_back(_imaginary, _imaginary_slope)
_reals_back = _pairs_back(_real, _real_slope)


@_compiled
def _phase_back(re, im, ad_re, ad_im, places, start, stop, c, s, total):
    for number in range(start, stop):
        i = places[number]
        a, b, e, f = load(re, i, c), load(im, i, c), load(ad_re, i, c), load(ad_im, i, c)
        total = total + (e * b - f * a)
        store(re, i, c * a + s * b)
        store(im, i, c * b - s * a)
        store(ad_re, i, c * e + s * f)
        store(ad_im, i, c * f - s * e)
    return total


@_compiled
def _outer(re, im, ad_re, ad_im, op, circuit, tables, like):
    """Add the gradient of a matrix: the adjoint after it times the conjugated state before it."""
    g_re, g_im, shifts, size = tables.slope_re, tables.slope_im, circuit.shifts, op[SIZE]
    for number in range(op[START], op[STOP]):
        base = circuit.places[number]
        for a in range(size):
            i = base + shifts[op[SHIFTS] + a]
            e, f = load(ad_re, i, like), load(ad_im, i, like)
            for b in range(size):
                at = (op[AT] + a * size + b) * circuit.step
                j = base + shifts[op[SHIFTS] + b]
                p, q = load(re, j, like), load(im, j, like)
                store(g_re, at, load(g_re, at, like) + (e * p + f * q))
                store(g_im, at, load(g_im, at, like) + (f * p - e * q))


@_compiled
def _back(re, im, ad_re, ad_im, op, circuit, tables, like):
    places, start, middle, stop, flip = circuit.places, op[START], op[MIDDLE], op[STOP], op[FLIP]
    if op[KIND] == SWAP or op[KIND] == DENSE:
        _apply(re, im, op, circuit, tables, like)
        if op[GIVEN]:
            _outer(re, im, ad_re, ad_im, op, circuit, tables, like)
        _apply(ad_re, ad_im, op, circuit, tables, like)
        return
    at = op[AT] * circuit.step
    c, s, t = (
        load(tables.cosine, at, like),
        load(tables.sine, at, like),
        load(tables.slope, at, like),
    )
    if op[KIND] == REAL:
        t = _reals_back(re, im, ad_re, ad_im, places, start, stop, flip, c, -s, t)
    elif op[KIND] == IMAGINARY:
        for first, last in ((start, middle), (middle, stop)):
            s = -s
            t = -_imaginaries_back(re, im, ad_re, ad_im, places, first, last, flip, c, s, t)
    else:
        for first, last in ((start, middle), (middle, stop)):
            s = -s
            t = -_phase_back(re, im, ad_re, ad_im, places, first, last, c, s, t)
    store(tables.slope, at, t)


# -- the numbers of a chunk ---------------------------------------------------------------------


@_compiled
def _tables(circuit, numbers):
    angles, entries = len(circuit.affine) * circuit.step, (circuit.entries + 1) * circuit.step
    kind = numbers.flat.dtype
    return Tables(
        np.zeros(angles, kind), np.zeros(angles, kind), np.zeros(angles, kind),
        np.zeros(entries, kind), np.zeros(entries, kind), np.zeros(entries, kind),
        np.zeros(entries, kind), np.zeros(entries, kind), np.zeros(entries, kind),
    )  # fmt: skip


@_compiled
def _fill(tables, circuit, numbers, first, count, adjoint, everything):
    """Fill in half angles and matrices (or their adjoints) of ``count`` samples from ``first``."""
    step = circuit.step
    for p in range(len(circuit.affine)):
        offset, stride = numbers.sources[p, 0], numbers.sources[p, 1]
        if stride == 0 and not everything:
            continue
        for lane in range(step):
            at = p * step + lane
            if lane and (stride == 0 or lane >= count):
                tables.cosine[at], tables.sine[at] = tables.cosine[at - 1], tables.sine[at - 1]
                continue
            half = 0.5 * circuit.affine[p, 1]
            if offset >= 0:
                half += 0.5 * circuit.affine[p, 0] * numbers.flat[offset + stride * (first + lane)]
            tables.cosine[at], tables.sine[at] = math.cos(half), math.sin(half)
    for number in range(len(numbers.matrices)):
        to, size, source, stride = numbers.matrices[number]
        if stride == 0 and not everything:
            continue
        for entry in range(size * size):
            at = source + (entry % size * size + entry // size if adjoint else entry)
            for lane in range(step):
                sample = first + min(lane, count - 1)
                imaginary = numbers.m_im[at + stride * sample]
                tables.m_re[(to + entry) * step + lane] = numbers.m_re[at + stride * sample]
                tables.m_im[(to + entry) * step + lane] = -imaginary if adjoint else imaginary


@_compiled
def _start(re, im, circuit, numbers, first, count):
    re[:] = 0
    im[:] = 0
    for a in range(len(circuit.initial)):
        for lane in range(circuit.step):
            at = numbers.a_stride * (first + min(lane, count - 1)) + a
            re[circuit.initial[a] + lane] = numbers.a_re[at]
            if len(numbers.a_im):
                im[circuit.initial[a] + lane] = numbers.a_im[at]


@_compiled
def _collect(ad_re, ad_im, circuit, numbers, tables, sample, count, gradient):
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
    for number in range(len(numbers.matrices)):
        to, size, _, stride = numbers.matrices[number]
        for entry in range(to, to + size * size):
            for lane in range(count):
                column = sample + lane if stride else 0
                gradient.m_re[entry, column] += tables.slope_re[entry * step + lane]
                gradient.m_im[entry, column] += tables.slope_im[entry * step + lane]
    for a in range(len(gradient.a_re)):
        for lane in range(count):
            gradient.a_re[a, sample + lane] = ad_re[circuit.initial[a] + lane]
            gradient.a_im[a, sample + lane] = ad_im[circuit.initial[a] + lane]


# -- measurements -------------------------------------------------------------------------------


@_compiled
def _hadamard(values, step, like):
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
def _measure(re, im, circuit, out, width, at, values, like):
    """Add up words of Paulis, group by group, and probabilities."""
    step, terms = circuit.step, circuit.terms
    for g in range(len(circuit.groups)):
        flip, odd, first, last = circuit.groups[g]
        for i in range(0, len(re), step):
            j = i ^ flip
            a, b, p, q = load(re, i, like), load(im, i, like), load(re, j, like), load(im, j, like)
            if odd:
                store(values, i, a * q - b * p)
            else:
                store(values, i, a * p + b * q)
        _hadamard(values, step, like)
        for t in range(first, last):
            for lane in range(step):
                value = circuit.weights[t] * values[terms[t, 1] + lane]
                out[terms[t, 0] * width + at + lane] += value
    for k in range(len(circuit.outcomes)):
        for i in range(0, len(re), step):
            a, b = load(re, i, like), load(im, i, like)
            row = circuit.outcomes[k, i // step] * width + at
            store(out, row, load(out, row, like) + (a * a + b * b))


@_compiled
def _seed(re, im, ad_re, ad_im, circuit, slopes, width, at, values, like):
    """Add to the adjoint what the gradients ``slopes`` of the measured rows make of the state."""
    step, terms = circuit.step, circuit.terms
    for g in range(len(circuit.groups)):
        flip, odd, first, last = circuit.groups[g]
        values[:] = 0
        for t in range(first, last):
            for lane in range(step):
                slope = slopes[terms[t, 0] * width + at + lane]
                values[terms[t, 1] + lane] += 2 * circuit.weights[t] * slope
        _hadamard(values, step, like)
        for i in range(0, len(re), step):
            j = i ^ flip
            w, p, q = load(values, i, like), load(re, j, like), load(im, j, like)
            if odd:
                store(ad_re, i, load(ad_re, i, like) + w * q)
                store(ad_im, i, load(ad_im, i, like) - w * p)
            else:
                store(ad_re, i, load(ad_re, i, like) + w * p)
                store(ad_im, i, load(ad_im, i, like) + w * q)
    for k in range(len(circuit.outcomes)):
        for i in range(0, len(re), step):
            w = load(slopes, circuit.outcomes[k, i // step] * width + at, like)
            w = w + w
            store(ad_re, i, load(ad_re, i, like) + w * load(re, i, like))
            store(ad_im, i, load(ad_im, i, like) + w * load(im, i, like))


# -- blocks of chunks ---------------------------------------------------------------------------


@_cached
def forward(first, last, circuit, numbers, out, states, like):
    """Run chunks.

    Args:
        first, last: which chunks.
        circuit, numbers: see `lowering`.
        out: (rows * samples,) zeros, filled with what is measured.
        states: (chunks, 2, size) for the final states, or (0, 2, size).
        like: an array for chunks of many circuits, a number for those of one.
    """
    width = len(out) // circuit.rows
    tables = _tables(circuit, numbers)
    re, im = np.empty(circuit.size, out.dtype), np.empty(circuit.size, out.dtype)
    values = np.empty(circuit.size, out.dtype)
    for chunk in range(first, last):
        sample = chunk * circuit.step
        count = min(circuit.step, numbers.batch - sample)
        _fill(tables, circuit, numbers, sample, count, False, chunk == first)
        _start(re, im, circuit, numbers, sample, count)
        for number in range(len(circuit.ops)):
            _apply(re, im, circuit.ops[number], circuit, tables, like)
        _measure(re, im, circuit, out, width, sample, values, like)
        if len(states):
            states[chunk, 0], states[chunk, 1] = re, im


@_cached
def backward(first, last, stop, circuit, numbers, slopes, seeds, states, gradient, like):
    """Walk back, see `forward`.

    Args:
        first, last: which chunks.
        stop: the first operation that has to be undone.
        circuit, numbers, states, like: as after `forward`.
        slopes: (rows * samples,) gradients of what was measured.
        seeds: (chunks, 2, size) gradients of the final states, or (0, 2, size).
        gradient: what is filled, see `lowering.Gradient`; sums over the chunks of this block.
    """
    width = len(slopes) // circuit.rows
    tables = _tables(circuit, numbers)
    re, im = np.empty(circuit.size, slopes.dtype), np.empty(circuit.size, slopes.dtype)
    ad_re, ad_im = np.empty_like(re), np.empty_like(im)
    values = np.empty_like(re)
    for chunk in range(first, last):
        sample = chunk * circuit.step
        count = min(circuit.step, numbers.batch - sample)
        _fill(tables, circuit, numbers, sample, count, True, chunk == first)
        tables.slope[:] = 0
        tables.slope_re[:] = 0
        tables.slope_im[:] = 0
        re[:], im[:], ad_re[:], ad_im[:] = states[chunk, 0], states[chunk, 1], 0, 0
        if len(seeds):
            ad_re[:], ad_im[:] = seeds[chunk, 0], seeds[chunk, 1]
        _seed(re, im, ad_re, ad_im, circuit, slopes, width, sample, values, like)
        for number in range(len(circuit.ops) - 1, stop - 1, -1):
            _back(re, im, ad_re, ad_im, circuit.ops[number], circuit, tables, like)
        _collect(ad_re, ad_im, circuit, numbers, tables, sample, count, gradient)


@_cached
def gather(sources, shared, batched, batch, flat):
    """Add the slopes of angles to the gradients of the parameters that they are made of."""
    for angle in range(len(sources)):
        offset, stride, row = sources[angle]
        if row >= 0:
            for sample in range(batch):
                flat[offset + stride * sample] += batched[row, sample]
        elif offset >= 0:
            flat[offset] += shared[angle]
