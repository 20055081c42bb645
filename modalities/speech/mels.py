"""Log-mel spectrograms: clips -> (n, mels, frames) in dB, standardised with the mean and spread of training rows."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from bench.adapter import Arrays, Batch, Transform

RATE = 16_000
DEEPEST = 80.0
"""What lies further below a clip's loudest cell, in dB, counts as this far below it."""

_CHUNK = 8  # clips at a time on a processor: their windowed frames stay in its cache


@dataclass(frozen=True)
class MelSettings:
    """How clips become pictures: samples a window, samples a step, mel bands; frames of a clip of one second."""

    window: int
    hop: int
    mels: int

    @property
    def frames(self) -> int:
        return RATE // self.hop + 1

    @property
    def bins(self) -> int:
        return self.window // 2 + 1


MELS = {"mel32": MelSettings(2048, 512, 32), "mel64": MelSettings(512, 160, 64)}
"""mel32: the i-Mix paper's 32 x 32 (kibok90/imix@d40fabe); mel64: 64 bands every 10 ms."""


@cache
def filters(settings: MelSettings, device: torch.device) -> Tensor:
    """Mel filter bank, (bins * 2, mels), as librosa's (Slaney's scale, unit area), which the reference code uses.

    Every row stands there twice, for the squares of the real and the imaginary part: the product that sums bands sums them.
    """
    from torchaudio.functional import melscale_fbanks

    bank: Tensor = melscale_fbanks(settings.bins, 0.0, RATE / 2, settings.mels, RATE, norm="slaney", mel_scale="slaney")
    return bank.repeat_interleave(2, dim=0).to(device)


@cache
def hann(settings: MelSettings, device: torch.device) -> Tensor:
    """The window, (window,)."""
    return torch.hann_window(settings.window, device=device)


def spectrum(waves: Tensor, settings: MelSettings) -> Tensor:
    """Short-time Fourier transform of float clips (n, samples): (n, frames, bins, 2), Hann window, reflected ends."""
    half = settings.window // 2
    frames = nn.functional.pad(waves[:, None], (half, half), mode="reflect")[:, 0].unfold(1, settings.window, settings.hop)
    return torch.view_as_real(torch.fft.rfft(frames * hann(settings, waves.device)))


def decibels(spectrum: Tensor, settings: MelSettings) -> Tensor:
    """Spectrum (n, frames, bins, 2), which it overwrites -> mel bands (n, mels, frames), 0 to 80 dB below the loudest cell."""
    power = spectrum.square_().flatten(2) @ filters(settings, spectrum.device)
    mels = power.clamp(min=1e-10).log10().mul(10)
    return (mels - mels.amax(dim=(1, 2), keepdim=True)).clamp(min=-DEEPEST).transpose(1, 2)


def in_chunks(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """function(*tensors), row for row, a few rows at a time on a processor. Full precision, whatever autocast says."""
    with torch.autocast(tensors[0].device.type, enabled=False):
        if tensors[0].device.type != "cpu":
            return function(*tensors)
        rows = range(0, len(tensors[0]), _CHUNK)
        return torch.cat([function(*(t[i : i + _CHUNK] for t in tensors)) for i in rows])


def waves(clips: Tensor) -> Tensor:
    """int16 -> float32 in [-1, 1)."""
    return clips.float() * 2**-15


def log_mel(clips: Tensor, settings: MelSettings) -> Tensor:
    """Clips int16 (n, samples) -> log-mels float32 (n, mels, frames) in dB below the loudest cell of each clip."""

    def some(part: Tensor) -> Tensor:
        return decibels(spectrum(waves(part), settings), settings)

    return in_chunks(some, clips)


@dataclass(frozen=True, eq=False)
class Sound(Transform):
    """Raw clips -> batch. mean, std: (mels, 1) of the training rows' log-mels, in dB.

    A batch is (log-mels float32 (n, mels, frames),), standardised band by band; or, for views of waveforms,
    (clips int16 (n, samples), what the stem shall still do to them float32 (n, 4); see `waves.Controls`).
    """

    settings: MelSettings
    mean: Tensor
    std: Tensor
    waveforms: bool = False

    def __call__(self, x: Arrays) -> Batch:
        clips = torch.from_numpy(np.ascontiguousarray(x[0]))
        if self.waveforms:
            return clips, torch.tensor(NOTHING).repeat(len(clips), 1)
        return (self.standardise(log_mel(clips, self.settings)),)

    def standardise(self, db: Tensor) -> Tensor:
        """dB -> mean 0 and spread 1 in every band over training rows."""
        return (db - self.mean.to(db.device)) / self.std.to(db.device)

    def restore(self, mels: Tensor) -> Tensor:
        """Standardised log-mels -> dB."""
        return mels * self.std.to(mels.device) + self.mean.to(mels.device)


NOTHING = (1.0, 0.0, 0.0, 0.0)
"""Controls that leave a clip as it is: stretch, shift in frames, share of noise, which noise."""


def fit(x: Arrays, features: str, *, waveforms: bool) -> Sound:
    """Mean and spread of every mel band over the clips given and their frames."""
    settings = MELS[features]
    db = log_mel(torch.from_numpy(np.ascontiguousarray(x[0])), settings)
    std, mean = torch.std_mean(db.double(), dim=(0, 2), correction=0)
    return Sound(settings, mean.float()[:, None], std.float().clamp(min=1.0)[:, None], waveforms)


def picture(db: Tensor) -> np.ndarray:
    """Log-mels in dB (n, mels, frames) -> uint8 (n, height, width) for people: low bands at the bottom, black is -80 dB."""
    grey = ((db + DEEPEST) * (255 / DEEPEST)).clamp(0, 255).to(torch.uint8).flip(1)
    seen: np.ndarray = grey.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2).cpu().numpy()
    return seen
