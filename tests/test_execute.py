"""How chapters run, and what is stored of a run."""

import json
import os
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from small_project import PARAMETERS, TINY, chapter, printed

from qmlbook.base.errors import QmlbookError
from qmlbook.book import execute, notebooks


@pytest.mark.parametrize("layout", ["apart", "home in temporary", "one in the other", "all one"])
def test_places_and_addresses_become_words_once_and_for_all(tmp_path, monkeypatch, layout):
    root, temporary, home = {
        "apart": ("/srv/book", "/scratch", "/users/me"),
        "home in temporary": ("/t/x.y/home/book", "/t", "/t/x.y/home"),
        "one in the other": ("/t", "/t/b/t", "/t/b"),
        "all one": ("/t/a", "/t/a", "/t/a"),
    }[layout]
    monkeypatch.setattr(tempfile, "gettempdir", lambda: temporary)
    monkeypatch.setattr(Path, "home", lambda: Path(home))
    monkeypatch.setattr(sys, "prefix", f"{root}/.venv")
    words = notebooks.local_words(Path(root))
    word = {temporary: "[temporary]", home: "[home]", root: "[project]"}
    for place in word:
        text = (
            f"{place}/notes/x.md in {place}. <{place}:3> file://{place}/y {place}shop {place}.z/1 "
            f"x{place}/1 {place}-1 {place}~ {root}/.venv/lib/{temporary[1:]}/ipykernel_12/3.py "
            "<object at 0x7f2b3c4d5e6f>"
        )
        cleaned = notebooks.replace(text, words)
        here = word[place]
        assert cleaned.startswith(f"{here}/notes/x.md in {here}. <{here}:3> file://{here}/y ")
        assert cleaned.endswith(
            f"[python]/lib/{temporary[1:]}/ipykernel_PID/3.py <object at 0xADDRESS>"
        )
        # What only begins or ends like it is another place, though it may lie in a third one.
        assert cleaned.count(here) == 4 + sum(
            notebooks.replace(f"{place}{end}", words).startswith(here)
            for end in ("shop", ".z/1", "-1", "~")
        )
        assert f"{here}shop" not in cleaned
        assert f"x{place}/1" in cleaned
        for colour in ("", "0", "32", "1;32", "38;5;241"):
            coloured = f"\x1b[{colour}m%s/x.py\x1b[39m"
            assert notebooks.replace(coloured % place, words) == coloured % here
        escaped = repr(f"a\n{place}/x\t{place}")
        assert notebooks.replace(escaped, words) == escaped.replace(place, here)
        assert notebooks.replace(cleaned, words) == cleaned
    for innocent in ("a0x12 0xff 0x12345678", f".{temporary}/x", "https://example.org/root"):
        assert notebooks.replace(innocent, words) == innocent


def test_a_home_at_the_top_is_no_place_in_particular(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    assert notebooks.replace("/ /a/b", notebooks.local_words(Path("/srv/book"))) == "/ /a/b"


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


@pytest.mark.nightly
def test_profiles_and_parameters(project):
    quick = project.run() and project.executed("tiny").read_text("utf-8")
    assert project.run(profile="full")["tiny"].status == "executed"
    assert project.outputs("tiny", "full")[1] == ["product 6.0 in profile full\n"]
    assert project.executed("tiny").read_text("utf-8") == quick
    # Other values make another notebook; the defaults do not count as other values.
    assert project.run(parameters={"scale": "0.5"})["tiny"].status == "executed"
    assert project.outputs("tiny")[1] == ["product 1.5 in profile quick\n"]
    assert project.run(parameters={"scale": "2.0"})["tiny"].status == "executed"
    assert project.run()["tiny"].status == "up to date"


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


@pytest.mark.nightly
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
        greedy=chapter("Greedy", start, "raise MemoryError"),
        expected=chapter("Expected", start, ("raises-exception", "1 / 0"), "1 + 1"),
        second=chapter("Second", start, ("raises-exception", "1 / 0"), "[][0]"),
    )
    results = project.run(keep_going=True, cell_timeout=4)
    assert results["allowed"].ok
    assert project.outputs("expected")[2] == ["2"]
    (error,) = nbformat.read(project.executed("expected"), as_version=4).cells[2].outputs
    assert (error.ename, error.evalue) == ("ZeroDivisionError", "division by zero")
    found = {name: (result.cell, result.error) for name, result in results.items()}
    assert found == {
        "warns": (3, "the cell wrote to standard error"),
        "allowed": (None, ""),
        "leaves": (2, "SystemExit: 0"),
        "skips": (2, "the cell was not executed"),
        "hangs": (3, "the cell took longer than 4 s"),
        "dies": (2, "the kernel died"),
        "greedy": (2, "this machine, or a limit set on it, has too little memory (MemoryError)"),
        "expected": (None, ""),
        "second": (3, "IndexError: list index out of range"),
    }
    assert "beware" in results["warns"].traceback
    assert sorted(path.name for path in project.executed("x").parent.iterdir()) == [
        "allowed.ipynb",
        "expected.ipynb",
    ]


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
    assert [result.error for result in project.run().values()] == ["", ""]


@pytest.mark.slow
def test_a_kernel_that_meets_a_taken_port_is_started_once_more(project, monkeypatch):
    """Jupyter chooses the ports of a kernel before the kernel opens them."""
    once = f"""
import runpy
import sys
from pathlib import Path

sys.path.remove({str(project.root)!r})
with Path({str(project.root)!r}, "starts").open("a") as stream:
    stream.write("one\\n")
if Path({str(project.root)!r}, "starts").read_text() == "one\\n":
    sys.exit("zmq.error.ZMQError: Address already in use")
runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
"""
    project.write(project.root / "ipykernel_launcher.py", once)
    monkeypatch.setenv("PYTHONPATH", str(project.root))
    project.chapters(tiny=TINY)
    assert project.run()["tiny"].error == ""
    assert (project.root / "starts").read_text().split() == ["one", "one"]
