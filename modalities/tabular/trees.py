"""Boosted trees: what a careful practitioner would try first on a table, for the control `classical`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.adapter import Arrays, Dataset
from modalities.tabular.preprocess import MOST_STATES

# Large trees for many rows, small regularised ones for few. Learning rates of 0.2 and above diverge on many classes.
_GRID: tuple[dict[str, Any], ...] = (
    {"max_leaf_nodes": 31, "max_iter": 70},
    {"max_leaf_nodes": 15, "max_iter": 60, "l2_regularization": 1.0},
)


def candidates(dataset: Dataset) -> Sequence[Any]:
    """Unfitted classifiers. No early stopping: its inner split fails where a class has one row."""
    numeric, columns = dataset.meta["numeric"], dataset.meta["categorical"]
    wide = [len(numeric) + j for j, names in enumerate(columns.values()) if len(names) > MOST_STATES]
    return [_trees([False] * len(numeric) + [True] * len(columns), wide, settings) for settings in _GRID]


def table(x: Arrays) -> np.ndarray:
    """(numeric, codes) -> float32 (n, p + q) with NaN for what is missing."""
    numeric, codes = x
    out = np.concatenate((numeric, codes), axis=1, dtype=np.float32, casting="same_kind")
    out[:, numeric.shape[1] :][codes < 0] = np.nan
    return out


def _trees(categorical: list[bool], wide: list[int], settings: dict[str, Any]) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    if not wide:
        return HistGradientBoostingClassifier(
            learning_rate=0.1, categorical_features=categorical, early_stopping=False, random_state=0, **settings
        )
    # The trees take at most 255 categories a column; the rare ones of a wide column share the last.
    order = [j for j in range(len(categorical)) if j not in wide] + wide
    merge = OrdinalEncoder(max_categories=MOST_STATES, handle_unknown="use_encoded_value", unknown_value=np.nan)
    narrow = ColumnTransformer([("as they are", "passthrough", order[: -len(wide)]), ("merged", merge, wide)])
    return make_pipeline(narrow, _trees([categorical[j] for j in order], [], settings))
