"""Which rows a run sees: nested stratified fractions, validation folds, batches."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data import batches, cut, folds, repeated_rows, stratified_order
from bench.errors import UserError

LABELS = st.lists(st.integers(1, 60), min_size=2, max_size=8).flatmap(
    lambda counts: st.permutations(np.repeat(np.arange(len(counts)), counts).tolist())
)
"""Rows of 2 to 8 classes with 1 to 60 rows each, in any order."""


@given(y=LABELS, seed=st.integers(0, 1000))
@settings(max_examples=60)
def test_every_prefix_is_stratified(y, seed):
    """Every prefix reaches one depth t in all classes: class c has t · n_c rows of it, give or take one.

    For two classes this implies that each count is within one of its share of the prefix.
    """
    y = np.array(y)
    classes, total = np.unique(y, return_counts=True)
    order = stratified_order(y, seed)
    assert sorted(order.tolist()) == list(range(len(y)))
    counts = np.cumsum(y[order][:, None] == classes, axis=0)
    deepest, shallowest = ((counts - 1) / total).max(axis=1), ((counts + 1) / total).min(axis=1)
    assert (deepest <= shallowest + 1e-12).all()
    if len(classes) == 2:
        shares = np.arange(1, len(y) + 1)[:, None] * total / len(y)
        assert (abs(counts - shares) <= 1 + 1e-9).all()


@given(y=LABELS, seed=st.integers(0, 1000))
@settings(max_examples=30)
def test_smaller_fractions_are_prefixes_of_larger_ones(y, seed):
    y = np.array(y * 3)
    whole = stratified_order(y, seed)
    for pretrain, label in itertools.product((1.0, 0.6, 0.3), repeat=2):
        if label > pretrain or len(np.unique(y[whole[: round(len(y) * label)]])) < 2:
            continue
        rows = cut(y, pretrain, label, seed)
        assert rows.pretrain.tolist() == whole[: round(len(y) * pretrain)].tolist()
        assert rows.labelled.tolist() == whole[: round(len(y) * label)].tolist()


def test_one_percent_is_in_ten_percent_is_in_everything():
    y = np.arange(2600) % 26
    small, middle, large = (set(cut(y, f, f, seed=3).labelled.tolist()) for f in (0.01, 0.1, 1.0))
    assert small < middle < large
    assert [len(s) for s in (small, middle, large)] == [26, 260, 2600]


def test_a_seed_fixes_the_rows_and_another_seed_chooses_others():
    y = np.arange(300) % 3
    assert np.array_equal(stratified_order(y, 1), stratified_order(y, 1))
    assert not np.array_equal(stratified_order(y, 1), stratified_order(y, 2))
    assert set(cut(y, 0.1, 0.1, 1).labelled) != set(cut(y, 0.1, 0.1, 2).labelled)


def test_pretraining_rows_do_not_depend_on_how_many_have_labels():
    y = np.arange(300) % 3
    few, many = cut(y, 0.5, 0.1, 0), cut(y, 0.5, 0.5, 0)
    assert few.pretrain_fingerprint == many.pretrain_fingerprint
    assert few.fingerprint != many.fingerprint
    assert few.pretrain_fingerprint != cut(y, 0.5, 0.1, 1).pretrain_fingerprint


@pytest.mark.parametrize(("y", "fraction"), [([0] * 50 + [1] * 50, 0.01), ([0] * 99 + [1], 0.02)])
def test_a_cut_that_leaves_one_row_or_one_class_says_so(y, fraction):
    seed = next(s for s in range(9) if 1 not in np.array(y)[stratified_order(np.array(y), s)[: round(fraction * 100)]])
    with pytest.raises(UserError, match=r"labelled rows of 1 classes; at least 2 rows of 2 classes.*Raise label_fraction"):
        cut(np.array(y), 1.0, fraction, seed)


def holds_out(y: np.ndarray) -> list[list[int]]:
    """The validation positions of every fold, after checking that each fold parts the rows in two."""
    for train, val in folds(y):
        assert sorted([*train, *val]) == list(range(len(y)))
    return [val.tolist() for _, val in folds(y)]


def joined(parts: list[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(parts))


@given(y=LABELS)
@settings(max_examples=60)
def test_folds_hold_out_rows_only_of_classes_that_keep_some(y):
    y = np.array(y)
    several = [c for c in np.unique(y) if (y == c).sum() >= 2]
    if not several:
        return
    held_out = holds_out(y)
    assert len(held_out) in (1, 2, 3, 4, 5)
    for train, val in folds(y):
        assert len(val) > 0
        assert set(y[val]) <= set(y[train])
        assert set(y[val]) == set(several)  # every class that can be held out is, in every fold
    assert len(set(joined(held_out))) == sum(map(len, held_out))  # no row validates twice
    assert all(i not in joined(held_out) for i in range(len(y)) if (y == y[i]).sum() == 1)


def test_with_five_rows_of_each_class_every_fifth_of_each_validates_once():
    y = np.array([0] * 12 + [1] * 5 + [0] * 3)
    (held_out,) = holds_out(y)
    of_zero, of_one = np.flatnonzero(y == 0), np.flatnonzero(y == 1)
    assert held_out == sorted([*of_zero[4::5], *of_one[4::5]])


@pytest.mark.parametrize(("smallest", "k"), [(2, 2), (3, 3), (4, 4)])
def test_a_small_class_takes_turns_in_as_many_folds_as_it_has_rows(smallest, k):
    y = np.array([0] * 20 + [1] * smallest)
    held_out = holds_out(y)
    assert len(held_out) == k
    assert sorted(joined(held_out)) == list(range(len(y)))  # all rows take a turn
    assert all(sum(y[val] == 1) == 1 for val in held_out)


def test_a_class_with_one_row_always_trains():
    y = np.array([0] * 10 + [1] * 10 + [2])
    held_out = holds_out(y)
    assert len(held_out) == 5
    assert 20 not in joined(held_out)


def test_rows_are_repeated_only_if_every_array_agrees():
    numbers, names = np.array([[1.0, np.nan], [2.0, 3.0], [4.0, 5.0]], np.float32), np.array(["a", "b", "c"], object)
    train, test = (numbers, names), (numbers[[0, 0, 1, 2]], names[[0, 1, 1, 0]])
    assert repeated_rows(train, test) == 2
    assert repeated_rows(train, train) == 3


def test_where_every_class_has_one_row_all_rows_train():
    assert folds(np.arange(4)) == []


@given(sizes=st.lists(st.integers(1, 20), min_size=2, max_size=9))
def test_a_group_is_never_on_both_sides_and_every_row_validates_once(sizes):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    few = folds(np.arange(len(groups)), groups)  # one row a class: every group takes a turn
    assert len(few) == min(5, len(sizes))
    assert all(not set(groups[train]) & set(groups[val]) for train, val in few)
    assert sorted(np.concatenate([val for _, val in few])) == list(range(len(groups)))


def test_of_many_groups_about_a_fifth_of_the_rows_validates_once():
    groups, y = np.repeat(np.arange(20), 10), np.tile(np.arange(2), 100)
    ((train, val),) = folds(y, groups)
    assert (len(train), len(val)) == (160, 40)
    assert not set(groups[train]) & set(groups[val])


def test_rows_of_one_group_are_treated_as_rows_without_groups():
    y = np.arange(40) % 2
    assert [v.tolist() for _, v in folds(y, np.zeros(40))] == [v.tolist() for _, v in folds(y)]


@given(n=st.integers(2, 50), size=st.integers(1, 50), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_an_epoch_visits_no_row_twice_and_whole_epochs_differ(n, size, seed):
    size = min(n, size)
    per_epoch = n // size
    stream = list(itertools.islice(batches(n, size, seed), 3 * per_epoch))
    assert all(len(b) == len(set(b.tolist())) == size for b in stream)
    for epoch in range(3):
        seen = np.concatenate(stream[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert len(set(seen.tolist())) == len(seen) == per_epoch * size


def test_every_row_is_seen_over_a_few_epochs():
    """5 of 13 rows wait in each epoch of one batch of 8; in 30 epochs one row waits always with chance 13 (5/13)^30 = 5e-12."""
    stream = itertools.islice(batches(13, 8, 0), 30)
    assert set(np.concatenate(list(stream)).tolist()) == set(range(13))


@pytest.mark.parametrize("start", [0, 1, 2, 3, 7, 9])
def test_batches_from_step_k_continue_what_began_at_zero(start):
    whole = list(itertools.islice(batches(20, 6, 4), 12))
    rest = list(itertools.islice(batches(20, 6, 4, start), 12 - start))
    assert np.array_equal(whole[start:], rest)


def test_epochs_and_seeds_are_shuffled_differently():
    first, second = itertools.islice(batches(40, 40, 0), 2)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, next(batches(40, 40, 1)))
