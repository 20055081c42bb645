"""OpenML: data sets, tasks with their own splits, and suites, through the library openml and its cache."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.parsers.expat import ExpatError

from bench.adapter import Dataset
from bench.errors import UserError
from bench.home import downloads as home
from modalities.tabular.table import Part, from_frames, split_frame

if TYPE_CHECKING:
    import pandas as pd

_FILES = {"download_data": True, "download_qualities": False, "download_features_meta_data": True}


def load(name: str) -> Dataset:
    """`openml:ID` (a fixed stratified fifth is the test set) or `openml-task:ID[:FOLD]` (the task's split, repeat 0).

    Nominal columns are categories; row identifiers and ignored columns are left out.
    """
    scheme, _, rest = name.partition(":")
    if scheme == "openml-suite":
        raise UserError(f"{name} stands for many data sets. Give it to `python -m bench sweep`, or name one of its tasks.")
    numbers = re.fullmatch(r"(\d+)" if scheme == "openml" else r"(\d+)(?::(\d+))?", rest)
    if numbers is None:
        form = "openml:ID, for example openml:2" if scheme == "openml" else "openml-task:ID or openml-task:ID:FOLD"
        raise UserError(f"{name!r} is not a data set of OpenML. Write {form}.")
    if scheme == "openml":
        return _from_dataset(name, int(numbers[1]))
    return _from_task(name, int(numbers[1]), int(numbers[2] or 0))


def suite(name: str) -> list[str]:
    """The tasks of `openml-suite:ID`, each as `openml-task:ID`."""
    number = name.partition(":")[2]
    if not number.isdecimal():
        raise UserError(f"{name!r} is not a suite of OpenML. Write openml-suite:ID, for example openml-suite:99.")
    with _openml(name) as openml:
        return [f"openml-task:{t}" for t in openml.study.get_suite(int(number)).tasks]


def _from_dataset(name: str, number: int) -> Dataset:
    with _openml(name) as openml:
        described = openml.datasets.get_dataset(number, **_FILES)
        frame = described.get_data(dataset_format="dataframe")[0]
    target = described.default_target_attribute
    if target not in frame.columns:
        raise UserError(
            f"{name}: OpenML names {target!r} as the target of {described.name!r}; one column is wanted. Use a task with "
            "openml-task:ID, or your own copy with --data and --target."
        )
    return from_frames(name, *split_frame(frame, target, seed=0), target, notes=_notes(described, frame))


def _from_task(name: str, number: int, fold: int) -> Dataset:
    with _openml(name) as openml:
        task = openml.tasks.get_task(number, download_splits=True, **_FILES)
        if task.task_type_id != openml.tasks.TaskType.SUPERVISED_CLASSIFICATION:
            raise UserError(f"{name}: OpenML calls it {task.task_type!r}; a supervised classification task is wanted.")
        _, folds, _ = task.get_split_dimensions()
        if fold >= folds:
            raise UserError(f"{name}: the task has folds 0 to {folds - 1}. Choose one of them.")
        rows = task.get_train_test_split_indices(fold=fold, repeat=0)
        described = task.get_dataset(**_FILES)
        frame = described.get_data(dataset_format="dataframe")[0]
    train, test = (Part(frame, part) for part in rows)
    return from_frames(name, train, test, task.target_name, notes=_notes(described, frame))


def _notes(described: Any, frame: "pd.DataFrame") -> list[str]:
    licence = f", licence {described.licence}" if described.licence else ""
    return [
        f"OpenML data set {described.dataset_id}: {described.name}, version {described.version}{licence}, {len(frame)} rows."
    ]


@contextmanager
def _openml(name: str) -> Iterator[Any]:
    """The library, with its cache in the place of $OPENML_CACHE_DIR or below BENCH_HOME; its errors become `UserError`."""
    import openml
    import urllib3

    cache = os.environ.get("OPENML_CACHE_DIR") or home() / "openml"
    openml.config.set_root_cache_directory(str(cache))
    try:
        yield openml
    except (openml.exceptions.PyOpenMLError, OSError, urllib3.exceptions.HTTPError, ExpatError, ValueError) as error:
        raise UserError(
            f"{name} could not be loaded from {openml.config.server}: {error}. Check the number and the network; what was "
            f"downloaded before lies in {cache} and works without a network, so you can copy that folder from another machine. "
            "The embedded data set letter needs no download."
        ) from error
