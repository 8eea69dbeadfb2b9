"""The kernels among threads, processes and read-only folders; structures; numbers that are none."""

import copy
import gc
import os
import pickle
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pennylane as qml
import pytest
import random_circuits
import torch

from qmlbook.base import paths
from qmlbook.statevector import StatevectorDevice, compile_qnode, machine
from qmlbook.statevector.autograd import differentiable
from qmlbook.statevector.execution import run
from qmlbook.statevector.lowering import Lowering, Rows, table
from qmlbook.statevector.plan import Binding, Plan
from qmlbook.statevector.reading import structure
from qmlbook.statevector.structure import Structure

WAYS = pytest.mark.parametrize("way", [lambda node: node, compile_qnode], ids=["QNode", "compiled"])
PRECISIONS = pytest.mark.parametrize("precision", [torch.float32, torch.float64])


def ring(x, w):
    for wire in range(3):
        qml.RX(x[..., wire], wire)
        qml.RY(w[wire], wire)
    for wire in range(3):
        qml.CRX(w[wire + 3], (wire, (wire + 1) % 3))
    qml.IsingXY(w[6], (0, 2))
    return qml.expval(qml.Z(0)), qml.expval(qml.X(1) @ qml.Y(2)), qml.probs((0, 2))


def node(function, wires=None):
    return qml.QNode(function, StatevectorDevice(wires))


def expected(function):
    return qml.QNode(function, qml.device("default.qubit"))


def results(function, batch=300, precision=torch.float64):
    """Return values and gradients of the ring for fixed numbers."""
    rng = np.random.default_rng(batch)
    numbers = [
        torch.tensor(rng.normal(size=shape), dtype=precision, requires_grad=True)
        for shape in ((batch, 3), 7)
    ]
    values = function(*numbers)
    total = sum((part * (k + 1)).pow(2).sum() for k, part in enumerate(values))
    return [part.detach() for part in (*values, *torch.autograd.grad(total, numbers))]


def same(one, other):
    return len(one) == len(other) and all(map(torch.equal, one, other))


@contextmanager
def threads(number):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# -- threads and processes ----------------------------------------------------------------------


@WAYS
@PRECISIONS
@pytest.mark.parametrize("batch", [300, 1100])
def test_results_do_not_depend_on_the_number_of_threads(way, precision, batch):
    found = []
    for number in (1, 2, 3):
        with threads(number):
            found.append(results(way(node(ring)), batch, precision))
    assert same(found[0], found[1])
    assert same(found[0], found[2])


@pytest.mark.parametrize(("first", "then"), [(1, 3), (3, 1)])
def test_the_number_of_threads_may_change_on_the_way_back(first, then):
    def total(x, w):
        return sum(part.sum() for part in node(ring)(x, w))

    w = torch.linspace(-1, 1, 7, dtype=torch.float64)
    x = torch.linspace(-2, 2, 900, dtype=torch.float64).reshape(300, 3).requires_grad_()
    with threads(first):
        (right,) = torch.autograd.grad(total(x, w), x)
        value = total(x, w)
    with threads(then):
        (found,) = torch.autograd.grad(value, x)
    assert torch.equal(found, right)


@WAYS
@pytest.mark.parametrize("number", [1, 2])
def test_four_python_threads_at_once_agree_with_one(way, number):
    function = way(node(ring))
    barrier = threading.Barrier(4)

    def work(_):
        # PennyLane's own object remembers its last call: each thread has one, on the same device.
        plain = isinstance(function, qml.QNode)
        own = qml.QNode(ring, function.device) if plain else function
        barrier.wait(60)
        return [results(own, batch) for batch in (1, 20, 600) * 3]

    with threads(number):
        alone = [results(function, batch) for batch in (1, 20, 600) * 3]
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(work, range(4)):
                assert all(map(same, found, alone))


def test_four_python_threads_may_record_a_circuit_at_once():
    function, barrier = compile_qnode(node(ring)), threading.Barrier(4)

    def work(_):
        barrier.wait(60)
        return [results(function, batch) for batch in range(1, 31)]

    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            first, *others = pool.map(work, range(4))
    finally:
        sys.setswitchinterval(often)
    assert all(map(same, other, first) for other in others)


class Looking:
    """Angles of two parameters; whoever takes them is interrupted by another who wants them."""

    owners, shift = np.arange(2), np.zeros((2, 1))
    seen = None

    @property
    def half(self):
        if self.seen is None:
            self.seen = 0
            self.seen = len(BINDING.index(self, np.arange(3))[1])
        return np.ones((2, 1))


BINDING = Binding([np.array([0]), np.array([1, 2, 3])], [1, 3])


def test_nobody_sees_half_of_what_another_thread_finds():
    lowering = Looking()
    _, groups = BINDING.index(lowering, np.arange(3))
    assert lowering.seen == len(groups) == 2


def said(code, *arguments, **environment):
    """Return what a Python process prints."""
    path = os.pathsep.join([str(paths.PACKAGE.parent), os.path.dirname(__file__)])
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=os.environ | {"PYTHONPATH": path}
        | environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()


FORKED = """if True:
    import os, warnings
    from test_statevector_kernels import compile_qnode, node, results, ring, same, threads
    warnings.simplefilter("ignore")  # a process with threads is forked
    with threads(3):
        for function in (node(ring), compile_qnode(node(ring))):
            before = results(function, 1100)
            child = os.fork()
            if not child:
                os._exit(0 if same(results(function, 1100), before) else 3)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.nightly
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can be forked here")
def test_a_forked_child_computes_the_same_and_exits():
    assert said(FORKED) == ["0", "0"]


def distant(batch):
    return [tensor.numpy() for tensor in results(compile_qnode(node(ring)), batch)]


@pytest.mark.nightly
def test_workers_of_dask_compute_the_same():
    from distributed import Client, LocalCluster

    with (
        LocalCluster(2, threads_per_worker=2, processes=True, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        batches = [1, 20, 300, 301, 302, 600]
        for batch, found in zip(batches, client.gather(client.map(distant, batches)), strict=True):
            assert same([torch.from_numpy(part) for part in found], results(node(ring), batch))


IMPORTED = """if True:
    import sys
    from test_statevector_kernels import node, results, ring
    for batch in (1, 20):
        results(node(ring), batch)
    print("numba" in sys.modules)
"""


@pytest.mark.nightly
def test_a_process_that_finds_machine_code_does_without_numba():
    said(IMPORTED)
    assert said(IMPORTED) == ["False"]


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Return the names of kernels that are compiled, which here takes no time; nothing is kept."""
    names = []

    def entry(name, kind, many, called):
        names.append(name)

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(f"{KERNELS}.entry", entry)
    monkeypatch.setattr(f"{KERNELS}.assembly", lambda compiled: (TRIVIAL, "trivial"))
    return names


KERNELS = "qmlbook.statevector.kernels"
TRIVIAL = "define i32 @trivial(ptr %result, ptr %error, i64 %table) { ret i32 0 }"


def kept(folder):
    return sorted(path.name for path in folder.iterdir())


def find(name="forward"):
    return machine._kernel(name, np.float32, True)


def test_machine_code_is_kept_for_each_kernel(made, tmp_path):
    for name in ("forward", "backward", "forward", "backward"):
        find(name)(0)
    assert made == ["forward", "backward"]
    assert [name.partition("-")[0] for name in kept(tmp_path)] == sorted(made)


@pytest.mark.parametrize("change", [lambda code: code[:-1], lambda _: b"", lambda code: code * 2])
def test_machine_code_that_is_not_whole_is_made_again(change, made, tmp_path):
    find()
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(change(whole))
    find()(0)
    assert made == ["forward", "forward"]
    assert file.read_bytes() == whole


def test_machine_code_of_another_source_is_replaced(made, tmp_path, monkeypatch):
    find()
    monkeypatch.setattr(machine, "_source", lambda name: "another")
    find()
    assert len(made) == 2
    assert len(kept(tmp_path)) == 1


def test_machine_code_of_another_processor_has_a_file_of_its_own(made, tmp_path, monkeypatch):
    find()
    monkeypatch.setattr(machine, "_machine", lambda: ("another",))
    find()
    assert len(made) == len(kept(tmp_path)) == 2


def test_code_that_needs_functions_of_numba_is_not_kept(made, tmp_path, monkeypatch):
    needs = "declare void @NRT_Free(ptr)"
    monkeypatch.setattr(f"{KERNELS}.assembly", lambda compiled: (TRIVIAL + "\n" + needs, "trivial"))
    monkeypatch.setattr(f"{KERNELS}.entry", lambda *args, called: print if called else None)
    assert find() is print
    assert kept(tmp_path) == []


def test_a_kernel_that_stops_on_the_way_is_heard_of(made, monkeypatch):
    stops = TRIVIAL.replace("ret i32 0", "ret i32 1")
    monkeypatch.setattr(f"{KERNELS}.assembly", lambda compiled: (stops, "trivial"))
    with pytest.raises(RuntimeError, match="stopped"):
        find()(0)


def test_a_table_says_where_arrays_are_and_how_large():
    numbers = np.arange(6.0).reshape(2, 3)
    assert table(7, numbers).tolist() == [7, numbers.ctypes.data, 2, 3]
    assert table(numbers[:0]).tolist() == [0, 0, 3]


def test_arrays_with_gaps_are_refused():
    with pytest.raises(ValueError, match="follow one another"):
        table(np.zeros((3, 4)).T)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda whole: pickle.loads(pickle.dumps(whole))])
def test_a_copy_of_a_circuit_knows_where_its_own_arrays_are(way):
    device = StatevectorDevice(3)
    right = results(qml.QNode(ring, device), 1)
    (plan,) = device._plans.values()
    (one,) = plan.plan._lowered.values()
    other = way(one)
    assert one.table == table(*one.circuit)
    assert other.table == table(*other.circuit) != one.table
    copied = way(device)
    del device, plan, one
    gc.collect()
    assert same(results(qml.QNode(ring, copied), 1), right)


UNWRITABLE = """if True:
    import numpy, sys, pennylane as qml, torch
    import qmlbook.statevector
    assert qmlbook.statevector.__file__.startswith(sys.argv[1])
    @qml.qnode(qml.device("qmlbook.statevector"))
    def circuit(x):
        qml.RX(x, 0)
        qml.CRY(2 * x, (0, 1))
        return qml.expval(qml.Z(1))
    x = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    value = circuit(x)
    value.backward()
    print(value.item(), x.grad.item())
"""


@pytest.mark.nightly
def test_a_package_without_any_folder_for_caches_works(tmp_path):
    """A file in the place of a folder stops everybody, also those whom permissions do not."""
    library = tmp_path / "library"
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(paths.PACKAGE, library / "qmlbook", ignore=skip)
    closed = [library / "qmlbook" / "statevector" / "__pycache__", tmp_path / "cache"]
    for path in closed:
        path.touch()
    cache = str(closed[1] / "below")
    found = said(UNWRITABLE, library, PYTHONPATH=str(library), XDG_CACHE_HOME=cache)
    x = 0.4  # cos^2(x/2) + sin^2(x/2) cos(2x)
    value = (1 + np.cos(x)) / 2 + (1 - np.cos(x)) / 2 * np.cos(2 * x)
    slope = (np.cos(2 * x) - 1) * np.sin(x) / 2 - (1 - np.cos(x)) * np.sin(2 * x)
    np.testing.assert_allclose([float(number) for number in found], [value, slope], atol=1e-12)
    assert all(path.is_file() for path in closed)
    assert not list(tmp_path.rglob("*.o"))


# -- numbers that are none ----------------------------------------------------------------------


@WAYS
@PRECISIONS
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("gate", [qml.RX, qml.RY, qml.PhaseShift])
def test_no_number_in_a_circuit_of_a_batch_is_nan_there_alone(gate, bad, precision, way):
    def function(x):
        qml.Hadamard(0)
        gate(x, 0)
        qml.Hadamard(0)
        qml.CRY(x, (0, 1))
        return qml.expval(qml.Z(0) + 0.5 * qml.X(0)), qml.probs(0)

    good = torch.linspace(-1, 1, 21, dtype=precision).requires_grad_()
    x = good.detach().clone()
    x[5] = bad
    x.requires_grad_()
    others = torch.arange(21) != 5
    call = way(node(function))
    for _ in range(2):  # the second call is the compiled one
        right, found = call(good), call(x)
        slopes = [
            torch.autograd.grad(part[0].sum(), n)[0] for part, n in ((right, good), (found, x))
        ]
        for one, other in (*zip(found, right, strict=True), slopes[::-1]):
            assert one[5].isnan().all()
            assert torch.equal(one[others], other[others])


@WAYS
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["angle", "matrix", "shared angle of a batch"])
def test_no_number_is_never_hidden(bad, where, way):
    def function(x, matrix, w):
        qml.RX(x, 0)
        qml.QubitUnitary(matrix, 0)
        qml.RY(w, 0)
        return qml.expval(qml.Z(0))

    x = torch.full((9,) if "batch" in where else (), 0.3, dtype=torch.float64)
    matrix = torch.eye(2, dtype=torch.complex128)
    w = torch.tensor(0.2, dtype=torch.float64)
    call = way(node(function))
    assert not call(x, matrix, w).isnan().any()
    if where == "matrix":
        matrix = matrix * bad
    else:
        w = w * bad
    w.requires_grad_()
    value = call(x, matrix, w)
    assert value.isnan().all()
    assert torch.autograd.grad(value.sum(), w)[0].isnan()


# -- structures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(40))
def test_a_structure_survives_json(number):
    circuit = random_circuits.draw(number)
    device = StatevectorDevice(circuit.wires)
    with torch.no_grad():
        tape = qml.tape.make_qscript(circuit)(*circuit.tensors(torch.float64))
        reading = device.read(tape)
        one = structure(reading.key, reading.wires)
        text = one.to_json()
        other = Structure.from_json(text)
        assert other.to_json() == text
        found = [
            run(Plan(s, Rows(0, [], []), True), device.values(reading))[-1] for s in (one, other)
        ]
    assert torch.equal(*found)


def work(gates):
    """Return lines of the simulator that plan a circuit, its operations, and their places."""
    folder, lines = os.path.dirname(sys.modules[StatevectorDevice.__module__].__file__), 0

    def trace(frame, event, _):
        nonlocal lines
        lines += event == "line"
        return trace if frame.f_code.co_filename.startswith(folder) else None

    rng = np.random.default_rng(0)
    kinds = [qml.CNOT, qml.CH, qml.SWAP, qml.ISWAP, qml.CRX, qml.IsingXY, qml.SingleExcitation]
    operations = []
    for kind in rng.permutation(np.arange(gates) % len(kinds)):
        angles = rng.normal(size=kinds[kind].num_params)
        operations.append(kinds[kind](*angles, wires=rng.permutation(10)[:2].tolist()))
    tape = qml.tape.QuantumScript(operations, [qml.expval(qml.Z(0))])
    device = StatevectorDevice(10)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        circuit = device.planned(device.read(tape)).plan.lowered(1).circuit
    finally:
        sys.settrace(before)
    return np.array([lines, len(circuit.ops), len(circuit.places)])


def test_planning_takes_as_many_steps_as_there_are_gates():
    first, second, third = work(1000), work(2000), work(4000)
    assert (second > first).all() or (second[:2] > first[:2]).all()
    # Twice as many gates more are at most twice as much more, but for what chance decides.
    assert (third - second <= 2.1 * (second - first))[:2].all()
    assert third[2] <= 2.1 * second[2]


# -- derivatives --------------------------------------------------------------------------------


def hessian(function, *values):
    numbers = tuple(torch.tensor(v, dtype=torch.float64) for v in values)
    return torch.autograd.functional.hessian(lambda *n: function(*n).sum(), numbers)


@WAYS
@pytest.mark.parametrize("x", [0.4, [0.1, -0.7, 2.0]], ids=["alone", "batch"])
def test_second_derivatives_of_an_argument_used_as_it_is_and_computed(x, way):
    def function(x, w):
        qml.RY(x, 0)
        qml.RX(2 * x, 0)
        qml.CRZ(w * x, (0, 1))
        qml.RX(w, 1)
        return qml.expval(qml.Z(0) @ qml.Z(1) + qml.X(0))

    call, right = way(node(function)), hessian(expected(function), x, 0.6)
    for _ in range(2):
        torch.testing.assert_close(hessian(call, x, 0.6), right)


def test_the_hessian_of_autograd():
    def function(x):
        qml.RX(x[0], 0)
        qml.RY(x[1] * x[0], 1)
        qml.CRX(x[2], (0, 1))
        return qml.expval(qml.Z(0) @ qml.Z(1))

    x = qml.numpy.array([0.3, 0.8, -0.4], requires_grad=True)
    found, right = (
        qml.jacobian(qml.grad(make(function)))(x) for make in (node, lambda f: expected(f))
    )
    assert np.abs(right).max() > 0.1
    np.testing.assert_allclose(found, right, atol=1e-10)


def test_second_derivatives_of_what_is_linear_are_zero_in_autograd():
    def function(c):
        qml.RX(0.4, 0)
        return qml.expval(qml.Hamiltonian(c, [qml.Z(0), qml.Y(0)]))

    c = qml.numpy.array([0.3, 0.8], requires_grad=True)
    np.testing.assert_allclose(qml.grad(node(function))(c), [np.cos(0.4), -np.sin(0.4)])
    assert not qml.jacobian(qml.grad(node(function)))(c).any()


def test_autograd_asks_once_for_the_gradients_in_all_arguments():
    calls = []

    def function(*numbers):
        calls.append(numbers)
        return torch.stack(numbers).prod(0), torch.stack(numbers).sum(0) * 1j

    def total(*numbers):
        product, turned = differentiable(function)(*numbers)
        return product + qml.math.imag(turned) ** 2

    numbers = [qml.numpy.array(x, requires_grad=True) for x in (0.5, 2.0, 3.0)]
    slopes = qml.grad(total)(*numbers)
    np.testing.assert_allclose(slopes, [6.0 + 11.0, 1.5 + 11.0, 1.0 + 11.0])
    assert len(calls) == 2


@WAYS
@pytest.mark.parametrize(
    "measure",
    [lambda: qml.expval(qml.X("a")), lambda: qml.var(qml.Z("a")), lambda: qml.purity("a"),
     lambda: qml.probs(op=qml.X("a") @ qml.Y("b")), lambda: qml.probs("a"), qml.state],
)  # fmt: skip
def test_a_circuit_called_inside_another_leaves_nothing_there(measure, way):
    def function(x):
        qml.Z("a")
        qml.SX("b")
        qml.ctrl(qml.S("a"), "b")
        qml.QFT(["a", "b"])
        qml.RX(x, "a")
        return measure()

    inner = way(node(function, ["a", "b"]))
    x = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    for _ in range(3):
        with qml.queuing.AnnotatedQueue() as queue:
            inner(x)
        assert queue.queue == []


def test_a_circuit_in_the_making_is_left_alone_by_other_threads():
    made, looked_at = threading.Event(), threading.Event()

    class Slow(qml.operation.Operation):
        num_wires, num_params = 1, 0

        def matrix(self, wire_order=None):
            looked_at.set()
            making.join(60)
            return np.eye(2)

    def make():
        with qml.queuing.AnnotatedQueue() as queue:
            qml.X(0)
            made.set()
            looked_at.wait(60)
            qml.Y(0)
        names.extend(op.name for op in queue.queue)

    names = []
    tape = qml.tape.QuantumScript([Slow(0)], [qml.expval(qml.Z(0))])
    making = threading.Thread(target=make)
    making.start()
    assert made.wait(60)
    assert float(StatevectorDevice(1).execute(tape)) == 1
    assert names == ["PauliX", "PauliY"]
    assert not making.is_alive()


@WAYS
def test_a_trainable_coefficient_of_an_observable(way):
    def function(c, x):
        qml.RX(x, 0)
        return qml.expval(c * qml.Z(0) + 2 * qml.Y(0))

    call = way(node(function))
    for value in (0.3, 0.7):
        c, x = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (value, 0.5))
        for_c, for_x = torch.autograd.grad(call(c, x), (c, x))
        torch.testing.assert_close(for_c, torch.cos(x).detach())
        torch.testing.assert_close(for_x, (-c * torch.sin(x) - 2 * torch.cos(x)).detach())


@pytest.mark.nightly
@WAYS
def test_torch_compiles_around_a_circuit(way):
    inner = way(node(ring))

    def function(x, w):
        values = inner(torch.tanh(x), 2 * w)
        return values[0] * 3, values[1].cos(), values[2]

    compiled = torch.compile(function, backend="eager")
    for _ in range(2):
        for one, other in zip(results(compiled, 5), results(function, 5), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_plans_go_with_their_device():
    def plans():
        gc.collect()
        return sum(type(thing) is Lowering for thing in gc.get_objects())  # no weak proxy is asked

    before = plans()
    for wire in range(5):  # circuits that find their numbers at the same places
        device = qml.device("qmlbook.statevector", wires=6)
        node = qml.QNode(lambda x, wire=wire: (qml.RX(x, wire), qml.expval(qml.Z(wire)))[1], device)
        node(torch.tensor(0.3, requires_grad=True)).backward()
        del device, node
    assert plans() == before
