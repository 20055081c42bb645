"""Audits: what was planted is found, what is sound is said to be sound."""

import dataclasses

import numpy as np
import pytest
from records import make_record

from bench import RunSpec, catalog
from bench.adapter import Dataset, Split
from bench.audit import PERMUTATIONS, Permuted, _without, audit, permuted, repeats, shared_groups
from bench.cli import main
from bench.prepare import load_data
from bench.recipes import resolve
from bench.store import Store

TOY = RunSpec(dataset="toy", method="raw", budget="smoke", device="cpu")


@pytest.fixture
def toy() -> Dataset:
    return load_data(TOY)


def planted(data: Dataset) -> Dataset:
    """Test rows 0-2 are training rows 5-7 (2 with another class), test row 4 is test row 3, train row 9 is 8, other class."""
    train, test = (tuple(a.copy() for a in split.x) for split in (data.train, data.test))
    y_train, y_test = data.train.y.copy(), data.test.y.copy()
    for a, b in zip(train, test, strict=True):
        b[:3], b[4], a[9] = a[5:8], b[3], a[8]
    y_test[:3], y_test[4] = y_train[5:8], y_test[3]
    y_test[2] = (y_test[2] + 1) % 3
    y_train[9] = (y_train[8] + 1) % 3
    return dataclasses.replace(data, train=Split(train, y_train), test=Split(test, y_test))


def test_rows_that_differ_are_not_flagged(toy):
    assert all(len(rows) == 0 for rows in repeats(toy))
    assert len(repeats(toy).flagged) == 0


def test_planted_repeats_and_conflicts_are_found(toy):
    found = repeats(planted(toy))
    assert found.train.tolist() == [9]
    assert found.test.tolist() == [4]
    assert found.leaked.tolist() == [0, 1, 2]
    assert found.conflicts_train.tolist() == [8, 9]
    assert found.conflicts_test.tolist() == []
    assert found.conflicts_across.tolist() == [2]
    assert found.flagged.tolist() == [0, 1, 2, 4]


def test_texts_repeat_too():
    split = Split((np.array(["a b", "c", "a b"], dtype=object),), np.array([0, 1, 1]))
    found = repeats(Dataset("texts", split, split, ("x", "y")))
    assert found.train.tolist() == [2]
    assert found.conflicts_train.tolist() == [0, 2]
    assert found.leaked.tolist() == [0, 1, 2]


def test_groups_on_both_sides_are_named(toy):
    assert shared_groups(toy) == []
    train = dataclasses.replace(toy.train, groups=np.arange(240) % 10)
    test = dataclasses.replace(toy.test, groups=np.arange(60) % 12 + 8)
    assert shared_groups(dataclasses.replace(toy, train=train, test=test)) == ["8", "9"]


def test_permuted_labels_give_chance(toy):
    found = permuted(catalog.find(catalog.MODALITIES, "tabular"), toy, resolve(TOY))
    assert found.chance == pytest.approx(1 / 3)
    assert found.rows == 240
    assert found.is_chance


def test_scores_are_told_without_the_flagged_rows(toy, tmp_path):
    store, y = Store(tmp_path), toy.test.y
    predictions = y.copy()
    predictions[5:] = (y[5:] + 1) % 3  # right on the first five rows only
    told = {"dataset": "toy", "dataset_fingerprint": toy.fingerprint, "score": 5 / 60, "n_test": 60, "n_classes": 3}
    name = make_record(**told).run_id
    mark = store.put_side(name, predictions=predictions, y_test=y)
    store.put(make_record(**told, predictions_hash=mark))
    lines = _without(toy, np.array([0, 1, 2, 4]), store)
    assert lines[0].startswith("4 test rows are flagged")
    assert lines[1].endswith(f"seed 0: {500 / 60:.2f}, {100 / 56:.2f}")
    assert "no run in" in _without(toy, np.array([0]), Store(tmp_path / "none"))[0]


def test_a_sound_data_set_has_exit_code_0_and_a_shared_group_1(toy, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["audit", "--modality", "tabular", "--dataset", "toy", "--records", str(tmp_path)])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    for words in (
        "240 training rows, 60 test rows",
        "repeated rows: 0 (0.00 %)",
        "groups: none",
        "as it should be",
        "classes (",
    ):
        assert words in said
    groups = [dataclasses.replace(split, groups=np.zeros(len(split), int)) for split in (toy.train, toy.test)]
    shared = dataclasses.replace(toy, train=groups[0], test=groups[1])
    monkeypatch.setattr("bench.audit.load_data", lambda _: shared)
    lines, sound = audit(TOY, Store(tmp_path))
    assert not sound
    assert any("1 IN BOTH: 0" in line for line in lines)


def test_an_unknown_data_set_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["audit", "--dataset", "tyo"])
    assert ended.value.code == 2
    assert "Did you mean 'toy'?" in capsys.readouterr().err


def test_what_counts_as_chance_follows_from_how_much_the_permutations_vary():
    """Of clean data almost all must pass: the mean of 5 normal draws, over its estimated error, is a t with 4 degrees."""
    luck = np.random.default_rng(0)
    draws = 0.5 + 0.05 * luck.standard_normal((2000, PERMUTATIONS))
    found = [Permuted(row.mean(), row.std(ddof=1) / PERMUTATIONS**0.5, 0.5, 100).is_chance for row in draws]
    assert np.mean(found) > 0.99
    assert not Permuted(0.75, 0.03, 0.5, 100).is_chance  # a leak
