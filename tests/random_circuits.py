"""Random circuits: every gate and measurement of PennyLane that default.qubit simulates exactly.

A circuit is made from two integers, a seed and a number, so that one that fails can be made again:

    PYTHONPATH=tests python -c "import random_circuits; print(random_circuits.draw(17).text())"

Parameters are arguments of the circuit, one by one or as entries of two, shared by gates or not,
with a batch or without, and some are computed inside it. `NOT_COMPARED` says what is never drawn.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pennylane as qml
import torch
from pennylane.exceptions import PowUndefinedError
from pennylane.operation import Operation
from torch import Tensor

SEED = 20
LABELS = (0, 1, 2, 3, 4, 5, 9, 17, "a", "b", "aux", "0", -1)
MODULES = ("pennylane.ops.qubit.", "pennylane.ops.op_math.controlled_ops", "pennylane.ops.identity")
SPECIAL_ANGLES = (0.0, np.pi / 2, np.pi, -np.pi, 2 * np.pi)

# What default.qubit does not do, or not rightly; such circuits are not drawn.
NOT_COMPARED = {
    "gates of several angles, some tensors, some numbers": "numpy's ones are multiplied by torch's",
    "a batch of IsingXY": "its matrix is multiplied by numpy's, which torch refuses",
    "powers that are not whole, of a matrix": "scipy takes the root: no batch, no gradient",
    "such powers of gates with angles, inside adjoint or ctrl": "likewise: the rule is not used",
    "negative powers of gates without a rule for powers": "refused for trainable parameters",
    "products of gates with whole, real and complex matrices": "PennyLane turns the second matrix "
    "into what the first is: CNOT @ SingleExcitation(x) makes a state of zeros",
    "a product with a batch of one": "PennyLane drops the axis of the batch, and fails",
    "the power 0": "PennyLane leaves the gate out, and with it its wires and its batch",
    "a batch of one prepared state": "expval of a sum has no axis of the batch, others have",
    "wires that are only measured, where a device without wires is asked for all": "PennyLane "
    "orders them by their hash, another one every time",
    "a batch of one in PauliRot with I": "PennyLane drops the axis of the batch, and fails",
    "a batch of one matrix, to a power": "expval of a sum has no axis of the batch, others have",
    "a batch of one matrix of numpy": "likewise, where no other gate has a batch or a gradient",
    "probs of a sum": "refused by PennyLane",
    "the variance of a sum with trainable coefficients": "its matrix is built by numpy",
}

Arguments = Sequence[Tensor]
Number = Callable[[Arguments], "Tensor | float"]
Gate = Callable[[Arguments], Operation]


@dataclass(frozen=True)
class Circuit:
    """A circuit, its arguments, and the device wires it is meant for.

    Attributes:
        number: what it was made from.
        wires: of the device; ``None`` for a device without wires.
        single: whether arguments are float32.
        arguments: of the quantum function, float64 arrays that `single` holds without rounding.
        gates: functions of the arguments; each makes one gate.
        measurements: functions of the arguments; each makes one measurement.
        returned: list or tuple of several measurements, or None to return the only one.
    """

    number: int
    wires: tuple | None
    single: bool
    arguments: tuple[np.ndarray, ...]
    gates: tuple[Gate, ...]
    measurements: tuple[Callable, ...]
    returned: type | None

    def __call__(self, *arguments: Tensor):
        """Apply the gates and return the measurements: the quantum function."""
        for gate in self.gates:
            gate(arguments)
        made = [measurement(arguments) for measurement in self.measurements]
        return made[0] if self.returned is None else self.returned(made)

    def qnode(self, device: str, **options) -> qml.QNode:
        """Return the circuit on a device."""
        return qml.QNode(self, qml.device(device, wires=self.wires), **options)

    def tensors(self, dtype: torch.dtype) -> list[Tensor]:
        """Return the arguments as tensors that ask for gradients."""
        return [torch.tensor(a, dtype=dtype, requires_grad=True) for a in self.arguments]

    def text(self) -> str:
        """Return the circuit in words."""
        arguments = self.tensors(torch.float64)
        tape = qml.tape.make_qscript(self)(*[a.detach() for a in arguments])
        shapes = ", ".join(str(tuple(a.shape)) for a in arguments) or "none"
        lines = [
            f"circuit {self.number}: device wires {self.wires}, "
            f"{'float32' if self.single else 'float64'} arguments of shapes {shapes}"
        ]
        for part in (*tape.operations, *tape.measurements):
            lines.append(" ".join(repr(part).split()))
        return "\n    ".join(lines)

    def smallest(self, fails: Callable[[Circuit], bool]) -> Circuit:
        """Return the circuit without every gate and measurement that the failure does not need."""
        small = self
        for part in ("measurements", "gates"):
            for one in reversed(getattr(self, part)):
                fewer = tuple(other for other in getattr(small, part) if other is not one)
                if fewer or part == "gates":
                    smaller = replace(small, **{part: fewer})
                    if fails(smaller):
                        small = smaller
        return small


@dataclass
class Draw:
    """What is drawn while a circuit is made."""

    rng: np.random.Generator
    labels: list
    batch: int | None
    single: bool
    stacked: bool
    columns: dict[str, list[np.ndarray]] = field(
        default_factory=lambda: {"batched": [], "shared": []}
    )
    own: list[np.ndarray] = field(default_factory=list)
    inside: bool = False  # another gate

    @contextlib.contextmanager
    def nested(self) -> Iterator[None]:
        """Note that what is drawn goes inside another gate."""
        before, self.inside = self.inside, True
        yield
        self.inside = before

    def chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return bool(self.rng.random() < probability)

    def one(self, choices: Sequence):
        """Return one of several things, whatever they are."""
        return choices[int(self.rng.integers(len(choices)))]

    def some(self, choices: Sequence, number: int) -> list:
        """Return different ones, in random order."""
        return [choices[i] for i in self.rng.permutation(len(choices))[:number]]

    def rounded(self, values: np.ndarray) -> np.ndarray:
        """Return what the arguments' precision holds without rounding."""
        return np.asarray(values, np.float32).astype(np.float64) if self.single else values

    def real(self, *shape: int) -> np.ndarray:
        """Return normal numbers."""
        return self.rounded(self.rng.normal(size=shape))

    def complex(self, *shape: int) -> np.ndarray:
        """Return complex normal numbers."""
        return self.real(*shape) + 1j * self.real(*shape)

    # -- numbers that gates take

    def value(self, batched: bool) -> np.ndarray:
        """Return an angle, or one for every entry of the batch."""
        shape = (self.batch,) if batched else ()
        if self.chance(0.1):
            return self.rounded(self.rng.choice(SPECIAL_ANGLES, size=shape))
        return self.rounded(self.rng.uniform(-4, 4, size=shape))

    def angle(self, batched: bool | None = None) -> Number:
        """Return an argument, a constant, or something computed of them."""
        if batched is None:
            batched = self.batch is not None and self.chance(0.4)
        kind = self.rng.random()
        if kind < 0.12:
            constant = self.value(batched)
            return (lambda arguments: constant.item()) if not batched else _constant(constant)
        first = self.argument(batched)
        if kind < 0.8:
            return first
        scale = round(self.rng.uniform(-2, 2), 2)
        if kind < 0.88:
            return lambda arguments: scale * first(arguments)
        if kind < 0.94:
            return lambda arguments: torch.sin(first(arguments)) + scale
        second = self.argument(batched and self.chance(0.5))
        return lambda arguments: first(arguments) * second(arguments)

    def argument(self, batched: bool) -> Number:
        """Return an argument of the circuit, sometimes one that is in use already."""
        kind = "batched" if batched else "shared"
        columns = self.columns[kind]
        if columns and self.chance(0.25):
            index = int(self.rng.integers(len(columns)))
        else:
            columns.append(self.value(batched))
            index = len(columns) - 1
        return lambda arguments: arguments[0][kind][index]

    def vector(self, size: int) -> Number:
        """Return an argument of its own: a vector, or one for every entry of the batch."""
        shape = (self.batch, size) if self.batch is not None and self.chance(0.5) else (size,)
        self.own.append(self.real(*shape))
        index = len(self.own) - 1
        return lambda arguments: arguments[0]["own"][index]

    def finished(self) -> tuple[tuple[np.ndarray, ...], Callable[[Arguments], tuple]]:
        """Return the arguments, and how the parts that gates ask for are found in them."""
        sizes = {kind: len(columns) for kind, columns in self.columns.items()}
        kinds = [kind for kind, size in sizes.items() if size]
        if not self.stacked:
            flat = [column for kind in kinds for column in self.columns[kind]]
        else:
            flat = [np.stack(self.columns[kind], axis=-1) for kind in kinds]

        def parts(arguments: Arguments) -> tuple[dict]:
            remaining, given = list(arguments), {}
            for kind in kinds:
                if self.stacked:
                    whole = remaining.pop(0)
                    given[kind] = [whole[..., i] for i in range(sizes[kind])]
                else:
                    given[kind], remaining = remaining[: sizes[kind]], remaining[sizes[kind] :]
            return ({**given, "own": remaining},)

        return (*flat, *self.own), parts


def _constant(values: np.ndarray) -> Number:
    """Return a tensor of the arguments' precision that is no argument."""

    def constant(arguments: Arguments) -> Tensor:
        given = [part for parts in arguments[0].values() for part in parts]
        dtype = given[0].dtype if given else torch.float64
        tensor = torch.as_tensor(values)
        return tensor.to(dtype.to_complex() if tensor.is_complex() else dtype)

    return constant


# -- gates -----------------------------------------------------------------------------------------


def named_gates() -> dict[str, type[Operation]]:
    """Return all of PennyLane's gates on qubits, by name."""
    found = {}
    for module in (qml, qml.ops):
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if issubclass(cls, Operation) and cls.__module__.startswith(MODULES):
                found[cls.__name__] = cls
    return found


# Why a gate is not drawn.
LEFT_OUT = {"QubitDensityMatrix": "a mixed state, which default.qubit does not prepare"}


def angles_only(cls: type[Operation]) -> bool:
    """Return whether a gate's parameters are angles and its number of wires is known."""
    if not isinstance(cls.num_params, int) or not isinstance(cls.num_wires, int):
        return False
    return not cls.num_params or not any(cls.ndim_params)


NAMED = named_gates()
ORDINARY = {name: cls for name, cls in NAMED.items() if angles_only(cls)}


FIXED = [cls for cls in ORDINARY.values() if not cls.num_params]
TURNS = [cls for cls in ORDINARY.values() if cls.num_params]
REAL = (qml.SingleExcitation, qml.DoubleExcitation, qml.OrbitalRotation)  # matrices


def drawn_class(draw: Draw, wires: Sequence, among: Sequence | None = None) -> type[Operation]:
    """Return the class of a gate that fits, as often with angles as without."""
    among = among or draw.one((FIXED, TURNS))
    return draw.one([cls for cls in among if cls.num_wires <= len(wires)])


def ordinary(
    draw: Draw, wires: Sequence, cls: type[Operation] | None = None, batched: bool | None = None
) -> Gate:
    """Return a gate of fixed size with angles as parameters."""
    cls = cls or drawn_class(draw, wires)
    batched = batched if draw.batch is not None else False
    angles = [draw.angle(batched) for _ in range(cls.num_params)]
    if len(angles) > 1:
        angles = [draw.argument(draw.chance(0.4) if batched is None else batched) for _ in angles]
    if cls is qml.IsingXY:
        angles = [draw.argument(False)]
    on = draw.some(wires, cls.num_wires)
    if cls.__name__ == "Elbow":
        values = [bool(b) for b in draw.rng.integers(0, 2, 2)]
        return lambda arguments: cls(wires=on, control_values=values)
    return lambda arguments: cls(*(angle(arguments) for angle in angles), wires=on)


def unitary(draw: Draw, size: int) -> Number:
    """Return a unitary matrix: a constant, one for every entry of the batch, or computed."""
    kind = draw.one(("constant", "tensor", "computed", "computed"))
    if kind != "computed":
        shape = (draw.batch,) if draw.batch is not None and draw.chance(0.4) else ()
        matrix = np.linalg.qr(draw.rng.normal(size=(*shape, size, size, 2)) @ (1, 1j))[0]
        if kind == "constant":
            matrix = matrix[0] if draw.batch == 1 and shape else matrix
            return lambda arguments: matrix
        return _constant(draw.rounded(matrix.real) + 1j * draw.rounded(matrix.imag))
    levels, vectors = np.linalg.eigh(_hermitian(draw, size))
    angle = draw.argument(draw.batch is not None and draw.chance(0.4))

    def computed(arguments: Arguments) -> Tensor:
        x = torch.as_tensor(angle(arguments))
        basis = torch.as_tensor(vectors).to(x.dtype.to_complex())
        phases = torch.exp(1j * x[..., None] * torch.as_tensor(levels, dtype=x.dtype))
        return (basis * phases[..., None, :]) @ basis.mH

    return computed


def _hermitian(draw: Draw, size: int) -> np.ndarray:
    matrix = draw.rng.normal(size=(size, size, 2)) @ (1, 1j)
    return (matrix + matrix.conj().T) / 2


def matrix_gate(draw: Draw, wires: Sequence) -> Gate:
    """Return a gate given by its matrix."""
    n = int(draw.rng.integers(1, min(3, len(wires)) + 1))
    on, matrix = draw.some(wires, n), unitary(draw, 2**n)
    controls = min(len(wires) - n, int(draw.rng.integers(0, 3)))
    if controls and draw.chance(0.5):
        every = draw.some(wires, n + controls)
        bits = draw.rng.integers(0, 2, controls).tolist()
        return lambda arguments: qml.ControlledQubitUnitary(
            matrix(arguments), wires=every, control_values=bits
        )
    if draw.chance(0.6):
        return lambda arguments: qml.QubitUnitary(matrix(arguments), wires=on)
    if n > 1 and draw.chance(0.2):
        block = draw.rng.uniform(-0.3, 0.3, (2 ** (n - 1), 2 ** (n - 1)))
        return lambda arguments: qml.BlockEncode(block, wires=on)
    levels = draw.real(2**n)
    angle = draw.angle()

    def diagonal(arguments: Arguments) -> Operation:
        x = angle(arguments)
        x = x if isinstance(x, Tensor) else torch.tensor(x, dtype=torch.float64)
        phases = torch.exp(1j * x[..., None] * torch.as_tensor(levels, dtype=x.dtype))
        return qml.DiagonalQubitUnitary(phases, wires=on)

    return diagonal


def sized(draw: Draw, wires: Sequence) -> Gate:
    """Return a gate that acts on as many wires as it is given."""
    n = int(draw.rng.integers(1, min(5, len(wires)) + 1))
    on, angle = draw.some(wires, n), draw.angle()
    letters = "".join(draw.one("XYZ" if draw.batch == 1 else "IXYZ") for _ in on)
    bits = draw.rng.integers(0, 2, n - 1).tolist()
    dimension = int(draw.rng.integers(1, 2**n + 1))
    moved = draw.some(on, n)
    kinds: list[Gate] = [
        lambda arguments: qml.PauliRot(angle(arguments), letters, wires=on),
        lambda arguments: qml.MultiRZ(angle(arguments), wires=on),
        lambda arguments: qml.GlobalPhase(angle(arguments), wires=on),
        lambda arguments: qml.PCPhase(angle(arguments), dim=dimension, wires=on),
        lambda arguments: qml.QFT(wires=on),
        lambda arguments: qml.Barrier(wires=on),
        lambda arguments: qml.Identity(wires=on),
    ]
    if n > 1:
        kinds += [
            lambda arguments: qml.MultiControlledX(wires=on, control_values=bits),
            lambda arguments: qml.IntegerComparator(dimension % 2 ** (n - 1), wires=on),
            lambda arguments: qml.GroverOperator(wires=on),
            lambda arguments: qml.Permute(moved, wires=on),
            lambda arguments: qml.FlipSign([*bits, 1], wires=on),
        ]
    if n <= 2:
        angles = draw.real(4**n - 1)
        kinds.append(lambda arguments: qml.SpecialUnitary(_constant(angles)(arguments), wires=on))
    return draw.one(kinds)


def template(draw: Draw, wires: Sequence) -> Gate:
    """Return several gates under one name."""
    n = int(draw.rng.integers(1, min(4, len(wires)) + 1))
    on = draw.some(wires, n)
    features, turns = draw.vector(n), draw.one("XYZ")
    weights = draw.real(2, n, 3)
    kinds: list[Gate] = [
        lambda arguments: qml.AngleEmbedding(features(arguments), wires=on, rotation=turns),
        lambda arguments: qml.IQPEmbedding(features(arguments), wires=on),
    ]
    if n > 1:
        kinds += [
            lambda arguments: qml.StronglyEntanglingLayers(_constant(weights)(arguments), wires=on),
            lambda arguments: qml.BasicEntanglerLayers(
                _constant(weights[..., 0])(arguments), wires=on
            ),
        ]
    return draw.one(kinds)


def turned(draw: Draw, wires: Sequence) -> Gate:
    """Return the adjoint of a gate."""
    lazy = draw.chance(0.6)
    with draw.nested():
        inner = gate(draw, wires, modified=draw.chance(0.2))
    return lambda arguments: qml.adjoint(inner(arguments), lazy=lazy)


def controlled(draw: Draw, wires: Sequence) -> Gate:
    """Return a gate with one to four controls."""
    if len(wires) < 2:
        return gate(draw, wires)
    controls = int(draw.rng.integers(1, min(4, len(wires) - 1) + 1))
    shuffled = draw.some(wires, len(wires))
    with draw.nested():
        inner = gate(draw, shuffled[controls:], modified=draw.chance(0.2))
    bits = draw.rng.integers(0, 2, controls).tolist()
    return lambda arguments: qml.ctrl(
        inner(arguments), control=shuffled[:controls], control_values=bits
    )


def powered(draw: Draw, wires: Sequence) -> Gate:
    """Return a power of a gate."""
    cls, lazy = drawn_class(draw, wires), draw.chance(0.6)
    roots = has_roots(cls) and not (draw.inside and cls.num_params)
    exponent = draw.one(EXPONENTS if roots else (1, 2, 3))
    inner = ordinary(draw, wires, cls)
    if draw.chance(0.25) and draw.batch != 1:
        inner, exponent = matrix_gate(draw, wires), draw.one((1, 2, 3))
    return lambda arguments: qml.pow(inner(arguments), exponent, lazy=lazy)


EXPONENTS = (-2, -1, 1, 2, 3, 0.5, 1.7)


@functools.cache
def has_roots(cls: type[Operation]) -> bool:
    """Return whether every power of a gate is defined: by a rule, or by its constant matrix."""
    if not cls.num_params:
        return True
    try:
        return bool(cls(*[0.3] * cls.num_params, wires=range(cls.num_wires)).pow(0.5))
    except PowUndefinedError:
        return False


def product(draw: Draw, wires: Sequence) -> Gate:
    """Return a product of two gates, or the exponential of a sum of words."""
    if draw.chance(0.5):
        batched = False if draw.batch == 1 else None
        kinds = draw.one((FIXED, [cls for cls in TURNS if cls not in REAL]))
        classes = [drawn_class(draw, wires, kinds) for _ in range(2)]
        parts = [ordinary(draw, wires, cls, batched) for cls in classes]
        return lambda arguments: qml.prod(*(part(arguments) for part in parts))
    words = [word(draw, wires) for _ in range(2)]
    scale = draw.real(2)
    angle = draw.argument(False)
    return lambda arguments: qml.exp(
        qml.dot(scale.tolist(), [word() for word in words]), 1j * angle(arguments)
    )


SIMPLE = (ordinary, ordinary, ordinary, sized, matrix_gate)
MODIFIED = (turned, controlled, powered)


def gate(draw: Draw, wires: Sequence, modified: bool | None = None) -> Gate:
    """Return any gate on some of the wires."""
    if modified is None:
        modified = draw.chance(0.35)
    return draw.one(MODIFIED if modified else SIMPLE)(draw, wires)


def preparation(draw: Draw) -> Gate:
    """Return the preparation of a state on some wires."""
    n = int(draw.rng.integers(1, min(4, len(draw.labels)) + 1))
    on = draw.some(draw.labels, n)
    kind = draw.one(("basis", "constant", "features", "padded"))
    if kind == "basis":
        bits = draw.rng.integers(0, 2, n).tolist()
        return lambda arguments: qml.BasisState(bits, wires=on)
    if kind == "constant":
        shape = (draw.batch,) if draw.batch not in (None, 1) and draw.chance(0.4) else ()
        amplitudes = draw.complex(*shape, 2**n)
        amplitudes /= np.linalg.norm(amplitudes, axis=-1, keepdims=True)
        return lambda arguments: qml.StatePrep(amplitudes, wires=on)
    if kind == "features":
        features = draw.vector(2**n)
        return lambda arguments: qml.AmplitudeEmbedding(
            features(arguments), wires=on, normalize=True
        )
    features = draw.vector(int(draw.rng.integers(1, 2**n + 1)))
    return lambda arguments: qml.AmplitudeEmbedding(
        features(arguments), wires=on, normalize=True, pad_with=0.5
    )


# -- measurements ----------------------------------------------------------------------------------


def word(draw: Draw, wires: Sequence) -> Callable:
    """Return a Pauli word."""
    on = draw.some(wires, int(draw.rng.integers(1, min(3, len(wires)) + 1)))
    letters = [draw.one((qml.X, qml.Y, qml.Z)) for _ in on]
    return lambda: qml.prod(*(letter(w) for letter, w in zip(letters, on, strict=True)))


def observable(draw: Draw, left_out: Sequence[str] = ()) -> Callable:
    """Return an observable: word, sum, matrix, projector, or a product of such."""
    wires = draw.labels
    n = int(draw.rng.integers(1, min(2, len(wires)) + 1))
    on = draw.some(wires, n)
    kind = draw.one(("word", "word", "sum", "linear", "matrix", "bits", "vector", "H", "product"))
    kind = "word" if kind in left_out else kind
    if kind == "sum":
        words = [word(draw, wires) for _ in range(int(draw.rng.integers(1, 5)))]
        scale = draw.real(len(words)).tolist()
        return lambda arguments: qml.Hamiltonian(scale, [one() for one in words])
    if kind == "linear":
        words, scale = [word(draw, wires) for _ in range(2)], draw.argument(False)
        return lambda arguments: scale(arguments) * words[0]() + words[1]()
    if kind == "matrix":
        matrix = _hermitian(draw, 2**n)
        return lambda arguments: qml.Hermitian(matrix, wires=on)
    if kind == "bits":
        bits = draw.rng.integers(0, 2, n).tolist()
        return lambda arguments: qml.Projector(bits, wires=on)
    if kind == "vector":
        amplitudes = draw.complex(2**n)
        amplitudes /= np.linalg.norm(amplitudes)
        return lambda arguments: qml.Projector(amplitudes, wires=on)
    if kind == "H":
        return lambda arguments: qml.Hadamard(on[0])
    if kind == "product" and len(wires) > 1:
        matrix, other = _hermitian(draw, 2), draw.some(wires, 2)
        return lambda arguments: qml.Hermitian(matrix, wires=other[0]) @ qml.Y(other[1])
    one = word(draw, wires)
    return lambda arguments: one()


def measurement(draw: Draw) -> Callable:
    """Return an exact measurement."""
    wires = draw.labels
    part = draw.some(wires, int(draw.rng.integers(1, len(wires) + 1)))
    seen, plain = observable(draw), observable(draw, ["linear"])
    split = observable(draw, ["linear", "sum"])
    base = draw.one((None, 2, 10))
    kinds: list[Callable] = [
        *[lambda arguments: qml.expval(seen(arguments))] * 4,
        lambda arguments: qml.var(plain(arguments)),
        lambda arguments: qml.probs(wires=part),
        lambda arguments: qml.probs(),
        lambda arguments: qml.probs(op=split(arguments)),
        lambda arguments: qml.state(),
        lambda arguments: qml.density_matrix(wires=part),
        lambda arguments: qml.purity(wires=part),
        lambda arguments: qml.vn_entropy(wires=part, log_base=base),
    ]
    if len(part) > 1:
        cut = int(draw.rng.integers(1, len(part)))
        kinds.append(
            lambda arguments: qml.mutual_info(wires0=part[:cut], wires1=part[cut:], log_base=base)
        )
    return draw.one(kinds)


# -- circuits --------------------------------------------------------------------------------------


def draw(number: int, seed: int = SEED) -> Circuit:
    """Return circuit ``number``."""
    rng = np.random.default_rng([seed, number])
    n = int(rng.integers(1, 7))
    numbered = rng.random() < 0.5
    labels = list(range(n)) if numbered else [LABELS[i] for i in rng.permutation(len(LABELS))[:n]]
    batch = (None, None, 1, 3, 3)[rng.integers(5)]
    made = Draw(rng, labels, batch, bool(rng.random() < 0.4), bool(rng.random() < 0.5))
    gates = [preparation(made)] if made.chance(0.25) else []
    for _ in range(int(rng.integers(1, 11))):
        kind = rng.random()
        maker = product if kind < 0.05 else template if kind < 0.1 else gate
        gates.append(maker(made, labels))
    wires = _device_wires(made)
    if wires is None:
        gates.append(lambda arguments: qml.Identity(wires=labels))
    measured = [measurement(made) for _ in range(int(made.one((1, 1, 2, 3))))]
    arguments, parts = made.finished()

    def with_parts(function: Callable) -> Callable:
        return lambda arguments: function(parts(arguments))

    return Circuit(
        number,
        wires,
        made.single,
        arguments,
        tuple(map(with_parts, gates)),
        tuple(map(with_parts, measured)),
        None if len(measured) == 1 and made.chance(0.8) else made.one((list, tuple)),
    )


def _device_wires(draw: Draw) -> tuple | None:
    """Return the labels of a device: none, those of the circuit, or some more, in any order."""
    if draw.chance(0.25):
        return None
    others = [label for label in LABELS if label not in draw.labels]
    more = draw.some(others, 1 if draw.chance(0.25) else 0)
    return tuple(draw.some([*draw.labels, *more], len(draw.labels) + len(more)))
