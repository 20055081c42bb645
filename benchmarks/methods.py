"""Methods: what an optimiser step of each costs.

On letter at budget small, each relative to `npair`, and every mixer relative to its method without one. In its turn each method
takes ten steps. Hard negatives are mixed from the first step, which a run does after a twentieth of its steps.
"""

import os
from collections.abc import Iterator
from tempfile import TemporaryDirectory
from unittest.mock import patch

from bench import RunSpec, catalog
from bench.spec import parse_method, settings_used
from benchmarks.row import Row
from benchmarks.small import Cell
from benchmarks.timing import Spread, ratio, turns

BASE, STEPS = "npair", 10


def rows(rounds: int) -> Iterator[Row]:
    """See the module."""
    with TemporaryDirectory() as folder, patch.dict(os.environ, BENCH_HOME=folder):
        cells = {
            name: Cell(RunSpec(method=name, threads=1, device="cpu", **_at_once(name)), STEPS) for name in names("tabular")
        }
        times = turns({name: cell.train for name, cell in cells.items()}, rounds)
    yield Row(f"a step of {BASE}", Spread.of([1000 * t / STEPS for t in times[BASE]]), "ms")
    for name in times:
        if name != BASE:
            over = parse_method(name).base if "+" in name else BASE
            yield Row(f"{name} over {over}", ratio(times[name], times[over]), "x")


def names(modality: str) -> list[str]:
    """Every method, and every method under every single mixer that it takes under its own name."""
    found = []
    for base in catalog.names(catalog.METHODS):
        mixers = [m for m, runs_as in catalog.card(catalog.METHODS, base)["mixers"].items() if runs_as == base]
        grid = catalog.card(catalog.MODALITIES, modality).get("grid")
        found += [base, *(f"{base}+{m}" for m in mixers if grid or not catalog.mixers()[m].get("grid"))]
    return found


def _at_once(name: str) -> dict[str, float]:
    return {"hard_start": 0.0} if "hard_start" in settings_used(RunSpec(method=name), parse_method(name)) else {}
