"""Speech.

Log-mels of 256 clips of one second, 32 x 32 (windows of 2048 samples every 512) and 64 x 101 (512 every 160), in dB below the
clip's loudest cell. The other side is torchaudio's MelSpectrogram with the same window, scale and area, on a clip at a time, as
a DataLoader's transform, or on all at once; both sides end with the same decibels. Runs without views of waveforms compute them
once and gather rows of them; runs with such views compute them in every step.

The default run is `python -m bench run --modality speech --budget small`: espeak_words, batch 256, `bands`, npair+imix; beside
it the same with `--views waveform`. Shares are of CPU-seconds of a step; stem and body are the encoder's forward, and the stem
of waveforms makes their log-mels.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bench import RunSpec
from bench.adapter import select
from benchmarks import parts
from benchmarks.row import Row
from benchmarks.timing import Spread, per_second, ratio, turns

CLIPS = 256


def rows(rounds: int) -> Iterator[Row]:
    """See the docstring of the module."""
    try:
        import torchaudio  # noqa: F401 - the peer
    except ImportError as error:
        raise SystemExit("this group needs torchaudio. Install it with: pip install -e '.[perf,speech]'") from error
    for features in ("mel32", "mel64"):
        yield from log_mels(features, rounds)
    for views in ("domain", "waveform"):
        spec = RunSpec(modality="speech", budget="small", views=views, device="cpu")
        yield from parts.rows(f"run with --views {views}", parts.breakdown(spec, rounds, 10 if views == "domain" else 3))


def log_mels(features: str, rounds: int) -> Iterator[Row]:
    """Ours against torchaudio's, and against gathering rows of what is there."""
    from modalities.speech import mels

    settings = mels.MELS[features]
    clips = (torch.randn(CLIPS, mels.RATE, generator=torch.Generator().manual_seed(0)) * 3000).to(torch.int16)
    theirs, ready = torchaudios(settings), mels.fit((clips.numpy(),), features, waveforms=False)
    cached, some = ready((clips.numpy(),)), torch.randperm(CLIPS)

    def one_by_one() -> Tensor:
        return torch.stack([theirs(mels.waves(clip)) for clip in clips])

    sides: dict[str, Callable[[], object]] = {
        "ours": lambda: mels.log_mel(clips, settings),
        "one by one": one_by_one,
        "at once": lambda: theirs(mels.waves(clips)),
        "cached": lambda: select(cached, some),
    }
    times = turns(sides, rounds, repeats={"ours": 2, "one by one": 1, "at once": 1, "cached": 50})
    error = (ready.standardise(one_by_one()) - cached[0]).abs().max().item()
    yield Row(f"{features}, over torchaudio clip by clip", ratio(times["one by one"], times["ours"]), "x", ">= 2")
    yield Row(f"{features}, over torchaudio on all clips at once", ratio(times["at once"], times["ours"]), "x")
    yield Row(f"{features}, clips", per_second(times["ours"], CLIPS), "/s")
    yield Row(f"{features}, largest difference of a standardised feature", Spread.of([error]), "", "<= 1e-5")
    yield Row(f"{features}, over gathering features that were kept", ratio(times["ours"], times["cached"]), "x")


def torchaudios(settings: object) -> Callable[[Tensor], Tensor]:
    """Clips float (samples,) or (n, samples) -> dB below the loudest cell of each, by torchaudio."""
    from torchaudio.transforms import MelSpectrogram

    from modalities.speech import mels

    assert isinstance(settings, mels.MelSettings)
    power = MelSpectrogram(
        mels.RATE, settings.window, hop_length=settings.hop, n_mels=settings.mels, norm="slaney", mel_scale="slaney"
    )

    def decibels(waves: Tensor) -> Tensor:
        db = power(waves).clamp(min=1e-10).log10() * 10
        below: Tensor = (db - db.amax(dim=(-2, -1), keepdim=True)).clamp(min=-mels.DEEPEST)
        return below

    return decibels
