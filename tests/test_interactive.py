"""Tables of signs: the page's part, its fallback, and what happens in a real browser."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from qmlbook.base.errors import UsageError
from qmlbook.book.figures.sign_table import SignTable

CSS = Path(__file__).parents[1] / "book" / "_static" / "book.css"


NAMES = [["X₁", "X₂", "X₁X₂"], ["Z₂", "Z₁", "Z₁Z₂"], ["X₁Z₂", "Z₁X₂", "Y₁Y₂"]]
MOST = "Five is the most </script> & <b>."
ONE_MINUS = [[-1, 1, 1], [1, 1, 1], [1, 1, 1]]  # row 1, column 1 and column 3 fail


def square(last=-1, **options):
    return SignTable("Fill the square", NAMES, (1, 1, 1), (1, 1, last), when_best=MOST, **options)


@pytest.mark.parametrize(("last", "best"), [(-1, 5), (1, 6)])
def test_the_square_cannot_be_filled_unless_its_signs_agree(last, best):
    assert square(last).wanted.fillings == 512
    assert square(last).wanted.best == best


def test_the_best_of_other_shapes():
    def table(rows, columns):
        return SignTable("any", [["Z"] * len(columns)] * len(rows), rows, columns).wanted

    assert table([-1], [1]).best == 1
    assert table([1, 1], [1, -1]).best == 3
    assert table([-1, 1], [1, -1, 1]).best == 5
    wide = table([1, -1, 1, 1], [1, 1, -1, -1])
    assert (wide.fillings, wide.best) == (65536, 7)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": []}, "names must be rows of equal length .* 0 rows, of length 0"),
        ({"names": [[]]}, "names must be rows of equal length .* 1 rows, of length 0"),
        ({"names": [["X", "Z"], ["X"]]}, "names must be rows .* 2 rows, of length 1 or 2"),
        ({"names": [["X"] * 5] * 4}, "1 to 16 cells .* 4 rows, of length 5"),
        ({"row_products": (1,)}, r"row_products must hold 2 signs.*given: \[1\]"),
        ({"row_products": (1, 2)}, "row_products must hold 2 signs, each 1 or -1"),
        ({"column_products": (1, "1")}, "column_products must hold 2 signs"),
        ({"initial": [[1, 1]]}, "initial must have 2 rows; it has 1"),
        ({"initial": [[1, 1], [1]]}, "every row of initial must hold 2 signs"),
        ({"initial": [[1, 1], [1, 0]]}, r"every row of initial .* given: \[1, 0\]"),
    ],
)
def test_shapes_and_signs_must_fit(change, said):
    fitting = {"names": [["X", "Z"]] * 2, "row_products": (1, 1), "column_products": (1, 1)}
    SignTable("fits", **fitting)
    with pytest.raises(UsageError, match=said):
        SignTable("does not", **fitting | change)


class Tags(HTMLParser):
    """Insist that every tag is closed in its turn; collect the names of attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes = [], set()
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_part_is_whole_always_the_same_and_needs_nothing_else():
    made = square().html()
    assert made == square(initial=[[1] * 3] * 3).html()
    assert made != square(initial=ONE_MINUS).html()
    attributes = Tags(made).attributes
    assert not attributes & {"id", "src", "href", "style", "onclick"}
    assert "//" not in made.replace("</", "")
    assert "import" not in made


def test_names_are_text():
    names = [["<i>&\"'", "</script>"]]
    made = SignTable("<u>", names, [1], [1, 1], when_best="</script>").html()
    soup = BeautifulSoup(made, "html.parser")
    assert [name.text for name in soup.select("[data-cell] span")] == names[0]
    assert soup.caption.text == "<u>"
    assert not soup.select("i, u")
    assert made.count("</script>") == 1


def test_without_scripts_it_is_a_table_to_be_read():
    soup = BeautifulSoup(square(initial=ONE_MINUS).html(), "html.parser")
    assert [row.get_text(" ", strip=True).replace("\xa0", " ") for row in soup.find_all("tr")] == [
        "column 1 column 2 column 3 product",
        "row 1 X₁ −1 X₂ +1 X₁X₂ +1 −1, wanted +1: fails",
        "row 2 Z₂ +1 Z₁ +1 Z₁Z₂ +1 +1, wanted +1: holds",
        "row 3 X₁Z₂ +1 Z₁X₂ +1 Y₁Y₂ +1 +1, wanted +1: holds",
        "product −1, wanted +1: fails +1, wanted +1: holds +1, wanted −1: fails",
    ]
    assert soup.output.text == "3 of 6 products hold; failing: row 1, column 1, column 3."
    assert all(button.find_parent(hidden=True) for button in soup.find_all("button"))


def test_other_readers_of_tables_get_text():
    bundle = square()._repr_mimebundle_()
    assert bundle["text/html"] == square().html()
    assert bundle["text/plain"].splitlines() == [
        "Fill the square",
        "         column 1       column 2       column 3       product",
        "row 1    X₁ +1          X₂ +1          X₁X₂ +1        +1, wanted +1",
        "row 2    Z₂ +1          Z₁ +1          Z₁Z₂ +1        +1, wanted +1",
        "row 3    X₁Z₂ +1        Z₁X₂ +1        Y₁Y₂ +1        +1, wanted +1",
        "product  +1, wanted +1  +1, wanted +1  +1, wanted −1",
        "5 of 6 products hold; failing: column 3.",
    ]
    assert square(last=1).text().endswith("6 of 6 products hold.")


@pytest.fixture
def show(browser):
    """Return a function that opens a page of tables; no script of theirs may complain."""
    complaints, contexts = [], []

    def show(*tables, style="", **options):
        contexts.append(browser.new_context(**options))
        tab = contexts[-1].new_page()
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        body = "".join(table.html() for table in tables)
        tab.set_content(f"<html><body class=bd-article><style>{style}</style>{body}</body></html>")
        return tab

    yield show
    for context in contexts:
        context.close()
    assert not complaints


@pytest.mark.slow
def test_the_square_is_filled_by_keyboard(show):
    tab = show(square(initial=ONE_MINUS))
    table, status = tab.get_by_role("table", name="Fill the square"), tab.get_by_role("status")
    assert table.get_by_role("columnheader").count() == table.get_by_role("rowheader").count() == 4
    assert status.get_attribute("aria-live") == "polite"
    assert "Best so far: 3 of 6." in status.inner_text()
    assert not tab.get_by_text(MOST).count()

    def focused():
        return tab.evaluate("document.activeElement.ariaLabel || document.activeElement.innerText")

    tab.keyboard.press("Tab")
    assert focused() == "X₁: minus 1, press to change"
    tab.keyboard.press("Space")
    assert focused() == "X₁: plus 1, press to change"
    assert tab.get_by_role("button", name="X₁: plus 1").inner_text().split() == ["X₁", "+1"]
    said = "5 of 6 products hold; failing: column 3. Best so far: 5 of 6."
    assert status.inner_text() == said
    assert tab.get_by_text(MOST).is_visible()
    for key, name in {"ArrowDown": "Z₂", "ArrowRight": "Z₁", "Tab": "Z₁Z₂"}.items():
        tab.keyboard.press(key)
        assert focused() == f"{name}: plus 1, press to change"
    tab.keyboard.press("Enter")
    assert focused() == "Z₁Z₂: minus 1, press to change"
    assert status.inner_text() == said.replace("column 3", "row 2")
    rows = table.get_by_role("row").all_inner_texts()
    assert "−1, wanted +1: fails" in " ".join(rows[2].split())
    assert "−1, wanted −1: holds" in " ".join(rows[4].split())
    for key, name in {"ArrowUp": "X₁X₂", "ArrowLeft": "X₂"}.items():
        tab.keyboard.press(key)
        assert focused().startswith(name + ":")
    tab.keyboard.press("ArrowUp")
    assert focused().startswith("X₂:"), "there is nothing above"
    tab.keyboard.press("Space")
    assert status.inner_text().startswith("3 of 6 products hold; failing: row 1, row 2, column 2.")
    assert "Best so far: 5 of 6." in status.inner_text()
    for _ in range(8):
        tab.keyboard.press("Tab")
    assert focused() == "Start again"
    tab.keyboard.press("Enter")
    assert status.inner_text().startswith(
        "3 of 6 products hold; failing: row 1, column 1, column 3"
    )
    assert tab.get_by_role("button", name="minus 1").count() == 1


@pytest.mark.slow
def test_page_and_script_agree(show):
    tables = square(), square(last=1), square(initial=ONE_MINUS)
    still, live = (show(*tables, java_script_enabled=live) for live in (False, True))
    for part in ("[data-cell]", "[data-holds]"):
        words = [tab.locator(part).all_inner_texts() for tab in (still, live)]
        assert [each.split() for each in words[0]] == [each.split() for each in words[1]]
    counts = [tab.get_by_role("status").all_inner_texts() for tab in (still, live)]
    for before, after in zip(*counts, strict=True):
        assert after.startswith(before + " Best so far: ")
    assert still.get_by_role("button").count() == 0
    assert live.get_by_role("button").count() == 30


@pytest.mark.slow
def test_tables_of_a_page_do_not_meet(show):
    tab = show(square(), square(), SignTable("Other", [["Z"]], [-1], [-1], when_best="Done."))
    first, twin, other = tab.locator(".qmlbook-signs").all()
    first.get_by_role("button", name="X₁: ").click()
    twin_said = twin.get_by_role("status").inner_text()
    assert first.get_by_role("status").inner_text().startswith("3 of 6")
    assert twin_said.startswith("5 of 6")
    other.get_by_role("button", name="Z: ").click()
    assert other.get_by_role("status").inner_text() == "2 of 2 products hold. Best so far: 2 of 2."
    assert other.get_by_text("Done.").is_visible()
    twin.get_by_role("button", name="Y₁Y₂: ").click()
    twin.get_by_role("button", name="Start again").click()
    assert twin.get_by_role("status").inner_text() == twin_said
    assert first.get_by_role("button", name="minus 1").count() == 1


@pytest.mark.slow
def test_on_a_phone_and_on_paper(show):
    tab = show(square(), style=CSS.read_text(), viewport={"width": 390, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    places = [button.bounding_box() for button in tab.locator("[data-cell] button").all()]
    assert all(min(place["width"], place["height"]) >= 44 for place in places)
    again = tab.get_by_role("button", name="Start again")
    assert again.is_visible()
    tab.locator("[data-cell] button").first.click()
    tab.emulate_media(media="print")
    assert not again.is_visible()
    minus = tab.get_by_role("button", name="X₁: minus 1")
    look = minus.evaluate("b => [getComputedStyle(b).borderTopWidth, getComputedStyle(b).color]")
    assert look == ["0px", "rgb(0, 0, 0)"]
