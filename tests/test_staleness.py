"""An executed notebook is fresh while all that its chapter looked at is as it was."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_project import PARAMETERS, TINY, Project, chapter

from qmlbook.book import chapters, execute, kernel, stamps

ROOT = Path(__file__).resolve().parents[1]

# Reads its own room and, by what all share, its own records; asks for weights and for images.
READS = """
import os
from pathlib import Path

from qmlbook import shared
from qmlbook.rooms.{me} import NAME

data = Path(os.environ["QMLBOOK_ROOT"], "data")
print(NAME, [shared.read(file) for file in sorted((data / "results" / "{me}").glob("*.jsonl"))])
print((data / "weights" / "{me}.bin").is_file())
compiled = Path(shared.__file__).parent / "__pycache__" / "kernels.nbi"  # as Numba keeps its code
print(compiled.exists() and compiled.read_bytes())
{more}"""
IMAGES = """
places = [os.environ[name] for name in ("QMLBOOK_DATA", "QMLBOOK_CACHE") if name in os.environ]
files = [Path(place, "mnist.npz") for place in places]
print([file.read_text() for file in files if file.is_file()])
"""


def start(me, more=""):
    return chapter(me, ("parameters", PARAMETERS), READS.format(me=me, more=more))


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Return a project whose chapters, "one" and "two", have been executed; "one" shows images."""
    root = tmp_path_factory.mktemp("stale")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("QMLBOOK_DATA", raising=False)
        patch.setenv("QMLBOOK_CACHE", str(root / "cache"))
        project = Project(root)
        project.write("src/qmlbook/shared.py", "def read(file):\n    return file.read_text()\n")
        project.write("src/qmlbook/unused.py", "")
        project.write("src/qmlbook/book/pdf.py", "")
        project.write("src/qmlbook/__pycache__/kernels.nbi", "machine code")
        project.write("cache/other.npz", "not asked for")
        project.write("mine/other.npz", "not asked for")
        for me in ("one", "two"):
            project.write(f"src/qmlbook/rooms/{me}.py", f"NAME = {me!r}\n")
            project.write(f"data/results/{me}/a.jsonl", "{}\n")
        project.chapters(one=start("one", IMAGES), two=start("two"))
        assert [result.status for result in project.run().values()] == ["executed"] * 2
        yield project


def fresh(project):
    return sorted(execute.executed(["one", "two"], project.root))


BOTH = ["one", "two"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "still"),
    [
        ("book/one.md", ["two"]),
        ("book/intro.md", BOTH),
        ("book/one.json", BOTH),  # no cell reads it
        ("src/qmlbook/rooms/one.py", ["two"]),
        ("src/qmlbook/rooms/two.py", ["one"]),
        ("src/qmlbook/rooms/three.py", BOTH),
        ("src/qmlbook/shared.py", []),
        ("src/qmlbook/__init__.py", []),
        ("src/qmlbook/unused.py", BOTH),
        ("src/qmlbook/book/pdf.py", BOTH),
        ("src/qmlbook/__pycache__/x.pyc", BOTH),
        ("src/qmlbook/__pycache__/kernels.nbi", BOTH),
        ("data/results/one/a.jsonl", ["two"]),
        ("data/results/one/b.jsonl", ["two"]),
        ("data/results/two/b.jsonl", ["one"]),
        ("data/results/three/a.jsonl", BOTH),
        ("data/results/one/.pending/run.json", BOTH),
        ("data/README.md", BOTH),
        ("data/results/one/README.md", BOTH),
        ("data/results/one/a.jsonl~", BOTH),
        ("data/results/one/a.rejected", BOTH),
        ("data/results/one/gone/__pycache__/x.pyc", BOTH),
        ("data/images/one.txt", BOTH),
        ("data/weights/one.bin", ["two"]),
        ("data/weights/two.bin", ["one"]),
        ("data/weights/three.bin", BOTH),
        ("cache/mnist.npz", ["two"]),
        ("cache/other.npz", BOTH),
        ("cache/another.npz", BOTH),
        ("requirements.lock", []),
        ("requirements-torch.lock", []),
    ],
)
def test_a_change_makes_stale_what_looked_there_and_nothing_else(executed, name, still):
    assert fresh(executed) == BOTH
    file = executed.root / name
    before = file.read_bytes() if file.is_file() else None
    executed.write(name, "\n" if before is None else before.decode() + "\n")
    try:
        assert fresh(executed) == still
    finally:
        file.unlink() if before is None else file.write_bytes(before)
    assert fresh(executed) == BOTH  # undone


@pytest.mark.slow
def test_what_is_gone_is_noticed(executed):
    for name, still in (("src/qmlbook/rooms/one.py", ["two"]), ("data/results/two", ["one"])):
        path = executed.root / name
        path.rename(path.with_name("elsewhere"))
        assert fresh(executed) == still
        path.with_name("elsewhere").rename(path)
    assert fresh(executed) == BOTH


@pytest.mark.slow
def test_a_folder_of_the_reader_s_counts_where_images_are_shown(executed, monkeypatch):
    monkeypatch.setenv("QMLBOOK_DATA", str(executed.root / "mine"))
    assert fresh(executed) == ["two"]
    assert executed.run()["two"].status == "up to date"
    assert fresh(executed) == BOTH
    executed.write("mine/another.npz", "not asked for")
    assert fresh(executed) == BOTH
    executed.write("mine/mnist.npz", "seven")
    assert fresh(executed) == ["two"]
    (executed.root / "mine" / "mnist.npz").unlink()
    monkeypatch.delenv("QMLBOOK_DATA")
    assert fresh(executed) == ["two"]
    assert executed.run()["one"].status == "executed"


@pytest.mark.nightly
def test_a_run_that_saw_nothing_of_the_reader_s_serves_where_that_is_hidden(executed):
    statuses = [result.status for result in executed.run(embedded=True).values()]
    assert statuses == ["up to date"] * 2
    executed.write("cache/mnist.npz", "eight")
    try:
        statuses = [result.status for result in executed.run().values()]
        assert statuses == ["executed", "up to date"]
        own = executed.executed("one").read_bytes()
        assert "'eight'" in own.decode()
        hidden = executed.run(embedded=True)
        assert hidden["one"].path == executed.executed("one", "embedded")
        assert hidden["two"].path == executed.executed("two")
        assert executed.run(embedded=True)["one"].status == "up to date"
        assert "'eight'" not in executed.executed("one", "embedded").read_text()
        assert executed.executed("one").read_bytes() == own
    finally:
        (executed.root / "cache" / "mnist.npz").unlink()
        executed.run()


@pytest.mark.slow
def test_what_changes_while_a_chapter_runs_makes_it_stale(project):
    change = """
import os
from pathlib import Path

file = Path(os.environ["QMLBOOK_ROOT"], "data", "images", "one.txt")
print(file.read_text())
file.write_text("other pixels")
"""
    project.chapters(tiny=chapter("Tiny", ("parameters", PARAMETERS), change))
    assert project.run()["tiny"].status == "executed"
    assert list(execute.executed(["tiny"], project.root)) == []


@pytest.mark.slow
def test_checking_and_building_after_a_run_runs_nothing(project):
    assert project.run(force=True)["tiny"].status == "executed"
    before = project.executed("tiny").read_bytes()
    assert project.check(update=True)
    assert project.check()
    assert project.check(nbval=True)
    project.build()
    assert project.executed("tiny").read_bytes() == before
    assert project.said.count("tiny: running") == 1
    # A notebook without a stamp, or with one of another kind, says nothing.
    for text in (before.decode().replace('"qmlbook"', '"another"'), TINY):
        project.executed("tiny").write_text(text, "utf-8")
        assert project.run()["tiny"].status == "executed"


# Notes what a few lines look at, in a process of its own: an audit hook stays for good.
LOOK = """
import sys
from qmlbook.book.kernel import Notes
folder = sys.argv[1]
Notes(f"{folder}/notes", {"project": f"{folder}/p", "cache": f"{folder}/p/c"}).start()
"""


def looks(folder, code):
    (folder / "p" / "c").mkdir(parents=True)
    (folder / "p" / "file").write_text("x")
    command = [sys.executable, "-c", LOOK + code, str(folder)]
    path = str(Path(kernel.__file__).parents[2])
    done = subprocess.run(
        command, cwd=folder / "p", env={**os.environ, "PYTHONPATH": path}, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return [json.loads(line) for line in (folder / "notes").read_text().splitlines()]


@pytest.mark.parametrize(
    ("code", "noted"),
    [
        ("open('file').read()", {"project/file": "file"}),
        ("open(b'file').read()", {"project/file": "file"}),
        ("import pathlib; pathlib.Path('file').read_bytes()", {"project/file": "file"}),
        ("open('../p/./file').read()", {"project/file": "file"}),
        ("import os; os.close(os.open('file', os.O_RDONLY))", {"project/file": "file"}),
        ("open('file', 'w').close()", {}),
        ("open('c/new', 'x').close()", {}),
        ("open('../notes').read()", {}),
        ("import pathlib; list(pathlib.Path('.').glob('*.x'))", {"project/": "folder"}),
        ("import os; os.listdir('c')", {"cache/": "folder"}),
        ("import os; os.path.exists('c/none')", {"cache/none": "path absent"}),
        ("import os; os.path.exists('file')", {"project/file": "path there"}),
        ("import os, contextlib\nwith contextlib.suppress(OSError): open('none')",
         {"project/none": "file absent"}),
        ("import importlib; importlib.invalidate_caches(); sys.path[0] = ''\n"
         "try: import nothing_of_this_name\nexcept ImportError: pass", {}),
        ("import threading\nthreads = [threading.Thread(target=lambda: open('file').read())"
         " for _ in range(8)]\nfor t in threads: t.start()\nfor t in threads: t.join()",
         {"project/file": "file"}),
        ("import os, shutil; os.mkdir('d'); shutil.rmtree('d'); open(0, closefd=False)", None),
    ],
)  # fmt: skip
def test_every_way_to_look_is_noted_and_nothing_else(tmp_path, code, noted):
    found = looks(tmp_path, code)
    if noted is None:  # it works, as it does without notes
        return
    strongest = {name: what for name, what in found if not name.startswith("project/pyvenv")}
    assert strongest.keys() >= noted.keys()
    for name, what in noted.items():
        assert strongest[name].startswith(what)
    others = {name: what for name, what in strongest.items() if name not in noted}
    assert all(what.startswith("path") for what in others.values()), others


def test_a_module_is_noted_by_its_source_and_nothing_is_noted_twice(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "module.py").write_text("x = 1\n")
    code = "sys.path.insert(0, '')\nimport module, importlib\nimportlib.reload(module)\n"
    (tmp_path / "p" / "c").mkdir()
    (tmp_path / "p" / "file").write_text("")
    for _ in range(2):  # the second time it is read from its compiled form
        command = [sys.executable, "-c", LOOK + code, str(tmp_path)]
        env = {**os.environ, "PYTHONPATH": str(Path(kernel.__file__).parents[2])}
        (tmp_path / "notes").unlink(missing_ok=True)
        subprocess.run(command, cwd=tmp_path / "p", env=env, check=True)
        found = [json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()]
        assert [what for name, what in found if name == "project/module.py"] == [
            kernel.state("file", str(tmp_path / "p" / "module.py"))
        ]


# --- the book itself ----------------------------------------------------------------------------


def looked_at(name):
    return stamps.stamp_of(ROOT / "_build" / "executed" / "quick" / f"{name}.ipynb")["looks"]


@pytest.mark.slow
@pytest.mark.parametrize("name", chapters.names(ROOT))
def test_no_chapter_depends_on_how_pages_are_printed_or_taught(html, name):
    looks = looked_at(name)
    assert looks[f"project/book/{name}.md"].startswith("file ")
    assert looks["project/requirements.lock"].startswith("file ")
    assert any(look.startswith("package/") for look in looks)
    read = {look for look, what in looks.items() if what.startswith("file")}
    for other in (
        "package/cli.py",
        "package/book/pdf.py",
        "package/book/course/",
        "project/tests/",
    ):
        assert not [look for look in read if look.startswith(other)], other


@pytest.mark.slow
@pytest.mark.parametrize("name", ["klssl", "qssl", "c2q", "qdeq", "contextuality"])
def test_a_paper_s_chapter_depends_on_no_other_paper(html, name):
    read = {look for look, what in looked_at(name).items() if not what.startswith("path")}
    assert any(look.startswith(f"project/data/results/{name}/") for look in read)
    for other in {"klssl", "qssl", "c2q", "qdeq", "contextuality"} - {name}:
        rooms = (f"project/data/results/{other}/", f"package/papers/{other}/")
        assert not [look for look in read if look.startswith(rooms)], other
