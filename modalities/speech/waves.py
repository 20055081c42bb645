"""Views of waveforms: the i-Mix paper's recipe for speech (kibok90/imix@d40fabe). The stem makes log-mels, never cached.

What the recipe does to the clip is done by the view; what it does to the Fourier transform (stretch, shift, noise) the view
only draws, as four numbers beside the clip, and the stem `LogMel` does it.

We depart from the reference in the noise: sixteen generated seconds from white to brown, as loud as the clip and unchanged by
the other steps, since not every data set brings Speech Commands' recordings of background noise.
"""

import torch
from torch import Tensor, nn

from bench import seeds
from bench.adapter import Batch, View
from modalities.speech.embedded import coloured
from modalities.speech.mels import Sound, decibels, in_chunks, spectrum, waves

GAIN = (0.7, 1.1)
SPEED = 0.2
STRETCH = 0.2
SHIFT = 8  # frames
SHARE = 0.45
NOISES = 16
_HALF = 0.5  # each change happens with this probability


def recipe(transform: Sound) -> View:
    """Each with probability 1/2: gain, speed with pitch, stretch, shift in time, noise mixed in at up to 45 %."""
    frames = SHIFT * 512 / transform.settings.hop

    def view(x: Batch, rng: torch.Generator) -> Batch:
        clips, _ = x

        def drawn(low: float, high: float, otherwise: float) -> Tensor:
            value = torch.rand(2, len(clips), generator=rng, device=clips.device)
            return torch.where(value[0] < _HALF, value[1] * (high - low) + low, otherwise)

        clips = faster(clips, drawn(-SPEED, SPEED, 0.0), drawn(*GAIN, 1.0))
        shift = drawn(-frames, frames, 0.0).round()
        which = torch.randint(NOISES, (len(clips),), generator=rng, device=clips.device).float()
        return clips, torch.stack((1 + drawn(-STRETCH, STRETCH, 0.0), shift, drawn(0.0, SHARE, 0.0), which), dim=1)

    return view


def faster(clips: Tensor, change: Tensor, gain: Tensor) -> Tensor:
    """Clips int16 (n, samples) played 1 + change times as fast, so higher too, and `gain` times as loud; each (n,).

    Linear between samples, as the reference does it; cut or filled up with silence at the end.
    """
    step = 1 + change.double()[:, None]
    at = torch.arange(clips.shape[1], device=clips.device) * step
    before = at.long()
    share = (at - before).float()
    last = clips.shape[1] - 1
    a, b = (clips.gather(1, (before + k).clamp(max=last)).float() for k in (0, 1))
    sound = torch.where(at <= last, torch.lerp(a, b, share), 0.0) * gain[:, None]
    return sound.round().clamp(-32768, 32767).to(clips.dtype)


def stretched(magnitude: Tensor, rate: Tensor) -> Tensor:
    """Magnitudes (n, frames, bins) with time `rate` (n,) times as fast, cut or filled with silence at the end.

    The magnitudes that a phase vocoder gives: linear between frames, the frame after the last being silent.
    """
    frames = magnitude.shape[1]
    at = torch.arange(frames, device=magnitude.device)[None] * rate[:, None]
    before = at.floor()
    padded = nn.functional.pad(magnitude, (0, 0, 0, 2))
    first, second = (
        padded.gather(1, (before.long() + k).clamp(max=frames + 1)[:, :, None].expand_as(magnitude)) for k in (0, 1)
    )
    return torch.lerp(first, second, (at - before)[:, :, None])


def shifted(magnitude: Tensor, frames: Tensor) -> Tensor:
    """Magnitudes (n, frames, bins) later by whole frames (n,), silence moving in."""
    count = magnitude.shape[1]
    at = torch.arange(count, device=magnitude.device)[None] - frames[:, None].long()
    inside = (at >= 0) & (at < count)
    found = magnitude.gather(1, at.clamp(0, count - 1)[:, :, None].expand_as(magnitude))
    return found * inside[:, :, None]


class LogMel(nn.Module):
    """Stem: (clips int16 (n, samples), controls (n, 4)) -> standardised log-mels (n, 1, mels, frames).

    The controls are the stretch, the shift in frames, the share of noise and which noise.
    """

    noise: Tensor

    def __init__(self, transform: Sound) -> None:
        super().__init__()
        self.transform = transform
        self.register_buffer("noise", _noises(), persistent=False)

    def forward(self, x: Batch) -> Tensor:
        with torch.no_grad():
            db = in_chunks(self._some, *x)
            return self.transform.standardise(db)[:, None]

    def _some(self, clips: Tensor, controls: Tensor) -> Tensor:
        stretch, shift, share, which = controls.float().unbind(1)
        clear = spectrum(waves(clips), self.transform.settings)
        sound = shifted(stretched(clear.abs(), stretch), shift)
        # Phases matter only where noise is added, and there any will do: those of the unmoved clip.
        mixed = torch.polar(sound * (1 - share)[:, None, None], clear.angle())
        level = waves(clips).square().mean(dim=1).sqrt() * share
        noise = spectrum(self.noise.index_select(0, which.long()) * level[:, None], self.transform.settings)
        return decibels((mixed + noise).abs().square(), self.transform.settings)


def _noises() -> Tensor:
    """Sixteen seconds of noise with unit power, from white to brown, (16, samples); the same in every run."""
    made = [torch.from_numpy(coloured(seeds.rng(0, "noise", i))).float() for i in range(NOISES)]
    return torch.stack(made)
