"""Run records: one line of JSON a run, in ``data/results/<paper>/<experiment>.jsonl``.

A finished run is first one small file in ``.pending/``, so that an interrupted sweep loses
nothing and several processes may write at once; `Store.fold` moves those files into the ``.jsonl``,
and writes the checksum of each beside it, so that a record that is altered later is noticed.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import MISSING, asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import pydantic.dataclasses
from pydantic import AfterValidator, ConfigDict, Field, PlainValidator
from pydantic_core import from_json

from ..base import files, paths
from ..base.errors import counted, shown
from ..papers.shared.predictions import Predictions
from . import predictions
from .cells import Key, OfRun

if TYPE_CHECKING:
    import numpy as np

MAX_LIST = 256  # longer lists are data, not metrics
MAX_LINE = 2**20  # bytes of a line; longer ones are no records
DIGITS = 12
LARGEST = 1e100  # the square of a metric is a number, too
EXACT = 2**53  # whole numbers up to here are exact in other programs
LONGEST = 100  # letters of a name
AS_STORED: Any = {"separators": (",", ":"), "ensure_ascii": False}  # how a line is written


def clean_metrics(metrics: Mapping[str, Any]) -> dict[str, float | list[float]]:
    """Return metrics as plain numbers and lists, rounded to 12 significant digits.

    Args:
        metrics: name -> number or flat list of at most 256 numbers (Python, numpy or torch).

    Raises:
        ValueError: names the first metric that is anything else, is not finite, or is 1e100 or
            larger.
    """
    if not isinstance(metrics, Mapping):
        raise ValueError(f"metrics is {shown(metrics)}")
    return {name: _metric(name, value) for name, value in metrics.items()}


def _metric(name: str, value: Any) -> float | list[float]:
    if not isinstance(name, str):
        raise ValueError(f"metric {shown(name)} is named by no text")
    if type(value) is float and -LARGEST < value < LARGEST:  # the usual case, ten times as fast
        return float(f"{value:.{DIGITS}g}")
    if getattr(value, "ndim", 0):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        return _finite(name, value)
    if len(value) > MAX_LIST:
        raise ValueError(
            f"metric {shown(name)} has {len(value)} numbers, and {MAX_LIST} are the most"
        )
    return [_finite(name, item) for item in value]


def _finite(name: str, value: Any) -> float:
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, int | float):
        raise ValueError(
            f"metric {shown(name)} is {shown(value)} and must be a number or a short list"
        )
    if not abs(value) < LARGEST:
        raise ValueError(f"metric {shown(name)} is {shown(value)} and must be finite, below 1e100")
    whole = isinstance(value, int) and abs(value) <= EXACT
    return int(value) if whole else float(f"{value:.{DIGITS}g}")


def _file_name(value: str) -> str:
    plain = value.isprintable() and not {"/", "\\"}.intersection(value)
    if not 0 < len(value) <= LONGEST or value.startswith(".") or not plain:
        raise ValueError("names no file")
    return value


def _config(value: Mapping[str, Any]) -> Mapping[str, Any]:
    if not _is_finite(value):  # 1e400 is infinite, too
        raise ValueError("has a number that is not finite")
    return value


def _is_finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, unless it has a key twice: programs differ in which value they take."""
    content = dict(pairs)
    if len(content) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"field {shown(name)} is there twice")
    return content


FileName = Annotated[str, AfterValidator(_file_name)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Record(OfRun):
    """One run: what ran, what came out, where and when; checked when it is made.

    Attributes:
        paper: short name of the paper, as in every command.
        experiment: experiment of the paper; names the file of the record.
        experiment_version: version of the experiment, raised whenever a fix changes results.
        variant: variant of the experiment: what of its settings is compared.
        profile: ``quick`` or ``full``, the profile the run was made for.
        config: every field of the variant's configuration.
        config_key: 12 hex digits that identify the configuration.
        seed: root of the run's random streams.
        metrics: numbers or short lists of numbers, finite, kept to 12 significant digits.
        seconds: wall time of the run, in seconds.
        device: ``cpu`` or the accelerator used.
        dtype: precision of the run.
        threads: threads torch was allowed.
        versions: versions of Python, numpy, torch, PennyLane and this package.
        code_version: 12 hex digits of the SHA-256 of this package's Python sources.
        started_at: when the run started, UTC, ISO 8601, to the second.
        status: ``ok``, or ``failed`` with ``error``.
        error: ``Type: message`` of a failed run.

    Raises:
        ValueError: a field has a value it must not have; `reason` says it in a sentence.
    """

    paper: FileName
    experiment: FileName
    experiment_version: Count
    variant: str
    profile: str
    config: Annotated[Mapping[str, Any], AfterValidator(_config)]
    config_key: str
    seed: Count
    metrics: Annotated[Mapping[str, float | list[float]], PlainValidator(clean_metrics)]
    seconds: Annotated[float, Field(ge=0, lt=1e12)]
    device: str
    dtype: str
    threads: Count
    versions: Mapping[str, str]
    code_version: str
    started_at: str
    status: Literal["ok", "failed"] = "ok"
    error: str | None = None

    def __post_init__(self) -> None:
        if (self.status == "failed") != bool(self.error):
            raise ValueError(f"status is {self.status!r} with error {shown(self.error)}")

    @property
    def key(self) -> Key:
        """What makes it this run and no other, in the order of the file."""
        return Key(
            self.experiment, self.experiment_version, self.variant, self.config_key, self.seed
        )

    def line(self) -> str:
        """Return the record as one line of JSON without its line end."""
        content = {item.name: getattr(self, item.name) for item in fields(Record)}
        if self.error is None:
            del content["error"]
        return json.dumps(content, **AS_STORED, allow_nan=False)

    @classmethod
    def parse(cls, line: str | bytes) -> Record:
        """Return the record of a line.

        Raises:
            ValueError: if the line is not exactly one record; its text is one short sentence.
        """
        if len(line) > MAX_LINE:
            raise ValueError(f"it has {len(line):,} bytes, and {MAX_LINE:,} are the most")
        try:
            content = from_json(line, allow_inf_nan=False)
        except ValueError as error:
            raise ValueError(f"it is no JSON: {error}") from None
        if json.dumps(content, **AS_STORED).encode() != line:  # the usual case is quicker
            json.loads(line, object_pairs_hook=_once)
        if not isinstance(content, dict):
            raise ValueError("it is no mapping")
        for name in content.keys() - {item.name for item in fields(Record)}:
            raise ValueError(f"field {shown(name)} is not known")
        try:
            return cls(**content)
        except pydantic.ValidationError as error:
            raise ValueError(reason(error)) from None


@pydantic.dataclasses.dataclass(
    frozen=True, config=ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)
)
class Predicted(Record):
    """The record of a run that keeps its predictions; they are stored in a file beside it.

    Attributes:
        predictions: of the run.
    """

    predictions: Predictions | None = None

    @classmethod
    def of(cls, record: Record, predictions: Predictions) -> Predicted:
        """Return a record with predictions."""
        return cls(**vars(record), predictions=predictions)


def reason(error: pydantic.ValidationError) -> str:
    """Return in a few words what is wrong with the first field that makes no record."""
    problem = error.errors(include_url=False)[0]
    name = " ".join([*map(str, problem["loc"][:1]), *map(shown, problem["loc"][1:2])])
    said = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error" and name not in ("paper", "experiment", "config"):
        return said  # it names the metric, or is about the record as a whole
    if problem["type"] == "missing":
        return f"field {shown(name)} is missing"
    return f"{name} is {shown(problem['input'])}: {said[:1].lower()}{said[1:]}"


def config_key(config: Any) -> str:
    """Return the 12 hex digits that identify a configuration (a dataclass instance).

    SHA-256 of the fields that differ from their default, as JSON with sorted keys: a field added
    later, with its default, changes no key.
    """
    values = asdict(config)
    for item in fields(config):
        default = item.default if item.default_factory is MISSING else item.default_factory()
        if getattr(config, item.name) == default:
            del values[item.name]
    text = json.dumps(values, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@functools.cache
def code_version() -> str:
    """Return 12 hex digits of the SHA-256 of this package's Python sources."""
    digest = hashlib.sha256()
    sources = {path.relative_to(paths.PACKAGE): path for path in paths.PACKAGE.rglob("*.py")}
    for name, path in sorted(sources.items(), key=lambda source: source[0].parts):
        if name.parts[0] == "_data":  # what travels in the wheel beside the sources: cases
            continue
        digest.update(name.as_posix().encode() + b"\0")
        digest.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()[:12]


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute a run."""
    import platform

    from .. import __version__

    packages = {name: metadata.version(name) for name in ("numpy", "torch", "pennylane")}
    return {"python": platform.python_version(), **packages, "qmlbook": __version__}


class Rejected(NamedTuple):
    """A line that is no record here, the file it is in, and why."""

    path: Path
    line: bytes
    reason: str

    def __str__(self) -> str:
        text = self.line[:200].decode("utf-8", errors="replace")
        return (
            f"{self.path.parent.name}/{self.path.name}: a line is set aside ({self.reason}): "
            f"{shown(text[:60])}."
        )


@dataclass
class _Scan:
    """What a paper's folder holds: records to keep, lines to set aside, pending files read."""

    records: dict[Key, Record] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    pending: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Check:
    """What became of checking one file of records, or one beside them.

    Attributes:
        path: the file.
        ok: whether it is what was folded.
        message: what is wrong, or what it holds.
    """

    path: Path
    ok: bool
    message: str


# path -> checksum and lines; a file is parsed again only when its content is another one.
_parsed: dict[Path, tuple[str, list[Record | Rejected]]] = {}


class Store:
    """The records of all papers under one folder.

    Args:
        root: folder with one sub-folder a paper; ``data/results`` of the book when omitted.
    """

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root) if root else paths.results_dir()

    def records(self, paper: str, experiment: str | None = None) -> list[Record]:
        """Return the valid records of a paper, folded and pending, sorted by their key.

        Args:
            paper: name of its room.
            experiment: only the records of this experiment.

        Raises:
            QmlbookError: if a file cannot be read.
        """
        records = self._scan(paper, experiment).records
        return [records[key] for key in sorted(records)]

    def problems(self, paper: str) -> list[str]:
        """Return one sentence for every line that `fold` would set aside and every altered file."""
        return [*map(str, self._scan(paper).rejected), *self._altered(paper)]

    def stored(self, paper: str) -> list[Path]:
        """Return the files of a paper's runs, and those of which only the checksum is there."""
        found = (self.root / paper).glob("*")
        named = {path.with_name(path.name.removesuffix(".sha256")) for path in found}
        return sorted(path for path in named if path.suffix in predictions.STORED)

    def _altered(self, paper: str) -> list[str]:
        return [predictions.altered(it) for it in self.stored(paper) if predictions.is_altered(it)]

    def check(self, paper: str) -> list[Check]:
        """Hold every file of a paper's runs against the checksum that was folded with it."""
        scan, checks = self._scan(paper), []
        for path in self.stored(paper):
            rejected, ok = [item for item in scan.rejected if item.path == path], False
            if predictions.is_altered(path):
                message = predictions.altered(path)
            elif not files.checksum_file(path).is_file():
                message = f"{files.checksum_file(path).name} is missing; the next sweep writes it"
            elif rejected:
                message = str(rejected[0])
            elif path.suffix == ".jsonl":
                records = sum(record.experiment == path.stem for record in scan.records.values())
                ok, message = True, counted(records, "record")
            else:
                ok, message = True, f"{path.stat().st_size:,} bytes"
            checks.append(Check(path, ok, message))
        return checks

    def add(self, record: Record) -> None:
        """Write a record as one pending file, complete or not at all; nothing is overwritten.

        Raises:
            QmlbookError: if the folder cannot be written.
        """
        line = record.line() + "\n"
        name = hashlib.sha256(line.encode()).hexdigest()[:24]
        file = self._pending(record.paper) / f"{name}.json"
        if isinstance(record, Predicted) and record.predictions is not None:  # never without them
            for kind in predictions.KINDS:
                if (part := kind.part(record.predictions)) is not None:
                    files.write(file.with_suffix(kind.suffix), kind.dump({record.key: part}))
        files.write(file, line.encode())

    def require_writable(self, paper: str) -> None:
        """Ask whether records can be stored, before anything is computed.

        Raises:
            QmlbookError: if they cannot.
        """
        files.require_writable(self._pending(paper))

    def only_sweep(self, paper: str, wait: Callable[[], None]) -> AbstractContextManager[None]:
        """Let one sweep of a paper at a time into the block.

        Args:
            paper: name of its room.
            wait: called once if another one is under way, before waiting for its end.
        """
        return files.locked(self._pending(paper) / ".sweep.lock", wait=wait)

    def fold(self, paper: str) -> list[str]:
        """Move pending records into the ``.jsonl`` files, each sorted by the key of its records.

        An ``ok`` record takes the place of a ``failed`` one of the same key. Any other second
        record of a key, and whatever cannot be read, goes to a ``.rejected`` file beside its own.
        A file that was altered since it was folded keeps its old checksum, so that every report
        goes on saying so until someone restores the file or removes the checksum.

        Returns:
            One sentence for every line set aside and every altered file.

        Raises:
            QmlbookError: if the folder cannot be read or written.
        """
        scan = self._scan(paper)
        sealed = all(files.checksum_file(path).is_file() for path in self.stored(paper))
        if sealed and not scan.pending and not scan.rejected:
            return self._altered(paper)
        with files.locked(self._pending(paper) / ".lock"):
            scan = self._scan(paper)
            for path, line, _ in scan.rejected:
                aside = path.with_name(path.name + ".rejected")
                before = aside.read_bytes() if aside.is_file() else b""
                files.write(aside, before + line + b"\n")
            lines: dict[str, list[str]] = {
                path.stem: [] for path in (self.root / paper).glob("*.jsonl")
            }  # those that were altered, too, and not those that are gone
            for key in sorted(scan.records):
                lines.setdefault(key.experiment, []).append(scan.records[key].line() + "\n")
            for experiment, content in lines.items():
                path, text = self.root / paper / f"{experiment}.jsonl", "".join(content).encode()
                if not path.is_file() or path.read_bytes() != text:
                    files.write(path, text, checksum=not predictions.is_altered(path))
            kept = self._fold_predictions(paper, scan)
            for path in self.stored(paper):
                if not files.checksum_file(path).is_file():
                    files.write(path, files.read_sealed(path)[0], checksum=True)
            for path in [*scan.pending, *kept]:  # only now: a crash before this line loses nothing
                path.unlink(missing_ok=True)
        # Where nothing but what was set aside had been added, the file is the stored one again.
        return [*map(str, scan.rejected), *self._altered(paper)]

    def predictions(self, paper: str, experiment: str) -> dict[Key, Predictions]:
        """Return the predictions of an experiment's runs that keep them, folded ones, by key.

        Raises:
            QmlbookError: if the file cannot be read or is not one of ours, or pyarrow is missing.
        """
        return predictions.load(self.root / paper / f"{experiment}.parquet")

    def params(self, paper: str, experiment: str) -> dict[Key, np.ndarray]:
        """Return the trained numbers (P,) of an experiment's runs that keep them, by key.

        Raises:
            QmlbookError: if the file cannot be read or is not one of ours.
        """
        return predictions.load_params(self.root / paper / f"{experiment}.safetensors")

    def _fold_predictions(self, paper: str, scan: _Scan) -> list[Path]:
        """Move what pending runs keep beside their records; return the files it was in."""
        folded = []
        for suffix, _, dump, load in predictions.KINDS:
            pending = sorted(self._pending(paper).glob(f"*{suffix}"))
            new = {key: kept for path in pending for key, kept in load(path).items()}
            for experiment in sorted({key.experiment for key in new}):
                file = self.root / paper / f"{experiment}{suffix}"
                runs = {key: kept for key, kept in new.items() if key.experiment == experiment}
                runs = {**runs, **load(file)}
                usable = {k for k in runs if k in scan.records and scan.records[k].status == "ok"}
                files.write(file, dump({key: runs[key] for key in usable}), checksum=True)
            folded += pending
        return folded

    def _pending(self, paper: str) -> Path:
        return self.root / paper / ".pending"

    def _scan(self, paper: str, experiment: str | None = None) -> _Scan:
        """Read a paper's folder, or only one experiment of it."""
        scan, folder = _Scan(), self.root / paper
        pending = []  # read first: what is folded meanwhile is then seen twice and not missed
        for path in sorted(self._pending(paper).glob("*.json")):
            with suppress(FileNotFoundError):
                pending.append((path, path.read_bytes()))
        for path in sorted(folder.glob(f"{experiment or '*'}.jsonl")):
            for line in _read(path):
                _take(scan, path, line, paper, path.stem)
        for path, content in pending:
            line = _parse(path, content.strip())
            if isinstance(line, Rejected) or experiment in (None, line.experiment):
                _take(scan, path, line, paper, None)
        scan.pending = [path for path, _ in pending]
        return scan


def _read(path: Path) -> list[Record | Rejected]:
    content, digest, _ = files.read_sealed(path)
    if _parsed.get(path, ("",))[0] != digest:
        lines = [_parse(path, line) for line in content.split(b"\n") if line.strip()]
        _parsed[path] = digest, lines
    return _parsed[path][1]


def _parse(path: Path, line: bytes) -> Record | Rejected:
    try:
        return Record.parse(line)
    except ValueError as error:
        return Rejected(path, line, str(error))


def _take(
    scan: _Scan, path: Path, line: Record | Rejected, paper: str, experiment: str | None
) -> None:
    """Sort one line of a file into ``scan``; of a pending file the experiment is ``None``."""
    if isinstance(line, Rejected):
        scan.rejected.append(line)
        return
    if line.paper != paper or experiment not in (None, line.experiment):
        why = f"it belongs to {line.paper}/{line.experiment}"
        scan.rejected.append(Rejected(path, line.line().encode(), why))
        return
    known = scan.records.get(line.key)
    if known is None or _replaces(line, known):
        scan.records[line.key] = line
    elif line.status == "ok" and (experiment is not None or line != known):
        # An equal pending record is left over from an interrupted fold; a failed run whose
        # retry went well is history; anything else would be a second result of the same run.
        home = path if experiment else path.parents[1] / f"{line.experiment}.jsonl"
        scan.rejected.append(Rejected(home, line.line().encode(), "the same run is stored already"))


def _replaces(record: Record, known: Record) -> bool:
    """Say whether a record takes the place of a known one of the same key: only failed ones go."""
    later = record.started_at >= known.started_at
    return known.status == "failed" and (record.status == "ok" or later)
