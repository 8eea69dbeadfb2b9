"""An implicit training step on ten qubits beside the same step on ``default.qubit``, one thread.

Both make eight solver steps, one tracked evaluation and the implicit gradient. ``default.qubit``
simulates every gate for every image and finds the gradient by Broyden's method, as the release
does; ours is the model that the experiments train.
"""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from qmlbook.base.rng import stream
from qmlbook.papers.qdeq import circuits, models
from qmlbook.papers.qdeq.config import Config
from qmlbook.papers.qdeq.layer import expand
from qmlbook.papers.qdeq.solvers import broyden, implicit
from qmlbook.papers.shared.qnodes import qnode

torch.set_num_threads(1)

STEPS, BATCH = 8, 256
CONFIG = Config(
    classes=tuple(range(10)), threshold=STEPS, delta=0, eps=1e-30, dropout=0.0, gamma=0.0
)


def problem():
    rng = stream(0, "benchmark")
    u = torch.from_numpy(rng.uniform(-0.4, 2.8, (BATCH, 100)))
    return models.build(CONFIG, 0), u, torch.from_numpy(rng.integers(10, size=BATCH))


def ours():
    model, u, labels = problem()
    draws = models.Draws(0)

    def step():
        logits, _ = model(u, models.EQUILIBRIUM, draws)
        model.zero_grad()
        F.cross_entropy(logits, labels).backward()

    return model, step


def simulated():
    model, u, labels = problem()
    node = qnode(circuits.layer, wires=10)

    def f(z):
        return expand(torch.stack(list(node(z + u, model.theta, model.phi, 10)), -1))

    def step():
        root = broyden(f, torch.zeros_like(u), STEPS, eps=0.0).z
        z = implicit(f, root, partial(broyden, threshold=STEPS, eps=0.0))
        model.zero_grad()
        F.cross_entropy(model.linear(z.relu()), labels).backward()

    return model, step


@pytest.mark.parametrize("how", ["closed form", "default.qubit"])
def test_implicit_step(measure, how):
    _, step = {"closed form": ours, "default.qubit": simulated}[how]()
    measure("(f) QDEQ, implicit training step, batch 256", how, step)


def test_both_steps_give_the_same_gradient():
    gradients = []
    for make in (ours, simulated):
        model, step = make()
        step()
        gradients.append(model.theta.grad)
    assert torch.allclose(*gradients, rtol=0, atol=1e-6)
