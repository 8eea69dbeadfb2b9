"""What takes part in a case: the circuit, and everything it is held against.

A *rival* decides: the circuit must be ahead of it by more than the margin. An *ablation* describes
what a part is for. A *sanity check* gates the case: where nothing can be learned, the circuit must
not be better than chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..base.rng import stream
from ..papers.shared.splits import Split
from ..papers.shared.training import descend, shuffled
from . import circuits
from .case import Case

RIVAL, ABLATION, SANITY, SUBJECT = "rival", "ablation", "sanity check", "circuit"
RATES = (0.003, 0.01, 0.03, 0.1)  # of Adam
PENALTIES = (0.01, 0.1, 1.0, 10.0)  # inverse: large is free
FEATURES = 300  # of a surrogate, at most
CURVE = 10  # points of a learning curve


@dataclass(frozen=True)
class Player:
    """One that takes part.

    Attributes:
        role: ``circuit``, ``rival``, ``ablation`` or ``sanity check``.
        about: what it is, a few words.
        settings: what its trials set; as many for all.
        model: makes what is trained from a case and a seed.
        spoiled: what is taken from its training examples: ``nothing``, ``labels`` or ``inputs``.
        like: whose setting it takes, where it has no trials of its own.
        elsewhere: options of a backend that reads what was trained, if not the simulator.
    """

    role: str
    about: str
    settings: tuple[float, ...]
    model: Callable[[Case, int], Any]
    spoiled: str = "nothing"
    like: str = ""
    elsewhere: dict[str, Any] = field(default_factory=dict)


def players(case: Case) -> dict[str, Player]:
    """Return all that take part in a case, the circuit first."""
    gates, _ = circuits.anatomy(case.circuit, case.width, case.weights)

    def circuit(change: Callable[..., circuits.Circuit] | None = None, **options: Any) -> Any:
        function = case.circuit if change is None else change(case.circuit)
        run = circuits.outputs(function)
        return lambda case, seed: Net(case, seed, run, **options)

    made = {
        "circuit": Player(SUBJECT, "the circuit, trained", RATES, circuit()),
        "untrained": Player(RIVAL, "everything as it started", RATES[:1], circuit(train="nothing")),
        "frozen": Player(
            RIVAL, "the circuit as it started, all else trained", RATES, circuit(train="read-out")
        ),
    }
    if any(len(gate.wires) > 1 and not gate.prepares for gate in gates):
        made["no-entanglement"] = Player(
            RIVAL, "its gates on wires alone", RATES,
            circuit(lambda own: circuits.changed(own, circuits.without_entanglement)),
        )  # fmt: skip
    made |= {
        "no-circuit": Player(
            RIVAL, "the read-out on what is encoded", RATES,
            lambda case, seed: Net(case, seed, None),
        ),
        "surrogate": _surrogate(case, gates),
        "ridge": Player(RIVAL, "ridge on what untrained circuits say", PENALTIES, _ridge),
        "network": Player(RIVAL, "a network with as many parameters", RATES, Network),
        "linear": Player(RIVAL, "a linear model", PENALTIES, lambda case, seed: Linear(case)),
        "kernel": Player(
            RIVAL, "a kernel machine, what one would use instead", PENALTIES,
            lambda case, seed: Kernel(case),
        ),
    }  # fmt: skip
    for row, numbers in circuits.blocks(gates, case.weights).items():
        change = circuits.without_block(case.circuit, numbers)
        made[f"without-block-{row}"] = Player(
            ABLATION, f"block {row} left out", (), circuit(lambda _, change=change: change),
            like="circuit",
        )  # fmt: skip
    for name, options in case.elsewhere.items():
        how = f"{case.shots} shots" if name == "shots" else f"the noise of {case.noise}"
        made[name] = Player(
            ABLATION, f"trained without, read with {how}", (), circuit(), like="circuit",
            elsewhere=options,
        )  # fmt: skip
    spoiled = {"shuffled-labels": "labels", "noise-inputs": "inputs"}
    for name, what in spoiled.items():
        about = "labels in random order" if what == "labels" else "noise for inputs"
        made[name] = Player(SANITY, about, (), circuit(), spoiled=what, like="circuit")
    return made


# -- trained step by step ------------------------------------------------------------------------


class Net(nn.Module):
    """Layers before, a circuit (or none) and layers after it.

    Args:
        case: what layers, and which examples.
        seed: draws the start.
        run: the circuit; ``None`` reads what is encoded.
        train: ``all``, ``read-out`` (all but the circuit's weights) or ``nothing``.
    """

    def __init__(
        self, case: Case, seed: int, run: circuits.Circuit | None, train: str = "all"
    ) -> None:
        super().__init__()
        x = case.examples.pool.inputs[:2]
        self.run = run
        self.weights = nn.Parameter(
            case.starts(stream(seed, "referee", "weights")), train == "all" and run is not None
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(stream(seed, "referee", "layers").integers(2**62)))
            self.before = case.before().double() if case.before else nn.Identity()
            own = run is not None and case.after is not None
            encoded = self.before(x)
            width = (encoded if run is None else run(encoded, self.weights.detach())).shape[1]
            linear = nn.Linear(width, case.examples.outputs, dtype=torch.float64)
            self.after = case.after().double() if own and case.after else linear
        if train == "nothing":
            self.requires_grad_(False)

    def measured(self, x: Tensor) -> Tensor:
        """Return what the layers after are given, for inputs (B, features)."""
        encoded = self.before(x)
        return encoded if self.run is None else self.run(encoded, self.weights)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs)."""
        return self.after(self.measured(x))


class Network(nn.Sequential):
    """One hidden layer, with as many parameters as the circuit has, read-out included."""

    def __init__(self, case: Case, seed: int) -> None:
        features, outputs = case.examples.pool.inputs.shape[1], case.examples.outputs
        own = Net(case, seed, circuits.outputs(case.circuit))
        wanted = sum(p.numel() for p in own.parameters())
        hidden = max(1, round((wanted - outputs) / (features + 1 + outputs)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(stream(seed, "referee", "network").integers(2**62)))
            super().__init__(
                nn.Linear(features, hidden, dtype=torch.float64),
                nn.Tanh(),
                nn.Linear(hidden, outputs, dtype=torch.float64),
            )


class QuadraticForms(Net):
    """Quadratic forms of rank 2 of the normalised inputs, as many as the circuit measures."""

    def __init__(self, case: Case, seed: int) -> None:
        x = case.examples.pool.inputs[:2]
        probe = Net(case, seed, circuits.outputs(case.circuit))
        forms = probe.measured(x).shape[1]
        super().__init__(case, seed, lambda x, w: self._forms(x, w, forms))
        drawn = stream(seed, "referee", "forms").normal(size=(2 * forms, case.width))
        self.weights = nn.Parameter(torch.from_numpy(drawn / math.sqrt(case.width)))

    @staticmethod
    def _forms(x: Tensor, weights: Tensor, forms: int) -> Tensor:
        if len(weights) != 2 * forms or weights.shape[1:] != x.shape[1:]:  # asked for its width
            return x.new_zeros(len(x), forms)
        long = functional.normalize(x, dim=1) @ weights.T
        return long[:, :forms].square() - long[:, forms:].square()


def steps(case: Case, model: nn.Module, train: Split, rate: float, seed: int) -> Iterator[float]:
    """Train a model; yield the mean loss of every epoch."""
    learned = [p for p in model.parameters() if p.requires_grad]
    rng = stream(seed, "referee", "batches")
    optimiser = torch.optim.Adam(learned, lr=rate) if learned else None
    for _ in range(case.epochs):
        found = []
        for batch in shuffled(rng, len(train), case.batch):
            part = train[batch]
            loss = losses(case, model(part.inputs), part.labels).mean()
            if optimiser:
                descend(optimiser, loss, math.inf)
            found.append(loss.item())
        yield float(np.mean(found))


def losses(case: Case, made: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of every example (B,), for outputs (B, outputs)."""
    if case.of_classes:
        return functional.cross_entropy(made, labels, reduction="none")
    return functional.mse_loss(made[:, 0], labels, reduction="none")


# -- fitted at once ------------------------------------------------------------------------------


class Linear:
    """Logistic regression, or ridge for numbers, on features of the inputs.

    Args:
        case: says which.
        features: what is made of inputs (N, D); they are standardised then.
    """

    def __init__(self, case: Case, features: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        self.case, self.features = case, features

    def estimator(self, free: float) -> Any:
        """Return the model of scikit-learn for a setting: the larger, the freer."""
        from sklearn.linear_model import LogisticRegression, Ridge

        if self.case.of_classes:
            return LogisticRegression(C=free, max_iter=2000)
        return Ridge(alpha=1 / free)

    def fit(self, train: Split, free: float) -> Callable[[Tensor], np.ndarray]:
        """Return what predicts labels (N,) from inputs, learned from some examples."""
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        model = make_pipeline(StandardScaler(), self.estimator(free))
        if len(np.unique(train.labels)) < 2:
            return lambda x: np.full(len(x), train.labels[0].item())
        model.fit(self._made(train.inputs), train.labels.numpy())
        return lambda x: model.predict(self._made(x))

    def _made(self, x: Tensor) -> np.ndarray:
        with torch.no_grad():
            return self.features(x).numpy()


class Kernel(Linear):
    """A kernel machine with Gaussian kernel."""

    def estimator(self, free: float) -> Any:
        """Return the model of scikit-learn for a setting: the larger, the freer."""
        from sklearn.kernel_ridge import KernelRidge
        from sklearn.svm import SVC

        if self.case.of_classes:
            return SVC(C=10 * free, gamma="scale")
        return KernelRidge(alpha=1 / free, kernel="rbf")


def _ridge(case: Case, seed: int) -> Linear:
    """Return ridge on the outputs of untrained circuits, together as many as there are weights."""
    nets = [Net(case, seed, circuits.outputs(case.circuit), train="nothing")]
    run = nets[0].run
    rng = stream(seed, "referee", "weights")
    measured = nets[0].measured(case.examples.pool.inputs[:2]).shape[1]
    draws = max(1, math.ceil(math.prod(case.weights) / measured))
    starts = [case.starts(rng) for _ in range(draws)]

    def features(x: Tensor) -> Tensor:
        encoded = nets[0].before(x)
        return torch.cat([run(encoded, start) for start in starts], 1)  # type: ignore[misc]  # it has one

    return Linear(case, features)


def _surrogate(case: Case, gates: Sequence[circuits.Gate]) -> Player:
    """Return the classical model of the circuit's own form."""
    if any(gate.prepares and gate.inputs for gate in gates):
        return Player(RIVAL, "quadratic forms of rank 2", RATES, QuadraticForms)
    return Player(RIVAL, "ridge on the circuit's frequencies", PENALTIES, _fourier)


def _fourier(case: Case, seed: int) -> Linear:
    net = Net(case, seed, circuits.outputs(case.circuit), train="nothing")
    weights = net.weights.detach()
    gates, read = circuits.anatomy(case.circuit, case.width, case.weights)
    _, inside = circuits.light_cone([gate.wires for gate in gates], read)

    def angles(x: Tensor) -> Tensor:
        return circuits.encoded_angles(case.circuit, gates, net.before(x).detach(), weights)

    found = circuits.spectrum(gates, angles(case.examples.pool.inputs[:64]).numpy(), inside)
    vectors = found.vectors(stream(seed, "referee", "frequencies"), FEATURES // 2)

    def features(x: Tensor) -> Tensor:
        if not len(vectors):  # nothing is encoded as an angle
            return x
        turned = angles(x)[:, list(found.columns)] @ torch.from_numpy(vectors).T
        return torch.cat([turned.cos(), turned.sin()], 1)

    return Linear(case, features)
