"""Geometry of pictures as linear maps: a crop, its resampling and a flip are one matrix for rows and one for columns.

Pictures are float (n, c, h, w) in [0, 1]; every parameter has one value per picture. Resampling is bilinear and antialiased,
as `torchvision.transforms.v2.functional.resized_crop(antialias=True)`.
"""

import torch
from torch import Tensor

TAPS = 6
"""Reach of a Gaussian blur in pixels on each side: three standard deviations at the largest, 2."""


def resample(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Out of each picture, rows (n, o, h) times picture times columns (n, w, p): (n, c, o, p)."""
    n, c, h, w = x.shape
    wide = torch.bmm(x.reshape(n, c * h, w), columns).view(n, c, h, -1)
    return rows[:, None] @ wide


def window(start: Tensor, length: Tensor, size: int, flip: Tensor | None = None) -> Tensor:
    """Matrices (n, size, size) that stretch `length` pixels from `start` to the whole side, reversed where `flip`.

    length (n,) is at most `size`, so that nothing shrinks and antialiasing has nothing to do: each output pixel blends the two
    input pixels around its centre. Beyond the window its outermost pixel goes on.
    """
    out = torch.arange(size, device=start.device, dtype=torch.float32)
    order = out.expand(len(start), -1) if flip is None else torch.where(flip[:, None], size - 1 - out, out)
    # In units of half a pixel over `size`, so that the distances are whole numbers and lose nothing to rounding.
    centre, pixel = length[:, None] * (2 * order + 1) - size, 2 * size
    before = (centre / pixel).floor()
    share = (centre - before * pixel) / pixel
    at = torch.minimum(torch.stack((before, before + 1), dim=2).clamp_(min=0), length[:, None, None] - 1)
    at = (at + start[:, None, None]).long()  # (n, size, 2): where each output pixel looks
    weight = torch.stack((1 - share, share), dim=2)
    return torch.zeros(len(start), size, size, device=start.device).scatter_add_(2, at, weight)


def crop_flip(x: Tensor, box: Tensor, flip: Tensor) -> Tensor:
    """Crop the box (top, left, height, width), (n, 4), stretch it to the old size, mirror left and right where `flip` (n,)."""
    top, left, height, width = box.unbind(1)
    rows = window(top, height, x.shape[2])
    return resample(x, rows, window(left, width, x.shape[3], flip).transpose(1, 2))


def blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of standard deviation sigma (n,) pixels, borders reflected; 0 changes nothing."""
    rows = smear(sigma, x.shape[2])
    columns = rows if x.shape[2] == x.shape[3] else smear(sigma, x.shape[3])
    return resample(x, rows, columns.transpose(1, 2))


def smear(sigma: Tensor, size: int) -> Tensor:
    """Matrices (n, size, size) of a Gaussian of `2 TAPS + 1` weights (fewer in small pictures), reflected at the border."""
    reach = min(TAPS, size - 1)
    offset = torch.arange(-reach, reach + 1, device=sigma.device, dtype=torch.float32)
    weight = torch.exp(-0.5 * (offset / sigma.clamp_min(1e-3)[:, None]) ** 2)
    weight = torch.where(weight < 1e-30, 0, weight)  # products of denormal numbers take many times as long
    weight = weight / weight.sum(dim=1, keepdim=True)
    at = torch.arange(size, device=sigma.device)[:, None] + offset.long()
    at = at.abs()
    at = torch.where(at >= size, 2 * (size - 1) - at, at)  # (size, 2 reach + 1): where each weight looks
    out = torch.zeros(len(sigma), size, size, device=sigma.device)
    return out.scatter_add_(2, at.expand(len(sigma), -1, -1), weight[:, None].expand(-1, size, -1))


def quarter_turns(x: Tensor, turns: Tensor) -> Tensor:
    """Each picture turned by 0 to 3 quarters counter-clockwise, turns (n,). Quarters 1 and 3 need square pictures."""
    turns = turns.view(-1, 1, 1, 1)
    if x.shape[2] != x.shape[3]:
        return torch.where(turns == 2, x.flip(2, 3), x)
    turned = x
    for k in (1, 2, 3):
        turned = torch.where(turns == k, torch.rot90(x, k, (2, 3)), turned)
    return turned


def erase(x: Tensor, box: Tensor, fill: Tensor) -> Tensor:
    """The box (top, left, height, width), (n, 4), of each picture becomes `fill` (c,)."""
    top, left, height, width = (v[:, None] for v in box.unbind(1))
    y, z = (torch.arange(size, device=x.device) for size in x.shape[2:])
    inside = ((y >= top) & (y < top + height))[:, :, None] & ((z >= left) & (z < left + width))[:, None]
    return torch.where(inside[:, None], fill.view(1, -1, 1, 1), x)


def sobel(x: Tensor, on: Tensor) -> Tensor:
    """Strength of edges, √((g_x² + g_y²) / 2) per channel with Sobel's kernels (weights of one side sum to 1), where `on` (n,).

    As `skimage.filters.sobel`; the border continues the outermost pixels.
    """
    p = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
    smooth_y = (p[:, :, :-2] + 2 * p[:, :, 1:-1] + p[:, :, 2:]) / 4
    smooth_x = (p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]) / 4
    across, down = smooth_y[..., 2:] - smooth_y[..., :-2], smooth_x[:, :, 2:] - smooth_x[:, :, :-2]
    return torch.where(on.view(-1, 1, 1, 1), ((across**2 + down**2) / 2).sqrt(), x)


def mask_patches(x: Tensor, hit: Tensor, fill: Tensor) -> Tensor:
    """Patches where `hit` (n, rows, columns) become `fill` (c,); the picture is cut into that many equal patches."""
    for axis, size in ((1, x.shape[2]), (2, x.shape[3])):
        which = torch.arange(size, device=x.device) * hit.shape[axis] // size
        hit = hit.index_select(axis, which)
    return torch.where(hit[:, None], fill.view(1, -1, 1, 1), x)
