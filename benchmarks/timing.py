"""Turns, medians, ranges, and the ceilings of the machine."""

import contextlib
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

Side = Callable[[], Any]


@dataclass(frozen=True)
class Spread:
    """A median and the range over rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Of the values of all rounds."""
        return cls(median(values), min(values), max(values))


def turns(sides: Mapping[str, Side], rounds: int, repeats: int | Mapping[str, int] = 1) -> dict[str, list[float]]:
    """CPU-seconds of one call of every side, by round; the sides take turns, and a first round warms them up.

    repeats: how often a side runs in its turn; a number for all, or one for each.
    """
    often = dict.fromkeys(sides, repeats) if isinstance(repeats, int) else repeats
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            began = time.process_time()
            for _ in range(often[name]):
                side()
            if number:
                times[name].append((time.process_time() - began) / often[name])
    return times


def ratio(slow: list[float], fast: list[float]) -> Spread:
    """How many times as long the first takes, round by round."""
    return Spread.of([a / b for a, b in zip(slow, fast, strict=True)])


def per_second(times: list[float], count: int) -> Spread:
    """How many of `count` things are done in a second of one core."""
    return Spread.of([count / t for t in times])


def product(dtype: torch.dtype, size: int = 2048) -> tuple[Side, float]:
    """A square matrix product and its floating-point operations: the ceiling for whatever consists of such products."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    out = torch.empty(size, size, dtype=dtype)
    return lambda: torch.mm(a, b, out=out), 2.0 * size**3


def peak_mb() -> float:
    """Peak memory of this process so far, MiB. Linux' getrusage() knows the parent's peak as well; /proc does not."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
