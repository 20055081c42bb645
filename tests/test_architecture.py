"""The layout as a law: stages look only backwards, plug-ins touch only their seam, light commands load no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bench
from bench import STAGES, catalog, tables

ROOT = Path(bench.__file__).parents[1]
METHODS = sorted((ROOT / "bench" / "methods").glob("*.py"))
MODALITIES = sorted((ROOT / "modalities").rglob("*.py"))
PLUG_INS = [(package, name) for package in (catalog.MODALITIES, catalog.METHODS) for name in catalog.names(package)]


def imported(path: Path) -> set[str]:
    """Dotted names of every module that a file imports, wherever in the file; `from a import b` counts as a.b too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def stages(path: Path) -> set[str]:
    """The stages of `bench` that a file imports, by name; `bench.run` and the like count as where they come from."""
    names = {dotted.split(".")[1] for dotted in imported(path) if dotted.startswith("bench.")}
    aliases = {short: module.removeprefix("bench.") for short, module in bench._WHERE.items()}
    return {aliases.get(n, n) for n in names} - {"__version__", "STAGES"}


def test_every_file_of_bench_is_a_stage_and_every_stage_is_a_file():
    files = {p.stem for p in (ROOT / "bench").glob("*.py")} - {"__init__", "__main__"}
    assert files == set(STAGES)
    assert len(STAGES) == len(set(STAGES))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_only_earlier_stages(stage):
    assert stages(ROOT / "bench" / f"{stage}.py") <= set(STAGES[: STAGES.index(stage)])


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_imports_a_plug_in(stage):
    """They are found by name, through the catalogue."""
    assert not [n for n in imported(ROOT / "bench" / f"{stage}.py") if n.startswith(("modalities", "bench.methods"))]


@pytest.mark.parametrize("path", METHODS, ids=lambda p: p.name)
def test_a_method_imports_only_its_seam_and_torch(path):
    assert stages(path) <= {"adapter", "method", "mixing", "objective", "heads", "methods"}
    assert {name.split(".")[0] for name in imported(path)} <= {"bench", "torch", "functools", "math"}


@pytest.mark.parametrize("path", MODALITIES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_modality_imports_only_its_seam_of_bench(path):
    assert stages(path) <= {"adapter", "encoders", "home", "seeds", "errors", "spec"}


def test_the_controls_that_tables_pin_are_those_of_the_catalogue():
    cards = catalog.controls()
    assert {m.partition("+")[0] for m in tables.CONTROLS} == set(cards)
    assert {f"{name}+{mixer}" for name, card in cards.items() for mixer in card["mixers"]} <= set(tables.CONTROLS)
    assert {name for name, card in cards.items() if "views" not in card["needs"]} == tables.VIEWLESS


@pytest.mark.parametrize(("package", "name"), PLUG_INS)
def test_a_plug_in_starts_with_a_literal_card(package, name):
    body = ast.parse(catalog._source(package, name).read_text(encoding="utf-8")).body
    body = body[1:] if isinstance(body[0], ast.Expr) else body  # after the docstring
    first = next(node for node in body if not isinstance(node, ast.Import | ast.ImportFrom))
    assert isinstance(first, ast.Assign)
    assert first.targets[0].id == "CARD"
    assert ast.literal_eval(first.value) == catalog.card(package, name)


@pytest.mark.parametrize(("package", "name"), PLUG_INS)
def test_a_plug_in_offers_the_constant_that_the_catalogue_asks_for(package, name):
    for library in catalog.card(package, name).get("libraries", ()):
        pytest.importorskip(library)
    assert catalog.find(package, name) is not None


@pytest.mark.parametrize("module", ["bench", *(f"bench.{m}" for m in ("cli", "spec", "recipes", "listing", "leaderboard"))])
def test_importing_a_light_module_loads_no_torch(module):
    """In a fresh interpreter. Neither do the libraries come along that take long to load."""
    code = f"import sys, {module}; print(sorted({{'torch', 'sklearn', 'pandas', 'scipy.optimize'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (found.stdout, found.stderr) == ("[]\n", "")


def test_the_public_names_are_lazy_and_a_wrong_one_is_named():
    assert bench.RunSpec is __import__("bench.spec", fromlist=["RunSpec"]).RunSpec
    with pytest.raises(AttributeError, match="module 'bench' has no attribute 'Runspec'; it offers RunSpec, Record, run"):
        _ = bench.Runspec
