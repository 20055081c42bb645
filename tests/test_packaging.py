"""What is installed is what is here; versions, extras and Pythons say the same wherever they stand."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import bench
from bench import catalog

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
TOX = configparser.ConfigParser(interpolation=None)
TOX.read(ROOT / "tox.ini", encoding="utf-8")
WORKFLOW = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
MATRIX = {env.strip() for env in TOX["tox"]["labels"].partition("=")[2].split(",")}
PYTHONS = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.fullmatch(r".* :: 3\.\d+", c)]


def environments() -> set[str]:
    """Every environment that tox.ini describes."""
    named = {s.removeprefix("testenv:") for s in TOX.sections() if s.startswith("testenv:")}
    return (named - {"py3{11,12,13}"}) | {"py311", "py312", "py313"}


def test_one_version_everywhere():
    version = PROJECT["version"]
    assert bench.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_one_licence_everywhere():
    assert PROJECT["license"] == "MIT"
    assert "\nlicense: MIT\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License\n")


def test_the_extra_that_a_card_names_exists_and_all_has_it():
    needed = {catalog.card(catalog.MODALITIES, name).get("extra", name) for name in catalog.names(catalog.MODALITIES)}
    assert needed <= EXTRAS.keys()
    (everything,) = EXTRAS["all"]
    assert set(re.search(r"\[(.*)\]", everything)[1].split(",")) == EXTRAS.keys() - {"all", "test", "perf"}


def test_every_extra_is_tested_alone():
    for extra in EXTRAS.keys() - {"all", "test", "perf"}:
        assert set(TOX[f"testenv:extra-{extra}"]["extras"].split(", ")) == {extra, "test"}
        assert f"extra-{extra}" in MATRIX


def test_every_tox_environment_says_what_it_does():
    for section in TOX.sections():
        assert not section.startswith("testenv:") or TOX[section].get("description"), section


def test_everything_on_the_menu_but_repairs_and_measurements_is_run_by_continuous_integration():
    default = {env.strip() for env in TOX["tox"]["env_list"].split(",")}
    assert default | MATRIX == environments() - {"fix", "perf"}
    on_the_runner = set(re.search(r" env: \[(.*)\]", WORKFLOW)[1].split(", ")) | set(re.findall(r" env: ([\w-]+) }", WORKFLOW))
    assert on_the_runner == environments() - {"fix", "perf"}


def test_one_range_of_pythons_everywhere():
    assert PROJECT["requires-python"] == f">={PYTHONS[0]},<3.{int(PYTHONS[-1].removeprefix('3.')) + 1}"
    assert {f"py{p.replace('.', '')}" for p in PYTHONS} == {env for env in MATRIX if env.startswith("py")}
    assert TOX["testenv:lowest"]["base_python"] == f"python{PYTHONS[0]}"


def test_the_script_of_continuous_integration_can_be_started():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    bash = shutil.which("bash")
    if bash is not None:
        subprocess.run([bash, "-n", str(ROOT / ".ci" / "run")], check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources with what is installed here."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for package in ("bench", "modalities"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, str(folder)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("contrastive_bench-*.whl"))


@pytest.mark.full
def test_the_wheel_holds_every_file_of_both_packages_and_nothing_else(wheel):
    packed = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    here = {
        str(path.relative_to(ROOT))
        for package in ("bench", "modalities")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == here
    assert {"bench/recipes.toml", "modalities/data/README.md", "modalities/data/letter-train.parquet"} <= packed


@pytest.mark.full
def test_the_wheel_carries_licence_script_and_extras(wheel):
    with zipfile.ZipFile(wheel) as archive:
        info = {n.partition(".dist-info/")[2]: archive.read(n).decode() for n in archive.namelist() if ".dist-info/" in n}
    assert info["licenses/LICENSE"] == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "bench = bench.cli:main" in info["entry_points.txt"]
    assert {f"Provides-Extra: {extra}" for extra in EXTRAS} <= set(info["METADATA"].splitlines())


@pytest.mark.full
def test_the_unpacked_wheel_runs_on_its_own_embedded_data(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    words = ["run", "--method", "raw", "--alone", "--budget", "smoke", "--label-fraction", "0.01"]
    done = subprocess.run([sys.executable, "-m", "bench", *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "tabular/letter: 160 labelled of 16000 training rows" in done.stdout


@pytest.mark.full
def test_what_is_skipped_for_missing_data_is_counted(tmp_path):
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "def test_that_passes(): pass\n"
        "def test_that_wants_data(bench_data): pass\n"
        "def test_that_wants_a_library(): pytest.importorskip('no_such_library')\n"
    )
    counted = []
    for place in (tmp_path / "nowhere", tmp_path):
        surroundings = {**os.environ, "BENCH_TALLY": str(tmp_path / "tally"), "BENCH_DATA": str(place)}
        words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_some.py"]
        done = subprocess.run(words, cwd=tmp_path, env=surroundings, capture_output=True, text=True)
        counted.append(re.findall(r"(\d+) tests skipped for missing data", done.stdout))
    assert counted == [["1"], []]
    assert (tmp_path / "tally").read_text() == "1 0 0 2 1\n2 0 0 1 0\n"  # passed failed errors skipped for-missing-data
