"""A Sphinx extension for the API pages: docstrings are text, in which a bar is a bar.

reStructuredText takes ``|0>`` and ``|x|`` for the beginning of a substitution. This library writes
kets and norms and never substitutions, so bars outside of code are escaped before it reads them.
"""

import re
from typing import Any

KEPT = re.compile(r"(``.+?``|`.+?`|\*{1,2}\w[^*]*\w\*{1,2})")  # code, and words that are stressed


def escaped(line: str) -> str:
    """Return a line of a docstring with the bars and single stars outside of code escaped."""
    parts = KEPT.split(line)
    parts[::2] = [re.sub(r"\||(?<!_)\*", r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def _process(
    app: Any, what: str, name: str, documented: Any, options: Any, lines: list[str]
) -> None:
    lines[:] = [escaped(line) for line in lines]


def setup(app: Any) -> dict[str, bool]:
    """Connect to autodoc, before napoleon rewrites the sections of a docstring."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
