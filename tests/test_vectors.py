"""Reference vectors: the public cases, the kinds without a public case, and honest failures."""

import json
from pathlib import Path

import pytest

from qmlbook.base.errors import UsageError
from qmlbook.papers import vectors

VECTORS = sorted(Path(__file__).parent.glob("vectors/*.json"))


def write(tmp_path, *cases, paper="klssl"):
    file = tmp_path / "cases.json"
    file.write_text(json.dumps({"paper": paper, "conventions": {}, "cases": list(cases)}))
    return file


def case(kind, inputs, expected):
    return {"id": "x", "kind": kind, "inputs": inputs, "expected": expected}


@pytest.mark.parametrize("file", VECTORS, ids=lambda f: f.stem)
def test_every_public_case_passes(file):
    results = vectors.check_files([file])
    assert results
    assert [r for r in results if not (r.checked and r.passed)] == []


def test_a_wrong_number_is_noticed(tmp_path):
    content = json.loads((Path(__file__).parent / "vectors/klssl.json").read_text())
    head = next(c for c in content["cases"] if c["kind"] == "quantum_head")
    head["expected"]["probs_ancilla"][0][0] += 3e-8
    (result,) = vectors.check_files([write(tmp_path, head)])
    assert result.checked
    assert not result.passed
    assert result.max_error == pytest.approx(3e-8, rel=1e-3)


@pytest.mark.parametrize(
    "broken",
    [
        case("no_such_kind", {}, {"a": 1}),
        case("closed_form_even_n", {"w_1": [[1, 2]] * 2, "w_2": [[1, 2]] * 2, "w_3": [[1, 2]] * 2},
             {"phi": [2, 5, 5, 4], "extra": 1}),
    ],
    ids=["kind", "field"],
)  # fmt: skip
def test_what_is_not_known_is_not_checked(tmp_path, broken):
    (result,) = vectors.check_files([write(tmp_path, broken)])
    assert not result.checked
    assert not result.passed


def test_wrong_shape_fails(tmp_path):
    inputs = {"w_1": [[1, 2]] * 2, "w_2": [[1, 2]] * 2, "w_3": [[1, 2]] * 2}
    (result,) = vectors.check_files(
        [write(tmp_path, case("closed_form_even_n", inputs, {"phi": [2, 5]}))]
    )
    assert result.checked
    assert not result.passed


WEIGHTS = {"w_1": [[1, 2], [3, 4]], "w_2": [[5, 6], [7, 8]], "w_3": [[9, 10], [11, 12]]}
KINDS_ASIDE = [
    case("closed_form_even_n", {"nlayers": 2, **WEIGHTS},
         {"phi": [1, 6 + 9, 5 + 22, 14]}),
    case("kl_loss_error",
         {"gamma": 0.5, "z_x": [0.1, 0.2], "z_y": [0.1, 0.2], "z_pos": [0, 0], "z_neg": [0.3]},
         {"error": "IndexError"}),
    case("kl_loss_error",
         {"gamma": 0.5, "z_x": [0.1], "z_y": [0.1], "z_pos": [0], "z_neg": []},
         {"error": "ValueError"}),
    case("learning_rate_per_step", {"base": 1e-3, "eta_min": 1e-6, "T_max": [50]},
         {"T_max_50": {"0": 1e-3, "25": 5.005e-4, "50": 1e-6, "100": 1e-3, "250": 1e-6}}),
    case("argument_validation",
         {"arguments": ["", "--gamma 0", "--gamma 1", "--c1 10", "--c2 -1", "--c1 3 --c2 3",
                        "--c2 9", "--nlayers 0", "--device tpu", "--data CIFAR10", "--gamma nan"]},
         {"accepted": [True, False, False, False, False, False, True, True, False, False, False],
          "defaults": {"device": "cuda:0", "classifier": "quantum", "nlayers": 2, "gamma": 0.5,
                       "data": "MNIST", "c1": 0, "c2": 1}}),
]  # fmt: skip


@pytest.mark.parametrize("aside", KINDS_ASIDE, ids=lambda c: c["kind"])
def test_kinds_without_a_public_case(tmp_path, aside):
    (result,) = vectors.check_files([write(tmp_path, aside)])
    assert result.checked, result.note
    assert result.passed, result.note


def test_an_answer_where_a_refusal_is_due_fails(tmp_path):
    inputs = {"gamma": 0.5, "z_x": [0.1], "z_y": [0.1], "z_pos": [0], "z_neg": [0.3, 0.2]}
    (result,) = vectors.check_files(
        [write(tmp_path, case("kl_loss_error", inputs, {"error": "IndexError"}))]
    )
    assert not result.passed


def test_class_counts_without_the_label_files_are_not_checked(tmp_path, monkeypatch):
    monkeypatch.delenv("QMLBOOK_DATA", raising=False)
    monkeypatch.setenv("QMLBOOK_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("QMLBOOK_DATA_URL", "http://127.0.0.1:9")  # nobody listens there
    counts = case("class_counts", {"c1": 0, "c2": 1}, {"MNIST": {"train": [5923, 6742]}})
    (result,) = vectors.check_files([write(tmp_path, counts)])
    assert not result.checked


@pytest.mark.parametrize(
    "text", ["", "[]", '{"paper": "klssl"}', '{"paper": "klssl", "cases": [1]}']
)
def test_a_file_of_another_form_is_refused(tmp_path, text):
    file = tmp_path / "bad.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"bad\.json"):
        vectors.check_files([file])


def test_an_unknown_paper_is_refused(tmp_path):
    with pytest.raises(UsageError, match="klssl"):
        vectors.check_files([write(tmp_path, paper="none")])


def test_pixel_rules_are_arithmetic_only(tmp_path):
    rule = "pixel(r,c) = (__import__('os').system('true')) mod 256"
    (result,) = vectors.check_files(
        [write(tmp_path, case("resize_28_to_14", {"pixel_rule": rule}, {"pixels_uint8": [[0]]}))]
    )
    assert not result.passed
    assert "cannot evaluate" in result.note


def test_lists_of_what_is_possible_must_be_equal(tmp_path, monkeypatch):
    from qmlbook.papers.klssl import vectors as room
    from qmlbook.papers.shared.cases import Kind

    def outcomes(inputs):
        return {"allowed": {"00": 0.5, "11": 0.5}, "n": 2}

    for allowed, passed in (({"00": 0.5}, False), ({"00": 0.5, "11": 0.5}, True)):
        for exact in (False, True):
            monkeypatch.setitem(room.KINDS, "outcomes", Kind(outcomes, exact=exact))
            file = write(tmp_path, case("outcomes", {}, {"allowed": allowed}))
            (result,) = vectors.check_files([file])
            assert result.checked
            assert result.passed == (passed or not exact)


@pytest.mark.parametrize("slip", [0.0, 1e-6])
def test_lists_of_objects_are_compared_entry_by_entry(tmp_path, slip):
    tokens = [{"i": 0, "link": []}, {"i": 1, "link": [[0]]}]
    inputs = {"n": 2, "k": 2, "tokens": tokens, "outcomes": ["01", "10"]}
    paths = [
        {"valid": True, "joint": 0.5 + slip, "p1": [0.0, 0.5]},
        {"valid": False, "joint": 0.0, "first_impossible": 0},
    ]
    broken = case("paths", inputs, {"paths": paths})
    (result,) = vectors.check_files([write(tmp_path, broken, paper="contextuality")])
    assert result.checked
    assert result.passed == (slip == 0)
    (short,) = vectors.check_files(
        [write(tmp_path, case("paths", inputs, {"paths": paths[:1]}), paper="contextuality")]
    )
    assert not short.passed


def test_as_many_steps_as_the_file_lists(tmp_path):
    from qmlbook.papers.qdeq.vectors import training

    inputs = {
        "n_wires": 4, "encoder": "amplitude", "theta": [0.3] * 35, "phi": [0.2] * 4,
        "u": [[0.1 * j for j in range(16)]], "y": [1],
        "optimiser": "Adam, lr 0.05, clipped at 0.25",
        "W": [[0.1 * j - 0.7 for j in range(16)], [0.05 * j for j in range(16)]], "b": [0.0, 0.1],
    }  # fmt: skip
    found = training({**inputs, "steps": 2})
    expected = {"losses": found["losses"], "theta_after": found["theta_after"].tolist()}
    (result,) = vectors.check_files(
        [write(tmp_path, case("training", inputs, expected), paper="qdeq")]
    )
    assert result.checked, result.note
    assert result.passed, result.note
