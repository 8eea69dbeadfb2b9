"""Pre-training through a circuit beside the same without one, and circuits run one by one.

A step takes two views of 256 images through ResNet-18, the representation network and the head, and
back; the images are random. Circuits one by one, each with its own call, are what the released code
does, here with Aer of today; training needs eight million of them (see the chapter).
"""

from dataclasses import replace

import pytest
import torch

from qmlbook import backends
from qmlbook.base.rng import stream
from qmlbook.papers.qssl import hardware, models, training
from qmlbook.papers.qssl.config import PUBLISHED
from qmlbook.papers.qssl.experiments import REPRESENTATIONS
from qmlbook.papers.qssl.pictures import Pictures

torch.set_num_threads(1)

CIRCUITS = 256


@pytest.mark.parametrize("network", ["classical", "ring", "all-to-all"])
def test_training_step(measure, network):
    changes = REPRESENTATIONS[network]
    config = replace(PUBLISHED, **changes, batches=10**6, checkpoints=())
    images = torch.from_numpy(stream(0, "images").integers(256, size=(512, 3, 32, 32)))
    known = Pictures(images.to(torch.uint8), torch.zeros(512))
    steps = training.steps(config, 0, models.Model(config, 0), known)
    measure("(g) QSSL, training step, batch 256", network, lambda: next(steps))


@pytest.mark.parametrize("how", ["batched", "one by one, Aer"])
def test_sampled_circuits(measure, how):
    config = replace(PUBLISHED, shots=100)
    circuit = models.Circuit(config, stream(0, "init"), stream(0, "shots")).float()
    angles = torch.from_numpy(stream(0, "angles").uniform(0, torch.pi, (CIRCUITS, 8)))
    node = backends.on(hardware.circuit(), "aer", shots=100, seed=0)

    def batched():
        circuit.measure(angles.float(), circuit.params.detach())

    def one_by_one():
        params = circuit.params.detach().double().numpy()
        for row in angles.numpy():
            node(row, params)

    step = {"batched": batched, "one by one, Aer": one_by_one}[how]
    measure(f"(h) QSSL ring, {CIRCUITS} circuits of 100 shots", how, step)
