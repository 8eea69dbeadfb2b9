"""A table of signs that a reader changes by pressing them, in a page without a server."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...base.errors import UsageError
from ...base.files import fill
from ...papers.contextuality.sign_table import WantedProducts
from .live_figures import LIVE

MOST_CELLS = 16  # all 65,536 fillings of 4 x 4 cells are counted in an instant


@dataclass(frozen=True)
class SignTable:
    """A table to be filled with signs so that every row and column has the product wanted of it.

    Shown in a notebook or a page it needs no server and no other file: the signs are buttons that
    work by keyboard (Tab or arrow keys, Space) and are read out, as are the products that hold.
    Where scripts do not run it is a plain table of the initial filling; on paper, of the present
    one. One script serves all the tables of a page.

    Attributes:
        label: the table's caption.
        names: what each cell stands for, as rows of equal length; plain text, 16 cells at most.
        row_products: the product wanted of each row, 1 or -1.
        column_products: the product wanted of each column, 1 or -1.
        initial: the filling to start from, of the shape of ``names``; all 1 unless given.
        when_best: a sentence shown from when the reader has reached the best possible number.

    Raises:
        UsageError: if a shape does not fit, a sign is not 1 or -1, or there are too many cells.
    """

    label: str
    names: Sequence[Sequence[str]]
    row_products: Sequence[int]
    column_products: Sequence[int]
    initial: Sequence[Sequence[int]] | None = None
    when_best: str = ""

    def __post_init__(self) -> None:
        lengths = sorted({len(row) for row in self.names})
        rows, columns = len(self.names), lengths[0] if lengths else 0
        if len(lengths) != 1 or not 1 <= rows * columns <= MOST_CELLS:
            raise UsageError(
                f"names must be rows of equal length with 1 to {MOST_CELLS} cells in all; there "
                f"are {rows} rows, of length {' or '.join(map(str, lengths)) or 0}."
            )
        _require_signs("row_products", self.row_products, rows)
        _require_signs("column_products", self.column_products, columns)
        if len(self.filling) != rows:
            raise UsageError(f"initial must have {rows} rows; it has {len(self.filling)}.")
        for row in self.filling:
            _require_signs("every row of initial", row, columns)

    @property
    def filling(self) -> Sequence[Sequence[int]]:
        """The filling to start from."""
        return self.initial or [[1] * len(self.column_products)] * len(self.names)

    @property
    def wanted(self) -> WantedProducts:
        """The products wanted, and what can be said of all fillings."""
        return WantedProducts(self.row_products, self.column_products)

    def html(self) -> str:
        """Return the page's part: plain text until the script runs, then every sign is a button."""
        data = {
            "lines": self.wanted.lines,
            "columns": len(self.column_products),
            "initial": [sign for row in self.filling for sign in row],
            "best": self.wanted.best,
            "when_best": self.when_best,
        }
        cells = [list(zip(*row, strict=True)) for row in zip(self.names, self.filling, strict=True)]
        return fill(
            LIVE / "sign_table.html",
            data=json.dumps(data),
            label=self.label,
            rows=zip(cells, self._ends[: len(cells)], strict=True),
            columns=self._ends[len(cells) :],
            sign=_sign,
            words=self._words(),
            script=(LIVE / "sign_table.js").read_text("utf-8"),
        )

    def text(self) -> str:
        """Return the initial filling and its products as plain text."""
        ends = [f"{_sign(product)}, wanted {_sign(wanted)}" for product, wanted in self._ends]
        rows, columns = len(self.names), range(1, len(self.column_products) + 1)
        grid = [["", *(f"column {number}" for number in columns), "product"]]
        for number, row in enumerate(zip(self.names, self.filling, strict=True), 1):
            cells = [f"{name} {_sign(sign)}" for name, sign in zip(*row, strict=True)]
            grid.append([f"row {number}", *cells, ends[number - 1]])
        grid.append(["product", *ends[rows:], ""])
        widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in grid]
        return "\n".join([self.label, *lines, self._words()])

    @property
    def _ends(self) -> list[tuple[int, int]]:
        """The product of each line and the one wanted, all rows first."""
        products = self.wanted.products(self.filling)
        return [(products[line.name], line.wanted) for line in self.wanted.lines]

    def _words(self) -> str:
        products, lines = self.wanted.products(self.filling), self.wanted.lines
        failing = [line.name for line in lines if products[line.name] != line.wanted]
        names = f"; failing: {', '.join(failing)}" if failing else ""
        return f"{len(lines) - len(failing)} of {len(lines)} products hold{names}."

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": self.text()}


def _sign(value: int) -> str:
    return "+1" if value > 0 else "\N{MINUS SIGN}1"


def _require_signs(argument: str, given: Sequence[int], n: int) -> None:
    """Refuse what is not n signs."""
    if len(given) != n or any(value not in (1, -1) for value in given):
        raise UsageError(f"{argument} must hold {n} signs, each 1 or -1; given: {list(given)}.")
