"""The cell on a noisy simulator: one ancilla, measured and reset in the middle of the circuit.

Qiskit Aer runs the circuit of `circuits.translate` shot by shot. (`qmlbook.backends` postpones
measurements to the end, with a qubit for each; here the one ancilla must be used again.)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pennylane as qml
import torch
from torch import Tensor

from ... import backends
from . import circuits
from .task import Token


def noisy_answers(
    n: int, tokens: Sequence[Sequence[Token]], strength: float, shots: int, seed: int
) -> Tensor:
    """Return (sequences x shots, T) bool, the answers of noisy cells to sequences of T tokens.

    Raises:
        QmlbookError: if Qiskit Aer is not installed.
    """
    backends.require("qiskit_aer")
    from qiskit_aer import AerSimulator

    simulator = AerSimulator(
        method="statevector",
        noise_model=model(strength),
        seed_simulator=seed,
        max_parallel_threads=1,
    )
    made = [circuit(n, sequence) for sequence in tokens]
    result = simulator.run(made, shots=shots, memory=True).result()
    words = [word for number in range(len(made)) for word in result.get_memory(number)]
    bits = np.array([[letter == "1" for letter in word[::-1]] for word in words])
    return torch.from_numpy(bits)  # Qiskit writes the last bit first


def model(strength: float) -> Any:
    """Return Aer's noise model: what `Noise` says, single-qubit gates and reset without error."""
    from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

    made = NoiseModel()
    if strength:
        made.add_all_qubit_quantum_error(depolarizing_error(strength, 2), ["cx", "cz"])
        flip = [[1 - strength, strength], [strength, 1 - strength]]
        made.add_all_qubit_readout_error(ReadoutError(flip))
    return made


def circuit(n: int, tokens: Sequence[Token]) -> Any:
    """Return the circuit of `circuits.translate` in Qiskit, the ancilla as qubit n, k = 2."""
    from qiskit import QuantumCircuit

    pairs = [(token.i, token.link) for token in tokens]
    tape = qml.tape.make_qscript(circuits.translate)(pairs, n)
    made, answered = QuantumCircuit(n + 1, len(tokens)), 0
    for operation in tape.operations:
        wires = [n if wire == circuits.ANCILLA else wire for wire in operation.wires]
        if operation.name in backends.GATES:
            getattr(made, backends.GATES[operation.name])(*operation.parameters, *wires)
        else:  # a measurement in the middle
            made.measure(wires[0], answered)
            made.reset(wires[0])
            answered += 1
    return made
