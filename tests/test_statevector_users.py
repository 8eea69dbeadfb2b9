"""What users of PennyLane and torch do with the device; the right values are default.qubit's."""

import copy
import gc
import pickle
import tracemalloc
import warnings

import numpy as np
import pennylane as qml
import pytest
import torch

from qmlbook.base.errors import QmlbookError
from qmlbook.statevector import StatevectorDevice, compile_qnode

torch.set_num_threads(1)
WAYS = pytest.mark.parametrize("way", [lambda node: node, compile_qnode], ids=["QNode", "compiled"])


def _tensor(value, grad=True):
    return torch.tensor(value, dtype=torch.float64, requires_grad=grad)


def _node(function, wires=None, **options):
    return qml.QNode(function, StatevectorDevice(wires), **options)


def _expected(function, wires=None, **options):
    return qml.QNode(function, qml.device("default.qubit", wires=wires), **options)


# -- labels, keywords, recorded values ----------------------------------------------------------


@WAYS
def test_results_belong_to_the_labels_of_their_own_circuit(way):
    def function(a, b):
        qml.RX(1.1, a)
        qml.RY(0.4, b)
        qml.CRX(0.5, [a, b])
        return qml.probs(wires=[a]), qml.purity(wires=[b])

    node = way(_node(function))
    for labels in (("a", "b"), ("b", "a"), ("x", "y")):
        found = node(*labels)
        np.testing.assert_allclose(found[0], [0.7268, 0.2732], atol=1e-4)
        np.testing.assert_allclose(found[1], _expected(function)(*labels)[1], atol=1e-10)


def test_compiled_knows_which_keyword_a_value_belongs_to():
    def function(a, b, extra=None):
        qml.RX(a, 0)
        qml.RY(b, 1)
        if extra:
            qml.RX(extra["c"] - extra["d"], 0)
        return qml.expval(qml.Z(0))

    fast = compile_qnode(_node(function))
    a, b = _tensor(0.3), _tensor(1.1)
    for found in (fast(a, b), fast(a=a, b=b), fast(b=b, a=a), fast(a, b=b)):
        assert float(found) == pytest.approx(np.cos(0.3))
    assert float(fast(a, b, extra={"c": a, "d": b})) == pytest.approx(np.cos(2 * 0.3 - 1.1))
    assert float(fast(a, b, extra={"d": a, "c": b})) == pytest.approx(np.cos(1.1))


def test_compiled_follows_a_parameter_that_is_no_argument():
    weight = torch.nn.Parameter(torch.tensor(0.4, dtype=torch.float64))

    def function(x):
        qml.RX(x * weight, 0)
        qml.RY(weight, 0)
        return qml.expval(qml.Z(0))

    fast, node = compile_qnode(_node(function)), _node(function)
    for value in (0.4, 1.3):
        with torch.no_grad():
            weight.fill_(value)
        found = [way(_tensor(0.7, False)) for way in (fast, node)]
        torch.testing.assert_close(*found)
        torch.testing.assert_close(*(torch.autograd.grad(f, weight)[0] for f in found))


def test_compiled_notices_that_a_variable_of_its_function_changed():
    factor = 1.0

    def function(x):
        qml.RX(factor * x, 0)
        return qml.expval(qml.Z(0))

    fast = compile_qnode(_node(function))
    assert float(fast(_tensor(0.3))) == pytest.approx(np.cos(0.3))
    factor = 2.0
    assert float(fast(_tensor(0.3))) == pytest.approx(np.cos(0.6))


def test_compiled_keeps_nested_returns():
    def function(x):
        qml.RX(x, 0)
        return [qml.expval(qml.Z(0)), (qml.probs(wires=0), {"y": qml.expval(qml.Y(0))})]

    found = compile_qnode(_node(function))(_tensor(0.3))
    assert isinstance(found[1], tuple)
    assert float(found[1][1]["y"].detach()) == pytest.approx(-np.sin(0.3))


def test_compiled_takes_numbers_of_numpy_and_python_without_a_record_each():
    def function(x, scale, shift=0.0):
        for wire in range(3):
            qml.RX(scale * x[..., wire] + shift, wires=wire)
            qml.CNOT((wire, (wire + 1) % 3))
        return qml.expval(qml.Z(0))

    fast, node = compile_qnode(_node(function)), _node(function)
    draw = np.random.default_rng(0)
    for _ in range(20):
        x, scale = draw.uniform(size=(4, 3)), float(draw.uniform())
        found, expected = fast(x, scale, shift=0.2), node(x, scale, shift=0.2)
        assert type(found) is type(expected)
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.nightly
def test_compiled_circuits_stay_small():
    def function(x, scale):
        for wire in range(4):
            qml.RX(scale * x[..., wire], wires=wire)
        return qml.expval(qml.Z(0) @ qml.Z(3))

    fast = compile_qnode(_node(function))
    for batch in range(1, 30):
        fast(torch.ones(batch, 4), float(batch))
    gc.collect()
    tracemalloc.start()
    for batch in range(30, 330):
        fast(torch.ones(batch, 4), float(batch))
    gc.collect()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 8e6


# -- gates --------------------------------------------------------------------------------------


class Turn(qml.operation.Operation):
    """A user's gate whose angle is an attribute."""

    num_wires, num_params = 1, 0

    def __init__(self, angle, wires):
        self.angle = angle
        super().__init__(wires=wires)

    def matrix(self, wire_order=None):
        return qml.RX(self.angle, 0).matrix()

    @property
    def has_matrix(self):
        return True


@WAYS
def test_gates_of_a_user_keep_their_own_matrix(way):
    def function(first, second):
        Turn(first, 0)
        Turn(second, 0)
        return qml.expval(qml.Z(0))

    node = way(_node(function))
    for angles in ((0.3, 0.4), (0.3, 1.0)):
        assert float(node(*angles)) == pytest.approx(np.cos(sum(angles)))


@WAYS
def test_gradients_are_right_beside_a_matrix_that_is_not_unitary(way):
    def function(x, m):
        for wire in range(3):
            qml.RX(x[wire], wire)
        qml.QubitUnitary(np.diag([1, 0.5]), 0)
        qml.CRY(x[0], (0, 1))
        qml.QubitUnitary(m, 1)
        qml.CRX(x[1], (1, 2))
        return qml.expval(qml.Z(1) @ qml.Z(2))

    x = _tensor([0.3, 0.5, 0.9])
    m = torch.tensor([[1, 0.2], [0.1j, 0.7]], dtype=torch.complex128, requires_grad=True)
    values = [node(x, m) for node in (_expected(function, 3), way(_node(function, 3)))]
    torch.testing.assert_close(values[1], values[0])
    for theirs, mine in zip(*(torch.autograd.grad(v, (x, m)) for v in values), strict=True):
        torch.testing.assert_close(mine, theirs)


@WAYS
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_the_derivative_of_a_phase_flip(p, way):
    def function(p):
        qml.RX(0.3, 0)
        qml.PhaseFlip(p, 0)
        qml.RX(0.4, 0)
        return qml.expval(qml.Z(0))

    p = _tensor(p)
    found = way(_node(function))(p)
    expected = _expected_mixed(function)(p.detach())
    assert float(found.detach()) == pytest.approx(float(expected), abs=1e-10)
    assert float(torch.autograd.grad(found, p)[0]) == pytest.approx(0.23015, abs=1e-4)


def _expected_mixed(function):
    return qml.QNode(function, qml.device("default.mixed", wires=1))


@WAYS
def test_a_phase_flip_takes_probabilities_only(way):
    def function(p):
        qml.PhaseFlip(p, 0)
        return qml.expval(qml.Z(0))

    with pytest.raises(QmlbookError, match="between 0 and 1"):
        way(_node(function))(_tensor(1.2))


def test_several_exponents():
    def function():
        qml.pow(qml.Hadamard(0), np.array([1, 2]))
        return qml.probs(wires=0)

    np.testing.assert_allclose(_node(function)(), [[0.5, 0.5], [1, 0]], atol=1e-12)


@WAYS
@pytest.mark.parametrize(
    "gate",
    [
        lambda t: qml.adjoint(qml.QubitUnitary(qml.RX(t, 0).matrix(), 0)),
        lambda t: qml.U2(t, 0.3, 0),
        lambda t: qml.SingleExcitation(t, (0, 1)),
        lambda t: qml.MultiRZ(t, (0, 1, 2)),
        lambda t: qml.DoubleExcitation(t, (0, 1, 2, 3)),
        lambda t: qml.IsingXY(t, (0, 1)),
        lambda t: qml.ctrl(qml.Rot(t, 0.2, t, wires=0), (1, 2, 3), (1, 0, 1)),
        lambda t: qml.pow(qml.RX(t, 0), 2),
    ],
)
@pytest.mark.parametrize("batch", [False, True])
def test_gates_of_one_trainable_parameter(gate, batch, way):
    def function(t):
        for wire in range(4):
            qml.RY(0.3 + wire, wire)
        gate(t)
        return qml.probs(wires=(0, 1)), qml.expval(qml.X(0))

    def total(probs, value):
        return (probs * torch.arange(4)).sum() + value.sum()

    angles = [_tensor(0.3), _tensor(1.1)] if batch else [_tensor(0.3)]
    t = torch.stack(angles) if batch else angles[0]
    probs, value = way(_node(function, 5))(t)
    grads = torch.autograd.grad(total(probs, value), angles)
    for number, angle in enumerate(angles):  # default.qubit does not take batches of all gates
        expected = _expected(function, 5)(angle)
        pick = number if batch else ...
        torch.testing.assert_close(probs[pick], expected[0])
        torch.testing.assert_close(value[pick], expected[1])
        slope = torch.autograd.grad(total(*expected), angle)[0]
        torch.testing.assert_close(grads[number], slope)


# -- measurements -------------------------------------------------------------------------------


def test_all_wires_are_measured_where_none_are_named():
    def measured(kind):
        def function():
            qml.Hadamard("a")
            qml.CNOT(("a", "b"))
            return kind()

        return function

    for wires in (None, ["a", "b", "c"]):
        found = _node(measured(qml.probs), wires)()
        np.testing.assert_allclose(found, _expected(measured(qml.probs), wires)(), atol=1e-12)
    counts = qml.set_shots(_node(measured(qml.counts), None), 50)()
    assert set(counts) == {"00", "11"}
    every = qml.set_shots(_node(measured(lambda: qml.counts(all_outcomes=True))), 50)()
    assert set(every) == {"00", "01", "10", "11"}


def test_density_matrices_of_dephased_circuits():
    def function(x):
        qml.RX(x, 0)
        qml.PhaseFlip(0.3, 0)
        qml.CNOT((0, 1))
        return qml.density_matrix(wires=[0])

    x = _tensor(0.7, False)
    expected = qml.QNode(function, qml.device("default.mixed", wires=2))(x)
    np.testing.assert_allclose(_node(function, 2)(x), expected, atol=1e-12)


def test_snapshots_are_taken():
    def function(x):
        qml.RX(x, 0)
        qml.Snapshot("before")
        qml.CNOT((0, 1))
        qml.Snapshot(measurement=qml.expval(qml.Z(1)))
        return qml.expval(qml.Z(0))

    found, expected = (qml.snapshots(make(function, 2))(0.4) for make in (_node, _expected))
    assert list(found) == list(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-12)


def test_wires_can_be_allocated():
    def function(x):
        qml.RX(x, 0)
        with qml.allocate(1) as extra:
            qml.CNOT((0, extra[0]))
        return qml.expval(qml.Z(0)), qml.expval(qml.X(0))

    found, expected = (make(function, 3)(0.4) for make in (_node, _expected))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_wires_that_are_not_used_cost_nothing():
    def function(x):
        for wire in range(4):
            qml.RX(x, wire)
        return qml.expval(qml.Z(3))

    assert float(_node(function, 40)(0.3)) == pytest.approx(np.cos(0.3))


# -- torch --------------------------------------------------------------------------------------


def _small(x, w):
    qml.RX(x, 0)
    qml.CRY(w, (0, 1))
    qml.Rot(x, w, 0.1, wires=1)
    qml.CH((1, 0))
    return qml.expval(qml.Z(0))


def _spelled_out(x, w):
    qml.RX(x, 0)
    qml.CRY(w, (0, 1))
    qml.RZ(x, 1)
    qml.RY(w, 1)
    qml.RZ(0.1, 1)
    qml.CH((1, 0))
    return qml.expval(qml.Z(0))


@WAYS
def test_transforms_of_torch(way):
    expected, node = _expected(_spelled_out, 2, interface="torch"), way(_node(_small, 2))
    x, w = torch.tensor(0.4, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    many = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    func = torch.func
    for change in (
        lambda f: func.grad(f)(x, w),
        lambda f: func.jacrev(f)(x, w),
        lambda f: func.jacfwd(f)(x, w),
        lambda f: func.hessian(f)(x, w),
        lambda f: func.vmap(func.grad(f), (0, None))(many, w),
        lambda f: func.vmap(f, (0, None))(many, w),
    ):
        torch.testing.assert_close(change(node), change(expected))


@WAYS
def test_torch_checks_the_gradients(way):
    node = way(_node(_small, 2))
    x, w = _tensor([0.1, 0.5]), _tensor(0.3)
    assert torch.autograd.gradcheck(node, (x, w))
    assert torch.autograd.gradgradcheck(node, (x, w))


@WAYS
def test_training_goes_on_after_inference_mode(way):
    node = way(_node(_small, 2))
    x, w = _tensor([0.1, 0.5]), _tensor(0.3)
    with torch.inference_mode():
        before = node(x, w)
    after = node(x, w)
    after.sum().backward()
    torch.testing.assert_close(before, after.detach())


@WAYS
def test_layers(way):
    def function(inputs, weights):
        for wire in range(2):
            qml.RX(np.pi * inputs[..., wire], wire)
            qml.RY(weights[wire], wire)
        qml.CNOT((0, 1))
        return [qml.expval(qml.Z(wire)) for wire in range(2)]

    layer = qml.qnn.TorchLayer(way(_node(function, 2)), {"weights": (2,)})
    inputs = torch.rand(5, 2)
    assert layer(inputs).dtype == torch.float32
    double = layer.double()(inputs.double())
    assert double.dtype == torch.float64
    other = copy.deepcopy(layer)
    torch.testing.assert_close(other(inputs.double()), double, rtol=0, atol=0)
    with torch.no_grad():
        other.weights.add_(0.1)
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(other(inputs.double()), double, rtol=0, atol=0)
    weights = layer.weights.detach()
    expected = torch.stack(_expected(function, 2)(inputs.double(), weights), 1)
    torch.testing.assert_close(double, expected)


def _module_level(x):
    qml.RX(x, 0)
    return qml.expval(qml.Z(0))


def test_devices_and_compiled_circuits_are_pickled():
    device = StatevectorDevice(2)
    qml.QNode(_module_level, device)(0.3)
    assert len(pickle.loads(pickle.dumps(device)).wires) == 2
    assert float(copy.deepcopy(compile_qnode(_node(_module_level)))(0.3)) == pytest.approx(
        np.cos(0.3)
    )


# -- methods ------------------------------------------------------------------------------------


@pytest.mark.parametrize("interface", ["torch", "autograd", "auto"])
@pytest.mark.parametrize(
    "method",
    ["best", "backprop", "adjoint", "device", "parameter-shift", "finite-diff", "hadamard", "spsa"],
)
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_every_method_and_interface(method, interface, precision):
    def function(x, w):
        qml.RX(x, 0)
        qml.RY(w, 1)
        qml.CNOT((0, 1))
        qml.RX(w, 1)
        return qml.expval(qml.Z(0) @ qml.Z(1))

    options = {"gradient_kwargs": {"num_directions": 200}} if method == "spsa" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        node = _node(function, 3, diff_method=method, interface=interface, **options)
        if interface == "autograd":
            numbers = [qml.numpy.array(v, requires_grad=True) for v in (0.3, 0.7)]
            found = qml.grad(node)(*numbers)
        else:
            numbers = [torch.tensor(v, dtype=precision, requires_grad=True) for v in (0.3, 0.7)]
            found = torch.autograd.grad(node(*numbers), numbers)
    x, w = 0.3, 0.7
    expected = (0.0, 0.0)
    reference = qml.QNode(function, qml.device("default.qubit"), interface="autograd")
    expected = qml.grad(reference)(*(qml.numpy.array(v, requires_grad=True) for v in (x, w)))
    single = precision == torch.float32 and interface != "autograd"
    tolerance = {"finite-diff": 2.0 if single else 1e-5, "spsa": 3.0 if single else 0.5}
    allowed = tolerance.get(method, 1e-5 if single else 1e-8)
    np.testing.assert_allclose([float(f) for f in found], expected, atol=allowed)


# -- errors -------------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize(
    ("value", "message"),
    [(torch.zeros(2, 2), "has the shape"), (torch.zeros(0), "batch is empty")],
)
def test_parameters_of_a_wrong_shape(value, message, way):
    with pytest.raises((QmlbookError, ValueError), match=message):
        way(_node(_module_level))(value)


def test_numbers_of_jax_are_refused_by_name():
    number = type("Array", (float,), {"__module__": "jaxlib.xla"})(0.3)
    tape = qml.tape.QuantumScript([qml.RX(number, 0)], [qml.expval(qml.Z(0))])
    with pytest.raises(QmlbookError, match="not those of jaxlib; pass torch tensors"):
        StatevectorDevice(1).execute(tape)


@WAYS
def test_many_controls_with_a_batch(way):
    def function(x):
        for wire in range(5):
            qml.Hadamard(wire)
        qml.ctrl(qml.RX(x, 4), (0, 1, 2, 3))
        return qml.expval(qml.Z(4)), qml.expval(qml.Y(4))

    x = _tensor([0.3, 1.2])
    found, expected = way(_node(function, 5))(x), _expected(function, 5)(x)
    torch.testing.assert_close(torch.stack(found), torch.stack(expected))
