"""Train source networks, extract features, train heads on them.

Sources: sky-born/QCNN_transfer_learning at 7e5a792, CQtransfer_FtoM_bench.py (source, features,
quantum heads), QOSF/Training.py 49-75 (batches of the quantum heads), CCtransfer_FtoM.py 114-166
(classical heads).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...base.rng import stream
from ..shared import weights
from ..shared.splits import Split, TrainTest, load_split, spoil
from ..shared.training import descend, endless, keep_best, shuffled
from . import losses, models
from .circuits import WIRES, count_params
from .config import IMAGES, LIKE_QUANTUM, Config, Recipe
from .descent import Adam, Nesterov, minimise


def load_digits(pair: tuple[int, int], split: str, n: int | None = None) -> Split:
    """Return images (N, 28, 28) float64 of two MNIST digits; label 1 is the smaller one.

    Raises:
        QmlbookError: if they are neither here nor can be fetched.
    """
    classes = max(pair), min(pair)
    return load_split(
        IMAGES[0], classes, split, n, lambda images: torch.from_numpy(images).double() / 255
    )


@lru_cache(maxsize=2)
def _clothes(split: str, n: int | None) -> Split:
    classes = tuple(range(10))
    return load_split(IMAGES[1], classes, split, n, lambda images: torch.from_numpy(images) / 255)


def source_name(width: int) -> str:
    """Return the name of a stored source network, without its seed."""
    return f"source-{width}"


def rounded(network: nn.Module, dtype: str = "float32") -> dict[str, Tensor]:
    """Return a copy of the weights as they are stored: half precision of single precision ones.

    Training a network takes a minute and a half and ends elsewhere on another processor, because
    single precision rounds differently; with the weights stored, every run of a head can be made
    again. Networks trained in double precision are not stored and stay as they are.
    """
    return {
        name: value.half() if dtype == "float32" and value.is_floating_point() else value.clone()
        for name, value in network.state_dict().items()
    }


def untrained_source(recipe: Recipe, seed: int) -> models.Source:
    """Return a source network with its initial weights, float64."""
    rng = stream(seed, "source", recipe.width, "init")
    return models.Source(rng, recipe.width, recipe.averaging)


@lru_cache(maxsize=4)
def source(recipe: Recipe, seed: int, /) -> models.Source:  # by name it would be another entry
    """Return a source network, stored or trained now, ready to extract features.

    Raises:
        QmlbookError: if stored weights are damaged, or images are missing.
    """
    network = untrained_source(recipe, seed)
    if recipe.epochs:
        state = None
        if recipe == Recipe(recipe.width):
            state = weights.load(weights.stored("c2q"), source_name(recipe.width), seed)
        network.load_state_dict(state or train_source(network, recipe, seed))
    return network.to(getattr(torch, recipe.dtype)).eval().requires_grad_(False)


def train_source(network: models.Source, recipe: Recipe, seed: int) -> dict[str, Tensor]:
    """Train a source network in place, by Adam with Keras' defaults.

    Returns:
        Its weights after the epoch of best training accuracy, as they are stored (`rounded`).
    """
    keep_best(network, _source_epochs(network, recipe, seed))
    return rounded(network, recipe.dtype)


def _source_epochs(network: models.Source, recipe: Recipe, seed: int) -> Iterator[int]:
    """Train epoch by epoch; yield how many images were named wrongly on the way."""
    clothes, dtype = _clothes("train", recipe.n_train), getattr(torch, recipe.dtype)
    network.to(dtype).train()
    # torch's stubs do not know the argument. Training is a fifth faster this way.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stubs of torch lack it
    optimiser = torch.optim.Adam(network.parameters(), eps=1e-7, fused=True)
    rng = stream(seed, "source", recipe.width, "batches")
    for _ in range(recipe.epochs):
        wrong = 0
        for index in shuffled(rng, len(clothes), recipe.batch_size):
            batch = clothes[index]
            logits = network(batch.inputs.to(dtype))
            descend(optimiser, F.cross_entropy(logits, batch.labels))
            wrong += int((logits.argmax(1) != batch.labels).sum())
        yield wrong


def source_accuracy(network: models.Source, n: int | None = None) -> float:
    """Return the accuracy in % on Fashion-MNIST's test images."""
    clothes, dtype = _clothes("test", n), next(network.parameters()).dtype
    parts = [network(part.to(dtype)).argmax(1) for part in clothes.inputs.split(500)]
    return 100 * (torch.cat(parts) == clothes.labels).double().mean().item()


@lru_cache(maxsize=8)
def _features(
    made_by: str, recipe: Recipe, seed: int, pair: tuple[int, int], split: str, n: int | None
) -> Split:
    return _extracted(load_digits(pair, split, n), made_by, recipe, seed)


def _extracted(digits: Split, made_by: str, recipe: Recipe, seed: int) -> Split:
    """Return the features of digits."""
    if made_by == "pixels":
        return replace(digits, inputs=models.pixels(digits.inputs))
    network, dtype = source(recipe, seed), getattr(torch, recipe.dtype)
    parts = [network.extract(part.to(dtype)) for part in digits.inputs.split(500)]
    return replace(digits, inputs=torch.cat(parts).double())


def load_features(config: Config, seed: int) -> TrainTest:
    """Return the features of a run, (N, 256) or (N, 8), of its training and its test digits.

    Raises:
        QmlbookError: if images are neither here nor can be fetched.
    """
    source_seed = seed if config.source_seed is None else config.source_seed
    if config.features == "pixels":  # made without a source network
        source_seed = 0
    made = (config.features, config.recipe, source_seed)
    rng = stream(seed, "spoiled", config.spoiled)

    def features(split: str, n: int | None) -> Split:
        if config.spoiled == "images":  # noise has no features that could be kept
            noise = spoil(load_digits(config.pair, split, n), config.spoiled, rng)
            return _extracted(noise, *made)
        return spoil(_features(*made, config.pair, split, n), config.spoiled, rng)

    return TrainTest(features("train", config.n_train), features("test", config.n_test))


@dataclass(frozen=True, eq=False)
class Trained:
    """A head after training.

    Attributes:
        scores: from features (B, F) to the probabilities (B, 2) of labels 0 and 1.
        params: (P,) what was trained.
        costs: of every step, before it was made.
    """

    scores: Callable[[Tensor], Tensor]
    params: Tensor
    costs: Tensor

    @torch.no_grad()
    def accuracy(self, split: Split) -> float:
        """Return the accuracy in %."""
        return losses.accuracy(self.scores(split.inputs), split.labels)


def train(config: Config, seed: int, split: Split) -> Trained:
    """Train a head on features.

    Args:
        config: settings of the run.
        seed: of the run; heads compared at equal seeds see the same batches if of the same sort.
        split: training features.
    """
    made = _train_quantum if config.head in LIKE_QUANTUM else _train_classical
    return made(config, seed, split)


def _head(config: Config, seed: int, features: int) -> tuple[Callable[..., Tensor], np.ndarray]:
    """Return a head that is trained as the quantum ones are, and its initial parameters."""
    if config.head == "quadratic":
        rng = stream(seed, "init", config.head, config.size)
        return models.quadratic(rng, features, config.size), rng.normal(size=config.size)
    drawn = stream(seed, "init", config.ansatz, config.pooling)
    start = drawn.normal(size=count_params(config.ansatz, config.pooling, config.gates))
    if config.gates == "all":
        return models.quantum(config.ansatz, config.pooling, config.encoding), start
    read = np.append(drawn.normal(size=WIRES), 0.0)  # weights of all wires, and a bias
    return models.local(config.ansatz, config.pooling, config.gates), np.append(start, read)


def _train_quantum(config: Config, seed: int, split: Split) -> Trained:
    """200 steps on batches drawn with replacement; the cost is summed over a batch."""
    circuit, start = _head(config, seed, split.inputs.shape[1])
    shape = (config.steps, config.batch_size)
    batches = torch.from_numpy(stream(seed, "batches").integers(len(split), size=shape))

    def cost(params: Tensor, step: int) -> Tensor:
        batch = split[batches[step]]
        return losses.cross_entropy(circuit(batch.inputs, params), batch.labels)

    rule = {"adam": Adam, "nesterov": Nesterov}[config.optimiser](config.stepsize)
    params, costs = minimise(rule, cost, torch.from_numpy(start), config.steps)

    def scores(features: Tensor) -> Tensor:
        size = config.batch_size  # the batches of the training: nothing is compiled anew
        padded = torch.cat([features, features[:1].expand(-len(features) % size, -1)])
        parts = [circuit(part, params) for part in padded.split(size)]
        return torch.cat(parts)[: len(features)]

    return Trained(scores, params, costs)


def _train_classical(config: Config, seed: int, split: Split) -> Trained:
    """Adam with Keras' defaults (but for the step size) on the mean cross entropy.

    Batches are drawn without replacement from the first images in the order of the files.
    """
    head: nn.Module
    if config.head == "linear":
        rng = stream(seed, "init", config.head, config.projections)
        head = models.Linear(rng, config.projections + 1, split.inputs.shape[1])
    else:
        head = models.classical(config.head, stream(seed, "init", config.head))
    optimiser = torch.optim.Adam(head.parameters(), lr=config.stepsize, eps=1e-7)
    first, costs = split[: config.first], []
    batches = endless(stream(seed, "shuffle"), len(first), config.batch_size)
    for index in islice(batches, config.steps):
        batch = first[index]
        loss = F.cross_entropy(head(batch.inputs), batch.labels)
        descend(optimiser, loss)
        costs.append(loss.item())
    params = nn.utils.parameters_to_vector(head.eval().parameters()).detach()
    return Trained(lambda features: head(features).softmax(-1), params, torch.tensor(costs))
