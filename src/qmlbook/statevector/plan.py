"""Turn the structure of a circuit into few large steps, once.

Greedy fusion: a gate joins the first earlier group of gates that it may be moved into and that
stays within a few wires. Groups are built twice, from gates to *cores* of at most two wires and
from cores to *blocks*, so that the matrices of all blocks come out of a few batched products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .gates import TERMS, Factor, constant, monomial

CORE = 2  # wires of a core


@dataclass(frozen=True, eq=False)
class Gate:
    """One gate of a circuit's structure.

    Attributes:
        wires: positions, the first is the most significant.
        factors: its factors; empty if its matrix is given at run time.
        parameters: for each factor, its row among the circuit's parameters, or -1.
        batched: whether a parameter differs from one circuit of the batch to the next.
        dense: row among the matrices given at run time, or ``None``.
    """

    wires: tuple[int, ...]
    factors: tuple[Factor, ...]
    parameters: tuple[int, ...]
    batched: bool = False
    dense: int | None = None


@dataclass
class Group:
    """Gates that are applied together."""

    kind: str  # "matrix", "batched", "monomial"
    gates: list[Gate] = field(default_factory=list)
    wires: set[int] = field(default_factory=set)

    def add(self, gate: Gate) -> None:
        """Take a gate in as the last one."""
        self.gates.append(gate)
        self.wires |= set(gate.wires)


def fuse(gates: Sequence[Gate], widest: int, batched_widest: int = 1) -> list[Group]:
    """Group gates in order; groups of kind "matrix" have at most ``widest`` wires if they can."""
    groups: list[Group] = []
    last: dict[int, int] = {}  # wire -> index of the last group that touches it
    for gate in gates:
        wires = set(gate.wires)
        first = max((last.get(wire, -1) for wire in gate.wires), default=-1)
        place = _place(groups, gate, wires, first, widest, batched_widest)
        if place is None:
            kind = "batched" if gate.batched else "matrix"
            if kind == "matrix" and gate.dense is None and monomial(list(gate.factors)):
                near = [groups[last[w]] for w in gate.wires if w in last]
                joins = any(
                    g.kind == "matrix" and len(g.wires | wires) <= widest for g in near
                )  # then a matrix will do: the neighbours are multiplied anyway
                if len(wires) > 1 and (len(wires) > widest or not joins):
                    kind = "monomial"
            groups.append(Group(kind))
            place = len(groups) - 1
        groups[place].add(gate)
        for wire in gate.wires:
            last[wire] = max(last.get(wire, -1), place)
    return groups


def _place(
    groups: list[Group],
    gate: Gate,
    wires: set[int],
    first: int,
    widest: int,
    batched_widest: int,
) -> int | None:
    """Return the index of the group that can take a gate, or ``None``."""
    wanted = "batched" if gate.batched else "matrix"
    limit = batched_widest if gate.batched else widest
    best, growth = None, None
    for index in range(max(first, 0), len(groups)):
        group = groups[index]
        if group.kind == wanted and len(group.wires | wires) <= max(limit, len(group.wires)):
            grows = len(wires - group.wires)
            if growth is None or grows < growth:
                best, growth = index, grows
            if grows == 0:
                return index
    if best is not None:
        return best
    is_static = not gate.batched and gate.dense is None and monomial(list(gate.factors))
    for index in range(max(first, 0), len(groups)):
        if is_static and groups[index].kind == "monomial":
            return index
    return None


@dataclass(frozen=True, eq=False)
class Cores:
    """All cores of one size: constants from which their matrices are built.

    Attributes:
        rows: (cores * factors,) rows of the parameter each factor has; constants use row 0.
        terms: (cores * factors, 5, 2 d d) real view of the complex constants.
        shape: cores, factors (a power of two), d.
    """

    rows: Tensor
    terms: Tensor
    shape: tuple[int, int, int]


def core_constants(cores: Sequence[Sequence[tuple[Factor, int]]], size: int) -> Cores:
    """Pack cores, each a list of (factor in the core's own space, parameter row or -1)."""
    folded = [_fold(core, size) for core in cores]
    longest = max(len(core) for core in folded)
    slots = 1 << (longest - 1).bit_length()
    identity = (constant(np.eye(size)), -1)
    flat = [pair for core in folded for pair in [*core, *[identity] * (slots - len(core))]]
    terms = torch.from_numpy(np.stack([factor.terms for factor, _ in flat]))
    rows = torch.tensor([max(row, 0) for _, row in flat])
    real = torch.view_as_real(terms).reshape(len(flat), TERMS, -1).contiguous()
    return Cores(rows, real, (len(cores), slots, size))


def _fold(core: Sequence[tuple[Factor, int]], size: int) -> list[tuple[Factor, int]]:
    """Multiply constants into their neighbours, so that only factors with a parameter are left."""
    made: list[tuple[Factor, int]] = []
    waiting = np.eye(size)
    for factor, row in core:
        if row < 0:
            if made:
                before, its_row = made[-1]
                made[-1] = (Factor(factor.terms[0] @ before.terms), its_row)
            else:
                waiting = factor.terms[0] @ waiting
        elif made:
            made.append((factor, row))
        else:
            made.append((Factor(factor.terms @ waiting), row))
    return made or [(constant(waiting), -1)]


def embed(factor: Factor, wires: Sequence[int], within: Sequence[int]) -> Factor:
    """Return a factor on ``wires`` as one on the wires ``within``, in that order."""
    terms = np.stack([embed_matrix(term, wires, within) for term in factor.terms])
    terms[1:] *= np.abs(factor.terms[1:]).sum((1, 2), keepdims=True) > 0
    return Factor(terms, factor.parameter)


def embed_matrix(matrix: np.ndarray, wires: Sequence[int], within: Sequence[int]) -> np.ndarray:
    """Return ``matrix`` on ``wires``, tensored with the identity on the rest of ``within``."""
    index, valid = embedding(wires, within)
    return np.where(valid, matrix.reshape(-1)[index], 0)


def embedding(wires: Sequence[int], within: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return for each entry of the large matrix its entry in the small one, and whether it has one.

    Both (2^n, 2^n) for n wires ``within``; the small matrix is flattened.
    """
    n, k = len(within), len(wires)
    states = np.arange(2**n)
    bit = {wire: (states >> (n - 1 - place)) & 1 for place, wire in enumerate(within)}
    small = sum(bit[wire] << (k - 1 - place) for place, wire in enumerate(wires))
    rest = [bit[wire] for wire in within if wire not in wires]
    others = sum(b << place for place, b in enumerate(rest)) if rest else np.zeros_like(states)
    index = small[:, None] * 2**k + small[None, :]
    return index, others[:, None] == others[None, :]


def full_permutation(
    source: np.ndarray, phases: np.ndarray, wires: Sequence[int], order: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return a monomial gate on ``wires`` as one on all wires, in this ``order`` of axes."""
    n, k = len(order), len(wires)
    states = np.arange(2**n)
    shifts = [n - 1 - list(order).index(wire) for wire in wires]
    small = sum(((states >> shift) & 1) << (k - 1 - place) for place, shift in enumerate(shifts))
    cleared = states & ~sum(1 << shift for shift in shifts)
    origin = source[small]
    spread = sum(((origin >> (k - 1 - place)) & 1) << shift for place, shift in enumerate(shifts))
    return cleared | spread, phases[small]
