"""Sweeps: which cells there are, what they will cost, limits, and that killing, stopping and racing change no record."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import SPEC, make_record
from rich.console import Console

from bench import RunSpec, catalog, workers
from bench.cli import main
from bench.errors import UserError
from bench.forecast import Clock, Cost, Past, expected, span
from bench.grid import expand
from bench.prepare import forget_data, prepare
from bench.record import Record
from bench.report import Screen
from bench.store import Store
from bench.sweep import Cell, cells, missing, shard

COSTS = ("seconds", "pretrain_seconds", "evaluate_seconds", "samples_per_s", "peak_memory_mb", "created")


@pytest.fixture
def two_modalities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards of two made-up modalities; both have a `toy`."""
    cards = {"tables": {"datasets": {"letter": {}, "toy": {}}}, "sounds": {"datasets": {"digits": {}, "toy": {}}}}
    monkeypatch.setattr(catalog, "card", lambda _, name: cards[name])


@pytest.mark.usefixtures("two_modalities")
def test_of_several_modalities_each_takes_its_own_data_sets():
    specs = expand({"modalities": ["tables", "sounds"], "datasets": ["letter", "digits", "toy"], "seeds": [0, 1]})
    places = [("tables", "letter"), ("tables", "toy"), ("sounds", "digits"), ("sounds", "toy")]
    assert [(s.seed, s.modality, s.dataset) for s in specs] == [(seed, *place) for seed in (0, 1) for place in places]
    assert {s.dataset for s in expand({"modalities": ["tables", "sounds"]})} == {""}  # the default of each


@pytest.mark.usefixtures("two_modalities")
def test_a_data_set_that_no_modality_has_and_a_modality_without_one_are_refused():
    with pytest.raises(UserError, match=r"unknown data set 'lettr'; in tables, sounds there are.*Did you mean 'letter'\?"):
        expand({"modalities": ["tables", "sounds"], "datasets": ["lettr", "digits"]})
    with pytest.raises(UserError, match="modality sounds is named, but none of its data sets: digits, toy"):
        expand({"modalities": ["tables", "sounds"], "datasets": ["letter"]})


def test_cells_load_each_data_set_once_and_free_it(monkeypatch):
    adapter, loaded = type(catalog.find("modalities", "tabular")), []
    load = adapter.load
    monkeypatch.setattr(adapter, "load", lambda self, spec: loaded.append(spec.dataset) or load(self, spec))
    specs = [RunSpec(dataset=name, seed=seed, budget="smoke") for seed in (0, 1) for name in ("wine", "toy")]
    forget_data()  # what another test left
    for _ in range(2):
        assert [c.spec.dataset for c in cells(specs)] == ["wine", "toy", "wine", "toy"]
    assert loaded == ["toy", "wine"] * 2


def cell(number: int, group: int | None = None, **over) -> Cell:
    spec = RunSpec(**{**SPEC, **over})
    return Cell(spec, spec, f"{number:016x}", None if group is None else f"{group:016x}")


@given(st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 2**31)), unique=True), st.integers(1, 5))
def test_shards_hold_every_cell_once_and_keep_a_pretraining_whole(names, parts):
    wanted = [cell(number, seed=seed) for number, seed in names]
    found = [shard(wanted, part, parts) for part in range(1, parts + 1)]
    assert sorted((c.run_id, c.spec.seed) for s in found for c in s) == sorted((c.run_id, c.spec.seed) for c in wanted)
    assert all(len({i for i, s in enumerate(found) if seed in {c.spec.seed for c in s}}) == 1 for _, seed in names)
    assert shard([*wanted, cell(1)], 1, parts)[: len(found[0])] == found[0]  # a new cell moves none


def test_unlike_machines_share_out_the_same_cells():
    """What `auto` means differs between them, and so do run ids and pretrainings."""
    here, there = ([cell(i, seed=i, precision=p, threads=t) for i in range(20)] for p, t in (("bf16", 1), ("fp32", 8)))
    first, second = shard(here, 1, 2), shard(there, 2, 2)
    assert sorted(c.spec.seed for c in [*first, *second]) == list(range(20))
    one = shard([cell(i, label_fraction=f, protocol=p) for i, (f, p) in enumerate([(1.0, "knn@1"), (0.1, "linear@1")])], 1, 2)
    assert len(one) in (0, 2)  # one pretraining


@pytest.mark.parametrize("said", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_a_shard_that_is_no_part_of_a_whole_is_refused(said, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["sweep", f"--shard={said}", "--dataset", "toy"])
    assert stop.value.code == 2
    assert f"--shard {said} is not a part of a whole" in capsys.readouterr().err


def test_the_expected_cost_is_the_median_of_the_closest_runs():
    def run(**over):
        return make_record(**{"pretrain_seconds": 20.0, "seconds": 30.0, **over})

    past = Past([run(seed=0), run(seed=1, seconds=32.0), run(seed=2, seconds=90.0), run(dataset="adult", seconds=50.0)])
    spec = RunSpec(**SPEC, steps=1000)
    assert past.cost(spec) == Cost(20, 12)
    assert past.cost(spec.replace(dataset="adult")) == Cost(20, 30)
    assert past.cost(spec.replace(views="agnostic", label_fraction=0.5)) == Cost(20, 12)
    assert past.cost(spec.replace(dataset="other")) == Cost(20, 21)  # (30 + 32 + 50 + 90): the middle two without pretraining
    assert past.cost(spec.replace(method="moco")) is None
    assert past.cost(spec.replace(steps=7)) is None
    assert Past([make_record(status="failed", reason="x")]).cost(spec) is None


def test_a_shared_pretraining_counts_once_and_a_cached_one_not_at_all():
    past = Past([make_record(pretrain_seconds=20.0, seconds=30.0)])
    wanted = [cell(1, 9, steps=1000), cell(2, 9, steps=1000), cell(3, 8, steps=1000), cell(4, method="moco")]
    found = expected(wanted, past, 2)
    assert found.cells == {wanted[0].run_id: 30, wanted[1].run_id: 10, wanted[2].run_id: 30}
    assert (found.work, found.wall, found.unknown) == (70, 40, 1)
    assert expected(wanted, past, 1).wall == 70
    assert expected(wanted, past, 1, cached={wanted[0].pretrain_id}).work == 50
    assert expected([], past, 2).wall == 0


def test_time_left_follows_the_forecast_and_then_what_cells_really_took():
    clock = Clock(["a", "b", "c", "d"], {"a": 10, "b": 10, "c": 10, "d": 10}, parallel=2)
    assert clock.left(0) == 20
    clock.start("a", 0)
    clock.start("b", 0)
    assert clock.left(4) == 16  # (6 + 6 + 10 + 10) / 2
    assert clock.finish("a", 20) == 20  # twice the forecast: b has none of its 20 s left, c and d take 20 s each
    assert clock.left(20) == 20
    assert Clock(["a"], {}, 1).left(0) is None
    unforeseen = Clock(["a", "b"], {}, 1)
    unforeseen.start("a", 0)
    unforeseen.finish("a", 8)
    assert unforeseen.left(8) == 8


def test_spans_read_as_a_person_says_them():
    assert [span(s) for s in (3.2, 89, 120, 5300, 7500)] == ["3 s", "89 s", "2 min", "88 min", "2 h 5 min"]


def test_the_screen_counts_cells_and_tells_the_time_left():
    with io.StringIO() as file:
        some = [cell(i, seed=i) for i in range(3)]
        with Screen(some, {c.run_id: 60.0 for c in some}, 1, Console(file=file, width=200)) as screen:
            screen(some[0], "started", 0, 0, float("nan"))
            screen(some[0], "pretraining", 10, 100, 1.5)
            screen(some[0], "done", 1, 1, float("nan"))
            screen(some[1], "started", 0, 0, float("nan"))
            screen(some[1], "failed", 1, 1, float("nan"))
        said = file.getvalue()
    assert "[1/3] npair+imix letter seed 0: done after 0 s; 1 done, 0 running, 0 failed, 2 waiting, about" in said
    assert "[2/3] npair+imix letter seed 1: failed after 0 s; 1 done, 0 running, 1 failed, 1 waiting" in said


def test_a_dry_run_prints_cells_and_what_they_will_cost(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    some = cells([RunSpec(dataset="toy", budget="smoke", method=m, seed=s) for m in ("npair", "raw") for s in (0, 1)])
    store = Store("runs")
    done = {**some[0].spec.settings(), "run_id": some[0].run_id, "pretrain_id": some[0].pretrain_id}
    store.put(
        Record(
            **done,
            **prepare(some[0].asked).facts,
            status="ok",
            bench_version="0",
            score=0.5,
            seconds=40.0,
            pretrain_seconds=30.0,
        )
    )
    with pytest.raises(SystemExit) as stop:
        main(["sweep", "--dataset", "toy", "--budget", "smoke", "--method", "npair", "raw", "--seed", "0", "1", "--dry-run"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert f"{some[0].run_id}  done     npair toy seed 0  pretraining {some[0].pretrain_id}" in said
    assert f"{some[1].run_id}  missing  npair toy seed 1  pretraining {some[1].pretrain_id}  about 40 s" in said
    assert "4 cells, 1 done, 3 missing; 2 pretrainings" in said
    assert "expected from past records: 40 s of computing" in said
    assert "of 2 cells nothing is known" in said
    assert len(missing(some, store)) == 3


# Real processes


SWEEP = (
    "sweep", "--dataset", "toy", "--budget", "smoke", "--method", "npair+imix", "moco", "raw", "--steps", "1500",
    "--precision", "fp32", "--label-fraction", "0.5", "1", "--seed", "0", "--jobs", "2",
)  # fmt: skip


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    """The sweep as a command of its own process group, with its own caches."""
    surroundings = {**os.environ, "BENCH_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "bench", *SWEEP, "--records", str(folder / "runs"), *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]
        words, env=surroundings, start_new_session=True, preexec_fn=_hear_interrupts, **pipes
    )
    return process


def _hear_interrupts() -> None:
    """A job in the background of a script inherits that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def science(folder: Path) -> list[dict[str, object]]:
    """Every record without what was measured of the machine."""
    rows = [{k: v for k, v in vars(r).items() if not k.startswith("_")} for r in Store(folder / "runs").records()]
    return [{k: v for k, v in row.items() if k not in COSTS} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep run without a disturbance."""
    folder = tmp_path_factory.mktemp("whole")
    done = start(folder)
    said = done.communicate()
    assert done.returncode == 0, said[1]
    assert len(science(folder)) == 6
    return folder


def until(process: subprocess.Popen[str], word: str) -> None:
    """Read standard error up to a line that holds a word."""
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return


@pytest.mark.full
def test_a_sweep_killed_and_stopped_ten_times_ends_with_the_records_of_one_that_was_not(whole, tmp_path):
    luck, stopped = np.random.default_rng(0), 0
    for i in range(10):
        process = start(tmp_path)
        until(process, "pretraining")
        time.sleep(float(luck.uniform(0, 0.6)))
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL if i % 2 else signal.SIGINT)
        _, said = process.communicate()
        stopped += 1
        if not i % 2 and process.returncode != 0:
            assert process.returncode == 130, said
            assert "the same command continues where this one was" in said
            assert "Traceback" not in said
    assert stopped == 10
    last = start(tmp_path)
    said = last.communicate()
    assert last.returncode == 0, said[1]
    assert science(tmp_path) == science(whole)
    assert not [p for p in (tmp_path / "runs").iterdir() if p.name.endswith(".failed.json")]


@pytest.mark.full
def test_ctrl_c_writes_a_checkpoint_and_leaves_no_half_file(tmp_path):
    process = start(tmp_path, "--steps", "200000")
    until(process, "pretraining")
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    left = [p.name for p in tmp_path.rglob("*") if p.is_file()]
    assert [name for name in left if name.endswith(".safetensors")]
    assert not [name for name in left if name.endswith((".tmp", ".part"))]


@pytest.mark.full
def test_processes_of_a_sweep_that_was_killed_end_too(tmp_path):
    """Nothing is told for many minutes here, so that no process learns it from a broken pipe."""
    process = start(tmp_path, "--steps", "20000000", "--method", "npair", "--seed", "0", "--label-fraction", "1")
    while not list((tmp_path / "home").glob("encoders/*")):  # a process has begun to pretrain, and locked the place
        time.sleep(0.1)
    process.kill()
    process.communicate()
    until_when = time.monotonic() + 20
    while subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, check=False).returncode == 0:
        assert time.monotonic() < until_when, "a process of the sweep goes on"
        time.sleep(0.1)


@pytest.mark.full
def test_two_sweeps_racing_on_one_folder_make_no_duplicate_and_two_shards_make_the_whole(whole, tmp_path):
    for folder, words in ((tmp_path / "race", ((), ())), (tmp_path / "shards", (("--shard", "1/2"), ("--shard", "2/2")))):
        both = [start(folder, *more) for more in words]
        for process in both:
            _, said = process.communicate()
            assert process.returncode == 0, said
        assert science(folder) == science(whole)
        assert sorted(p.name[16:] for p in (folder / "runs").iterdir()) == [".json"] * 6 + [".npz"] * 6


@pytest.mark.full
def test_a_cell_over_its_memory_limit_is_stopped_and_recorded(tmp_path):
    process = start(tmp_path, "--memory-limit", "50", "--method", "npair", "--seed", "0", "--label-fraction", "1", "--json")
    process.communicate()
    assert process.returncode == 1
    (record,) = Store(tmp_path / "runs").records()
    assert record.status == "failed"
    assert (record.reason or "").startswith("stopped at the memory limit of 50 MiB (it held ")


@pytest.mark.parametrize("before", [None, "glibc.malloc.arena_max=2", "glibc.malloc.hugetlb=0"])
def test_workers_start_with_their_threads_and_huge_pages_and_leave_no_trace(monkeypatch, before):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if before:
        monkeypatch.setenv("GLIBC_TUNABLES", before)
    expected = [before] if before == "glibc.malloc.hugetlb=0" else [*([before] if before else []), "glibc.malloc.hugetlb=1"]
    with workers.environment(threads=3):
        assert os.environ["OMP_NUM_THREADS"] == "3"
        assert os.environ["GLIBC_TUNABLES"].split(":") == expected
        with workers.environment(threads=3):
            assert os.environ["GLIBC_TUNABLES"].split(":") == expected
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert os.environ.get("GLIBC_TUNABLES") == before
