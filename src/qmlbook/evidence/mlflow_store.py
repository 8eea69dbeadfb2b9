"""Run records as a local store of MLflow, which its viewer opens: ``mlflow ui``.

An experiment of a paper is an experiment there, a run is a run: its settings are parameters, a list
is a metric with steps. What identifies a run and how it was made are tags, by the names that they
have in the record.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base import files
from ..base.errors import QmlbookError
from . import export
from .store import Record, Store

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

DATABASE = "mlflow.db"  # where MLflow looks by itself, in the folder in which it is started
AT_ONCE = 900  # numbers of one call, in which MLflow takes 1,000 entries, settings included
TAGS = "paper experiment_version variant profile config_key device dtype threads code_version error"


def write(papers: Sequence[str] | None, folder: Path, *, store: Store | None = None) -> Path:
    """Write records into a new folder as a store of MLflow, a database of SQLite.

    Args:
        papers: names of rooms; all when empty.
        folder: is made, and must not exist.
        store: where records are; the book's own when omitted.

    Returns:
        The folder.

    Raises:
        UsageError: a paper is not known, or the folder exists.
        QmlbookError: the folder cannot be written, MLflow is missing, or a file of
            records is not what was stored.
    """
    records = export.for_new_folder(papers, folder, store=store or Store())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        database = Path(scratch, DATABASE)
        client, experiments = _client(database), dict[str, str]()
        for record in records:
            name = f"{record.paper}/{record.experiment}"
            if name not in experiments:
                place = (folder.resolve() / "artifacts" / name).as_uri()
                experiments[name] = client.create_experiment(name, artifact_location=place)
            _log(client, experiments[name], record)
        with (
            closing(sqlite3.connect(database)) as made,
            files.new_folder(folder),
        ):
            files.write(folder / DATABASE, made.serialize())
    return folder


def _client(database: Path) -> MlflowClient:
    """Return a client of a new store, which says nothing and asks no network."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    try:
        from mlflow.tracking import MlflowClient
        from sqlalchemy import Engine, event
    except ModuleNotFoundError:
        raise QmlbookError(
            "MLflow is missing: install the extra mlflow, into an environment without the extra "
            "book, which needs later versions of what both use."
        ) from None
    # A scratch file need not be on the disk after each of ten thousand runs.
    event.listen(Engine, "connect", lambda one, _: one.execute("PRAGMA synchronous = OFF"))
    return MlflowClient(tracking_uri=f"sqlite:///{database}")


def _log(client: MlflowClient, experiment: str, record: Record) -> None:
    """Store one run."""
    from mlflow.entities import Metric, Param

    start = round(datetime.fromisoformat(record.started_at).timestamp() * 1000)  # milliseconds
    end = start + round(record.seconds * 1000)
    tags = {name: str(getattr(record, name)) for name in TAGS.split() if vars(record)[name]}
    tags |= {f"versions.{name}": version for name, version in record.versions.items()}
    run = client.create_run(
        experiment, start, tags, run_name=f"{record.variant}, seed {record.seed}"
    ).info.run_id
    settings = {**record.config, "seed": record.seed}
    params = [Param(name, _text(value)) for name, value in settings.items()]
    numbers = [
        Metric(name, number, end, step)
        for name, value in record.metrics.items()
        for step, number in enumerate(value if isinstance(value, list) else [value])
    ]
    client.log_batch(run, params=params, metrics=numbers[:AT_ONCE])
    for first in range(AT_ONCE, len(numbers), AT_ONCE):
        client.log_batch(run, metrics=numbers[first : first + AT_ONCE])
    client.set_terminated(run, "FAILED" if record.status == "failed" else "FINISHED", end)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
