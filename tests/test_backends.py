"""The same QNode on every backend: values, bit order, batches, noise, jobs; no token anywhere."""

import sys
import time
import traceback
from types import SimpleNamespace

import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane.exceptions import WireError

from qmlbook import backends
from qmlbook.backends import (
    compare,
    describe,
    jobs,
    machines,
    on,
    qnodes,
    resume,
    submit,
    to_qiskit,
    translate,
)
from qmlbook.base.errors import QmlbookError, UsageError

TOKEN = "qmlbooktest0123456789abcdefghijklmnopqrstuvwxyzTOKEN"
EXACT = ("default.qubit", "lightning.qubit", "aer")
# IBM's local testing mode takes seconds a circuit: what the others show it shows every night.
IBM = pytest.param("ibm", marks=pytest.mark.nightly)

ONE = (qml.RX, qml.RY, qml.RZ, qml.PhaseShift, qml.Rot, qml.U3, qml.U1, qml.U2)
FIXED = (qml.Hadamard, qml.X, qml.Y, qml.Z, qml.S, qml.T, qml.SX)
PAIRS = (qml.CNOT, qml.CZ, qml.CY, qml.CH, qml.SWAP, qml.ISWAP)
TURNS = (qml.CRX, qml.CRY, qml.CRZ, qml.ControlledPhaseShift, qml.CRot)
TURNS += (qml.IsingXX, qml.IsingYY, qml.IsingZZ)


def node(function, wires=3):
    return qml.QNode(function, qml.device("default.qubit", wires=wires))


def flat(results):
    return qnodes._flat(results)


def ring(x, weights):
    """The circuit of quantum self-supervised learning, of any width."""
    n = np.shape(weights)[-1]
    for i in range(n):
        qml.RX(x[..., i], wires=i)
    for turns, controlled in weights:
        for i in range(n):
            qml.RY(turns[i], wires=i)
        for i in range(n):
            qml.CRX(controlled[i], wires=(i, (i + 1) % n))
    return [qml.expval(qml.Z(i)) for i in range(n)]


def inputs(n, batch, seed=0, layers=2):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, np.pi, (batch, n)), rng.normal(size=(layers, 2, n)) / np.sqrt(n)


def scrambled(rng, n, gates):
    """A random circuit of every kind of gate, as a list of (class, angles, wires)."""
    made = []
    for _ in range(gates):
        kinds = (ONE, FIXED, PAIRS, TURNS) if n > 1 else (ONE, FIXED)
        cls = rng.choice(np.array(kinds[rng.integers(len(kinds))], dtype=object))
        wires = rng.permutation(n)[: 1 if cls in ONE + FIXED else 2].tolist()
        made.append((cls, rng.uniform(-4, 4, cls.num_params), wires))
    return made


# -- gates and bit order ---------------------------------------------------------------------------

GATES = [
    *(cls(*np.linspace(0.4, 1.7, cls.num_params), wires=1) for cls in ONE),
    *(cls(wires=1) for cls in FIXED),
    *(cls(wires=(2, 0)) for cls in PAIRS),
    *(cls(*np.linspace(0.4, 1.7, cls.num_params), wires=(2, 0)) for cls in TURNS),
    *(qml.adjoint(cls(wires=1)) for cls in (qml.S, qml.T, qml.SX)),
    qml.Toffoli(wires=(2, 0, 1)),
    qml.CSWAP(wires=(1, 2, 0)),
    qml.adjoint(qml.Rot(0.3, 0.4, 0.5, wires=2)),
    qml.ctrl(qml.U3(0.3, 0.4, 0.5, wires=2), control=0),
    qml.MultiControlledX(wires=(2, 0, 1), control_values=(0, 1)),
    qml.MultiControlledX(wires=(3, 2, 0, 1), control_values=(1, 0, 1)),
    qml.QubitUnitary(qml.matrix(qml.QFT(wires=(0, 1))), wires=(2, 0)),
]


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: f"{gate.name}{gate.wires.tolist()}")
def test_every_gate_is_the_same_matrix_in_qiskit(gate):
    quantum_info = pytest.importorskip("qiskit.quantum_info")
    wires = range(4)
    everywhere = [qml.Identity(wire) for wire in wires]  # fixes the order of the wires
    circuit = to_qiskit(qml.tape.QuantumScript([*everywhere, gate]))
    found = quantum_info.Operator(circuit.reverse_bits()).data
    wanted = qml.matrix(gate, wire_order=wires)
    overlap = np.trace(wanted.conj().T @ found) / 16
    assert abs(overlap) == pytest.approx(1, abs=1e-10)
    np.testing.assert_allclose(found, overlap * wanted, atol=1e-10)


def test_state_preparation_of_complex_vectors_and_batches():
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(3, 8)) + 1j * rng.normal(size=(3, 8))

    @node
    def circuit(v):
        qml.StatePrep(v, wires=(2, 0, 1), normalize=True)
        qml.RX(0.3, wires=0)
        return qml.probs(wires=(0, 1, 2)), qml.expval(qml.Y(1))

    for given in (vectors, vectors[1]):
        np.testing.assert_allclose(flat(on(circuit)(given)), flat(circuit(given)), atol=1e-10)


@pytest.mark.parametrize(
    "wires",
    [*(pytest.param(w, marks=pytest.mark.nightly) for w in ((0, 1, 2), (2, 0, 1))), ("b", "a", 7)],
)
def test_bits_keep_the_order_of_wires(wires):
    """Only the middle wire is flipped: every reversal shows, exact and sampled."""

    @node
    def circuit():
        qml.RX(0.4, wires=wires[0])
        qml.X(wires[1])
        qml.CRY(1.1, wires=wires[1:])
        return (
            qml.probs(wires=(wires[2], wires[1])),
            qml.expval(qml.Z(wires[0])),
            qml.expval(qml.Z(wires[1])),
            qml.expval(qml.Z(wires[2]) @ qml.Z(wires[1])),
        )

    circuit = qml.QNode(circuit.func, qml.device("default.qubit", wires=wires))
    exact = flat(circuit())
    np.testing.assert_allclose(flat(on(circuit)()), exact, atol=1e-10)
    for backend in ("aer", "ibm"):
        found = flat(on(circuit, backend, shots=4000, mitigate=backend == "ibm")())
        np.testing.assert_allclose(found, exact, atol=0.1)


@pytest.mark.parametrize("backend", ["aer", IBM, "lightning.qubit"])
def test_without_wires_all_wires_of_the_device_are_measured(backend):
    """Only wire 1 is used, and not the first: all others are 0 and have their bits."""
    shots = 300

    def measured(measure):
        def circuit():
            qml.X("b")
            return measure()

        device = qml.device("default.qubit", wires=("a", "b", "c"))
        return on(qml.QNode(circuit, device), backend, shots=shots)()

    probs = measured(qml.probs)
    assert probs.shape == (8,)
    assert probs.argmax() == 0b010
    counts = measured(lambda: qml.counts(all_outcomes=True))
    assert sorted(map(str, counts)) == [f"{k:03b}" for k in range(8)]
    assert max(counts, key=counts.get) == "010"
    assert sum(counts.values()) == shots
    assert set(measured(qml.counts)) <= set(counts)
    samples = measured(qml.sample)
    assert samples.shape == (shots, 3)
    assert samples.mean(0).round().tolist() == [0, 1, 0]


def test_exact_probabilities_without_wires_are_those_of_the_device():
    circuit = qml.QNode(
        lambda: (qml.RX(0.4, wires="b"), qml.probs())[1],
        qml.device("default.qubit", wires=("a", "b", "c")),
    )
    np.testing.assert_allclose(on(circuit)(), circuit(), atol=1e-10)


def test_a_wire_that_the_device_lacks_is_refused():
    circuit = node(lambda: (qml.X(3), qml.expval(qml.Z(3)))[1])
    with pytest.raises(WireError, match="3"):
        on(circuit)()


def test_counts_samples_and_values_of_one_circuit_are_of_the_same_shots():
    @node
    def circuit(x):
        qml.RX(x, wires=0)
        qml.CNOT(wires=(0, 2))
        return (
            qml.counts(wires=(2, 1)),
            qml.sample(qml.Z(0)),
            qml.probs(wires=(0,)),
            qml.counts(qml.Z(0) @ qml.Z(2)),
        )

    x = np.array([0.3, 1.8])
    counts, samples, probs, parity = on(circuit, shots=500)(x)
    assert samples.shape == (2, 500)
    for k in (0, 1):
        ones = int((samples[k] == -1).sum())
        assert counts[k] == {"00": 500 - ones, "10": ones}
        assert probs[k].tolist() == [1 - ones / 500, ones / 500]
        assert parity[k] == {1.0: 500}
    assert 0 < (np.diff(samples[1]) != 0).sum() < 499  # in no order


def test_more_than_eight_bits_arrive_in_order():
    """Samplers pack bits in bytes; eleven bits take two."""
    bits = [1, 0, 0, 1, 1, 0, 1, 0, 0, 0, 1]

    @qml.qnode(qml.device("default.qubit", wires=len(bits)))
    def circuit():
        qml.BasisEmbedding(bits, wires=range(len(bits)))
        return [qml.expval(qml.Z(wire)) for wire in range(len(bits))]

    np.testing.assert_array_equal(on(circuit, "aer", shots=7)(), 1 - 2 * np.array(bits))


# -- exact backends --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_exact_backends_agree_on_random_circuits(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 5))
    gates = scrambled(rng, n, 25)

    def function(x):
        for wire in range(n):
            qml.RY(x[..., wire], wires=wire)
        for cls, angles, wires in gates:
            cls(*angles, wires=wires)
        word = qml.prod(*(qml.PauliX(w) if w % 2 else qml.PauliY(w) for w in range(n)))
        return (
            qml.expval(word),
            qml.expval(0.5 * qml.Z(0) - 1.5 * qml.X(n - 1) + 0.25 * qml.I(0)),
            qml.var(qml.Y(0)),
            qml.probs(wires=range(n - 1, -1, -1)),
        )

    circuit = node(function, n)
    for x in (rng.normal(size=n), rng.normal(size=(3, n))):
        exact = circuit(x)
        for backend in EXACT:
            found = on(circuit, backend)(x)
            assert [np.shape(f) for f in found] == [np.shape(e) for e in exact]
            np.testing.assert_allclose(flat(found), flat(exact), atol=1e-10)


def test_a_batch_of_controlled_rotations_is_filled_in_everywhere():
    """Aer itself leaves open controlled rotations at angle 0 for later entries."""

    @node
    def circuit(x):
        qml.Hadamard(0)
        for turn in (*TURNS[:4], *TURNS[5:]):
            qml.Hadamard(1)
            turn(x, wires=(0, 1))
        return qml.expval(qml.Y(1)), qml.expval(qml.X(0))

    x = np.array([0.3, 1.1, 2.5])
    np.testing.assert_allclose(flat(on(circuit)(x)), flat(circuit(x)), atol=1e-10)


def test_gradients_and_torch_pass_through():
    @node
    def circuit(x):
        qml.RX(x, wires=0)
        qml.CRY(0.3 * x, wires=(0, 1))
        return qml.expval(qml.Z(1) @ qml.Z(0))

    values = []
    for backend in EXACT:
        x = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
        y = on(circuit, backend)(x)
        y.backward()
        values.append((y.item(), x.grad.item()))
    np.testing.assert_allclose(values, [values[0]] * 3, atol=1e-6)
    assert abs(values[0][1]) > 0.1


SHIFTED = [
    ("aer", None),
    ("aer", 4000),
    ("default.qubit", 4000),
    pytest.param("ibm", 4000, marks=pytest.mark.nightly),
]


def batch_slopes(circuit, layer, weights, images):
    """Return gradients of a loss of a hybrid network, flat."""
    values = torch.stack(list(circuit(layer(images), weights)), -1)
    slopes = torch.autograd.grad(values.square().sum(), [weights, layer.bias, layer.weight])
    return torch.cat([slope.flatten() for slope in slopes]).numpy()


@pytest.mark.parametrize(("backend", "shots"), SHIFTED)
def test_a_batch_behind_a_layer_is_differentiated(backend, shots):
    circuit = node(ring, 2)
    rng = np.random.default_rng(0)
    layer = torch.nn.Linear(3, 2).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(rng.normal(size=(2, 3)) / 2))
        layer.bias.copy_(torch.from_numpy(rng.normal(size=2)))
    weights = torch.from_numpy(rng.normal(size=(1, 2, 2))).requires_grad_()
    images = torch.from_numpy(rng.normal(size=(5, 3)))
    exact = batch_slopes(circuit, layer, weights, images)
    machine = {"device": "FakeParisV2"} if backend == "ibm" else {}
    found = batch_slopes(on(circuit, backend, shots=shots, **machine), layer, weights, images)
    # Ten numbers of variance at most 1 / shots in a sum, times slopes of at most some units;
    # the noise of the fake device shrinks expectation values by some percent more.
    bound = 1e-10 if shots is None else 0.3 * (3 if backend == "ibm" else 1)
    assert np.abs(found - exact).max() < bound
    assert np.abs(exact).max() > 0.9


def test_a_differentiated_batch_is_one_job_and_one_compilation(monkeypatch):
    circuit = on(node(ring, 2), "aer", shots=10)
    sent = []
    send = circuit.device.send
    monkeypatch.setattr(
        circuit.device, "send", lambda tapes: sent.append(len(tapes)) or send(tapes)
    )
    x = torch.zeros(6, 2, dtype=torch.float64, requires_grad=True)
    sum(circuit(x, torch.zeros(1, 2, 2).double())).sum().backward()
    assert sent == [6, 6 * 2 * 2]  # the entries, then two shifts of each of two angles of theirs
    assert len(circuit.device._compiled) == 1


def test_a_torch_layer_is_trained_on_shots():
    @qml.qnode(qml.device("default.qubit", wires=2))
    def circuit(inputs, weights):
        qml.AngleEmbedding(inputs, wires=(0, 1))
        qml.BasicEntanglerLayers(weights, wires=(0, 1))
        return [qml.expval(qml.Z(0)), qml.expval(qml.Z(1))]

    torch.manual_seed(0)
    shapes, images = {"weights": (2, 2)}, torch.linspace(-1, 1, 12).reshape(4, 3)
    slopes = []
    for qnode in (circuit, on(circuit, "aer"), on(circuit, "aer", shots=4000)):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(3, 2), qml.qnn.TorchLayer(qnode, shapes))
        network(images).square().sum().backward()
        slopes.append(torch.cat([p.grad.flatten() for p in network.parameters()]).numpy())
    exact, analytic, sampled = slopes
    np.testing.assert_allclose(analytic, exact, atol=1e-5)  # in single precision
    np.testing.assert_allclose(sampled, exact, atol=0.3)
    assert np.abs(exact).max() > 0.9


def test_a_batch_of_gates_with_many_controls_is_run_entry_by_entry():
    def circuit(x):
        for wire in range(4):
            qml.RY(0.9 + 0.2 * wire, wires=wire)
        qml.ctrl(qml.RX(x, wires=4), control=(0, 1, 2))
        qml.ctrl(qml.Rot(x, 0.3, x, wires=4), control=(3, 1, 2, 0), control_values=(1, 0, 1, 1))
        return qml.expval(qml.Y(4)), qml.probs(wires=(1, 4))

    circuit, x = node(circuit, 5), np.array([0.3, 1.1, 2.5])
    np.testing.assert_allclose(flat(on(circuit)(x)), flat(circuit(x)), atol=1e-10)


def test_the_qnode_itself_stays_as_it_was():
    circuit = node(lambda x: (qml.RX(x, wires=0), qml.expval(qml.Z(0)))[1])
    on(circuit, "aer", shots=10)(0.3)
    assert circuit.device.name == "default.qubit"
    assert circuit(0.3) == pytest.approx(np.cos(0.3))


# -- shots and seeds -------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", EXACT)
def test_shots_are_within_five_sigma_and_spread_as_they_should(backend):
    shots = 2000
    x, weights = inputs(4, 30)
    circuit = node(ring, 4)
    exact = np.stack(circuit(x, weights))
    found = np.stack(on(circuit, backend, shots=shots)(x, weights))
    score = (found - exact) / np.sqrt((1 - exact**2) / shots)
    assert np.abs(score).max() < 5
    assert 0.8 < score.std() < 1.2


@pytest.mark.parametrize(
    ("backend", "shots"),
    [
        ("default.qubit", 50),
        ("lightning.qubit", 50),
        ("aer", 50),
        pytest.param("aer-noise", 50, marks=pytest.mark.nightly),
        pytest.param("ibm", 50, marks=pytest.mark.nightly),
    ],
)
def test_a_seed_repeats_the_calls_and_every_call_is_new(backend, shots):
    x, weights = inputs(2, 3)
    circuit = node(ring, 2)
    one, same, other = (on(circuit, backend, shots=shots, seed=s) for s in (5, 5, 6))
    first, second = flat(one(x, weights)), flat(one(x, weights))
    np.testing.assert_array_equal(first, flat(same(x, weights)))
    np.testing.assert_array_equal(second, flat(same(x, weights)))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, flat(other(x, weights)))


@pytest.mark.parametrize("turn", [qml.RX, qml.RZ])
@pytest.mark.parametrize(
    "backend", ["aer", "aer-noise", pytest.param("ibm", marks=pytest.mark.nightly)]
)
def test_equal_entries_of_a_batch_are_sampled_independently(backend, turn):
    """RZ has no effect here and is compiled away; the batch must stay a batch."""

    @node
    def circuit(x):
        qml.Hadamard(0)
        turn(x, wires=0)
        return qml.expval(qml.Z(0))

    found = on(circuit, backend, shots=400)(np.zeros(40))
    assert len(set(found.tolist())) > 10
    assert 0.5 < found.std() * np.sqrt(400) < 1.6


def test_shots_of_the_qnode_are_kept_and_noise_has_a_default():
    plain = node(lambda: qml.expval(qml.Z(0)))
    sampled = qml.set_shots(plain, 77)
    totals = [on(q, b).shots.total_shots for q in (plain, sampled) for b in ("aer", "aer-noise")]
    assert totals == [None, backends.SHOTS, 77, 77]


def test_one_job_and_one_compilation_for_a_whole_batch(monkeypatch):
    from qiskit_aer.primitives import SamplerV2

    jobs, run = [], SamplerV2.run
    monkeypatch.setattr(SamplerV2, "run", lambda self, pubs: jobs.append(pubs) or run(self, pubs))
    x, weights = inputs(3, 20)
    moved = on(node(ring), "aer-noise", shots=10)
    moved(x, weights)
    moved(x + 0.1, 2 * weights)
    assert [len(pubs) for pubs in jobs] == [1, 1]
    assert jobs[0][0][1].shape == (20, 1 + 3 + 12)
    assert jobs[0][0][0] is jobs[1][0][0]


# -- noise -----------------------------------------------------------------------------------------


def test_noise_shrinks_values_and_mitigation_undoes_the_readout_part():
    x, weights = inputs(4, 24)
    circuit = node(ring, 4)
    exact = flat(circuit(x, weights))
    options = {"shots": 4000, "seed": 2}
    noisy = flat(on(circuit, "aer-noise", **options)(x, weights))
    mended = flat(on(circuit, "aer-noise", mitigate=True, **options)(x, weights))
    slope, mended_slope = (found @ exact / (exact @ exact) for found in (noisy, mended))
    assert 0.6 < slope < 0.95
    assert slope + 0.02 < mended_slope < 1.01
    assert np.abs(noisy - exact).max() > 5 / np.sqrt(4000)
    assert np.corrcoef(noisy, exact)[0, 1] > 0.97


@pytest.mark.parametrize("backend", ["aer-noise", pytest.param("ibm", marks=pytest.mark.nightly)])
def test_pure_readout_noise_is_removed_and_has_the_devices_size(backend):
    """Without gates on a wire only readout errors are left: all zeros must come back as +1."""
    circuit = node(lambda: [qml.expval(qml.Z(w)) for w in range(3)])
    shots = 20_000
    raw = flat(on(circuit, backend, shots=shots)())
    assert (raw < 1 - 5e-3).all()
    assert (raw > 0.8).all()
    mended = flat(on(circuit, backend, shots=shots, mitigate=True)())
    np.testing.assert_allclose(mended, 1, atol=5 * np.sqrt(2 * 0.1 / shots) * 2)


def test_mitigation_inverts_unequal_readout_errors_exactly():
    """Three bits, each misread with its own two probabilities, as relaxation makes them unequal."""
    misread = [(0.02, 0.20), (0.05, 0.10), (0.0, 0.3)]  # 0 read as 1, 1 read as 0
    confusion = np.ones((1, 1))
    for zero, one in misread:
        confusion = np.kron(confusion, [[1 - zero, one], [zero, 1 - one]])
    true = np.random.default_rng(0).dirichlet(np.ones(8), size=4)
    found = jobs.mitigated(true @ confusion.T, confusion[:, 0], confusion[:, -1])
    np.testing.assert_allclose(found, true, atol=1e-12)


@pytest.mark.parametrize("compact", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_the_compiled_circuit_is_the_circuit_and_its_noise_the_devices(compact):
    """Bound by hand and run through Qiskit alone: ideal gives the exact values, noise ours."""
    from qiskit_aer import AerSimulator
    from qiskit_ibm_runtime.fake_provider import FakeParisV2

    shots = 20_000
    x, weights = inputs(3, 1)
    circuit = node(ring)
    moved = on(circuit, "aer-noise", shots=shots, compact=compact)
    (tape,), _ = qnodes._prepared(moved, (x[0], weights), {})
    compiled = moved.device.compiled(tape)
    angles = dict(
        zip(
            sorted(compiled.parameters, key=lambda p: p.index),
            translate.angle_table(tape)[0],
            strict=True,
        )
    )
    bound = compiled.assign_parameters(angles)
    machine = FakeParisV2()
    edges = set(machine.coupling_map.get_edges())
    for gate in bound.data:
        place = tuple(bound.find_bit(qubit).index for qubit in gate.qubits)
        assert gate.operation.name in machine.operation_names
        assert len(place) == 1 or place in edges

    def values(simulator):
        counts = simulator.run(bound, shots=shots, seed_simulator=4).result().get_counts()
        signs = np.array([[1 - 2 * int(bit) for bit in key] for key in counts])
        return np.array(list(counts.values())) @ signs / shots

    sigma = 5 / np.sqrt(shots)
    np.testing.assert_allclose(values(AerSimulator()), flat(circuit(x[0], weights)), atol=sigma)
    ours = flat(moved(x[0], weights))
    np.testing.assert_allclose(values(AerSimulator.from_backend(machine)), ours, atol=1.5 * sigma)


def test_a_batch_equals_single_runs():
    x, weights = inputs(3, 3)
    circuit = node(ring)
    for backend, shots, tolerance in (("aer", None, 1e-12), ("aer-noise", 20_000, 0.05)):
        moved = on(circuit, backend, shots=shots)
        together = np.stack(moved(x, weights), axis=1)
        single = np.stack([flat(moved(row, weights)) for row in x])
        np.testing.assert_allclose(together, single, atol=tolerance)


def test_description_counts_gates_before_and_after():
    x, weights = inputs(8, 5)
    circuit = node(ring, 8)
    compact = describe(circuit, x, weights)
    assert compact.qubits == 8
    assert (compact.written.gates, compact.written.two_qubit) == (8 + 32, 16)
    assert compact.written.depth == 19
    assert 56 <= compact.transpiled.two_qubit <= 80
    assert describe(circuit, x, weights) == compact
    free = describe(circuit, x, weights, options={"compact": False})
    assert free.written == compact.written
    assert 52 <= free.transpiled.two_qubit <= 76
    assert 115 <= free.transpiled.depth <= 160
    assert describe(circuit, x, weights, backend="aer").transpiled.two_qubit == 32


def test_table_of_agreement():
    x, weights = inputs(3, 4)
    rows = {row["run"]: row for row in compare(node(ring), x, weights)}
    assert len(rows) == 5
    assert max(rows[name]["largest"] for name in list(rows)[:3]) < 1e-10
    assert 1e-3 < rows["aer, shots"]["rms"] < 0.05
    assert rows["aer, noise of ibmq_paris"]["rms"] > rows["aer, shots"]["rms"]
    assert rows["aer, noise of ibmq_paris"]["shots"] == 1000


# -- jobs and hardware -----------------------------------------------------------------------------


def test_a_local_job_is_sent_and_read_later():
    x, weights = inputs(2, 4)
    moved = on(node(ring, 2), "ibm", shots=200)
    job = submit(moved, x, weights)
    found = resume(job, moved, x, weights)
    assert np.shape(found) == (2, 4)
    np.testing.assert_array_equal(found, resume(job, moved, x, weights))
    with pytest.raises(UsageError, match="other circuits, angles or shots"):
        resume(job, moved, x + 1e-9, weights)
    with pytest.raises(UsageError, match="not one of this session's"):
        resume("nowhere", moved, x, weights)


class Service:
    """IBM's service, played by a fake machine: it keeps jobs and knows a token."""

    jobs: dict
    opened: int

    def __init__(self):
        type(self).opened += 1
        self.token = TOKEN

    def backend(self, name):
        if name != "ibm_test":
            raise LookupError(f"no backend {name} for {TOKEN}")
        return machines.fake("FakeParisV2")

    def job(self, name):
        if name not in self.jobs:
            raise LookupError(f"no job for {TOKEN}")
        return self.jobs[name]


@pytest.fixture
def cloud(monkeypatch, capsys):
    """Real hardware without a network; `cloud.printed` is what stood there when it was sent."""
    import qiskit_ibm_runtime
    from qiskit_ibm_runtime import executor_sampler

    real = executor_sampler.Sampler
    seen = SimpleNamespace(printed="", pubs=[])

    class Sampler:
        def __new__(cls, mode, options=None):
            return real(mode, options) if options else super().__new__(cls)

        def __init__(self, mode):
            self.mode, self.options = mode, SimpleNamespace(environment=SimpleNamespace())

        def run(self, pubs):
            seen.printed, seen.pubs = capsys.readouterr().out, pubs
            mode = machines.aer(self.mode)
            sent = real(mode=mode, options={"simulator": {"seed_simulator": 9}}).run(pubs)
            sent.tags = self.options.environment.job_tags
            Service.jobs[sent.job_id()] = sent
            return sent

    monkeypatch.setattr(Service, "jobs", {}, raising=False)
    monkeypatch.setattr(Service, "opened", 0, raising=False)
    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", Service)
    monkeypatch.setattr(executor_sampler, "Sampler", Sampler)
    return seen


def test_hardware_says_what_it_sends_and_resumes_in_another_session(cloud, capsys):
    x, weights = inputs(2, 6)
    options = {"device": "ibm_test", "hardware": True, "shots": 500, "mitigate": True}
    job = submit(on(node(ring, 2), "ibm", **options), x, weights)
    circuits = 6 + 2 * 17  # readout: 17 times 500 shots are at least 8,192
    total = circuits * 500
    assert f"{circuits} circuits, {total} shots in all, an estimated {round(total * 250e-6)} s" in (
        cloud.printed
    )
    assert job in capsys.readouterr().out
    assert len(cloud.pubs) == 3
    later = on(node(ring, 2), "ibm", **options)  # knows nothing of the first
    found = np.stack(resume(job, later, x, weights))
    np.testing.assert_allclose(found, node(ring, 2)(x, weights), atol=0.25)
    for change in ({"shots": 400}, {"mitigate": False}):
        with pytest.raises(UsageError, match="other circuits, angles or shots"):
            resume(job, on(node(ring, 2), "ibm", **options | change), x, weights)


def test_nothing_is_sent_to_hardware_unless_asked(cloud):
    x, weights = inputs(2, 1)
    on(node(ring, 2), "ibm", shots=10)(x, weights)  # local testing mode
    assert Service.opened == 0
    with pytest.raises(UsageError, match="hardware=True needs"):
        on(node(ring, 2), "ibm", hardware=True)
    with pytest.raises(UsageError, match="hardware=True needs"):
        on(node(ring, 2), "aer-noise", device="ibm_test", hardware=True)


def told(error):
    """Everything that an exception could show, with the errors behind it."""
    text = "".join(traceback.format_exception(error))
    while error is not None:
        text += repr(error) + repr(error.args)
        error = error.__cause__ or error.__context__
    return text


def test_errors_of_the_service_are_never_repeated(cloud, capsys, caplog, monkeypatch):
    x, weights = inputs(2, 1)
    options = {"device": "ibm_test", "hardware": True, "shots": 10}
    texts = []
    with pytest.raises(QmlbookError, match="LookupError") as caught:
        on(node(ring, 2), "ibm", **options | {"device": "ibm_other"})
    texts.append(told(caught.value))
    moved = on(node(ring, 2), "ibm", **options)
    with pytest.raises(QmlbookError, match="LookupError") as caught:
        resume("gone", moved, x, weights)
    texts.append(told(caught.value))
    job = submit(moved, x, weights)

    def fails():
        raise RuntimeError(f"refused: {TOKEN}")

    Service.jobs[job].result = fails
    with pytest.raises(QmlbookError, match="RuntimeError") as caught:
        resume(job, moved, x, weights)
    texts.append(told(caught.value))
    monkeypatch.setattr(Service, "__init__", lambda self: fails())
    with pytest.raises(QmlbookError, match="could not be opened") as caught:
        on(node(ring, 2), "ibm", **options)
    texts += [told(caught.value), repr(moved), repr(moved.device), repr(vars(moved.device))]
    texts += [*capsys.readouterr(), caplog.text]
    assert not any(TOKEN in text for text in texts)


def test_without_an_account_one_sentence_says_what_to_do(offline):
    with pytest.raises(UsageError, match=r"save_account once in your own shell") as caught:
        on(node(ring, 2), "ibm", device="ibm_test", hardware=True)
    assert len(str(caught.value).split(". ")) == 1
    assert caught.value.__context__ is None


@pytest.mark.parametrize("place", ["file", "environment"])
def test_a_planted_token_shows_nowhere(offline, place, monkeypatch, capsys, caplog, tmp_path):
    """IBM's real client opens the account, fails, and logs at its most talkative level."""
    if place == "environment":
        monkeypatch.setenv("QISKIT_IBM_TOKEN", TOKEN)
        monkeypatch.setenv("QISKIT_IBM_CHANNEL", "ibm_quantum_platform")
    else:
        offline.parent.mkdir()
        offline.write_text(
            '{"default-ibm-quantum-platform": {"channel": "ibm_quantum_platform", '
            f'"token": "{TOKEN}", "url": "https://cloud.ibm.com", "private_endpoint": false}}}}'
        )
    before = sorted(tmp_path.rglob("*"))
    start = time.perf_counter()
    with caplog.at_level("DEBUG"), pytest.raises(QmlbookError, match="not be opened") as caught:
        on(node(ring, 2), "ibm", device="ibm_test", hardware=True)
    assert TOKEN not in told(caught.value) + caplog.text + "".join(capsys.readouterr())
    assert sorted(tmp_path.rglob("*")) == before  # nothing stored
    assert time.perf_counter() - start < 30


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "options", "words"),
    [
        ("aer-gpu", {}, "backend 'aer-gpu' is not known; choose from: default.qubit"),
        ("aer", {"shots": 0}, "shots must be a whole number"),
        ("aer", {"shots": 2.5}, "shots must be a whole number"),
        ("aer", {"seed": -1}, "seed must be 0 or more"),
        ("aer", {"mitigate": True}, "belong to aer-noise and ibm"),
        ("default.qubit", {"device": "FakeParisV2"}, "belong to aer-noise and ibm"),
        ("aer-noise", {"device": "FakeAtlantis"}, "not a fake device"),
        ("ibm", {"device": "FakeProviderForBackendV2"}, "not a fake device"),
    ],
)
def test_wrong_requests_are_refused_in_one_sentence(backend, options, words):
    with pytest.raises(UsageError, match=words):
        on(node(ring), backend, **options)


@pytest.mark.parametrize(
    "measure",
    [
        qml.state,
        lambda: qml.expval(qml.Hermitian(np.eye(2), 0)),
        lambda: qml.var(qml.Z(0) + qml.X(1)),
        lambda: qml.counts(qml.Z(0) + qml.X(1)),
    ],
)
def test_measurements_that_counts_cannot_give_are_refused(measure):
    with pytest.raises(UsageError, match="not offered on Qiskit backends"):
        on(node(measure), shots=10)()


@pytest.mark.parametrize("measure", [qml.counts, qml.sample])
def test_single_shots_are_refused_where_there_are_none(measure):
    with pytest.raises(UsageError, match="give shots to on"):
        on(node(measure))()
    with pytest.raises(UsageError, match="mitigate=True has none"):
        on(node(measure), "aer-noise", mitigate=True)()


def test_other_refusals():
    circuit = node(lambda: qml.expval(qml.Z(0)))
    with pytest.raises(UsageError, match="one number"):
        qml.set_shots(on(circuit), (10, 20))()
    with pytest.raises(UsageError, match="backend 'ibm'"):
        submit(on(circuit, "aer"))
    with pytest.raises(UsageError, match="choose from: aer"):
        describe(circuit, backend="default.qubit")
    with pytest.raises(UsageError, match="with a batch"):
        to_qiskit(qml.tape.QuantumScript([qml.RX(np.zeros(2), wires=0)]))
    many = node(lambda: ([qml.Hadamard(w) for w in range(28)], qml.expval(qml.Z(0)))[1], 28)
    with pytest.raises(UsageError, match="28 qubits, fake_paris has 27"):
        on(many, "aer-noise")()


def test_a_missing_package_is_named_with_its_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "qiskit_aer", None)
    with pytest.raises(QmlbookError, match=r"qiskit_aer is missing.*pip install 'qmlbook\[hard"):
        on(node(ring), "aer")
    assert on(node(ring), "default.qubit") is not None


def test_the_table_of_agreement_is_in_double_precision_whatever_the_interface():
    @qml.qnode(qml.device("default.qubit", wires=2), interface="torch")
    def circuit(x):
        qml.RX(x, wires=0)
        qml.CRY(x, wires=(0, 1))
        return [qml.expval(qml.Z(0)), qml.expval(qml.Z(1))]

    rows = backends.compare(circuit, np.array([0.3, 1.2]))
    exact = {row["run"]: row["largest"] for row in rows if row["shots"] is None}
    assert len(exact) == 3
    assert max(exact.values()) < 1e-12
