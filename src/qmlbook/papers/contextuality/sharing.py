"""Which quantum states (k = 2) one classical memory state can stand for, for ever.

A machine that never errs and has forgotten which of several states it serves must give one answer
that none of them excludes, and again after every further token: a game against the tokens. States
are exact: up to scale, their amplitudes are -1, 0 and 1.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain, combinations, permutations, product

import numpy as np

from .task import Edges, Token, signs

Position = tuple[int, ...]  # numbers of the states still served, increasing
DEPTH = 4  # tokens looked ahead before the whole game is laid out


def alphabet(n: int) -> list[Token]:
    """Return all tokens X_i Z_S with i not in S: n 2^(n-1) of them."""
    return [
        Token(i, tuple((j,) for j in others))
        for i in range(n)
        for size in range(n)
        for others in combinations([j for j in range(n) if j != i], size)
    ]


class Game:
    """The states of n vertices under all tokens, numbered as they are met.

    ``moves`` has a row per state, (tokens, 2): the number of the state after each outcome, -1 where
    the outcome is impossible.
    """

    def __init__(self, n: int) -> None:
        """Start with |+>^n as state 0."""
        self.n = n
        tokens = alphabet(n)
        labels = np.arange(2**n)
        self._flips = np.array([labels ^ (1 << token.i) for token in tokens])
        self._phases = np.array([signs(n, token.link) for token in tokens], dtype=np.int8)
        self._numbers: dict[bytes, int] = {}
        self._states: list[np.ndarray] = []
        self._moves: dict[int, np.ndarray] = {}
        self._excluded: dict[int, tuple[int, ...]] = {}  # masks of tokens: 0 or 1 is impossible
        self._lost: dict[Position, int] = {}  # tokens after which no answer is left
        self._survived: dict[Position, int] = {}  # tokens that were answered in every play
        self.graph_state(())

    def graph_state(self, edges: Edges, bits: Sequence[int] = ()) -> int:
        """Return the number of the state |A, s>."""
        return self._number(signs(self.n, edges, bits).astype(np.int8))

    def reachable(self) -> int:
        """Return how many states the tokens reach from |+>^n."""
        met, new = {0}, {0}
        while new:
            new = set(self.moves(new).ravel().tolist()) - met - {-1}
            met |= new
        return len(met)

    def moves(self, states: Iterable[int]) -> np.ndarray:
        """Return (len(states), tokens, 2): where each state goes, -1 for impossible outcomes."""
        return np.stack([self._expand(int(state)) for state in states])

    def shareable(self, states: Iterable[int]) -> bool:
        """Return whether one memory state can serve all these states and never err."""
        position = tuple(sorted(set(states)))
        for depth in range(1, DEPTH + 1):
            if self._lost_within(position, depth):
                return False
        return self._survives(position)

    def _lost_within(self, position: Position, depth: int) -> bool:
        """Return whether some ``depth`` tokens leave no answer, whatever is answered before."""
        if self._clash(position):
            return True
        if depth == 1 or self._safe(position):
            return False
        if position in self._lost:
            return self._lost[position] <= depth
        if self._survived.get(position, 0) >= depth:
            return False
        # Tokens with one possible answer first: they cost one look ahead, not two.
        for answers in sorted(self._options(position), key=len):
            if all(self._lost_within(after, depth - 1) for after in answers):
                self._lost[position] = depth
                return True
        self._survived[position] = depth
        return False

    def _clash(self, position: Position) -> bool:
        """Return whether one token leaves no answer: some state excludes 0 and some state 1."""
        no_zero = no_one = 0
        for state in position:
            self._expand(state)
            zeros, ones = self._excluded[state]
            no_zero, no_one = no_zero | zeros, no_one | ones
        return bool(no_zero & no_one)

    def _survives(self, position: Position) -> bool:
        """Lay out all positions that can follow and strike out the lost ones until none is new."""
        following: dict[Position, list[list[Position]]] = {}
        queue = [position]
        while queue:
            here = queue.pop()
            if here not in following and not self._safe(here):
                following[here] = [[]] if self._clash(here) else list(self._options(here))
                queue.extend(chain.from_iterable(following[here]))
        lost: set[Position] = set()
        while True:
            new = {
                here
                for here, options in following.items()
                if here not in lost and any(lost.issuperset(answers) for answers in options)
            }
            if not new:
                return position not in lost
            lost |= new

    def _safe(self, position: Position) -> bool:
        """Return whether a position is known to last: one state, or two that overlap.

        For every token the overlap is the sum of the overlaps after its outcomes, so that one of
        them keeps it alive.
        """
        if len(position) == 1:
            return True
        if len(position) > 2:
            return False
        a, b = (self._states[number].astype(int) for number in position)
        return bool(a @ b)

    def _options(self, position: Position) -> Iterator[list[Position]]:
        """Return for every token the positions after its possible answers (none: lost)."""
        for token in self.moves(position).transpose(1, 2, 0).tolist():
            yield [tuple(sorted(set(after))) for after in token if -1 not in after]

    def _expand(self, state: int) -> np.ndarray:
        """Return the row of a state in `moves`."""
        if state in self._moves:
            return self._moves[state]
        amplitudes = self._states[state]
        flipped = self._phases * amplitudes[self._flips]
        after = np.sign(np.stack([amplitudes + flipped, amplitudes - flipped], axis=1))
        row = np.array([[self._number(vector) for vector in pair] for pair in after], np.int32)
        self._moves[state] = row
        masks = np.packbits(row < 0, axis=0).T  # a bit a token
        self._excluded[state] = tuple(int.from_bytes(mask) for mask in masks)
        return row

    def _number(self, vector: np.ndarray) -> int:
        """Return the number of a state, whatever its global sign; -1 for the null vector."""
        nonzero = vector[vector != 0]
        if not len(nonzero):
            return -1
        vector = (vector * nonzero[0]).astype(np.int8)
        number = self._numbers.setdefault(vector.tobytes(), len(self._states))
        if number == len(self._states):
            self._states.append(vector)
        return number


@cache
def game(n: int) -> Game:
    """Return the game of n vertices, with everything found out about it so far."""
    return Game(n)


def shareable(n: int, graphs: Iterable[tuple[Edges, Sequence[int]]]) -> bool:
    """Return whether one memory state can serve all signed graph states (edges, s) for ever."""
    play = game(n)
    return play.shareable([play.graph_state(edges, bits) for edges, bits in graphs])


def triple_classes(n: int) -> list[tuple[int, int]]:
    """Return one pair (G, H) per class of triples {empty, G, H} of distinct graphs.

    A graph is a mask over the vertex pairs in lexicographic order. Adding a graph to all three
    maps the task to itself, so that a class is {G, H, G + H} up to relabelling.
    """
    pairs = list(combinations(range(n), 2))
    moved = [
        [pairs.index((min(new[a], new[b]), max(new[a], new[b]))) for a, b in pairs]
        for new in permutations(range(n))
    ]
    classes: dict[tuple[int, ...], tuple[int, int]] = {}
    seen: set[tuple[int, ...]] = set()
    for G, H in combinations(range(1, 2 ** len(pairs)), 2):
        span = tuple(sorted((G, H, G ^ H)))
        if span not in seen:
            relabelled = {tuple(sorted(_relabel(g, to) for g in span)) for to in moved}
            seen |= relabelled
            classes[min(relabelled)] = (G, H)
    return list(classes.values())


def _relabel(graph: int, to: Sequence[int]) -> int:
    return sum(1 << to[bit] for bit in range(len(to)) if graph >> bit & 1)


def edges(n: int, graph: int) -> list[tuple[int, ...]]:
    """Return the edges of a graph given as a number: bit b is pair b of the vertices, in order."""
    return [pair for bit, pair in enumerate(combinations(range(n), 2)) if graph >> bit & 1]


def signed_triples(n: int) -> Iterator[list[tuple[Edges, tuple[int, ...]]]]:
    """Yield every class of triples with all signs of the second and third; the first is |+>^n."""
    for G, H in triple_classes(n):
        for s, t in product(product((0, 1), repeat=n), repeat=2):
            yield [((), ()), (edges(n, G), s), (edges(n, H), t)]
