"""Random views of images: a crop and colour changes, or for small grey images a warp.

Every augmentation is drawn first, for a whole batch and from a named stream, and applied
afterwards, so that a seed gives the same views everywhere. Colours are changed by kornia with the
numbers drawn here: its own augmentations draw from torch's global generator, and share the order
of the changes within a batch.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..shared.crops import SCALE, draw_crops

STRENGTH = (0.4, 0.4, 0.4, 0.1)  # of brightness, contrast, saturation, hue (in turns)
JITTER, GREY = 0.8, 0.2  # probabilities that these change at all, that an image becomes grey
# Per channel, as released (train_simclr.py 252).
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


@dataclass(frozen=True)
class Colours:
    """Colour changes of ``n`` images, as torchvision's ``ColorJitter`` and ``RandomGrayscale``.

    ``factors`` is (n, 4): of brightness, contrast and saturation, 1 for no change, and the shift of
    hue in turns, 0 for no change; ``order`` (n, 4) says which of them comes first, second, ...;
    ``jitter`` and ``grey`` (n,) say whether an image is changed, and whether it loses its colours
    afterwards.
    """

    factors: np.ndarray
    order: np.ndarray
    jitter: np.ndarray
    grey: np.ndarray

    def __call__(self, images: Tensor) -> Tensor:
        """Return changed copies of images (n, 3, h, w) with values from 0 to 1."""
        from kornia.color import rgb_to_grayscale

        steps = _colour_steps()
        factors = torch.from_numpy(self.factors).to(images.dtype)
        images = images.clone()
        for place in range(4):
            for number, step in enumerate(steps):
                chosen = torch.from_numpy(self.jitter & (self.order[:, place] == number))
                images[chosen] = step(images[chosen], factors[chosen, number]).clamp(0, 1)
        grey = torch.from_numpy(self.grey)
        images[grey] = rgb_to_grayscale(images[grey]).expand(-1, 3, -1, -1)
        return images


def _colour_steps() -> tuple:
    """Return kornia's functions that use torchvision's formulas, in the order of the factors."""
    from kornia import enhance

    return (
        enhance.adjust_brightness_accumulative,
        enhance.adjust_contrast_with_mean_subtraction,
        enhance.adjust_saturation_with_gray_subtraction,
        lambda images, turns: enhance.adjust_hue(images, 2 * torch.pi * turns),
    )


def draw_colours(rng: np.random.Generator, n: int) -> Colours:
    """Draw the colour changes of ``n`` images.

    Factors of brightness, contrast and saturation are uniform in 1 +- `STRENGTH`, the shift of hue
    in +- it; an image's changes have an order of their own.
    """
    return Colours(
        factors=np.array([1, 1, 1, 0]) + np.array(STRENGTH) * rng.uniform(-1, 1, (n, 4)),
        order=rng.permuted(np.tile(np.arange(4), (n, 1)), axis=1),
        jitter=rng.random(n) < JITTER,
        grey=rng.random(n) < GREY,
    )


def colour_view(
    rng: np.random.Generator, images: Tensor, scale: tuple[float, float] = SCALE
) -> Tensor:
    """Return one random view of colour images: crop, colour changes, greyscale, flip.

    This is the augmentation of Chen et al.'s SimCLR without blur, as released with
    bjader/QSSL, train_simclr.py 255-264. Pixels stay floating-point numbers throughout, where
    torchvision rounds them to 8 bits after every step.

    Args:
        rng: stream of the draws.
        images: (n, 3, size, size) with values from 0 to 1.
        scale: smallest and largest share of the area that a crop covers.
    """
    crops = draw_crops(rng, len(images), images.shape[-1], scale)
    return draw_colours(rng, len(images))(crops(images))


@dataclass(frozen=True)
class Softened:
    """Rotation (radians) and Gaussian blur (standard deviation in pixels) of ``n`` images, (n,).

    Where ``blur`` is 0 an image stays sharp.
    """

    turn: np.ndarray
    blur: np.ndarray

    def __call__(self, images: Tensor) -> Tensor:
        """Return changed copies of images (n, c, s, s); outside of an image its edge goes on."""
        cos, sin, none = np.cos(self.turn), np.sin(self.turn), np.zeros(len(self.turn))
        matrix = np.stack([np.stack([cos, -sin, none]), np.stack([sin, cos, none])])
        theta = torch.from_numpy(matrix.transpose(2, 0, 1).copy()).to(images.dtype)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        turned = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
        away = np.exp(-0.5 / np.maximum(self.blur, 1e-3) ** 2)  # weight of the next pixel
        row = np.stack([away, np.ones_like(away), away], 1) / (1 + 2 * away)[:, None]
        kernel = torch.from_numpy(row[:, :, None] * row[:, None]).to(images.dtype)
        kernels = kernel.repeat_interleave(images.shape[1], 0)[:, None]
        edged = F.pad(turned, (1, 1, 1, 1), mode="replicate").flatten(0, 1)[None]
        return F.conv2d(edged, kernels, groups=len(kernels)).view_as(images)


def draw_softened(rng: np.random.Generator, n: int) -> Softened:
    """Draw rotations and blurs of ``n`` images.

    The text names both without numbers. Turns are uniform within 15 degrees; half of the images are
    blurred as by Chen et al. (SimCLR): 0.1 to 2 pixels, in a window of a tenth of the image.
    """
    turn = np.pi / 12 * rng.uniform(-1, 1, n)
    return Softened(turn, rng.uniform(0.1, 2.0, n) * (rng.random(n) < 0.5))


@dataclass(frozen=True)
class Warps:
    """Rotation (radians), zoom, shift (in half widths), brightness and noise of ``n`` grey images.

    ``turn``, ``zoom`` and ``brightness`` are (n,), ``shift`` is (n, 2), ``noise`` (n, size, size).
    """

    turn: np.ndarray
    zoom: np.ndarray
    shift: np.ndarray
    brightness: np.ndarray
    noise: np.ndarray

    def __call__(self, images: Tensor) -> Tensor:
        """Return warped copies of images (n, size, size); outside of an image there is 0."""
        cos, sin = np.cos(self.turn) / self.zoom, np.sin(self.turn) / self.zoom
        matrix = np.stack(
            [np.stack([cos, -sin, self.shift[:, 0]]), np.stack([sin, cos, self.shift[:, 1]])]
        )
        theta = torch.from_numpy(matrix.transpose(2, 0, 1).copy()).to(images.dtype)
        grid = F.affine_grid(theta, [len(images), 1, *images.shape[1:]], align_corners=False)
        warped = F.grid_sample(images[:, None], grid, align_corners=False)[:, 0]
        brightness = torch.from_numpy(self.brightness).to(images.dtype)
        return warped * brightness[:, None, None] + torch.from_numpy(self.noise).to(images.dtype)


def draw_warps(rng: np.random.Generator, n: int, size: int) -> Warps:
    """Draw small warps for ``n`` square images of side ``size``, mild enough for 8x8 digits."""
    return Warps(
        turn=rng.uniform(-0.35, 0.35, n),
        zoom=rng.uniform(0.7, 1.2, n),
        shift=rng.uniform(-0.25, 0.25, (n, 2)),
        brightness=rng.uniform(0.6, 1.4, n),
        noise=rng.normal(0, 0.1, (n, size, size)),
    )


def normalise(images: Tensor) -> Tensor:
    """Return colour images as the encoder takes them; grey ones stay as they are."""
    if images.shape[1] == 1:
        return images
    mean, std = (torch.tensor(v, dtype=images.dtype)[:, None, None] for v in (MEAN, STD))
    return (images - mean) / std


def view(
    rng: np.random.Generator,
    images: Tensor,
    scale: tuple[float, float],
    more: np.random.Generator | None = None,
) -> Tensor:
    """Return a random view of images with values from 0 to 1, as the encoder takes them.

    Args:
        rng: stream of the draws.
        images: (B, 3, s, s), or grey (B, 1, s, s), which are warped instead of cropped.
        scale: smallest and largest share of a colour image that is kept.
        more: stream of rotations and blurs, which colour images are spared without it.
    """
    if images.shape[1] == 1:
        return draw_warps(rng, len(images), images.shape[-1])(images[:, 0])[:, None]
    seen = colour_view(rng, images, scale)
    return normalise(seen if more is None else draw_softened(more, len(seen))(seen))
