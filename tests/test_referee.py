"""A circuit of one's own, held against its controls: cases, circuits made from it, plan, rule."""

import json
import math
from dataclasses import replace

import numpy as np
import pennylane as qml
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from test_cli import call

from qmlbook.base import files, paths
from qmlbook.base.errors import QmlbookError, UsageError
from qmlbook.evidence import stats
from qmlbook.referee import circuits, decide, judge, plan, players, rates, report, runs, trained
from qmlbook.referee.case import Case, load_case, require_fit
from qmlbook.referee.together import together


def reuploading(x, weights):
    for layer in weights:
        for wire in range(2):
            qml.RX(x[..., wire], wires=wire)
        for wire in range(2):
            qml.RY(layer[wire], wires=wire)
        qml.CNOT(wires=(0, 1))
    return [qml.expval(qml.Z(wire)) for wire in range(2)]


def task(n=90, features=2):
    rng = np.random.default_rng(1)
    x = rng.uniform(0, math.pi, (n, features))
    return x, (x[:, 0] > math.pi / 2).astype(int)


def small(**changed):
    settings = {"weights": (2, 2), "data": task(), "train": 24, "epochs": 2, "batch": 24}
    return Case(**{"circuit": reuploading, "scale": "as they are", **settings, **changed})


def refused(*parts, **changed):
    """Return the one sentence with which a case is refused."""
    with pytest.raises(UsageError) as caught:
        require_fit(small(**changed))
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    for part in parts:
        assert part in said
    return said


# -- cases that cannot be judged -----------------------------------------------------------------


def test_a_circuit_that_cannot_be_differentiated_is_refused():
    refused("cannot be differentiated", circuit=lambda x, w: reuploading(x, w.detach()))

    def sampled(x, weights):
        qml.RX(x[..., 0] + weights.sum(), wires=0)
        return qml.sample(wires=0)

    refused("does not run", circuit=sampled)


def test_data_that_nothing_can_be_learned_from_are_refused():
    x, y = task()
    refused("one class", data=(x, np.zeros(90, int)))
    refused("one value", data=(x, np.zeros(90)), metric="r2")
    spoiled = x.copy()
    spoiled[3, 1] = math.nan
    refused("1 number of the inputs are NaN", data=(spoiled, y))
    refused("labels are texts ('cat', 'dog')", data=(x, np.array(["dog", "cat"] * 45)))
    refused("one label", data=(x, y[:50]))
    refused("whole numbers", "r2", data=(x, y + 0.5))
    refused("arrays", data=7)
    refused("choose from", data="mnits")
    refused("train is 80", train=80)


def test_weights_that_do_not_fit_are_refused():
    refused("weights of the shape (2, 1)", weights=(2, 1))
    refused("uses 4 of these 6 numbers", weights=(2, 3))


def test_features_are_the_last_axis():
    def first_axis(x, weights):
        qml.RX(x[0], wires=0)
        qml.RY(weights[0, 0] + weights[0, 1] + weights[1, 0] + weights[1, 1], wires=0)
        return qml.expval(qml.Z(0))

    refused("x[..., i]", circuit=first_axis, data=task(features=3))


def test_more_qubits_than_the_budget_allows_are_refused_before_anything_runs():
    def wide(x, weights):
        for wire in range(26):
            qml.RY(x[..., 0] + weights[wire], wires=wire)
        return qml.expval(qml.Z(0))

    refused("26 qubits", "budget of 10 min allows", circuit=wide, weights=(26,))


def test_settings_that_do_not_exist_are_refused():
    for changed in ({"metric": "auc"}, {"scale": "log"}, {"train": 3}, {"budget": -1.0},
                    {"margin": math.nan}, {"name": "a/b"}):  # fmt: skip
        with pytest.raises(UsageError, match=next(iter(changed))):
            small(**changed)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"weights": 4}, "weights is 4 and must be a shape"),
        ({"weights": (2, -1)}, "weights is (2, -1) and must be a shape"),
        ({"weights": "22"}, "weights is '22' and must be a shape"),
        ({"classes": 3}, "classes is 3 and must be a list of labels"),
        ({"epochs": 1.5}, "epochs is 1.5 and must be a whole number"),
        ({"features": 0}, "features is 0 and must be a whole number"),
        ({"budget": "10m"}, "budget is '10m' and must be a number above 0"),
        ({"name": None}, "name None must be letters"),
        ({"circuit": 7}, "circuit is 7 and must be a function"),
        ({"before": 7}, "before is 7 and must be a function"),
        ({"shots": 0}, "shots is 0 and must be a whole number"),
        ({"noise": 7}, "noise is 7 and must be the name of a fake device"),
    ],
)
def test_settings_of_another_type_are_one_sentence(changed, said):
    with pytest.raises(UsageError) as caught:
        small(**changed)
    assert str(caught.value).startswith(said)
    assert str(caught.value).endswith(".")


def test_circuits_without_gates_and_layers_that_do_not_fit_are_refused():
    refused("no gates", circuit=lambda x, w: qml.expval(qml.Z(0)))
    refused("does not run", circuit=lambda x, w: reuploading(x, w) and None)

    def state(x, weights):
        reuploading(x, weights)
        return qml.state()

    refused("circuit", circuit=state)
    refused("before makes no layers for 2 numbers", before=lambda: torch.nn.Linear(3, 2))
    refused("after makes no layers for 2 numbers", after=lambda: torch.nn.Linear(3, 2))
    refused("after makes 7 numbers", "need 2", after=lambda: torch.nn.Linear(2, 7))
    refused("equally long", data=([[1.0], [1.0, 2.0]], [0, 1]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\nb = 1 / 0\n", "mine.py, line 2, raises ZeroDivisionError: division by zero."),
        ("x = (\n", "mine.py, line 1, raises SyntaxError"),
        ("a = 1\n", "mine.py has no case"),
        ("import sys\nsys.exit(3)\n", "line 2, raises SystemExit"),
        ("raise ValueError('two\\n\\nlines')\n", "line 1, raises ValueError: two lines."),
        ("# caf\udce9\n", "mine.py, line 1, raises UnicodeDecodeError"),
    ],
)
def test_a_file_that_holds_no_case_is_one_sentence(tmp_path, text, said):
    file = tmp_path / "mine.py"
    file.write_text(text, "utf-8", "surrogateescape")
    with pytest.raises(UsageError) as caught:
        load_case(file)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(QmlbookError, match="missing"):
        load_case(tmp_path / "none.py")


def test_data_come_from_files_and_names(tmp_path):
    x, y = task()
    np.savez(tmp_path / "d.npz", x=x, y=y)
    rows = "\n".join(",".join(map(repr, map(float, [*a, b]))) for a, b in zip(x, y, strict=True))
    (tmp_path / "d.csv").write_text(f"one,two,label\n{rows}\n")
    given = small().examples.digest
    assert small(data=tmp_path / "d.npz").examples.digest == given
    assert small(data=str(tmp_path / "d.csv")).examples.digest == given
    (tmp_path / "texts.csv").write_text("one,two,label\n" + "1,2,cat\n3,4,dog\n" * 20)
    refused("labels are texts ('cat', 'dog')", data=tmp_path / "texts.csv")
    np.savez(tmp_path / "d.npz", inputs=x)
    refused("cannot be used", data=tmp_path / "d.npz")
    digits = small(data="digits", classes=(0, 1), features=2, scale="angles").examples
    assert digits.pool.inputs.shape[1] == 2
    assert 0 <= digits.pool.inputs.min() <= digits.pool.inputs.max() <= math.pi
    images = small(data="mnist", classes=(0, 1), features=2).examples
    assert images.outputs == 2


def test_a_case_is_the_same_whatever_was_asked_of_it_before():
    fresh, asked = small(), small()
    assert asked.width == 2
    assert players.players(asked)
    assert fresh.digest == asked.digest
    assert small(budget=3.0).digest == fresh.digest  # how long it may take changes no run
    assert small(epochs=3).digest != fresh.digest
    x, y = task()
    x[0, 0] += 1e-9
    assert small(data=(x, y)).digest != fresh.digest


def test_test_examples_are_in_no_training_set():
    examples = small().examples
    held = {tuple(row) for row in examples.test.inputs.tolist()}
    for seed in range(5):
        assert held.isdisjoint(map(tuple, examples.drawn(24, seed).inputs.tolist()))


# -- circuits ------------------------------------------------------------------------------------


def known(circuit, features, shape, encoding=None):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.uniform(0.2, 3, (40, features)))
    starts = [torch.from_numpy(rng.uniform(0, 6, shape)) for _ in range(4)]
    return circuits.facts(circuit, x, starts)


def test_what_a_circuit_computes_is_found():
    facts = known(reuploading, 2, (2, 2))
    assert (facts.qubits, facts.entangling, facts.measured, facts.cone) == (2, 2, 2, 2)
    assert facts.frequencies == (2, 2)
    assert facts.coefficients == 25
    assert facts.form == "a trigonometric polynomial"
    assert facts.encoding == "angles"
    assert (facts.parameters, facts.unused, facts.unseen) == (4, 0, 0)


def test_frequencies_are_those_of_the_outputs():
    """Held against a Fourier transform of what the circuit says."""

    def scaled(x, weights):
        qml.RX(3 * x[..., 0], wires=0)
        qml.RY(weights[0], wires=0)
        qml.CRX(2 * x[..., 0], wires=(0, 1))
        qml.RY(weights[1], wires=1)
        return qml.expval(qml.Z(0) @ qml.Z(1))

    weights = torch.tensor([0.7, 1.9], dtype=torch.float64)
    gates, _ = circuits.anatomy(scaled, 1, (2,))
    x = torch.linspace(0, 2 * math.pi, 65, dtype=torch.float64)[:-1, None]
    angles = circuits.encoded_angles(scaled, gates, x, weights).numpy()
    found = circuits.spectrum(gates, angles, range(len(gates)))
    (column,), (frequencies,) = found.columns, found.frequencies
    scale = angles[1, column] / x[1, 0].item()
    allowed = {round(f * scale) for f in frequencies}
    power = np.abs(np.fft.rfft(circuits.outputs(scaled)(x, weights)[:, 0].numpy()))
    there = set(np.flatnonzero(power > 1e-9).tolist())
    assert len(there) > 3
    assert there <= allowed


def test_factors_and_quadratic_forms_are_recognised():
    def apart(x, weights):
        for wire in range(2):
            qml.RX(x[..., wire], wires=wire)
            qml.RY(weights[wire], wires=wire)
        return qml.expval(qml.Z(0) @ qml.Z(1))

    def amplitudes(x, weights):
        qml.AmplitudeEmbedding(x, wires=(0, 1), normalize=True)
        qml.CRY(weights[0], wires=(0, 1))
        return qml.probs(wires=1)

    assert known(apart, 2, (2,)).form == "a product of functions of single features"
    facts = known(amplitudes, 4, (1,))
    assert facts.form == "a quadratic form of the amplitudes"
    assert facts.measured == 2
    assert facts.encoding == "amplitudes"


def test_without_entanglement_every_wire_stays_alone():
    def mixed(x, weights):
        qml.AngleEmbedding(x, wires=range(3))
        qml.StronglyEntanglingLayers(weights[None, :, :3], wires=range(3))
        qml.IsingXX(weights[0, 3], wires=(0, 1))
        qml.CRY(weights[1, 3], wires=(1, 2))
        qml.PauliRot(weights[2, 3], "XYZ", wires=range(3))
        return [qml.expval(qml.Z(wire)) for wire in range(3)]

    alone = circuits.changed(mixed, circuits.without_entanglement)
    gates, _ = circuits.anatomy(alone, 3, (3, 4))
    assert all(len(gate.wires) == 1 for gate in gates)
    assert len(frozenset().union(*(gate.weights for gate in gates))) == 12
    x = torch.rand(4, 3, dtype=torch.float64)
    weights = torch.rand(3, 4, dtype=torch.float64)
    run, moved = circuits.outputs(alone), x.clone()
    moved[:, 1] += 1
    changed = (run(moved, weights) - run(x, weights)).abs().amax(0)
    assert changed[1] > 1e-3
    assert changed[[0, 2]].max() < 1e-12


def test_a_block_is_left_out_with_the_gates_that_follow_it():
    gates, _ = circuits.anatomy(reuploading, 2, (2, 2))
    blocks = circuits.blocks(gates, (2, 2))
    assert list(blocks) == ["1", "2"]
    x, weights = torch.rand(3, 2, dtype=torch.float64), torch.rand(2, 2, dtype=torch.float64)

    def by_hand(x, weights):
        for _ in range(2):
            for wire in range(2):
                qml.RX(x[..., wire], wires=wire)
        for wire in range(2):
            qml.RY(weights[0, wire], wires=wire)
        qml.CNOT(wires=(0, 1))
        return [qml.expval(qml.Z(wire)) for wire in range(2)]

    left = circuits.outputs(circuits.without_block(reuploading, blocks["1"]))(x, weights)
    assert torch.allclose(left, circuits.outputs(by_hand)(x, weights[1:]))


# -- players -------------------------------------------------------------------------------------


def test_every_player_takes_part_with_the_same_effort():
    case = small()
    known = players.players(case)
    rivals = [name for name, who in known.items() if who.role == players.RIVAL]
    assert rivals == ["untrained", "frozen", "no-entanglement", "no-circuit", "surrogate", "ridge",
                      "network", "linear", "kernel"]  # fmt: skip
    trained = [who for name, who in known.items() if who.settings and name != "untrained"]
    assert {len(who.settings) for who in trained} == {4}
    train, test = case.examples.drawn(24, 0), case.examples.test
    for who in known.values():
        value = (who.settings or known[who.like].settings)[0]
        [made] = runs.measure(case, who, value, [0], [train], [test])
        assert 0 <= made["score"] <= 1
        assert runs.measure(case, who, value, [0], [train], [test]) == [made]


def test_what_is_frozen_stays_and_what_is_trained_moves():
    case = small()
    known = players.players(case)
    train = case.examples.drawn(24, 0)
    moved = {}
    for name in ("circuit", "untrained", "frozen"):
        net = known[name].model(case, 0)
        before = [p.detach().clone() for p in net.parameters()]
        list(players.steps(case, net, train, 0.1, 0))
        pairs = zip(before, net.named_parameters(), strict=True)
        moved[name] = {key for old, (key, new) in pairs if not torch.equal(old, new)}
    assert moved["untrained"] == set()
    assert moved["frozen"] == {"after.weight", "after.bias"}
    assert moved["circuit"] == {"weights", "after.weight", "after.bias"}


def of_seeds(case, name, seeds=(0, 1, 2)):
    """Return what a player comes to: every seed by itself, and all of them at once."""
    who, test = players.players(case)[name], case.examples.test
    trains = [case.examples.drawn(24, seed) for seed in seeds]
    alone = [
        runs.measure(case, who, 0.1, [seed], [train], [test])[0]
        for seed, train in zip(seeds, trains, strict=True)
    ]
    return alone, runs.measure(case, who, 0.1, seeds, trains, [test] * len(seeds))


@pytest.mark.parametrize(
    "name", ["circuit", "untrained", "frozen", "no-entanglement", "no-circuit", "network"]
)
@pytest.mark.parametrize("metric", ["accuracy", "r2"])
def test_seeds_side_by_side_come_to_what_they_come_to_alone(name, metric, monkeypatch):
    used = []
    own = runs.steps_together
    monkeypatch.setattr(runs, "steps_together", lambda *given: used.append(1) or own(*given))
    x, _ = task()
    data = task() if metric == "accuracy" else (x, np.sin(x).sum(1))
    alone, abreast = of_seeds(small(metric=metric, data=data, batch=7, epochs=3), name)
    assert used
    for one, other in zip(alone, abreast, strict=True):
        assert one.keys() == other.keys()
        for key in ("loss", "curve"):
            assert other[key] == pytest.approx(one[key], abs=1e-10)
    assert abreast[0]["loss"] != abreast[1]["loss"]


def test_a_circuit_that_wants_its_weights_in_their_shape_is_run_seed_by_seed():
    def layered(x, weights):
        qml.AngleEmbedding(x, wires=(0, 1))
        qml.BasicEntanglerLayers(weights.reshape(2, 2), wires=(0, 1))
        return qml.expval(qml.Z(0))

    alone, abreast = of_seeds(small(circuit=layered), "circuit")
    assert alone == abreast


def test_layers_that_keep_more_than_parameters_are_run_seed_by_seed():
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", torch.rand(1))

        def forward(self, x):
            return self.scale * x

    kept = small(before=Scaled)
    models = [players.players(kept)["no-circuit"].model(kept, seed) for seed in (0, 1)]
    assert together(models, [kept.examples.pool.inputs[:2]] * 2) is None


def test_a_trained_circuit_is_also_read_with_shots_and_with_a_machines_noise():
    case = small(shots=1, noise="FakeManilaV2", epochs=8)
    require_fit(case)
    known = players.players(case)
    test = case.examples.test
    scores = {}
    for name in ("circuit", "shots", "noise"):
        trains = [case.examples.drawn(24, seed) for seed in range(3)]
        made = runs.measure(case, known[name], 0.1, range(3), trains, [test] * 3)
        assert made == runs.measure(case, known[name], 0.1, range(3), trains, [test] * 3)
        scores[name] = [run["score"] for run in made]
        assert known[name].role == (players.SUBJECT if name == "circuit" else players.ABLATION)
    assert np.mean(scores["shots"]) < np.mean(scores["circuit"])  # one shot tells little
    assert scores["noise"] != scores["shots"]
    x, weights = test.inputs, case.starts(np.random.default_rng(0))
    many = circuits.elsewhere(reuploading, backend="default.qubit", shots=10_000)
    exact = circuits.outputs(reuploading)(x, weights)
    assert (many(x, weights) - exact).abs().max() < 0.06
    noisy = circuits.elsewhere(reuploading, backend="aer-noise", device="FakeManilaV2")
    assert 0.01 < (noisy(x, weights) - exact).abs().mean() < 0.3
    assert not {"shots", "noise"} & players.players(small()).keys()


def test_a_machine_that_is_not_known_is_refused_before_anything_runs():
    refused("noise: device 'FakeParis7' is not a fake device", noise="FakeParis7")

    def fitting(x, weights):
        qml.RX(x[..., 0] + weights.sum(), wires=0)
        return qml.expval(qml.Hermitian(np.diag([1.0, -1.0]), wires=0))

    refused("noise: Measurement", circuit=fitting, noise="FakeManilaV2")


def test_a_case_of_numbers_with_layers_of_its_own_runs():
    x, _ = task(features=3)
    case = small(
        data=(x, np.sin(x).sum(1)), metric="r2",
        before=lambda: torch.nn.Linear(3, 2), after=lambda: torch.nn.Linear(2, 1),
    )  # fmt: skip
    require_fit(case)
    for who in players.players(case).values():
        value = (who.settings or players.RATES)[0]
        train, test = case.examples.drawn(24, 0), case.examples.test
        [made] = runs.measure(case, who, value, [0], [train], [test])
        assert made["score"] <= 1


def test_an_amplitude_circuit_has_quadratic_forms_for_a_surrogate():
    def amplitudes(x, weights):
        qml.AmplitudeEmbedding(x, wires=(0, 1), normalize=True)
        qml.RY(weights[0], wires=0)
        qml.CNOT(wires=(0, 1))
        return qml.expval(qml.Z(1))

    case = small(circuit=amplitudes, weights=(1,), data=task(features=4))
    model = players.players(case)["surrogate"].model(case, 0)
    x = case.examples.pool.inputs[:5]
    assert torch.allclose(model(x), model(3 * x))  # of the direction alone
    assert torch.allclose(model(x), model(-x))


# -- rule ----------------------------------------------------------------------------------------


def test_the_rule_has_the_words_of_the_book():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, (2, 30))
    far, near = 0.2 + noise[0], noise[1]
    assert decide.decide({"a": far, "b": far}, 0.05).word == stats.SURVIVES
    assert decide.decide({"a": far, "b": near}, 0.05).word == "explained by b"
    assert decide.decide({"a": far, "b": 20 * near}, 0.05).word == stats.UNDECIDED
    assert decide.decide({"same": np.zeros(30)}, 0.05).word == "explained by same"


def test_more_rivals_need_more_seeds_and_more_evidence():
    pilot = np.random.default_rng(0).normal(0, 0.1, (1, 6))
    few, many = (decide.seeds_for(np.repeat(pilot, n, 0), 0.02) for n in (1, 9))
    assert decide.LEAST < few < many < decide.MOST
    lead = np.random.default_rng(1).normal(0, 1, 30)
    lead = (lead - lead.mean()) / lead.std(ddof=1) * np.sqrt(30) - 2.9  # mean -2.9, one error is 1
    assert decide.rule(lead[None], 0.0)[1].all()
    assert not decide.rule(np.stack([lead, *[lead + 100] * 8]), 0.0)[1].any()


def test_the_rule_errs_as_seldom_as_promised_on_laws_of_stored_runs():
    laws = rates.stored_laws()
    assert len(laws) >= 8
    assert {name.split(":")[0] for name in laws} == {"c2q", "klssl", "qdeq", "qssl"}
    widest = max(laws.values(), key=len)
    found = rates.rates(widest, widest.std(1).max())
    for kind, rate in found.items():
        if "twice" in kind:
            assert rate.low >= 0.8, (kind, rate)
        else:
            assert rate.high <= 0.05, (kind, rate)


def test_a_rule_with_intervals_at_50_percent_would_be_seen_to_err(monkeypatch):
    monkeypatch.setattr(decide, "SIDE", 0.25)
    decide.reach.cache_clear()
    law = max(rates.stored_laws().values(), key=len)
    found = rates.rates(law, law.std(1).max(), cases=200)
    decide.reach.cache_clear()
    assert found["adds exactly the margin"].high > 0.05
    assert found["adds just more than the margin over every rival"].high > 0.05


# -- from case to report -------------------------------------------------------------------------


def normal(means, seeds=3000):
    rng = np.random.default_rng(0)
    return np.array(means)[:, None] + rng.normal(size=(len(means), seeds))


def test_cases_are_cut_from_seeds_that_are_used_once():
    ahead = trained.rate(normal([3.0, 4.0]), 1.0, stats.SURVIVES)
    assert (ahead.share, ahead.cases > trained.CASES) == (1.0, True)
    assert decide.LEAST <= ahead.seeds < 150
    assert trained.rate(normal([0.0, 4.0]), 1.0, stats.SURVIVES).share == 0.0
    assert trained.rate(normal([0.0, 4.0]), 1.0, stats.EXPLAINED_BY).share == 0.98
    with pytest.raises(QmlbookError, match="100 seeds are too few for 20 cases"):
        trained.rate(normal([3.0, 4.0], 100), 1.0, stats.SURVIVES)


def test_the_rule_errs_as_seldom_on_cases_that_are_trained():
    found = trained.rates("deeper", 0.05)
    assert found.keys() == rates.KINDS.keys()
    for kind, rate in found.items():
        assert rate.cases >= trained.CASES
        assert rate.share >= 0.8 if "twice" in kind else rate.share <= 0.05, (kind, rate)


@pytest.mark.nightly
def test_more_seeds_of_a_case_are_made_block_by_block(judged, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "referee" / "tiny"
    folder.mkdir(parents=True)
    (folder / "report.json").write_bytes((judged[1] / "report.json").read_bytes())
    monkeypatch.setattr(trained, "BLOCK", 16)
    monkeypatch.setattr(trained.paths, "data_root", lambda: tmp_path)
    monkeypatch.setattr(trained, "load_case", lambda _: small(name="tiny"))
    assert trained.main(["tiny", "--seeds", "3"]) == 0
    who, first = trained.load("tiny")
    assert trained.main(["tiny", "--seeds", "18"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "tiny: 18 of 18 seeds"
    assert trained.main(["tiny", "--seeds", "18"]) == 0
    assert capsys.readouterr().out == ""
    again, scores = trained.load("tiny")
    assert again == who
    assert scores.shape == (len(who), 18)
    assert np.array_equal(scores[:, :3], first)
    assert trained.leads("tiny").shape == (len(who) - 1, 18)
    assert trained.leads("tiny", "linear").shape == (len(who) - 2, 18)
    trained.file_of("tiny").write_text("circuit,other\n0.5,0.5\n")
    assert trained.main(["tiny", "--seeds", "18"]) == 1
    assert "has other players than tiny" in capsys.readouterr().err


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("referee")
    return judge.referee(small(name="tiny", claim="A & B <i>"), folder, seeds=30), folder


def test_a_case_is_judged_and_reported_on_pages_that_need_no_network(judged):
    made, folder = judged
    assert made.plan.seeds == 30
    assert made.rows[0].name == "circuit"
    again = report.Report.from_json((folder / "report.json").read_text("utf-8"))
    assert again == replace(made, rows=again.rows, plan=again.plan)
    assert [vars(row) for row in again.rows] == [vars(row) for row in made.rows]
    page = (folder / "report.html").read_text("utf-8")
    assert "A &amp; B &lt;i&gt;" in page
    assert "<i>" not in page
    assert "src=" not in page
    assert "<link" not in page
    assert page.count("<svg") == 2
    for row in made.rows[1:]:
        assert row.name in page
        assert row.name in (folder / "report.md").read_text("utf-8")


def test_the_pilot_and_the_tuning_share_no_seed_with_the_runs(judged):
    _, folder = judged
    seeds = {
        kind: {json.loads(line)["seed"] for line in
               (folder / "runs" / "tiny" / f"{kind}.jsonl").read_text("utf-8").splitlines()}
        for kind in runs.KINDS
    }  # fmt: skip
    assert seeds["runs"] == set(range(30))
    assert len(seeds["pilot"]) == decide.PILOT
    assert seeds["runs"].isdisjoint(seeds["pilot"] | seeds["tuning"])
    assert seeds["pilot"].isdisjoint(seeds["tuning"])


def test_judging_again_runs_nothing(judged, monkeypatch):
    made, folder = judged

    def nothing(jobs):
        assert not jobs
        yield from ()

    again = judge.referee(small(name="tiny", claim="A & B <i>"), folder, runner=nothing)
    assert again.word == made.word
    assert again.seal == made.seal


def test_a_plan_or_a_case_that_changed_after_the_seal_is_refused(judged):
    _, folder = judged
    for changed in ({"epochs": 3}, {"margin": 0.3}, {"claim": "C"}):
        with pytest.raises(QmlbookError, match="changed after its plan"):
            judge.referee(small(**{"name": "tiny", "claim": "A & B <i>", **changed}), folder)
    file = folder / plan.FILE
    before = file.read_bytes()
    file.write_bytes(before.replace(b'"margin": 0.02', b'"margin": 0.5'))
    try:
        with pytest.raises(QmlbookError, match="changed after it was sealed"):
            judge.referee(small(name="tiny", claim="A & B <i>"), folder)
    finally:
        file.write_bytes(before)


def test_a_budget_that_is_too_small_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="30 seeds, the fewest"):
        judge.referee(small(name="poor", budget=0.02, weights=(1, 2)), tmp_path)
    with pytest.raises(UsageError, match="30 or more"):
        judge.referee(small(name="poor", weights=(1, 2)), tmp_path, seeds=5)


@pytest.mark.parametrize("seeds", [-1, 0, 29, 10_001, 10**30])
def test_seeds_that_no_rule_is_for_are_refused_before_anything_runs(tmp_path, seeds):
    told = []
    with pytest.raises(UsageError, match=f"seeds is {seeds} and must be 30 or more .*10,000"):
        judge.referee(small(name="tiny"), tmp_path / "new", seeds=seeds, echo=told.append)
    assert not told
    assert not (tmp_path / "new").exists()


def test_other_seeds_than_those_of_a_sealed_plan_are_refused(judged):
    _, folder = judged
    with pytest.raises(UsageError, match=r"seeds is 31, and the plan in .* was sealed with 30"):
        judge.referee(small(name="tiny", claim="A & B <i>"), folder, seeds=31)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", "[" * 100_000])
def test_a_sealed_file_that_is_no_plan_is_one_sentence(tmp_path, content):
    files.write(tmp_path / plan.FILE, content.encode(), checksum=True)
    with pytest.raises(QmlbookError, match="is no plan of this version: judge the case anew"):
        plan.unsealed(tmp_path, "0")


def test_a_sanity_check_that_learns_gates_the_case(judged):
    made, folder = judged
    records = {
        row.name: [r for r in judge.Store(folder / "runs").records("tiny", "runs")
                   if r.variant.startswith(f"{row.name}.")]
        for row in made.rows
    }  # fmt: skip
    told = judge.judged(made.plan, made.seal, records, 0.0, "")
    assert told.word == made.word
    lucky = [replace(r, metrics={**r.metrics, "score": 0.99}) for r in records["shuffled-labels"]]
    gated = judge.judged(made.plan, made.seal, {**records, "shuffled-labels": lucky}, 0.0, "")
    assert gated.word == "cannot be decided"


# -- what is stored, and the command -------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits", "iris", "made", "deeper"])
def test_a_stored_case_is_what_was_sealed_and_its_report_follows_from_its_runs(name):
    folder = paths.data_root() / "referee" / name
    case = load_case(folder / "case.py")
    found = plan.unsealed(folder, case.digest)
    assert found is not None
    told = report.Report.from_json((folder / "report.json").read_text("utf-8"))
    store = judge.Store(folder / "runs")
    assert all(check.ok for check in store.check(name))
    stored = store.records(name, "runs")
    records = {
        who: [r for r in stored if r.variant.startswith(f"{who}.")] for who in found[0].players
    }
    assert {len(made) for made in records.values()} == {found[0].seeds}
    again = judge.judged(*found, records, told.spent, told.command)
    assert again.to_json() == told.to_json()
    assert (folder / "report.md").read_text("utf-8") == report.markdown(told)


def test_the_stored_cases_say_yes_as_well_as_no():
    texts = [
        (paths.data_root() / "referee" / name / "report.json").read_text("utf-8")
        for name in ("deeper", "made", "digits")
    ]
    survives, undecided, explained = (report.Report.from_json(text).word for text in texts)
    assert (survives, undecided) == (stats.SURVIVES, stats.UNDECIDED)
    assert explained.startswith(stats.EXPLAINED_BY)


FILE = """
import math
import numpy as np
import pennylane as qml
from qmlbook.referee.case import Case

def circuit(x, weights):
    for wire in range(2):
        qml.RX(x[..., wire] + weights[wire], wires=wire)
    return [qml.expval(qml.Z(wire)) for wire in range(2)]

x = np.random.default_rng(0).uniform(0, math.pi, (60, 2))
case = Case(circuit, (2,), (x, (x[:, 0] > 1.5).astype(int)), "filed", train=20, epochs=1, batch=20)
"""


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((), 2, "one of the two"),
        (("none.py", "--example"), 2, "one of the two"),
        (("none.py",), 1, "none.py is missing"),
        (("case.py", "--budget", "soon"), 2, "budget is 'soon' and must be like 90s, 10m or 2h"),
        (("case.py", "--budget", "0m"), 2, "budget is '0m'"),
        (("case.py", "--seeds", "3"), 2, "seeds is 3"),
        (("case.py", "--to", ""), 2, "is no folder"),
        (("case.py", "--to", "case.py"), 2, "--to 'case.py' is no folder"),
        (("case.py", "--to", "case.py/x"), 2, "because case.py is none"),
    ],
)
def test_bad_usage_of_the_command_is_one_sentence(
    monkeypatch, capsys, tmp_path, words, status, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "case.py").write_text(FILE)
    got, _, err = call(monkeypatch, capsys, "referee", *words)
    assert (got, said in err) == (status, True), err


BAD = {
    "cannot be differentiated": ("circuit", "lambda x, w: circuit(x, w.detach())"),
    "one class leaves nothing to tell": ("labels", "0 * y"),
    "are NaN": ("inputs", "np.where(x > 3, np.nan, x)"),
    "labels are texts ('cat', 'dog')": ("labels", "np.array(['cat', 'dog'])[y]"),
    "uses 2 of these 3 numbers": ("weights", "(3,)"),
    "26 qubits, and a budget of 10 min allows": ("circuit", "wide"),
    "raises KeyError: 'no such name'": ("inputs", "{}['no such name']"),
}


@pytest.mark.parametrize("said", BAD)
def test_a_bad_case_is_one_sentence_of_the_command(monkeypatch, capsys, tmp_path, said):
    what, instead = BAD[said]
    given = {"circuit": "circuit", "weights": "(2,)", "inputs": "x", "labels": "y", what: instead}
    if instead == "wide":
        given["weights"] = "(26,)"
    made = f"""{FILE.partition("x = np")[0]}
def wide(x, weights):
    for wire in range(26):
        qml.RY(x[..., 0] + weights[wire], wires=wire)
    return qml.expval(qml.Z(0))

x = np.random.default_rng(0).uniform(0, math.pi, (60, 2))
y = (x[:, 0] > 1.5).astype(int)
data = {given["inputs"]}, {given["labels"]}
case = Case({given["circuit"]}, {given["weights"]}, data, "bad", train=20, epochs=1)
"""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text(made)
    status, out, err = call(monkeypatch, capsys, "referee", "bad.py")
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("Error: ")
    assert said in err
    assert not (tmp_path / "referee").exists()


@pytest.mark.parametrize("name", ["klssl", "qssl", "c2q", "qdeq"])
def test_the_papers_circuits_are_cases_and_their_reports_follow_the_sealed_plans(name):
    case = load_case(paths.PACKAGE.parents[1] / "examples" / "headlines" / f"{name}.py")
    require_fit(case)
    assert case.name == name
    assert case.budget <= 15
    folder = paths.data_root() / "referee" / name
    told = report.Report.from_json((folder / "report.json").read_text("utf-8"))
    assert (told.plan, told.seal) == plan.unsealed(folder, case.digest)
    assert told.plan.seeds == decide.LEAST
    assert {row.name for row in told.rows} == set(told.plan.players)


@pytest.mark.nightly
@pytest.mark.slow
def test_the_command_judges_a_file_on_a_cluster_of_processes(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "case.py").write_text(FILE)
    words = ("referee", "case.py", "--seeds", "30", "--budget", "60m")
    status, out, err = call(monkeypatch, capsys, *words, "--workers", "2", "--to", "several")
    assert status == 0, err
    assert "report.html" in out
    # Nothing entangles, so there is no control without entanglement.
    assert "no-entanglement" not in (tmp_path / "several" / "report.md").read_text("utf-8")
    assert call(monkeypatch, capsys, *words, "--to", "alone")[0] == 0
    rows = [json.loads((tmp_path / name / "report.json").read_text("utf-8"))["rows"]
            for name in ("several", "alone")]  # fmt: skip
    assert rows[0] == rows[1]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_report_is_accessible_fits_and_is_printed(browser, tmp_path, width):
    page = (paths.data_root() / "referee" / "digits" / "report.html").as_uri()
    context = browser.new_context(viewport={"width": width, "height": 800}, offline=True)
    tab = context.new_page()
    tab.goto(page)
    found = Axe().run(tab).response
    assert [rule["id"] for rule in found["violations"]] == []
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert len(tab.pdf()) > 10_000
    context.close()
