"""The user's own recordings: a folder of audio files for each class."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from bench import seeds
from bench.adapter import Dataset, Given, Split
from bench.errors import UserError, refuse
from bench.spec import RunSpec
from modalities.speech import corpora
from modalities.speech.audio import ENDINGS, read_all

SPEAKER = re.compile(r"(.+)_nohash_\d+")
"""How Speech Commands names a file: SPEAKER_nohash_N.wav."""

TEST_SHARE = 0.2

Labelled = list[tuple[Path, str]]
"""Files with the names of their classes."""


def load(spec: RunSpec) -> Dataset:
    """`spec.data`: one folder per class, with `spec.test` alike; or train and test in one folder; or without test rows.

    Without test rows a fifth is held out by `spec.seed`: of the speakers where file names tell them, else of each class. A
    folder with Speech Commands' testing_list.txt, or FSDD's recordings, is split as these say.
    """
    assert spec.data is not None
    path, name = Path(spec.data), spec.dataset or Path(spec.data).name
    if spec.target is not None:
        raise UserError("--target names a column of a table; the class of a recording is the name of its folder.")
    refuse([_no_folder(p) for p in (path, *((Path(spec.test),) if spec.test else ())) if not p.is_dir()])
    if spec.test is not None:
        return _of_two(name, path, Path(spec.test))
    if (path / "train").is_dir() and (path / "test").is_dir():
        return _of_two(name, path / "train", path / "test")
    if corpora.is_fsdd(path):
        return corpora.fsdd(name, path)
    return _split(name, path, spec.seed)


def given(place: Path) -> Given:
    """One recording, or every recording of a folder and its folders."""
    if not place.exists():
        raise UserError(f"{place} does not exist; an audio file or a folder of audio files is wanted.")
    inside = sorted(p for p in place.rglob("*") if p.is_file() and not p.name.startswith(".")) if place.is_dir() else []
    files = [p for p in inside if p.suffix.lower() in ENDINGS] if place.is_dir() else [place]
    if not files:
        raise UserError(f"{place} holds no audio file ({', '.join(ENDINGS)}).")
    clips, told = read_all(files)
    return Given((clips,), [p.relative_to(place).as_posix() if place.is_dir() else p.name for p in files], tuple(told))


def _split(name: str, path: Path, seed: int) -> Dataset:
    """One folder of classes, split by testing_list.txt or by the seed."""
    found, said = classes(path)
    speakers = speakers_of([p for p, _ in found])
    if (path / "testing_list.txt").is_file():
        listed = set((path / "testing_list.txt").read_text(encoding="utf-8").split())
        test = np.array([f"{p.parent.name}/{p.name}" in listed for p, _ in found])
        said.append("Test rows are those of testing_list.txt.")
    else:
        test = held_out(np.array([c for _, c in found]), speakers, seed)
        whose = "whole speakers" if speakers is not None and len(set(speakers)) > 1 else "a fifth of each class"
        said.append(f"No test folder: {test.sum()} of {len(test)} clips are held out ({whose}), drawn by seed {seed}.")
    if not 2 <= test.sum() <= len(test) - 2:
        raise UserError(
            f"{path}: of {len(test)} clips, {test.sum()} would test and {len(test) - test.sum()} train; at least 2 of each are "
            "needed. Give more clips, or test clips of their own with --test."
        )
    train_files, test_files = ([f for f, t in zip(found, test, strict=True) if t == side] for side in (False, True))
    return dataset(name, train_files, test_files, said)


def _of_two(name: str, train: Path, test: Path) -> Dataset:
    (first, said), (second, more) = classes(train), classes(test)
    return dataset(name, first, second, [*said, *more])


def classes(folder: Path) -> tuple[Labelled, list[str]]:
    """Every audio file of every class folder, sorted, and what was passed over. Hidden folders and `_names` are no classes."""
    folders = sorted(p for p in folder.iterdir() if p.is_dir())
    kept = [p for p in folders if not p.name.startswith((".", "_"))]
    if len(kept) < 2:
        raise UserError(
            f"{folder}: has {len(kept)} folders; one folder of audio files for each class is wanted, at least 2 "
            f"({folder.name}/CLASS/FILE.wav)."
        )
    files = {p: sorted(f for f in p.iterdir() if f.is_file() and not f.name.startswith(".")) for p in kept}
    found = [(f, p.name) for p, inside in files.items() for f in inside if f.suffix.lower() in ENDINGS]
    counts = {p: sum(c == p.name for _, c in found) for p in kept}
    refuse([f"{p}: holds no audio file ({', '.join(ENDINGS)}). Fill it or remove it." for p, n in counts.items() if not n])
    other = sum(map(len, files.values())) - len(found)
    said = [f"{other} files beside the audio files are ignored."] if other else []
    passed = [p.name for p in folders if p not in kept and not p.name.startswith(".")]
    return found, [*said, *([f"No class: {', '.join(passed)}."] if passed else [])]


def speakers_of(paths: Iterable[Path]) -> np.ndarray | None:
    """Speakers as file names tell them, or None where a name does not."""
    told = [SPEAKER.fullmatch(p.stem) for p in paths]
    return None if not all(told) else np.array([m[1] for m in told if m])


def held_out(y: np.ndarray, speakers: np.ndarray | None, seed: int) -> np.ndarray:
    """Which rows test, bool (n,): whole speakers, in a random order until a fifth is reached; or a fifth of each class."""
    luck, test = seeds.rng(seed, "hold out"), np.zeros(len(y), bool)
    if speakers is not None and len(np.unique(speakers)) > 1:
        for speaker in luck.permutation(np.unique(speakers))[:-1]:
            if test.mean() >= TEST_SHARE:
                break
            test |= speakers == speaker
        return test
    order = luck.permutation(len(y))
    for c in np.unique(y):
        rows = order[y[order] == c]
        test[rows[: round(TEST_SHARE * len(rows))]] = True
    return test


def dataset(name: str, train: Labelled, test: Labelled, said: Sequence[str] = ()) -> Dataset:
    """The data set of two lists of files. Classes that only test rows have come last, and are told."""
    known = sorted({c for _, c in train})
    names = [*known, *sorted({c for _, c in test} - set(known))]
    clips, told = read_all([p for p, _ in (*train, *test)])
    y = np.array([names.index(c) for _, c in (*train, *test)])
    n = len(train)
    speakers = speakers_of([p for p, _ in (*train, *test)])
    both = [] if speakers is None else sorted(set(speakers[:n]) & set(speakers[n:]))
    notes = [*said, *told]
    if both:
        notes.append(f"{len(both)} speakers are in training and test: the score does not tell how new speakers fare.")
    if names != known:
        notes.append(f"No training clip has the class {', '.join(names[len(known) :])}: test clips of it count as wrong.")
    first, last = (Split((clips[s],), y[s], None if speakers is None else speakers[s]) for s in (slice(n), slice(n, None)))
    return Dataset(name, first, last, tuple(names), notes=tuple(notes))


def _no_folder(path: Path) -> str:
    what = "is a file" if path.exists() else "does not exist"
    return f"{path}: {what}; a folder with one folder of audio files for each class is wanted."
