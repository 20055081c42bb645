"""Run groups of measurements, each in a process of its own, and write the page."""

import argparse
import contextlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import benchmarks
from bench import perf, workers
from benchmarks import GROUPS
from benchmarks.curve import Curve
from benchmarks.page import FOLDER, write

ONE_THREAD = {"MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def measure(name: str, rounds: int) -> None:
    """Measure one group in this process and keep what was found."""
    group = importlib.import_module(f"benchmarks.{name}")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: getattr(group, "CORES", 1)])
    from benchmarks.small import machine

    kept: dict[str, Any] = {
        "title": (group.__doc__ or name).splitlines()[0].rstrip("."),
        "about": "\n".join((group.__doc__ or "").splitlines()[1:]).strip(),
        "command": f"python -m benchmarks {name} --rounds {rounds}",
        "machine": machine(),
        "rows": [],
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    with perf.threads(1), _told_what_to_install(name):
        for row in group.rows(rounds):
            if isinstance(row, Curve):
                kept.setdefault("curves", []).append(row.packed())
                continue
            print(" | ".join(cell for cell in row.cells() if cell), flush=True)
            kept["rows"].append(row.packed())  # and written at once: a group may take half an hour
            (FOLDER / f"{name}.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _told_what_to_install(name: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise SystemExit(f"{name} needs {error.name}: pip install -e '.[all,perf]'") from error


def main() -> int:
    """Exit with 1 where a group failed; what was measured is kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=benchmarks.__doc__.partition("\n")[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"default: all of {', '.join(GROUPS)}")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every side (default: 5)")
    parser.add_argument("--here", action="store_true", help="in this process, for a profiler; one group only")
    given = parser.parse_args()
    if unknown := set(given.groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    if given.here:
        if len(given.groups) != 1:
            parser.error("--here takes one group")
        measure(given.groups[0], given.rounds)
        return 0
    failed = [name for name in given.groups or GROUPS if not _apart(name, given.rounds)]
    write()
    for name in failed:
        print(f"{name}: failed; the page shows what it had measured by then, or before if that is nothing", file=sys.stderr)
    return 1 if failed else 0


def _apart(name: str, rounds: int) -> bool:
    print(f"== {name}", flush=True)
    root = Path(__file__).parents[1]
    line = [sys.executable, "-m", "benchmarks", name, "--rounds", str(rounds), "--here"]
    with workers.environment(threads=1):  # as every run of `bench` has it, and here the peers have it, too
        return subprocess.run(line, cwd=root, env={**os.environ, **ONE_THREAD}, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
