"""Stored source networks: one safetensors file each, in half precision, with checksums.

Training one takes a minute and a half and ends elsewhere on another processor, because single
precision rounds differently; with the weights stored, every run of a head can be made again.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from torch import Tensor, nn

from ...errors import QmlbookError
from ...paths import data_root

CHECKSUMS = "SHA256SUMS"


def folder() -> Path:
    """Return the folder of the stored networks."""
    return data_root() / "weights" / "c2q"


def path(width: int, seed: int) -> Path:
    """Return the file of one network."""
    return folder() / f"source-{width}-{seed}.safetensors"


def rounded(network: nn.Module, dtype: str = "float32") -> dict[str, Tensor]:
    """Return a copy of the weights as they are stored: half precision of single precision ones.

    Networks trained in double precision are not stored and stay as they are.
    """
    state = network.state_dict()
    if dtype != "float32":
        return {name: value.clone() for name, value in state.items()}
    return {
        name: value.half() if value.is_floating_point() else value.clone()
        for name, value in state.items()
    }


def load(width: int, seed: int) -> dict[str, Tensor] | None:
    """Return the stored weights of a network, ``None`` if there are none.

    Raises:
        QmlbookError: if the file is not the one that was stored.
    """
    from safetensors.torch import load as parse

    where = path(width, seed)
    if not where.is_file():
        return None
    content = where.read_bytes()
    if _checksums().get(where.name) != hashlib.sha256(content).hexdigest():
        raise QmlbookError(
            f"{where} does not have the checksum in {CHECKSUMS} beside it: restore both, or "
            "remove the file to train the network anew."
        )
    return parse(content)


def save(state: dict[str, Tensor], width: int, seed: int) -> Path:
    """Store the weights of a network and note their checksum; return the file."""
    from safetensors.torch import save as pack

    where = path(width, seed)
    where.parent.mkdir(parents=True, exist_ok=True)
    content = pack({name: value.contiguous() for name, value in state.items()})
    _replace(where, content)
    sums = _checksums() | {where.name: hashlib.sha256(content).hexdigest()}
    lines = [f"{digest}  {name}\n" for name, digest in sorted(sums.items())]
    _replace(folder() / CHECKSUMS, "".join(lines).encode())
    return where


def _replace(where: Path, content: bytes) -> None:
    partial = where.with_name(f".{where.name}.{os.getpid()}")
    partial.write_bytes(content)
    os.replace(partial, where)


def _checksums() -> dict[str, str]:
    file = folder() / CHECKSUMS
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return {name: digest for digest, name in (line.split() for line in lines)}
