"""The quantum convolutional network as PennyLane quantum functions.

Source: sky-born/QCNN_transfer_learning at 7e5a792, QOSF/unitary.py (blocks), QOSF/embedding.py
lines 10-14 (encodings), QOSF/QCNN_circuit.py lines 8-59 (layout). Every block acts on two wires a
and b and takes its angles p in gate order; ``_R`` blocks of unitary.py are the same gates.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pennylane as qml
from pennylane.measurements import ProbabilityMP
from pennylane.operation import Operation
from torch import Tensor

from ...base.errors import choose

WIRES = 8
MEASURED = 4

Angles = Sequence[Any]  # numbers, or batches of them
Wire = int | str
Block = Callable[[Angles, Wire, Wire], None]


def _con_z(p: Angles, a: Wire, b: Wire) -> None:
    qml.CZ(wires=(a, b))


def _ttn(p: Angles, a: Wire, b: Wire) -> None:
    qml.RY(p[0], wires=a)
    qml.RY(p[1], wires=b)
    qml.CNOT(wires=(a, b))


def _u9(p: Angles, a: Wire, b: Wire) -> None:
    qml.Hadamard(wires=a)
    qml.Hadamard(wires=b)
    qml.CZ(wires=(a, b))
    qml.RX(p[0], wires=a)
    qml.RX(p[1], wires=b)


def _u15(p: Angles, a: Wire, b: Wire) -> None:
    qml.RY(p[0], wires=a)
    qml.RY(p[1], wires=b)
    qml.CNOT(wires=(b, a))
    qml.RY(p[2], wires=a)
    qml.RY(p[3], wires=b)
    qml.CNOT(wires=(a, b))


def _u13(p: Angles, a: Wire, b: Wire, controlled: type[Operation] = qml.CRZ) -> None:
    qml.RY(p[0], wires=a)
    qml.RY(p[1], wires=b)
    controlled(p[2], wires=(b, a))
    qml.RY(p[3], wires=a)
    qml.RY(p[4], wires=b)
    controlled(p[5], wires=(a, b))


def _u14(p: Angles, a: Wire, b: Wire) -> None:
    _u13(p, a, b, qml.CRX)


def _so4(p: Angles, a: Wire, b: Wire) -> None:
    for i in (0, 2):
        qml.RY(p[i], wires=a)
        qml.RY(p[i + 1], wires=b)
        qml.CNOT(wires=(a, b))
    qml.RY(p[4], wires=a)
    qml.RY(p[5], wires=b)


def _u5(p: Angles, a: Wire, b: Wire, controlled: type[Operation] = qml.CRZ) -> None:
    qml.RX(p[0], wires=a)
    qml.RX(p[1], wires=b)
    qml.RZ(p[2], wires=a)
    qml.RZ(p[3], wires=b)
    controlled(p[4], wires=(b, a))
    controlled(p[5], wires=(a, b))
    qml.RX(p[6], wires=a)
    qml.RX(p[7], wires=b)
    qml.RZ(p[8], wires=a)
    qml.RZ(p[9], wires=b)


def _u6(p: Angles, a: Wire, b: Wire) -> None:
    _u5(p, a, b, qml.CRX)


def _su4(p: Angles, a: Wire, b: Wire) -> None:
    qml.U3(*p[0:3], wires=a)
    qml.U3(*p[3:6], wires=b)
    qml.CNOT(wires=(a, b))
    qml.RY(p[6], wires=a)
    qml.RZ(p[7], wires=b)
    qml.CNOT(wires=(b, a))
    qml.RY(p[8], wires=a)
    qml.CNOT(wires=(a, b))
    qml.U3(*p[9:12], wires=a)
    qml.U3(*p[12:15], wires=b)


def _controlled_u3(p: Angles, a: Wire, b: Wire) -> None:
    """Apply to b one unitary if a is 1 and another if a is 0; a is left flipped."""
    qml.ctrl(qml.U3(*p[0:3], wires=b), control=a)
    qml.PauliX(wires=a)
    qml.ctrl(qml.U3(*p[3:6], wires=b), control=a)


def _ansatz_10(p: Angles, a: Wire, b: Wire) -> None:
    qml.U3(*p[0:3], wires=a)
    _controlled_u3(p[3:9], a, b)
    qml.PauliX(wires=a)


def _zx(p: Angles, a: Wire, b: Wire) -> None:
    qml.CRZ(p[0], wires=(a, b))
    qml.PauliX(wires=a)
    qml.CRX(p[1], wires=(a, b))


# Index in the paper: (name in the code, number of angles, block).
CONVOLUTIONS: dict[int, tuple[str, int, Block]] = {
    1: ("Con_Z", 0, _con_z),
    2: ("U_TTN", 2, _ttn),
    3: ("U_9", 2, _u9),
    4: ("U_15", 4, _u15),
    5: ("U_13", 6, _u13),
    6: ("U_14", 6, _u14),
    7: ("U_SO4", 6, _so4),
    8: ("U_5", 10, _u5),
    9: ("U_6", 10, _u6),
    10: ("U_SU4", 15, _su4),
    11: ("U_ansatz_10", 9, _ansatz_10),
}

# Pooling blocks act on (discarded, kept). With ``none`` the wire is just not used again.
POOLINGS: dict[str, tuple[int, Block | None]] = {
    "zx": (2, _zx),
    "general": (6, _controlled_u3),
    "none": (0, None),
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


def block_sizes(ansatz_index: int, pooling: str) -> tuple[int, int]:
    """Return the numbers of angles of a convolution and of a pooling block.

    Raises:
        UsageError: if the ansatz or the pooling is not known.
    """
    if ansatz_index not in CONVOLUTIONS:
        raise choose("ansatz_index", ansatz_index, CONVOLUTIONS)
    if pooling not in POOLINGS:
        raise choose("pooling", pooling, POOLINGS)
    return CONVOLUTIONS[ansatz_index][1], POOLINGS[pooling][0]


def count_params(ansatz_index: int, pooling: str) -> int:
    """Return the number of trainable angles: one block of each sort per layer."""
    return len(LAYERS) * sum(block_sizes(ansatz_index, pooling))


def encode(features: Tensor, encoding: str) -> None:
    """Load features: (..., 256) amplitudes, normalised here, or (..., 8) angles of RY rotations.

    Raises:
        UsageError: if the encoding is not known.
    """
    if encoding not in ENCODINGS:
        raise choose("encoding", encoding, ENCODINGS)
    if encoding == "amplitude":
        qml.AmplitudeEmbedding(features, wires=range(WIRES), normalize=True)
        return
    for wire in range(WIRES):
        qml.RY(features[..., wire], wires=wire)


def network(params: Tensor, ansatz_index: int, pooling: str) -> None:
    """Apply the three layers of convolution and pooling; arguments as in `qcnn`."""
    n_conv, n_pool = block_sizes(ansatz_index, pooling)
    wanted = count_params(ansatz_index, pooling)
    if params.shape[-1] != wanted:
        raise ValueError(
            f"params must hold {wanted} angles for ansatz {ansatz_index} with pooling "
            f"{pooling!r}, not {params.shape[-1]}."
        )
    p = [params[..., i] for i in range(wanted)]
    convolution, pool = CONVOLUTIONS[ansatz_index][2], POOLINGS[pooling][1]
    pool_start = len(LAYERS) * n_conv
    for layer, (conv_pairs, pool_pairs) in enumerate(LAYERS):
        for pair in conv_pairs:
            convolution(p[layer * n_conv : (layer + 1) * n_conv], *pair)
        start = pool_start + layer * n_pool
        for pair in pool_pairs:
            if pool:
                pool(p[start : start + n_pool], *pair)


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


class Box(Operation):
    """A named two-wire box that stands for a block in a drawing."""

    num_wires = 2
    num_params = 0

    def __init__(self, name: str, wires: Sequence[int]) -> None:
        """Remember the name that is drawn."""
        super().__init__(wires=wires)
        self.hyperparameters["name"] = name

    def label(self, decimals: Any = None, base_label: Any = None, cache: Any = None) -> str:
        """Return the name."""
        return self.hyperparameters["name"]


def layout() -> ProbabilityMP:
    """Place the blocks of `network` as boxes, for drawing: U convolves, V pools, by layer."""
    for layer, (conv_pairs, pool_pairs) in enumerate(LAYERS, start=1):
        for pair in conv_pairs:
            Box(f"U{layer}", wires=pair)
        for pair in pool_pairs:
            Box(f"V{layer}", wires=pair)
    return qml.probs(wires=MEASURED)


def sketch(block: int | str) -> Callable[[Angles], None]:
    """Return one block as a quantum function of its angles on wires a and b, for drawing.

    Args:
        block: number of a convolution, or name of a pooling (a is discarded, b kept).
    """
    apply = CONVOLUTIONS[block][2] if isinstance(block, int) else POOLINGS[block][1]
    return lambda params: apply(params, "a", "b") if apply else None
