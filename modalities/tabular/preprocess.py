"""Raw rows -> Batch: standardised numbers, missing-value indicators and category states, fitted on training rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from bench.adapter import Arrays, Batch, Transform
from bench.errors import UserError

MOST_STATES = 254
"""Categories per column that keep a state of their own; the same limit as in scikit-learn's boosted trees."""

SAMPLE = 65536
"""Training rows of which SCARF's view knows the marginals."""

_ROWS = 8192  # rows at a time, so that temporaries stay small however long the table is


@dataclass(frozen=True, eq=False)
class Preprocessing(Transform):
    """What was fitted, as plain arrays. p, q: raw columns; p', q': columns of the batch.

    keep, mean, std: (k,) numeric columns kept and their statistics. parent: (m,) the kept columns that have missing values
    in training, each with an indicator; share: (m,) how often it is missing. columns: (q',) categorical columns kept;
    states: (q',) number of states of each, the last being `masked` (the value is unknown); first: (q',) where a column
    starts in `lookup`, which maps 1 + raw code to state. p' = k + m. sample: training rows as a batch, for the view `scarf`.
    """

    keep: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    parent: np.ndarray
    share: np.ndarray
    columns: np.ndarray
    states: np.ndarray
    first: np.ndarray
    lookup: np.ndarray
    said: tuple[str, ...] = ()
    sample: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        return self.said

    @property
    def width(self) -> int:
        """p': numeric columns of the batch, indicators included."""
        return len(self.keep) + len(self.parent)

    def state(self) -> dict[str, Any]:
        """Everything fitted, by name: arrays, and a tuple of strings."""
        return dict(vars(self))

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Preprocessing":
        return cls(**state)

    def with_sample(self, x: Arrays) -> "Preprocessing":
        """The same, knowing the first rows of x (which stand in random order)."""
        values, states = self(tuple(a[:SAMPLE] for a in x))
        return replace(self, sample=(values.numpy(), states.numpy()))

    def __call__(self, x: Arrays) -> Batch:
        """(numeric (n, p), codes (n, q)) -> (float32 (n, p'), int64 (n, q')).

        A missing number becomes 0, the mean. An indicator is 1 or 0 less its training mean, not divided by its spread:
        one missing cell in a million must not become a value of a thousand. A category or a missing value that training
        rows never had becomes `masked`.
        """
        numeric, codes = x
        k = len(self.keep)
        values = np.empty((len(numeric), self.width), np.float32)
        states = np.empty((len(codes), len(self.columns)), np.int64)
        for rows in _chunks(len(numeric)):
            block = numeric[rows][:, self.keep].astype(np.float64)
            missing = np.isnan(block)
            values[rows, k:] = missing[:, self.parent] - self.share
            block = (block - self.mean) / self.std
            block[missing] = 0.0
            values[rows, :k] = block
            states[rows] = self.lookup[codes[rows][:, self.columns] + (self.first + 1)]
        return torch.from_numpy(values), torch.from_numpy(states)

    def one_hot(self, x: Batch) -> np.ndarray:
        """A batch as one float32 table: values, then one column per state (n, p' + sum of states)."""
        values, states = x
        out = np.zeros((len(values), self.width + int(self.states.sum())), np.float32)
        out[:, : self.width] = values.cpu().numpy()
        columns = self.width + np.cumsum(self.states) - self.states
        np.put_along_axis(out, states.cpu().numpy() + columns, 1.0, axis=1)
        return out

    def words(self, x: Batch) -> list[str]:
        """Rows as text: standardised numbers, then the state of each category (`*` where it is masked or unknown)."""
        values, states = (t.cpu().numpy() for t in x)
        masked = self.states - 1
        return [
            " ".join([*(f"{v:5.2f}" for v in row[: len(self.keep)]), *np.where(code == masked, "*", code.astype(str))])
            for row, code in zip(values, states, strict=True)
        ]


def fit(x: Arrays, meta: Mapping[str, Any]) -> Preprocessing:
    """Fit on raw training rows; meta: `Dataset.meta`, {"numeric": names, "categorical": {name: category names}}."""
    numbers, said = _numbers(x[0], list(meta["numeric"]))
    categories, more = _categories(x[1], dict(meta["categorical"]))
    if not len(numbers["keep"]) + len(categories["columns"]):
        raise UserError(f"No column is left to learn from. {' '.join(said + more)} Use more rows or other columns.")
    return Preprocessing(**numbers, **categories, said=tuple(said + more), sample=None)


def _numbers(numeric: np.ndarray, names: list[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Mean and spread of every column without its missing cells; constant and all-missing columns go.

    A column that is constant where it is known keeps its indicator, and so keeps its place (as zeros).
    """
    n, p = numeric.shape
    known, total, squares = np.zeros(p, np.int64), np.zeros(p), np.zeros(p)
    least, most = np.full(p, np.inf), np.full(p, -np.inf)
    for rows in _chunks(n):
        block = numeric[rows].astype(np.float64)
        present = ~np.isnan(block)
        known += present.sum(axis=0)
        total += np.where(present, block, 0.0).sum(axis=0)
        least = np.fmin(least, np.where(present, block, np.inf).min(axis=0))
        most = np.fmax(most, np.where(present, block, -np.inf).max(axis=0))
    mean = total / np.maximum(known, 1)
    for rows in _chunks(n):
        off = numeric[rows] - mean
        squares += np.where(np.isnan(off), 0.0, off * off).sum(axis=0)
    std = np.sqrt(squares / np.maximum(known, 1))
    constant = (most == least) | (std == 0)
    absent, useless = known == 0, constant & (known == n)
    keep = np.flatnonzero(~absent & ~useless)
    parent = np.flatnonzero(known[keep] < n)
    fitted = {
        "keep": keep,
        "mean": np.where(constant, least, mean)[keep],
        "std": np.where(constant, 1.0, std)[keep],
        "parent": parent,
        "share": 1.0 - known[keep][parent] / max(n, 1),
    }
    return fitted, [*_dropped("without a value", names, absent), *_dropped("with a single value", names, useless)]


def _categories(codes: np.ndarray, columns: dict[str, list[str]]) -> tuple[dict[str, np.ndarray], list[str]]:
    """States of every column: its training categories by raw code, `missing` if it occurs, `masked`."""
    tables, states, kept, said = [], [], [], []
    constant, absent = np.zeros((2, len(columns)), bool)
    for j, (name, categories) in enumerate(columns.items()):
        counts = np.bincount(codes[:, j] + 1, minlength=len(categories) + 1)
        seen = np.flatnonzero(counts[1:]) + 1
        absent[j], constant[j] = len(seen) == 0, len(seen) == 1 and counts[0] == 0
        if absent[j] or constant[j]:
            continue
        if len(seen) > MOST_STATES:
            said.append(
                f"Column {name!r} has {len(seen)} categories in the training rows; the {MOST_STATES} most frequent keep a "
                "state of their own, the others count as unknown."
            )
            seen = np.sort(seen[np.argsort(-counts[seen], kind="stable")[:MOST_STATES]])
        alive = np.append(seen, 0) if counts[0] else seen
        table = np.full(len(counts), len(alive), np.int64)  # whatever is not alive is unknown, the last state
        table[alive] = np.arange(len(alive))
        tables.append(table)
        states.append(len(alive) + 1)
        kept.append(j)
    starts = np.cumsum([0, *map(len, tables)])[:-1] if tables else np.zeros(0)
    fitted = {
        "columns": np.array(kept, np.int64),
        "states": np.array(states, np.int64),
        "first": np.asarray(starts, np.int64),
        "lookup": np.concatenate(tables) if tables else np.zeros(0, np.int64),
    }
    names = list(columns)
    return fitted, [*_dropped("without a value", names, absent), *_dropped("with a single value", names, constant), *said]


def _chunks(n: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS) for start in range(0, n, _ROWS))


def _dropped(why: str, names: list[str], which: np.ndarray) -> list[str]:
    gone = [names[j] for j in np.flatnonzero(which)]
    if not gone:
        return []
    shown = ", ".join(map(repr, gone[:8])) + (f" and {len(gone) - 8} more" if len(gone) > 8 else "")
    return [f"Dropped {'a column' if len(gone) == 1 else f'{len(gone)} columns'} {why} in the training rows: {shown}."]
