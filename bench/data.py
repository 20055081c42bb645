"""Which rows a run sees: nested stratified fractions, validation folds, and epochs of batches."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.adapter import Arrays
from bench.errors import UserError
from bench.seeds import rng


def stratified_order(y: np.ndarray, seed: int) -> np.ndarray:
    """One order of all rows per seed, of which every prefix is stratified: (n,) row numbers.

    Row j of a class of n_c rows (shuffled) stands at position (j + u) / n_c, u uniform. A prefix reaches one position t, and
    so the count of each class is t n_c rounded up or down. 1 % is contained in 10 %, and that in 100 %.
    """
    draw = rng(seed, "rows")
    position = np.empty(len(y))
    for c in np.unique(y):
        rows = draw.permutation(np.flatnonzero(y == c))
        position[rows] = (np.arange(len(rows)) + draw.random(len(rows))) / len(rows)
    return np.argsort(position, kind="stable")


def repeated_rows(train: Arrays, test: Arrays) -> int:
    """How many test rows are equal, in every array, to some training row."""
    seen = set(rows_as_bytes(test)).intersection(rows_as_bytes(train))  # one training row in memory at a time
    return sum(row in seen for row in rows_as_bytes(test))


def rows_as_bytes(x: Arrays) -> Iterator[bytes]:
    """Each raw row as bytes: equal rows give equal bytes."""
    for cells in zip(*x, strict=True):
        yield b"|".join(str(cell).encode() if isinstance(cell, str) else np.asarray(cell).tobytes() for cell in cells)


@dataclass(frozen=True)
class Rows:
    """Row numbers of the training split: `pretrain` and its prefix `labelled`, both in the seed's order."""

    pretrain: np.ndarray
    labelled: np.ndarray

    @property
    def fingerprint(self) -> str:
        """SHA-256 over which rows are seen, in which order, and how many have labels."""
        mark = hashlib.sha256(self.pretrain.astype("<i8").tobytes())
        mark.update(str(len(self.labelled)).encode())
        return mark.hexdigest()

    @property
    def pretrain_fingerprint(self) -> str:
        """SHA-256 over the rows that pretraining sees; equal for every label fraction."""
        return hashlib.sha256(self.pretrain.astype("<i8").tobytes()).hexdigest()


def cut(y: np.ndarray, pretrain_fraction: float, label_fraction: float, seed: int) -> Rows:
    """The rows of a run. Raises `UserError` where fewer than 2 labelled rows or 2 classes would remain."""
    order = stratified_order(y, seed)
    n_pretrain, n_labelled = (round(len(y) * f) for f in (pretrain_fraction, label_fraction))
    labelled = order[:n_labelled]
    present = len(np.unique(y[labelled]))
    if n_labelled < 2 or present < 2:
        raise UserError(
            f"label_fraction {label_fraction:g} of {len(y)} rows leaves {n_labelled} labelled rows of {present} classes; "
            "at least 2 rows of 2 classes are needed. Raise label_fraction."
        )
    return Rows(order[:n_pretrain], labelled)


Fold = tuple[np.ndarray, np.ndarray]
"""Positions among the labelled rows: (train, validation)."""


def folds(y: np.ndarray, groups: np.ndarray | None = None) -> list[Fold]:
    """Validation inside the labelled rows, in their order: positions (train, validation) of one or several folds.

    Every fifth row of each class validates. Where a class has fewer than five labelled rows that would leave it out, so all
    rows take turns in k stratified folds, k = 2..5 the size of the smallest class with two rows or more; a class with
    one row always trains. With one row of every class nothing can be held out, and there are no folds.

    groups: (n,), for example speakers. Then whole groups validate, and no group is on both sides: about a fifth of the rows by
    the same rule, in k folds where there are k = 2..4 groups. Rows of one group only are treated as rows without groups.
    """
    if groups is not None and (parts := _by_group(groups)):
        return parts[:1] if len(parts) == 5 and np.min(np.unique(y, return_counts=True)[1]) >= 5 else parts
    classes, inverse, counts = np.unique(y, return_inverse=True, return_counts=True)
    nth = np.empty(len(y), dtype=np.int64)  # this row is the nth of its class
    for c in range(len(classes)):
        nth[inverse == c] = np.arange(counts[c])
    if counts.min() >= 5:
        return [_fold(nth % 5 == 4)]
    several = counts[counts >= 2]
    if len(several) == 0:
        return []
    k = int(np.clip(several.min(), 2, 5))
    part = (nth + inverse) % k  # shifted by class, so that small classes do not crowd into the first folds
    part[counts[inverse] == 1] = -1
    return [_fold(part == i) for i in range(k)]


def _by_group(groups: np.ndarray) -> list[Fold]:
    """Folds of whole groups, of about equal size: the largest first, each to the fold that has fewest rows."""
    names, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    k = min(5, len(names))
    if k < 2:
        return []
    size, part = np.zeros(k), np.empty(len(names), dtype=np.int64)
    for g in np.argsort(-counts, kind="stable"):
        part[g] = size.argmin()
        size[part[g]] += counts[g]
    return [_fold(part[inverse] == i) for i in range(k)]


def _fold(held_out: np.ndarray) -> Fold:
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def batches(n: int, size: int, seed: int, start: int = 0) -> Iterator[np.ndarray]:
    """Endless batches of row numbers, beginning with step `start`: each epoch is a fresh permutation of all n rows.

    A batch never holds a row twice (a false negative); the rows that do not fill a last batch wait for the next epoch.
    """
    per_epoch = n // size
    epoch, first = divmod(start, per_epoch)
    while True:
        order = rng(seed, "batches", epoch).permutation(n)
        for i in range(first, per_epoch):
            yield order[i * size : (i + 1) * size]
        epoch, first = epoch + 1, 0
