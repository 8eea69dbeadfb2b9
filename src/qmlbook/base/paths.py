"""Where things are, in the checkout or in the package."""

import os
from pathlib import Path

import platformdirs

from .errors import UsageError, shown

PACKAGE = Path(__file__).resolve().parents[1]


def project_root() -> Path:
    """Return the checkout that holds ``_toc.yml`` and ``book/``.

    ``QMLBOOK_ROOT`` wins; otherwise the checkout this package was installed from (editable
    install), then the working directory and its parents.

    Raises:
        UsageError: if there is no checkout (the package alone was installed).
    """
    here = Path.cwd().resolve()
    named = named_by("QMLBOOK_ROOT")
    for folder in [named.resolve()] if named else [PACKAGE.parents[1], here, *here.parents]:
        if _is_checkout(folder):
            return folder
    raise _no_checkout()


def chapters_root() -> Path:
    """Return the folder with the chapters as written: the checkout, else what the wheel has of it.

    Raises:
        UsageError: if there is neither.
    """
    packed = PACKAGE / "_data" / "chapters"
    return packed if _is_checkout(packed) and not named_by("QMLBOOK_ROOT") else project_root()


def data_root() -> Path:
    """Return the folder with images, run records and the like: the checkout's, else the wheel's.

    Raises:
        UsageError: if ``QMLBOOK_ROOT`` names neither a checkout nor a folder that holds ``data/``.
    """
    if named := named_by("QMLBOOK_ROOT"):
        if not ((named / "data").is_dir() or _is_checkout(named)):
            raise _no_checkout()
        return named.resolve() / "data"
    checkout = PACKAGE.parents[1] / "data"
    return checkout if (checkout / "images").is_dir() else PACKAGE / "_data"


def named_by(variable: str) -> Path | None:
    """Return the path that an environment variable names; ``None`` if it names none."""
    named = os.environ.get(variable)
    return Path(named).expanduser() if named else None


def _is_checkout(folder: Path) -> bool:
    return (folder / "_toc.yml").is_file() and (folder / "book").is_dir()


def _no_checkout() -> UsageError:
    named = os.environ.get("QMLBOOK_ROOT")
    where = f"QMLBOOK_ROOT={shown(named)}" if named else "here"
    return UsageError(
        f"No checkout of the book {where} (a folder with _toc.yml and book/): "
        "run this command inside a clone, or set QMLBOOK_ROOT to one."
    )


def images_dir() -> Path:
    """Return the folder of the embedded image samples."""
    return data_root() / "images"


def results_dir() -> Path:
    """Return the folder of the stored run records, one sub-folder a paper; it may be missing.

    Raises:
        UsageError: as :func:`data_root`, or if something else has its name.
    """
    folder = data_root() / "results"
    if os.path.lexists(folder) and not folder.is_dir():
        raise UsageError(f"{folder} is no folder; it would hold the stored runs.")
    return folder


def citation_file() -> Path:
    """Return the citation file: the checkout's, else the wheel's."""
    root = data_root()
    beside = root.parent / "CITATION.cff"
    return beside if beside.is_file() else PACKAGE / "_data" / "CITATION.cff"


def cache_dir() -> Path:
    """Return the folder for what can be made again: ``QMLBOOK_CACHE``, else the platform's own.

    Whole image sets that were fetched, trained networks and plans of runs are kept there.
    """
    return named_by("QMLBOOK_CACHE") or platformdirs.user_cache_path("qmlbook")
