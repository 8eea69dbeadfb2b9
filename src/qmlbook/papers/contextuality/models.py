"""What answers: the k-HRNN, classical networks, a memory of bits, and rules without memory.

A model is called with questions and the answers y (B, T) bool that were given to them, and returns
(B, T) log-odds of outcome 1 at every step; row t may depend on the questions up to t and on the
answers before t. Its own answers are drawn by `training.own_answers`.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...base.errors import UsageError
from ...base.rng import stream
from .config import ATTENTION_HEADS, STARTS, Config
from .sequences import Questions, all_ones, outside

LEAST, LEAST_TRAINING = 1e-12, 1e-6  # probabilities are not let below
HIDDEN = 64  # units of the classical networks' heads


def build(config: Config, seed: int) -> nn.Module:
    """Return the model of a configuration; its weights come from the stream "init" of the run."""
    if config.model == "hrnn":
        angles = start_angles(config.n, config.k, config.start, stream(seed, "init"))
        return HRNN(config.n, config.k, angles).to(getattr(torch, config.dtype))
    inputs = config.n + math.comb(config.n, config.k - 1)
    with torch.random.fork_rng():  # torch draws initial weights from its global generator
        torch.manual_seed(int(stream(seed, "init").integers(2**31)))
        made: nn.Module
        if config.model in CORES:
            made = Recurrent(config.model, inputs, config.width)
        elif config.model == "transformer":
            made = Transformer(inputs, config.width, config.blocks * config.n)
        elif config.model == "binary":
            made = Binary(inputs, config.width)
        else:
            made = Memoryless(config.model)
    return made.to(getattr(torch, config.dtype))


# --- the quantum model ---


class HRNN(nn.Module):
    """The k-HRNN: n qubits of memory, one angle for every vertex and set of its link.

    The ancilla of the unit cell is not simulated: what it does to the memory is the Kraus pair
    M_b = (1 + (-1)^b U) / 2 with U = X_i exp(i sum_T theta_T x_T), for any angles. All angles pi is
    the exact cell.
    """

    def __init__(self, n: int, k: int, angles: Tensor | None = None) -> None:
        """Take the angles (k binom(n, k),), vertex by vertex; all pi if not given."""
        super().__init__()
        self.n, self.k, self.allowed = n, k, torch.from_numpy(outside(n, k))
        size = int(self.allowed.sum())
        exact = torch.full((size,), np.pi, dtype=torch.float64)
        self.angles = nn.Parameter(exact if angles is None else angles)

    def gates(self, questions: Questions) -> Tensor:
        """Return (B, T, 2^n) complex: the phases that every question gives the basis labels.

        Raises:
            UsageError: if a question flips no vertex, or is for another n or k.
        """
        if (questions.n, questions.k) != (self.n, self.k):
            raise UsageError(
                f"the cell is for n = {self.n}, k = {self.k}, the questions for n = "
                f"{questions.n}, k = {questions.k}."
            )
        if not questions.flip.any(-1).all():
            raise UsageError("the cell answers tokens that flip a vertex.")
        table = self.angles.new_zeros(self.allowed.shape)
        table[self.allowed] = self.angles
        thetas = questions.flip.to(table) @ table * questions.link
        angles = thetas @ all_ones(self.n, self.k).to(table)
        return torch.polar(torch.ones_like(angles), angles)

    def forward(self, questions: Questions, y: Tensor) -> Tensor:
        """Return the log-odds of outcome 1 (see the module)."""
        gates, sources = self.gates(questions), questions.sources()
        psi = torch.full_like(gates[:, 0], 2 ** (-self.n / 2))
        least = LEAST_TRAINING if self.training else LEAST
        odds = []
        for step in range(questions.length):
            turned = gates[:, step] * psi.gather(1, sources[:, step])
            p1 = (1 - _real_dot(psi, turned)) / 2
            odds.append(p1.clamp(min=least).log() - (1 - p1).clamp(min=least).log())
            signs = (1 - 2 * y[:, step, None].to(p1)) * turned
            psi = psi + signs
            psi = psi / _real_dot(psi, psi).sqrt().clamp(min=LEAST)[:, None]
        return torch.stack(odds, dim=1)


def start_angles(n: int, k: int, start: str, rng: np.random.Generator) -> Tensor:
    """Return (k binom(n, k),) float64 angles, uniform over the circle or near the solution."""
    return torch.from_numpy(rng.uniform(*STARTS[start], int(outside(n, k).sum())))


def _real_dot(a: Tensor, b: Tensor) -> Tensor:
    """Return the real part of the inner products of rows."""
    return (torch.view_as_real(a) * torch.view_as_real(b)).sum((1, 2))


# --- classical models ---


def inputs_of(questions: Questions, y: Tensor, dtype: torch.dtype) -> Tensor:
    """Return (B, T, n + m + 2): vertex and link, and which answer was given before (none at 0)."""
    before = torch.zeros(*y.shape, 2, dtype=torch.bool)
    before[:, 1:] = torch.stack([~y[:, :-1], y[:, :-1]], dim=-1)
    return torch.cat([questions.flip, questions.link, before], dim=-1).to(dtype)


def _head(inputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))


CORES = {"gru": nn.GRU, "lstm": nn.LSTM}


class Recurrent(nn.Module):
    """A GRU or an LSTM; the head sees the hidden state before a question, and the question."""

    def __init__(self, core: str, inputs: int, width: int) -> None:
        """Draw the weights as torch does."""
        super().__init__()
        self.core = CORES[core](inputs + 2, width, batch_first=True)
        self.head = _head(width + inputs + 2)

    def forward(self, questions: Questions, y: Tensor) -> Tensor:
        """Return the log-odds of outcome 1 (see the module)."""
        x = inputs_of(questions, y, next(self.parameters()).dtype)
        hidden = x.new_zeros(*x.shape[:2], self.core.hidden_size)
        if questions.length > 1:
            hidden = F.pad(self.core(x[:, :-1])[0], (0, 0, 1, 0))
        return self.head(torch.cat([hidden, x], dim=-1)).squeeze(-1)


class Transformer(nn.Module):
    """Two causal layers of attention over all questions so far; its memory grows with them."""

    def __init__(self, inputs: int, width: int, length: int, layers: int = 2) -> None:
        """Draw the weights as torch does; ``length`` is the longest sequence."""
        super().__init__()
        self.embedding = nn.Linear(inputs + 2, width)
        self.position = nn.Parameter(torch.randn(length, width) * width**-0.5)
        layer = nn.TransformerEncoderLayer(
            width, ATTENTION_HEADS, 4 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.core = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = _head(width + inputs + 2)

    def forward(self, questions: Questions, y: Tensor) -> Tensor:
        """Return the log-odds of outcome 1 (see the module)."""
        x = inputs_of(questions, y, next(self.parameters()).dtype)
        length = questions.length
        mask = nn.Transformer.generate_square_subsequent_mask(length, dtype=x.dtype)
        seen = self.core(self.embedding(x) + self.position[:length], mask, is_causal=True)
        return self.head(torch.cat([seen, x], dim=-1)).squeeze(-1)


class Sign(torch.autograd.Function):
    """Exactly 1 or -1; backwards the gradient passes straight through where |x| <= 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return the sign, 1 for 0."""
        ctx.save_for_backward(x)
        return torch.where(x < 0, -torch.ones_like(x), torch.ones_like(x))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Return the gradient as if the function were the identity, clipped."""
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() <= 1)


class Binary(nn.Module):
    """A recurrent net whose memory is exactly d bits.

    The answer is made of the bits and the question alone; the bits change with question and answer.
    """

    def __init__(self, inputs: int, bits: int) -> None:
        """Draw the weights as torch does; the memory starts with all bits 1."""
        super().__init__()
        self.bits = bits
        self.heard = nn.Linear(inputs + 1, HIDDEN)  # of the update: question and answer,
        self.kept = nn.Linear(bits, HIDDEN, bias=False)  # and the bits
        self.update = nn.Linear(HIDDEN, bits)
        self.head = _head(bits + inputs)

    def forward(self, questions: Questions, y: Tensor) -> Tensor:
        """Return the log-odds of outcome 1 (see the module)."""
        x = self.encode(questions)
        return self.head(torch.cat([self.memories(x, y)[:, :-1], x], dim=-1)).squeeze(-1)

    def encode(self, questions: Questions) -> Tensor:
        """Return (B, T, n + m), vertex and link."""
        return torch.cat([questions.flip, questions.link], dim=-1).to(self.update.weight)

    def memories(self, x: Tensor, y: Tensor, start: Tensor | None = None) -> Tensor:
        """Return the bits (B, T + 1, d), 1 or -1, before every question and after the last.

        Args:
            x: (B, T, n + m), questions as of `encode`.
            y: (B, T) bool, answers.
            start: (B, d) bits before the first question; all 1 if not given.
        """
        heard = self.heard(torch.cat([x, y[..., None].to(x)], dim=-1))
        bits = [x.new_ones(len(x), self.bits) if start is None else start]
        for step in range(x.shape[1]):
            bits.append(Sign.apply(self.update(F.relu(heard[:, step] + self.kept(bits[-1])))))
        return torch.stack(bits, dim=1)


class Memoryless(nn.Module):
    """Answers that depend on nothing before: ``half``, ``plus`` or ``table``.

    A fair coin; always +1; -1 where the link has two vertices, else +1. On whole blocks of n = 3,
    k = 2 this fixed table is never impossible.
    """

    def __init__(self, name: str) -> None:
        """Take the name."""
        super().__init__()
        self.name = name

    def forward(self, questions: Questions, y: Tensor) -> Tensor:
        """Return the log-odds of outcome 1: 0, or plus and minus infinity."""
        if self.name == "half":
            return torch.zeros(y.shape, dtype=torch.float64)
        minus = questions.link.sum(-1) == 2 if self.name == "table" else torch.zeros_like(y)
        return torch.where(minus, math.inf, -math.inf).double()
