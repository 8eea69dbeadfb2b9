"""The contextuality room: cell, exact checkers, the shared-memory game, the reference vectors."""

import json
from itertools import combinations, permutations, product
from math import comb

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qmlbook.base.errors import UsageError
from qmlbook.base.rng import stream
from qmlbook.papers import vectors
from qmlbook.papers.contextuality import circuits, sharing, tableau, task
from qmlbook.papers.contextuality import vectors as room
from qmlbook.papers.contextuality.task import Token
from qmlbook.papers.shared.qnodes import qnode

SIZES = [(2, 2), (3, 2), (4, 2), (3, 3), (4, 3), (4, 4)]
X, Z, ONE = np.array([[0, 1], [1, 0]]), np.diag([1, -1]), np.eye(2)


def random_tokens(draw, n, k, count):
    """Return independent tokens, every link entry with probability 1/2."""
    tokens = []
    for _ in range(count):
        i = int(draw.integers(n))
        sets = combinations([j for j in range(n) if j != i], k - 1)
        tokens.append(Token(i, tuple(s for s in sets if draw.random() < 0.5)))
    return tokens


def random_edges(draw, n, k):
    return [edge for edge in combinations(range(n), k) if draw.random() < 0.5]


def pairs(tokens):
    return [(token.i, token.link) for token in tokens]


def bits(draw, n):
    return draw.integers(2, size=n).tolist()


def operator(n, token):
    """Return K as a dense matrix, qubit 0 in the least significant bit."""
    matrix = np.zeros((2**n, 2**n))
    for x in range(2**n):
        phase = sum(all(x >> j & 1 for j in vertices) for vertices in token.link)
        matrix[x ^ (1 << token.i), x] = (-1) ** phase
    return matrix


# --- tokens and the exact checkers ---


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_projections_are_those_of_the_dense_operator(n, k):
    draw = stream(1, n, k)
    for token in random_tokens(draw, n, k, 10):
        K, psi = operator(n, token), draw.normal(size=2**n)
        assert np.array_equal(K, K.T)
        assert np.array_equal(K @ K, np.eye(2**n))
        assert np.allclose(task.project(token, psi), [(psi + K @ psi) / 2, (psi - K @ psi) / 2])


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_generators_fix_their_state_up_to_its_signs(n, k):
    draw = stream(2, n, k)
    edges, s = random_edges(draw, n, k), bits(draw, n)
    psi = task.hypergraph_state(n, edges, s)
    for token, bit in zip(task.block(n, edges), s, strict=True):
        assert np.allclose(task.measured(token, psi), (-1) ** bit * psi)


@given(st.integers(0, 10_000), st.sampled_from(SIZES))
@settings(max_examples=30)
def test_outputs_are_a_distribution_and_agree_with_single_paths(seed, size):
    draw = stream(seed, "tokens")
    n, k = size
    tokens = random_tokens(draw, n, k, 6)
    found = task.outputs(n, tokens)
    assert sum(found.values()) == pytest.approx(1, abs=1e-12)
    for word in map("".join, product("01", repeat=6)):
        path = task.follow(n, tokens, word)
        assert path.valid == (word in found)
        assert path.joint == pytest.approx(found.get(word, 0), abs=1e-12)
        if path.valid:
            steps = [p if y == "1" else 1 - p for p, y in zip(path.p1, word, strict=True)]
            assert np.prod(steps) == pytest.approx(path.joint, abs=1e-12)
        else:
            t = path.first_impossible
            assert not any(w.startswith(word[: t + 1]) for w in found)
            assert t == 0 or any(w.startswith(word[:t]) for w in found)


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_a_repeated_token_repeats_its_outcome(n, k):
    (token,) = random_tokens(stream(3, n, k), n, k, 1)
    first = random_tokens(stream(4, n, k), n, k, 2)
    assert all(word[-1] == word[-2] for word in task.outputs(n, [*first, token, token]))


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_tableau_and_amplitudes_agree(n):
    draw = stream(5, n)
    for _ in range(20):
        tokens = random_tokens(draw, n, 2, 4 * n)
        memory, word = tableau.Tableau(n), ""
        for token in tokens:
            forced = memory.forced(token)
            outcome = int(draw.integers(2)) if forced is None else forced
            if forced is not None:
                assert memory.answer(token, 1 - forced) == 0
            assert memory.answer(token, outcome) == (0.5 if forced is None else 1)
            assert memory.forced(token) == outcome
            word += str(outcome)
            path = task.follow(n, tokens[: len(word)], word)
            assert path.p1[-1] == pytest.approx(0.5 if forced is None else forced, abs=1e-9)


def test_a_tableau_knows_graphs_only():
    with pytest.raises(UsageError, match="k = 2"):
        tableau.Tableau(3).forced(Token(0, ((1, 2),)))


@given(st.integers(0, 10_000), st.sampled_from(SIZES))
@settings(max_examples=25)
def test_block_law_is_the_measurement_in_any_order(seed, size):
    draw = stream(seed, "blocks")
    n, k = size
    A, B, s = random_edges(draw, n, k), random_edges(draw, n, k), bits(draw, n)
    law = task.transition(n, A, s, B)
    order = draw.permutation(n).tolist()
    generators = task.block(n, B)
    assert sum(law.values()) == pytest.approx(1, abs=1e-12)
    for word in map("".join, product("01", repeat=n)):
        psi = task.hypergraph_state(n, A, s)
        for i in order:
            psi = task.project(generators[i], psi)[int(word[i])]
        assert law.get(word, 0) == pytest.approx(psi @ psi, abs=1e-12)
        if word in law:  # the block leaves |B, s'>
            target = task.hypergraph_state(n, B, [int(y) for y in word])
            assert abs(target @ psi) == pytest.approx(np.sqrt(law[word]), abs=1e-12)


@pytest.mark.parametrize(("n", "floor"), [(3, 7), (4, 11.375)])
def test_entropy_floors_of_four_uniform_blocks(n, floor):
    every = list(combinations(range(n), 2))
    graphs = [[e for e, on in zip(every, word, strict=True) if on]
              for word in product((0, 1), repeat=len(every))]  # fmt: skip
    law = [task.transition(n, [], [0] * n, graph).values() for graph in graphs]
    bits_per_block = np.mean([-sum(p * np.log2(p) for p in values) for values in law])
    assert 4 * bits_per_block == pytest.approx(floor, abs=1e-12)


def test_the_triangle_never_answers_plus_six_times():
    tokens = [*task.block(3, []), *task.block(3, [(0, 1), (0, 2), (1, 2)])]
    assert all(word.count("1") % 2 == 1 for word in task.outputs(3, tokens))


def test_no_filling_of_the_square_has_all_signs():
    x1, x2, z1, z2 = np.kron(ONE, X), np.kron(X, ONE), np.kron(ONE, Z), np.kron(Z, ONE)
    square = [[x1, x2, x1 @ x2], [z2, z1, z1 @ z2], [x1 @ z2, z1 @ x2, x1 @ z2 @ z1 @ x2]]
    lines = [*square, *zip(*square, strict=True)]
    signs = [round((a @ b @ c)[0, 0]) for a, b, c in lines]
    assert signs == [1, 1, 1, 1, 1, -1]
    for filling in product((1, -1), repeat=9):
        rows = np.reshape(filling, (3, 3))
        assert [*rows.prod(1), *rows.prod(0)] != signs


def test_wrong_tokens_and_strings_are_named():
    with pytest.raises(UsageError, match="vertex 1"):
        Token(1, ((0,), (1,)))
    with pytest.raises(UsageError, match="below n = 2"):
        task.outputs(2, [Token(0, ((2,),))])
    with pytest.raises(UsageError, match="2 characters"):
        task.follow(2, [Token(0), Token(1)], "0a")


# --- circuits ---


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_the_cell_translates_without_error(n, k):
    tokens = random_tokens(stream(6, n, k), n, k, 5)
    probabilities = qnode(circuits.translate)(pairs(tokens), n)
    exact = np.zeros(2**5)
    for word, probability in task.outputs(n, tokens).items():
        exact[int(word, 2)] = probability
    assert probabilities == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(("n", "k"), [(3, 2), (4, 3)])
def test_a_block_on_a_prepared_state(n, k):
    draw = stream(7, n, k)
    A, B, s = random_edges(draw, n, k), random_edges(draw, n, k), bits(draw, n)
    probabilities = qnode(circuits.translate)(pairs(task.block(n, B)), n, A, s)
    law = task.transition(n, A, s, B)
    assert probabilities == pytest.approx(
        [law.get(f"{x:0{n}b}", 0) for x in range(2**n)], abs=1e-12
    )


def test_the_memory_after_an_answer_is_the_projected_state():
    tokens = random_tokens(stream(8, "m"), 3, 3, 3)
    word = max(task.outputs(3, tokens).items(), key=lambda item: item[1])[0]
    psi = task.hypergraph_state(3)
    for token, outcome in zip(tokens, word, strict=True):
        psi = task.project(token, psi)[int(outcome)]
    found = qnode(circuits.memory)(pairs(tokens), [int(y) for y in word], 3)
    exact = np.square(psi).reshape(2, 2, 2).transpose().ravel()  # wire 0 is PennyLane's highest bit
    assert found == pytest.approx(exact / exact.sum(), abs=1e-12)


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_generators_are_observables(n, k):
    draw = stream(9, n, k)
    A, B, s = random_edges(draw, n, k), random_edges(draw, n, k), bits(draw, n)
    tokens = task.block(n, B)

    def circuit():
        circuits.prepare(n, A, s)
        return [qml.expval(circuits.generator(token.i, token.link)) for token in tokens]

    psi = task.hypergraph_state(n, A, s)
    exact = [psi @ task.measured(token, psi) for token in tokens]
    assert qnode(circuit)() == pytest.approx(exact, abs=1e-12)


def test_trainable_phases_reach_the_exact_cell_and_take_batches():
    tokens = random_tokens(stream(10, "t"), 3, 2, 4)
    angles = [torch.full((2, len(token.link)), np.pi, dtype=torch.float64) for token in tokens]
    for token_angles in angles:
        token_angles[1] += 0.3
    angles = [a.requires_grad_() for a in angles]
    found = qnode(circuits.translate)(pairs(tokens), 3, angles=angles)
    exact = torch.as_tensor(qnode(circuits.translate)(pairs(tokens), 3))
    assert torch.allclose(found[0], exact, rtol=0, atol=1e-12)
    assert not torch.allclose(found[1], exact, rtol=0, atol=1e-3)
    (gradient,) = torch.autograd.grad(found[1, 0], [a for a in angles if a.numel()][:1])
    assert gradient.isfinite().all()


@pytest.mark.parametrize("theta", [0.4, np.pi])
def test_the_ancilla_makes_the_kraus_pair_of_a_trainable_cell(theta):
    # M_b = (1 + (-1)^b U) / 2 with U = X_0 exp(i theta x_1 x_2).
    U = operator(3, Token(0)) * np.exp(
        1j * theta * np.array([x >> 1 & x >> 2 & 1 for x in range(8)])
    )
    psi = (np.eye(8) + U) @ task.hypergraph_state(3) / 2
    angles = [torch.tensor([theta], dtype=torch.float64)]
    found = qnode(circuits.translate)([(0, ((1, 2),))], 3, angles=angles)
    assert found[0].item() == pytest.approx((psi.conj() @ psi).real, abs=1e-12)


def test_cells_are_small_and_drawn():
    token = (0, ((1, 2), (2, 3), (1, 3)))
    tape = qml.tape.make_qscript(circuits.cell)(*token)
    assert len(tape.operations) == len(token[1]) + 4  # reset belongs to the measurement
    assert max(len(op.wires) for op in tape.operations) == 3  # k
    assert "CCZ" in {op.name for op in tape.operations}
    assert "↗" in qml.draw(circuits.translate)([token], 4)


# --- the game ---


def test_states_reachable_with_all_tokens():
    assert [sharing.game(n).reachable() for n in (1, 2, 3, 4)] == [1, 16, 184, 3584]


@pytest.mark.parametrize(("n", "largest"), [(2, 4), pytest.param(3, 2, marks=pytest.mark.nightly)])
def test_the_game_is_the_greatest_fixed_point(n, largest):
    play = sharing.Game(n)
    moves = play.moves(range(play.reachable()))
    sizes = range(1, largest + 1)
    every = {p for size in sizes for p in combinations(range(len(moves)), size)}

    def lasts(position, alive):
        after = moves[list(position)]
        answers = [
            [tuple(sorted(set(row))) for row in after[:, token].T.tolist() if -1 not in row]
            for token in range(after.shape[1])
        ]
        return all(any(answer in alive for answer in options) for options in answers)

    alive = every
    while (kept := {p for p in alive if lasts(p, alive)}) != alive:
        alive = kept
    assert 0 < len(alive) < len(every)
    assert {p for p in every if play.shareable(p)} == alive


def test_moves_of_the_game_are_projections():
    draw, play = stream(11, "game"), sharing.Game(3)
    edges, s = random_edges(draw, 3, 2), bits(draw, 3)
    number = play.graph_state(edges, s)
    psi = task.hypergraph_state(3, edges, s)
    for token, after in zip(sharing.alphabet(3), play.moves([number])[0], strict=True):
        for vector, state in zip(task.project(token, psi), after, strict=True):
            assert (np.abs(vector).max() < 1e-12) == (state == -1)
            if state >= 0:
                overlap = vector @ play._states[state]
                assert overlap**2 == pytest.approx(
                    (vector @ vector) * (play._states[state].astype(int) ** 2).sum()
                )


def test_triples_up_to_relabelling():
    assert len(sharing.triple_classes(3)) == 3
    classes = sharing.triple_classes(4)
    assert len(classes) == 53
    # Burnside: subspaces {G, H, G + H} of the 6 pairs that each relabelling keeps.
    edges = list(combinations(range(4), 2))
    spans = {frozenset((G, H, G ^ H)) for G, H in combinations(range(1, 64), 2)}
    kept = 0
    for new in permutations(range(4)):
        to = [edges.index(tuple(sorted((new[a], new[b])))) for a, b in edges]
        move = [sum(1 << to[e] for e in range(6) if g >> e & 1) for g in range(64)]
        kept += sum(frozenset(move[g] for g in span) == span for span in spans)
    assert kept == 24 * 53


def test_no_three_graphs_share_a_memory():
    triples = list(sharing.signed_triples(3))
    assert len(triples) == 192
    assert not any(sharing.shareable(3, triple) for triple in triples)
    # Three tokens are enough to exclude empty, edge 01 and edge 02.
    play = sharing.Game(3)
    numbers = tuple(sorted(play.graph_state(e) for e in ([], [(0, 1)], [(0, 2)])))
    assert not play._lost_within(numbers, 2)
    assert play._lost_within(numbers, 3)


@given(st.integers(0, 10_000), st.integers(2, 5))
@settings(max_examples=25)
def test_two_graphs_share_a_memory_unless_orthogonal(seed, n):
    draw = stream(seed, "pairs")
    graphs = [(random_edges(draw, n, 2), bits(draw, n)) for _ in range(2)]
    overlap = np.dot(*(task.hypergraph_state(n, *graph) for graph in graphs))
    assert sharing.shareable(n, graphs) == (abs(overlap) > 1e-9)


# --- kinds of reference vectors without a public case ---


def checked(tmp_path, kind, inputs, expected):
    file = tmp_path / "cases.json"
    entry = {"id": "x", "kind": kind, "inputs": inputs, "expected": expected}
    file.write_text(json.dumps({"paper": "contextuality", "cases": [entry]}))
    (result,) = vectors.check_files([file])
    return result


def test_sharing_k2(tmp_path):
    empty, edge = {"edges": [], "s": [0, 0]}, {"edges": [[0, 1]], "s": [0, 0]}
    minus = {"edges": [], "s": [1, 0]}
    plane = [{"edges": edges, "s": [0, 0, 0]} for edges in ([], [[0, 1]], [[0, 2]])]
    sets = [
        {"n": 2, "graphs": [empty]},
        {"n": 2, "graphs": [empty, edge]},  # |<++|CZ|++>| = 1/2
        {"n": 2, "graphs": [empty, minus]},  # X_0 tells them apart
        {"n": 2, "graphs": [empty, edge, minus]},
        {"n": 3, "graphs": plane[:2]},
        {"n": 3, "graphs": plane},
    ]
    inputs = {"alphabet": "all X_i Z_S with i not in S", "sets": sets}
    expected = {"shareable": [True, True, False, False, True, False]}
    result = checked(tmp_path, "sharing_k2", inputs, expected)
    assert result.checked
    assert result.passed, result.note


@pytest.mark.nightly
def test_counts_k2(tmp_path):
    expected = {
        "reachable_states": {"1": 1, "2": 16, "3": 184, "4": 3584},
        "triples": {
            "3": {"classes": 3, "signed_triples": 3 * 64, "shareable": 0},
            "4": {"classes": 53, "signed_triples": 53 * 256, "shareable": 0},
        },
        "lower_bound_states": {str(n): 2 ** (comb(n, 2) - 1) for n in (2, 3, 4)},
    }
    result = checked(tmp_path, "counts_k2", {}, expected)
    assert result.checked
    assert result.passed, result.note


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ({}, True),
        ({"000": 0.6}, False),  # another probability
        ({"111": 0.5}, False),  # an impossible string more
        ({"000": None}, False),  # a possible string missing
    ],
)
def test_allowed_strings_must_be_all_there_are(tmp_path, change, passes):
    tokens = [{"i": 0, "link": []}, {"i": 1, "link": [[0]]}, {"i": 1, "link": [[0]]}]
    allowed = {"000": 0.5, "011": 0.5} | change  # X_0 is certain, X_1 Z_0 a coin, then repeated
    allowed = {word: p for word, p in allowed.items() if p is not None}
    expected = {"allowed": allowed, "n_allowed": 2, "n_strings": 8}
    inputs = {"n": 2, "k": 2, "tokens": tokens}
    assert checked(tmp_path, "allowed_outputs", inputs, expected).passed == passes


def test_paths():
    tokens = [{"i": 0, "link": []}, {"i": 1, "link": [[0]]}, {"i": 1, "link": [[0]]}]
    inputs = {"n": 2, "k": 2, "tokens": tokens, "outcomes": ["000", "011", "001", "100"]}
    first, second, *impossible = room.paths(inputs)["paths"]
    assert first["p1"] == pytest.approx([0, 0.5, 0])
    assert second["p1"] == pytest.approx([0, 0.5, 1])
    assert first["valid"]
    assert second["valid"]
    assert first["joint"] == second["joint"] == pytest.approx(0.5)
    assert impossible == [
        {"valid": False, "joint": 0.0, "first_impossible": 2},
        {"valid": False, "joint": 0.0, "first_impossible": 0},
    ]
