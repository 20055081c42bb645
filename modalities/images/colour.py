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
    r, g, b = (channel.contiguous() for channel in x.unbind(1))
    top, least = torch.maximum(torch.maximum(r, g), b), torch.minimum(torch.minimum(r, g), b)
    chroma = top - least
    unit = chroma.clamp_min(1e-12)  # grey has no hue, and any will do
    # Sixths of a turn from red. Blends by a mask of zeros and ones: torch.where is ten times as slow where it is irregular.
    sixths = torch.lerp((r - g).div_(unit).sub_(2), (b - r).div_(unit).add_(2), (top == g).float())
    sixths = torch.lerp(sixths, (g - b).div_(unit), (top == r).float()).add_(6 * shift.view(-1, 1, 1))
    sixths = sixths.sub_((sixths / 6).round_(), alpha=6)  # -3 to 3
    red, green, blue = sixths.abs().sub_(1), (sixths + 1).abs_().neg_().add_(2), (sixths - 1).abs_().neg_().add_(2)
    # So far a channel falls below the value, as a share of the chroma.
    out = [torch.addcmul(top, chroma, fall.clamp_(0, 1), value=-1) for fall in (red, green, blue)]
    return torch.stack(out, dim=2).permute(0, 2, 1, 3)  # in memory (n, h, 3, w), as `geometry.lay` has it


def jitter(x: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Brightness, contrast, saturation and hue by factors (n, 4), in the order of row 0 of `order` (n, 4), on the CPU.

    torchvision draws an order for every picture; one for all pictures that come together needs no gathering.
    """
    every = (brightness, contrast, saturation, hue)
    for i in order[0].tolist():
        if i < 2 or x.shape[1] == 3:
            x = every[i](x, factors[:, i])
    return x


def greyed(x: Tensor, on: Tensor) -> Tensor:
    """Grey in all three channels where `on` (n,)."""
    return _away(x, grey(x), 1 - on.float())


def noise(x: Tensor, sigma: Tensor, drawn: Tensor) -> Tensor:
    """Gaussian noise of standard deviation sigma (n,); drawn: standard normal, of x's shape."""
    return torch.addcmul(x, drawn, _each(sigma)).clamp_(0, 1)


def _away(x: Tensor, middle: Tensor, factor: Tensor) -> Tensor:
    factor = _each(factor)
    return torch.addcmul(middle * (1 - factor), x, factor).clamp_(0, 1)


def _each(factor: Tensor) -> Tensor:
    return factor.view(-1, 1, 1, 1)
