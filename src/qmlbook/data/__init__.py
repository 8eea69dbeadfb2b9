"""Real images: embedded samples, your own folder, a cache, a download.

``load("mnist", classes=(0, 1), n=512)`` answers from the first place that holds enough: the folder
named by ``QMLBOOK_DATA``, the cache (``QMLBOOK_CACHE``, or the platform's), the samples embedded in
this package, a download (``QMLBOOK_DATA_URL`` names a mirror, ``<url>/<name>/<file>``, to use
instead of the usual sources). The images of a request are the first ones of each class in the
official order, so every place gives the very same pixels. Checked on every load is the SHA-256 of
image and label bytes, whatever the container; nothing is ever unpickled.
"""

import operator
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..base import files
from ..base.errors import QmlbookError, UsageError, choose
from . import readers
from .download import Bar, obtain
from .readers import Found, cache_dir
from .sets import SETS, SPLITS, Source

__all__ = [
    "Check",
    "Images",
    "Provenance",
    "Status",
    "cache_dir",
    "canonical",
    "class_names",
    "fetch",
    "load",
    "names",
    "status",
    "verify",
]

_ELSEWHERE = "; try again with a network, or put its files into the folder named by QMLBOOK_DATA"


@dataclass(frozen=True)
class Provenance:
    """Which images were returned, and where they came from.

    ``str()`` and ``describe()`` say the same on every machine; ``source`` and ``path`` do not.
    """

    name: str
    split: str
    classes: tuple[int, ...]
    n: int
    source: str = field(repr=False)  # "folder", "cache", "embedded" or "download"
    path: Path = field(repr=False)  # the file, or first of the files, the images were read from
    whole: bool = field(repr=False)  # whether they were drawn from the whole set
    images_sha256: str  # of the returned images, C order
    labels_sha256: str  # of the returned labels as uint8
    licence: str

    def describe(self) -> str:
        """Return one line, for instance ``MNIST train, 512 images of classes 0, 1``."""
        known, amount = SETS[self.name], f"{self.n:,} image{'s' * (self.n != 1)}"
        if len(self.classes) == len(known.class_names):
            which = f"all {len(self.classes)} classes"
        else:
            which = f"class{'es' * (len(self.classes) != 1)} {', '.join(map(str, self.classes))}"
        return f"{known.title} {self.split}, {amount} of {which}"

    __str__ = describe


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """Images as published, with their raw labels.

    ``images`` is uint8 of shape (n, 28, 28), or (n, 32, 32, 3) in colour, 0 to 255; ``labels`` is
    int64 of shape (n,).
    """

    images: np.ndarray
    labels: np.ndarray
    provenance: Provenance

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def describe(self) -> str:
        """Return one line that is the same on every machine."""
        return self.provenance.describe()

    __str__ = __repr__ = describe


@dataclass(frozen=True)
class Status:
    """What is here of one set: images at hand per split, from where, and what is wrong if any."""

    name: str
    source: str | None
    path: Path | None
    whole: bool
    train: int
    test: int
    embedded: bool
    licence: str
    problem: str = ""


@dataclass(frozen=True)
class Check:
    """The outcome of checking the files that hold one split of one set."""

    name: str
    split: str
    source: str
    path: Path
    ok: bool
    message: str


def names() -> tuple[str, ...]:
    """Return the names of all sets."""
    return tuple(SETS)


def canonical(name: str) -> str:
    """Return the name of a set in its usual spelling (``FashionMNIST`` gives ``fashion_mnist``).

    Raises:
        UsageError: if there is no such set.
    """
    plain = str(name).lower().translate(str.maketrans("", "", "-_ "))
    for known in SETS:
        if plain == known.replace("_", ""):
            return known
    raise choose("name", name, SETS)


def class_names(name: str) -> tuple[str, ...]:
    """Return what the labels 0, 1, ... of a set stand for."""
    return SETS[canonical(name)].class_names


def load(
    name: str,
    *,
    classes: Iterable[int] | None = None,
    split: str = "train",
    n: int | None = None,
    download: bool = True,
) -> Images:
    """Return images with their labels and provenance.

    Args:
        name: ``mnist``, ``fashion_mnist``, ``kmnist`` or ``cifar10``, in any usual spelling.
        classes: labels wanted, in any order; all of them by default.
        split: ``train`` or ``test``, as published.
        n: number of images altogether: the first ``n / len(classes)`` of each class, one more of
            the lowest labels where that leaves a remainder, in the official order. By default
            every image of these classes, for which the whole set is needed.
        download: whether the whole set may be fetched when nothing here is large enough.

    Raises:
        UsageError: for an unknown name, class or split, or more images than the set has.
        QmlbookError: if a file is damaged, or what is asked for is neither here nor can be fetched.
    """
    name = canonical(name)
    if split not in SPLITS:
        raise choose("split", split, SPLITS)
    quota = _quota(name, split, classes, n)
    sample = None
    for found in readers.search(name, split):
        if found.holds(quota):
            return _draw(found, quota)
        sample = sample or found
    failure = ""
    if download:
        try:
            place = ("download", fetch(name).parent)
            return _draw(next(readers.search(name, split, [place])), quota)
        except QmlbookError as error:
            failure = f" ({str(error).rstrip('.').removesuffix(_ELSEWHERE)})"
    raise QmlbookError(_ways_out(name, split, quota, sample, failure))


def status(names: Iterable[str] | None = None) -> list[Status]:
    """Return, for each set, what can be loaded without a download; files are read and checked."""
    rows, places = [], list(readers.roots())
    for name in _select(names):
        held, problem = {}, ""
        for split in SPLITS:
            try:
                for found in readers.search(name, split, places):
                    if split not in held or found.whole:
                        held[split] = found
                    if found.whole:
                        break
            except QmlbookError as error:
                problem = problem or str(error)
        layout = next((found.layout for found in held.values()), None)
        rows.append(
            Status(
                name=name,
                source=layout and layout.source,
                path=layout and layout.files[0],
                whole=len(held) == len(SPLITS) and all(found.whole for found in held.values()),
                **{split: len(held[split].labels) if split in held else 0 for split in SPLITS},
                embedded=SETS[name].embedded is not None,
                licence=SETS[name].licence,
                problem=problem,
            )
        )
    return rows


def verify(names: Iterable[str] | None = None) -> list[Check]:
    """Check every file found in the folder, the cache and the package, reading each anew.

    Contents are held against the published checksums; a file with a ``.sha256`` file beside it
    (those in the cache and the package have one) is also checked byte for byte.
    """
    readers.forget()
    every = (
        layout
        for name in _select(names)
        for source, root in readers.roots()
        for split in SPLITS
        for layout in readers.layouts(name, split, source, root)
    )
    checks = []
    for layout in every:
        try:
            found = readers.read(layout)
            if found is None:  # loose files of another set, under which they are checked
                continue
            for file in layout.files:
                readers.check_container(file)
            extent = "whole" if found.whole else "sample"
            ok, message = True, f"{len(found.labels):,} images ({extent}), as published"
        except QmlbookError as error:
            ok, message = False, str(error)
        checks.append(Check(layout.name, layout.split, layout.source, layout.files[0], ok, message))
    return checks


def fetch(name: str, *, progress: bool = True) -> Path:
    """Fetch a whole set into the cache, unless it is there, and return its ``.npz`` file.

    Sources are tried in order; everything happens in a temporary folder beside the result, which
    appears only once its contents are checked. A damaged file in the cache is replaced.

    Args:
        name: the set.
        progress: show a progress bar, if a terminal watches.

    Raises:
        UsageError: if there is no such set.
        QmlbookError: if no source gave the set; the sentence says why for each.
    """
    name = canonical(name)
    target = cache_dir() / f"{name}.npz"
    if _is_good(name, target):
        return target
    with files.writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        arrays = _fetch_from_any(name, target.parent, progress)
    readers.save_npz(target, arrays)
    readers.forget()  # what was read from the temporary folder need not stay in memory
    return target


def _fetch_from_any(name: str, cache: Path, progress: bool) -> dict[str, np.ndarray]:
    """Return the arrays of a whole set from the first source that has them."""
    known, sources, failures = SETS[name], SETS[name].sources, []
    if mirror := os.environ.get("QMLBOOK_DATA_URL"):
        sources = [Source("http", f"{mirror.rstrip('/')}/{name}/", sources[0].files)]
    for source in sources:
        with tempfile.TemporaryDirectory(prefix=".part-", dir=cache) as folder:
            try:
                with Bar(progress) as bar:
                    return _whole_set(name, obtain(source, Path(folder), bar))
            except QmlbookError as error:
                failures.append(f"{source.where}: {error}")
    raise QmlbookError(f"{known.title} could not be fetched: {'; '.join(failures)}{_ELSEWHERE}.")


def _whole_set(name: str, folder: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the whole set that was put into a folder, if it is all there."""
    arrays = {}
    for split in SPLITS:
        try:
            found = next(readers.search(name, split, [("download", folder)]), None)
        except QmlbookError as error:
            raise QmlbookError("what was sent is damaged or another set (checksum)") from error
        if found is None or not found.whole:
            raise QmlbookError("what was sent is not the whole set")
        arrays |= {f"x_{split}": found.images, f"y_{split}": found.labels}
    return arrays


def _is_good(name: str, target: Path) -> bool:
    """Tell whether the cache holds the whole set, undamaged."""
    try:
        held = [next(readers.search(name, s, [("cache", target.parent)]), None) for s in SPLITS]
    except QmlbookError:
        return False
    return all(found and found.whole and found.layout.files == (target,) for found in held)


def _sweep(cache: Path) -> None:
    """Remove what a process that was killed outright left behind, once it is a day old."""
    for left in cache.glob(".part-*"):
        with suppress(FileNotFoundError):  # another process has just finished with it
            if time.time() - left.stat().st_mtime > 86400:
                shutil.rmtree(left, ignore_errors=True)


def _select(names: Iterable[str] | None) -> list[str]:
    return [canonical(name) for name in names or SETS]


def _quota(name: str, split: str, classes: Iterable[int] | None, n: int | None) -> dict[int, int]:
    """Return how many images of each class a request means."""
    known, counts = SETS[name], SETS[name].counts[split]
    allowed = range(len(known.class_names))
    try:
        labels = sorted(operator.index(c) for c in (allowed if classes is None else classes))
        total = None if n is None else operator.index(n)
    except TypeError:
        raise UsageError(
            f"classes must be a list of labels and n a whole number, not {classes!r} and {n!r}."
        ) from None
    for label in labels:
        if label not in allowed:
            raise choose("class", label, allowed)
    if not labels or len(set(labels)) < len(labels):
        raise UsageError(f"classes must name at least one class, and none twice, not {labels}.")
    if total is None:
        return {label: counts[label] for label in labels}
    if total < 1:
        raise UsageError(f"n must be 1 or more, not {total}.")
    each, more = divmod(total, len(labels))
    quota = {label: each + (place < more) for place, label in enumerate(labels)}
    for label, wanted in quota.items():
        if wanted > counts[label]:
            raise UsageError(
                f"n={total} means {wanted:,} images of class {label}, but {known.title} {split} "
                f"has {counts[label]:,}; leave n out for all images of these classes."
            )
    return quota


def _draw(found: Found, quota: Mapping[int, int]) -> Images:
    """Return the first images of each class, in the official order."""
    layout, held = found.layout, found.labels
    chosen = np.sort(np.concatenate([np.flatnonzero(held == c)[:k] for c, k in quota.items()]))
    images, labels = found.images[chosen], held[chosen]
    provenance = Provenance(
        name=layout.name,
        split=layout.split,
        classes=tuple(quota),
        n=len(chosen),
        source=layout.source,
        path=layout.files[0],
        whole=found.whole,
        images_sha256=readers.sha256(images),
        labels_sha256=readers.sha256(labels),
        licence=SETS[layout.name].licence,
    )
    return Images(images, labels.astype(np.int64), provenance)


def _ways_out(
    name: str, split: str, quota: Mapping[int, int], sample: Found | None, failure: str
) -> str:
    """Return the sentence for a request that nothing here, nor any download, can answer."""
    ways = [
        "put its files into the folder named by QMLBOOK_DATA",
        f"run `qmlbook data fetch {name}` with a network",
    ]
    if sample:
        kind = "embedded sample" if sample.layout.source == "embedded" else "sample that is here"
        most = sample.per_class[split] * len(quota)
        ways.append(f"ask for at most n={most:,} images of these classes, which the {kind} holds")
    else:
        ways[-1] += " (there is no embedded sample of this set)"
    asked = f"{sum(quota.values()):,} images of {len(quota)} class{'es' * (len(quota) != 1)}"
    return (
        f"{SETS[name].title} {split}, {asked}, is not on this machine{failure}: "
        f"{', '.join(ways[:-1])}, or {ways[-1]}."
    )
