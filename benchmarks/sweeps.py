"""Sweeps: what one pretraining gives for its price, and whether both cores are busy.

`python -m bench sweep` in processes of their own, tables at budget small, start-up and writing of records included. First one
cell, and the same with three label fractions and three protocols, which pretrain once: CPU-seconds of all processes. Then six
methods and two seeds, two side by side on two cores: CPU-seconds over the seconds that pass, twice.
"""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.processes import Cost, bench
from benchmarks.row import Row
from benchmarks.timing import Spread, ratio

CORES = 2
LABELS, PROTOCOLS = ("0.01", "0.1", "1"), ("linear@1", "knn@1", "ridge@1")
METHODS = ("npair", "npair+imix", "mocon", "mocon+imix", "simclr", "supervised")


def rows(rounds: int) -> Iterator[Row]:
    """See the module."""
    one, many, busy = [], [], []
    with TemporaryDirectory(prefix="bench-sweeps-") as folder:
        fresh = (Path(folder) / str(i) for i in count())
        for _ in range(min(rounds, 3)):
            one.append(_sweep(next(fresh), "--method", "npair+imix").cpu)
            cells = ("--label-fraction", *LABELS, "--protocol", *PROTOCOLS)
            many.append(_sweep(next(fresh), "--method", "npair+imix", *cells).cpu)
        for _ in range(min(rounds, 2)):
            spent = _sweep(next(fresh), "--method", *METHODS, "--seed", "0", "1", "--jobs", "2")
            busy.append(100 * spent.cpu / (2 * spent.wall))
    what = f"{len(LABELS)} label fractions x {len(PROTOCOLS)} protocols on one pretraining"
    yield Row(f"{what}, over one cell", ratio(many, one), "x", "<= 1.1")
    yield Row("one cell", Spread.of(one), "s")
    yield Row(f"{2 * len(METHODS)} cells on two cores: cores busy", Spread.of(busy), "%", ">= 90")


def _sweep(folder: Path, *cells: str) -> Cost:
    """A sweep that finds nothing done."""
    common = ("--modality", "tabular", "--dataset", "letter", "--budget", "small", "--device", "cpu")
    return bench("sweep", *common, *cells, "--records", str(folder / "runs"), home=folder / "home")
