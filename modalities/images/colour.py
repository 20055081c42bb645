"""Colour of pictures: torchvision's operations on floats, with one factor per picture.

Pictures are float (n, c, h, w) in [0, 1], c = 3 or 1; factors are (n,). Greyscale pictures have brightness and contrast only.
"""

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R 601), as torchvision has them."""

JITTER = ("brightness", "contrast", "saturation", "hue")


def grey(x: Tensor) -> Tensor:
    """(n, 3, h, w) -> (n, 1, h, w); greyscale pictures as they are."""
    if x.shape[1] == 1:
        return x
    r, g, b = x.unbind(1)
    return torch.add(r * GREY[0], g, alpha=GREY[1]).add_(b, alpha=GREY[2])[:, None]


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Times the factor, cut off at 1."""
    return (x * _each(factor)).clamp_(0, 1)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Away from (factor > 1) or towards the picture's mean grey."""
    factor, middle = _each(factor), grey(x).mean(dim=(1, 2, 3), keepdim=True)
    return (x * factor).add_(middle * (1 - factor)).clamp_(0, 1)


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Away from or towards the pixel's own grey."""
    return torch.lerp(grey(x), x, _each(factor)).clamp_(0, 1)


def hue(x: Tensor, shift: Tensor) -> Tensor:
    """Hue turned by `shift` of a full turn, value and saturation kept (HSV)."""
    r, g, b = x.unbind(1)
    top, least = torch.maximum(torch.maximum(r, g), b), torch.minimum(torch.minimum(r, g), b)
    chroma = top - least
    unit = chroma.clamp_min(1e-12)  # grey has no hue, and any will do
    # Sixths of a turn from red. Blends by a mask of zeros and ones: torch.where is thirty times as slow where it is irregular.
    sixths = torch.lerp((r - g).sub_(unit, alpha=2), (b - r).add_(unit, alpha=2), _equal(top, g))
    sixths = torch.lerp(sixths, g - b, _equal(top, r)).div_(unit).add_(6 * shift.view(-1, 1, 1))
    sixths.sub_((sixths / 6).round_(), alpha=6)  # -3 to 3
    # From 1 to 2, red falls from the value to the least, and green and blue rise.
    red, green, blue = (away.clamp_(1, 2) for away in (sixths.abs(), (sixths + 1).abs_(), (sixths - 1).abs_()))
    falling = (top + chroma).addcmul_(chroma, red, value=-1)
    rising = (torch.addcmul(least - chroma, chroma, away) for away in (green, blue))
    return torch.stack((falling, *rising), dim=1)


Operation = Callable[[Tensor, Tensor], Tensor]

OPERATIONS: tuple[Operation, ...] = (brightness, contrast, saturation, hue)


@cache
def compiled() -> tuple[Operation, ...]:
    """Each of the four by torch.compile; not all in one, since there are 24 orders of them."""
    return tuple(torch.compile(operation, dynamic=False) for operation in OPERATIONS)


def jitter(x: Tensor, factors: Tensor, order: Tensor, operations: Sequence[Operation] = OPERATIONS) -> Tensor:
    """Brightness, contrast, saturation and hue by factors (n, 4), in the order of row 0 of `order` (n, 4), on the CPU.

    torchvision draws an order for every picture; one for all pictures that come together needs no gathering.
    """
    for i in order[0].tolist():
        if i < 2 or x.shape[1] == 3:
            x = operations[i](x, factors[:, i])
    return x


def greyed(x: Tensor, on: Tensor) -> Tensor:
    """Grey in all three channels where `on` (n,)."""
    return torch.lerp(x, grey(x), _each(on.float()))


def noise(x: Tensor, sigma: Tensor, drawn: Tensor) -> Tensor:
    """Gaussian noise of standard deviation sigma (n,); drawn: standard normal, of x's shape."""
    return torch.addcmul(x, drawn, _each(sigma)).clamp_(0, 1)


def _equal(a: Tensor, b: Tensor) -> Tensor:
    """1.0 where they are equal, 0.0 elsewhere, without booleans between, which take ten times as long."""
    return torch.eq(a, b, out=torch.empty_like(a))


def _each(factor: Tensor) -> Tensor:
    return factor.view(-1, 1, 1, 1)
