"""Encoder, representation networks, projection head.

Sources: bjader/QSSL at f3eeba7, hybrid_resnet.py (encoder, classical network) and moco/builder.py
202-211 (head); bjader/quantum-neural-network at 3f23e14, qnet.py and gradient_calculator.py
(circuit and its derivatives). Images are (B, 3, 32, 32) or (B, 1, 8, 8), angles and features
(B, W).
"""

import copy
from collections.abc import Iterable
from functools import cache, partial
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import pennylane as qml
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ...base.rng import stream
from ..shared.initial import assign, draw_uniform
from ..shared.qnodes import compiled, signs
from . import circuits
from .config import Config

ModuleT = TypeVar("ModuleT", bound=nn.Module)
BEND_LAYERS = {"leaky_relu": nn.LeakyReLU, "tanh": nn.Tanh}  # by the name of the bend
# Measured qubits whose results are thrown away are dephased ones, which need no wires of their own.
COMPILED_AS = {"partial_measurement_half": "partial_dephasing_half"}
ROWS = 512  # circuits side by side, few enough for their states to stay in the caches
MATRIX = 10  # qubits up to which a layer may be held as a matrix, 2^n x 2^n

# Shift of an angle and weight of the circuit's outputs there; the sum is a derivative. Two shifts
# serve rotations, whose outputs have one frequency; controlled rotations have two, 1/2 and 1.
TWO_TERM = ((torch.pi / 2, 0.5), (-torch.pi / 2, -0.5))
_ROOT = 2**0.5
FOUR_TERM = (
    (torch.pi / 2, (_ROOT + 1) / (4 * _ROOT)),
    (-torch.pi / 2, -(_ROOT + 1) / (4 * _ROOT)),
    (3 * torch.pi / 2, -(_ROOT - 1) / (4 * _ROOT)),
    (-3 * torch.pi / 2, (_ROOT - 1) / (4 * _ROOT)),
)


# --- encoder ---


class Convolution(nn.Conv2d):
    """A convolution that does not multiply by padding where the map is 1x1 or 2x2.

    Every 3x3 window with padding 1 covers such a map whole, so that the layer is one matrix: at 1x1
    the kernel's middle alone, a ninth of the work. The sums are those of ``nn.Conv2d``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return feature maps, ``stride`` times smaller."""
        side = x.shape[-1]
        if self.kernel_size != (3, 3) or x.shape[-2:] != (side, side) or side > 2:
            return super().forward(x)
        kernel, places = self.weight.permute(0, 2, 3, 1), range(0, side, self.stride[0])
        # Of the output at a place, the part of the kernel that meets the map.
        seen = [
            kernel[:, 1 - i : 1 - i + side, 1 - j : 1 - j + side] for i in places for j in places
        ]
        matrix = torch.cat([part.flatten(1) for part in seen])
        bias = None if self.bias is None else self.bias.repeat(len(seen))
        flat = _linear(x.permute(0, 2, 3, 1).flatten(1), matrix, bias)
        return flat.view(len(x), len(places), len(places), -1).permute(0, 3, 1, 2)


def _linear(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``F.linear(x, matrix, bias)``, on some processors in half the time.

    As a convolution by one pixel of rows that are laid out as maps of 4x4, it goes to oneDNN, which
    uses all of an AMD processor, as torch's own library for matrices does not.
    """
    if len(x) % 16:
        return F.linear(x, matrix, bias)
    maps = x.view(-1, 4, 4, x.shape[1]).permute(0, 3, 1, 2)
    return F.conv2d(maps, matrix[:, :, None, None], bias).permute(0, 2, 3, 1).flatten(0, 2)


class Norm(nn.BatchNorm2d):
    """Batch normalisation that sees several views apart, in training, when they come as one batch.

    ``views`` is how many do: 1 where every view comes by itself.
    """

    views = 1

    def forward(self, x: Tensor) -> Tensor:
        """Return normalised feature maps."""
        if not self.training or self.views == 1:
            return super().forward(x)
        return torch.cat([super(Norm, self).forward(part) for part in x.chunk(self.views)])


def _convolution(
    inputs: int, outputs: int, size: int, stride: int, padding: int = 0
) -> tuple[nn.Module, nn.Module]:
    """Return a convolution and the norm behind it, which has its bias."""
    layer = Convolution(inputs, outputs, size, stride, padding, bias=False)
    return layer, Norm(outputs)


class Block(nn.Module):
    """Two 3x3 convolutions and a way around them (torchvision's BasicBlock)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(inputs, outputs, 3, stride, 1),
            nn.ReLU(inplace=True),
            *_convolution(outputs, outputs, 3, 1, 1),
        )
        self.around: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.around = nn.Sequential(*_convolution(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """Return feature maps, ``stride`` times smaller."""
        return F.relu(self.body(x) + self.around(x), inplace=True)


def resnet18(channels: tuple[int, ...] = (64, 128, 256, 512)) -> nn.Sequential:
    """Return ResNet-18 up to its global average pool, images (B, 3, s, s) -> (B, channels[-1]).

    Layer by layer torchvision's, its first layers for large images included (hybrid_resnet.py
    76-88), so that an image of 32x32 pixels is 8x8 in the first block and 1x1 in the last; only the
    last layer, to 1,000 classes, is left out. 11,176,512 parameters.
    """
    inputs = channels[0]
    # The largest of what is positive is the largest, if positive: pooled first, a quarter is bent.
    first = *_convolution(3, inputs, 7, 2, 3), nn.MaxPool2d(3, 2, 1), nn.ReLU(inplace=True)
    layers: list[nn.Module] = [*first]
    for stage, outputs in enumerate(channels):
        layers += [Block(inputs, outputs, 2 if stage else 1), Block(outputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def three_layers(channels: tuple[int, ...] = (16, 32, 64)) -> nn.Sequential:
    """Return the small encoder of grey 8x8 images: (B, 1, 8, 8) -> (B, channels[-1])."""
    layers: list[nn.Module] = []
    inputs = 1
    for stage, outputs in enumerate(channels):
        layers += [*_convolution(inputs, outputs, 3, 2 if stage else 1, 1), nn.ReLU(inplace=True)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Encoder(nn.Module):
    """Images to W angles: convolutions, linear squeeze, pi * sigmoid (hybrid_resnet.py 160-163)."""

    def __init__(self, trunk: nn.Sequential, width: int, features: int, apart: int = 0) -> None:
        """Take a trunk of convolutions.

        Args:
            trunk: images to features.
            width: number of angles.
            features: what the trunk returns.
            apart: in training, the first so many of its layers take one view at a time. The others
                take both at once, which spares work where the weights outweigh the maps.
        """
        super().__init__()
        self.trunk, self.squeeze = trunk, nn.Linear(features, width)
        self.apart = apart
        for place, part in enumerate(trunk):
            for layer in part.modules():
                if isinstance(layer, Norm):
                    layer.views = 1 if place < apart else 2

    def forward(self, images: Tensor) -> Tensor:
        """Return angles (B, W) from 0 to pi."""
        return torch.pi * torch.sigmoid(self.squeeze(self.trunk(images)))

    def both(self, views: Iterable[Tensor]) -> Tensor:
        """Return angles (2B, W) of two views of a batch, which batch normalisation sees apart."""
        maps = torch.cat([self.trunk[: self.apart](images) for images in views])
        return torch.pi * torch.sigmoid(self.squeeze(self.trunk[self.apart :](maps)))


def frozen(encoder: Encoder) -> Encoder:
    """Return a copy for evaluation, each norm folded into the convolution before it."""
    made = copy.deepcopy(encoder).eval().requires_grad_(False)
    for layers in made.modules():
        if isinstance(layers, nn.Sequential):
            for place, (layer, norm) in enumerate(pairwise(list(layers))):
                if isinstance(layer, Convolution) and isinstance(norm, Norm):
                    layers[place] = fuse_conv_bn_eval(layer, norm)
                    layers[place + 1] = nn.Identity()
    return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # see Model


# --- representation networks: angles (B, W) -> features (B, W) ---


class Cosine(nn.Module):
    """What the encoding alone gives: <Z> of a qubit that was rotated by its angle."""

    def forward(self, angles: Tensor) -> Tensor:
        """Return cos(angles)."""
        return angles.cos()


def classical(width: int, layers: int, bend: str, bend_last: bool) -> nn.Sequential:
    """Return the network in the circuit's place: linear layers, each followed by ``bend``."""
    made: list[nn.Module] = []
    for _ in range(layers):
        made += [nn.Linear(width, width), BEND_LAYERS[bend]()]
    return nn.Sequential(*made[: None if bend_last else -1])


class Neighbours(nn.Module):
    """The ring without a quantum: every unit sees itself and the one before it, around the ring.

    ``layers`` times two weights a unit, no bias, tanh between the layers: as many numbers as the
    ring circuit has angles, 32 at its published size.
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(layers, 2, width))

    def forward(self, angles: Tensor) -> Tensor:
        """Return features (B, W) of angles (B, W)."""
        x = angles - torch.pi / 2  # the middle of the angles: there is no bias to find it
        for number, (own, before) in enumerate(self.weight):
            x = x.tanh() if number else x
            x = own * x + before * x.roll(1, -1)
        return x


class Fourier(nn.Module):
    """A classical surrogate of the circuits: a trained sum of waves of their own frequencies.

    An angle that is encoded once leaves 1, its cosine and its sine in an output (Schreiber, Eisert
    and Meyer, 2023); the sum is cut after products of two angles, 128 waves of 8 angles.
    """

    pairs: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("pairs", torch.triu_indices(width, width, 1))
        self.layer = nn.Linear(2 * width + 4 * self.pairs.shape[1], width)

    def forward(self, angles: Tensor) -> Tensor:
        """Return features (B, W) of angles (B, W)."""
        waves = torch.stack([angles.cos(), angles.sin()], -1)  # (B, W, 2)
        first, second = (waves[:, qubits] for qubits in self.pairs)
        products = first[..., None] * second[..., None, :]
        return self.layer(torch.cat([waves.flatten(1), products.flatten(1)], -1))


def controlled(ansatz: str, n_qubits: int, layers: int) -> np.ndarray:
    """Return for every trainable angle whether it belongs to a controlled rotation, (P,) bool."""
    params = np.zeros(circuits.count_params(ansatz, n_qubits, layers))
    tape = qml.tape.make_qscript(circuits.network)(np.zeros(n_qubits), params, ansatz, layers)
    return np.array([len(op.wires) == 2 for op in tape.operations[n_qubits:] if op.num_params])


@cache
def branches(n_qubits: int) -> Tensor:
    """Return the numbers of the bit strings, one row for each result of measuring every 2nd qubit.

    (2^h, 2^(n-h)) for the h qubits 0, 2, ...
    """
    numbers = torch.arange(2**n_qubits).view(n_qubits * (2,))
    measured, others = range(0, n_qubits, 2), range(1, n_qubits, 2)
    return numbers.permute(*measured, *others).reshape(2 ** len(measured), -1)


def branched(angles: Tensor, params: Tensor, ansatz: str, dtype: str) -> Tensor:
    """Return the probabilities of two layers with half of the qubits measured between them.

    The same numbers as the compiled circuit with ``partial_measurement_half``, without gradient.
    Results that are thrown away leave a mixture of branches, one for each result. All of them pass
    through the same second layer: with that layer as a matrix, a product is cheaper than taking
    every branch of every row through the gates.

    Args:
        angles: (B, n).
        params: (P,) of two layers.
        ansatz: ``ring`` or ``all-to-all``.
        dtype: float32 or float64.

    Returns:
        (B, 2^n) of the bit strings, qubit 0 first.
    """
    n_qubits = angles.shape[1]
    layer = compiled(circuits.state, dtype=dtype, ansatz=ansatz, layers=1)
    before, size = (circuits.count_params(ansatz, n_qubits, layers) for layers in (0, 1))
    states = layer(angles, params[:size])
    # A layer alone, without the gates before the first one: those do nothing at 0. The encoding
    # makes a bit string with k ones of k angles pi, times (-i)^k.
    ones = (1 - signs(n_qubits, angles.dtype)) / 2
    phases = states.new_tensor([1, 1j, -1, -1j])[ones.sum(1).long() % 4]
    second = torch.cat([params.new_zeros(before), params[size:]])
    matrix = phases[:, None] * layer(torch.pi * ones, second)
    squares = states.real.new_zeros(len(angles), 2 * len(matrix))  # of real and imaginary parts
    for strings in branches(n_qubits):
        parts = torch.view_as_real(states[:, strings] @ matrix[strings]).flatten(1)
        squares.addcmul_(parts, parts)
    return squares.view(len(angles), -1, 2).sum(-1)


def sample(probabilities: Tensor, shots: int, rng: np.random.Generator) -> Tensor:
    """Return <Z> of every qubit estimated from bit strings, as quantum computers do.

    Every shot reads all qubits at once, so that the outputs of a circuit are correlated.

    Args:
        probabilities: (B, 2^n) of the bit strings, qubit 0 first; float32 or float64.
        shots: number of bit strings drawn for each row.
        rng: stream of the draws.

    Returns:
        (B, n) means of +1 and -1.
    """
    edges = probabilities.cumsum(-1)
    kind = np.float32 if edges.dtype == torch.float32 else np.float64
    drawn = torch.from_numpy(rng.random((len(edges), shots), dtype=kind))
    # Qubit by qubit, the half of the strings in which a draw falls. This finds what
    # torch.searchsorted finds, for all draws at once instead of one by one, and is faster.
    outcomes = torch.zeros(drawn.shape, dtype=torch.int64)
    n_qubits = probabilities.shape[1].bit_length() - 1
    for half in (2**qubit for qubit in reversed(range(n_qubits))):
        outcomes += half * (drawn >= edges.gather(1, outcomes + (half - 1)))
    return F.embedding_bag(outcomes, signs(n_qubits, edges.dtype), mode="mean")


class Circuit(nn.Module):
    """A circuit with trainable angles, exact or sampled, with exact or shifted gradients."""

    def __init__(self, config: Config, rng: np.random.Generator, shots: np.random.Generator):
        """Draw the initial angles, normal with standard deviation 1/sqrt(W) (qnet.py 120).

        Args:
            config: settings of the run.
            rng: stream of the initial angles.
            shots: stream of the samples.
        """
        super().__init__()
        self.width, self.shots, self.stream = config.width, config.shots, shots
        options = {
            "ansatz": config.network,
            "layers": config.layers,
            "activation": COMPILED_AS.get(config.activation, config.activation),
            "gates": config.gates,
            "dtype": config.dtype,
        }
        self.exact = compiled(circuits.features, **options, read=config.read)
        self.probable = compiled(circuits.probabilities, **options)
        branches = config.activation != "null" and config.gates == "all"
        if branches and config.layers == 2 and config.width <= MATRIX:
            self.probable = partial(branched, ansatz=config.network, dtype=config.dtype)
        self.shifted = config.shots is not None or config.gradient == "two-term"
        mask = controlled(config.network, config.width, config.layers)
        four = mask & (config.gradient == "exact") & (config.gates == "all")
        self.rules = [FOUR_TERM if more else TWO_TERM for more in four]
        drawn = rng.normal(0, config.width**-0.5, len(self.rules))
        self.params = nn.Parameter(torch.from_numpy(drawn), requires_grad=config.trained)

    def forward(self, angles: Tensor) -> Tensor:
        """Return <Z> of every qubit, (B, W)."""
        if self.shifted:
            return _Shifted.apply(self, angles, self.params)
        return torch.stack(self.exact(angles, self.params), dim=-1)

    def probabilities(self, angles: Tensor) -> Tensor:
        """Return the probabilities of all bit strings, (B, 2^W), without gradient."""
        with torch.no_grad():
            return torch.cat([self.probable(a, self.params) for a in angles.split(ROWS)])

    def measure(self, angles: Tensor, params: Tensor) -> Tensor:
        """Return <Z>, (B, W), as the circuit would be run: from shots, if it has any."""
        outputs = []
        for part in angles.split(ROWS):
            if self.shots is None:
                outputs.append(torch.stack(self.exact(part, params), dim=-1))
            else:
                outputs.append(sample(self.probable(part, params), self.shots, self.stream))
        return torch.cat(outputs)


class _Shifted(torch.autograd.Function):
    """A circuit whose gradients come from circuits with shifted angles (qnet.py 70-93)."""

    @staticmethod
    def forward(ctx: Any, circuit: Circuit, angles: Tensor, params: Tensor) -> Tensor:
        ctx.circuit = circuit
        ctx.save_for_backward(angles, params)
        return circuit.measure(angles, params)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        circuit, (angles, params) = ctx.circuit, ctx.saved_tensors
        to_angles = to_params = None
        if ctx.needs_input_grad[1]:  # all shifts of the data in one go
            to_angles = torch.zeros_like(angles)
            unit = torch.eye(angles.shape[1], dtype=angles.dtype)
            for shift, weight in TWO_TERM:
                shifted = (angles[:, None] + shift * unit).flatten(0, 1)
                outputs = circuit.measure(shifted, params).view(len(angles), *unit.shape)
                to_angles += weight * torch.einsum("bij,bj->bi", outputs, upstream)
        if ctx.needs_input_grad[2]:
            to_params = torch.zeros_like(params)
            for k, rule in enumerate(circuit.rules):
                for shift, weight in rule:
                    moved = params.clone()
                    moved[k] += shift
                    to_params[k] += weight * (circuit.measure(angles, moved) * upstream).sum()
        return None, to_angles, to_params


def representation(config: Config, seed: int) -> nn.Module:
    """Return the representation network of a run with its initial parameters."""
    rng = stream(seed, "init", config.network)
    if config.network in circuits.ANSATZE:
        return Circuit(config, rng, stream(seed, "shots"))
    if config.network == "classical":
        made = classical(config.width, config.layers, config.bend, config.bend_last)
        return initialise(made, rng)
    if config.network == "neighbours":
        rival = Neighbours(config.width, config.layers)
        draw_uniform(rng, 2**-0.5, rival.weight)
        return rival
    if config.network == "fourier":
        return initialise(Fourier(config.width), rng)
    return nn.Identity() if config.network == "identity" else Cosine()


# --- the whole ---


class Model(nn.Module):
    """Encoder, representation network and head; the head is dropped after pre-training."""

    def __init__(self, config: Config, seed: int) -> None:
        """Draw the initial parameters; those of encoder and head do not depend on the network."""
        super().__init__()
        trunk, apart = {"cifar10": (resnet18, 8), "digits": (three_layers, 0)}[config.dataset]
        encoder = Encoder(trunk(config.channels), config.width, config.channels[-1], apart)
        self.encoder = initialise(encoder, stream(seed, "init", "encoder"))
        self.network = representation(config, seed)
        self.head: nn.Module = nn.Identity()
        if config.head:
            head = nn.Sequential(
                nn.Linear(config.features, config.features, bias=False),
                nn.BatchNorm1d(config.features),
                nn.ReLU(),
                nn.Linear(config.features, config.features),
            )
            self.head = initialise(head, stream(seed, "init", "head"))
        self.to(getattr(torch, config.dtype))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs of torch lack it

    def forward(self, images: Tensor) -> Tensor:
        """Return what the contrastive loss compares, (B, W)."""
        return self.head(self.network(self.encoder(images)))


def initialise(module: ModuleT, rng: np.random.Generator) -> ModuleT:
    """Draw all weights of a network anew, in the order of its layers, and return it.

    Convolutions: normal, by Kaiming's width for the outputs and ReLU (hybrid_resnet.py 106-111).
    Linear layers: torch's default, uniform in +-1/sqrt(inputs), biases too.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * layer.weight[0, 0].numel()
            assign(layer.weight, rng.normal(0, (2 / fan_out) ** 0.5, layer.weight.shape))
        elif isinstance(layer, nn.Linear):
            parameters = [p for p in (layer.weight, layer.bias) if p is not None]
            draw_uniform(rng, layer.in_features**-0.5, *parameters)
    return module
