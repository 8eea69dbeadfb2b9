"""The circuits of the task as PennyLane quantum functions; vertex i is wire i.

A token (i, link) asks for the outcome of K = X_i times one phase -1 per set of its link: a set
stands for the vertices that must all be 1. Links never contain i.
"""

import pennylane as qml

ANCILLA = "a"


def phase(wires, angle=None):
    """Turn the phase of |1...1> of the wires: by -1 (Z, CZ, CCZ, ...), or by exp(i angle).

    An angle may be a batch.
    """
    *controls, last = wires
    if angle is None and len(wires) in (2, 3):
        return (qml.CZ if len(wires) == 2 else qml.CCZ)(wires=wires)
    gate = qml.Z(last) if angle is None else qml.PhaseShift(angle, wires=last)
    return qml.ctrl(gate, control=controls) if controls else gate


def prepare(n, edges=(), signs=()):
    """Prepare the signed hypergraph state of n vertices from |0...0>: |+>^n without edges."""
    for wire in range(n):
        qml.Hadamard(wire)
    for edge in edges:
        phase(edge)
    for wire, sign in enumerate(signs):
        if sign:
            qml.Z(wire)


def generator(i, link):
    """Return a token's operator K, X_i times the phases of its link, for ``qml.expval``."""
    factors = [_phase_operator(sorted(vertices)) for vertices in link]
    return qml.prod(qml.X(i), *factors) if factors else qml.X(i)


def _phase_operator(wires):
    with qml.QueuingManager.stop_recording():
        return phase(wires)


def start(i):
    """Open a cell: the ancilla's superposition decides whether vertex i is flipped."""
    qml.Hadamard(ANCILLA)
    qml.CNOT(wires=(ANCILLA, i))


def edge(vertices, angle=None):
    """Take one set of the link into the cell: a gate on k wires."""
    phase([ANCILLA, *vertices], angle)


def read(postselect=None):
    """Close the cell: return the outcome (0 for eigenvalue +1) and free the ancilla.

    ``postselect`` keeps the runs with this outcome only.
    """
    qml.Hadamard(ANCILLA)
    return qml.measure(ANCILLA, reset=True, postselect=postselect)


def cell(i, link, angles=None, postselect=None):
    """Answer one token: the unit cell, |link| + 4 operations, each on at most k wires.

    Args:
        i: the flipped vertex.
        link: sets of k - 1 other vertices.
        angles: one trainable phase per set; -1 each (angle pi) by default.
        postselect: keep runs with this outcome only.

    Returns:
        The outcome of measuring the ancilla.
    """
    start(i)
    for number, vertices in enumerate(link):
        edge(vertices, None if angles is None else angles[..., number])
    return read(postselect)


def translate(tokens, n, edges=(), signs=(), angles=None):
    """Answer a sequence of tokens (i, link): the probabilities of all strings of outcomes.

    The first token's outcome is the most significant bit. Starts in |+>^n, or in the given signed
    hypergraph state. ``angles`` holds one (..., |link|) of trainable phases per token.
    """
    prepare(n, edges, signs)
    phases = [None] * len(tokens) if angles is None else angles
    pairs = zip(tokens, phases, strict=True)
    return qml.probs(op=[cell(i, link, phase) for (i, link), phase in pairs])


def memory(tokens, outcomes, n):
    """Return the memory's basis probabilities after tokens whose outcomes were the given ones."""
    prepare(n)
    for (i, link), outcome in zip(tokens, outcomes, strict=True):
        cell(i, link, postselect=outcome)
    return qml.probs(wires=range(n))


def qnode(circuit, device="default.qubit") -> qml.QNode:
    """Return a circuit of this module as a QNode; ``device`` is a name or a device."""
    return qml.QNode(circuit, qml.device(device) if isinstance(device, str) else device)
