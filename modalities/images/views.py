"""Views of pictures: each recipe is a list of steps that first draw one parameter per picture and then apply them all at once.

A batch goes in and comes out as uint8; between, the steps work on floats in [0, 1], 64 pictures at a time on a CPU (they
stay in its cache).
"""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from bench.adapter import Batch, View
from modalities.images import colour, geometry

CHUNK = 64
ATTEMPTS = 10  # of torchvision's RandomResizedCrop to draw a box that fits
PATCHES = 8  # masking cuts a side into so many patches, as long as they have a pixel

Parameters = tuple[Tensor, ...]
"""What a step draws: tensors with one row per picture."""


class Step(NamedTuple):
    """One operation of a recipe."""

    draw: Callable[[Tensor, torch.Generator], Parameters]
    apply: Callable[..., Tensor]  # (x float (n, c, h, w), *parameters) -> the same shape


def view(steps: list[Step]) -> View:
    """Draw for the whole batch, then apply the steps one after the other."""

    def seen(batch: Batch, rng: torch.Generator) -> Batch:
        (x,) = batch
        # Training runs in bf16; pixels and positions need more digits. Without gradients a small operation starts faster.
        with torch.inference_mode(), torch.autocast(x.device.type, enabled=False):
            drawn = [step.draw(x, rng) for step in steps]
            size = together(x)
            parts = [_applied(x[i : i + size], steps, drawn, slice(i, i + size)) for i in range(0, len(x), size)]
        return (torch.cat(parts),)

    return seen


def _applied(x: Tensor, steps: list[Step], drawn: list[Parameters], rows: slice) -> Tensor:
    out = floats(x)
    for step, parameters in zip(steps, drawn, strict=True):
        out = step.apply(out, *(p[rows] for p in parameters))
    return bytes_(out)


def together(x: Tensor) -> int:
    """How many pictures the steps work on at once."""
    return CHUNK if x.device.type == "cpu" else len(x)


def floats(x: Tensor) -> Tensor:
    """uint8 -> float in [0, 1]."""
    return x.float().div_(255)


def bytes_(x: Tensor) -> Tensor:
    """Float in [0, 1] -> uint8, rounded."""
    return x.mul(255).add_(0.5).to(torch.uint8)


# Steps


def crop(least: float, flip: float) -> Step:
    """Random resized crop (area `least` to 1, sides 3:4 to 4:3) and a flip of probability `flip`, in one resampling."""

    def draw(x: Tensor, rng: torch.Generator) -> Parameters:
        n, device = len(x), x.device
        return boxes(x, least, rng), torch.rand(n, generator=rng, device=device) < flip

    return Step(draw, geometry.crop_flip)


def boxes(x: Tensor, least: float, rng: torch.Generator) -> Tensor:
    """Boxes (top, left, height, width), (n, 4) whole numbers as floats, as torchvision's `RandomResizedCrop.get_params`."""
    n, (h, w), device = len(x), x.shape[2:], x.device
    u = torch.rand(4, n, ATTEMPTS, generator=rng, device=device)
    area, ratio = h * w * (least + (1 - least) * u[0]), torch.exp((2 * u[1] - 1) * math.log(4 / 3))
    width, height = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (width > 0) & (width <= w) & (height > 0) & (height <= h)
    first = fits.int().argmax(dim=1, keepdim=True)  # the first that fits; where none does, the whole picture
    found = fits.gather(1, first)
    width, height = torch.where(found, width.gather(1, first), w), torch.where(found, height.gather(1, first), h)
    top, left = (u[2, :, :1] * (h - height + 1)).floor(), (u[3, :, :1] * (w - width + 1)).floor()
    return torch.cat((top, left, height, width), dim=1)


def flip() -> Step:
    """Mirrored left and right with probability 1/2."""
    return Step(lambda x, rng: (coin(x, rng, 0.5),), lambda x, on: torch.where(on.view(-1, 1, 1, 1), x.flip(3), x))


def jitter(strengths: tuple[float, float, float, float], probability: float = 0.8, *, compiled: bool = False) -> Step:
    """Colour jitter: factors 1 ± strength for brightness, contrast and saturation, hue turned by at most its strength."""

    def draw(x: Tensor, rng: torch.Generator) -> Parameters:
        n, device = len(x), x.device
        on = coin(x, rng, probability)[:, None]
        shifts = (2 * torch.rand(n, 4, generator=rng, device=device) - 1) * constant(strengths, device)
        return torch.where(on, shifts, 0) + constant((1.0, 1.0, 1.0, 0.0), device), orders(x, rng)

    return Step(draw, partial(colour.jitter, operations=colour.compiled()) if compiled else colour.jitter)


def orders(x: Tensor, rng: torch.Generator) -> Tensor:
    """An order of the four colour operations for the pictures that come together, (n, 4) on the CPU.

    From the generator's seed, which needs no wait for a GPU; so the two views of a step share their orders.
    """
    host = torch.Generator().manual_seed(rng.initial_seed())
    size = together(x)
    drawn = [torch.randperm(4, generator=host) for _ in range(0, len(x), size)]
    return torch.stack(drawn).repeat_interleave(size, dim=0)[: len(x)]


def to_grey(probability: float = 0.2) -> Step:
    """Greyscale, now and then."""
    return Step(lambda x, rng: (coin(x, rng, probability),), colour.greyed)


def blur(probability: float, least: float = 0.1, most: float = 2.0) -> Step:
    """Gaussian blur of standard deviation `least` to `most` pixels."""

    def draw(x: Tensor, rng: torch.Generator) -> Parameters:
        sigma = least + (most - least) * torch.rand(len(x), generator=rng, device=x.device)
        return (torch.where(coin(x, rng, probability), sigma, 0),)

    return Step(draw, geometry.blur)


def rotation() -> Step:
    """Turned by 0, 90, 180 or 270 degrees, each as likely."""
    return Step(lambda x, rng: (torch.randint(4, (len(x),), generator=rng, device=x.device),), geometry.quarter_turns)


def noise(most: float = 0.2) -> Step:
    """Gaussian noise of a standard deviation between 0 and `most` of the range."""

    def draw(x: Tensor, rng: torch.Generator) -> Parameters:
        sigma = most * torch.rand(len(x), generator=rng, device=x.device)
        return sigma, torch.randn(x.shape, generator=rng, device=x.device)

    return Step(draw, colour.noise)


def sobel(probability: float = 0.5) -> Step:
    """Edges instead of the picture."""
    return Step(lambda x, rng: (coin(x, rng, probability),), geometry.sobel)


def cutout(fill: tuple[float, ...]) -> Step:
    """A square of half the side with a uniform centre, cut at the border, becomes the mean (DeVries and Taylor 2017)."""

    def draw(x: Tensor, rng: torch.Generator) -> Parameters:
        centre = (torch.rand(len(x), 2, generator=rng, device=x.device) * constant(tuple(x.shape[2:]), x.device)).floor()
        half = min(x.shape[2:]) // 2
        return (torch.cat((centre - half // 2, torch.full_like(centre, half)), dim=1),)

    return Step(draw, lambda x, box: geometry.erase(x, box, constant(fill, x.device)))


def masking(rate: float, fill: tuple[float, ...]) -> Step:
    """Patches become the mean with probability `rate`, independently: an eighth of the side each, at least a pixel."""

    def draw(x: Tensor, rng: torch.Generator) -> Parameters:
        grid = [min(PATCHES, size) for size in x.shape[2:]]
        return (torch.rand(len(x), *grid, generator=rng, device=x.device) < rate,)

    return Step(draw, lambda x, hit: geometry.mask_patches(x, hit, constant(fill, x.device)))


@cache
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers on a device, float32; kept, since each copy to a GPU would wait for it."""
    return torch.tensor(values, dtype=torch.float32, device=device)


def coin(x: Tensor, rng: torch.Generator, probability: float) -> Tensor:
    """True with a probability, for each picture: (n,)."""
    return torch.rand(len(x), generator=rng, device=x.device) < probability
