"""From Markdown to pages: run the chapters, compare them, build the site, print and teach it."""

from pathlib import Path
from typing import Any

__all__ = ["build"]


def build(**options: Any) -> Path:
    """Build the pages of the book: :func:`qmlbook.book.site.build.build`, with its arguments.

    It is loaded when it is called: chapters import their figures from this room, and depend on
    nothing else in it.
    """
    from .site.build import build

    return build(**options)
