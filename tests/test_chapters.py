"""Chapters, references and the book, on a small project of their own."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat import v4

from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.book import chapters, execute
from qmlbook.book import notebooks, parameters, references
from qmlbook.book.site import build as book

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
        return book.build(root=self.root, echo=self.said.append, **options)

    def executed(self, name, folder="quick"):
        return self.root / "_build" / "executed" / folder / f"{name}.ipynb"

    def outputs(self, name, folder="quick"):
        return printed(nbformat.read(self.executed(name, folder), as_version=4))


def printed(notebook):
    return [
        [output.get("text") or output.data["text/plain"] for output in cell.outputs]
        for _, cell in notebooks.code_cells(notebook)
    ]


# --- names and parameters -----------------------------------------------------------------------


def test_chapters_are_the_notebooks_of_the_contents_in_reading_order(project):
    project.chapters(zeta=TINY, plain="# Plain\n", alpha=TINY)
    project.write("book/unlisted.md", TINY)
    assert chapters.names(project.root) == ["zeta", "alpha"]
    assert chapters.sources(project.root)["zeta"] == project.root / "book" / "zeta.md"


@pytest.mark.parametrize("name", chapters.names(ROOT))
def test_every_parameter_of_the_book_says_what_it_is(name):
    for each in chapters.parameters([name], root=ROOT)[name]:
        assert each.help, each.name


def test_two_chapters_of_one_name_are_refused(project):
    project.write("book/more/tiny.md", TINY)
    project.write("_toc.yml", "root: book/tiny\nchapters:\n- file: book/more/tiny\n")
    with pytest.raises(QmlbookError, match="two chapters called 'tiny'"):
        chapters.names(project.root)


@pytest.mark.parametrize("act", ["run", "check"])
def test_unknown_chapter_is_refused_and_the_known_ones_are_listed(project, act):
    project.chapters(tiny=TINY, other=TINY)
    with pytest.raises(UsageError, match="chapter 'tyni' is not known; choose from: tiny, other"):
        getattr(project, act)("tiny", "tyni")
    assert not (project.root / "_build").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "huge"}, "profile 'huge' is not known; choose from: quick, full"),
        ({"jobs": 0}, "jobs must be 1 or more, not 0"),
        ({"parameters": {"sclae": "3"}}, "parameter of tiny 'sclae' is not known; choose .* scale"),
        ({"parameters": {"profile": "full"}}, "use the option --profile"),
    ],
)
def test_wrong_requests_are_refused_before_any_work(project, options, message):
    with pytest.raises(UsageError, match=message):
        project.run(**options)
    assert not (project.root / "_build").exists()


def test_a_parameter_must_be_declared_by_every_selected_chapter(project):
    project.chapters(tiny=TINY, other=chapter("Other", ("parameters", 'profile = "quick"')))
    with pytest.raises(UsageError, match="parameter of other 'scale'"):
        project.run(parameters={"scale": "3"})


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["profile = 'quick'"], "needs one cell tagged 'parameters', not 0"),
        ([("parameters", "profile = 'quick'")] * 2, "needs one cell tagged 'parameters', not 2"),
        ([("parameters", "seed = 1")], 'must declare profile = "quick"'),
        ([("parameters", "profile = 'full'")], 'must declare profile = "quick"'),
        ([("parameters", "profile = 'quick'\nseed = max(1, 2)")], "may only assign literals"),
        ([("parameters", "profile = 'quick'\nimport os")], "may only assign literals"),
        ([("parameters", "profile = 'quick'\nseed =")], "may only assign literals"),
    ],
)
def test_a_chapter_must_declare_its_parameters(project, cells, message):
    project.chapters(tiny=chapter("Tiny", *cells))
    with pytest.raises(QmlbookError, match=message) as caught:
        project.run()
    assert "tiny.md" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-0.5", -0.5),
        ("1e-3", 0.001),
        ("true", True),
        ("True", True),
        ("null", None),
        ("None", None),
        ("[0, 1]", [0, 1]),
        ('"3"', "3"),
        ("on", "on"),
        ("mnist", "mnist"),
        ("", ""),
    ],
)
def test_values_are_read_as_what_they_look_like(text, value):
    read = parameters.parse_value(text)
    assert read == value
    assert type(read) is type(value)


def test_parameters_have_a_type_a_default_and_help(project):
    cell = """profile: str = "quick"  # quick, or full: the paper's
scale = 2.0
label: str = "a # b"   # hash and all
sizes: list[int] = [
    1,
    2,
]  # of the layers"""
    project.chapters(tiny=TINY, other=chapter("Other", ("parameters", cell)))
    found = chapters.parameters(["other"], root=project.root)
    assert list(found) == ["other"]
    assert [tuple(vars(each).values()) for each in found["other"]] == [
        ("profile", "str", "quick", "quick, or full: the paper's"),
        ("scale", "float", 2.0, ""),
        ("label", "str", "a # b", "hash and all"),
        ("sizes", "list[int]", [1, 2], "of the layers"),
    ]
    everything = chapters.parameters(root=project.root)
    assert list(everything) == ["tiny", "other"]
    table = parameters.render(everything, "table")
    assert "tiny\n  profile: str = 'quick'  quick or full\n  scale: float = 2.0\n\nother\n" in table
    assert json.loads(parameters.render(found, "json"))["other"][3]["default"] == [1, 2]
    with pytest.raises(UsageError, match="format 'csv' is not known; choose from: table, json"):
        parameters.render(found, "csv")
    with pytest.raises(UsageError, match="chapter 'nosuch' is not known; choose from: tiny, other"):
        chapters.parameters(["nosuch"], root=project.root)


# --- what is stored -----------------------------------------------------------------------------


def test_paths_and_addresses_become_words_once_and_for_all(tmp_path):
    words = notebooks.local_words(tmp_path / "book")
    text = (
        f"{tmp_path}/book/x.md {sys.prefix}/lib {tempfile.gettempdir()}/ipykernel_12/3.py "
        f"file://{Path.home()}/y {tmp_path}/bookshop <object at 0x7f2b3c4d5e6f>"
    )
    cleaned = notebooks.replace(text, words)
    assert cleaned.startswith("[project]/x.md [python]/lib [temporary]/ipykernel_PID/3.py file://[")
    assert "[project]shop" not in cleaned
    assert cleaned.endswith("<object at 0xADDRESS>")
    assert str(Path.home()) not in cleaned.replace("[home]", "")
    assert notebooks.replace(cleaned, words) == cleaned
    for innocent in ("a0x12 0xff 0x12345678", "./tmp/x", "https://example.org/root"):
        assert notebooks.replace(innocent, words) == innocent


SPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}


def test_scrubbing_leaves_the_author_s_notebook(tmp_path):
    stream = [
        v4.new_output("stream", name="stdout", text=text) for text in ("a\n", f"{tmp_path}\n")
    ]
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "1f"}, "text/plain": "W()"}
    cell = v4.new_code_cell(
        "show()",
        execution_count=1,
        metadata={
            "papermill": {"duration": 1.0},
            "execution": {"x": "2026"},
            "tags": [],
            "mine": 1,
        },
        outputs=[*stream, v4.new_output("display_data", widget)],
    )
    raw = v4.new_notebook(
        cells=[v4.new_markdown_cell("Text"), cell],
        metadata={
            "papermill": {"input_path": str(tmp_path)},
            "widgets": {},
            "kernelspec": SPEC,
        },
    )
    notebooks.scrub(raw, tmp_path, {"profile": "quick"})
    assert raw.metadata.keys() == {"kernelspec", "language_info", "qmlbook"}
    assert raw.metadata.qmlbook == {"profile": "quick"}
    assert [cell.id for cell in raw.cells] == ["cell-0", "cell-1"]
    assert raw.cells[1].metadata == {"mine": 1}
    assert printed(raw) == [["a\n[project]\n", "W()"]]
    assert "model_id" not in json.dumps(raw)


def test_kernel_environment(project, tmp_path, monkeypatch):
    monkeypatch.setenv("QMLBOOK_DATA", "mine")
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    env = execute.kernel_environment(project.root, tmp_path / "scratch", embedded=False)
    assert (env["OMP_NUM_THREADS"], env["MKL_NUM_THREADS"]) == ("1", "3")
    assert env["PYTHONPATH"].split(os.pathsep)[0] == str(project.root / "src")
    assert env["QMLBOOK_DATA"] == str(Path.cwd() / "mine")  # kernels start elsewhere
    assert "MPLBACKEND" not in env
    spec = Path(env["JUPYTER_PATH"], "kernels", "python3", "kernel.json")
    assert json.loads(spec.read_text())["argv"][0] == sys.executable
    hidden = execute.kernel_environment(project.root, tmp_path / "scratch", embedded=True)
    assert "QMLBOOK_DATA" not in hidden
    assert hidden["QMLBOOK_CACHE"] != env["QMLBOOK_CACHE"]


# --- running ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_run_stores_an_executed_notebook_without_traces(project):
    result = project.run()["tiny"]
    assert (result.status, result.ok, result.path) == ("executed", True, project.executed("tiny"))
    assert project.said == ["tiny: running", f"tiny: executed in {result.seconds:.0f} s"]
    _, product, nonce, answer = project.outputs("tiny")
    assert product == ["product 6.0 in profile quick\n"]
    assert nonce[0].startswith("nonce ")
    assert answer == ["(42, <object at 0xADDRESS>)"]
    text = project.executed("tiny").read_text("utf-8")
    for trace in (str(project.root), str(Path.home()), "papermill", "injected", "start_time"):
        assert trace not in text, trace
    notebook = nbformat.read(project.executed("tiny"), as_version=4)
    assert notebook.metadata.qmlbook.profile == "quick"
    assert notebook.metadata.qmlbook.parameters == {}
    assert not list(project.executed("tiny").parent.glob(".*"))  # nothing half-written


@pytest.mark.slow
def test_fresh_notebooks_are_kept_and_stale_ones_run_again(project):
    def status(**options):
        return project.run(**options)["tiny"].status

    assert [status(), status(), status(force=True)] == ["executed", "up to date", "executed"]
    project.write("src/qmlbook/__pycache__/x.pyc", "")
    project.write("data/results/klssl/.pending/run.json", "{}")
    project.write("book/intro.md", "# Another page\n")
    assert status() == "up to date"
    for name in (
        "book/tiny.md",
        "src/qmlbook/papers/claims.yml",
        "data/images/one.txt",
        "requirements.lock",
    ):
        old = project.root / name
        text = old.read_text("utf-8") if old.is_file() else ""
        project.write(name, text + "\n")
        assert [status(), status()] == ["executed", "up to date"], name


@pytest.mark.slow
def test_profiles_and_parameters(project, monkeypatch):
    quick = project.run() and project.executed("tiny").read_text("utf-8")
    assert project.run(profile="full")["tiny"].status == "executed"
    assert project.outputs("tiny", "full")[1] == ["product 6.0 in profile full\n"]
    assert project.executed("tiny").read_text("utf-8") == quick
    # Other values make another notebook; the defaults do not count as other values.
    assert project.run(parameters={"scale": "0.5"})["tiny"].status == "executed"
    assert project.outputs("tiny")[1] == ["product 1.5 in profile quick\n"]
    assert project.run(parameters={"scale": "2.0"})["tiny"].status == "executed"
    assert project.run()["tiny"].status == "up to date"
    # So do the reader's own data; they are kept apart from the runs that hide them.
    monkeypatch.setenv("QMLBOOK_DATA", str(project.root / "mine"))
    assert project.run()["tiny"].status == "executed"
    project.write("cache/mnist.npz", "")
    assert project.run()["tiny"].status == "executed"
    own = project.executed("tiny").read_text("utf-8")
    assert project.run(embedded=True)["tiny"].path == project.executed("tiny", "embedded")
    assert project.executed("tiny").read_text("utf-8") == own


@pytest.mark.slow
def test_a_chapter_that_raises_fails_and_takes_its_old_output_with_it(project):
    project.chapters(bad=TINY, tiny=TINY)
    assert all(result.ok for result in project.run().values())
    raising = TINY + '\n```{code-cell} ipython3\nraise ArithmeticError("planted")\n```\n'
    project.chapters(bad=raising, tiny=TINY)
    result = project.run("bad")["bad"]
    assert (result.status, result.ok, result.path, result.cell) == ("failed", False, None, 5)
    assert result.error == "ArithmeticError: planted"
    assert 'raise ArithmeticError("planted")' in result.traceback
    assert "\x1b" not in result.traceback
    assert project.said[-1].startswith("bad: FAILED in code cell 5: ArithmeticError: planted\n")
    assert not project.executed("bad").exists()
    statuses = [
        [result.status for result in project.run(force=True, jobs=1, **options).values()]
        for options in ({}, {"keep_going": True})
    ]
    assert statuses == [["failed", "not run"], ["failed", "executed"]]
    with pytest.raises(QmlbookError, match="these chapters failed: bad"):
        project.build()
    assert not project.check("bad", update=True)


@pytest.mark.slow
def test_every_other_way_to_go_wrong_fails_too(project):
    start = ("parameters", PARAMETERS)
    warn = "import warnings\n\nwarnings.warn('beware')"
    project.chapters(
        warns=chapter("Warns", start, "1 + 1", warn),
        allowed=chapter("Allowed", start, ("allow-stderr", warn)),
        leaves=chapter("Leaves", start, "import sys\n\nsys.exit(0)", "1 + 1"),
        skips=chapter("Skips", start, ("skip-execution", "1 + 1")),
        hangs=chapter("Hangs", start, "import time", "time.sleep(60)"),
        dies=chapter("Dies", start, "import os\n\nos._exit(3)"),
        expected=chapter("Expected", start, ("raises-exception", "1 / 0")),
    )
    results = project.run(keep_going=True, cell_timeout=4)
    assert results["allowed"].ok
    found = {name: (result.cell, result.error) for name, result in results.items()}
    assert found == {
        "warns": (3, "the cell wrote to standard error"),
        "allowed": (None, ""),
        "leaves": (2, "SystemExit: 0"),
        "skips": (2, "the cell was not executed"),
        "hangs": (3, "the cell took longer than 4 s"),
        "dies": (2, "the kernel died"),
        "expected": (2, "ZeroDivisionError: division by zero"),
    }
    assert "beware" in results["warns"].traceback
    assert [path.name for path in project.executed("x").parent.iterdir()] == ["allowed.ipynb"]


@pytest.mark.slow
def test_the_kernel_is_this_interpreter_whatever_the_reader_installed(project, monkeypatch):
    spec = project.root / "jupyter" / "kernels" / "python3" / "kernel.json"
    project.write(spec, json.dumps({"argv": ["false"], "display_name": "", "language": "python"}))
    for variable in ("JUPYTER_DATA_DIR", "JUPYTER_PATH"):
        monkeypatch.setenv(variable, str(project.root / "jupyter"))
    source = f"import sys\n\nassert sys.executable == {sys.executable!r}\nprint('same')"
    project.chapters(tiny=chapter("Tiny", ("parameters", PARAMETERS), source))
    assert project.run()["tiny"].ok
    assert project.check("tiny", update=True)
    assert project.check("tiny")


@pytest.mark.slow
def test_two_chapters_run_at_a_time(project):
    meet = """
from pathlib import Path
import time

Path("{me}.here").touch()
for _ in range(600):
    if Path("{you}.here").exists():
        break
    time.sleep(0.1)
assert Path("{you}.here").exists()"""
    project.chapters(
        alpha=chapter("Alpha", ("parameters", PARAMETERS), meet.format(me="alpha", you="beta")),
        beta=chapter("Beta", ("parameters", PARAMETERS), meet.format(me="beta", you="alpha")),
    )
    assert all(result.ok for result in project.run().values())


# --- references ---------------------------------------------------------------------------------


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
    assert "code cell 4: Cell execution caused an exception" in project.said[-1]
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


# --- the book -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "message"),
    [("2.0.1", "Jupyter Book 2.0.1 is installed"), (None, "Jupyter Book is not installed")],
)
def test_only_jupyter_book_1_will_do(project, monkeypatch, version, message):
    def installed(name):
        if version is None:
            raise book.importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(book.importlib.metadata, "version", installed)
    with pytest.raises(QmlbookError, match=f"{message}, but the book needs version 1: pip"):
        project.build()
    assert not (project.root / "_build").exists()


@pytest.mark.parametrize("address", ["book.example", "https://", "ftp://book.example/", "/book/"])
def test_an_address_that_is_none_is_refused_before_anything_runs(project, monkeypatch, address):
    monkeypatch.setenv("QMLBOOK_URL", address)
    with pytest.raises(UsageError, match="QMLBOOK_URL"):
        project.build()
    assert not project.said


@pytest.mark.slow
def test_pages_show_the_very_run_that_was_stored(project):
    index = project.build()
    assert index == project.root / "_build" / "html" / "index.html"
    (nonce,) = project.outputs("tiny")[2]
    page = index.parent / "book" / "tiny.html"
    assert nonce.strip() in page.read_text("utf-8")
    before = page.stat().st_mtime_ns

    project.said.clear()
    assert project.build() == index
    assert project.said[:2] == ["tiny: up to date", "book: up to date"]
    assert page.stat().st_mtime_ns == before
    assert project.outputs("tiny")[2] == [nonce]

    # A plain build writes over the pages; the book is then no longer the one that was built here.
    search = index.parent / "searchindex.js"
    mark = index.parent / ".fingerprint"
    os.utime(search, ns=(mark.stat().st_atime_ns, mark.stat().st_mtime_ns + 1))
    project.build()
    assert "book: building the pages" in project.said


@pytest.mark.parametrize(
    "address",
    [
        "example.org/a/b",
        "https://github.com/a",
        "https://github.com/a/b/c",
        "http://github.com/a/b",
        "https://gitlab.com/a/b",
        'https://github.com/a/b"; rm',
    ],
)
def test_only_an_address_on_github_will_do(project, address):
    with pytest.raises(UsageError, match=r"must be https://github\.com/OWNER/NAME"):
        project.build(repository=address)
    assert not (project.root / "_build").exists()


def buttons(page):
    """Return the links of a page's header and those behind the rocket: text -> address."""
    soup = BeautifulSoup(page.read_text("utf-8"), "html.parser")
    links = soup.select(".article-header-buttons a[href]")
    return {link.get_text(strip=True): link["href"] for link in links}


@pytest.mark.slow
def test_pages_offer_downloads_and_where_the_repository_is_known_colab_and_binder(project):
    html = project.build().parent
    tiny, before = html / "book" / "tiny.html", {}
    for page in ("book/tiny.html", "book/intro.html"):
        before[page] = (html / page).read_text("utf-8")
        assert not re.search("colab|mybinder|github.com/someone", before[page])
    assert not (project.root / "_build" / "notebooks").exists()
    offered = buttons(tiny)
    executed = nbformat.read(tiny.parent / offered[".ipynb, as executed"], as_version=4)
    assert printed(executed)[1] == ["product 6.0 in profile quick\n"]
    assert (tiny.parent / offered[".md, the source"]).read_text("utf-8") == TINY
    assert list(buttons(html / "book" / "intro.html")) == [".md"]

    project.build(repository="https://github.com/someone/some.book.git")
    offered = buttons(tiny)
    place = "someone/some.book"
    path = "notebooks/book/tiny.ipynb"  # on the branch called notebooks
    colab = f"https://colab.research.google.com/github/{place}/blob/notebooks/{path}"
    binder = f"https://mybinder.org/v2/gh/{place}/notebooks?urlpath=lab/tree/{path}"
    assert (offered["Colab"], offered["Binder"]) == (colab, binder)
    assert offered[".ipynb, as executed"].startswith("../_sources/")
    assert "Colab" not in buttons(html / "book" / "intro.html")  # nothing to run there
    twin = nbformat.read(project.root / "_build" / path, as_version=4)
    nbformat.validate(twin)
    assert (
        f'%pip install --quiet "qmlbook[hardware] @ git+https://github.com/{place}"'
        in twin.cells[0].source
    )
    source = jupytext.reads(TINY, fmt="md:myst")
    assert [cell.source for cell in twin.cells[1:]] == [cell.source for cell in source.cells]
    assert not any(cell.get("outputs") for cell in twin.cells)

    # The ordinary book is as if nothing had happened.
    project.build()
    assert {page: (html / page).read_text("utf-8") for page in before} == before
    assert not (project.root / "_build" / "notebooks").exists()


@pytest.mark.slow
def test_a_twin_runs_where_the_library_is_installed(project):
    book._write_twins(project.root, "https://github.com/someone/book")
    source = jupytext.writes(
        nbformat.read(project.root / "_build" / "notebooks" / "book" / "tiny.ipynb", as_version=4),
        fmt="md:myst",
    )
    project.chapters(twin=source)
    assert project.run()["twin"].ok, project.said
    install, _, product, *_ = project.outputs("twin")
    assert install == []  # nothing to install, nothing said
    assert product == ["product 6.0 in profile quick\n"]


@pytest.mark.slow
def test_pages_name_the_address_that_is_given(project, monkeypatch):
    monkeypatch.setenv("QMLBOOK_URL", "https://book.example/rerun/")
    page = project.build().parent / "book" / "tiny.html"
    soup = BeautifulSoup(page.read_text("utf-8"), "html.parser")
    address = "https://book.example/rerun/"
    assert soup.find("link", rel="canonical")["href"] == f"{address}book/tiny.html"
    said = {tag["property"]: tag["content"] for tag in soup.select("meta[property^='og:']")}
    assert said["og:url"] == f"{address}book/tiny.html"
    assert said["og:image"].startswith(f"{address}_images/")


@pytest.mark.slow
def test_a_broken_build_leaves_the_last_good_book(project):
    project.build()
    page = project.root / "_build" / "html" / "book" / "intro.html"
    good = page.read_text("utf-8")
    project.write("book/intro.md", "# The new book\n\nSee {doc}`nowhere`.\n")
    with pytest.raises(QmlbookError, match="because of the errors and warnings above"):
        project.build()
    assert "nowhere" in project.said[-1]
    assert page.read_text("utf-8") == good

    project.write("book/intro.md", "# The new book\n")
    project.chapters(tiny=TINY.replace("scale * 3", "scale / 0"))
    with pytest.raises(QmlbookError, match="these chapters failed: tiny"):
        project.build()
    assert any("tiny: FAILED in code cell 2: ZeroDivisionError" in line for line in project.said)
    assert page.read_text("utf-8") == good

    project.chapters(tiny=TINY)
    project.build()
    assert "The new book" in page.read_text("utf-8")
    assert sorted(path.name for path in (project.root / "_build").iterdir()) == [
        ".lock",
        "executed",
        "html",
        "site",
    ]


@pytest.mark.slow
def test_a_plain_jupyter_book_build_works_too_and_is_strict(project):
    def plain():
        program = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-c", program, "build", ".", "-W", "--keep-going", "-n"],
            cwd=project.root,
            env={**os.environ, "PYTHONPATH": str(project.root / "src")},
            capture_output=True,
            text=True,
        )

    # The library's own extension, beside the tiny library that the tiny chapter imports.
    shutil.copyfile(
        ROOT / "src" / "qmlbook" / "apidoc.py", project.root / "src" / "qmlbook" / "apidoc.py"
    )
    # Notebooks that lie about are none of its business.
    project.write("book/tiny.ipynb", "{}")
    project.write("_build/executed/quick/tiny.ipynb", "{}")
    good = plain()
    assert good.returncode == 0, good.stdout + good.stderr
    page = (project.root / "_build" / "html" / "book" / "tiny.html").read_text("utf-8")
    assert "product 6.0 in profile quick" in page
    warns = chapter("Tiny", ("parameters", PARAMETERS), "import sys\n\nprint('x', file=sys.stderr)")
    project.chapters(tiny=warns)
    red = plain()
    assert red.returncode
    assert "stderr was found in the cell outputs" in red.stderr
