"""Memory: a small run of every modality, and a table of a million rows.

Each run is a process of its own. A small run is `npair+imix` on the modality's default data set with the batch and the network
of budget `small`, 30 steps and the probe, in an empty cache; the peak is that of the process, libraries included (torch alone
takes more than 400 MiB).

The table has 1,000,000 rows of 90 float32 columns, ten of them with gaps, and ten of text, in Parquet (about half a GiB):
`bench run --alone --data FILE` with the network of budget `small`, 100 steps, and `linear@1` on 800,000 labelled rows at seven
strengths, tested on 200,000. Measured is the command with all its processes at the moment when they hold most, which is
sampled five times a second; a page that several processes share counts once.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench import catalog
from benchmarks.processes import ROOT, bench
from benchmarks.row import Row
from benchmarks.timing import Spread

ROWS, NUMBERS, TEXTS, GAPS, CLASSES = 1_000_000, 90, 10, 10, 5
BLOCK = 50_000  # rows that are generated at once
SMALL = """
import json, sys
from bench import RunSpec, run
from benchmarks.timing import peak_mb
record = run(RunSpec(modality=sys.argv[1], method="npair+imix", budget="small", steps=30, device="cpu"))
print(json.dumps([peak_mb(), record.dataset, record.effective_batch_size]))
"""


def rows(rounds: int) -> Iterator[Row]:  # noqa: ARG001 - memory hardly varies, and a run takes a minute
    """A row for every modality, then the table."""
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as folder:
        for modality in catalog.names(catalog.MODALITIES):
            peak, dataset, batch = _small(modality, Path(folder) / modality)
            yield Row(f"{modality}: {dataset}, batch {batch}", Spread.of([peak]), "MiB")
        path = Path(folder) / "million.parquet"
        write_table(path, ROWS)
        size = path.stat().st_size / 2**20
        work = ["--modality", "tabular", "--method", "npair+imix", "--alone", "--budget", "small", "--steps", "100"]
        data = ["--data", str(path), "--target", "class", "--device", "cpu", "--records", f"{folder}/runs"]
        found = bench("run", *work, *data, home=Path(folder) / "home", every=0.2)
    what = f"a table of {ROWS:,} rows and {NUMBERS + TEXTS} columns"
    yield Row(what, Spread.of([found.memory]), "MiB", "<= 4096", f"the file has {size:.0f} MiB")
    yield Row(f"{what}, shared pages counted in each process", Spread.of([found.resident]), "MiB")
    yield Row(f"{what}, by the clock", Spread.of([found.wall]), "s", note=f"{found.cpu:.0f} CPU-seconds, on one core")


def _small(modality: str, home: Path) -> tuple[float, str, int]:
    surroundings = {**os.environ, "BENCH_HOME": str(home), "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-c", SMALL, modality]
    told = subprocess.run(line, env=surroundings, capture_output=True, text=True, check=False)
    if told.returncode:
        raise SystemExit(f"the small run of {modality} failed:\n{told.stderr[-2000:]}")
    peak, dataset, batch = json.loads(told.stdout.splitlines()[-1])
    return peak, dataset, batch


def write_table(path: Path, rows: int) -> None:
    """Numbers around a centre for each class, the first columns with gaps; texts that tell the class half of the time."""
    from pyarrow import table
    from pyarrow.parquet import ParquetWriter

    draw, writer = np.random.default_rng(0), None
    centres = 0.3 * draw.normal(size=(CLASSES, NUMBERS)).astype(np.float32)
    levels, classes = (np.array([f"{name} {i}" for i in range(32)], object) for name in ("level", "class"))
    for n in [BLOCK] * (rows // BLOCK):
        y = draw.integers(CLASSES, size=n)
        x = draw.standard_normal((n, NUMBERS), dtype=np.float32) + centres[y]
        x[:, :GAPS][draw.random((n, GAPS)) < 0.01] = np.nan
        told = [np.where(draw.random(n) < 0.5, y, draw.integers(CLASSES + 2 * j, size=n)) for j in range(TEXTS)]
        texts = {f"text{j}": levels[codes] for j, codes in enumerate(told)}
        block = table({**{f"x{j}": x[:, j] for j in range(NUMBERS)}, **texts, "class": classes[y]})
        writer = writer or ParquetWriter(path, block.schema)
        writer.write_table(block)
    if writer:
        writer.close()
