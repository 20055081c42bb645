"""`bench audit`: what a data set's own rows say about scores on it. Repeated rows, contradicting labels, leaks, balance."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import t

from bench import catalog
from bench.adapter import Adapter, Dataset, Split, take
from bench.data import folds, rows_as_bytes
from bench.predictions import of_run
from bench.prepare import load_data
from bench.probe import label_scores, linear
from bench.recipes import resolve
from bench.seeds import rng
from bench.spec import RunSpec
from bench.store import Store

PERMUTED_ROWS, PERMUTATIONS = 2000, 5


class Repeats(NamedTuple):
    """Exact repeats, as row numbers. train, test: rows equal to an earlier one of their split. leaked: test rows equal to a
    training row. conflicts_train, conflicts_test: rows whose equal in the same split has another class; conflicts_across:
    test rows of which an equal training row has another class."""

    train: np.ndarray
    test: np.ndarray
    leaked: np.ndarray
    conflicts_train: np.ndarray
    conflicts_test: np.ndarray
    conflicts_across: np.ndarray

    @property
    def flagged(self) -> np.ndarray:
        """Test rows that a score should be told without: known from training, repeated, or contradicted, ascending."""
        return np.unique(np.concatenate([self.test, self.leaked, self.conflicts_test, self.conflicts_across]))


@dataclass(frozen=True)
class Permuted:
    """The linear probe on raw features after its labels were permuted: what remains is chance, or a leak in the method."""

    balanced: float  # mean balanced accuracy
    error: float  # standard error of that mean
    chance: float
    rows: int

    @property
    def is_chance(self) -> bool:
        """Within a point of 1 / classes, or as near as a 99.7 % t-interval over the permutations allows."""
        return abs(self.balanced - self.chance) <= max(float(t.ppf(0.9985, PERMUTATIONS - 1)) * self.error, 0.01)


def repeats(data: Dataset) -> Repeats:
    """Compare whole rows, bit by bit, in every array."""
    of_train, of_test = (_classes_of(split) for split in (data.train, data.test))
    train, test = list(rows_as_bytes(data.train.x)), list(rows_as_bytes(data.test.x))
    return Repeats(
        _later(train),
        _later(test),
        np.array([i for i, row in enumerate(test) if row in of_train], dtype=np.int64),
        np.array([i for i, row in enumerate(train) if len(of_train[row]) > 1], dtype=np.int64),
        np.array([i for i, row in enumerate(test) if len(of_test[row]) > 1], dtype=np.int64),
        np.array([i for i, row in enumerate(test) if of_train.get(row, set()) - {int(data.test.y[i])}], dtype=np.int64),
    )


def shared_groups(data: Dataset) -> list[str]:
    """Groups (speakers) with rows on both sides."""
    if data.train.groups is None or data.test.groups is None:
        return []
    return [str(group) for group in np.intersect1d(data.train.groups, data.test.groups)]


def permuted(adapter: Adapter, data: Dataset, spec: RunSpec) -> Permuted:
    """`linear@1` on the control `raw`'s features, 5 permutations of the labels of at most 2000 training rows.

    Scored on at most 2000 test rows. spec: without holes.
    """
    draw = rng(0, "permuted labels")
    chosen, held = (np.sort(draw.permutation(len(s))[:PERMUTED_ROWS]) for s in (data.train, data.test))
    transform = adapter.fit(take(data.train.x, chosen), data, spec)
    h, h_test = (
        torch.from_numpy(adapter.raw(transform(take(s.x, rows)), transform))
        for s, rows in ((data.train, chosen), (data.test, held))
    )
    y_test, found = data.test.y[held], []
    for _ in range(PERMUTATIONS):
        y = draw.permutation(data.train.y[chosen])
        labels = linear(h, y, h_test, len(data.classes), folds(y), data.metric).labels
        found.append(label_scores(labels, y_test)["balanced_accuracy"])
    error = float(np.std(found, ddof=1)) / math.sqrt(PERMUTATIONS)
    return Permuted(float(np.mean(found)), error, 1 / len(np.unique(y_test)), len(chosen))


def audit(spec: RunSpec, runs: Store) -> tuple[list[str], bool]:
    """Everything in lines for a person, and whether the data keep the rules: no shared group, permuted labels give chance."""
    spec = resolve(spec.replace(method="raw"))
    adapter: Adapter = catalog.find(catalog.MODALITIES, spec.modality)
    data = load_data(spec)
    found, chance, shared = repeats(data), permuted(adapter, data, spec), shared_groups(data)
    lines = [
        f"{spec.modality}/{data.name}: {len(data.train)} training rows, {len(data.test)} test rows, {len(data.classes)} classes"
    ]
    lines += [*_told_repeats(data, found), *_told_groups(data, shared), *_balance(data)]
    lines.append(
        f"permuted labels: balanced accuracy {100 * chance.balanced:.1f} ± {300 * chance.error:.1f} (3 standard errors) of a "
        f"linear probe on {chance.rows} rows; chance is {100 * chance.chance:.1f}: "
        + ("as it should be" if chance.is_chance else "SOMETHING TELLS THE LABELS")
    )
    return [*lines, *_without(data, found.flagged, runs)], chance.is_chance and not shared


def _told_repeats(data: Dataset, found: Repeats) -> list[str]:
    n, m = len(data.train), len(data.test)
    return [
        f"repeated rows: {_of(found.train, n)} in training, {_of(found.test, m)} in test",
        f"test rows equal to a training row: {_of(found.leaked, m)}",
        f"equal rows of different classes: {_of(found.conflicts_train, n)} in training, {_of(found.conflicts_test, m)} in "
        f"test, {_of(found.conflicts_across, m)} test rows against training",
    ]


def _told_groups(data: Dataset, shared: Sequence[str]) -> list[str]:
    groups = data.train.groups, data.test.groups
    if groups[0] is None or groups[1] is None:
        return ["groups: none are known, so rows of one source may stand on both sides"]
    counts = [len(np.unique(names)) for names in groups if names is not None]
    told = f"groups: {counts[0]} in training, {counts[1]} in test, "
    return [told + (f"{len(shared)} IN BOTH: {', '.join(shared[:8])}" if shared else "none in both")]


def _balance(data: Dataset) -> list[str]:
    counts = [np.bincount(s.y, minlength=len(data.classes)) for s in (data.train, data.test)]
    lines = ["classes (training, test):"]
    order = np.argsort(-counts[0], kind="stable")
    shown = order if len(order) <= 12 else np.concatenate([order[:6], order[-6:]])
    for c in shown:
        a, b = (f"{n[c]} ({100 * n[c] / n.sum():.1f} %)" for n in counts)
        lines.append(f"  {data.classes[c]}: {a}, {b}")
    if len(order) > 12:
        lines.insert(7, f"  ... {len(order) - 12} more")
    least = counts[0][counts[0] > 0].min()
    return [*lines, f"  most to fewest: {counts[0].max() / least:.1f} to 1; always the commonest would score "
            f"{100 * counts[1][counts[0].argmax()] / counts[1].sum():.1f}"]  # fmt: skip


def _without(data: Dataset, flagged: np.ndarray, runs: Store) -> list[str]:
    """The scores of recorded runs on these data with and without the flagged rows."""
    finished = [
        r for r in runs.records() if r.status == "ok" and (r.evaluate_fingerprint or r.dataset_fingerprint) == data.fingerprint
    ]
    if not finished:
        return [f"{len(flagged)} test rows are flagged; no run in {runs.folder} was scored on these data"]
    kept = np.setdiff1d(np.arange(len(data.test)), flagged)
    lines = [f"{len(flagged)} test rows are flagged; {data.metric} with all rows and without those:"]
    for r in sorted(finished, key=lambda r: (-(r.score or 0), r.run_id)):
        e = of_run(runs, r.run_id)
        if e is not None and len(e.y) == len(data.test) and len(kept):
            score = label_scores(e.labels[kept], e.y[kept])[data.metric]
            lines.append(f"  {r.run_id} {r.method} {r.protocol} seed {r.seed}: {100 * (r.score or 0):.2f}, {100 * score:.2f}")
    return lines


def _classes_of(split: Split) -> dict[bytes, set[int]]:
    found: dict[bytes, set[int]] = defaultdict(set)
    for row, y in zip(rows_as_bytes(split.x), split.y, strict=True):
        found[row].add(int(y))
    return dict(found)


def _later(rows: Sequence[bytes]) -> np.ndarray:
    """Numbers of rows that have an equal before them."""
    seen: set[bytes] = set()
    found = []
    for i, row in enumerate(rows):
        if row in seen:
            found.append(i)
        seen.add(row)
    return np.array(found, dtype=np.int64)


def _of(rows: np.ndarray, n: int) -> str:
    return f"{len(rows)} ({100 * len(rows) / max(n, 1):.2f} %)"
