"""Ranks, wins and tests over many comparisons: pure functions of scores by key (see `stats`)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bench.stats import LEVEL, Scores, p_value, paired_difference, t_interval

DATA_SETS = 6
"""A rank test across fewer data sets cannot find anything at 5 %: of 5 signs, all equal has p = 2 / 32 = 0.06."""


def ranks(rows: Mapping[Any, Scores], level: float = LEVEL) -> dict[Any, int]:
    """Ranks from 1, shared for ties; equal ranks form a tie group.

    Rows stand by falling mean. The first opens a group; a later row joins while the paired interval of its difference to
    the group's *first* row holds zero (or has fewer than three pairs), and the first that is told apart opens the next group
    with its own position as rank: 1, 1, 3. Ties are not transitive, so a group is a statement about its first row, no more.
    """
    means = {name: t_interval([*scores.values()], level).mean for name, scores in rows.items()}
    found: dict[Any, int] = {}
    leader: Any = None
    for position, name in enumerate(sorted(rows, key=lambda name: (-means[name], str(name))), start=1):
        behind = paired_difference(rows[leader], rows[name], level) if found else None
        apart = behind is not None and behind.sign != 0
        if not found or apart:
            leader = name
        found[name] = position if leader == name else found[leader]
    return found


def holm(p_values: Mapping[Any, float]) -> dict[Any, float]:
    """Holm's (1979) adjusted p values: below α they hold together at family-wise error α, whatever the dependence."""
    worst, found = 0.0, {}
    for i, name in enumerate(sorted(p_values, key=lambda name: (p_values[name], str(name)))):
        worst = max(worst, min(1.0, (len(p_values) - i) * p_values[name]))
        found[name] = worst
    return found


def rank_intervals(rows: Mapping[Any, Scores], level: float = LEVEL) -> dict[Any, tuple[int, int]]:
    """For every row the best and the worst rank that the scores leave open, for all rows together at `level`.

    A row ranks below each row that is significantly better and above each that is significantly worse, by paired t tests of
    all pairs with Holm's correction (Mogstad, Romano, Shaikh and Wilhelm 2024, "Inference for ranks").
    """
    names = sorted(rows, key=str)
    pairs = {(a, b): paired_difference(rows[a], rows[b], level) for i, a in enumerate(names) for b in names[i + 1 :]}
    adjusted = holm({pair: 1.0 if found is None else p_value(found, level) for pair, found in pairs.items()})
    above, below = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for (a, b), found in pairs.items():
        if found is not None and adjusted[a, b] < 1 - level:
            better, worse = (a, b) if found.mean > 0 else (b, a)
            above[worse] += 1
            below[better] += 1
    return {name: (1 + above[name], len(names) - below[name]) for name in names}


class Tally(NamedTuple):
    """Comparisons won, not decided (no significant difference), and lost."""

    wins: int = 0
    ties: int = 0
    losses: int = 0


def win_tie_loss(tables: Iterable[Mapping[Any, Scores]], level: float = LEVEL) -> dict[tuple[Any, Any], Tally]:
    """For every ordered pair of rows, in how many tables the paired interval of a - b lies above, holds, or lies below zero.

    Pairs of rows with fewer than three common keys in a table are not counted there.
    """
    counts: dict[tuple[Any, Any], list[int]] = {}
    for rows in tables:
        for a in rows:
            for b in rows:
                found = paired_difference(rows[a], rows[b], level) if a != b else None
                if found is not None and found.decides:
                    counts.setdefault((a, b), [0, 0, 0])[1 - found.sign] += 1
    return {pair: Tally(*found) for pair, found in counts.items()}


def signed_rank(differences: Sequence[float]) -> float | None:
    """Two-sided p of Wilcoxon's signed-rank test over data sets (Demšar 2006); None below `DATA_SETS` of them.

    Differences of zero are dropped, as Wilcoxon did; without ties among the others p is exact.
    """
    if len(differences) < DATA_SETS:
        return None
    if not any(differences):
        return 1.0
    from scipy.stats import wilcoxon

    return float(wilcoxon([d for d in differences if d], method="auto").pvalue)


def across(pairs: Mapping[Any, Sequence[float]]) -> dict[Any, float]:
    """Adjusted p of every pre-named pair that has enough data sets: signed ranks, then Holm over those pairs."""
    found = {name: p for name, differences in pairs.items() if (p := signed_rank(differences)) is not None}
    return holm(found)
