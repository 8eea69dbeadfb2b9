"""The device against PennyLane's own, in values and gradients of every order that is offered."""

import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qmlbook.errors import QmlbookError
from qmlbook.statevector import StatevectorDevice, evolve

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
    kinds = draw(st.lists(st.sampled_from(("expval", "var", "probs", "state")), min_size=1, max_size=3))
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
            angles = private[place : place + count] if batched and batch else shared[place : place + count]
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


def _values_and_gradients(device, function, numbers):
    found = _flat(qml.QNode(function, device, interface="torch")(*numbers))
    weights = torch.cos(torch.arange(len(found), dtype=torch.float64))
    grads = torch.autograd.grad((found * weights).sum(), numbers, allow_unused=True)
    zero = (torch.zeros_like(t) for t in numbers)
    return found.detach(), [g if g is not None else z for g, z in zip(grads, zero, strict=True)]


@given(circuits())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
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
