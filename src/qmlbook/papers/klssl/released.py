"""The released command line's rules for its arguments (namhai03/QSSL, code/demo.py; README)."""

import argparse
from typing import NoReturn

from ...base.errors import UsageError

DATASETS = ("MNIST", "FashionMNIST", "KMNIST")


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with the parser's own message."""
        raise UsageError(message)


def parser(device: str = "cuda:0") -> Parser:
    """Return the released parser; ``device`` is the default of ``--device``."""
    made = Parser(prog="demo.py", add_help=False)
    made.add_argument("--device", choices=("cpu", "cuda:0"), default=device)
    made.add_argument("--seed", type=int, default=None)
    made.add_argument("--classifier", choices=("classical", "quantum"), default="quantum")
    made.add_argument("--nlayers", type=int, default=2)
    made.add_argument("--gamma", type=float, default=0.5)
    made.add_argument("--data", choices=DATASETS, default="MNIST")
    made.add_argument("--c1", type=int, default=0)
    made.add_argument("--c2", type=int, default=1)
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
