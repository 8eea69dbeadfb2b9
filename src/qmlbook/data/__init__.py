"""Real images: embedded samples, your own folder, a cache, a download.

``load("mnist", classes=(0, 1), n=512)`` answers from the first copy that holds enough: the folder
named by ``QMLBOOK_DATA``, the cache (``QMLBOOK_CACHE``, or the platform's), the samples embedded in
this package, a download (``QMLBOOK_DATA_URL`` names a mirror, ``<url>/<name>/<file>``, to use
instead of the usual sources). The images of a request are the first ones of each class in the
official order, so every copy gives the very same pixels. Checked on every load is the SHA-256 of
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
from itertools import product
from pathlib import Path

import numpy as np

from ..base import files, paths
from ..base.errors import QmlbookError, UsageError, choose, counted, require_choice, shown
from . import readers
from .readers import Copy, Layout
from .sets import SETS, SPLITS, Source

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
        known, amount = SETS[self.name], counted(self.n, "image")
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
    spelt = {known.replace("_", ""): known for known in SETS}
    plain = str(name).lower().translate(str.maketrans("", "", "-_ "))
    if plain not in spelt:
        raise choose("name", name, SETS)
    return spelt[plain]


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
    if not isinstance(split, str) or split not in SPLITS:
        raise choose("split", split, SPLITS)
    quota = _quota(name, split, classes, n)
    sample = None
    for copy in readers.search(name, split):
        if copy.holds(quota):
            return _draw(copy, quota)
        sample = sample or copy
    failure = ""
    if download:
        try:
            root = fetch(name).parent
            return _draw(next(readers.search(name, split, [("download", root)])), quota)
        except QmlbookError as error:
            failure = f" ({str(error).rstrip('.').removesuffix(_ELSEWHERE)})"
    raise QmlbookError(_ways_out(name, split, quota, sample, failure))


def status(names: Iterable[str] | None = None) -> list[Status]:
    """Return, for each set, what can be loaded without a download; files are read and checked."""
    roots = list(readers.roots())
    return [_status(name, roots) for name in _select(names)]


def _status(name: str, roots: list[tuple[str, Path]]) -> Status:
    held: dict[str, Copy] = {}
    problem = ""
    for split in SPLITS:
        try:
            for copy in readers.search(name, split, roots):
                if split not in held or copy.whole:
                    held[split] = copy
                if copy.whole:
                    break
        except QmlbookError as error:
            problem = problem or str(error)
    layout = next((copy.layout for copy in held.values()), None)
    return Status(
        name=name,
        source=layout.source if layout else None,
        path=layout.files[0] if layout else None,
        whole=len(held) == len(SPLITS) and all(copy.whole for copy in held.values()),
        **{split: len(held[split].labels) if split in held else 0 for split in SPLITS},
        embedded=SETS[name].embedded is not None,
        licence=SETS[name].licence,
        problem=problem or ("" if held else readers.other_version(name, roots)),
    )


def verify(names: Iterable[str] | None = None) -> list[Check]:
    """Check every file found in the folder, the cache and the package, reading each anew.

    Contents are held against the published checksums; a file with a ``.sha256`` file beside it
    (those in the cache and the package have one) is also checked byte for byte.
    """
    readers.forget()
    checks: list[Check] = []
    for name, (source, root), split in product(_select(names), readers.roots(), SPLITS):
        checks += filter(None, map(_check, readers.layouts(name, split, source, root)))
    return checks


def _check(layout: Layout) -> Check | None:
    """Check the files of a layout; ``None`` if they are another set's, under which they count."""
    try:
        copy = readers.read(layout)
        if copy is None:
            return None
        for file in layout.files:
            readers.check_container(file)
        extent = "whole" if copy.whole else "sample"
        ok, message = True, f"{counted(len(copy.labels), 'image')} ({extent}), as published"
    except QmlbookError as error:
        ok, message = False, str(error)
    return Check(layout.name, layout.split, layout.source, layout.files[0], ok, message)


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
    target = paths.cache_dir() / f"{name}.npz"
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
    from rich.console import Console

    from .download import obtain

    watched = progress and Console(stderr=True).is_terminal
    console = Console(stderr=True, quiet=not watched)
    known, failures = SETS[name], []
    sources = known.sources
    if mirror := os.environ.get("QMLBOOK_DATA_URL"):
        sources = (Source("http", f"{mirror.rstrip('/')}/{name}/", sources[0].files),)
    for source in sources:
        with tempfile.TemporaryDirectory(prefix=".part-", dir=cache) as folder:
            try:
                return _whole_set(name, obtain(source, Path(folder), console))
            except QmlbookError as error:
                failures.append(f"{source.where}: {error}")
    raise QmlbookError(f"{known.title} could not be fetched: {'; '.join(failures)}{_ELSEWHERE}.")


def _whole_set(name: str, folder: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the whole set that was put into a folder, if it is all there."""
    arrays: dict[str, np.ndarray] = {}
    for split in SPLITS:
        try:
            copy = next(readers.search(name, split, [("download", folder)]), None)
        except QmlbookError as error:
            raise QmlbookError("what was sent is damaged or another set (checksum)") from error
        if copy is None or not copy.whole:
            raise QmlbookError("what was sent is not the whole set")
        arrays |= {f"x_{split}": copy.images, f"y_{split}": copy.labels}
    return arrays


def _is_good(name: str, target: Path) -> bool:
    """Tell whether the cache holds the whole set, undamaged."""
    try:
        copies = [next(readers.search(name, s, [("cache", target.parent)]), None) for s in SPLITS]
    except QmlbookError:
        return False
    return all(copy and copy.whole and copy.layout.files == (target,) for copy in copies)


def _sweep(cache: Path) -> None:
    """Remove what a process that was killed outright left behind, once it is a day old."""
    for left in cache.glob(".part-*"):
        with suppress(FileNotFoundError):  # another process has just finished with it
            if time.time() - left.stat().st_mtime > 86400:
                shutil.rmtree(left, ignore_errors=True)


def _select(names: Iterable[str] | None) -> list[str]:
    return list(dict.fromkeys(canonical(name) for name in names or SETS))


def _quota(name: str, split: str, classes: Iterable[int] | None, n: int | None) -> dict[int, int]:
    """Return how many images of each class a request means."""
    known, counts = SETS[name], SETS[name].counts[split]
    labels = _labels(classes, len(known.class_names))
    if n is None:
        return {label: counts[label] for label in labels}
    try:
        total = operator.index(n)
    except TypeError:
        raise UsageError(f"n must be a whole number, not {shown(n)}.") from None
    if total < 1:
        raise UsageError(f"n must be 1 or more, not {shown(total)}.")
    most = len(labels) * min(counts[label] for label in labels)
    each, more = divmod(total, len(labels))
    quota = {label: each + (number < more) for number, label in enumerate(labels)}
    for label, wanted in quota.items():
        if wanted > counts[label]:
            raise UsageError(
                f"n={shown(total)} is more of class {label} than the {counts[label]:,} images that "
                f"{known.title} {split} has; ask for at most n={most:,} of these classes, or leave "
                "n out for all of them."
            )
    return quota


def _labels(classes: Iterable[int] | None, count: int) -> list[int]:
    """Return the labels that a request names, in order, of ``count`` that there are."""
    try:
        labels = sorted(map(operator.index, range(count) if classes is None else classes))
    except TypeError:
        raise UsageError(f"classes must be a list of labels, not {shown(classes)}.") from None
    for label in labels:
        require_choice("class", label, range(count))
    if not labels or len(set(labels)) < len(labels):
        raise UsageError(
            f"classes must name at least one class, and none twice, not {shown(labels)}."
        )
    return labels


def _draw(copy: Copy, quota: Mapping[int, int]) -> Images:
    """Return the first images of each class, in the official order."""
    layout, held = copy.layout, copy.labels
    chosen = np.sort(np.concatenate([np.flatnonzero(held == c)[:k] for c, k in quota.items()]))
    images, labels = copy.images[chosen], held[chosen]
    provenance = Provenance(
        name=layout.name,
        split=layout.split,
        classes=tuple(quota),
        n=len(chosen),
        source=layout.source,
        path=layout.files[0],
        whole=copy.whole,
        images_sha256=readers.sha256(images),
        labels_sha256=readers.sha256(labels),
        licence=SETS[layout.name].licence,
    )
    return Images(images, labels.astype(np.int64), provenance)


def _ways_out(
    name: str, split: str, quota: Mapping[int, int], sample: Copy | None, failure: str
) -> str:
    """Return the sentence for a request that nothing here, nor any download, can answer."""
    ways = [
        "put its files into the folder named by QMLBOOK_DATA",
        f"run `qmlbook data fetch {name}` with a network",
    ]
    if sample and sample.per_class:
        kind = "embedded sample" if sample.layout.source == "embedded" else "sample that is here"
        most = sample.per_class[split] * len(quota)
        ways.append(f"ask for at most n={most:,} images of these classes, which the {kind} holds")
    else:
        ways[-1] += " (there is no embedded sample of this set)"
    asked = f"{counted(sum(quota.values()), 'image')} of {counted(len(quota), 'class', 'classes')}"
    other = readers.other_version(name, readers.roots())
    return (
        f"{SETS[name].title} {split}, {asked}, is not on this machine{failure}: "
        f"{', '.join(ways[:-1])}, or {ways[-1]}.{f' {other}' if other else ''}"
    )
