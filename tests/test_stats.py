"""The statistics against tables worked by hand, against scipy, and their symmetries."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench.stats import (
    Interval,
    Labels,
    binomial_error,
    bootstrap_interval,
    detectable,
    gap_closed,
    labels_needed,
    p_value,
    paired_difference,
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
    # seed 9 of the score has no partner; with it the share would be above 0.5
    score, low, high = {**exactly(0.4), 9: 1.0}, exactly(0.2), exactly(0.6)
    assert gap_closed(score, low, high) == pytest.approx(0.5)


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


@given(ROWS, ROWS)
def test_the_p_value_is_that_of_scipys_paired_t_test(a, b):
    difference = [a[seed] - b[seed] for seed in a]
    if np.std(difference) > 1e-6:
        assert p_value(paired_difference(a, b)) == pytest.approx(
            scipy_stats.ttest_rel([*a.values()], [*b.values()]).pvalue, abs=1e-9
        )


def test_two_equal_differences_decide_nothing_and_three_do():
    # the spread of two equal differences is zero, and so is the half-width, for any t
    a, b = {0: 0.5, 1: 0.6}, {0: 0.25, 1: 0.35}
    two, three = paired_difference(a, b), paired_difference({**a, 2: 0.75}, {**b, 2: 0.5})
    assert (two.mean, two.half) == (pytest.approx(0.25), pytest.approx(0, abs=1e-12))
    assert (two.decides, two.sign, p_value(two)) == (False, 0, 1)
    assert (three.decides, three.sign, p_value(three)) == (True, 1, pytest.approx(0))
    assert gap_closed(a, b, a) is None
    assert labels_needed(a, {100: b, 200: a}) is None


def test_p_values_at_the_limits():
    assert p_value(Interval(0.1, None, 1)) == 1
    assert p_value(Interval(0.0, 0.0, 5)) == 1
    assert p_value(Interval(0.1, 0.0, 5)) == 0
    assert p_value(Interval(0.1, 0.1, 5)) == pytest.approx(0.05)


def exactly(value: float) -> dict[int, float]:
    return dict.fromkeys(range(3), value)


def test_labels_needed_of_a_table_worked_by_hand():
    # supervised has 0.5, 0.7, 0.9 at 100, 1000, 10000 labels: 0.8 is half way from 10^3 to 10^4, at 10^3.5 = 3162.3
    curve = {100: exactly(0.5), 1000: exactly(0.7), 10000: exactly(0.9)}
    found = labels_needed(exactly(0.8), curve)
    assert found.needed == pytest.approx(3162.3, abs=0.1)
    assert (found.low, found.high) == (pytest.approx(found.needed), pytest.approx(found.needed))
    assert (found.least, found.most) == (100, 10000)


def test_the_interval_of_labels_needed_is_where_the_ends_of_the_difference_reach_zero():
    # differences to the row: -0.2 at 100 and +0.2 at 10000, each over three seeds with s = 0.01:
    # half = 4.3027 * 0.01 / sqrt(3) = 0.02484, so the ends reach zero at shares (0.2 -+ 0.02484) / 0.4 of two decades
    target = {0: 0.69, 1: 0.70, 2: 0.71}
    found = labels_needed(target, {100: exactly(0.5), 10000: exactly(0.9)})
    assert found.needed == pytest.approx(1000)
    assert found.low == pytest.approx(100 * 10 ** (2 * (0.2 - 0.02484) / 0.4), rel=1e-3)
    assert found.high == pytest.approx(100 * 10 ** (2 * (0.2 + 0.02484) / 0.4), rel=1e-3)


def test_labels_needed_are_never_extrapolated():
    curve = {100: exactly(0.5), 1000: exactly(0.7)}
    assert labels_needed(exactly(0.8), curve) == Labels(None, None, None, 100, 1000)  # "> 1000"
    assert labels_needed(exactly(0.4), curve) == Labels(100, 100, 100, 100, 1000)  # "100 or fewer"
    wide = {0: 0.5, 1: 0.8, 2: 0.65}  # it may never match, or at once
    assert labels_needed(wide, curve)[1:3] == (100, None)


def test_a_supervised_curve_that_falls_again_widens_the_interval_upwards():
    # 0.8 is first reached half way up the second decade, and left and reached again later, at 10^4.5
    up_and_down = {100: exactly(0.5), 1000: exactly(0.7), 3000: exactly(0.9), 10000: exactly(0.7), 100000: exactly(0.9)}
    found = labels_needed(exactly(0.8), up_and_down)
    assert (found.needed, found.low) == (pytest.approx(3e6**0.5), pytest.approx(3e6**0.5))
    assert found.high == pytest.approx(10**4.5)
    falling = {100: exactly(0.9), 1000: exactly(0.7)}
    assert labels_needed(exactly(0.8), falling)[:3] == (100, 100, None)


def test_labels_needed_want_an_interval():
    assert labels_needed({0: 0.5}, {100: {0: 0.4}, 200: {0: 0.6}}) is None
    assert labels_needed(exactly(0.5), {100: {7: 0.4}}) is None
    assert labels_needed(exactly(0.5), {}) is None


CURVES = st.dictionaries(st.sampled_from([10, 100, 500, 4000]), ROWS, min_size=1)


@given(ROWS, CURVES)
def test_the_labels_needed_lie_inside_their_interval_and_inside_what_was_measured(target, curve):
    found = labels_needed(target, curve)
    low, needed, high = (math.inf if v is None else v for v in (found.low, found.needed, found.high))
    assert low <= needed * (1 + 1e-9)
    assert needed <= high * (1 + 1e-9)
    assert all(v is None or min(curve) <= v * (1 + 1e-9) for v in found[:3])
    assert all(v is None or v <= max(curve) * (1 + 1e-9) for v in found[:3])


@given(ROWS, CURVES, st.integers(1, 5))
def test_a_better_row_needs_no_fewer_labels_and_a_shift_of_all_scores_changes_nothing(target, curve, up):
    before = labels_needed(target, curve).needed
    better = labels_needed({seed: value + up / 8 for seed, value in target.items()}, curve).needed
    assert (math.inf if better is None else better) >= (math.inf if before is None else before) * (1 - 1e-9)
    twice = {100 * n: scores for n, scores in curve.items()}
    scaled = labels_needed(target, twice).needed
    assert scaled == (None if before is None else pytest.approx(100 * before))


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_the_detectable_difference_is_that_of_statsmodels(n, power):
    solved = pytest.importorskip("statsmodels.stats.power").TTestPower().solve_power(nobs=n, alpha=0.05, power=power)
    spread = 0.02
    half = scipy_stats.t.ppf(0.975, n - 1) * spread / math.sqrt(n)
    # statsmodels also counts differences found in the wrong direction; at a power of one half that is most, below 1e-3
    assert detectable(Interval(0.5, half, n), power) == pytest.approx(solved * spread, rel=2e-3)


def test_the_detectable_difference_is_found_as_often_as_it_says():
    # 4000 experiments of 5 seeds: the standard error of a share of 0.8 is 0.0063; we allow four
    smallest = detectable(Interval(0.0, scipy_stats.t.ppf(0.975, 4) * 1 / math.sqrt(5), 5))
    drawn = np.random.default_rng(0).normal(smallest, 1, (4000, 5))
    found = scipy_stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.026)
    assert detectable(Interval(0.1, None, 1)) is None
    assert detectable(Interval(0.1, 0.0, 3)) == 0
