"""A Sphinx extension: what a page of the book has that neither Sphinx nor the theme gives it.

A number and its per cent sign stay on one line. A text may lead to whatever has an address in the
output of a cell, as the rows of the verdicts have. The theme offers the file a page was made from,
which for a chapter is the executed notebook; this adds the source of the chapter. The module
`build` stages the sources and loads this extension; a plain ``jupyter-book build .``, whose pages
are made from the sources, does without.
"""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

#: Folder of the staged site that is copied to the top of the book as it is.
EXTRA = "extra"
#: Where the theme puts the file a page was made from; the sources of chapters join it.
DOWNLOADS = "_sources"
AFTER_THE_THEME = 900


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension; called by Sphinx."""
    app.add_post_transform(PerCent)
    app.connect("source-read", lead_to_notebooks)
    app.connect("doctree-read", note_addresses)
    app.connect("html-page-context", offer_source, priority=AFTER_THE_THEME)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class PerCent(SphinxPostTransform):
    """Keeps ``66 %`` together; in code nothing changes."""

    default_priority = AFTER_THE_THEME

    def run(self, **_: Any) -> None:
        """Replace the space."""
        code = nodes.literal | nodes.FixedTextElement | nodes.math  # and what is written as HTML
        for text in list(self.document.findall(nodes.Text)):
            kept = re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", text)
            if kept != text and not isinstance(text.parent, code):
                text.parent.replace(text, nodes.Text(kept))


def lead_to_notebooks(app: Sphinx, page: str, content: list[str]) -> None:
    """Let links to a chapter's source, ``verdicts.md``, lead to the notebook in its place."""
    folder = Path(app.srcdir, page).parent

    def place(link: re.Match[str]) -> str:
        return f"]({link[1]}.ipynb" if (folder / f"{link[1]}.ipynb").is_file() else link[0]

    content[0] = re.sub(r"\]\((\w+)\.md(?=[#)])", place, content[0])


def note_addresses(app: Sphinx, doctree: nodes.document) -> None:
    """Let links find the addresses of a page that are written as HTML: ``verdicts.md#qssl-C6``."""
    slugs = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
    for part in doctree.findall(nodes.raw):
        for address in re.findall(r'<span id="([^"]+)">', part.astext()):
            slugs.setdefault(address, (0, address, ""))


def offer_source(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Add the source to the download buttons of a page that was made from an executed notebook."""
    source = f"{DOWNLOADS}/{page}.md"
    if not Path(app.srcdir, EXTRA, source).is_file():
        return
    for group in context["header_buttons"]:
        if group.get("label") == "download-buttons":
            executed, *others = group["buttons"]
            said = "Download the notebook as it was run"
            executed |= {"text": ".ipynb, as executed", "tooltip": said}
            button = {
                "type": "link",
                "url": context["pathto"](source, 1),
                "text": ".md, the source",
                "icon": "fas fa-file-lines",
                "tooltip": "Download the Markdown that Jupyter opens as a notebook",
                "label": "download-myst-button",
            }
            group["buttons"] = [executed, button, *others]
