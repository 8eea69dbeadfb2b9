"""Tables of signs: every row and every column has a product that is wanted of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Line(NamedTuple):
    """A row or column: name, cells (numbered row by row from 0) and the product wanted."""

    name: str
    cells: list[int]
    wanted: int


@dataclass(frozen=True)
class WantedProducts:
    """The products, 1 or -1, wanted of the rows and columns of a table."""

    rows: Sequence[int]
    columns: Sequence[int]

    @property
    def lines(self) -> list[Line]:
        """All rows, then all columns."""
        cells = np.arange(len(self.rows) * len(self.columns)).reshape(len(self.rows), -1)
        named = {"row": (cells, self.rows), "column": (cells.T, self.columns)}
        return [
            Line(f"{kind} {number}", line.tolist(), wanted)
            for kind, (grid, products) in named.items()
            for number, (line, wanted) in enumerate(zip(grid, products, strict=True), 1)
        ]

    @property
    def fillings(self) -> int:
        """The number of ways to fill the table."""
        return 2 ** (len(self.rows) * len(self.columns))

    @property
    def best(self) -> int:
        """The largest number of products that any filling satisfies, by trying them all."""
        cells = np.arange(len(self.rows) * len(self.columns))
        signs = 1 - 2 * (np.arange(self.fillings)[:, None] >> cells & 1)
        held = sum(signs[:, line.cells].prod(1) == line.wanted for line in self.lines)
        return int(np.max(held))

    def products(self, filling: Sequence[Sequence[int]]) -> dict[str, int]:
        """Return the product of each line of a filling, by the line's name."""
        signs = np.ravel(filling)
        return {line.name: int(signs[line.cells].prod()) for line in self.lines}
