"""`qmlbook new`: a paper of the reader's own is made whole, or nothing is."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qmlbook import cli, papers
from qmlbook.base import files
from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.book import chapters, new_paper
from qmlbook.evidence.claims import load

ROOT = Path(__file__).resolve().parents[1]
ASKED = {
    "title": "Äpfel & pears: what comes after six",
    "authors": "Seven, S. and Acht, A.",
    "where": "Journal of Counting 7, 77",
    "year": "2027",
}
OPTIONS = [word for name, value in ASKED.items() for word in (f"--{name}", value)]
# The command; its chapter is not executed, and what it writes is a reference that says so.
FAST = """
import sys
from qmlbook import cli
from qmlbook.book import references
outcome = sys.argv.pop(1)
def check(names, update, root, echo):
    (references.folder(root) / f"{names[0]}.ipynb").write_text("half of it")
    return outcome == "runs"
references.check = check
cli.main()
"""
# A copy of the book may hold papers of a reader's own, whatever they are called.
NEW, OTHER, THIRD = [name for n in range(99) if (name := f"new{n}") not in papers.names()][:3]
HERE = f"src/qmlbook/papers/{NEW}/claims.yml"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Return a checkout with what the command reads, in a folder of two words."""
    root = tmp_path_factory.mktemp("a copy")
    unwanted = shutil.ignore_patterns("__pycache__", "_static")
    for name in ("src", "book", "examples", "tests/vectors"):
        shutil.copytree(ROOT / name, root / name, ignore=unwanted)
    (root / "tests" / "reference").mkdir()
    for name in ("_toc.yml", "README.md"):
        shutil.copyfile(ROOT / name, root / name)
    (root / "data").symlink_to(ROOT / "data")
    return root


def call(root, *words, outcome="runs", said=""):
    """Run `qmlbook new`; its questions are answered by what is said."""
    env = os.environ | {"PYTHONPATH": str(root / "src"), "QMLBOOK_ROOT": str(root)}
    program = [sys.executable, "-c", FAST, outcome, "new", *words]
    return subprocess.run(program, cwd=root, env=env, input=said, capture_output=True, text=True)


def everything(root):
    """Return the files of a checkout with their contents, without data and compiled code."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.parts[-1] != "data"
    }


@pytest.fixture(scope="module")
def made(copy):
    """Make a paper in the copy; return what was there before and is there now."""
    before = everything(copy)
    shutil.copyfile(copy / "_toc.yml", copy / "before.yml")
    done = call(copy, NEW, *OPTIONS)
    (copy / "before.yml").unlink()
    assert done.returncode == 0, done.stderr
    assert HERE in done.stdout.replace(os.sep, "/")
    return before, everything(copy)


@pytest.mark.nightly
def test_a_paper_that_does_not_run_leaves_no_trace(copy):
    before = everything(copy)
    done = call(copy, OTHER, *OPTIONS, outcome="does not run")
    assert done.returncode == 1
    assert done.stderr.strip() == f"Error: The chapter {OTHER} does not run; nothing was added."
    assert everything(copy) == before
    assert not (copy / "src" / "qmlbook" / "papers" / OTHER).exists()


def test_new_files_are_those_of_the_example_and_three_gain_a_line(made):
    before, after = made
    changed = {name for name in before if before[name] != after.get(name)}
    assert changed == {"README.md", "_toc.yml", "book/references.bib"}
    for name in changed:  # nothing that was there is gone
        old, new = (text[name].decode().splitlines() for text in made)
        assert [line for line in old if line not in new] == []
        assert len(new) > len(old)
    example = ROOT / "examples" / "add_a_paper"
    wanted = {
        path.relative_to(example).as_posix().replace("fourier", NEW)
        for path in example.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert set(after) - set(before) == {*wanted, f"tests/reference/{NEW}.ipynb"}
    for name in wanted:
        assert not re.search(r"\bfourier\b", after[name].decode()), name


def test_the_paper_has_what_was_asked_and_no_claim_of_another_paper(copy, made):
    known = load(NEW, copy / HERE)
    assert (known.title, known.citation) == (ASKED["title"], f"{NEW}2027")
    for claim in known.claims:
        assert claim.source.startswith("this book")
        assert claim.provenance == "own before any run"
    _, after = made
    entry = after["book/references.bib"].decode().split("@")[-1]
    assert entry.startswith(f"misc{{{NEW}2027,")
    assert all(value in entry for value in ASKED.values())
    order = chapters.names(copy)
    assert order.index(NEW) == 1 + max(map(order.index, set(papers.names()) & set(order)))
    row = next(line for line in after["README.md"].decode().splitlines() if f"/{NEW}.md" in line)
    assert row.startswith(f"| [{ASKED['title']}](book/{NEW}.md) | 0 | 0 |")  # none of its claims
    text = chapters.read_text(copy / "book" / f"{NEW}.md")
    assert f"# {ASKED['title']}\n\nThis chapter is for {{cite:t}}`{NEW}2027`." in text
    assert "Schuld" not in text


@pytest.mark.nightly
def test_what_no_option_says_is_asked_for_after_the_name_was_looked_at(copy, made):
    before = everything(copy)
    assert call(copy, THIRD).returncode == 1  # nobody answers
    assert everything(copy) == before
    refused = call(copy, NEW, said="T\nA\nW\n2020\n")
    assert refused.returncode == 2
    assert "which is a paper already" in refused.stderr
    assert "Title" not in refused.stdout
    done = call(copy, THIRD, "--year", "2020", said="A title\nA. B.\nHere\n")
    assert done.returncode == 0, done.stderr
    assert load(THIRD, copy / HERE.replace(NEW, THIRD)).title == "A title"


def test_a_question_that_nobody_answers_names_its_option(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(new_paper, "require_free", lambda _: None)
    for number, option in enumerate(ASKED):
        known = OPTIONS[: 2 * number]
        monkeypatch.setattr(sys, "argv", ["qmlbook", "new", NEW, *known])
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        with pytest.raises(SystemExit) as stop:
            cli.main()
        error = capsys.readouterr().err
        assert (stop.value.code, error.splitlines()[-1]) == (
            1, f"Error: --{option} is missing, and nobody answers here."
        )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("klssl", "which is a paper already"),
        ("shared", "which is a part of the library already"),
        ("vectors", "which is a part of the library already"),
        ("evidence", "which is a page of the book already"),
        ("api_klssl", "which is a page of the book already"),
        ("mnist", "which is an image set already"),
        ("nul", "which is kept for something else already"),
        ("fourier", "which is kept for something else already"),
        *((name, "must be 2 to 30 small letters") for name in
          ("", "a", "Mine", "7th", "a-b", "a b", "../x", "lambda", "ünder", "x" * 31)),
    ],
)  # fmt: skip
def test_a_name_that_cannot_be_is_one_sentence(name, said):
    with pytest.raises(UsageError, match=said) as refused:
        new_paper.require_free(name)
    assert str(refused.value).count(". ") == 0


def test_nothing_is_overwritten(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "qmlbook").symlink_to(ROOT / "src" / "qmlbook")
    (tmp_path / "_toc.yml").write_text("root: book/intro\n")
    (tmp_path / "book").mkdir()
    monkeypatch.setenv("QMLBOOK_ROOT", str(tmp_path))
    new_paper.require_free(NEW)
    for place in (f"book/{NEW}.md", f"tests/vectors/{NEW}.json", f"tests/reference/{NEW}.ipynb"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("mine")
        with pytest.raises(UsageError, match=f"but {place} is there already"):
            new_paper.require_free(NEW)
        (tmp_path / place).unlink()
    (tmp_path / "data" / "results" / NEW).mkdir(parents=True)
    with pytest.raises(UsageError, match=f"data/results/{NEW} is there already"):
        new_paper.require_free(NEW)
    shutil.rmtree(tmp_path / "examples")
    with pytest.raises(QmlbookError, match=r"add_a_paper is missing\.$"):
        new_paper.require_free(OTHER)


def test_another_library_than_the_checkout_s_is_refused(tmp_path, monkeypatch):
    (tmp_path / "book").mkdir()
    (tmp_path / "_toc.yml").write_text("root: book/intro\n")
    monkeypatch.setenv("QMLBOOK_ROOT", str(tmp_path))
    with pytest.raises(UsageError, match="is not that of the checkout"):
        new_paper.require_free(NEW)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("title", "", "title is '' and must be a text on one line"),
        ("title", "a {b}", "must be a text on one line without"),
        ("title", "two\nlines", "must be a text on one line without"),
        ("where", 'the "place"', "must be a text on one line without"),
        ("authors", "A, B, C", "must be names joined by the word and"),
        ("year", 27, "year is 27 and must be between 1900 and 2100"),
    ],
)
def test_an_answer_that_cannot_be_is_one_sentence(field, value, said):
    with pytest.raises(UsageError, match=said):
        new_paper.Paper(**{"name": NEW, **ASKED, "year": 2027, field: value})


def test_all_files_or_none(tmp_path):
    old, new, folder = tmp_path / "old", tmp_path / "a" / "b" / "new", tmp_path / "a"
    old.write_text("old")

    def change(reason=None):
        with files.all_or_none(old, new):
            old.write_text("changed")
            files.write(new, b"new")
            if reason:
                raise reason

    with pytest.raises(KeyboardInterrupt):
        change(KeyboardInterrupt)
    assert (old.read_text(), folder.exists()) == ("old", False)
    change()
    assert (old.read_text(), new.read_text()) == ("changed", "new")


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_what_it_makes_is_sound(copy, made):
    """Its vectors agree, its chapter runs, and tools find nothing to say."""
    env = os.environ | {"PYTHONPATH": str(copy / "src"), "QMLBOOK_ROOT": str(copy)}

    def run(*words):
        done = subprocess.run([sys.executable, *words], cwd=copy, env=env, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    told = run("-m", "qmlbook.cli", "vectors", f"tests/vectors/{NEW}.json", "--format", "json")
    assert [case["passed"] for case in json.loads(told)] == [True] * 3
    run("-m", "qmlbook.cli", "check", NEW, "--update")
    room = f"src/qmlbook/papers/{NEW}"
    run("-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), room)
    run("-m", "ruff", "format", "--check", "--config", str(ROOT / "pyproject.toml"), room)
