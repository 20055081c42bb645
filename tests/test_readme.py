"""What a reader of the README trusts is so: its commands, its Python, its sample output, its lists of files and options."""

import importlib
import io
import re
import shlex
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from records import make_record
from rich.console import Console

from bench import STAGES, RunSpec, adapter, cli, run
from bench.grid import single
from bench.prepare import load_data, prepare
from bench.report import show_table, verdicts
from bench.store import Store

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OTHER = ("pip", "uv", "tox", ".ci/run")  # commands of the README that are not ours


def blocks(language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def command_lines() -> Iterator[list[str]]:
    """Every command of the bash blocks as words, without comments."""
    for block in blocks("bash"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            while words:
                end = words.index("&&") if "&&" in words else len(words)
                yield words[:end]
                words = words[end + 1 :]


COMMANDS = list(command_lines())
OURS = [words[3:] for words in COMMANDS if words[:3] == ["python", "-m", "bench"]]
METHOD_FILES = [b for b in blocks("python") if "\nMETHOD = " in b]
PYTHON = [b for b in blocks("python") if b not in METHOD_FILES]


def sub_parsers() -> dict[str, ArgumentParser]:
    (commands,) = (a for a in cli.parser()._actions if a.choices)
    return dict(commands.choices)


def test_there_is_something_to_check():
    assert len(OURS) > 10
    assert len(METHOD_FILES) == 1
    assert PYTHON


def test_every_command_is_ours_or_a_tool_of_pythons():
    assert all(words in [["python", "-m", "bench", *ours] for ours in OURS] or words[0] in OTHER for words in COMMANDS)


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_a_command_parses(words):
    cli.parser().parse_args(words)


def test_every_command_of_ours_is_in_the_readme():
    assert {words[0] for words in OURS} == set(sub_parsers())


def test_every_option_the_readme_names_is_in_a_help_text():
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README)) - {"--torch-backend"}
    helped = {o for sub in sub_parsers().values() for o in re.findall(r"--[a-z][a-z-]*", sub.format_help())}
    assert len(named) > 10
    assert named <= helped


def test_the_first_block_is_the_main_job():
    assert blocks("bash")[0].strip() == "pip install -e . && python -m bench run --modality tabular --method imix"


def test_every_tox_environment_the_readme_names_exists():
    menu = (ROOT / "tox.ini").read_text(encoding="utf-8")
    for words in COMMANDS:
        if words[:2] == ["tox", "-e"]:
            assert f"[testenv:{words[2]}]" in menu


def test_uv_knows_the_option_for_the_cpu_wheel():
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed")
    assert "--torch-backend" in subprocess.run([uv, "pip", "install", "--help"], capture_output=True, text=True).stdout


def test_relative_links_lead_to_files():
    for place in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / place).is_file(), place


# The code map and the plug-ins


def test_the_code_map_lists_every_file_once_in_the_order_of_the_stages():
    table = README.partition("| `bench/` |")[2].partition("\n\n")[0]
    named = re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE)
    present = {p.name + "/" * p.is_dir() for p in (ROOT / "bench").iterdir() if not p.name.startswith("__pycache__")}
    assert sorted(named) == sorted(present)
    assert [n.removesuffix(".py") for n in named if n.removesuffix(".py") in STAGES] == list(STAGES)


def test_the_readme_names_what_an_adapter_provides():
    text = README.partition("### A new modality")[2].partition("\n## ")[0]
    assert {f"`{name}`" for name in adapter.Adapter.__abstractmethods__} <= set(re.findall(r"`\w+`", text))


# The sample of the main command


LAST = re.compile(
    r"i-Mix [+−]\d+\.\d points over npair, npair\+imix [+−]\d+\.\d points against [\w+]+, the best control"
    r"(, [+−]\d+\.\d points against supervised)?; one seed, no interval\."
)
METHODS = ("classical", "supervised", "npair+imix", "npair", "supervised+mixup", "random", "raw")


def columns(table: str) -> list[str]:
    """The headings of a printed table."""
    heading = next(line for line in table.splitlines() if line.startswith("┃"))
    return [cell.strip() for cell in heading.strip("┃").split("┃")]


@pytest.fixture
def sample() -> str:
    (block,) = (b for b in blocks("text") if "┃" in b)
    return block


@pytest.fixture
def printed() -> str:
    """What the command prints today, from made-up scores."""
    rows = [make_record(method=m, score=0.9 - i / 20, val_score=0.5, views="domain") for i, m in enumerate(METHODS)]
    with io.StringIO() as file:
        show_table(rows, "npair+imix", Console(file=file, width=140))
        return file.getvalue() + "\n".join(verdicts(rows, "npair+imix"))


def test_the_sample_has_the_columns_that_are_printed(sample, printed):
    assert columns(sample) == columns(printed)


def test_the_sample_has_a_row_for_the_method_its_base_and_every_control(sample, printed):
    for text in (sample, printed):
        assert sorted(re.findall(r"^│ (\S+) +│", text, flags=re.MULTILINE)) == sorted(METHODS)


def test_the_sample_ends_in_the_words_that_are_printed(sample, printed):
    for text in (sample, printed):
        assert LAST.fullmatch(text.strip().splitlines()[-1])


def test_the_sample_agrees_with_its_own_last_line(sample):
    score = {m: float(s) for m, s in re.findall(r"^│ (\S+) +│ +([\d.]+)", sample, flags=re.MULTILINE)}
    said = float(re.search(r"i-Mix ([+−]\d+\.\d)", sample)[1].replace("−", "-"))
    assert said == pytest.approx(score["npair+imix"] - score["npair"], abs=0.11)  # three roundings to 0.1


def test_the_readme_explains_every_column_and_row(sample):
    text = README.partition("## What it prints")[2].partition("\n## ")[0]
    assert all(f"**{name}**" in text for name in [*columns(sample), "balanced"])
    assert all(f"`{name}`" in text for name in METHODS)


# Running what stands there


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the README's commands name."""
    folder = tmp_path_factory.mktemp("readme")
    for name, n in (("train.csv", 90), ("test.csv", 30)):
        rows = [
            f"{i % 3 + i % 7 / 7:.3f},{'uvw'[i % 3 - i % 5 // 4]},some {'klm'[i % 3]} {i % 4},{'abc'[i % 3]}" for i in range(n)
        ]
        (folder / name).write_text("\n".join(["size,kind,words,column", *rows]) + "\n")
    toy = load_data(RunSpec(dataset="toy"))
    columns = [*toy.meta["numeric"], *toy.meta["categorical"]]
    (folder / "rows.csv").write_text(",".join(columns) + "\n" + ",".join("1" for _ in columns) + "\n")
    shutil.copytree(ROOT / "leaderboards", folder / "leaderboards")
    return folder


LIBRARIES = {
    "images": ("PIL", "mlxtend"),
    "speech": ("soundfile", "torchaudio", "espeakng_loader"),
    "text": ("tokenizers", "babel"),
}
"""What the commands of a modality need; they are skipped without."""


def want_libraries(words: list[str], folder: Path) -> None:
    """Skip the test without the libraries of a command's modality, and make the folders that it names."""
    wanted = LIBRARIES.get(next((m for m in LIBRARIES if m in words), ""), ())
    for library in (*wanted, *(["plotnine"] if "diamonds" in words else [])):
        pytest.importorskip(library)
    for name in {"pictures", "more_pictures", "recordings"} & set(words):
        for i in range(36):
            place = folder / name / "abc"[i % 3]
            place.mkdir(parents=True, exist_ok=True)
            if name == "recordings":
                tone = np.sin(np.arange(16000) * (i % 3 + 1) / 20) * np.random.default_rng(i).uniform(0.2, 0.9)
                importlib.import_module("soundfile").write(place / f"{i}.wav", tone, 16000)
            else:
                pixels = np.random.default_rng(i).integers(0, 85, (16, 16, 3), np.uint8) + np.uint8(85 * (i % 3))
                importlib.import_module("PIL.Image").fromarray(pixels).save(place / f"{i}.png")


def shortened(words: list[str]) -> list[str]:
    """The same command in seconds: smoke budget, generated rows where no file is named, two seeds, no controls."""
    if words[0] == "sweep":
        return [*words, *([] if "--dry-run" in words else ["--dry-run"])]
    if words[0] != "run":
        return words
    short = [*words, "--alone", "--budget", "smoke"] + (["--seeds", "2"] if "--seeds" in words else [])
    return short if "--data" in words else [*short, "--dataset", "toy"]


RUNS = [words for words in OURS if words[0] == "run" and not any("align_uniform" in w for w in words)]
WORKED = [words for words in OURS if words[0] != "run"] + [
    RUNS[0],
    *(w for w in RUNS if "--data" in w),
    *(w for w in RUNS if "cifar10" in w),
]


@pytest.mark.parametrize("words", RUNS, ids=" ".join)
def test_a_run_can_be_prepared_on_its_own_data(words, workplace, monkeypatch):
    if "cifar10" in words:
        pytest.skip("cifar10 is downloaded")
    want_libraries(words, workplace)
    monkeypatch.chdir(workplace)
    assert len(prepare(single(cli._given(cli.parser().parse_args(words)))[0]).labels) > 2


@pytest.mark.full
@pytest.mark.parametrize("words", WORKED, ids=" ".join)
def test_a_command_does_its_work(words, workplace, monkeypatch, capsys):
    want_libraries(words, workplace)
    monkeypatch.chdir(workplace)
    record = run(RunSpec(dataset="toy", budget="smoke", method="npair"), store=Store("runs"))
    with pytest.raises(SystemExit) as ended:
        cli.main([record.run_id if w == "RUN_ID" else w for w in shortened(words)])
    assert ended.value.code == 0
    assert capsys.readouterr().out


@pytest.mark.full
@pytest.mark.parametrize("block", PYTHON)
def test_python_runs(block, capsys):
    exec(block.replace("RunSpec(", 'RunSpec(budget="smoke", '), {})
    assert capsys.readouterr().out


@pytest.mark.full
def test_the_method_of_the_readme_is_one_file_that_runs(tmp_path):
    (command,) = (words for words in OURS if "align_uniform" in " ".join(words))
    for package in ("bench", "modalities"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "bench" / "methods" / "align_uniform.py").write_text(METHOD_FILES[0], encoding="utf-8")

    def python_m_bench(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "bench", *words], cwd=tmp_path, capture_output=True, text=True)

    done = python_m_bench(*shortened(command))
    assert done.returncode == 0, done.stderr
    assert "align_uniform+inputmix" in done.stdout
    assert "align_uniform" in python_m_bench("list", "methods").stdout
    refused = python_m_bench("run", "--method", "align_uniform+imix")
    assert refused.returncode == 2
    assert "its loss has no instance labels to mix" in refused.stderr
