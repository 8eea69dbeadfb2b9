"""Recompute every kind of reference vector that belongs to this paper.

Each function takes the inputs of a case and returns what the file calls ``expected``.
"""

import shlex
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import data
from ...base.errors import UsageError
from ...base.rng import stream
from ..shared.cases import Inputs, Kind, formula, gradients, plain, tensor, variables
from ..shared.qnodes import qnode
from . import models, released, training
from .circuits import ANCILLA, head

WEIGHTS = ("w_1", "w_2", "w_3")


def _weights(inputs: Inputs) -> list[Tensor]:
    return [tensor(inputs[name]) for name in WEIGHTS]


def _fill(parameter: Tensor, values: Any) -> None:
    parameter.data.copy_(tensor(values).reshape(parameter.shape))


def quantum_head(inputs: Inputs) -> dict[str, Any]:
    """Simulate the circuit gate by gate; the closed form must agree with it to 1e-10."""
    weights, features = _weights(inputs), tensor(inputs["features"])
    probabilities = qnode(head, wires=ANCILLA + 1)(features, *weights)
    z = models.parity(features, models.effective_phases(*weights))
    if not torch.allclose(probabilities[:, 0] - probabilities[:, 1], z, rtol=0, atol=1e-10):
        raise ArithmeticError("the closed form and the simulated circuit disagree.")
    return {
        "probs_ancilla": probabilities,
        "log_output": models.outputs_of_parity(z),
        "predicted_class": probabilities.argmax(-1),
    }


def _model(inputs: Inputs, classifier: str) -> dict[str, Any]:
    """Run the encoder and a head on images."""
    model = models.build(classifier, inputs["nlayers"], stream(0, "e"), stream(0, "h"))
    encoder, norm = model.encoder, inputs["batchnorm"]
    for name, parameter in encoder.conv.named_parameters():
        _fill(parameter, inputs[f"conv_{name}"])
    for name, value in norm.items():
        _fill(getattr(encoder.norm, name), value)
    if isinstance(model.head, models.ClassicalHead):
        layers = [*inputs["hidden_layers"], inputs["output_layer"]]
        for layer, values in zip((*model.head.hidden, model.head.last), layers, strict=True):
            _fill(layer.weight, values["weight"])
            _fill(layer.bias, values["bias"])
    else:
        for name in WEIGHTS:
            _fill(getattr(model.head, name), inputs[name])
    images = tensor(inputs["images"])
    model.train(inputs["mode"] == "train")
    output = model(images)
    mean, variance, _ = encoder.norm.buffers()
    return {
        "conv_output": encoder.filter(images),
        "log_output": output,
        "running_mean_after": mean.item(),
        "running_var_after": variance.item(),
    }


def _loss(kind: str, gamma: float, x: Tensor, y: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
    return models.loss(kind, gamma, x, y, pos, neg.sum(0), len(neg))


def kl_loss(inputs: Inputs) -> dict[str, Any]:
    """Evaluate the losses, and the published one's gradients, at given parities."""
    z = variables(inputs, "z_x", "z_y", "z_pos", "z_neg")
    outputs = [models.outputs_of_parity(parities) for parities in z]
    kinds = ("published", "loop_fixed", "corrected")
    values = {kind: _loss(kind, inputs["gamma"], *outputs) for kind in kinds}
    return {
        **values,
        "published_positive_term": _loss("published", 1.0, *outputs),
        "published_negative_term": _loss("published", 0.0, *outputs),
        **gradients(values["published"], published_grad_z_x=z[0], published_grad_z_pos=z[2]),
    }


def published_loss_gradient(inputs: Inputs) -> dict[str, Any]:
    """Differentiate the published loss with and without the gradient through the bank."""
    views = [tensor(inputs[f"features_{name}"]) for name in ("x", "y", "pos", "neg")]
    results = {}
    for bank in ("attached", "detached"):
        w_1, w_2, w_3 = variables(inputs, *WEIGHTS)
        phases = models.effective_phases(w_1, w_2, w_3)
        x, y, pos, neg = (models.outputs_of_parity(models.parity(view, phases)) for view in views)
        if bank == "detached":
            pos, neg = pos.detach(), neg.detach()
        value = _loss("published", inputs["gamma"], x, y, pos, neg)
        slopes = gradients(value, grad_w_1=w_1, grad_w_2=w_2, grad_w_3=w_3)
        results[f"bank_{bank}"] = {"loss": value, **slopes}
    return results


def resize_28_to_14(inputs: Inputs) -> dict[str, Any]:
    """Draw the image of a pixel rule and shrink it."""
    row, column = np.mgrid[:28, :28]
    pixels = formula(inputs["pixel_rule"], {"r": row, "c": column})
    return {"pixels_uint8": training.shrink(np.asarray(pixels, dtype=np.uint8)[None])[0]}


def parameter_counts(inputs: Inputs) -> dict[str, Any]:
    """Count parameters, and those that receive a gradient of the published loss."""

    def sizes(kind: str, which: int) -> dict[str, int]:
        return {str(n): models.published_sizes(kind, n)[which] for n in inputs["nlayers"]}

    (classical,) = set(sizes("classical", 1).values())
    return {
        "quantum_total": sizes("quantum", 0),
        "classical_total": sizes("classical", 0),
        "quantum_trained_as_published": sizes("quantum", 1),
        "classical_trained_as_published": classical,
    }


def learning_rate_per_step(inputs: Inputs) -> dict[str, Any]:
    """Return the learning rate of the first steps for each T_max."""
    return {
        f"T_max_{period}": {
            str(step): training.learning_rate(step, inputs["base"], period, inputs["eta_min"])
            for step in range(max(5000, 50 * period))
        }
        for period in inputs["T_max"]
    }


def argument_validation(inputs: Inputs) -> dict[str, Any]:
    """Apply the released rules to fragments of a command line."""
    accepted = []
    for fragment in inputs["arguments"]:
        words = shlex.split(fragment) if isinstance(fragment, str) else list(fragment)
        try:
            released.validate(released.parser().parse_args(words))
            accepted.append(True)
        except UsageError:
            accepted.append(False)
    defaults = vars(released.parser().parse_args([]))
    return {
        "accepted": accepted,
        "defaults": {name: value for name, value in defaults.items() if name != "seed"},
    }


def class_counts(inputs: Inputs) -> dict[str, Any]:
    """Count the images of two classes in the whole sets (needs their label files)."""
    classes = (inputs["c1"], inputs["c2"])

    def pair(name: str, split: str) -> list[int]:
        labels = data.load(name, split=split, classes=classes).labels
        return [int((labels == c).sum()) for c in classes]

    halves = ("train", "test")
    counts = {name: {half: pair(name, half) for half in halves} for name in released.DATASETS}
    sizes = {
        f"{name}_{split}": [sum(pair) // k for k in (1, 2, 5, 10)]
        for name, halves in counts.items()
        for split, pair in halves.items()
    }
    constant = {
        f"constant_predictor_accuracy_MNIST_{split}": [n / sum(pair) for n in pair]
        for split, pair in counts["MNIST"].items()
    }
    return {**counts, **constant, "eval_subset_sizes_k_1_2_5_10": sizes}


def closed_form_even_n(inputs: Inputs) -> dict[str, Any]:
    """Return the four effective phases."""
    return {"phi": models.effective_phases(*_weights(inputs))}


KINDS = {
    **plain(quantum_head, resize_28_to_14, parameter_counts, argument_validation),
    **plain(closed_form_even_n),
    "quantum_model": Kind(partial(_model, classifier="quantum")),
    "classical_model": Kind(partial(_model, classifier="classical")),
    "kl_loss": Kind(kl_loss, {"published_grad_*": 1e-7}),
    "kl_loss_error": Kind(kl_loss, refused=True),  # the released loop runs past its end
    "published_loss_gradient": Kind(published_loss_gradient, {"grad_*": 1e-7}),
    "learning_rate_per_step": Kind(learning_rate_per_step, {"*": 1e-10}),
    "class_counts": Kind(class_counts, {"*": 1e-9}),
}
