"""TF-IDF with logistic regression: what a careful practitioner would try first on texts, for the control `classical`."""

from collections.abc import Sequence
from typing import Any


def candidates() -> Sequence[Any]:
    """Unfitted classifiers on an array of texts: words and pairs of words, or pieces of one to four characters.

    Validation chooses. Terms are counted in the rows a classifier is fitted on.
    """
    return [
        _pipeline(analyzer="word", ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b"),
        _pipeline(analyzer="char_wb", ngram_range=(1, 4)),
    ]


def _pipeline(**settings: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    terms = TfidfVectorizer(sublinear_tf=True, lowercase=True, max_features=200_000, **settings)
    return make_pipeline(terms, LogisticRegression(C=10.0, max_iter=200))
