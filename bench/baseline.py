"""Controls: what a contrastive row has to be judged against, on the same rows."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from bench.adapter import Batch, Encoder, View, select
from bench.data import Fold
from bench.home import load_tensors, locked, save_tensors
from bench.mixing import blend, draw_imix
from bench.probe import Prediction, choose, scores
from bench.seeds import rng, torch_rng
from bench.train import Fitted, Plan, TrainingFailedError, embed, fit

CARDS = {
    "random": {
        "title": "Random encoder",
        "what": "the untrained encoder, probed like a trained one",
        "version": 1,
        "needs": ["encoder", "probe"],
        "settings": [],
        "mixers": {},
    },
    "raw": {
        "title": "Raw features",
        "what": "no encoder: standardised and one-hot columns, pixels, flattened log-mels, token counts",
        "version": 1,
        "needs": ["probe"],
        "settings": [],
        "mixers": {},
    },
    "classical": {
        "title": "Classical",
        "what": "boosted trees; TF-IDF, MFCC statistics, HOG or PCA with logistic regression",
        "version": 1,
        "needs": [],
        "settings": [],
        "mixers": {},
    },
    "supervised": {
        "title": "Supervised",
        "what": "the same encoder trained on the labelled rows from scratch",
        "version": 2,
        "needs": ["encoder", "views", "training"],
        "settings": [],
        "mixers": {"mixup": "supervised"},
    },
}

RATES = (1.0, 0.3, 0.1)
"""Learning rates the supervised control chooses from, as multiples of the recipe's."""

LENGTHS = (1.0, 0.3)
"""Shares of the budget's steps that it chooses from, each a whole schedule."""


def classical(
    candidates: Sequence[Any],
    x: np.ndarray,
    y: np.ndarray,
    x_test: np.ndarray,
    n_classes: int,
    folds: Sequence[Fold],
    metric: str,
) -> Prediction:
    """The control `classical`: the candidate with the best validation score, refitted on all labelled rows.

    candidates: unfitted scikit-learn classifiers. x, x_test: as their `fit` and `predict_proba` want them.
    """
    return best_classical(candidates, x, y, n_classes, folds, metric)(x_test)


def best_classical(
    candidates: Sequence[Any], x: np.ndarray, y: np.ndarray, n_classes: int, folds: Sequence[Fold], metric: str
) -> Callable[[np.ndarray], Prediction]:
    """`classical` before it has seen a test row: what predicts any rows."""
    names = [type(c).__name__ if len(candidates) == 1 else _settings(c, candidates) for c in candidates]
    per_fold = [[_fitted(c, x[t], y[t], n_classes)(x[v]) for c in candidates] for t, v in folds]
    best, val_score = choose(names, per_fold, [y[v] for _, v in folds], metric)
    proba = _fitted(candidates[best], x, y, n_classes)
    return lambda rows: Prediction(proba(rows), val_score, names[best])


def _fitted(candidate: Any, x: np.ndarray, y: np.ndarray, n_classes: int) -> Callable[[np.ndarray], np.ndarray]:
    """A copy of a classifier, fitted: rows -> probabilities (n, C)."""
    only = int(y[0]) if len(np.unique(y)) == 1 else None
    model = copy.deepcopy(candidate)
    if only is None:
        model.fit(x, y)

    def proba(rows: np.ndarray) -> np.ndarray:
        out = np.zeros((len(rows), n_classes), dtype=np.float32)
        if only is None:
            out[:, model.classes_] = model.predict_proba(rows)
        else:
            out[:, only] = 1
        return out

    return proba


def _settings(model: Any, among: Sequence[Any]) -> str:
    """The parameters in which this candidate differs from another, as name=value; a pipeline's parts by their parameters."""
    mine, others = model.get_params(), [c.get_params() for c in among]
    plain = {k: v for k, v in mine.items() if k != "steps" and not hasattr(v, "get_params")}
    return " ".join(f"{k}={v}" for k, v in sorted(plain.items()) if any(str(o.get(k)) != str(v) for o in others))


class Classifier(nn.Module):
    """The contrastive rows' encoder with a linear layer on h."""

    def __init__(self, encoder: Encoder, n_classes: int) -> None:
        super().__init__()
        self.encoder, self.top = encoder, nn.Linear(encoder.dim, n_classes)

    def forward(self, x: Batch) -> Tensor:
        logits: Tensor = self.top(self.encoder(x))
        return logits


@dataclass(frozen=True)
class Choice:
    """What validation chose for training with labels: a multiple of the recipe's learning rate, and its length."""

    rate: float
    steps: int
    val_score: float | None


T = TypeVar("T")


def _best(grid: Sequence[T], attempt: Callable[[T], Choice]) -> Choice:
    """The attempt with the best validation score; of equals the first. One that diverges is out; if all do, that is raised."""
    tried, failed = [], None
    for cell in grid:
        try:
            tried.append(attempt(cell))
        except TrainingFailedError as reason:
            failed = reason
    if failed is not None and not tried:
        raise failed
    return max(tried, key=lambda choice: choice.val_score or 0.0)


@dataclass(frozen=True)
class Supervised:
    """The control `supervised`: one value that knows the rows, the views and how to build and train a classifier.

    Learning rate and length, each length a whole schedule that ends at a rate of zero, are those that did best on a fifth of
    the labelled rows (the first fold where there are several) after training on the others, at seed 0; then it trains anew on
    all labelled rows. Without a fold (one labelled row a class) it trains at the recipe's rate for all steps.
    mixup_alpha: λ ~ Beta(α, α) for `supervised+mixup`, after the stem.
    """

    build: Callable[[], Classifier]  # untrained, of the run's seed
    x: Batch  # the labelled rows
    y: np.ndarray
    fold: Fold | None
    view: View
    n_classes: int
    metric: str
    mixup_alpha: float | None = None
    watch: Callable[[str, int, int, float], None] | None = None  # stage, step, steps, loss

    def choose(self, plan: Plan, memory: Path) -> Choice:
        """The best of `RATES` x `LENGTHS` on validation at the plan's seed.

        Remembered in a file with a checksum, and computed once by whoever comes first.
        """
        with locked(memory):
            found = load_tensors(memory)
            if found is not None:
                return Choice(**found[1])
            lengths = [max(1, round(length * plan.steps)) for length in LENGTHS]
            best = self.choose_among(plan, list(dict.fromkeys((rate, steps) for steps in lengths for rate in RATES)))
            save_tensors(memory, {}, asdict(best))
        return best

    def choose_among(self, plan: Plan, grid: Sequence[tuple[float, int]]) -> Choice:
        """The (multiple of the rate, steps) with the best validation score; of equals, and without a fold, the first."""
        if self.fold is None:
            return Choice(*grid[0], None)
        return _best(grid, lambda cell: Choice(*cell, self.validated(replace(plan, lr=plan.lr * cell[0], steps=cell[1]))))

    def validated(self, plan: Plan) -> float | None:
        """The score on the fold's validation rows after training on its others; None without a fold."""
        if self.fold is None:
            return None
        train, val = (torch.from_numpy(rows) for rows in self.fold)
        model = self.build()
        self._fit(model, train, plan, "choosing")
        return self._score(model, val, plan)

    def final(self, plan: Plan) -> tuple[Classifier, Fitted]:
        """Train on all labelled rows."""
        model = self.build()
        return model, self._fit(model, torch.arange(len(self.y)), plan, "training")

    def predict(self, model: Classifier, x: Batch, plan: Plan) -> np.ndarray:
        """Class probabilities, (n, C)."""
        proba: np.ndarray = embed(model, x, plan).softmax(dim=1).numpy()
        return proba

    def _fit(self, model: Classifier, rows: Tensor, plan: Plan, stage: str) -> Fitted:
        plan = replace(plan, batch_size=min(plan.batch_size, len(rows)))
        x, targets = (
            select(self.x, rows.to(plan.device)),
            one_hot(torch.from_numpy(self.y)[rows], self.n_classes).float().to(plan.device),
        )

        def loss(batch: Tensor, step: int) -> Tensor:
            s = model.encoder.stem(self.view(select(x, batch), torch_rng(plan.device, plan.seed, "views", step)))
            wanted = targets[batch]
            if self.mixup_alpha is not None:
                mix = draw_imix(len(batch), self.mixup_alpha, rng(plan.seed, "mixing", step), plan.device)
                s, wanted = blend(s, *mix), blend(wanted, *mix)
            return cross_entropy(model.top(model.encoder.body(s)).float(), wanted)

        def tell(step: int, loss: float) -> None:
            if self.watch is not None:
                self.watch(stage, step, plan.steps, loss)

        return fit(model, loss, len(rows), plan, watch=tell)

    def _score(self, model: Classifier, rows: Tensor, plan: Plan) -> float:
        proba = self.predict(model, select(self.x, rows.to(plan.device)), plan)
        return scores(proba, self.y[rows.numpy()])[self.metric]
