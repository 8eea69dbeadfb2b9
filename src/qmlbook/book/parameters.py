"""Parameters of chapters: what a ``parameters`` cell declares, and values that readers give.

The comment beside a parameter is its help, and begins with what is allowed::

    pair: str = "2v3"   # 0v1, 2v3 or 8v9: the digits
    seeds: int = 5      # 1 to 100 runs of each kind
    seed: int = 0       # 0 or more, root of every random stream
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..base.errors import ListFormat, QmlbookError, UsageError, require_choice, shown
from . import notebooks

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: Types of a parameter's value, where the type that the chapter declares is not the only one.
_ALSO = {float: (float, int), list: (list, tuple), tuple: (list, tuple)}
_NUMBER = r"-?\d[\d,]*(?:\.\d+)?"
_RANGE = re.compile(rf"({_NUMBER}) (?:to ({_NUMBER})|or more)\b")


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

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The smallest and the largest number that the help allows; ``None`` if it names none."""
        if isinstance(self.default, str) or not (stated := _RANGE.match(self.help)):
            return None
        low, high = (float(text.replace(",", "")) if text else math.inf for text in stated.groups())
        return low, high

    @property
    def choices(self) -> list[str]:
        """The words that the help begins with, if the default is one of them; else none."""
        words = re.split(r",? or |, ", re.split("[:;]", self.help)[0].strip())
        listed = len(words) > 1 and self.default in words and " " not in "".join(words)
        return words if listed else []

    def allows(self, value: Any) -> bool:
        """Return whether a value (each one of a list) is among those that the help names."""
        if isinstance(value, Sequence) and not isinstance(value, str):
            return all(map(self.allows, value))
        if self.choices:
            return value in self.choices
        if self.bounds and isinstance(value, int | float):
            return self.bounds[0] <= value <= self.bounds[1]
        return True

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        kinds = {int: "a whole number", float: "a number"}
        kind = kinds.get(type(self.default), "numbers")
        if stated := _RANGE.match(self.help):
            return f"{kind}, {stated[0]}"
        return f"a value such as {shown(self.default)}"


def declared(notebook: NotebookNode, source: Path) -> list[Parameter]:
    """Return the parameters that a chapter declares.

    Args:
        notebook: the chapter as written.
        source: its file, for errors.

    Raises:
        QmlbookError: if there is not exactly one ``parameters`` cell, if it does anything but
            assign literals to names, if it does not declare ``profile = "quick"``, or if a default
            is not among the values that its comment allows.
    """
    cells = [cell for cell in notebook.cells if "parameters" in notebooks.tags(cell)]
    if len(cells) != 1:
        raise QmlbookError(
            f"{source.name}: a chapter needs one cell tagged 'parameters', not {len(cells)}."
        )
    known = {}
    try:
        comments = _comments(cells[0].source)
        for line in ast.parse(cells[0].source).body:
            typed = isinstance(line, ast.AnnAssign)
            (target,) = [line.target] if typed else line.targets
            value = ast.literal_eval(line.value)
            kind = ast.unparse(line.annotation) if typed else type(value).__name__
            known[target.id] = Parameter(target.id, kind, value, comments.get(line.end_lineno, ""))
    except (AttributeError, SyntaxError, TypeError, ValueError, tokenize.TokenError):
        raise QmlbookError(
            f"{source.name}: the parameters cell may only assign literals to names."
        ) from None
    if "profile" not in known or known["profile"].default != "quick":
        raise QmlbookError(f'{source.name}: the parameters cell must declare profile = "quick".')
    for each in known.values():
        if not each.allows(each.default):
            raise QmlbookError(
                f"{source.name}: parameter {each.name} takes {each.allowed}, but its default is "
                f"{shown(each.default)}."
            )
    return list(known.values())


def _comments(code: str) -> dict[int, str]:
    """Return the comments of Python code by their line."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return {
        token.start[0]: token.string.lstrip("# ")
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def render(declarations: Mapping[str, list[Parameter]], format: str) -> str:
    """Return parameters as text.

    Args:
        declarations: chapter -> its parameters.
        format: ``table`` (a block of lines a chapter) or ``json`` (one object, chapter -> list).

    Raises:
        UsageError: ``format`` is not known.
    """
    require_choice("format", format, get_args(ListFormat))
    if format == "json":
        content = {name: [vars(each) for each in known] for name, known in declarations.items()}
        return json.dumps(content, indent=1, ensure_ascii=False, default=list)
    blocks = []
    for name, known in declarations.items():
        lines = {f"{each.name}: {each.type} = {each.default!r}": each.help for each in known}
        width = max(map(len, lines))
        shown_lines = [f"  {left:{width}}  {help}".rstrip() for left, help in lines.items()]
        blocks.append("\n".join([name, *shown_lines]))
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


def accept(name: str, given: Mapping[str, Any], known: Sequence[Parameter]) -> dict[str, Any]:
    """Return the values given for parameters, each of the kind and size that the chapter declares.

    Args:
        name: the chapter.
        given: parameter -> value; text is read by :func:`parse_value`.
        known: the chapter's parameters.

    Raises:
        UsageError: for a parameter the chapter does not declare, or a value that is not allowed.
    """
    if "profile" in given:
        raise UsageError("-p profile is not allowed; use the option --profile quick or full.")
    by_name = {each.name: each for each in known if each.name != "profile"}
    values = {}
    for parameter, value in given.items():
        require_choice(f"parameter of {name}", parameter, by_name, none="(it has none)")
        each = by_name[parameter]
        try:
            values[parameter] = _read(value, each)
        except (TypeError, ValueError):
            raise UsageError(
                f"parameter {parameter} of {name} takes {each.allowed}, not {shown(value)}."
            ) from None
    return values


def _read(given: Any, parameter: Parameter) -> Any:
    """Return a value for a parameter; ``ValueError`` if it is of another type or not allowed."""
    value, default = parse_value(given) if isinstance(given, str) else given, parameter.default
    if isinstance(default, str) and not isinstance(value, str):
        value = given  # 3 may be a name, too
    kinds = _ALSO.get(type(default), (type(default),))
    if (default is not None and type(value) not in kinds) or not parameter.allows(value):
        raise ValueError
    json.dumps(value, ensure_ascii=False).encode()  # or no notebook could hold it
    return value
