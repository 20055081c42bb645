"""Columns of texts and classes -> Dataset: what the classes are, which rows cannot be used."""

from collections.abc import Sequence

import numpy as np

from bench.adapter import Dataset, Split
from bench.errors import refuse

LONGEST = 100_000
"""Characters of a text that are kept at all; what an encoder reads is `max_length` tokens."""

Rows = tuple[Sequence[object], Sequence[object]]
"""(texts, classes), as read."""


def from_rows(name: str, train: Rows, test: Rows, notes: Sequence[str] = ()) -> Dataset:
    """A data set from training and test rows. Classes that only test rows have come last, so they renumber none.

    Raises `UserError` with every problem of the rows: empty texts, texts that are none, rows without a class.
    """
    parts = (("training", train), ("test", test))
    refuse([p for part, (texts, own) in parts for p in (*problems(name, part, texts), *_unnamed(name, part, own))])
    known = [[str(c).strip() for c in classes] for _, classes in (train, test)]
    refuse(_too_many(name, known[0]))
    own = sorted(set(known[0]), key=_order(known[0]))
    new = sorted(set(known[1]) - set(own))
    number = {c: i for i, c in enumerate((*own, *new))}
    splits, long = [], 0
    for (texts, _), classes in zip((train, test), known, strict=True):
        long += sum(len(str(t)) > LONGEST for t in texts)
        splits.append(Split((kept(texts),), np.array([number[c] for c in classes], np.int64)))
    said = [*notes, *_cut(long), *_unseen(new), *_twice(splits)]
    return Dataset(name, splits[0], splits[1], (*own, *new), notes=tuple(said))


def kept(texts: Sequence[object]) -> np.ndarray:
    """Texts as rows are kept: an object array of str, cut at `LONGEST` characters."""
    return np.array([str(t)[:LONGEST] for t in texts], dtype=object)


def problems(name: str, part: str, texts: Sequence[object]) -> list[str]:
    """What is wrong with texts: empty ones, and values that are none."""
    found = []
    strange = [i for i, t in enumerate(texts) if not isinstance(t, str) and not _missing(t)]
    empty = [i for i, t in enumerate(texts) if _missing(t) or (isinstance(t, str) and not t.strip())]
    if strange:
        kind = type(texts[strange[0]]).__name__
        found.append(f"{name}: {_rows(part, strange)} no text but {kind} values. Name the column of texts with --text-column.")
    if empty:
        found.append(f"{name}: {_rows(part, empty)} an empty text. Remove them or fill them in.")
    return found


def _unnamed(name: str, part: str, classes: Sequence[object]) -> list[str]:
    found = [i for i, c in enumerate(classes) if _missing(c) or not str(c).strip()]
    return [f"{name}: {_rows(part, found)} no class. Remove them or fill them in."] if found else []


def _rows(part: str, which: list[int]) -> str:
    shown = ", ".join(str(i + 1) for i in which[:5]) + (", ..." if len(which) > 5 else "")
    return f"{len(which)} {part} {'row has' if len(which) == 1 else 'rows have'} (row {shown}, counted from 1)"


def _missing(value: object) -> bool:
    return value is None or value != value or type(value).__name__ in ("NAType", "NaTType")


def _too_many(name: str, classes: list[str]) -> list[str]:
    different = len(set(classes))
    if different <= max(10, len(classes) // 2):
        return []
    return [
        f"{name}: the target has {different} different values in {len(classes)} rows. That looks like an identifier or a "
        "measured number, not a class. Name another column with --target."
    ]


def _order(names: Sequence[str]):  # type: ignore[no-untyped-def]
    """Sort by number where every class is one, otherwise by text."""
    try:
        return float if all(np.isfinite(float(n)) for n in names) else str
    except ValueError:
        return str


def _cut(long: int) -> list[str]:
    if not long:
        return []
    return [f"{long} {'text is' if long == 1 else 'texts are'} longer than {LONGEST} characters and cut there."]


def _unseen(new: list[str]) -> list[str]:
    if not new:
        return []
    return [f"No training row has the class {', '.join(map(repr, new))}: test rows of it count as wrong."]


def _twice(splits: list[Split]) -> list[str]:
    seen = set(splits[0].x[0])
    shared = sum(t in seen for t in splits[1].x[0])
    if not shared:
        return []
    return [f"{shared} of {len(splits[1])} test texts {'is' if shared == 1 else 'are'} also among the training texts."]
