"""Random circuits on our device, plain and compiled, against default.qubit in complex128.

`QMLBOOK_RANDOM_CIRCUITS` says how many: 20000 for all night, or 731:732 for circuit 731 alone.
"""

import os
from collections.abc import Iterator

import numpy as np
import pennylane as qml
import pytest
import random_circuits
import torch
from random_circuits import Circuit

from qmlbook.statevector import compile_qnode

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # torch: complex numbers become real
]

OURS = "qmlbook.statevector"
EVERY_TENTH = 10  # circuit is differentiated twice
# Largest difference, relative to the largest number of a result, or 1 where all are smaller:
# of values, first and second derivatives.
TOLERANCE = {torch.float64: (1e-9, 1e-9, 1e-8), torch.float32: (2e-4, 2e-4, 2e-3)}


SINGLE = (torch.float32, torch.complex64)


def chosen(default: str) -> range:
    """Return the numbers of the circuits to compare."""
    first, _, last = os.environ.get("QMLBOOK_RANDOM_CIRCUITS", default).rpartition(":")
    return range(int(first or 0), int(last))


def leaves(results) -> list[torch.Tensor]:
    """Return results as a flat list of tensors."""
    if isinstance(results, list | tuple):
        return [leaf for part in results for leaf in leaves(part)]
    return [torch.as_tensor(results)]


def weights(number: int, which: int, shapes: list) -> list[torch.Tensor]:
    """Return random complex weights, the same for every device."""
    rng = np.random.default_rng([number, which])
    return [torch.as_tensor(rng.normal(size=(*shape, 2)) @ (1, 1j)) for shape in shapes]


def weighted(weights: list, numbers: list) -> torch.Tensor:
    """Return the real part of a weighted sum of all numbers."""
    pairs = zip(weights, numbers, strict=True)
    return sum((torch.as_tensor(w).conj() * z).real.sum() for w, z in pairs)


def gradient(number, arguments, create_graph=False) -> list[torch.Tensor]:
    """Return derivatives, 0 where a number does not depend on an argument."""
    if not arguments or not number.requires_grad:
        return [torch.zeros_like(a) for a in arguments]
    slopes = torch.autograd.grad(
        number, arguments, create_graph=create_graph, retain_graph=True, allow_unused=True
    )
    return [
        torch.zeros_like(a) if slope is None else slope
        for a, slope in zip(arguments, slopes, strict=True)
    ]


def outcome(function, circuit: Circuit, dtype: torch.dtype) -> list[list[torch.Tensor]]:
    """Return values, derivatives of a weighted sum of them, and for some circuits second ones."""
    arguments = circuit.tensors(dtype)
    values = leaves(function(*arguments))
    twice = twice_differentiated(circuit)
    total = weighted(weights(circuit.number, 1, [v.shape for v in values]), values)
    slopes = gradient(total, arguments, create_graph=twice)
    found = [values, slopes]
    if twice:
        directions = [w.real for w in weights(circuit.number, 2, [a.shape for a in arguments])]
        found.append(gradient(weighted(directions, slopes), arguments) if arguments else [])
    return [[tensor.detach() for tensor in part] for part in found]


def twice_differentiated(circuit: Circuit) -> bool:
    """Return whether second derivatives are compared."""
    if circuit.number % EVERY_TENTH:
        return False
    return not any(isinstance(mp, NOT_TWICE) for mp in tape(circuit).measurements)


# Their second derivatives divide by the distance of eigenvalues, which is 0 for pure states.
NOT_TWICE = (qml.measurements.VnEntropyMP, qml.measurements.MutualInfoMP)


def tape(circuit: Circuit) -> qml.tape.QuantumScript:
    """Return the gates and measurements of a circuit."""
    with torch.no_grad():
        return qml.tape.make_qscript(circuit)(*circuit.tensors(torch.float64))


def differences(circuit: Circuit, ours: str = OURS, compiled: bool = True) -> Iterator[str]:
    """Say what differs from default.qubit, whose arguments are the same numbers in float64."""
    right = outcome(circuit.qnode("default.qubit", diff_method="backprop"), circuit, torch.float64)
    dtype = torch.float32 if circuit.single else torch.float64
    for way in ("plain", "compiled")[: 1 + compiled]:
        try:
            function = circuit.qnode(ours)
            if way == "compiled":
                function = compile_qnode(function)
                recorded = [torch.rand_like(a) for a in circuit.tensors(dtype)]
                function(*[a.requires_grad_(bool(circuit.number % 2)) for a in recorded])
            given = outcome(function, circuit, dtype)
        except Exception as error:
            yield f"{way}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            continue
        if not circuit.single and any(v.dtype in SINGLE for v in given[0]):
            yield f"{way}: results in single precision"
        names = ("values", "derivatives", "second derivatives")
        for name, one, other, bound in zip(names, given, right, TOLERANCE[dtype], strict=False):
            if said := difference(one, other, bound):
                yield f"{way}: {name}: {said}"
                break


def difference(given: list, right: list, bound: float) -> str:
    """Say what differs between two lists of tensors; nothing if all are close."""
    shapes = [[tuple(t.shape) for t in tensors] for tensors in (given, right)]
    if shapes[0] != shapes[1]:
        return f"shapes {shapes[0]} instead of {shapes[1]}"
    scale = max([1.0, *(t.abs().max().item() for t in right if t.numel())])
    for one, other in zip(given, right, strict=True):
        error = (one - other).abs().max().item() if one.numel() else 0.0
        if not error <= bound * scale:
            return f"differ by {error:.1e}, of {scale:.1f} at most"
    return ""


def disagreements(numbers: range, ours: str = OURS, compiled: bool = True) -> dict[int, list[str]]:
    """Return what differs, by the number of the circuit."""
    found = {}
    for number in numbers:
        if said := list(differences(random_circuits.draw(number), ours, compiled)):
            found[number] = said
    return found


def report(found: dict[int, list[str]], of: int) -> str:
    """Return the first ten disagreements, and the smallest circuit that shows the first."""
    lines = [f"{len(found)} of {of} circuits disagree with default.qubit; the first:"]
    for number, said in list(found.items())[:10]:
        lines += [f"  {number}: {one}" for one in said]
    first = next(iter(found))
    small = random_circuits.draw(first).smallest(lambda c: any(map(bool, differences(c))))
    return "\n".join([*lines, small.text()])


def agree(numbers: range) -> None:
    """Fail with all disagreements of some circuits, not only the first."""
    found = disagreements(numbers)
    if found:
        pytest.fail(report(found, len(numbers)), pytrace=False)


def test_random_circuits_agree_with_default_qubit():
    agree(chosen("100"))


@pytest.mark.nightly
@pytest.mark.timeout(0)
def test_many_random_circuits_agree_with_default_qubit():
    agree(chosen("100:2000"))


def test_default_qubit_agrees_with_itself():
    assert disagreements(range(60), "default.qubit", compiled=False) == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1.0, 2.0 + 1e-12], ""),
        ([1.0, 2.0 + 1e-8], "differ by 1.0e-08"),
        ([1.0, float("nan")], "differ by nan"),
        ([[1.0], [2.0]], "shapes"),
    ],
)
def test_differences_are_seen(given, said):
    right = [torch.tensor([1.0, 2.0], dtype=torch.float64)]
    found = difference([torch.tensor(given, dtype=torch.float64)], right, 1e-9)
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_a_wrong_derivative_is_seen_and_its_circuit_made_small():
    def wrong(circuit: Circuit) -> bool:
        """Say that circuits with RX are wrong."""
        return any(op.name == "RX" for op in tape(circuit).operations)

    circuit = next(c for c in map(random_circuits.draw, range(200)) if wrong(c))
    small = circuit.smallest(wrong)
    assert [op.name for op in tape(small).operations] == ["RX"]
    assert len(small.measurements) == 1


def names(op) -> Iterator[str]:
    """Return the names of the classes of a gate and of what it is made of."""
    yield type(op).__name__
    for part in getattr(op, "operands", [op.base] if hasattr(op, "base") else []):
        yield from names(part)


def test_every_gate_of_pennylane_is_drawn():
    circuits = map(random_circuits.draw, range(900))
    drawn = {name for circuit in circuits for op in tape(circuit).operations for name in names(op)}
    assert set(random_circuits.NAMED) - drawn == set(random_circuits.LEFT_OUT)


def test_a_number_makes_the_same_circuit_again():
    for number in (3, 7, 11):
        one, again, other = (random_circuits.draw(k).text() for k in (number, number, number + 1))
        assert one == again != other
