"""Recorded data sets by name: Speech Commands through torchaudio's own class, and the Free Spoken Digit Dataset."""

import os
import re
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from bench.adapter import Dataset, Split
from bench.errors import UserError
from bench.home import locked
from modalities.speech.audio import SAMPLES, read_all

BASE = "http://download.tensorflow.org/data/"
"""Where torchaudio gets Speech Commands."""

COMMANDS = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]

FSDD_FILE = re.compile(r"(\d)_([a-z]+)_(\d+)")
FSDD_TEST = ("theo", "yweweler")
"""Speakers that test: two of six."""


def folder() -> Path:
    """Where data sets lie that are downloaded, put there by hand or rendered: $BENCH_HOME/data."""
    return Path(os.environ.get("BENCH_HOME") or Path.home() / ".cache" / "bench") / "data"


def speech_commands(name: str, version: str, *, twelve: bool) -> Dataset:
    """Speech Commands with its official lists: those of training train, those of testing test, validation is left out.

    twelve: ten commands, `unknown` for every other word, and `silence`: a tenth as many clips of zeros as there are training
    clips, and none among the test rows, as in the i-Mix paper (kibok90/imix@d40fabe). Otherwise every word is a class.
    """
    parts = {subset: _official(version, subset) for subset in ("training", "testing")}
    archive = folder() / "SpeechCommands"
    words = sorted({word for rows in parts.values() for _, word, _ in rows})
    names = [*COMMANDS, "unknown", "silence"] if twelve else words
    place = {word: names.index(word if word in names else "unknown") for word in words}
    notes: list[str] = []
    splits = []
    for subset, rows in parts.items():
        clips, told = read_all([archive / path for path, _, _ in rows])
        y, speakers = np.array([place[word] for _, word, _ in rows]), np.array([speaker for *_, speaker in rows])
        silent = round(len(rows) / 10) if twelve and subset == "training" else 0
        clips = np.concatenate((clips, np.zeros((silent, SAMPLES), np.int16)))
        y = np.concatenate((y, np.full(silent, len(names) - 1)))
        speakers = np.concatenate((speakers, [f"silence {i}" for i in range(silent)])) if silent else speakers
        splits.append(Split((clips,), y, speakers))
        notes += [f"{subset.capitalize()}: {sentence}" for sentence in told]
    return Dataset(name, *splits, tuple(names), notes=tuple(notes))


def _official(version: str, subset: str) -> list[tuple[str, str, str]]:
    """(path, word, speaker) of a subset; downloads the archive where neither it nor its folder is there."""
    from torchaudio.datasets import SPEECHCOMMANDS

    root, file = folder(), f"speech_commands_{version}.tar.gz"
    place = root / "SpeechCommands" / f"speech_commands_{version}"
    try:
        with locked(root / file), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer Pythons want to know how archives are unpacked; torchaudio does not say
            listed: Any = SPEECHCOMMANDS(root, url=BASE + file, download=not place.is_dir(), subset=subset)
    except (OSError, RuntimeError, EOFError, tarfile.TarError) as error:
        raise UserError(
            f"Speech Commands {version} is not at {place}, and could not be got ({error}). Download {BASE}{file} and put it at "
            f"{root / file}, or unpacked at {place}; or use the rendered data set espeak_words."
        ) from error
    rows = [listed.get_metadata(i) for i in range(len(listed))]
    return [(path, word, speaker) for path, _, word, speaker, _ in rows]


def is_fsdd(path: Path) -> bool:
    """Whether a folder is FSDD's, or its `recordings`: files such as 7_jackson_32.wav, without folders for classes."""
    inside = path / "recordings" if (path / "recordings").is_dir() else path
    files = list(inside.glob("*.wav"))
    return bool(files) and all(FSDD_FILE.fullmatch(f.stem) for f in files)


def fsdd(name: str = "fsdd", path: Path | None = None) -> Dataset:
    """The Free Spoken Digit Dataset, split by speaker: theo and yweweler test, the other four train."""
    path = path or folder() / "fsdd"
    if not is_fsdd(path):
        raise UserError(
            f"fsdd is not at {path}. Get https://github.com/Jakobovski/free-spoken-digit-dataset and put its folder recordings "
            f"at {path / 'recordings'}; or use the rendered data set espeak_words."
        )
    inside = path / "recordings" if (path / "recordings").is_dir() else path
    files = sorted(inside.glob("*.wav"))
    told = [FSDD_FILE.fullmatch(f.stem) for f in files]
    digit, speaker = (np.array([m[k] for m in told if m]) for k in (1, 2))
    test = np.isin(speaker, FSDD_TEST)
    if test.all() or not test.any():
        raise UserError(
            f"{path}: the speakers are {', '.join(sorted(set(speaker)))}, but {' and '.join(FSDD_TEST)} test and others train. "
            "Put all recordings there, or sort them into one folder for each class."
        )
    clips, notes = read_all(files)
    y = digit.astype(np.int64)
    train, held = (Split((clips[rows],), y[rows], speaker[rows]) for rows in (~test, test))
    return Dataset(name, train, held, tuple("0123456789"), notes=tuple(notes))
