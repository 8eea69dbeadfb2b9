"""A course from the book: no solution leaks, nbgrader grades it, slides need no network."""

import ast
import builtins
import json
import os
import re
import subprocess
import symtable
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import jupytext
import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup

from qmlbook import cli, papers
from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.book import course, execute, stamps
from qmlbook.book.course import assignments, myst, slides
from qmlbook.evidence.claims import load_claims
from qmlbook.evidence.planned import planned
from qmlbook.evidence.verdicts import Runs, judge, verdicts

ROOT = Path(__file__).resolve().parents[1]
NAMES = course.select(None, ROOT)

HEAD = """\
---
jupytext:
  text_representation: {extension: .md, format_name: myst}
kernelspec: {display_name: Python 3, language: python, name: python3}
---

# A chapter

"""
BODY = """\
We count {cite:p}`tran2025` as {cite:t}`jaderberg2022` do in {doc}`klssl`; see [](fig-one).

```{admonition} A box
:class: tip
**One** says [where](sec-here), with [4 points](verdicts.md#qssl-C6 "reproduced").

Two.
```

(sec-here)=
## Here

```{math}
:label: eq-one
a = b
```

By {eq}`eq-one`, `{doc}` stays code and $f[x](y)$ a formula.

```{code-cell} ipython3
---
tags: [hide-input]
mystnb:
  image: {alt: A dot.}
  figure: {caption: "The dot of {doc}`klssl`.", name: fig-one}
---
from qmlbook.book.questions import expected

known = 1
```

```{code-cell} ipython3
:tags: [remove-cell]

assert known == 1, "a guard of the author"
```

## Exercises

```{exercise-start}
:label: ex-add
```
Add one to `known` and call it `more`.
```{exercise-end}
```

```{solution-start} ex-add
:class: dropdown
```

```{code-cell} ipython3
more = known + 1  # the secret sum
```

```{code-cell} ipython3
:tags: [self-check]

with expected("more must be one more than known"):
    assert more == 2, "more must be two"
```

```{solution-end}
```

```{exercise-start}
:label: ex-why
```
Why is it two?
```{exercise-end}
```

```{solution-start} ex-why
:class: dropdown
```
Because of the secret reason.

```{code-cell} ipython3
print("secretly", more)
```

```{solution-end}
```

```{exercise-start}
:label: ex-code
```
Print it.
```{exercise-end}
```

```{solution-start} ex-code
:class: dropdown
```

```{code-cell} ipython3
print("the secret", known)
```

```{solution-end}
```
"""


@pytest.fixture(scope="module")
def book():
    found = myst.Book.read(ROOT)
    found.titles["tiny"] = "A chapter"
    return found


def chapter_of(book, body):
    return myst.Chapter("tiny", jupytext.reads(HEAD + body, "md:myst"), book)


@pytest.fixture(scope="module")
def tiny(book):
    return chapter_of(book, BODY)


def nbgrader(notebook):
    return [c.metadata.nbgrader for c in notebook.cells if "nbgrader" in c.metadata]


def hidden(cell):
    return assignments.HIDDEN_CHECK in cell.metadata["tags"]


def text(notebook):
    return "\n".join(cell.source for cell in notebook.cells)


# --- plain Markdown -----------------------------------------------------------------------------


def test_myst_becomes_plain_markdown(tiny):
    said = text(assignments.instructor(tiny))
    assert "We count (Tran et al., 2025) as Jaderberg et al. (2022) do in" in said
    assert f"do in *{tiny.book.titles['klssl']}*; see Figure 1." in said
    assert "> **A box**\n>\n> **One** says where, with 4 points.\n>\n> Two." in said
    assert "$$\na = b\n\\tag{1}\n$$" in said
    assert "By (1), `{doc}` stays code and $f[x](y)$ a formula." in said
    assert "**Figure 1.** The dot of *Train a classifier" in said
    assert re.search(r"## References\n\n- .*Quantum self-supervised learning", said)
    assert "a guard of the author" not in said
    assert "sec-here" not in said


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("```{figure} a.png\n```\n", "figure"),
        (":::{note}\nHello.\n:::\n", ":::{note}"),
        ("See {numref}`fig-one`.\n", "{numref}"),
        ("See {doc}`nosuch`.\n", "{doc}`nosuch`"),
        ("See {cite}`nosuch2020`.\n", "nosuch2020"),
        ("See {eq}`eq-nosuch`.\n", "eq-nosuch"),
        ("See [](fig-nosuch).\n", "[](fig-nosuch)"),
        ("```{solution-start} ex-nosuch\n```\nSo.\n```{solution-end}\n```\n", "ex-nosuch"),
    ],
)
def test_what_plain_markdown_cannot_say_is_one_sentence(book, body, named):
    with pytest.raises(QmlbookError, match=r"^tiny: ") as error:
        chapter_of(book, body)
    assert named in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_no_directive_is_left_in_a_notebook(book, name):
    for cell in assignments.instructor(course.read(name, ROOT, book)).cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"^\s*[`:]{3,}\{|\{[a-z:]+\}`|^\([\w-]+\)=", cell.source, re.M)


# --- notebooks ----------------------------------------------------------------------------------


def test_the_three_ways_of_grading(tiny):
    add, check, words, tried, code = nbgrader(assignments.instructor(tiny))
    assert add == {**tried, "grade_id": "ex-add"}
    assert (add.solution, add.grade, "points" in add) == (True, False, False)
    assert (check.grade_id, check.grade, check.locked) == ("ex-add-check-1", True, True)
    assert (words.grade_id, words.grade, words.solution) == ("ex-why-answer", True, True)
    assert (code.grade_id, code.grade, code.solution, code.points) == ("ex-code", True, True, 1)


def test_the_student_gets_stubs_and_tests_but_no_solution(tiny):
    solved = assignments.instructor(tiny)
    given = assignments.student(solved)
    assert text(solved).count("secret") == 4
    assert "secret" not in text(given)
    assert text(given).count(assignments.CODE_STUB) == 3
    assert "assert more == 2" in text(given)
    assert nbgrader(solved) == nbgrader(given)


@pytest.mark.parametrize("name", NAMES)
def test_no_line_of_a_solution_leaks(book, name):
    chapter = course.read(name, ROOT, book)
    solved = assignments.instructor(chapter)
    given = text(assignments.student(solved))
    public = [item.source for item in chapter.items if not isinstance(item, myst.Exercise)]
    public += [exercise.question for exercise in chapter.exercises]
    seen = [cell for e in chapter.exercises for cell in assignments.checks(e) if not hidden(cell)]
    public += [cell.source for cell in seen]
    known = "\n".join(public)
    lines = {
        line.strip()
        for exercise in chapter.exercises
        for cell in exercise.solution
        if cell not in seen
        for line in cell.source.splitlines()
    }
    secret = {line for line in lines if len(line) > 8 and line not in known}
    assert len(secret) >= 2 * len(chapter.exercises)
    assert [line for line in secret if line not in text(solved)] == []
    assert [line for line in secret if line in given] == []


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_valid_for_jupyter_and_nbgrader(book, name):
    from nbgrader.nbgraderformat import MetadataValidator

    validator = MetadataValidator()
    chapter = course.read(name, ROOT, book)
    solved = assignments.instructor(chapter)
    for notebook in (solved, assignments.student(solved)):
        nbformat.validate(notebook)
        validator.validate_nb(notebook)
        assert not any(cell.get("outputs") for cell in notebook.cells)
        graded = [settings.grade_id for settings in nbgrader(notebook)]
        assert len(graded) == len(set(graded))
        for exercise in chapter.exercises:
            own = [s for s in nbgrader(notebook) if s.grade_id.startswith(exercise.label)]
            assert any(settings.grade for settings in own)


def test_chapters_said_to_check_themselves_do(book):
    for name in ("circuits", "klssl", "c2q", "qdeq"):
        assert any(map(assignments.checks, course.read(name, ROOT, book).exercises)), name


def test_notebooks_name_nothing_that_no_cell_defines(book, tmp_path):
    for name in NAMES:
        nbformat.write(
            assignments.instructor(course.read(name, ROOT, book)), tmp_path / f"{name}.ipynb"
        )
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "F821"]
    found = subprocess.run([*ruff, tmp_path], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("assert more == 2", "assert known == 1", "would pass for an empty answer"),
        ('"more must be two"', '""', "must say what was expected of more"),
        ("more must be two", "anymore", "must say what was expected of more"),
        ('"more must be two"', "more", "must say what was expected of more"),
        ("more must be one more than", "it must be two for", "must say what was expected of more"),
        ('"more must be one more than known"', 'f"{more} is wrong"', "inside `with expected"),
        ("with expected", "more + 1\nwith expected", "inside `with expected"),
        ('with expected("more must be one more than known")', "if True", "inside `with expected"),
        (
            "assert more == 2",
            "assert [more for more in range(3)]",
            "would pass for an empty answer",
        ),
        ("call it `more`", "keep the sum", "must ask for that name"),
    ],
)
def test_a_check_that_proves_nothing_is_refused(book, old, new, said):
    with pytest.raises(QmlbookError, match=said):
        assignments.instructor(chapter_of(book, BODY.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (', "more must be two"', ""),
        ('"more must be two"', 'f"{more} is not two"'),
        ("with expected", "import math\nwith expected"),
    ],
)
def test_a_check_that_says_what_was_expected_is_taken(book, old, new):
    changed = BODY.replace(old, new)
    assert changed != BODY
    assignments.instructor(chapter_of(book, changed))


def imported(chapter, read):
    """Return what the code of a chapter imports of these names, and run nothing else of it."""
    rest = [item for item in chapter.items if not isinstance(item, myst.Exercise)]
    cells = rest + [cell for exercise in chapter.exercises for cell in exercise.solution]
    names = {}
    for line in ast.parse("\n".join(c.source for c in cells if c.cell_type == "code")).body:
        if isinstance(line, ast.Import | ast.ImportFrom):
            line.names = [each for each in line.names if (each.asname or each.name) in read]
            exec(ast.unparse(line) if line.names else "", names)
    return names


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_of_another_type_or_shape_is_told_what_was_expected(book, name):
    """The chapter is not run: what else a check reads of it is replaced by mocks."""
    chapter = course.read(name, ROOT, book)
    for exercise in chapter.exercises:
        answered = assignments._bound(assignments._answer(exercise))
        for check in assignments.checks(exercise):
            read = assignments._read(symtable.symtable(check.source, name, "exec"))
            names = {each: MagicMock() for each in read - set(dir(builtins))}
            names |= imported(chapter, read)
            for asked in (read & answered) - assignments._bound([check]):
                for wrong in (None, "text", [], (), {}, lambda *_: None, 0, np.zeros(3)):
                    with pytest.raises(AssertionError) as told, np.errstate(all="ignore"):
                        exec(check.source, {**names, asked: wrong})
                    said = set(re.findall(r"\w+", str(told.value)))
                    assert said & read & answered, (exercise.label, asked, wrong, told.value)


# --- slides -------------------------------------------------------------------------------------


def loaded(page):
    """Return every address that a browser would load something from."""
    soup = BeautifulSoup(page, "html.parser")
    found = [
        tag[key] for key in ("src", "srcset", "data") for tag in soup.find_all(attrs={key: True})
    ]
    found += [tag["href"] for tag in soup.find_all("link", href=True)]
    for code in soup.find_all(["style", "script"]):
        found += re.findall(r"(?:@import|url\(|\bimport\b|require\().{0,80}", code.get_text())
    return found


@pytest.mark.parametrize("name", ["circuits", pytest.param("qdeq", marks=pytest.mark.nightly)])
def test_slides_load_only_what_lies_beside_them(book, name):
    found = loaded(slides.html(course.read(name, ROOT, book)))
    beside = {f"reveal/{file}" for file in slides.files()} | {"mathjax/tex-svg-full.js"}
    assert {place for place in found if not place.startswith("data:")} == beside - {
        "reveal/LICENSE"
    }
    for file, data in slides.files().items():
        if file.endswith(".css"):
            assert not re.search(rb"@import|url\((?!data:)", data)


def test_slides_show_the_start_and_note_the_whole(book):
    long = " ".join(f"Sentence number {n} says $n_{{{n}}}$." for n in range(60))
    soup = BeautifulSoup(slides.html(chapter_of(book, f"## Long\n\n{long}\n")), "html.parser")
    slide, notes = soup.select("section section")[-1], soup.select("section section aside.notes")
    assert [len(slide.select("h2")), len(notes)] == [1, 1]
    assert "Sentence number 59" in notes[0].get_text()
    notes[0].extract()
    assert "Sentence number 0 says $n_{0}$." in slide.get_text()
    assert 200 < len(slide.get_text()) < 900


def test_slides_keep_figures_and_solutions_apart(book, tiny):
    soup = BeautifulSoup(slides.html(tiny), "html.parser")
    assert "secret" not in soup.get_text()
    assert "a guard of the author" not in soup.get_text()
    assert "Figure 1." in soup.select_one(".caption").get_text()
    assert "known = 1" in soup.select_one("details").get_text()
    assert [p for p in soup.find_all("p") if "Exercise 1." in p.get_text()]


def test_slides_never_show_the_output_of_another_source(tmp_path):
    executed = tmp_path / "_build" / "executed" / "quick" / "tiny.ipynb"
    for folder in (tmp_path / "book", tmp_path / "data", executed.parent):
        folder.mkdir(parents=True)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/tiny\n")
    (tmp_path / "requirements.lock").write_text("")
    source = tmp_path / "book" / "tiny.md"
    source.write_text(HEAD)
    assert execute.executed(["tiny"], tmp_path) == {}
    noted = stamps.looks(tmp_path / "notes", source, source.read_bytes(), tmp_path)
    stamp = {"profile": "quick", "parameters": {}, "looks": noted}
    executed.write_text(json.dumps({"metadata": {"qmlbook": stamp}}))
    assert execute.executed(["tiny"], tmp_path) == {"tiny": executed}
    source.write_text(HEAD + "One word more.\n")
    assert execute.executed(["tiny"], tmp_path) == {}


# --- the command --------------------------------------------------------------------------------


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["qmlbook", "course", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    captured = capsys.readouterr()
    return stop.value.code or 0, captured.out, captured.err


def everything(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize(
    "name", ["nosuch", "intro", "verdicts", "../klssl", "/etc/passwd", "", "a\nb"]
)
def test_another_name_is_one_sentence_and_nothing_is_written(monkeypatch, capsys, tmp_path, name):
    status, out, err = call(monkeypatch, capsys, "klssl", name, "--to", tmp_path / "new")
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert repr(name) in err
    assert "klssl" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.nightly
def test_a_course_is_written_whole_and_again_without_loss(monkeypatch, capsys, tmp_path):
    folder = tmp_path / "deep" / "course"
    assert call(monkeypatch, capsys, "circuits", "--to", folder)[0] == 0
    before = everything(folder)
    assert {"student/circuits.ipynb", "instructor/circuits/circuits.ipynb"} < before.keys()
    assert {
        "slides/circuits.html",
        "slides/mathjax/LICENSE",
        "slides/reveal/LICENSE",
    } < before.keys()
    assert "nbgrader_config.py" in before

    # Again, and one chapter more: what is equal is in nobody's way.
    assert call(monkeypatch, capsys, "circuits", "evidence", "--to", folder)[0] == 0
    assert before.items() < everything(folder).items()

    (folder / "student" / "circuits.ipynb").write_text("mine")
    (folder / "nbgrader_config.py").write_text("# mine")
    (folder / "submitted").mkdir()
    (folder / "submitted" / "notes.txt").write_text("mine")
    (folder / "slides" / "evidence.html").unlink()
    touched = everything(folder)
    status, _, err = call(monkeypatch, capsys, "circuits", "evidence", "--to", folder)
    assert status == 2
    assert "student/circuits.ipynb" in err
    assert "--force" in err
    assert everything(folder) == touched

    assert call(monkeypatch, capsys, "circuits", "--to", folder, "--force")[0] == 0
    after = everything(folder)
    assert after["student/circuits.ipynb"] == before["student/circuits.ipynb"]
    assert after["nbgrader_config.py"] == b"# mine"
    assert after["submitted/notes.txt"] == b"mine"
    assert not list(tmp_path.rglob(".course-*"))


def test_nothing_is_left_of_a_course_that_could_not_be_written(monkeypatch, tmp_path):
    def refuse(*_):
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(QmlbookError, match="No space left"):
        course.write(["circuits"], to=tmp_path / "course", root=ROOT)
    assert not list(tmp_path.iterdir())


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        course.write(["circuits"], to=tmp_path / "file", root=ROOT)


# --- the page for teachers ----------------------------------------------------------------------

PAGE = (ROOT / "book" / "teach.md").read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_page_lists_every_exercise_and_how_it_is_graded(book, name):
    chapter = course.read(name, ROOT, book)
    cells = nbgrader(assignments.instructor(chapter))
    for exercise in chapter.exercises:
        own = [each for each in cells if each.grade and each.grade_id.startswith(exercise.label)]
        ways = ["tests" for each in own if each.locked] + [
            "person" for each in own if each.solution
        ]
        row = f"| {{ref}}`{exercise.label}` | {name} |"
        (line,) = [line for line in PAGE.splitlines() if line.startswith(row)] or [f"no {row}"]
        assert line.endswith(f"| {', '.join(dict.fromkeys(ways))} |"), line


PROJECTS = re.findall(
    r"\| ([^|]*) \| `(qmlbook sweep (\w+) --experiment (\w+) --seeds (\d+))` \|", PAGE
)


def test_every_project_is_a_sweep_that_exists():
    assert len(PROJECTS) == PAGE.count("| `qmlbook sweep ") >= 6
    for _, _, paper, name, seeds in PROJECTS:
        assert int(seeds) >= papers.experiments(paper)[name].seeds["full"]


def test_the_rows_of_a_project_wait_for_its_runs():
    """With the seeds of the project in a file of one's own, and no controls."""
    named = 0
    for rows, command, paper, _, seeds in PROJECTS:
        known = {claim.id: claim for claim in load_claims(paper)}
        for row in (row for row in rows.split(", ") if row in known):
            mine = replace(known[row], seeds=int(seeds), controls="not applicable")
            verdict = judge(mine, planned(paper), Runs())
            assert verdict.command in (command, command.removesuffix(f" --seeds {seeds}")), row
            named += 1
    assert named >= 8


def test_the_claims_file_of_the_page_says_what_the_page_says(tmp_path):
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (mine := tmp_path / "mine.yml").write_text(text)
    (claim,) = load_claims("klssl", mine)
    (verdict,) = verdicts(["klssl"], claims=mine)
    ((command, name),) = [each[1:4:2] for each in PROJECTS if each[3] == claim.experiment]
    assert verdict.command == command
    stored = papers.experiments("klssl")[name].seeds["full"]
    assert f"# {claim.id}: incomplete ({stored} of {len(claim.seeds)} seeds)\n" in PAGE


# --- graded by nbgrader, shown by a browser -----------------------------------------------------


@pytest.fixture
def nbgrader_course(tmp_path, monkeypatch):
    """Return a function that runs Python in an empty course, and the course's folder."""
    (tmp_path / "kernel").mkdir()
    for key, value in execute.kernel_environment(ROOT, tmp_path / "kernel", embedded=True).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    # nbgrader calls alembic by its name: as after `source .venv/bin/activate`.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    (tmp_path / course.CONFIG).write_bytes(course._CONFIG_TEXT)

    def run(*arguments):
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    return run, tmp_path


# As `nbgrader generate_assignment`, but several in one process.
RELEASE = """
import sys
from nbgrader.apps import NbGraderAPI
from nbgrader.apps.nbgraderapp import NbGraderApp
app = NbGraderApp()
app.load_config_file()
api = NbGraderAPI(config=app.config)
for name in sys.argv[1:]:
    made = api.generate_assignment(name)
    if not made["success"]:
        sys.exit(made["log"] + made.get("error", ""))
"""


def release(nbgrader_course, chapters):
    """Let nbgrader make what students get; it must be what the command writes for them."""
    run, folder = nbgrader_course
    solved = {chapter.name: assignments.instructor(chapter) for chapter in chapters}
    for name, notebook in solved.items():
        (folder / "instructor" / name).mkdir(parents=True)
        nbformat.write(notebook, folder / "instructor" / name / f"{name}.ipynb")
    run("-c", RELEASE, *solved)
    for name, notebook in solved.items():
        released = nbformat.read(folder / "release" / name / f"{name}.ipynb", as_version=4)
        assert text(released) == text(assignments.student(notebook)), name


def grades(nbgrader_course, chapter, *students):
    """Return what nbgrader gives two students: one hands in everything, one nothing."""
    from nbgrader.api import Gradebook

    run, folder = nbgrader_course
    release(nbgrader_course, [chapter])
    name, solved = chapter.name, assignments.instructor(chapter)
    handed_in = {"diligent": solved, "empty": assignments.student(solved)}
    for who in students:
        place = folder / "submitted" / who / name
        place.mkdir(parents=True)
        nbformat.write(handed_in[who], place / f"{name}.ipynb")
    run("-m", "nbgrader", "autograde", name)
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as book:
        found = {who: book.find_submission(name, who) for who in students}
        return {who: (s.score, s.max_score, s.needs_manual_grade) for who, s in found.items()}


def right_grades(chapter):
    """Return the grades that the exercises of a chapter are worth."""
    cells = [cell for cell in nbgrader(assignments.instructor(chapter)) if cell.grade]
    total = sum(cell.points for cell in cells)
    checked = sum(cell.points for cell in cells if not cell.solution)
    assert total >= 2
    return {"diligent": (checked, total, total > checked), "empty": (0, total, False)}


@pytest.mark.nightly
def test_nbgrader_gives_full_marks_none_and_asks_a_person_for_the_rest(nbgrader_course, tiny):
    found = grades(nbgrader_course, tiny, "diligent", "empty")
    assert found == {"diligent": (1, 3, True), "empty": (0, 3, False)}


@pytest.mark.nightly
def test_nbgrader_grades_a_chapter(nbgrader_course, book):
    chapter = course.read("circuits", ROOT, book)
    assert (
        grades(nbgrader_course, chapter, "diligent")["diligent"]
        == right_grades(chapter)["diligent"]
    )


@pytest.mark.nightly
@pytest.mark.parametrize("name", NAMES)
def test_nbgrader_grades_every_chapter(nbgrader_course, book, name):
    chapter = course.read(name, ROOT, book)
    expected = right_grades(chapter)
    # Each of them has the whole chapter run; an empty notebook is tried with the quicker ones.
    students = ("diligent", "empty") if name in ("circuits", "klssl") else ("diligent",)
    expected = {who: expected[who] for who in students}
    assert grades(nbgrader_course, chapter, *students) == expected


@pytest.mark.nightly
def test_nbgrader_releases_every_chapter_without_running_it(nbgrader_course, book):
    release(nbgrader_course, [course.read(name, ROOT, book) for name in NAMES])


FITS = """() => {
  const slide = Reveal.getCurrentSlide(), frame = slide.getBoundingClientRect();
  const scrolled = "aside, pre, mjx-container, "
      + ":is(.jp-RenderedMarkdown, .jp-RenderedHTML).jp-OutputArea-output *";
  const boxes = [...slide.querySelectorAll("*")].filter(each => !each.closest(scrolled))
      .map(each => each.getBoundingClientRect()).filter(box => box.height);
  const far = side => Math.max(...boxes.map(box => box[side]));
  const size = [far("bottom") - frame.top, far("right") - frame.left];
  return size.map(length => length / Reveal.getScale());
}"""


@pytest.mark.nightly
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("as_reader")
def test_slides_fit_the_screen_and_need_no_network(browser, tmp_path, name):
    chapter = nbformat.read(execute.executed([name], ROOT)[name], as_version=4)
    outputs = [out for cell in chapter.cells for out in cell.get("outputs", [])]
    plots = sum("image/png" in out.get("data", {}) for out in outputs)
    prose = "\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown")
    folder = course.write([name], to=tmp_path / "course", root=ROOT)
    tab = browser.new_page(viewport={"width": 1120, "height": 700})
    complaints, asked = [], []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto((folder / "slides" / f"{name}.html").as_uri())
    tab.wait_for_function("window.Reveal && Reveal.isReady()")
    tab.evaluate("MathJax.startup.promise.then(() => 0)")
    too_much, pictures, formulas = {}, 0, 0
    for number in range(tab.evaluate("Reveal.getTotalSlides()")):
        height, width = tab.evaluate(FITS)
        if height > 700 or width > 1121:
            too_much[number] = (height, width)
        pictures += tab.locator("section.present section.present img[alt]:visible").count()
        formulas += tab.locator("section.present section.present mjx-container").count()
        tab.evaluate("Reveal.next()")
    tab.close()
    assert number >= len(re.findall("^##? ", prose, re.MULTILINE)) + plots
    assert pictures == plots
    if name not in ("lessons", "flaws"):  # one is short; neither has a formula on a slide
        assert number > 20
        assert pictures >= 4
        assert formulas > 2
    assert too_much == {}
    assert complaints == []
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}
