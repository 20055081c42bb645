"""Intervals and paired differences: pure functions of scores. Every interval is a mean and a half-width.

Scores come by key: what makes two runs comparable, for example (seed, rows). Runs with equal keys are pairs. An interval
covers what differs from key to key (initialisation, batches, views, which rows are labelled) on one fixed test set.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

LEVEL = 0.95
PAIRS = 3
"""Below three values an interval may be shown and decides nothing: two equal differences give one of no width, by chance."""
GROUPS = 10
"""Of fewer groups, for example speakers, a bootstrap over them is no 95 % interval: of two it returns their two scores."""
Scores = Mapping[Any, float]


class Interval(NamedTuple):
    """mean ± half, from n values. `half` is None below two values: one value says nothing about spread."""

    mean: float
    half: float | None
    n: int

    @property
    def decides(self) -> bool:
        """Whether there are values enough (`PAIRS`) to say that it excludes zero, or that it does not."""
        return self.half is not None and self.n >= PAIRS

    @property
    def sign(self) -> int:
        """1 or -1 if the interval lies above or below zero, 0 if it holds zero or is of fewer than `PAIRS` values."""
        if self.half is None or not self.decides or abs(self.mean) <= self.half:
            return 0
        return 1 if self.mean > 0 else -1


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """mean ± t · s / √n, t the (1 + level) / 2 quantile of Student's t with n - 1 degrees (Student 1908). Needs one value."""
    n = len(values)
    if n == 0:
        raise ValueError("an interval needs at least one value")
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, None, 1)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    return Interval(mean, _quantile(n - 1, level) * spread / math.sqrt(n), n)


@cache
def _quantile(degrees: int, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + level) / 2))


def paired_difference(a: Scores, b: Scores, level: float = LEVEL) -> Interval | None:
    """t-interval of a - b over the keys both have; None if they share none."""
    common = sorted(a.keys() & b.keys())
    return t_interval([a[key] - b[key] for key in common], level) if common else None


def gap_closed(score: Scores, random: Scores, supervised: Scores, level: float = LEVEL) -> float | None:
    """Share of the way from `random` to `supervised`: (s - random) / (supervised - random), each a mean over common keys.

    0 is an untrained encoder, 1 the supervised one; above 1 is possible. None unless the paired interval of
    supervised - random lies above zero: otherwise there is no gap to close.
    """
    floor = {key: random[key] for key in score.keys() & random.keys() & supervised.keys()}
    won, gap = paired_difference(score, floor, level), paired_difference(supervised, floor, level)
    return None if won is None or gap is None or gap.sign <= 0 else won.mean / gap.mean


def bootstrap_interval(
    correct: Any, *, classes: Any = None, groups: Any = None, draws: int = 2000, seed: int = 0, level: float = LEVEL
) -> tuple[float, float]:
    """Percentile bootstrap over test rows (Efron 1979) of one run's accuracy: what another test set would change.

    correct: n values, 1 where the answer is right. classes: n true classes, for balanced accuracy (the mean over the
    classes present in a draw). groups: n labels of rows that are drawn together, for example the clips of a speaker.
    """
    correct = np.asarray(correct, dtype=float)
    n = len(correct)
    column = np.zeros(n, dtype=int) if classes is None else np.unique(classes, return_inverse=True)[1]
    unit = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    shape = units, columns = int(np.max(unit)) + 1, int(np.max(column)) + 1
    right, rows = np.zeros(shape), np.zeros(shape)
    np.add.at(right, (unit, column), correct)
    np.add.at(rows, (unit, column), 1)
    # Units that look alike are interchangeable, so whole kinds are drawn: few, where a unit is a row.
    kinds, alike = np.unique(np.concatenate([right, rows], axis=1), axis=0, return_counts=True)
    times = np.random.Generator(np.random.PCG64(seed)).multinomial(units, alike / units, size=draws)
    total = times @ kinds[:, columns:]
    recall = np.divide(times @ kinds[:, :columns], total, out=np.zeros_like(total), where=total > 0)
    low, high = np.quantile(recall.sum(axis=1) / (total > 0).sum(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def binomial_error(score: float, n_test: int) -> float:
    """Standard error of an accuracy from the size of the test set alone: √(p (1 - p) / n), rows taken as independent."""
    return math.sqrt(score * (1 - score) / n_test)


def p_value(difference: Interval, level: float = LEVEL) -> float:
    """Two-sided p of the paired t test that made an interval of this level; 1 where there are fewer than `PAIRS` pairs."""
    if difference.half is None or not difference.decides or (difference.half == 0 and difference.mean == 0):
        return 1.0
    if difference.half == 0:
        return 0.0
    from scipy.special import stdtr

    return float(2 * stdtr(difference.n - 1, -abs(difference.mean) / difference.half * _quantile(difference.n - 1, level)))


class Labels(NamedTuple):
    """How many labels the supervised baseline needs to match a row. None: more than `most`, which is as far as it was run.

    A value equal to `least`, the fewest it was run at, means that many or fewer.
    """

    needed: float | None
    low: float | None
    high: float | None
    least: float
    most: float


def labels_needed(target: Scores, supervised: Mapping[float, Scores], level: float = LEVEL) -> Labels | None:
    """At how many labels `supervised` (labels -> scores) matches `target`, keys paired; None without `PAIRS` pairs anywhere.

    The mean difference supervised - target and both ends of its t-interval are interpolated linearly over log(labels). The
    mean and the upper end are followed to where they first reach zero, and the lower end to where it does for good: a
    supervised curve that falls again widens the interval. Between two measured numbers the interpolated interval is never
    narrower than the interval of interpolated curves, since a half-width is convex. Nothing is extrapolated.
    """
    curve = [(n, paired_difference(scores, target, level)) for n, scores in sorted(supervised.items())]
    known = [(n, d.mean, d.half) for n, d in curve if d is not None and d.half is not None and d.decides]
    if not known:
        return None
    mean, above, below = ([(n, mean + side * half) for n, mean, half in known] for side in (0, 1, -1))
    return Labels(_reaches_zero(mean), _reaches_zero(above), _reaches_zero(below, last=True), known[0][0], known[-1][0])


def _reaches_zero(curve: Sequence[tuple[float, float]], *, last: bool = False) -> float | None:
    """Where a curve first comes up to zero, or (`last`) from where on it stays there; None where it does not."""
    below = [i for i, (_, value) in enumerate(curve) if value < 0]
    at = max(below, default=-1) + 1 if last else next((i for i in range(len(curve)) if i not in below), len(curve))
    if at in (0, len(curve)):
        return None if at else curve[0][0]
    (n, low), (m, high) = curve[at - 1 : at + 1]
    return float(math.exp(math.log(n) - low / (high - low) * (math.log(m) - math.log(n))))


def detectable(difference: Interval, power: float = 0.8, level: float = LEVEL) -> float | None:
    """The smallest true difference that a paired t test with this spread and these seeds finds with probability `power`.

    The noncentrality δ√n/s at which the noncentral t passes the critical value so often; a difference found in the wrong
    direction does not count. None without an interval.
    """
    if difference.half is None:
        return None
    from scipy.special import nctdtrinc

    critical = _quantile(difference.n - 1, level)
    return float(nctdtrinc(difference.n - 1, 1 - power, critical)) * difference.half / critical
