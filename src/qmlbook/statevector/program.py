"""A planned circuit as tensors: matrices from parameters, the first state, and the evolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from .build import (
    Table,
    Windows,
    basis,
    batched_factors,
    product_state,
    window_matrices,
)
from .evolve import Move, evolve
from .gates import TERMS, constant
from .plan import CORE, Gate, Group, Ref, Step, embed, embedding, fuse, merge, spread

ZERO, ONE = 0, 1  # places of these constants in the pool

Pair = tuple[np.ndarray, Ref | None]  # terms (5, d, d) and where their parameter is found


class Values(NamedTuple):
    """What is bound on every call.

    Attributes:
        scalars: (S,) real parameters shared by the batch, ``None`` if there are none.
        vectors: (V, B) real parameters that differ in the batch, ``None`` if there are none.
        dense: matrices (d, d) or (B, d, d).
        first: (2^k, B or 1) amplitudes of the prepared wires.
    """

    scalars: Tensor | None = None
    vectors: Tensor | None = None
    dense: Sequence[Tensor] = ()
    first: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Circuit:
    """The structure of a circuit.

    Attributes:
        n: wires, those that only dephasing needs included.
        gates: in order.
        prepared: wires of a state given at run time.
        basis: first bits of the wires, where they are not 0.
        measured: wires that the measurements look at.
    """

    n: int
    gates: Sequence[Gate]
    prepared: tuple[int, ...] = ()
    basis: tuple[int, ...] = ()
    measured: tuple[int, ...] = ()


def _light_cone(gates: Sequence[Gate], measured: Sequence[int]) -> list[Gate]:
    """Leave out gates that no measurement can feel."""
    seen, kept = set(measured), []
    for gate in reversed(gates):
        if seen.intersection(gate.wires):
            seen.update(gate.wires)
            kept.append(gate)
    return kept[::-1]


def _leading(gates: Sequence[Gate], n: int) -> tuple[dict[int, list[Gate]], list[Gate]]:
    """Split off the one-wire gates that come first on wires where the batch differs at once."""
    leading: dict[int, list[Gate]] = {wire: [] for wire in range(n)}
    rest, closed = [], set()
    for gate in gates:
        wire = gate.wires[0]
        if len(gate.wires) == 1 and wire not in closed and gate.dense is None:
            leading[wire].append(gate)
        else:
            closed.update(gate.wires)
            rest.append(gate)
    batched = {w: any(g.batched for g in found) for w, found in leading.items()}
    shared = [gate for w, found in leading.items() if not batched[w] for gate in found]
    return {w: found for w, found in leading.items() if batched[w]}, shared + rest


def _pairs(gates: Sequence[Gate], wires: Sequence[int]) -> list[Pair]:
    """Return the factors of gates on ``wires``, constants multiplied into their neighbours."""
    size = 2 ** len(wires)
    made: list[Pair] = []
    waiting = np.eye(size)
    for gate in gates:
        for factor, ref in gate.factors or ((constant(gate.constant()), None),):
            terms = embed(factor.terms, gate.wires, wires)
            if ref is not None:
                made.append((terms @ waiting, ref))
                waiting = np.eye(size)
            elif made:
                made[-1] = (terms[0] @ made[-1][0], made[-1][1])
            else:
                waiting = terms[0] @ waiting
    if not made:
        return [(constant(waiting).terms, None)]
    return made


def _reversed_bits(slots: int) -> list[int]:
    """Return where each slot is stored, so that every level multiplies one half by the other."""
    bits = slots.bit_length() - 1
    return [int(f"{s:0{bits}b}"[::-1], 2) for s in range(slots)]


def _power(number: int) -> int:
    return 1 << (number - 1).bit_length()


class _Entries:
    """The entries of all matrices whose products are windows, in one row.

    Attributes:
        constants: matrices that are known; the first are the entries `ZERO` and `ONE`.
        cores: factors of the cores with parameters, equal ones once.
        given: matrices given at run time, each with its number of entries.
    """

    def __init__(self, n: int) -> None:
        self.width = min(CORE, n)  # wires of a core
        self.constants = [np.array([0, 1], complex)]
        self.cores: dict[tuple, list[Pair]] = {}
        self.given: dict[int, int] = {}

    def add(self, core: Group, axes: tuple[int, ...]) -> tuple[tuple, tuple[int, ...]]:
        """Take a core of a window in; return its key in `starts` and its wires."""
        gate, wires = core.gates[0], core.wires
        if core.sealed and gate.dense is not None:
            self.given[gate.dense] = 4 ** len(gate.wires)
            return ("given", gate.dense), gate.wires
        if core.sealed:
            return self._constant(gate.constant()), gate.wires
        wires += [wire for wire in axes if wire not in wires][: self.width - len(wires)]
        found = _pairs(core.gates, wires)
        if found[0][1] is None:
            return self._constant(found[0][0][0]), tuple(wires)
        key = tuple((terms.tobytes(), ref) for terms, ref in found)
        self.cores.setdefault(key, found)
        return ("core", key), tuple(wires)

    def _constant(self, matrix: np.ndarray) -> tuple[str, int]:
        self.constants.append(matrix.reshape(-1))
        return "constant", len(self.constants) - 1

    def starts(self) -> dict[tuple, int]:
        """Return the place of the first entry of every matrix."""
        sizes = {("constant", i): len(entries) for i, entries in enumerate(self.constants)}
        sizes |= {("core", key): 4**self.width for key in self.cores}
        sizes |= {("given", number): size for number, size in self.given.items()}
        return dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))


class Program:
    """A circuit, planned for batches of about one size.

    Args:
        circuit: the structure.
        batch: states side by side for which the plan is made.
        dtype: complex64 or complex128.
        device: where it runs.
    """

    def __init__(
        self, circuit: Circuit, batch: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.n, self.dtype, self.device = circuit.n, dtype, device
        self.real = dtype.to_real()
        gates = _light_cone(circuit.gates, circuit.measured)
        leading: dict[int, list[Gate]] = {}
        start: list[int] | None = None
        if circuit.prepared:
            start = [w for w in range(circuit.n) if w not in circuit.prepared]
            start += circuit.prepared
        elif circuit.basis:
            start = list(range(circuit.n))
        else:
            leading, gates = _leading(gates, circuit.n)
        fused = fuse(gates, circuit.n, max(batch, 1), start)
        self.order = fused.steps[-1].order if fused.steps else fused.order
        self.microseconds = fused.microseconds
        self.steps = fused.steps
        self._refs: dict[Ref, int] = {}
        self._plan(fused.steps)
        self.product = None
        if leading:
            rows = [_pairs(leading.get(wire, ()), (wire,)) for wire in fused.order]
            self.product = self._table(rows, 2, True)
        self._rows()
        self.fixed = None
        if not circuit.prepared and not leading:
            self.fixed = torch.zeros(2**self.n, 1, dtype=self.dtype, device=self.device)
            bits = circuit.basis or (0,) * self.n
            self.fixed[int("".join(map(str, bits)), 2)] = 1

    # -- planning -------------------------------------------------------------------------------

    def _plan(self, steps: Sequence[Step]) -> None:
        """Turn steps into moves, and collect what the stacks of their matrices are made of."""
        entries = _Entries(self.n)
        stacks: dict[tuple, list] = {}
        moves = [self._move(step, entries, stacks) for step in steps]
        # in the order in which `run` makes them
        windows, batched, given = (
            {key: rows for key, rows in stacks.items() if key[0] == kind}
            for kind in ("window", "batched", "given")
        )
        number = {key: i for i, key in enumerate([*windows, *batched, *given])}
        self.moves = [
            move._replace(at=(number[move.at[0]], move.at[1]))
            if move.kind in ("matrix", "batched")
            else move
            for move in moves
        ]
        cores = list(entries.cores.values())
        starts = entries.starts()
        self.windows = Windows(
            self._table(cores, 2**entries.width, False) if cores else None,
            self._tensor(np.concatenate(entries.constants)),
            [self._set(*key[1:], rows, starts) for key, rows in windows.items()],
        )
        self.dense_shared = list(entries.given)
        self.batched = [self._table(rows, d, True) for (_, d), rows in batched.items()]
        self.dense_batched = [(dense, axes) for (_, dense), (axes,) in given.items()]

    def _move(self, step: Step, entries: _Entries, stacks: dict[tuple, list]) -> Move:
        """Return a step on tensors; its matrix is named by the key of a stack and a row."""
        if step.kind == "permute":
            return self._permutation(step)
        if step.kind == "monomial":
            return self._monomial(step)
        gates = step.group.gates  # type: ignore[union-attr]
        if step.kind == "matrix":
            row = step.axes, [entries.add(core, step.axes) for core in merge(gates)]
            key = ("window", len(step.axes), _power(len(row[1])))
        elif gates[0].dense is not None:
            row = tuple(step.axes.index(wire) for wire in gates[0].wires)
            key = ("given", gates[0].dense)
        else:
            row = _pairs(gates, step.axes)
            key = ("batched", 2 ** len(step.axes))
        stacks.setdefault(key, []).append(row)
        shape = 2 ** step.order.index(step.axes[0]), 2 ** len(step.axes)
        return Move(step.kind, shape, (key, len(stacks[key]) - 1))  # type: ignore[arg-type]

    def _permutation(self, step: Step) -> Move:
        inverse = tuple(np.argsort(step.axes).tolist())
        shape = (2,) * self.n
        return Move("permute", shape, step.axes, inverse=(shape, inverse))

    def _monomial(self, step: Step) -> Move:
        source, phase = np.arange(2**self.n), np.ones(2**self.n, complex)
        for gate in step.group.gates:  # type: ignore[union-attr]
            made = spread(gate, step.order)
            source, phase = source[made.source], made.phase * phase[made.source]
        turns = not np.allclose(phase, 1)
        return Move(
            "monomial",
            (),
            index=torch.from_numpy(source).to(self.device),
            phase=self._tensor(phase[:, None]) if turns else None,
            inverse=torch.from_numpy(np.argsort(source)).to(self.device),
        )

    def _set(
        self, width: int, slots: int, rows: list[tuple], starts: dict[tuple, int]
    ) -> tuple[Tensor, int, int]:
        """Return which entries the factors of windows of one shape take, see `Windows`."""
        index = np.full((slots, len(rows), 4**width), ZERO)
        index[:, :, np.arange(2**width) * (2**width + 1)] = ONE  # identities, where none is put
        stored = _reversed_bits(slots)
        for item, (axes, cores) in enumerate(rows):
            for slot, (key, wires) in enumerate(cores):
                entry, valid = embedding(wires, axes)
                taken = np.where(valid, starts[key] + entry, ZERO)
                index[stored[slot], item] = taken.reshape(-1)
        return torch.from_numpy(index.reshape(-1)).to(self.device), slots, 2**width

    def _table(self, items: list[list[Pair]], d: int, batched: bool) -> Table:
        slots = max(len(item) for item in items)
        slots = slots if batched else _power(slots)
        stored = range(slots) if batched else _reversed_bits(slots)
        identity: Pair = (constant(np.eye(d)).terms, None)
        terms = np.zeros((slots, len(items), TERMS, d, d), complex)
        rows = np.zeros((slots, len(items)), int)
        for place, item in enumerate(items):
            for slot in range(slots):
                found, ref = item[slot] if slot < len(item) else identity
                terms[stored[slot], place] = found
                if ref is not None:
                    row = self._refs.setdefault(ref, len(self._refs)) if batched else ref.row
                    rows[stored[slot], place] = row
        flat = terms.reshape(-1, TERMS, d * d)
        if batched:
            parts = np.concatenate([flat.real, flat.imag], 2).transpose(0, 2, 1)
        else:
            parts = np.stack([flat.real, flat.imag], -1).reshape(len(flat), TERMS, -1)
        made = torch.from_numpy(np.ascontiguousarray(parts)).to(self.device, self.real)
        return Table(made, torch.from_numpy(rows.reshape(-1)).to(self.device), slots, len(items), d)

    def _rows(self) -> None:
        """Split the parameters of batched tables into scalars and vectors."""
        scalars = [ref.row for ref in self._refs if not ref.batched]
        vectors = [ref.row for ref in self._refs if ref.batched]
        places = {ref: i for i, ref in enumerate(sorted(self._refs, key=lambda r: not r.batched))}
        self.scalar_rows = self._index(scalars)
        self.vector_rows = self._index(vectors)
        swap = self._index([places[ref] for ref in self._refs])
        for table in [*self.batched, *([self.product] if self.product else [])]:
            if len(swap):
                table.rows = swap[table.rows]

    def _index(self, rows: list[int]) -> Tensor:
        return torch.tensor(rows, dtype=torch.long, device=self.device)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device, self.dtype)

    # -- running --------------------------------------------------------------------------------

    def run(self, values: Values) -> Tensor:
        """Return the final state, (2^n, B), its axes in the order `Program.order`."""
        angles = self._angles(values)
        dense = [values.dense[i] for i in self.dense_shared]
        stacks = window_matrices(self.windows, values.scalars, dense) if self.windows.index else []
        if self.batched:
            weights = basis(angles)  # type: ignore[arg-type]
            stacks += [_chain(table, weights) for table in self.batched]
        stacks += [_last_batch(values.dense[i], axes) for i, axes in self.dense_batched]
        return evolve(self.moves, self._first(values, angles), stacks)

    def _first(self, values: Values, angles: Tensor | None) -> Tensor:
        if self.fixed is not None:
            return self.fixed
        if self.product is not None:
            return product_state(self.product, angles)  # type: ignore[arg-type]
        first = values.first.to(self.dtype)  # type: ignore[union-attr]
        rows = 2**self.n - len(first)
        return (pad(first, (0, 0, 0, rows)) if rows else first).contiguous()

    def _angles(self, values: Values) -> Tensor | None:
        """Return (R, B) parameters of all gates that differ in the batch."""
        if not len(self.vector_rows):
            return None
        rows = values.vectors.index_select(0, self.vector_rows)  # type: ignore[union-attr]
        if len(self.scalar_rows):
            scalars = values.scalars.index_select(0, self.scalar_rows)  # type: ignore[union-attr]
            rows = torch.cat([rows, scalars[:, None].expand(-1, rows.shape[1])])
        return rows


def _chain(table: Table, weights: Tensor) -> Tensor:
    """Return (items, d, d, B) products of the factors."""
    factors = batched_factors(table, weights)
    made = factors[0]
    for factor in factors[1:]:
        made = (factor.unsqueeze(3) * made.unsqueeze(1)).sum(2)
    return made


def _last_batch(matrix: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return a (B, d, d) matrix as (1, d, d, B), its wires in the order of the axes."""
    k = len(axes)
    matrix = matrix.reshape(-1, *(2,) * (2 * k))
    order = np.argsort(axes).tolist()
    permutation = [1 + i for i in order] + [1 + k + i for i in order] + [0]
    return matrix.permute(permutation).reshape(1, 2**k, 2**k, -1)
