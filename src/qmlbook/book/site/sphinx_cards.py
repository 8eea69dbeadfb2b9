"""A Sphinx extension: what a link leads to, for the card beside it.

Cards are shown by ``book/_static/cards.js``. What is on the same page, figures and formulas, the
script finds there, and references are the titles of their links; words of the glossary and rows of
the verdicts are on other pages, which a page that is opened as a file may not read. So each page
gets, in a template, those that it leads to.
"""

import re
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from sphinx.application import Sphinx

_TERM = re.compile(r'<dt id="(term-[^"]+)">.*?</dt><dd>(.*?)</dd>', re.DOTALL)
_ROW = re.compile(r"<tr[^>]*>(?:(?!</tr>).)*?</tr>", re.DOTALL)
_ADDRESS = re.compile(r'<span id="([^"]+)"></span>')
_LINK = re.compile(r'href="((?:glossary|verdicts)\.html#[^"]+)"')
#: What is said before each cell of a row of the verdicts.
SAID = ("", "published", "ours", "margin", "", "controls:")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension; called by Sphinx."""
    app.add_js_file("cards.js")
    app.connect("build-finished", add_cards)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def add_cards(app: Sphinx, exception: Exception | None) -> None:
    """Give every page the cards of what it leads to on other pages."""
    if exception or app.builder.format != "html":
        return
    folder = Path(app.outdir, "book")
    cards: dict[str, str] = {}
    for name, read in (("glossary", terms), ("verdicts", rows)):
        if (page := folder / f"{name}.html").is_file():
            found = read(page.read_text("utf-8"))
            cards |= {f"{name}.html#{address}": card for address, card in found}
    for page in folder.glob("*.html"):
        text = page.read_text("utf-8")
        if template := _template(text, cards):
            page.write_text(text.replace("</body>", f"{template}\n</body>"), "utf-8")


def terms(page: str) -> Iterator[tuple[str, str]]:
    """Yield the words of a glossary: their addresses, and what they mean as HTML."""
    for address, meaning in _TERM.findall(page):
        # A link in a card could not be reached by the keyboard.
        yield address, re.sub(r"</?a\b[^>]*>", "", meaning)


def rows(page: str) -> Iterator[tuple[str, str]]:
    """Yield the rows of the verdicts: their addresses, and their cells in words."""
    for row in _ROW.findall(page):
        if not (address := _ADDRESS.search(row)):
            continue
        cells = [
            re.sub(r"<[^>]+>", "", cell).strip()
            for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
        ]
        statement, *others = (
            " ".join(filter(None, pair)) for pair in zip(SAID, cells, strict=True)
        )
        yield address[1], f"<p>{statement}</p><p>{'; '.join(others)}</p>"


def _template(page: str, cards: Mapping[str, str]) -> str:
    """Return the cards of a page's links to other pages, empty if there are none."""
    wanted = [link for link in dict.fromkeys(_LINK.findall(page)) if link in cards]
    parts = [f'<div data-card="{escape(link)}">{cards[link]}</div>' for link in wanted]
    return f'<template id="qmlbook-cards">{"".join(parts)}</template>' if parts else ""
