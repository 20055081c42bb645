"""Classical pictures: histograms of oriented gradients, or principal components, with logistic regression."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from modalities.images.preprocess import SIDE, resized, smaller

COMPONENTS = 64
_GRID = (("hog", 0.1), ("hog", 0.01), ("pca", 1.0), ("pca", 0.1))


class Classical(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Logistic regression of strength C on standardised features, `hog` or `pca`, of rows made by `table`."""

    def __init__(self, features: str = "hog", C: float = 1.0, pixels: int = 0) -> None:  # noqa: N803 - scikit-learn's name
        self.features, self.C, self.pixels = features, C, pixels

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Classical":
        from sklearn.decomposition import PCA
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        own = self._own(x)
        parts = (
            [PCA(min(COMPONENTS, *own.shape), whiten=True, random_state=0)] if self.features == "pca" else [StandardScaler()]
        )
        self.model_ = make_pipeline(*parts, LogisticRegression(C=self.C, max_iter=300)).fit(own, y)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        proba: np.ndarray = self.model_.predict_proba(self._own(x))
        return proba

    def predict(self, x: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.model_.predict(self._own(x))
        return found

    def _own(self, x: np.ndarray) -> np.ndarray:
        return x[:, : self.pixels] if self.features == "pca" else x[:, self.pixels :]


def candidates(shape: tuple[int, ...]) -> Sequence[Any]:
    """Unfitted classifiers for pictures of a shape (c, h, w)."""
    h, w = smaller(shape[1:], SIDE)
    return [Classical(features, C, shape[0] * h * w) for features, C in _GRID]


def table(pixels: np.ndarray) -> np.ndarray:
    """uint8 (n, c, h, w) -> float32 (n, pixels + HOG): both kinds of features of every picture, at most 32 pixels wide."""
    from skimage.feature import hog

    small = resized(pixels, smaller(pixels.shape[2:], SIDE)).numpy()
    cell = max(2, min(small.shape[2:]) // 7)
    block = min(2, min(small.shape[2:]) // cell)
    settings = {"orientations": 9, "pixels_per_cell": (cell, cell), "cells_per_block": (block, block), "channel_axis": 0}
    gradients = np.stack([hog(picture, **settings) for picture in small]).astype(np.float32)
    return np.concatenate((small.reshape(len(small), -1).astype(np.float32) / 255, gradients), axis=1)
