"""A case: a reader's circuit, the data it learns from, and what is asked of it."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import math
import re
import runpy
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import data as images
from ..base import files
from ..base.errors import QmlbookError, UsageError, counted, require_choice, require_least, shown
from ..base.rng import stream
from ..papers.shared.splits import Split
from . import circuits

METRICS = ("accuracy", "r2")
SCALES = ("angles", "as they are")
TOYS = ("digits", "breast_cancer", "iris", "wine", "diabetes")  # travel with scikit-learn
MARGIN = 0.02
LEAST_EXAMPLES = 20
SECONDS_PER_AMPLITUDE = 4e-9  # of a gate, there and back, for estimates
LEAST_RUNS = 250  # of a case, of which about half train a circuit


@dataclass(frozen=True, eq=False)
class Case:
    """What a reader wants to have judged.

    Attributes:
        circuit: a quantum function or QNode of (x, weights) that returns expectation values or
            probabilities. x has features in its last axis, and a batch before it: ``x[..., i]``.
        weights: shape of the weights.
        data: a set of `qmlbook.data` or of scikit-learn, a pair of arrays (N, ...) and (N,), or a
            file: ``.npz`` with ``x`` and ``y``, ``.csv`` with numbers, the label last.
        name: of the case, as part of file names.
        claim: what is claimed, one sentence.
        classes: labels that are kept; all of them when omitted.
        features: principal components that inputs are reduced to; as many as there are when
            omitted.
        scale: ``angles`` maps every feature to 0 to pi, by what the training examples span.
        train, test: how many examples a seed learns from, and the most that all are judged by.
        metric: ``accuracy``, or ``r2`` for numbers as labels.
        lead: the lead that is claimed, if any; the margin is then a third of it.
        margin: a lead of this size would not matter; by the rule above when omitted, else 0.02.
        budget: minutes of one core.
        epochs, batch: of every model that is trained step by step.
        start: largest angle at the start, drawn uniformly from 0; None for all angles, 2 pi.
        before: makes torch layers in front of the circuit, from inputs to what it encodes.
        after: makes torch layers that read what is measured; one linear layer when omitted.
        shots: of each circuit, to see what the trained circuit scores when it is sampled.
        noise: a fake device of IBM's, ``FakeParisV2`` for instance, to see what it scores there.
        source: text of the file that it is from; `load_case` fills it in.
    """

    circuit: circuits.Circuit
    weights: Sequence[int]
    data: Any
    name: str = "case"
    claim: str = ""
    classes: Sequence[int] | None = None
    features: int | None = None
    scale: str = "angles"
    train: int = 120
    test: int = 400
    metric: str = "accuracy"
    lead: float | None = None
    margin: float | None = None
    budget: float = 10.0
    epochs: int = 15
    batch: int = 24
    start: float | None = None
    before: Callable[[], nn.Module] | None = None
    after: Callable[[], nn.Module] | None = None
    shots: int | None = None
    noise: str | None = None
    source: str = ""

    def __post_init__(self) -> None:
        require_choice("metric", self.metric, METRICS)
        require_choice("scale", self.scale, SCALES)
        self._require_types()
        require_least(self, train=LEAST_EXAMPLES, test=LEAST_EXAMPLES, epochs=1, batch=1)
        if not re.fullmatch(r"[\w-]*[A-Za-z0-9][\w-]*", str(self.name or ""), re.ASCII):
            raise UsageError(f"name {shown(self.name)} must be letters, digits, - and _.")
        for word in ("lead", "margin", "budget"):
            value = getattr(self, word)
            if value is not None and not (isinstance(value, Real) and 0 < float(value) < math.inf):
                raise UsageError(f"{word} is {shown(value)} and must be a number above 0.")

    def _require_types(self) -> None:
        for word in ("train", "test", "epochs", "batch", "features", "shots"):
            value = getattr(self, word)
            if not _is_whole(value) and not (word in ("features", "shots") and value is None):
                raise UsageError(f"{word} is {shown(value)} and must be a whole number above 0.")
        shape, kept = self.weights, self.classes
        if not isinstance(shape, tuple | list) or not shape or not all(map(_is_whole, shape)):
            raise UsageError(
                f"weights is {shown(shape)} and must be a shape of whole numbers above 0: (3, 2)."
            )
        if kept is not None and not isinstance(kept, tuple | list | range):
            raise UsageError(f"classes is {shown(kept)} and must be a list of labels.")
        for word in ("circuit", "before", "after"):
            made = getattr(self, word)
            if not callable(made) and (made is not None or word == "circuit"):
                raise UsageError(f"{word} is {shown(made)} and must be a function.")
        if self.noise is not None and not isinstance(self.noise, str):
            raise UsageError(f"noise is {shown(self.noise)} and must be the name of a fake device.")

    @property
    def of_classes(self) -> bool:
        """Whether labels are classes."""
        return self.metric == "accuracy"

    @property
    def limit(self) -> float:
        """The margin by rule."""
        return self.margin or (self.lead / 3 if self.lead else MARGIN)

    @property
    def elsewhere(self) -> dict[str, dict[str, Any]]:
        """What else the trained circuit is read by: a control's name -> options of a backend."""
        made: dict[str, dict[str, Any]] = {}
        if self.shots:
            made["shots"] = {"backend": "default.qubit", "shots": self.shots}
        if self.noise:
            made["noise"] = {"backend": "aer-noise", "shots": self.shots, "device": self.noise}
        return made

    @functools.cached_property
    def examples(self) -> Examples:
        """The data as models see them."""
        return prepared(self)

    @functools.cached_property
    def width(self) -> int:
        """How many features the circuit is given."""
        x = self.examples.pool.inputs[:1]
        return int((self.before().double()(x) if self.before else x).shape[1])

    def starts(self, rng: np.random.Generator) -> Tensor:
        """Draw the weights that training starts with."""
        top = 2 * math.pi if self.start is None else self.start
        return torch.from_numpy(rng.uniform(0, top, tuple(self.weights)))

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all that decides what the case's runs give."""
        digest = hashlib.sha256(self.source.encode())
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given |= {"width": self.width}
        plain = {k: v for k, v in given.items() if isinstance(v, str | int | float | None)}
        del plain["source"], plain["budget"]
        for word in ("shots", "noise"):  # plans were sealed before these could be asked for
            if plain[word] is None:
                del plain[word]
        digest.update(json.dumps(plain, sort_keys=True).encode())
        for name in ("circuit", "before", "after"):
            made = getattr(self, name)
            digest.update(_code(made).encode())
        gates, read = circuits.anatomy(self.circuit, self.width, self.weights)
        digest.update(f"{gates} {read} {tuple(self.weights)} {self.classes}".encode())
        digest.update(self.examples.digest.encode())
        return digest.hexdigest()


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) > 0


def _code(function: Any) -> str:
    """Return the text of a function, or what else tells it from others."""
    try:
        return inspect.getsource(getattr(function, "func", function))
    except (OSError, TypeError):
        return type(function).__name__


@dataclass(frozen=True)
class Examples:
    """The data of a case.

    Attributes:
        pool: what seeds draw their training examples from.
        test: what all are judged by.
        outputs: how many numbers a model returns: the classes, or 1.
        about: one line.
        digest: SHA-256 of inputs and labels as they were given, before any arithmetic.
    """

    pool: Split
    test: Split
    outputs: int
    about: str
    digest: str

    def drawn(self, train: int, seed: int) -> Split:
        """Return the training examples of a seed."""
        order = stream(seed, "referee", "examples").permutation(len(self.pool))
        return self.pool[torch.from_numpy(order[:train])]


# -- data ----------------------------------------------------------------------------------------


def prepared(case: Case) -> Examples:
    """Return the data of a case: a third is set apart as test, the rest scales the features.

    Raises:
        UsageError: one sentence for data that nothing can be learned from.
    """
    x, y, about = _read(case)
    x, y = _checked(case, x, y)
    digest = files.sha256(x.tobytes() + y.astype(float).tobytes())
    order = stream(0, "referee", "split").permutation(len(x))
    apart = min(case.test, len(x) // 3)
    if len(x) - apart < case.train:
        raise UsageError(
            f"train is {case.train}, and of {counted(len(x), 'example')} {len(x) - apart} are left "
            f"when {apart} are set apart for the test."
        )
    test, pool = order[:apart], order[apart:]
    x = _scaled(case, x, pool)
    if case.of_classes:
        known, y = np.unique(y, return_inverse=True)
        outputs = len(known)
        about += f", {counted(outputs, 'class', 'classes')}"
    else:
        outputs, y = 1, (y - y[pool].mean()) / y[pool].std()
    labels = torch.from_numpy(y.astype(np.int64 if case.of_classes else float))
    both = Split(torch.from_numpy(x), labels)
    made = both[torch.from_numpy(pool)], both[torch.from_numpy(test)]
    about += f"; {case.train} of {len(pool)} to learn, {apart} to test"
    return Examples(*made, outputs, about, digest)


def _read(case: Case) -> tuple[np.ndarray, np.ndarray, str]:
    """Return inputs, labels and one line about them."""
    given = case.data
    if isinstance(given, tuple | list) and len(given) == 2:
        try:
            x, y = (np.asarray(part) for part in given)
        except ValueError:
            raise UsageError("data: inputs must be equally long, and every label one.") from None
        return x, y, f"arrays of {counted(len(x), 'example')}"
    if isinstance(given, str) and given in TOYS:
        from sklearn import datasets

        x, y = getattr(datasets, f"load_{given}")(return_X_y=True)
        return x, y, f"{given} of scikit-learn"
    if isinstance(given, str | Path) and Path(given).suffix in (".npz", ".csv"):
        return *_from_file(Path(given)), Path(given).name
    if not isinstance(given, str):
        raise UsageError(
            f"data is {shown(given)} and must be the name of a set, a file, or a pair of arrays."
        )
    require_choice("data", given, (*images.names(), *TOYS))
    found = images.load(given, classes=case.classes, n=2 * case.train)
    return found.images / 255, found.labels, found.describe()


def _from_file(file: Path) -> tuple[np.ndarray, np.ndarray]:
    with files.reading(file):
        try:
            if file.suffix == ".npz":
                with np.load(file, allow_pickle=False) as content:
                    return content["x"], content["y"]
            rows = np.genfromtxt(file, delimiter=",", dtype=float, encoding="utf-8")
        except (ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:120]
            raise UsageError(f"data {shown(str(file))} cannot be used: {reason}.") from None
    rows = rows[1:] if rows.ndim == 2 and np.isnan(rows[0]).all() else rows  # a line of names
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise UsageError(f"data {shown(str(file))} must have a feature and a label in every line.")
    x, y = rows[:, :-1], rows[:, -1]
    if np.isnan(y).all():  # so that it is said that they are texts
        y = np.genfromtxt(file, delimiter=",", dtype=str, encoding="utf-8", usecols=[-1])[-len(x) :]
    return x, y


def _checked(case: Case, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if y.dtype.kind not in "iufb":
        names = ", ".join(shown(str(name)) for name in np.unique(y.astype(str))[:3])
        raise UsageError(f"data: labels are texts ({names}); number them, from 0.")
    if len(x) != len(y) or y.ndim != 1:
        raise UsageError(
            f"data: {counted(len(x), 'input')} with labels of shape {y.shape}; every input needs "
            "one label."
        )
    if x.dtype.kind not in "iufb":
        raise UsageError(f"data: inputs are of type {x.dtype} and must be real numbers.")
    x = x.reshape(len(x), -1).astype(float)
    for name, part in (("inputs", x), ("labels", y)):
        if bad := int((~np.isfinite(part)).sum()):
            raise UsageError(f"data: {counted(bad, 'number')} of the {name} are NaN or infinite.")
    if case.classes is not None:
        keep = np.isin(y, tuple(case.classes))
        x, y = x[keep], y[keep]
    if case.of_classes and (y != y.round()).any():
        raise UsageError("data: labels are no whole numbers; metric 'r2' is for such labels.")
    if len(y) < LEAST_EXAMPLES:
        raise UsageError(f"data: {counted(len(y), 'example')}, and {LEAST_EXAMPLES} are needed.")
    if len(np.unique(y)) < 2:
        what = "one class" if case.of_classes else "one value"
        raise UsageError(
            f"data: all labels are {shown(y[0].item())}: {what} leaves nothing to tell."
        )
    return x, y


def _scaled(case: Case, x: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Return inputs reduced and scaled by what the examples to learn from span."""
    if case.features:
        if case.features > min(x.shape[1], len(pool)):
            raise UsageError(f"features is {case.features}, and the data have {x.shape[1]}.")
        from sklearn.decomposition import PCA

        x = PCA(case.features, svd_solver="full").fit(x[pool]).transform(x)
    if case.scale == "angles":
        low, high = x[pool].min(0), x[pool].max(0)
        x = np.clip((x - low) / np.where(high > low, high - low, 1), 0, 1) * math.pi
    return np.ascontiguousarray(x)


# -- the circuit ---------------------------------------------------------------------------------


def require_fit(case: Case) -> None:
    """Refuse a circuit that cannot be trained on the data.

    Raises:
        UsageError: one sentence that says why.
    """
    x = case.examples.pool.inputs[:3]
    if case.before:
        x = _through("before", case.before, x)
    weights = case.starts(stream(0, "referee", "fit")).requires_grad_()
    shape = tuple(case.weights)
    try:
        gates, _ = circuits.anatomy(case.circuit, x.shape[1], shape)
    except Exception as error:
        raise UsageError(
            f"circuit does not run with {counted(x.shape[1], 'feature')} and weights of the shape "
            f"{shape}: {_said(error)}."
        ) from None
    _require_small(case, gates)
    run = circuits.outputs(case.circuit)
    try:
        made = run(x, weights)
        alone = torch.cat([run(row[None], weights) for row in x])
    except Exception as error:
        raise UsageError(
            "circuit does not run on a batch of inputs, whose feature i is x[..., i]: "
            f"{_said(error)}."
        ) from None
    if not made.requires_grad or made.is_complex():
        raise UsageError(
            "circuit cannot be differentiated: what it measures has no gradient in the weights; it "
            "must return expectation values or probabilities, and use its weights as tensors."
        )
    if made.shape != alone.shape or (made - alone).abs().max() > 1e-6:
        raise UsageError(
            "circuit treats a batch of inputs otherwise than one by one: take feature i of x as "
            "x[..., i]."
        )
    used = frozenset().union(*(gate.weights for gate in gates))
    if len(used) < weights.numel():
        raise UsageError(
            f"weights has the shape {shape}, and the circuit uses {len(used)} of these "
            f"{counted(weights.numel(), 'number')}."
        )
    for word, options in case.elsewhere.items():
        try:
            circuits.elsewhere(case.circuit, **options)(x[:1], weights)
        except QmlbookError as error:
            raise UsageError(f"{word}: {' '.join(str(error).split())}") from None
        except Exception as error:
            raise UsageError(f"{word}: circuit does not run there: {_said(error)}.") from None
    read = _through("after", case.after, made.detach()) if case.after else None
    if read is not None and read.shape[1:] != (case.examples.outputs,):
        raise UsageError(
            f"after makes {counted(read.shape[-1], 'number')} of what is measured, and the data "
            f"need {case.examples.outputs}."
        )


def _through(word: str, layers: Callable[[], nn.Module], x: Tensor) -> Tensor:
    """Return what layers of the reader's make of numbers, (B, features)."""
    try:
        return layers().double()(x).detach()
    except Exception as error:
        raise UsageError(
            f"{word} makes no layers for {counted(x.shape[1], 'number')}: {_said(error)}."
        ) from None


def _require_small(case: Case, gates: Sequence[circuits.Gate]) -> None:
    if not gates:
        raise UsageError("circuit has no gates.")
    qubits = 1 + max(max(gate.wires, default=0) for gate in gates)
    steps = LEAST_RUNS / 2 * case.epochs * case.train
    per_state = steps * len(gates) * SECONDS_PER_AMPLITUDE / 60
    most = int(math.log2(max(1.0, case.budget / per_state)))
    if qubits > most:
        raise UsageError(
            f"circuit has {qubits} qubits, and a budget of {case.budget:g} min allows {most}: "
            f"{LEAST_RUNS} runs would take about {per_state * 2**qubits:,.0f} min."
        )


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}".rstrip(". :")


def load_case(file: Path) -> Case:
    """Return the case that a Python file names ``case``.

    Raises:
        UsageError: the file is missing, raises, or has no case; one sentence says where.
    """
    with files.reading(file):
        content = file.read_bytes()
    try:
        text = content.decode("utf-8")
        made = runpy.run_path(str(file), run_name="qmlbook_case").get("case")
    except QmlbookError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
                 if frame.filename == str(file)]  # fmt: skip
        line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
        where = line or (lines[-1] if lines else 1)
        problem = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}".rstrip(". :")
        raise UsageError(f"{file.name}, line {where}, raises {problem}.") from None
    if not isinstance(made, Case):
        raise UsageError(f"{file.name} has no case: it must name one, case = Case(...).")
    return replace(made, source=text)
