"""Quantum Learning, Rerun: the library behind the book.

Import the module you need (``from qmlbook import data``); nothing heavy is imported here.
"""

__version__ = "0.1.0"
