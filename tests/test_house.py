"""The page *How this house is built* says what is there, and a run takes the way that it lists."""

import importlib
import re
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rooms import OURS

from qmlbook import papers
from qmlbook.evidence.store import Store
from qmlbook.evidence.sweep import in_turn, sweep

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "qmlbook"
PAGE = (ROOT / "book" / "house.md").read_text("utf-8")
FLOORS = ["cli", "book", "referee", "evidence", "papers", "data", "backends", "statevector", "base"]


def part(name):
    """Return the lines of the page between two comments of that name."""
    (text,) = re.findall(rf"^% {name}\b.*?$(.*?)^% /{name}$", PAGE, re.DOTALL | re.MULTILINE)
    return text.strip().splitlines()


def rows(name):
    """Return the cells of a table of the page."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in part(name)[2:]]


def modules(folder):
    return {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}


def test_every_room_and_every_module_is_on_the_page():
    listed = {room.strip("`"): re.findall(r"`(\w+)`", names) for room, _, names in rows("rooms")}
    found = {"cli.py": set()}
    for folder in [PACKAGE, *PACKAGE.rglob("*/")]:
        inside = folder.relative_to(PACKAGE)
        is_paper = inside.parts[:1] == ("papers",) and len(inside.parts) > 1
        is_room = (folder / "__init__.py").is_file() and inside.parts
        if is_room and (not is_paper or inside.name == "shared"):
            found[f"{inside.as_posix()}/"] = modules(folder)
    assert {room: set(names) for room, names in listed.items()} == found
    assert all(len(names) == len(set(names)) for names in listed.values())


def test_every_paper_has_the_furniture_of_the_page():
    furniture = [file.strip("`") for file, _ in rows("furniture")]
    assert furniture[0] == "claims.yml"
    for paper in OURS:
        for file in furniture:
            # A paper where nothing holds without training has nothing to check.
            there = (PACKAGE / "papers" / paper / file).is_file()
            assert there or file == "checks.py", f"{paper}: {file}"


def test_the_picture_shows_the_floors_from_the_top_to_the_bottom():
    picture = ElementTree.parse(ROOT / "book" / "_static" / "house.svg")
    texts = picture.findall(".//{*}text")
    names = [t.text.removesuffix(".py") for t in texts if "name" in t.get("class").split()]
    assert names == FLOORS


def test_every_answer_leads_to_a_file_or_a_page():
    answers = rows("answers")
    assert len(answers) >= 10
    for question, answer in answers:
        paths = re.findall(r"`([\w./-]+\.\w+)`", answer)
        pages = re.findall(r"\{doc\}`(\w+)`", answer)
        assert paths or pages, question
        for path in [*paths, *(f"book/{page}.md" for page in pages)]:
            assert (ROOT / path).is_file(), f"{question}: {path}"
    # Every file that the page names elsewhere is there as well.
    for path in re.findall(r"`((?:\w+/)+[\w.]+\.(?:py|yml|md))`", PAGE):
        assert (
            (ROOT / path).is_file()
            or (PACKAGE / path).is_file()
            or (PACKAGE / "papers" / path).is_file()
        ), path


def resolve(name):
    """Return what a dotted name below ``qmlbook`` is."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(["qmlbook", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            thing = getattr(thing, part)
        return thing
    raise AssertionError(f"{name} is nowhere")


@pytest.mark.parametrize("journey", ["configuration", "tape", "verdict", "page"])
def test_the_functions_of_a_journey_exist(journey):
    named = re.findall(r"`([a-z]\w*(?:\.\w+)+)(?<!\.yml)`", "\n".join(part(journey)))
    assert len(named) >= 5
    for name in named:
        assert callable(resolve(name)), name


def test_a_configuration_takes_the_way_of_the_page(tmp_path, monkeypatch):
    """Watched: every function of ours that is given the configuration, when it first is."""
    listed = re.findall(r"^\d+\. `([\w.]+)`", "\n".join(part("configuration")), re.MULTILINE)
    assert len(listed) <= 15
    config = resolve("papers.klssl.config.Config")
    grids = papers.experiments("klssl")  # made before anybody watches
    monkeypatch.setattr(papers, "experiments", lambda _: grids)
    called, given = [], []

    def one(jobs):  # is enough
        return in_turn(jobs[:1])

    def watch(frame, event, _):
        name = f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"
        if event != "call" or not name.startswith("qmlbook."):
            return
        called.append(name.removeprefix("qmlbook.").removesuffix(".__init__"))
        code = frame.f_code
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if any(isinstance(frame.f_locals.get(each), config) for each in arguments):
            given.append(called[-1])

    monkeypatch.setenv("QMLBOOK_CACHE", str(tmp_path / "cache"))  # nothing is planned already
    store = Store(tmp_path / "results")
    sys.setprofile(watch)
    try:
        done = sweep(
            "klssl", experiment="ablation", profile="quick", seeds=1, store=store, runner=one
        )
    finally:
        sys.setprofile(None)
    assert done.ran == len(store.records("klssl")) == 1
    assert list(dict.fromkeys(given)) == [name for name in listed if name in given]
    # The others of the list hand it on by name, or make and store the record.
    inside = [name for name in listed if name != "cli.sweep"]
    first = [called.index(name) for name in inside]
    assert first == sorted(first)
    # Down only, until the numbers are there.
    floors = [FLOORS.index(name.split(".")[0]) for name in listed[:-1]]
    assert all(before <= after for before, after in pairwise(floors))
