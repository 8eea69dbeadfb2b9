"""The released command line's rules for its arguments (namhai03/QSSL, code/demo.py; README)."""

import argparse
from typing import NoReturn

from ...base.errors import UsageError

DEVICES = ("cpu", "cuda", "cuda:0")
DATASETS = ("MNIST", "FashionMNIST", "KMNIST")


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with the parser's own message."""
        raise UsageError(f"{message}.")


def parser(prog: str = "demo.py", device: str = "cuda:0", about: str | None = None) -> Parser:
    """Return the released parser.

    Args:
        prog: name of the program.
        device: the default of ``--device``.
        about: what the program does, for its help.
    """
    made = Parser(prog=prog, description=about)
    given = made.add_argument
    given("--device", choices=DEVICES, default=device, help="where to compute (%(default)s)")
    given("--seed", type=int, help="0 or more; drawn when it is not given")
    given("--classifier", choices=("classical", "quantum"), default="quantum", help="(%(default)s)")
    given("--nlayers", type=int, default=2, help="layers of the classifier (%(default)s)")
    given("--gamma", type=float, default=0.5, help="of the loss, between 0 and 1 (%(default)s)")
    given("--data", choices=DATASETS, default="MNIST", help="the images (%(default)s)")
    given("--c1", type=int, default=0, help="label of the first class, 0 to 9 (%(default)s)")
    given("--c2", type=int, default=1, help="label of the second class (%(default)s)")
    return made


def validate(arguments: argparse.Namespace) -> None:
    """Refuse values in the released order: gamma, c1, c2, then equal classes.

    The released message about ``c2`` names ``c1``; this one names the right argument.

    Raises:
        UsageError: one sentence.
    """
    if not 0 < arguments.gamma < 1:
        raise UsageError(f"gamma must lie strictly between 0 and 1, not {arguments.gamma}.")
    for name in ("c1", "c2"):
        if not 0 <= (value := getattr(arguments, name)) <= 9:
            raise UsageError(f"{name} must be a label from 0 to 9, not {value}.")
    if arguments.c1 == arguments.c2:
        raise UsageError(f"c2 must differ from c1; both are {arguments.c1}.")
