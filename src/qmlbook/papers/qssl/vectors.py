"""Recompute every kind of reference vector that belongs to this paper.

Each function takes the inputs of a case and returns what the file calls ``expected``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..shared.cases import Inputs, Kind, gradients, plain, tensor, variables
from ..shared.qnodes import qnode
from . import checks, circuits, losses, models


def _run(
    inputs: Inputs, function: Callable, angles: Tensor, params: Tensor, activation: str = ""
) -> Tensor:
    """Run the circuit of a case; several outputs become the last axis."""
    activation = activation or inputs.get("activation") or "null"
    activation = models.COMPILED_AS.get(activation, activation)  # exact, no wire a measurement
    node = qnode(
        function,
        device="default.qubit" if activation == "null" else "default.mixed",
        wires=inputs["n_qubits"],
        ansatz=inputs["ansatz"],
        layers=inputs["layers"],
        sweeps=inputs.get("sweeps_per_layer", 1),
        activation=activation,
    )
    result = node(angles, params)
    return torch.stack(result, dim=-1) if isinstance(result, list | tuple) else result


def _variables(inputs: Inputs) -> Tensor:
    """Return the encoding angles followed by the trainable ones, (n + P,)."""
    return tensor([*inputs["angles"], *inputs["params"]])


def _outputs(inputs: Inputs, points: Tensor) -> Tensor:
    """Return <Z> (R, n) at points (R, n + P) of all variables, in one broadcast execution."""
    n = inputs["n_qubits"]
    return _run(inputs, circuits.features, points[:, :n], points[:, n:])


def _little_endian(state: Tensor, n_qubits: int) -> Tensor:
    """Move qubit 0 from the most to the least significant bit; return pairs [re, im]."""
    state = state.reshape([2] * n_qubits).permute(*reversed(range(n_qubits))).flatten()
    return torch.view_as_real(state.resolve_conj())


def circuit(inputs: Inputs) -> dict[str, Any]:
    """Run the circuit and differentiate it, truly and as released."""
    angles, params = tensor(inputs["angles"]), tensor(inputs["params"])
    outputs, point = partial(_outputs, inputs), _variables(inputs)
    state = _run(inputs, circuits.state, angles, params)
    return {
        "z_expectations": _run(inputs, circuits.features, angles, params),
        "statevector_little_endian": _little_endian(state, inputs["n_qubits"]),
        "jacobian_exact": checks.exact_slopes(outputs, point, inputs["n_qubits"]),
        "jacobian_two_term_shift_as_authors": checks.shifted_slopes(
            outputs, point, models.TWO_TERM
        ),
    }


def circuit_dephasing(inputs: Inputs) -> dict[str, Any]:
    """Run the circuit with and without the measurements between its layers."""
    angles, params = tensor(inputs["angles"]), tensor(inputs["params"])
    run = partial(_run, inputs, circuits.features, angles, params)
    return {
        "z_expectations": run("partial_measurement_half"),
        "z_expectations_without_the_measurements": run("null"),
    }


def _angles(inputs: Inputs) -> Tensor:
    """Squeeze compressed features into (0, pi), as both networks receive them."""
    return torch.pi * torch.sigmoid(tensor(inputs["compressed_features"]))


def encoding(inputs: Inputs) -> dict[str, Any]:
    """Encode compressed features as angles and run the circuit."""
    angles = _angles(inputs)
    outputs = _run(inputs, circuits.features, angles, tensor(inputs["params"]))
    return {"angles": angles, "z_expectations": outputs}


def classical_network(inputs: Inputs) -> dict[str, Any]:
    """Run the two-layer network that stands in for the circuit (hybrid_resnet.py 100-102)."""
    x = _angles(inputs)
    for weight, bias in zip(inputs["weights_out_by_in"], inputs["biases"], strict=True):
        x = F.leaky_relu(F.linear(x, tensor(weight), tensor(bias)), negative_slope=0.01)
    return {"output": x}


def contrastive(inputs: Inputs) -> dict[str, Any]:
    """Evaluate the loss, its gradients, and the loss it must not be confused with."""
    temperature = inputs["temperature"]
    z1, z2 = variables(inputs, "z1", "z2")
    loss = losses.contrastive(z1, z2, temperature)
    other = losses.contrastive(z1, z2, temperature, positive_below=False)
    return {
        "z1_normalised": F.normalize(z1, dim=-1),
        "z2_normalised": F.normalize(z2, dim=-1),
        "loss": loss,
        "not_the_paper_loss_positive_left_out_of_denominator": other,
        **gradients(loss, dloss_dz1=z1, dloss_dz2=z2),
    }


def projection_head(inputs: Inputs) -> dict[str, Any]:
    """Run both views through linear, batch norm, ReLU, linear, and compare them."""
    scale, shift = tensor(inputs["batchnorm_scale"]), tensor(inputs["batchnorm_shift"])
    last, bias = tensor(inputs["linear2_weight_out_by_in"]), tensor(inputs["linear2_bias"])
    first = tensor(inputs["linear1_weight_out_by_in_no_bias"])

    def head(y: Tensor) -> Tensor:
        hidden = F.batch_norm(
            F.linear(y, first), None, None, scale, shift, True, eps=inputs["batchnorm_eps"]
        )
        return F.linear(F.relu(hidden), last, bias)

    z1, z2 = head(tensor(inputs["y1"])), head(tensor(inputs["y2"]))
    return {
        "z1_normalised": F.normalize(z1, dim=-1),
        "z2_normalised": F.normalize(z2, dim=-1),
        "loss": losses.contrastive(z1, z2, inputs["temperature"]),
    }


def hilbert_schmidt(inputs: Inputs) -> dict[str, Any]:
    """Compare the states of pairs and of classes."""
    angles = tensor([*inputs["angles_view1"], *inputs["angles_view2"]])
    overlap = losses.overlaps(_run(inputs, circuits.state, angles, tensor(inputs["params"])))
    batch = len(angles) // 2
    return {
        "positive_pair_version": losses.hilbert_schmidt_pairs(overlap),
        "class_version": losses.hilbert_schmidt_classes(
            overlap, torch.tensor(inputs["labels"]).repeat(2)
        ),
        "mean_positive_overlap": overlap.diagonal(batch).mean(),
    }


def shot_noise(inputs: Inputs) -> dict[str, Any]:
    """Return the exact spread of outputs estimated from shots.

    The variance of one outcome is taken as 4 P(0) P(1), which keeps its precision where 1 - <Z>^2
    would lose it, near <Z> = +-1.
    """
    angles, params = tensor(inputs["angles"]), tensor(inputs["params"])
    n, shots = inputs["n_qubits"], inputs["shots"]
    joint = _run(inputs, circuits.probabilities, angles, params).reshape([2] * n)
    single = torch.stack([joint.movedim(q, 0).flatten(1).sum(-1) for q in range(n)])
    z = single[:, 0] - single[:, 1]
    first_two = joint.reshape(2, 2, -1).sum(-1)
    zz = first_two.diagonal().sum() - first_two.fliplr().diagonal().sum()
    return {
        "std": (4 * single[:, 0] * single[:, 1] / shots).sqrt(),
        "zz": zz,
        "covariance_01": (zz - z[0] * z[1]) / shots,
    }


KINDS = {
    **plain(circuit, circuit_dephasing, encoding, classical_network, projection_head),
    **plain(hilbert_schmidt, shot_noise),
    "contrastive": Kind(contrastive, {"dloss_*": 1e-7}),
}
