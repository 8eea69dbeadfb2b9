"""Recompute every kind of reference vector that belongs to this paper.

Each function takes the inputs of a case and returns what the file calls ``expected``.
"""

from typing import Any

import torch
from torch import Tensor

from ..shared.cases import Inputs, Kind, plain, tensor
from ..shared.qnodes import qnode
from . import losses
from .circuits import WIRES, block_sizes, count_params, qcnn
from .descent import Adam, Nesterov, minimise, value_and_gradient


def _probabilities(inputs: Inputs, params: Tensor) -> Tensor:
    """Return [P0, P1] of the measured wire for one sample or a batch."""
    options = {name: inputs[name] for name in ("ansatz_index", "pooling", "encoding")}
    return qnode(qcnn, wires=WIRES, **options)(tensor(inputs["features"]), params)


def circuit(inputs: Inputs) -> dict[str, Any]:
    """Run the network on one sample and count its parameters."""
    probabilities = _probabilities(inputs, tensor(inputs["params"]))
    n_conv, n_pool = block_sizes(inputs["ansatz_index"], inputs["pooling"])
    return {
        "probs": probabilities,
        "expval_z": probabilities[0] - probabilities[1],
        "n_conv_params_per_layer": n_conv,
        "n_pool_params_per_layer": n_pool,
        "n_params": count_params(inputs["ansatz_index"], inputs["pooling"]),
    }


def training(inputs: Inputs) -> dict[str, Any]:
    """Evaluate both costs and their gradients, and take three steps with both optimisers."""
    start, labels = tensor(inputs["params"]), torch.tensor(inputs["labels"])

    def cross_entropy(params: Tensor, step: int = 0) -> Tensor:
        return losses.cross_entropy(_probabilities(inputs, params), labels)

    def mse(params: Tensor) -> Tensor:
        return losses.mean_squared_error(_probabilities(inputs, params), labels)

    result = {"predicted_labels": losses.predict(_probabilities(inputs, start))}
    for name, cost in (("cross_entropy", cross_entropy), ("mse", mse)):
        result[f"cost_{name}"], result[f"grad_{name}"] = value_and_gradient(cost, start)
    for name, rule in (("nesterov", Nesterov()), ("adam", Adam())):
        params, costs = minimise(rule, cross_entropy, start, 3)
        result[f"{name}_3_steps_params"] = params
        result[f"{name}_cost_before_each_step"] = costs
    return result


KINDS = {
    **plain(circuit),
    "training": Kind(training, dict.fromkeys(("grad_*", "nesterov_*", "adam_*"), 1e-7)),
}
