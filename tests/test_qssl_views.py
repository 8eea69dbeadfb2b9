"""Colours against Pillow and colorsys, warps by hand."""

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from qmlbook.base.rng import stream
from qmlbook.papers.qssl.views import (
    Colours,
    Softened,
    Warps,
    colour_view,
    draw_colours,
    draw_softened,
    draw_warps,
    view,
)

ON, OFF = np.array([True]), np.array([False])


def picture(size=16):
    """A colour image that is neither flat nor noise, values 0 to 1, as uint8 and as a tensor."""
    y, x = np.mgrid[:size, :size] / size
    pixels = np.stack([x, 0.2 + 0.6 * y, 0.5 + 0.4 * np.sin(5 * x * y)], -1)
    pixels = np.rint(255 * pixels).astype(np.uint8)
    return pixels, torch.from_numpy(pixels / 255).permute(2, 0, 1)[None]


def changed(image, jitter=ON, grey=OFF, order=(0, 1, 2, 3), **factors):
    names = ("brightness", "contrast", "saturation", "hue")
    row = [factors.get(name, neutral) for name, neutral in zip(names, (1, 1, 1, 0), strict=True)]
    return Colours(np.array([row], float), np.array([order]), jitter, grey)(image)


@pytest.mark.parametrize(
    ("name", "enhancer"),
    [("brightness", "Brightness"), ("contrast", "Contrast"), ("saturation", "Color")],
)
@pytest.mark.parametrize("factor", [0.6, 1.4])
def test_a_colour_change_is_pillows(name, enhancer, factor):
    pixels, image = picture()
    theirs = getattr(ImageEnhance, enhancer)(Image.fromarray(pixels)).enhance(factor)
    ours = changed(image, **{name: factor})[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - np.asarray(theirs) / 255).max() < 2.5 / 255


@pytest.mark.parametrize("turns", [-0.1, 0.03, 0.1])
def test_hue_turns_the_colour_circle(turns):
    pixels, image = picture(6)
    ours = changed(image, hue=turns)[0].permute(1, 2, 0).numpy()
    for row, wanted in zip(ours.reshape(-1, 3), pixels.reshape(-1, 3) / 255, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*wanted)
        turned = colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value)
        np.testing.assert_allclose(row, turned, atol=1e-4)


def test_changes_come_in_the_order_of_each_image():
    _, image = picture()
    factors = {"brightness": 1.4, "contrast": 0.6}
    first, second = (changed(image, order=o, **factors) for o in ((0, 1, 2, 3), (1, 0, 2, 3)))
    by_hand = changed(changed(image, contrast=0.6), brightness=1.4)
    assert torch.allclose(second, by_hand, atol=1e-6)
    assert not torch.allclose(first, by_hand, atol=1e-2)
    dark = 0.5 * image.flip(1)
    both = Colours(
        np.array([[1.4, 0.6, 1, 0]] * 2), np.array([[0, 1, 2, 3], [1, 0, 2, 3]]),
        np.array([True] * 2), np.array([False] * 2),
    )(torch.cat([image, dark]))  # fmt: skip
    alone = changed(dark, order=(1, 0, 2, 3), **factors)
    assert torch.allclose(both, torch.cat([first, alone]), atol=1e-6)


def test_images_that_are_not_chosen_stay_as_they_are():
    _, image = picture()
    assert torch.equal(changed(image, jitter=OFF, brightness=0.6, hue=0.1), image)
    grey = changed(image, jitter=OFF, grey=ON)
    luma = (image[0] * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    assert torch.allclose(grey[0], luma.expand(3, -1, -1).to(grey.dtype), atol=1e-6)


def test_colours_are_drawn_as_stated():
    drawn = draw_colours(stream(0, "colours"), 20_000)
    width = np.array([0.4, 0.4, 0.4, 0.1])
    middle = np.array([1, 1, 1, 0])
    assert (np.abs(drawn.factors - middle) <= width).all()
    np.testing.assert_allclose(drawn.factors.mean(0), middle, atol=0.01)
    np.testing.assert_allclose(drawn.factors.std(0), width / 3**0.5, rtol=0.02)
    assert (np.sort(drawn.order) == np.arange(4)).all()
    assert len(np.unique(drawn.order, axis=0)) == 24
    assert drawn.jitter.mean() == pytest.approx(0.8, abs=0.02)
    assert drawn.grey.mean() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_colour_view_comes_from_its_stream_alone(dtype):
    images = torch.from_numpy(stream(2, "images").random((30, 3, 32, 32))).to(dtype)
    before = torch.get_rng_state()
    one, two, other = (colour_view(stream(k, "view"), images, (0.2, 1.0)) for k in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert one.dtype == dtype
    assert one.shape == images.shape
    assert one.min() >= 0
    assert one.max() <= 1
    few = colour_view(stream(0, "view"), images[:1])
    assert few.shape == (1, 3, 32, 32)


def warp(n=1, size=8, **changes):
    plain = {"turn": np.zeros(n), "zoom": np.ones(n), "shift": np.zeros((n, 2)),
             "brightness": np.ones(n), "noise": np.zeros((n, size, size))}  # fmt: skip
    return Warps(**plain | changes)


def test_warps_turn_shift_and_brighten():
    image = torch.from_numpy(stream(0, "digit").random((1, 8, 8)))
    assert torch.allclose(warp()(image), image)
    quarter = warp(turn=np.array([np.pi / 2]))(image)
    assert torch.allclose(quarter, image.rot90(1, (1, 2)), atol=1e-6)
    left = warp(shift=np.array([[0.25, 0.0]]))(image)  # a quarter of the half width: one pixel
    assert torch.allclose(left[..., :-1], image[..., 1:])
    assert not left[..., -1].any()
    assert torch.allclose(warp(brightness=np.array([1.3]))(image), 1.3 * image)
    noise = stream(1, "noise").normal(size=(1, 8, 8))
    assert torch.allclose(warp(noise=noise)(image) - image, torch.from_numpy(noise))
    small = warp(zoom=np.array([0.5]))(torch.ones(1, 8, 8, dtype=torch.float64))
    assert small.sum().item() == pytest.approx(16)


def test_warps_are_drawn_as_stated():
    drawn = draw_warps(stream(0, "warps"), 10_000, 2)
    ranges = {"turn": (-0.35, 0.35), "zoom": (0.7, 1.2), "brightness": (0.6, 1.4)}
    for name, (low, high) in ranges.items():
        values = getattr(drawn, name)
        assert low <= values.min() < low + 0.01
        assert high - 0.01 < values.max() <= high
    assert np.abs(drawn.shift).max() <= 0.25
    assert drawn.noise.std() == pytest.approx(0.1, rel=0.02)


def test_turned_and_blurred_as_the_text_names_it():
    image = torch.from_numpy(stream(0, "soft").random((2, 3, 8, 8)))
    sharp, straight = np.zeros(2), np.zeros(2)
    assert torch.allclose(Softened(straight, sharp)(image), image, atol=1e-12)
    quarter = Softened(np.array([np.pi / 2, 0.0]), sharp)(image)
    assert torch.allclose(quarter[0], image[0].rot90(1, (1, 2)), atol=1e-6)
    assert torch.allclose(quarter[1], image[1], atol=1e-12)
    point = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    point[..., 2, 2] = 1
    seen = Softened(np.zeros(1), np.array([1.0]))(point)[0, 0]
    row = np.exp([-0.5, 0, -0.5]) / np.exp([-0.5, 0, -0.5]).sum()
    np.testing.assert_allclose(seen[1:4, 1:4], np.outer(row, row), atol=1e-12)
    assert seen.sum().item() == pytest.approx(1)
    drawn = draw_softened(stream(1, "soft"), 4000)
    assert np.abs(drawn.turn).max() <= np.pi / 12
    assert (drawn.blur > 0).mean() == pytest.approx(0.5, abs=0.03)


def test_rotation_and_blur_come_from_a_stream_of_their_own():
    images = torch.rand(6, 3, 32, 32)
    plain, more = (
        view(stream(0, "v"), images, (0.2, 1.0), extra) for extra in (None, stream(0, "more"))
    )
    assert not torch.equal(plain, more)
    mean = torch.stack([plain, more]).mean((-1, -2))
    assert (mean[0] - mean[1]).abs().max() < 0.5  # the same crops and colours behind it
