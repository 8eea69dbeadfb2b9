"""The qssl circuits, losses and vector kinds against plain matrices and closed facts."""

import json
import math

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pennylane import numpy as pnp

from qmlbook.base.errors import UsageError
from qmlbook.papers import vectors
from qmlbook.papers.qssl import circuits, losses
from qmlbook.papers.qssl import vectors as room
from qmlbook.papers.shared.qnodes import qnode

I2, X, Z = np.eye(2), np.array([[0, 1], [1, 0]]), np.diag([1, -1])
Y = np.array([[0, -1j], [1j, 0]])


# --- an independent simulation: whole matrices, qubit 0 in the least significant bit --------------


def on(n, **factors):
    """Kronecker product of 2x2 matrices, given as q0=..., q1=..."""
    result = np.eye(1)
    for qubit in range(n):
        result = np.kron(factors.get(f"q{qubit}", I2), result)
    return result


def rotation(pauli, angle):
    return math.cos(angle / 2) * I2 - 1j * math.sin(angle / 2) * pauli


def controlled(n, control, target, gate):
    off, one = np.diag([1, 0]), np.diag([0, 1])
    return on(n, **{f"q{control}": off}) + on(n, **{f"q{control}": one, f"q{target}": gate})


def gates(ansatz, n, layers, sweeps, angles, params):
    """Yield the unitaries in order, and None where the measurements between layers would be."""
    left = iter(params)
    for q in range(n):
        yield on(n, **{f"q{q}": rotation(X, angles[q])})

    def column():
        for q in range(n):
            yield on(n, **{f"q{q}": rotation(Y, next(left))})

    if ansatz == "all-to-all":
        yield from column()
    for layer in range(layers):
        if layer:
            yield None
        for _ in range(sweeps):
            if ansatz == "ring":
                yield from column()
                for q in range(n):
                    yield controlled(n, q, (q + 1) % n, rotation(X, next(left)))
            else:
                for i in range(n):
                    for j in range(i + 1, n):
                        yield controlled(n, i, j, X)
                yield from column()
    assert next(left, None) is None


def simulate(inputs, angles=None, params=None, dephase=False):
    """Return the density matrix of a circuit's inputs."""
    n = inputs["n_qubits"]
    rho = np.zeros((2**n, 2**n), complex)
    rho[0, 0] = 1
    for gate in gates(
        inputs["ansatz"],
        n,
        inputs["layers"],
        inputs.get("sweeps_per_layer", 1),
        inputs["angles"] if angles is None else angles,
        inputs["params"] if params is None else params,
    ):
        if gate is not None:
            rho = gate @ rho @ gate.conj().T
        elif dephase:
            for q in range(0, n, 2):
                bit = np.arange(2**n) >> q & 1
                rho = np.where(bit[:, None] == bit, rho, 0)
    return rho


def expectations(rho):
    n = int(math.log2(len(rho)))
    return [np.trace(rho @ on(n, **{f"q{q}": Z})).real for q in range(n)]


def make(ansatz, n, layers, sweeps=1, seed=0, **more):
    rng = np.random.default_rng(seed)
    count = {"ring": 2 * n * layers * sweeps, "all-to-all": n * (layers * sweeps + 1)}[ansatz]
    return {
        "ansatz": ansatz,
        "n_qubits": n,
        "layers": layers,
        "sweeps_per_layer": sweeps,
        "activation": "null",
        "angles": rng.uniform(0, math.pi, n).tolist(),
        "params": rng.normal(0, 1, count).tolist(),
        **more,
    }


def check(tmp_path, kind, inputs, expected):
    """Run a case through the checker as a file of vectors would."""
    case = {"id": "x", "kind": kind, "inputs": inputs, "expected": expected}
    plain = json.loads(json.dumps(case, default=lambda value: np.asarray(value).tolist()))
    file = tmp_path / "case.json"
    file.write_text(json.dumps({"paper": "qssl", "conventions": {}, "cases": [plain]}))
    (result,) = vectors.check_files([file])
    assert result.checked, result.note
    assert result.passed, result.note


SHAPES = [("ring", 2, 3, 1), ("ring", 3, 2, 2), ("ring", 5, 1, 1), ("all-to-all", 2, 2, 1),
          ("all-to-all", 4, 2, 2), ("all-to-all", 3, 3, 1)]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_circuit_against_matrices(tmp_path, shape):
    inputs = make(*shape)
    n = inputs["n_qubits"]
    variables = np.array(inputs["angles"] + inputs["params"])

    def f(v):
        return np.array(expectations(simulate(inputs, v[:n], v[n:])))

    def shifted(shift):
        basis = shift * np.eye(len(variables))
        return np.array([f(variables + b) - f(variables - b) for b in basis])

    amplitudes = np.eye(2**n)[0]
    for gate in gates(*shape, inputs["angles"], inputs["params"]):
        amplitudes = amplitudes if gate is None else gate @ amplitudes
    check(
        tmp_path,
        "circuit",
        inputs,
        {
            "z_expectations": f(variables),
            "statevector_little_endian": np.stack([amplitudes.real, amplitudes.imag], -1),
            # five-point rule: error of order h^4
            "jacobian_exact": (8 * shifted(1e-3) - shifted(2e-3)) / 12e-3,
            "jacobian_two_term_shift_as_authors": shifted(math.pi / 2) / 2,
        },
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_dephasing_against_density_matrices(tmp_path, shape):
    inputs = make(*shape, activation="partial_measurement_half")
    with_, without = (expectations(simulate(inputs, dephase=d)) for d in (True, False))
    # with one layer there is nothing between layers
    assert (shape[2] == 1) == np.allclose(with_, without, atol=1e-3)
    expected = {"z_expectations": with_, "z_expectations_without_the_measurements": without}
    check(tmp_path, "circuit_dephasing", inputs, expected)


@pytest.mark.parametrize("shape", [("ring", 4, 2, 1), ("all-to-all", 3, 3, 1)], ids=str)
def test_measuring_is_dephasing(shape):
    inputs = make(*shape)
    options = {"ansatz": shape[0], "layers": shape[2]}
    measured = qnode(circuits.features, activation="partial_measurement_half", **options)
    angles, params = (torch.from_numpy(np.array(inputs[k])) for k in ("angles", "params"))
    batch = torch.stack([angles, angles.flip(0)])
    result = torch.stack(measured(batch, params), -1)
    for row, values in zip(batch, result, strict=True):
        wanted = expectations(simulate(inputs, angles=row.numpy(), dephase=True))
        np.testing.assert_allclose(values, wanted, atol=1e-12)


def test_hilbert_schmidt_against_density_matrices(tmp_path):
    inputs = make("all-to-all", 3, 2)
    rng = np.random.default_rng(5)
    batch, labels = 4, [1, 0, 0, 1]
    views = rng.uniform(0, math.pi, (2, batch, 3))
    projectors = np.array([simulate(inputs, angles=a) for a in views.reshape(-1, 3)])

    def traces(rho, sigma):
        difference = rho - sigma
        pairs = ((rho, rho), (sigma, sigma), (rho, sigma), (difference, difference))
        return np.array([np.trace(a @ b).real for a, b in pairs])

    names = ("tr_rho2", "tr_sigma2", "tr_rho_sigma", "d_hs")
    per_pair = []
    for i in range(batch):
        own = np.isin(np.arange(2 * batch), (i, i + batch))
        per_pair.append(traces(projectors[own].mean(0), projectors[~own].mean(0)))
    zero = np.array(labels * 2) == 0
    classes = traces(projectors[zero].mean(0), projectors[~zero].mean(0))
    pairs = np.mean(per_pair, 0)
    overlap = np.mean([np.trace(projectors[i] @ projectors[i + batch]).real for i in range(batch)])
    assert pairs[0] == pytest.approx((1 + overlap) / 2, abs=1e-12)
    inputs = {key: inputs[key] for key in ("ansatz", "n_qubits", "layers", "params")}
    check(
        tmp_path,
        "hilbert_schmidt",
        {**inputs, "batch": batch, "labels": labels,
         "angles_view1": views[0], "angles_view2": views[1]},
        {"positive_pair_version": dict(zip(names, pairs, strict=True)),
         "class_version": dict(zip(names, classes, strict=True)),
         "mean_positive_overlap": overlap},
    )  # fmt: skip


def test_shot_noise_against_matrices(tmp_path):
    inputs = make("all-to-all", 2, 2, seed=3, shots=7)
    rho = simulate(inputs)
    z, zz = expectations(rho), np.trace(rho @ np.kron(Z, Z)).real
    expected = {
        "std": [math.sqrt((1 - value**2) / 7) for value in z],
        "zz": zz,
        "covariance_01": (zz - z[0] * z[1]) / 7,
    }
    check(tmp_path, "shot_noise", inputs, expected)


def test_shot_noise_vanishes_where_the_outcome_is_certain(tmp_path):
    inputs = make("ring", 2, 1, shots=1) | {"angles": [0, math.pi], "params": [0] * 4}
    check(tmp_path, "shot_noise", inputs, {"std": [0, 0], "zz": -1, "covariance_01": 0})


def test_encoding_and_classical_network_in_numpy(tmp_path):
    rng = np.random.default_rng(8)
    inputs = make("all-to-all", 3, 1)
    h = rng.normal(0, 2, 3)
    angles = math.pi / (1 + np.exp(-h))
    inputs = {key: inputs[key] for key in ("ansatz", "n_qubits", "layers", "params")}
    expected = {"angles": angles, "z_expectations": expectations(simulate(inputs, angles=angles))}
    check(tmp_path, "encoding", {**inputs, "compressed_features": h}, expected)

    features, weights, biases = (rng.normal(size=s) for s in ((5, 3), (3, 3, 3), (3, 3)))
    x = math.pi / (1 + np.exp(-features))
    for weight, bias in zip(weights, biases, strict=True):
        x = np.einsum("oi,bi->bo", weight, x) + bias
        x = np.where(x > 0, x, 0.01 * x)
    inputs = {"batch": 5, "width": 3, "layers": 3, "compressed_features": features,
              "weights_out_by_in": weights, "biases": biases}  # fmt: skip
    check(tmp_path, "classical_network", inputs, {"output": x})


# --- the contrastive loss ----------------------------------------------------------------------


def plain_contrastive(z1, z2, temperature, below=True):
    """The definition, term by term."""
    z = [row / math.sqrt(math.fsum(row**2)) for row in np.concatenate([z1, z2])]
    half, losses_ = len(z1), []
    for i, a in enumerate(z):
        partner = (i + half) % (2 * half)
        scores = {k: float(a @ b) / temperature for k, b in enumerate(z) if k != i}
        rest = [s for k, s in scores.items() if below or k != partner]
        top = max(rest)
        log_sum = top + math.log(math.fsum(math.exp(s - top) for s in rest))
        losses_.append(log_sum - scores[partner])
    return math.fsum(losses_) / len(z)


@pytest.mark.parametrize("temperature", [0.0005, 0.003, 0.07, 2.0])
def test_contrastive_against_plain_sums(tmp_path, temperature):
    rng = np.random.default_rng(6)
    views = rng.normal(size=(2, 5, 3))

    def f(flat, **options):
        return plain_contrastive(*flat.reshape(views.shape), temperature, **options)

    flat = views.flatten()
    step = 1e-2 * temperature  # curvature grows with 1/T
    slope = np.array([
        (8 * (f(flat + e) - f(flat - e)) - (f(flat + 2 * e) - f(flat - 2 * e))) / (12 * step)
        for e in step * np.eye(flat.size)
    ]).reshape(views.shape)  # fmt: skip
    expected = {
        "z1_normalised": views[0] / np.linalg.norm(views[0], axis=1, keepdims=True),
        "loss": f(flat),
        "not_the_paper_loss_positive_left_out_of_denominator": f(flat, below=False),
    }
    inputs = {"temperature": temperature, "batch": 5, "dim": 3, "z1": views[0], "z2": views[1]}
    check(tmp_path, "contrastive", inputs, expected)
    result = room.contrastive(inputs)
    for ours, wanted in zip((result["dloss_dz1"], result["dloss_dz2"]), slope, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-6, atol=1e-6 / temperature)


@settings(max_examples=30)
@given(st.integers(1, 6), st.floats(1e-3, 1e3), st.sampled_from([0.0005, 0.003, 0.07, 1.0]))
def test_contrastive_collapse_and_scale(batch, scale, temperature):
    z = torch.ones(batch, 3, dtype=torch.float64) * torch.tensor([1.0, -2.0, 0.5])
    collapsed = losses.contrastive(z, scale * z, temperature)
    assert collapsed.item() == pytest.approx(math.log(2 * batch - 1), abs=1e-9)
    z = torch.linspace(-1, 1, 4 * batch, dtype=torch.float64).cos().reshape(batch, 4).cumsum(1)
    plain = losses.contrastive(z, z.flip(1), temperature)
    assert torch.isfinite(plain)
    scaled = losses.contrastive(scale * z, z.flip(1) / scale, temperature)
    assert scaled.item() == pytest.approx(plain.item(), rel=1e-9, abs=1e-9)
    swapped = losses.contrastive(z.flip(1), z, temperature)
    assert swapped.item() == pytest.approx(plain.item(), rel=1e-12, abs=1e-12)


def test_projection_head_in_numpy(tmp_path):
    rng = np.random.default_rng(9)
    y = rng.normal(size=(2, 6, 3))
    first, last = rng.normal(size=(3, 3)), rng.normal(size=(2, 3))
    scale, shift, bias = rng.normal(size=3), rng.normal(size=3), rng.normal(size=2)
    views = []
    for view in y:
        hidden = view @ first.T
        hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-3) * scale + shift
        out = np.maximum(hidden, 0) @ last.T + bias
        views.append(out / np.linalg.norm(out, axis=1, keepdims=True))
    inputs = {"y1": y[0], "y2": y[1], "linear1_weight_out_by_in_no_bias": first,
              "batchnorm_scale": scale, "batchnorm_shift": shift, "batchnorm_eps": 1e-3,
              "linear2_weight_out_by_in": last, "linear2_bias": bias, "temperature": 0.2,
              "batch": 6, "width": 3, "out_dim": 2}  # fmt: skip
    expected = {
        "z1_normalised": views[0],
        "z2_normalised": views[1],
        "loss": plain_contrastive(*views, 0.2),
    }
    check(tmp_path, "projection_head", inputs, expected)


# --- closed facts of the circuits --------------------------------------------------------------


ANGLES = st.lists(st.floats(-7, 7), min_size=2, max_size=5)


@settings(max_examples=15)
@given(ANGLES, st.integers(1, 3))
def test_ring_at_zero_is_a_cosine(angles, layers):
    angles = torch.tensor(angles, dtype=torch.float64)
    params = torch.zeros(2 * len(angles) * layers, dtype=torch.float64)
    outputs = qnode(circuits.features, layers=layers)(angles, params)
    torch.testing.assert_close(torch.stack(outputs), angles.cos(), rtol=0, atol=1e-12)


@settings(max_examples=15)
@given(ANGLES)
def test_all_to_all_at_zero_multiplies_neighbours_only(angles):
    angles = torch.tensor(angles, dtype=torch.float64)
    params = torch.zeros(2 * len(angles), dtype=torch.float64)
    outputs = torch.stack(qnode(circuits.features, ansatz="all-to-all", layers=1)(angles, params))
    wanted = angles.cos() * torch.cat([torch.ones(1), angles[:-1].cos()])
    torch.testing.assert_close(outputs, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_block_of_all_cnots_is_a_chain(n):
    def chain():
        for target in range(n - 1, 0, -1):
            qml.CNOT(wires=(target - 1, target))

    params = np.zeros(2 * n)
    block = qml.matrix(circuits.network, wire_order=range(n))(
        np.zeros(n), params, ansatz="all-to-all", layers=1
    )
    np.testing.assert_allclose(block, qml.matrix(chain, wire_order=range(n))(), atol=1e-12)


@pytest.mark.parametrize("n", [2, 4, 8])
def test_the_last_ring_gate_moves_one_output(n):
    jacobian = room.circuit(make("ring", n, 2))["jacobian_exact"]
    assert jacobian.shape == (n + 4 * n, n)
    assert jacobian[-1, 0].abs() > 1e-4
    assert jacobian[-1, 1:].abs().max() < 1e-14


@pytest.mark.parametrize("ansatz", ["ring", "all-to-all"])
def test_shift_rules(ansatz):
    """Two terms are exact for RX and RY only; four are exact for controlled rotations too."""
    n = 4
    inputs = make(ansatz, n, 2, seed=4)
    result = room.circuit(inputs)
    error = (result["jacobian_exact"] - result["jacobian_two_term_shift_as_authors"]).abs()
    names = ["RX"] * n + ["RY"] * len(inputs["params"])
    if ansatz == "ring":
        names = ["RX"] * n + (["RY"] * n + ["CRX"] * n) * 2
    is_controlled = torch.tensor([name == "CRX" for name in names])
    assert error[~is_controlled].max() < 1e-12
    if ansatz == "all-to-all":
        return
    assert error[is_controlled].max() > 1e-3
    variables = room._variables(inputs)
    eye = torch.eye(len(variables), dtype=torch.float64)

    def difference(shift):
        plus, minus = room._outputs(inputs, variables + shift * torch.cat([eye, -eye])).chunk(2)
        return plus - minus

    c1, c2 = ((math.sqrt(2) + sign) / (4 * math.sqrt(2)) for sign in (1, -1))
    four = c1 * difference(math.pi / 2) - c2 * difference(3 * math.pi / 2)
    wanted = result["jacobian_exact"][is_controlled]
    torch.testing.assert_close(four[is_controlled], wanted, rtol=0, atol=1e-12)


def test_counts():
    assert circuits.count_params("ring", 8, 2) == 32
    assert circuits.count_params("all-to-all", 8, 3) == 32
    assert circuits.count_params("ring", 5, 2, sweeps=3) == 60
    assert circuits.count_params("all-to-all", 5, 2, sweeps=3) == 35
    for ansatz, layers in (("ring", 2), ("all-to-all", 3)):
        tape = qml.tape.make_qscript(circuits.features)(
            np.zeros(8), np.zeros(32), ansatz=ansatz, layers=layers
        )
        edges = [tuple(op.wires) for op in tape.operations if len(op.wires) == 2]
        if ansatz == "ring":
            assert edges == [(i, (i + 1) % 8) for i in range(8)] * 2
        else:
            assert edges == [(i, j) for i in range(8) for j in range(i + 1, 8)] * 3


# --- how the quantum functions are used --------------------------------------------------------


@pytest.mark.parametrize("ansatz", ["ring", "all-to-all"])
def test_broadcasting_angles_or_both(ansatz):
    rng = np.random.default_rng(1)
    count = circuits.count_params(ansatz, 3, 2)
    angles, params = (torch.from_numpy(rng.normal(size=(4, size))) for size in (3, count))
    node = qnode(circuits.features, ansatz=ansatz)
    shared, own = node(angles, params[0]), node(angles, params)
    for i in range(4):
        torch.testing.assert_close([o[i] for o in shared], node(angles[i], params[0]))
        torch.testing.assert_close([o[i] for o in own], node(angles[i], params[i]))


def test_order_of_outputs_is_that_of_the_qubits_with_shots_too():
    """The released code reverses the list when it counts bit strings."""
    angles = torch.tensor([0.0, math.pi, math.pi], dtype=torch.float64)
    node = qnode(circuits.features, wires=3)
    params = torch.zeros(12, dtype=torch.float64)
    for run in (node, qml.set_shots(node, 5)):
        torch.testing.assert_close(
            torch.stack(run(angles, params)).double(), torch.tensor([1.0, -1.0, -1.0]).double()
        )


def test_a_device_can_be_given():
    node = qnode(
        circuits.features, device=qml.device("lightning.qubit", wires=2), ansatz="all-to-all"
    )
    inputs = make("all-to-all", 2, 2)
    result = node(pnp.array(inputs["angles"]), pnp.array(inputs["params"]))
    np.testing.assert_allclose(result, expectations(simulate(inputs)), atol=1e-12)


def test_drawing():
    drawing = qml.draw(circuits.features)(np.zeros(2), np.zeros(8), layers=2)
    assert drawing.count("RX") == 6  # two of them encode
    assert drawing.count("RY") == 4
    measured = qml.draw(circuits.features)(
        np.zeros(2), np.zeros(8), layers=2, activation="partial_measurement_half"
    )
    assert measured.count("┤↗├") == 1


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"ansatz": "star"}, UsageError, "ansatz 'star'.*ring, all-to-all"),
        ({"activation": "relu"}, UsageError, "activation 'relu'.*null"),
        ({"layers": 3}, ValueError, "must hold 12 angles for 3 layers of ring on 2 qubits, not 8"),
    ],
)
def test_wrong_requests(changed, error, words):
    node = qnode(circuits.features, **changed)
    with pytest.raises(error, match=words):
        node(np.zeros(2), np.zeros(8))
