"""Commands of this room: ``python -m qmlbook.papers.qssl store | hardware``.

``store`` keeps the networks of the hardware experiment under ``data/weights``: what a sweep of
``pretrain`` left in the cache, and what is missing trained now. ``hardware`` sends encoded test
images through a stored circuit, by default under the noise model of ibmq_paris; with ``--machine``
on a real machine of the saved IBM Quantum account. As published, that is
``hardware --network ring-100-shots --shots 100 --recompiled line``.
"""

import argparse
import sys
from collections.abc import Sequence

from ... import backends
from ...base.command import exit_status
from ...base.errors import UsageError, require_least
from ..shared import weights
from . import hardware, networks, recompiled


def store(arguments: argparse.Namespace) -> None:
    """Store the networks of the hardware experiment."""
    require_least(arguments, seeds=1)
    for seed in range(arguments.seeds):
        for name in networks.STORED:
            encoded = networks.network_after_training(name, "cifar10", seed)
            folder = weights.stored(networks.PAPER)
            print(networks.save(encoded, folder, name, seed).name, flush=True)


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
    if arguments.job and arguments.recompiled:
        raise UsageError(
            "job is one circuit with many angles; recompiled ones are sent in several."
        )
    encoded = networks.network_after_training(arguments.network, "cifar10", arguments.seed)
    if arguments.recompiled:
        options |= {"images": arguments.images}
        short = hardware.run_recompiled(encoded, arguments.recompiled, backend, **options)
        named, gates = short.named, short.circuits.cnots.mean()
        print(f"recompiled to {gates:.1f} CNOTs, {short.routed.mean():.1f} as compiled for there")
    else:
        options |= {"images": arguments.images, "job": arguments.job}
        named = hardware.run(encoded, backend, **options)
    exact = hardware.classify(encoded, networks.exact_features(encoded)[: arguments.images])
    where = arguments.machine or "Aer with the noise of ibmq_paris"
    print(f"{len(named.labels)} images, {arguments.shots} shots each, on {where}")
    print(f"accuracy {named.accuracy:.2f} %, exact {exact.accuracy:.2f}")
    print(named.table())


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m qmlbook.papers.qssl", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    keep = commands.add_parser("store", help="store the networks of the hardware experiment")
    keep.set_defaults(run=store)
    keep.add_argument("--seeds", type=int, default=8, help="networks, seeds 0 and up")
    run = commands.add_parser("hardware", help="run a stored circuit under noise, or on a machine")
    run.set_defaults(run=send)
    circuits = [name for name in networks.STORED if name != "classical"]
    run.add_argument("--network", choices=circuits, default="ring", help="which circuit")
    run.add_argument("--machine", help="name of a machine of your IBM Quantum account")
    run.add_argument(
        "--recompiled", choices=recompiled.CONNECTED, help="few CNOTs, and between which qubits"
    )
    run.add_argument("--job", help="read this job, sent earlier with the same arguments")
    run.add_argument("--images", type=int, default=900)
    run.add_argument("--shots", type=int, default=1000)
    run.add_argument("--mitigate", action="store_true", help="undo readout errors")
    run.add_argument("--seed", type=int, default=0, help="of the network and the shots")
    return made


def main(words: Sequence[str]) -> int:
    """Run a command; return its exit status."""
    made = parser()

    def command() -> None:
        arguments = made.parse_args(words)
        arguments.run(arguments)

    return exit_status(command, made.prog, *words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
