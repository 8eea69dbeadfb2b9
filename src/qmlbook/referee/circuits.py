"""A reader's circuit as a list of gates: what it computes, and the circuits made from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product
from typing import Any

import numpy as np
import pennylane as qml
import torch
from pennylane.devices.preprocess import decompose
from pennylane.operation import Operator, StatePrepBase
from pennylane.queuing import QueuingManager
from pennylane.tape import QuantumScript
from torch import Tensor

from ..backends import on
from ..base.rng import stream
from ..papers.shared.probes import effective_parameters, light_cone
from ..statevector import compile_qnode
from ..statevector.reading import supports

Circuit = Callable[[Tensor, Tensor], Any]  # (x, weights) -> measurements
Change = Callable[[Sequence[Operator]], Iterable[Operator]]

MOST_FREQUENCIES = 4096  # vectors of them that are listed
ZERO = 1e-9
# Rotations about a word of Paulis: without entanglement, each wire turns about its own letter.
_WORDS = {"IsingXX": "XX", "IsingYY": "YY", "IsingZZ": "ZZ"}
_TURNS = {"X": qml.RX, "Y": qml.RY, "Z": qml.RZ}


def recorded(circuit: Circuit, x: Tensor, weights: Tensor) -> QuantumScript:
    """Return what a circuit does with some numbers, in gates that the simulator knows."""
    with QueuingManager.stop_recording():
        tape = qml.tape.make_qscript(getattr(circuit, "func", circuit))(x, weights)
        (made,), _ = decompose(
            tape, stopping_condition=supports, skip_initial_state_prep=True, name="referee"
        )
    return made


def changed(circuit: Circuit, change: Change) -> Circuit:
    """Return the circuit whose gates are another list, made from its own."""

    def made(x: Tensor, weights: Tensor) -> list[Any]:
        tape = recorded(circuit, x, weights)
        with QueuingManager.stop_recording():  # a gate that is made would be in the circuit twice
            operations = list(change(tape.operations))
        for operation in operations:
            qml.apply(operation)
        return [qml.apply(measurement) for measurement in tape.measurements]

    return made


def outputs(circuit: Circuit) -> Circuit:
    """Return a circuit as a function of inputs (B, features) and weights: (B, measured numbers)."""
    device = qml.device("qmlbook.statevector", wires=None, dtype="complex128")
    fast = compile_qnode(qml.QNode(getattr(circuit, "func", circuit), device))

    return lambda x, weights: _columns(fast(x, weights), len(x))


def elsewhere(circuit: Circuit, **options: Any) -> Circuit:
    """Return a circuit as `outputs` does, without gradients, on a backend (see `backends.on`)."""
    node = qml.QNode(getattr(circuit, "func", circuit), qml.device("default.qubit"))
    moved = on(node, **options)
    return lambda x, weights: _columns(moved(x.detach(), weights.detach()), len(x))


def _columns(made: Any, n: int) -> Tensor:
    """Return what is measured for n inputs, (n, measured numbers)."""
    parts = made if isinstance(made, list | tuple) else [made]
    # What does not depend on x has no axis for it.
    columns = [part.reshape(-1, part.shape[-1] if part.ndim > 1 else 1) for part in parts]
    return torch.cat([column.expand(n, -1) for column in columns], 1)


# -- the circuits made from it -------------------------------------------------------------------


def without_entanglement(operations: Iterable[Operator]) -> Iterable[Operator]:
    """Yield gates that act on wires alone.

    A controlled rotation loses its control, a rotation about a word turns each of its wires, and
    any other gate of several wires but a swap is left out. A prepared state stays.
    """
    for operation in operations:
        yield from _apart(operation)


def _apart(operation: Operator) -> Iterable[Operator]:
    kind = type(operation).__name__
    if len(operation.wires) == 1 or kind == "SWAP" or isinstance(operation, StatePrepBase):
        yield operation
    elif isinstance(operation, qml.ops.Controlled):
        if operation.base.num_params:
            yield from _apart(operation.base)
    elif kind in (*_WORDS, "MultiRZ", "PauliRot"):
        word = _WORDS.get(kind) or operation.hyperparameters.get("pauli_word", "Z")
        letters = word if len(word) > 1 else word * len(operation.wires)
        for letter, wire in zip(letters, operation.wires, strict=True):
            if letter in _TURNS:
                yield _TURNS[letter](operation.data[0], wires=wire)


def left_out(numbers: frozenset[int], operations: Iterable[Operator]) -> Iterable[Operator]:
    """Yield gates without those of some numbers."""
    return (gate for number, gate in enumerate(operations) if number not in numbers)


# -- what it computes ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Gate:
    """A gate, and what its numbers depend on.

    Attributes:
        name: as PennyLane calls it.
        wires: positions.
        inputs: features of the input that its numbers contain.
        weights: numbers of the weights (flattened) that they contain.
        prepares: whether it prepares a state.
        gaps: frequencies of one such gate in its angle; empty where it has no single angle.
    """

    name: str
    wires: tuple[int, ...]
    inputs: frozenset[int]
    weights: frozenset[int]
    prepares: bool = False
    gaps: tuple[float, ...] = ()


def anatomy(circuit: Circuit, features: int, shape: Sequence[int]) -> tuple[list[Gate], list[int]]:
    """Return the gates of a circuit in order, and the wires that are measured."""
    rng = stream(0, "referee", "anatomy")
    x = torch.from_numpy(rng.uniform(0.3, 1.2, features)).requires_grad_()
    weights = torch.from_numpy(rng.uniform(0.3, 1.2, tuple(shape))).requires_grad_()
    tape = recorded(circuit, x, weights)
    place = {wire: at for at, wire in enumerate(tape.wires)}
    gates = []
    for operation in tape.operations:
        felt = [frozenset[int](), frozenset[int]()]
        for number in operation.data:
            if isinstance(number, Tensor) and number.requires_grad:
                plain = torch.view_as_real(number) if number.is_complex() else number
                mixed = (plain * torch.arange(1.0, plain.numel() + 1).reshape(plain.shape)).sum()
                slopes = torch.autograd.grad(
                    mixed, (x, weights), retain_graph=True, allow_unused=True
                )
                for at, slope in enumerate(slopes):
                    if slope is not None:
                        found = slope.reshape(-1).nonzero().flatten().tolist()
                        felt[at] |= frozenset(found)
        prepares = isinstance(operation, StatePrepBase)
        wires = tuple(place[wire] for wire in operation.wires)
        gates.append(Gate(operation.name, wires, felt[0], felt[1], prepares, _gaps(operation)))
    read = [place[wire] for measured in tape.measurements for wire in measured.wires]
    return gates, sorted(set(read or place.values()))


def _gaps(operation: Operator) -> tuple[float, ...]:
    if operation.num_params != 1 or isinstance(operation, StatePrepBase):
        return ()
    try:
        return tuple(round(float(gap), 6) for gap in operation.parameter_frequencies[0])
    except qml.operation.ParameterFrequenciesUndefinedError:
        return ()


def encoded_angles(circuit: Circuit, gates: Sequence[Gate], x: Tensor, weights: Tensor) -> Tensor:
    """Return the angles (B, gates) of the gates that contain inputs, in order."""
    tape = recorded(circuit, x, weights)
    columns = [
        torch.as_tensor(operation.data[0]).expand(len(x))
        for gate, operation in zip(gates, tape.operations, strict=True)
        if gate.inputs and gate.gaps
    ]
    return torch.stack(columns, 1).detach() if columns else x.new_zeros(len(x), 0)


@dataclass(frozen=True)
class Spectrum:
    """The frequencies that a circuit can make of angles that it encodes.

    Attributes:
        columns: for each independent angle, the number of the encoding gate that has it as it is.
        frequencies: for each of them, all frequencies, 0 first.
    """

    columns: tuple[int, ...]
    frequencies: tuple[tuple[float, ...], ...]

    @property
    def coefficients(self) -> int:
        """How many real coefficients such a function has."""
        return int(np.prod([2.0 * len(each) - 1 for each in self.frequencies]))

    def vectors(self, rng: np.random.Generator, most: int) -> np.ndarray:
        """Return vectors of frequencies (K, angles), up to sign, without 0; a draw if too many."""
        signed = [[*each, *(-f for f in each if f)] for each in self.frequencies]
        if self.coefficients <= MOST_FREQUENCIES:
            every = np.array(list(product(*signed)))
            every = every[rng.permutation(len(every))]
        else:
            every = np.stack([rng.choice(each, 4 * most) for each in signed], 1)
        leading = np.array([row[np.flatnonzero(row)[:1]].sum() for row in every])
        return every[leading > 0][:most]


def spectrum(gates: Sequence[Gate], angles: np.ndarray, inside: Iterable[int]) -> Spectrum:
    """Return the frequencies of the encoding gates that measurements can feel.

    Args:
        gates: of the circuit.
        angles: (B, encoding gates) for some inputs; those that are proportional count as one.
        inside: numbers of the gates in the light cone.
    """
    encoding = [number for number, gate in enumerate(gates) if gate.inputs and gate.gaps]
    kept, columns = set(inside), list[int]()
    found: list[set[float]] = []
    for column, number in enumerate(encoding):
        if number not in kept or np.ptp(angles[:, column]) < ZERO:
            continue
        mine = angles[:, column]
        at, scale = len(columns), 1.0
        for place, other in enumerate(angles[:, columns].T):
            share = float(mine @ other / (other @ other))
            if np.abs(mine - share * other).max() < ZERO:
                at, scale = place, share
        if at == len(columns):
            columns.append(column)
            found.append({0.0})
        steps = {0.0, *(sign * scale * gap for gap in gates[number].gaps for sign in (1, -1))}
        sums = {round(abs(a + b), 6) for a in (*found[at], *(-f for f in found[at])) for b in steps}
        found[at] = sums
    return Spectrum(tuple(columns), tuple(tuple(sorted(each)) for each in found))


def factorises(run: Circuit, x: Tensor, weights: Tensor) -> bool:
    """Return whether every output is a product of functions of single features.

    That is so exactly if f(a, c) f(b, d) = f(a, d) f(b, c) for every two features, whatever the
    others are; it is tried with all of them at the given inputs (2 of them, or more).
    """
    one, other = x[:-1], x[1:]
    for first, second in combinations(range(x.shape[1]), 2):
        mixed = []
        for swap in ((), (first, second), (first,), (second,)):
            point = one.clone()
            point[:, list(swap)] = other[:, list(swap)]
            mixed.append(run(point, weights))
        if (mixed[0] * mixed[1] - mixed[2] * mixed[3]).abs().max() > ZERO:
            return False
    return True


@dataclass(frozen=True)
class Facts:
    """What a circuit computes, seen before it is trained.

    Attributes:
        qubits, gates, entangling: how many there are; ``entangling`` counts gates of two or more.
        measured: numbers that it returns.
        cone: wires, of these, on which what is measured can depend.
        parameters, effective: how many weights there are, and in how many directions they move the
            outputs on real inputs.
        unused: weights that are in no gate.
        unseen: features that change no output.
        encoding: ``angles``, ``amplitudes``, ``both`` or ``nothing``.
        frequencies: of each independent encoded angle, how many above 0 there are.
        coefficients: real Fourier coefficients that such a function has; 0 without angles.
        form: what the outputs are: ``a quadratic form of the amplitudes``, ``a product of functions
            of single features``, ``a trigonometric polynomial`` or ``none of these``.
        gradient: standard deviation of the slope of the first output in a weight, over starts.
        shots: shots with which half of all pairs of inputs can be told apart at the start.
    """

    qubits: int
    gates: int
    entangling: int
    measured: int
    cone: int
    parameters: int
    effective: int
    unused: int
    unseen: int
    encoding: str
    frequencies: tuple[int, ...]
    coefficients: int
    form: str
    gradient: float
    shots: int


def facts(circuit: Circuit, x: Tensor, starts: Sequence[Tensor]) -> Facts:
    """Return what a circuit computes.

    Args:
        circuit: the reader's own.
        x: (B, features) real inputs, some dozens.
        starts: weights as training starts with them, some dozens of draws.
    """
    run, weights = outputs(circuit), starts[0]
    gates, read = anatomy(circuit, x.shape[1], weights.shape)
    cone, inside = light_cone([gate.wires for gate in gates], read)
    shape, few = weights.shape, x[:32]
    effective = effective_parameters(lambda w: run(few, w.reshape(shape)), weights.reshape(-1))
    prepared = any(gate.prepares and gate.inputs for gate in gates)
    turned = any(gate.inputs and not gate.prepares for gate in gates)
    found = spectrum(gates, encoded_angles(circuit, gates, x, weights).numpy(), inside)
    encoding = {(True, True): "both", (True, False): "amplitudes", (False, True): "angles"}
    known = all(gate.gaps for gate in gates if gate.inputs and not gate.prepares)
    if prepared and not turned:
        form = "a quadratic form of the amplitudes"
    elif turned and not prepared and factorises(run, x[:8], weights):
        form = "a product of functions of single features"
    else:
        form = (
            "a trigonometric polynomial" if turned and known and not prepared else "none of these"
        )
    made = run(x, weights).detach()
    moved = few.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(run(moved, weights).square().sum(), moved)
    return Facts(
        qubits=1 + max(max(gate.wires, default=0) for gate in gates),
        gates=len(gates),
        entangling=sum(len(gate.wires) > 1 and not gate.prepares for gate in gates),
        measured=made.shape[1],
        cone=len(cone),
        parameters=weights.numel(),
        effective=effective,
        unused=weights.numel() - len(frozenset().union(*(gate.weights for gate in gates))),
        unseen=int((slopes.abs().amax(0) < ZERO).sum()),
        encoding=encoding.get((prepared, turned), "nothing"),
        frequencies=tuple(len(each) - 1 for each in found.frequencies),
        coefficients=found.coefficients if turned and known else 0,
        form=form,
        gradient=float(torch.stack([_slopes(run, x[:1], start) for start in starts]).std()),
        shots=shots_needed(made),
    )


def _slopes(run: Circuit, x: Tensor, start: Tensor) -> Tensor:
    start = start.clone().requires_grad_()
    return torch.autograd.grad(run(x, start)[0, 0], start)[0].reshape(-1)


def shots_needed(made: Tensor) -> int:
    """Return the shots with which half of all pairs of inputs differ by two standard errors.

    Args:
        made: outputs (B, measured), values of observables between -1 and 1; the best one counts.
    """
    half = len(made) // 2
    gaps = (made[:half] - made[half : 2 * half]).abs().median(0).values
    variance = 2 * (1 - made.square()).clamp(min=0).mean(0)
    return int(min(1e12, float((4 * variance / gaps.square().clamp(min=1e-12)).min())))


def blocks(gates: Sequence[Gate], shape: Sequence[int], most: int = 8) -> dict[str, frozenset[int]]:
    """Return the blocks of a circuit, each the numbers of its gates.

    A block has the gates of one entry of the weights' first axis, with the gates without numbers
    that follow them. Weights with a single axis, or more than ``most`` entries, are one block.
    Gates that encode belong to none, and a circuit of one block has nothing to leave out.
    """
    rows = shape[0] if len(shape) > 1 else 1
    if not 1 < rows <= most:
        return {}
    size, current = int(np.prod(shape[1:])), -1
    made: dict[int, set[int]] = {row: set() for row in range(rows)}
    for number, gate in enumerate(gates):
        if gate.inputs or gate.prepares:
            current = -1  # a fixed gate after an encoding belongs to it
        elif gate.weights:
            current = min(gate.weights) // size
            made[current].add(number)
        elif current >= 0:
            made[current].add(number)
    return {f"{row + 1}": frozenset(numbers) for row, numbers in made.items() if numbers}


def without_block(circuit: Circuit, numbers: frozenset[int]) -> Circuit:
    """Return a circuit without the gates of some numbers."""
    return changed(circuit, partial(left_out, numbers))
