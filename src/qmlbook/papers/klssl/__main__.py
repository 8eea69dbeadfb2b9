"""The released command, ``python -m qmlbook.papers.klssl``: train one network and evaluate it.

Arguments are those of namhai03/QSSL code/demo.py, and two more: ``--split`` (train on the split
that the scripts name, or on the one of the recorded run) and ``--loss``. Unless ``--device`` names
a GPU it runs on the CPU; a bad value gets one sentence and exit status 2.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from ... import data
from ...base.command import exit_status
from ...base.errors import UsageError, require_least
from ..shared.splits import Split
from . import experiments, models, released, training
from .config import ROLES, Config
from .runs import evaluate

PROGRAM = "python -m qmlbook.papers.klssl"


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Return checked arguments.

    Raises:
        UsageError: one sentence that names the argument, what was given and what is allowed.
    """
    parser = released.parser(PROGRAM, "cpu", "Train one network of the KL-SSL paper, evaluate it.")
    parser.add_argument(
        "--split",
        choices=tuple(ROLES),
        default="released",
        help="train on the split that the scripts name, or as in the recorded run (%(default)s)",
    )
    parser.add_argument(
        "--loss",
        choices=("published", "corrected"),
        default="published",
        help="the procedure as released, or with its slips mended (%(default)s)",
    )
    arguments = parser.parse_args(words)
    released.validate(arguments)
    require_least(arguments, nlayers=1)
    if arguments.seed is not None:
        require_least(arguments, seed=0)
    if arguments.device != "cpu" and not torch.cuda.is_available():
        raise UsageError(
            f"device {arguments.device} is not here: PyTorch finds no CUDA device on this machine; "
            "leave --device out to run on the CPU."
        )
    return arguments


def configure(arguments: argparse.Namespace) -> Config:
    """Return the configuration of a run; fewer images where the whole set is not here."""
    dataset, classes = data.canonical(arguments.data), (arguments.c1, arguments.c2)
    template = experiments.CORRECTED if arguments.loss == "corrected" else experiments.PUBLISHED
    trained_on, evaluated_on = ROLES[arguments.split]
    return replace(
        template,
        dataset=dataset,
        classes=classes,
        **{name: getattr(arguments, name) for name in ("split", "classifier", "nlayers", "gamma")},
        n_train=_images_here(dataset, classes, trained_on),
        n_eval=_images_here(dataset, classes, evaluated_on),
    )


def _images_here(dataset: str, classes: tuple[int, int], split: str) -> int | None:
    """Return ``None`` if the whole split is here, else the number of images that are."""
    (images,) = data.status([dataset])
    if images.whole or images.source is None:
        return None  # where nothing is here, loading says what to do
    return getattr(images, split) // len(data.class_names(dataset)) * len(classes)


def moved(split: Split, device: str) -> Split:
    """Return a split whose tensors are on a device, where training then computes."""
    return replace(split, inputs=split.inputs.to(device), labels=split.labels.to(device))


def main(words: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    return exit_status(lambda: report(parse(words)), PROGRAM, *words)


def report(arguments: argparse.Namespace) -> None:
    """Train, evaluate and print what came of it."""
    # As released, a seed that is not given is drawn from 0..199; here it is also said.
    seed = arguments.seed
    if seed is None:
        seed = int(np.random.default_rng().integers(200))
    config = configure(arguments)
    total, trained = models.published_sizes(config.classifier, config.nlayers)
    moving = f", {trained} of them trained" if config.frozen else ""
    print(
        f"{config.classifier} classifier, n = {config.nlayers}, seed {seed}, {total} parameters"
        + moving
    )
    trained_on, evaluated_on = training.splits(config)
    images = ((trained_on, config.n_train, "trained"), (evaluated_on, config.n_eval, "evaluated"))
    for name, (split, n, used) in zip(ROLES[config.split], images, strict=True):
        fewer = f" (fewer than there are: `qmlbook data fetch {config.dataset}`)" if n else ""
        print(f"{used} on {len(split)} {arguments.data} images, {name} split{fewer}")
    made = training.train(config, seed, moved(trained_on, arguments.device))
    made.model.cpu()
    result = evaluate(made, trained_on, evaluated_on, seed)
    print(f"lowest mean loss of an epoch: {result['loss']:.4f}")
    for k, name in ((1, "accuracy"), (2, "accuracy_k2"), (5, "accuracy_k5"), (10, "accuracy_k10")):
        print(f"accuracy, k = {k:2}: {result[name]:.4f}")
    print(f"accuracy, answers assigned on the training images: {result['matched']:.4f}")
    print(f"share of the rarer answer (0 is collapse): {result['minority']:.4f}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
