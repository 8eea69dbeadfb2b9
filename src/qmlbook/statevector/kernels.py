"""The machine code: one interpreter for all circuits, forwards and backwards.

A chunk of circuits, one in each lane of a register, is a pair of arrays (real, imaginary) of
``2^n`` registers; a single circuit puts its first wires into the lanes instead. An operation visits
the *places* of `lowering.Program`; its partner is ``place ^ flip``. Walking back undoes every gate
on the state and on its adjoint together, and the derivative of a rotation is the imaginary part of
their overlap with its generator: nothing has to be remembered.

Compiled once for each precision, and kept beside this file (or in Numba's folder for caches).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from .lanes import BYTES, load, store, wide
from .lowering import DENSE, IMAGINARY, REAL, SWAP, Tables

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


def _compiled(function: Callable) -> Any:
    return numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(function)


def _cached(function: Callable) -> Any:
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no folder can be written: compiled again by every process
        return numba.njit(**_OPTIONS)(function)


# -- one operation ------------------------------------------------------------------------------


@_compiled
def _imaginary(re, im, places, start, stop, flip, c, s):
    for number in range(start, stop):
        i = places[number]
        j = i ^ flip
        a, b, p, q = load(re, i, c), load(im, i, c), load(re, j, c), load(im, j, c)
        store(re, i, c * a + s * q)
        store(im, i, c * b - s * p)
        store(re, j, c * p + s * b)
        store(im, j, c * q - s * a)


@_compiled
def _real(re, im, places, start, stop, flip, c, s):
    for number in range(start, stop):
        i = places[number]
        j = i ^ flip
        a, b, p, q = load(re, i, c), load(im, i, c), load(re, j, c), load(im, j, c)
        store(re, i, c * a - s * p)
        store(im, i, c * b - s * q)
        store(re, j, c * p + s * a)
        store(im, j, c * q + s * b)


@_compiled
def _phase(re, im, places, start, stop, c, s):
    for number in range(start, stop):
        i = places[number]
        a, b = load(re, i, c), load(im, i, c)
        store(re, i, c * a + s * b)
        store(im, i, c * b - s * a)


@_compiled
def _swap(re, im, places, start, stop, flip, like):
    for number in range(start, stop):
        i = places[number]
        j = i ^ flip
        a, b, p, q = load(re, i, like), load(im, i, like), load(re, j, like), load(im, j, like)
        store(re, i, p)
        store(im, i, q)
        store(re, j, a)
        store(im, j, b)


@_compiled
def _dense(re, im, row, circuit, tables, like):
    """Multiply by a matrix; its row, column and the table are counted in registers."""
    ops, shifts, lanes = circuit.ops, circuit.shifts, BYTES // re.itemsize
    entries, to, size = ops[row, 5], ops[row, 6], ops[row, 7]
    for number in range(ops[row, 1], ops[row, 3]):
        base = circuit.places[number]
        for a in range(size):
            store(tables.held_re, a * lanes, load(re, base + shifts[to + a], like))
            store(tables.held_im, a * lanes, load(im, base + shifts[to + a], like))
        for a in range(size):
            total_re = total_im = like - like
            for b in range(size):
                at = (entries + a * size + b) * lanes
                x, y = load(tables.m_re, at, like), load(tables.m_im, at, like)
                p, q = load(tables.held_re, b * lanes, like), load(tables.held_im, b * lanes, like)
                total_re = total_re + (x * p - y * q)
                total_im = total_im + (x * q + y * p)
            store(re, base + shifts[to + a], total_re)
            store(im, base + shifts[to + a], total_im)


@_compiled
def _apply(re, im, number, circuit, tables, like):
    ops, places = circuit.ops, circuit.places
    kind, start, middle = ops[number, 0], ops[number, 1], ops[number, 2]
    stop, flip = ops[number, 3], ops[number, 4]
    if kind == SWAP:
        _swap(re, im, places, start, stop, flip, like)
    elif kind == DENSE:
        _dense(re, im, number, circuit, tables, like)
    else:
        at = ops[number, 5] * (BYTES // re.itemsize)
        c, s = load(tables.cosine, at, like), load(tables.sine, at, like)
        if kind == REAL:
            _real(re, im, places, start, stop, flip, c, s)
        elif kind == IMAGINARY:
            for first, last in ((start, middle), (middle, stop)):
                _imaginary(re, im, places, first, last, flip, c, s)
                s = -s
        else:
            for first, last in ((start, middle), (middle, stop)):
                _phase(re, im, places, first, last, c, s)
                s = -s


# -- one operation back -------------------------------------------------------------------------


@_compiled
def _imaginary_back(re, im, ad_re, ad_im, places, start, stop, flip, c, s, total):
    for number in range(start, stop):
        i = places[number]
        j = i ^ flip
        a, b, p, q = load(re, i, c), load(im, i, c), load(re, j, c), load(im, j, c)
        e, f, g, h = load(ad_re, i, c), load(ad_im, i, c), load(ad_re, j, c), load(ad_im, j, c)
        total = total + ((e * q - f * p) + (g * b - h * a))
        store(re, i, c * a - s * q)
        store(im, i, c * b + s * p)
        store(re, j, c * p - s * b)
        store(im, j, c * q + s * a)
        store(ad_re, i, c * e - s * h)
        store(ad_im, i, c * f + s * g)
        store(ad_re, j, c * g - s * f)
        store(ad_im, j, c * h + s * e)
    return total


@_compiled
def _real_back(re, im, ad_re, ad_im, places, start, stop, flip, c, s, total):
    for number in range(start, stop):
        i = places[number]
        j = i ^ flip
        a, b, p, q = load(re, i, c), load(im, i, c), load(re, j, c), load(im, j, c)
        e, f, g, h = load(ad_re, i, c), load(ad_im, i, c), load(ad_re, j, c), load(ad_im, j, c)
        total = total + ((g * a + h * b) - (e * p + f * q))
        store(re, i, c * a + s * p)
        store(im, i, c * b + s * q)
        store(re, j, c * p - s * a)
        store(im, j, c * q - s * b)
        store(ad_re, i, c * e + s * g)
        store(ad_im, i, c * f + s * h)
        store(ad_re, j, c * g - s * e)
        store(ad_im, j, c * h - s * f)
    return total


@_compiled
def _phase_back(re, im, ad_re, ad_im, places, start, stop, c, s, total):
    for number in range(start, stop):
        i = places[number]
        a, b, e, f = load(re, i, c), load(im, i, c), load(ad_re, i, c), load(ad_im, i, c)
        total = total + (e * b - f * a)
        store(re, i, c * a - s * b)
        store(im, i, c * b + s * a)
        store(ad_re, i, c * e - s * f)
        store(ad_im, i, c * f + s * e)
    return total


@_compiled
def _outer(re, im, ad_re, ad_im, row, circuit, tables, like):
    """Add the gradient of a matrix: the adjoint after it times the conjugated state before it."""
    ops, shifts, lanes = circuit.ops, circuit.shifts, BYTES // re.itemsize
    entries, to, size = ops[row, 5], ops[row, 6], ops[row, 7]
    g_re, g_im = tables.slope_re, tables.slope_im
    for number in range(ops[row, 1], ops[row, 3]):
        base = circuit.places[number]
        for a in range(size):
            e, f = load(ad_re, base + shifts[to + a], like), load(ad_im, base + shifts[to + a], like)
            for b in range(size):
                at = (entries + a * size + b) * lanes
                p, q = load(re, base + shifts[to + b], like), load(im, base + shifts[to + b], like)
                store(g_re, at, load(g_re, at, like) + (e * p + f * q))
                store(g_im, at, load(g_im, at, like) + (f * p - e * q))


@_compiled
def _back(re, im, ad_re, ad_im, number, circuit, tables, kept, at_kept, like):
    ops, places = circuit.ops, circuit.places
    kind, start, middle = ops[number, 0], ops[number, 1], ops[number, 2]
    stop, flip = ops[number, 3], ops[number, 4]
    if kind == SWAP:
        _swap(re, im, places, start, stop, flip, like)
        _swap(ad_re, ad_im, places, start, stop, flip, like)
    elif kind == DENSE:
        if ops[number, 9] >= 0:  # not unitary: the state before it was kept
            at = at_kept + 2 * ops[number, 9] * len(re)
            _take(re, im, kept, at)
        else:
            _dense(re, im, number, circuit, tables, like)
        if ops[number, 10]:  # given at run time
            _outer(re, im, ad_re, ad_im, number, circuit, tables, like)
        _dense(ad_re, ad_im, number, circuit, tables, like)
    else:
        at = ops[number, 5] * (BYTES // re.itemsize)
        c, s = load(tables.cosine, at, like), load(tables.sine, at, like)
        t = load(tables.slope, at, like)
        if kind == REAL:
            t = _real_back(re, im, ad_re, ad_im, places, start, stop, flip, c, s, t)
        elif kind == IMAGINARY:
            for first, last in ((start, middle), (middle, stop)):
                t = -_imaginary_back(re, im, ad_re, ad_im, places, first, last, flip, c, s, t)
                s = -s
        else:
            for first, last in ((start, middle), (middle, stop)):
                t = -_phase_back(re, im, ad_re, ad_im, places, first, last, c, s, t)
                s = -s
        store(tables.slope, at, t)


# -- the numbers of a chunk ---------------------------------------------------------------------


@_compiled
def _tables(circuit, flat):
    """Make room for what the operations take, one register for every angle and entry."""
    lanes = BYTES // flat.itemsize
    angles = (len(circuit.affine) + len(circuit.fixed) + 1) * lanes
    entries = (circuit.entries + 1) * lanes
    return Tables(
        np.zeros(angles, flat.dtype), np.zeros(angles, flat.dtype), np.zeros(angles, flat.dtype),
        np.zeros(entries, flat.dtype), np.zeros(entries, flat.dtype),
        np.zeros(entries, flat.dtype), np.zeros(entries, flat.dtype),
        np.zeros(entries, flat.dtype), np.zeros(entries, flat.dtype),
    )  # fmt: skip


@_compiled
def _angles(tables, circuit, numbers, first, count, everything):
    """Fill in cosines and sines of half angles, for ``count`` samples from ``first`` on."""
    cosine, sine, flat = tables.cosine, tables.sine, numbers.flat
    lanes, known = BYTES // flat.itemsize, len(circuit.affine)
    for p in range(known):
        offset, stride = numbers.sources[p, 0], numbers.sources[p, 1]
        if stride == 0 and not everything:
            continue
        for lane in range(lanes):
            at = p * lanes + lane
            if lane and (stride == 0 or lane >= count):
                cosine[at], sine[at] = cosine[at - 1], sine[at - 1]
            else:
                angle = flat[offset + stride * (first + lane)]
                half = 0.5 * (circuit.affine[p, 0] * angle + circuit.affine[p, 1])
                cosine[at], sine[at] = math.cos(half), math.sin(half)
    if everything:
        for f in range(len(circuit.fixed)):
            for lane in range(lanes):
                cosine[(known + f) * lanes + lane] = circuit.fixed[f, 0]
                sine[(known + f) * lanes + lane] = circuit.fixed[f, 1]


@_compiled
def _entries(tables, numbers, first, count, adjoint, everything):
    """Fill in the entries of matrices, for walking back those of their adjoints."""
    lanes = BYTES // numbers.flat.itemsize
    for number in range(len(numbers.matrices)):
        to, size = numbers.matrices[number, 0], numbers.matrices[number, 1]
        source, stride = numbers.matrices[number, 2], numbers.matrices[number, 3]
        if stride == 0 and not everything:
            continue
        for entry in range(size * size):
            at = source + (entry % size * size + entry // size if adjoint else entry)
            for lane in range(lanes):
                sample = first + min(lane, count - 1)
                imaginary = numbers.m_im[at + stride * sample]
                tables.m_re[(to + entry) * lanes + lane] = numbers.m_re[at + stride * sample]
                tables.m_im[(to + entry) * lanes + lane] = -imaginary if adjoint else imaginary


@_compiled
def _start(re, im, circuit, numbers, first, count):
    _clear(re, im)
    for a in range(len(circuit.initial)):
        for lane in range(circuit.step):
            at = numbers.a_stride * (first + min(lane, count - 1)) + a
            re[circuit.initial[a] + lane] = numbers.a_re[at]
            if len(numbers.a_im):
                im[circuit.initial[a] + lane] = numbers.a_im[at]


# -- measurements -------------------------------------------------------------------------------


@_compiled
def _hadamard(values, half):
    """Replace values by their sums with the signs of every word of Z."""
    lanes = BYTES // values.itemsize
    while half < len(values):
        for base in range(0, len(values), 2 * half):
            if half >= lanes:
                for i in range(base, base + half, lanes):
                    a, b = wide(values, i), wide(values, i + half)
                    store(values, i, a + b)
                    store(values, i + half, a - b)
            else:
                for i in range(base, base + half):
                    a, b = values[i], values[i + half]
                    values[i], values[i + half] = a + b, a - b
        half *= 2


@_compiled
def _products(values, re, im, flip, odd, step, like):
    """Real (or, ``odd``, imaginary) parts of conjugated amplitudes times their partners."""
    for i in range(0, len(re), step):
        j = i ^ flip
        a, b, p, q = load(re, i, like), load(im, i, like), load(re, j, like), load(im, j, like)
        if odd:
            store(values, i, a * q - b * p)
        else:
            store(values, i, a * p + b * q)


@_compiled
def _measure(re, im, circuit, out, width, at, values, like):
    """Add up words of Paulis, group by group, and probabilities."""
    step, terms = circuit.step, circuit.terms
    groups = circuit.groups
    for g in range(len(groups)):
        _products(values, re, im, groups[g, 0], groups[g, 1], step, like)
        _hadamard(values, step)
        for t in range(groups[g, 2], groups[g, 3]):
            for lane in range(step):
                value = circuit.weights[t] * values[terms[t, 1] + lane]
                out[terms[t, 0] * width + at + lane] += value
    for k in range(len(circuit.outcomes)):
        for i in range(0, len(re), step):
            a, b = load(re, i, like), load(im, i, like)
            row = circuit.outcomes[k, i // step] * width + at
            store(out, row, load(out, row, like) + (a * a + b * b))


@_compiled
def _pull(values, re, im, ad_re, ad_im, flip, odd, step, like):
    """Add twice a weighted word of Paulis applied to the state to the adjoint."""
    for i in range(0, len(re), step):
        j = i ^ flip
        w, p, q = load(values, i, like), load(re, j, like), load(im, j, like)
        w = w + w
        if odd:
            store(ad_re, i, load(ad_re, i, like) + w * q)
            store(ad_im, i, load(ad_im, i, like) - w * p)
        else:
            store(ad_re, i, load(ad_re, i, like) + w * p)
            store(ad_im, i, load(ad_im, i, like) + w * q)


@_compiled
def _seed(re, im, ad_re, ad_im, circuit, slopes, width, at, values, like):
    """Add to the adjoint what the gradients ``slopes`` of the measured rows make of it."""
    step, terms = circuit.step, circuit.terms
    groups = circuit.groups
    for g in range(len(groups)):
        for i in range(len(values)):
            values[i] = 0
        for t in range(groups[g, 2], groups[g, 3]):
            for lane in range(step):
                slope = slopes[terms[t, 0] * width + at + lane]
                values[terms[t, 1] + lane] += circuit.weights[t] * slope
        _hadamard(values, step)
        _pull(values, re, im, ad_re, ad_im, groups[g, 0], groups[g, 1], step, like)
    for k in range(len(circuit.outcomes)):
        for i in range(0, len(re), step):
            w = load(slopes, circuit.outcomes[k, i // step] * width + at, like)
            w = w + w
            store(ad_re, i, load(ad_re, i, like) + w * load(re, i, like))
            store(ad_im, i, load(ad_im, i, like) + w * load(im, i, like))


# -- blocks of chunks ---------------------------------------------------------------------------


@_compiled
def _clear(re, im):
    for i in range(len(re)):
        re[i] = im[i] = 0


@_compiled
def _take(re, im, states, at):
    for i in range(len(re)):
        re[i], im[i] = states[at + i], states[at + len(re) + i]


@_compiled
def _put(re, im, states, at):
    for i in range(len(re)):
        states[at + i], states[at + len(re) + i] = re[i], im[i]


@_cached
def forward(first, last, circuit, numbers, out, width, states, kept, slots):
    """Run chunks.

    Args:
        first, last: which chunks.
        circuit, numbers: see `lowering`.
        out: (rows, samples) zeros, filled with what is measured.
        states: (chunks, 2, size) for the final states, or (0, 2, size).
        kept: (chunks, slots, 2, size) for the states before matrices that are not unitary.
    """
    kind = numbers.flat.dtype
    tables = _tables(circuit, numbers.flat)
    re, im = np.empty(circuit.size, kind), np.empty(circuit.size, kind)
    values, nothing = np.empty(circuit.size, kind), np.zeros(BYTES // numbers.flat.itemsize, kind)
    narrow, broad = nothing[0], wide(nothing, 0)
    for chunk in range(first, last):
        sample = chunk * circuit.step
        count = min(circuit.step, numbers.batch - sample)
        _angles(tables, circuit, numbers, sample, count, chunk == first)
        _entries(tables, numbers, sample, count, False, chunk == first)
        _start(re, im, circuit, numbers, sample, count)
        for number in range(len(circuit.ops)):
            slot = circuit.ops[number, 9]
            if slot >= 0:
                _put(re, im, kept, 2 * (chunk * slots + slot) * len(re))
            if circuit.ops[number, 8]:
                _apply(re, im, number, circuit, tables, narrow)
            else:
                _apply(re, im, number, circuit, tables, broad)
        if circuit.step > 1:
            _measure(re, im, circuit, out, width, sample, values, broad)
        else:
            _measure(re, im, circuit, out, width, sample, values, narrow)
        if len(states):
            _put(re, im, states, 2 * chunk * len(re))


@_cached
def backward(first, last, stop, circuit, numbers, slopes, width, seeds, states, kept, slots, gradient):
    """Walk back, see `forward`.

    Args:
        first, last: which chunks.
        stop: the first operation that has to be undone.
        circuit, numbers, states, kept: as after `forward`.
        slopes: (rows, samples) gradients of what was measured.
        seeds: (chunks, 2, size) gradients of the final states, or (0, 2, size).
        gradient: what is filled, see `lowering.Gradient`; sums over the chunks of this block.
    """
    kind, lanes = numbers.flat.dtype, BYTES // numbers.flat.itemsize
    tables = _tables(circuit, numbers.flat)
    re, im = np.empty(circuit.size, kind), np.empty(circuit.size, kind)
    ad_re, ad_im = np.empty(circuit.size, kind), np.empty(circuit.size, kind)
    values, nothing = np.empty(circuit.size, kind), np.zeros(lanes, kind)
    narrow, broad = nothing[0], wide(nothing, 0)
    for chunk in range(first, last):
        sample = chunk * circuit.step
        count = min(circuit.step, numbers.batch - sample)
        _angles(tables, circuit, numbers, sample, count, chunk == first)
        _entries(tables, numbers, sample, count, True, chunk == first)
        _clear(tables.slope, tables.slope)
        _clear(tables.slope_re, tables.slope_im)
        _take(re, im, states, 2 * chunk * len(re))
        if len(seeds):
            _take(ad_re, ad_im, seeds, 2 * chunk * len(re))
        else:
            _clear(ad_re, ad_im)
        if circuit.step > 1:
            _seed(re, im, ad_re, ad_im, circuit, slopes, width, sample, values, broad)
        else:
            _seed(re, im, ad_re, ad_im, circuit, slopes, width, sample, values, narrow)
        for number in range(len(circuit.ops) - 1, stop - 1, -1):
            at = 2 * chunk * slots * len(re)
            if circuit.ops[number, 8]:
                _back(re, im, ad_re, ad_im, number, circuit, tables, kept, at, narrow)
            else:
                _back(re, im, ad_re, ad_im, number, circuit, tables, kept, at, broad)
        _collect(ad_re, ad_im, circuit, numbers, tables, sample, count, gradient)


@_compiled
def _collect(ad_re, ad_im, circuit, numbers, tables, sample, count, gradient):
    """Add the slopes of a chunk: to sums where a number is shared, else to its sample."""
    lanes = BYTES // numbers.flat.itemsize
    for p in range(len(circuit.affine)):
        row = numbers.sources[p, 2]
        for lane in range(lanes):
            slope = 0.5 * circuit.affine[p, 0] * tables.slope[p * lanes + lane]
            if row < 0:
                gradient.shared[p] += slope
            elif lane < circuit.step:
                gradient.batched[row, sample + lane] = slope
            else:
                gradient.batched[row, sample] += slope
    for number in range(len(numbers.matrices)):
        to, size = numbers.matrices[number, 0], numbers.matrices[number, 1]
        stride = numbers.matrices[number, 3]
        for entry in range(to, to + size * size):
            for lane in range(lanes):
                if stride == 0:
                    column = 0
                elif circuit.step == 1:
                    column = sample
                elif lane < count:
                    column = sample + lane
                else:
                    break
                gradient.m_re[entry, column] += tables.slope_re[entry * lanes + lane]
                gradient.m_im[entry, column] += tables.slope_im[entry * lanes + lane]
    if len(gradient.a_re):
        for a in range(len(circuit.initial)):
            for lane in range(count):
                gradient.a_re[a, sample + lane] = ad_re[circuit.initial[a] + lane]
                gradient.a_im[a, sample + lane] = ad_im[circuit.initial[a] + lane]


@_cached
def gather(sources, shared, batched, batch, flat):
    """Add the slopes of angles to the gradients of the parameters that they are made of."""
    for angle in range(len(sources)):
        offset, stride, row = sources[angle, 0], sources[angle, 1], sources[angle, 2]
        if row < 0:
            flat[offset] += shared[angle]
        else:
            for sample in range(batch):
                flat[offset + stride * sample] += batched[row, sample]
