"""Random resized crops as linear maps.

A random resized crop followed by a flip is *linear* in the pixels: ``rows @ image @ columns.T``
with two small interpolation matrices. A frozen linear filter behind it can therefore be folded
into the crop once per batch, instead of resizing every image. The crop is drawn as torchvision's
``RandomResizedCrop`` draws it (``transforms/transforms.py``, ``get_params``), and interpolates as
``torch.nn.functional.interpolate(mode="bilinear")`` does; enlarging needs no antialiasing.

Crops are drawn first, for a whole batch and from a named stream, and applied afterwards, so that a
seed gives the same views everywhere.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...base.errors import UsageError

SCALE = (0.08, 1.0)  # share of the area that a crop covers
RATIO = (3 / 4, 4 / 3)  # width over height, log-uniform
ATTEMPTS = 10  # draws before torchvision falls back to the largest central crop


@dataclass(frozen=True)
class Crops:
    """Crop boxes and flips of ``n`` images of side ``size``; every field is an array of length n.

    ``top``, ``left``, ``height``, ``width`` are in pixels; ``flip`` says whether the result is
    mirrored left to right.
    """

    size: int
    top: np.ndarray
    left: np.ndarray
    height: np.ndarray
    width: np.ndarray
    flip: np.ndarray

    def matrices(self) -> tuple[Tensor, Tensor]:
        """Return ``rows`` and ``columns``, each (n, size, size) float64."""
        rows = _interpolation(self.top, self.height, self.size)
        columns = _interpolation(self.left, self.width, self.size)
        mirrored = np.where(self.flip[:, None, None], columns[:, ::-1], columns)
        return torch.from_numpy(rows), torch.from_numpy(np.ascontiguousarray(mirrored))

    def __call__(self, images: Tensor) -> Tensor:
        """Crop, resize back and flip images; shape and dtype are kept.

        Args:
            images: (n, size, size), or (n, 3, size, size) in colour, in floating-point numbers;
                a single box serves them all.

        Raises:
            UsageError: if the images are whole numbers, which weights from 0 to 1 cannot crop.
        """
        if not images.is_floating_point():
            raise UsageError(f"images must be floating-point numbers, not {images.dtype}.")
        rows, columns = (matrix.to(images) for matrix in self.matrices())
        if images.ndim == 4:
            rows, columns = rows[:, None], columns[:, None]
        return rows @ images @ columns.mT


def draw_crops(
    rng: np.random.Generator, n: int, size: int, scale: tuple[float, float] = SCALE
) -> Crops:
    """Draw ``n`` random resized crops with a fair flip each, for square images of side ``size``."""
    top, left = np.zeros(n, int), np.zeros(n, int)
    height, width = np.full(n, size), np.full(n, size)  # fallback: the whole (square) image
    open_ = np.ones(n, bool)
    lowest, highest = np.log(RATIO)
    for _ in range(ATTEMPTS):
        if not open_.any():
            break
        area = size**2 * rng.uniform(*scale, n)
        aspect = np.exp(rng.uniform(lowest, highest, n))
        w = np.rint(np.sqrt(area * aspect)).astype(int)
        h = np.rint(np.sqrt(area / aspect)).astype(int)
        i = rng.integers(0, np.maximum(size - h, 0) + 1)
        j = rng.integers(0, np.maximum(size - w, 0) + 1)
        good = open_ & (w > 0) & (w <= size) & (h > 0) & (h <= size)
        top[good], left[good], height[good], width[good] = i[good], j[good], h[good], w[good]
        open_ &= ~good
    return Crops(size, top, left, height, width, rng.random(n) < 0.5)


def _interpolation(start: np.ndarray, length: np.ndarray, size: int) -> np.ndarray:
    """Return (n, size, size): row d holds the weights of output pixel d on the input pixels."""
    source = (np.arange(size) + 0.5) * length[:, None] / size - 0.5
    source = np.maximum(source, 0.0)
    low = np.minimum(np.floor(source).astype(int), length[:, None] - 1)
    high = np.minimum(low + 1, length[:, None] - 1)
    fraction = (source - low)[..., None]
    pixels = np.arange(size) - start[:, None, None]  # input pixel, counted from the box's edge
    return (pixels == low[..., None]) * (1 - fraction) + (pixels == high[..., None]) * fraction
