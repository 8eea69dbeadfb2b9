"""The simulator of pages against the simulator of the book, in Node and in a browser.

Both are given structures, numbers and observables as JSON, and give states, expectation values,
probabilities and gradients. `QMLBOOK_RANDOM_CIRCUITS` says how many random circuits, as in
test_statevector_random.py.
"""

import json
import os
from functools import partial
from pathlib import Path

import javascript
import numpy as np
import pennylane as qml
import pytest
import random_circuits
import torch

from qmlbook.base.errors import UsageError
from qmlbook.base.rng import stream
from qmlbook.book.figures import live_figures
from qmlbook.papers.c2q import circuits as c2q
from qmlbook.papers.contextuality import circuits as contextuality
from qmlbook.papers.klssl import circuits as klssl
from qmlbook.papers.qdeq import circuits as qdeq
from qmlbook.papers.qssl import circuits as qssl
from qmlbook.papers.shared.qnodes import qnode
from qmlbook.statevector.execution import run
from qmlbook.statevector.plan import values
from qmlbook.statevector.simulation import Simulation
from qmlbook.statevector.structure import Structure

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # torch: complex numbers become real
]

HERE = Path(__file__).parent
TOLERANCE = 1e-12  # relative to the largest number of a result, or 1 where all are smaller


def program() -> str:
    """Return the simulator and what asks it as one script."""
    asks = (HERE / "answers.mjs").read_text("utf-8").partition('./simulator.js";\n')[2]
    return live_figures.script("simulator") + asks.replace("export ", "")


@pytest.fixture
def node():
    """Return a function that asks the simulator in Node."""
    return partial(javascript.ask, program())


@pytest.fixture
def page(browser):
    """Return a function that asks the simulator in a page."""
    tab = browser.new_page()
    tab.set_content("<html><body></body></html>")
    ours = program() + "Object.assign(window, { answers, draws });"
    tab.add_script_tag(content=ours, type="module")
    tab.wait_for_function("!!window.answers")

    def ask(what, given):  # as text: playwright takes long for many objects
        said = f"given => JSON.stringify({what}(JSON.parse(given)))"
        return json.loads(tab.evaluate(said, json.dumps(given)))

    yield ask
    tab.close()


# --- what is asked, and the right answers ---


def alone(reading, sample=0):
    """Return one circuit of a batch, its numbers float64 tensors that ask for gradients."""
    plain = live_figures.numbers(reading, sample)

    def tensor(value, dtype=torch.complex128):
        number = np.asarray(value, float)
        number = number if dtype is torch.float64 else number @ (1, 1j)
        return torch.tensor(number, dtype=dtype, requires_grad=True)

    amplitudes = plain["amplitudes"]
    return plain, reading._replace(
        parameters=[tensor(value, torch.float64) for value in plain["parameters"]],
        matrices=[tensor(matrix) for matrix in plain["matrices"]],
        amplitudes=None if amplitudes is None else tensor(amplitudes),
        batch=None,
    )


def observable(rng, n):
    """Return a weighted sum of three words of Paulis on n wires."""
    words = []
    for _ in range(3):
        on = rng.permutation(n)[: rng.integers(1, n + 1)]
        letters = sorted((int(wire), "XYZ"[rng.integers(3)]) for wire in on)
        words.append((tuple(letters), float(rng.normal())))
    return tuple(words)


def question(structure, reading, number, sample=0):
    """Return what is asked about a circuit, and what the book's simulator answers."""
    rng = stream(number, "live simulator")
    n = structure.wires
    words, wires = observable(rng, n), rng.permutation(n)[: rng.integers(1, n + 1)].tolist()
    plain, reading = alone(reading, sample)
    # with the state, so that no gate is left out because nothing feels it
    asked = [("words", words), ("probabilities", tuple(wires)), ("state", ())]
    given = values(reading, torch.float64, torch.device("cpu"))
    rows, state = run(Simulation(structure, asked).plan, given)
    leaves = [*reading.parameters, *reading.given]
    found = torch.autograd.grad(rows[0], leaves, allow_unused=True) if leaves else []
    found = [
        torch.zeros_like(leaf) if slope is None else slope
        for leaf, slope in zip(leaves, found, strict=True)
    ]
    many, prepared = len(reading.parameters), reading.amplitudes is not None
    right = {
        "state": state.detach().numpy(),
        "expectation": rows[0].item(),
        "probabilities": rows[1:].detach().numpy(),
        "parameters": np.array([slope.item() for slope in found[:many]]),
        "matrices": [slope.numpy() for slope in found[many + prepared :]],
        "amplitudes": found[many].numpy() if prepared else [],
    }
    case = {
        "structure": json.loads(structure.to_json()),
        "numbers": plain,
        "observable": [[weight, letters] for letters, weight in words],
        "wires": wires,
    }
    return case, right


def of_qnode(function, *arguments):
    """Return structure and numbers of a circuit."""
    return live_figures.of_tape(qml.tape.make_qscript(function)(*arguments))


def gap(given, right):
    """Return the largest difference, relative to the largest right number or to 1."""
    given, right = np.asarray(given), np.asarray(right)
    assert given.shape == right.shape
    return float(np.abs(given - right).max(initial=0) / max(1, np.abs(right).max(initial=0)))


def pairs(numbers):
    """Return complex numbers written as pairs."""
    return np.asarray(numbers, float) @ (1, 1j) if len(numbers) else np.array([])


def gaps(answer, right):
    """Yield by how much every part of an answer differs."""
    re, im = answer["state"]
    yield "state", gap(np.array(re) + 1j * np.array(im), right["state"])
    slopes = answer["gradient"]
    yield "expectation", gap(answer["expectation"], right["expectation"])
    yield "value with its gradient", gap(slopes["value"], right["expectation"])
    yield "probabilities", gap(answer["probabilities"], right["probabilities"])
    yield "gradient", gap(slopes["parameters"], right["parameters"])
    for one, other in zip(slopes["matrices"], right["matrices"], strict=True):
        yield "gradient by a matrix", gap(pairs(one), other)
    yield "gradient by amplitudes", gap(pairs(slopes["amplitudes"]), right["amplitudes"])


def agree(ask, questions):
    """Assert that the simulator of pages gives the right answers."""
    cases, rights = zip(*questions, strict=True)
    found = ask("answers", cases)
    assert len(found) == len(rights)
    wrong = [
        f"{number}: {what} differs by {by:.1e}"
        for number, (answer, right) in enumerate(zip(found, rights, strict=True))
        for what, by in gaps(answer, right)
        if not by <= TOLERANCE
    ]
    assert not wrong, wrong[:10]


def drawn(numbers):
    """Yield questions about random circuits, of a batch about its last circuit."""
    for number in numbers:
        circuit = random_circuits.draw(number)
        with torch.no_grad():
            tape = qml.tape.make_qscript(circuit)(*circuit.tensors(torch.float64))
        structure, reading = live_figures.of_tape(tape)
        sample = 0 if reading.batch is None else reading.batch - 1
        yield question(structure, reading, number, sample)


def chosen(default):
    first, _, last = os.environ.get("QMLBOOK_RANDOM_CIRCUITS", default).rpartition(":")
    return range(int(first or 0), int(last))


def tensors(name, *shapes):
    rng = stream(0, name)
    return [torch.from_numpy(rng.uniform(-3, 3, shape)) for shape in shapes]


def chapters():
    """Yield the circuits of the chapters: name, quantum function, arguments."""
    for n in (1, 2, 8):
        yield f"klssl-{n}", klssl.head, tensors("klssl", 4, (n, 2), (n, 2), (n, 2))
    for ansatz, layers in (("ring", 2), ("all-to-all", 3)):
        count = qssl.count_params(ansatz, 8, layers)
        with_options = partial(qssl.features, ansatz=ansatz, layers=layers)
        yield f"qssl-{ansatz}", with_options, tensors("qssl", 8, count)
    for ansatz in range(1, 12):
        for pooling in ("zx", "general", "none"):
            count = c2q.count_params(ansatz, pooling)
            encoding, size = ("angle", 8) if ansatz % 2 else ("amplitude", 256)
            options = {"ansatz_index": ansatz, "pooling": pooling, "encoding": encoding}
            with_options = partial(c2q.qcnn, **options)
            yield f"c2q-{ansatz}-{pooling}", with_options, tensors("c2q", size, count)
    for encoder in ("amplitude", "angle"):
        with_options = partial(qdeq.layer, n_wires=4, encoder=encoder)
        yield f"qdeq-{encoder}", with_options, tensors("qdeq", 16, 35, 4)
    link = [(0, [(1,), (2,)]), (1, [(0,)]), (2, [])]
    signed = partial(contextuality.translate, link, 3, [(0, 1)], [1, 0, 0])
    yield "contextuality", signed, []
    trained = partial(contextuality.translate, link, 3, angles=tensors("phases", 2, 1, 0))
    yield "contextuality-trained", trained, []


CHAPTERS = list(chapters())
ONE_OF_EACH = list({case[0].split("-")[0]: case for case in CHAPTERS}.values())


def test_a_circuit_of_every_chapter_agrees_in_node(node):
    agree(node, [question(*of_qnode(f, *a), i) for i, (_, f, a) in enumerate(ONE_OF_EACH)])


@pytest.mark.nightly
def test_circuits_of_the_chapters_agree_in_node(node):
    agree(node, [question(*of_qnode(f, *a), i) for i, (_, f, a) in enumerate(CHAPTERS)])


def test_random_circuits_agree_in_node(node):
    agree(node, drawn(chosen("100")))


@pytest.mark.nightly
def test_many_random_circuits_agree_in_node(node):
    agree(node, drawn(chosen("2000")))


@pytest.mark.slow
@pytest.mark.nightly  # Node runs the same scripts
def test_circuits_agree_in_a_browser(page):
    some = [question(*of_qnode(f, *a), i) for i, (_, f, a) in enumerate(CHAPTERS)]
    agree(page, [*some, *drawn(range(50))])


# --- reference vectors: numbers made with the papers' released code ---


def cases(paper, kind):
    content = json.loads((HERE / "vectors" / f"{paper}.json").read_text("utf-8"))
    return [(c["inputs"], c["expected"]) for c in content["cases"] if c["kind"] == kind]


def numbers_of(inputs, *names):
    return [torch.tensor(inputs[name], dtype=torch.float64) for name in names]


def vectors():
    """Yield quantum function, arguments, the wires measured or the Z values, and what is right."""
    for inputs, expected in cases("klssl", "quantum_head"):
        features, *weights = numbers_of(inputs, "features", "w_1", "w_2", "w_3")
        for row, right in zip(features, expected["probs_ancilla"], strict=True):
            yield klssl.head, (row, *weights), [klssl.ANCILLA], right
    for inputs, expected in cases("qssl", "circuit"):
        options = {"ansatz": inputs["ansatz"], "layers": inputs["layers"]}
        options["sweeps"] = inputs["sweeps_per_layer"]
        function = partial(qssl.features, **options)
        yield function, numbers_of(inputs, "angles", "params"), None, expected["z_expectations"]
    for inputs, expected in cases("c2q", "circuit"):
        options = {name: inputs[name] for name in ("ansatz_index", "pooling", "encoding")}
        function = partial(c2q.qcnn, **options)
        yield function, numbers_of(inputs, "features", "params"), [c2q.MEASURED], expected["probs"]
    for inputs, expected in cases("qdeq", "forward"):
        u, z, theta, phi = numbers_of(inputs, "u", "z", "theta", "phi")
        function = partial(qdeq.layer, n_wires=inputs["n_wires"], encoder=inputs["encoder"])
        for v, right in zip(u + z, expected["expectations"], strict=True):
            yield function, (v, theta, phi), None, right


def test_reference_vectors_hold_in_node(node):
    asked, rights = [], []
    for function, arguments, wires, right in vectors():
        structure, reading = of_qnode(function, *arguments)
        for one in range(1 if wires else len(right)):
            asked.append(
                {
                    "structure": json.loads(structure.to_json()),
                    "numbers": live_figures.numbers(reading),
                    "observable": [[1, [[one, "Z"]]]],
                    "wires": wires or [one],
                }
            )
            rights.append(right if wires else [(1 + right[one]) / 2, (1 - right[one]) / 2])
    found = [answer["probabilities"] for answer in node("answers", asked)]
    assert len(found) > 20
    np.testing.assert_allclose(found, rights, rtol=0, atol=1e-10)  # they have ten digits


# --- its random numbers ---


def xoshiro(seed, count):
    """Return 53-bit numbers of xoshiro128**, the published algorithm written once more."""
    ones = 0xFFFFFFFF
    state, words, fill = [], [], seed
    for _ in range(4):
        fill = (fill + 0x9E3779B9) & ones
        z = fill
        z = (z ^ (z >> 16)) * 0x85EBCA6B & ones
        z = (z ^ (z >> 13)) * 0xC2B2AE35 & ones
        state.append(z ^ (z >> 16))

    def turn(x, k):
        return ((x << k) | (x >> (32 - k))) & ones

    for _ in range(2 * count):
        words.append(turn(state[1] * 5 & ones, 7) * 9 & ones)
        t = state[1] << 9 & ones
        state[2] ^= state[0]
        state[3] ^= state[1]
        state[1] ^= state[2]
        state[0] ^= state[3]
        state[2] ^= t
        state[3] = turn(state[3], 11)
    halves = zip(words[::2], words[1::2], strict=True)
    return [((a >> 5) * 2**26 + (b >> 6)) / 2**53 for a, b in halves]


@pytest.mark.parametrize("seed", [0, 1, 20261129, 2**32 - 1])
def test_random_numbers_follow_the_published_algorithm(node, seed):
    chances = [0.1, 0.0, 0.65, 0.25]
    found = node("draws", {"seed": seed, "count": 200, "chances": chances, "shots": 20_000})
    assert found["numbers"] == xoshiro(seed, 200)
    assert sum(found["counts"]) == 20_000
    assert found["counts"][1] == 0
    spread = [(p * (1 - p) / 20_000) ** 0.5 for p in chances]
    for count, p, one in zip(found["counts"], chances, spread, strict=True):
        assert abs(count / 20_000 - p) <= 5 * one


# --- what Python hands over ---


def test_a_circuit_is_handed_over_with_the_numbers_of_one_call():
    def function(x):
        qml.RX(2 * x, 0)
        qml.CNOT([0, 1])
        return qml.expval(qml.Z(1))

    given = live_figures.circuit(qnode(function, wires=2), 0.25)
    assert given["numbers"] == {"parameters": [0.5], "matrices": [], "amplitudes": None}
    assert Structure.from_json(json.dumps(given["structure"])).wires == 2
    with pytest.raises(UsageError, match="arguments hold a batch of 3"):
        live_figures.circuit(qnode(function, wires=2), np.array([0.1, 0.2, 0.3]))


def test_a_wrong_gradient_would_be_seen(node):
    case, right = next(drawn([3]))
    (answer,) = node("answers", [case])
    right["parameters"] = right["parameters"] + 1e-11
    assert any(by > TOLERANCE for _, by in gaps(answer, right))
