"""What runs keep beside their records: predictions in Parquet, trained numbers in safetensors."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..base import files
from ..base.errors import QmlbookError
from ..papers.shared.predictions import Predictions
from .cells import Key

if TYPE_CHECKING:
    import pyarrow

#: Columns of the file: name -> (kind, meaning). The first five are the `Key`.
COLUMNS = {
    "experiment": ("text", "as in the record of the run"),
    "version": ("whole number", "`experiment_version` of the record"),
    "variant": ("text", "as in the record"),
    "config_key": ("text", "as in the record"),
    "seed": ("whole number", "as in the record"),
    "classes": ("whole number", "number C of classes"),
    "labels": ("list of whole numbers", "true class of each of the N test images, in their order"),
    "scores": ("list of numbers", "N times C scores, image by image, in half precision"),
}

#: What is stored about runs: end of a file's name -> what it holds.
STORED = {".jsonl": "records", ".parquet": "predictions", ".safetensors": "trained numbers"}


def dump(runs: Mapping[Key, Predictions]) -> bytes:
    """Return a Parquet file of runs, sorted by their keys.

    Raises:
        QmlbookError: if pyarrow is missing.
    """
    require_parquet()
    import pyarrow as pa

    keys = sorted(runs)
    columns = [*map(list, zip(*keys, strict=True))] if keys else [[]] * 5
    columns += [
        [runs[key].scores.shape[1] for key in keys],
        [runs[key].labels for key in keys],
        [runs[key].scores.ravel() for key in keys],
    ]
    kinds = [pa.string(), pa.int32(), pa.string(), pa.string(), pa.int64(), pa.uint8()]
    kinds += [pa.list_(pa.uint8()), pa.list_(pa.float16())]
    schema = pa.schema(list(zip(COLUMNS, kinds, strict=True)))
    return parquet_of(pa.table(columns, schema=schema))


def parquet_of(table: pyarrow.Table) -> bytes:
    """Return a table as a Parquet file."""
    stream = io.BytesIO()
    require_parquet().write_table(table, stream, compression="zstd")
    return stream.getvalue()


def load(file: Path) -> dict[Key, Predictions]:
    """Return the predictions in a file by the key of their run; none if there is no file.

    Raises:
        QmlbookError: if pyarrow is missing, or the file is not one of ours, or altered, or gone.
    """
    if (content := _content(file)) is None:
        return {}
    parquet = require_parquet()
    from pyarrow import ArrowException

    try:
        with files.reading(file):
            table: pyarrow.Table = parquet.read_table(io.BytesIO(content))
        *key, classes, labels, scores = (table[name] for name in COLUMNS)
        return {
            Key(*run): Predictions(
                np.asarray(label.values), np.asarray(score.values).reshape(-1, count.as_py())
            )
            for run, count, label, score in zip(
                zip(*(column.to_pylist() for column in key), strict=True),
                *(classes, labels, scores),
                strict=True,
            )
        }
    except (ArrowException, KeyError, TypeError, ValueError) as error:
        raise QmlbookError(f"{file} holds no predictions: {str(error)[:100]}.") from None


def is_altered(path: Path) -> bool:
    """Say whether a file is not what was stored: its checksum is there, and differs or is alone.

    Raises:
        QmlbookError: if it cannot be read.
    """
    return _read(path)[1]


def altered(path: Path) -> str:
    """Return the sentence about a file of runs for which `is_altered`."""
    beside, what = files.checksum_file(path).name, STORED[path.suffix]
    if not path.is_file():
        return (
            f"{path.parent.name}/{path.name}: the {what} are gone and {beside} is there; restore "
            f"the file, or remove {beside} to do without."
        )
    return (
        f"{path.parent.name}/{path.name}: the {what} are not those that were stored (the checksum "
        f"in {beside} differs); restore the file, or remove {beside} to keep it as it is."
    )


def _content(file: Path) -> bytes | None:
    content, refused = _read(file)
    if refused:
        raise QmlbookError(altered(file))
    return content


def _read(file: Path) -> tuple[bytes | None, bool]:
    if not file.is_file():
        return None, files.checksum_file(file).is_file()
    content, _, differs = files.read_sealed(file)
    return content, differs


def dump_params(runs: Mapping[Key, np.ndarray]) -> bytes:
    """Return a safetensors file of the trained numbers (P,) of runs, each named by its key."""
    from safetensors.numpy import save

    return save({"/".join(map(str, key)): runs[key] for key in sorted(runs)})


def load_params(file: Path) -> dict[Key, np.ndarray]:
    """Return the trained numbers in a file by the key of their run; none if there is no file.

    Raises:
        QmlbookError: if the file is not one of ours, or altered, or gone.
    """
    if (content := _content(file)) is None:
        return {}
    from safetensors import SafetensorError
    from safetensors.numpy import load as parse

    try:
        runs = {}
        for name, params in parse(content).items():
            experiment, version, variant, key, seed = name.split("/")
            runs[Key(experiment, int(version), variant, key, int(seed))] = params
        return dict(sorted(runs.items()))
    except (SafetensorError, ValueError) as error:
        raise QmlbookError(f"{file} holds no trained numbers: {str(error)[:100]}.") from None


class Kind(NamedTuple):
    """A kind of file beside the records of an experiment.

    Attributes:
        suffix: of the file.
        part: what of a run's predictions it holds, ``None`` if nothing.
        dump: from runs by their key to the file's content.
        load: the reverse, of a file that may be missing.
    """

    suffix: str
    part: Callable[[Predictions], Any]
    dump: Callable[[Mapping[Key, Any]], bytes]
    load: Callable[[Path], dict[Key, Any]]


KINDS = (
    Kind(".parquet", lambda kept: kept, dump, load),
    Kind(".safetensors", lambda kept: kept.params, dump_params, load_params),
)


def require_parquet() -> ModuleType:
    """Return pyarrow's module for Parquet.

    Raises:
        QmlbookError: if pyarrow is missing.
    """
    try:
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise QmlbookError(
            "Package pyarrow is missing for predictions: pip install 'qmlbook[book]'."
        ) from None
    return pyarrow.parquet
