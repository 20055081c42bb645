"""Test rows made worse on purpose: measured with noise, or with parts missing. For the protocols `noise@1` and `missing@1`."""

from collections.abc import Callable

import numpy as np

from bench.adapter import Arrays

NOISE, MISSING, ENOUGH = 0.5, 0.3, 2000
PATCHES = 8
"""Pictures lose cells of an 8 x 8 grid, sound loses one of 64 stretches at a time."""


def noisy(x: Arrays, train: Arrays, rng: np.random.Generator) -> Arrays:
    """`noise@1`: raw rows with Gaussian noise of half the spread of the training rows.

    Numbers of a table: half a standard deviation of their column. Pictures, sound: half a standard deviation over all
    values of the first 2000 training rows, rounded and clipped to what the type holds. Categories: 30 % of the cells take the
    value of a random training row. Texts: 30 % of the words change places with the next.
    """
    return tuple(_each(a, b, rng, _noisy) for a, b in zip(x, train, strict=True))


def missing(x: Arrays, train: Arrays, rng: np.random.Generator) -> Arrays:
    """`missing@1`: raw rows of which 30 % is unknown, each part independently.

    Cells of a table become missing values. Pictures lose cells of an 8 x 8 grid to the mean of the training rows, sound loses
    stretches of a 64th to silence, texts lose words (one always stays).
    """
    return tuple(_each(a, b, rng, _missing) for a, b in zip(x, train, strict=True))


Change = Callable[[str, np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def _each(a: np.ndarray, train: np.ndarray, rng: np.random.Generator, change: Change) -> np.ndarray:
    """One raw array by what it is: texts, numbers of a table, codes of a table, pictures, sound. One number a row stays."""
    if a.dtype == object or a.dtype.kind in "US":
        return change("texts", a, train, rng)
    if a.ndim == 1 or a.size == 0:
        return a
    kind = "pictures" if a.ndim >= 3 else "numbers" if a.dtype.kind == "f" else "codes" if a.dtype.itemsize >= 4 else "sound"
    return change(kind, a, train, rng)


def _noisy(kind: str, a: np.ndarray, train: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if kind == "texts":
        return np.array([_shuffled(str(text).split(), rng) for text in a], dtype=object)
    if kind == "codes":
        other = np.take_along_axis(train, rng.integers(0, len(train), a.shape), axis=0)
        return np.where(rng.random(a.shape) < MISSING, other, a).astype(a.dtype)
    spread = _spread(train) if kind == "numbers" else np.asarray(train[:ENOUGH].std(dtype=np.float64))
    worse = a + rng.standard_normal(a.shape, dtype=np.float32) * (NOISE * spread).astype(np.float32)
    if a.dtype.kind != "f":
        least, most = np.iinfo(a.dtype).min, np.iinfo(a.dtype).max
        worse = np.clip(np.rint(worse), least, most)
    changed: np.ndarray = worse.astype(a.dtype)
    return changed


def _spread(train: np.ndarray) -> np.ndarray:
    """Standard deviation of each column over its known cells; 0 where none is known."""
    known = ~np.isnan(train)
    count = np.maximum(known.sum(axis=0), 1)
    off = np.where(known, train - np.where(known, train, 0).sum(axis=0, dtype=np.float64) / count, 0)
    spread: np.ndarray = np.sqrt((off * off).sum(axis=0) / count)
    return spread


def _missing(kind: str, a: np.ndarray, train: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if kind == "texts":
        return np.array([_thinned(str(text).split(), rng) for text in a], dtype=object)
    if kind in ("numbers", "codes"):
        return np.where(rng.random(a.shape) < MISSING, np.nan if kind == "numbers" else -1, a).astype(a.dtype)
    if kind == "sound":
        part = np.arange(a.shape[1]) * PATCHES**2 // a.shape[1]
        return np.where((rng.random((len(a), PATCHES**2)) < MISSING)[:, part], 0, a).astype(a.dtype)
    row, column = (np.arange(side) * PATCHES // side for side in a.shape[-2:])
    hidden = (rng.random((len(a), PATCHES, PATCHES)) < MISSING)[:, row][:, :, column]
    hidden = hidden.reshape(len(a), *(1,) * (a.ndim - 3), *hidden.shape[1:])
    return np.where(hidden, train.mean(dtype=np.float64), a).astype(a.dtype)


def _shuffled(words: list[str], rng: np.random.Generator) -> str:
    for i in np.flatnonzero(rng.random(max(0, len(words) - 1)) < MISSING):
        words[i], words[i + 1] = words[i + 1], words[i]
    return " ".join(words)


def _thinned(words: list[str], rng: np.random.Generator) -> str:
    kept = [word for word, stays in zip(words, rng.random(len(words)) >= MISSING, strict=True) if stays]
    return " ".join(kept or words[:1])


CORRUPTIONS: dict[str, Callable[[Arrays, Arrays, np.random.Generator], Arrays]] = {"noise@1": noisy, "missing@1": missing}
"""Protocols that score `linear@1`'s probe, fitted on clean rows, on worse test rows."""
