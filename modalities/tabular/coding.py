"""Rows in the coding of another table: for an encoder that was trained on that one."""

from pathlib import Path

import numpy as np

from bench.adapter import Dataset, Given, Split
from bench.errors import UserError, refuse
from modalities.tabular import files
from modalities.tabular.table import category_codes, infinite, is_number, numbers


def recoded(source: Dataset, target: Dataset) -> Dataset:
    """`target` with its columns in the order of `source` and its categories under the codes of `source`.

    A category that `source` does not know counts as missing. Raises `UserError` unless both have equal columns.
    """
    wanted, given = ({kind: list(data.meta[kind]) for kind in ("numeric", "categorical")} for data in (source, target))
    problems = [
        f"{target.name} {'lacks' if ours is wanted else 'has'} the {kind} {_columns(missing)}"
        + ("" if ours is wanted else f", which {source.name} has not")
        for kind in wanted
        for ours, theirs in ((wanted, given), (given, wanted))
        if (missing := [c for c in ours[kind] if c not in theirs[kind]])
    ]
    if problems:
        raise UserError(
            f"an encoder trained on {source.name} cannot be scored on {target.name}: {'; '.join(problems)}. Only a table of "
            "equal columns can follow --evaluate-on."
        )
    numeric = [given["numeric"].index(c) for c in wanted["numeric"]]
    order = [given["categorical"].index(c) for c in wanted["categorical"]]
    maps = [_map(target.meta["categorical"][c], source.meta["categorical"][c]) for c in wanted["categorical"]]

    def split(part: Split) -> Split:
        codes = [m[part.x[1][:, j]] for m, j in zip(maps, order, strict=True)]
        stacked = np.stack(codes, axis=1) if codes else np.empty((len(part), 0), np.int32)
        return Split((np.ascontiguousarray(part.x[0][:, numeric]), stacked), part.y, part.groups)

    train, test = split(target.train), split(target.test)
    return Dataset(target.name, train, test, target.classes, target.metric, target.notes, source.meta)


def read(path: Path, dataset: Dataset) -> Given:
    """Rows of a file by the columns of `dataset`; other columns are left aside. Raises `UserError` for what does not fit."""
    numeric, categorical = list(dataset.meta["numeric"]), dict(dataset.meta["categorical"])
    frame = files.read(path, dict.fromkeys(categorical, "str"))
    missing = [c for c in (*numeric, *categorical) if c not in frame.columns]
    if missing:
        raise UserError(f"{path} lacks the {_columns(missing)} of {dataset.name}, by which its rows would be known. Add them.")
    refuse(
        [
            f"{path}: column {c!r} holds text where {dataset.name} has numbers. Write numbers, or leave cells empty."
            for c in numeric
            if not is_number(frame[c]) and not frame[c].isna().all()
        ]
    )
    values = numbers(frame, numeric)
    refuse(infinite(path.name, numeric, values))
    codes = [category_codes(frame[c], names) for c, names in categorical.items()]
    return Given((values, np.stack(codes, axis=1) if codes else np.empty((len(frame), 0), np.int32)))


def _map(theirs: list[str], ours: list[str]) -> np.ndarray:
    """Their code -> ours, with -1 for what is missing (their code -1, the last entry) or unknown."""
    place = {name: i for i, name in enumerate(ours)}
    return np.array([*(place.get(name, -1) for name in theirs), -1], np.int32)


def _columns(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:6])) + (", ..." if len(names) > 6 else "")
    return f"column {shown}" if len(names) == 1 else f"{len(names)} columns {shown}"
