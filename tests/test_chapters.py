"""Which chapters there are, how they are written, and their parameters."""

import json
from pathlib import Path

import pytest
from small_project import TINY, chapter

from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.book import chapters, parameters

ROOT = Path(__file__).resolve().parents[1]


def test_chapters_are_the_notebooks_of_the_contents_in_reading_order(project):
    project.chapters(zeta=TINY, plain="# Plain\n", alpha=TINY)
    project.write("book/unlisted.md", TINY)
    assert chapters.names(project.root) == ["zeta", "alpha"]
    assert chapters.sources(project.root)["zeta"] == project.root / "book" / "zeta.md"


@pytest.mark.parametrize("name", chapters.names(ROOT))
def test_every_parameter_of_the_book_says_what_it_is(name):
    for each in chapters.parameters([name], root=ROOT)[name]:
        assert each.help, each.name
        bounded = each.bounds and not isinstance(each.default, str)
        assert bounded or each.choices, f"{each.name} does not say what is allowed"


@pytest.mark.parametrize("name", chapters.names(ROOT))
def test_papermill_reads_the_parameters_as_well(name, tmp_path):
    import nbformat
    import papermill

    nbformat.write(chapters.read(chapters.sources(ROOT)[name]), tmp_path / "chapter.ipynb")
    known = papermill.inspect_notebook(str(tmp_path / "chapter.ipynb"))
    ours = {each.name: each for each in chapters.parameters([name], root=ROOT)[name]}
    assert {name: each["help"] for name, each in known.items()} == {
        name: each.help for name, each in ours.items()
    }


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


DECLARED = """profile: str = "quick"  # quick or full
seeds: int = 5      # 1 to 1,000 runs of each kind
seed: int = 0  # 0 or more, root of every random stream
width: float = 0.5 # -1 to 2.5: anything
sizes: list[int] = [1, 2]  # 1 to 8 units each
pair: str = "2v3"  # 0v1, 2v3 or 8v9: the digits
name: str = "mine"  # of the reader, or of a friend
free = 3"""


@pytest.mark.parametrize(
    ("parameter", "good", "bad", "allowed"),
    [
        ("seeds", ["1", "1000", 7], ["0", "-1", "1000000000", "1.0", "NaN", "true", "1e3"],
         "a whole number, 1 to 1,000"),
        ("seed", ["0", "123456789012345678901"], ["-1", "0.5"], "a whole number, 0 or more"),
        ("width", ["-1", "2.5", "0"], ["-1.01", "2.6", "NaN", "Infinity", "-Infinity", "wide"],
         "a number, -1 to 2.5"),
        ("sizes", ["[1]", "[8, 8]", "[]"], ["[0]", "[1, 9]", "3"], "numbers, 1 to 8"),
        ("pair", ["0v1", "8v9"], ["9v9", "", "0v1, 2v3", "2"], "one of 0v1, 2v3, 8v9"),
        ("name", ["yours", "of the reader"], [], ""),
        ("free", ["-3"], ["x"], "a value such as 3"),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_refused_before_anything_runs(
    project, parameter, good, bad, allowed
):
    project.chapters(tiny=chapter("Tiny", ("parameters", DECLARED), "1 + 1"))
    known = chapters.parameters(["tiny"], root=project.root)["tiny"]
    for value in good:
        assert list(parameters.accept("tiny", {parameter: value}, known)) == [parameter]
    for value in bad:
        with pytest.raises(UsageError) as refused:
            project.run(parameters={parameter: value})
        said = f"parameter {parameter} of tiny takes {allowed}, not {value!r}."
        assert str(refused.value) == said
    assert not (project.root / "_build").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("seeds: int = 0  # 1 to 5 runs", "seeds takes a whole number, 1 to 5, but its default"),
        ("sizes = [0]  # 1 or more", "sizes takes numbers, 1 or more, but its default is [0]"),
    ],
)
def test_a_default_must_be_allowed(project, line, said):
    project.chapters(tiny=chapter("Tiny", ("parameters", f'profile = "quick"\n{line}')))
    with pytest.raises(QmlbookError) as refused:
        project.run()
    assert said in str(refused.value)


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


# --- an author's slips --------------------------------------------------------------------------

CELL = "\n```{code-cell} ipython3\n%s\n1 + 1\n```\n"


@pytest.mark.parametrize(
    ("slip", "below", "reason"),
    [
        (CELL % ":tags: [hide-input\n", 2, "the settings of this cell cannot be read"),
        (CELL % ':alt: "a dot\n', 2, "the settings of this cell cannot be read"),
        (CELL % "---\nmystnb:\n  image: [\n---", 2, "the settings of this cell cannot be read"),
        (CELL % "---\nmystnb:\n", 2, "the settings of this cell cannot be read"),
        (CELL % ":tags: hide-input\n", 2, "the settings of this cell cannot be read"),
        (CELL % ":tags: [1]\n" + CELL % "", 2, "the settings of this cell cannot be read"),
        (CELL % ":tags [a]\n", 2, "the settings of this cell cannot be read"),
        (CELL % ":x: 1\n" + CELL % ":y: [\n", 8, "the settings of this cell cannot be read"),
        ("\na\n\x07bell\n", 3, r"the control character '\x07'"),
        ("\na null\0\n", 2, r"the control character '\x00'"),
        (b"\ncaf\xe9\n", 2, "byte 0xe9 is not UTF-8"),
    ],
)
def test_an_author_s_slip_is_one_sentence_with_file_and_line(project, slip, below, reason):
    start = TINY.encode()
    line = start.count(b"\n") + below
    slip = slip if isinstance(slip, bytes) else slip.encode()
    (project.root / "book" / "tiny.md").write_bytes(start + slip)
    for act in (project.run, project.check, project.build):
        with pytest.raises(QmlbookError) as refused:
            act()
        (said,) = str(refused.value).splitlines()
        assert said.startswith(f"tiny.md, line {line}: ")
        assert reason in said
    assert not (project.root / "_build" / "executed").exists()


@pytest.mark.parametrize("name", ["_toc.yml", "_config.yml", "book/intro.md"])
@pytest.mark.parametrize(
    ("slip", "reason"),
    [
        (b"# caf\xe9\n", "line 2: byte 0xe9 is not UTF-8; save the file in that encoding."),
        (b"# bell\x07\n", r"line 2: the control character '\x07' must go."),
    ],
)
def test_settings_and_pages_with_other_bytes_are_one_sentence(project, name, slip, reason):
    file = project.root / name
    file.write_bytes(file.read_bytes().split(b"\n")[0] + b"\n" + slip)
    if name == "_config.yml":  # read when the pages are made
        project.write("book/tiny.md", "# No chapter\n")
    with pytest.raises(QmlbookError) as refused:
        project.build()
    assert str(refused.value) == f"{file.name}, {reason}"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("_toc.yml", "format: jb-book\nroot: [", "_toc.yml, line 2: this cannot be read as YAML"),
        (
            "_toc.yml",
            "root: a\nroot: b",
            "_toc.yml, line 2: this cannot be read as YAML (key 'root'",
        ),
        ("_toc.yml", "root: 2020-99-99", "cannot be read as YAML (month must be in 1..12)"),
        ("_toc.yml", f"root: {'9' * 5_000}", "_toc.yml: this cannot be read as YAML (Exceeds"),
        ("_toc.yml", "[" * 3_000, "_toc.yml, line 1: this cannot be read as YAML ("),
        ("_config.yml", "title: a\ntitle: b", "_config.yml, line 2: this cannot be read as YAML"),
        ("_toc.yml", "root: 3\n", "_toc.yml: root must name a document, not 3."),
        ("_toc.yml", "root: book/intro\nchapters:\n- file: [a]", "file must name a document"),
        ("_config.yml", "title: [", "_config.yml, line 1: this cannot be read as YAML"),
        ("_config.yml", "title: x", "_config.yml: sphinx, config, extensions must be a list."),
        ("_config.yml", "", "_config.yml: sphinx, config, extensions must be a list."),
    ],
)
def test_settings_that_cannot_be_understood_are_one_sentence(project, name, text, said):
    project.write("book/tiny.md", "# No chapter\n")
    project.write(name, text)
    with pytest.raises(QmlbookError) as refused:
        project.build()
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "more",
    [
        "more: &a [*a]\n",
        "b0: &b0 [x]\n"
        + "".join(f"b{i}: &b{i} [{', '.join([f'*b{i - 1}'] * 9)}]\n" for i in range(1, 13)),
    ],
    ids=["itself", "many times over"],
)
def test_contents_that_hold_a_part_many_times_over_are_read_once(project, more):
    before = chapters.documents(project.root)
    file = project.root / "_toc.yml"
    file.write_text(f"{file.read_text('utf-8')}{more}", encoding="utf-8")
    assert chapters.documents(project.root) == before


def test_a_byte_order_mark_and_other_ends_of_lines_change_nothing(project):
    def seen():
        notebook = chapters.read(project.root / "book" / "tiny.md")
        cells = [(cell.source, dict(cell.metadata)) for cell in notebook.cells]
        return chapters.names(project.root), chapters.parameters(root=project.root), cells

    before = seen()
    assert before[0] == ["tiny"]
    for name in ("book/tiny.md", "_toc.yml"):
        file = project.root / name
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
        assert seen() == before
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
        assert seen() == before


@pytest.mark.parametrize("name", chapters.names(ROOT))
def test_a_chapter_is_read_as_jupytext_reads_its_file(name):
    import jupytext

    source = chapters.sources(ROOT)[name]
    ours, theirs = chapters.read(source), jupytext.read(source)
    for cell in (*ours.cells, *theirs.cells):
        cell.pop("id")  # drawn anew each time
    assert ours == theirs
