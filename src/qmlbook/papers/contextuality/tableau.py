"""Graph-state tokens (k = 2) without amplitudes: the stabiliser tableau of Aaronson and Gottesman.

A product i^r X^x Z^z of Paulis is a triple (r, x, z) of an exponent modulo 4 and two bit masks.
"""

from functools import reduce

from ...base.errors import UsageError
from .task import Token

Pauli = tuple[int, int, int]


def pauli(token: Token) -> Pauli:
    """Return the operator X_i Z_S of a token.

    Raises:
        UsageError: if its sets have more than one vertex (k > 2).
    """
    if any(len(vertices) != 1 for vertices in token.link):
        raise UsageError("a tableau follows tokens with k = 2 only.")
    return 0, 1 << token.i, reduce(lambda mask, vertices: mask ^ 1 << vertices[0], token.link, 0)


def times(a: Pauli, b: Pauli) -> Pauli:
    """Return the product of two operators."""
    return (a[0] + b[0] + 2 * (a[2] & b[1]).bit_count()) % 4, a[1] ^ b[1], a[2] ^ b[2]


def clash(a: Pauli, b: Pauli) -> bool:
    """Return whether two operators anticommute."""
    return bool(((a[1] & b[2]).bit_count() + (a[2] & b[1]).bit_count()) % 2)


class Tableau:
    """n stabilisers and n destabilisers: 2 n^2 + n bits of memory that answer every token."""

    def __init__(self, n: int) -> None:
        """Start in |+>^n."""
        self.stabilisers: list[Pauli] = [(0, 1 << i, 0) for i in range(n)]
        self.destabilisers: list[Pauli] = [(0, 0, 1 << i) for i in range(n)]

    def forced(self, token: Token) -> int | None:
        """Return the only possible outcome, or ``None`` where both have probability 1/2."""
        asked = pauli(token)
        if any(clash(asked, s) for s in self.stabilisers):
            return None
        pairs = zip(self.stabilisers, self.destabilisers, strict=True)
        factors = (s for s, d in pairs if clash(asked, d))
        product = reduce(times, factors, (0, 0, 0))
        return (product[0] - asked[0]) % 4 // 2

    def answer(self, token: Token, outcome: int) -> float:
        """Move on by an outcome; return its probability (0 leaves the tableau as it is)."""
        forced = self.forced(token)
        if forced is not None:
            return float(forced == outcome)
        asked = pauli(token)
        pivot = next(j for j, s in enumerate(self.stabilisers) if clash(asked, s))
        old = self.stabilisers[pivot]
        for generators in (self.stabilisers, self.destabilisers):
            generators[:] = [times(g, old) if clash(asked, g) else g for g in generators]
        self.destabilisers[pivot] = old
        self.stabilisers[pivot] = ((asked[0] + 2 * outcome) % 4, *asked[1:])
        return 0.5
