"""The device against PennyLane's own, in values and gradients of every order that is offered."""

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qmlbook.base.errors import QmlbookError
from qmlbook.statevector import (
    StatevectorDevice,
    compile_qnode,
    dephase,
    observable_matrix,
    quadratic_form,
    simulation,
)

torch.set_num_threads(1)

ONE = (qml.RX, qml.RY, qml.RZ, qml.PhaseShift, qml.Rot, qml.U3)
FIXED = (qml.Hadamard, qml.X, qml.Y, qml.Z, qml.S, qml.T, qml.SX)
TWO = (qml.CRX, qml.CRY, qml.CRZ, qml.ControlledPhaseShift, qml.CRot, qml.IsingXX, qml.IsingZZ)
PAIRS = (qml.CNOT, qml.CZ, qml.SWAP, qml.CY)
WORDS = (
    lambda w: qml.Z(w[0]),
    lambda w: qml.X(w[0]) @ qml.Y(w[-1]) if len(w) > 1 else qml.X(w[0]),
    lambda w: 0.5 * qml.Z(w[0]) - 1.5 * qml.Y(w[-1]) + 0.25 * qml.I(w[0]),
    lambda w: qml.prod(*(qml.Z(wire) for wire in w)),
)


def _gate(draw, n):
    """Draw one gate: (class or function, how many parameters, wires, batched)."""
    kind = draw(st.sampled_from(("one", "fixed", "two", "pair", "cu3", "mcx", "mcz", "adjoint")))
    wires = draw(st.permutations(range(n)))
    if n == 1 and kind in ("two", "pair", "cu3", "mcx", "mcz"):
        kind = "one"
    batched = draw(st.booleans())
    if kind == "one":
        cls = draw(st.sampled_from(ONE))
        return cls, cls.num_params, wires[:1], batched
    if kind == "fixed":
        return draw(st.sampled_from(FIXED)), 0, wires[:1], False
    if kind == "two":
        cls = draw(st.sampled_from(TWO))
        return cls, cls.num_params, wires[:2], batched
    if kind == "pair":
        return draw(st.sampled_from(PAIRS)), 0, wires[:2], False
    if kind == "cu3":
        return _controlled_u3, 3, wires[:2], batched
    if kind == "adjoint":
        return _adjoint_rot, 3, wires[:1], batched
    size = draw(st.integers(2, min(n, 5)))
    return (_mcx if kind == "mcx" else _mcz), 0, wires[:size], False


def _controlled_u3(*angles, wires):
    qml.ctrl(qml.U3(*angles, wires=wires[1]), control=wires[0])


def _adjoint_rot(*angles, wires):
    qml.adjoint(qml.Rot(*angles, wires=wires))


def _mcx(wires):
    qml.MultiControlledX(wires=wires, control_values=[i % 2 for i in range(len(wires) - 1)])


def _mcz(wires):
    qml.ctrl(qml.Z(wires[-1]), control=wires[:-1])


@st.composite
def circuits(draw, most=8):
    """Draw a circuit: wires, batch (or None), encoding, gates, measurements."""
    n = draw(st.integers(1, most))
    batch = draw(st.sampled_from((None, 1, 3)))
    encoding = draw(st.sampled_from(("none", "amplitude", "angle", "basis")))
    gates = [_gate(draw, n) for _ in range(draw(st.integers(1, 24)))]
    measured = draw(st.permutations(range(n)))[: draw(st.integers(1, n))]
    kinds = draw(
        st.lists(st.sampled_from(("expval", "var", "probs", "state")), min_size=1, max_size=3)
    )
    word = draw(st.sampled_from(WORDS))
    return n, batch, encoding, gates, measured, kinds, word, draw(st.integers(0, 2**31))


def _quantum_function(n, batch, encoding, gates, measured, kinds, word):
    """Return a function of inputs (batch, 2^n or n) and two lists of angles."""

    def function(inputs, shared, private):
        if encoding == "amplitude":
            qml.AmplitudeEmbedding(inputs, wires=range(n), normalize=True)
        elif encoding == "angle":
            qml.AngleEmbedding(inputs[..., :n], wires=range(n))
        elif encoding == "basis":
            qml.BasisState(np.arange(n) % 2, wires=range(n))
        place = 0
        for gate, count, wires, batched in gates:
            angles = (
                private[place : place + count]
                if batched and batch
                else shared[place : place + count]
            )
            place += count
            gate(*angles, wires=wires)
        made = {
            "expval": lambda: qml.expval(word(measured)),
            "var": lambda: qml.var(word(measured)),
            "probs": lambda: qml.probs(wires=measured),
            "state": qml.state,
        }
        return [made[kind]() for kind in kinds]

    return function


def _numbers(n, batch, gates, seed):
    make = torch.Generator().manual_seed(seed)
    count = sum(gate[1] for gate in gates) + 1
    shape = (2**n,) if batch is None else (batch, 2**n)
    inputs = torch.randn(shape, generator=make, dtype=torch.float64) + 0.1
    shared = torch.randn(count, generator=make, dtype=torch.float64)
    private = torch.randn((count, batch or 1), generator=make, dtype=torch.float64)
    return [t.requires_grad_() for t in (inputs, shared, private)]


def _flat(results):
    results = results if isinstance(results, (list, tuple)) else [results]
    return torch.cat([torch.view_as_real(r + 0j).reshape(-1).double() for r in results])


def _values_and_gradients(device, function, numbers, way=lambda node: node):
    found = _flat(way(qml.QNode(function, device, interface="torch"))(*numbers))
    weights = torch.cos(torch.arange(len(found), dtype=torch.float64))
    grads = torch.autograd.grad((found * weights).sum(), numbers, allow_unused=True)
    zero = (torch.zeros_like(t) for t in numbers)
    return found.detach(), [g if g is not None else z for g, z in zip(grads, zero, strict=True)]


@pytest.mark.nightly
@given(circuits())
@settings(max_examples=60)
def test_random_circuits_agree_in_values_and_gradients(case):
    n, batch, encoding, gates, measured, kinds, word, seed = case
    function = _quantum_function(n, batch, encoding, gates, measured, kinds, word)
    numbers = _numbers(n, batch, gates, seed)
    wanted = _with_something_to_differentiate(function, numbers)
    expected, grads = _values_and_gradients(qml.device("default.qubit", wires=n), wanted, numbers)
    for dtype, tolerance in (("complex128", 1e-10), ("complex64", 1e-5)):
        found, ours = _values_and_gradients(StatevectorDevice(n, dtype=dtype), wanted, numbers)
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
        for mine, theirs in zip(ours, grads, strict=True):
            scale = max(1.0, float(theirs.abs().max()))
            torch.testing.assert_close(mine, theirs, rtol=0, atol=tolerance * scale)


def _with_something_to_differentiate(function, numbers):
    """Put one rotation by the last shared angle in front of the measurements."""

    def wrapped(inputs, shared, private):
        results = None
        with qml.QueuingManager.stop_recording():
            tape = qml.tape.make_qscript(function)(inputs, shared, private)
        for op in tape.operations:
            qml.apply(op)
        qml.RY(shared[-1], wires=0)
        results = [qml.apply(m) for m in tape.measurements]
        return results

    return wrapped


def _ring(inputs, weights, wires=4):
    for wire in range(wires):
        qml.RX(inputs[..., wire], wires=wire)
    for layer in weights.reshape(-1, 2, wires):
        for wire in range(wires):
            qml.RY(layer[0, wire], wires=wire)
        for wire in range(wires):
            qml.CRX(layer[1, wire], wires=(wire, (wire + 1) % wires))
    return [qml.expval(qml.Z(wire)) for wire in range(wires)]


def _amplitude(inputs, weights):
    qml.AmplitudeEmbedding(inputs, wires=range(4), normalize=True, pad_with=0.0)
    for layer in weights.reshape(-1, 4):
        for wire in range(4):
            qml.Rot(layer[wire], layer[wire - 1], 0.3, wires=wire)
        qml.CNOT(wires=(0, 2))
        qml.CRZ(layer[1], wires=(3, 1))
    return qml.expval(qml.Z(0) @ qml.X(2)), qml.probs(wires=(3, 1)), qml.expval(qml.Y(1) + qml.Z(3))


def _reuploading(inputs, weights):
    for layer in weights.reshape(-1, 4):
        qml.AngleEmbedding(inputs, wires=range(4), rotation="Y")
        qml.CRX(inputs[..., 0], wires=(1, 2))
        for wire in range(4):
            qml.RX(layer[wire], wires=wire)
            qml.CNOT(wires=(wire, (wire + 1) % 4))
    return {"z": qml.expval(qml.Z(0)), "p": qml.probs(wires=(2, 0))}


def _device(wires=4, **options):
    return StatevectorDevice(wires, **{"dtype": "complex128", **options})


def _uniform(*shape, seed=0):
    make = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=make, dtype=torch.float64).add(0.1).requires_grad_()


def _leaves(results):
    return _flat(list(results.values()) if isinstance(results, dict) else results)


# -- every gate alone ---------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", ["plain", "adjoint", "controlled"])
@pytest.mark.parametrize(
    "gate", [*ONE, *FIXED, *TWO, *PAIRS, qml.Toffoli, qml.PauliRot, qml.SingleExcitation]
)
def test_every_gate_agrees_with_default_qubit(gate, wrap):
    count = 1 if gate is qml.PauliRot else gate.num_params
    wires = [2, 0, 3][: 2 if gate is qml.PauliRot else gate.num_wires]

    def function(inputs, angles):
        qml.AmplitudeEmbedding(inputs, wires=range(5), normalize=True)
        make = (lambda *a, wires: qml.PauliRot(*a, "XY", wires)) if gate is qml.PauliRot else gate
        if wrap == "adjoint":
            make = qml.adjoint(make)
        if wrap == "controlled":
            make = qml.ctrl(make, control=[4, 1], control_values=[True, False])
        make(*angles, wires=wires)
        return qml.state()

    for batch in ((), (3,)):
        numbers = [_uniform(*batch, 32), _uniform(count, *batch, seed=1)]
        expected, grads = _values_and_gradients(
            qml.device("default.qubit", wires=5), function, numbers
        )
        found, ours = _values_and_gradients(_device(5), function, numbers)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
        for mine, theirs in zip(ours, grads, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


def test_global_phases():
    def function(x):
        qml.Hadamard(1)
        qml.CNOT(wires=(1, 0))
        qml.GlobalPhase(x[0])
        qml.GlobalPhase(x[1], wires=(0, 1, 2))
        qml.ctrl(qml.GlobalPhase(x[2]), control=1)
        qml.adjoint(qml.GlobalPhase(x[1], wires=2))
        qml.RX(x[0], wires=2)
        return qml.state()

    for device in (_device(3), _device(None)):
        expected, grads = _values_and_gradients(
            qml.device("default.qubit", wires=device.wires), function, [_uniform(3)]
        )
        found, ours = _values_and_gradients(device, function, [_uniform(3)])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
        torch.testing.assert_close(ours[0], grads[0], rtol=0, atol=1e-10)


def test_matrices_given_at_run_time():
    def function(matrix, other, x):
        qml.RX(x, wires=1)
        qml.QubitUnitary(matrix, wires=(2, 0))
        qml.QubitUnitary(other, wires=(1, 2))
        qml.CRY(x, wires=(0, 1))
        return qml.expval(qml.Z(1)), qml.var(qml.X(0))

    generator = torch.Generator().manual_seed(0)
    many = torch.linalg.qr(torch.randn(3, 4, 4, dtype=torch.complex128, generator=generator))[0]
    for matrix, other in ((many[0], many[1]), (many, many[0]), (many[1], many)):
        numbers = [matrix.clone().requires_grad_(), other, _uniform(3)]
        results = [
            _flat(qml.QNode(function, device)(*numbers))
            for device in (qml.device("default.qubit", wires=3), _device(3))
        ]
        torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-10)
        grads = [torch.autograd.grad(r.sum(), (numbers[0], numbers[2])) for r in results]
        for mine, theirs in zip(*grads, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


# -- derivatives --------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [_ring, _amplitude, _reuploading])
def test_second_derivatives_agree(function):
    numbers = [_uniform(3, 4), _uniform(8, seed=1)]
    found = []
    for device in (qml.device("default.qubit", wires=4), _device()):
        value = _leaves(qml.QNode(function, device)(*numbers)).pow(3).sum()
        first = torch.autograd.grad(value, numbers, create_graph=True)
        second = torch.autograd.grad(sum(g.pow(2).sum() for g in first), numbers)
        found.append([*first, *second])
    for theirs, mine in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)


def test_a_parameter_that_nothing_feels_has_the_gradient_zero():
    def function(x):
        qml.RX(x, wires=1)
        return qml.expval(qml.Z(0))

    x = _uniform(2)
    qml.QNode(function, _device(2))(x).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]


# -- measurements -------------------------------------------------------------------------------

MATRIX = np.array([[1.0, 2 - 1j, 0, 0], [2 + 1j, -1, 0, 1], [0, 0, 0.5, 0], [0, 1, 0, 2]])


@pytest.mark.parametrize(
    "measure",
    [
        lambda: qml.expval(qml.Hermitian(MATRIX, wires=(2, 0))),
        lambda: qml.var(qml.Hermitian(MATRIX, wires=(2, 0))),
        lambda: qml.var(qml.Hamiltonian([0.3, 2.0], [qml.X(1), qml.Z(0) @ qml.Y(3)])),
        lambda: qml.probs(wires=(3, 0, 2)),
        lambda: qml.probs(op=qml.X(1)),
        qml.probs,
        lambda: qml.density_matrix(wires=(1, 3)),
        lambda: qml.purity(wires=(0,)),
        lambda: qml.vn_entropy(wires=(0, 1)),
        lambda: qml.mutual_info(wires0=(0,), wires1=(2, 3)),
        lambda: qml.expval(qml.Projector([1, 0], wires=(0, 2))),
        lambda: qml.expval(qml.s_prod(0.5, qml.Hermitian(MATRIX, wires=(1, 2)))),
    ],
)
def test_every_measurement_agrees(measure):
    def function(inputs, weights):
        _ring(inputs, weights)
        return measure(), qml.expval(qml.Z(1))

    def strip(inputs, weights):
        tape = qml.tape.make_qscript(function)(inputs, weights)
        for op in tape.operations:
            qml.apply(op)
        return [qml.apply(m) for m in tape.measurements[4:]]

    numbers = [_uniform(3, 4), _uniform(8, seed=1)]
    expected, grads = _values_and_gradients(qml.device("default.qubit", wires=4), strip, numbers)
    found, ours = _values_and_gradients(_device(), strip, numbers)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    for mine, theirs in zip(ours, grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)


def test_a_coefficient_can_be_trained():
    def function(c, x):
        qml.RX(x, wires=0)
        return qml.expval(qml.Hamiltonian([c, 2.0], [qml.Z(0), qml.Y(0)]))

    c, x = _uniform(1)[0], _uniform(1, seed=1)[0]
    found = qml.QNode(function, _device(1))(c, x)
    torch.testing.assert_close(torch.autograd.grad(found, c)[0], torch.cos(x).detach())


def test_shots_are_seeded_and_unbiased():
    inputs, weights = _uniform(2, 4).detach(), _uniform(8, seed=1).detach()
    exact = torch.stack(qml.QNode(_ring, _device())(inputs, weights)).numpy()

    def sampled(seed):
        node = qml.set_shots(qml.QNode(_ring, _device(seed=seed)), 20000)
        return np.stack(node(inputs, weights)), np.stack(node(inputs, weights))

    first, second = sampled(7)
    assert np.array_equal(first, sampled(7)[0])
    assert not np.array_equal(first, second)
    sigma = np.sqrt(np.maximum(1 - exact**2, 1e-12) / 20000)
    assert (np.abs(first - exact) < 5 * sigma).all()


def test_shots_differentiate_by_parameter_shift():
    weights = _uniform(8, seed=1)
    exact = torch.autograd.grad(qml.QNode(_ring, _device())(_uniform(4), weights)[0], weights)[0]
    node = qml.set_shots(qml.QNode(_ring, _device(seed=1), interface="torch"), 20000)
    sampled = torch.autograd.grad(node(_uniform(4), weights)[0], weights)[0]
    torch.testing.assert_close(sampled, exact, rtol=0, atol=0.06)


def test_counts_and_samples():
    @qml.set_shots(50)
    @qml.qnode(_device(3, seed=0))
    def function():
        qml.Hadamard(0)
        qml.CNOT(wires=(0, 2))
        return qml.counts(wires=(0, 2)), qml.sample()

    counts, samples = function()
    assert set(counts) == {"00", "11"}
    assert sum(counts.values()) == 50
    assert samples.shape == (50, 3)
    assert (samples[:, 0] == samples[:, 2]).all()


# -- measurement in the middle, dephasing -------------------------------------------------------


def test_measurements_in_the_middle_are_deferred():
    def function(x):
        qml.RX(x, wires=0)
        outcome = qml.measure(0, reset=True)
        qml.cond(outcome, qml.RY)(x, wires=1)
        qml.Hadamard(0)
        return qml.expval(qml.Z(1)), qml.probs(wires=(0, 1)), qml.expval(outcome)

    x = _uniform(3)
    found = qml.QNode(function, _device(3))(x)  # more wires than the circuit uses
    torch.testing.assert_close(found[0], qml.QNode(function, qml.device("default.qubit"))(x)[0])
    expected, grads = _values_and_gradients(qml.device("default.qubit"), function, [x])
    found, ours = _values_and_gradients(_device(2), function, [x])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(ours[0], grads[0], rtol=0, atol=1e-10)


def test_dephasing_agrees_with_a_density_matrix():
    def function(inputs, weights):
        for layer in weights.reshape(-1, 4):
            for wire in range(4):
                qml.RX(inputs[..., wire], wires=wire)
                qml.CRY(layer[wire], wires=(wire, (wire + 1) % 4))
            dephase(wires=(0, 2))
            qml.PhaseFlip(0.2, wires=1)
        return [qml.expval(qml.Z(w)) for w in range(4)] + [qml.probs(wires=(2, 1)), qml.purity(3)]

    numbers = [_uniform(2, 4), _uniform(8, seed=1)]
    expected, grads = _values_and_gradients(qml.device("default.mixed", wires=4), function, numbers)
    found, ours = _values_and_gradients(_device(), function, numbers)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    for mine, theirs in zip(ours, grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


def test_a_dephased_circuit_has_no_state():
    def function():
        dephase(0)
        return qml.state()

    with pytest.raises(QmlbookError, match=r"default\.mixed"):
        qml.QNode(function, _device(1))()


# -- compiled -----------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [_ring, _amplitude, _reuploading])
@pytest.mark.parametrize("batch", [(), (1,), (3,), (40,)])
def test_compiled_has_the_values_and_gradients_of_the_qnode(function, batch):
    node = qml.QNode(function, _device())
    fast = compile_qnode(node)
    for seed in (0, 5):
        numbers = [_uniform(*batch, 4, seed=seed), _uniform(8, seed=seed + 1)]
        expected, found = node(*numbers), fast(*numbers)
        assert type(found) is type(expected)
        expected, found = _leaves(expected), _leaves(found)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
        weights = torch.cos(torch.arange(len(found), dtype=torch.float64))
        grads = [torch.autograd.grad((r * weights).sum(), numbers) for r in (expected, found)]
        for theirs, mine in zip(*grads, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


def test_compiled_records_again_for_other_shapes_and_other_fixed_arguments():
    def function(inputs, weights, which=0):
        qml.AngleEmbedding(inputs, wires=range(4))
        for wire, angle in enumerate(weights):
            qml.RY(angle, wires=wire)
        return qml.expval(qml.Z(which))

    node = qml.QNode(function, _device())
    fast = compile_qnode(node)
    for batch, count, which in ((2, 3, 0), (5, 3, 0), (2, 4, 3)):
        numbers = _uniform(batch, 4), _uniform(count, seed=1)
        torch.testing.assert_close(fast(*numbers, which=which), node(*numbers, which=which))


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_compiled_takes_constant_matrices_and_states_in_any_precision(dtype):
    rows = np.random.default_rng(0).uniform(size=(50, 4))
    unitary = np.linalg.qr(rows[:4])[0]

    def function(x):
        qml.AmplitudeEmbedding(rows, wires=range(2), normalize=True)
        qml.QubitUnitary(unitary, wires=range(2))
        for wire in (0, 1) * 8:
            qml.CRX(x, wires=(wire, 1 - wire))
        return qml.expval(qml.Z(0))

    x = _uniform(1)[0]
    expected = qml.QNode(function, qml.device("default.qubit", wires=2))(x)
    found = compile_qnode(qml.QNode(function, StatevectorDevice(2, dtype=dtype)))(x)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


def test_compiled_follows_arithmetic_branches_and_tables():
    table = torch.tensor([0.3, 1.2], dtype=torch.float64)

    def function(x, w):
        qml.RX(torch.relu(np.pi * x), wires=0)
        qml.RY(w * x**2 if x > 0 else w, wires=1)
        qml.RZ(table[(w > 0.5).long()], wires=0)
        qml.CRX(torch.sin(w) + 0.1, wires=(0, 1))
        return qml.expval(qml.Y(0)), qml.expval(qml.Z(1))

    node = qml.QNode(function, _device(2))
    fast = compile_qnode(node)
    for x, w in ((0.4, 0.9), (-1.3, 0.9), (0.4, 0.2), (-0.2, -0.7), (0.5, 0.8)):
        numbers = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (x, w)]
        results = [torch.stack(way(*numbers)) for way in (node, fast)]
        torch.testing.assert_close(*results, rtol=0, atol=1e-12)
        grads = [torch.autograd.grad(r.sum(), numbers, allow_unused=True) for r in results]
        zero = torch.zeros((), dtype=torch.float64)
        for theirs, mine in zip(*grads, strict=True):
            pair = [zero if g is None else g for g in (theirs, mine)]
            torch.testing.assert_close(*pair, rtol=0, atol=1e-12)


def test_compiled_runs_as_the_qnode_where_wires_depend_on_values():
    def function(x):
        qml.RX(x, wires=int(x * 1000) % 2)
        return qml.expval(qml.Z(0))

    fast = compile_qnode(qml.QNode(function, _device(2)))
    for value, expected in ((0.300, np.cos(0.3)), (0.301, 1.0), (0.402, np.cos(0.402))):
        assert float(fast(torch.tensor(value, dtype=torch.float64))) == pytest.approx(expected)


def test_compiled_refuses_other_devices_and_shots():
    def function(x):
        qml.RX(x, wires=0)
        return qml.expval(qml.Z(0))

    with pytest.raises(QmlbookError, match=r"qmlbook\.statevector"):
        compile_qnode(qml.QNode(function, qml.device("default.qubit")))
    with pytest.raises(QmlbookError, match="shots"):
        compile_qnode(qml.set_shots(qml.QNode(function, _device(1)), 10))


# -- quadratic forms ----------------------------------------------------------------------------


def test_quadratic_form_agrees_with_the_circuit():
    weights = _uniform(8, seed=1)
    for features in (16, 11):
        x = _uniform(5, features).sub(0.5).detach().requires_grad_()
        forms = observable_matrix(qml.QNode(_amplitude, _device()), x, weights, features=features)
        assert forms.shape == (6, features, features)
        torch.testing.assert_close(forms, forms.transpose(1, 2))
        found = quadratic_form(forms, x / x.norm(dim=1, keepdim=True))
        first, probs, last = qml.QNode(_amplitude, qml.device("default.qubit", wires=4))(x, weights)
        expected = torch.cat([first[:, None], probs, last[:, None]], 1)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
        scale = torch.cos(torch.arange(6.0))
        ours = torch.autograd.grad((found * scale).sum(), (x, weights), create_graph=True)
        theirs = torch.autograd.grad((expected * scale).sum(), (x, weights), create_graph=True)
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-10)
        second = [
            torch.autograd.grad(sum(g.pow(2).sum() for g in gs), (x, weights))
            for gs in (ours, theirs)
        ]
        for mine, other in zip(*second, strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("way", [lambda node: node, compile_qnode], ids=["QNode", "compiled"])
def test_quadratic_forms_are_taken_where_they_are_cheaper(way, monkeypatch):
    def function(inputs, weights):
        qml.AmplitudeEmbedding(inputs, wires=range(6), normalize=True)
        for layer in weights.reshape(-1, 6):
            for wire in range(6):
                qml.RY(layer[wire], wires=wire)
            for wire in range(6):
                qml.CRX(layer[wire], wires=(wire, (wire + 1) % 6))
        return qml.expval(qml.X(0))

    taken = []
    original = simulation.quadratic_form
    monkeypatch.setattr(simulation, "quadratic_form", lambda *a: taken.append(1) or original(*a))
    numbers = [_uniform(2000, 64), _uniform(24, seed=1)]
    expected, grads = _values_and_gradients(qml.device("default.qubit", wires=6), function, numbers)
    found, ours = _values_and_gradients(_device(6), function, numbers, way)
    assert taken
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    for mine, theirs in zip(ours, grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)


def test_observable_matrix_refuses_other_circuits():
    with pytest.raises(QmlbookError, match="amplitude encoding"):
        observable_matrix(qml.QNode(_ring, _device()), _uniform(3, 4), _uniform(8))


# -- plans, devices, errors ---------------------------------------------------------------------


def test_gates_no_measurement_feels_cost_nothing():
    device = _device(24)

    @qml.qnode(device)
    def function(x):
        qml.RX(x, wires=0)
        for wire in range(1, 23):
            qml.CRY(x, wires=(wire, wire + 1))
        return qml.expval(qml.Z(0))

    angle = torch.tensor(0.3, dtype=torch.float64)
    torch.testing.assert_close(function(angle), angle.cos())


def test_numbers_of_numpy_give_numpy():
    found = qml.QNode(_ring, _device())(np.full((3, 4), 0.4), np.full(8, 0.2))
    assert isinstance(found[0], np.ndarray)
    assert found[0].shape == (3,)


def test_numpy_gradients_by_parameter_shift():
    weights = qml.numpy.array([0.3, 0.8], requires_grad=True)

    @qml.qnode(_device(1))
    def function(weights):
        qml.RX(weights[0], wires=0)
        qml.RY(weights[1], wires=0)
        return qml.expval(qml.Z(0))

    expected = [-np.sin(0.3) * np.cos(0.8), -np.cos(0.3) * np.sin(0.8)]
    np.testing.assert_allclose(qml.grad(function)(weights), expected, atol=1e-10)


@pytest.mark.parametrize("way", [lambda node: node, compile_qnode], ids=["QNode", "compiled"])
@pytest.mark.parametrize("inputs", [torch.float32, torch.float64])
@pytest.mark.parametrize("weights", [torch.float32, torch.float64])
def test_the_precision_follows_the_inputs(inputs, weights, way):
    numbers = _uniform(3, 4).to(inputs), _uniform(8).to(weights)
    found = way(qml.QNode(_ring, StatevectorDevice(4)))(*numbers)
    assert found[0].dtype == torch.promote_types(inputs, weights)
    forced = way(qml.QNode(_ring, StatevectorDevice(4, dtype="complex64")))(*numbers)
    assert forced[0].dtype == torch.float32


def test_pennylane_finds_the_device_by_its_name():
    assert isinstance(qml.device("qmlbook.statevector", wires=3), StatevectorDevice)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.zeros(2, 16), "vector 0 is not finite|vector 0 is all zero"),
        (torch.full((2, 16), float("nan")), "vector 0 is not finite"),
    ],
)
def test_amplitudes_without_a_length(inputs, message):
    for node in (qml.QNode(_amplitude, _device()), compile_qnode(qml.QNode(_amplitude, _device()))):
        with pytest.raises(QmlbookError, match=message):
            node(inputs, _uniform(8))


def test_errors_name_what_is_wrong():
    def batches(x, y):
        qml.RX(x, wires=0)
        qml.RY(y, wires=1)
        return qml.expval(qml.Z(0))

    def wires():
        qml.X(7)
        return qml.expval(qml.Z(0))

    def measured():
        return qml.expval(qml.Z("a"))

    def postselected():
        qml.measure(0, postselect=1)
        return qml.expval(qml.Z(1))

    def too_many():
        for wire in range(3):
            qml.X(wire)
        return qml.expval(qml.Z(0))

    with pytest.raises(QmlbookError, match="Wire 2 is not on device"):
        qml.QNode(too_many, _device(2))()
    with pytest.raises(QmlbookError, match="batch sizes 2, 3"):
        qml.QNode(batches, _device(2))(torch.zeros(2), torch.zeros(3))
    with pytest.raises(QmlbookError, match="7"):
        qml.QNode(wires, _device(2))()
    with pytest.raises(QmlbookError, match="'a'"):
        qml.QNode(measured, _device(2))()
    with pytest.raises(QmlbookError, match=r"default\.qubit"):
        qml.QNode(postselected, _device(2))()
    with pytest.raises(QmlbookError, match="dtype"):
        StatevectorDevice(2, dtype="float32")


def test_samples_need_shots():
    def function():
        return qml.sample(wires=0)

    with pytest.raises(QmlbookError, match=r"shots"):
        qml.QNode(function, _device(1))()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("function", [_ring, _amplitude, _reuploading])
def test_the_gpu_agrees(function):
    numbers = [_uniform(40, 4), _uniform(8, seed=1)]
    expected, grads = _values_and_gradients(qml.device("default.qubit", wires=4), function, numbers)
    moved = [t.detach().cuda().requires_grad_() for t in numbers]
    for node in (qml.QNode(function, _device()), compile_qnode(qml.QNode(function, _device()))):
        found = _leaves(node(*moved))
        torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-10)
        weights = torch.cos(torch.arange(len(found), dtype=torch.float64, device="cuda"))
        for mine, theirs in zip(
            torch.autograd.grad((found * weights).sum(), moved), grads, strict=True
        ):
            torch.testing.assert_close(mine.cpu(), theirs, rtol=0, atol=1e-10)
