"""From a 28 x 28 image to data features (load_mnist.py 88-96, qdeq_model.py 109-124)."""

from torch import Tensor
from torch.nn import functional as F

from ...base.errors import choose

MEAN, DEVIATION = 0.1307, 0.3081  # MNIST's, used for every data set
POOLING = {4: (6, 6, 0), 10: (5, 3, 2)}  # wires: window, stride, zero padding (counted in the mean)


def features(images: Tensor, n_wires: int) -> Tensor:
    """Normalise and pool.

    Args:
        images: (B, 28, 28) grey values 0..255, floating point.
        n_wires: 4 (the last four rows and columns are dropped) or 10 (the border is pulled
            towards 0 by the padding).

    Returns:
        (B, n^2) features, row-major.

    Raises:
        UsageError: if ``n_wires`` has no pooling.
    """
    if n_wires not in POOLING:
        raise choose("n_wires", n_wires, POOLING)
    window, stride, padding = POOLING[n_wires]
    normalised = (images / 255 - MEAN) / DEVIATION
    return F.avg_pool2d(normalised[:, None], window, stride, padding).flatten(1)


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
