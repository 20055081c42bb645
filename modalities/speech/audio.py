"""Audio files -> clips of one second at 16 kHz, int16. WAV, FLAC, OGG and MP3 are read by soundfile; nothing else is needed."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from bench.errors import UserError
from modalities.speech.mels import RATE

SAMPLES = RATE
"""A clip is one second."""

ENDINGS = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")

_SHOWN = 5  # files named in a message


def read_all(paths: Sequence[Path]) -> tuple[np.ndarray, list[str]]:
    """Clips int16 (n, 16000) of audio files, and what was done to them, one sentence for each kind of change.

    Raises `UserError` that names every file (the first few of many) that cannot be used.
    """
    sound = _soundfile()
    clips = np.zeros((len(paths), SAMPLES), np.int16)
    seen: Counter[str] = Counter()
    problems = []
    for i, path in enumerate(paths):
        try:
            clips[i] = _clip(*_samples(sound, path), seen)
        except (OSError, ValueError, sound.SoundFileError) as error:
            problems.append(f"{path}: {str(error).removeprefix(f'Error opening {str(path)!r}: ').rstrip('.')}")
    if problems:
        more = [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise UserError(
            "\n".join([*problems[:_SHOWN], *more])
            + f"\n{len(problems)} of {len(paths)} audio files cannot be used. Remove them, or save them again as WAV or FLAC."
        )
    return clips, _told(seen, len(paths))


def _samples(sound: Any, path: Path) -> tuple[np.ndarray, int]:
    """Samples float32 (n, channels), full scale being 1, and their rate."""
    samples, rate = sound.read(path, dtype="float32", always_2d=True)
    if not len(samples):
        raise ValueError("holds no samples")
    if not np.isfinite(samples).all():
        raise ValueError("holds samples that are not numbers, or are infinite")
    return samples, rate


def _clip(samples: np.ndarray, rate: int, seen: "Counter[str]") -> np.ndarray:
    """One file as one second, int16; counts in `seen` what had to be done."""
    if samples.shape[1] > 1:
        seen["mixed down"] += 1
    wave = samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    if rate != RATE:
        seen[f"resampled {rate}"] += 1
        wave = resampled(wave, rate)
    seen["cut"] += len(wave) > SAMPLES
    seen["silent"] += not wave.any()
    seen["short"] += len(wave) < SAMPLES // 50
    clip: np.ndarray = np.rint(np.clip(one_second(wave) * 32768, -32768, 32767)).astype(np.int16)
    return clip


def resampled(wave: np.ndarray, rate: int) -> np.ndarray:
    """Float32 samples at another rate -> at 16 kHz, by torchaudio."""
    out: np.ndarray = _resampler(rate)(torch.from_numpy(np.ascontiguousarray(wave))).numpy()
    return out


@cache
def _resampler(rate: int) -> Any:
    from torchaudio.transforms import Resample

    return Resample(rate, RATE)


def one_second(wave: np.ndarray) -> np.ndarray:
    """The loudest second of a longer clip; a shorter one in the middle of silence."""
    excess = len(wave) - SAMPLES
    if excess <= 0:
        return np.pad(wave, (-excess // 2, -excess - (-excess // 2)))
    energy = np.concatenate(([0.0], np.cumsum(np.square(wave, dtype=np.float64))))
    start = int((energy[SAMPLES:] - energy[:-SAMPLES]).argmax())
    return wave[start : start + SAMPLES]


def _told(seen: "Counter[str]", n: int) -> list[str]:
    rates = {int(key.split()[1]): count for key, count in seen.items() if key.startswith("resampled")}
    told = []
    if rates:
        each = ", ".join(f"{count} from {rate} Hz" for rate, count in sorted(rates.items()))
        told.append(f"{sum(rates.values())} of {n} clips were resampled to {RATE} Hz ({each}).")
    for key, what in _SENTENCES.items():
        if seen[key]:
            told.append(f"{seen[key]} of {n} clips {what}.")
    return told


_SENTENCES = {
    "mixed down": "had several channels, of which the mean is used",
    "cut": "were longer than one second; the loudest second of each is used",
    "silent": "are silent",
    "short": "last less than 20 ms",
}


def _soundfile() -> ModuleType:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise UserError(
            f"reading audio files needs the library soundfile, which cannot be used here ({error}). Install it with: "
            "pip install -e '.[speech]', or use the rendered data set espeak_words."
        ) from error
    return soundfile  # type: ignore[no-any-return]
