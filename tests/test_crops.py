"""Crops against torch's interpolation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qmlbook.base.errors import UsageError
from qmlbook.base.rng import stream
from qmlbook.papers.shared.crops import RATIO, SCALE, Crops, draw_crops


@given(
    size=st.integers(2, 20),
    seed=st.integers(0, 10_000),
    data=st.data(),
)
def test_a_crop_equals_slicing_and_bilinear_interpolation(size, seed, data):
    height, width = data.draw(st.integers(1, size)), data.draw(st.integers(1, size))
    top, left = data.draw(st.integers(0, size - height)), data.draw(st.integers(0, size - width))
    flip = data.draw(st.booleans())
    image = torch.from_numpy(stream(seed, "image").random((1, size, size)))
    box = [np.array([v]) for v in (top, left, height, width)]
    ours = Crops(size, *box, np.array([flip]))(image)
    part = image[None, :, top : top + height, left : left + width]
    theirs = torch.nn.functional.interpolate(part, (size, size), mode="bilinear")[0]
    assert torch.allclose(ours, theirs.flip(-1) if flip else theirs, rtol=0, atol=1e-12)


def test_drawn_crops_stay_inside_and_follow_the_stated_ranges():
    crops = draw_crops(stream(0, "crops"), 20_000, 14)
    assert ((crops.top >= 0) & (crops.top + crops.height <= 14)).all()
    assert ((crops.left >= 0) & (crops.left + crops.width <= 14)).all()
    share = crops.height * crops.width / 14**2
    assert SCALE[0] * 0.6 < share.min()  # rounding to whole pixels moves the smallest ones
    assert share.max() <= SCALE[1]
    assert share.mean() == pytest.approx(np.mean(SCALE), abs=0.06)
    ratio = crops.width / crops.height
    assert RATIO[0] * 0.75 < ratio.min()
    assert ratio.max() < RATIO[1] * 1.34
    assert crops.flip.mean() == pytest.approx(0.5, abs=0.02)


def test_one_box_serves_a_batch():
    images = torch.rand(5, 14, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    crops = draw_crops(stream(1, "crops"), 1, 14)
    assert torch.equal(crops(images)[3], crops(images[3:4])[0])


def test_colour_crops_are_the_crops_of_every_channel():
    images = torch.from_numpy(stream(2, "images").random((4, 3, 14, 14)))
    crops = draw_crops(stream(3, "crops"), 4, 14, (0.2, 1.0))
    assert (crops.height * crops.width).min() > 0.15 * 14**2
    found = crops(images)
    for channel in range(3):
        assert torch.allclose(found[:, channel], crops(images[:, channel]), atol=1e-12)


def test_whole_numbers_cannot_be_cropped():
    images = torch.zeros(2, 8, 8, dtype=torch.uint8)
    with pytest.raises(UsageError, match=r"images must be floating-point .* not torch\.uint8"):
        draw_crops(stream(0, "crops"), 2, 8)(images)
