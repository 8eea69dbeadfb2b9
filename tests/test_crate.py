"""Records in the standards of others: RO-Crate, Croissant, Parquet, and files for catalogues."""

import io
import json
import os
import pty
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from qmlbook import cli
from qmlbook.base import files, paths
from qmlbook.base.errors import QmlbookError
from qmlbook.evidence import crate, export
from qmlbook.evidence.store import Store

ROOT = Path(__file__).resolve().parents[1]
PAPERS = ["qdeq", "c2q"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return crate.write(PAPERS, tmp_path_factory.mktemp("crate") / "a new one")


@pytest.fixture(scope="module")
def graph(folder):
    content = json.loads((folder / crate.METADATA).read_text("utf-8"))
    return {entity["@id"]: entity for entity in content["@graph"]}


def named(value):
    """Return every identifier that a value refers to."""
    if isinstance(value, list):
        return [name for each in value for name in named(each)]
    return [value["@id"]] if isinstance(value, dict) else []


def test_every_file_of_the_crate_is_described_with_its_digest_and_nothing_else_is(folder, graph):
    described = {name: each for name, each in graph.items() if each["@type"] == "File"}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(described) == there - {crate.METADATA}
    assert set(named(graph["./"]["hasPart"])) == set(described)
    for name, entity in described.items():
        content = (folder / name).read_bytes()
        assert (entity["sha256"], entity["contentSize"]) == (
            files.sha256(content),
            str(len(content)),
        )
    kept = {path.name for path in (paths.results_dir() / "qdeq").glob("*.parquet")}
    assert kept
    assert {f"results/qdeq/{name}" for name in kept} <= set(described)


def test_every_reference_in_the_crate_leads_somewhere(graph):
    known = set(graph) | set(crate.PROFILES)
    for entity in graph.values():
        for key, value in entity.items():
            assert key == "@id" or set(named(value)) <= known, (entity["@id"], key)
    assert graph[crate.METADATA]["about"] == {"@id": "./"}
    assert named(graph["./"]["conformsTo"]) == list(crate.PROFILES)


def test_actions_count_every_run_once_and_say_by_what_it_was_made(graph):
    records = export.records(PAPERS)
    actions = [entity for entity in graph.values() if entity["@type"] == "CreateAction"]
    counts = [int(each["name"].split()[0].replace(",", "")) for each in actions]
    assert sum(counts) == len(records)
    assert {graph[each["instrument"]["@id"]]["identifier"] for each in actions} == {
        record.code_version for record in records
    }
    author = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["authors"][0]["name"]
    for action in actions:
        assert action["startTime"] <= action["endTime"]
        assert [graph[name]["name"] for name in named(action["agent"])] == [author]
        assert named(action["result"])
        (claims,) = [name for name in named(action["object"]) if name.startswith("claims/")]
        assert claims.split("/")[1] == f"{action['@id'].split('-')[1]}.yml"
    (transfer,) = {str(named(a["object"])) for a in actions if a["@id"].startswith("#run-c2q-grid")}
    assert transfer == "['claims/c2q.yml', '#images-mnist', '#images-fashion_mnist']"


def test_croissant_names_the_files_and_the_columns_that_are_in_them(folder):
    parquet = pytest.importorskip("pyarrow.parquet")
    told = json.loads((folder / crate.CROISSANT).read_text("utf-8"))
    for each in told["distribution"]:
        content = (folder / each["contentUrl"]).read_bytes()
        assert (each["sha256"], each["contentSize"]) == (
            files.sha256(content),
            f"{len(content)} B",
        )
    tables = {table["name"]: table["field"] for table in told["recordSet"]}
    assert {"records", "predictions-qdeq-mnist4"} <= set(tables)
    for name, fields in tables.items():
        (file,) = {field["source"]["fileObject"]["@id"] for field in fields}
        columns = parquet.read_schema(folder / file).names
        assert [field["source"]["extract"]["column"] for field in fields] == columns, name


def test_parquet_holds_the_numbers_of_the_csv():
    parquet = pytest.importorskip("pyarrow.parquet")
    records = export.records(["qdeq"])
    table = parquet.read_table(io.BytesIO(export.parquet(records)))
    header, *lines = export.render(records, "csv").splitlines()
    assert table.column_names == header.split(",") == list(export.columns())
    assert table.num_rows == len(lines)
    whole = sum(
        len(value) if isinstance(value, list) else 1
        for record in records
        for value in record.metrics.values()
    )
    assert table.num_rows == whole + sum(not record.metrics for record in records)
    assert json.loads(table["config"][0].as_py()) == records[0].config
    assert table["value"].null_count == sum(not record.metrics for record in records)
    empty = parquet.read_table(io.BytesIO(export.parquet([])))
    assert (empty.num_rows, empty.schema) == (0, table.schema)


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_crate_that_is_not_finished_leaves_nothing(tmp_path, monkeypatch, problem):
    write, written = files.write, []

    def fails(path, content, **how):
        if len(written) == 2:
            raise problem
        written.append(write(path, content, **how))

    monkeypatch.setattr(files, "write", fails)
    with pytest.raises(type(problem)):
        crate.write(["contextuality"], tmp_path / "new")
    assert len(written) == 2
    assert not list(tmp_path.iterdir())


def test_what_is_no_crate_is_one_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "there").mkdir()
    with pytest.raises(QmlbookError, match=r"there'.* exists; name a new folder"):
        crate.write(["qdeq"], tmp_path / "there")
    with pytest.raises(QmlbookError, match="There are no records of qdeq"):
        crate.write(["qdeq"], tmp_path / "new", store=Store(tmp_path))
    (tmp_path / "qdeq").mkdir()
    (tmp_path / "qdeq" / "roots.jsonl").write_text("{}\n")
    with pytest.raises(QmlbookError, match=r"not as stored: qdeq/roots\.jsonl: a line"):
        crate.write(["qdeq"], tmp_path / "new", store=Store(tmp_path))
    assert not (tmp_path / "new").exists()
    for words, said in (
        (["--format", "ro-crate"], "writes a folder; name it with --to"),
        (["--format", "parquet", "--predictions"], "choose from: csv, json"),
    ):
        monkeypatch.setattr(sys, "argv", ["qmlbook", "records", "qdeq", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 2
        assert said in capsys.readouterr().err


@pytest.mark.nightly
def test_bytes_go_to_a_file_or_a_pipe_and_not_to_a_screen(tmp_path):
    command = [sys.executable, "-m", "qmlbook.cli", "records", "qdeq", "--format", "parquet"]
    piped = subprocess.run(command, capture_output=True)
    assert piped.returncode == 0
    file = tmp_path / "qdeq.parquet"
    assert subprocess.run([*command, "--to", file]).returncode == 0
    assert file.read_bytes() == piped.stdout
    ours, theirs = pty.openpty()
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True)
    os.close(ours)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (
        2,
        "Error: This format is no text; name a file with --to.\n",
    )


def test_the_citation_file_is_one_and_the_others_say_the_same():
    made = runpy.run_path(str(ROOT / "scripts" / "metadata.py"))["made"]()
    assert set(made) == {"CITATION.cff", "codemeta.json", ".zenodo.json"}
    for name, content in made.items():
        assert (ROOT / name).read_text("utf-8") == content, "run scripts/metadata.py"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    command += ["vendor.citation-file-format", ROOT / "CITATION.cff"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    cited = yaml.safe_load(made["CITATION.cff"])
    assert len(cited["references"]) == 5
    assert cited["preferred-citation"]["version"] == cited["version"]


# --- the validators of others -------------------------------------------------------------------

# A Python that has the extra `standards`; its versions are not those of the book.
OTHER = os.environ.get("QMLBOOK_STANDARDS", sys.executable)


def has(module):
    probe = [OTHER, "-c", f"import {module}"]
    return subprocess.run(probe, capture_output=True).returncode == 0


@pytest.mark.nightly
def test_validators_of_the_standards_have_nothing_to_say(folder):
    if not (has("rocrate_validator") and has("mlcroissant") and has("rocrate")):
        pytest.skip("QMLBOOK_STANDARDS names no Python with the extra `standards`")
    program = [OTHER, ROOT / "tests" / "validators.py", folder]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    # What is only recommended and missing: addresses, which nobody here can give.
    assert {severity for severity, _ in found["crate"]} <= {"RECOMMENDED"}
    assert all("url" in said.lower() or "uri" in said.lower() for _, said in found["crate"])
    assert (found["errors"], found["warnings"]) == ([], [])
    assert all(len(row) >= 8 for row in found["first"].values())
    assert len(found["first"]) >= 2


@pytest.mark.nightly
def test_validators_find_what_is_wrong(folder, tmp_path):
    if not has("rocrate_validator"):
        pytest.skip("QMLBOOK_STANDARDS names no Python with the extra `standards`")
    text = (folder / crate.METADATA).read_text("utf-8").replace('"datePublished"', '"date"')
    (tmp_path / crate.METADATA).write_text(text, "utf-8")
    (tmp_path / crate.CROISSANT).write_bytes((folder / crate.CROISSANT).read_bytes())
    code = "import sys, validators; print(validators.crate(sys.argv[1]))"
    program = [OTHER, "-c", code, tmp_path]
    done = subprocess.run(program, cwd=ROOT / "tests", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "REQUIRED" in done.stdout
