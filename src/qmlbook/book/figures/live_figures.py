"""Figures that compute in the page: a plain picture where scripts do not run, and on paper.

The scripts are ES modules in the folder ``live``, without dependencies. A page may be opened as a
file, where a browser loads no module, so a figure brings the text of those that it needs.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pennylane as qml
from matplotlib.figure import Figure
from pennylane.tape import QuantumScript

from ...base.errors import UsageError, require_choice
from ...base.files import fill
from ...evidence.stats import LEVEL
from ...statevector.device import StatevectorDevice
from ...statevector.gates import simple
from ...statevector.reading import Reading, structure
from ...statevector.structure import Structure

LIVE = Path(__file__).parent / "live"  # HTML and JavaScript of figures that react
#: Kinds of figures, and what the reader does with each; the module of each has its name.
KINDS = {
    "builder": "build a circuit of six gates and measure it",
    "studies": "draw studies whose truth is known",
    "walk": "feed a layer of two qubits its own answer, from where one clicks",
    "tokens": "answer tokens on a graph that one draws",
    "training": "train the classifier of klssl with twenty seeds",
    "steps": "move step sizes over stored runs of many heads",
    "form": "turn the angles of a quadratic form",
    "checkpoints": "compare stored runs of any two networks, while they learn",
    "shots": "sample a trained circuit until it is ahead of its rival",
    "seeds": "run twenty seeds of a class, and decide by those of all",
}
#: The gates of the builder: names on the page, and how many angles each has.
PALETTE: dict[str, type[qml.operation.Operator]] = {
    "RX": qml.RX,
    "RY": qml.RY,
    "RZ": qml.RZ,
    "H": qml.Hadamard,
    "CNOT": qml.CNOT,
    "CRX": qml.CRX,
}
_IMPORT = re.compile(r'^import [^;]*? from "\./(\w+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=function|class|const)", re.MULTILINE)


@dataclass(frozen=True)
class Live:
    """A figure that computes in the page.

    It needs no server and no other file; it is worked by keyboard, pointer or touch, and what
    changes is read out. Where scripts do not run, in other readers and on paper, it is a picture.

    Attributes:
        kind: a key of `KINDS`.
        label: what the figure is, for those who cannot see it.
        picture: a PNG file.
        alt: what the picture shows.
        data: what the script is given, as JSON.
    """

    kind: str
    label: str
    picture: bytes
    alt: str
    data: Mapping[str, Any]

    def html(self) -> str:
        """Return the page's part: the picture, which the script replaces."""
        picture = base64.b64encode(self.picture).decode()
        return page_part(self.kind, self.label, self.data, picture=picture, alt=self.alt)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {
            "text/html": self.html(),
            "image/png": base64.b64encode(self.picture).decode(),
            "text/plain": f"{self.label}: {self.alt}",
        }


def live(kind: str, figure: Figure, label: str, alt: str, **data: Any) -> Live:
    """Return a figure that computes in the page, and close its plain picture.

    Args:
        kind: a key of `KINDS`.
        figure: what is seen where scripts do not run.
        label, alt: as in `Live`.
        **data: what this kind is given; `builder` and `studies` say it.

    Raises:
        UsageError: if the kind is not known.
    """
    require_choice("kind", kind, KINDS)
    file = BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    plt.close(figure)
    return Live(kind, label, file.getvalue(), alt, data)


def page_part(kind: str, label: str, data: Any, *, picture: str = "", alt: str = "") -> str:
    """Return HTML with all that a script of the folder ``live`` needs.

    Args:
        kind: the module, and its function that builds what is seen.
        label: what this is, for those who cannot see it.
        data: what the function is given, as JSON.
        picture, alt: a PNG file in base64, shown until the script runs, and what it shows.
    """
    given = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return fill(
        LIVE / "figure.html",
        kind=kind,
        label=label,
        picture=picture,
        alt=alt,
        data=given.replace("</", "<\\/"),  # would end the script
        style=(LIVE / "figure.css").read_text("utf-8"),
        script=script(kind),
    )


def builder(qnode: qml.QNode, *arguments: Any) -> dict[str, Any]:
    """Return what the figure ``builder`` is given: six gates, and the circuit to begin with.

    Args:
        qnode: a circuit of gates of `PALETTE`, on wires that are numbered from 0.
        *arguments: of one call.

    Raises:
        UsageError: if the circuit has another gate.
    """
    tape = qml.workflow.construct_tape(qnode)(*arguments)
    names = {gate: name for name, gate in PALETTE.items()}
    if others := sorted({one.name for one in tape.operations if type(one) not in names}):
        raise UsageError(
            f"qnode has the gates {', '.join(others)}; its gates must be {', '.join(PALETTE)}."
        )
    start = [
        {
            "gate": names[type(one)],
            "wires": one.wires.tolist(),
            "angle": float(one.data[0]) if one.data else 0.0,
        }
        for one in tape.operations
    ]
    gates = {name: _gate(gate) for name, gate in PALETTE.items()}
    return {"wires": len(tape.wires), "gates": gates, "start": start}


def _gate(gate: Any) -> dict[str, Any]:
    """Return a gate as operations of a structure."""
    kind: Any = gate
    made = Structure(int(gate.num_wires), simple(kind))
    operations = json.loads(made.to_json())["operations"]
    return {"wires": gate.num_wires, "turns": bool(gate.num_params), "operations": operations}


def images(pixels: np.ndarray, labels: Sequence[int]) -> dict[str, Any]:
    """Return images as the figure ``training`` is given them: bytes in base64, and labels.

    Args:
        pixels: (N, side, side) numbers in [0, 1], whole multiples of 1/255.
        labels: N numbers.
    """
    grey = np.rint(255 * np.asarray(pixels)).astype(np.uint8)
    return {"pixels": base64.b64encode(grey.tobytes()).decode(), "labels": list(labels)}


def plain(config: Any) -> dict[str, Any]:
    """Return the fields of a configuration that are numbers, words or nothing."""
    kept = str | int | float | None
    return {name: value for name, value in vars(config).items() if isinstance(value, kept)}


def quantiles(numbers: Sequence[int]) -> list[float]:
    """Return the quantiles of Student's t that 95 % intervals of n runs have, for each n."""
    from scipy.special import stdtrit

    return [float(stdtrit(n - 1, (1 + LEVEL) / 2)) for n in numbers]


def script(*names: str) -> str:
    """Return modules of the folder ``live``, and what they import, as one script.

    Each comes once, after those that it imports. Together they share one scope, so that no two of
    them may give the same name to different things at their top.
    """
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in order:
            for needed in _IMPORT.findall(_text(name)):
                visit(needed)
            order[name] = None

    for name in names:
        visit(name)
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", _text(name))) for name in order)


@cache
def _text(name: str) -> str:
    return (LIVE / f"{name}.js").read_text("utf-8")


def circuit(qnode: qml.QNode, *arguments: Any, **options: Any) -> dict[str, Any]:
    """Return a circuit as ``simulator.js`` reads it: its structure, and the numbers of one call.

    Args:
        qnode: the circuit, on any device.
        *arguments, **options: of one call, without a batch.

    Returns:
        ``structure``, the object that `qmlbook.statevector.structure.Structure.to_json` writes, and
        ``numbers``: ``parameters``, ``matrices`` and ``amplitudes``.

    Raises:
        UsageError: if the arguments hold a batch.
    """
    tape = qml.workflow.construct_tape(qnode)(*arguments, **options)
    made, reading = of_tape(tape)
    if reading.batch is not None:
        raise UsageError(f"arguments hold a batch of {reading.batch}; give those of one circuit.")
    return {"structure": json.loads(made.to_json()), "numbers": numbers(reading)}


def of_tape(tape: QuantumScript) -> tuple[Structure, Reading]:
    """Return the structure of a tape and its numbers, as the device runs it."""
    device = StatevectorDevice(None)
    reading = device.read(tape)
    return structure(reading.key, reading.wires), reading


def numbers(reading: Reading, sample: int = 0) -> dict[str, Any]:
    """Return the numbers of one circuit of a batch as JSON; complex ones are pairs."""

    def one(value: Any, dimensions: int) -> np.ndarray:
        array = np.asarray(qml.math.toarray(qml.math.unwrap([value])[0]))
        return array[sample] if array.ndim > dimensions else array

    def pairs(array: np.ndarray) -> list:
        return np.stack([array.real, array.imag], -1).tolist()

    amplitudes = reading.amplitudes
    return {
        "parameters": [float(one(value, 0)) for value in reading.parameters],
        "matrices": [pairs(one(value, 2)) for value in reading.matrices],
        "amplitudes": None if amplitudes is None else pairs(one(amplitudes, 1)),
    }
