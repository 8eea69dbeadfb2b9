"""From images to data features (load_mnist.py, load_cifar.py, qdeq_model.py 109-124)."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...base.errors import require_choice
from ..shared.splits import Split, load_split

MEAN, DEVIATION = 0.1307, 0.3081  # MNIST's, used for every data set
WINDOWS = {4: (6, 6, 0), 10: (5, 3, 2)}  # wires: side, stride, zero padding (counted in the mean)
CHUNK = 2000  # images prepared at once


def pooled(images: Tensor, n_wires: int) -> Tensor:
    """Normalise and pool (load_mnist.py 88-96).

    Args:
        images: (B, 28, 28) grey values 0..255, floating point.
        n_wires: 4 (the last four rows and columns are dropped) or 10 (the border is pulled
            towards 0 by the padding).

    Returns:
        (B, n^2) features, row-major.

    Raises:
        UsageError: if nothing is known about ``n_wires``.
    """
    require_choice("n_wires", n_wires, WINDOWS)
    side, stride, padding = WINDOWS[n_wires]
    normalised = (images / 255 - MEAN) / DEVIATION
    return F.avg_pool2d(normalised[:, None], side, stride, padding).flatten(1)


def grey(images: Tensor) -> Tensor:
    """Return images (B, 28, 28), grey values 0..255.

    Colour images (B, 32, 32, 3) become grey by the usual weights of red, green and blue and are
    shrunk by bilinear interpolation (load_cifar.py 87-96). Normalising afterwards gives the same.
    """
    if images.ndim == 3:
        return images
    weights = images.new_tensor([0.2989, 0.587, 0.114])  # torchvision's
    shades = (images @ weights)[:, None]
    return F.interpolate(shades, size=(28, 28), mode="bilinear", align_corners=False)[:, 0]


@lru_cache(maxsize=8)
def load_pooled(dataset: str, classes: tuple[int, ...], split: str, n: int | None) -> Split:
    """Load and pool images; as many wires as classes.

    Args:
        dataset, split, n: as of `qmlbook.data.load`.
        classes: raw labels; the lowest becomes label 0.

    Returns:
        The features u (N, D), float64, with their labels.

    Raises:
        QmlbookError: if the images are neither here nor can be fetched.
    """

    def prepare(images: np.ndarray) -> Tensor:
        parts = torch.from_numpy(images).double().split(CHUNK)
        return torch.cat([pooled(grey(part), len(classes)) for part in parts])

    return load_split(dataset, tuple(sorted(classes)), split, n, prepare)
