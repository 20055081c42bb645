"""Data sets that need no network: embedded tables, tables inside installed libraries, and a generated toy."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import seeds
from bench.adapter import Dataset
from bench.errors import UserError
from modalities.tabular import downloads
from modalities.tabular.table import from_frames, split_frame

if TYPE_CHECKING:
    import pandas as pd

EMBEDDED = Path(__file__).parents[1] / "data"


def embedded(name: str, target: str) -> Dataset:
    """A table shipped in `modalities/data`, with its fixed split; see the README there for its origin."""
    import pandas as pd

    train, test = (pd.read_parquet(EMBEDDED / f"{name}-{part}.parquet") for part in ("train", "test"))
    return from_frames(name, train, test, target)


def diamonds() -> Dataset:
    """53,940 diamonds with the class `clarity`, from the table that plotnine installs. Read without importing plotnine."""
    import importlib.util

    import pandas as pd

    found = importlib.util.find_spec("plotnine")
    if found is None or found.origin is None:
        raise UserError(
            "diamonds comes with the library plotnine, which is not installed. Install it with: pip install -e '.[tabular]', "
            "or use the embedded data set letter."
        )
    return _held_out("diamonds", pd.read_csv(Path(found.origin).parent / "data" / "diamonds.csv"), "clarity")


def from_sklearn(name: str) -> Dataset:
    """digits, breast_cancer or wine, as scikit-learn installs them."""
    from sklearn import datasets

    loaded = getattr(datasets, f"load_{name}")(as_frame=True)
    names = np.array([str(n) for n in loaded.target_names])
    return _held_out(name, loaded.data.assign(**{"class": names[loaded.target]}), "class")


def toy() -> Dataset:
    """300 generated rows, three classes: numbers and categories with missing values, a constant column. For tests."""
    import pandas as pd

    rng = seeds.rng(0, "toy table")
    y = np.arange(300) % 3
    points = rng.normal(size=(300, 4)) + np.eye(3, 4)[y] * 2.5
    points[rng.random((300, 4)) < [0.0, 0.1, 0.0, 0.3]] = np.nan
    colour = np.where(rng.random(300) < 0.7, y, rng.integers(0, 3, 300))
    frame = pd.DataFrame(points, columns=["length", "weight", "height", "noise"]).assign(always=1.0)
    frame["colour"] = np.array(["red", "green", "blue"], object)[colour]
    frame["shape"] = np.array(["round", "square", None], object)[rng.integers(0, 3, 300)]
    return _held_out("toy", frame.assign(kind=np.array(["a", "b", "c"])[y]), "kind")


def _held_out(name: str, frame: "pd.DataFrame", target: str) -> Dataset:
    """A table without a split of its own: one fixed stratified fifth is the test set, whatever the run's seed."""
    return from_frames(name, *split_frame(frame, target, seed=0), target)


LOADERS: dict[str, Callable[[], Dataset]] = {
    "letter": partial(embedded, "letter", "class"),
    "adult": partial(embedded, "adult", "income"),
    "diamonds": diamonds,
    "digits": partial(from_sklearn, "digits"),
    "breast_cancer": partial(from_sklearn, "breast_cancer"),
    "wine": partial(from_sklearn, "wine"),
    "covtype": downloads.covtype,
    "higgs": partial(downloads.higgs, "higgs", 1_000_000),
    "higgs100k": partial(downloads.higgs, "higgs100k", 100_000),
    "toy": toy,
}
"""Name -> function without arguments."""
