"""Exact statements about the quantum heads, checked at random parameters."""

import pennylane as qml
import torch
from torch import Tensor

from ...base.rng import stream
from ..shared import probes
from . import models
from .circuits import MEASURED, WIRES, count_params, network
from .config import CHARTED_POOLINGS


def _drawn(seed: int, *names: str | int, size: tuple[int, ...] | int) -> Tensor:
    return torch.from_numpy(stream(seed, "properties", *names).normal(size=size))


def is_quadratic_form(ansatz: int, pooling: str, seed: int, images: int) -> bool:
    """Return whether P(1) = x'Ax / x'x holds to 1e-10, with A's complex form a projector of 128.

    The unitary comes from PennyLane, P(1) from this book's simulator.
    """
    params = _drawn(seed, ansatz, pooling, size=count_params(ansatz, pooling))

    matrix_of = qml.matrix(network, wire_order=range(WIRES))
    unitary = torch.as_tensor(matrix_of(params, ansatz, pooling))
    ones = (torch.arange(2**WIRES) >> (WIRES - 1 - MEASURED)) & 1 == 1
    matrix = unitary[ones].conj().T @ unitary[ones]
    x = _drawn(seed, "images", size=(images, 2**WIRES))
    form = ((x @ matrix.real) * x).sum(1) / (x * x).sum(1)
    simulated = models.quantum(ansatz, pooling)(x, params)[:, 1]
    eigenvalues = torch.linalg.eigvalsh(matrix)
    half = 2 ** (WIRES - 1)
    return bool(
        (form - simulated).abs().max() < 1e-10
        and eigenvalues[:half].abs().max() < 1e-10
        and (eigenvalues[half:] - 1).abs().max() < 1e-10
    )


def poolings_agree(seed: int, images: int, ansatz: int = 10) -> bool:
    """Return whether all poolings are the same circuit when their parameters are zero."""
    convolution = _drawn(seed, "poolings", size=count_params(ansatz, "none"))
    x = _drawn(seed, "images", size=(images, 2**WIRES))
    outputs = []
    for pooling in CHARTED_POOLINGS.values():
        zeros = torch.zeros(count_params(ansatz, pooling) - len(convolution), dtype=x.dtype)
        outputs.append(models.quantum(ansatz, pooling)(x, torch.cat([convolution, zeros])))
    return all(bool((other - outputs[0]).abs().max() < 1e-10) for other in outputs[1:])


def effective_parameters(
    ansatz: int, pooling: str, seed: int = 0, inputs: int = 150, gates: str = "all"
) -> int:
    """Return the rank of dP(1)/dparameters at a random point over random amplitude inputs.

    With local ``gates`` the weights of the read-out are parameters, too.
    """
    readout = 0 if gates == "all" else WIRES + 1
    params = _drawn(seed, ansatz, pooling, size=count_params(ansatz, pooling, gates) + readout)
    if not len(params):
        return 0
    x = _drawn(seed, "inputs", size=(inputs, 2**WIRES))
    circuit = models.local(ansatz, pooling, gates) if readout else models.quantum(ansatz, pooling)
    return probes.effective_parameters(lambda p: circuit(x, p)[:, 1], params)
