"""The quantum convolutional network as PennyLane quantum functions.

Source: sky-born/QCNN_transfer_learning at 7e5a792, QOSF/unitary.py (blocks), QOSF/embedding.py
lines 10-14 (encodings), QOSF/QCNN_circuit.py lines 8-59 (layout). Every block acts on two wires a
and b and takes its angles p in gate order; ``_R`` blocks of unitary.py are the same gates.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import pennylane as qml
from pennylane.measurements import ExpectationMP, ProbabilityMP
from pennylane.operation import Operation
from torch import Tensor

from ...base.errors import require_choice

WIRES = 8
MEASURED = 4

Angles = Sequence[Any]  # numbers, or batches of them
Wire = int | str
Block = tuple[tuple[str, str], ...]  # name of a gate, and the wires it acts on, controls first


def _controlled_u3(*p: Any, wires: Sequence[Wire]) -> None:
    control, target = wires
    qml.ctrl(qml.U3(*p, wires=target), control=control)


# Name: (gate, its number of angles).
GATES: dict[str, tuple[Callable[..., object], int]] = {
    **{"H": (qml.Hadamard, 0), "X": (qml.PauliX, 0)},
    **{name: (getattr(qml, name), 0) for name in ("CZ", "CNOT")},
    **{name: (getattr(qml, name), 1) for name in ("RX", "RY", "RZ", "CRX", "CRZ")},
    "U3": (qml.U3, 3),
    "CU3": (_controlled_u3, 3),
}


def _block(gates: str) -> Block:
    """Read gates like ``RY:a CNOT:ab``."""
    pairs = (gate.split(":") for gate in gates.split())
    return tuple((name, wires) for name, wires in pairs)


def _apply(block: Block, p: Angles, a: Wire, b: Wire) -> None:
    """Apply a block to two wires; its gates take the angles in turn."""
    named, remaining = {"a": a, "b": b}, iter(p)
    for name, wires in block:
        gate, size = GATES[name]
        gate(*islice(remaining, size), wires=[named[wire] for wire in wires])


# What is left of the gates on two wires: all of them, or local ones alone. ``uncontrolled`` makes
# each controlled rotation one of its target and deletes the fixed gates, ``removed`` deletes both.
GATE_SETS = ("all", "uncontrolled", "removed")
UNCONTROLLED = {"CRX": "RX", "CRZ": "RZ", "CU3": "U3"}

# Index in the paper: (name in the code, number of angles, block).
CONVOLUTIONS: dict[int, tuple[str, int, Block]] = {
    1: ("Con_Z", 0, _block("CZ:ab")),
    2: ("U_TTN", 2, _block("RY:a RY:b CNOT:ab")),
    3: ("U_9", 2, _block("H:a H:b CZ:ab RX:a RX:b")),
    4: ("U_15", 4, _block("RY:a RY:b CNOT:ba RY:a RY:b CNOT:ab")),
    5: ("U_13", 6, _block("RY:a RY:b CRZ:ba RY:a RY:b CRZ:ab")),
    6: ("U_14", 6, _block("RY:a RY:b CRX:ba RY:a RY:b CRX:ab")),
    7: ("U_SO4", 6, _block("RY:a RY:b CNOT:ab RY:a RY:b CNOT:ab RY:a RY:b")),
    8: ("U_5", 10, _block("RX:a RX:b RZ:a RZ:b CRZ:ba CRZ:ab RX:a RX:b RZ:a RZ:b")),
    9: ("U_6", 10, _block("RX:a RX:b RZ:a RZ:b CRX:ba CRX:ab RX:a RX:b RZ:a RZ:b")),
    10: ("U_SU4", 15, _block("U3:a U3:b CNOT:ab RY:a RZ:b CNOT:ba RY:a CNOT:ab U3:a U3:b")),
    11: ("U_ansatz_10", 9, _block("U3:a CU3:ab X:a CU3:ab X:a")),
}

# Pooling blocks act on (discarded, kept). ``general`` applies to the kept wire one unitary if the
# other is 1 and another if it is 0. With ``none`` the wire is just not used again.
POOLINGS: dict[str, tuple[int, Block]] = {
    "zx": (2, _block("CRZ:ab X:a CRX:ab")),
    "general": (6, _block("CU3:ab X:a CU3:ab")),
    "none": (0, ()),
}

# Per layer: pairs of the convolution in order (the pair that closes the ring comes first), and
# pairs (discarded, kept) of the pooling.
LAYERS = (
    (
        ((0, 7), (0, 1), (2, 3), (4, 5), (6, 7), (1, 2), (3, 4), (5, 6)),
        ((1, 0), (3, 2), (5, 4), (7, 6)),
    ),
    (((0, 6), (0, 2), (4, 6), (2, 4)), ((2, 0), (6, 4))),
    (((0, 4),), ((0, 4),)),
)

ENCODINGS = ("amplitude", "angle")


def blocks(ansatz_index: int, pooling: str, gates: str = "all") -> tuple[Block, Block]:
    """Return a convolution and a pooling block with these of their gates on two wires.

    Raises:
        UsageError: if the ansatz, the pooling or the set of gates is not known.
    """
    require_choice("ansatz_index", ansatz_index, CONVOLUTIONS)
    require_choice("pooling", pooling, POOLINGS)
    require_choice("gates", gates, GATE_SETS)
    convolution, pool = CONVOLUTIONS[ansatz_index][2], POOLINGS[pooling][1]
    return _kept(convolution, gates), _kept(pool, gates)


def _kept(block: Block, gates: str) -> Block:
    if gates == "all":
        return block
    named = {name: name for name, wires in block if len(wires) == 1}
    if gates == "uncontrolled":
        named |= UNCONTROLLED
    return tuple((named[name], wires[-1]) for name, wires in block if name in named)


def block_sizes(ansatz_index: int, pooling: str, gates: str = "all") -> tuple[int, int]:
    """Return the numbers of angles of a convolution and of a pooling block; errors as `blocks`."""
    convolution, pool = blocks(ansatz_index, pooling, gates)
    return sum(GATES[name][1] for name, _ in convolution), sum(GATES[name][1] for name, _ in pool)


def count_params(ansatz_index: int, pooling: str, gates: str = "all") -> int:
    """Return the number of trainable angles: one block of each sort per layer."""
    return len(LAYERS) * sum(block_sizes(ansatz_index, pooling, gates))


def encode(features: Tensor, encoding: str) -> None:
    """Load features: (..., 256) amplitudes, normalised here, or (..., 8) angles of RY rotations.

    Raises:
        UsageError: if the encoding is not known.
    """
    require_choice("encoding", encoding, ENCODINGS)
    if encoding == "amplitude":
        qml.AmplitudeEmbedding(features, wires=range(WIRES), normalize=True)
        return
    for wire in range(WIRES):
        qml.RY(features[..., wire], wires=wire)


def network(params: Tensor, ansatz_index: int, pooling: str, gates: str = "all") -> None:
    """Apply the three layers of convolution and pooling; arguments as in `qcnn`, `local`."""
    n_conv, n_pool = block_sizes(ansatz_index, pooling, gates)
    wanted = count_params(ansatz_index, pooling, gates)
    if params.shape[-1] != wanted:
        raise ValueError(
            f"params must hold {wanted} angles for ansatz {ansatz_index} with pooling "
            f"{pooling!r}, not {params.shape[-1]}."
        )
    p = [params[..., i] for i in range(wanted)]
    convolution, pool = blocks(ansatz_index, pooling, gates)
    pool_start = len(LAYERS) * n_conv
    for layer, (conv_pairs, pool_pairs) in enumerate(LAYERS):
        for pair in conv_pairs:
            _apply(convolution, p[layer * n_conv : (layer + 1) * n_conv], *pair)
        start = pool_start + layer * n_pool
        for pair in pool_pairs:
            _apply(pool, p[start : start + n_pool], *pair)


def qcnn(
    features: Tensor,
    params: Tensor,
    ansatz_index: int = 10,
    pooling: str = "general",
    encoding: str = "amplitude",
) -> ProbabilityMP:
    """Classify features by the quantum convolutional network.

    Args:
        features: (..., 256) numbers for ``amplitude`` or (..., 8) radians for ``angle``.
        params: (..., 3n + 3k) angles: convolutions of layers 1, 2, 3 (n each, in gate order), then
            poolings of layers 1, 2, 3 (k each). Leading axes of both arguments are PennyLane's
            broadcast axis; either may have none.
        ansatz_index: 1..11, the paper's number of the convolution block.
        pooling: ``zx``, ``general`` or ``none``.
        encoding: ``amplitude`` or ``angle``.

    Returns:
        Probabilities of the two outcomes of wire 4, which stand for labels 0 and 1.

    Raises:
        UsageError: if ansatz, pooling or encoding is not known.
        ValueError: if the number of angles in ``params`` does not fit.
    """
    encode(features, encoding)
    network(params, ansatz_index, pooling)
    return qml.probs(wires=MEASURED)


def local(
    features: Tensor,
    params: Tensor,
    ansatz_index: int = 10,
    pooling: str = "general",
    gates: str = "uncontrolled",
) -> tuple[ExpectationMP, ...]:
    """Apply the network without its gates on two wires, and read every wire.

    The control *local gates*. A wire's Z sees the gates of this wire alone, so that one wire would
    see an eighth of the network. The amplitudes are entangled before any gate.

    Args:
        features: (..., 256) numbers, encoded as amplitudes.
        params: (..., P) angles in the order of `qcnn`, those of deleted gates left out.
        ansatz_index, pooling: as in `qcnn`.
        gates: ``uncontrolled`` or ``removed`` (`GATE_SETS`).

    Returns:
        Expectations of Z of the eight wires.

    Raises:
        UsageError, ValueError: as `qcnn`.
    """
    encode(features, "amplitude")
    network(params, ansatz_index, pooling, gates)
    return tuple(qml.expval(qml.PauliZ(wire)) for wire in range(WIRES))


def layout() -> ProbabilityMP:
    """Place the blocks of `network` as boxes, for drawing: U convolves, V pools, by layer."""
    for layer, (conv_pairs, pool_pairs) in enumerate(LAYERS, start=1):
        for letter, pairs in (("U", conv_pairs), ("V", pool_pairs)):
            box = type(f"{letter}{layer}", (Operation,), {"num_wires": 2, "num_params": 0})
            for pair in pairs:
                box(wires=pair)
    return qml.probs(wires=MEASURED)


def sketch(block: int | str) -> Callable[[Angles], None]:
    """Return one block as a quantum function of its angles on wires a and b, for drawing.

    Args:
        block: number of a convolution, or name of a pooling (a is discarded, b kept).
    """
    gates = CONVOLUTIONS[block][2] if isinstance(block, int) else POOLINGS[block][1]
    return lambda params: _apply(gates, params, "a", "b")
