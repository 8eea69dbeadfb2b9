"""What a circuit can learn, seen before it is trained: parameters that count, wires that matter."""

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor


def effective_parameters(
    outputs: Callable[[Tensor], Tensor], parameters: Tensor, rtol: float = 1e-8
) -> int:
    """Return in how many directions some parameters move what a model says of some data.

    That is the rank of the Jacobian of all outputs in all parameters, a lower bound of the rank
    with more data; at a random point it is the generic one with probability 1.

    Args:
        outputs: parameters -> what is measured for all data, of any shape, in double precision.
        parameters: (P,) where the Jacobian is taken.
        rtol: singular values below this share of the largest one count as zero.
    """
    jacobian = torch.autograd.functional.jacobian(outputs, parameters)
    return int(torch.linalg.matrix_rank(jacobian.reshape(-1, parameters.numel()), rtol=rtol))


def light_cone(
    gates: Sequence[Collection[int]], read: Collection[int]
) -> tuple[set[int], list[int]]:
    """Return all that an observable can depend on: the light cone of the wires it acts on.

    Args:
        gates: the wires of every gate, in the order of the circuit.
        read: the wires that are measured.

    Returns:
        The wires whose state before the gates matters, and the numbers of the gates that do.
    """
    wires, inside = set(read), []
    for number in reversed(range(len(gates))):
        if wires & set(gates[number]):
            wires |= set(gates[number])
            inside.append(number)
    return wires, inside[::-1]
