"""Commands of this room: ``python -m qmlbook.papers.qdeq tune``.

``tune`` reads the stored runs of the experiment ``tuning`` and writes each model's best settings
to ``tuned.yml``, from where `experiment` takes them. Models that are not tuned yet keep what is
written there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import yaml

from ...base import files
from ...base.command import exit_status
from ...base.errors import QmlbookError
from . import experiment

HEADER = """\
# The settings of every model that did best on validation images, of eight each. Written by
# `python -m qmlbook.papers.qdeq tune` from the runs of the experiment `tuning`. FashionMNIST and
# CIFAR-10 take those of MNIST with ten classes.
"""


def tune() -> str:
    """Rewrite ``tuned.yml`` from the stored runs; return what was chosen, one line per model.

    Raises:
        QmlbookError: if no model has all of its runs.
    """
    from ...evidence.store import Store

    found = experiment.best(Store().records("qdeq"))
    if not found:
        raise QmlbookError(
            "no model has all its tuning runs; make them with `qmlbook sweep qdeq --profile full "
            "--experiment tuning`."
        )
    chosen = experiment.tuned()
    for family, models in found.items():
        chosen[family] = chosen.get(family, {}) | models
    text = HEADER + yaml.safe_dump(chosen, sort_keys=False)
    files.write(experiment.TUNED, text.encode())
    return "\n".join(
        f"{family} {model}: {settings}"
        for family, models in found.items()
        for model, settings in models.items()
    )


def main(words: Sequence[str]) -> int:
    """Run a command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m qmlbook.papers.qdeq", description=__doc__)
    parser.add_argument("command", choices=("tune",))

    def command() -> None:
        parser.parse_args(words)
        print(tune())

    return exit_status(command, parser.prog, *words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
