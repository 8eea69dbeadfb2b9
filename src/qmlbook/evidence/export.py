"""Run records for other programs, as CSV and JSON, and the dictionary of what we hand out.

Two things leave this book: run records (`render`) and verdicts (`qmlbook.evidence.report`). What
each of their fields means is written once, in the docstrings of `Record`, `Claim` and `Verdict`,
and `dictionary` reads it there.
"""

import inspect
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .. import papers as rooms
from ..base.errors import QmlbookError, UsageError, require_choice, shown
from .claims import Claim
from .predictions import COLUMNS, parquet_of, require_parquet
from .report import OURS, csv_text, markdown_table
from .store import Record, Store
from .verdicts import FOR_PEOPLE, Verdict

#: Columns of the CSV that stand for ``metrics``: a line is one number of one run.
NUMBER = {
    "metric": ("text", "name of the metric; empty for a run that failed"),
    "index": ("whole number", "place in the list, from 0, where the metric is a list"),
    "value": ("number", "the number"),
}
TEXTS = ("csv", "json")  # formats that are text
TYPES = {str: "text", int: "whole number", float: "number", Mapping: "object", NoneType: "null"}


def records(papers: Sequence[str] | None = None, *, store: Store | None = None) -> list[Record]:
    """Return every stored run of these papers, failed ones and older versions included.

    Args:
        papers: names of rooms; all when empty.
        store: where records are; the book's own when omitted.

    Raises:
        UsageError: a paper is not known.
    """
    store = store or Store()
    return [record for name in rooms.validate(list(papers or [])) for record in store.records(name)]


def for_new_folder(papers: Sequence[str] | None, folder: Path, *, store: Store) -> list[Record]:
    """Return every stored run of these papers for a format that is a folder.

    Args:
        papers: names of rooms; all when empty.
        folder: where they will be written, and nothing is.
        store: where records are.

    Raises:
        UsageError: a paper is not known, or the folder exists.
        QmlbookError: a file of records is not what was stored, or there is none.
    """
    names = rooms.validate(list(papers or []))
    if os.path.exists(folder):  # of a name that is too long, too
        raise UsageError(f"--to {shown(str(folder))} exists; name a new folder.")
    if problems := [problem for name in names for problem in store.problems(name)]:
        raise QmlbookError(f"Nothing is made of records that are not as stored: {problems[0]}")
    if not (found := records(names, store=store)):
        raise QmlbookError(f"There are no records of {', '.join(names)}.")
    return found


def render(records: Sequence[Record], format: str = "csv") -> str:
    """Return records as text that ends with a line end.

    Args:
        records: what to write, in this order.
        format: ``csv`` is in long form, a line for every number of every run, with the run's other
            fields repeated and objects as JSON; ``json`` is a list with one object a run.

    Raises:
        UsageError: ``format`` is not known.
    """
    require_choice("format", format, TEXTS)
    if format == "json":
        return "[\n" + ",\n".join(_dumps(vars(record)) for record in records) + "\n]\n"
    return csv_text([columns(), *_rows(records)])


def columns() -> dict[str, str]:
    """Return the columns of the long form of run records: name -> kind of value."""
    kinds: dict[str, str] = {}
    for entry in dictionary()["records"]:
        number = {name: kind for name, (kind, _) in NUMBER.items()}
        text = "text" if entry.type in ("object", "text or null") else entry.type
        kinds |= number if entry.name == "metrics" else {entry.name: text}
    return kinds


def _rows(records: Iterable[Record]) -> Iterator[list[Any]]:
    names = [item.name for item in fields(Record)]
    before, after = names[: names.index("metrics")], names[names.index("metrics") + 1 :]
    for record in records:
        content = {name: _cell(value) for name, value in vars(record).items()}
        left, right = [content[name] for name in before], [content[name] for name in after]
        yield from ([*left, *number, *right] for number in _numbers(record))


def parquet(records: Sequence[Record]) -> bytes:
    """Return records as Parquet, in the long form of the CSV.

    Raises:
        QmlbookError: if pyarrow is missing.
    """
    require_parquet()
    import pyarrow as pa

    kinds = {"text": pa.string(), "whole number": pa.int64(), "number": pa.float64()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns().items()])
    rows = list(zip(*(_missing(row) for row in _rows(records)), strict=True))
    arrays = rows or [()] * len(schema)
    typed = [pa.array(*pair) for pair in zip(arrays, schema.types, strict=True)]
    return parquet_of(pa.table(typed, schema))


def _missing(row: Iterable[Any]) -> list[Any]:
    """Return a row of the CSV with ``None`` where a cell is empty."""
    return [None if value == "" else value for value in row]


def predictions(
    papers: Sequence[str] | None = None, format: str = "csv", *, store: Store | None = None
) -> str:
    """Return the predictions of every run that keeps them, as text that ends with a line end.

    Args:
        papers: names of rooms; all when empty.
        format: ``csv`` has a line for every run and test image, with the scores as JSON; ``json``
            is a list with one object a run.
        store: where they are; the book's own when omitted.

    Raises:
        UsageError: a paper or the format is not known.
        QmlbookError: a file is not one of ours, or pyarrow is missing.
    """
    require_choice("format of predictions", format, TEXTS)
    store = store or Store()
    runs = [
        ({"paper": name, **dict(zip(COLUMNS, key, strict=False))}, kept.labels, kept.scores)
        for name in rooms.validate(list(papers or []))
        for file in store.stored(name)
        if file.suffix == ".parquet"
        for key, kept in store.predictions(name, file.stem).items()
    ]
    if format == "json":
        objects = [
            run | {"labels": labels.tolist(), "scores": scores.tolist()}
            for run, labels, scores in runs
        ]
        return "[\n" + ",\n".join(map(_dumps, objects)) + "\n]\n"
    rows: list[list[Any]] = [["paper", *list(COLUMNS)[:5], "image", "label", "scores"]]
    for run, labels, scores in runs:
        images = enumerate(zip(labels.tolist(), map(_dumps, scores.tolist()), strict=True))
        rows += ([*run.values(), number, *image] for number, image in images)
    return csv_text(rows)


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _cell(value: Any) -> Any:
    return _dumps(value) if isinstance(value, dict) else value


def _numbers(record: Record) -> Iterator[tuple[str, int | None, float] | tuple[str, str, str]]:
    """Yield metric, index and value of every number of a run, or one empty row if it has none."""
    if not record.metrics:
        yield "", "", ""
    for name, value in record.metrics.items():
        if isinstance(value, list):
            yield from ((name, index, number) for index, number in enumerate(value))
        else:
            yield name, None, value


@dataclass(frozen=True)
class Entry:
    """One field of the data dictionary: its name, what kind of value it holds, what it means."""

    name: str
    type: str
    meaning: str


def dictionary() -> dict[str, list[Entry]]:
    """Return what every field means, in five tables.

    Returns:
        ``records`` and ``verdicts``: the fields of one object of the JSON, which are the columns
        of the CSV too, but for ``metrics`` and ``ours``: ``records.csv`` and ``verdicts.csv`` are
        the columns that stand for these. ``predictions``: the columns of the Parquet files.
    """
    told = _attributes(Verdict)
    as_in_claim = {**_attributes(Claim), "claim": _attributes(Claim)["id"]}
    told |= {name: as_in_claim[name] for name, text in told.items() if "`Claim`" in text}
    kept = [item for item in fields(Verdict) if item.name not in FOR_PEOPLE]
    about, kinds = _attributes(Record), get_type_hints(Record) | get_type_hints(Verdict)
    return {
        "records": [Entry(f.name, _type(kinds[f.name]), about[f.name]) for f in fields(Record)],
        "records.csv": [Entry(name, *rest) for name, rest in NUMBER.items()],
        "predictions": [Entry(name, *rest) for name, rest in COLUMNS.items()],
        "verdicts": [Entry(f.name, _type(kinds[f.name]), told[f.name]) for f in kept],
        "verdicts.csv": [Entry(name, *rest) for name, rest in OURS.items()],
    }


def dictionary_markdown(table: str) -> str:
    """Return one table of `dictionary` in Markdown.

    Raises:
        UsageError: there is no such table.
    """
    tables = dictionary()
    require_choice("table", table, tables)
    cells = [(f"`{each.name}`", each.type, _words(each.meaning)) for each in tables[table]]
    return markdown_table(("field", "type", "meaning"), cells)


def _attributes(documented: type) -> dict[str, str]:
    """Return name -> text of the section ``Attributes:`` of a class's docstring."""
    _, _, section = str(inspect.getdoc(documented)).partition("Attributes:\n")
    section, _, _ = section.partition("\n\n")
    meanings: dict[str, str] = {}
    for names, text in re.findall(r"^    (\w[\w, ]*): (.*(?:\n {8}.*)*)", section, re.MULTILINE):
        meanings |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return meanings


def _type(hint: Any) -> str:
    """Return an annotation in words for people who read JSON or CSV."""
    kinds = get_args(hint) if isinstance(hint, UnionType) else [hint]
    kinds = [type(get_args(kind)[0]) if get_origin(kind) is Literal else kind for kind in kinds]
    return " or ".join(TYPES[get_origin(kind) or kind] for kind in kinds)


def _words(text: str) -> str:
    """Return a docstring's text as a cell of a Markdown table about JSON and CSV."""
    return text.replace("``", "`").replace("`None`", "`null`").replace("|", r"\|").rstrip(".")
