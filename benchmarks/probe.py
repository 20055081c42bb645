"""How fast `linear@1`'s path of strengths is, beside scikit-learn's warm-started one, and whether both end at one optimum.

Features like those of an encoder: 10,000 rows, 512 correlated dimensions, 10 classes that overlap. One path = all strengths
of the grid from strong to weak, each from where the one before ended, on one thread. All take turns and the least
CPU-time of each counts. scikit-learn runs twice: with its default tolerance, which leaves weak strengths far from their
optimum, and with one that finds it. Agreement: how far the objective is above the lowest of all, relative, in float64.

    python benchmarks/probe.py [--rows 10000] [--dims 512] [--classes 10] [--repeats 3]
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.perf import threads
from bench.probe import STRENGTHS, LogisticPath, Standardise

DEFAULT, TIGHT = 1e-4, 1e-7
"""scikit-learn's own tolerance of the gradient, and one at which the objective of every strength has settled."""

CLOSE = 1e-3

Weights = list[tuple[np.ndarray, np.ndarray]]


def features(n: int, d: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Standardised features with a spectrum that falls as k^-1/2, and classes that overlap."""
    draw = np.random.default_rng(seed)
    y = np.arange(n) % classes
    spread = np.arange(1, d + 1) ** -0.5
    x = (draw.normal(size=(n, d)) + 0.1 * draw.normal(size=(classes, d))[y]) * spread
    rotation = np.linalg.qr(draw.normal(size=(d, d)))[0]
    h = torch.from_numpy((x @ rotation).astype(np.float32))
    return Standardise(h)(h), y


def ours(x: torch.Tensor, y: np.ndarray) -> Weights:
    """Weights (d, C) and biases (C,) at every strength."""
    path = LogisticPath(x, y)
    found = []
    for strength in STRENGTHS:
        path.solve(strength)
        found.append((path.basis.double().numpy() @ path.w, path.b.copy()))
    return found


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


def main() -> int:
    """Print times, ratio and agreement; exit with 1 where a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, usual in (("rows", 10_000), ("dims", 512), ("classes", 10), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    given = parser.parse_args()
    warnings.simplefilter("error")  # scikit-learn warns where it stops before the optimum
    x, y = features(given.rows, given.dims, given.classes)
    paths: dict[str, Callable[[], Weights]] = {
        "ours": lambda: ours(x, y),
        "scikit-learn": lambda: theirs(x, y, DEFAULT),
        "scikit-learn, to the optimum": lambda: theirs(x, y, TIGHT),
    }
    seconds: dict[str, list[float]] = {name: [] for name in paths}
    found: dict[str, Weights] = {}
    with threads(1):
        for _ in range(given.repeats):
            for name, path in paths.items():
                began = time.process_time()
                found[name] = path()
                seconds[name].append(time.process_time() - began)
    print(
        f"{given.rows} x {given.dims}, {given.classes} classes, {len(STRENGTHS)} strengths, one thread, {given.repeats} turns"
    )
    excess = show_objectives(x.double().numpy(), y, found)
    best = {name: min(all_) for name, all_ in seconds.items()}
    for name, spent in best.items():
        print(f"{name}: {spent:.2f} s, objective at most {max(excess[name]):.1e} above the lowest (relative)")
    return 0 if best["ours"] < best["scikit-learn, to the optimum"] and max(excess["ours"]) < CLOSE else 1


def show_objectives(data: np.ndarray, y: np.ndarray, found: dict[str, Weights]) -> dict[str, list[float]]:
    """Print every strength; relative excess over the lowest objective, by path."""
    excess: dict[str, list[float]] = {name: [] for name in found}
    for i, strength in enumerate(STRENGTHS):
        values = {name: objective(data, y, *weights[i], strength) for name, weights in found.items()}
        classes = [(data @ w[i][0] + w[i][1]).argmax(axis=1) for w in found.values()]
        for name, value in values.items():
            excess[name].append(value / min(values.values()) - 1)
        told = ", ".join(f"{value:.6f}" for value in values.values())
        same = (classes[0] == classes[-1]).mean()
        print(f"  strength {strength:g}: objectives {told}; right {(classes[0] == y).mean():.3f}, same class {same:.4f}")
    return excess


if __name__ == "__main__":
    sys.exit(main())
