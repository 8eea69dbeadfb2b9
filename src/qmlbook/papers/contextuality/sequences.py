"""Random sequences of questions, many at once, and their exact answers.

What `task` does for one sequence is done here for a batch: B sequences of T tokens on n vertices.
The m sets of k - 1 vertices that a link can hold are numbered as in `sets`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...base.errors import UsageError, require_choice
from .task import IMPOSSIBLE, Token, signs

SEQUENCES = ("uniform", "toggle", "local", "free")
HALF = 0.5  # share of hyperedges present, if nothing else is said


@cache
def sets(n: int, k: int) -> tuple[tuple[int, ...], ...]:
    """Return the sets of k - 1 vertices, m of them, in lexicographic order."""
    return tuple(combinations(range(n), k - 1))


@cache
def outside(n: int, k: int) -> np.ndarray:
    """Return (n, m) whether a set leaves a vertex out, so that its link may hold the set."""
    return np.array([[i not in vertices for vertices in sets(n, k)] for i in range(n)])


@cache
def _edges(n: int, k: int) -> np.ndarray:
    """Return (n, m) the number of the hyperedge of vertex and set; -1 where there is none."""
    number = {edge: index for index, edge in enumerate(combinations(range(n), k))}
    return np.array(
        [[number.get(tuple(sorted((i, *rest))), -1) for rest in sets(n, k)] for i in range(n)]
    )


@cache
def all_ones(n: int, k: int) -> Tensor:
    """Return (m, 2^n) float64: 1 where all vertices of a set are 1 in a basis label."""
    rows = [(1 - signs(n, [vertices])) / 2 for vertices in sets(n, k)]
    return torch.from_numpy(np.stack(rows))


@dataclass(frozen=True)
class Questions:
    """B sequences of T tokens.

    Attributes:
        n, k: vertices, and vertices in a hyperedge.
        flip: (B, T, n) bool, the vertex i of X_i; none for an operator of phases alone.
        link: (B, T, m) bool, the sets of the link.
    """

    n: int
    k: int
    flip: Tensor
    link: Tensor

    def __len__(self) -> int:
        return len(self.flip)

    @property
    def length(self) -> int:
        """Tokens in a sequence."""
        return self.flip.shape[1]

    def __getitem__(self, index: slice | Tensor | tuple[slice, slice]) -> Questions:
        """Return some of the sequences, by their numbers, or some tokens of some of them."""
        return replace(self, flip=self.flip[index], link=self.link[index])

    def sources(self) -> Tensor:
        """Return (B, T, 2^n) int64: the label whose amplitude each label has after the flip."""
        masks = (self.flip << torch.arange(self.n)).sum(-1, keepdim=True)
        return torch.arange(2**self.n) ^ masks

    def phases(self) -> Tensor:
        """Return (B, T, 2^n) float64, the phases 1 and -1 of the links."""
        return 1 - 2 * ((self.link.double() @ all_ones(self.n, self.k)) % 2)

    def tokens(self, number: int) -> list[Token]:
        """Return one sequence for the checkers of `task` and `tableau`.

        Raises:
            UsageError: if one of its operators flips no vertex.
        """
        if not self.flip[number].any(-1).all():
            raise UsageError("a Token flips one vertex; this sequence has operators without.")
        names = sets(self.n, self.k)
        return [
            Token(int(i), tuple(names[index] for index in np.flatnonzero(link)))
            for i, link in zip(self.flip[number].int().argmax(-1), self.link[number], strict=True)
        ]


# --- random sequences ---


def draw(
    kind: str,
    n: int,
    k: int,
    batch: int,
    rng: np.random.Generator,
    *,
    blocks: int = 4,
    flips: int = 1,
    density: float = HALF,
) -> Questions:
    """Draw sequences of n times ``blocks`` tokens.

    Args:
        kind: ``uniform``, every block asks for all generators of a fresh hypergraph, in random
            order; ``toggle``, the next block flips ``flips`` random hyperedges; ``free``,
            independent tokens; ``local``, X_i or Z_i for every vertex once a block, k = 2.
        n, k: vertices, and vertices in a hyperedge.
        batch: number of sequences.
        rng: what all is drawn from.
        blocks: of n tokens each.
        flips: hyperedges that change between blocks of ``toggle``.
        density: probability of every hyperedge, or of every set of a free link.

    Raises:
        UsageError: for an unknown kind, ``local`` with k other than 2, or sizes out of range.
    """
    check(kind, n, k, blocks, flips)
    if kind == "free":
        vertices = rng.integers(n, size=(batch, blocks * n))
    else:
        vertices = rng.random((batch, blocks, n)).argsort(-1).reshape(batch, -1)
    flip = vertices[..., None] == np.arange(n)
    if kind == "free":
        link = (rng.random((*vertices.shape, len(sets(n, k)))) < density) & outside(n, k)[vertices]
    elif kind == "local":
        x = rng.random((*vertices.shape, 1)) < HALF
        flip, link = flip & x, flip & ~x
    else:
        edges = hypergraphs(kind, n, k, (batch, blocks), rng, flips, density)
        edges = np.pad(edges, ((0, 0), (0, 0), (0, 1)))  # number -1 is the edge that never is
        edges = edges.repeat(n, axis=1)  # one graph a token
        link = np.take_along_axis(edges, _edges(n, k)[vertices], axis=2)
    return Questions(n, k, torch.from_numpy(flip), torch.from_numpy(link))


def check(kind: str, n: int, k: int, blocks: int = 4, flips: int = 1) -> None:
    """Refuse sequences that cannot be drawn; arguments and errors as for `draw`."""
    require_choice("kind", kind, SEQUENCES)
    if not 2 <= k <= n:
        raise UsageError(f"k must lie between 2 and n = {n}, not {k}.")
    if kind == "local" and k != 2:
        raise UsageError(f"kind 'local' is for k = 2, not {k}.")
    most = comb(n, k)
    if not 1 <= flips <= most:
        raise UsageError(f"flips must lie between 1 and the {most} hyperedges, not {flips}.")
    if blocks < 1:
        raise UsageError(f"blocks must be 1 or more, not {blocks}.")


def hypergraphs(
    kind: str,
    n: int,
    k: int,
    shape: tuple[int, int],
    rng: np.random.Generator,
    flips: int = 1,
    density: float = HALF,
) -> np.ndarray:
    """Return (*shape, binom(n, k)) bool, the hyperedges of every block, ``uniform`` or ``toggle``.

    Args:
        kind, n, k, rng, flips, density: as for `draw`.
        shape: sequences and blocks.
    """
    numbers = rng.random((*shape, comb(n, k)))
    if kind == "uniform":
        return numbers < density
    changed = numbers.argsort(-1).argsort(-1) < flips
    changed[:, 0] = numbers[:, 0] < density
    return np.logical_xor.accumulate(changed, axis=1)


# --- exact answers ---


class Judged(NamedTuple):
    """What was answered, and what the exact process says of it.

    Attributes:
        y: (B, T) bool, the answers; True is outcome 1, the eigenvalue -1.
        p1: (B, T) float64, exact probability of outcome 1 given the answers before; without
            meaning after an impossible answer.
        possible: (B, T) bool, whether no answer so far was impossible.
    """

    y: Tensor
    p1: Tensor
    possible: Tensor


def follow(questions: Questions, pick: Callable[[int, Tensor], Tensor]) -> Judged:
    """Follow the exact process, one state vector a sequence.

    Args:
        questions: the sequences.
        pick: called with a step and its p1 (B,); returns the answers (B,) bool.
    """
    phases, sources = questions.phases(), questions.sources()
    size = 2**questions.n
    psi = torch.full((len(questions), size), size**-0.5, dtype=torch.float64)
    alive = torch.ones(len(questions), dtype=torch.bool)
    y, p1, possible = [], [], []
    for step in range(questions.length):
        measured = phases[:, step] * psi.gather(1, sources[:, step])
        p1.append(((1 - (psi * measured).sum(1)) / 2).clamp(0, 1))
        y.append(pick(step, p1[-1]))
        alive = alive & (torch.where(y[-1], p1[-1], 1 - p1[-1]) > IMPOSSIBLE)
        possible.append(alive)
        psi = torch.where(y[-1][:, None], psi - measured, psi + measured)
        psi = psi / psi.norm(dim=1, keepdim=True).clamp(min=IMPOSSIBLE)
    return Judged(*(torch.stack(steps, dim=1) for steps in (y, p1, possible)))


def answer(questions: Questions, rng: np.random.Generator) -> Judged:
    """Draw the answers of the exact process."""
    numbers = torch.from_numpy(rng.random((questions.length, len(questions))))
    return follow(questions, lambda step, p1: numbers[step] < p1)


def judge(questions: Questions, y: Tensor) -> Judged:
    """Return the exact probabilities along given answers (B, T) bool."""
    return follow(questions, lambda step, p1: y[:, step])
