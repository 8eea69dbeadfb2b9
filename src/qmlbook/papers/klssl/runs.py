"""Runs of the KL-SSL paper: from a configuration and a seed to metrics."""

import numpy as np

from ...base.rng import stream
from ..shared.splits import Split, set_apart, spoil
from ..shared.tuning import tuning_seed
from . import training
from .checks import closed_form_error, fewer_parameters, untrained_accuracies
from .config import ClosedForm, Config, Counts, Draws

VALIDATION = 0.2  # share of the images trained on that a trial is judged by


def run(config: Config, seed: int) -> dict[str, float]:
    """Train and evaluate one network.

    Returns:
        ``accuracy`` (outcome compared with the raw label, as released), ``matched`` (outcomes
        assigned to labels by the better of the two ways on the *training* split), ``minority``
        (share of the evaluated images with the rarer outcome: 0 is collapse),
        ``train_accuracy``, ``movement`` (largest change of a weight), ``loss`` (lowest epoch
        mean; 0 if untrained), ``accuracy_k2``, ``_k5``, ``_k10`` (the released subset evaluation).
    """
    trained_on, evaluated_on = training.splits(config)
    if config.spoiled != "nothing":
        rng = stream(seed, "spoiled", config.spoiled)
        trained_on = spoil(trained_on, config.spoiled, rng)
        evaluated_on = spoil(evaluated_on, config.spoiled, rng)
    trained = training.train(config, seed, trained_on)
    return evaluate(trained, trained_on, evaluated_on, seed)


def run_tuning(config: Config, seed: int) -> dict[str, float]:
    """Train one configuration on four fifths of its images and judge it by the rest.

    The images that evidence is evaluated on are not looked at, and the seed is drawn, far from all
    seeds of evidence.

    Returns:
        ``matched``, the accuracy on the rest, answers assigned on the images trained on.
    """
    other = tuning_seed(seed)
    images, _ = training.splits(config)
    trained_on, validation = set_apart(images, VALIDATION, stream(other, "validation"))
    trained = training.train(config, other, trained_on)
    return {"matched": evaluate(trained, trained_on, validation, other)["matched"]}


def evaluate(
    trained: training.Trained, trained_on: Split, evaluated_on: Split, seed: int
) -> dict[str, float]:
    """Return the metrics of `run` for a trained network."""
    outcome = training.predict(trained.model, evaluated_on.inputs)
    correct = (outcome == evaluated_on.labels).numpy()
    on_train = training.predict(trained.model, trained_on.inputs) == trained_on.labels
    accuracy, train_accuracy = float(correct.mean()), float(on_train.double().mean())
    share = float(outcome.double().mean())
    labels = evaluated_on.labels.numpy()
    return {
        "accuracy": accuracy,
        "matched": accuracy if train_accuracy >= 0.5 else 1 - accuracy,
        "minority": min(share, 1 - share),
        "train_accuracy": train_accuracy,
        "movement": trained.movement,
        "loss": min(trained.losses, default=0.0),
        **training.subset_accuracies(correct, labels, stream(seed, "subsets")),
    }


def run_draws(config: Draws, seed: int) -> dict[str, float | list[float]]:
    """Evaluate ``draws`` untrained quantum networks of even depth (which one does not matter).

    Returns:
        ``mean``, ``sd``, ``quantiles`` (0, 1, 5, 25, 50, 75, 95, 99, 100 %) of the accuracy, and
        ``best_median``, the median of the best of ``best_of``, all over the draws of this seed.
    """
    images = {name: getattr(config, name) for name in ("dataset", "split", "n_train", "n_eval")}
    trained_on, evaluated_on = training.splits(Config(**images))
    accuracies = untrained_accuracies(trained_on, evaluated_on, config.draws, seed)
    groups = accuracies[: config.draws // config.best_of * config.best_of]
    best = groups.reshape(-1, config.best_of).max(1)
    levels = [0, 1, 5, 25, 50, 75, 95, 99, 100]
    return {
        "mean": float(accuracies.mean()),
        "sd": float(accuracies.std(ddof=1)),
        "quantiles": np.percentile(accuracies, levels).tolist(),
        "best_median": float(np.median(best)),
    }


def run_counts(config: Counts, seed: int) -> dict[str, float]:
    """Compare the networks' parameter counts at every depth.

    Returns:
        1 or 0 for ``fewer_in_all`` and ``fewer_trained`` (the quantum network has fewer at every
        depth); ``checked`` is the number of depths.
    """
    in_all, trained = fewer_parameters(config.depths)
    return {
        "fewer_in_all": float(in_all),
        "fewer_trained": float(trained),
        "checked": len(config.depths),
    }


def run_closed_form(config: ClosedForm, seed: int) -> dict[str, float]:
    """Hold the closed form against the circuit, gate by gate.

    Returns:
        ``holds``, 1 if all parities agree to 1e-10; ``checked``, the number of circuits.
    """
    holds = closed_form_error(config, seed) < 1e-10
    return {"holds": float(holds), "checked": config.deepest * config.images}
