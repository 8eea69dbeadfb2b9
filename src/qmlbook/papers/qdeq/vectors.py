"""Recompute every kind of reference vector that belongs to this paper.

Each function takes the inputs of a case and returns what the file calls ``expected``.
"""

import math
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..shared.cases import Inputs, Kind, formula, gradients, plain, tensor, variables
from ..shared.qnodes import qnode
from . import circuits
from .features import pooled
from .layer import Layer, expand, spectra
from .solvers import Solution, anderson, broyden, find_root, implicit


def _layer(inputs: Inputs, theta: Tensor, phi: Tensor) -> Layer:
    return Layer.of(theta, phi, inputs["n_wires"], inputs["encoder"])


def _root(layer: Layer, u: Tensor) -> Tensor:
    """Return the root's expectations (B, n), with the gradient of the root."""
    f = layer.reduced(u)
    start = torch.zeros(len(u), layer.n_wires, dtype=torch.float64)
    return implicit(f, find_root(f, start))


def gate_list(inputs: Inputs) -> dict[str, Any]:
    """List the gates of the random layer and of the tail."""
    n_wires = inputs["n_wires"]
    gates = circuits.random_layer(n_wires, inputs["seed"]) + circuits.tail(n_wires)
    return {"gates": [[name, *wires] for name, wires in gates]}


def forward(inputs: Inputs) -> dict[str, Any]:
    """Simulate the circuit gate by gate; the quadratic form must agree with it to 1e-10."""
    n_wires, encoder = inputs["n_wires"], inputs["encoder"]
    theta, phi = tensor(inputs["theta"]), tensor(inputs["phi"])
    v = tensor(inputs["z"]) + tensor(inputs["u"])
    simulated = qnode(circuits.layer, wires=n_wires)(v, theta, phi, n_wires, encoder)
    simulated = torch.stack(simulated, dim=-1)
    form = _layer(inputs, theta, phi).expectations(v)
    if not torch.allclose(simulated, form, rtol=0, atol=1e-10):
        raise ArithmeticError("the quadratic form and the simulated circuit disagree.")
    return {"expectations": simulated}


def equilibrium(inputs: Inputs) -> dict[str, Any]:
    """Find the root, differentiate it, and look at the layer's slopes and iterates there."""
    theta, phi, u = variables(inputs, "theta", "phi", "u")
    layer, weights = _layer(inputs, theta, phi), tensor(inputs["W"])
    root = _root(layer, u)
    loss = (expand(root) @ weights).sum()
    one_step = (expand(layer.reduced(u)(root.detach())) @ weights).sum()
    spectrum = spectra(layer.slopes(expand(root.detach()), u.detach()))
    return {
        "z_star_expectations": root,
        "loss": loss,
        **gradients(loss, grad_theta=theta, grad_phi=phi, grad_u=u),
        **gradients(one_step, one_step_grad_theta=theta),
        "spectral_radius": spectrum["radius"],
        "spectral_norm": spectrum["norm"],
        "frobenius_sq": spectrum["frobenius_sq"],
        "jac_loss_expectation": spectrum["frobenius_sq"].sum() / u.numel(),
        **_plain_iteration(layer, u, root),
    }


@torch.no_grad()
def _plain_iteration(layer: Layer, u: Tensor, root: Tensor, steps: int = 2000) -> dict[str, Any]:
    f, stretch = layer.reduced(u), layer.n_wires**0.5  # |R m| = stretch |m|
    m = torch.zeros_like(root)
    for _ in range(steps):
        m = f(m)
    return {
        f"plain_iteration_residual_after_{steps}": stretch * (f(m) - m).norm(dim=1),
        "plain_iteration_distance_to_root": stretch * (m - root).norm(dim=1),
    }


def unrolled(inputs: Inputs) -> dict[str, Any]:
    """Stack the layer and differentiate through all copies."""
    theta, phi = variables(inputs, "theta", "phi")
    f = _layer(inputs, theta, phi).reduced(tensor(inputs["u"]))
    m = torch.zeros(len(inputs["u"]), inputs["n_wires"], dtype=torch.float64)
    stages = []
    for _ in range(inputs["layers"]):
        m = f(m)
        stages.append(m)
    loss = (expand(m) @ tensor(inputs["W"])).sum()
    return {
        "expectations_after_each_layer": torch.stack(stages),
        "loss": loss,
        **gradients(loss, grad_theta=theta, grad_phi=phi),
    }


def solver_trace(inputs: Inputs) -> dict[str, Any]:
    """Follow a solver step by step, in all D dimensions as released."""
    theta, phi, u = (tensor(inputs[name]) for name in ("theta", "phi", "u"))
    layer = _layer(inputs, theta, phi)
    solver, surplus = {"broyden": (broyden, 1), "anderson": (anderson, -2)}[inputs["solver"]]
    threshold = inputs["threshold"]
    solution: Solution = solver(
        lambda z: layer(z, u), torch.zeros_like(u), threshold, inputs["eps"], inputs["stop_mode"]
    )
    abs_trace, rel_trace = solution.padded(threshold + surplus)
    value = layer(solution.z, u)
    residual = value - solution.z
    return {
        "function_evaluations": solution.evaluations,
        "best_step": solution.step,
        "lowest": solution.lowest,
        "abs_trace": abs_trace,
        "rel_trace": rel_trace,
        "result_expectations": solution.z[:, :: layer.n_wires],
        "residual_batch_relative": residual.norm() / value.norm(),
        "residual_as_logged_by_authors": (residual.abs() / (solution.z.abs() + 1e-9)).mean(),
    }


def _classify(layer: Layer, inputs: Inputs, W: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return root (B, n), logits (B, classes) and mean cross-entropy."""
    root = _root(layer, tensor(inputs["u"]))
    logits = expand(root).relu() @ W.T + b
    return root, logits, F.cross_entropy(logits, torch.tensor(inputs["y"]))


def classifier(inputs: Inputs) -> dict[str, Any]:
    """Classify by the root and differentiate through it."""
    theta, phi, W, b = variables(inputs, "theta", "phi", "W", "b")
    root, logits, loss = _classify(_layer(inputs, theta, phi), inputs, W, b)
    hits = logits.argmax(1) == torch.tensor(inputs["y"])
    return {
        "z_star_expectations": root,
        "logits": logits,
        "cross_entropy": loss,
        "accuracy": hits.double().mean(),
        **gradients(loss, grad_W=W, grad_b=b, grad_theta=theta, grad_phi=phi),
    }


def jacobian_regulariser(inputs: Inputs) -> dict[str, Any]:
    """Penalise the slopes at the root: one random direction, and their exact mean square."""
    theta, phi = variables(inputs, "theta", "phi")
    u, direction = tensor(inputs["u"]), tensor(inputs["v"])
    layer = _layer(inputs, theta, phi)
    root = _root(layer, u).detach()
    slopes = layer.slopes(expand(root), u, create_graph=True)
    # v^T J = (R^T v)^T slopes, since row j of J is row j // n of the slopes.
    pulled = direction.unflatten(1, (layer.n_wires, -1)).sum(2)[:, None] @ slopes
    sampled = pulled.square().sum() / u.numel()
    exact = layer.n_wires * slopes.square().sum() / u.numel()
    return {
        "z_star_expectations": root,
        "hutchinson_value_for_v": sampled,
        "exact_expectation": exact,
        **gradients(sampled, hutchinson_grad_theta=theta),
        **gradients(exact, exact_grad_theta=theta),
    }


def training(inputs: Inputs) -> dict[str, Any]:
    """Train theta, W and b with Adam for ``steps`` full batches, gradients through exact roots."""
    settings = _optimiser(inputs["optimiser"])
    moving = theta, W, b = variables(inputs, "theta", "W", "b")
    clip = settings.pop("clip")
    optimiser = torch.optim.Adam(moving, **settings)
    losses, norms = [], []
    for _ in range(inputs["steps"]):
        optimiser.zero_grad()
        *_, loss = _classify(_layer(inputs, theta, tensor(inputs["phi"])), inputs, W, b)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(moving, clip).item())
        losses.append(loss.item())
        optimiser.step()
    return {
        "losses": losses,
        "grad_norm_before_clip": norms,
        "theta_after": theta,
        "W_after": W,
        "b_after": b,
    }


def _optimiser(text: str) -> dict[str, Any]:
    """Read Adam's settings out of a sentence; the released ones where it is silent."""

    def number(words: str, otherwise: float) -> float:
        match = re.search(rf"(?:{words})[^;]{{0,40}}?{_NUMBER}", text, re.IGNORECASE)
        return float(match[1]) if match else otherwise

    betas = re.search(rf"betas?[^;]{{0,12}}?{_NUMBER}\s*(?:,|and)\s*{_NUMBER}", text, re.IGNORECASE)
    unclipped = re.search(r"\b(?:no|without)\b[^,;]*clip", text, re.IGNORECASE)
    return {
        "lr": number(r"\blr\b|learning[ _-]rate|step size", number(r"\badam\b", 0.005)),
        "betas": (float(betas[1]), float(betas[2])) if betas else (0.9, 0.999),
        "eps": number(r"\beps\b|\bepsilon\b", 1e-8),
        "clip": math.inf if unclipped else number(r"clip|max[ _-]norm", 0.25),
    }


# A number that is neither part of a word nor the 2 of "2-norm".
_NUMBER = r"(?<![\w.])((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)(?![\w]|-norm)"


def preprocess(inputs: Inputs) -> dict[str, Any]:
    """Draw the image of a formula and pool it for both sizes."""
    row, column = np.mgrid[:28, :28]
    image = np.broadcast_to(formula(inputs["image_formula"], {"r": row, "c": column}), (28, 28))
    pixels = torch.from_numpy(image.astype(np.float64))[None]
    return {
        "image_sum": int(image.sum()) if float(image.sum()).is_integer() else float(image.sum()),
        "features_4x4": pooled(pixels, 4)[0],
        "features_10x10": pooled(pixels, 10)[0],
    }


_GRADIENTS = {"grad_*": 1e-7, "*_grad_theta": 1e-7}
_SLOPES = dict.fromkeys(("spectral_*", "frobenius_sq", "jac_loss_*"), 1e-7)

KINDS = {
    **plain(gate_list, forward, solver_trace, preprocess),
    "equilibrium": Kind(equilibrium, {**_GRADIENTS, **_SLOPES, "plain_iteration_*": 1e-6}),
    "unrolled": Kind(unrolled, _GRADIENTS),
    "classifier": Kind(classifier, _GRADIENTS),
    "jacobian_regulariser": Kind(jacobian_regulariser, _GRADIENTS),
    "training": Kind(training, {"*": 1e-7}, steps="losses"),
}
