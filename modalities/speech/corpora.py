"""Recorded data sets by name: Speech Commands through torchaudio's own class, and the Free Spoken Digit Dataset."""

import re
import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from bench.adapter import Dataset, Split
from bench.errors import UserError
from bench.home import downloads, locked
from modalities.speech.audio import SAMPLES, read_all

BASE = "http://download.tensorflow.org/data/"
"""Where torchaudio gets Speech Commands."""

COMMANDS = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]

FSDD_FILE = re.compile(r"(\d)_([a-z]+)_(\d+)")
FSDD_TEST = ("theo", "yweweler")
"""Speakers that test: two of six."""


def speech_commands(name: str, version: str, *, twelve: bool) -> Dataset:
    """Speech Commands with its official lists: those of training train, those of testing test, validation is left out.

    twelve: ten commands, `unknown` for every other word, and `silence`: a tenth as many clips of zeros as there are training
    clips, and none among the test rows, as in the i-Mix paper (kibok90/imix@d40fabe). Otherwise every word is a class.
    """
    listed = {subset: _official(version, subset) for subset in ("training", "testing")}
    words = sorted({word for rows in listed.values() for _, word, _ in rows})
    names = (*COMMANDS, "unknown", "silence") if twelve else tuple(words)
    place = {word: names.index(word if word in names else "unknown") for word in words}
    (train, told), (test, more) = (_read(rows, place) for rows in listed.values())
    if twelve:
        train = _with_silence(train, names.index("silence"))
    notes = [f"Training: {t}" for t in told] + [f"Testing: {t}" for t in more]
    return Dataset(name, train, test, names, notes=tuple(notes))


def _read(rows: list[tuple[str, str, str]], place: dict[str, int]) -> tuple[Split, list[str]]:
    """The clips of (path, word, speaker) rows, and what was done to them."""
    clips, told = read_all([downloads() / "SpeechCommands" / path for path, _, _ in rows])
    y, speakers = np.array([place[word] for _, word, _ in rows]), np.array([speaker for *_, speaker in rows])
    return Split((clips,), y, speakers), told


def _with_silence(split: Split, y: int) -> Split:
    """A tenth as many clips of zeros, each of a speaker of its own, so that validation holds out some of them."""
    n = round(len(split) / 10)
    clips = np.concatenate((split.x[0], np.zeros((n, SAMPLES), np.int16)))
    speakers = [*([] if split.groups is None else split.groups), *(f"silence {i}" for i in range(n))]
    return Split((clips,), np.concatenate((split.y, np.full(n, y))), np.array(speakers))


def _official(version: str, subset: str) -> list[tuple[str, str, str]]:
    """(path, word, speaker) of a subset; downloads the archive where neither it nor its folder is there."""
    from torchaudio.datasets import SPEECHCOMMANDS

    root, file = downloads(), f"speech_commands_{version}.tar.gz"
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
    path = path or downloads() / "fsdd"
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
