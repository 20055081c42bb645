"""Ranks, wins and tests across data sets: tables worked by hand, scipy, statsmodels and scikit-posthocs."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench.ranking import DATA_SETS, Tally, across, holm, rank_intervals, ranks, signed_rank, win_tie_loss

SHARES = st.integers(0, 1000).map(lambda hits: hits / 1000)  # of test rows; below 1e-150 squares of differences vanish
ROWS = st.lists(SHARES, min_size=5, max_size=5).map(lambda values: dict(enumerate(values)))
TABLES = st.dictionaries(st.sampled_from("abcdef"), ROWS, min_size=1)


@pytest.fixture(scope="module")
def multitest():
    """statsmodels' corrections, imported before the clock of a test starts."""
    return pytest.importorskip("statsmodels.stats.multitest")


def row(mean: float, spread: float = 0.01) -> dict[int, float]:
    return {seed: mean + spread * (seed - 2) for seed in range(5)}


def test_ranks_of_rows_that_are_far_apart_are_their_places():
    assert ranks({"a": row(0.3), "b": row(0.9), "c": row(0.6)}) == {"b": 1, "c": 2, "a": 3}


def test_tied_rows_share_a_rank_and_the_next_rank_counts_them():
    wild = {0: 0.99, 1: 0.80, 2: 0.97, 3: 0.76, 4: 0.95}  # mean 0.894
    assert ranks({"best": row(0.9), "wild": wild, "worse": row(0.5)}) == {"best": 1, "wild": 1, "worse": 3}


def test_rows_without_an_interval_cannot_be_told_apart():
    assert ranks({"a": {0: 0.9}, "b": {0: 0.1}, "c": {1: 0.5}}) == {"a": 1, "b": 1, "c": 1}
    assert ranks({}) == {}


@given(st.dictionaries(st.sampled_from("abcdef"), ROWS, min_size=1), st.permutations("abcdef"))
def test_ranks_do_not_depend_on_the_order_of_rows_and_follow_the_means(rows, order):
    found = ranks(rows)
    assert ranks({name: rows[name] for name in order if name in rows}) == found
    for position, rank in enumerate(sorted(found.values()), start=1):
        assert rank <= position
    means = {name: math.fsum(scores.values()) for name, scores in rows.items()}
    assert all(found[a] <= found[b] for a in rows for b in rows if means[a] > means[b])


def test_rank_intervals_of_a_table_worked_by_hand():
    # b is above both others beyond doubt; a and c differ by 0.001 +- 0.01: their ranks 2 and 3 are open
    rows = {"a": row(0.3), "b": row(0.9), "c": {seed: 0.301 - 0.01 * (seed - 2) for seed in range(5)}}
    assert rank_intervals(rows) == {"a": (2, 3), "b": (1, 1), "c": (2, 3)}
    assert rank_intervals({}) == {}
    assert rank_intervals({"a": {0: 0.1}, "b": {0: 0.9}}) == {"a": (1, 2), "b": (1, 2)}  # one seed decides nothing


@given(TABLES)
def test_rank_intervals_follow_from_scipys_t_tests_and_the_holm_of_statsmodels(multitest, rows):
    pairs = [*itertools.combinations(sorted(rows), 2)]
    differences = [np.array([*rows[a].values()]) - np.array([*rows[b].values()]) for a, b in pairs]
    if not pairs or any(0 < np.std(d) <= 1e-6 or (np.std(d) == 0 and d[0] != 0) for d in differences):
        return  # scipy warns of lost digits there
    p = [scipy_stats.ttest_1samp(d, 0).pvalue if np.std(d) else 1.0 for d in differences]
    adjusted = multitest.multipletests(p, method="holm")[1]
    if min(abs(adjusted - 0.05)) < 1e-6:
        return
    decided = [
        (a, b) if d.mean() > 0 else (b, a) for (a, b), d, q in zip(pairs, differences, adjusted, strict=True) if q < 0.05
    ]
    found = rank_intervals(rows)
    for name in rows:
        better, worse = (sum(pair[side] == name for pair in decided) for side in (1, 0))
        assert found[name] == (1 + better, len(rows) - worse)


@given(TABLES, st.permutations("abcdef"))
def test_rank_intervals_hold_the_rank_of_the_mean_whatever_the_order(rows, order):
    found = rank_intervals(rows)
    assert rank_intervals({name: rows[name] for name in order if name in rows}) == found
    means = {name: math.fsum(scores.values()) for name, scores in rows.items()}
    for name, (best, worst) in found.items():
        assert best <= 1 + sum(other > means[name] for other in means.values())
        assert worst >= len(rows) - sum(other < means[name] for other in means.values())


def test_holm_of_a_table_worked_by_hand():
    # sorted 0.01, 0.02, 0.04, 0.5; times 4, 3, 2, 1: 0.04, 0.06, 0.08, 0.5, none below the one before
    assert holm({"a": 0.04, "b": 0.01, "c": 0.5, "d": 0.02}) == pytest.approx({"b": 0.04, "d": 0.06, "a": 0.08, "c": 0.5})
    assert holm({}) == {}


@given(st.lists(SHARES, min_size=1, max_size=12))
def test_holm_is_that_of_statsmodels(multitest, p):
    found = holm(dict(enumerate(p)))
    assert [found[i] for i in range(len(p))] == pytest.approx(multitest.multipletests(p, method="holm")[1].tolist())


def test_two_seeds_that_agree_rank_win_and_exclude_nothing():
    rows = {"a": {0: 0.9, 1: 0.9}, "b": {0: 0.1, 1: 0.1}}
    assert ranks(rows) == {"a": 1, "b": 1}
    assert rank_intervals(rows) == {"a": (1, 2), "b": (1, 2)}
    assert win_tie_loss([rows]) == {}


def test_wins_ties_and_losses_by_hand():
    wild = {0: 0.99, 1: 0.80, 2: 0.97, 3: 0.76, 4: 0.95}
    tables = [{"a": row(0.9), "b": row(0.5)}, {"a": row(0.9), "b": wild}, {"a": row(0.1), "b": row(0.5), "c": {0: 0.1}}]
    found = win_tie_loss(tables)
    assert found == {("a", "b"): Tally(1, 1, 1), ("b", "a"): Tally(1, 1, 1)}  # c has one seed: never compared


@given(st.lists(TABLES, max_size=4))
def test_a_win_of_one_side_is_a_loss_of_the_other(tables):
    found = win_tie_loss(tables)
    assert all(found[b, a] == (losses, ties, wins) for (a, b), (wins, ties, losses) in found.items())


def test_a_signed_rank_test_of_a_table_worked_by_hand():
    # all of six positive: the two extremes of 2^6 signs, p = 2 / 64
    assert signed_rank([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == pytest.approx(2 / 64)
    assert signed_rank([0.1, 0.2, 0.3, 0.4, 0.5]) is None
    assert signed_rank([0.0] * DATA_SETS) == 1


def test_tests_across_data_sets_are_those_of_scikit_posthocs():
    posthocs = pytest.importorskip("scikit_posthocs")
    rng = np.random.default_rng(1)
    scores = rng.uniform(0.5, 0.9, (10, 3)) + np.array([0.0, 0.05, 0.1])  # 10 data sets, 3 methods
    frame = pd.DataFrame(scores, columns=["base", "imix", "inputmix"]).melt(var_name="method")
    expected = posthocs.posthoc_wilcoxon(frame, val_col="value", group_col="method", p_adjust="holm")
    names = ["base", "imix", "inputmix"]
    columns = dict(zip(names, scores.T, strict=True))
    found = across({(a, b): (columns[a] - columns[b]).tolist() for a, b in itertools.combinations(names, 2)})
    assert found == {pair: pytest.approx(expected.loc[pair]) for pair in found}


def test_pairs_with_too_few_data_sets_take_no_part_in_the_correction():
    many = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert across({"a": many, "b": many[:5]}) == {"a": pytest.approx(2 / 64)}
    assert across({"a": many, "b": many}) == {"a": pytest.approx(4 / 64), "b": pytest.approx(4 / 64)}
