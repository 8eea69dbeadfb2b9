"""Say which code of the library nothing uses: vulture, which also reads the code of the chapters.

What only a test calls counts as unused. What others call by name stands in ``whitelist.py``, each
line with its reason.
"""

import sys
from pathlib import Path

import jupytext
from vulture import Vulture

MIN_CONFIDENCE = 60


def main() -> int:
    """Read the checkout in the working directory; return 1 if something in ``src`` is unused."""
    vulture = Vulture(ignore_decorators=["@*.command", "@*.callback"])  # typer calls them
    vulture.scavenge(["src", "scripts", "benchmarks"])
    for page in sorted(Path("book").glob("*.md")):
        cells = jupytext.read(page, fmt="md:myst").cells
        code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        vulture.scan(code, filename=page)
    library = Path("src").resolve()
    unused = [
        item
        for item in vulture.get_unused_code(min_confidence=MIN_CONFIDENCE)
        if item.filename.resolve().is_relative_to(library)
    ]
    for item in unused:
        print(item.get_report())
    return int(bool(unused or vulture.exit_code))


if __name__ == "__main__":
    sys.exit(main())
