"""Pre-training without labels (bjader/QSSL at f3eeba7, train_simclr.py)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from ...base.rng import stream
from ..shared.training import descend, endless
from . import losses, models
from .config import Config
from .pictures import Pictures, pictures
from .views import view


@dataclass(frozen=True, eq=False)
class Step:
    """One batch of pre-training.

    Attributes:
        number: batches seen, this one included.
        loss: contrastive loss.
        angles: (2B, W) of the first and then the second views.
        params: (P,) the circuit's angles at that time, ``None`` without a circuit.
    """

    number: int
    loss: float
    angles: Tensor
    params: Tensor | None


def batches(seed: int, images: int, size: int) -> Iterator[Tensor]:
    """Yield the numbers of images without end, reshuffled every epoch; incomplete batches drop."""
    return (batch for batch in endless(stream(seed, "batches"), images, size) if len(batch) == size)


def steps(config: Config, seed: int, model: models.Model, known: Pictures) -> Iterator[Step]:
    """Train a model in place; yield after every batch (train_simclr.py, train).

    Batch normalisation sees both views apart.
    """
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(
        trained, config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    draws = stream(seed, "views")
    more = stream(seed, "views", "text") if config.views == "text" else None
    order = islice(batches(seed, len(known), config.batch_size), config.batches)
    for number, batch in enumerate(order, start=1):
        images = known.scaled(batch, config.dtype)
        angles = model.encoder.both(view(draws, images, config.crop, more) for _ in range(2))
        outputs = [model.head(model.network(part)) for part in angles.chunk(2)]
        loss = losses.contrastive(outputs[0], outputs[1], config.temperature)
        network = model.network
        params = network.params.detach().clone() if isinstance(network, models.Circuit) else None
        descend(optimiser, loss)
        yield Step(number, loss.item(), angles.detach(), params)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Encoder and representation network after some batches."""

    encoder: models.Encoder
    network: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A pre-trained model.

    Attributes:
        config: its settings.
        seed: root of its random streams.
        network: the representation network; `at` gives it the parameters of a snapshot.
        losses: one contrastive loss a batch.
        snapshots: by number of batches, those of ``config.checkpoints``.
    """

    config: Config
    seed: int
    network: torch.nn.Module
    losses: list[float]
    snapshots: Mapping[int, Snapshot]

    def at(self, number: int) -> torch.nn.Module:
        """Return the representation network as it was after ``number`` batches."""
        self.network.load_state_dict(self.snapshots[number].network)
        return self.network


def pretrain(
    config: Config, seed: int, watch: Callable[[Step], None] = lambda step: None
) -> Pretrained:
    """Pre-train a model.

    Args:
        config: settings of the run.
        seed: root of its random streams; those of data, views and first weights do not depend on
            the representation network.
        watch: called after every batch.

    Raises:
        QmlbookError: if the images are neither here nor can be fetched.
    """
    model, known = models.Model(config, seed), pictures(config).train
    history: list[float] = []
    snapshots = {}
    for step in steps(config, seed, model, known):
        history.append(step.loss)
        if step.number in config.checkpoints:
            encoder = models.frozen(model.encoder)
            state = {name: value.clone() for name, value in model.network.state_dict().items()}
            snapshots[step.number] = Snapshot(encoder, state)
        watch(step)
    return Pretrained(config, seed, model.network, history, snapshots)
