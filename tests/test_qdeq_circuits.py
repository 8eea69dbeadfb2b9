"""The QDEQ room: circuits, the layer in closed form, and every kind of its reference vectors."""

import json
from functools import partial, reduce
from pathlib import Path

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from qmlbook.base.errors import UsageError
from qmlbook.base.rng import stream
from qmlbook.papers import vectors
from qmlbook.papers.qdeq import circuits
from qmlbook.papers.qdeq import vectors as room
from qmlbook.papers.qdeq.features import pooled
from qmlbook.papers.qdeq.layer import Layer, encoded, expand, spectra
from qmlbook.papers.qdeq.solvers import find_root
from qmlbook.papers.shared.cases import formula
from qmlbook.papers.shared.qnodes import qnode

tensor = partial(torch.tensor, dtype=torch.float64)
ANGLES = {4: (35, 4), 10: (40, 16)}


pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(seed, n_wires, batch=3):
    """Return theta, phi and data u of a random case."""
    draw = stream(seed, "case")
    theta, phi = (draw.uniform(-np.pi, np.pi, size) for size in ANGLES[n_wires])
    u = draw.uniform(-0.4, 1.6, (batch, n_wires**2))
    return tuple(map(torch.from_numpy, (theta, phi, u)))


def inputs(seed, encoder, n_wires=4, batch=3, **more):
    theta, phi, u = (values.tolist() for values in drawn(seed, n_wires, batch))
    base = {"n_wires": n_wires, "encoder": encoder, "theta": theta, "phi": phi, "u": u}
    return {**base, **more}


def normal(seed, *shape):
    return stream(seed, "normal").normal(size=shape).tolist()


# --- circuits ---


@pytest.mark.parametrize("n", [4, 10])
def test_gate_lists_have_the_stated_sizes(n):
    gates = circuits.random_layer(n) + circuits.tail(n)
    counts = (
        circuits.count_angles(circuits.random_layer(n)),
        circuits.count_angles(circuits.tail(n)),
    )
    assert counts == ANGLES[n]
    assert len(gates) == {4: 57, 10: 78}[n]
    assert sum(len(wires) == 2 for _, wires in gates) == {4: 17, 10: 18}[n]


def test_drawing_gates_leaves_the_global_stream_alone():
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    circuits.random_layer.cache_clear()
    circuits.random_layer(4)
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("encoder", circuits.ENCODERS)
def test_the_circuit_is_the_stated_gates(encoder):
    theta, phi, u = drawn(1, 4, batch=1)
    tape = qml.tape.make_qscript(circuits.layer)(u[0], theta, phi, 4, encoder)
    names = [op.name for op in tape.operations]
    encoding = ["AmplitudeEmbedding"] if encoder == "amplitude" else [
        f"R{axis}" for axis in "YZXY" for _ in range(4)
    ]  # fmt: skip
    stated = {"H": "Hadamard"}
    listed = circuits.random_layer(4) + circuits.tail(4)
    assert names == encoding + [stated.get(name, name) for name, _ in listed]
    assert "SX" in qml.draw(circuits.layer)(u[0], theta, phi, 4, encoder)


@pytest.mark.parametrize("n", [4, 10])
@pytest.mark.parametrize("encoder", circuits.ENCODERS)
def test_the_layer_in_closed_form_is_the_circuit(n, encoder):
    theta, phi, v = drawn(2, n)
    simulated = torch.stack(qnode(circuits.layer, wires=n)(v, theta, phi, n, encoder), -1)
    layer = Layer.of(theta, phi, n, encoder)
    assert torch.allclose(layer.expectations(v), simulated, rtol=0, atol=1e-13)
    assert torch.equal(layer(torch.zeros_like(v), v)[:, ::n], layer.expectations(v))


@pytest.mark.parametrize("n", [4, 10])
@pytest.mark.parametrize("encoder", circuits.ENCODERS)
@pytest.mark.parametrize("how", circuits.ENTANGLERS[1:])
@pytest.mark.parametrize("device", ["default.qubit", "qmlbook.statevector"])
def test_layers_without_entanglers_are_their_circuits(n, encoder, how, device):
    theta, phi, v = drawn(2, n)

    def circuit():
        circuits.encode(v, n, encoder)
        circuits.transform(theta, phi, n, entanglers=how)
        return [qml.expval(qml.Z(wire)) for wire in range(n)]

    simulated = torch.stack(qnode(circuit, wires=n)(), -1)
    layer = Layer.of(theta, phi, n, encoder, device, entanglers=how)
    assert torch.allclose(layer.expectations(v), simulated, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [4, 10])
def test_without_entanglers_a_wire_knows_its_own_data_only(n):
    theta, phi, _ = drawn(3, n)
    states = [reduce(torch.kron, torch.eye(2).double()[list(bits)]) for bits in ((0,) * n,)]
    for how in circuits.ENTANGLERS[1:]:
        assert all(len(wires) == 1 for _, wires in circuits.gates(n, how))
        node = qnode(circuits.evolved, wires=n, n_wires=n, entanglers=how)
        state = node(states[0], theta, phi)
        for wire in range(n):  # a product state: the purity of every wire is 1
            half = state.reshape([2] * n).movedim(wire, 0).flatten(1)
            assert (half @ half.mH).norm().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("n", [4, 10])
def test_what_is_deleted_and_what_is_uncontrolled(n):
    listed = circuits.random_layer(n) + circuits.tail(n)
    assert circuits.gates(n) == listed
    assert circuits.gates(n, "removed") == tuple(g for g in listed if len(g[1]) == 1)
    local = [("RX", wires[1:]) if name == "CRX" else (name, wires) for name, wires in listed]
    assert circuits.gates(n, "uncontrolled") == tuple(g for g in local if len(g[1]) == 1)


@pytest.mark.parametrize("encoder", circuits.ENCODERS)
def test_gradients_of_the_closed_form_are_those_of_the_circuit(encoder):
    theta, phi, v = drawn(3, 4)

    def of_circuit(*args):
        return torch.stack(qnode(circuits.layer, wires=4)(args[2], *args[:2], 4, encoder), -1)

    def of_form(*args):
        return Layer.of(*args[:2], 4, encoder).expectations(args[2])

    weights = tensor(normal(3, 3, 4))
    results = []
    for function in (of_circuit, of_form):
        variables = [x.clone().requires_grad_() for x in (theta, phi, v)]
        results.append(torch.autograd.grad((function(*variables) * weights).sum(), variables))
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)


def test_ten_wire_angles_merge_rows_and_lose_three_of_them():
    theta, phi, u = drawn(4, 10)
    layer = Layer.of(theta, phi, 10, "angle")
    moved = u.clone()
    for row in (2, 5, 8):
        moved[:, 10 * row : 10 * row + 10] += 1.0  # RZ turns |0> by a phase only
    moved[:, 0] += 0.7
    moved[:, 9] -= 0.7  # the sum of a row is all that counts
    assert torch.allclose(layer.expectations(moved), layer.expectations(u), rtol=0, atol=1e-12)
    moved[:, 0] += 0.1
    assert not torch.allclose(layer.expectations(moved), layer.expectations(u), rtol=0, atol=1e-6)


def test_amplitudes_forget_their_length():
    theta, phi, v = drawn(5, 4)
    layer = Layer.of(theta, phi, 4)
    assert torch.allclose(layer.expectations(3 * v), layer.expectations(v), rtol=0, atol=1e-14)
    spectrum = torch.linalg.eigvalsh(layer.matrices)
    assert spectrum.abs().max() <= 1 + 1e-12


@given(st.integers(0, 10_000))
@settings(max_examples=15)
def test_slopes_of_the_amplitude_layer_keep_their_bounds(seed):
    theta, phi, v = drawn(seed, 4)
    layer = Layer.of(theta, phi, 4)
    m, slopes = layer.expectations(v), layer.slopes(v, torch.zeros_like(v))
    length = v.norm(dim=1, keepdim=True)
    assert (slopes.norm(dim=2) <= 2 * (1 - m**2).sqrt() / length + 1e-10).all()
    assert (spectra(slopes)["norm"] <= 2 * 4 / length[:, 0] + 1e-10).all()


@pytest.mark.parametrize("encoder", circuits.ENCODERS)
def test_spectra_are_those_of_the_whole_jacobian(encoder):
    theta, phi, u = drawn(6, 4)
    layer, z = Layer.of(theta, phi, 4, encoder), tensor(normal(6, 3, 16))
    whole = torch.autograd.functional.jacobian(lambda x: layer(x, u).sum(0), z).movedim(1, 0)
    found = spectra(layer.slopes(z, u))
    assert torch.allclose(torch.linalg.matrix_norm(whole, 2), found["norm"], atol=1e-12)
    assert torch.allclose(whole.square().sum((1, 2)), found["frobenius_sq"], atol=1e-12)
    radius = torch.linalg.eigvals(whole).abs().amax(1)
    assert torch.allclose(radius, found["radius"], atol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((5, "amplitude"), "n_wires 5"), ((4, "none"), "encoder 'none'")],
)
def test_unknown_settings_are_named(arguments, message):
    theta, phi, _ = drawn(7, 4)
    with pytest.raises(UsageError, match=message):
        Layer.of(theta, phi, *arguments)


def test_data_of_another_size_are_refused():
    with pytest.raises(UsageError, match="16 features"):
        encoded(torch.ones(2, 15).double(), 4, "amplitude")
    with pytest.raises(UsageError, match="n_wires"):
        pooled(torch.ones(1, 28, 28), 5)


# --- kinds of reference vectors, against values computed another way ---


def resolved(case, theta=None, phi=None, u=None, simulate=False):
    """Return the root's expectations after solving anew; ``simulate`` runs every gate."""
    theta, phi, u = (
        tensor(case[name]) if given is None else given
        for name, given in (("theta", theta), ("phi", phi), ("u", u))
    )
    n, encoder = case["n_wires"], case["encoder"]
    start = torch.zeros(len(u), n, dtype=torch.float64)
    if simulate:
        node = qnode(circuits.layer, wires=n)
        return find_root(
            lambda m: torch.stack(node(expand(m) + u, theta, phi, n, encoder), -1), start
        )
    with torch.no_grad():
        layer = Layer.of(theta, phi, n, encoder)
    return find_root(layer.reduced(u), start)


def slopes_of(loss, point, most=100):
    """Return central differences of a number in the first entries of a tensor."""
    h, found = 1e-5, []
    for i in range(min(point.numel(), most)):
        step = torch.zeros_like(point).flatten()
        step[i] = h
        step = step.reshape(point.shape)
        found.append(((loss(point + step) - loss(point - step)) / (2 * h)).item())
    return np.array(found)


@pytest.mark.parametrize("encoder", circuits.ENCODERS)
def test_equilibrium_gradients_are_slopes_of_resolved_roots(encoder):
    case = inputs(11, encoder, W=normal(11, 16))
    weights, found = tensor(case["W"]), room.equilibrium(case)

    def loss(**changed):
        return (expand(resolved(case, **changed)) @ weights).sum()

    assert torch.allclose(
        found["z_star_expectations"], resolved(case, simulate=True), rtol=0, atol=1e-11
    )
    for name in ("theta", "phi", "u"):
        slopes = slopes_of(lambda x, name=name: loss(**{name: x}), tensor(case[name]), 10)
        ours = found[f"grad_{name}"].flatten()[:10].numpy()
        assert ours[: len(slopes)] == pytest.approx(slopes, abs=1e-8)
    assert not torch.allclose(found["one_step_grad_theta"], found["grad_theta"], atol=1e-3)


def test_equilibrium_where_plain_iteration_cycles():
    for seed in range(100, 140):
        case = inputs(seed, "angle", W=normal(1, 16), batch=6)
        found = room.equilibrium(case)
        cycling = found["spectral_radius"] > 1.05
        if cycling.any():
            break
    assert (found["plain_iteration_residual_after_2000"][cycling] > 1e-3).all()
    assert (found["plain_iteration_distance_to_root"][cycling] > 1e-3).all()
    attracting = found["spectral_radius"] < 0.9
    assert (found["plain_iteration_residual_after_2000"][attracting] < 1e-10).all()


def test_unrolling_once_is_the_circuit_on_the_data():
    case = inputs(12, "angle", layers=1, W=normal(12, 16))
    theta, phi, u = drawn(12, 4)
    theta.requires_grad_()
    simulated = torch.stack(qnode(circuits.layer, wires=4)(u, theta, phi, 4, "angle"), -1)
    loss = (expand(simulated) @ tensor(case["W"])).sum()
    (gradient,) = torch.autograd.grad(loss, theta)
    found = room.unrolled(case)
    assert torch.allclose(found["expectations_after_each_layer"][0], simulated, atol=1e-13)
    assert torch.allclose(found["grad_theta"], gradient, rtol=0, atol=1e-12)


def test_unrolled_gradients_are_slopes():
    case = inputs(13, "amplitude", layers=3, W=normal(13, 16))
    found = room.unrolled(case)
    slopes = slopes_of(
        lambda phi: room.unrolled({**case, "phi": phi.tolist()})["loss"].detach(),
        tensor(case["phi"]),
    )
    assert found["grad_phi"].numpy() == pytest.approx(slopes, abs=1e-8)


@pytest.mark.parametrize("solver", ["broyden", "anderson"])
@pytest.mark.parametrize("stop_mode", ["rel", "abs"])
def test_solver_traces_end_at_the_root(solver, stop_mode):
    case = inputs(14, "amplitude", solver=solver, threshold=40, eps=1e-7, stop_mode=stop_mode)
    found = room.solver_trace(case)
    root = resolved(case)
    assert torch.allclose(found["result_expectations"], root, rtol=0, atol=1e-5)
    trace = np.array(found[f"{stop_mode}_trace"])
    first = 1 if solver == "broyden" else 2
    assert len(trace) == {"broyden": 41, "anderson": 38}[solver]
    assert trace.min() == found["lowest"] == trace[found["best_step"] - first] < 1e-7
    assert found["residual_batch_relative"] == pytest.approx(min(found["rel_trace"]), rel=1e-2)


def test_classifier_gradients_are_slopes_of_resolved_roots():
    case = inputs(15, "amplitude", batch=4, y=[0, 3, 1, 1], W=normal(15, 4, 16), b=normal(16, 4))
    found = room.classifier(case)

    def loss(**changed):
        weights = {name: tensor(case[name]) for name in ("W", "b")}
        weights |= {name: changed.pop(name) for name in ("W", "b") if name in changed}
        z = expand(resolved(case, **changed))
        logits = torch.clamp(z, min=0) @ weights["W"].T + weights["b"]
        probabilities = logits.exp() / logits.exp().sum(1, keepdim=True)
        return -probabilities[range(4), case["y"]].log().mean()

    assert found["cross_entropy"].item() == pytest.approx(loss().item(), abs=1e-12)
    for name in ("theta", "phi", "W", "b"):
        slopes = slopes_of(lambda x, name=name: loss(**{name: x}), tensor(case[name]), 4)
        assert found[f"grad_{name}"].flatten()[:4].detach().numpy() == pytest.approx(
            slopes, abs=1e-8
        )
    assert found["accuracy"] == (found["logits"].argmax(1).numpy() == case["y"]).mean()


def checked(tmp_path, kind, case, expected):
    file = tmp_path / "cases.json"
    entry = {"id": "x", "kind": kind, "inputs": case, "expected": expected}
    file.write_text(json.dumps({"paper": "qdeq", "cases": [entry]}))
    (result,) = vectors.check_files([file])
    return result


def test_preprocess(tmp_path):
    rule = "image[r, c] = (3*r**2 + 7*c + r*c) mod 256, 28 x 28"
    image = np.array([[(3 * r * r + 7 * c + r * c) % 256 for c in range(28)] for r in range(28)])
    p = (image / 255 - 0.1307) / 0.3081
    four = [p[6 * i : 6 * i + 6, 6 * j : 6 * j + 6].mean() for i in range(4) for j in range(4)]
    q = np.zeros((32, 32))
    q[2:30, 2:30] = p
    ten = [q[3 * i : 3 * i + 5, 3 * j : 3 * j + 5].sum() / 25 for i in range(10) for j in range(10)]
    expected = {"image_sum": int(image.sum()), "features_4x4": four, "features_10x10": ten}
    result = checked(tmp_path, "preprocess", {"image_formula": rule}, expected)
    assert result.checked, result.note
    assert result.passed, result.note


@pytest.mark.parametrize(
    ("text", "by_hand"),
    [
        ("pixel(r,c) = (r*c) mod 256", lambda r, c: r * c % 256),
        ("(r^2 + 5*c) % 251", lambda r, c: (r**2 + 5 * c) % 251),
        ("floor(255 * r / 27)", lambda r, c: np.floor(255 * r / 27)),
        ("min(255, 9*abs(r - c)) // 1; r row, c column", lambda r, c: min(255, 9 * abs(r - c))),
        ("255 if r >= c else 0", lambda r, c: 255 if r >= c else 0),
        ("255 * (r == c)", lambda r, c: 255 * (r == c)),
    ],
)
def test_formulas(text, by_hand):
    row, column = np.mgrid[:28, :28]
    found = formula(text, {"r": row, "c": column})
    assert np.array_equal(found, [[by_hand(r, c) for c in range(28)] for r in range(28)])


@pytest.mark.parametrize("text", ["__import__('os')", "r.real", "x + 1", "r +", "'a'", "open(r)"])
def test_formulas_are_arithmetic_only(text):
    with pytest.raises(ValueError, match="cannot"):
        formula(text, {"r": 1, "c": 2})


@pytest.mark.parametrize("encoder", ["amplitude", pytest.param("angle", marks=pytest.mark.nightly)])
def test_jacobian_regulariser(tmp_path, encoder):
    case = inputs(17, encoder, batch=2, v=normal(17, 2, 16))
    root, u, v = resolved(case), tensor(case["u"]), tensor(case["v"])

    def penalties(theta):
        """Both values from whole D x D Jacobians of the circuit at the fixed root."""
        node = qnode(circuits.layer, wires=4)
        phi = tensor(case["phi"])

        def f(z):
            return expand(torch.stack(node(z + u, theta, phi, 4, encoder), -1)).sum(0)

        whole = torch.autograd.functional.jacobian(f, expand(root)).movedim(1, 0)
        return (v[:, None] @ whole).square().sum() / 32, whole.square().sum() / 32

    theta = tensor(case["theta"])
    sampled, exact = penalties(theta)
    ours = room.jacobian_regulariser(case)
    for name, k in (("hutchinson", 0), ("exact", 1)):
        slopes = slopes_of(lambda x, k=k: penalties(x)[k], theta, 4)
        assert ours[f"{name}_grad_theta"][:4].numpy() == pytest.approx(slopes, abs=1e-8)
    expected = {
        "z_star_expectations": root.tolist(),
        "hutchinson_value_for_v": sampled.item(),
        "exact_expectation": exact.item(),
    }
    result = checked(tmp_path, "jacobian_regulariser", case, expected)
    assert result.checked
    assert result.passed, result.note


OPTIMISER = (
    "Adam, lr 0.05, betas 0.9 and 0.999, eps 1e-8; the global 2-norm of the gradients is clipped "
    "to 0.25; theta, W and b are trained, phi is not"
)


@pytest.mark.parametrize("encoder", circuits.ENCODERS)
def test_training(encoder):
    case = inputs(18, encoder, batch=4, y=[2, 0, 3, 1], W=normal(18, 4, 16), b=normal(19, 4))
    case["W"] = (5 * np.array(case["W"])).tolist()  # steep enough to be clipped
    found = room.training({**case, "optimiser": OPTIMISER, "steps": 3})

    # The same by hand: gradients by `classifier`, Adam and clipping from their definitions.
    values = {name: np.array(case[name]) for name in ("theta", "W", "b")}
    moments = {name: (np.zeros_like(x), np.zeros_like(x)) for name, x in values.items()}
    losses, norms = [], []
    for step in range(1, 4):
        now = room.classifier({**case, **{name: x.tolist() for name, x in values.items()}})
        gradients = {name: now[f"grad_{name}"].numpy() for name in values}
        norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
        losses.append(now["cross_entropy"].item())
        norms.append(norm)
        for name, gradient in gradients.items():
            gradient = gradient * min(1, 0.25 / (norm + 1e-6))
            m, s = moments[name]
            m, s = 0.9 * m + 0.1 * gradient, 0.999 * s + 0.001 * gradient**2
            moments[name] = m, s
            mean, root = m / (1 - 0.9**step), np.sqrt(s / (1 - 0.999**step))
            values[name] = values[name] - 0.05 * mean / (root + 1e-8)
    assert norms[0] > 0.25
    assert found["losses"] == pytest.approx(losses, abs=1e-9)
    assert found["grad_norm_before_clip"] == pytest.approx(norms, abs=1e-9)
    assert found["theta_after"].detach().numpy() == pytest.approx(values["theta"], abs=1e-8)
    assert found["W_after"].detach().numpy() == pytest.approx(values["W"], abs=1e-8)
    assert losses[2] < losses[0]


@pytest.mark.parametrize(
    ("text", "lr", "eps", "clip"),
    [
        (OPTIMISER, 0.05, 1e-8, 0.25),
        ("Adam(lr=0.005, betas=(0.9, 0.999), eps=1e-08), clip_grad_norm_ 0.5", 0.005, 1e-8, 0.5),
        ("Adam 0.02, gradient clipping: global 2-norm at 0.25", 0.02, 1e-8, 0.25),
        ("Adam with learning rate 1e-2, no clipping", 0.01, 1e-8, float("inf")),
        ("the released settings", 0.005, 1e-8, 0.25),
    ],
)
def test_optimisers_are_read(text, lr, eps, clip):
    found = room._optimiser(text)
    assert found == {"lr": lr, "betas": (0.9, 0.999), "eps": eps, "clip": clip}


def test_ten_wires_pass_through_every_kind():
    # Losses and roots against plain iteration, which converges at this size.
    theta, phi, u = drawn(20, 10, batch=2)
    case = inputs(20, "amplitude", 10, 2, y=[7, 1], W=normal(20, 10, 100), b=normal(21, 10))
    found = room.classifier(case)
    with torch.no_grad():
        layer = Layer.of(theta, phi, 10)
        z = torch.zeros_like(u)
        for _ in range(200):
            z = layer(z, u)
    assert torch.allclose(expand(found["z_star_expectations"]), z, rtol=0, atol=1e-10)
    logits = z.relu() @ tensor(case["W"]).T + tensor(case["b"])
    loss = F.cross_entropy(logits, torch.tensor(case["y"]))
    assert found["cross_entropy"].item() == pytest.approx(loss.item(), abs=1e-10)


def test_the_public_file_is_complete():
    content = json.loads((Path(__file__).parent / "vectors/qdeq.json").read_text())
    assert {case["kind"] for case in content["cases"]} <= set(room.KINDS)
