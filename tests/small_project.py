"""A small checkout of its own, for tests of chapters, references and the book."""

import shutil
from pathlib import Path

import nbformat

from qmlbook.book import execute, notebooks, references
from qmlbook.book.site import build

ROOT = Path(__file__).resolve().parents[1]
HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# {title}
"""
PARAMETERS = 'profile: str = "quick"  # quick or full\nscale: float = 2.0'


def chapter(title, *cells):
    """Return a MyST notebook; a cell is its source, or (tags, source)."""
    text = HEADER.format(title=title)
    for cell in cells:
        tags, source = cell if isinstance(cell, tuple) else ("", cell)
        head = f":tags: [{tags}]\n\n" if tags else ""
        text += f"\n```{{code-cell}} ipython3\n{head}{source}\n```\n"
    return text


TINY = chapter(
    "Tiny",
    ("parameters", PARAMETERS),
    'print(f"product {scale * 3:.1f} in profile {profile}")',
    ("nbval-ignore-output", "import secrets\n\nprint('nonce', secrets.token_hex(8))"),
    "from qmlbook import ANSWER\n\nANSWER, object()",
)


class Project:
    """A checkout in a temporary folder, with the book's own configuration."""

    def __init__(self, root):
        self.root, self.said = root, []
        shutil.copytree(ROOT / "book" / "_static", root / "book" / "_static")
        shutil.copyfile(ROOT / "_config.yml", root / "_config.yml")
        self.write("book/references.bib", "")
        self.write("src/qmlbook/__init__.py", "ANSWER = 42\n")
        self.write("data/images/one.txt", "pixels\n")
        self.write("requirements.lock", "numpy==2.0\n")
        self.write("book/intro.md", "# The book\n\nA plain page.\n")
        self.chapters(tiny=TINY)

    def write(self, name, text):
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text, "utf-8")

    def chapters(self, **texts):
        for name, text in texts.items():
            self.write(f"book/{name}.md", text)
        listed = "".join(f"      - file: book/{name}\n" for name in texts)
        self.write(
            "_toc.yml",
            "format: jb-book\nroot: book/intro\nparts:\n  - caption: Papers\n    chapters:\n"
            + listed,
        )

    def run(self, *names, **options):
        found = execute.run(names, root=self.root, echo=self.said.append, **options)
        return {result.name: result for result in found}

    def check(self, *names, **options):
        return references.check(names, root=self.root, echo=self.said.append, **options)

    def build(self, **options):
        return build.build(root=self.root, echo=self.said.append, **options)

    def executed(self, name, folder="quick"):
        return self.root / "_build" / "executed" / folder / f"{name}.ipynb"

    def outputs(self, name, folder="quick"):
        return printed(nbformat.read(self.executed(name, folder), as_version=4))


def printed(notebook):
    return [[said(output) for output in cell.outputs] for _, cell in notebooks.code_cells(notebook)]


def said(output):
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}"
    return output.get("text") or output.data["text/plain"]
