"""Notebooks for a class: exercises left open for students, solved for their teachers.

Both are nbgrader notebooks. The teacher's is what nbgrader calls the source of an assignment, the
student's what it releases: the same cells, with a stub in place of every solution. A solution's
code becomes one code cell, its words one written answer; its cells tagged ``self-check`` become
tests that nbgrader runs, those tagged ``hidden-check`` tests that students do not get. An answer
without a test is graded by a person.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from ...base import files
from ...base.errors import QmlbookError
from .. import notebooks
from .myst import Chapter, Exercise

#: Tag of a cell inside a solution that checks it; it runs in the book, too.
SELF_CHECK = "self-check"
#: And of one that would give the answer away: nbgrader puts it back when it grades.
HIDDEN_CHECK = "hidden-check"
#: What nbgrader itself puts in the place of solutions.
CODE_STUB = "# YOUR CODE HERE\nraise NotImplementedError()"
TEXT_STUB = "YOUR ANSWER HERE"
_HIDDEN = "### BEGIN HIDDEN TESTS\n{}\n### END HIDDEN TESTS"  # nbgrader's marks
POINTS = 1  # of every self-check and every written answer; nbgrader's toolbar changes them
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
_IMPORTS = (ast.Import, ast.ImportFrom)

_FIRST = Path(__file__).with_name("first.md")


def instructor(chapter: Chapter) -> NotebookNode:
    """Return the teacher's notebook of a chapter: every solution in its place, and marked.

    Raises:
        QmlbookError: if a self-check could not fail, asks for a name the exercise keeps secret, or
            fails without saying what was expected.
    """
    cells = [new_markdown_cell(files.fill(_FIRST, title=chapter.title))]
    for item in chapter.items:
        if isinstance(item, Exercise):
            _require_sound_checks(item, chapter)
            cells.append(new_markdown_cell(f"### Exercise {item.number}\n\n{item.question}"))
            cells += _places(item)
        elif item.cell_type == "markdown":
            cells.append(new_markdown_cell(item.source))
        else:
            cells += _shown(item)
    if chapter.cited:
        works = chapter.book.works_list(chapter.cited)
        cells.append(new_markdown_cell(f"## References\n\n{works}"))
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    return new_notebook(cells=cells, metadata={"kernelspec": _KERNEL})


def student(solved: NotebookNode) -> NotebookNode:
    """Return the student's copy of a teacher's notebook: a place to work for every solution."""
    open_ = deepcopy(solved)
    for cell in open_.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = CODE_STUB if cell.cell_type == "code" else TEXT_STUB
        elif cell.metadata.get("nbgrader", {}).get("grade"):
            cell.source = re.sub(_HIDDEN.format("(?s:.*)"), "", cell.source).rstrip("\n")
    return open_


def checks(exercise: Exercise) -> list[NotebookNode]:
    """Return what tests the answer of an exercise: self-checks, and hidden ones."""
    return [cell for cell in exercise.solution if _is_check(cell)]


def _is_check(cell: NotebookNode) -> bool:
    return bool({SELF_CHECK, HIDDEN_CHECK} & set(notebooks.tags(cell)))


def _test(check: NotebookNode) -> str:
    """Return a check as students get it, or, between nbgrader's marks, as they do not."""
    if HIDDEN_CHECK in notebooks.tags(check):
        return f"# Hidden check\n{_HIDDEN.format(check.source)}"
    return f"# Self-check\n{check.source}"


def _answer(exercise: Exercise) -> list[NotebookNode]:
    """Return the solution of an exercise without its self-checks."""
    return [cell for cell in exercise.solution if not _is_check(cell)]


def _shown(code: NotebookNode) -> list[NotebookNode]:
    """Return a code cell as students see it, its caption below."""
    cell = new_code_cell(code.source)
    if "parameters" in notebooks.tags(code):
        cell.metadata["tags"] = ["parameters"]
    if {"hide-input", "remove-input", "hide-cell"} & set(notebooks.tags(code)):
        cell.metadata["jupyter"] = {"source_hidden": True}
    figure = code.metadata.get("figure")
    return [cell, *([new_markdown_cell(caption(figure))] if figure else [])]


def caption(figure: dict) -> str:
    """Return the caption of a figure, numbered if the figure is."""
    number = f" {figure['number']}" if figure["number"] else ""
    return f"**Figure{number}.** {figure['caption']}"


def _places(exercise: Exercise) -> list[NotebookNode]:
    """Return the cells in which an exercise is answered, filled with its solution.

    Words and code stand in the order of the solution, tests right after the code that they test.
    Code without a test is graded by a person only where no words are asked for.
    """
    tests = checks(exercise)
    rest = _answer(exercise)
    code = "\n\n".join(cell.source for cell in rest if cell.cell_type == "code")
    words = "\n\n".join(cell.source for cell in rest if cell.cell_type == "markdown")
    by_hand = bool(words or not code)
    solution = new_code_cell(f"# Solution\n{code}")
    written = new_markdown_cell(f"**Solution.** {words}".strip())
    alone = not tests and not by_hand
    made = {
        "code": [_graded(solution, exercise.label, solution=True, grade=alone)],
        "markdown": [_graded(written, f"{exercise.label}-answer", solution=True, grade=True)],
    }
    for number, test in enumerate(tests, 1):
        cell, name = new_code_cell(_test(test)), f"check-{number}"
        made["code"].append(_graded(cell, f"{exercise.label}-{name}", locked=True, grade=True))
    order = dict.fromkeys(cell.cell_type for cell in rest) or {"markdown": None}
    return [cell for kind in order for cell in made[kind]]


def _graded(cell: NotebookNode, grade_id: str, **roles: bool) -> NotebookNode:
    """Return a cell with nbgrader's settings, version 3 of their schema.

    Args:
        cell: the cell.
        grade_id: its name among those that nbgrader knows.
        **roles: ``solution`` and ``grade`` for an answer, ``locked`` and ``grade`` for its test.
    """
    none = dict.fromkeys(("grade", "locked", "solution", "task"), False)
    settings: dict[str, object] = {**none, **roles, "grade_id": grade_id, "schema_version": 3}
    cell.metadata["nbgrader"] = settings | ({"points": POINTS} if roles["grade"] else {})
    return cell


# --- are the checks sound? ----------------------------------------------------------------------


def _require_sound_checks(exercise: Exercise, chapter: Chapter) -> None:
    """Refuse a self-check that an empty answer would pass, or that a student cannot understand.

    A check fails without an answer if it reads a name that nothing but the solution gives a
    value; a student can pass it if the exercise says how to call it, and learns from it if it
    says, for every way to fail, what was expected of that name.
    """
    ours = _bound(_answer(exercise))
    others = [item for item in chapter.items if not isinstance(item, Exercise)]
    for other in chapter.exercises:
        others += _answer(other) if other is not exercise else []
    known = _bound(others) | set(dir(builtins))
    asked = set(re.findall(r"`(\w+)", exercise.question))
    for check in checks(exercise):
        read = _read(symtable.symtable(check.source, "check", "exec"))
        wanted = (read & ours) - known - _bound([check])
        if not wanted:
            raise QmlbookError(
                f"{chapter.name}: a self-check of {exercise.label} would pass for an empty answer; "
                "it must read a name that only the solution assigns."
            )
        code = ast.parse(check.source)
        said = [_expected(each) for each in code.body if not isinstance(each, _IMPORTS)]
        if None in said:
            raise QmlbookError(
                f"{chapter.name}: a self-check of {exercise.label} must stand, but for imports, "
                'inside `with expected("..."):`, whose text is what an answer that fails is told.'
            )
        said += [node.msg for node in ast.walk(code) if isinstance(node, ast.Assert) and node.msg]
        if not all(wanted & _words(each) for each in said):
            raise QmlbookError(
                f"{chapter.name}: every `expected` and every message of a self-check of "
                f"{exercise.label} must say what was expected of {' or '.join(sorted(wanted))}."
            )
        if secret := sorted(wanted - asked):
            raise QmlbookError(
                f"{chapter.name}: a self-check of {exercise.label} reads {secret[0]!r}, so the "
                "exercise must ask for that name, in backticks."
            )


def _expected(statement: ast.stmt) -> ast.expr | None:
    """Return what a block of a check says was expected; nothing for other code."""
    match statement:
        case ast.With(
            items=[ast.withitem(ast.Call(ast.Name("expected"), [ast.Constant(str()) as said]))]
        ):
            return said
    return None


def _words(said: ast.expr | None) -> set[str]:
    """Return the words of a text, of what it is filled with, too."""
    if not isinstance(said, ast.Constant | ast.JoinedStr):
        return set()
    return set(re.findall(r"\w+", ast.unparse(said)))


def _bound(cells: Iterable[NotebookNode]) -> set[str]:
    """Return the names that code assigns, defines or imports outside of functions."""
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    symbols = symtable.symtable(code, "cells", "exec").get_symbols()
    return {each.get_name() for each in symbols if each.is_assigned() or each.is_imported()}


def _read(table: symtable.SymbolTable) -> set[str]:
    """Return the names outside of functions that code reads, in functions, too."""
    symbols = [each for each in table.get_symbols() if each.is_referenced() and each.is_global()]
    return {each.get_name() for each in symbols}.union(*map(_read, table.get_children()))
