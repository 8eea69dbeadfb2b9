"""Live figures of stored runs and trained circuits, on small data, and what scripts return."""

import javascript
import matplotlib.pyplot as plt
import numpy as np
import pennylane as qml

from qmlbook.base.rng import stream
from qmlbook.book.figures import live_figures
from qmlbook.book.figures.live_figures import live
from qmlbook.papers.c2q import circuits
from qmlbook.papers.qssl import circuits as rings

HOSTILE = '</script> & <b> "'


def picture():
    """Return a plain picture."""
    figure, ax = plt.subplots(figsize=(2, 1))
    ax.plot([0, 1])
    return figure


def asked(kind, body, given):
    """Return what the body of a function of ``given`` returns, with the modules of a kind."""
    script = live_figures.script(kind) + f"\nfunction asked(given) {{ {body} }}\n"
    return javascript.ask(script, "asked", given)


# --- heads at step sizes ---

STEPS = [0.001, 0.01, 0.1]
LEVELS = {
    "10-general": (80, 86, 85),
    "4-zx": (60, 80, 83),
    "1d": (73, 91, 87),
    "dense": (94, 97, 96),
}


def steps():
    """Return four heads at three steps: as published all but one classical head are behind."""
    heads = [
        {"name": name, "quantum": "-" in name, "runs": [[v - 1.0, v + 1.0] for v in levels]}
        for name, levels in LEVELS.items()
    ]
    data = {"heads": heads, "steps": STEPS, "start": [1, 0], "largest": "10-general"}
    return live("steps", picture(), "Steps", HOSTILE, **data)


# --- a quadratic form ---

TURNS = np.array([0.4, -1.1, 0.9, 1.6, -0.5, 2.0])


@qml.qnode(qml.device("default.qubit", wires=["a", "b"]))
def last_round(features, angles):
    """Return the probabilities of the kept wire, as in the chapter."""
    qml.AmplitudeEmbedding(features, wires=["a", "b"], normalize=True)
    circuits.sketch(4)(angles[:4])
    circuits.sketch("zx")(angles[4:])
    return qml.probs(wires="b")


def form():
    """Return the figure of the chapter."""
    given = live_figures.circuit(last_round, np.ones(4), TURNS)
    names = [f"angle {k}" for k in range(1, 7)]
    return live("form", picture(), "Form", HOSTILE, **given, names=names, wire=1)


# --- networks while they learn ---

SOURCES = [
    {
        "batches": [1, 14, 176],
        "networks": {"ring": {str(s): [30 + s, 36, 46 + s] for s in range(8, 12)}},
    },
    {
        "batches": [1, 176],
        "networks": {
            "ring": {str(s): [33 + s, 47 - s] for s in range(4)},
            "classical": {str(s): [30, 43] for s in range(5)},
            "wide": {"0": [31, 48], "1": [32, 49]},
        },
    },
]
PUBLISHED = {
    "batches": [1, 14],
    "curves": {
        "ring": {"mean": [33.5, 36], "spread": [1.2, 1.4]},
        "classical": {"mean": [30, 34.5], "spread": [1.6, 2.7]},
    },
}


def checkpoints(sources=SOURCES):
    """Return two sources of runs, of which two networks share the one with fewer checkpoints."""
    quantiles = live_figures.quantiles(range(3, 101))
    data = {"sources": sources, "published": PUBLISHED, "quantiles": quantiles, "least": 3}
    return live("checkpoints", picture(), "Two", HOSTILE, **data, start=["ring", "classical"])


# --- a sampled circuit ---

WIRES = 4


@qml.qnode(qml.device("default.qubit", wires=WIRES))
def ring(angles, params):
    """Return the features of a small ring."""
    return rings.features(angles, params, layers=1)


def sampled_ring(n=40):
    """Return angles, trained angles and a probe of a small ring."""
    rng = stream(0, "sampled ring")
    angles = rng.uniform(0, np.pi, (n, WIRES)).round(3)
    return angles, rng.normal(0, 1, 2 * WIRES), rng.normal(size=(3, WIRES)), rng.normal(size=3)


def shots():
    """Return the ring, named by a random probe, with labels that the exact circuit gives."""
    angles, params, weight, bias = sampled_ring()
    labels = [int(np.argmax(weight @ np.array(ring(one, params)) + bias)) for one in angles]
    data = {"labels": labels, "weight": weight.tolist(), "bias": bias.tolist(), "rival": 41.5}
    data |= {"angles": np.rint(1000 * angles).astype(int).tolist(), "counts": [1, 10, 100]}
    given = live_figures.circuit(ring, angles[0], params)
    return live("shots", picture(), "Shots", HOSTILE, **given, **data, start=10)


FIGURES = {"steps": steps, "form": form, "checkpoints": checkpoints, "shots": shots}
