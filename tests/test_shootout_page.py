"""The stored record of the shootout, and the page that shows it."""

import json
import re
import runpy
from pathlib import Path

import jsonschema
import jupytext
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SHOOTOUT = ROOT / "benchmarks" / "shootout"
RECORD = ROOT / "data" / "benchmarks" / "shootout.json"
SCHEMA = json.loads((SHOOTOUT / "record.schema.json").read_text())
MANIFEST = yaml.safe_load((SHOOTOUT / "programs.yml").read_text("utf-8"))


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text("utf-8"))


def test_the_record_is_as_described(record):
    jsonschema.validate(record, SCHEMA, format_checker=jsonschema.FormatChecker())
    keys = [
        tuple(each[k] for k in ("program", "way", "precision", "batch"))
        for each in record["results"]
    ]
    assert len(set(keys)) == len(keys)
    assert {key[0] for key in keys} == {n for n, each in record["programs"].items() if each["ways"]}
    assert record["programs"].keys() == MANIFEST["programs"].keys()


def test_every_program_of_the_record_computes_the_right_thing(record):
    for each in record["results"]:
        if each["status"] == "measured":
            # Values of lightning.qubit reach torch in single precision.
            rounded = each["precision"] == "single" or each["program"] == "lightning.qubit"
            allowed = 1e-5 if rounded else 1e-10
            assert max(each["relative_error"].values()) < allowed, each["program"]


@pytest.fixture(scope="module")
def page():
    """Return what the page's cells define; the tables it makes come from `speed`."""
    import matplotlib.pyplot as plt

    notebook = jupytext.read(ROOT / "book" / "shootout.md")
    names = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    yield names | {"text": "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")}
    plt.close("all")


@pytest.mark.parametrize("precision", ["single", "double"])
def test_the_table_of_the_page_has_the_numbers_of_the_record(page, record, precision):
    lines = page["speed"](precision).data.split("\n")
    batches = [int(each) for each in lines[0].split("|")[2:-1]]
    titles = {each["title"]: name for name, each in record["programs"].items()}
    shown = 0
    for title, *cells in ([part.strip() for part in line.split("|")[1:-1]] for line in lines[2:]):
        for batch, cell in zip(batches, cells, strict=True):
            times = [
                (each["theirs"]["cpu"]["p10"], each["ratio"])
                for each in record["results"]
                if each["status"] == "measured"
                and (each["program"], each["precision"]) == (titles[title], precision)
                and each["batch"] == batch
            ]
            assert bool(times) == bool(cell), (title, batch)
            if times:
                time, ratio = re.fullmatch(r"([\d.e+-]+) \(([\d.e+-]+)\)", cell).groups()
                assert (float(time), float(ratio)) == pytest.approx(min(times), rel=0.06)
                shown += 1
    assert shown >= 5


def test_the_page_types_no_measured_number_and_links_the_machinery(page):
    text = re.sub(r"`[^`]*`|```.*?```", "", page["text"], flags=re.DOTALL)
    assert not re.findall(r"\d+(?:\.\d+)? ?(?:ms|s|times|x)\b", text)
    for named in re.findall(r"`((?:benchmarks|data)/[^`]*)`", page["text"]):
        assert (ROOT / named.split()[0]).exists(), named


def test_starts_are_measured_of_what_the_program_lists():
    module = runpy.run_path(str(ROOT / "benchmarks" / "startup.py"))
    stored = json.loads((RECORD.parent / "startup.json").read_text("utf-8"))
    assert list(stored["seconds"]) == list(module["LINES"])
    assert stored["rounds"] >= 5
    assert all(seconds > 0 for seconds in stored["seconds"].values())
    assert module["processor_time"]("qmlbook --help") > 0
