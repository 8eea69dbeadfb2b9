"""References: what is compared with what, and what is red."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from nbformat import v4
from small_project import PARAMETERS, TINY, chapter

from qmlbook.book import references


def reference(*outputs, tags=(), count=1):
    cell = v4.new_code_cell(
        "show()", execution_count=count, outputs=list(outputs), metadata={"tags": list(tags)}
    )
    return v4.new_notebook(cells=[v4.new_markdown_cell("# Title"), cell])


def text(said):
    return v4.new_output("stream", name="stdout", text=said)


FIGURE = v4.new_output("display_data", {"text/plain": "<Figure size 640x480 with 1 Axes>"})


@pytest.mark.parametrize(
    ("notebook", "complaint"),
    [
        (reference(text("3\n")), None),
        (reference(FIGURE, text("3\n")), None),
        (reference(text("3\n"), count=None), "code cell 1 of the reference was never executed"),
        (reference(), "nothing to compare"),
        (reference(text("  \n")), "nothing to compare"),
        (reference(FIGURE), "nothing to compare"),
        (reference(text("3\n"), tags=["nbval-ignore-output"]), "nothing to compare"),
        (reference(text("3\n"), tags=["nbval-skip"]), "nothing to compare"),
    ],
)
def test_guard_asks_for_an_executed_reference_with_something_to_compare(notebook, complaint):
    found = references.guard_reference(notebook, notebook)
    assert [complaint in one for one in found] == ([True] if complaint else []), found


def test_guard_asks_that_reference_and_chapter_agree_cell_by_cell():
    def complaints(change):
        source = reference(text("3\n"))
        change(source.cells)
        return references.guard_reference(reference(text("3\n")), source)

    assert complaints(lambda cells: None) == []
    assert complaints(lambda cells: cells[0].update(source="# Other"))[0].startswith("cell 1 ")
    assert complaints(lambda cells: cells[1].update(source="hide()"))[0].startswith("cell 2 ")
    assert complaints(lambda cells: cells[1].metadata.update(tags=["hide-input"]))[0].startswith(
        "cell 2 differs"
    )
    more = complaints(lambda cells: cells.append(v4.new_markdown_cell("More")))
    assert more == ["3 cells in the chapter, 2 in the reference"]


def test_every_chapter_has_a_reference_and_every_reference_a_chapter(project):
    project.write("tests/reference/gone.ipynb", "{}")
    assert not project.check()
    assert project.said == [
        "tiny: FAILED: no reference; `qmlbook check tiny --update` writes it",
        f"gone: FAILED: {Path('tests/reference/gone.ipynb')} has no chapter in _toc.yml; remove it",
    ]


@pytest.mark.slow
def test_check_compares_what_is_printed_and_nothing_else(project, monkeypatch):
    plot = "import matplotlib.pyplot as plt\n\n_ = plt.figure().subplots().plot([1, 2])"
    drawing = "from IPython.display import SVG\n\nSVG(f'<svg id=\"{id(plot)}\"></svg>')"
    users = "import os\n\nprint(os.environ.get('QMLBOOK_DATA'), os.getpid() > 0)"
    code = TINY + "".join(
        f"\n```{{code-cell}} ipython3\n{source}\n```\n"
        for source in (plot, f"plot = object()\n{drawing}", users)
    )
    project.chapters(tiny=code)
    monkeypatch.setenv("QMLBOOK_DATA", "mine")
    assert project.check(update=True)
    path = project.root / "tests" / "reference" / "tiny.ipynb"
    stored = path.read_text("utf-8")
    assert "image/png" not in stored
    assert "[drawing]" in stored
    assert "fingerprint" not in stored
    assert project.check(), project.said
    assert project.said[-1] == "tiny: agrees with its reference"
    assert project.check(update=True)
    assert path.read_text("utf-8") == stored

    path.write_text(stored.replace("product 6.0", "product 6.1"), "utf-8")
    assert not project.check()
    assert project.said[-1].startswith("tiny: FAILED\n")
    assert "code cell 2: Cell outputs differ" in project.said[-1]
    assert "product 6.1" in project.said[-1]

    path.write_text(stored, "utf-8")
    project.write("src/qmlbook/__init__.py", "raise ArithmeticError('planted')\n")
    assert not project.check()
    assert "tiny: FAILED in code cell 4: ArithmeticError: planted" in project.said[-1]
    project.write("src/qmlbook/__init__.py", "ANSWER = 43\n")
    assert not project.check()
    assert "code cell 4: Cell outputs differ" in project.said[-1]

    project.chapters(tiny=code.replace("scale * 3", "scale * 4"))
    assert not project.check()
    assert "differs between chapter and reference" in project.said[-1]


@pytest.mark.slow
def test_standard_error_is_compared_where_it_is_allowed(project):
    source = "import sys\n\nprint('careful', file=sys.stderr)"
    project.chapters(
        tiny=chapter("Tiny", ("parameters", PARAMETERS), ("allow-stderr", source), "1 + 1")
    )
    assert project.check(update=True)
    assert project.check()
    path = project.root / "tests" / "reference" / "tiny.ipynb"
    path.write_text(path.read_text("utf-8").replace("careful\\n", "careless\\n"), "utf-8")
    assert not project.check()


@pytest.mark.slow
def test_the_run_that_the_book_shows_is_compared_as_nbval_compares_its_own(project):
    cells = (
        "print('one')",
        "import sys\n\n1 + 1",
        ("raises-exception", "[][int(scale)]"),
        ("nbval-skip", "print('skipped')"),
        ("allow-stderr", "print('careful', file=sys.stderr)"),
        "# NBVAL_IGNORE_OUTPUT\nprint('ignored')",
    )
    project.chapters(tiny=chapter("Tiny", ("parameters", PARAMETERS), *cells))
    assert project.check(update=True)
    path = project.root / "tests" / "reference" / "tiny.ipynb"
    stored = path.read_text("utf-8")

    def said(**options):
        good = project.check(**options)
        return good, re.findall(r"code cell (\d+): (.*)", project.said[-1])

    changes = {
        '"one\\n"': '"two\\n"',
        '"text/plain": [\n       "2"': '"text/html": [\n       "2"',
        '"evalue": "list index': '"evalue": "no list index',
        '"careful\\n"': '"careless\\n"',
    }
    for old in changes:
        assert stored.count(old) == 1, old
    compared = stored
    for number, (old, new) in enumerate(changes.items(), 1):
        compared = compared.replace(old, new)
        path.write_text(compared, "utf-8")
        good, differences = said()
        assert not good
        assert len(differences) == number
    assert differences == said(nbval=True)[1]
    assert [cell for cell, _ in differences] == ["2", "3", "4", "6"]
    for text in ("skipped", "ignored"):
        path.write_text(stored.replace(f'"{text}\\n"', '"another\\n"'), "utf-8")
        assert said() == (True, [])
    assert project.said.count("tiny: running") == 1  # for the book and for all of this


def test_outputs_of_another_source_are_not_compared():
    test = SimpleNamespace(cell=SimpleNamespace(source="hide()"))
    collector = SimpleNamespace(collect=lambda: [test])
    with pytest.raises(RuntimeError, match=r"'hide\(\)', the chapter 'show\(\)'"):
        list(references.differences(collector, reference(text("3\n"))))
