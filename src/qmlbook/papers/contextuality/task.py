"""The translation task, exactly: which outcomes tokens can have, and how likely they are.

Basis label x has bit x_i = (x >> i) & 1 for vertex i. All states here are real. The start is
|+>^n, and outcome 0 is the eigenvalue +1 of K = X_i prod_T (-1)^(AND of x_j, j in T).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product

import numpy as np

from ...base.errors import UsageError

IMPOSSIBLE = 1e-9  # probabilities below count as zero

Edges = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Token:
    """A question: measure K of vertex ``i`` with the sets of other vertices in ``link``."""

    i: int
    link: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if any(self.i in vertices for vertices in self.link):
            raise UsageError(f"the link of a token must not contain its vertex {self.i}.")


def block(n: int, edges: Edges) -> list[Token]:
    """Return the n generators of a hypergraph, in the order of the vertices."""
    return [
        Token(i, tuple(tuple(j for j in edge if j != i) for edge in edges if i in edge))
        for i in range(n)
    ]


def signs(n: int, sets: Edges, bits: Sequence[int] = ()) -> np.ndarray:
    """Return (2^n,) the phase (-1)^(sum of ANDs over the sets + bits . x) of every label x."""
    x = np.arange(2**n)
    masks = [sum(1 << j for j in vertices) for vertices in sets]
    masks += [1 << i for i, bit in enumerate(bits) if bit]
    if any(mask >= 2**n for mask in masks):
        raise UsageError(f"vertices must be below n = {n}.")
    odd = reduce(np.logical_xor, [(x & mask) == mask for mask in masks], np.zeros(2**n, bool))
    return np.where(odd, -1.0, 1.0)


def hypergraph_state(n: int, edges: Edges = (), bits: Sequence[int] = ()) -> np.ndarray:
    """Return the amplitudes (2^n,) of |A, s>; without arguments those of |+>^n."""
    return signs(n, edges, bits) / 2 ** (n / 2)


def measured(token: Token, states: np.ndarray) -> np.ndarray:
    """Return K applied to states (..., 2^n)."""
    labels = np.arange(states.shape[-1])
    n = states.shape[-1].bit_length() - 1
    return signs(n, token.link) * states[..., labels ^ (1 << token.i)]


def project(token: Token, states: np.ndarray) -> np.ndarray:
    """Return the unnormalised states (2, ..., 2^n) after outcomes 0 and 1."""
    flipped = measured(token, states)
    return np.stack([states + flipped, states - flipped]) / 2


def outputs(n: int, tokens: Sequence[Token]) -> dict[str, float]:
    """Return every possible string of outcomes with its joint probability, in order."""
    words, states = [""], hypergraph_state(n)[None]
    for token in tokens:
        after = project(token, states).swapaxes(0, 1).reshape(-1, 2**n)
        words = [word + outcome for word in words for outcome in "01"]
        possible = np.flatnonzero(np.square(after).sum(1) >= IMPOSSIBLE)
        words, states = [words[index] for index in possible], after[possible]
    return dict(zip(words, np.square(states).sum(1).tolist(), strict=True))


@dataclass(frozen=True)
class Path:
    """One string of outcomes, step by step.

    Attributes:
        joint: probability of the whole string; 0 if it is impossible.
        p1: probability of outcome 1 at every step, given the outcomes before; up to the first
            impossible step.
        first_impossible: that step, counted from 0; ``None`` if the string is possible.
    """

    joint: float
    p1: list[float]
    first_impossible: int | None = None

    @property
    def valid(self) -> bool:
        """Whether the string can occur."""
        return self.first_impossible is None


def follow(n: int, tokens: Sequence[Token], outcomes: str) -> Path:
    """Return the probabilities along one string of outcomes.

    Raises:
        UsageError: if the string is not made of one 0 or 1 per token.
    """
    if len(outcomes) != len(tokens) or not set(outcomes) <= {"0", "1"}:
        raise UsageError(f"outcomes must be {len(tokens)} characters 0 or 1, not {outcomes!r}.")
    state, joint, p1 = hypergraph_state(n), 1.0, []
    for step, (token, outcome) in enumerate(zip(tokens, outcomes, strict=True)):
        after = project(token, state)
        probabilities = np.square(after).sum(1) / np.square(state).sum()
        p1.append(float(probabilities[1]))
        state, probability = after[int(outcome)], float(probabilities[int(outcome)])
        if probability < IMPOSSIBLE:
            return Path(0.0, p1, step)
        joint *= probability
        state = state / probability**0.5  # lest a long sequence becomes too unlikely to follow
    return Path(joint, p1)


def transition(n: int, A: Edges, s: Sequence[int], B: Edges) -> dict[str, float]:
    """Return the possible new signs, in vertex order, when |A, s> is measured in the block of B.

    P(s') = |2^-n sum_x (-1)^(f_A(x) + f_B(x) + (s + s').x)|^2, one Walsh-Hadamard transform.
    """
    cube = (signs(n, A, s) * signs(n, B)).reshape((2,) * n)
    sums = np.fft.fftn(cube).real  # along axes of length 2, sums and differences
    probabilities = np.square(sums / 2**n).transpose()  # vertex 0 is the last axis of the labels
    return {
        "".join(map(str, bits)): float(probabilities[bits])
        for bits in product((0, 1), repeat=n)
        if probabilities[bits] >= IMPOSSIBLE
    }
