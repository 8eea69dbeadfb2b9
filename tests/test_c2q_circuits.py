"""The c2q circuits, costs, optimisers and vector kinds against plain matrices and closed facts."""

import json
import math
import re

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pennylane import numpy as pnp

from qmlbook.base.errors import UsageError
from qmlbook.papers import vectors
from qmlbook.papers.c2q import circuits, descent, losses
from qmlbook.papers.shared.qnodes import qnode

# --- an independent simulation: gates as words, wire 0 in the most significant bit ----------------

CONVOLUTIONS = {
    1: "CZ(a,b)",
    2: "RY0 a, RY1 b, CNOT(a,b)",
    3: "H a, H b, CZ(a,b), RX0 a, RX1 b",
    4: "RY0 a, RY1 b, CNOT(b,a), RY2 a, RY3 b, CNOT(a,b)",
    5: "RY0 a, RY1 b, CRZ2(b,a), RY3 a, RY4 b, CRZ5(a,b)",
    6: "RY0 a, RY1 b, CRX2(b,a), RY3 a, RY4 b, CRX5(a,b)",
    7: "RY0 a, RY1 b, CNOT(a,b), RY2 a, RY3 b, CNOT(a,b), RY4 a, RY5 b",
    8: "RX0 a, RX1 b, RZ2 a, RZ3 b, CRZ4(b,a), CRZ5(a,b), RX6 a, RX7 b, RZ8 a, RZ9 b",
    9: "RX0 a, RX1 b, RZ2 a, RZ3 b, CRX4(b,a), CRX5(a,b), RX6 a, RX7 b, RZ8 a, RZ9 b",
    10: "U0 a, U3 b, CNOT(a,b), RY6 a, RZ7 b, CNOT(b,a), RY8 a, CNOT(a,b), U9 a, U12 b",
    11: "U0 a, CU3(a,b), X a, CU6(a,b), X a",
}
POOLINGS = {"zx": "CRZ0(a,b), X a, CRX1(a,b)", "general": "CU0(a,b), X a, CU3(a,b)", "none": ""}
SIZES = {1: 0, 2: 2, 3: 2, 4: 4, 5: 6, 6: 6, 7: 6, 8: 10, 9: 10, 10: 15, 11: 9}
POOL_SIZES = {"zx": 2, "general": 6, "none": 0}
PLAN = (  # convolution pairs; (discarded, kept)
    ("07 01 23 45 67 12 34 56", "10 32 54 76"),
    ("06 02 46 24", "20 64"),
    ("04", "04"),
)
PAULI = {"X": [[0, 1], [1, 0]], "Y": [[0, -1j], [1j, 0]], "Z": [[1, 0], [0, -1]]}


def matrix(name, p, index):
    if name in ("X", "NOT"):
        return np.array(PAULI["X"])
    if name == "H":
        return np.array([[1, 1], [1, -1]]) / math.sqrt(2)
    if name == "Z":
        return np.array(PAULI["Z"])
    if name == "U":
        t, f, d = p[index : index + 3]
        cos, sin = math.cos(t / 2), math.sin(t / 2)
        return np.array(
            [[cos, -np.exp(1j * d) * sin], [np.exp(1j * f) * sin, np.exp(1j * (f + d)) * cos]]
        )
    angle = p[index] / 2
    return math.cos(angle) * np.eye(2) - 1j * math.sin(angle) * np.array(PAULI[name[1]])


def apply(state, gate, wire, control=None):
    """Apply a 2x2 matrix to one wire of states (B, 2, ..., 2), where the control is 1."""
    moved = np.moveaxis(np.tensordot(gate, state, (1, wire + 1)), 0, wire + 1)
    if control is None:
        return moved
    shape = [1] * state.ndim
    shape[control + 1] = 2
    return np.where(np.arange(2).reshape(shape) == 1, moved, state)


def play(state, words, p, a, b):
    for word in filter(None, words.split(", ")):
        name, index, wires = re.fullmatch(r"([A-Z]+)(\d*)(?: ([ab])|\([ab],[ab]\))", word).groups()
        index = int(index) if index else None
        if wires:
            state = apply(state, matrix(name, p, index), {"a": a, "b": b}[wires])
        else:
            control, target = (a, b) if word.endswith("(a,b)") else (b, a)
            state = apply(state, matrix(name[1:], p, index), target, control)
    return state


def simulate(features, params, ansatz_index, pooling, encoding):
    """Return (B, 2) probabilities of wire 4 for features (B, 256) or (B, 8)."""
    features = np.asarray(features)
    if encoding == "amplitude":
        state = features / np.sqrt((features**2).sum(1, keepdims=True))
    else:
        state = np.ones((len(features), 1))
        for x in features.T:
            qubit = np.stack([np.cos(x / 2), np.sin(x / 2)], 1)
            state = (state[:, :, None] * qubit[:, None]).reshape(len(x), -1)
    state = state.reshape(-1, *[2] * 8).astype(complex)
    n, k = SIZES[ansatz_index], POOL_SIZES[pooling]
    assert len(params) == 3 * (n + k)
    for layer, (convolution, pool) in enumerate(PLAN):
        for a, b in convolution.split():
            p = params[layer * n : (layer + 1) * n]
            state = play(state, CONVOLUTIONS[ansatz_index], p, int(a), int(b))
        for a, b in pool.split():
            p = params[3 * n + layer * k : 3 * n + (layer + 1) * k]
            state = play(state, POOLINGS[pooling], p, int(a), int(b))
    return (np.abs(np.moveaxis(state, 5, 1)) ** 2).reshape(len(features), 2, -1).sum(-1)


def some_features(encoding, rng):
    """Four samples: both signs, zeros in between, a block of zeros, large numbers."""
    x = rng.normal(size=(4, {"amplitude": 256, "angle": 8}[encoding]))
    x[1] = np.maximum(x[1], 0)
    x[2, : x.shape[1] // 2] = 0
    x[3] *= 10
    return x


def run(features, params, *names):
    features, params = (torch.as_tensor(v, dtype=torch.float64) for v in (features, params))
    ansatz_index, pooling, encoding = names
    return qnode(circuits.qcnn, wires=8)(
        features, params, ansatz_index=ansatz_index, pooling=pooling, encoding=encoding
    )


@pytest.mark.parametrize("encoding", circuits.ENCODINGS)
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("ansatz_index", CONVOLUTIONS)
def test_every_circuit_against_the_gate_list(ansatz_index, pooling, encoding):
    rng = np.random.default_rng(ansatz_index)
    count = circuits.count_params(ansatz_index, pooling)
    assert count == 3 * SIZES[ansatz_index] + 3 * POOL_SIZES[pooling]
    params = rng.normal(size=count)
    features = some_features(encoding, rng)
    names = (ansatz_index, pooling, encoding)
    probabilities = run(features, params, *names)
    np.testing.assert_allclose(probabilities, simulate(features, params, *names), atol=1e-12)


def check(tmp_path, kind, inputs, expected):
    """Run a case through the checker as a file of vectors would."""
    case = {"id": "x", "kind": kind, "inputs": inputs, "expected": expected}
    plain = json.loads(json.dumps(case, default=lambda value: np.asarray(value).tolist()))
    file = tmp_path / "case.json"
    file.write_text(json.dumps({"paper": "c2q", "conventions": {}, "cases": [plain]}))
    (result,) = vectors.check_files([file])
    assert result.checked, result.note
    assert result.passed, result.note


def test_circuit_case_with_zeros(tmp_path):
    rng = np.random.default_rng(2)
    params, features = rng.normal(size=36), some_features("amplitude", rng)[2]
    probs = simulate(features[None], params, 5, "general", "amplitude")[0]
    inputs = {"ansatz_index": 5, "ansatz": "U_13", "pooling": "general", "encoding": "amplitude",
              "features": features, "params": params, "qubits": 8, "measured_wire": 4}  # fmt: skip
    expected = {"probs": probs, "expval_z": probs[0] - probs[1], "n_conv_params_per_layer": 6,
                "n_pool_params_per_layer": 6, "n_params": 36}  # fmt: skip
    check(tmp_path, "circuit", inputs, expected)


def test_training_case_by_finite_differences(tmp_path):
    names = (3, "general", "amplitude")
    rng = np.random.default_rng(12)
    start, labels = rng.normal(size=24), np.array([1, 0, 1, 1])
    features = some_features("amplitude", rng)

    def cross_entropy(p):
        probs = simulate(features, p, *names)
        return -np.log(probs[np.arange(4), labels] + 1e-7).sum()

    def mse(p):
        probs = simulate(features, p, *names)
        return ((labels - (probs[:, 0] - probs[:, 1])) ** 2).mean()

    def gradient(cost, p, h=2e-5):
        slope = np.array([(cost(p + e) - cost(p - e)) / (2 * h) for e in h * np.eye(len(p))])
        return np.where(np.abs(slope) < 1e-8, 0, slope)  # dead parameters

    expected = {
        "cost_cross_entropy": cross_entropy(start),
        "grad_cross_entropy": gradient(cross_entropy, start),
        "cost_mse": mse(start),
        "grad_mse": gradient(mse, start),
        "predicted_labels": simulate(features, start, *names).argmax(1),
    }
    p, velocity, costs = start, np.zeros(24), []
    for _ in range(3):
        ahead = p - 0.9 * velocity
        costs.append(cross_entropy(ahead))
        velocity = 0.9 * velocity + 0.01 * gradient(cross_entropy, ahead)
        p = p - velocity
    expected |= {"nesterov_3_steps_params": p, "nesterov_cost_before_each_step": costs}
    p, mean, square, costs = start, 0, 0, []
    for t in (1, 2, 3):
        costs.append(cross_entropy(p))
        g = gradient(cross_entropy, p)
        mean, square = 0.9 * mean + 0.1 * g, 0.99 * square + 0.01 * g**2
        size = 0.01 * math.sqrt(1 - 0.99**t) / (1 - 0.9**t)
        p = p - size * mean / (np.sqrt(square) + 1e-8)
    expected |= {"adam_3_steps_params": p, "adam_cost_before_each_step": costs}
    inputs = {"ansatz_index": 3, "ansatz": "U_9", "pooling": "general", "encoding": "amplitude",
              "features": features, "labels": labels, "params": start}  # fmt: skip
    check(tmp_path, "training", inputs, expected)


def test_training_without_anything_to_train(tmp_path):
    """Index 1 without pooling: costs without gradient, and steps that lead nowhere."""
    features = np.linspace(-1, 3, 16).reshape(2, 8)
    probs = simulate(features, [], 1, "none", "angle")
    cost = -np.log(probs[[0, 1], [0, 1]] + 1e-7).sum()
    inputs = {"ansatz_index": 1, "ansatz": "Con_Z", "pooling": "none", "encoding": "angle",
              "features": features, "labels": [0, 1], "params": []}  # fmt: skip
    expected = {"cost_cross_entropy": cost, "grad_cross_entropy": [], "adam_3_steps_params": [],
                "nesterov_cost_before_each_step": [cost] * 3}  # fmt: skip
    check(tmp_path, "training", inputs, expected)


# --- optimisers and costs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "theirs"),
    [
        (descent.Nesterov(), qml.NesterovMomentumOptimizer(0.01, momentum=0.9)),
        (descent.Adam(), qml.AdamOptimizer(0.01, beta1=0.9, beta2=0.99, eps=1e-8)),
    ],
    ids=["nesterov", "adam"],
)
def test_optimisers_are_pennylane_s(rule, theirs):
    weights = np.array([3.0, 1.0, 0.2, 0.0])  # the last one is dead
    params = pnp.array([0.3, -1.0, 2.0, 0.5], requires_grad=True)
    wanted = []
    ours, costs = descent.minimise(
        rule,
        lambda p, step: (torch.from_numpy(weights) * p.sin()).sum() * (step + 1),
        torch.tensor(params.tolist(), dtype=torch.float64),
        steps=20,
    )
    for step in range(20):
        params, value = theirs.step_and_cost(
            lambda p, s=step: pnp.sum(weights * pnp.sin(p)) * (s + 1), params
        )
        wanted.append(value)
    np.testing.assert_allclose(ours, params, atol=1e-12)
    np.testing.assert_allclose(costs, wanted, atol=1e-12)


def test_repeats_descend_independently():
    start = torch.tensor([[0.3, 1.0], [2.0, -1.0]], dtype=torch.float64)

    def cost(p, step):
        return (p**4).sum(-1)

    together, costs = descent.minimise(descent.Adam(), cost, start, 5)
    assert costs.shape == (5, 2)
    for row, alone in zip(together, start, strict=True):
        torch.testing.assert_close(row, descent.minimise(descent.Adam(), cost, alone, 5)[0])


def test_costs_by_hand():
    probabilities = torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]], dtype=torch.float64)
    labels = torch.tensor([0, 1, 0])
    wanted = -sum(math.log(p + 1e-7) for p in (0.75, 0.5, 0.0))
    assert losses.cross_entropy(probabilities, labels).item() == pytest.approx(wanted, abs=1e-12)
    wanted = ((0 - 0.5) ** 2 + (1 - 0) ** 2 + (0 + 1) ** 2) / 3
    assert losses.mean_squared_error(probabilities, labels).item() == pytest.approx(wanted)
    assert losses.predict(probabilities).tolist() == [0, 1, 1]  # a tie is 1


# --- closed facts of the circuits ----------------------------------------------------------------


@pytest.mark.parametrize("ansatz_index", CONVOLUTIONS)
def test_poolings_agree_at_zero(ansatz_index):
    rng = np.random.default_rng(3)
    convolutions = rng.normal(size=3 * SIZES[ansatz_index])
    features = rng.normal(size=(3, 256))
    results = [
        run(features, np.append(convolutions, np.zeros(3 * k)), ansatz_index, name, "amplitude")
        for name, k in POOL_SIZES.items()
    ]
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-13)
    torch.testing.assert_close(results[0], results[2], rtol=0, atol=1e-13)


def test_index_1_at_zero_reads_wire_4():
    rng = np.random.default_rng(4)
    x, angles = rng.normal(size=(3, 256)), rng.uniform(-7, 7, (3, 8))
    share = (x**2 * ((np.arange(256) & 8) == 0)).sum(1) / (x**2).sum(1)
    amplitude = run(x, np.zeros(6), 1, "zx", "amplitude")
    np.testing.assert_allclose(amplitude[:, 0], share, atol=1e-13)
    angle = run(angles, np.zeros(6), 1, "zx", "angle")
    np.testing.assert_allclose(angle[:, 0], np.cos(angles[:, 4] / 2) ** 2, atol=1e-13)


@settings(max_examples=15)
@given(st.floats(0.01, 100), st.booleans(), st.integers(0, 2**32 - 1))
def test_amplitudes_lose_scale_and_sign(scale, flip, seed):
    rng = np.random.default_rng(seed)
    x, params = rng.normal(size=256), rng.normal(size=18)
    plain = run(x, params, 4, "zx", "amplitude")
    torch.testing.assert_close(plain.sum(), torch.tensor(1.0).double(), rtol=0, atol=1e-12)
    changed = run(-scale * x if flip else scale * x, params, 4, "zx", "amplitude")
    torch.testing.assert_close(changed, plain, rtol=0, atol=1e-12)


@pytest.mark.parametrize("names", [(10, "general"), (8, "zx"), (11, "none")], ids=str)
def test_amplitude_encoding_is_a_quadratic_form(names):
    rng = np.random.default_rng(5)
    params = torch.from_numpy(rng.normal(size=circuits.count_params(*names)))

    @qml.qnode(qml.device("default.qubit", wires=8))
    def columns(basis):
        qml.StatePrep(basis, wires=range(8))
        circuits.network(params, *names)
        return qml.state()

    unitary = columns(torch.eye(256, dtype=torch.complex128)).numpy().T
    one = (np.arange(256) & 8) != 0
    form = unitary[one].conj().T @ unitary[one]
    np.testing.assert_allclose(np.linalg.eigvalsh(form), [0] * 128 + [1] * 128, atol=1e-10)
    assert np.trace(form).real == pytest.approx(128, abs=1e-10)
    x = some_features("amplitude", rng)
    wanted = np.einsum("bi,ij,bj->b", x, form.real, x) / (x**2).sum(1)
    np.testing.assert_allclose(run(x, params, *names, "amplitude")[:, 1], wanted, atol=1e-12)


def test_gradients_of_controlled_u3_against_finite_differences():
    rng = np.random.default_rng(6)
    features, params = rng.normal(size=8), torch.from_numpy(rng.normal(size=45))

    def f(p):
        return run(features, p, 11, "general", "angle")[..., 1]

    _, gradient = descent.value_and_gradient(f, params)
    h = 1e-5 * torch.eye(45, dtype=torch.float64)
    slope = (f(params + h) - f(params - h)) / 2e-5
    torch.testing.assert_close(gradient, slope, rtol=0, atol=1e-9)
    assert gradient.abs().max() > 1e-3


# --- how the quantum function is used -----------------------------------------------------------


def test_names_and_nominal_counts():
    names = ["Con_Z", "U_TTN", "U_9", "U_15", "U_13", "U_14", "U_SO4", "U_5", "U_6", "U_SU4",
             "U_ansatz_10"]  # fmt: skip
    assert [name for name, _, _ in circuits.CONVOLUTIONS.values()] == names
    zx = [circuits.count_params(i, "zx") for i in range(1, 11)]
    assert zx == [6, 12, 12, 18, 24, 24, 24, 36, 36, 51]
    general = [circuits.count_params(i, "general") for i in range(1, 11)]
    assert general == [18, 24, 24, 30, 36, 36, 36, 48, 48, 63]
    assert [circuits.count_params(i, "none") for i in (10, 11)] == [45, 27]


@pytest.mark.parametrize("encoding", circuits.ENCODINGS)
def test_broadcasting_features_or_both(encoding):
    rng = np.random.default_rng(7)
    features = some_features(encoding, rng)
    params = rng.normal(size=(4, 63))
    names = (10, "general", encoding)
    shared, own = run(features, params[0], *names), run(features, params, *names)
    for i in range(4):
        torch.testing.assert_close(shared[i], run(features[i], params[0], *names))
        torch.testing.assert_close(own[i], run(features[i], params[i], *names))


def test_other_devices_and_drawing():
    rng = np.random.default_rng(8)
    features, params = rng.normal(size=8), rng.normal(size=18)
    node = qnode(circuits.qcnn, qml.device("lightning.qubit", wires=8))
    options = {"ansatz_index": 4, "pooling": "zx", "encoding": "angle"}
    result = node(pnp.array(features), pnp.array(params), **options)
    wanted = simulate(features[None], params, 4, "zx", "angle")[0]
    np.testing.assert_allclose(result, wanted, atol=1e-12)
    drawing = qml.draw(circuits.qcnn)(features, params, **options)
    assert drawing.count("RY") == 8 + 13 * 4
    assert drawing.count("RZ") == drawing.count("RX") == 7
    assert drawing.count("Probs") == 1


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"ansatz_index": 12}, UsageError, "ansatz_index 12 .*1, 2, .*11"),
        ({"pooling": "max"}, UsageError, "pooling 'max'.*zx, general, none"),
        ({"encoding": "dense"}, UsageError, "encoding 'dense'.*amplitude, angle"),
        ({"pooling": "zx"}, ValueError, "must hold 51 angles for ansatz 10 .*'zx', not 63"),
    ],
)
def test_wrong_requests(changed, error, words):
    with pytest.raises(error, match=words):
        qnode(circuits.qcnn, wires=8)(np.ones(256), np.zeros(63), **changed)
