"""MindQuantum: get_expectation_with_grad, inputs as encoder, weights as ansatz."""

import numpy as np
from mindquantum.core.circuit import Circuit
from mindquantum.core.operators import Hamiltonian, QubitOperator
from mindquantum.simulator import Simulator
from training import chain


def jacobian(x, w):
    encoder, ansatz = Circuit(), Circuit()
    for i in range(8):
        encoder.rx(f"x{i}", i)
    for layer in range(2):
        for i in range(8):
            ansatz.ry(f"w{layer}0{i}", i)
        for i in range(8):
            ansatz.rx(f"w{layer}1{i}", (i + 1) % 8, i)
    simulator = Simulator("mqvector", 8, dtype=mindquantum_dtype(x))
    readouts = [Hamiltonian(QubitOperator(f"Z{i}"), dtype=mindquantum_dtype(x)) for i in range(8)]
    gradient = simulator.get_expectation_with_grad(
        readouts, encoder.as_encoder() + ansatz.as_ansatz(), parallel_worker=1
    )

    def step():
        return chain(*(np.real(each) for each in gradient(x, w.ravel())))

    return step


def mindquantum_dtype(x):
    import mindquantum

    return mindquantum.complex64 if x.dtype == "float32" else mindquantum.complex128
