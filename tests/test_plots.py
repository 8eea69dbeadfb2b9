"""The palette: told apart by every eye, and from the paper."""

from itertools import combinations

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch
from kornia.color import linear_rgb_to_rgb, rgb_to_lab, rgb_to_linear_rgb

from qmlbook.book.figures import plots

# What eyes that lack one sort of cones see, on linear RGB: Machado, Oliveira and Fernandes, "A
# physiologically-based model for simulation of color vision deficiency", IEEE Transactions on
# Visualization and Computer Graphics 15 (2009) 1291-1298, severity 1.0.
EYES = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
JUST_SEEN = 2.3  # the smallest step of CIELAB's distance that an eye sees
APART = 6 * JUST_SEEN


@pytest.fixture
def palette():
    """Return every colour that the book's style uses, by its code: linear red, green and blue."""
    with mpl.rc_context():
        plots.use_style()
        cycle = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    codes = sorted({*plots.COLOURS.values(), plots.NEUTRAL, *cycle})
    colours = torch.tensor([mpl.colors.to_rgb(code) for code in codes], dtype=torch.float64)
    return dict(zip(codes, rgb_to_linear_rgb(colours[..., None, None]), strict=True))


def seen(colour, eye):
    """Return a colour as an eye sees it, in CIELAB."""
    matrix = torch.tensor(EYES[eye], dtype=torch.float64)
    linear = torch.einsum("ij,jhw->ihw", matrix, colour).clamp(0, 1)
    return rgb_to_lab(linear_rgb_to_rgb(linear)).flatten()


@pytest.mark.parametrize("eye", EYES)
def test_colours_are_told_apart(palette, eye):
    for (one, first), (other, second) in combinations(palette.items(), 2):
        distance = torch.dist(seen(first, eye), seen(second, eye))
        assert distance > APART, f"{one} and {other}: {distance:.1f}"


def test_the_eyes_are_those_of_the_paper():
    """Greys look the same to all eyes; red and green become alike to two sorts of them."""
    grey, red, green = (
        torch.tensor(colour, dtype=torch.float64)[:, None, None]
        for colour in ([0.2] * 3, [0.5, 0.0, 0.0], [0.0, 0.2, 0.0])
    )
    for eye, matrix in EYES.items():
        assert torch.tensor(matrix).sum(1) == pytest.approx([1, 1, 1], abs=1e-5)
        assert seen(grey, eye) == pytest.approx(seen(grey, "all cones"), abs=1e-3)
    apart = {eye: float(torch.dist(seen(red, eye), seen(green, eye))) for eye in EYES}
    assert apart["deuteranopia"] < apart["all cones"] / 3
    assert apart["protanopia"] < apart["all cones"] / 3
    assert apart["tritanopia"] > apart["all cones"] / 2


def test_colours_stand_out_from_the_paper(palette):
    assert len(palette) >= 6
    with mpl.rc_context():
        plots.use_style()
        paper = rgb_to_linear_rgb(
            torch.tensor(mpl.colors.to_rgb(mpl.rcParams["figure.facecolor"]))[:, None, None]
        )
    luminance = torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.float64)
    for code, colour in palette.items():
        light, dark = (float(luminance @ each.flatten().double()) for each in (paper, colour))
        assert (light + 0.05) / (dark + 0.05) >= 3, code


def test_intervals_keep_a_row_for_what_was_not_run():
    fig, ax = plt.subplots()
    plots.intervals(ax, {"quantum": (0.5, 0.4, 0.7, 20), "normalised": None})
    line, dot = ax.lines
    assert (list(line.get_xdata()), list(dot.get_xdata())) == ([0.4, 0.7], [0.5])
    assert dot.get_color() == plots.QUANTUM
    assert [label.get_text() for label in ax.get_yticklabels()] == ["quantum", "normalised"]
    plt.close(fig)
