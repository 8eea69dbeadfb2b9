"""Figures that compute in the page: a plain picture where scripts do not run, and on paper.

The scripts are ES modules in the folder ``live``, without dependencies. A page may be opened as a
file, where a browser loads no module, so a figure brings the text of those that it needs.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.tape import QuantumScript

from ...base.errors import UsageError
from ...statevector.device import StatevectorDevice, ready
from ...statevector.reading import Reading, read, structure
from ...statevector.structure import Structure

LIVE = Path(__file__).parent / "live"  # HTML and JavaScript of figures that react
_IMPORT = re.compile(r'^import [^;]*? from "\./(\w+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=function|class|const)", re.MULTILINE)


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
    return {"structure": made.to_json(), "numbers": numbers(reading)}


def of_tape(tape: QuantumScript) -> tuple[Structure, Reading]:
    """Return the structure of a tape and its numbers, as the device runs it."""
    device = StatevectorDevice(None)
    prepared = ready(tape, device)
    place = device.place(prepared)
    reading = read(prepared, place)
    return structure(reading.key, len(place)), reading


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
