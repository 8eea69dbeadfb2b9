"""The papers that came with the book. One that a reader added may lack what these must have."""

from pathlib import Path

from qmlbook import papers

BOOK = Path(__file__).resolve().parents[1] / "book"
# With a page in the API, which `qmlbook new` makes for nobody.
OURS = [name for name in papers.names() if (BOOK / f"api_{name}.md").is_file()]
