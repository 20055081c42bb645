"""Pictures -> a batch of uint8, with the mean and spread of every channel over the cut training rows."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from bench.adapter import Arrays, Batch, Transform

SIDE = 32
"""Longest side where the run names none (`raw`)."""

_ROWS = 512  # pictures that are resized or summed at once


@dataclass(frozen=True)
class Pictures(Transform):
    """Pictures (n, c, h, w) uint8, made smaller where a side is longer than `side`.

    mean, std: (c,) of the training pixels, in [0, 1]. flips: whether a mirrored picture shows the same thing.
    """

    shape: tuple[int, int, int]
    mean: np.ndarray
    std: np.ndarray
    flips: bool
    said: tuple[str, ...] = ()

    def __call__(self, x: Arrays) -> Batch:
        return (resized(x[0], self.shape[1:]),)

    @property
    def notes(self) -> tuple[str, ...]:
        return self.said

    def standardised(self, x: Tensor) -> Tensor:
        """uint8 (n, c, h, w) -> float with mean 0 and spread 1 per channel over the training pixels."""
        scale, shift = self.affine()
        return x * scale.to(x.device) + shift.to(x.device)

    def affine(self) -> tuple[Tensor, Tensor]:
        """(scale, shift), each (c, 1, 1), from bytes to standardised values."""
        scale = torch.from_numpy(1 / (255 * self.std)).float().view(-1, 1, 1)
        return scale, torch.from_numpy(-self.mean / self.std).float().view(-1, 1, 1)


def fit(x: Arrays, side: int | None, flips: bool, said: tuple[str, ...]) -> Pictures:
    """Fit on the cut training rows. side: longest side of what the encoder sees."""
    pixels = x[0]
    shape = smaller(pixels.shape[2:], side or SIDE)
    if shape != pixels.shape[2:]:
        said = (f"Pictures of {pixels.shape[2]}x{pixels.shape[3]} pixels are made {shape[0]}x{shape[1]}.", *said)
    small, channels = resized(pixels, shape), pixels.shape[1]
    share, values = _histogram(small), np.arange(256) / 255
    mean = share @ values
    std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1))
    return Pictures((channels, *shape), mean, np.where(std > 1e-6, std, 1.0), flips, said)


def _histogram(x: Tensor) -> np.ndarray:
    """Share of each of the 256 values in every channel, (c, 256)."""
    counts = np.zeros((x.shape[1], 256))
    for i in range(0, len(x), _ROWS):
        counts += [torch.bincount(c.flatten().int(), minlength=256).numpy() for c in x[i : i + _ROWS].unbind(1)]
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def smaller(size: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width after shrinking to a longest side of at most `side`, sides in proportion."""
    shrink = min(1.0, side / max(size))
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


def resized(pixels: np.ndarray, size: tuple[int, ...]) -> Tensor:
    """uint8 (n, c, h, w) as a tensor, antialiased bilinear where the size differs."""
    x = torch.from_numpy(np.ascontiguousarray(pixels))
    if tuple(x.shape[2:]) == tuple(size):
        return x
    out = torch.empty(*x.shape[:2], *size, dtype=torch.uint8)
    for i in range(0, len(x), _ROWS):
        shrunk = interpolate(x[i : i + _ROWS].float(), list(size), mode="bilinear", antialias=True)
        out[i : i + _ROWS] = shrunk.round_().clamp_(0, 255).to(torch.uint8)
    return out
