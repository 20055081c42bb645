"""Data frames -> Dataset: which columns are numbers and which categories, what the classes are, what cannot be used."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, final

import numpy as np

from bench.adapter import Dataset, Split, hold_out
from bench.errors import UserError, refuse

if TYPE_CHECKING:
    import pandas as pd

_MOST_WHOLE, _MOST_FRACTIONAL = 100, 10  # distinct values up to which a numeric target counts as class numbers
_IDENTIFIER_ROWS = 20  # from so many rows on, a text column without repeats is an identifier
_COLUMNS = 16  # numeric columns that are gathered before they are written: 64 bytes of a row, what memory moves at once


@final
@dataclass(frozen=True)
class Part:
    """Some rows of a data frame. They are taken a column at a time, so that a big table is never copied whole."""

    frame: "pd.DataFrame"
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, column: str) -> "pd.Series":
        return self.frame[column].iloc[self.rows]

    @property
    def columns(self) -> "pd.Index":
        """Names of the columns."""
        return self.frame.columns


Frame: TypeAlias = "pd.DataFrame | Part"


def from_frames(
    name: str, train: Frame, test: Frame, target: str, *, metric: str = "accuracy", notes: Sequence[str] = ()
) -> Dataset:
    """A data set from training and test rows with equal columns.

    Numbers stay numbers (dates become days); text, booleans and pandas categories become codes. Categories and classes
    that only test rows have come last, so test rows cannot renumber those of training. Text columns without repeats in
    training (identifiers) are dropped and said. Raises `UserError` with every problem of the table.
    """
    refuse(target_problems(name, train[target], test[target]))
    y_train, y_test, classes = _coded(train[target], test[target])
    features = [c for c in train.columns if c != target]
    identifiers = [c for c in features if _is_identifier(train[c])]
    features = [c for c in features if c not in identifiers]
    numeric = [c for c in features if is_number(train[c]) and (is_number(test[c]) or test[c].isna().all())]
    if not features:
        raise UserError(f"{name} has no column beside the target {target!r} to learn from. Add at least one.")
    refuse(_kind_problems(train, test, [c for c in features if c not in numeric]))
    coded = {c: _coded(train[c], test[c]) for c in features if c not in numeric}
    x_train = numbers(train, numeric), _stack([a for a, _, _ in coded.values()], len(train))
    x_test = numbers(test, numeric), _stack([b for _, b, _ in coded.values()], len(test))
    refuse(infinite(name, numeric, x_train[0], x_test[0]))
    return Dataset(
        name=name,
        train=Split(x_train, y_train.astype(np.int64)),
        test=Split(x_test, y_test.astype(np.int64)),
        classes=tuple(classes),
        metric=metric,
        notes=(*notes, *_identifier_note(identifiers), *_unseen_note(classes, y_train)),
        meta={"numeric": [str(c) for c in numeric], "categorical": {str(c): names for c, (_, _, names) in coded.items()}},
    )


def split_frame(frame: "pd.DataFrame", target: str, seed: int) -> tuple[Part, Part]:
    """Training and test rows of one table, as `hold_out` draws them."""
    import pandas as pd

    train, test = hold_out(pd.factorize(frame[target])[0], seed)
    return Part(frame, train), Part(frame, test)


def target_problems(name: str, train: "pd.Series", test: "pd.Series") -> list[str]:
    """Why a column cannot be the class: missing values, a measured number, an identifier."""
    import pandas as pd

    target, missing = train.name, int(train.isna().sum() + test.isna().sum())
    if missing:
        return [
            f"{name}: {missing} {'row has' if missing == 1 else 'rows have'} no value in the target {target!r}. Remove them or "
            "fill them in (empty cells and texts such as NA, null and ? are read as missing)."
        ]
    values, rows = pd.unique(pd.concat([train, test])), len(train) + len(test)
    if not is_number(train):
        if len(values) > max(10, rows // 2):
            return [
                f"{name}: the target {target!r} has {len(values)} different values in {rows} rows. That looks like an "
                "identifier, not a class. Name another column as the target."
            ]
        return []
    if not is_number(test):
        return [f"{name}: the target {target!r} is a number in training and text in test. Write the classes alike."]
    whole = bool(np.all(np.mod(values.astype(np.float64), 1) == 0))
    if len(values) > min(_MOST_WHOLE if whole else _MOST_FRACTIONAL, max(2, rows // 2)):
        return [
            f"{name}: the target {target!r} is a number with {len(values)} different values in {rows} rows. That looks like "
            "regression; classes are wanted. Put it into bins, or, if these are classes, write them as text (c1, c2, ...)."
        ]
    return []


def infinite(name: str, columns: Sequence[str], *parts: np.ndarray) -> list[str]:
    """One message per numeric column with infinite cells."""
    counts = sum(np.array([np.isinf(p[:, j]).sum() for j in range(len(columns))], np.int64) for p in parts)
    return [
        f"{name}: column {c!r} has {n} infinite {'cell' if n == 1 else 'cells'} (or beyond 3.4e38, the range of float32). "
        "Make them finite, or leave them empty to count as missing."
        for c, n in zip(columns, np.atleast_1d(counts), strict=True)
        if n
    ]


def _kind_problems(train: Frame, test: Frame, columns: Iterable[str]) -> list[str]:
    found = []
    for c in columns:
        kinds = ["numbers" if is_number(f[c]) else "text" for f in (train, test)]
        if kinds[0] != kinds[1] and not train[c].isna().all() and not test[c].isna().all():
            found.append(f"Column {c!r} holds {kinds[0]} in the training rows, {kinds[1]} in the test rows. Make them alike.")
    return found


def is_number(column: "pd.Series") -> bool:
    from pandas.api import types

    kind = column.dtype
    return (types.is_numeric_dtype(kind) and not types.is_bool_dtype(kind)) or kind.kind in "mM"


def _is_identifier(column: "pd.Series") -> bool:
    from pandas.api import types

    if is_number(column) or types.is_bool_dtype(column.dtype) or len(column) < _IDENTIFIER_ROWS:
        return False
    return bool(_hashable(column).dropna().is_unique) and column.notna().sum() >= _IDENTIFIER_ROWS


def _identifier_note(columns: list[str]) -> list[str]:
    if not columns:
        return []
    what = "a column" if len(columns) == 1 else f"{len(columns)} columns"
    return [f"Dropped {what} whose text never repeats in the training rows: {', '.join(map(repr, columns))}."]


def _unseen_note(classes: list[str], y_train: np.ndarray) -> list[str]:
    unseen = classes[y_train.max(initial=-1) + 1 :]
    return [f"No training row has the class {', '.join(map(repr, unseen))}: test rows of it count as wrong."] if unseen else []


def numbers(frame: Frame, columns: Sequence[str]) -> np.ndarray:
    """float32 (n, p), a few columns at a time, so that no second copy of the table is made."""
    out = np.empty((len(frame), len(columns)), np.float32)
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite and is reported as such
        for start in range(0, len(columns), _COLUMNS):
            part = out[:, start : start + _COLUMNS]
            gathered = np.empty(part.shape[::-1], np.float32)
            for row, c in zip(gathered, columns[start : start + _COLUMNS], strict=True):
                row[:] = _days(frame[c]).to_numpy(np.float64, na_value=np.nan)
            part[:] = gathered.T
    return out


def _days(column: "pd.Series") -> "pd.Series":
    """Dates as days since 2000 began, durations as days, numbers as they are."""
    import pandas as pd

    if column.dtype.kind == "m":
        return column / pd.Timedelta(days=1)
    if column.dtype.kind == "M":
        return (column - pd.Timestamp(2000, 1, 1, tz=getattr(column.dtype, "tz", None))) / pd.Timedelta(days=1)
    return column


def _coded(train: "pd.Series", test: "pd.Series") -> tuple[np.ndarray, np.ndarray, list[str]]:
    """int32 codes of both parts, -1 for missing, and the category names: those of training sorted, then those new in test."""
    a, names = _codes(train)
    b, others = _codes(test)
    names = [*names, *sorted(set(others) - set(names), key=_sort_key(others))]
    place = {name: i for i, name in enumerate(names)}
    return a, np.array([*(place[n] for n in others), -1], np.int32)[b], names


def _codes(column: "pd.Series") -> tuple[np.ndarray, list[str]]:
    import pandas as pd

    codes, values = pd.factorize(_hashable(column))  # -1 for missing
    texts = [_text(v) for v in values]
    names = sorted(set(texts), key=_sort_key(texts))
    place = {name: i for i, name in enumerate(names)}
    return np.array([*(place[t] for t in texts), -1], np.int32)[codes], names


def category_codes(column: "pd.Series", names: Sequence[str]) -> np.ndarray:
    """int32 codes of a column by known category names, -1 for missing and unknown ones."""
    codes, texts = _codes(column)
    place = {name: i for i, name in enumerate(names)}
    found: np.ndarray = np.array([*(place.get(text, -1) for text in texts), -1], np.int32)[codes]
    return found


def _hashable(column: "pd.Series") -> "pd.Series":
    if column.dtype == object:
        held = {type(v).__name__ for v in column if isinstance(v, list | dict | set | np.ndarray)}
        if held:
            raise UserError(
                f"Column {column.name!r} holds {', '.join(sorted(held))} values; a cell must be a number or text. "
                "Remove the column or spread it over several."
            )
    return column


def _text(value: Any) -> str:
    """A category's name; whole numbers without a decimal point."""
    return str(int(value)) if isinstance(value, float | np.floating) and value == int(value) else str(value)


def _sort_key(texts: Iterable[str]) -> Any:
    """Sort by number where every text is one, otherwise by text."""
    try:
        return float if all(np.isfinite(float(t)) for t in texts) else str
    except ValueError:
        return str


def _stack(columns: Sequence[np.ndarray], rows: int) -> np.ndarray:
    """int32 (n, q), also for q = 0."""
    return np.stack(columns, axis=1) if columns else np.empty((rows, 0), np.int32)
