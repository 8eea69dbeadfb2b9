"""Stored tensors: a safetensors file with its checksum beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from . import paths
from .errors import QmlbookError

if TYPE_CHECKING:
    from torch import Tensor


def load(file: Path) -> dict[str, Tensor] | None:
    """Return the tensors of a file by name, ``None`` if there is no such file.

    Raises:
        QmlbookError: if the file is not the one that was stored.
    """
    from safetensors.torch import load as parse

    if not file.is_file():
        return None
    content, beside = file.read_bytes(), checksum_file(file)
    if not beside.is_file() or beside.read_text("utf-8").split()[:1] != [_sha256(content)]:
        raise QmlbookError(
            f"{file} does not have the checksum in {beside.name} beside it: restore both, or "
            "remove the file to train the network anew."
        )
    return parse(content)


def save(tensors: Mapping[str, Tensor], file: Path) -> Path:
    """Store tensors with their checksum; return the file."""
    from safetensors.torch import save as pack

    content = pack({name: value.detach().contiguous() for name, value in tensors.items()})
    paths.write(checksum_file(file), f"{_sha256(content)}  {file.name}\n".encode())
    paths.write(file, content)
    return file


def checksum_file(file: Path) -> Path:
    """Return the file that holds another one's checksum."""
    return file.with_name(f"{file.name}.sha256")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
