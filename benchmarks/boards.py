"""Leaderboards: pages out of 100,000 records.

Made-up records of 14 methods with and without mixers, three kinds of views, five fractions and five seeds, on as many data
sets as it takes; loaded, validated, ranked and written as `python -m bench leaderboard` does it, on two cores, on which
the figures are drawn. CPU-seconds and memory are those of the main process; writing is timed by the clock. One round.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

from bench.leaderboard import boards_of, check, write, write_html
from bench.record import dump
from bench.spec import canonical
from bench.tables import VIEWLESS
from benchmarks.row import Row
from benchmarks.timing import Spread, peak_mb
from tests.records import make_record

COUNT = 100_000
CORES = 2
BASES = ("npair", "mocon", "simclr", "moco", "byol", "mochi", "membank", "directclr", "cc")
METHODS = [base + mixers for base in BASES for mixers in ("", "+imix", "+inputmix")]
METHODS += ["random", "raw", "classical", "supervised", "supervised+mixup"]
FRACTIONS, VIEWS, SEEDS = (0.01, 0.03, 0.1, 0.3, 1.0), ("domain", "agnostic", "none"), range(5)


def rows(rounds: int) -> Iterator[Row]:  # noqa: ARG001 - one
    """See the module."""
    with TemporaryDirectory() as folder:
        boards, html = Path(folder), Path(folder) / "page.html"
        (boards / "records").mkdir()
        (boards / "records" / "tabular.jsonl").write_text("".join(_lines()), encoding="utf-8")
        yield _timed(f"load and validate {COUNT:,} records", lambda: boards_of(boards))
        yield _timed(
            "load them, and write every page and figure: seconds that pass", lambda: write(boards), "<= 60", perf_counter
        )
        yield _timed("check that the pages are what the records say", lambda: check(boards))
        yield _timed("one web page of all of it", lambda: write_html(boards, html))
        size = html.stat().st_size / 2**20
    held = peak_mb()
    yield Row("size of the web page", Spread(size, size, size), "MiB", "<= 2")
    yield Row("peak memory of all this", Spread(held, held, held), "MiB")


def _timed(what: str, work: Callable[[], Any], reach: str = "", clock: Callable[[], float] = process_time) -> Row:
    """Seconds of one call: of this process' CPU, unless another clock is given."""
    began = clock()
    work()
    spent = clock() - began
    return Row(what, Spread(spent, spent, spent), "s", reach)


def _lines() -> Iterator[str]:
    """Data sets with every method, views, fraction and seed, until there are enough."""
    luck = random.Random(0)
    of_one = [*itertools.product(VIEWS, FRACTIONS, METHODS, SEEDS)]
    wanted = ((i, *cell) for i in itertools.count() for cell in of_one if cell[0] == "none" or cell[2] not in VIEWLESS)
    for number, views, fraction, method, seed in itertools.islice(wanted, COUNT):
        some = {"n_labels": round(16000 * fraction), "seconds": luck.uniform(1, 60), "torch_version": "2.11.0"}
        rows = {"split_fingerprint": f"{seed}{fraction}" * 16, "label_fraction": fraction}
        score = round(luck.gauss(0.7 + 0.05 * METHODS.index(method) / len(METHODS), 0.02), 6)
        record = make_record(dataset=f"set{number:03}", views=views, method=method, seed=seed, score=score, **rows, **some)
        yield canonical(dump(record)) + "\n"
