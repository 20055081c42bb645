"""Publishing: working records -> sorted, committed JSON lines, once and only what belongs there."""

from pathlib import Path

import pytest
from records import make_record

from bench.errors import UserError
from bench.publish import find, load, modalities, publish, withdrawn
from bench.store import Store


@pytest.fixture
def runs(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    return tmp_path / "leaderboards"


def put(store: Store, *records):
    for record in records:
        store.put(record)
    return store


def test_published_records_come_back_sorted_and_whole(runs, boards):
    records = [make_record(seed=seed) for seed in range(5)]
    done = publish(put(runs, *records), boards)
    assert done.added == {"tabular": 5}
    assert load(boards, "tabular") == sorted(records, key=lambda record: record.run_id)
    lines = (boards / "records" / "tabular.jsonl").read_text().splitlines()
    assert len(lines) == 5
    assert modalities(boards) == ["tabular"]
    assert load(boards, "speech") == []


def test_publishing_twice_changes_nothing(runs, boards):
    put(runs, make_record(), make_record(seed=1, status="failed", reason="killed"))
    publish(runs, boards)
    before = (boards / "records" / "tabular.jsonl").read_bytes()
    done = publish(runs, boards)
    assert (boards / "records" / "tabular.jsonl").read_bytes() == before
    assert not done.added
    assert done.known == 1
    assert not done.conflicts
    assert "nothing new to publish" in done.lines()


def test_records_of_several_folders_come_together(tmp_path, boards):
    for seed in range(3):
        publish(put(Store(tmp_path / f"runs{seed}"), make_record(seed=seed)), boards)
    assert sorted(record.seed for record in load(boards, "tabular")) == [0, 1, 2]


def test_the_first_record_of_a_run_counts_and_another_score_is_told(tmp_path, boards):
    publish(put(Store(tmp_path / "a"), make_record(score=0.8)), boards)
    done = publish(put(Store(tmp_path / "b"), make_record(score=0.7)), boards)
    assert [record.score for record in load(boards, "tabular")] == [0.8]
    assert "came again with 0.7; the first counts" in done.conflicts[0]


@pytest.mark.parametrize(
    ("over", "reason"),
    [
        ({"data": "mine.csv", "target": "y", "dataset": "mine"}, "of your own table"),
        ({"budget": "smoke"}, "smoke budget"),
        ({"departures": "temperature=0.5", "temperature": 0.5}, "depart from recipe"),
        ({"recipe": "moco-cifar", "seed": 1}, "another recipe than the data set's own"),
        ({"recipe": "imix-covtype", "method": "supervised"}, "another recipe than the data set's own"),
        ({"recipe": "imix-higgs", "dataset": "unheard of"}, "of what is not known here"),
    ],
)
def test_what_a_board_cannot_use_is_left_out_and_counted(runs, boards, over, reason):
    done = publish(put(runs, make_record(**over), make_record()), boards)
    assert load(boards, "tabular") == [make_record()]
    assert any(line.startswith("1 left out") and reason in line for line in done.lines())


@pytest.mark.parametrize("over", [{"recipe": "imix-higgs"}, {"recipe": "imix-covtype", "method": "raw", "views": "none"}])
def test_the_data_sets_own_recipe_and_one_that_says_nothing_to_the_method_are_published(runs, boards, over):
    publish(put(runs, make_record(**over)), boards)
    assert load(boards, "tabular") == [make_record(**over)]


def test_a_run_is_found_in_the_working_store_or_on_the_boards(runs, boards):
    published, working = make_record(), make_record(seed=1)
    publish(put(runs, published), boards)
    store = put(Store(runs.folder.with_name("more")), working)
    assert find(store, boards, working.run_id[:5]) == working
    assert find(store, boards, published.run_id[:5]) == published
    with pytest.raises(UserError, match=r"no run in .*more, and none on the boards in .*, starts with 'xyz'"):
        find(store, boards, "xyz")
    publish(put(runs, *(make_record(seed=seed) for seed in range(2, 20))), boards)
    with pytest.raises(UserError, match=r"19 runs on the boards in .* start with ''\. Give more digits"):
        find(Store(runs.folder.with_name("none")), boards, "")


def test_a_failure_is_published_until_its_cell_is_finished(tmp_path, boards):
    # it failed before it knew its rows, so its run id is not that of the finished run
    early = make_record(status="failed", reason="no such file", dataset_fingerprint=None, split_fingerprint=None)
    done = publish(put(Store(tmp_path / "a"), early), boards)
    assert [record.reason for record in load(boards, "tabular")] == ["no such file"]
    assert done.failed == 1
    assert early.run_id != make_record().run_id
    publish(put(Store(tmp_path / "b"), make_record()), boards)
    assert load(boards, "tabular") == [make_record()]
    publish(Store(tmp_path / "a"), boards)
    assert load(boards, "tabular") == [make_record()]


def test_a_failure_of_the_same_run_gives_way_too(tmp_path, boards):
    publish(put(Store(tmp_path / "a"), make_record(status="failed", reason="killed")), boards)
    publish(put(Store(tmp_path / "b"), make_record()), boards)
    publish(Store(tmp_path / "a"), boards)
    assert [record.status for record in load(boards, "tabular")] == ["ok"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda lines: [lines[0], lines[1][:50]], "line 2"),
        (lambda lines: [lines[0], lines[0]], "stands on line 1 already"),
        (lambda lines: [lines[0], ""], "line 2"),
        (lambda lines: [lines[0].replace('"score":0.8', '"score":0.9,"scor":1')], "scor: "),
        (lambda lines: [lines[0].replace('"seed":0', '"seed":9').replace('"seed":1', '"seed":9')], "not the hash"),
    ],
)
def test_a_bad_line_is_named_with_file_line_and_reason(runs, boards, change, reason):
    publish(put(runs, make_record(), make_record(seed=1)), boards)
    path = boards / "records" / "tabular.jsonl"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    with pytest.raises(UserError, match=r"tabular\.jsonl, line \d: .*Mend or delete that line") as told:
        load(boards, "tabular")
    assert reason in str(told.value)


def test_a_record_in_the_file_of_another_modality_is_refused(runs, boards):
    publish(put(runs, make_record()), boards)
    (boards / "records" / "tabular.jsonl").rename(boards / "records" / "speech.jsonl")
    with pytest.raises(UserError, match="its modality is 'tabular'"):
        load(boards, "speech")


def test_a_damaged_file_of_the_working_store_is_told_and_not_published(runs, boards):
    put(runs, make_record(), make_record(seed=1))
    path = runs.folder / f"{make_record().run_id}.json"
    path.write_text("{")
    publish(runs, boards)
    assert load(boards, "tabular") == [make_record(seed=1)]
    assert "is damaged" in runs.problems[0]


def test_a_line_stays_as_it_was_written(runs, boards):
    publish(put(runs, make_record()), boards)
    path = boards / "records" / "tabular.jsonl"
    by_hand = path.read_text().replace('","', '", "')  # equal to a reader, not to the bytes that we write
    path.write_text(by_hand)
    publish(put(runs, make_record(seed=1)), boards)
    assert by_hand.strip() in path.read_text().splitlines()
    assert len(load(boards, "tabular")) == 2


def test_a_run_measured_again_with_the_same_score_is_a_reproduction(tmp_path, boards):
    first, again = (make_record(created=f"2026-01-0{day}T00:00:00+00:00") for day in (1, 2))
    publish(put(Store(tmp_path / "a"), first), boards)
    done = publish(put(Store(tmp_path / "b"), again), boards)
    assert load(boards, "tabular") == [first]
    assert "1 were there already, 1 of them measured again with the same score" in done.lines()
    assert publish(Store(tmp_path / "a"), boards).reproduced == 0


def test_withdrawn_runs_come_with_a_reason(boards):
    assert withdrawn(boards) == {}
    boards.mkdir()
    name = make_record().run_id
    (boards / "withdrawn.toml").write_text(f'"{name}" = "a disk was full"\n')
    assert withdrawn(boards) == {name: "a disk was full"}


@pytest.mark.parametrize("line", ['"0123456789abcdef" = ""', '"0123" = "why"', '"0123456789abcdef" = 3', "nonsense"])
def test_a_withdrawal_without_a_whole_run_id_or_a_reason_is_refused(boards, line):
    boards.mkdir()
    (boards / "withdrawn.toml").write_text(line)
    with pytest.raises(UserError, match='"RUN_ID" = "reason"'):
        withdrawn(boards)
