"""Where things are, in the checkout or in the package, and how a file is written whole."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UsageError, WriteError

PACKAGE = Path(__file__).resolve().parents[1]


def project_root() -> Path:
    """Return the checkout that holds ``_toc.yml`` and ``book/``.

    ``QMLBOOK_ROOT`` wins; otherwise the checkout this package was installed from (editable
    install), then the working directory and its parents.

    Raises:
        UsageError: if there is no checkout (the package alone was installed).
    """
    if named := os.environ.get("QMLBOOK_ROOT"):
        candidates = [Path(named).resolve()]
    else:
        here = Path.cwd().resolve()
        candidates = [PACKAGE.parents[1], here, *here.parents]
    for folder in candidates:
        if (folder / "_toc.yml").is_file() and (folder / "book").is_dir():
            return folder
    where = f"QMLBOOK_ROOT={named!r}" if named else "here"
    raise UsageError(
        f"No checkout of the book {where} (a folder with _toc.yml and book/): "
        "run this command inside a clone, or set QMLBOOK_ROOT to one."
    )


def data_root() -> Path:
    """Return the folder with images, run records and the like: the checkout's, else the wheel's."""
    if named := os.environ.get("QMLBOOK_ROOT"):
        return Path(named).resolve() / "data"
    checkout = PACKAGE.parents[1] / "data"
    return checkout if (checkout / "images").is_dir() else PACKAGE / "_data"


def images_dir() -> Path:
    """Return the folder of the embedded image samples."""
    return data_root() / "images"


def results_dir() -> Path:
    """Return the folder of the stored run records, one sub-folder a paper."""
    return data_root() / "results"


def checksum_file(path: Path) -> Path:
    """Return the file beside another one that holds its SHA-256, as ``sha256sum`` writes it."""
    return path.with_name(f"{path.name}.sha256")


def sha256(content: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


@contextmanager
def writing(place: Path | str) -> Iterator[None]:
    """Turn what the system says when ``place`` cannot be written into one sentence.

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
            f"{place} cannot be written ({reason}); QMLBOOK_ROOT, QMLBOOK_CACHE and TMPDIR can "
            "name another checkout, cache and temporary folder."
        )
        problem.strerror = reason  # for callers who know better what the reader can do
        raise problem from error


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Let one process at a time into the block; others wait.

    Args:
        file: the lock, made if need be with its folder, and left there.

    Raises:
        WriteError: if the lock cannot be written.
    """
    from filelock import FileLock

    lock = FileLock(file)
    with writing(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


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

    The content is on the disk before it takes its name, and where that fails nothing is left.

    Args:
        path: the file; its folder is made if need be.
        content: all of it.
        checksum: also write :func:`checksum_file`.

    Raises:
        WriteError: if it cannot be written.
    """
    contents = {path: content}
    if checksum:
        contents[checksum_file(path)] = f"{sha256(content)}  {path.name}\n".encode()
    partial = {file: file.with_name(f".{file.name}.{os.getpid()}.part") for file in contents}
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for file, part in partial.items():
                with part.open("wb") as stream:
                    stream.write(contents[file])
                    stream.flush()
                    os.fsync(stream.fileno())
            if checksum:  # it must never stand beside a file it does not describe
                checksum_file(path).unlink(missing_ok=True)
            for file, part in partial.items():
                part.replace(file)
        finally:
            for part in partial.values():
                with suppress(OSError):
                    part.unlink()
