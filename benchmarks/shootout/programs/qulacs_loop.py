"""Qulacs: one circuit after the other; the loss's gradient is one call of backprop for each.

Qulacs turns by exp(+i t P / 2), so angles change their sign, and has no controlled rotation with a
parameter: CRX(t) = exp(-i t X / 4) exp(+i t ZX / 4), which is two rotations by t / 2.
"""

import numpy as np
from qulacs import Observable, ParametricQuantumCircuit, QuantumState


def one_by_one(x, w):
    circuit, source, factor = ParametricQuantumCircuit(8), [], []

    def rotation(wires, paulis, index, sign):
        circuit.add_parametric_multi_Pauli_rotation_gate(wires, paulis, 0.0)
        source.append(index)
        factor.append(sign)

    for i in range(8):
        rotation([i], [1], i, -1)
    for layer in range(2):
        for i in range(8):
            rotation([i], [2], 8 + 16 * layer + i, -1)
        for i in range(8):
            rotation([(i + 1) % 8], [1], 16 + 16 * layer + i, -0.5)
            rotation([i, (i + 1) % 8], [3, 1], 16 + 16 * layer + i, 0.5)
    source, factor, state = np.array(source), np.array(factor), QuantumState(8)
    readouts = [Observable(8) for _ in range(8)]
    for i, each in enumerate(readouts):
        each.add_operator(1.0, f"Z {i}")
    gather = (source[:, None] == np.arange(40)) * factor[:, None]

    def step():
        values, gradients = np.empty((len(x), 8)), np.empty((len(x), 40))
        for k, row in enumerate(x):
            angles = factor * np.concatenate([row, w.ravel()])[source]
            for index, angle in enumerate(angles):
                circuit.set_parameter(index, angle)
            state.set_zero_state()
            circuit.update_quantum_state(state)
            values[k] = [each.get_expectation_value(state) for each in readouts]
            loss = Observable(8)  # the gradient of sum z^2 is that of sum 2 z Z, z held fixed
            for i, z in enumerate(values[k]):
                loss.add_operator(2 * z, f"Z {i}")
            gradients[k] = np.array(circuit.backprop(loss)) @ gather
        return values, gradients[:, :8], gradients[:, 8:].sum(0).reshape(2, 2, 8)

    return step
