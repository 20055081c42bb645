"""Colour of pictures: torchvision's operations on floats, with one factor per picture.

Pictures are float (n, c, h, w) in [0, 1], c = 3 or 1; factors are (n,). Greyscale pictures have brightness and contrast only.
"""

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
    return _away(x, grey(x).mean(dim=(1, 2, 3), keepdim=True), factor)


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Away from or towards the pixel's own grey."""
    return _away(x, grey(x), factor)


def hue(x: Tensor, shift: Tensor) -> Tensor:
    """Hue turned by `shift` of a full turn, value and saturation kept (HSV)."""
    r, g, b = x.unbind(1)
    top, chroma = x.amax(dim=1), x.amax(dim=1) - x.amin(dim=1)
    unit = torch.where(chroma > 0, chroma, 1.0)
    sixths = torch.where(top == r, (g - b) / unit, torch.where(top == g, (b - r) / unit + 2, (r - g) / unit + 4))
    sixths = sixths + 6 * shift.view(-1, 1, 1)
    out = torch.empty_like(x)
    for i, corner in enumerate((5, 3, 1)):  # how far the channel falls below the value at this hue
        k = (sixths + corner).remainder_(6)
        out[:, i] = torch.addcmul(top, chroma, torch.minimum(k, 4 - k).clamp_(0, 1), value=-1)
    return out


def jitter(x: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue by factors (n, 4), in the order of row 0 of `order` (n, 4), on the CPU.

    torchvision draws an order for every picture; one for all pictures that come together needs no gathering.
    """
    every = (brightness, contrast, saturation, hue)
    kinds = [i for i in order[0].tolist() if i < 2 or x.shape[1] == 3]
    for i in kinds:
        x = every[i](x, factors[:, i])
    return x


def greyed(x: Tensor, on: Tensor) -> Tensor:
    """Grey in all three channels where `on` (n,)."""
    return torch.where(on.view(-1, 1, 1, 1), grey(x), x)


def noise(x: Tensor, sigma: Tensor, drawn: Tensor) -> Tensor:
    """Gaussian noise of standard deviation sigma (n,); drawn: standard normal, of x's shape."""
    return torch.addcmul(x, drawn, _each(sigma)).clamp_(0, 1)


def _away(x: Tensor, middle: Tensor, factor: Tensor) -> Tensor:
    factor = _each(factor)
    return torch.addcmul(middle * (1 - factor), x, factor).clamp_(0, 1)


def _each(factor: Tensor) -> Tensor:
    return factor.view(-1, 1, 1, 1)
