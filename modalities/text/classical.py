"""TF-IDF with logistic regression: what a careful practitioner would try first on texts, for the control `classical`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_TERMS: dict[str, dict[str, Any]] = {
    "words": {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"},
    "characters": {"analyzer": "char_wb", "ngram_range": (1, 4)},
}


class TfIdf:
    """A classifier of texts (n,): TF-IDF of one kind of terms, then logistic regression; scikit-learn's interface.

    terms: words and pairs of words, or pieces of one to four characters. They are counted in the rows it is fitted on.
    """

    def __init__(self, terms: str) -> None:
        self.terms = terms

    def get_params(self) -> dict[str, str]:
        return {"terms": self.terms}

    def fit(self, x: np.ndarray, y: np.ndarray) -> "TfIdf":
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        counted = TfidfVectorizer(sublinear_tf=True, max_features=200_000, **_TERMS[self.terms])
        self.model = make_pipeline(counted, LogisticRegression(C=10.0, max_iter=200)).fit(x, y)
        self.classes_ = self.model.classes_
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.model.predict_proba(x)
        return found

    def score(self, x: np.ndarray, y: np.ndarray) -> float:
        return float(self.model.score(x, y))


def candidates() -> Sequence[Any]:
    """Unfitted classifiers on an array of texts; validation chooses."""
    return [TfIdf(terms) for terms in _TERMS]
