"""Records of every schema version that was ever written can be read, and keep their run ids."""

import json
from pathlib import Path

import pytest
from records import make_record

from bench import record as record_module
from bench.record import MIGRATIONS, SCHEMA_VERSION, dump, load, schema, upgraded
from bench.store import parse

FOLDER = Path(__file__).with_name("records_of")
VERSIONS = range(1, SCHEMA_VERSION + 1)


def lines(version: int) -> list[str]:
    return (FOLDER / f"{version}.jsonl").read_text(encoding="utf-8").splitlines()


def test_there_are_rows_of_every_version_and_a_step_from_each_to_the_next():
    assert sorted(int(path.stem) for path in FOLDER.glob("*.jsonl")) == [*VERSIONS]
    assert sorted(MIGRATIONS) == [*VERSIONS][:-1]


@pytest.mark.parametrize("version", VERSIONS)
def test_rows_of_a_version_are_read_and_keep_their_run_ids(version):
    rows = [json.loads(line) for line in lines(version)]
    assert {row["schema_version"] for row in rows} == {version}
    assert {row["status"] for row in rows} == {"ok", "failed"}
    for line, row in zip(lines(version), rows, strict=True):
        record = parse(line)  # checks that the run id is the hash of the record
        assert record.run_id == row["run_id"]
        assert (record.schema_version, record.score) == (SCHEMA_VERSION, row.get("score"))
        assert parse(json.dumps(dump(record))) == record


def test_steps_are_taken_one_after_the_other(monkeypatch):
    def renamed(row):
        return {("score" if key == "result" else key): value for key, value in row.items()}

    def shares(row):
        return {**row, "score": row["score"] / 100}

    monkeypatch.setattr(record_module, "MIGRATIONS", {-1: renamed, 0: shares})
    wanted = make_record(score=0.75, accuracy=0.75)
    old = {**dump(wanted), "schema_version": -1, "result": 75.0}
    del old["score"]
    assert upgraded(old)["schema_version"] == 1
    assert load(old) == wanted
    assert upgraded(dump(wanted)) == dump(wanted)


def test_the_published_schema_accepts_what_is_written_and_nothing_misspelt():
    fields = schema()["properties"]
    assert set(dump(make_record(), full=True)) == set(fields)
    assert schema()["additionalProperties"] is False
