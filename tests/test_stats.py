"""The statistics against tables worked by hand, against scipy, and their symmetries."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench.stats import (
    Interval,
    binomial_error,
    bootstrap_interval,
    gap_closed,
    paired_difference,
    ranks,
    t_interval,
)

SHARES = st.floats(0, 1, allow_subnormal=False)
ROWS = st.lists(SHARES, min_size=5, max_size=5).map(lambda values: dict(enumerate(values)))


def test_t_interval_of_a_table_worked_by_hand():
    # mean 3, s = sqrt(2.5), t(0.975, 4 degrees) = 2.776 (any t table): 2.776 * 1.5811 / 2.2361 = 1.963
    found = t_interval([1, 2, 3, 4, 5])
    assert found.mean == 3
    assert found.half == pytest.approx(1.963, abs=5e-4)
    assert found.n == 5


@given(st.lists(SHARES, min_size=2, max_size=30), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_t_interval_is_that_of_scipy(values, level):
    found = t_interval(values, level)
    scale = scipy_stats.sem(values)
    if scale > 1e-12:
        low, high = scipy_stats.t.interval(level, len(values) - 1, loc=np.mean(values), scale=scale)
        assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high), abs=1e-9)
    else:
        assert found.half == pytest.approx(0, abs=1e-9)


def test_one_value_has_a_mean_and_no_interval():
    assert t_interval([0.5]) == Interval(0.5, None, 1)
    assert t_interval([0.5]).sign == 0


def test_no_value_is_an_error():
    with pytest.raises(ValueError, match="at least one value"):
        t_interval([])


def test_paired_difference_uses_common_seeds_only():
    # differences over seeds 1, 2: 0.1 and 0.3, mean 0.2, s = 0.1414, t(0.975, 1) = 12.706: half = 12.706 * 0.1 = 1.2706
    found = paired_difference({0: 9.0, 1: 0.5, 2: 0.9}, {1: 0.4, 2: 0.6, 3: 0.1})
    assert found.mean == pytest.approx(0.2)
    assert found.half == pytest.approx(1.2706, abs=1e-4)
    assert found.n == 2
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


@given(ROWS, ROWS)
def test_a_paired_difference_excludes_zero_when_the_paired_t_test_says_so(a, b):
    difference = [a[seed] - b[seed] for seed in a]
    if np.std(difference) > 1e-6:
        p = scipy_stats.ttest_rel([*a.values()], [*b.values()]).pvalue
        if abs(p - 0.05) > 1e-9:
            assert (paired_difference(a, b).sign != 0) == (p < 0.05)


@given(ROWS, ROWS)
def test_a_paired_difference_changes_sign_with_its_sides(a, b):
    forth, back = paired_difference(a, b), paired_difference(b, a)
    assert (forth.mean, forth.half, forth.sign) == (-back.mean, back.half, -back.sign)


@given(ROWS, ROWS, st.permutations(range(5)))
def test_the_order_of_seeds_does_not_matter(a, b, order):
    shuffled = {seed: a[seed] for seed in order}
    assert paired_difference(shuffled, b) == paired_difference(a, b)
    assert t_interval([*shuffled.values()]).mean == t_interval([*a.values()]).mean


@given(ROWS, ROWS, st.floats(-1, 1, allow_subnormal=False))
def test_what_every_row_of_a_seed_shares_cancels(a, b, shift):
    moved = [{seed: value + shift * seed for seed, value in row.items()} for row in (a, b)]
    before, after = paired_difference(a, b), paired_difference(*moved)
    assert after.mean == pytest.approx(before.mean, abs=1e-9)
    assert after.half == pytest.approx(before.half, abs=1e-9)


def row(mean: float, spread: float = 0.01) -> dict[int, float]:
    return {seed: mean + spread * (seed - 2) for seed in range(5)}


def test_gap_closed_is_0_at_random_1_at_supervised_and_linear_between():
    assert gap_closed(row(0.2), row(0.2), row(0.6)) == 0
    assert gap_closed(row(0.6), row(0.2), row(0.6)) == pytest.approx(1)
    assert gap_closed(row(0.3), row(0.2), row(0.6)) == pytest.approx(0.25)
    assert gap_closed(row(0.8), row(0.2), row(0.6)) == pytest.approx(1.5)


def test_there_is_no_gap_to_close_where_supervised_is_not_above_random():
    wild = {0: 0.1, 1: 0.9, 2: 0.1, 3: 0.9, 4: 0.3}
    assert gap_closed(row(0.3), row(0.6), row(0.2)) is None
    assert gap_closed(row(0.3), row(0.2), wild) is None
    assert gap_closed(row(0.3), {0: 0.1}, {0: 0.2}) is None  # one seed: no interval
    assert gap_closed(row(0.3), {}, row(0.6)) is None


def test_gap_closed_compares_the_same_seeds_on_every_side():
    # seed 9 of the score has no partner; with it the share would be 1.6 instead of 0.5
    score, low, high = {0: 0.4, 1: 0.4, 9: 1.0}, {0: 0.2, 1: 0.2}, {0: 0.6, 1: 0.6}
    assert gap_closed(score, low, high) == pytest.approx(0.5)


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


def test_the_bootstrap_is_close_to_the_normal_interval_and_repeats_with_its_seed():
    correct = np.arange(2000) % 5 != 0  # accuracy 0.8
    low, high = bootstrap_interval(correct, draws=4000)
    half = 1.96 * binomial_error(0.8, 2000)
    # the bootstrap's own error at 4000 draws is about 5 % of the half-width; we allow 15 %
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.15 * half)
    assert bootstrap_interval(correct, draws=4000) == (low, high)
    assert bootstrap_interval(correct, draws=4000, seed=1) != (low, high)


def test_rows_that_are_drawn_together_widen_the_bootstrap():
    # 20 speakers with 50 clips each, right or wrong as one: the error is that of 20 rows, sqrt(50) times larger
    speaker = np.repeat(np.arange(20), 50)
    alone, together = (bootstrap_interval(speaker % 2, groups=g) for g in (None, speaker))
    assert (together[1] - together[0]) / (alone[1] - alone[0]) == pytest.approx(math.sqrt(50), rel=0.15)


def test_the_balanced_bootstrap_weighs_classes_equally():
    classes = np.array([0] * 900 + [1] * 100)
    always_common = (classes == 0).astype(float)
    assert bootstrap_interval(always_common, classes=classes) == (0.5, 0.5)
    low, high = bootstrap_interval(always_common)
    assert low < 0.9 < high


def test_a_class_absent_from_a_draw_is_left_out_of_it():
    # both classes: (1 + 0) / 2; the first alone, in 0.75^4 = 32 % of the draws: 1; the second alone, in 0.4 %: 0
    assert bootstrap_interval([1, 1, 1, 0], classes=[0, 0, 0, 1]) == (0.5, 1.0)


def test_the_bootstrap_of_a_large_test_set_stays_small():
    correct = np.ones(100_000)
    assert bootstrap_interval(correct, draws=50) == (1, 1)


def test_binomial_error_by_hand():
    assert binomial_error(0.8, 4000) == pytest.approx(0.006325, abs=1e-6)
