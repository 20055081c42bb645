"""The command line as a user meets it: messages and exit codes for bad input, what is printed, what is kept."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from records import make_record

from bench import RunSpec
from bench.cli import _asked, main, parser
from bench.grid import expand
from bench.pages import command
from bench.prepare import prepare
from bench.publish import publish
from bench.store import Store

PROMISED = (
    "run_id", "status", "modality", "dataset", "method", "views", "pretrain_fraction", "label_fraction", "seed", "protocol",
    "metric", "score", "val_score", "n_train", "n_labels", "n_test", "steps", "batch_size", "seconds", "samples_per_s",
    "peak_memory_mb", "device", "precision", "threads",
)  # fmt: skip
SMOKE = ("--dataset", "toy", "--budget", "smoke", "--precision", "fp32")


def bench(*arguments: str) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return int(stop.value.code or 0)


def table(folder: Path, text: str, name: str = "rows.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--modality", "tabula"], ["unknown modality 'tabula'", "Did you mean 'tabular'?"]),
        (["--dataset", "lettr"], ["unknown data set 'lettr'", "Did you mean 'letter'?"]),
        (["--method", "imx"], ["unknown method 'imx'", "Did you mean 'imix'?"]),
        (["--method", "npair+imx"], ["unknown mixer 'imx'", "Did you mean 'imix'?"]),
        (["--method", "npair+mixup"], ["npair+mixup makes no sense", "npair takes imix, cutmix, inputmix"]),
        (["--views", "domian"], ["unknown views 'domian'", "Did you mean 'domain'?"]),
        (["--budget", "huge"], ["unknown budget 'huge'", "paper, small, smoke"]),
        (["--protocol", "linear@9"], ["unknown protocol 'linear@9'", "Did you mean 'linear@1'?"]),
        (["--recipe", "imix"], ["unknown recipe 'imix'", "imix-higgs"]),
        (["--methd", "imix"], ["unknown option '--methd'", "Did you mean '--method'?"]),
        (["--steps", "ten"], ["invalid int value: 'ten'"]),
        (["--steps", "0"], ["steps 0 is too small", "at least 1"]),
        (["--steps", "5", "--epochs", "2"], ["steps 5 and epochs 2", "Give one of them"]),
        (["--label-fraction", "0"], ["label_fraction 0 is outside (0, 1]"]),
        (["--label-fraction", "1.5"], ["label_fraction 1.5 is outside (0, 1]"]),
        (["--pretrain-fraction", "0.1", "--label-fraction", "0.5"], ["label_fraction 0.5 is above pretrain_fraction 0.1"]),
        (["--fraction", "0.1", "--label-fraction", "0.1"], ["fraction sets both fractions", "label_fraction stands beside it"]),
        (["--method", "npair", "--queue-size", "100"], ["queue_size is set to 100", "nothing here uses it", "Leave it out"]),
        (["--mask-rate", "1.2"], ["mask_rate 1.2 is outside [0, 1]"]),
        (["--seeds", "0"], ["seeds 0 must be a whole number of at least 1"]),
        (["--seeds", "3", "--seed", "1"], ["seed and seeds 3 both say which seeds"]),
        (["--jobs", "0"], ["--jobs 0 is too small", "at least 1"]),
        (["--time-limit", "0"], ["--time-limit 0 is too small", "above 0 seconds"]),
        (["--method", "imix+cutmix"], ["cutmix and imix both mix the query"]),
        (["--method", "npair+cutmix"], ["cutmix cuts boxes out of a grid", "which tabular has not", "Use imix"]),
        (["--records", __file__], ["is a file; it must name a folder"]),
        (["--test", "t.csv"], ["--test and --target describe a file of yours", "--data FILE"]),
        (["--dataset", "toy", "--label-fraction", "0.001"], ["leaves 0 labelled rows", "Raise label_fraction"]),
    ],
)
def test_a_wrong_request_is_answered_with_what_came_what_was_wanted_and_code_2(
    arguments: list[str], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("run", *arguments) == 2
    answer = capsys.readouterr()
    assert all(words in answer.err for words in said), answer.err
    assert answer.out == ""


@pytest.mark.parametrize(
    ("text", "target", "said"),
    [
        ("a,b,kind\n" + "1,2,x\n3,inf,y\n" * 10, "kind", ["'b'", "inf"]),
        ("a,b,kind\n" + "1,2,x\n3,4,x\n" * 10, "kind", ["1 class"]),
        ("a,b,kind\n" + "1,2,x\n3,4,y\n" * 10, "knid", ["knid", "Did you mean 'kind'?"]),
        ("a,b,price\n" + "".join(f"1,2,{i}.5\n" for i in range(30)), "price", ["'price'", "30 different values"]),
        ("", "kind", ["rows.csv"]),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_reason(
    text: str, target: str, said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("run", "--data", table(tmp_path, text), "--target", target, "--records", str(tmp_path / "runs")) == 2
    answer = capsys.readouterr().err
    assert all(words in answer for words in said), answer
    assert "Traceback" not in answer


def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("run", "--data", str(tmp_path / "none.csv"), "--target", "kind") == 2
    assert "none.csv" in capsys.readouterr().err


def test_a_sweep_file_with_a_misspelt_key_is_refused_with_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("sweep", table(tmp_path, 'methds = ["npair"]\n', "s.toml")) == 2
    assert "unknown key 'methds'" in capsys.readouterr().err


def test_a_sweep_value_of_the_wrong_type_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("sweep", table(tmp_path, 'method = "npair"\nsteps = "many"\n', "s.toml")) == 2
    assert "steps is 'many', a str; it must be of type int" in capsys.readouterr().err


def test_a_sweep_is_every_combination_with_seeds_outermost() -> None:
    specs = expand({"methods": ["npair", "raw"], "fractions": [0.1, 1.0], "seeds": [0, 1]})
    assert len(specs) == 8
    assert [s.seed for s in specs] == [0] * 4 + [1] * 4
    assert {(s.pretrain_fraction, s.label_fraction) for s in specs} == {(0.1, 0.1), (1.0, 1.0)}


def test_an_unknown_run_is_said_with_where_to_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("show", "abc", "--records", str(tmp_path)) == 2
    assert "no run in" in capsys.readouterr().err


def test_published_runs_are_shown_and_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make_record()
    Store(tmp_path / "made").put(record)
    publish(Store(tmp_path / "made"), tmp_path / "boards")
    where = ("--records", str(tmp_path / "runs"), "--boards", str(tmp_path / "boards"))
    assert bench("show", record.run_id[:8], *where) == 0
    assert json.loads(capsys.readouterr().out)["run_id"] == record.run_id
    monkeypatch.setattr("bench.experiment.run_afresh", lambda again: again)
    assert bench("rerun", record.run_id, *where) == 0
    assert capsys.readouterr().out.startswith("identical: ")


def test_list_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("list") == 0
    shown = capsys.readouterr().out
    for name in (
        "letter",
        "adult",
        "npair",
        "mocon",
        "imix",
        "inputmix",
        "supervised+mixup",
        "imix-higgs",
        "smoke",
        "CC BY 4.0",
    ):
        assert name in shown


@pytest.mark.parametrize("command", [[], ["run"], ["sweep"], ["list"], ["show"], ["publish"], ["leaderboard"]])
def test_every_help_text_prints(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(*command, "--help") == 0
    assert "usage: python -m bench" in capsys.readouterr().out


def test_help_and_list_import_no_heavy_library() -> None:
    code = (
        "import sys, bench.cli\n"
        "for argv in (['--help'], ['list'], ['run', '--methd']):\n"
        "    try: bench.cli.main(argv)\n"
        "    except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'pydantic', 'rich', 'sklearn'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.full
def test_run_shows_the_method_beside_its_base_and_every_control_and_reuses_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--records", str(tmp_path / "runs"))
    assert bench("run", "--method", "imix", *SMOKE, *where) == 0
    shown = capsys.readouterr()
    methods = {"npair+imix", "npair", "random", "raw", "classical", "supervised", "supervised+mixup"}
    assert all(f"│ {name} " in shown.out for name in methods)
    last = shown.out.strip().splitlines()[-1]
    assert last.startswith("i-Mix ")
    assert "over npair" in last
    assert "one seed, no interval" in last
    assert {r.method for r in Store(tmp_path / "runs").records()} == methods
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "runs").iterdir()}
    assert bench("run", "--method", "imix", *SMOKE, *where, "--json") == 0
    shown = capsys.readouterr()
    assert "pretraining" not in shown.err
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "runs").iterdir()} == before
    rows = json.loads(shown.out)
    assert {row["method"] for row in rows} == methods
    assert all(not isinstance(value, dict | list) for row in rows for value in row.values())
    assert all(set(PROMISED) <= row.keys() for row in rows)
    imix = next(row for row in rows if row["method"] == "npair+imix")
    assert (imix["device"], imix["precision"], imix["steps"]) == ("cpu", "fp32", 30)
    assert imix["encoder_hash"] == imix["encoder_hash_after"]


@pytest.mark.full
def test_seeds_give_intervals_and_smoke_runs_are_not_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--records", str(tmp_path / "runs"))
    assert bench("sweep", "--method", "npair", "raw", *SMOKE, "--seed", "0", "1", *where) == 0
    assert "4 runs finished, 0 failed" in capsys.readouterr().out
    assert bench("sweep", "--method", "npair", "raw", *SMOKE, "--seed", "0", "1", *where, "--dry-run") == 0
    assert "4 cells, 4 done, 0 missing; 2 pretrainings" in capsys.readouterr().out
    assert bench("run", "--method", "npair", *SMOKE, "--seeds", "2", *where) == 0
    assert "2 seeds, 95 % t-intervals" in capsys.readouterr().out
    boards = ("--boards", str(tmp_path / "boards"))
    assert bench("publish", *where, *boards) == 0
    assert "smoke budget" in capsys.readouterr().out
    assert bench("leaderboard", *boards) == 2  # nothing was published
    assert "is no folder of boards" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe", "It must be a TOML file in UTF-8"),
        (b"seeds = [0, 1]\nseed = 3", "seeds and seed both say which seeds to run"),
        (b"fractions = [0.1]\nlabel_fraction = 0.1", "label_fraction stands beside it"),
        (b"methods = []", "methods is an empty list"),
    ],
)
def test_a_sweep_file_that_says_too_much_or_too_little_is_refused(tmp_path, capsys, content, said) -> None:
    (tmp_path / "sweep.toml").write_bytes(content)
    assert bench("sweep", str(tmp_path / "sweep.toml")) == 2
    assert said in capsys.readouterr().err


def test_a_run_takes_its_settings_from_a_file_and_options_replace_them(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('dataset = "toy"\nfraction = 0.5\nseeds = 3\nbudget = "paper"')
    arguments = parser().parse_args(["run", str(file), "--budget", "smoke", "--label-fraction", "0.25"])
    (spec,), seeds = _asked(arguments)
    assert seeds == 3
    assert spec == RunSpec(dataset="toy", budget="smoke", label_fraction=0.25)  # one fraction given replaces the file's both


def test_one_run_takes_one_value_of_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "settings.toml").write_text("label_fraction = [0.1, 1]")
    assert bench("run", str(tmp_path / "settings.toml")) == 2
    assert "label_fraction is a list; one run takes one value" in capsys.readouterr().err


def test_seeds_on_the_command_line_replace_those_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "settings.toml").write_text('dataset = "toy"\nseeds = 3')
    assert _asked(parser().parse_args(["run", str(tmp_path / "settings.toml"), "--seeds", "2"]))[1] == 2
    assert bench("run", str(tmp_path / "settings.toml"), "--seeds", "2", "--seed", "1") == 2
    assert "both say which seeds to run" in capsys.readouterr().err


def test_one_run_may_score_by_several_protocols(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "settings.toml").write_text('dataset = "toy"\nprotocols = ["linear@1", "knn@1", "knn@1"]')
    words = (["run", str(tmp_path / "settings.toml")], ["run", "--dataset", "toy", "--protocol", "linear@1", "knn@1"])
    for arguments in words:
        specs, _ = _asked(parser().parse_args(arguments))
        assert specs == [RunSpec(dataset="toy", protocol=p) for p in ("linear@1", "knn@1")]
    (tmp_path / "settings.toml").write_text("protocols = []")
    assert bench("run", str(tmp_path / "settings.toml")) == 2
    assert "protocols is an empty list" in capsys.readouterr().err


@pytest.mark.full
def test_several_protocols_share_one_training_and_have_a_table_and_a_line_each(tmp_path, capsys) -> None:
    words = ("--method", "npair", "--protocol", "linear@1", "knn@1", *SMOKE, "--records", str(tmp_path))
    assert bench("run", *words) == 0
    said = capsys.readouterr().out
    assert said.count("test accuracy") == 2
    assert re.findall(r"^(\S+): npair .* one seed, no interval", said, flags=re.MULTILINE) == ["linear@1", "knn@1"]
    assert said.count("Dropped a column with a single value") == 1
    found = [r for r in Store(tmp_path).records() if r.method == "npair"]
    assert {r.protocol for r in found} == {"linear@1", "knn@1"}
    assert len({(r.pretrain_id, r.encoder_hash) for r in found}) == 1


@pytest.mark.full
def test_a_cache_that_cannot_be_written_fails_with_its_reason(tmp_path, capsys, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "file"))
    assert bench("run", "--alone", "--method", "npair", *SMOKE, "--records", str(tmp_path / "runs")) == 1
    assert "Point BENCH_HOME to a folder that you may write to" in capsys.readouterr().out


def test_a_failure_before_any_data_has_one_id_however_the_numbers_are_written(tmp_path: Path) -> None:
    from bench.experiment import failure

    records = [failure(RunSpec(data="nowhere.csv", temperature=t), "no file") for t in (1, 1.0)]
    assert records[0].run_id == records[1].run_id
    assert Store(tmp_path).put(records[0])


@pytest.mark.full
def test_a_failed_cell_is_a_record_with_its_reason_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--records", str(tmp_path / "runs"))
    options = ("--method", "npair", "raw", *SMOKE, "--base-lr", "1e30", *where)
    assert bench("sweep", *options) == 1
    shown = capsys.readouterr().out
    assert "1 runs finished, 1 failed" in shown
    assert "the loss is nan" in shown
    by_status = {r.status: r for r in Store(tmp_path / "runs").records()}
    assert by_status["failed"].method == "npair"
    assert "smaller base_lr" in (by_status["failed"].reason or "")
    assert by_status["ok"].method == "raw"


@pytest.mark.full
def test_a_cell_over_its_time_limit_is_stopped_and_recorded(tmp_path: Path) -> None:
    where = ("--records", str(tmp_path / "runs"))
    options = ("--method", "npair", "--dataset", "toy", "--budget", "paper", "--time-limit", "3", *where)
    assert bench("run", "--alone", *options) == 1
    (record,) = Store(tmp_path / "runs").records()
    assert record.status == "failed"
    assert record.reason == "stopped at the time limit of 3 s"


@pytest.mark.parametrize(
    "asked",
    [
        {"label_fraction": 1 / 3, "recipe": "imix-covtype", "precision": "fp32", "threads": 2, "views": "agnostic"},
        {"method": "alignment", "keep_going": True, "pretrain_fraction": 0.7, "label_fraction": 0.1 + 0.2, "device": "cpu"},
        {"method": "classical", "protocol": "missing@1"},
    ],
)
def test_the_command_of_a_row_asks_for_the_same_run(asked: dict[str, object]) -> None:
    ready = prepare(RunSpec(dataset="toy", budget="small", **asked))  # type: ignore[arg-type]
    record = make_record(**ready.spec.settings(), **ready.facts)
    assert record.run_id == ready.run_id
    (again,), seeds = _asked(parser().parse_args(shlex.split(command(record, 3))[3:]))
    assert prepare(again).run_id == record.run_id
    assert (again.keep_going, again.recipe, seeds) == (ready.spec.keep_going, ready.spec.recipe, 3)


@pytest.mark.full
def test_a_run_again_is_identical(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--records", str(tmp_path / "runs"))
    assert bench("run", "--alone", "--method", "mocon+imix", *SMOKE, *where) == 0
    (record,) = Store(tmp_path / "runs").records()
    capsys.readouterr()
    assert bench("rerun", record.run_id[:6], *where) == 0
    assert capsys.readouterr().out.startswith("identical: ")


@pytest.mark.full
def test_your_own_table_runs_from_end_to_end(tmp_path: Path) -> None:
    rows = "\n".join(f"{i % 7},{i * i % 11},{'ab'[i % 2]},{'xyz'[i % 3]}" for i in range(120))
    mine = table(tmp_path, f"one,two,kind,label\n{rows}\n")
    where = ("--records", str(tmp_path / "runs"))
    assert bench("run", "--data", mine, "--target", "label", "--budget", "smoke", "--method", "imix", *where) == 0
    records = Store(tmp_path / "runs").records()
    assert {r.dataset for r in records} == {"rows"}
    assert len(records) == 7


def test_python_interface_runs_a_spec(tmp_path: Path) -> None:
    from bench import run

    store = Store(tmp_path)
    record = run(RunSpec(dataset="toy", budget="smoke", method="npair"), store=store)
    assert record.status == "ok"
    assert store.get(record.run_id) == record
    assert os.listdir(tmp_path)  # noqa: PTH208 - names are enough
