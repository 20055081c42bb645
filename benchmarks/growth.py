"""Growth: what a step takes as the batch, the queue, the table or the network grows.

On tables at budget small (width 8), one quantity at a time. Every point is the median of processes of their own (at most three,
one for each round): the median of a few steps, and the most memory beyond what the process held when it had only the data.
Batch and width: letter; queue and rows: a made-up table of 16 numbers a row in a Parquet file, of 393,216 rows for the queue.
The seconds before the first step are those of reading, splitting and fitting, and of making the network.

A hundred MiB and more of the memory are torch's own, loaded at the first step whatever the size; they hide the smaller slopes.

Grey lines have the slope to expect of large values. Batch: time 1, but 2 for NT-Xent (simclr), which compares all with all;
up to 8,192 rows the network still rules, and the slope is not reached. npair compares fewer pairs and is drawn with 1. Memory
1 for both, since NT-Xent keeps no matrix of all pairs. Queue: 1. Rows: 0 for a step and its memory, 1 for reading. Width: 2.
"""

import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench import RunSpec
from benchmarks.curve import Curve
from benchmarks.row import Row
from benchmarks.small import Cell
from benchmarks.timing import Spread, peak_mb

STEPS = 6
STEP, MEMORY, READING = "ms of a step", "MiB that it adds", "s before the first"
BATCHES = tuple(2**k for k in range(6, 14))
QUEUES = tuple(2**k for k in range(10, 17))
ROWS = (1_000, 10_000, 100_000, 1_000_000)
WIDTHS = (4, 8, 16, 32, 64)

Found = dict[str, float]


def rows(rounds: int) -> Iterator[Row | Curve]:
    """Curves, and a row with the exponent of each."""
    for curve in _curves(rounds):
        yield curve
        (low, _), (high, _) = curve.points[0], curve.points[-1]
        what = f"{curve.unit} against {curve.against}, {low:,.0f} to {high:,.0f}, {curve.name}: exponent of the upper half"
        yield Row(what, Spread.of([curve.slope()]), "", note=f"expected is {curve.expected:g}")


def _curves(rounds: int) -> Iterator[Curve]:
    common = {"modality": "tabular", "budget": "small", "device": "cpu", "threads": 1}
    letter = {**common, "dataset": "letter"}
    for method, power in (("npair", 1.0), ("simclr", 2.0)):
        found = {b: _measure({**letter, "method": method, "batch_size": b}, rounds) for b in BATCHES}
        yield _curve("batch", STEP, method, found, power)
        yield _curve("batch", MEMORY, method, found, 1.0)
    with TemporaryDirectory(prefix="bench-growth-") as folder:
        file = {"data": f"{folder}/rows.parquet", "target": "class"}
        write_table(Path(file["data"]), 6 * QUEUES[-1])  # a fifth is to test on; a queue holds at most a quarter of the rest
        queued = {**common, **file, "method": "mocon"}
        found = {k: _measure({**queued, "queue_size": k}, rounds) for k in QUEUES}
        yield _curve("queue", STEP, "mocon", found, 1.0)
        yield _curve("queue", MEMORY, "mocon", found, 1.0)
        found = {}
        for n in ROWS:
            write_table(Path(file["data"]), n)
            found[n] = _measure({**common, **file, "method": "npair+imix", "batch_size": 256}, rounds)
    yield _curve("rows", STEP, "npair+imix", found, 0.0)
    yield _curve("rows", MEMORY, "npair+imix", found, 0.0)
    yield _curve("rows", READING, "npair+imix", found, 1.0)
    found = {w: _measure({**letter, "method": "npair", "width": w}, rounds) for w in WIDTHS}
    yield _curve("width", STEP, "npair", found, 2.0)
    yield _curve("width", MEMORY, "npair", found, 2.0)


def _curve(against: str, unit: str, name: str, found: dict[int, Found], expected: float) -> Curve:
    return Curve(against, unit, name, [(float(x), f[unit]) for x, f in found.items()], expected)


def _measure(spec: dict[str, Any], rounds: int) -> Found:
    """Medians over rounds, each in a process of its own."""
    found = []
    for _ in range(min(rounds, 3)):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found.append(pool.apply(_point, (spec,)))
    return {name: median(f[name] for f in found) for name in found[0]}


def _point(spec: dict[str, Any]) -> Found:
    began = time.perf_counter()
    cell = Cell(RunSpec(**spec), STEPS + 1)
    reading = time.perf_counter() - began
    facts = cell.ready.facts
    for asked, name in (("batch_size", "effective_batch_size"), ("queue_size", "effective_queue_size")):
        assert spec.get(asked) in (None, facts[name]), f"{asked} {spec[asked]} became {facts[name]}"
    steps = cell.train()
    return {STEP: 1000 * median(steps), MEMORY: max(peak_mb() - cell.before, 1.0), READING: reading}


def write_table(path: Path, n: int) -> None:
    """16 numbers a row around the centre of one of four classes."""
    import numpy as np
    from pyarrow import table
    from pyarrow.parquet import write_table as to_parquet

    draw = np.random.default_rng(0)
    y = draw.integers(4, size=n)
    x = draw.standard_normal((n, 16), dtype=np.float32) + 0.5 * draw.standard_normal((4, 16), dtype=np.float32)[y]
    to_parquet(table({**{f"x{j}": x[:, j] for j in range(16)}, "class": np.array([*"abcd"])[y]}), path)
