"""Train source networks and store them: ``python -m qmlbook.papers.c2q --width 256 --seeds 10``.

Networks that are stored already are left alone, unless ``--again`` is given. Training a network
takes about a minute and a half of one core and needs all of Fashion-MNIST.
"""

import argparse
import sys
from collections.abc import Sequence

import torch

from ... import data
from ...base.command import exit_status
from ...base.errors import require_least
from ..shared import weights
from . import training
from .config import WIDTHS, Recipe


def main(words: Sequence[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m qmlbook.papers.c2q", description="Train source networks and store them."
    )
    widths = tuple(WIDTHS.values())
    parser.add_argument(
        "--width", type=int, choices=widths, default=widths[0], help="of the last layer"
    )
    parser.add_argument("--seeds", type=int, default=10, help="networks, seeds 0 and up")
    parser.add_argument("--again", action="store_true", help="also train those that are stored")
    return exit_status(lambda: make_all(parser.parse_args(words)), parser.prog, *words)


def make_all(arguments: argparse.Namespace) -> None:
    """Make the networks of all seeds."""
    require_least(arguments, seeds=1)
    torch.set_num_threads(1)  # what the stored networks were trained with
    for seed in range(arguments.seeds):
        make(arguments.width, seed, arguments.again)


def make(width: int, seed: int, again: bool) -> None:
    """Train and store one network, and say how good it is."""
    recipe, word = Recipe(width), "stored"
    folder, name = weights.stored("c2q"), training.source_name(width)
    if again or weights.load(folder, name, seed) is None:
        network = training.untrained_source(recipe, seed)
        weights.save(training.train_source(network, recipe, seed), folder, name, seed)
        word = "trained"
    (held,) = data.status(["fashion_mnist"])
    images = None if held.whole else held.test  # a stored network asks for no download
    accuracy = training.source_accuracy(training.source(recipe, seed), images)
    fewer = f" on {images:,} of 10,000 images" if images else ""
    print(f"width {width}, seed {seed}: {word}, test accuracy {accuracy:.2f} %{fewer}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
