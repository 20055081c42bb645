"""Views of log-mels: drawn for a whole batch, then applied by pure functions with one set of parameters per example.

A batch is (log-mels (n, mels, frames),), standardised band by band, so that 0 is what a band is on average.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.adapter import Batch, View
from modalities.speech.mels import Sound


def masking(rate: float) -> View:
    """`agnostic`: every cell of time and frequency becomes 0, its band's mean, with probability `rate`, independently."""

    def view(x: Batch, rng: torch.Generator) -> Batch:
        (mels,) = x
        return (mels.masked_fill(torch.rand(mels.shape, generator=rng, device=mels.device) < rate, 0.0),)

    return view


@dataclass(frozen=True)
class Recipe:
    """How far each change may go. Shares are of the axis; a drawn value is uniform on [-v, v] unless it says otherwise."""

    stretch: float = 0.2  # speed of time: uniform on [1 - v, 1 + v], about the middle
    shift: float = 0.15  # of the frames
    warp: float = 0.06  # of the bands: up or down, as another vocal tract would
    noise: tuple[float, float] | None = (-70.0, -25.0)  # dB under the loudest cell
    tilt: float = 20.0  # dB from the lowest to the highest band, of the noise
    gain: float = 3.0  # dB
    time_mask: float = 0.2  # longest masked share of the frames; uniform on [0, v]
    band_mask: float = 0.2


DOMAIN = Recipe()


def domain(transform: Sound, recipe: Recipe = DOMAIN) -> View:
    """The view of log-mels: stretch and shift in time, shift along the bands, noise, gain, one mask on each axis."""

    def view(x: Batch, rng: torch.Generator) -> Batch:
        (mels,) = x

        def uniform(low: float, high: float) -> Tensor:
            return torch.rand(len(mels), generator=rng, device=mels.device) * (high - low) + low

        bands, frames = mels.shape[1:]
        with torch.autocast(mels.device.type, enabled=False):
            shift = uniform(-recipe.shift, recipe.shift) * frames
            warp = uniform(-recipe.warp, recipe.warp) * bands
            db = transform.restore(moved(mels, uniform(1 - recipe.stretch, 1 + recipe.stretch), shift, warp))
            if recipe.noise is not None:
                level = uniform(*recipe.noise)[:, None, None]
                slope = (
                    uniform(-recipe.tilt, recipe.tilt)[:, None, None]
                    * torch.linspace(-0.5, 0.5, bands, device=mels.device)[:, None]
                )
                grain = torch.randn(mels.shape, generator=rng, device=mels.device)
                db = added(db, torch.add(level + slope, grain, alpha=GRAIN))
            mels = transform.standardise(db + uniform(-recipe.gain, recipe.gain)[:, None, None])
            for axis, most in ((2, recipe.time_mask), (1, recipe.band_mask)):
                size = mels.shape[axis]
                width = uniform(0, most * size)
                mels = masked(mels, axis, uniform(0, 1) * (size - width), width)
        return (mels,)

    return view


GRAIN = 2.0
"""Spread of a noise's cells about its level, in dB: a band's power over a window of noise is not smooth."""


def moved(mels: Tensor, speed: Tensor, shift: Tensor, warp: Tensor) -> Tensor:
    """Log-mels (n, bands, frames) with time run `speed` times as fast about the middle and moved by `shift` frames, and
    moved up by `warp` bands; each (n,). Linear between cells; beyond the ends stands what stands at the end."""
    bands, frames = mels.shape[1:]
    middle = (frames - 1) / 2
    time = torch.arange(frames, device=mels.device)
    at = ((time - middle)[None] - shift[:, None]) * speed[:, None] + middle
    up = torch.arange(bands, device=mels.device)[None] - warp[:, None]
    return torch.bmm(tents(up, bands), torch.bmm(mels, tents(at, frames).transpose(1, 2)))


def tents(at: Tensor, size: int) -> Tensor:
    """Weights (n, m, size) of linear interpolation at positions `at` (n, m) on 0 .. size - 1."""
    distance = (at.clamp(0, size - 1)[:, :, None] - torch.arange(size, device=at.device)).abs_()
    return distance.neg_().add_(1).clamp_(min=0)


def added(db: Tensor, noise: Tensor) -> Tensor:
    """The level, in dB, of two uncorrelated sounds together."""
    return torch.logaddexp(db * LN, noise * LN) / LN


LN = 0.2302585092994046
"""ln(10) / 10: dB -> natural logarithm of power."""


def masked(mels: Tensor, axis: int, start: Tensor, width: Tensor) -> Tensor:
    """Zero from floor(start) on, floor(width) cells along an axis (1 bands, 2 frames), as torchaudio's mask_along_axis_iid."""
    first = start.floor()[:, None]
    cell = torch.arange(mels.shape[axis], device=mels.device)
    kept = ((cell < first) | (cell >= first + width.floor()[:, None])).to(mels.dtype)
    return mels * (kept[:, :, None] if axis == 1 else kept[:, None, :])
