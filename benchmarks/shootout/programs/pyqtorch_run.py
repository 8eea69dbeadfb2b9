"""pyqtorch: named parameters; `expectation` of eight observables, or `run` and probabilities."""

import pyqtorch as pyq
import torch
from training import torch_step

COMPLEX = {"float32": torch.complex64, "float64": torch.complex128}


def model(dtype):
    gates = [pyq.RX(i, f"x{i}") for i in range(8)]
    for layer in range(2):
        gates += [pyq.RY(i, f"y{layer}{i}") for i in range(8)]
        gates += [pyq.CRX(i, (i + 1) % 8, f"c{layer}{i}") for i in range(8)]
    return pyq.QuantumCircuit(8, gates).to(dtype=dtype)


def named(x, w):
    values = {f"x{i}": x[:, i] for i in range(8)}
    for layer in range(2):
        values |= {f"{kind}{layer}{i}": w[layer, k, i] for k, kind in enumerate("yc") for i in range(8)}
    return values


def expectations(x, w):
    dtype, size = COMPLEX[str(x.dtype)], len(x)
    circuit = model(dtype)
    readouts = [pyq.Observable(pyq.Z(i)).to(dtype=dtype) for i in range(8)]

    def ring(x, w):
        start = pyq.zero_state(8, batch_size=size, dtype=dtype)
        return pyq.expectation(circuit, start, named(x, w), readouts)

    return torch_step(ring, x, w)


def probabilities(x, w):
    dtype, size = COMPLEX[str(x.dtype)], len(x)
    circuit = model(dtype)

    def ring(x, w):
        start = pyq.zero_state(8, batch_size=size, dtype=dtype)
        p = pyq.run(circuit, start, named(x, w)).abs().square()
        sums = [p.sum([axis for axis in range(8) if axis != i]) for i in range(8)]
        return torch.stack([each[0] - each[1] for each in sums], -1)

    return torch_step(ring, x, w)
