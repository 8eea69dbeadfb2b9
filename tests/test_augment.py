"""Crops as matrices against torch's own interpolation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qmlbook.augment import RATIO, SCALE, Crops, draw_crops
from qmlbook.rng import stream


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
