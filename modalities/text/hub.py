"""Standard sets by name: files put in place, or Hugging Face `datasets`; and any data set of the hub as hf:OWNER/NAME."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.adapter import Dataset
from bench.errors import UserError, unknown
from bench.home import downloads
from modalities.text.files import ENDINGS, read, rows
from modalities.text.texts import Rows, from_rows

_TEXT = ("text", "sentence", "utterance", "content")
_LABEL = ("label", "intent", "category", "coarse_label", "labels", "class")
_PARQUET = "refs/convert/parquet"  # the hub's own conversion, for repositories that hold a loading script


@dataclass(frozen=True)
class Source:
    """Where a data set lies on the hub. drop: a class to leave out."""

    repository: str
    text: str = "text"
    label: str = "label"
    config: str | None = None
    test: str = "test"
    revision: str | None = None
    drop: str | None = None


SOURCES = {
    "ag_news": Source("fancyzhx/ag_news"),
    "sst2": Source("stanfordnlp/sst2", text="sentence", test="validation"),  # the classes of its test rows are secret
    "trec": Source("CogComp/trec", label="coarse_label", revision=_PARQUET),
    "banking77": Source("PolyAI/banking77", revision=_PARQUET),
    "clinc_oos": Source("clinc/clinc_oos", label="intent", config="plus"),
    "clinc150": Source("clinc/clinc_oos", label="intent", config="plus", drop="oos"),
}


def place(name: str) -> Path:
    """Where files of a data set may be put."""
    return downloads() / "text" / name


def in_place(name: str) -> Dataset | None:
    """The data set from files that were put in place: train.* and test.* (CSV, TSV, JSON lines, Parquet), or a copy of the
    hub's repository. None where there is no such folder."""
    folder = place(name)
    if not folder.is_dir():
        return None
    train, test = ([p for end in ENDINGS if (p := folder / f"{part}{end}").is_file()] for part in ("train", "test"))
    if train and test:
        drop = SOURCES.get(name, Source("")).drop
        return from_rows(name, _without(drop, _rows_of(train[0])), _without(drop, _rows_of(test[0])))
    return _from_library(name, SOURCES.get(name, Source("")), str(folder))


def load(name: str) -> Dataset:
    """A data set of `SOURCES`, from files in place or from the hub, or hf:OWNER/NAME[:CONFIG] from the hub."""
    if not name.startswith("hf:"):
        return in_place(name) or _from_library(name, SOURCES[name], SOURCES[name].repository)
    repository, _, config = name.removeprefix("hf:").partition(":")
    if not repository:
        raise UserError(f"{name!r} names no data set of the hub. Write hf:OWNER/NAME or hf:OWNER/NAME:CONFIG.")
    return _from_library(name, Source(repository, "", "", config or None), repository)


def _rows_of(path: Path) -> Rows:
    frame = read(path)
    return rows(frame, _column(frame.columns, _TEXT, "texts", path), _column(frame.columns, _LABEL, "classes", path))


def _column(columns: Any, wanted: tuple[str, ...], what: str, where: object) -> str:
    found = [c for c in wanted if c in columns]
    if not found:
        raise UserError(
            f"{where} has no column of {what}: one of {', '.join(wanted)} is wanted, but there are {', '.join(columns)}. "
            "Rename one, or load the file with --data, --text-column and --target."
        )
    return found[0]


def _without(drop: str | None, part: Rows) -> Rows:
    kept = [(t, c) for t, c in zip(*part, strict=True) if drop is None or c != drop]
    return [t for t, _ in kept], [c for _, c in kept]


def _from_library(name: str, source: Source, path: str) -> Dataset:
    """Through `datasets`, from the hub, its cache, or a folder that copies a repository. No code of a repository is run."""
    import logging
    import warnings

    import datasets

    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it writes a line for every retry; the error says it once
    here = Path(path).is_dir()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            splits = datasets.load_dataset(path, source.config, revision=None if here else source.revision)
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise UserError(_unreachable(name, source, path, error)) from error
    test = next((part for part in (source.test, "test", "validation") if part in splits), None)
    if "train" not in splits or test is None:
        raise UserError(unknown("split", "test" if "train" in splits else "train", splits, where=name))
    train, held = (_without(source.drop, _rows_from(splits[part], source, name)) for part in ("train", test))
    return from_rows(name, train, held)


def _rows_from(split: Any, source: Source, name: str) -> Rows:
    columns = split.column_names
    text = source.text if source.text in columns else _column(columns, _TEXT, "texts", name)
    label = source.label if source.label in columns else _column(columns, _LABEL, "classes", name)
    names = getattr(split.features[label], "names", None)
    classes = list(split[label])
    if names:
        classes = [names[c] if c is not None and c >= 0 else None for c in classes]
    return list(split[text]), classes


def _unreachable(name: str, source: Source, path: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:300]
    return (
        f"{name} could not be loaded from {path}: {reason}. Where there is a network, run: hf download --repo-type dataset "
        f"{source.repository}{f' --revision {source.revision}' if source.revision else ''}, and copy the folder (or train.csv "
        f"and test.csv with columns text and label) to {place(name.removeprefix('hf:'))}; or use the embedded data set langid."
    )
