"""What the site adds to its pages: cards beside links, icons as styles, plots that scroll."""

import re
import shutil
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import pydata_sphinx_theme
import pytest
from bs4 import BeautifulSoup
from docutils import nodes
from docutils.frontend import get_default_settings
from docutils.utils import new_document
from fontTools.ttLib import TTFont

from qmlbook.base.errors import QmlbookError
from qmlbook.book.site import sphinx_cards, sphinx_light, sphinx_pages

GLOSSARY = """<body><dl><dt id="term-batch">batch<a class="headerlink">#</a></dt><dd><p>The inputs
that are <a href="#term-step">handled</a> together, \\(n\\) of them.</p></dd>
<dt id="term-step">step<a class="headerlink">#</a></dt><dd><p>A change.</p></dd></dl></body>"""
VERDICTS = """<body><table><tr class="row-odd"><td><p><span id="qssl-C6"></span><strong>C6</strong>
It leads</p></td><td><p>3.03</p></td><td><p>+4.3 [1.9, 6.7], n = 8</p></td><td><p>2</p></td>
<td><p>reproduced</p></td><td><p>undecided</p></td></tr>
<tr><td>no address</td></tr></table></body>"""
CHAPTER = """<body><a href="glossary.html#term-batch">batch</a> <a
href="verdicts.html#qssl-C6">4</a> <a href="glossary.html#term-none">none</a></body>"""
SCRIPT = (
    'sun:[512,512,[9728],"f185","M1 1"],"file-lines":[384,512,["file-alt"],"f15c","M2 2"]};'
    'sun:[512,512,[9728],"f185","M3 3z"],"file-lines":[384,512,["file-alt"],"f15c","M4 4"]}'
)
THEME = """@font-face{src:url(../vendor/fontawesome/webfonts/fa-solid-900.woff2) format("woff2"),
url(../vendor/fontawesome/webfonts/fa-solid-900.ttf) format("truetype")}
html{--pst-icon-bell:"\uf0f3";--pst-icon-lightbulb: "\uf0eb"}"""
SKELETON = """<head><script defer src="../_static/scripts/fontawesome.js?digest=1"></script>
<link rel="preload" as="font" href="../_static/vendor/fontawesome/webfonts/fa-solid-900.woff2" />
</head><body><i class="fa-solid fa-sun fa-lg"></i><i class="fas fa-file-lines"></i>
<img alt="plot" src="../_images/plot.png" /><img loading="eager" src="logo.svg"></body>"""


def png(width, height, metre):
    """Return the head of a PNG file with a density."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    density = chunk(b"pHYs", struct.pack(">IIB", metre, metre, 1)) if metre else b""
    return b"\x89PNG\r\n\x1a\n" + head + density


@pytest.fixture
def site(tmp_path):
    """A built site of three pages, as Sphinx hands it over."""
    files = {
        "book/glossary.html": GLOSSARY,
        "book/verdicts.html": VERDICTS,
        "book/chapter.html": CHAPTER,
        "book/looks.html": SKELETON,
        "_static/scripts/fontawesome.js": SCRIPT,
        "_static/scripts/fontawesome.js.map": "{}",
        "_static/vendor/fontawesome/webfonts/fa-solid-900.woff2": "font",
        "_static/styles/pydata-sphinx-theme.css": THEME,
    }
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    theme = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme"
    font = "vendor/fontawesome/webfonts/fa-solid-900.ttf"
    shutil.copyfile(theme / "static" / font, tmp_path / "_static" / font)
    (tmp_path / "_images").mkdir()
    (tmp_path / "_images" / "plot.png").write_bytes(png(1100, 550, 4331))
    return SimpleNamespace(outdir=str(tmp_path), builder=SimpleNamespace(format="html")), tmp_path


# --- cards ---


def test_a_card_of_a_word_is_what_it_means_without_links():
    found = dict(sphinx_cards.terms(GLOSSARY))
    assert found.keys() == {"term-batch", "term-step"}
    assert "handled together, \\(n\\) of them" in found["term-batch"]
    assert "<a" not in found["term-batch"]


def test_a_card_of_a_row_says_all_its_cells():
    [(address, card)] = sphinx_cards.rows(VERDICTS)
    assert address == "qssl-C6"
    text = " ".join(BeautifulSoup(card, "html.parser").get_text(" ").split())
    assert text.startswith("C6 It leads published 3.03; ours +4.3 [1.9, 6.7], n = 8; margin 2; ")
    assert text.endswith("reproduced; controls: undecided")


def test_a_page_gets_the_cards_of_its_links_and_no_others(site):
    app, folder = site
    sphinx_cards.add_cards(app, None)
    page = (folder / "book" / "chapter.html").read_text("utf-8")
    cards = re.findall(r'data-card="([^"]+)"', page.partition("<template")[2])
    assert cards == ["glossary.html#term-batch", "verdicts.html#qssl-C6"]
    assert (folder / "book" / "verdicts.html").read_text("utf-8") == VERDICTS


def test_a_failed_build_is_left_alone(site):
    app, folder = site
    for extension in (sphinx_cards.add_cards, sphinx_light.lighten):
        extension(app, ValueError())
    assert (folder / "book" / "looks.html").read_text("utf-8") == SKELETON
    assert (folder / "book" / "chapter.html").read_text("utf-8") == CHAPTER


# --- light pages ---


def test_icons_of_the_pages_become_a_style_sheet(site):
    app, folder = site
    sphinx_light.lighten(app, None)
    page = (folder / "book" / "looks.html").read_text("utf-8")
    assert "fontawesome" not in page
    static = folder / "_static"
    assert not list(static.rglob("fontawesome*.*"))
    style = (static / "icons.css").read_text("utf-8")
    assert set(re.findall(r"\.(fa-[\w-]+) \{\n  --icon", style)) == {"fa-sun", "fa-file-lines"}
    assert "M3%203z" in style.replace(" ", "%20")  # the solid shape, not the regular one
    assert "viewBox='0 0 384 512'" in style


def test_the_font_keeps_the_signs_of_the_theme_alone(site):
    app, folder = site
    sphinx_light.lighten(app, None)
    [font] = (folder / "_static" / "vendor" / "fontawesome" / "webfonts").iterdir()
    assert set(TTFont(font).getBestCmap()) == {0xF0F3, 0xF0EB}
    style = (folder / "_static" / "styles" / "pydata-sphinx-theme.css").read_text("utf-8")
    assert "woff2" not in style
    assert f"{font.name}) format" in style


def test_an_icon_that_the_theme_lacks_is_named(site):
    app, folder = site
    (folder / "book" / "more.html").write_text('<i class="fa-solid fa-dragon"></i>')
    with pytest.raises(QmlbookError, match="no icon fa-dragon"):
        sphinx_light.lighten(app, None)


def test_only_the_page_that_searches_loads_the_index(site):
    app, folder = site
    scripts = '<script src="_static/searchtools.js"></script><script src="searchindex.js"></script>'
    for name in ("search", "index"):
        (folder / f"{name}.html").write_text(f"{scripts}<script src='book.js'></script>")
    sphinx_light.lighten(app, None)
    assert scripts in (folder / "search.html").read_text()
    assert (folder / "index.html").read_text() == "<script src='book.js'></script>"


def test_pictures_wait_and_plots_know_their_width_on_a_phone(site):
    app, folder = site
    sphinx_light.lighten(app, None)
    page = BeautifulSoup((folder / "book" / "looks.html").read_text("utf-8"), "html.parser")
    plot, logo = page.select("img")
    assert (plot["loading"], logo["loading"]) == ("lazy", "eager")
    assert plot.parent["class"] == ["qmlbook-plot"]
    assert (plot["width"], plot["height"]) == ("1100", "550")
    assert plot["style"] == f"--small: {10 * sphinx_light.SMALL}px"
    assert logo.parent.name == "body"


def test_pictures_without_a_density_are_left_as_they_are(site):
    app, folder = site
    (folder / "_images" / "plot.png").write_bytes(png(10, 10, 0))
    sphinx_light.lighten(app, None)
    assert "qmlbook-plot" not in (folder / "book" / "looks.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("body", "kept"),
    [("<p>text</p>", 1), ('<span class="math">\\(n\\)</span>', 2), ("<p>\\[x\\]</p>", 2)],
)
def test_only_pages_with_formulas_load_their_script(body, kept):
    context = {"body": body, "script_files": ["book.js", "mathjax/tex-svg-full.js"]}
    sphinx_light.leave_out_formulas(None, "page", "page.html", context, None)
    assert len(context["script_files"]) == kept


# --- addresses ---


def test_links_to_a_chapter_lead_to_the_notebook_in_its_place(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "verdicts.ipynb").write_text("{}")
    text = '[C6](verdicts.md#qssl-C6 "reproduced"), [data](data.md), [all](verdicts.md)'
    content = [text]
    sphinx_pages.lead_to_notebooks(SimpleNamespace(srcdir=str(tmp_path)), "book/qssl", content)
    assert content == [text.replace("verdicts.md", "verdicts.ipynb")]


def test_links_find_the_addresses_of_rows_in_outputs():
    from docutils.parsers.rst import Parser

    page = new_document("verdicts", get_default_settings(Parser))
    page += nodes.raw("", '<span id="qssl-C6">', format="html")  # Markdown leaves tags alone
    page += nodes.raw("", "</span>", format="html")
    page += nodes.paragraph("", '<span id="no"></span>')
    env = SimpleNamespace(docname="book/verdicts", metadata={"book/verdicts": {}})
    sphinx_pages.note_addresses(SimpleNamespace(env=env), page)
    assert env.metadata["book/verdicts"]["myst_slugs"] == {"qssl-C6": (0, "qssl-C6", "")}
