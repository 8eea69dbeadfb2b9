"""Run records as CSV and JSON, and the dictionary of every field that leaves the book."""

import csv
import io
import json
from dataclasses import fields

import pytest
from pyarrow import parquet

from qmlbook import data
from qmlbook.base.errors import UsageError
from qmlbook.evidence import export, report
from qmlbook.evidence.claims import Claim
from qmlbook.evidence.store import Record
from qmlbook.evidence.verdicts import FOR_PEOPLE, Verdict, verdicts

GOOD = Record(
    paper="klssl",
    experiment="grid",
    experiment_version=1,
    variant="a, b",
    profile="full",
    config={"depth": 2, "name": 'a "b"'},
    config_key="0" * 12,
    seed=3,
    metrics={"accuracy": 0.1 + 0.2, "losses": [1.0, 0.5], "none": []},
    seconds=1.5,
    device="cpu",
    dtype="float64",
    threads=1,
    versions={"torch": "2"},
    code_version="0" * 12,
    started_at="2026-01-01T00:00:00+00:00",
)
BAD = Record(**{**vars(GOOD), "metrics": {}, "status": "failed", "error": "ValueError: x\ny"})


def rows(records):
    return list(csv.DictReader(io.StringIO(export.render(records, "csv"))))


def test_a_line_of_the_csv_is_one_number_of_one_run():
    found = rows([GOOD])
    cells = [(row["metric"], row["index"], float(row["value"])) for row in found]
    assert cells == [("accuracy", "", 0.3), ("losses", "0", 1.0), ("losses", "1", 0.5)]
    for row in found:
        assert row["variant"] == "a, b"
        assert json.loads(row["config"]) == GOOD.config
        assert (row["seed"], row["status"], row["error"]) == ("3", "ok", "")


def test_whole_numbers_of_any_size_are_numbers_of_parquet():
    line = GOOD.line().replace("[1.0,0.5]", f"[{2**53 + 1},{2**64},-{10**40}]")
    table = parquet.read_table(io.BytesIO(export.parquet([Record.parse(line)])))
    expected = [0.3, 2.0**53, 2.0**64, -1e40]
    assert table["value"].to_pylist() == pytest.approx(expected, rel=1e-11, abs=0)


def test_a_failed_run_has_a_line_too():
    (row,) = rows([BAD])
    assert (row["metric"], row["index"], row["value"]) == ("", "", "")
    assert (row["status"], row["error"]) == ("failed", BAD.error)


def test_the_json_holds_every_field_of_every_run():
    found = json.loads(export.render([GOOD, BAD], "json"))
    assert [set(entry) for entry in found] == [{item.name for item in fields(Record)}] * 2
    assert found[0]["metrics"] == GOOD.metrics
    assert found[0]["error"] is None
    assert [Record(**entry) for entry in found] == [GOOD, BAD]
    assert json.loads(export.render([], "json")) == []


def test_unknown_formats_tables_and_papers_are_refused():
    with pytest.raises(UsageError, match="format 'parquet' is not known; choose from: csv, json"):
        export.render([GOOD], "parquet")
    with pytest.raises(UsageError, match="table 'claims' is not known; choose from: records"):
        export.dictionary_markdown("claims")
    with pytest.raises(UsageError, match="paper 'nosuch' is not known"):
        export.records(["nosuch"])


def test_all_stored_runs_are_exported():
    found = export.records(["qssl", "klssl"])
    lines = [len(path.read_text("utf-8").splitlines()) for name in ("qssl", "klssl")
             for path in (export.Store().root / name).glob("*.jsonl")]  # fmt: skip
    assert len(found) == sum(lines) > 1000
    assert {record.paper for record in found} == {"qssl", "klssl"}


def test_a_paper_that_is_named_twice_counts_once():
    assert export.records(["qdeq", "qdeq"]) == export.records(["qdeq"])
    assert [held.name for held in data.status(["MNIST", "mnist"])] == ["mnist"]
    once, twice = verdicts(["qdeq"]), verdicts(["qdeq", "qdeq"])
    assert [each.claim for each in twice] == [each.claim for each in once]


def header(text):
    return text.splitlines()[0].split(",")


def test_the_dictionary_knows_every_field_that_leaves_the_book():
    tables = {name: [entry.name for entry in table] for name, table in export.dictionary().items()}
    assert tables["records"] == [item.name for item in fields(Record)]
    columns = header(export.render([GOOD], "csv"))
    documented = set(tables["records"]) - {"metrics"} | set(tables["records.csv"])
    assert set(columns) == documented
    judged = verdicts(["qdeq"])
    assert tables["verdicts"] == list(judged[0].to_json())
    documented = set(tables["verdicts"]) - {"ours"} | set(tables["verdicts.csv"])
    assert set(header(report.render(judged, "csv"))) == documented
    inside = {name for verdict in judged for name in verdict.ours or ()}
    assert inside <= set(tables["verdicts.csv"])


def test_every_meaning_is_a_sentence_and_every_type_a_word():
    for name, table in export.dictionary().items():
        for entry in table:
            assert len(entry.meaning) > 8, f"{name}: {entry.name}"
            assert "`Claim`" not in entry.meaning
        text = export.dictionary_markdown(name)
        assert len(text.splitlines()) == 2 + len(table)
        assert "``" not in text
        assert "None" not in text
    kinds = {entry.name: entry.type for entry in export.dictionary()["verdicts"]}
    assert (kinds["published"], kinds["margin"]) == ("object or text", "number or null")


def test_every_attribute_of_a_documented_class_is_documented():
    for documented in (Record, Claim, Verdict):
        assert set(export._attributes(documented)) == {item.name for item in fields(documented)}
    assert set(FOR_PEOPLE) < {item.name for item in fields(Verdict)}
