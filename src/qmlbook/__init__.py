"""Quantum Learning, Rerun: the library behind the book.

Import the module you need (``from qmlbook import data``); nothing heavy is imported here.
"""

import sys

__version__ = "0.1.0"

if "ipykernel" in sys.modules:  # in a notebook, whatever runs it; commands settle it for themselves
    from .base.threads import one_unless_asked

    one_unless_asked()
