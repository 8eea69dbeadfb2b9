"""Run records: one line of JSON a run, in ``data/results/<paper>/<experiment>.jsonl``.

A finished run is first one small file in ``.pending/``, so that an interrupted sweep loses
nothing and several processes may write at once; `Store.fold` moves those files into the ``.jsonl``.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from ..base import files, paths

MAX_LIST = 256  # longer lists are data, not metrics
DIGITS = 12
Key = tuple[str, int, str, str, int]


@dataclass(frozen=True)
class Record:
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
        ValueError: a field has a value it must not have.
    """

    paper: str
    experiment: str
    experiment_version: int
    variant: str
    profile: str
    config: Mapping[str, Any]
    config_key: str
    seed: int
    metrics: Mapping[str, float | list[float]]
    seconds: float
    device: str
    dtype: str
    threads: int
    versions: Mapping[str, str]
    code_version: str
    started_at: str
    status: str = "ok"
    error: str | None = field(default=None)

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} is {getattr(self, name)!r}")
        for name in ("paper", "experiment"):
            if Path(getattr(self, name)).name != getattr(self, name):
                raise ValueError(f"{name} is {getattr(self, name)!r} and names no file")
        if self.seed < 0 or self.seconds < 0 or not math.isfinite(self.seconds):
            raise ValueError(f"seed is {self.seed} and seconds {self.seconds}")
        if self.status not in ("ok", "failed") or (self.status == "failed") != bool(self.error):
            raise ValueError(f"status is {self.status!r} with error {self.error!r}")
        object.__setattr__(self, "metrics", clean_metrics(self.metrics))

    @property
    def key(self) -> Key:
        """What makes it this run and no other, in the order of the file."""
        return (
            self.experiment,
            self.experiment_version,
            self.variant,
            self.config_key,
            self.seed,
        )

    def line(self) -> str:
        """Return the record as one line of JSON without its line end.

        Raises:
            ValueError: if the configuration holds a number that is not finite.
        """
        content = {name: getattr(self, name) for name in _NAMES}
        if self.error is None:
            del content["error"]
        return json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    @classmethod
    def parse(cls, line: str | bytes) -> Record:
        """Return the record of a line.

        Raises:
            ValueError: if the line is not exactly one record.
        """
        try:
            return cls(**_DECODER.decode(line if isinstance(line, str) else line.decode()))
        except TypeError as error:  # not a mapping, or a field is missing or unknown
            raise ValueError(str(error).replace("Record.__init__() ", "")) from None


def _refuse(constant: str) -> None:
    raise ValueError(f"it holds {constant}")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
_NAMES = tuple(item.name for item in fields(Record))
_KINDS: dict[str, Any] = {
    **dict.fromkeys(("paper", "experiment", "variant", "profile", "config_key", "device"), str),
    **dict.fromkeys(("dtype", "code_version", "started_at", "status"), str),
    **dict.fromkeys(("experiment_version", "seed", "threads"), int),
    **dict.fromkeys(("config", "metrics", "versions"), Mapping),
    "seconds": (int, float),
}


def clean_metrics(metrics: Mapping[str, Any]) -> dict[str, float | list[float]]:
    """Return metrics as plain numbers and lists, rounded to 12 significant digits.

    Args:
        metrics: name -> number or flat list of at most 256 numbers (Python, numpy or torch).

    Raises:
        ValueError: names the first metric that is anything else or is not finite.
    """

    def number(name: str, value: Any) -> float:
        value = value.item() if hasattr(value, "item") else value
        if not isinstance(value, int | float):
            raise ValueError(f"metric {name!r} is {value!r} and must be a number or a short list")
        if not math.isfinite(value):
            raise ValueError(f"metric {name!r} is {value} and must be finite")
        return int(value) if isinstance(value, int) else float(f"{value:.{DIGITS}g}")

    cleaned: dict[str, float | list[float]] = {}
    for name, value in metrics.items():
        if getattr(value, "ndim", 0):
            value = value.tolist()
        if not isinstance(value, list | tuple):
            cleaned[name] = number(name, value)
        elif len(value) > MAX_LIST:
            raise ValueError(f"metric {name!r} has {len(value)} numbers, more than {MAX_LIST}")
        else:
            cleaned[name] = [number(name, item) for item in value]
    return cleaned


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
    for path in sorted(
        paths.PACKAGE.rglob("*.py"), key=lambda path: path.relative_to(paths.PACKAGE).parts
    ):
        digest.update(path.relative_to(paths.PACKAGE).as_posix().encode() + b"\0")
        digest.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()[:12]


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute a run."""
    import platform

    from .. import __version__

    found = {name: metadata.version(name) for name in ("numpy", "torch", "pennylane")}
    return {"python": platform.python_version(), **found, "qmlbook": __version__}


@dataclass
class _Scan:
    """What a paper's folder holds: records to keep, lines to set aside, pending files read."""

    records: dict[Key, Record] = field(default_factory=dict)
    rejected: list[tuple[Path, str, str]] = field(default_factory=list)  # file, line, reason
    pending: list[Path] = field(default_factory=list)


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
        """
        found = self._scan(paper, experiment).records
        return [found[key] for key in sorted(found)]

    def problems(self, paper: str) -> list[str]:
        """Return one sentence for every line that `fold` would set aside."""
        return [_sentence(*rejected) for rejected in self._scan(paper).rejected]

    def add(self, record: Record) -> None:
        """Write a record as one pending file, complete or not at all; nothing is overwritten.

        Raises:
            QmlbookError: if the folder cannot be written.
        """
        line = record.line() + "\n"
        name = hashlib.sha256(line.encode()).hexdigest()[:24]
        files.write(self.root / record.paper / ".pending" / f"{name}.json", line.encode())

    def require_writable(self, paper: str) -> None:
        """Ask whether records can be stored, before anything is computed.

        Raises:
            QmlbookError: if they cannot.
        """
        files.require_writable(self.root / paper / ".pending")

    def fold(self, paper: str) -> list[str]:
        """Move pending records into the ``.jsonl`` files, each sorted by the key of its records.

        An ``ok`` record takes the place of a ``failed`` one of the same key. Any other second
        record of a key, and whatever cannot be read, goes to a ``.rejected`` file beside its own.

        Returns:
            One sentence for every line set aside.

        Raises:
            QmlbookError: if the folder cannot be written.
        """
        scan = self._scan(paper)
        if not scan.pending and not scan.rejected:
            return []
        with files.locked(self.root / paper / ".pending" / ".lock"):
            scan = self._scan(paper)
            for path, line, _ in scan.rejected:
                aside = path.with_name(path.name + ".rejected")
                before = aside.read_bytes() if aside.is_file() else b""
                files.write(aside, before + f"{line}\n".encode())
            lines: dict[str, list[str]] = {
                path.stem: [] for path in (self.root / paper).glob("*.jsonl")
            }
            for key in sorted(scan.records):
                lines.setdefault(key[0], []).append(scan.records[key].line() + "\n")
            for experiment, content in lines.items():
                path, text = self.root / paper / f"{experiment}.jsonl", "".join(content).encode()
                if not path.is_file() or path.read_bytes() != text:
                    files.write(path, text)
            for path in scan.pending:  # only now: a crash before this line loses nothing
                path.unlink(missing_ok=True)
        return [_sentence(*rejected) for rejected in scan.rejected]

    def _scan(self, paper: str, experiment: str | None = None) -> _Scan:
        """Read a paper's folder, or only one experiment of it."""
        scan, folder = _Scan(), self.root / paper
        pending = []  # read first: what is folded meanwhile is then seen twice and not missed
        for path in sorted((folder / ".pending").glob("*.json")):
            try:
                pending.append((path, path.read_bytes()))
            except FileNotFoundError:
                continue
        for path in sorted(folder.glob(f"{experiment or '*'}.jsonl")):
            for line in path.read_bytes().split(b"\n"):
                if line.strip():
                    self._take(scan, path, line, (paper, path.stem))
        for path, line in pending:
            self._take(scan, path, line.strip(), (paper, experiment))
        scan.pending = [path for path, _ in pending]
        return scan

    @staticmethod
    def _take(scan: _Scan, path: Path, line: bytes, place: tuple[str, str | None]) -> None:
        """Sort one line of a file (a pending file is one line) into ``scan``."""
        pending = path.suffix == ".json"
        try:
            record = Record.parse(line)
            if record.paper != place[0] or (record.experiment != place[1] and not pending):
                raise ValueError(f"it belongs to {record.paper}/{record.experiment}")
        except ValueError as error:
            scan.rejected.append((path, line.decode("utf-8", errors="replace"), str(error)))
            return
        if pending and place[1] not in (None, record.experiment):
            return
        known = scan.records.get(record.key)
        if known is None or _replaces(record, known):
            scan.records[record.key] = record
        elif record.status == "ok" and not (pending and record == known):
            # An equal pending record is left over from an interrupted fold; a failed run whose
            # retry went well is history; anything else would be a second result of the same run.
            home = path.parents[1] / f"{record.experiment}.jsonl" if pending else path
            scan.rejected.append((home, line.decode(), "the same run is stored already"))


def _replaces(record: Record, known: Record) -> bool:
    """Say whether a record takes the place of a known one of the same key: only failed ones go."""
    later = record.started_at >= known.started_at
    return known.status == "failed" and (record.status == "ok" or later)


def _sentence(path: Path, line: str, reason: str) -> str:
    return f"{path.parent.name}/{path.name}: a line is set aside ({reason}): {line[:60]!r}."
