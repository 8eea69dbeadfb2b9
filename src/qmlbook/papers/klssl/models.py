"""Encoder, quantum head, classical head, and the losses between their outputs.

Sources: Fig. A of the paper, and namhai03/QSSL at 29ceb80, code/model.py and code/SSL.py.
All tensors are float64. An *output* is a pair of log-probabilities (outcome 0, outcome 1).
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...base.errors import require_choice
from ..shared.crops import Crops
from ..shared.initial import assign, draw_uniform
from ..shared.qnodes import qnode
from .circuits import ANCILLA, head
from .config import LOSSES, RELEASED_LOOP

SIDE, KERNEL, STRIDE, FEATURES = 14, 7, 5, 4
XAVIER = (6 / (2 * KERNEL**2)) ** 0.5  # bound of the quantum model's filter weights


class Encoder(nn.Module):
    """One 7x7 convolution (stride 5) and a one-channel batch norm: 14x14 pixels to four numbers.

    ``frozen`` reproduces model.py lines 19 and 37: the features leave the graph, so that neither
    the filter nor the batch norm ever receives a gradient.
    """

    def __init__(self, rng: np.random.Generator, bound: float, frozen: bool = True) -> None:
        """Draw the filter uniformly within ``bound`` and the bias within 1/7."""
        super().__init__()
        self.frozen = frozen
        self.conv = nn.Conv2d(1, 1, KERNEL, stride=STRIDE, dtype=torch.float64)
        self.norm = nn.BatchNorm2d(1, dtype=torch.float64)
        weight, bias = self.conv.parameters()
        assign(weight, rng.uniform(-1, 1, (1, 1, KERNEL, KERNEL)) * bound)
        assign(bias, rng.uniform(-1, 1, 1) / KERNEL)

    def filter(self, images: Tensor) -> Tensor:
        """Return the filter's responses (B, 4), row-major over 2x2 positions, to (B, 14, 14)."""
        return self.conv(images[:, None]).flatten(1)

    def filter_cropped(self, images: Tensor, crops: Crops) -> Tensor:
        """Return the filter's responses (B, 4) to images that share one crop, without gradient.

        Filter and crop are linear in the image, so that a frozen filter absorbs the crop: both
        together are one matrix (196, 4).
        """
        rows, columns = (matrix.to(images) for matrix in crops.matrices())
        kernels = rows.new_zeros(FEATURES, SIDE, SIDE)
        for index, kernel in enumerate(kernels):
            top, left = (STRIDE * offset for offset in divmod(index, 2))
            kernel[top : top + KERNEL, left : left + KERNEL] = self.conv.weight[0, 0].detach()
        _, bias = self.conv.parameters()
        return images.flatten(1) @ (rows.mT @ kernels @ columns).flatten(1).T + bias.detach()

    def normalise(self, responses: Tensor) -> Tensor:
        """Apply batch norm to responses (B, 4); in training mode over the batch and positions."""
        features = self.norm(responses.reshape(-1, 1, 2, 2)).flatten(1)
        return features.detach() if self.frozen else features

    def forward(self, images: Tensor) -> Tensor:
        """Return features (B, 4) of images (B, 14, 14) in [0, 1]."""
        return self.normalise(self.filter(images))


class Head(nn.Module):
    """A map from features to outputs that depends on its weights through few ``coordinates``."""

    def coordinates(self) -> Tensor:
        """Return what the output depends on, (P,), differentiable in the trainable weights."""
        raise NotImplementedError

    def prepare(self, features: Tensor) -> Tensor:
        """Return the inputs of ``outputs``; the part of the head that is not trained, if any."""
        return features

    def outputs(self, inputs: Tensor, coordinates: Tensor) -> Tensor:
        """Return log-probabilities (B, 2) of prepared inputs."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        """Return log-probabilities (B, 2) of features (B, 4)."""
        return self.outputs(self.prepare(features), self.coordinates())


class QuantumHead(Head):
    """The five-wire circuit in closed form: a product of four cosines, whatever the depth."""

    def __init__(self, rng: np.random.Generator, nlayers: int) -> None:
        """Draw the angles uniformly in [0, 2 pi), as PennyLane's TorchLayer does."""
        super().__init__()
        self.w_1, self.w_2, self.w_3 = (
            nn.Parameter(torch.from_numpy(rng.uniform(0, 2 * np.pi, (nlayers, 2))))
            for _ in range(3)
        )

    def coordinates(self) -> Tensor:
        """Return the effective phases: 4 for an even number of layers, 5 for an odd one."""
        return effective_phases(self.w_1, self.w_2, self.w_3)

    def outputs(self, inputs: Tensor, coordinates: Tensor) -> Tensor:
        """Return log-softmax of the ancilla's probabilities, log sigma(z) and log sigma(-z)."""
        return outputs_of_parity(parity(inputs, coordinates))


class SimulatedHead(QuantumHead):
    """The same head with every gate executed on a PennyLane device: slow, for comparison."""

    def __init__(self, rng: np.random.Generator, nlayers: int) -> None:
        """Draw the same angles as `QuantumHead` from the same stream."""
        super().__init__(rng, nlayers)
        self.qnode = qnode(head, wires=ANCILLA + 1)

    def coordinates(self) -> Tensor:
        """Return all 6n angles."""
        return torch.cat([self.w_1.flatten(), self.w_2.flatten(), self.w_3.flatten()])

    def outputs(self, inputs: Tensor, coordinates: Tensor) -> Tensor:
        """Return log-softmax of the simulated probabilities (model.py line 39)."""
        weights = coordinates.reshape(3, -1, 2)
        return F.log_softmax(self.qnode(inputs, *weights), dim=-1)


class ClassicalHead(Head):
    """``nlayers`` linear maps 4 -> 4 without activation, then 4 -> 2 and log-softmax.

    ``frozen`` reproduces model.py line 21: only the last map is trained.
    """

    def __init__(self, rng: np.random.Generator, nlayers: int, frozen: bool = True) -> None:
        """Draw all weights and biases uniformly within 1/2 (torch's default for four inputs)."""
        super().__init__()
        self.frozen = frozen
        self.hidden = nn.Sequential(
            *(nn.Linear(FEATURES, FEATURES, dtype=torch.float64) for _ in range(nlayers))
        )
        self.last = nn.Linear(FEATURES, 2, dtype=torch.float64)
        for layer in (*self.hidden, self.last):
            draw_uniform(rng, 0.5, *layer.parameters())

    def prepare(self, features: Tensor) -> Tensor:
        """Apply the hidden maps."""
        features = self.hidden(features)
        return features.detach() if self.frozen else features

    def coordinates(self) -> Tensor:
        """Return the ten numbers of the last map."""
        return torch.cat([self.last.weight.flatten(), self.last.bias])

    def outputs(self, inputs: Tensor, coordinates: Tensor) -> Tensor:
        """Return log-softmax of the last map."""
        weight, bias = coordinates[: 2 * FEATURES].reshape(2, FEATURES), coordinates[2 * FEATURES :]
        return F.log_softmax(inputs @ weight.T + bias, dim=-1)


class NormalisedHead(ClassicalHead):
    """The classical head with a batch normalisation, without parameters, after each hidden map.

    The rival that the plain stack should have been. A stack of linear maps shrinks what tells
    images apart, until the last bias decides for all of them: before any training, and the more so
    the deeper it is. Batch normalisation, which the encoder has already, gives every number mean
    zero and variance one over the images, so that they stay as far apart at any depth. (Layer
    normalisation would not do: what all images share is a direction, and it keeps that.) Neither a
    parameter nor a draw is added: a network of the same seed has the weights of the plain one, and
    training may still drive all answers to one.
    """

    def __init__(self, rng: np.random.Generator, nlayers: int, frozen: bool = True) -> None:
        """Draw as `ClassicalHead` does."""
        super().__init__(rng, nlayers, frozen)
        self.hidden = nn.Sequential(*(part for layer in self.hidden for part in (layer, _norm())))


def _norm() -> nn.Module:
    return nn.BatchNorm1d(FEATURES, affine=False, dtype=torch.float64)


CLASSICAL_HEADS = {"classical": ClassicalHead, "normalised": NormalisedHead}


class Classifier(nn.Module):
    """Encoder and head: images (B, 14, 14) to outputs (B, 2)."""

    def __init__(self, encoder: Encoder, head: Head) -> None:
        """Join the two parts."""
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, images: Tensor) -> Tensor:
        """Return log-probabilities (B, 2)."""
        return self.head(self.encoder(images))


def build(
    classifier: str,
    nlayers: int,
    encoder_rng: np.random.Generator,
    head_rng: np.random.Generator,
    frozen: bool = True,
) -> Classifier:
    """Return a freshly initialised network.

    The filter's weights are Xavier-uniform with the quantum head and torch's default with the
    classical ones (model.py lines 7-20, 26-38); equal streams give proportional filters.
    """
    if head := CLASSICAL_HEADS.get(classifier):
        encoder = Encoder(encoder_rng, 1 / KERNEL, frozen)
        return Classifier(encoder, head(head_rng, nlayers, frozen))
    quantum = SimulatedHead if classifier == "simulated" else QuantumHead
    return Classifier(Encoder(encoder_rng, XAVIER, frozen), quantum(head_rng, nlayers))


def published_sizes(classifier: str, nlayers: int) -> tuple[int, int]:
    """Return (all parameters, those that receive a gradient) of a network as published."""
    rng = np.random.default_rng(0)  # the counts do not depend on it
    model = build(classifier, nlayers, rng, rng)
    outputs = model(torch.from_numpy(rng.random((6, SIDE, SIDE))))
    loss("published", 0.5, outputs[:2], outputs[2:4], outputs[:2], outputs[2:].sum(0), 4).backward()
    parameters = list(model.parameters())
    trained = [p for p in parameters if p.grad is not None]
    return sum(p.numel() for p in parameters), sum(p.numel() for p in trained)


# --- the closed form of the circuit ---------------------------------------------------------


@cache
def _layer_sums(nlayers: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return 0/1 masks over the layers: even ones (counted from 0), odd ones, all."""
    layer = torch.arange(nlayers)
    even = (layer % 2 == 0).double()
    return even, 1 - even, torch.ones(nlayers, dtype=torch.float64)


def effective_phases(w_1: Tensor, w_2: Tensor, w_3: Tensor) -> Tensor:
    """Return the few sums of angles on which the circuit's parity depends.

    Pulling every CNOT to the end turns each rotation into one about a string of X operators; all
    of them commute, so angles of equal strings add up (derived in the chapter).

    Args:
        w_1, w_2, w_3: (n, 2) angles of the three blocks, radians.

    Returns:
        (4,) phases phi_0..phi_3 for even n; for odd n (5,): phi_0, phi_3, alpha, beta, gamma.
    """
    even, odd, every = (mask.to(w_1) for mask in _layer_sums(len(w_1)))
    if len(w_1) % 2 == 0:
        phases = (
            even @ w_1[:, 0],
            every @ w_1[:, 1] + even @ w_3[:, 0],
            even @ w_2[:, 0] + every @ w_3[:, 1],
            every @ w_2[:, 1],
        )
        return torch.stack(phases)
    a, b, last = odd @ w_1[:, 0], odd @ w_2[:, 0] + every @ w_3[:, 1], odd @ w_3[:, 0]
    return torch.stack([even @ w_1[:, 0], every @ w_2[:, 1], a, b, last])


def parity(features: Tensor, phases: Tensor) -> Tensor:
    """Return z = <Z0 Z1 Z2 Z3> (B,) of features (B, 4), given the effective phases.

    Four phases: z = prod_i cos(f_i + phi_i). Five phases (odd depth): features 1 and 2 drop out,
    z = cos(f_3 + phi_3) [cos a cos(alpha) cos(beta) cos(gamma) + sin a sin(alpha) sin(beta)
    sin(gamma)] with a = f_0 + phi_0.
    """
    if len(phases) == FEATURES:
        return torch.cos(features + phases).prod(-1)
    a, last, mixing = features[..., 0] + phases[0], features[..., 3] + phases[1], phases[2:]
    inner = a.cos() * mixing.cos().prod() + a.sin() * mixing.sin().prod()
    return last.cos() * inner


def outputs_of_parity(z: Tensor) -> Tensor:
    """Return log-softmax of the probabilities ((1+z)/2, (1-z)/2): squeezed to [0.269, 0.731]."""
    return torch.stack([F.logsigmoid(z), F.logsigmoid(-z)], dim=-1)


# --- losses (SSL.py lines 21-31), of outputs --------------------------------------------------


def divergence(a: Tensor, b: Tensor) -> Tensor:
    """Return KL(a || b) (...,) of outputs (..., 2), in nats."""
    return (a.exp() * (a - b)).sum(-1)


def _against_sum(a: Tensor, total: Tensor, count: int) -> Tensor:
    """Return sum_h KL(a || n_h) from the sum of all n_h alone: the loss without its loop."""
    return (a.exp() * (count * a - total)).sum(-1)


def positive_term(x: Tensor, y: Tensor, pos: Tensor) -> Tensor:
    """Return the mean over the batch of KL(x||p) + KL(y||p)."""
    return (divergence(x, pos) + divergence(y, pos)).mean()


def published_negative_term(x: Tensor, y: Tensor, total: Tensor, count: int) -> Tensor:
    """Return what the released loop computes: only image 0 of the batch, divided by H twice.

    Inside the loop over the batch the names x and y are overwritten by copies of their first
    output, and the last division uses H instead of B (SSL.py lines 21-31).

    Args:
        x, y: (B, 2) outputs of the clean and the augmented view.
        total: (2,) sum of the negatives' outputs.
        count: H, the number of negatives.

    Raises:
        ValueError: if H < B, where the released loop runs past its end.
    """
    if count < len(x):
        raise ValueError(
            f"the published loss needs at least as many negatives as the batch has images "
            f"({len(x)}), not {count}."
        )
    return len(x) / count**2 * (_against_sum(x[0], total, count) + _against_sum(y[0], total, count))


def meant_negative_term(x: Tensor, y: Tensor, total: Tensor, count: int) -> Tensor:
    """Return the mean over batch and negatives of KL(x||n) + KL(y||n).

    ``total`` is (2,), or (B, 2) when each image has negatives of its own.
    """
    return (_against_sum(x, total, count) + _against_sum(y, total, count)).mean() / count


def loss(
    kind: str, gamma: float, x: Tensor, y: Tensor, pos: Tensor, total: Tensor, count: int
) -> Tensor:
    """Return a self-supervised loss from outputs.

    Args:
        kind: ``published`` (the code as released), ``loop_fixed`` (its loop as evidently meant),
            ``sign_fixed`` (the released loop with negatives pushed away) or ``corrected`` (both).
        gamma: weight of the positive term, 0..1.
        x, y, pos: (B, 2) outputs of the clean view, the augmented view and their positives.
        total, count: sum and number of the negatives' outputs.

    Raises:
        UsageError: the kind is not known.
        ValueError: there are too few negatives for the released loop.
    """
    require_choice("loss", kind, LOSSES)
    negative_term = published_negative_term if kind in RELEASED_LOOP else meant_negative_term
    sign = -1 if kind in ("sign_fixed", "corrected") else 1
    negative = sign * negative_term(x, y, total, count)
    return gamma * positive_term(x, y, pos) + (1 - gamma) * negative
