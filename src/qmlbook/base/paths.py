"""Where things are, in the checkout or in the package."""

import os
from pathlib import Path

from .errors import UsageError

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
