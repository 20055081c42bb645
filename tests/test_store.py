"""The working store: whole files or none, the first finished record counts, damage is set aside."""

import errno
import json
import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from records import make_record

from bench.errors import UserError
from bench.record import dump
from bench.spec import canonical
from bench.store import Store, parse, predictions_hash, write


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def files(store: Store) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def test_what_was_put_comes_back_and_comes_sorted(store):
    records = [make_record(seed=seed) for seed in range(5)]
    assert all(store.put(record) for record in records)
    assert store.get(records[0].run_id) == records[0]
    assert store.records() == sorted(records, key=lambda record: record.run_id)


def test_a_folder_that_does_not_exist_holds_no_records(store):
    assert store.records() == []
    assert store.get("0" * 16) is None
    assert store.side("0" * 16) is None


def test_the_first_finished_record_counts(store):
    first = make_record(score=0.8)
    assert store.put(first)
    assert not store.put(make_record(score=0.9))
    assert not store.put(make_record(status="failed", reason="killed"))
    assert store.records() == [first]


def test_the_latest_failure_counts_until_the_run_is_finished(store):
    store.put(make_record(status="failed", reason="killed"))
    store.put(make_record(status="failed", reason="out of memory"))
    assert [record.reason for record in store.records()] == ["out of memory"]
    done = make_record()
    assert store.get(done.run_id) is None
    assert store.put(done)
    assert store.records() == [done]
    assert files(store) == [f"{done.run_id}.json"]


def test_a_run_id_that_is_not_the_hash_of_the_record_is_refused(store):
    with pytest.raises(ValueError, match="is not the hash of the record"):
        store.put(make_record(run_id="0" * 16))
    assert not store.folder.exists()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(UserError, match="is a file; it must name a folder"):
        Store(tmp_path / "runs")


def test_damage_that_cannot_be_set_aside_is_told_and_left_out(store, monkeypatch):
    record = make_record()
    store.put(record)
    (store.folder / f"{record.run_id}.json").write_text("torn")

    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "rename", refuse)
    assert store.get(record.run_id) is None
    assert "cannot be set aside (Read-only file system)" in store.problems[0]


def test_of_many_writers_at_once_one_wins_and_the_file_is_whole(store):
    records = [make_record(score=i / 100) for i in range(16)]
    start, won = threading.Barrier(16), []

    def put(record):
        start.wait()
        if Store(store.folder).put(record):
            won.append(record)

    threads = [threading.Thread(target=put, args=(record,)) for record in records]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert won == store.records()
    assert len(files(store)) == 1


def corrupt(kind: str, text: str) -> str:
    row = json.loads(text)
    return {
        "torn": text[: len(text) // 2],
        "empty": "",
        "no object": "[]",
        "misspelt": json.dumps({**row, "scroe": 1.0}),
        "mistyped": json.dumps({**row, "score": "high"}),
        "not finite": text.replace('"score": 0.8', '"score": NaN'),
        "edited": json.dumps({**row, "seed": 7}),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("torn", "line"),
        ("empty", "line 1"),
        ("no object", "not a JSON object"),
        ("misspelt", "scroe"),
        ("mistyped", "score"),
        ("not finite", "score"),
        ("edited", "is not the hash of the record"),
    ],
)
def test_a_damaged_record_is_set_aside_and_told(store, kind, reason):
    record = make_record()
    store.put(record)
    path = store.folder / f"{record.run_id}.json"
    path.write_text(corrupt(kind, path.read_text()))
    assert store.records() == []
    assert files(store) == [f"{record.run_id}.json.damaged"]
    assert len(store.problems) == 1
    assert reason in store.problems[0]
    assert store.put(record)
    assert store.get(record.run_id) == record


def test_a_record_under_another_name_is_set_aside(store):
    record = make_record()
    store.put(record)
    (store.folder / f"{record.run_id}.json").rename(store.folder / f"{'0' * 16}.json")
    assert store.records() == []
    assert "its content belongs in" in store.problems[0]


def test_nothing_set_aside_is_lost_to_the_next(store):
    for text in ("{", "["):
        write(store.folder / f"{'0' * 16}.json", lambda file, text=text: file.write(text.encode()))
        assert store.records() == []
    assert [(store.folder / name).read_text() for name in files(store)] == ["{", "["]


def test_a_record_of_a_later_schema_stays_where_it_is(store):
    path = store.folder / f"{'0' * 16}.json"
    write(path, lambda file: file.write(b'{"schema_version": 999}'))
    assert store.records() == []
    assert path.exists()
    assert "Use the bench that wrote it" in store.problems[0]


def test_files_that_are_no_records_are_left_alone(store):
    write(store.folder / "package.json", lambda file: file.write(b"{}"))
    assert store.records() == []
    assert files(store) == ["package.json"]


def test_find_takes_any_unique_beginning(store):
    records = [make_record(seed=seed) for seed in range(40)]
    for record in records:
        store.put(record)
    assert store.find(records[3].run_id[:10]) == records[3]
    with pytest.raises(UserError, match="Give more digits"):
        store.find("")
    with pytest.raises(UserError, match="no run in"):
        store.find("xyz")


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_said_and_leaves_no_half_file(store, monkeypatch):
    store.put(make_record(seed=1))
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(UserError, match="the disk is full"):
        store.put(make_record(seed=2))
    with pytest.raises(UserError, match="the disk is full"):
        store.put_side("0" * 16, predictions=[1], y_test=[1])
    assert len(files(store)) == 1


def test_without_hard_links_the_first_record_still_counts(store, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert store.put(make_record(score=0.8))
    assert not store.put(make_record(score=0.9))
    assert write(store.folder / "x", lambda file: file.write(b"1"), replace=False)
    assert not write(store.folder / "x", lambda file: file.write(b"2"), replace=False)
    assert [record.score for record in store.records()] == [0.8]


def test_arrays_come_back_and_their_hash_stands_in_the_record(store):
    record = make_record()
    arrays = {"predictions": np.array([1, 2, 3]), "y_test": np.array([1, 2, 0]), "h": np.ones((3, 2), "float32")}
    told = store.put_side(record.run_id, **arrays)
    store.put(make_record(predictions_hash=told))
    found = store.side(record.run_id)
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
    assert told == predictions_hash(arrays["predictions"], arrays["y_test"])


def test_arrays_of_a_finished_run_are_not_replaced(store):
    told = store.put_side(make_record().run_id, predictions=[1, 2], y_test=[1, 1])
    store.put(make_record(predictions_hash=told))
    store.put_side(make_record().run_id, predictions=[2, 2], y_test=[1, 1])
    assert store.side(make_record().run_id)["predictions"].tolist() == [1, 2]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"no zip at all"])
def test_damaged_arrays_are_set_aside(store, content):
    write(store.folder / f"{'0' * 16}.npz", lambda file: file.write(content))
    assert store.side("0" * 16) is None
    assert files(store) == [f"{'0' * 16}.npz.damaged"]


def test_arrays_that_are_not_those_of_the_record_are_set_aside(store):
    record = make_record(predictions_hash="0" * 64)
    store.put(record)
    store.put_side(record.run_id, predictions=[1], y_test=[1])
    assert store.side(record.run_id) is None
    assert "not those of the record" in store.problems[0]


def test_python_objects_are_refused_because_they_need_pickle(store):
    with pytest.raises(ValueError, match="without pickle: predictions"):
        store.put_side("0" * 16, predictions=np.array([None]), y_test=[1])


def test_the_predictions_hash_sees_values_types_and_which_is_which():
    a, b = np.array([1, 2]), np.array([2, 1])
    hashes = {predictions_hash(a, b), predictions_hash(b, a), predictions_hash(a.astype("int32"), b), predictions_hash(a, a)}
    assert len(hashes) == 4
    assert predictions_hash(a.astype(">i8"), b) == predictions_hash(a.astype("<i8"), b)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"score": 80.0}, "score: Input should be less than or equal to 1"),
        ({"score": "0.5"}, "score: Input should be a valid number"),
        ({"score": True}, "score: Input should be a valid number"),
        ({"score": None}, "status is ok, but there is no score"),
        ({"seconds": -5.0}, "seconds: Input should be greater than or equal to 0"),
        ({"n_test": -1}, "n_test: Input should be greater than or equal to 0"),
        ({"schema_version": 0}, "schema_version: Input should be greater than or equal to 1"),
        ({"test_low": 0.9, "test_high": 0.8}, "test_low 0.9 is above test_high 0.8"),
        ({"label_fraction": 5.0}, "label_fraction is 5, not a share above 0 and up to 1"),
        ({"seed": -1}, "seed is -1, below 0"),
        ({"created": "yesterday"}, "Invalid isoformat string"),
    ],
)
def test_numbers_that_no_run_can_have_are_refused(wrong, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        parse(canonical({**dump(make_record()), **wrong}))
