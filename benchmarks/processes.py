"""A command with every process that it starts: time, CPU-time and memory. Linux alone tells them."""

import contextlib
import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PR_SET_CHILD_SUBREAPER = 36
CHILDREN = Path("/proc/thread-self/children")


@dataclass(frozen=True)
class Cost:
    """seconds by the clock and by the processors, and the most memory that all processes held at one moment, MiB.

    memory counts a page once that several processes share; resident counts it for each of them.
    """

    wall: float
    cpu: float
    memory: float = 0.0
    resident: float = 0.0


def bench(*arguments: str, home: Path, every: float | None = None) -> Cost:
    """What `python -m bench ARGUMENTS` takes with caches in `home`; memory is looked at every so many seconds, if at all."""
    return cost([sys.executable, "-m", "bench", *arguments], home, every)


def cost(command: Sequence[str], home: Path, every: float | None = None) -> Cost:
    """What a command takes. Raises `SystemExit` with its last words where it fails."""
    if not CHILDREN.exists():
        raise SystemExit("this group needs Linux with lists of children in /proc, to see what processes hold and take.")
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # processes that outlive it become ours, and so does their time
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    memory = resident = 0.0
    surroundings = {**os.environ, "BENCH_HOME": str(home), "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=surroundings)
        while process.poll() is None:
            if every is not None:
                held = [_held(pid) for pid in _tree(process.pid)]
                memory, resident = (
                    max(m, sum(part)) for m, part in zip((memory, resident), zip(*held, strict=True), strict=True)
                )
            time.sleep(every or 0.005)
        wall = time.perf_counter() - began
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{said.read().decode()[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, memory, resident)


def _tree(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))


def _held(pid: int) -> tuple[float, float]:
    """(proportional, resident) set size of a process, MiB; zeros after its end."""
    with contextlib.suppress(OSError):
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
        return int(lines["Pss"].split()[0]) / 1024, int(lines["Rss"].split()[0]) / 1024
    return 0.0, 0.0
