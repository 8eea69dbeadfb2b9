"""Numbers in the text of chapters: links to their rows, or explained on the page, or listed."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from qmlbook.book import chapters, doors, notebooks
from qmlbook.evidence.verdicts import verdicts

ROOT = Path(__file__).parents[1]
CHAPTERS = ["klssl", "contextuality", "qdeq", "c2q", "qssl", "intro", "evidence", "referee"]
#: Numbers that no row and no cell of their section has: chapter -> why -> pieces of text with them.
LISTED = yaml.safe_load(Path(__file__).with_name("numbers.yml").read_text("utf-8"))


# --- doors ---


@pytest.fixture(scope="module")
def rows():
    return {("qssl", verdict.claim): verdict for verdict in verdicts(["qssl"])}


def book(folder, text):
    """Write a book with one page."""
    (folder / "_toc.yml").write_text("format: jb-book\nroot: book/page\n")
    (folder / "book").mkdir()
    (folder / "book" / "page.md").write_text(f"# Page\n\n{text}\n")
    return folder


def test_doors_of_the_book_say_what_their_rows_say():
    assert doors.check(ROOT) == []


def test_a_door_has_words_a_row_and_a_verdict():
    text = 'a\n\n[**4.3** points](verdicts.md#qssl-C13-loss "reproduced; undecided") and'
    [door] = doors.doors(text)
    assert (door.line, door.words, door.row) == (3, "**4.3** points", ("qssl", "C13-loss"))
    assert (door.said, door.share) == (("reproduced", "undecided"), True)
    assert not list(doors.doors("[rows](verdicts.md) [of](evidence.md#qssl-C6)"))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("4 points", [(4, 0)]),
        ("0.17 instead of 0.28", [(0.17, 2), (0.28, 2)]),
        ("2,500 cases, Four of them", [(2500, 0), (4, 0)]),
        ("C13-loss of the 1D head", []),
    ],
)
def test_numbers_are_read_as_they_are_written(words, found):
    assert doors.written(words) == found


def test_a_row_has_the_numbers_that_its_words_ask_for(rows):
    row = rows["qssl", "C6"]
    ours = [row.ours[name] for name in ("mean", "low", "high")]
    assert doors.numbers(row, "4 points") == [*ours, row.published["mean"]]
    assert doors.numbers(row, "8 seeds")[3] == row.ours["n"]
    assert doors.numbers(row, "a margin of 2")[-1] == row.margin


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[{mean:.1f}](verdicts.md#qssl-C6) points", ""),
        ('[{mean:.0f} points](verdicts.md#qssl-C6 "reproduced; undecided")', ""),
        ('[C6](verdicts.md#qssl-C6 "as published")', ""),
        ('[C4](verdicts.md#qssl-C4 "explained by cosine")', ""),
        ("[{other:.1f} points](verdicts.md#qssl-C6)", "but the numbers of its row are"),
        ('[C6](verdicts.md#qssl-C6 "inconclusive")', "its row says reproduced; undecided"),
        ('[C4](verdicts.md#qssl-C4 "explained by identity")', "its row says reproduced; explained"),
        ("[C66](verdicts.md#qssl-C66)", "leads to qssl-C66, which is no row"),
        ("[5 points](verdicts.md#nobody-C1)", "leads to nobody-C1, which is no row"),
        ("[ahead](verdicts.md#qssl-C6)", "neither a number nor a title"),
    ],
)
def test_what_is_written_is_what_the_row_says(tmp_path, rows, text, why):
    mean = rows["qssl", "C6"].ours["mean"]
    wrong = doors.check(book(tmp_path, text.format(mean=mean, other=mean + 0.1)))
    assert bool(wrong) == bool(why)
    for sentence in wrong:
        assert sentence.startswith("book/page.md, line 3: ")
        assert why in sentence


def test_shares_may_be_written_as_points(rows):
    row = replace(
        rows["qssl", "C6"], ours={"mean": 0.062, "low": 0.05, "high": 0.07}, published="none"
    )
    assert doors.numbers(row, "six points") == [0.062, 0.05, 0.07]
    [door] = doors.doors("[six points](verdicts.md#qssl-C6)")
    assert door.share
    assert not next(doors.doors("[0.06](verdicts.md#qssl-C6) of them")).share


# --- numbers without a door ---

NUMBER = re.compile(
    r"(?<![\w.#-])\d+(?:,\d{3})*(?:\.\d+)?(?![\w-]|\.\d)"
    r"|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)(?= (?:points|per cent)\b)"
)
NOT_TEXT = re.compile(
    r"^```+(?:\{math\}|\w*\n).*?^```+\s*$|\$\$.*?\$\$|\$[^$]+\$|\{[\w:]+\}`[^`]*`|`[^`]*`"
    r"|\[[^][]*\]\([^)]*\)|^\(\S+\)=$|^\s*(?:\d+\.|:[\w-]+:.*$|%.*$|::::?\{.*$)"
    r"|\b(?:[Ff]igs?\.|[Ss]ections?|[Vv]ersions?|step) \d+(?: and \d+)?",
    re.DOTALL | re.MULTILINE,
)


def plain(text):
    """Return the numbers of code, output or formulas, written in one way."""
    found = re.findall(r"(?<![\w.])\d+(?:\.\d+)?", re.sub(r"(?<=\d),(?=\d{3})", "", text))
    return {f"{float(number):g}" for number in found}


def shown_numbers(cell, outputs):
    """Return the numbers that a cell has on the page, without those that come from records."""
    tags = notebooks.tags(cell)
    if "remove-cell" in tags:
        return set()
    printed = [] if "nbval-ignore-output" in tags else outputs
    texts = [one.get("text", one.get("data", {}).get("text/plain", "")) for one in printed]
    return plain("\n".join([cell.source, *texts]))


def sections(name):
    """Yield the sections of a chapter: prose, and the numbers that its cells and formulas show."""
    notebook = chapters.read(ROOT / "book" / f"{name}.md")
    stored = notebooks.read(ROOT / "tests" / "reference" / f"{name}.ipynb")
    outputs = {number: cell.outputs for number, cell in notebooks.code_cells(stored)}
    numbered = {id(cell): number for number, cell in notebooks.code_cells(notebook)}
    prose, known = "", set()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            known |= shown_numbers(cell, outputs.get(numbered.get(id(cell)), []))
            continue
        first, *others = re.split(r"^## ", cell.source, flags=re.MULTILINE)
        for number, text in enumerate([first, *others]):
            if number:
                yield prose, known
                prose, known = "", set()
            formulas = re.findall(r"\$[^$]+\$|^```\{math\}.*?^```", text, re.DOTALL | re.MULTILINE)
            prose, known = f"{prose}\n{text}", known | plain(" ".join(formulas))
    yield prose, known


def loose(name):
    """Return numbers of the prose without a door or a cell, and the text around them."""
    found = []
    for prose, known in sections(name):
        text = " ".join(NOT_TEXT.sub(" ", prose).split())
        for match in NUMBER.finditer(text):
            word = match[0].replace(",", "")
            if not word[0].isdigit() or f"{float(word):g}" not in known:
                found.append((match[0], text[max(0, match.start() - 60) : match.end() + 60]))
    return found


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_number_is_linked_or_shown_or_listed_with_a_reason(name):
    pieces = [piece for of in LISTED.get(name, {}).values() for piece in of]
    left = [
        around
        for number, around in loose(name)
        if not any(piece in around and number in piece for piece in pieces)
    ]
    assert not left, "\n".join(left)


@pytest.mark.parametrize("name", LISTED)
def test_the_list_has_nothing_that_no_longer_needs_it(name):
    pieces = [piece for of in LISTED[name].values() for piece in of]
    needed = [around for _, around in loose(name)]
    stale = [piece for piece in pieces if not any(piece in around for around in needed)]
    assert not stale
    assert name in CHAPTERS
