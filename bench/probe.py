"""Probes of frozen features. Every choice is made inside the labelled rows; the test split is scored once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.functional import normalize

from bench.data import Fold

STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""The fixed grid of `linear@1`: λ in mean cross-entropy + λ/2 ‖W‖², strongest first."""

AT_ONCE = 2**24
"""Similarities that k-NN holds at once: 64 MiB."""

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
        self.mean, std = h.mean(dim=0), h.std(dim=0, correction=0)
        self.scale = torch.where(std > 1e-8, 1 / std.clamp_min(1e-8), 0.0)

    def __call__(self, h: Tensor) -> Tensor:
        return (h - self.mean) * self.scale


class LogisticPath:
    """Multinomial logistic regression over a path of L2 strengths on fixed rows: mean cross-entropy + λ/2 ‖W‖², bias free.

    The Hessian is at most ½ (XᵀX/n) ⊗ I + λI (Böhning 1992). So the features are rotated once into the eigenbasis of XᵀX/n,
    and for each λ L-BFGS runs in coordinates scaled by (½ eigenvalue + λ)^-½, where it needs tens of iterations instead
    of hundreds; each solution starts from the one before. It stops when a step gains less than 1e-7 of the objective at the
    start. Few rows may be separable, where the objective is tiny, so they are solved in float64; many rows in float32.
    Labels may be any integers; absent classes get probability 0.
    """

    EXACT = 2**21  # features up to which float64 costs little

    def __init__(self, x: Tensor, y: np.ndarray, near: "LogisticPath | None" = None) -> None:
        """x: standardised features, float32 (n, d). y: (n,). near: a solution on similar rows to start from."""
        self.classes, codes = np.unique(y, return_inverse=True)
        self.codes = torch.from_numpy(codes.astype(np.int64))
        eigenvalues, self.basis = torch.linalg.eigh((x.T @ x).double() / len(x))
        self.curvature = eigenvalues.clamp_min(0).numpy() / 2
        self.dtype = torch.float64 if x.numel() <= self.EXACT else torch.float32
        self.basis = self.basis.to(self.dtype)
        self.z = x.to(self.dtype) @ self.basis
        self.w = np.zeros((x.shape[1], len(self.classes)))  # in the rotated basis
        self.b = np.log(np.bincount(codes) / len(codes))
        if near is not None and np.array_equal(near.classes, self.classes):
            self.w, self.b = (self.basis.double().T @ near.basis.double()).numpy() @ near.w, near.b

    def solve(self, strength: float) -> "LogisticPath":
        """Move to the optimum for this λ, starting from where the path stands."""
        if len(self.classes) == 1:
            return self  # nothing to tell apart
        scale = 1 / np.sqrt(self.curvature + strength)[:, None]
        d, c = self.w.shape
        half = np.sqrt(2.0)  # the bias' curvature is at most 1/2
        start = np.concatenate([self.w / scale, self.b[None] / half])

        def objective(flat: np.ndarray, unit: float) -> tuple[float, np.ndarray]:
            v = flat.reshape(d + 1, c)
            w, b = v[:d] * scale, v[d] * half
            value, g_w, g_b = self._cross_entropy(w, b)
            value += strength / 2 * float((w * w).sum())
            return value / unit, np.concatenate([(g_w + strength * w) * scale, g_b[None] * half]).ravel() / unit

        unit = objective(start.ravel(), 1.0)[0]  # L-BFGS-B's tolerances are absolute below 1
        options = {"maxcor": 20, "maxiter": 2000, "maxfun": 4000, "ftol": 1e-7, "gtol": 1e-7}
        found = minimize(objective, start.ravel(), args=(unit,), jac=True, method="L-BFGS-B", options=options)
        v = found.x.reshape(d + 1, c)
        self.w, self.b = v[:d] * scale, v[d] * half
        return self

    def _cross_entropy(self, w: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Mean cross-entropy with its gradients; sums in float64."""
        logits = torch.addmm(torch.from_numpy(b).to(self.dtype), self.z, torch.from_numpy(w).to(self.dtype))
        log_p = logits.log_softmax(dim=1)
        rows = torch.arange(len(self.z))
        value = -float(log_p[rows, self.codes].double().mean())
        residual = log_p.clamp_min_(-60).exp_()  # smaller ones become subnormal numbers, which are several times slower
        residual[rows, self.codes] -= 1
        residual /= len(self.z)
        return value, (self.z.T @ residual).double().numpy(), residual.double().sum(dim=0).numpy()

    def proba(self, x: Tensor, n_classes: int) -> np.ndarray:
        """Class probabilities of standardised rows, (n, C)."""
        w, b = (torch.from_numpy(a).to(self.dtype) for a in (self.w, self.b))
        out = np.zeros((len(x), n_classes), dtype=np.float32)
        out[:, self.classes] = torch.addmm(b, x.to(self.dtype) @ self.basis, w).softmax(dim=1).numpy()
        return out


def linear(h: Tensor, y: np.ndarray, h_test: Tensor, n_classes: int, folds: Sequence[Fold], metric: str) -> Prediction:
    """`linear@1`: logistic regression on standardised h, λ from `STRENGTHS` by validation, refitted on all labelled rows.

    h: (n, d) features of the labelled rows, y their labels. h_test: (m, d). Statistics come from the labelled rows.
    """
    standardise = Standardise(h)
    x = standardise(h)
    per_fold = []
    path = None
    for train, val in folds:
        path = LogisticPath(x[train], y[train])
        per_fold.append([path.solve(s).proba(x[val], n_classes) for s in STRENGTHS])
    best, val_score = choose([str(s) for s in STRENGTHS], per_fold, [y[val] for _, val in folds], metric)
    final = LogisticPath(x, y, near=path).solve(STRENGTHS[best])
    return Prediction(final.proba(standardise(h_test), n_classes), val_score, f"strength={STRENGTHS[best]:g}")


def knn(h: Tensor, y: np.ndarray, h_test: Tensor, n_classes: int, folds: Sequence[Fold], metric: str) -> Prediction:
    """`knn@1`: cosine k-nearest neighbours on standardised h, votes weighted by exp(s / 0.1) as in the MoCo CIFAR demo,
    k from `NEIGHBOURS` by validation; all labelled rows vote in the end. Shapes as in `linear`."""
    standardise = Standardise(h)
    x = normalize(standardise(h), dim=1)
    per_fold = [_votes(x[train], y[train], x[val], n_classes) for train, val in folds]
    best, val_score = choose([str(k) for k in NEIGHBOURS], per_fold, [y[val] for _, val in folds], metric)
    proba = _votes(x, y, normalize(standardise(h_test), dim=1), n_classes, NEIGHBOURS[best : best + 1])[0]
    return Prediction(proba, val_score, f"k={NEIGHBOURS[best]}")


def ridge(h: Tensor, y: np.ndarray, h_test: Tensor, n_classes: int, folds: Sequence[Fold], metric: str) -> Prediction:
    """`ridge@1`: least squares on one-hot labels, W = (XᵀX/n + λI)⁻¹ XᵀY/n on standardised h with a free bias.

    λ from `STRENGTHS` by validation, refitted on all labelled rows. One eigendecomposition of XᵀX serves the whole grid. The
    outputs of a row sum to one; negative ones become 0 and the rest is scaled to sum to one, so that the order of the
    classes stays and a log-loss can be told. Shapes as in `linear`.
    """
    standardise = Standardise(h)
    x = standardise(h)
    per_fold = [RidgePath(x[train], y[train], n_classes).proba(x[val], STRENGTHS) for train, val in folds]
    best, val_score = choose([str(s) for s in STRENGTHS], per_fold, [y[val] for _, val in folds], metric)
    (proba,) = RidgePath(x, y, n_classes).proba(standardise(h_test), STRENGTHS[best : best + 1])
    return Prediction(proba, val_score, f"strength={STRENGTHS[best]:g}")


class RidgePath:
    """Least squares on one-hot labels for any number of L2 strengths: mean squared error + λ ‖W‖², bias free, in float64."""

    def __init__(self, x: Tensor, y: np.ndarray, n_classes: int) -> None:
        """x: features, (n, d). y: (n,)."""
        targets = torch.eye(n_classes, dtype=torch.float64)[torch.from_numpy(y)]
        self.mean, self.bias = x.double().mean(dim=0), targets.mean(dim=0)
        centred = x.double() - self.mean
        self.eigenvalues, self.basis = torch.linalg.eigh(centred.T @ centred / len(x))
        self.target = self.basis.T @ (centred.T @ (targets - self.bias)) / len(x)

    def weights(self, strength: float) -> Tensor:
        """W for this λ, (d, C)."""
        w: Tensor = self.basis @ (self.target / (self.eigenvalues.clamp_min(0) + strength)[:, None])
        return w

    def proba(self, x: Tensor, strengths: Sequence[float]) -> list[np.ndarray]:
        """For each λ, outputs without their negative part, scaled to sum to one: [(m, C)]."""
        centred = x.double() - self.mean
        outputs = [(centred @ self.weights(s) + self.bias).clamp_min(0) for s in strengths]
        return [(out / out.sum(dim=1, keepdim=True)).float().numpy() for out in outputs]


def _votes(x: Tensor, y: np.ndarray, queries: Tensor, n_classes: int, ks: Sequence[int] = NEIGHBOURS) -> list[np.ndarray]:
    """Class probabilities for each k, by blocked matrix products: [(m, C)]."""
    labels = torch.from_numpy(y)
    most = min(max(ks), len(x))
    out = [np.empty((len(queries), n_classes), dtype=np.float32) for _ in ks]
    size = max(1, AT_ONCE // len(x))
    for i in range(0, len(queries), size):
        similarity, rows = (queries[i : i + size] @ x.T).topk(most, dim=1)
        weight, voted = ((similarity - similarity[:, :1]) / 0.1).exp(), labels[rows]
        for votes, k in zip(out, ks, strict=True):
            ballot = torch.zeros(len(rows), n_classes).scatter_add_(1, voted[:, :k], weight[:, :k])
            votes[i : i + size] = (ballot / ballot.sum(dim=1, keepdim=True)).numpy()
    return out


Probe = Callable[[Tensor, np.ndarray, Tensor, int, Sequence[Fold], str], Prediction]

PROBES: dict[str, Probe] = {"linear@1": linear, "knn@1": knn, "ridge@1": ridge}
"""Protocols that fit a probe on clean, labelled rows, by name. A changed rule is a new version, never a silent edit."""
