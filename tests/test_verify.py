"""Verification: sound records pass; an edited score, seed, hash, fingerprint or prediction is refused and named."""

import json

import numpy as np
import pytest
from records import make_record

from bench import RunSpec, run
from bench.cli import main
from bench.errors import UserError
from bench.predictions import Evidence, keep, load, path
from bench.publish import publish, records_path
from bench.record import dump
from bench.record import load as read
from bench.spec import canonical, digest
from bench.store import Store, side_hash
from bench.verify import data_problems, evidence_problems, record_problems, seed_problems, verify_boards, verify_runs

TOY = {"dataset": "toy", "budget": "smoke", "precision": "fp32", "device": "cpu"}


def as_published(record):
    """The same run under the budget `small`: boards do not take `smoke`."""
    row = {**dump(record), "budget": "small"}
    row["run_id"] = digest(read(row).identity())[:16]
    return read(row)


@pytest.fixture(scope="module")
def records():
    """Two seeds of a probe of the raw columns."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        found = [run(RunSpec(method="raw", seed=seed, **TOY), store=store) for seed in (0, 1)]
        return [(as_published(r), store.side(r.run_id)) for r in found]


@pytest.fixture
def runs(records, tmp_path):
    store = Store(tmp_path / "runs")
    for record, side in records:
        store.put_side(record.run_id, **side)
        store.put(record)
    return store


@pytest.fixture
def boards(runs, tmp_path):
    publish(runs, tmp_path / "leaderboards")
    return tmp_path / "leaderboards"


def edit(boards, change, line=0):
    """Change one committed record; its run id follows what it then says, as a careful forger would do it."""
    place = records_path(boards, "tabular")
    lines = place.read_text().splitlines()
    row = {**json.loads(lines[line]), **change}
    row["run_id"] = digest(read(row).identity())[:16]
    lines[line] = canonical(row)
    place.write_text("\n".join(lines) + "\n")
    return row["run_id"]


def test_what_was_published_is_sound_and_every_score_was_computed_again(boards, runs):
    done = verify_boards(boards)
    assert done.wrong == []
    assert (done.records, done.recomputed) == (2, 2)
    assert verify_runs(runs).wrong == []
    assert verify_runs(runs).recomputed == 2


def test_nothing_at_all_is_sound_and_no_folder_is_refused(tmp_path):
    assert verify_boards(tmp_path).lines() == ["0 records, the scores of 0 computed again: nothing is wrong"]
    for look in (verify_boards, lambda place: verify_runs(Store(place))):
        with pytest.raises(UserError, match="is no folder"):
            look(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"score": 0.99, "accuracy": 0.99}, "accuracy is 0.99, its predictions give"),
        ({"score": 0.99}, "score 0.99 is not its accuracy"),
        ({"balanced_accuracy": 0.5}, "balanced_accuracy is 0.5, its predictions give"),
        ({"test_low": 0.0}, "test_low is 0.0, its predictions give"),
        ({"chance": 0.5}, "chance 0.5 is not 1 / 3"),
        ({"n_labels": 7}, "n_labels is 7, the data give 240"),
        ({"predictions_hash": "0" * 64}, "its predictions are not those it was made from"),
    ],
)
def test_an_edited_number_is_refused(boards, change, said):
    edit(boards, change)
    wrong = verify_boards(boards).wrong
    assert any(said in text for text in wrong), wrong


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 5}, "split_fingerprint is"),
        ({"seed": 5}, "which no record names"),
        ({"split_fingerprint": "0" * 64}, "split_fingerprint is"),
        ({"dataset_fingerprint": "0" * 64}, "records of 2 different data"),
    ],
)
def test_an_edit_that_renames_the_run_is_refused_too(boards, change, said):
    edit(boards, change)
    wrong = verify_boards(boards).wrong
    assert any(said in text for text in wrong), wrong


def test_an_edit_without_a_new_name_is_refused_with_its_line(boards):
    place = records_path(boards, "tabular")
    lines = place.read_text().splitlines()
    place.write_text("\n".join([lines[0].replace('"label_fraction":1.0', '"label_fraction":0.5'), lines[1], "torn"]) + "\n")
    wrong = verify_boards(boards).wrong
    assert any("line 1: run id" in text and "is not the hash of the record" in text for text in wrong)
    assert any("line 3" in text for text in wrong)


def test_a_line_twice_is_refused(boards):
    place = records_path(boards, "tabular")
    place.write_text(place.read_text() * 2)
    assert sum("stands there already" in text for text in verify_boards(boards).wrong) == 2


def test_other_data_than_the_catalogues_are_refused(boards):
    for line in (0, 1):
        edit(boards, {"dataset_fingerprint": "0" * 64}, line)
    wrong = verify_boards(boards).wrong
    assert any("fingerprint 0000000000000000, the catalogue says" in text for text in wrong)


def test_an_edited_prediction_is_refused(boards):
    found = load(boards, "tabular")
    name = sorted(found)[0]
    labels = found[name].labels.copy()
    labels[0] = (labels[0] + 1) % 3
    forged = {**found, name: Evidence(labels, found[name].y)}
    rewrite(boards, forged)
    assert any(name in text and "its predictions are not those" in text for text in verify_boards(boards).wrong)


def test_labels_and_predictions_that_agree_with_each_other_and_not_with_the_data_are_refused(boards):
    """A forger who makes everything fit: all test rows right, hash and scores adjusted. The data set knows better."""
    found = load(boards, "tabular")
    name = sorted(found)[0]
    forged = Evidence(found[name].labels, found[name].labels)
    line = [json.loads(text)["run_id"] for text in records_path(boards, "tabular").read_text().splitlines()].index(name)
    perfect = dict.fromkeys(("score", "accuracy", "balanced_accuracy", "test_low", "test_high"), 1.0)
    edit(boards, {**perfect, "predictions_hash": forged.hash}, line)
    rewrite(boards, {**found, name: forged})
    assert any("not those of the test rows" in text for text in verify_boards(boards).wrong)


def rewrite(boards, evidence):
    from bench.predictions import _packed
    from bench.store import write

    write(path(boards, "tabular"), lambda file: np.savez_compressed(file, **_packed(evidence)))


def test_damaged_predictions_are_named(boards):
    path(boards, "tabular").write_bytes(b"PK no zip")
    assert any("is damaged" in text for text in verify_boards(boards).wrong)
    with pytest.raises(UserError, match="Restore it with git"):
        load(boards, "tabular")


def test_records_without_predictions_are_wrong_unless_the_file_of_them_is_full(boards, runs, monkeypatch):
    evidence = load(boards, "tabular")
    rewrite(boards, dict([next(iter(evidence.items()))]))
    (wrong,) = verify_boards(boards).wrong
    assert "there are no predictions beside it" in wrong
    monkeypatch.setattr("bench.verify.LIMIT", 1)
    done = verify_boards(boards)
    assert done.wrong == []
    assert any(text.startswith("1 records have no predictions") for text in done.notes)
    path(boards, "tabular").unlink()
    assert len(verify_boards(boards).wrong) == 2
    for record in runs.records():
        (runs.folder / f"{record.run_id}.npz").unlink()
    assert len(verify_runs(runs).wrong) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dataset": "letterx"}, "unknown data set 'letterx'"),
        ({"protocol": "linear@9"}, "unknown protocol 'linear@9'"),
        ({"views": "foo"}, "a run would not record views foo"),
        ({"method": "superb"}, "unknown method 'superb'"),
        ({"departures": "steps=9"}, "it cannot be on a board"),
        ({"data": "mine.csv"}, "it cannot be on a board"),
        ({"majority": 0.9}, "majority is 0.9, the data give"),
    ],
)
def test_a_record_that_no_run_could_have_made_is_refused(boards, change, said):
    edit(boards, change)
    assert any(said in text for text in verify_boards(boards).wrong)


def test_seeds_that_saw_the_same_rows_are_refused_also_where_the_data_are_not_here():
    def raw(**over):
        return make_record(method="raw", **over)

    assert seed_problems([raw(seed=s, split_fingerprint=str(s) * 64) for s in (0, 1)]) == []
    (copied,) = seed_problems([raw(seed=s, split_fingerprint="7" * 64) for s in (0, 1)])
    assert "its rows are those that seed 0 drew" in copied


def test_test_labels_of_one_data_set_are_equal_in_all_its_runs(boards):
    evidence = load(boards, "tabular")
    (first, e), (second, _) = evidence.items()
    found = data_problems([make_record(run_id=r) for r in (first, second)], {first: e, second: Evidence(e.y, e.labels)}, [])
    assert any("its test labels are not those of" in text for text in found)


def test_an_edited_likelihood_or_score_of_a_class_is_refused(runs, records):
    record, side = records[0]
    assert record.side_hash == side_hash(side)
    for name in ("likelihood", "recall"):
        other = {**side, name: side[name] * 0.5}
        (runs.folder / f"{record.run_id}.npz").unlink()
        runs.put_side(record.run_id, **other)
        assert any("the arrays beside it are not those of the run" in text for text in verify_runs(runs).wrong)


def test_the_command_says_what_is_wrong_with_exit_code_1(boards, runs, capsys):
    for arguments, code in ((["--boards", str(boards)], 0), (["--records", str(runs.folder)], 0)):
        with pytest.raises(SystemExit) as ended:
            main(["verify", *arguments])
        assert ended.value.code == code
        assert "nothing is wrong" in capsys.readouterr().out
    edit(boards, {"score": 0.99})
    with pytest.raises(SystemExit) as ended:
        main(["verify", "--boards", str(boards)])
    assert ended.value.code == 1
    assert "wrong: " in capsys.readouterr().out


def test_a_working_folder_with_an_edited_log_loss_or_side_file_is_refused(runs, records):
    record = records[0][0]
    place = runs.folder / f"{record.run_id}.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "log_loss": 0.1}))
    other = records[1][0]
    side = {**records[1][1], "predictions": np.zeros(60, np.int64)}
    np.savez(runs.folder / f"{other.run_id}.npz", **side)
    wrong = verify_runs(Store(runs.folder)).wrong
    assert any("log_loss is 0.1, its predictions give" in text for text in wrong)
    assert any("not those of the record" in text for text in wrong)


# Records by themselves


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"method": "npair"}, "does not say that the encoder was the same"),
        ({"method": "npair", "encoder_hash": "a", "encoder_hash_after": "b"}, "frozen means frozen"),
        ({"method": "raw", "predictions_hash": None}, "predictions_hash is missing"),
    ],
)
def test_what_is_wrong_with_one_record_is_said(over, said):
    record = make_record(**{"predictions_hash": "0" * 64, **over})
    assert any(said in text for text in record_problems(record))
    sound = {"encoder_hash": "a", "encoder_hash_after": "a", "predictions_hash": "0" * 64}
    assert record_problems(make_record(**sound)) == []


def test_seeds_must_be_complete_and_unrepeated():
    def raw(seed, **over):
        return make_record(method="raw", seed=seed, **{"split_fingerprint": str(seed) * 64, **over})

    assert seed_problems([raw(seed=0), raw(seed=1), raw(seed=2)]) == []
    (left_out,) = seed_problems([raw(seed=0), raw(seed=2)])
    assert "seeds 1 missing below seed 2" in left_out
    failed = raw(seed=1, status="failed", reason="out of memory")
    assert seed_problems([raw(seed=0), failed, raw(seed=2)]) == []  # a failure is there for everybody to see
    (again,) = seed_problems([raw(seed=0), raw(seed=0, split_fingerprint="6" * 64)])
    assert "was run again under other rows" in again


def test_predictions_of_another_length_are_said():
    e = Evidence(np.zeros(3, np.int64), np.zeros(3, np.int64))
    assert evidence_problems(make_record(n_test=4, predictions_hash=e.hash), e) == [
        "3 predictions and 3 labels for 4 test rows"
    ]


# The file of predictions


def test_predictions_come_back_bit_for_bit_with_their_types_and_groups(tmp_path):
    store, records = Store(tmp_path / "runs"), []
    for seed, kind in ((0, np.int64), (1, np.int32)):
        labels, y = np.array([0, 299, 2, 7], kind), np.array([0, 1, 2, 5], kind)
        name = make_record(seed=seed).run_id
        mark = store.put_side(name, predictions=labels, y_test=y, groups=np.array([0, 0, 1, 1]))
        records.append(make_record(seed=seed, predictions_hash=mark))
        store.put(records[-1])
    assert keep(store, records, tmp_path, "tabular") == (2, 0)
    for record in records:
        e = load(tmp_path, "tabular")[record.run_id]
        assert e.hash == record.predictions_hash
        assert e.groups.tolist() == [0, 0, 1, 1]
        assert e.labels.tolist() == [0, 299, 2, 7]
    before = path(tmp_path, "tabular").read_bytes()
    keep(store, records, tmp_path, "tabular")
    assert path(tmp_path, "tabular").read_bytes() == before
    assert keep(store, records[:1], tmp_path, "tabular") == (1, 0)  # a run that left the board leaves the file


def test_beyond_the_limit_only_hashes_are_published_and_what_is_there_stays(tmp_path):
    store, records, draw = Store(tmp_path / "runs"), [], np.random.default_rng(0)
    for seed in range(4):
        labels, y = draw.integers(0, 256, (2, 4000))
        name = make_record(seed=seed).run_id
        mark = store.put_side(name, predictions=labels, y_test=y)
        records.append(make_record(seed=seed, predictions_hash=mark))
        store.put(records[-1])
    last = max(records, key=lambda r: r.run_id)
    assert keep(store, [last], tmp_path, "tabular", limit=20_000) == (1, 0)
    kept, beyond = keep(store, records, tmp_path, "tabular", limit=20_000)
    assert (kept, beyond) == (2, 2)  # random bytes do not compress: a run takes 4000 for y and 4000 for its predictions
    assert last.run_id in load(tmp_path, "tabular")
    assert path(tmp_path, "tabular").stat().st_size <= 20_000


def test_publishing_says_how_many_predictions_did_not_fit(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.publish.keep", lambda *_: (1, 1))
    assert any("from the file of predictions, which is full" in line for line in publish(runs, tmp_path / "b").lines())
