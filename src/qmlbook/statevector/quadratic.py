"""Amplitude-encoded measurements as quadratic forms.

A circuit that prepares the real amplitudes x and then does the same to all of them, U, measures
<O> = x^T A x with the real symmetric A = Re(U^dagger O U). A is made once; every further
evaluation is a small matrix product.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pennylane as qml
import torch
from torch import Tensor

from .errors import NAME, CircuitError
from .execution import run
from .lowering import REGISTER
from .plan import Plan, Values
from .structure import outcomes
from .torch_path import States

PRODUCT = 25e3  # multiplications a microsecond in a large real product, for estimates
VISIT = 0.006  # microseconds for an operation to visit one place, there and back


def quadratic_form(matrices: Tensor, x: Tensor) -> Tensor:
    """Return x^T A x.

    Args:
        matrices: (..., D, D) real symmetric A.
        x: (B, D) or (D,) real.

    Returns:
        (B, ...) values; without B for a single x. Differentiable in both, to any order.
    """
    flat = matrices.reshape(-1, *matrices.shape[-2:])
    values = _Form.apply(flat, x.reshape(-1, x.shape[-1]))
    return values.reshape(*x.shape[:-1], *matrices.shape[:-2])


class _Form(torch.autograd.Function):
    """(Q, D, D) and (B, D) to (B, Q), using in the backward pass that A is symmetric."""

    @staticmethod
    def forward(ctx: Any, matrices: Tensor, x: Tensor) -> Tensor:
        products = _products(matrices, x)
        ctx.save_for_backward(matrices, x, products)
        return (products * x.unsqueeze(1)).sum(2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        matrices, x, products = ctx.saved_tensors
        if torch.is_grad_enabled():
            products = _products(matrices, x)
        for_x = for_matrices = None
        if ctx.needs_input_grad[1]:
            for_x = 2 * torch.bmm(gradient.unsqueeze(1), products).squeeze(1)
        if ctx.needs_input_grad[0]:
            weighted = gradient.t().unsqueeze(2) * x  # (Q, B, D)
            for_matrices = weighted.transpose(1, 2) @ x
        return for_matrices, for_x


def _products(matrices: Tensor, x: Tensor) -> Tensor:
    """Return (B, Q, D) products of every x with every matrix."""
    wide = matrices.transpose(0, 1).reshape(x.shape[1], -1)
    return (x @ wide).view(len(x), *matrices.shape[:2])


def observable_matrix(
    qnode: qml.QNode, *args: Any, features: int | None = None, **kwargs: Any
) -> Tensor:
    """Return A with <O_q> = x^T A_q x for all measurements of an amplitude-encoded circuit.

    Args:
        qnode: on device `qmlbook.statevector`; starts with `qml.AmplitudeEmbedding` or
            `qml.StatePrep`, uses its data nowhere else, and measures expectation values of Pauli
            words, their sums, or probabilities.
        *args: arguments of the QNode; the encoded data does not matter: a single vector will do.
        features: length of x where the encoding pads it; the amplitudes' length by default.
        **kwargs: keyword arguments of the QNode.

    Returns:
        (rows, features, features) real symmetric, differentiable in the circuit's weights. One
        row per expectation value, 2^k for the probabilities of k wires, in the order measured.

    Raises:
        CircuitError: if the circuit has another form.

    Example:
        >>> A = observable_matrix(circuit, x, weights)  # doctest: +SKIP
        >>> quadratic_form(A, x / x.norm(dim=-1, keepdim=True))  # doctest: +SKIP
    """
    device = qnode.device
    if device.name != NAME:
        raise CircuitError(f"qnode runs on {device.name}; observable_matrix needs {NAME}.")
    found = device.read(qnode.construct(args, kwargs))
    values = device.values(found)
    if not values.only_amplitudes_vary:
        raise CircuitError(
            "A quadratic form needs amplitude encoding first and no other data in the circuit."
        )
    plan = device.planned(found).plan
    if not possible(plan):
        raise CircuitError(
            "A quadratic form needs expectation values of Pauli words, their sums, or "
            "probabilities; execute the QNode for other measurements."
        )
    return matrices(plan, values, features or found.amplitudes.shape[-1])


def possible(plan: Plan) -> bool:
    """Return whether the measurements of a circuit are quadratic forms of what it prepares."""
    return bool(plan.structure.prepared) and plan.rows.number > 0 and not plan.state


def pay(plan: Plan, values: Values) -> bool:
    """Return whether forms are cheaper than states for a batch of real vectors."""
    x = values.amplitudes
    if not possible(plan) or not values.only_amplitudes_vary or x.ndim < 2 or x.is_complex():
        return False
    lanes = REGISTER // x.element_size()
    ops = plan.whole.lowered(lanes).circuit.ops
    once = VISIT * float((ops["stop"] - ops["start"]).sum())
    batch, size = len(x), values.features or x.shape[-1]
    form = plan.rows.number * size**2 / PRODUCT * (8 / lanes)
    forms = once * size / lanes + form * 2 ** (plan.structure.wires + 1) + form * batch
    return batch >= size and forms < once * batch / lanes


def matrices(plan: Plan, values: Values, features: int | None = None) -> Tensor:
    """Return (rows, D, D) from what becomes of the first D basis states."""
    size = 2 ** len(plan.structure.prepared)
    states = States(plan, values)
    first = torch.eye(features or size, size, dtype=values.dtype, device=states.device)
    tensors = [*values.bases, first, *values.matrices]
    columns = run(plan.whole, replace(values, tensors=tensors, batch=len(first)))[-1]
    turned: dict[int, Any] = {}
    for row, weight, letters in plan.rows.words:
        turned[row] = turned.get(row, 0) + weight * states.pauli(columns, letters)
    made = [columns.real.new_zeros(len(first), len(first))] * plan.rows.number
    for row, other in turned.items():
        made[row] = _overlaps(columns, other)
    for first_row, wires in plan.rows.probabilities:
        for row, place in enumerate(outcomes(wires, states.n), first_row):
            picked = columns.index_select(1, states.tensor(place))
            made[row] = _overlaps(picked, picked)
    return torch.stack(made)


def _overlaps(one: Tensor, other: Tensor) -> Tensor:
    """Return the real parts of the overlaps of (D, K) states."""
    return one.real @ other.real.t() + one.imag @ other.imag.t()
