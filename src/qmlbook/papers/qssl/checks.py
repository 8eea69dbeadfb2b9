"""Statements that a computation decides: shift rules, the chain of CNOTs, numbers of parameters."""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import pennylane as qml
import torch
from torch import Tensor

from ...base.rng import stream
from ..shared.qnodes import compiled
from ..shared.weights import count_parameters
from . import circuits, models

LAYERS = {"ring": 2, "all-to-all": 3}  # as reported
Outputs = Callable[[Tensor], Tensor]  # of points (R, V), their outputs (R, n)
EXACT, VISIBLE = 1e-10, 1e-3  # largest error of a rule that is right, smallest of one that is not


def _outputs(ansatz: str, n: int, points: Tensor) -> Tensor:
    """Return <Z> (R, n) at points (R, n + P) of all angles, in double precision."""
    node = compiled(circuits.features, ansatz=ansatz, layers=LAYERS[ansatz])
    return torch.stack(node(points[:, :n], points[:, n:]), dim=-1)


def derivatives(ansatz: str, n: int, seed: int) -> dict[str, Tensor]:
    """Return (n + P, n) derivatives of all outputs at random angles, by three methods.

    Returns:
        ``exact`` (automatic differentiation), ``two`` and ``four`` (shifts of every angle).
    """
    rng = stream(seed, "derivatives", ansatz, n)
    size = circuits.count_params(ansatz, n, LAYERS[ansatz])
    drawn = np.concatenate([rng.uniform(0, np.pi, n), rng.normal(0, n**-0.5, size)])
    point = torch.from_numpy(drawn)
    outputs = partial(_outputs, ansatz, n)
    return {
        "exact": exact_slopes(outputs, point, n),
        "two": shifted_slopes(outputs, point, models.TWO_TERM),
        "four": shifted_slopes(outputs, point, models.FOUR_TERM),
    }


def exact_slopes(outputs: Outputs, point: Tensor, n: int) -> Tensor:
    """Return the derivatives (V, n) of n outputs by all variables, in one backward pass."""
    copies = point.repeat(n, 1).requires_grad_()  # output j is read from copy j
    (gradient,) = torch.autograd.grad(outputs(copies).diagonal().sum(), copies)
    return gradient.T


def shifted_slopes(outputs: Outputs, point: Tensor, rule: Iterable[tuple[float, float]]) -> Tensor:
    """Return the same by a rule of shifts and weights, such as `models.TWO_TERM`."""
    unit = torch.eye(len(point), dtype=torch.float64)
    return torch.stack([weight * outputs(point + shift * unit) for shift, weight in rule]).sum(0)


def shift_rules_hold(ansatz: str, n: int, seed: int) -> bool:
    """Return whether two shifts are exact for plain rotations and only four for controlled ones.

    Two suffice for a controlled rotation whose control nothing acts on afterwards, as in most of
    the ring's last block; the others must be missed visibly.
    """
    slopes = derivatives(ansatz, n, seed)
    of_controlled = models.controlled(ansatz, n, LAYERS[ansatz])
    mask = torch.from_numpy(np.concatenate([np.zeros(n, bool), of_controlled]))
    two, four = ((slopes[name] - slopes["exact"]).abs() for name in ("two", "four"))
    good = two[~mask].max() < EXACT and four.max() < EXACT
    return bool(good and (not mask.any() or two[mask].max() > VISIBLE))


def cnots(n: int) -> list[tuple[int, int]]:
    """Return control and target of the CNOTs of one all-to-all block, in order."""
    params = np.zeros(circuits.count_params("all-to-all", n, 1))
    tape = qml.tape.make_qscript(circuits.network)(np.zeros(n), params, "all-to-all", 1)
    return [tuple(op.wires) for op in tape.operations if op.name == "CNOT"]


def chain(n: int) -> list[tuple[int, int]]:
    """Return CNOTs between neighbours, from the far end."""
    return [(target - 1, target) for target in range(n - 1, 0, -1)]


def permutation(gates: list[tuple[int, int]], n: int) -> np.ndarray:
    """Return where CNOTs send every bit string: (2^n, n) bits, qubit 0 first."""
    bits = np.arange(2**n)[:, None] >> np.arange(n - 1, -1, -1) & 1
    for control, target in gates:
        bits[:, target] ^= bits[:, control]
    return bits


def chain_holds(n: int) -> bool:
    """Return whether all n(n-1)/2 CNOTs of a block are the chain of n - 1 between neighbours."""
    every = cnots(n)
    same = np.array_equal(permutation(every, n), permutation(chain(n), n))
    return len(every) == n * (n - 1) // 2 and same


def fewer_parameters(width: int = 8) -> bool:
    """Return whether both circuits have fewer parameters than the classical network."""
    rival = count_parameters(models.classical(width, 2, "leaky_relu", True))
    return all(circuits.count_params(a, width, layers) < rival for a, layers in LAYERS.items())
