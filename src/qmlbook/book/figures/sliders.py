"""Figures that react, in a page without a server: everything travels inside the output."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from ...base.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Hidden until the script runs: without scripts the last frame is a plain picture.
PAGE = """\
<div class="qmlbook-slider" id="{key}">
{frames}
<p hidden><label>{label} <input type="range" min="0" max="{last}" value="{last}" step="1"></label>
<output aria-live="polite">{words}</output></p>
<script>
(() => {{
  const box = document.getElementById("{key}"), captions = {captions};
  const frames = box.querySelectorAll("img"), control = box.querySelector("input");
  const show = () => {{
    frames.forEach((frame, i) => {{ frame.hidden = i !== +control.value; }});
    box.querySelector("output").textContent = captions[control.value];
    control.setAttribute("aria-valuetext", captions[control.value]);
  }};
  box.querySelector("p").hidden = false;
  control.addEventListener("input", show);
  show();
}})();
</script>
</div>"""


@dataclass(frozen=True)
class Slider:
    """A row of pictures, one at a time, chosen by a slider.

    Shown in a notebook or a page it needs no server and no other file, and works by keyboard; where
    scripts do not run, or in print, the last picture is shown.

    Attributes:
        label: what the slider chooses.
        frames: PNG files, one per position.
        captions: a sentence for each; shown, read out, and the picture's alternative text.
    """

    label: str
    frames: tuple[bytes, ...]
    captions: tuple[str, ...]

    @classmethod
    def of(cls, label: str, figures: Sequence[Figure], captions: Sequence[str]) -> Slider:
        """Return a slider over matplotlib figures, which are closed.

        Raises:
            UsageError: if there is no figure, or not one caption for each.
        """
        import matplotlib.pyplot as plt

        if not figures or len(figures) != len(captions):
            raise UsageError(
                "captions must hold one sentence for each of at least one figure; there are "
                f"{len(captions)} for {len(figures)}."
            )
        frames = []
        for figure in figures:
            file = BytesIO()
            figure.savefig(file, format="png", metadata={"Software": None})
            plt.close(figure)
            frames.append(file.getvalue())
        return cls(label, tuple(frames), tuple(captions))

    def html(self) -> str:
        """Return the page's part."""
        key = f"slider-{hashlib.sha256(b''.join(self.frames)).hexdigest()[:12]}"
        last = len(self.frames) - 1
        images = "\n".join(
            f'<img src="data:image/png;base64,{base64.b64encode(frame).decode()}" '
            f'alt="{escape(words)}"{" hidden" * (index < last)}>'
            for index, (frame, words) in enumerate(zip(self.frames, self.captions, strict=True))
        )
        # "</" must not end the script.
        captions = json.dumps(self.captions).replace("</", "<\\/")
        return PAGE.format(
            key=key,
            frames=images,
            label=escape(self.label),
            last=last,
            words=escape(self.captions[last]),
            captions=captions,
        )

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {
            "text/html": self.html(),
            "image/png": base64.b64encode(self.frames[-1]).decode(),
            "text/plain": f"{self.label}: {self.captions[-1]}",
        }


# Plain text until the script runs; then every sign is a button. One script serves all the tables of
# a page: it takes those that are not live yet, and what differs is in their data. JupyterLab keeps
# its own shortcuts away from where it reads "suppress".
TABLE = """\
<div class="qmlbook-signs" data-lm-suppress-shortcuts="true" data-table="{data}">
<table>
<caption>{label}</caption>
<thead>
<tr><td></td>{heads}<th scope="col">product</th></tr>
</thead>
<tbody>
{rows}
</tbody>
</table>
<p hidden>Press a sign to change it. <button type="button">Start again</button></p>
<p><output aria-live="polite">{words}</output></p>
<div aria-live="polite"></div>
{script}
</div>"""

TABLE_SCRIPT = """\
<script>
document.querySelectorAll(".qmlbook-signs:not(.live)").forEach((box) => {
  const { lines, columns, initial, best, when_best } = JSON.parse(box.dataset.table);
  const table = box.querySelector("table"), products = box.querySelectorAll("[data-holds]");
  const text = (sign) => (sign > 0 ? "+1" : "−1");
  let signs = [...initial], record = 0;
  const show = () => {
    buttons.forEach((button, i) => {
      const [name, sign] = button.children, word = signs[i] > 0 ? "plus" : "minus";
      sign.textContent = text(signs[i]);
      button.dataset.sign = word;
      button.setAttribute("aria-label", `${name.textContent}: ${word} 1, press to change`);
    });
    const failing = lines.filter(([name, places, wanted], i) => {
      const product = places.reduce((so_far, place) => so_far * signs[place], 1);
      products[i].dataset.holds = product === wanted;
      products[i].innerHTML = `${text(product)}, wanted&nbsp;${text(wanted)}: ` +
        `<b>${product === wanted ? "holds" : "fails"}</b>`;
      return product !== wanted;
    }).map(([name]) => name);
    const held = lines.length - failing.length;
    record = Math.max(record, held);
    box.querySelector("output").textContent = `${held} of ${lines.length} products hold` +
      (failing.length ? `; failing: ${failing.join(", ")}` : "") +
      `. Best so far: ${record} of ${lines.length}.`;
    if (record === best) box.querySelector("div").textContent = when_best;
  };
  const buttons = [...table.querySelectorAll("[data-cell]")].map((cell, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...cell.childNodes);
    cell.append(button);
    button.addEventListener("click", () => { signs[i] *= -1; show(); });
    return button;
  });
  table.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    buttons[buttons.indexOf(event.target) + steps[event.key]]?.focus();
  });
  const again = box.querySelector("p[hidden]");
  again.hidden = false;
  again.querySelector("button").addEventListener("click", () => { signs = [...initial]; show(); });
  box.classList.add("live");
  show();
});
</script>"""

MOST_CELLS = 16  # all 65,536 fillings of 4 x 4 cells are counted in an instant


@dataclass(frozen=True)
class SignTable:
    """A table to be filled with signs so that every row and column has the product wanted of it.

    Shown in a notebook or a page it needs no server and no other file: the signs are buttons that
    work by keyboard (Tab or arrow keys, Space) and are read out, as are the products that hold.
    Where scripts do not run it is a plain table of the initial filling; on paper, of the present
    one.

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
        names = tuple(map(tuple, self.names))
        lengths = sorted({len(row) for row in names})
        if len(lengths) != 1 or not 1 <= len(names) * lengths[0] <= MOST_CELLS:
            raise UsageError(
                f"names must be rows of equal length with 1 to {MOST_CELLS} cells in all; there "
                f"are {len(names)} rows, of length {' or '.join(map(str, lengths)) or 0}."
            )
        columns = lengths[0]
        initial = ((1,) * columns,) * len(names) if self.initial is None else tuple(self.initial)
        if len(initial) != len(names):
            raise UsageError(f"initial must have {len(names)} rows; it has {len(initial)}.")
        fitting = {
            "names": names,
            "row_products": _signs("row_products", self.row_products, len(names)),
            "column_products": _signs("column_products", self.column_products, columns),
            "initial": tuple(_signs("every row of initial", row, columns) for row in initial),
        }
        for field, value in fitting.items():
            object.__setattr__(self, field, value)

    @property
    def fillings(self) -> int:
        """The number of ways to fill the table."""
        return 2 ** (len(self.row_products) * len(self.column_products))

    @property
    def best(self) -> int:
        """The largest number of products that any filling satisfies, by trying them all."""
        places = np.arange(len(self.row_products) * len(self.column_products))
        signs = 1 - 2 * (np.arange(self.fillings)[:, None] >> places & 1)
        held = sum(signs[:, line].prod(1) == wanted for _, line, wanted in self._lines())
        return int(held.max())

    def _lines(self) -> list[tuple[str, list[int], int]]:
        """Return name, places (cells are numbered row by row) and wanted product of each line."""
        places = np.arange(len(self.row_products) * len(self.column_products))
        grid = places.reshape(len(self.row_products), -1)
        rows = zip(grid.tolist(), self.row_products, strict=True)
        columns = zip(grid.T.tolist(), self.column_products, strict=True)
        return [(f"row {i}", *line) for i, line in enumerate(rows, 1)] + [
            (f"column {j}", *line) for j, line in enumerate(columns, 1)
        ]

    def _checked(self) -> dict[str, tuple[int, int]]:
        """Return for each line the initial filling's product and the one wanted."""
        signs = np.ravel(self.initial)
        return {name: (int(signs[line].prod()), wanted) for name, line, wanted in self._lines()}

    def _words(self) -> str:
        checked = self._checked()
        failing = [name for name, (product, wanted) in checked.items() if product != wanted]
        return (
            f"{len(checked) - len(failing)} of {len(checked)} products hold"
            + f"; failing: {', '.join(failing)}" * bool(failing)
            + "."
        )

    def html(self) -> str:
        """Return the page's part."""
        columns = range(1, len(self.column_products) + 1)
        data = {
            "lines": self._lines(),
            "columns": len(columns),
            "initial": [sign for row in self.initial for sign in row],
            "best": self.best,
            "when_best": self.when_best,
        }
        products = {
            name: f'<td data-holds="{str(product == wanted).lower()}">'
            f"{_sign(product)}, wanted&nbsp;{_sign(wanted)}: "
            f"<b>{'holds' if product == wanted else 'fails'}</b></td>"
            for name, (product, wanted) in self._checked().items()
        }
        rows = []
        for i, (names, signs) in enumerate(zip(self.names, self.initial, strict=True), 1):
            cells = "".join(
                f"<td data-cell><span>{escape(name)}</span> <b>{_sign(sign)}</b></td>"
                for name, sign in zip(names, signs, strict=True)
            )
            rows.append(f'<tr><th scope="row">row {i}</th>{cells}{products[f"row {i}"]}</tr>')
        last = "".join(products[f"column {j}"] for j in columns)
        rows.append(f'<tr><th scope="row">product</th>{last}<td></td></tr>')
        return TABLE.format(
            data=escape(json.dumps(data)),
            label=escape(self.label),
            heads="".join(f'<th scope="col">column {j}</th>' for j in columns),
            rows="\n".join(rows),
            words=self._words(),
            script=TABLE_SCRIPT,
        )

    def text(self) -> str:
        """Return the initial filling and its products as plain text."""
        columns = range(1, len(self.column_products) + 1)
        products = {
            name: f"{_sign(product)}, wanted {_sign(wanted)}"
            for name, (product, wanted) in self._checked().items()
        }
        grid = [["", *(f"column {j}" for j in columns), "product"]]
        for i, (names, signs) in enumerate(zip(self.names, self.initial, strict=True), 1):
            cells = [f"{name} {_sign(sign)}" for name, sign in zip(names, signs, strict=True)]
            grid.append([f"row {i}", *cells, products[f"row {i}"]])
        grid.append(["product", *(products[f"column {j}"] for j in columns), ""])
        widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in grid]
        return "\n".join([self.label, *lines, self._words()])

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": self.text()}


def _sign(value: int) -> str:
    return "+1" if value > 0 else "\N{MINUS SIGN}1"


def _signs(argument: str, given: Sequence[int], n: int) -> tuple[int, ...]:
    """Return the signs given, or say why they are not n signs."""
    values = tuple(given)
    if len(values) != n or any(value not in (1, -1) for value in values):
        raise UsageError(f"{argument} must hold {n} signs, each 1 or -1; given: {list(values)}.")
    return tuple(map(int, values))
