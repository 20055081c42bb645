"""Probes: the linear path and nearest neighbours beside scikit-learn's.

Features like those of an encoder: 10,000 rows, 512 correlated dimensions, 10 classes that overlap. One path is all strengths of
`linear@1` from strong to weak, each from where the one before ended. scikit-learn runs twice: with its default tolerance, which
stops weak strengths short of their optimum, and with one that finds it, in float64. How far an objective is above the lowest of
all is relative, in float64, and the worst of all strengths. Neighbours: the same k, cosine similarity of the same unit vectors;
ours are multiplied in bf16 where the processor has it, as a run does with sets of this size.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from bench.probe import STRENGTHS, LogisticPath, Rows, Standardise, votes
from benchmarks.row import Row
from benchmarks.timing import Side, Spread, ratio, turns

N, D, CLASSES, TEST, K = 10_000, 512, 10, 5_000, 20

DEFAULT, TIGHT = 1e-4, 1e-7
"""scikit-learn's own tolerance of the gradient, and one at which the objective of every strength has settled."""

CLOSE = 1e-3
"""How far above the lowest objective counts as at the optimum."""

Weights = list[tuple[np.ndarray, np.ndarray]]


def rows(rounds: int) -> Iterator[Row]:
    """See the module."""
    x, y, test, y_test = features()
    yield from _linear(x, y, rounds)
    yield from _neighbours(x, y, test, y_test, rounds)


def features(seed: int = 0) -> tuple[torch.Tensor, np.ndarray, torch.Tensor, np.ndarray]:
    """Features with a spectrum that falls as k^-1/2 and classes that overlap, standardised: training rows and test rows."""
    draw, n = np.random.default_rng(seed), N + TEST
    y = np.arange(n) % CLASSES
    spread = np.arange(1, D + 1) ** -0.5
    x = (draw.normal(size=(n, D)) + 0.1 * draw.normal(size=(CLASSES, D))[y]) * spread
    rotation = np.linalg.qr(draw.normal(size=(D, D)))[0]
    h = torch.from_numpy((x @ rotation).astype(np.float32))
    standardise = Standardise(h[:N])
    return standardise(h[:N]), y[:N], standardise(h[N:]), y[N:]


def _linear(x: torch.Tensor, y: np.ndarray, rounds: int) -> Iterator[Row]:
    found: dict[str, Weights] = {}

    def keep(name: str, path: Callable[[], Weights]) -> Side:
        return lambda: found.update({name: path()})

    sides = {
        "ours": keep("ours", lambda: ours(x, y)),
        "default": keep("default", lambda: theirs(x, y, DEFAULT)),
        "tight": keep("tight", lambda: theirs(x, y, TIGHT)),
    }
    times = turns(sides, min(rounds, 3))
    yield Row(
        "linear path: scikit-learn's time over ours, default tolerance", ratio(times["default"], times["ours"]), "x", ">= 1.5"
    )
    yield Row("linear path: scikit-learn's time over ours, to the optimum", ratio(times["tight"], times["ours"]), "x")
    data = x.double().numpy()
    excess: dict[str, list[float]] = {name: [] for name in found}
    for i, strength in enumerate(STRENGTHS):
        values = {name: objective(data, y, *weights[i], strength) for name, weights in found.items()}
        for name, value in values.items():
            excess[name].append(value / min(values.values()) - 1)
    for name, what in (("ours", "ours"), ("default", "scikit-learn, default tolerance")):
        worst = max(excess[name])
        reach = f"<= {CLOSE}" if name == "ours" else ""
        yield Row(f"linear path: objective above the lowest, {what}", Spread(worst, worst, worst), "", reach)


def _neighbours(x: torch.Tensor, y: np.ndarray, test: torch.Tensor, y_test: np.ndarray, rounds: int) -> Iterator[Row]:
    from sklearn.neighbors import KNeighborsClassifier

    units, asked = (torch.nn.functional.normalize(t, dim=1) for t in (x, test))
    right: dict[str, float] = {}

    def ours() -> None:
        right["ours"] = float((votes(units, y, asked, CLASSES, [K])[0].argmax(axis=1) == y_test).mean())

    def theirs() -> None:
        # Among unit vectors the Euclidean distance, which scikit-learn computes fastest, orders like the cosine.
        model = KNeighborsClassifier(K, weights=_weights, algorithm="brute").fit(units.numpy(), y)
        right["scikit-learn"] = float((model.predict(asked.numpy()) == y_test).mean())

    times = turns({"scikit-learn": theirs, "ours": ours}, rounds)
    yield Row(f"k-NN, k = {K}: scikit-learn's time over ours", ratio(times["scikit-learn"], times["ours"]), "x", ">= 3")
    gap = 100 * abs(right["ours"] - right["scikit-learn"])
    yield Row(f"k-NN, k = {K}: difference of the accuracies, points", Spread(gap, gap, gap), "", "<= 0.1")


def _weights(distance: np.ndarray) -> np.ndarray:
    """exp(s / 0.1), s the cosine of unit vectors at a Euclidean distance."""
    return np.exp((1 - distance**2 / 2) / 0.1)


def ours(x: torch.Tensor, y: np.ndarray) -> Weights:
    """Weights (d, C) and biases (C,) at every strength."""
    path = LogisticPath(Rows(x), y)
    found = [path.solve(strength).v.double().numpy() for strength in STRENGTHS]
    return [(v[:-1], v[-1]) for v in found]


def theirs(x: torch.Tensor, y: np.ndarray, tolerance: float) -> Weights:
    """The same by scikit-learn: one model with warm_start, float32 features as they come; float64 for a tight tolerance."""
    from sklearn.linear_model import LogisticRegression

    data = x.numpy() if tolerance >= DEFAULT else x.double().numpy()
    model = LogisticRegression(warm_start=True, max_iter=20_000, tol=tolerance)
    found = []
    for strength in STRENGTHS:
        model.set_params(C=1 / (strength * len(y)))
        model.fit(data, y)
        found.append((model.coef_.T.astype(np.float64), model.intercept_.astype(np.float64)))
    return found


def objective(x: np.ndarray, y: np.ndarray, w: np.ndarray, b: np.ndarray, strength: float) -> float:
    """Mean cross-entropy + λ/2 ‖W‖², in float64."""
    logits = x @ w + b
    top = logits.max(axis=1, keepdims=True)
    log_p = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    return float(-log_p[np.arange(len(y)), y].mean() + strength / 2 * (w**2).sum())
