"""The API pages: every public module is there, and docstrings are read as they were meant."""

import re
from pathlib import Path

from qmlbook import papers
from qmlbook.base import paths
from qmlbook.book.site import sphinx_docstrings

ROOT = Path(__file__).resolve().parents[1]
# Parts that their package shows under its own name, and what only commands and tests call.
INNER = r"\.(statevector|backends|data)\..*|\.papers\..*\.(vectors|checks)|.*\.__main__|\.cli|"
PACKAGES = r"\.papers\.\w+|\.evidence"


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
    own = [name for name in papers.names() if not (ROOT / f"book/api_{name}.md").is_file()]
    rooms = tuple(f".papers.{name}." for name in own)
    assert set(shown) == {name for name in found if not name.startswith(rooms)}


def test_bars_and_stars_are_text():
    assert sphinx_docstrings.escaped("the norm |x| of |0> is 1") == r"the norm \|x\| of \|0> is 1"
    assert sphinx_docstrings.escaped("(*shape, 3) and 2 * 3") == r"(\*shape, 3) and 2 \* 3"


def test_code_and_stress_are_kept():
    for line in ("``|0>`` and `a | b`", "a *small* and a **large** one", "load_*.py", "plain"):
        assert sphinx_docstrings.escaped(line) == line
