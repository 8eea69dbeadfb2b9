"""From Markdown to pages: run the chapters, compare them, build the site, print and teach it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["build"]


def __getattr__(name: str) -> Callable[..., Path]:
    """Find :func:`qmlbook.book.site.build.build` here, too, when somebody asks for it.

    Not before: chapters import their figures from this room, and depend on nothing else in it.
    """
    if name != "build":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .site.build import build

    return build
