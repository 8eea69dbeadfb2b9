"""The shootout: its runner on programs made up here, and its manifest."""

import ast
import json
import runpy
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SHOOTOUT = ROOT / "benchmarks" / "shootout"
SCHEMA = json.loads((SHOOTOUT / "record.schema.json").read_text())
MANIFEST = yaml.safe_load((SHOOTOUT / "programs.yml").read_text("utf-8"))
PROGRAMS = {name: each for name, each in MANIFEST["programs"].items() if each["ways"]}

MADE_UP = """
import numpy as np

print("libraries print what they like")

def zeros(x, w):
    return lambda: (np.zeros((len(x), 8)), np.zeros_like(x), np.zeros_like(w))

def losses(x, w):
    return lambda: (np.zeros(len(x)), np.zeros_like(x), np.zeros_like(w))

def raises(x, w):
    raise ValueError("no rings today")

def ends(x, w):
    import os
    os._exit(3)
"""


def program(*ways, **fields):
    how = {"kind": "documented", "how": "made up", "batches": {"single": [1, 3]}}
    named = {"title": "Made up", "best": "speed", "file": "made_up.py", "packages": ["numpy"]}
    return named | {"install": "project", "ways": dict.fromkeys(ways, how)} | fields


@pytest.fixture(scope="module")
def runner():
    return runpy.run_path(str(SHOOTOUT / "run.py"))


@pytest.fixture
def shoot(runner, tmp_path):
    """Return a function that runs two made-up programs and gives the record and the lines."""
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "made_up.py").write_text(MADE_UP)
    programs = {
        "one": program("zeros", "losses"),
        "two": program("raises", "ends", cache="MADE_UP_CACHE"),
        "three": program("zeros", install=["made-up==1"], python=["2.7"]),
        "four": program(install="left out", reason="made up"),
    }
    manifest = tmp_path / "programs.yml"
    manifest.write_text(json.dumps({"ours": ["one", "zeros"], "programs": programs}))

    def run(*arguments):
        where = "--manifest", str(manifest), "--home", str(tmp_path / "home")
        runner["main"]([*where, "--seconds", "0.02", *arguments])
        return json.loads((tmp_path / "home" / "shootout.json").read_text())

    run.home = tmp_path / "home"
    return run


def test_two_programs_are_timed_by_turns_and_failures_are_kept_with_their_reason(shoot, capsys):
    record = shoot("--batches", "1")
    jsonschema.validate(record, SCHEMA, format_checker=jsonschema.FormatChecker())
    results = {(each["program"], each["way"]): each for each in record["results"]}
    assert {key: each["status"] for key, each in results.items()} == {
        ("one", "zeros"): "measured",
        ("one", "losses"): "measured",
        ("two", "raises"): "failed",
        ("two", "ends"): "failed",
        ("three", "zeros"): "failed",
    }
    assert results["two", "raises"]["reason"] == "ValueError: no rings today"
    assert "ended with status 3" in results["two", "ends"]["reason"]
    assert "needs Python 2.7" in results["three", "zeros"]["reason"]
    assert record["programs"]["four"]["reason"] == "made up"
    assert results["one", "zeros"]["versions"] == {"numpy": np.__version__}
    assert capsys.readouterr().out.count("\n") == len(results) + 1

    with np.load(shoot.home / "inputs" / "reference-1.npz") as truth:
        largest = {name: np.abs(truth[name]).max() for name in truth.files}
        loss = (truth["values"] ** 2).sum()
    assert results["one", "zeros"]["error"] == pytest.approx(largest)
    assert results["one", "losses"]["error"] == pytest.approx(largest | {"values": loss})
    assert set(results["one", "zeros"]["relative_error"].values()) == {1.0}


@pytest.mark.nightly
def test_what_is_measured_is_not_measured_again_and_what_failed_is_tried_again(shoot):
    first = shoot("--batches", "1")
    file = shoot.home / "results" / "one.zeros.single.1.json"
    failed = shoot.home / "results" / "two.raises.single.1.json"
    before = file.stat().st_mtime_ns, failed.stat().st_mtime_ns
    more = shoot("--batches", "1,3", "one", "two")
    assert file.stat().st_mtime_ns == before[0]
    assert failed.stat().st_mtime_ns > before[1]
    assert len(more["results"]) == 8
    measured = [each for each in first["results"] if each["status"] == "measured"]
    assert all(each in more["results"] for each in measured)

    file.write_text("{ half a res")  # an interruption, or a disk that was full
    shoot("--batches", "1", "one")
    assert json.loads(file.read_text())["status"] == "measured"
    before = file.stat().st_mtime_ns
    shoot("--batches", "1", "--again", "one")
    assert file.stat().st_mtime_ns > before


def test_an_unknown_program_is_refused_and_the_known_ones_are_listed(shoot, capsys):
    with pytest.raises(SystemExit):
        shoot("five")
    assert "five: not known; choose from: one, two, three, four" in capsys.readouterr().err


def test_single_and_double_precision_get_the_same_numbers_at_every_batch(runner):
    numbers = [runner["task"](batch) for batch in (1, 8)]
    assert all(each.dtype == np.float32 for given in numbers for each in given.values())
    assert (numbers[0]["w"] == numbers[1]["w"]).all()
    assert numbers[1]["x"].shape == (8, 8)
    again = runner["task"](8)
    assert (numbers[1]["x"] == again["x"]).all()


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_way_is_a_function_of_its_file_and_says_how(name):
    tree = ast.parse((SHOOTOUT / "programs" / PROGRAMS[name]["file"]).read_text("utf-8"))
    functions = {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}
    assert PROGRAMS[name]["ways"].keys() <= functions
    assert PROGRAMS[name]["packages"]
    wanted = PROGRAMS[name]["install"]
    assert wanted == "project" or all("==" in each for each in wanted)
    assert {"kind", "how", "batches"} <= set.intersection(
        *map(set, PROGRAMS[name]["ways"].values())
    )


@pytest.mark.parametrize(("way", "precision"), [("compiled", "double"), ("qnode", "single")])
def test_our_own_program_is_exact(runner, tmp_path, monkeypatch, way, precision):
    monkeypatch.syspath_prepend(SHOOTOUT / "programs")
    build = runpy.run_path(str(SHOOTOUT / "programs" / "statevector_device.py"))[way]
    sys.modules.pop("training", None)
    inputs, truth = runner["stored"](tmp_path, 3)
    with np.load(inputs) as given:
        dtype = {"single": np.float32, "double": np.float64}[precision]
        found = build(*(given[name].astype(dtype) for name in ("x", "w")))()
    names = "values", "inputs", "weights"
    np.savez(tmp_path / "answer.npz", **dict(zip(names, map(np.asarray, found), strict=True)))
    _, relative = runner["errors"](tmp_path / "answer.npz", truth)
    assert max(relative.values()) < {"single": 1e-5, "double": 1e-12}[precision]
