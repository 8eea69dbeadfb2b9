"""What a computation decides: properties of task, cell and counting, and how gradients shrink."""

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations, product
from math import comb

import numpy as np
import pennylane as qml
import torch
from pennylane.bose import BoseSentence, BoseWord
from pennylane.math import binary_matrix_rank

from ...base.rng import stream
from ..shared.grids import Check, by_function
from ..shared.qnodes import qnode
from . import circuits, counting, models, sequences, sharing, square, tableau, task, training
from .config import Gradients
from .task import IMPOSSIBLE, Token

Cases = Sequence[bool] | np.ndarray

CLOSE = 1e-9  # probabilities that differ by less are the same
TRIANGLE = ((0, 1), (0, 2), (1, 2))
TRIPLES = 120  # of random signed graphs, n = 5
SEARCHES, STEPS, OFFERED = 2000, 60, 16  # per size; tokens of each; tokens a greedy step sees
GREEDY = 0.7  # share of greedy steps


# --- gradients ---


def squared_gradient(config: Gradients, n: int, seed: int) -> float:
    """Return the squared gradient of an angle, mean over angles and draws.

    A dense link holds each other vertex with probability 1/2, a sparse one 1.5 of them on average.
    """
    density = 0.5 if config.links == "dense" else min(1.0, 1.5 / (n - 1))
    rng, squares = stream(seed, "gradients", n), []
    questions = sequences.draw(
        "free", n, 2, config.batch_size, rng, blocks=config.blocks, density=density
    )
    y = sequences.answer(questions, rng).y
    for _ in range(config.draws):
        model = models.HRNN(n, 2, models.start_angles(n, 2, "uniform", rng))
        loss = training.log_loss(model(questions, y), y) / questions.length
        (gradient,) = torch.autograd.grad(loss, model.angles)
        squares.append(gradient.square().mean().item())
    return float(np.mean(squares))


# --- properties ---


# Contextual sets.


def square_unfillable(seed: int) -> Cases:
    """Check the square's operators (they commute, and their products are signs), then fillings."""
    matrices = [square.matrix(word) for row in square.SQUARE for word in row]
    cases = []
    for cells, sign in zip(square.CONTEXTS, square.SIGNS, strict=True):
        a, b, c = (matrices[cell] for cell in cells)
        commute = all(np.allclose(p @ q, q @ p) for p, q in combinations((a, b, c), 2))
        cases.append(commute and np.allclose(a @ b @ c, sign * np.eye(4)))
    filled = np.all(square.served(square.fillings()), axis=1)
    return [*cases, *~filled]


def triangle(seed: int) -> Cases:
    """Multiply all possible answers to X1, X2, X3, K1, K2, K3: after any graph, in any order."""
    x, k = task.block(3, []), task.block(3, TRIANGLE)
    cases = []
    for edges in _graphs(3):
        for xs, ks in product(permutations(x), permutations(k)):
            words = task.outputs(3, [*task.block(3, edges), *xs, *ks])
            cases.append(all(word[3:].count("1") % 2 == 1 for word in words))
    return cases


def local_plus(seed: int, batch: int = 500) -> Cases:
    """Answer +1 to every X_i and Z_i: random sequences of 8 blocks, n = 2 to 6."""
    cases = []
    for n in range(2, 7):
        questions = sequences.draw("local", n, 2, batch, stream(seed, "local", n), blocks=8)
        plus = torch.zeros(questions.flip.shape[:2], dtype=torch.bool)
        cases += sequences.judge(questions, plus).possible[:, -1].tolist()
    return cases


def _graphs(n: int, k: int = 2) -> Iterator[list[tuple[int, ...]]]:
    edges = list(combinations(range(n), k))
    for present in product((False, True), repeat=len(edges)):
        yield [edge for edge, here in zip(edges, present, strict=True) if here]


def _adjacency(n: int, edges: Sequence[tuple[int, ...]]) -> np.ndarray:
    matrix = np.zeros((n, n), dtype=int)
    for i, j in edges:
        matrix[i, j] = matrix[j, i] = 1
    return matrix


# Memory.


def sharing_all(n: int) -> Cases:
    """Play the game for every class of triples of graphs, with all signs: none lasts."""
    return [not sharing.shareable(n, triple) for triple in sharing.signed_triples(n)]


def sharing_sample(seed: int, n: int = 5) -> Cases:
    """Play the game for random triples of different graphs with random signs."""
    rng, cases = stream(seed, "triples"), []
    for _ in range(TRIPLES):
        graphs = rng.choice(2 ** comb(n, 2), 3, replace=False)
        triple = [(sharing.edges(n, graph), rng.integers(2, size=n).tolist()) for graph in graphs]
        cases.append(not sharing.shareable(n, triple))
    return cases


def bound_k2(seed: int) -> Cases:
    """Count: if a state serves two graphs at most, half as many states as graphs are needed.

    n = 3 and 4: two graphs can share a state and no three can.
    """
    cases = []
    for n, states in ((3, 4), (4, 32)):
        two = sharing.shareable(n, [((), ()), (((0, 1),), ())])
        graphs = 2 ** comb(n, 2)
        needed = graphs // 2 == states == 2 ** int(counting.bits(n)["bound"])
        cases += [bool(two), *sharing_all(n), needed]
    return cases


def exact_memory(seed: int) -> Cases:
    """Tell all signed hypergraph states apart, up to n = 4, k = 2 to n.

    A pair differs if the block of the first graph gives the first signs for certain from the first
    state and not from the second: with probability 1 and the squared overlap. The law of a block is
    checked against that overlap on random pairs.
    """
    cases: list[np.ndarray] = []
    for n, k in ((2, 2), (3, 2), (3, 3), (4, 2), (4, 3), (4, 4)):
        known = [(edges, s) for edges in _graphs(n, k) for s in product((0, 1), repeat=n)]
        states = np.array([task.hypergraph_state(n, *state) for state in known])
        overlaps = np.square(states @ states.T)
        counted = len(known) == 2 ** int(counting.bits(n, k)["exact"])
        pairs = overlaps[np.triu_indices(len(known), 1)] < 1 - CLOSE
        rng = stream(seed, "pairs", n, k)
        for a, b in rng.integers(len(known), size=(20, 2)):
            (edges, bits), (before, signs) = known[a], known[b]
            law = task.transition(n, before, signs, edges)
            probability = law.get("".join(map(str, bits)), 0.0)
            counted &= abs(probability - overlaps[a, b]) < CLOSE
        cases.append(np.append(pairs, counted))
    return np.concatenate(cases)


def block_table(seed: int) -> Cases:
    """Look for a fixed table of answers, no memory, that is never impossible on whole blocks.

    At n = 3 there is one, -1 where the link has two vertices, and every step from block to block is
    checked; at n = 4 the linear equations that a table must obey contradict each other.
    """
    cases = []
    for before, after in product([[], *_graphs(3)], list(_graphs(3))):  # the start is a graph, too
        blocks = task.block(3, before), task.block(3, after)
        s, t = ([int(len(token.link) == 2) for token in block] for block in blocks)
        cases.append("".join(map(str, t)) in task.transition(3, before, s, after))
    equations = _table_equations(4)
    return [*cases, binary_matrix_rank(equations) > binary_matrix_rank(equations[:, :-1])]


def _table_equations(n: int) -> np.ndarray:
    """Return the linear equations (E, tokens + 1) over two elements that a table must obey, k = 2.

    From |A, s> the block of B can answer t if v.(s + t) = f_A(v) + f_B(v) for every v that the sum
    of the adjacency matrices maps to 0, f counting edges inside v. Right-hand sides come last.
    """
    column = {token: number for number, token in enumerate(sharing.alphabet(n))}
    graphs = list(_graphs(n))
    blocks = [[column[token] for token in task.block(n, edges)] for edges in graphs]
    adjacent = np.array([_adjacency(n, edges) for edges in graphs])
    vectors = np.array(list(product((0, 1), repeat=n)))
    inside = np.einsum("vi,gij,vj->gv", vectors, adjacent, vectors) // 2
    equations = []
    for A, B in product(range(len(graphs)), repeat=2):
        for v in np.flatnonzero(~(vectors @ (adjacent[A] + adjacent[B]) % 2).any(1)):
            row = np.zeros(len(column) + 1, dtype=int)
            for i in np.flatnonzero(vectors[v]):
                row[blocks[A][i]] ^= 1
                row[blocks[B][i]] ^= 1
            row[-1] = (inside[A, v] + inside[B, v]) % 2
            equations.append(row)
    return np.array(equations)


# The cell.

CELL_SIZES = tuple((n, k) for n in range(2, 7) for k in (2, 3) if k <= n)


def cell(seed: int, batch: int = 100) -> Cases:
    """Let the exact cell answer random sequences and look for impossible answers.

    The batched cell (`models.HRNN` at pi) answers; its probabilities are held against those of
    `task.follow` at every step, and for k = 2 its answers against the tableau. The PennyLane
    circuit is held against `task.outputs`, all strings of answers, on shorter sequences.
    """
    cases = []
    for n, k in CELL_SIZES:
        rng, exact = stream(seed, "cell", n, k), models.HRNN(n, k).eval()
        for kind in ("uniform", "free"):
            questions = sequences.draw(kind, n, k, batch, rng)
            y = training.own_answers(exact, questions, rng)
            p1 = training.log_odds(exact, questions, y).sigmoid().numpy()
            for row in range(batch):
                tokens, bits = questions.tokens(row), y[row].int().tolist()
                path = task.follow(n, tokens, "".join(map(str, bits)))
                cases.append(path.valid and bool(np.abs(np.array(path.p1) - p1[row]).max() < CLOSE))
                if k == 2:
                    memory = tableau.Tableau(n)
                    cases.append(all(map(memory.answer, tokens, bits)))
            short = sequences.draw(kind, n, k, 2, rng, blocks=1)
            cases += [circuit_agrees(n, short.tokens(row)) for row in range(2)]
    return cases


def circuit_agrees(n: int, tokens: Sequence[Token]) -> bool:
    """Return whether the circuit of cells and the exact process give the same probabilities."""
    probabilities = qnode(circuits.translate)([(token.i, token.link) for token in tokens], n)
    for word, probability in task.outputs(n, tokens).items():
        probabilities[int(word, 2)] -= probability
    return bool(np.abs(probabilities).max() < CLOSE)


def cell_size(seed: int) -> Cases:
    """Count operations and wires of the cell spelled token by token: n up to 10, k up to 4."""
    cases = []
    for k in (2, 3, 4):
        for n in range(k, 11):
            link = list(combinations(range(1, n), k - 1))
            parts = [(circuits.start, 0), *((circuits.edge, each) for each in link)]
            tapes = [qml.tape.make_qscript(part)(argument) for part, argument in parts]
            tapes.append(qml.tape.make_qscript(circuits.read)())
            whole = qml.tape.make_qscript(circuits.cell)(0, link)
            steps = [len(tape.operations) for tape in tapes]
            steps[-1] += 1  # measuring and resetting the ancilla are two operations
            wires = [max(len(operation.wires) for operation in tape.operations) for tape in tapes]
            cases += [step <= 3 and most <= k for step, most in zip(steps, wires, strict=True)]
            cases.append(sum(len(tape.operations) for tape in tapes) == len(whole.operations))
    return cases


def operations(seed: int) -> Cases:
    """Compare the largest cell with the stated number of bits, and its count with the circuit."""
    cases = []
    for k, least in ((2, 5), (3, 6)):
        cases += [comb(n - 1, k - 1) + 4 < comb(n, k) - 1 for n in range(least, 65)]
        link = list(combinations(range(1, least), k - 1))
        tape = qml.tape.make_qscript(circuits.cell)(0, link)
        cases.append(len(tape.operations) == comb(least - 1, k - 1) + 4)
    return cases


# Counting.


def central_binomial(seed: int) -> Cases:
    """Compare binom(n, n/2) with 2^n / (n + 1)."""
    return [comb(n, n // 2) * (n + 1) >= 2**n for n in range(2, 65, 2)]


def closure(n: int, k: int) -> int:
    """Return the dimension of the algebra that momenta and products of k positions generate.

    Positions and derivatives commute as the creation and annihilation operators of bosons do.
    """
    products = [{(p, i): "+" for p, i in enumerate(edge)} for edge in combinations(range(n), k)]
    momenta = [{(0, i): "-"} for i in range(n)]
    basis = [BoseSentence({BoseWord(word): 1.0}) for word in products + momenta]
    for number, element in enumerate(basis):  # grows while it is read
        for other in basis[:number]:
            new = (element * other - other * element).normal_order()
            if _independent([*basis, new]):
                basis.append(new)
    return len(basis)


def _independent(operators: Sequence[BoseSentence]) -> bool:
    terms = {term for operator in operators for term in operator}
    matrix = [[operator.get(term, 0.0) for term in terms] for operator in operators]
    return bool(np.linalg.matrix_rank(matrix) == len(operators))


def lie_dimension(seed: int) -> Cases:
    """Compare the closure under commutators with the count: n = 2 to 5, k = 2 and 3."""
    sizes = [(n, k) for k in (2, 3) for n in range(k, 6)]
    return [closure(n, k) == counting.lie_dimension(n, k) for n, k in sizes]


def set_cover(seed: int) -> Cases:
    """Cover the six contexts of the square by fillings: each serves five at most, two serve all."""
    can = square.served(square.fillings())
    greedy = square.greedy_cover(can)
    return [
        *(can.sum(1) <= 5),
        can.sum(1).max() == 5,
        bool(can[greedy].any(0).all()) and len(greedy) == 2,
        square.smallest_cover(can) == 2,
    ]


def floors(seed: int) -> Cases:
    """Count the bits of chance in four uniform blocks by ranks, and by exact probabilities."""
    cases = []
    for n, bits in ((3, 7.0), (4, 11.375), (5, 14.7734375)):
        ranks, entropies = [], []
        for edges in _graphs(n):
            ranks.append(binary_matrix_rank(_adjacency(n, edges)))
            law = np.array(list(task.transition(n, [], [0] * n, edges).values()))
            entropies.append(-(law * np.log2(law)).sum())
            cases.append(bool(abs(entropies[-1] - ranks[-1]) < CLOSE))
        # A block after the hypergraph A is as random as one after none: fresh B + A is fresh.
        cases += [4 * np.mean(ranks) == bits, bool(abs(4 * np.mean(entropies) - bits) < CLOSE)]
    return cases


# Always answering +1.


def plus_k2(seed: int) -> Cases:
    """Ask for the triangle's generators, in any order: the third +1 is impossible."""
    return [
        task.follow(3, order, "000").first_impossible == 2
        for order in permutations(task.block(3, TRIANGLE))
    ]


def plus_k3(seed: int) -> Cases:
    """Search for tokens (k = 3) after which +1 is impossible: n = 3 to 6.

    Every search has 60 steps; 70 % of them ask, of 16 random tokens, the one with the least
    probability of +1, the others a random one.
    """
    return np.concatenate([_search(n, stream(seed, "search", n)) for n in range(3, 7)])


def _search(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return whether +1 stayed possible, per search."""
    psi = torch.full((SEARCHES, 2**n), 2 ** (-n / 2), dtype=torch.float64)
    lasts = np.ones(SEARCHES, dtype=bool)
    for _ in range(STEPS):
        offered = sequences.draw("free", n, 3, SEARCHES * -(-OFFERED // n), rng, blocks=1)
        shape = (SEARCHES, -1, 2**n)
        sources, phases = offered.sources().view(shape), offered.phases().view(shape)
        measured = phases * psi[:, None].expand_as(phases).gather(2, sources)
        plus = (1 + (psi[:, None] * measured).sum(2)) / 2
        greedy = torch.from_numpy(rng.random(SEARCHES) < GREEDY)
        chosen = torch.where(greedy, plus.argmin(1), 0)
        lasts &= plus[torch.arange(SEARCHES), chosen].numpy() > IMPOSSIBLE
        psi = psi + measured[torch.arange(SEARCHES), chosen]
        psi = psi / psi.norm(dim=1, keepdim=True).clamp(min=IMPOSSIBLE)
    return lasts


PROPERTIES: dict[str, Check] = {
    "square": square_unfillable,
    **by_function(triangle, local_plus),
    "sharing-n3": lambda seed: sharing_all(3),
    "sharing-n4": lambda seed: sharing_all(4),
    "sharing-n5": sharing_sample,
    **by_function(bound_k2, exact_memory, block_table, cell, cell_size, central_binomial),
    **by_function(lie_dimension, operations, set_cover, plus_k2, plus_k3, floors),
}
