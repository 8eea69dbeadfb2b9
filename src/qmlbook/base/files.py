"""Stored tensors: a safetensors file with its checksum beside it."""

from __future__ import annotations

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
    content, beside = file.read_bytes(), paths.checksum_file(file)
    stored = beside.read_bytes().split()[:1] if beside.is_file() else []
    if stored != [paths.sha256(content).encode()]:
        raise QmlbookError(
            f"{file} does not have the checksum in {beside.name} beside it: restore both, or "
            "remove the file to train the network anew."
        )
    return parse(content)


def save(tensors: Mapping[str, Tensor], file: Path) -> Path:
    """Store tensors with their checksum; return the file.

    Raises:
        QmlbookError: if it cannot be written.
    """
    from safetensors.torch import save as pack

    content = pack({name: value.detach().contiguous() for name, value in tensors.items()})
    paths.write(file, content, checksum=True)
    return file
