"""Source network, quantum head, and the classical heads it is compared with.

Source: sky-born/QCNN_transfer_learning at 7e5a792, CQtransfer_FtoM_bench.py (source network),
CCtransfer_FtoM.py 132-166 (classical heads), both in Keras; weights are Glorot-uniform and biases
zero as Keras has them. Features are real tensors (B, F), images (B, 28, 28) in [0, 1].
"""

from collections.abc import Callable

import numpy as np
import pennylane as qml
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...base.errors import UsageError, require_choice
from ...statevector import observable_matrix
from ..shared.initial import assign
from ..shared.qnodes import compiled, ours
from . import circuits
from .circuits import WIRES, qcnn


def _halved(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """Return a convolution that pools pairs of pixels."""
    return nn.Conv2d(inputs, outputs, 3), nn.ReLU(), nn.MaxPool2d(2)


class Source(nn.Module):
    """The network that is trained on Fashion-MNIST; what lies before the last two layers is kept.

    ``extract`` ends with batch normalisation, so that features have both signs; ``classify`` is
    dropped by the transfer (layers[-3] of the released scripts). 212,500 parameters at width 256.

    Batch normalisation is torch's: its running variance is the unbiased one, Keras' is not (a
    factor of 32/31 at the released batch size).
    """

    def __init__(self, rng: np.random.Generator, width: int = 256, averaging: float = 0.01) -> None:
        """Draw the weights, float64.

        Args:
            rng: stream of the initial weights.
            width: number of features F.
            averaging: weight of a new batch in the running statistics, 1 - Keras' momentum.
        """
        super().__init__()
        self.extract = nn.Sequential(
            nn.Unflatten(1, (1, 28)),
            *_halved(1, 32),
            *_halved(32, 64),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(576, width),
            nn.ReLU(),
            nn.BatchNorm1d(width, eps=1e-3, momentum=averaging),
        )
        self.classify = nn.Sequential(nn.Linear(width, 30), nn.ReLU(), nn.Linear(30, 10))
        glorot_uniform(self, rng)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, 10)."""
        return self.classify(self.extract(images))


def glorot_uniform(network: nn.Module, rng: np.random.Generator) -> None:
    """Set every layer's weights as Keras does by default, in float64."""
    network.double()
    for layer in network.modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            field = layer.weight[0, 0].numel() if layer.weight.ndim > 2 else 1
            bound = (6 / (field * sum(layer.weight.shape[:2]))) ** 0.5
            weight, bias = layer.parameters()
            assign(weight, rng.uniform(-bound, bound, tuple(weight.shape)))
            nn.init.zeros_(bias)


def pixels(images: Tensor) -> Tensor:
    """Return images shrunk to 16x16 by averaging, (B, 256): no network at all."""
    return F.adaptive_avg_pool2d(images, 16).flatten(1)


def head_qnode(ansatz: int, pooling: str, encoding: str = "amplitude") -> qml.QNode:
    """Return the quantum network of one head as a QNode ``(features, params) -> (P0, P1)``."""
    return ours(qcnn, WIRES, ansatz_index=ansatz, pooling=pooling, encoding=encoding)


def quantum(ansatz: int, pooling: str, encoding: str = "amplitude") -> Callable[..., Tensor]:
    """Return the quantum head in its compiled form, for training.

    Returns:
        A function of features (B, 256 or 8) and angles (P,), both float64, that returns the
        probabilities (B, 2) of labels 0 and 1.
    """
    return compiled(qcnn, WIRES, ansatz_index=ansatz, pooling=pooling, encoding=encoding)


def local(ansatz: int, pooling: str, gates: str) -> Callable[..., Tensor]:
    """Return a head of local gates, read through a trained linear combination of all wires' Z.

    Returns:
        A function of features (B, 256) and parameters (P + 9,), the angles, eight weights and a
        bias, that returns the probabilities (B, 2) of labels 0 and 1.
    """
    circuit = compiled(circuits.local, WIRES, ansatz_index=ansatz, pooling=pooling, gates=gates)

    def scores(features: Tensor, params: Tensor) -> Tensor:
        angles, weights, bias = params[: -WIRES - 1], params[-WIRES - 1 : -1], params[-1]
        return _of_logit(torch.stack(circuit(features, angles), -1) @ weights + bias)

    return scores


def quadratic(rng: np.random.Generator, features: int, size: int) -> Callable[..., Tensor]:
    """Return a quadratic form of ``size`` parameters, the surrogate of an amplitude-encoded head.

    Such a head is a quadratic form of the normalised features, of 256 dimensions. Here they come
    through fixed random projections x first, as in `Linear`: the form is (v.x)^2 - (w.x)^2, one
    square of either sign and the most projections that so many parameters allow, and a bias if
    their number is odd.

    Returns:
        A function of features (B, F) and parameters (size,) that returns the probabilities (B, 2)
        of labels 0 and 1.
    """
    half, odd = divmod(size, 2)
    projection = torch.from_numpy(rng.normal(size=(features, half)) / half**0.5)

    def scores(features: Tensor, params: Tensor) -> Tensor:
        projected = F.normalize(features, dim=-1) @ projection
        plus, minus = (projected @ params[: 2 * half].reshape(2, half).T).square().unbind(-1)
        return _of_logit(plus - minus + (params[-1] if odd else 0.0))

    return scores


def _of_logit(logit: Tensor) -> Tensor:
    """Return the probabilities (..., 2) of labels 0 and 1."""
    return torch.stack([torch.sigmoid(-logit), torch.sigmoid(logit)], -1)


def form(params: Tensor, ansatz: int, pooling: str) -> Tensor:
    """Return the symmetric matrices A (2, 256, 256) with P(label) = x'A[label]x / x'x."""
    anything = torch.ones(2**WIRES, dtype=torch.float64)
    return observable_matrix(head_qnode(ansatz, pooling), anything, params)


def classical(kind: str, rng: np.random.Generator) -> nn.Sequential:
    """Return a classical head (B, 256) -> logits (B, 2): 64, 76 or 514 parameters.

    Both convolutions slide over neighbouring features; the features of a dense layer have no
    order, so their neighbours are neighbours by chance, as released.

    Raises:
        UsageError: if the kind is not known.
    """
    layers: dict[str, list[nn.Module]] = {
        "1d": [
            nn.Unflatten(1, (1, 256)),
            nn.Conv1d(1, 1, 5, stride=3),
            nn.ReLU(),
            nn.MaxPool1d(3),
            nn.Flatten(),
            nn.Linear(28, 2),
        ],
        "2d": [
            nn.Unflatten(1, (1, 16, 16)),
            *_halved(1, 2),
            *_halved(2, 2),
            nn.Flatten(),
            nn.Linear(8, 2),
        ],
        "dense": [nn.Linear(256, 2)],
    }
    require_choice("kind", kind, layers)
    head = nn.Sequential(*layers[kind])
    glorot_uniform(head, rng)
    return head


class Linear(nn.Module):
    """A threshold on n - 1 fixed random projections: a linear classifier of n parameters.

    The projections keep lengths on average, as random projections usually do; they are not
    trained.
    """

    projection: Tensor

    def __init__(self, rng: np.random.Generator, parameters: int, features: int = 256) -> None:
        """Draw the projection and the output's weights.

        Raises:
            UsageError: if there is no parameter left for a projection.
        """
        super().__init__()
        if parameters < 2:
            raise UsageError(f"parameters must be 2 or more for a linear head, not {parameters}.")
        size = parameters - 1
        drawn = rng.normal(size=(features, size)) / size**0.5
        self.register_buffer("projection", torch.from_numpy(drawn))
        self.output = nn.Linear(size, 1)
        glorot_uniform(self.output, rng)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, 2), the first always 0."""
        return F.pad(self.output(features @ self.projection), (1, 0))
