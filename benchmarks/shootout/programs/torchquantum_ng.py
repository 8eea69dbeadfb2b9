"""TorchQuantum-NG: functional gates on a QuantumDevice, all Z measured."""

import torch
import torchquantum as tq
import torchquantum.functional as tqf
from training import torch_step


def circuit(x, w):
    q = tq.QuantumDevice(n_wires=8, bsz=len(x))
    for i in range(8):
        tqf.rx(q, wires=i, params=x[:, i : i + 1])
    for layer in range(2):
        for i in range(8):
            tqf.ry(q, wires=i, params=w[layer, 0, i].expand(len(x), 1))
        for i in range(8):
            tqf.crx(q, wires=[i, (i + 1) % 8], params=w[layer, 1, i].expand(len(x), 1))
    return q


def measure_all(x, w):
    measure = tq.MeasureAll(tq.PauliZ)
    return torch_step(lambda x, w: measure(circuit(x, w)), x, w)
