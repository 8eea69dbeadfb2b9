"""A Sphinx extension: pages that are light on a first visit, and figures that a phone can show.

The theme brings all of Font Awesome twice, as a script and as fonts: 700 kB for thirty icons. Here
those of the pages become a small style sheet, and those of the theme itself a small font. The
script for formulas comes only with pages that have one, the index of words with the page that
searches it, and pictures when a reader comes near. Plots know how wide they must be for their
labels to be read; where a screen is narrower, they scroll.
"""

import re
import struct
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from docutils import nodes
from fontTools.subset import Subsetter
from fontTools.ttLib import TTFont
from sphinx.application import Sphinx

from ...base.errors import QmlbookError
from .sphinx_pages import AFTER_THE_THEME

#: Pixels an inch of a plot on a small screen: a label of 8 points, the smallest, is 9 pixels high.
SMALL = 84
STYLE = "icons.css"
SCRIPT, FONTS = "scripts/fontawesome.js", "vendor/fontawesome/webfonts"
FONT, THEME = "fa-solid-900.ttf", "styles/pydata-sphinx-theme.css"
_BASE = """\
:is(.fa-solid, .fas) {
  display: inline-block;
  width: 1em;
  height: 1em;
  vertical-align: -0.125em;
  background: currentColor;
  -webkit-mask: var(--icon) center / contain no-repeat;
  mask: var(--icon) center / contain no-repeat;
}

:is(.fa-solid, .fas)::before {
  content: none !important;
}

@media (forced-colors: active) {
  :is(.fa-solid, .fas) {
    background: CanvasText;
  }
}
"""
_LOADS_ICONS = re.compile(rf'\s*<script[^>]*src="[^"]*{SCRIPT}[^"]*"></script>')
_SEARCHES = re.compile(
    r'\s*<script[^>]*src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>'
)
_PRELOADS = re.compile(rf"\s*<link[^>]*(?:{SCRIPT}|{FONTS})[^>]*>")
_ICONS = re.compile(r'class="[^"]*\b(?:fa-solid|fas)\b[^"]*"')
_SIGNS = re.compile(r'--pst-icon-[\w-]+:\s*"([^"]+)"')
_PACKED = re.compile(r'url\([^)]*\.woff2\)\s*format\("woff2"\),\s*')
_SIZES = {"fa-solid", "fa-lg", "fa-fw"}
_PLOT = re.compile(r'<img [^>]*\bsrc="\.\./_images/([\w.-]+\.png)"[^>]*>')
_FORMULA = re.compile(r'class="math|\\[(\[]')


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension; called by Sphinx."""
    app.add_css_file(STYLE)
    app.connect("html-page-context", leave_out_formulas, priority=AFTER_THE_THEME)
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def leave_out_formulas(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Leave the script for formulas out of a page that has none."""
    if not _FORMULA.search(context.get("body", "")):
        files = context.get("script_files", [])
        context["script_files"] = [one for one in files if "mathjax" not in str(one).lower()]


def lighten(app: Sphinx, exception: Exception | None) -> None:
    """Give all pages their icons as a style sheet, and pictures that wait for their reader."""
    if exception or app.builder.format != "html":
        return
    icons: set[str] = set()
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text("utf-8")
        icons |= {
            name for shown in _ICONS.findall(text) for name in re.findall(r"fa-[\w-]+", shown)
        }
        lighter = _PRELOADS.sub("", _LOADS_ICONS.sub("", text))
        if page.name != "search.html":
            lighter = _SEARCHES.sub("", lighter)
        lighter = re.sub(r"<img (?![^>]*\bloading=)", '<img loading="lazy" ', lighter)
        page.write_text(_PLOT.sub(partial(_plot, Path(app.outdir)), lighter), "utf-8")
    static = Path(app.outdir, "_static")
    script = (static / SCRIPT).read_text("utf-8")
    rules = [_rule(name, script) for name in sorted(icons - _SIZES)]
    (static / STYLE).write_text(_BASE + "".join(rules), "utf-8")
    for part in static.glob(f"{SCRIPT}*"):
        part.unlink()
    _keep_signs(static)


def _plot(folder: Path, found: re.Match[str]) -> str:
    """Return a plot in what scrolls, with its size, and its width on a small screen."""
    size = _size((folder / "_images" / found[1]).read_bytes())
    if size is None:
        return found[0]
    width, height, density = size
    style = f'style="--small: {width / density * SMALL:.0f}px" width="{width}" height="{height}" '
    return f'<span class="qmlbook-plot">{found[0].replace("<img ", f"<img {style}")}</span>'


def _size(png: bytes) -> tuple[int, int, float] | None:
    """Return width and height of a PNG file, and its pixels an inch, if it says them."""
    width, height = struct.unpack(">II", png[16:24])
    at = png.find(b"pHYs", 0, 4096)
    if at < 0:
        return None
    return width, height, struct.unpack(">I", png[at + 4 : at + 8])[0] * 0.0254


def _rule(name: str, script: str) -> str:
    """Return the style of an icon, its outline from the theme's script.

    Raises:
        QmlbookError: if the script has no such icon.
    """
    icon = re.escape(name.removeprefix("fa-"))
    shapes = re.findall(rf'(?<![\w-]){icon}"?:\[(\d+),(\d+),\[[^]]*\],"\w+","([^"]+)"', script)
    if not shapes:
        raise QmlbookError(f"The theme has no icon {name}.")
    width, height, outline = shapes[-1]  # regular shapes come before solid ones
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}'>"
    image = quote(f"{svg}<path d='{outline}'/></svg>", safe=" ='/:<>")
    return f'\n.{name} {{\n  --icon: url("data:image/svg+xml,{image}");\n}}\n'


def _keep_signs(static: Path) -> None:
    """Keep of the fonts the signs that the theme sets before titles, as one small font."""
    folder, style = static / FONTS, static / THEME
    text = style.read_text("utf-8")
    font = TTFont(folder / FONT)
    kept = Subsetter()
    kept.populate(text="".join(_SIGNS.findall(text)))
    kept.subset(font)
    for file in folder.iterdir():
        file.unlink()
    font.save(folder / FONT)
    style.write_text(_PACKED.sub("", text), "utf-8")
