"""Boosted trees: what a careful practitioner would try first on a table, for the control `classical`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from bench.adapter import Arrays, Dataset
from modalities.tabular.preprocess import MOST_STATES

# A small grid with two ends: many leaves, and few with a penalty. Rates of 0.2 and above diverged on many classes.
_GRID: tuple[dict[str, Any], ...] = (
    {"max_leaf_nodes": 31, "max_iter": 70},
    {"max_leaf_nodes": 15, "max_iter": 60, "l2_regularization": 1.0},
)


def candidates(dataset: Dataset) -> Sequence[Any]:
    """Unfitted classifiers for rows as `table` makes them."""
    numeric, columns = dataset.meta["numeric"], dataset.meta["categorical"]
    categorical = tuple([False] * len(numeric) + [True] * len(columns))
    return [Trees(categorical, **settings) for settings in _GRID]


def table(x: Arrays) -> np.ndarray:
    """(numeric, codes) -> float32 (n, p + q) with NaN for what is missing."""
    numeric, codes = x
    out = np.concatenate((numeric, codes), axis=1, dtype=np.float32, casting="same_kind")
    out[:, numeric.shape[1] :][codes < 0] = np.nan
    return out


class Trees(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """scikit-learn's histogram gradient boosting, for tables it refuses as they are.

    In the rows it is fitted on, a column without any value becomes zeros, and of a column with more categories than the
    trees take the rare ones share the last. A category that those rows never had is missing. No early stopping: its inner
    split fails where a class has one row.
    """

    def __init__(
        self, categorical: tuple[bool, ...], max_leaf_nodes: int = 31, max_iter: int = 100, l2_regularization: float = 0.0
    ) -> None:
        self.categorical, self.max_leaf_nodes, self.max_iter = categorical, max_leaf_nodes, max_iter
        self.l2_regularization = l2_regularization

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Trees":
        """Fit on rows (n, columns), NaN for what is missing."""
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.preprocessing import OrdinalEncoder

        self.empty_ = np.isnan(x).all(axis=0)
        self.columns_ = np.flatnonzero(np.array(self.categorical) & ~self.empty_)
        self.codes_ = OrdinalEncoder(max_categories=MOST_STATES, handle_unknown="use_encoded_value", unknown_value=np.nan)
        if len(self.columns_):
            self.codes_.fit(x[:, self.columns_])
        self.trees_ = HistGradientBoostingClassifier(
            learning_rate=0.1,
            max_leaf_nodes=self.max_leaf_nodes,
            max_iter=self.max_iter,
            l2_regularization=self.l2_regularization,
            categorical_features=self.categorical,
            early_stopping=False,
            random_state=0,
        )
        self.trees_.fit(self._ready(x), y)
        self.classes_ = self.trees_.classes_
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Classes, (n,)."""
        found: np.ndarray = self.trees_.predict(self._ready(x))
        return found

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Probabilities of `classes_`, (n, classes)."""
        found: np.ndarray = self.trees_.predict_proba(self._ready(x))
        return found

    def _ready(self, x: np.ndarray) -> np.ndarray:
        x = np.where(self.empty_, np.float32(0), x)
        if len(self.columns_):
            x[:, self.columns_] = self.codes_.transform(x[:, self.columns_])
        return x
