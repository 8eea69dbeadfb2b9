"""Commands of this room: ``python -m qmlbook.papers.qssl tune | store | hardware``.

``tune`` reads the stored runs of the experiment ``tuning`` and writes the chosen classical network
to ``tuned.yml``. ``store`` keeps the networks of the hardware experiment under ``data/weights``:
what a sweep of ``pretrain`` left in the cache, and what is missing trained now. ``hardware`` sends
encoded test images through a stored circuit, by default under the noise model of ibmq_paris; with
``--machine`` on a real machine of the saved IBM Quantum account.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ... import backends
from ...base import files
from ...base.command import exit_status
from ...base.errors import QmlbookError, UsageError, require_least
from . import experiment, hardware, weights

HEADER = """\
# The classical network that did best on held-out training images, of four. Written by
# `python -m qmlbook.papers.qssl tune` from the runs of the experiment `tuning`.
"""


def tune() -> str:
    """Rewrite ``tuned.yml`` from the stored runs; return what was chosen.

    Raises:
        QmlbookError: if runs are missing.
    """
    from ...evidence.store import Store

    chosen = experiment.best(Store().records("qssl"))
    if chosen is None:
        raise QmlbookError(
            "not all tuning runs are stored; make them with `qmlbook sweep qssl --profile full "
            "--experiment tuning`."
        )
    text = f"{HEADER}classical-tuned: {chosen}\n"
    files.write(experiment.TUNED, text.encode())
    return f"classical-tuned: {chosen}"


def store(arguments: argparse.Namespace) -> None:
    """Store the networks of the hardware experiment."""
    require_least(arguments, seeds=1)
    for seed in range(arguments.seeds):
        for name in experiment.STORED:
            found = experiment.network_after_training(name, "cifar10", seed)
            print(weights.save(found, weights.folder(), name, seed).name, flush=True)


def send(arguments: argparse.Namespace) -> None:
    """Run encoded test images on a backend and print what came of it."""
    require_least(arguments, images=1, seed=0)
    options = {"shots": arguments.shots, "seed": arguments.seed, "mitigate": arguments.mitigate}
    backend = "aer-noise"
    if arguments.machine:
        backend = "ibm"
        options |= {"hardware": True, "device": arguments.machine}
        backends.on(hardware.circuit(), backend, **options)  # no account: say so at once
    elif arguments.job:
        raise UsageError("job belongs to a machine: name it with --machine.")
    found = experiment.network_after_training("ring", "cifar10", arguments.seed)
    answers = hardware.run(found, backend, images=arguments.images, job=arguments.job, **options)
    settings = experiment.Hardware(images=arguments.images)
    exact = experiment.exact_features(found, settings)[: arguments.images]
    where = arguments.machine or "Aer with the noise of ibmq_paris"
    print(f"{len(answers.labels)} images, {arguments.shots} shots each, on {where}")
    print(f"accuracy {answers.accuracy:.2f} %, exact {hardware.answers(found, exact).accuracy:.2f}")
    print(answers.table())


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m qmlbook.papers.qssl", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    commands.add_parser("tune", help="write the chosen classical network to tuned.yml")
    keep = commands.add_parser("store", help="store the networks of the hardware experiment")
    keep.add_argument("--seeds", type=int, default=8, help="networks, seeds 0 and up")
    run = commands.add_parser("hardware", help="run a stored circuit under noise, or on a machine")
    run.add_argument("--machine", help="name of a machine of your IBM Quantum account")
    run.add_argument("--job", help="read this job, sent earlier with the same arguments")
    run.add_argument("--images", type=int, default=900)
    run.add_argument("--shots", type=int, default=1000)
    run.add_argument("--mitigate", action="store_true", help="undo readout errors")
    run.add_argument("--seed", type=int, default=0, help="of the network and the shots")
    return made


def main(words: Sequence[str]) -> int:
    """Run a command; return its exit status."""
    made = parser()
    commands = {"tune": lambda arguments: print(tune()), "store": store, "hardware": send}

    def command() -> None:
        arguments = made.parse_args(words)
        commands[arguments.command](arguments)

    return exit_status(command, made.prog, *words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
