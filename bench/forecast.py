"""Forecast: what cells will cost, from what cells like them have cost. Pure functions of records."""

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from bench.record import Record
from bench.spec import RunSpec
from bench.sweep import Cell, jobs

ALIKE = (
    ("dataset", "method", "views", "pretrain_fraction", "label_fraction", "protocol"),
    ("dataset", "method", "views", "pretrain_fraction", "label_fraction"),
    ("dataset", "method", "label_fraction"),
    ("dataset", "method"),
    ("method",),
)
"""What a past run has in common with a cell, the closest first; modality, budget, steps and device are always equal."""


class Cost(NamedTuple):
    """Seconds of computing of one cell: a pretraining that others may share, and the rest."""

    pretrain: float
    evaluate: float


@dataclass(frozen=True)
class Expected:
    """What a sweep will cost: seconds per cell, in all, and by the clock."""

    cells: Mapping[str, float]  # by run id, a shared pretraining counted in the first cell that needs it
    unknown: int  # cells like which nothing has been run
    work: float  # seconds of computing, of the known cells
    wall: float  # the same, side by side


class Past:
    """Finished runs, to be asked what a cell like them costs: the median of the closest ones."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._costs: dict[tuple[object, ...], list[Cost]] = defaultdict(list)
        for record in records:
            if record.status == "ok" and record.seconds is not None:
                pretrain = record.pretrain_seconds or 0.0
                for names in ALIKE:
                    self._costs[_key(record, names)].append(Cost(pretrain, max(0.0, record.seconds - pretrain)))

    def cost(self, spec: RunSpec) -> Cost | None:
        """The expected cost of a resolved spec; None where no finished run is like it."""
        for names in ALIKE:
            if found := self._costs.get(_key(spec, names)):
                return Cost(*(median(values) for values in zip(*found, strict=True)))
        return None


def _key(spec: RunSpec, names: tuple[str, ...]) -> tuple[object, ...]:
    return (names, spec.modality, spec.budget, spec.steps, spec.device, *(getattr(spec, name) for name in names))


def expected(cells: Iterable[Cell], past: Past, parallel: int, cached: Collection[str] = ()) -> Expected:
    """What these cells will cost. cached: ids of pretrainings that are there already; a shared one counts once."""
    by_cell: dict[str, float] = {}
    unknown, groups = 0, []
    for job in jobs(cells):
        seconds, open_ = 0.0, job.current.pretrain_id not in cached
        for cell in job.cells:
            cost = past.cost(cell.spec)
            if cost is None:
                unknown += 1
                continue
            by_cell[cell.run_id] = cost.evaluate + (cost.pretrain if open_ else 0.0)
            seconds, open_ = seconds + by_cell[cell.run_id], False
        groups.append(seconds)
    return Expected(by_cell, unknown, sum(groups), _side_by_side(groups, parallel))


def _side_by_side(groups: Sequence[float], parallel: int) -> float:
    """When the last of the groups ends, if each starts, in order, as soon as one of `parallel` places is free."""
    free = [0.0] * max(1, parallel)
    for seconds in groups:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


class Clock:
    """Time left of a running sweep: the forecast, corrected by how long the finished cells really took."""

    def __init__(self, cells: Iterable[str], forecast: Mapping[str, float], parallel: int) -> None:
        self.forecast, self.parallel = forecast, max(1, parallel)
        self.waiting = set(cells)
        self.began: dict[str, float] = {}
        self.took: dict[str, float] = {}

    def start(self, cell: str, now: float) -> None:
        """A cell starts."""
        self.waiting.discard(cell)
        self.began[cell] = now

    def finish(self, cell: str, now: float) -> float:
        """A cell has ended; the seconds it took."""
        self.waiting.discard(cell)
        self.took[cell] = now - self.began.pop(cell, now)
        return self.took[cell]

    def left(self, now: float) -> float | None:
        """Seconds until the last cell ends; None while nothing is known."""
        foreseen = [cell for cell in self.took if cell in self.forecast]
        slower = sum(self.took[c] for c in foreseen) / max(1e-9, sum(self.forecast[c] for c in foreseen)) if foreseen else 1.0
        rest = [*self.took.values()] or [*self.forecast.values()]
        if not rest:
            return None
        usual = sum(rest) / len(rest)

        def whole(cell: str) -> float:
            return self.forecast[cell] * slower if cell in self.forecast else usual

        waiting = sum(map(whole, sorted(self.waiting)))
        running = [max(0.0, whole(cell) - (now - began)) for cell, began in self.began.items()]
        return max([(waiting + sum(running)) / self.parallel, *running])


def span(seconds: float) -> str:
    """A time as a person says it: `40 s`, `12 min`, `2 h 5 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
