"""Rebuild the embedded image samples in ``data/images`` from the whole sets.

    python scripts/make_samples.py

The whole sets come from the folder named by ``QMLBOOK_DATA`` or the cache, and are fetched if they
are in neither. The result is checked against the recorded checksums.
"""

from qmlbook import data
from qmlbook.base import paths
from qmlbook.data.readers import save_npz
from qmlbook.data.sets import SETS, SPLITS


def main() -> None:
    """Write one ``.npz`` and its ``.sha256`` for each set with an embedded sample."""
    for name in data.names():
        if (sample := SETS[name].embedded) is None:
            continue
        arrays = {}
        for split in SPLITS:
            request = {"split": split, "n": sample.per_class[split] * len(data.class_names(name))}
            drawn = data.load(name, **request)
            if not drawn.provenance.whole:  # never rebuild a sample from itself
                data.fetch(name)
                drawn = data.load(name, **request)
            arrays |= {f"x_{split}": drawn.images, f"y_{split}": drawn.labels.astype("uint8")}
        save_npz(paths.images_dir() / f"{name}.npz", arrays)
    for check in data.verify():
        if check.source == "embedded":
            print(check.path.name, check.split, check.message)
            if not check.ok:
                raise SystemExit(1)


if __name__ == "__main__":
    main()
