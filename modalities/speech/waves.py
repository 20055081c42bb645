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
    return in_chunks(_faster, clips, change, gain)


def _faster(clips: Tensor, change: Tensor, gain: Tensor) -> Tensor:
    step = 1 + change.double()[:, None]
    at = torch.arange(clips.shape[1], device=clips.device) * step
    before = at.long()
    share = (at - before).float()
    last = clips.shape[1] - 1
    a, b = (clips.gather(1, (before + k).clamp(max=last)).float() for k in (0, 1))
    sound = torch.where(at <= last, torch.lerp(a, b, share), 0.0) * gain[:, None]
    return sound.round().clamp(-32768, 32767).to(clips.dtype)


def moves(frames: int, rate: Tensor, shift: Tensor) -> Tensor:
    """What makes time `rate` times as fast and then later by whole frames, each (n,): matrices (n, frames, frames).

    Applied to magnitudes (n, frames, bins) they give those of a phase vocoder: linear between frames; silence moves in.
    """
    cell = torch.arange(frames, device=rate.device)
    then = cell[:, None] - shift.round().long()[:, None, None]
    inside = (then >= 0) & (then < frames)
    weights = 1 - (then * rate[:, None, None] - cell).abs()
    return weights.clamp(min=0) * inside


class LogMel(nn.Module):
    """Stem: (clips int16 (n, samples), controls (n, 4)) -> standardised log-mels (n, 1, mels, frames).

    The controls are the stretch, the shift in frames, the share of noise and which noise.
    """

    noise: Tensor

    def __init__(self, transform: Sound) -> None:
        super().__init__()
        self.transform = transform
        self.register_buffer("noise", spectrum(_noises(), transform.settings), persistent=False)

    def forward(self, x: Batch) -> Tensor:
        with torch.no_grad():
            db = in_chunks(self._some, *x)
            return self.transform.standardise(db)[:, None]

    def _some(self, clips: Tensor, controls: Tensor) -> Tensor:
        stretch, shift, share, which = controls.float().unbind(1)
        sound, settings = waves(clips), self.transform.settings
        clear = spectrum(sound, settings)
        real, imaginary = clear.unbind(3)
        real += 1e-18  # so that silence has a phase, too
        magnitude = torch.addcmul(real.square(), imaginary, imaginary).sqrt()
        moved = moves(settings.frames, stretch, shift) * (1 - share)[:, None, None] @ magnitude
        # Phases matter only where noise is added, and there any will do: those of the unmoved clip.
        mixed = clear.mul_((moved / magnitude)[..., None])
        level = sound.square().mean(dim=1).sqrt() * share
        mixed.addcmul_(self.noise.index_select(0, which.long()), level[:, None, None, None])
        return decibels(mixed, settings)


def _noises() -> Tensor:
    """Sixteen seconds of noise with unit power, from white to brown, (16, samples); the same in every run."""
    made = [torch.from_numpy(coloured(seeds.rng(0, "noise", i))).float() for i in range(NOISES)]
    return torch.stack(made)
