# ruff: noqa: E402 - the card stands first
"""Tables: numeric and categorical columns with missing values, class targets.

`sources` (embedded, installed), `downloads` (covtype, higgs), `openml_sets` and `files` (yours) load; `table` turns frames
into a Dataset; `preprocess`, `views` and `encoder` make batches, views and features; `trees` is the classical control.
"""

# fmt: off
CARD = {
    "title": "Tables with numeric and categorical columns",
    "extra": "tabular",
    "version": 1,
    "default": "letter",
    "recipe": "imix-higgs",
    "views": {
        "domain": {
            "settings": ["mask_rate", "mask_fill", "mask_columns"],
            "what": "independent masking of cells; for tables the same as agnostic",
        },
        "agnostic": {"settings": ["mask_rate", "mask_fill", "mask_columns"], "what": "independent masking of cells"},
        "scarf": {
            "settings": [],
            "what": "SCARF (Bahri et al., ICLR 2022): 60 % of a row's cells from other rows; the key is not changed",
        },
        "none": {"settings": [], "what": "two identical inputs"},
    },
    "encoder": ["width"],
    "datasets": {
        "letter": {
            "rows": "16000 + 4000", "columns": "16 numeric", "classes": 26,
            "source": "UCI Letter Recognition",
            "licence": "CC BY 4.0", "cite": "Frey and Slate 1991",
            "fingerprint": "93bb79fe9a4327d0",
            "embedded": True, "metric": "accuracy", "recipe": "imix-higgs",
        },
        "adult": {
            "rows": "32561 + 16281", "columns": "6 numeric, 8 categorical, missing values", "classes": 2,
            "source": "UCI Adult",
            "licence": "CC BY 4.0", "cite": "Becker and Kohavi 1996",
            "fingerprint": "5e89e9c921a75877",
            "embedded": True, "metric": "accuracy", "recipe": "imix-higgs",
        },
        "diamonds": {
            "rows": "43152 + 10788", "columns": "7 numeric, 2 categorical; class: clarity", "classes": 8,
            "source": "the table that plotnine installs",
            "licence": "MIT (ggplot2, plotnine)", "cite": "Wickham, ggplot2, 2016",
            "fingerprint": "9b19926e3a4b3e77",
            "embedded": False, "metric": "accuracy", "recipe": "imix-higgs",
        },
        "digits": {
            "rows": "1438 + 359", "columns": "64 numeric", "classes": 10,
            "source": "scikit-learn; UCI Optical Recognition of Handwritten Digits",
            "licence": "CC BY 4.0", "cite": "Alpaydin and Kaynak 1998",
            "fingerprint": "b74cc2d6f3a8c3e2",
            "embedded": True, "metric": "accuracy", "recipe": "imix-higgs",
        },
        "breast_cancer": {
            "rows": "456 + 113", "columns": "30 numeric", "classes": 2,
            "source": "scikit-learn; UCI Breast Cancer Wisconsin (Diagnostic)",
            "licence": "CC BY 4.0", "cite": "Wolberg, Mangasarian, Street and Street 1993",
            "fingerprint": "2da0b31fd458ef13",
            "embedded": True, "metric": "accuracy", "recipe": "imix-higgs",
        },
        "wine": {
            "rows": "142 + 36", "columns": "13 numeric", "classes": 3,
            "source": "scikit-learn; UCI Wine",
            "licence": "CC BY 4.0", "cite": "Aeberhard and Forina 1992",
            "fingerprint": "d247106ac915a1c7",
            "embedded": True, "metric": "accuracy", "recipe": "imix-higgs",
        },
        "covtype": {
            "rows": "15120 + 565892", "columns": "10 numeric, 2 categorical", "classes": 7,
            "source": "UCI Covertype through scikit-learn, downloaded",
            "licence": "CC BY 4.0", "cite": "Blackard 1998",
            "embedded": False, "metric": "accuracy", "recipe": "imix-covtype",
        },
        "higgs": {
            "rows": "1000000 + 500000", "columns": "21 numeric (low-level)", "classes": 2,
            "source": "UCI HIGGS, a file you download (2.6 GB)",
            "licence": "CC BY 4.0", "cite": "Baldi, Sadowski and Whiteson 2014",
            "embedded": False, "metric": "accuracy", "recipe": "imix-higgs",
        },
        "higgs100k": {
            "rows": "100000 + 500000", "columns": "21 numeric (low-level)", "classes": 2,
            "source": "UCI HIGGS, a file you download (2.6 GB)",
            "licence": "CC BY 4.0", "cite": "Baldi, Sadowski and Whiteson 2014",
            "embedded": False, "metric": "accuracy", "recipe": "imix-higgs",
        },
        "toy": {
            "rows": "240 + 60", "columns": "5 numeric, 2 categorical, missing values", "classes": 3,
            "source": "generated",
            "licence": "MIT", "cite": "",
            "fingerprint": "a3356abf25d85fed",
            "embedded": True, "metric": "accuracy", "recipe": "imix-higgs",
        },
    },
    "schemes": {
        "openml:": "OpenML data set by id, for example openml:2",
        "openml-task:": "OpenML task with its own split; openml-task:ID or openml-task:ID:FOLD",
        "openml-suite:": "every task of a suite (sweep only)",
    },
}
# fmt: on

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from bench.adapter import Adapter, Arrays, Batch, Dataset, Encoder, Given, Transform, View, same
from bench.errors import UserError, unknown
from bench.spec import RunSpec
from modalities.tabular import coding, files, openml_sets, preprocess, views
from modalities.tabular.encoder import encoder
from modalities.tabular.preprocess import Preprocessing
from modalities.tabular.sources import LOADERS

SCHEMES = tuple(cast("dict[str, str]", CARD["schemes"]))


class Tabular(Adapter):
    """Raw rows: (numeric float32 (n, p), NaN for missing; codes int32 (n, q), -1 for missing).

    Dataset.meta: {"numeric": column names, "categorical": {column name: category names}}.
    A batch: (values float32 (n, p'), states int64 (n, q')); see `Preprocessing`.
    """

    def load(self, spec: RunSpec) -> Dataset:
        name = spec.dataset or str(CARD["default"])
        if spec.data is not None:
            return files.load(spec)
        if name.startswith(SCHEMES):
            return openml_sets.load(name)
        if name not in LOADERS:
            raise UserError(unknown("data set", name, [*LOADERS, *SCHEMES], "tabular"))
        return LOADERS[name]()

    def expand(self, name: str) -> list[str]:
        """Data sets behind one name: the tasks of a suite; any other name stands for itself."""
        return openml_sets.suite(name) if name.startswith("openml-suite:") else [name]

    def transferred(self, source: Dataset, target: Dataset) -> Dataset:
        return coding.recoded(source, target)

    def read(self, path: str, dataset: Dataset, spec: RunSpec) -> Given:  # noqa: ARG002 - columns are known by name
        return coding.read(Path(path), dataset)

    def fit(self, x: Arrays, dataset: Dataset, spec: RunSpec) -> Transform:
        fitted = preprocess.fit(x, dataset.meta)
        return fitted.with_sample(x) if spec.views == "scarf" else fitted

    def view(self, spec: RunSpec, transform: Transform) -> View:
        assert isinstance(transform, Preprocessing)
        if spec.views == "none":
            return same
        if spec.views == "scarf":
            return views.scarf(transform)
        assert spec.mask_rate is not None
        assert spec.mask_columns is not None
        return views.masking(spec.mask_rate, spec.mask_columns, transform)

    def key_view(self, spec: RunSpec, transform: Transform) -> View:
        return same if spec.views == "scarf" else self.view(spec, transform)

    def encoder(self, spec: RunSpec, transform: Transform) -> Encoder:
        assert isinstance(transform, Preprocessing)
        assert spec.width is not None
        return encoder(transform, spec.width)

    def raw(self, x: Batch, transform: Transform) -> np.ndarray:
        assert isinstance(transform, Preprocessing)
        return transform.one_hot(x)

    def classical(self, dataset: Dataset) -> Sequence[Any]:
        from modalities.tabular import trees

        return trees.candidates(dataset)

    def classical_input(self, x: Arrays, dataset: Dataset) -> np.ndarray:  # noqa: ARG002 - columns need no names here
        from modalities.tabular import trees

        return trees.table(x)

    def sheet(self, x: Batch, transform: Transform) -> list[str]:
        assert isinstance(transform, Preprocessing)
        return transform.words(x)


ADAPTER = Tabular()
