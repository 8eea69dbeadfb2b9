"""Turn the structure of a circuit into few large steps, once.

Gates are first merged into *cores* of at most two wires, cores into *groups*: windows of a few
wires that are applied as one matrix, permutations of any width, and gates that differ within the
batch. Which group comes next is decided by what it absorbs for its cost; several settings are
tried and the cheapest by a simple cost model is kept. Wires are axes of the state: their order is
tracked here, so that a group whose wires lie side by side needs no copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from .gates import Factor, Monomial

WIDEST = 4  # wires of a window
CORE = 2  # wires of a core


class Ref(NamedTuple):
    """Where a parameter is found: among the scalars or, if it differs in the batch, the vectors."""

    batched: bool
    row: int


@dataclass(frozen=True, eq=False)
class Gate:
    """One gate of a circuit's structure; exactly one of the four forms is given.

    Attributes:
        wires: positions, the first is the most significant.
        factors: factors, each with the place of its parameter (``None`` for a constant).
        matrix: (d, d) constant.
        monomial: constant that only permutes and turns phases.
        dense: row among the matrices given at run time.
        batched: whether the gate differs from one circuit of the batch to the next.
    """

    wires: tuple[int, ...]
    factors: tuple[tuple[Factor, Ref | None], ...] = ()
    matrix: np.ndarray | None = None
    monomial: Monomial | None = None
    dense: int | None = None
    batched: bool = False

    @property
    def mask(self) -> int:
        """Return the wires as bits."""
        return sum(1 << wire for wire in self.wires)

    def constant(self) -> np.ndarray:
        """Return the matrix of a gate that is known when the plan is made."""
        return self.matrix if self.matrix is not None else self.monomial.matrix()  # type: ignore[union-attr]


@dataclass
class Group:
    """Gates that are applied together, in order: a core, or a step of the plan."""

    kind: str  # "matrix", "batched", "monomial"
    gates: list[Gate] = field(default_factory=list)
    mask: int = 0

    def add(self, gates: Iterable[Gate]) -> None:
        """Take gates in as the last ones."""
        for gate in gates:
            self.gates.append(gate)
            self.mask |= gate.mask

    @property
    def sealed(self) -> bool:
        """Return whether no other gate may join: the matrix comes at run time or is large."""
        return self.gates[0].dense is not None or self.mask.bit_count() > CORE

    @property
    def wires(self) -> list[int]:
        """Return the wires, ascending."""
        return [wire for wire in range(self.mask.bit_length()) if self.mask >> wire & 1]


def _group(kind: str, gates: Iterable[Gate]) -> Group:
    made = Group(kind)
    made.add(gates)
    return made


def merge(gates: Sequence[Gate], keep_monomials: bool = False) -> list[Group]:
    """Merge neighbouring gates into cores of at most two wires.

    A gate joins the last core of its wires; one-wire cores that wait on its wires join it. With
    ``keep_monomials`` monomials of several wires stay alone.
    """
    cores: list[Group | None] = []
    last: dict[int, int] = {}  # wire -> its last core
    for gate in gates:
        kind, mask = _kind(gate, keep_monomials), gate.mask
        before = {last[wire] for wire in gate.wires if wire in last}
        open_gate = gate.dense is None and len(gate.wires) <= CORE
        place = min(before) if len(before) == 1 else -1
        if place < 0 or not open_gate or not _joins(cores[place], kind, mask):
            place = len(cores)
            cores.append(Group(kind))
            for i in sorted(before) if kind == "matrix" and open_gate else ():
                waiting = cores[i]
                if waiting and waiting.kind == kind and waiting.mask.bit_count() == 1:
                    if waiting.sealed:
                        continue
                    cores[place].add(waiting.gates)  # type: ignore[union-attr]
                    cores[i] = None
        cores[place].add([gate])  # type: ignore[union-attr]
        last.update(dict.fromkeys(gate.wires, place))
    return [core for core in cores if core]


def _kind(gate: Gate, keep_monomials: bool) -> str:
    if gate.batched:
        return "batched"
    apart = gate.monomial is not None and (
        len(gate.wires) > WIDEST or (keep_monomials and len(gate.wires) > 1)
    )
    return "monomial" if apart else "matrix"


def _joins(core: Group | None, kind: str, mask: int) -> bool:
    if core is None or core.sealed or core.mask & mask != mask:
        return False
    if core.kind == "batched":
        return core.mask == mask and kind in ("batched", "matrix")
    return core.kind == kind == "matrix"


def cost(kind: str, wires: int, elements: int) -> float:
    """Return the estimated microseconds of a forward and a backward pass over ``elements``."""
    unit = elements / 65536
    if kind == "matrix":
        return 3 * (6 + unit * (35, 35, 32, 50, 88, 173)[wires] if wires < 6 else 6e5)
    if kind == "batched":
        return 3 * (25 + unit * 60 * 4 ** (wires - 1))
    return 2 * (4 + unit * 14)


def schedule(
    cores: Sequence[Group], widest: int, elements: int, apart: bool = False
) -> list[Group]:
    """Order cores into groups; each time the one that absorbs most for its cost comes next.

    With ``apart`` permutations wait until nothing else can come next, and windows take none in.
    """
    waiting, groups = list(cores), []
    while waiting:
        best, taken = None, []
        for kind, window in _candidates(waiting, widest, apart):
            absorbed = _absorb(waiting, kind, window, apart)
            work = sum(_weight(waiting[i]) for i in absorbed)
            rate = work / cost(kind, window.bit_count() if kind != "monomial" else 0, elements)
            if absorbed and (best is None or rate > best[0]):
                best, taken = (rate, kind), absorbed
        chosen = set(taken)
        groups.append(_group(best[1], (g for i in taken for g in waiting[i].gates)))  # type: ignore[index]
        waiting = [core for i, core in enumerate(waiting) if i not in chosen]
    return groups


def _weight(core: Group) -> float:
    return 1.0 if core.mask.bit_count() == 1 else 2.0


def _absorb(waiting: Sequence[Group], kind: str, window: int, apart: bool) -> list[int]:
    """Return which cores a group on the wires ``window`` can take now."""
    absorbed, blocked = [], 0
    for i, core in enumerate(waiting):
        fits = (
            core.kind == "monomial"
            if kind == "monomial"
            else core.mask | window == window
            and (core.kind == kind or (kind, core.kind, apart) == ("matrix", "monomial", False))
        )
        if fits and not core.mask & blocked:
            absorbed.append(i)
            if kind == "batched":
                break
        else:
            blocked |= core.mask
            if blocked & window == window:
                break
    return absorbed


def _candidates(waiting: Sequence[Group], widest: int, apart: bool) -> Iterable[tuple[str, int]]:
    """Yield kinds and wires of groups that may come next."""
    blocked, ready = 0, []
    for core in waiting:
        if not core.mask & blocked:
            ready.append(core)
        blocked |= core.mask
    monomials = [core for core in ready if core.kind == "monomial"]
    if monomials and not (apart and len(monomials) < len(ready)):
        yield "monomial", blocked
    yield from (("batched", core.mask) for core in ready if core.kind == "batched")
    seen = set()
    for core in ready:
        if core.kind == "batched":
            continue
        if core.kind == "monomial" and (apart or len(core.wires) > widest):
            continue
        window = core.mask
        while window not in seen:
            seen.add(window)
            yield "matrix", window
            window = _grown(waiting, window, widest, apart)


def _grown(waiting: Sequence[Group], window: int, widest: int, apart: bool) -> int:
    """Return the window with the wires of one more core: the one that brings most per wire."""
    best, found = 0.0, window
    tried = set()
    for core in waiting:
        wider = window | core.mask
        wires = wider.bit_count()
        if core.kind == "batched" or wires > widest or wider == window or wider in tried:
            continue
        tried.add(wider)
        work = sum(_weight(waiting[i]) for i in _absorb(waiting, "matrix", wider, apart))
        rate = work / (wires - window.bit_count() + 1)
        if rate > best:
            best, found = rate, wider
    return found


class Step(NamedTuple):
    """One step of the evolution; the order of the axes is known when the plan is made.

    Attributes:
        kind: "permute", "matrix", "batched" or "monomial".
        group: the gates of the step.
        axes: for "permute" the new order of the old axes; for the others the wires, in the order
            of the axes they act on.
        order: wires in the order of the axes, after the step.
    """

    kind: str
    group: Group | None
    axes: tuple[int, ...]
    order: tuple[int, ...]


def lay_out(
    groups: Sequence[Group], n: int, batch: int, start: Sequence[int] | None
) -> tuple[tuple[int, ...], list[Step]]:
    """Return the order of the axes at the start, and the steps with the permutations they need.

    Args:
        groups: what is applied, in order.
        n: wires.
        batch: states side by side, the last axis.
        start: order of the axes of the first state, ``None`` if it may be chosen.
    """
    order = tuple(range(n)) if start is None else tuple(start)
    fixed = start is not None
    steps: list[Step] = []
    for i, group in enumerate(groups):
        if group.kind == "monomial":
            steps.append(Step("monomial", group, order, order))
            continue
        width = max(len(group.wires), min(2, n) if group.kind == "matrix" else 1)
        axes = _contiguous(order, group.mask, width, batch)
        if axes is None:
            wanted = _chain([g.mask for g in groups[i:] if g.kind != "monomial"], order, n)
            if fixed or steps:
                permutation = tuple(order.index(wire) for wire in wanted)
                steps.append(Step("permute", None, permutation, wanted))
            order = wanted
            axes = _contiguous(order, group.mask, width, 1 << 30)
        steps.append(Step(group.kind, group, axes, order))  # type: ignore[arg-type]
    first = tuple(start) if start is not None else (steps[0].order if steps else order)
    return first, steps


def _contiguous(
    order: tuple[int, ...], mask: int, width: int, batch: int
) -> tuple[int, ...] | None:
    """Return the run of axes of this width that holds the wires, if they lie side by side."""
    places = [i for i, wire in enumerate(order) if mask >> wire & 1]
    first = min(places[0], len(order) - width)
    if places[-1] - first >= width:
        return None
    after = batch << (len(order) - first - width)
    if 1 < after < 8 and first:
        return None  # many tiny products are slower than one copy
    return order[first : first + width]


def _chain(masks: Sequence[int], order: tuple[int, ...], n: int) -> tuple[int, ...]:
    """Order wires so that as many of the next groups as possible find theirs side by side."""
    # Wires in segments whose inner order is still free; a group may share wires with the last one.
    segments, covered = [masks[0]], masks[0]
    for mask in masks[1:]:
        if _is_run(segments, mask):
            continue
        shared = mask & segments[-1]
        if mask & covered != shared:
            break
        segments[-1:] = [segments[-1] & ~shared, shared, mask & ~covered]
        segments = [segment for segment in segments if segment]
        covered |= mask
    segments.append(((1 << n) - 1) & ~covered)
    return tuple(wire for segment in segments for wire in order if segment >> wire & 1)


def _is_run(segments: Sequence[int], mask: int) -> bool:
    inside = [segment & mask == segment for segment in segments]
    held = [segment for segment, within in zip(segments, inside, strict=True) if within]
    first = inside.index(True) if held else 0
    return sum(held) == mask and all(inside[first : first + len(held)])


def fuse(gates: Sequence[Gate], n: int, batch: int, start: Sequence[int] | None = None) -> Fused:
    """Return the cheapest of several ways to group gates.

    Args:
        gates: the gates, in order.
        n: wires.
        batch: states side by side.
        start: order of the axes of the first state, ``None`` if it may be chosen.
    """
    best = None
    elements = batch << n
    ways = [(False, False)]
    if any(gate.monomial and len(gate.wires) > 1 for gate in gates):
        ways += [(True, False), (True, True)]
    for keep, apart in ways:
        cores = merge(gates, keep)
        for widest in range(min(2, n), min(WIDEST, n) + 1):
            groups = schedule(cores, widest, elements, apart)
            first, steps = lay_out(groups, n, batch, start)
            total = sum(cost(step.kind, len(step.axes), elements) for step in steps)
            total += sum(_build(group) for group in groups if group.kind == "matrix")
            if best is None or total < best.microseconds:
                best = Fused(first, steps, total)
    return best  # type: ignore[return-value]


def _build(group: Group) -> float:
    """Return the microseconds to build a window's matrix and its gradient."""
    return 2 + 3 * len(merge(group.gates)) * (0.05, 0.1, 0.1, 0.3, 0.8)[min(len(group.wires), 4)]


@dataclass(frozen=True, eq=False)
class Fused:
    """Steps, the order of axes they start from, and their estimated cost."""

    order: tuple[int, ...]
    steps: list[Step]
    microseconds: float


def embedding(wires: Sequence[int], within: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return for each entry of a large matrix its entry in a small one, and whether it has one.

    Both (2^n, 2^n) for the n wires ``within``; entries of the small matrix are counted row by row.
    """
    n, k = len(within), len(wires)
    states = np.arange(2**n)
    bits = {wire: (states >> (n - 1 - place)) & 1 for place, wire in enumerate(within)}
    small = sum((bits[wire] << (k - 1 - place) for place, wire in enumerate(wires)), states * 0)
    cleared = states & ~sum(1 << (n - 1 - list(within).index(wire)) for wire in wires)
    index = small[:, None] * 2**k + small[None, :]
    return index, cleared[:, None] == cleared[None, :]


def embed(matrix: np.ndarray, wires: Sequence[int], within: Sequence[int]) -> np.ndarray:
    """Return ``matrix`` on ``wires``, tensored with the identity on the rest of ``within``."""
    if tuple(wires) == tuple(within):
        return matrix
    index, valid = embedding(wires, within)
    return np.where(valid, matrix.reshape(*matrix.shape[:-2], -1)[..., index], 0)


def spread(gate: Gate, order: Sequence[int]) -> Monomial:
    """Return a monomial gate as one on all wires, in this order of the axes."""
    n, k = len(order), len(gate.wires)
    states = np.arange(2**n)
    shifts = [n - 1 - list(order).index(wire) for wire in gate.wires]
    small = sum(((states >> s) & 1) << (k - 1 - place) for place, s in enumerate(shifts))
    origin = gate.monomial.source[small]  # type: ignore[union-attr]
    cleared = states & ~sum(1 << s for s in shifts)
    moved = sum(((origin >> (k - 1 - place)) & 1) << s for place, s in enumerate(shifts))
    return Monomial(cleared | moved, gate.monomial.phase[small])  # type: ignore[union-attr]
