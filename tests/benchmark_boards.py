"""How long a large store takes to become pages: `PYTHONPATH=. python tests/benchmark_boards.py [RECORDS]`, or 100,000."""

import itertools
import random
import sys
import tempfile
import time
from pathlib import Path

from records import make_record

from bench.figures import draw
from bench.leaderboard import boards_of, build, check, write, write_html
from bench.record import dump
from bench.spec import canonical
from bench.tables import VIEWLESS

BASES = ("npair", "mocon", "simclr", "moco", "byol", "mochi", "membank", "directclr", "cc")
METHODS = [base + mixers for base in BASES for mixers in ("", "+imix", "+inputmix")]
METHODS += ["random", "raw", "classical", "supervised", "supervised+mixup"]
FRACTIONS, VIEWS, SEEDS = (0.01, 0.03, 0.1, 0.3, 1.0), ("domain", "agnostic", "none"), range(5)


def lines(count: int):
    """Made-up records: data sets with every method, views, fraction and seed, until there are enough."""
    luck = random.Random(0)
    of_one = [*itertools.product(VIEWS, FRACTIONS, METHODS, SEEDS)]
    wanted = ((i, *cell) for i in itertools.count() for cell in of_one if cell[0] == "none" or cell[2] not in VIEWLESS)
    for number, views, fraction, method, seed in itertools.islice(wanted, count):
        some = {"n_labels": round(16000 * fraction), "seconds": luck.uniform(1, 60), "torch_version": "2.11.0"}
        rows = {"split_fingerprint": f"{seed}{fraction}" * 16, "label_fraction": fraction}
        score = round(luck.gauss(0.7 + 0.05 * METHODS.index(method) / len(METHODS), 0.02), 6)
        record = make_record(dataset=f"set{number:03}", views=views, method=method, seed=seed, score=score, **rows, **some)
        yield canonical(dump(record)) + "\n"


def timed(what: str, work):
    """Run and tell the seconds, of computing and by the clock."""
    began, worked = time.perf_counter(), time.process_time()
    found = work()
    print(f"{what}: {time.process_time() - worked:.1f} CPU-s, {time.perf_counter() - began:.1f} s by the clock", flush=True)
    return found


def main(count: int) -> None:
    """Write the store, then time each step that `python -m bench leaderboard` takes."""
    with tempfile.TemporaryDirectory() as folder:
        boards = Path(folder)
        (boards / "records").mkdir()
        (boards / "records" / "tabular.jsonl").write_text("".join(lines(count)))
        found = timed(f"load and validate {count:,} records", lambda: boards_of(boards))
        assert len(found["tabular"].records) == count
        pages, drawn = timed("load, and build every page", lambda: build(boards))
        print(f"{len(pages)} pages of {sum(map(len, pages.values())) / 1e6:.1f} MB, {len(drawn)} figures")
        timed("draw one figure", lambda: draw(next(iter(drawn.values()))))
        timed("write all, with figures", lambda: write(boards))
        timed("check", lambda: check(boards))
        try:
            timed("web page", lambda: write_html(boards, boards / "page.html"))
        except Exception as refused:
            print(refused)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 100_000)
