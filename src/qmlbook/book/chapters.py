"""The contents of the book: the documents that ``_toc.yml`` lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..base.errors import QmlbookError


def documents(root: Path) -> list[str]:
    """Return every document of a checkout's book in reading order, without ``.md``.

    Raises:
        QmlbookError: if ``_toc.yml`` is not YAML.
    """

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (node[key].removesuffix(".md") for key in ("root", "file") if key in node)
        if isinstance(node, dict | list):
            for child in node.values() if isinstance(node, dict) else node:
                yield from walk(child)

    return list(walk(from_yaml((root / "_toc.yml").read_text("utf-8"), "_toc.yml")))


def from_yaml(text: str, name: str) -> Any:
    """Return what YAML says.

    Args:
        text: the YAML.
        name: what it is, for the error.

    Raises:
        QmlbookError: if it is not YAML.
    """
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise QmlbookError(f"{name} cannot be read as YAML ({reason}).") from error
