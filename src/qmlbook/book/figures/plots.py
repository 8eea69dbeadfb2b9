"""One figure style and one colour-blind-safe palette for the whole book.

Most colours are those of Okabe and Ito; the same kind of model has the same colour on every page.
Each stands out from white paper by a contrast of 3 to 1, and from every other one, also for eyes
that lack one sort of cones.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

QUANTUM, CLASSICAL = "#0072B2", "#D55E00"
UNTRAINED, PUBLISHED, NEUTRAL = "#666666", "#000000", "#6C3C18"
COLOURS = {
    "quantum": QUANTUM,
    "classical": CLASSICAL,
    "untrained": UNTRAINED,
    "published": PUBLISHED,
}
DOTS: dict[str, Any] = {"markersize": 4, "markeredgewidth": 0, "alpha": 0.55}  # a run


def use_style() -> None:
    """Set the book's style for all figures of this process."""
    plt.style.use(Path(__file__).with_name("book.mplstyle"))
    colours = [QUANTUM, CLASSICAL, "#009E73", "#CC79A7"]
    mpl.rcParams["axes.prop_cycle"] = cycler(color=colours)


def gallery(rows: Mapping[str, Sequence[ArrayLike]], *, columns: int = 8) -> Figure:
    """Show labelled rows of grey images (side, side), all on one scale of 0 to 1."""
    size = (0.85 * columns + 1.2, 0.85 * len(rows))
    fig, axes = plt.subplots(len(rows), columns, figsize=size, squeeze=False)
    for line, (label, images) in zip(axes, rows.items(), strict=True):
        for ax in line:
            ax.axis("off")
        for ax, image in zip(line, images, strict=False):
            ax.imshow(np.asarray(image), vmin=0, vmax=1)
        line[0].text(-0.15, 0.5, label, ha="right", va="center", transform=line[0].transAxes)
    return fig


def strip(
    ax: Axes, groups: Mapping[str, ArrayLike], *, colours: Mapping[str, str] | None = None
) -> None:
    """Show every single run of each group as a dot, and the group's mean as a bar.

    ``colours`` maps group names to colours; a group is otherwise coloured by the first word of
    its name that the palette knows.
    """
    for position, _, runs, colour in _coloured(groups, colours):
        if not runs.size:  # nothing has been run yet: an empty column says so
            continue
        ax.plot(position + 0.3 * _spread(runs), runs, "o", color=colour, **DOTS)
        ax.plot([position - 0.3, position + 0.3], [runs.mean()] * 2, color=colour, lw=2)
    ax.set_xticks(range(len(groups)), list(groups))
    ax.grid(False, axis="x")


def lanes(
    ax: Axes,
    groups: Mapping[str, ArrayLike],
    *,
    published: Mapping[str, float] | None = None,
    colours: Mapping[str, str] | None = None,
) -> None:
    """Show the runs of each group in a row of its own, for groups with long names.

    A dot is a run, a bar the mean, a black diamond the published value of that group. A row stays
    empty while nothing has been run. Colours as in :func:`strip`.
    """
    for position, name, runs, colour in _coloured(groups, colours):
        if runs.size:
            ax.plot(runs, position + 0.25 * _spread(runs), "o", color=colour, **DOTS)
            ax.plot([runs.mean()] * 2, [position - 0.35, position + 0.35], color=colour, lw=2)
        if published and name in published:
            ax.plot(published[name], position, "D", ms=6, color=PUBLISHED)
    ax.set_yticks(range(len(groups)), list(groups))
    ax.set_ylim(len(groups) - 0.5, -0.5)  # the first row on top
    ax.grid(False, axis="y")


def intervals(
    ax: Axes,
    groups: Mapping[str, Sequence[float] | None],
    *,
    colours: Mapping[str, str] | None = None,
) -> None:
    """Show an interval of each group in a row of its own.

    Each is (mean, low, high, ...), as `qmlbook.evidence.stats` has them; a row stays empty for
    ``None``, while nothing has been run. Colours as in :func:`strip`.
    """
    ends = {name: () if found is None else found[:3] for name, found in groups.items()}
    for position, _, found, colour in _coloured(ends, colours):
        if found.size:
            mean, low, high = found
            ax.plot([low, high], [position] * 2, color=colour, lw=4, alpha=0.45)
            ax.plot(mean, position, "o", color=colour, ms=5)
    ax.set_yticks(range(len(groups)), list(groups))
    ax.set_ylim(len(groups) - 0.5, -0.5)  # the first row on top
    ax.grid(False, axis="y")


def circuit(qnode: Callable, *arguments: object, **options: object) -> Figure:
    """Draw a QNode, as it is executed with these arguments, with all wires and their labels."""
    import pennylane as qml

    # PennyLane places every gate itself; a layout engine would move them.
    with mpl.rc_context({"figure.constrained_layout.use": False, "axes.grid": False}):
        draw = qml.draw_mpl(qnode, style="pennylane", show_all_wires=True, **options)
        fig, _ = draw(*arguments)
        interactive = mpl.is_interactive()
    # The first figure of a notebook turns interactive mode on; the context turned it off again,
    # and no later figure would be shown.
    mpl.interactive(interactive)
    return fig


def chance(ax: Axes, level: float = 0.5) -> None:
    """Mark the accuracy of a coin."""
    ax.axhline(level, color="black", lw=0.8, ls=":", zorder=0)


def _coloured(
    groups: Mapping[str, ArrayLike], colours: Mapping[str, str] | None
) -> Iterator[tuple[int, str, np.ndarray, str]]:
    """Yield position, name, runs and colour of every group."""
    for position, (name, runs) in enumerate(groups.items()):
        colour = (colours or {}).get(name) or _colour_of(name)
        yield position, name, np.asarray(runs, dtype=float), colour


def _spread(runs: np.ndarray) -> np.ndarray:
    """Return sideways offsets in [-1, 1] that keep equal runs apart, without randomness."""
    order = np.argsort(np.argsort(runs, kind="stable"), kind="stable")
    golden = (order * 0.618033988749895) % 1  # neighbours in value land far apart
    return (2 * golden - 1) * (len(runs) > 1)


def _colour_of(name: str) -> str:
    words = re.findall(r"[a-z]+", name.lower())
    return next((COLOURS[word] for word in words if word in COLOURS), NEUTRAL)
