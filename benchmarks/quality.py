"""Quality: what bf16 costs in accuracy.

Speed counts only where it costs no accuracy. Every run is made twice, in the precision that `auto` picks and in fp32, with
equal seeds, budget small, all rows and labels, linear probe on the test rows. Shown is the mean of the paired differences over
five seeds with its 95 % t-interval; the gate is passed unless the whole interval lies below zero, so its goal is about the
upper end. Probes and losses, the networks of each kind of data, and (in bf16) convolutions of pictures side by side differ
between the two; views are computed in fp32 in both. Packing without padding and the mean over places are the same in both;
tests compare them with torch's own.

The transformer takes base_lr 0.01 and 50 steps: at the recipe's 0.5 it collapses in both precisions. Its row and that of mocon
were run apart from the others, by the same code.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

from bench import RunSpec, perf
from bench.stats import paired_difference
from bench.store import Store
from bench.sweep import Cell, cells, run_cells
from benchmarks.row import Row
from benchmarks.timing import Spread

CORES = 2
SEEDS = range(5)
RUNS = (
    RunSpec(modality="images", dataset="mnist5k", method="npair+imix"),
    RunSpec(modality="tabular", dataset="letter", method="npair+imix"),
    RunSpec(modality="speech", dataset="espeak_words", method="npair+imix"),
    RunSpec(modality="text", dataset="langid", method="npair+imix"),
    RunSpec(modality="text", dataset="langid", method="npair+imix", encoder="transformer", steps=50, base_lr=0.01),
    RunSpec(modality="tabular", dataset="letter", method="mocon+imix"),
)


def rows(rounds: int) -> Iterator[Row]:  # noqa: ARG001 - seeds are the rounds
    """See the module. Nothing, where `auto` is fp32 anyway."""
    if perf.pick_precision("auto", perf.pick_device("cpu")) == "fp32":
        return
    for run in RUNS:
        ours, exact = (_scores(run.replace(precision=precision, device="cpu")) for precision in ("bf16", "fp32"))
        found = paired_difference(ours, exact)
        assert found is not None
        half = 100 * (found.half or 0.0)
        points = Spread(100 * found.mean, 100 * found.mean - half, 100 * found.mean + half)
        means = " and ".join(f"{100 * mean(s.values()):.2f} in {name}" for name, s in (("bf16", ours), ("fp32", exact)))
        what = f"{_name(run)}: bf16 minus fp32, points of accuracy"
        yield Row(what, points, "", ">= 0", means, judged="high")


def _name(run: RunSpec) -> str:
    unlike = (run.encoder, run.steps and f"{run.steps} steps", run.base_lr and f"base_lr {run.base_lr}")
    parts = (run.modality, run.dataset, run.method, *unlike)
    return ", ".join(part for part in parts if part)


def _scores(run: RunSpec) -> dict[int, float]:
    """Test score by seed; encoders that were trained before are not used."""
    with TemporaryDirectory() as folder:
        os.environ["BENCH_HOME"] = str(Path(folder) / "home")
        found = run_cells(cells(run.replace(seed=s) for s in SEEDS), Store(Path(folder) / "records"), event=_quiet)
    scores = {record.seed: record.score for record in found if record.score is not None}
    if len(scores) < len(SEEDS):
        raise SystemExit(f"{_name(run)}, {run.precision}: {next(r.reason for r in found if r.score is None)}")
    return scores


def _quiet(cell: Cell, stage: str, step: int, steps: int, loss: float) -> None:
    """Nothing is printed between rows."""
