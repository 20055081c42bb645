"""The user's own table: CSV or Parquet, with a test file or without."""

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.adapter import Dataset
from bench.errors import UserError, refuse, unknown
from bench.spec import RunSpec
from modalities.tabular.table import from_frames, split_frame, target_problems

if TYPE_CHECKING:
    import pandas as pd

_AT_ONCE = 16  # columns
_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".pq")


def load(spec: RunSpec) -> Dataset:
    """`spec.data` with the class in column `spec.target`.

    Without `spec.test` a stratified fifth of the rows is held out by `spec.seed`. With it, both files need the same columns
    in any order. Raises `UserError` for whatever cannot be read or does not fit.
    """
    from pyarrow import default_memory_pool

    dataset = _load(spec)
    default_memory_pool().release_unused()  # it would keep the memory of the table, for another one
    return dataset


def _load(spec: RunSpec) -> Dataset:
    assert spec.data is not None
    path, name = Path(spec.data), spec.dataset or Path(spec.data).stem
    whole, notes = _without_row_numbers(read(path), path.name)
    target = _target(spec.target, whole, path)
    if spec.test is not None and Path(spec.test).resolve() == path.resolve():
        raise UserError(
            f"--data and --test name the same file, {path}: its score would measure memory. Leave out --test, and a fifth of "
            "the rows is held out."
        )
    if spec.test is None:
        refuse(target_problems(name, whole[target], whole[target].iloc[:0]))
        train, test = split_frame(whole, target, spec.seed)
        if len(test) < 2:
            raise UserError(
                f"{path}: of {len(whole)} rows, a fifth of each class leaves {len(test)} to test on; at least 2 are needed. "
                "Give more rows, or test rows of their own with --test."
            )
        notes.append(f"No test file: {len(test)} of {len(whole)} rows are held out, drawn by seed {spec.seed}.")
        return from_frames(name, train, test, target, notes=notes)
    text = {c: "str" for c in whole.columns if whole[c].dtype.kind not in "iufbmM"}
    given, more = _without_row_numbers(read(Path(spec.test), text), Path(spec.test).name)
    refuse(_column_problems(whole, given, path, Path(spec.test)))
    return from_frames(name, whole, given, target, notes=notes + more)


def read(path: Path, text: dict[str, str] | None = None) -> "pd.DataFrame":
    """A table from a file, by its ending. text: columns of a CSV to read as text although they look like numbers.

    The separator of a CSV is the one of `,` `;` and tab that its first line has most of. Empty cells, the usual texts
    (NA, null, ...) and `?` are missing.
    """
    import pandas as pd

    if not path.name.lower().endswith(_ENDINGS):
        raise UserError(f"{path}: do not know this kind of file. Give a table that ends in {', '.join(_ENDINGS)}.")
    if not path.is_file():
        raise UserError(f"{path}: there is no such file. Check the path ({Path.cwd()} is the current folder).")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            frame = _parquet(path)
        else:
            mark = _separator(path)
            refuse(_repeated(_header(path, mark), path))  # pandas would rename the second
            frame = pd.read_csv(
                path, sep=mark, dtype=text, na_values=["?"], skipinitialspace=True, low_memory=False, encoding="utf-8-sig"
            )
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: is not UTF-8 text (byte {error.object[error.start]:#04x} at {error.start}). Save it as UTF-8, for "
            f"example with: iconv -f latin1 -t utf-8 {path.name} > utf8-{path.name}"
        ) from error
    except (OSError, EOFError, ValueError) as error:  # pandas' parser errors and pyarrow's are ValueErrors
        raise UserError(f"{path}: cannot be read as a table: {error}. Check that the file is whole.") from error
    frame.columns = [str(c) for c in frame.columns]
    refuse(_repeated(list(frame.columns), path))
    if frame.empty:
        raise UserError(f"{path}: the table has {len(frame)} rows and {frame.shape[1]} columns. Give one that has rows.")
    return frame


def _parquet(path: Path) -> "pd.DataFrame":
    """A few columns at a time, which takes half the memory of reading all at once. An index is left out."""
    import pandas as pd
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path, pre_buffer=False) as file:
        schema = file.schema_arrow
        index = (schema.pandas_metadata or {}).get("index_columns", [])
        names = [name for name in schema.names if name not in index]
        refuse(_repeated(names, path))
        parts = [file.read(names[i : i + _AT_ONCE]).to_pandas() for i in range(0, len(names), _AT_ONCE)]
    frame = pd.DataFrame({name: part[name] for part in parts for name in part}, copy=False)
    frame.index = pd.RangeIndex(len(frame))
    return frame


def _separator(path: Path) -> str:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        header = file.readline().decode("utf-8-sig")
    return max(",;\t", key=header.count)


def _header(path: Path, mark: str) -> list[str]:
    import pandas as pd

    first = pd.read_csv(path, sep=mark, header=None, nrows=1, dtype=str, skipinitialspace=True, encoding="utf-8-sig")
    return [str(name) for name in first.iloc[0].dropna()]


def _repeated(names: list[str], path: Path) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    return [f"{path}: column {', '.join(map(repr, twice))} stands there more than once. Rename one."] if twice else []


def _without_row_numbers(frame: "pd.DataFrame", file: str) -> tuple["pd.DataFrame", list[str]]:
    """Leave out the nameless first column that spreadsheets and pandas write: it only counts rows."""
    first = frame.columns[0]
    if not first.startswith("Unnamed: ") or not np.array_equal(frame[first], np.arange(len(frame)) + frame[first].iloc[0]):
        return frame, []
    return frame.drop(columns=first), [f"Dropped the nameless first column of {file}: it only counts rows."]


def _target(target: str | None, frame: "pd.DataFrame", path: Path) -> str:
    if target is None:
        shown = ", ".join(frame.columns[:12]) + (", ..." if frame.shape[1] > 12 else "")
        raise UserError(f"{path}: which column holds the class? Name it with --target; the columns are: {shown}.")
    if target not in frame.columns:
        raise UserError(unknown("column", target, frame.columns, where=str(path)))
    return target


def _column_problems(train: "pd.DataFrame", test: "pd.DataFrame", path: Path, test_path: Path) -> list[str]:
    missing = [c for c in train.columns if c not in test.columns]
    extra = [c for c in test.columns if c not in train.columns]
    found = []
    if missing:
        found.append(f"{test_path} lacks {len(missing)} of the columns of {path}: {', '.join(map(repr, missing))}.")
    if extra:
        found.append(f"{test_path} has {len(extra)} more than {path}: {', '.join(map(repr, extra))}.")
    return [*found, "Both tables need the same columns. Rename, add or remove them."] if found else []
