"""Unseen images through a trained circuit: exact, under a device's noise, on a real machine.

Source: arXiv:2103.14653v1, II.F; bjader/QSSL at f3eeba7, results/confusion_matrix_plot.py (900
images, tables of answers). There: 100 shots, a network trained with 100 shots, each image's circuit
recompiled approximately. Here the circuit is compiled for the stored noise model of that machine,
and run with any number of shots.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pennylane as qml
import torch
from torch import Tensor

from ... import backends
from ..shared.qnodes import compiled, qnode
from . import circuits, recompiled
from .networks import Encoded
from .probes import Probe


@dataclass(frozen=True, eq=False)
class Named:
    """Images and the labels that a network gave them.

    Attributes:
        features: (n, W) outputs of the representation network.
        predictions: (n,) labels named.
        labels: (n,) true labels.
    """

    features: Tensor
    predictions: Tensor
    labels: Tensor

    @property
    def accuracy(self) -> float:
        """Return the accuracy in %."""
        return 100 * (self.predictions == self.labels).double().mean().item()

    def table(self, classes: int = 5) -> np.ndarray:
        """Return how often each label was named, rows true, columns named, (classes, classes)."""
        pairs = self.labels * classes + self.predictions
        return np.bincount(pairs.numpy(), minlength=classes**2).reshape(classes, classes)


def circuit(ansatz: str = "ring", layers: int = 2, width: int = 8) -> qml.QNode:
    """Return the circuit that `qmlbook.backends.on` brings to another backend."""
    return qnode(circuits.features, wires=width, ansatz=ansatz, layers=layers)


def run(
    encoded: Encoded,
    backend: str = "aer-noise",
    *,
    images: int | None = None,
    ansatz: str = "ring",
    layers: int = 2,
    job: str | None = None,
    **options: Any,
) -> Named:
    """Send encoded images through the trained circuit on any backend, all in one job.

    Args:
        encoded: images, circuit angles and probe.
        backend: of `qmlbook.backends.on`; by default Aer with the noise of ibmq_paris.
        images: only the first so many.
        ansatz: ``ring`` or ``all-to-all``.
        layers: of the circuit.
        job: name of a job on ``ibm`` that was sent earlier, with the same arguments, to be read.
        **options: further options of `qmlbook.backends.on`: ``shots``, ``seed``, ``mitigate`` (undo
            readout errors), ``device``; for a real machine ``backend="ibm"``, ``hardware=True`` and
            its name as ``device``.

    Raises:
        UsageError: for an unknown backend or machine, or if a real machine is asked for and no
            account is saved; the sentence says what to do.
        QmlbookError: if a package is missing, or the service fails.
    """
    angles, params = numbers(encoded, images)
    node = circuit(ansatz, layers, angles.shape[1])
    node = backends.on(node, backend, **options)
    outputs = backends.resume(job, node, angles, params) if job else node(angles, params)
    return _named(encoded, outputs)


def mitigated_and_raw(
    encoded: Encoded,
    backend: str = "aer-noise",
    *,
    images: int | None = None,
    ansatz: str = "ring",
    layers: int = 2,
    **options: Any,
) -> tuple[Named, Named]:
    """Return what `run` returns with readout errors undone, and with them, from the same shots."""
    angles, params = numbers(encoded, images)
    node = circuit(ansatz, layers, angles.shape[1])
    node = backends.on(node, backend, mitigate=True, **options)
    mended, raw = backends.with_and_without(node, angles, params)
    return _named(encoded, mended), _named(encoded, raw)


@dataclass(frozen=True, eq=False)
class Shortened:
    """What a backend makes of recompiled circuits.

    Attributes:
        named: the pictures' labels.
        circuits: the recompiled circuits.
        routed: (n,) two-qubit gates of each picture's circuit as compiled for the backend.
    """

    named: Named
    circuits: recompiled.Recompiled
    routed: np.ndarray


def run_recompiled(
    encoded: Encoded,
    connected: str,
    backend: str = "aer-noise",
    *,
    images: int | None = None,
    seed: int = 0,
    layers: int = 2,
    **options: Any,
) -> Shortened:
    """Recompile the ring's circuit of every picture approximately, and run that instead.

    Pictures whose circuits have equally many CNOTs share a job.

    Args:
        encoded: images, circuit angles and probe.
        connected: of `recompiled.CONNECTED`.
        backend, images, **options: as of `run`.
        seed: of the recompilation and of the shots.
        layers: of the circuit.
    """
    angles, params = (torch.from_numpy(part) for part in numbers(encoded, images))
    width = angles.shape[1]
    targets = compiled(circuits.state, ansatz="ring", layers=layers)(angles, params)
    found = recompiled.recompile(targets, connected, seed)
    # The compiler may choose among all qubits: so it finds a line, which needs no detours.
    where: dict[str, Any] = {"compact": False}
    where |= {name: options[name] for name in ("device", "hardware") if name in options}
    features = np.zeros((len(angles), width))
    routed = np.zeros(len(angles), int)
    for number, (rows, chosen) in found.angles.items():
        pairs = recompiled.order(width, connected, number)
        plain = qnode(recompiled.features, wires=width, pairs=pairs, n_qubits=width)
        node = backends.on(plain, backend, seed=seed, **{**where, **options})
        features[rows] = np.stack([*map(np.asarray, node(chosen))], axis=-1)
        sizes = backends.describe(plain, chosen[0], backend=backend, options=where)
        routed[rows] = sizes.transpiled.two_qubit
    return Shortened(classify(encoded, torch.from_numpy(features)), found, routed)


def _named(encoded: Encoded, outputs: Sequence[Any]) -> Named:
    return classify(encoded, torch.from_numpy(np.stack([*map(np.asarray, outputs)], axis=-1)))


def classify(encoded: Encoded, features: Tensor) -> Named:
    """Return what the stored probe says of features (n, W) of the first n images."""
    features = features.to(encoded.weight.dtype)
    predictions = Probe(0.0, encoded.weight, encoded.bias).predict(features)
    return Named(features, predictions, encoded.labels[: len(features)])


def sizes(
    encoded: Encoded, compilations: Mapping[str, dict[str, Any]] | None = None, **options: Any
) -> dict[str, backends.Description]:
    """Return the size of the circuit as written and as compiled, by name of a compilation.

    Args:
        encoded: whose first image is described; all have the same gates.
        compilations: name -> options of `qmlbook.backends.describe`; by default an ideal simulator,
            the connected part of ibmq_paris that the simulation uses, and the whole machine.
        **options: of `circuit`.
    """
    angles, params = numbers(encoded, 1)
    node = circuit(width=angles.shape[1], **options)
    chosen = compilations or {
        "every pair of qubits connected": {"backend": "aer"},
        "part of ibmq_paris": {"backend": "aer-noise"},
        "whole ibmq_paris": {"backend": "aer-noise", "options": {"compact": False}},
    }
    return {
        name: backends.describe(node, angles[0], params, **given) for name, given in chosen.items()
    }


def numbers(encoded: Encoded, images: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the angles (n, W) and the circuit's parameters (P,) as a backend takes them."""
    return encoded.angles[:images].double().numpy(), encoded.network["params"].double().numpy()
