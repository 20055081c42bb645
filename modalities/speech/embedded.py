"""Data sets that need no network: words rendered by eSpeak NG, and a generated toy."""

import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from bench import seeds
from bench.adapter import Dataset, Split
from bench.errors import UserError
from bench.home import downloads, load_tensors, locked, save_tensors
from modalities.speech import espeak
from modalities.speech.audio import SAMPLES
from modalities.speech.mels import RATE

SYNTHETIC = "Synthetic speech, rendered by eSpeak NG: scores say nothing about recorded voices."

_EDITION = 1  # of what is done to the rendered words below


def espeak_words() -> Dataset:
    """The 20 core words of Speech Commands, each said twice by every voice of eSpeak NG, with noise; every fifth voice tests.

    Rendered once (seconds) and kept, with a checksum, in the data folder.
    """
    kept = downloads() / "espeak_words" / f"{_library()}-{_EDITION}.safetensors"
    with locked(kept):
        found = load_tensors(kept)
        if found is None:
            clips = _finish(*_render())
            save_tensors(kept, {"clips": torch.from_numpy(clips)}, {})
        else:
            clips = found[0]["clips"].numpy()
    said = [(voice, word) for voice, *_ in espeak.script() for word in range(len(espeak.WORDS))]
    voices, words = np.array([v for v, _ in said]), np.array([w for _, w in said])
    test = np.isin(voices, espeak.VOICES[4::5])
    train, held = (Split((clips[rows],), words[rows], voices[rows]) for rows in (~test, test))
    return Dataset("espeak_words", train, held, tuple(espeak.WORDS), notes=(SYNTHETIC,))


def _library() -> str:
    try:
        return version("espeakng-loader")
    except PackageNotFoundError as error:
        raise UserError(
            "espeak_words needs the library espeakng-loader, which is not installed. Install it with: "
            "pip install -e '.[speech]', or use another data set (python -m bench list)."
        ) from error


def _render() -> tuple[np.ndarray, np.ndarray]:
    """What eSpeak NG says, at its own rate: (samples of all words, length of each). In a process of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-espeak-") as place:
        out = Path(place) / "said"
        done = subprocess.run([sys.executable, "-P", espeak.__file__, str(out)], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
            raise UserError(
                f"the voices of espeak_words could not be rendered on this machine: {reason}. Install espeakng-loader again, "
                "or use recorded speech: --dataset fsdd, --dataset speech_commands, or --data with a folder of audio."
            )
        samples, lengths = (np.load(f"{out}.{part}.npy", allow_pickle=False) for part in ("samples", "lengths"))
    return samples, lengths


def _finish(samples: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Rendered words -> clips int16 (n, 16000): another rate, a place in the second, coloured noise, a level.

    In float64 until the last rounding, so that a sum taken in another order on another processor gives the same clip.
    """
    from scipy.signal import firwin, resample_poly

    low_pass = firwin(2 * 10 * 441 + 1, 1 / 441, window=("kaiser", 5.0))  # as resample_poly would design it for every word
    clips = np.empty((len(lengths), SAMPLES), np.int16)
    for i, (end, length) in enumerate(zip(lengths.cumsum(), lengths, strict=True)):
        luck = seeds.rng(0, "espeak words", i)
        word = resample_poly(samples[end - length : end].astype(np.float64), 320, 441, window=low_pass)[:SAMPLES]
        clip = np.zeros(SAMPLES)
        free = SAMPLES - len(word)
        start = int(np.clip(free // 2 + luck.integers(-SAMPLES // 10, SAMPLES // 10 + 1), 0, free))
        clip[start : start + len(word)] = word
        power = np.mean(np.square(word))
        clip += coloured(luck) * np.sqrt(power / 10 ** (luck.uniform(*SNR) / 10))
        clips[i] = np.rint(clip * (10 ** luck.uniform(-1.5, 0) * 30_000 / np.abs(clip).max()))
    return clips


SNR = (0.0, 20.0)
"""Least and greatest level of a word over its noise, in dB."""


def coloured(luck: np.random.Generator) -> np.ndarray:
    """A second of noise with unit power whose spectrum falls as f^-a, a from 0 (white) to 2 (brown), float64."""
    slope, noise = luck.uniform(0, 2), luck.standard_normal(SAMPLES)
    frequency = np.maximum(np.arange(SAMPLES // 2 + 1), 40.0)
    noise = np.fft.irfft(np.fft.rfft(noise) * frequency ** (-slope / 2), SAMPLES)
    scaled: np.ndarray = noise / np.sqrt(np.mean(np.square(noise)))
    return scaled


def toy() -> Dataset:
    """320 generated clips of four melodies by eight speakers, each with a pitch of its own. For tests."""
    t, n = np.arange(SAMPLES) / RATE, 320
    y, speaker = np.arange(n) % 4, np.arange(n) // 4 % 8
    clips = np.empty((n, SAMPLES), np.int16)
    for i in range(n):
        luck = seeds.rng(0, "toy clips", i)
        start = luck.uniform(0.05, 0.35)
        on = (t > start) & (t < start + 0.6)
        rise = np.clip((t - start) / 0.6, 0, 1)
        bend = (rise, 1 - rise, np.full_like(t, 0.5), np.floor(rise * 4) % 2)[y[i]]
        pitch = 250 * 2 ** (speaker[i] / 4 + luck.uniform(-0.05, 0.05) + bend)
        wave = on * np.sin(2 * np.pi * np.cumsum(pitch) / RATE) + coloured(luck) * 0.15
        clips[i] = np.rint(wave * 10 ** luck.uniform(2.7, 4.0))
    test = np.isin(speaker, (2, 5))
    train, held = (Split((clips[rows],), y[rows], np.array([f"s{s}" for s in speaker[rows]])) for rows in (~test, test))
    return Dataset("toy", train, held, ("rising", "falling", "level", "broken"))
