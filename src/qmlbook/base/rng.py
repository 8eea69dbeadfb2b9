"""One random stream per purpose, found by name.

A stream is derived from a root seed and a name, never from a global state, so that adding a new
stream renumbers no other one, and two variants of an experiment share exactly the streams whose
names they share (paired seeds).
"""

import zlib

import numpy as np


def stream(root: int, *names: str | int) -> np.random.Generator:
    """Return the generator of the stream ``names`` under the seed ``root``.

    Args:
        root: seed of the run, 0 or more.
        names: what the stream is for, for instance ``"batches"`` or ``"init", "head"``.

    Raises:
        ValueError: if ``root`` is negative or no name is given.

    Example:
        >>> stream(7, "batches").integers(10, size=3).tolist() == stream(7, "batches").integers(
        ...     10, size=3
        ... ).tolist()
        True
    """
    if root < 0:
        raise ValueError(f"root must be 0 or more, not {root}.")
    if not names:
        raise ValueError("names must hold at least one name for the stream.")
    words = [zlib.crc32(str(name).encode()) for name in names]
    return np.random.default_rng(np.random.SeedSequence([root, *words]))
