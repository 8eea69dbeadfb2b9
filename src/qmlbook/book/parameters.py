"""Parameters of chapters: what a ``parameters`` cell declares, and values that readers give."""

from __future__ import annotations

import ast
import io
import json
import tokenize
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..base.errors import ListFormat, QmlbookError, UsageError, choose, shown
from . import notebooks

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: Types of a parameter's value, where the type that the chapter declares is not the only one.
_ALSO = {float: (float, int), list: (list, tuple), tuple: (list, tuple)}


@dataclass(frozen=True)
class Parameter:
    """What the ``parameters`` cell of a chapter says of one parameter.

    Attributes:
        name: the variable.
        type: its annotation; without one, the type of the default.
        default: its value unless the reader gives another.
        help: the comment beside it.
    """

    name: str
    type: str
    default: Any
    help: str


def declared(notebook: NotebookNode, source: Path) -> list[Parameter]:
    """Return the parameters that a chapter declares.

    Args:
        notebook: the chapter as written, read by jupytext.
        source: its file, for errors.

    Raises:
        QmlbookError: if there is not exactly one ``parameters`` cell, if it does anything but
            assign literals to names, or if it does not declare ``profile = "quick"``.
    """
    cells = [cell for cell in notebook.cells if "parameters" in notebooks.tags(cell)]
    if len(cells) != 1:
        raise QmlbookError(
            f"{source.name}: a chapter needs one cell tagged 'parameters', not {len(cells)}."
        )
    found = {}
    try:
        comments = _comments(cells[0].source)
        for line in ast.parse(cells[0].source).body:
            typed = isinstance(line, ast.AnnAssign)
            (target,) = [line.target] if typed else line.targets
            value = ast.literal_eval(line.value)
            kind = ast.unparse(line.annotation) if typed else type(value).__name__
            found[target.id] = Parameter(target.id, kind, value, comments.get(line.end_lineno, ""))
    except (AttributeError, SyntaxError, TypeError, ValueError, tokenize.TokenError):
        raise QmlbookError(
            f"{source.name}: the parameters cell may only assign literals to names."
        ) from None
    if "profile" not in found or found["profile"].default != "quick":
        raise QmlbookError(f'{source.name}: the parameters cell must declare profile = "quick".')
    return list(found.values())


def _comments(code: str) -> dict[int, str]:
    """Return the comments of Python code by their line."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return {
        token.start[0]: token.string.lstrip("# ")
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def render(found: Mapping[str, list[Parameter]], format: str) -> str:
    """Return parameters as text.

    Args:
        found: chapter -> its parameters.
        format: ``table`` (a block of lines a chapter) or ``json`` (one object, chapter -> list).

    Raises:
        UsageError: ``format`` is not known.
    """
    if format not in get_args(ListFormat):
        raise choose("format", format, get_args(ListFormat))
    if format == "json":
        content = {name: [asdict(each) for each in known] for name, known in found.items()}
        return json.dumps(content, indent=1, ensure_ascii=False, default=list)
    blocks = []
    for name, known in found.items():
        rows = [(f"{each.name}: {each.type} = {each.default!r}", each.help) for each in known]
        width = max(len(left) for left, _ in rows)
        lines = [f"  {left:{width}}  {right}".rstrip() for left, right in rows]
        blocks.append("\n".join([name, *lines]))
    return "\n\n".join(blocks)


def parse_value(text: str) -> Any:
    """Return a value given on the command line as the Python value it looks like.

    ``3``, ``0.5``, ``true`` or ``True``, ``null`` or ``None``, ``[0, 1]`` and other JSON are read
    as such; anything else stays text.
    """
    words = {"True": True, "False": False, "None": None}
    try:
        return words[text] if text in words else json.loads(text)
    except (ValueError, RecursionError):  # no JSON, or more of it than Python reads
        return text


def accept(name: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values given for parameters, each of the kind that the chapter declares.

    Args:
        name: the chapter.
        given: parameter -> value; text is read by :func:`parse_value`.
        known: parameter -> default, as declared.

    Raises:
        UsageError: for a parameter the chapter does not declare, or a value of another kind.
    """
    if "profile" in given:
        raise UsageError("-p profile is not allowed; use the option --profile quick or full.")
    values = {}
    for parameter, value in given.items():
        if parameter not in known:
            allowed = [key for key in known if key != "profile"]
            raise choose(f"parameter of {name}", parameter, allowed or ["(it has none)"])
        try:
            values[parameter] = _read(value, known[parameter])
        except (TypeError, ValueError):
            raise UsageError(
                f"parameter {parameter} of {name} takes a value such as "
                f"{shown(known[parameter])}, not {shown(value)}."
            ) from None
    return values


def _read(given: Any, default: Any) -> Any:
    """Return a value for a parameter; ``ValueError`` if it is of another type than the default."""
    value = parse_value(given) if isinstance(given, str) else given
    if isinstance(default, str) and not isinstance(value, str):
        value = given  # 3 may be a name, too
    if default is not None and type(value) not in _ALSO.get(type(default), (type(default),)):
        raise ValueError
    json.dumps(value, ensure_ascii=False).encode()  # or no notebook could hold it
    return value
