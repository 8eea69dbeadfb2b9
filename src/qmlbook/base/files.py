"""How a file is written whole, its digest, and tensors in a file."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import QmlbookError, WriteError

if TYPE_CHECKING:
    from torch import Tensor


def checksum_file(path: Path) -> Path:
    """Return the file beside another one that holds its SHA-256, as ``sha256sum`` writes it."""
    return path.with_name(f"{path.name}.sha256")


def sha256(content: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def fill(template: Path, **values: object) -> str:
    """Return a Jinja template with its values; its filter ``e`` escapes text for HTML."""
    from jinja2 import Environment, StrictUndefined

    jinja = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    jinja.filters["e"] = escape
    return jinja.from_string(template.read_text("utf-8")).render(values)


@contextmanager
def writing(target: Path | str) -> Iterator[None]:
    """Turn what the system says when ``target`` cannot be written into one sentence.

    Raises:
        WriteError: where the block raises an ``OSError``: no permission, a full disk.
    """
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        first = error.args[0][0] if isinstance(error, shutil.Error) else error.args
        reason = error.strerror or str(first[-1])
        problem = WriteError(
            f"{target} cannot be written ({reason}); QMLBOOK_ROOT, QMLBOOK_CACHE and TMPDIR can "
            "name another checkout, cache and temporary folder."
        )
        problem.strerror = reason  # for callers who know better what the reader can do
        raise problem from error


@contextmanager
def reading(file: Path | str) -> Iterator[None]:
    """Turn what the system says when ``file`` cannot be read into one sentence.

    Raises:
        QmlbookError: where the block raises an ``OSError``: it is missing, or no one may read it.
    """
    try:
        yield
    except FileNotFoundError:
        raise QmlbookError(f"{file} is missing.") from None
    except OSError as error:
        raise QmlbookError(f"{file} cannot be read ({error.strerror or error}).") from error


def stored_checksum(path: Path) -> str | None:
    """Return the digits in :func:`checksum_file`, ``None`` if there is no such file."""
    try:
        words = checksum_file(path).read_bytes().split()
    except FileNotFoundError:
        return None
    return words[0].decode(errors="replace") if words else ""


def read_sealed(path: Path) -> tuple[bytes, str, bool]:
    """Return a file's content, its SHA-256, and whether :func:`stored_checksum` is another one.

    Raises:
        QmlbookError: if it cannot be read.
    """
    with reading(path):
        for _ in range(3):  # both may be replaced between the two lines here
            content, stored = path.read_bytes(), stored_checksum(path)
            digest = sha256(content)
            if stored in (None, digest):
                break
    return content, digest, stored not in (None, digest)


@contextmanager
def locked(file: Path, *, wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Let one process at a time into the block; others wait.

    Args:
        file: the lock, made if need be with its folder, and left there.
        wait: called once before waiting for another process.

    Raises:
        WriteError: if the lock cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(file)
    with writing(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = lock.acquire(blocking=False)
        except Timeout:
            wait()
            held = lock.acquire()
    with held:
        yield


def require_writable(folder: Path) -> None:
    """Make a folder and try to write in it, so that long work does not fail at its end.

    Raises:
        WriteError: if it cannot be made, or nothing can be written in it.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def write(path: Path, content: bytes, *, checksum: bool = False) -> None:
    """Write a file at once: readers see the old file or the new one, nothing between.

    The content is on the disk before it takes its name, and where that fails nothing is left. A
    link stays and the file that it names is written; a device or a pipe is written to.

    Args:
        path: the file; its folder is made if need be.
        content: all of it.
        checksum: also write :func:`checksum_file`.

    Raises:
        WriteError: if it cannot be written: a folder, a file that is protected, a full disk.
    """
    with writing(path):
        if path.exists() and not path.is_file():  # a device or a pipe; a folder cannot be opened
            with open(os.open(path, os.O_WRONLY), "wb") as stream:
                stream.write(content)
            return
        path = Path(os.path.realpath(path))
        if path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        contents = {path: content}
        if checksum:
            contents[checksum_file(path)] = f"{sha256(content)}  {path.name}\n".encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(contents)


@contextmanager
def all_or_none(*changed: Path) -> Iterator[None]:
    """Leave files as they were, and folders that were not there away, where the block fails.

    Args:
        *changed: the files that the block makes or changes, none of them large.

    Raises:
        QmlbookError: one of them cannot be read.
    """
    before: dict[Path, bytes | None] = {}
    for file in changed:
        with reading(file):
            before[file] = file.read_bytes() if file.exists() else None
    new = {folder for file in changed for folder in file.parents if not folder.exists()}
    try:
        yield
    except BaseException:
        for file in (file for file, content in before.items() if content is None):
            file.unlink(missing_ok=True)  # first: a disk may be full
        for folder in sorted(new, reverse=True):
            shutil.rmtree(folder, ignore_errors=True)
        for file, content in before.items():
            if content is not None and file.read_bytes() != content:
                write(file, content)
        raise


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Make a folder for the block, and take it away where the block fails.

    Raises:
        WriteError: if it cannot be made, or is there.
    """
    with writing(folder):
        folder.mkdir(parents=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _replace(contents: Mapping[Path, bytes]) -> None:
    """Give files of one folder their contents; the later ones describe the first.

    Raises:
        OSError: if one of them cannot be written, and then all are as before.
    """
    parts = {file: file.with_name(f".{secrets.token_hex(8)}.part") for file in contents}
    try:
        for file, part in parts.items():
            if file.exists() and not os.access(file, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            with part.open("wb") as stream:
                stream.write(contents[file])
                stream.flush()
                os.fsync(stream.fileno())
            if file.exists():
                shutil.copymode(file, part)
        first, *describing = parts
        for file in describing:  # they must never stand beside a file they do not describe
            file.unlink(missing_ok=True)
        for file in (first, *describing):
            parts[file].replace(file)
    finally:
        for part in parts.values():
            with suppress(OSError):
                part.unlink()


def load_tensors(file: Path) -> dict[str, Tensor] | None:
    """Return the tensors of a file by name, ``None`` if there is no such file.

    Raises:
        QmlbookError: if the file cannot be read or is not the one that was stored.
    """
    from safetensors.torch import load as parse

    with reading(file):
        if not file.is_file():
            return None
        content, stored = file.read_bytes(), stored_checksum(file)
    if stored != sha256(content):
        raise QmlbookError(
            f"{file} does not have the checksum in {checksum_file(file).name} beside it: "
            "restore both, or remove the file to train the network anew."
        )
    return parse(content)


def save_tensors(tensors: Mapping[str, Tensor], file: Path) -> Path:
    """Store tensors with their checksum; return the file.

    Raises:
        QmlbookError: if it cannot be written.
    """
    from safetensors.torch import save as pack

    content = pack({name: value.detach().contiguous() for name, value in tensors.items()})
    write(file, content, checksum=True)
    return file
