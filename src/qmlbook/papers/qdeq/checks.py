"""What a computation decides: memory, fixed points of random circuits, properties."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from weakref import finalize

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ...base.rng import stream
from ..shared.grids import by_function
from ..shared.qnodes import qnode
from . import circuits
from .config import EQUILIBRIUM, FOUR, TEN, Memory
from .features import load_pooled
from .layer import Layer, Reduced, encoded, expand, spectra
from .models import DEVICE
from .solvers import broyden, find_root, implicit


def angles(seed: int, n_wires: int) -> tuple[Tensor, Tensor]:
    """Return random angles of the layer and of its tail, uniform in (-pi, pi), float64."""
    rng = stream(seed, "angles")
    theta, phi = (
        torch.from_numpy(rng.uniform(-np.pi, np.pi, circuits.count_angles(gates)))
        for gates in (circuits.random_layer(n_wires), circuits.tail(n_wires))
    )
    return theta, phi


def random_layer(seed: int, n_wires: int, encoder: str = "amplitude") -> Layer:
    """Return the layer at random angles."""
    return Layer.of(*angles(seed, n_wires), n_wires, encoder, DEVICE)


# --- memory ---


def saved_bytes(config: Memory, seed: int) -> int:
    """Return how many bytes torch keeps for the backward pass of one training step, at most.

    Every piece of memory counts once, however many saved tensors share it. The data are random:
    the count depends on shapes alone.
    """
    kept = Kept()
    with torch.autograd.graph.saved_tensors_hooks(kept.note, lambda noted: noted.tensor):
        loss, _ = training_step(config, seed)
        loss.backward()  # what is counted is what this pass uses, and what it keeps on its way
    return kept.most


class Kept:
    """The memory that saved tensors hold at present, and the most of it so far, in bytes."""

    def __init__(self) -> None:
        """Start with nothing kept."""
        self.now = self.most = 0
        self.holders: Counter[int] = Counter()  # address of the memory -> tensors that hold it

    def note(self, tensor: Tensor) -> Noted:
        """Count a tensor that is saved; it counts until the returned object goes."""
        storage = tensor.untyped_storage()
        address, size = storage.data_ptr(), storage.nbytes()
        if not self.holders[address]:
            self.now += size
            self.most = max(self.most, self.now)
        self.holders[address] += 1
        noted = Noted(tensor.detach())
        finalize(noted, self._release, address, size)
        return noted

    def _release(self, address: int, size: int) -> None:
        self.holders[address] -= 1
        if not self.holders[address]:
            self.now -= size


@dataclass(eq=False)
class Noted:
    """A saved tensor; as long as it is there, no other memory has its address."""

    tensor: Tensor


def training_step(config: Memory, seed: int) -> tuple[Tensor, Tensor]:
    """Return the loss of one training step, every gate simulated, and the angles behind it.

    With checkpoints (Chen, Xu, Zhang and Guestrin 2016, arXiv:1604.06174) a layer keeps its input,
    and is simulated again when the backward pass comes to it.
    """
    n, rng = config.n_wires, stream(seed, "memory")
    theta, phi = (x.float() for x in angles(seed, n))
    theta.requires_grad_()
    u = torch.from_numpy(rng.uniform(-0.4, 2.8, (config.batch_size, n * n))).float()
    labels = torch.from_numpy(rng.integers(n, size=config.batch_size))
    classifier = torch.from_numpy(rng.normal(size=(n, n * n)) / n).float().requires_grad_()
    node = qnode(circuits.layer, wires=n, n_wires=n, encoder=config.encoder)

    def f(z: Tensor, theta: Tensor = theta) -> Tensor:
        return expand(torch.stack(list(node(z + u, theta, phi)), dim=-1).float())

    z = torch.zeros_like(u)
    if config.layers == EQUILIBRIUM:
        z = implicit(f, broyden(f, z, config.threshold, eps=0.0).z, order=1)
    for _ in range(config.layers):
        # The reentrant kind runs a layer again under the hooks that count; the other one hides it.
        z = checkpoint(f, z, theta, use_reentrant=True) if config.checkpoint else f(z)
    return F.cross_entropy(F.relu(z) @ classifier.T, labels), theta


# --- properties ---


def memory_fraction(seed: int) -> list[bool]:
    """Compare the equilibrium with a quarter of five layers (four qubits)."""
    return [saved_bytes(Memory(), seed) < saved_bytes(Memory(layers=5), seed) / 4]


def memory_flat(seed: int) -> list[bool]:
    """Compare solver budgets of 5, 10, 20 and 40 steps: within 2 %."""
    kept = [saved_bytes(Memory(threshold=steps), seed) for steps in (5, 10, 20, 40)]
    return [abs(amount / kept[0] - 1) < 0.02 for amount in kept[1:]]


def memory_linear(seed: int) -> list[bool]:
    """Compare 2, 5, 10 and 20 layers with as many times one: within 5 %."""
    kept = {layers: saved_bytes(Memory(layers=layers), seed) for layers in (1, 2, 5, 10, 20)}
    return [abs(kept[n] / (n * kept[1]) - 1) < 0.05 for n in (2, 5, 10, 20)]


def overlap_bound(seed: int, pairs: int = 3000) -> list[bool]:
    """Compare |<v|w>|^2 of one angle-encoded qubit with 1 - sin(d), d = |v - w|^2 <= pi / 2."""
    rng = stream(seed, "overlap")
    v, step = rng.uniform(-np.pi, np.pi, (pairs, 4)), rng.normal(size=(pairs, 4))
    d = rng.uniform(0, np.pi / 2, pairs)
    step *= np.sqrt(d)[:, None] / np.linalg.norm(step, axis=1, keepdims=True)

    def qubit(features: np.ndarray) -> Tensor:
        """Encode four features on the first wire; the others stay |0>."""
        wide = np.zeros((pairs, 4, 4))
        wide[:, :, 0] = features
        return encoded(torch.from_numpy(wide).flatten(1), 4, "angle")

    overlap = (qubit(v).conj() * qubit(v + step)).sum(1).abs().square().numpy()
    return (overlap >= 1 - np.sin(d) - 1e-12).tolist()


def implicit_gradient(seed: int, images: int = 8) -> list[bool]:
    """Compare implicit gradients with central differences of re-solved roots: within 1e-8.

    Both encoders, every angle and the first image, in a random weighted sum of the roots.
    """
    rng, u = stream(seed, "implicit"), load_pooled("mnist", FOUR, "test", images).inputs
    weights = torch.from_numpy(rng.normal(size=(images, 4)))
    cases = []
    for encoder in circuits.ENCODERS:

        def reduced(inputs: list[Tensor], encoder: str = encoder) -> Reduced:
            return Layer.of(inputs[0], inputs[1], 4, encoder, DEVICE).reduced(inputs[2])

        inputs = [*angles(seed, 4), u]
        moving = [x.clone().requires_grad_() for x in inputs]
        f = reduced(moving)
        root = find_root(f, torch.zeros(images, 4, dtype=u.dtype)).detach()
        value = implicit(f, root, slopes=f.jacobian)
        gradients = torch.autograd.grad((value * weights).sum(), moving)

        @torch.no_grad()
        def loss(inputs: list[Tensor], root: Tensor = root, reduced: Callable = reduced) -> Tensor:
            return (find_root(reduced(inputs), root) * weights).sum()  # lest it is another root

        for k, size in enumerate((len(inputs[0]), len(inputs[1]), 16)):
            for entry in range(size):
                slope = _slope(loss, inputs, k, entry)
                cases.append(bool(abs(gradients[k].flatten()[entry] - slope) < 1e-8))
    return cases


def _slope(loss: Callable, inputs: list[Tensor], k: int, entry: int, h: float = 1e-3) -> float:
    """Return the derivative by one entry of one input, from four points (error of order h^4)."""

    def at(steps: int) -> Tensor:
        moved = [x.clone() for x in inputs]
        moved[k].view(-1)[entry] += steps * h
        return loss(moved)

    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))).item() / (12 * h)


def contraction_bound(seed: int) -> list[bool]:
    """Compare the Jacobian's norm with its bound: real images, random circuits and states z."""
    cases = []
    for n, classes, some in ((4, FOUR, 20), (10, TEN, 3)):
        u = load_pooled("mnist", classes, "test", 200).inputs
        for circuit in range(some):
            rng = stream(seed, "bound", n, circuit)
            layer = random_layer(seed + 1 + circuit, n)
            z = expand(torch.from_numpy(rng.uniform(-1, 1, (len(u), n))))
            m = layer.expectations(z + u)
            rest = (1 - m.square()).sum(1).sqrt()
            bound = 2 * n**0.5 * rest / (z + u).norm(dim=1)
            norm = spectra(layer.slopes(z, u))["norm"]
            cases += (norm <= bound * (1 + 1e-12)).tolist()
    return cases


def angle10(seed: int, images: int = 20) -> list[bool]:
    """See what the ten-qubit angle encoder passes on: slopes by pixel, (10, 10, 10) an image.

    Within a row all pixels have the same slope (only their sum counts), in rows 2, 5 and 8 none,
    and in the seven others not zero.
    """
    layer = random_layer(seed, 10, "angle")
    u = load_pooled("mnist", TEN, "test", images).inputs
    slopes = layer.slopes(torch.zeros_like(u), u).unflatten(2, (10, 10))  # (B, m, row, pixel)
    alike = (slopes - slopes[..., :1]).abs().amax((1, 2, 3)) < 1e-12
    by_row = slopes[..., 0].abs().amax(1)
    lost = [2, 5, 8]
    kept = [row for row in range(10) if row not in lost]
    silent, heard = by_row[:, lost].amax(1) < 1e-12, by_row[:, kept].amin(1) > 1e-9
    return (alike & silent & heard).tolist()


PROPERTIES = {
    **by_function(memory_fraction, memory_flat, memory_linear),
    **by_function(overlap_bound, implicit_gradient, contraction_bound, angle10),
}
