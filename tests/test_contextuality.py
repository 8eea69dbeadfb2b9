"""The contextuality room's engine: sequences, models, training, experiments, properties."""

import math
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pennylane as qml
import pytest
import torch
import yaml
from torch import nn

from qmlbook import papers
from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.base.rng import stream
from qmlbook.evidence.claims import load_claims
from qmlbook.evidence.store import clean_metrics
from qmlbook.papers.contextuality import (
    checks,
    circuits,
    counting,
    experiments,
    models,
    noise,
    runs,
    sequences,
    square,
    tableau,
    task,
    training,
)
from qmlbook.papers.contextuality.config import Config, Gradients, Noise
from qmlbook.papers.contextuality.sequences import Questions
from qmlbook.papers.shared.qnodes import qnode
from qmlbook.papers.shared.weights import count_parameters

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = [(2, 2), (3, 2), (4, 2), (5, 2), (3, 3), (4, 3), (4, 4)]
TINY = replace(experiments.NETWORK, width=8, steps=3, batch_size=16, test=40, dtype="float64")
# Of every kind, small.
EVERY = {
    "hrnn": Config(steps=3, batch_size=16, test=40),
    "gru": TINY,
    "lstm": replace(TINY, model="lstm"),
    "transformer": replace(TINY, model="transformer"),
    "binary": replace(TINY, model="binary"),
    "half": Config(model="half", test=40),
    "table": Config(model="table", test=40),
}


def asked(kind, n, k, batch=50, seed=1, **options):
    return sequences.draw(kind, n, k, batch, stream(seed, "q"), **options)


def answered(questions, seed=1):
    return sequences.answer(questions, stream(seed, "a"))


# --- random sequences ---


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_blocks_ask_for_all_generators_of_a_hypergraph(n, k):
    questions, names = asked("uniform", n, k, 300), list(combinations(range(n), k))
    assert questions.length == 4 * n
    orders, found = set(), []
    for row in range(300):
        tokens = questions.tokens(row)
        for start in range(0, 4 * n, n):
            block = tokens[start : start + n]
            orders.add(order := tuple(token.i for token in block))
            assert sorted(order) == list(range(n))
            edges = [e for e in names if tuple(j for j in e if j != e[0]) in
                     next(token.link for token in block if token.i == e[0])]  # fmt: skip
            assert sorted(block, key=lambda token: token.i) == task.block(n, edges)
            found.append([edge in edges for edge in names])
    assert len(orders) == math.factorial(n) or n > 4
    assert np.abs(np.mean(found, 0) - 0.5).max() < 5 * 0.5 / np.sqrt(1200)


@pytest.mark.parametrize("flips", [1, 3])
def test_toggle_changes_so_many_hyperedges(flips):
    rng = stream(2, "h")
    present = sequences.hypergraphs("toggle", 4, 2, (500, 5), rng, flips)
    changed = present[:, 1:] != present[:, :-1]
    assert (changed.sum(-1) == flips).all()
    assert abs(present[:, 0].mean() - 0.5) < 0.05
    assert np.abs(changed.mean((0, 1)) - flips / 6).max() < 0.05
    # The same in the links of the sequences.
    links = asked("toggle", 4, 2, 30, flips=flips, blocks=3).link.sum((2,)).view(30, 3, 4).sum(2)
    assert ((links[:, 1:] - links[:, :-1]).abs() <= 2 * flips).all()
    assert (links[:, 1:] != links[:, :-1]).any()


def test_free_tokens_are_independent():
    questions = asked("free", 4, 3, 2000, density=0.3)
    vertices = questions.flip.int().argmax(-1)
    allowed = torch.from_numpy(sequences.outside(4, 3))[vertices]
    assert not (questions.link & ~allowed).any()
    assert questions.link[allowed].double().mean().item() == pytest.approx(0.3, abs=0.01)
    assert torch.bincount(vertices.flatten()).double().std() / vertices.numel() < 0.01
    assert (vertices[:, 0] == vertices[:, 1]).double().mean().item() == pytest.approx(
        0.25, abs=0.04
    )


def test_local_tokens_are_coins_unless_the_vertex_was_just_asked_alike():
    questions = asked("local", 3, 2, 200)
    exact = answered(questions)
    assert (questions.flip.int() + questions.link.int()).sum(-1).eq(1).all()
    for row in range(200):
        value = dict.fromkeys(range(3), ("x", 0))
        for step in range(12):
            x = bool(questions.flip[row, step].any())
            i = int((questions.flip if x else questions.link)[row, step].int().argmax())
            basis, bit = value[i]
            expected = bit if basis == "xz"[not x] else 0.5
            assert exact.p1[row, step].item() == pytest.approx(expected, abs=1e-12)
            value[i] = ("xz"[not x], int(exact.y[row, step]))
    with pytest.raises(UsageError, match="without"):
        questions.tokens(int((~questions.flip.any(-1)).any(1).int().argmax()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("other", 3, 2), "kind 'other'"),
        (("uniform", 3, 4), "between 2 and n = 3"),
        (("uniform", 3, 1), "between 2 and n = 3"),
        (("local", 3, 3), "for k = 2"),
    ],
)
def test_sequences_that_cannot_be_drawn_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        sequences.draw(*arguments, 5, stream(0, "q"))
    for options in ({"flips": 0}, {"flips": 4}, {"blocks": 0}):
        with pytest.raises(UsageError, match=next(iter(options))):
            asked("toggle", 3, 2, **options)


# --- exact answers ---


@pytest.mark.parametrize(("n", "k"), SIZES)
@pytest.mark.parametrize("kind", ["uniform", "toggle", "free"])
def test_the_batch_agrees_with_both_checkers(kind, n, k):
    questions = asked(kind, n, k, 20)
    exact = answered(questions)
    assert exact.possible.all()
    for row in range(20):
        tokens, word = questions.tokens(row), "".join("01"[bool(y)] for y in exact.y[row])
        path = task.follow(n, tokens, word)
        assert exact.p1[row].tolist() == pytest.approx(path.p1, abs=1e-12)
        if k == 2:
            memory = tableau.Tableau(n)
            chances = [memory.answer(token, int(y)) for token, y in zip(tokens, word, strict=True)]
            given = torch.where(exact.y[row], exact.p1[row], 1 - exact.p1[row])
            assert given.tolist() == pytest.approx(chances, abs=1e-12)


@pytest.mark.parametrize(("n", "k"), [(3, 2), (4, 3)])
def test_impossible_answers_are_found_at_their_step(n, k):
    questions = asked("uniform", n, k, 60)
    y = torch.from_numpy(stream(3, "y").integers(2, size=(60, 4 * n)) == 1)
    judged, wrong = sequences.judge(questions, y), 0
    for row in range(60):
        path = task.follow(n, questions.tokens(row), "".join("01"[bool(b)] for b in y[row]))
        steps = judged.possible[row].int().sum().item()
        assert steps == (4 * n if path.valid else path.first_impossible)
        assert judged.p1[row, : len(path.p1)].tolist() == pytest.approx(path.p1, abs=1e-12)
        wrong += not path.valid
    assert 0 < wrong < 60


def test_answers_follow_their_probabilities():
    exact = answered(asked("uniform", 3, 3, 20_000))
    spread = (exact.p1 * (1 - exact.p1)).sum(0).sqrt()
    assert ((exact.y.double() - exact.p1).sum(0).abs() <= 4.5 * spread).all()


def test_a_long_sequence_can_be_followed():
    tokens = [task.Token(0), task.Token(1, ((0,),))] * 20
    path = task.follow(2, tokens, "01" * 20)
    assert path.valid
    assert path.joint == pytest.approx(2.0**-39)  # each asks what the other made a coin


def test_parts_of_questions():
    questions = asked("uniform", 3, 2, 6)
    assert questions[:, :5].length == 5
    assert len(questions[:2]) == 2
    assert questions[1:2, :5].tokens(0) == questions.tokens(1)[:5]


# --- the k-HRNN ---


def turned(questions, n, k, seed=4):
    """Return a cell at random angles, evaluating."""
    return models.HRNN(n, k, models.start_angles(n, k, "uniform", stream(seed, "s"))).eval()


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_the_cell_at_pi_is_the_exact_process(n, k):
    questions = asked("free", n, k, 30)
    exact = answered(questions)
    odds = training.log_odds(models.HRNN(n, k).eval(), questions, exact.y)
    assert torch.allclose(odds.sigmoid(), exact.p1, rtol=0, atol=1e-10)
    assert count_parameters(models.HRNN(n, k)) == k * math.comb(n, k)


@pytest.mark.parametrize(("n", "k"), [(3, 2), (4, 3), (4, 4)])
def test_the_cell_is_a_kraus_pair(n, k):
    questions, labels = asked("free", n, k, 5), torch.arange(2**n)
    model = turned(questions, n, k)
    gates, sources, one = model.gates(questions), questions.sources(), torch.eye(2**n)
    for row, step in product(range(5), range(questions.length)):
        U = torch.zeros(2**n, 2**n, dtype=torch.complex128)
        U[labels, sources[row, step]] = gates[row, step].detach()
        assert torch.allclose(U.mH @ U, one.to(U), atol=1e-12)
        pair = [(one + sign * U) / 2 for sign in (1, -1)]
        assert torch.allclose(sum(M.mH @ M for M in pair), one.to(U), atol=1e-12)


@pytest.mark.parametrize(("n", "k"), [(3, 2), (3, 3), (4, 3)])
def test_the_cell_is_the_circuit_at_any_angles(n, k):
    questions = asked("free", n, k, 1, blocks=1)
    model, words = turned(questions, n, k), list(product((0, 1), repeat=n))
    # Every string of answers as a row: its probability is the product of those of its answers.
    rows = torch.zeros(len(words), dtype=torch.int64)
    copies = Questions(n, k, questions.flip[rows], questions.link[rows])
    y = torch.tensor(words, dtype=torch.bool)
    odds = training.log_odds(model, copies, y)
    found = torch.where(y, odds, -odds).sigmoid().prod(1)
    table = torch.zeros(model.allowed.shape, dtype=torch.float64)
    table[model.allowed] = model.angles.detach()
    tokens = questions.tokens(0)
    names = sequences.sets(n, k)
    angles = [table[t.i, [names.index(vertices) for vertices in t.link]] for t in tokens]
    probabilities = qnode(circuits.translate)([(t.i, t.link) for t in tokens], n, angles=angles)
    assert torch.allclose(found, probabilities, atol=1e-10)


@pytest.mark.parametrize(("n", "k"), [(3, 2), (4, 3)])
def test_gradients_of_the_angles_are_slopes(n, k):
    questions = asked("uniform", n, k, 8, blocks=2)
    y, model, h = answered(questions).y, turned(questions, n, k).train(), 1e-6
    (gradient,) = torch.autograd.grad(training.log_loss(model(questions, y), y), model.angles)
    assert gradient.abs().min() > 1e-4
    for entry in range(len(gradient)):
        values = []
        for step in (h, -h):
            model.angles.data[entry] += step
            values.append(training.log_loss(model(questions, y), y).item())
            model.angles.data[entry] -= step
        slope = (values[0] - values[1]) / (2 * h)
        assert gradient[entry].item() == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_starts_are_where_they_say():
    near = models.start_angles(6, 3, "near", stream(1, "s"))
    far = models.start_angles(6, 3, "uniform", stream(1, "s"))
    assert len(near) == len(far) == 60
    assert (near - np.pi).abs().max() <= np.pi / 2
    assert (far - np.pi).abs().max() > np.pi / 2
    assert far.min() >= 0


def test_the_cell_refuses_other_questions():
    with pytest.raises(UsageError, match="n = 3, k = 2"):
        models.HRNN(3, 2)(asked("free", 4, 2), None)
    with pytest.raises(UsageError, match="flip a vertex"):
        models.HRNN(3, 2)(asked("local", 3, 2), None)


# --- all models ---


@pytest.mark.parametrize("name", EVERY)
def test_no_model_looks_ahead(name):
    model = models.build(EVERY[name], 3).eval()
    questions, other = asked("free", 3, 2, 12), asked("free", 3, 2, 12, seed=9)
    y = torch.from_numpy(stream(5, "y").integers(2, size=(12, 12)) == 1)
    odds = training.log_odds(model, questions, y)
    for step in range(12):
        prefix = training.log_odds(model, questions[:, : step + 1], y[:, : step + 1])
        torch.testing.assert_close(prefix, odds[:, : step + 1], rtol=0, atol=1e-9)
        # Neither the answer to this question nor anything later counts.
        changed = torch.cat([y[:, :step], ~y[:, step:]], dim=1)
        flip = torch.cat([questions.flip[:, : step + 1], other.flip[:, step + 1 :]], dim=1)
        link = torch.cat([questions.link[:, : step + 1], other.link[:, step + 1 :]], dim=1)
        found = training.log_odds(model, Questions(3, 2, flip, link), changed)[:, step]
        torch.testing.assert_close(found, odds[:, step], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["hrnn", "gru", "lstm", "transformer", "binary"])
def test_trained_models_use_what_was_answered(name):
    model, questions = models.build(EVERY[name], 3).eval(), asked("free", 3, 2, 100)
    y = answered(questions).y
    changed = y.clone()
    changed[:, 0] = ~y[:, 0]
    odds = [training.log_odds(model, questions, each) for each in (y, changed)]
    assert (odds[0] - odds[1])[:, 1:].abs().max() > 1e-6


def test_initial_weights_belong_to_the_seed_alone():
    torch.manual_seed(1)
    first, before = models.build(TINY, 7), torch.random.get_rng_state()
    second = models.build(TINY, 7)
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    other = models.build(TINY, 8)
    assert not torch.equal(first.head[0].weight, other.head[0].weight)
    assert models.build(replace(TINY, dtype="float32"), 7).head[0].weight.dtype == torch.float32


def test_features():
    questions = Questions(
        3, 2, torch.eye(3, dtype=torch.bool)[None], torch.eye(3, dtype=torch.bool).flip(0)[None]
    )
    y = torch.tensor([[True, False, True]])
    found = models.inputs_of(questions, y, torch.float64)[0].int().tolist()
    assert found == [[1, 0, 0, 0, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0, 0, 1], [0, 0, 1, 1, 0, 0, 1, 0]]


# --- a memory of bits ---


def test_equal_bits_have_equal_futures():
    model = models.build(replace(TINY, model="binary", width=3), 2).eval()
    questions, other = asked("free", 3, 2, 200), asked("free", 3, 2, 1, seed=8)
    y = torch.from_numpy(stream(6, "y").integers(2, size=(200, 12)) == 1)
    step = 6
    later = torch.from_numpy(stream(7, "y").integers(2, size=(1, 12 - step)) == 1)
    # All histories of 6 tokens, the same future: what is said depends on 3 bits alone.
    questions = Questions(
        3,
        2,
        torch.cat([questions.flip[:, :step], other.flip[:, step:].expand(200, -1, -1)], dim=1),
        torch.cat([questions.link[:, :step], other.link[:, step:].expand(200, -1, -1)], dim=1),
    )
    y = torch.cat([y[:, :step], later.expand(200, -1)], dim=1)
    with torch.no_grad():
        memories = model.memories(model.encode(questions), y)
        odds = model(questions, y)
    assert set(memories.unique().tolist()) == {-1.0, 1.0}
    groups = {}
    for row in range(200):
        groups.setdefault(tuple(memories[row, step].tolist()), []).append(row)
    assert 2 <= len(groups) <= 8
    for rows in groups.values():
        assert torch.equal(odds[rows, step:], odds[rows[:1], step:].expand(len(rows), -1))
        assert torch.equal(
            memories[rows, step:], memories[rows[:1], step:].expand(len(rows), -1, 3)
        )
    assert len({odds[rows[0], step].item() for rows in groups.values()}) > 1
    # The last answers differ within a group, and count for nothing but the bits.
    assert any(y[rows, step - 1].unique().numel() == 2 for rows in groups.values())


def test_bits_can_be_handed_over():
    model = models.build(replace(TINY, model="binary", width=4), 2).eval()
    questions = asked("free", 3, 2, 20)
    x, y = model.encode(questions), answered(questions).y
    whole = model.memories(x, y)
    assert torch.equal(model.memories(x[:, 5:], y[:, 5:], whole[:, 5]), whole[:, 5:])


def test_the_sign_lets_gradients_straight_through():
    x = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0], requires_grad=True)
    value = models.Sign.apply(x)
    assert value.tolist() == [-1, -1, 1, 1, 1]
    (value * torch.arange(1.0, 6.0)).sum().backward()
    assert x.grad.tolist() == [0, 2, 3, 4, 0]


# --- scores ---


class Exact(nn.Module):
    """The exact process as a model; with ``mix`` < 1 its mixture with a fair coin."""

    def __init__(self, mix=1.0):
        super().__init__()
        self.mix = mix

    def forward(self, questions, y):
        p1 = self.mix * sequences.judge(questions, y).p1 + (1 - self.mix) / 2
        return torch.logit(p1)


@pytest.mark.parametrize(("n", "k"), [(3, 2), (4, 3)])
def test_the_exact_model_is_perfect(n, k):
    questions = asked("uniform", n, k, 200)
    found = training.score(Exact(), questions, answered(questions), stream(1, "own"))
    assert found["kl"] == pytest.approx(0, abs=1e-9)
    assert found["gain"] > 1
    for name in ("kl_share", "forced_error", "sequence_error", "leak"):
        assert found[name] == pytest.approx(0, abs=1e-9)
    assert found["validity"] == 1


def test_the_coin_loses_what_is_not_chance():
    questions = asked("uniform", 3, 2, 4000)
    exact = answered(questions)
    found = training.score(models.Memoryless("half"), questions, exact, stream(1, "own"))
    entropies = -(torch.xlogy(exact.p1, exact.p1) + torch.xlogy(1 - exact.p1, 1 - exact.p1))
    floor = entropies.sum(1).mean().item() / math.log(2)
    assert found["kl"] == pytest.approx(12 - floor, abs=1e-9)
    assert found["kl"] == pytest.approx(12 - 7, abs=0.1)
    assert found["kl_share"] == 1
    assert found["gain"] == 0
    assert found["leak"] == 0.5
    assert found["forced_error"] == pytest.approx(0.5, abs=0.02)
    assert found["validity"] == pytest.approx(2.0**-12 * 2**7, abs=0.2)


def test_scores_of_a_mixture_by_hand():
    questions = asked("uniform", 3, 3, 50)
    exact = answered(questions)
    found = training.score(Exact(0.8), questions, exact, stream(1, "own"))
    p1 = exact.p1.numpy()
    forced = (p1 < 1e-5) | (p1 > 1 - 1e-5)
    q1 = 0.8 * p1 + 0.1
    kl = 0.0
    for p, q in ((p1, q1), (1 - p1, 1 - q1)):
        here = p > 1e-9
        kl += (p[here] * np.log2(p[here] / q[here])).sum() / 50
    assert found["kl"] == pytest.approx(kl, rel=1e-9)
    assert forced.any()
    assert found["leak"] == pytest.approx(0.1)
    assert found["forced_error"] == found["sequence_error"] == 0
    coin = training.divergence(torch.zeros(exact.p1.shape).double(), exact)
    assert found["gain"] == pytest.approx(coin - kl)
    assert found["kl_share"] == pytest.approx(kl / coin)
    assert found["validity"] < 1


def test_errors_at_forced_answers_are_counted():
    class Wrong(Exact):
        def forward(self, questions, y):
            return -super().forward(questions, y).clamp(-5, 5)

    questions = asked("uniform", 3, 2, 100)
    exact = answered(questions)
    found = training.score(Wrong(), questions, exact, stream(1, "own"))
    assert found["forced_error"] == 1
    assert found["sequence_error"] == ((exact.p1 - 0.5).abs() > 0.4).any(1).double().mean()
    assert found["leak"] == pytest.approx(1 / (1 + math.exp(-5)))


def test_own_answers_are_fed_back():
    questions = asked("free", 3, 2, 300)
    own = training.own_answers(Exact(), questions, stream(1, "own"))
    assert training.validity(own, questions) == 1
    likelier = training.own_answers(Exact(), questions, None)
    judged = sequences.judge(questions, likelier)
    assert judged.possible.all()
    assert not (likelier & (judged.p1 < 0.4)).any()
    assert training.validity(torch.zeros_like(own), questions) < 1


def test_a_fixed_table_is_never_impossible_on_whole_blocks_of_three():
    table = models.Memoryless("table")
    for n, kind, valid in ((3, "uniform", True), (3, "free", False), (4, "uniform", False)):
        questions = asked(kind, n, 2, 1000)
        validity = training.validity(training.own_answers(table, questions, None), questions)
        assert (validity == 1) is valid


# --- training ---


@pytest.mark.nightly
def test_the_k_hrnn_learns():
    found = runs.run(experiments.EXPERIMENTS["hrnn"].variants["quick"]["n3k2"], 3)
    assert found["kl"] < 1e-3
    assert found["learned"] == 1
    assert found["away"] == 0
    assert found["validity"] == 1
    assert found["curve"][0] > 1
    assert found["curve"][-1] < 1e-3
    assert len(found["curve"]) == training.POINTS + 1


@pytest.mark.parametrize(
    "model",
    [
        "gru",
        *(pytest.param(m, marks=pytest.mark.nightly) for m in ("lstm", "transformer", "binary")),
    ],
)
def test_classical_models_learn_something(model):
    config = replace(TINY, model=model, width=16, steps=60, batch_size=64, test=300)
    config = replace(config, learning_rate=0.01)
    found = runs.run(config, 1)
    assert found["gain"] > 0.1
    assert found["curve"][-1] < found["curve"][0]


@pytest.mark.parametrize("name", EVERY)
def test_runs_repeat(name):
    assert runs.run(EVERY[name], 5) == runs.run(EVERY[name], 5)


def test_variants_share_their_sequences():
    for changes in ({"width": 4}, {"model": "lstm"}, {"model": "hrnn", "width": 0}):
        other = replace(TINY, **changes)
        for seed, same in ((3, True), (4, False)):
            (a, x), (b, y) = training.test_set(TINY, 3), training.test_set(other, seed)
            assert torch.equal(a.link, b.link) is same
            assert torch.equal(x.y, y.y) is same


def test_training_that_breaks_down_is_named(monkeypatch):
    monkeypatch.setattr(training, "log_loss", lambda odds, y: odds.sum() * math.nan)
    with pytest.raises(QmlbookError, match="gradient is not finite"):
        training.train(TINY, 0)


# --- configurations ---


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "rnn"}, "model 'rnn'"),
        ({"start": "here"}, "start 'here'"),
        ({"dtype": "float16"}, "dtype 'float16'"),
        ({"kind": "other"}, "kind 'other'"),
        ({"k": 4}, "k must lie between"),
        ({"flips": 9}, "flips must lie"),
        ({"blocks": 0}, "blocks must be 1"),
        ({"kind": "local"}, "cannot ask"),
        ({"width": 3}, "width must be"),
        ({"model": "gru"}, "width must be"),
        ({"model": "transformer", "width": 30}, "multiple of 4"),
        ({"steps": 0}, "steps must be"),
        ({"test": 0}, "test must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"learning_rate": 0.0}, "learning_rate must be above"),
        ({"clip": -1.0}, "clip must be above"),
    ],
)
def test_bad_configurations_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        Config(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gradients(links="some"), "links 'some'"),
        (lambda: Gradients(sizes=(3,)), "sizes must be"),
        (lambda: Gradients(draws=0), "draws must be"),
        (lambda: Noise(strength=2.0), "strength must lie"),
        (lambda: Noise(shots=0), "shots must be"),
        (lambda: Noise(n=1), "k must lie"),
    ],
)
def test_other_bad_configurations_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


# --- experiments ---

SCORES = {"kl", "kl_share", "gain", "validity", "forced_error", "sequence_error", "leak"}
METRICS = {
    "hrnn": SCORES | {"curve", "learned", "away"},
    "networks": SCORES | {"curve"},
    "baselines": SCORES,
    "tasks": SCORES | {"curve"},
    "binary": {"errs", "failed"},
    "gradients": {"slope", "squares", "qubits"},
    "start": SCORES | {"curve", "learned", "away"},
    "noise": {"validity", "leak"},
    "properties": {"holds", "checked"},
}


@pytest.mark.parametrize("name", METRICS)
def test_quick_runs_give_the_metrics_that_claims_need(name):
    made = experiments.EXPERIMENTS[name]
    variant, config = next(iter(made.variants["quick"].items()))
    if hasattr(config, "steps"):
        config = replace(config, steps=5)
    found = made.run(config, 0)
    assert set(found) == METRICS[name], variant
    for metric, value in clean_metrics(found).items():
        assert value == pytest.approx(found[metric], rel=1e-9)
    assert all(type(v) in (int, float, list) for v in found.values())
    for claim in load_claims("contextuality"):
        if claim.experiment == name:
            assert claim.metric in found, claim.id
            assert set(claim.variants) <= set(made.variants["full"]), claim.id


def test_the_header_of_the_claims_is_what_is_offered():
    made = papers.experiments("contextuality")
    assert {name: found.seeds["full"] for name, found in made.items()} == {
        "hrnn": 8, "networks": 8, "baselines": 8, "tasks": 8, "binary": 5, "gradients": 16,
        "start": 8, "noise": 8, "properties": 1,
    }  # fmt: skip
    full = {name: list(found.variants["full"]) for name, found in made.items()}
    sizes = ["n3k2", "n4k2", "n5k2", "n4k3"]
    nets = ["gru4", "gru16", "gru64", "gru256", "lstm64", "transformer32"]
    assert full["hrnn"] == sizes
    assert full["networks"] == [f"n{n}-{net}" for n in (3, 4) for net in nets]
    assert {f"{size}-{rule}" for size in sizes for rule in ("half", "plus")} <= {*full["baselines"]}
    assert full["tasks"] == ["uniform", "toggle", "local"]
    assert full["binary"] == [f"n{n}-d{d}" for n in (3, 4) for d in range(1, 11)]
    assert full["gradients"] == ["sparse", "dense"]
    assert full["start"] == ["uniform", "near"]
    for found in made.values():
        assert set(found.variants["quick"]) <= set(found.variants["full"])


@pytest.mark.parametrize("profile", papers.PROFILES)
def test_presets_are_variants_of_their_profile(profile):
    presets = experiments.PRESETS[profile]
    assert list(presets) == ["hrnn", "gru4", "gru16", "gru64"]
    assert presets["hrnn"] == experiments.EXPERIMENTS["hrnn"].variants[profile]["n3k2"]


def test_the_published_figure_agrees_with_the_claims():
    table = experiments.published()["spanish_english"]
    assert {len(column) for column in table.values()} == {12}
    claims = {claim.id: claim for claim in load_claims("contextuality")}
    for name in ("CRNN", "Gaussian", "GRU", "ORNN"):
        assert claims[f"X13-{name.lower()}"].published == {"single": table[name][-1]}
    text = papers.claims_file("contextuality").read_text(encoding="utf-8")
    notes = " ".join(" ".join(c.get("note", "") for c in yaml.safe_load(text)["claims"]).split())
    for name in ("CRNN", "Gaussian", "GRU", "ORNN"):
        assert ", ".join(f"{value:.2f}" for value in table[name]) in notes


# --- properties ---

LONG = ("sharing-n4", "lie-dimension", "bound-k2", "cell", "exact-memory")  # seconds


def decided(name):
    """Return what the run of a property gives."""
    made = experiments.EXPERIMENTS["properties"]
    return made.run(made.variants["full"][name], 0)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.nightly] * (n in LONG)) for n in checks.PROPERTIES],
)
def test_properties_hold(name, monkeypatch):
    monkeypatch.setattr(checks, "TRIPLES", 20)
    monkeypatch.setattr(checks, "SEARCHES", 200)
    found = decided(name)
    assert found["holds"] == 1
    least = {"sharing-n3": 192, "sharing-n4": 13_568, "cell": 1000, "square": 512, "plus-k3": 800}
    assert found["checked"] >= least.get(name, 1)


def test_a_property_can_fail(monkeypatch):
    monkeypatch.setitem(checks.PROPERTIES, "square", lambda seed: [True, False, True])
    assert decided("square") == {"holds": 0.0, "checked": 3}


def test_checks_notice_what_is_wrong(monkeypatch):
    monkeypatch.setattr(square, "SIGNS", (1,) * 6)  # a square without contextuality
    assert not np.all(checks.square_unfillable(0))
    monkeypatch.setattr(counting, "lie_dimension", lambda n, k: 2**n)
    assert not np.all(checks.lie_dimension(0))
    monkeypatch.setattr(checks, "TRIANGLE", ((0, 1), (0, 2)))
    assert not np.all(checks.triangle(0))
    assert not np.all(checks.plus_k2(0))


def test_the_search_finds_impossible_answers_where_there_are_some(monkeypatch):
    # The same search with k = 2 tokens, for which always +1 is impossible now and then.
    draw = sequences.draw
    monkeypatch.setattr(
        sequences, "draw", lambda kind, n, k, *rest, **o: draw(kind, n, 2, *rest, **o)
    )
    monkeypatch.setattr(checks, "SEARCHES", 100)
    assert not checks._search(4, stream(1, "search")).all()


def test_gradients_shrink_with_qubits():
    quick = experiments.EXPERIMENTS["gradients"].variants["quick"]
    found = {name: runs.run_gradients(config, 1) for name, config in quick.items()}
    # At n = 4 both kinds of links are equally dense: the same draws, the same gradients.
    assert found["sparse"]["squares"][1] == found["dense"]["squares"][1]
    assert found["dense"]["slope"] < -0.1
    fitted = np.polyfit([3, 4, 5, 6], np.log10(found["dense"]["squares"]), 1)[0]
    assert found["dense"]["slope"] == pytest.approx(fitted)


# --- counting ---


def test_sizes_of_memory():
    assert counting.bits(4) == {
        "quantum": 5, "bound": 5, "exact": 10, "one flip": 12, "tableau": 36,
        "states": math.log2(3584),
    }  # fmt: skip
    assert counting.bits(6, 3) == {"quantum": 7, "bound": 19, "exact": 26, "one flip": 30}


@pytest.mark.parametrize(("n", "counts"), [(3, {0: 1, 2: 7}), (4, {0: 1, 2: 35, 4: 28})])
def test_ranks_of_alternating_matrices(n, counts):
    found = {}
    for word in product((0, 1), repeat=math.comb(n, 2)):
        matrix = np.zeros((n, n), dtype=int)
        matrix[np.triu_indices(n, 1)] = word
        rank = qml.math.binary_matrix_rank(matrix + matrix.T)
        found[rank] = found.get(rank, 0) + 1
    assert found == counts


# --- the square ---


def test_the_game_of_the_square():
    assert square.quantum_value() == pytest.approx(1, abs=1e-12)
    assert square.classical_value() == pytest.approx(8 / 9)
    can = square.served(square.fillings())
    assert can.sum(1).max() == 5
    assert square.smallest_cover(can) == len(square.greedy_cover(can)) == 2
    assert square.wins(0, 0, (0, 0, 0, 0, 0, 0))
    assert not square.wins(0, 0, (1, 1, 0, 0, 0, 0))  # they disagree
    assert not square.wins(0, 2, (0, 0, 0, 0, 0, 0))  # the third column is negative


def test_covers():
    can = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1], [0, 0, 1, 1]], dtype=bool)
    assert square.smallest_cover(can) == 2
    chosen = square.greedy_cover(can)
    assert can[chosen].any(0).all()


# --- noise ---


def test_noise_leaks():
    found = [runs.run_noise(Noise(strength=p, sequences=12, shots=25), 1)
             for p in (0.0, 0.03, 0.5)]  # fmt: skip
    assert found[0] == {"validity": 1.0, "leak": 0.0}
    assert 0.02 < found[1]["leak"] < 0.3
    assert found[2]["leak"] > 0.4
    assert found[2]["validity"] < found[1]["validity"] < 1


def test_noisy_circuits_are_the_cells():
    tokens = asked("uniform", 3, 2, 1, blocks=1).tokens(0)
    made = noise.circuit(3, tokens)
    cells = sum(len(token.link) + 4 for token in tokens)
    assert sum(made.count_ops().values()) == 3 + cells + 3  # |+>^3 first, and resets are gates here
    assert made.num_qubits == 4
    # Shots follow the exact probabilities of whole strings.
    y = noise.noisy_answers(3, [tokens], 0.0, 2000, seed=5)
    exact = task.outputs(3, tokens)
    words, counts = np.unique(
        ["".join("01"[bool(b)] for b in row) for row in y], return_counts=True
    )
    assert set(words) <= set(exact)
    for word, count in zip(words, counts, strict=True):
        assert count / 2000 == pytest.approx(exact[word], abs=0.06)
