"""The user's own texts: CSV, TSV, JSON lines or Parquet, with a test file or without."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.adapter import Dataset, Given, hold_out
from bench.errors import UserError, refuse, unknown
from bench.spec import RunSpec
from modalities.text.texts import Rows, from_rows, kept, problems

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz", ".parquet")


def load(spec: RunSpec) -> Dataset:
    """`spec.data` with texts in `spec.text_column` and the class in `spec.target`; test rows from `spec.test`.

    Without a test file a stratified fifth of the rows is held out by `spec.seed`.
    """
    assert spec.data is not None
    path, name = Path(spec.data), spec.dataset or Path(spec.data).name.split(".")[0]
    frame = read(path)
    target = _named("class", "--target", spec.target, frame, path)
    text = _named("texts", "--text-column", spec.text_column or _only_text(frame, target), frame, path)
    if spec.test is not None:
        test = read(Path(spec.test))
        _same_columns(test, (text, target), Path(spec.test))
        return from_rows(name, rows(frame, text, target), rows(test, text, target))
    texts, classes = rows(frame, text, target)
    parts = hold_out(np.unique([str(c) for c in classes], return_inverse=True)[1], spec.seed)
    if len(parts[1]) < 2:
        raise UserError(
            f"{path}: of {len(classes)} rows, a fifth of each class leaves {len(parts[1])} to test on; at least 2 are needed. "
            "Give more rows, or test rows of their own with --test."
        )
    note = f"No test file: {len(parts[1])} of {len(classes)} rows are held out, drawn by seed {spec.seed}."
    train, held = (([texts[i] for i in part], [classes[i] for i in part]) for part in parts)
    return from_rows(name, train, held, [note])


def given(path: Path, spec: RunSpec) -> Given:
    """The texts of a file, by the column they had in training where it is there, else the only one or `text`; no classes."""
    frame = read(path)
    text = spec.text_column if spec.text_column in frame.columns else _only_text(frame, spec.target)
    if text is None:
        raise UserError(f"{path}: which of the columns {', '.join(frame.columns)} holds the texts? Name it text.")
    values = frame[text].tolist()
    refuse(problems(str(path), "given", values))
    return Given((kept(values),))


def read(path: Path) -> "pd.DataFrame":
    """A table from a file, by its ending. Every cell of a CSV is text as it stands; files are UTF-8."""
    import pandas as pd

    if not path.name.lower().endswith(ENDINGS):
        raise UserError(f"{path}: do not know this kind of file. Give one that ends in {', '.join(ENDINGS)}.")
    if not path.is_file():
        raise UserError(f"{path}: there is no such file. Check the path ({Path.cwd()} is the current folder).")
    try:
        if path.suffix.lower() == ".parquet":
            frame = pd.read_parquet(path)
        elif ".jsonl" in path.suffixes[-2:]:
            with _opened(path) as file:
                frame = pd.DataFrame([json.loads(line) for line in file.read().decode("utf-8-sig").split("\n") if line.strip()])
        else:
            separator, alone = _separator(path)  # an empty line of a lone column is an empty text, else it is none
            options = {"dtype": object, "keep_default_na": False, "encoding": "utf-8-sig", "skip_blank_lines": not alone}
            frame = pd.read_csv(path, sep=separator, **options)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: byte {error.start} is not UTF-8 ({error.reason}). Convert the file, for example with: "
            f"iconv -f LATIN1 -t UTF-8 {path.name}"
        ) from error
    except (OSError, EOFError, ValueError) as error:  # pandas' parser errors and pyarrow's are ValueErrors
        raise UserError(f"{path}: cannot be read as a table: {error}. Check that the file is whole.") from error
    if frame.empty:
        raise UserError(f"{path}: the table has {len(frame)} rows and {frame.shape[1]} columns. Give one that has rows.")
    frame.columns = [str(c) for c in frame.columns]
    return frame


def rows(frame: "pd.DataFrame", text: str, target: str) -> Rows:
    """The texts and classes of a table, as lists."""
    return frame[text].tolist(), _whole(frame[target].tolist())


def _whole(values: list[object]) -> list[object]:
    """Whole numbers without a decimal point, as a column with gaps reads them."""
    return [int(v) if isinstance(v, float) and v == v and v.is_integer() else v for v in values]


def _opened(path: Path) -> Any:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _separator(path: Path) -> tuple[str, bool]:
    """The separator of a table's columns, and whether there is only one column."""
    with _opened(path) as file:
        header = file.readline().decode("utf-8-sig")
    separator = max(",;\t", key=header.count)
    return separator, separator not in header


def _only_text(frame: "pd.DataFrame", target: str | None) -> str | None:
    """The column of texts where there is no doubt: the only one beside the target, or one named `text`."""
    others = [c for c in frame.columns if c != target]
    return others[0] if len(others) == 1 else "text" if "text" in others else None


def _named(what: str, option: str, name: str | None, frame: "pd.DataFrame", path: Path) -> str:
    if name is None:
        shown = ", ".join(frame.columns[:12]) + (", ..." if frame.shape[1] > 12 else "")
        raise UserError(f"{path}: which column holds the {what}? Name it with {option}; the columns are: {shown}.")
    if name not in frame.columns:
        raise UserError(unknown("column", name, frame.columns, where=str(path)))
    return name


def _same_columns(frame: "pd.DataFrame", names: Sequence[str], path: Path) -> None:
    for name in names:
        if name not in frame.columns:
            raise UserError(unknown("column", name, frame.columns, where=str(path)) + " Both files need the same columns.")
