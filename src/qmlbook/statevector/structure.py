"""A circuit as a flat list of operations: what every way of running it reads.

Three kinds of operation are enough. A *rotation* is exp(-i t P / 2) for a word P of Paulis, with
t = scale * parameter + shift; the empty word is a phase, so that a phase shift is a phase of no
wire, controlled by its own. A *matrix* is constant; a *given* matrix comes with every call. Each
acts only where its control wires have their values. Wire 0 is the most significant bit.

In JSON (`Structure.to_json`) an operation is an object with the fields of `Operation`, those that
have their default left out; complex matrices are lists of rows of pairs (real, imaginary).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

Letters = tuple[tuple[int, str], ...]  # wires and X, Y or Z


@dataclass(frozen=True)
class Operation:
    """One operation.

    What it is equal to does not depend on ``matrix``.

    Attributes:
        kind: "rotation", "matrix" or "given".
        wires: positions that the word or the matrix acts on, the first most significant.
        controls: positions of control wires.
        values: the bit that each control wire must have.
        word: letters X, Y, Z of a rotation, one for each wire.
        parameter: number of the parameter or the given matrix; ``None``: the angle is ``shift``.
        scale, shift: of the parameter.
        matrix: (2^k, 2^k) complex128.
    """

    kind: str
    wires: tuple[int, ...]
    controls: tuple[int, ...] = ()
    values: tuple[int, ...] = ()
    word: str = ""
    parameter: int | None = None
    scale: float = 1.0
    shift: float = 0.0
    matrix: np.ndarray | None = field(default=None, compare=False)

    def on(self, wires: Sequence[int], parameter: int = 0) -> Operation:
        """Return it where position k is that of ``wires[k]``, and parameters count from one."""
        moved, controls = ([wires[w] for w in part] for part in (self.wires, self.controls))
        number = None if self.parameter is None else self.parameter + parameter
        return replace(self, wires=tuple(moved), controls=tuple(controls), parameter=number)

    @property
    def letters(self) -> Letters:
        """Return (wire, letter) of the word of a rotation."""
        return tuple(zip(self.wires, self.word, strict=True))

    def condition(self, n: int) -> tuple[int, int]:
        """Return the bits that the controls have, in a circuit of n wires, and which count."""
        pairs = zip(self.controls, self.values, strict=True)
        return mask((wire for wire, value in pairs if value), n), mask(self.controls, n)


@dataclass(frozen=True, eq=False)
class Structure:
    """A circuit apart from its numbers.

    Attributes:
        wires: how many.
        operations: in order.
        prepared: wires whose amplitudes are given with every call; all others start in ``basis``.
        basis: first bit of every wire.
        parameters: how many there are.
    """

    wires: int
    operations: Sequence[Operation]
    prepared: tuple[int, ...] = ()
    basis: tuple[int, ...] = ()
    parameters: int = 0

    @property
    def start(self) -> int:
        """Return the basis state of the wires that are not prepared; 0 where they are."""
        return mask((wire for wire, bit in enumerate(self.basis) if bit), self.wires)

    def felt_by(self, measured: set[int]) -> Structure:
        """Return what measurements of some wires can feel of it."""
        seen, kept = set(measured), []
        for operation in reversed(self.operations):
            touched = operation.controls + operation.wires
            if not touched or seen.intersection(touched):
                seen.update(touched)
                kept.append(operation)
        return replace(self, operations=kept[::-1])

    def to_json(self) -> str:
        """Return the circuit as JSON."""
        return json.dumps(asdict(self, dict_factory=_plain))

    @classmethod
    def from_json(cls, text: str) -> Structure:
        """Return the circuit that `to_json` wrote."""
        content = json.loads(text)
        operations = [Operation(**_typed(entry)) for entry in content.pop("operations")]
        return cls(operations=operations, **_typed(content))


_DEFAULTS: dict[str, Any] = {f.name: f.default for f in fields(Operation)}


def _plain(content: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return fields without defaults of operations; a matrix as pairs of numbers."""
    entry = {k: v for k, v in content if not np.array_equal(v, _DEFAULTS.get(k, MISSING))}
    if "matrix" in entry:
        entry["matrix"] = entry["matrix"][..., None].view(float).tolist()
    return entry


def _typed(entry: dict[str, Any]) -> dict[str, Any]:
    made = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    if "matrix" in made:
        # A view, so that zeros keep their sign.
        made["matrix"] = np.array(entry["matrix"], dtype=float).view(complex)[..., 0]
    return made


def mask(wires: Iterable[int], n: int) -> int:
    """Return the bits of some wires among those of n."""
    return sum(1 << (n - 1 - wire) for wire in wires)


def pauli(letters: Letters, n: int) -> tuple[int, int, int, int]:
    """Return what a word of Paulis does to the basis states of n wires.

    Returns:
        Bits to flip; bits of which an odd number changes the sign; 1 for an odd number of Y, which
        turns the phase by -i; a sign.
    """
    flip = mask((wire for wire, letter in letters if letter in "XY"), n)
    signs = mask((wire for wire, letter in letters if letter in "YZ"), n)
    count = (flip & signs).bit_count()
    return flip, signs, count % 2, -1 if count % 4 > 1 else 1


def basis_states(wires: Sequence[int], n: int) -> np.ndarray:
    """Return the numbers, among those of n wires, of the basis states of some; all others are 0."""
    states = np.zeros(1, dtype=np.int64)
    for wire in wires:
        states = (states[:, None] + np.array([0, mask([wire], n)])).ravel()
    return states


def outcomes(wires: Sequence[int], n: int, fixed: Sequence[int] = ()) -> np.ndarray:
    """Return the basis states (outcomes, rest) by outcomes on wires of n; ``fixed`` ones are 0."""
    idle = [wire for wire in range(n) if wire not in (*wires, *fixed)]
    return basis_states(wires, n)[:, None] + basis_states(idle, n)
