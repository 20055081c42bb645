"""Probes of frozen features. Every choice is made inside the labelled rows; the test split is scored once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from bench import perf
from bench.data import Fold

STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""The fixed grid of `linear@1`: λ in mean cross-entropy + λ/2 ‖W‖², strongest first."""

AT_ONCE = 2**22
"""Similarities that k-NN holds at once: 16 MiB, which stay in the cache."""

LOOK = 2**20
"""Features that are standardised at once: 4 MiB."""

EXACT = 2**21
"""Features up to which exact products cost little."""

NEIGHBOURS = (1, 5, 20, 100)
"""The fixed grid of `knn@1`."""


@dataclass(frozen=True)
class Prediction:
    """What a probe or a control says about the test rows. proba: (n, C), rows sum to one."""

    proba: np.ndarray
    val_score: float | None  # None where every class has one labelled row, so that nothing can validate
    chosen: str

    @property
    def labels(self) -> np.ndarray:
        """The most probable class of each row, (n,)."""
        found: np.ndarray = self.proba.argmax(axis=1)
        return found


def scores(proba: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """accuracy, balanced_accuracy (mean recall over the classes present in y) and log_loss (natural, p >= 1e-7)."""
    return {**label_scores(proba.argmax(axis=1), y), "log_loss": log_loss(proba[np.arange(len(y)), y])}


def label_scores(labels: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """accuracy and balanced_accuracy of predicted classes (n,)."""
    hit = labels == y
    recalls = [hit[y == c].mean() for c in np.unique(y)]
    return {"accuracy": float(hit.mean()), "balanced_accuracy": float(np.mean(recalls))}


def log_loss(likelihood: np.ndarray) -> float:
    """Mean −log p of the true class; p at least 1e-7. likelihood: (n,) probabilities of the true classes."""
    return float(-np.log(np.clip(likelihood, 1e-7, 1.0)).mean())


def per_class(predictions: np.ndarray, y: np.ndarray, n_classes: int) -> dict[str, np.ndarray]:
    """Recall, precision and test rows of each class, (C,) each; nan where a class has no row, or was never predicted."""
    hit = np.bincount(y[predictions == y], minlength=n_classes)
    rows, told = (np.bincount(a, minlength=n_classes)[:n_classes] for a in (y, predictions))  # a cluster may have no class
    with np.errstate(invalid="ignore"):
        return {"recall": hit / rows, "precision": hit / told, "class_rows": rows}


def choose(
    candidates: Sequence[str], per_fold: Sequence[Sequence[np.ndarray]], y: Sequence[np.ndarray], metric: str
) -> tuple[int, float | None]:
    """The candidate with the best mean validation score over folds; of equals the first. Returns (index, score).

    per_fold[f][c] is the (n_f, C) probabilities of candidate c on fold f's validation rows, whose labels are y[f].
    Without folds the first candidate stands, and there is no score.
    """
    if not per_fold:
        return 0, None
    means = [
        np.mean([scores(proba[c], labels)[metric] for proba, labels in zip(per_fold, y, strict=True)])
        for c in range(len(candidates))
    ]
    best = int(np.argmax(means))
    return best, float(means[best])


class Standardise:
    """(h − mean) / std per dimension, with statistics of the rows it is built from; constant dimensions become 0."""

    def __init__(self, h: Tensor) -> None:
        total, squares = (torch.zeros(h.shape[1], dtype=torch.float64) for _ in range(2))
        for _, x in Rows(h).blocks(torch.float32):
            total += x.sum(dim=0, dtype=torch.float64)
        self.mean = (total / len(h)).float()
        for _, x in Rows(h).blocks(torch.float32):
            squares += (x - self.mean).square_().sum(dim=0)
        std = (squares / len(h)).sqrt().float()
        self.scale = torch.where(std > 1e-8, 1 / std.clamp_min(1e-8), 0.0)

    def __call__(self, h: Tensor) -> Tensor:
        return (h - self.mean).mul_(self.scale)


class Rows:
    """Some rows of features (all without `rows`), standardised when they are looked at, so that no second copy is held."""

    def __init__(self, h: Tensor, standardise: Standardise | None = None, rows: np.ndarray | None = None) -> None:
        self.h, self.standardise = h, standardise
        self.rows = None if rows is None else torch.from_numpy(rows)
        self.shape = len(h) if rows is None else len(rows), h.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def blocks(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """(places, rows there) one after the other, a few MiB each."""
        size = max(1, LOOK // self.shape[1])
        for block in (slice(start, start + size) for start in range(0, len(self), size)):
            h = self.h[block] if self.rows is None else self.h.index_select(0, self.rows[block])
            yield block, (h if self.standardise is None else self.standardise(h)).to(dtype)


@dataclass(frozen=True)
class _Point:
    """The mean cross-entropy at weights v (d + 1, C), the last row being the bias; its gradient (d + 1, C) and p (n, C)."""

    v: Tensor
    loss: float
    gradient: Tensor
    p: Tensor

    def objective(self, strength: float) -> float:
        """Loss + λ/2 ‖W‖²."""
        return self.loss + strength / 2 * float(self.v[:-1].double().square().sum())

    def slope(self, strength: float) -> Tensor:
        """Gradient of the objective, (d + 1, C)."""
        return torch.cat((self.gradient[:-1] + strength * self.v[:-1], self.gradient[-1:]))


class LogisticPath:
    """Multinomial logistic regression over a path of L2 strengths on fixed rows: mean cross-entropy + λ/2 ‖W‖², bias free.

    Newton's method, each solution starting from the one before. Its steps come from conjugate gradients, preconditioned for
    every class by (XᵀSX/n + λI)⁻¹, S the mean over classes of p (1 − p). They only point the way, so their products are of
    bf16 where the processor multiplies it; those of values and gradients are not. It stops after a step that gained less than
    1e-5 of the objective: convergence is quadratic, and what is left to gain is below 1e-6. Few rows may be separable, where
    the objective is tiny, so they are solved in float64; many rows in float32. Labels may be any integers; absent classes get
    probability 0.
    """

    TOLERANCE, STEPS, TURNS = 1e-5, 100, 1000  # gain that ends; most steps of Newton, and of conjugate gradients in each

    def __init__(self, rows: Rows, y: np.ndarray) -> None:
        """y: (n,)."""
        self.rows = rows
        self.classes, codes = np.unique(y, return_inverse=True)
        self.codes = torch.from_numpy(codes)[:, None]
        n, d = rows.shape
        self.dtype = torch.float64 if n * d <= EXACT else torch.float32
        rough = torch.bfloat16 if self.dtype == torch.float32 and perf.multiplies_bf16() else self.dtype
        self.x = torch.empty(n, d, dtype=rough)  # what steps are made from
        for block, x in rows.blocks(self.dtype):
            self.x[block] = x
        self.v = torch.zeros(d + 1, len(self.classes), dtype=self.dtype)
        self.v[-1] = torch.from_numpy(np.log(np.bincount(codes) / n))
        self.solved: dict[float, Tensor] = {}
        self._here: _Point | None = None
        self._gram, self._turns = torch.empty(0), 0  # of the preconditioner, and turns taken with it

    def start(self, classes: np.ndarray, v: Tensor) -> "LogisticPath":
        """Go to the weights of a solution on similar rows, if they are of the same classes."""
        if np.array_equal(classes, self.classes):
            self.v, self._here = v.to(self.dtype), None
        return self

    def solve(self, strength: float) -> "LogisticPath":
        """Move to the optimum for this λ, starting from where the path stands."""
        if len(self.classes) > 1:  # else there is nothing to tell apart
            here = self._here or self._look(self.v)
            for _ in range(self.STEPS):
                before, here = here, self._descended(here, strength)
                if before.objective(strength) - here.objective(strength) < self.TOLERANCE * before.objective(strength):
                    break
            self.v, self._here = here.v, here
        self.solved[strength] = self.v
        return self

    def _look(self, v: Tensor) -> _Point:
        """One pass over the rows; sums of losses in float64."""
        loss, gradient, p = 0.0, torch.zeros_like(v), v.new_empty(len(self.rows), v.shape[1])
        for block, x in self.rows.blocks(self.dtype):
            codes, log_p = self.codes[block], torch.addmm(v[-1], x, v[:-1]).log_softmax(dim=1)
            loss -= float(log_p.gather(1, codes).double().sum())
            torch.exp(log_p.clamp_min_(-60), out=p[block])  # smaller ones would be subnormal numbers, which are slow
            residual = p[block].scatter_add(1, codes, v.new_full(codes.shape, -1.0))
            gradient[:-1] += (residual.T @ x).T
            gradient[-1] += residual.sum(dim=0)
        return _Point(v, loss / len(p), gradient / len(p), p)

    def _descended(self, here: _Point, strength: float) -> _Point:
        """After one step of Newton's method, halved until it gains a part of what its slope promises."""
        step = self._step(here, strength)
        slope = float((here.slope(strength) * step).double().sum())
        for length in (0.5**i for i in range(20)):
            there = self._look(here.v + length * step)
            if there.objective(strength) <= here.objective(strength) + 1e-4 * length * slope:
                return there
        return here

    def _step(self, here: _Point, strength: float) -> Tensor:
        """About −H⁻¹ slope, H the Hessian: conjugate gradients until the error is a tenth of what it was."""
        near = self._preconditioner(here.p, strength)
        step, left = torch.zeros_like(here.v), -here.slope(strength)
        z = near(left)
        way, size = z, float((left * z).sum())
        enough = 0.01 * size
        for _ in range(self.TURNS):
            curved = self._curved(here.p, way, strength)
            bend = float((way * curved).sum())
            if not bend > 0:  # nothing but rounding is left
                break
            step.add_(way, alpha=size / bend)
            left.sub_(curved, alpha=size / bend)
            z, before = near(left), size
            size = float((left * z).sum())
            if size <= enough:
                break
            way = torch.add(z, way, alpha=size / before)
        return step

    def _curved(self, p: Tensor, way: Tensor, strength: float) -> Tensor:
        """H way, both (d + 1, C)."""
        self._turns += 1
        rough = way.to(self.x.dtype)
        move = torch.addmm(rough[-1], self.x, rough[:-1]).to(self.dtype)
        change = p * move
        change.addcmul_(p, change.sum(dim=1, keepdim=True), value=-1)
        curved = torch.cat(((change.to(self.x.dtype).T @ self.x).T.to(self.dtype), change.sum(dim=0, keepdim=True)))
        curved /= len(p)
        curved[:-1].add_(way[:-1], alpha=strength)
        return curved

    def _preconditioner(self, p: Tensor, strength: float) -> Callable[[Tensor], Tensor]:
        d, c = len(self.v) - 1, p.shape[1]
        if not self._gram.numel() or self._turns > d / (2 * c):  # turns that cost as much as a new one
            self._gram, self._turns = self._weighted_gram(p), 0
        ridge = strength + 1e-5 * float(self._gram.diagonal().mean())  # the second part is for rounding
        lower = torch.linalg.cholesky(self._gram + ridge * torch.eye(d, dtype=torch.float64))
        inverse = torch.cholesky_inverse(lower).to(self.dtype)
        bend = (p * (1 - p)).mean(dim=0).clamp_min(1e-12)
        return lambda left: torch.cat((inverse @ left[:-1], left[-1:] / bend))

    def _weighted_gram(self, p: Tensor) -> Tensor:
        """XᵀSX/n, float64 (d, d). S is scaled to be exact where all classes are equally likely."""
        d = len(self.v) - 1
        gram = torch.zeros(d, d, dtype=self.dtype)
        for block, x in self.rows.blocks(self.dtype):
            spread = (1 - p[block].square().sum(dim=1, keepdim=True)).clamp_min_(0).div_(p.shape[1] - 1)
            weighted = x * spread.sqrt_()
            with perf.rough_products():
                gram.addmm_(weighted.T, weighted)
        return gram.double() / len(p)

    def proba(self, rows: Rows, n_classes: int) -> np.ndarray:
        """Class probabilities, (n, C)."""
        out = np.zeros((len(rows), n_classes), dtype=np.float32)
        for block, x in rows.blocks(self.dtype):
            out[block, self.classes] = torch.addmm(self.v[-1], x, self.v[:-1]).softmax(dim=1).numpy()
        return out


def linear(h: Tensor, y: np.ndarray, h_test: Tensor, n_classes: int, folds: Sequence[Fold], metric: str) -> Prediction:
    """`linear@1`: logistic regression on standardised h, λ from `STRENGTHS` by validation, refitted on all labelled rows.

    h: (n, d) features of the labelled rows, y their labels. h_test: (m, d). Statistics come from the labelled rows.
    """
    standardise = Standardise(h)

    def path(rows: np.ndarray | None = None) -> LogisticPath:
        return LogisticPath(Rows(h, standardise, rows), y if rows is None else y[rows])

    per_fold, solutions = [], []
    for train, val in folds:
        fold = path(train)
        per_fold.append([fold.solve(s).proba(Rows(h, standardise, val), n_classes) for s in STRENGTHS])
        solutions.append((fold.classes, fold.solved))
        del fold  # before the next path takes as much memory
    best, val_score = choose([str(s) for s in STRENGTHS], per_fold, [y[val] for _, val in folds], metric)
    final = path()
    for classes, solved in solutions[-1:]:
        final.start(classes, solved[STRENGTHS[best]])
    proba = final.solve(STRENGTHS[best]).proba(Rows(h_test, standardise), n_classes)
    return Prediction(proba, val_score, f"strength={STRENGTHS[best]:g}")


def knn(h: Tensor, y: np.ndarray, h_test: Tensor, n_classes: int, folds: Sequence[Fold], metric: str) -> Prediction:
    """`knn@1`: cosine k-nearest neighbours on standardised h, votes weighted by exp(s / 0.1) as in the MoCo CIFAR demo,
    k from `NEIGHBOURS` by validation; all labelled rows vote in the end. Shapes as in `linear`."""
    standardise = Standardise(h)
    x = _directions(h, standardise)
    per_fold = [votes(x[train], y[train], x[val], n_classes) for train, val in folds]
    best, val_score = choose([str(k) for k in NEIGHBOURS], per_fold, [y[val] for _, val in folds], metric)
    proba = votes(x, y, _directions(h_test, standardise), n_classes, NEIGHBOURS[best : best + 1])[0]
    return Prediction(proba, val_score, f"k={NEIGHBOURS[best]}")


def _directions(h: Tensor, standardise: Standardise) -> Tensor:
    x = standardise(h)
    return normalize(x, dim=1, out=x)


def ridge(h: Tensor, y: np.ndarray, h_test: Tensor, n_classes: int, folds: Sequence[Fold], metric: str) -> Prediction:
    """`ridge@1`: least squares on one-hot labels, W = (XᵀX/n + λI)⁻¹ XᵀY/n on standardised h with a free bias.

    λ from `STRENGTHS` by validation, refitted on all labelled rows. One eigendecomposition of XᵀX serves the whole grid. The
    outputs of a row sum to one; negative ones become 0 and the rest is scaled to sum to one, so that the order of the
    classes stays and a log-loss can be told. Shapes as in `linear`.
    """
    standardise = Standardise(h)
    per_fold = [
        RidgePath(Rows(h, standardise, train), y[train], n_classes).proba(Rows(h, standardise, val), STRENGTHS)
        for train, val in folds
    ]
    best, val_score = choose([str(s) for s in STRENGTHS], per_fold, [y[val] for _, val in folds], metric)
    final = RidgePath(Rows(h, standardise), y, n_classes)
    (proba,) = final.proba(Rows(h_test, standardise), STRENGTHS[best : best + 1])
    return Prediction(proba, val_score, f"strength={STRENGTHS[best]:g}")


class RidgePath:
    """Least squares on one-hot labels for any number of L2 strengths: mean squared error + λ ‖W‖², bias free, in float64."""

    def __init__(self, rows: Rows, y: np.ndarray, n_classes: int) -> None:
        """y: (n,)."""
        (n, d), codes = rows.shape, torch.from_numpy(y)
        self.bias = torch.bincount(codes, minlength=n_classes).double() / n
        self.mean = torch.zeros(d, dtype=torch.float64)
        for _, x in rows.blocks(torch.float64):
            self.mean += x.sum(dim=0) / n
        gram, cross = (torch.zeros(d, m, dtype=torch.float64) for m in (d, n_classes))
        for block, x in rows.blocks(torch.float64):
            x = x - self.mean
            gram.addmm_(x.T, x)
            cross.addmm_(x.T, one_hot(codes[block], n_classes) - self.bias)
        self.eigenvalues, self.basis = torch.linalg.eigh(gram / n)
        self.target = self.basis.T @ cross / n

    def weights(self, strength: float) -> Tensor:
        """W for this λ, (d, C)."""
        w: Tensor = self.basis @ (self.target / (self.eigenvalues.clamp_min(0) + strength)[:, None])
        return w

    def proba(self, rows: Rows, strengths: Sequence[float]) -> list[np.ndarray]:
        """For each λ, outputs without their negative part, scaled to sum to one: [(m, C)]."""
        weights, c = torch.cat([self.weights(s) for s in strengths], dim=1), len(self.bias)
        found = np.empty((len(strengths), len(rows), c), dtype=np.float32)
        for block, x in rows.blocks(torch.float64):
            out = ((x - self.mean) @ weights).view(len(x), len(strengths), c).add_(self.bias).clamp_min_(0)
            found[:, block] = (out / out.sum(dim=2, keepdim=True)).transpose(0, 1).numpy()
        return list(found)


def votes(x: Tensor, y: np.ndarray, queries: Tensor, n_classes: int, ks: Sequence[int] = NEIGHBOURS) -> list[np.ndarray]:
    """Class probabilities for each k, by blocked matrix products: [(m, C)]."""
    labels = torch.from_numpy(y)
    most = min(max(ks), len(x))
    out = [np.empty((len(queries), n_classes), dtype=np.float32) for _ in ks]
    size = max(1, AT_ONCE // len(x))
    for i in range(0, len(queries), size):
        with perf.rough_products() if x.numel() > EXACT else nullcontext():
            product = queries[i : i + size] @ x.T
        similarity, rows = product.topk(most, dim=1)
        weight, voted = ((similarity - similarity[:, :1]) / 0.1).exp(), labels[rows]
        for votes, k in zip(out, ks, strict=True):
            ballot = torch.zeros(len(rows), n_classes).scatter_add_(1, voted[:, :k], weight[:, :k])
            votes[i : i + size] = (ballot / ballot.sum(dim=1, keepdim=True)).numpy()
    return out


Probe = Callable[[Tensor, np.ndarray, Tensor, int, Sequence[Fold], str], Prediction]

PROBES: dict[str, Probe] = {"linear@1": linear, "knn@1": knn, "ridge@1": ridge}
"""Protocols that fit a probe on clean, labelled rows, by name. A changed rule is a new version, never a silent edit."""
