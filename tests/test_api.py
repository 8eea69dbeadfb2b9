"""The API pages: every public module is there, and docstrings are read as they were meant."""

import json
import re
from pathlib import Path

import numpy as np
import pennylane as qml
import pytest
from rooms import OURS

from qmlbook import papers
from qmlbook.base import paths
from qmlbook.book.site import sphinx_docstrings
from qmlbook.statevector.structure import Structure

ROOT = Path(__file__).resolve().parents[1]
# Parts that their package shows under its own name, and what only commands and tests call.
INNER = r"\.(statevector|backends|data)\..*|\.papers\..*\.(vectors|checks)|.*\.__main__|\.cli|"
PACKAGES = r"\.papers\.(?!vectors)\w+|\.referee|\.evidence|\.base|\.book(\.site|\.figures)?"


def test_every_public_module_is_documented_once():
    pages = [path.read_text("utf-8") for path in sorted((ROOT / "book").glob("api*.md"))]
    shown = re.findall(r"automodule:: qmlbook(\S*)", "\n".join(pages))
    assert len(shown) == len(set(shown))
    found = set()
    for path in paths.PACKAGE.rglob("*.py"):
        parts = path.relative_to(paths.PACKAGE).with_suffix("").parts
        name = "".join(f".{part}" for part in parts if part != "__init__")
        if not re.fullmatch(f"{INNER}|{PACKAGES}", name):
            found.add(name)
    # A paper of the reader's own has a page here if they want one.
    rooms = tuple(f".papers.{name}." for name in set(papers.names()) - set(OURS))
    assert set(shown) == {name for name in found if not name.startswith(rooms)}


def test_bars_and_stars_are_text():
    assert sphinx_docstrings.escaped("the norm |x| of |0> is 1") == r"the norm \|x\| of \|0> is 1"
    assert sphinx_docstrings.escaped("(*shape, 3) and 2 * 3") == r"(\*shape, 3) and 2 \* 3"


def test_code_and_stress_are_kept():
    for line in ("``|0>`` and `a | b`", "a *small* and a **large** one", "load_*.py", "plain"):
        assert sphinx_docstrings.escaped(line) == line


def fenced(page, language):
    """Return the one block of a page in a language."""
    text = (ROOT / "book" / page).read_text("utf-8")
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return block


def test_the_program_of_the_page_prints_the_circuit_in_json(capsys):
    scope = {}
    exec(fenced("api_simulator.md", "python"), scope)
    shown = json.loads(fenced("api_simulator.md", "json"))
    assert json.loads(capsys.readouterr().out) == shown
    assert scope["reading"].parameters == [0.3, 0.3]
    assert json.loads(Structure.from_json(json.dumps(shown)).to_json()) == shown


def test_the_json_of_the_page_is_the_circuit_of_the_page():
    """Multiplied out without the simulator."""
    scope = {}
    exec(fenced("api_simulator.md", "python"), scope)
    state = np.array([1, 0, 0, 0], complex)
    for op in json.loads(fenced("api_simulator.md", "json"))["operations"]:
        if op["kind"] == "rotation":
            word = {"X": np.array([[0, 1], [1, 0]]), "Y": np.array([[0, -1j], [1j, 0]])}[op["word"]]
            angle = scope["reading"].parameters[op["parameter"]] / 2
            matrix = np.cos(angle) * np.eye(2) - 1j * np.sin(angle) * word
        else:
            matrix = np.array(op["matrix"]) @ [1, 1j]
        gate = qml.ControlledQubitUnitary if "controls" in op else qml.QubitUnitary
        gate = gate(matrix, wires=[*op.get("controls", []), *op["wires"]])
        state = gate.matrix(wire_order=[0, 1]) @ state
    wanted = qml.matrix(scope["circuit"], wire_order=[0, 1])(0.3)[:, 0]
    assert state == pytest.approx(wanted)
