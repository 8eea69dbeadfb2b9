"""YAML in which nothing wins silently and nothing overflows: what people write, or a sentence."""

from __future__ import annotations

import re
from typing import Any

import yaml

from .errors import QmlbookError, shown

MAX_DEPTH, MAX_FIELDS = 20, 200  # of a file: no person writes more


class NotYaml(ValueError):
    """A text is no YAML that a person meant.

    Attributes:
        reason: what is wrong, short and on one line.
        line: where, counted from 0; ``None`` if that is not known.
    """

    def __init__(self, reason: str, line: int | None) -> None:
        super().__init__(reason)
        self.reason, self.line = reason, line


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # C or Python
    """YAML in which a key that is given twice is an error, and a number is what people read.

    Of the numbers of YAML 1.1 those are texts here that YAML 1.2 or no person takes for the same:
    ``010`` (eight), ``1:30`` (ninety), ``0x10``, ``0b10``, ``1_000``.
    """

    def __init__(self, content: bytes | str) -> None:
        super().__init__(content)
        self.known: set[yaml.MappingNode] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse repeated keys before ``<<`` brings those that may be written again."""
        keys: set[str] = set()
        for key, _ in () if node in self.known else node.value:
            if isinstance(key, yaml.ScalarNode):  # any other is refused by YAML itself
                if key.value in keys:
                    raise _unreadable(f"key {shown(key.value)} is given twice", key)
                keys.add(key.value)
        self.known.add(node)
        super().flatten_mapping(node)
        if len(node.value) > MAX_FIELDS:
            raise _unreadable(f"more than {MAX_FIELDS} fields in one mapping", node)


_NUMBERS = {
    "tag:yaml.org,2002:int": r"[-+]?(0|[1-9][0-9]*)$",
    "tag:yaml.org,2002:float": r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?$"
    r"|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$",
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, re.compile(_NUMBERS[tag]) if tag in _NUMBERS else rule) for tag, rule in rules]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _unreadable(problem: str, where: Any) -> yaml.MarkedYAMLError:
    """Return YAML's own error, at a node or an event."""
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)


def load(content: bytes | str) -> Any:
    """Return what YAML says.

    Raises:
        NotYaml: if it is not YAML, gives a key twice, or is nested deeper than people write.
    """
    depth = 0
    try:
        for event in yaml.parse(content, Loader=_Loader):  # deep nesting would overflow a stack
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise _unreadable(f"more than {MAX_DEPTH} brackets or levels are open", event)
        return yaml.load(content, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number of 5,000 digits, a date
        mark = getattr(error, "problem_mark", None)
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        line = mark.line if mark else None
        if isinstance(error, yaml.reader.ReaderError):  # a byte that is no letter
            raw = content.encode(errors="surrogatepass") if isinstance(content, str) else content
            line, reason = raw.count(b"\n", 0, error.position), str(error.reason)
        # LibYAML finds the end of a text one line below it.
        last = len(content.splitlines()) - 1
        raise NotYaml(reason[:200], None if line is None else min(line, last)) from None


def load_of(name: str, content: bytes | str, first_line: int = 1) -> Any:
    """Return what YAML in a file says.

    Args:
        name: the file, for the error.
        content: the YAML.
        first_line: where in the file it begins, for the error.

    Raises:
        QmlbookError: as :func:`load`, in a sentence with the file and the line.
    """
    try:
        return load(content)
    except NotYaml as error:
        where = "" if error.line is None else f", line {error.line + first_line}"
        raise QmlbookError(
            f"{name}{where}: this cannot be read as YAML ({error.reason})."
        ) from None
