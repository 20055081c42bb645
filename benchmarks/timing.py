"""Turns, medians, ranges, and the ceilings of the machine."""

import contextlib
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch

from bench import perf

Side = Callable[[], Any]
T = TypeVar("T")


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


def taken(sides: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What every side gives, by round; the sides take turns, and a first round warms them up."""
    found: dict[str, list[T]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in sides.items():
            given = side()
            if number:
                found[name].append(given)
    return found


def timed(side: Side, repeats: int = 1) -> Callable[[], float]:
    """A side that gives the CPU-seconds of one call."""

    def call() -> float:
        began = time.process_time()
        for _ in range(repeats):
            side()
        return (time.process_time() - began) / repeats

    return call


def turns(sides: Mapping[str, Side], rounds: int, repeats: int | Mapping[str, int] = 1) -> dict[str, list[float]]:
    """CPU-seconds of one call of every side, by round. repeats: how often a side runs in its turn; for all, or for each."""
    often = dict.fromkeys(sides, repeats) if isinstance(repeats, int) else repeats
    return taken({name: timed(side, often[name]) for name, side in sides.items()}, rounds)


def ratio(slow: list[float], fast: list[float]) -> Spread:
    """How many times as long the first takes, round by round."""
    return Spread.of([a / b for a, b in zip(slow, fast, strict=True)])


def share(part: list[float], whole: list[float]) -> Spread:
    """Per cent of the whole, round by round."""
    return Spread.of([100 * a / b for a, b in zip(part, whole, strict=True)])


def per_second(times: list[float], count: int) -> Spread:
    """How many of `count` things are done in a second of one core."""
    return Spread.of([count / t for t in times])


def product(dtype: torch.dtype, size: int = 2048) -> tuple[Side, float]:
    """A square matrix product and its floating-point operations: the ceiling for whatever consists of such products."""
    a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
    out = torch.empty(size, size, dtype=dtype)
    return lambda: torch.mm(a, b, out=out), 2.0 * size**3


def peak_mb() -> float:
    """Peak memory of this process since `forget_peak`, or so far, MiB. Linux' getrusage() knows the parent's peak as well."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def forget_peak() -> float:
    """From now on the peak is that of what follows, on Linux. What the process holds now, MiB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return perf.resident_mb(os.getpid())
    return peak_mb()
