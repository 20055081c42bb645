"""Many runs: specs -> what is not yet stored -> one-thread processes side by side -> records.

The same command again does only what is missing. A failed cell is a record with its reason, and the others go on.
"""

import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from bench import workers
from bench.errors import UserError
from bench.experiment import failure, run
from bench.perf import cores
from bench.prepare import prepare
from bench.recipes import resolve
from bench.record import Record
from bench.spec import RunSpec
from bench.store import Store
from bench.train import TrainingFailedError


@dataclass(frozen=True)
class Cell:
    """One run of a sweep. Cells with equal `pretrain_id` share one pretraining."""

    asked: RunSpec
    spec: RunSpec  # resolved
    run_id: str
    pretrain_id: str | None = None
    shared_id: str | None = None  # cells with equal ones differ only in the protocol


@dataclass
class Job:
    """Cells that one process runs one after the other."""

    cells: list[Cell]
    process: Any = None
    pipe: Connection | None = None
    since: float = field(default_factory=time.monotonic)

    @property
    def current(self) -> Cell:
        return self.cells[0]


Event = Callable[[Cell, str, int, int, float], None]
"""(cell, stage, steps done, steps, recent loss); the stages `started`, `done` and `failed` frame a cell."""


def cells(specs: Iterable[RunSpec]) -> list[Cell]:
    """Prepare every spec; the same run asked for twice is one cell. One whose data cannot be used is a cell that will fail."""
    found: dict[str, Cell] = {}
    for spec in specs:
        try:
            ready = prepare(spec)
            cell = Cell(spec, ready.spec, ready.run_id, ready.pretrain_id, ready.shared_id)
        except UserError as problem:
            cell = Cell(spec, resolve(spec), failure(spec, str(problem)).run_id)
        found.setdefault(cell.run_id, cell)
    return list(found.values())


def missing(wanted: Sequence[Cell], store: Store) -> list[Cell]:
    """The cells without a finished record."""
    return [cell for cell in wanted if store.get(cell.run_id) is None]


def jobs(wanted: Iterable[Cell]) -> list[Job]:
    """Cells grouped into processes: those that share a pretraining, or a control's training, run together.

    Within a group, those that differ only in the protocol stand side by side, so that they share one embedding pass.
    """
    groups: dict[str, dict[str, list[Cell]]] = {}
    for cell in wanted:
        shared = cell.shared_id or cell.run_id
        groups.setdefault(cell.pretrain_id or shared, {}).setdefault(shared, []).append(cell)
    return [Job([cell for part in group.values() for cell in part]) for group in groups.values()]


def run_cells(
    wanted: Sequence[Cell], store: Store, *, event: Event, parallel: int | None = None, time_limit: float | None = None
) -> list[Record]:
    """Run what is missing, at most `parallel` processes at once, and return every cell's record in the order asked.

    time_limit: seconds a cell may take; its process is then stopped and the failure recorded. Ctrl-C stops the processes and
    leaves their checkpoints: the same call continues.
    """
    wanting = jobs(missing(wanted, store))
    first = wanted[0].spec if wanted else RunSpec()
    limit = parallel or (1 if first.device == "cuda" else max(1, cores() // first.threads))
    running: list[Job] = []
    try:
        while wanting or running:
            while wanting and len(running) < limit:
                running.append(_start(wanting.pop(0), store, event))
            wait([j.pipe for j in running if j.pipe] + [j.process.sentinel for j in running], timeout=0.5)
            for job in list(running):
                rest = _attend(job, store, event, time_limit)
                if rest is not None:
                    running.remove(job)
                    wanting[:0] = jobs(rest)
    finally:
        for job in running:
            job.process.terminate()
            job.process.join()
    return [r for c in wanted if (r := store.get(c.run_id) or store.failure(c.run_id)) is not None]


def _start(job: Job, store: Store, event: Event) -> Job:
    context = workers.context()
    here, there = context.Pipe(duplex=False)
    job.process = context.Process(target=_work, args=([c.asked for c in job.cells], store.folder, there), daemon=True)
    with workers.openmp_threads(job.current.spec.threads):
        job.process.start()
    there.close()
    job.pipe, job.since = here, time.monotonic()
    event(job.current, "started", 0, 0, float("nan"))
    return job


def _attend(job: Job, store: Store, event: Event, time_limit: float | None) -> list[Cell] | None:
    """Read what a process says. None while it works; when it has ended, the cells that are left of it."""
    assert job.pipe is not None
    alive = job.process.is_alive()  # before reading, so that nothing said before the end is lost
    try:
        while job.cells and job.pipe.poll():
            stage, step, steps, loss = job.pipe.recv()
            event(job.current, stage, step, steps, loss)
            if stage in ("done", "failed"):
                job.cells.pop(0)
                job.since = time.monotonic()
                if job.cells:
                    event(job.current, "started", 0, 0, float("nan"))
    except EOFError:
        job.process.join(5)
        alive = False
    if not job.cells:
        job.process.join()
        return []
    if time_limit is not None and time.monotonic() - job.since > time_limit:
        job.process.terminate()
        return _give_up(job, store, event, f"stopped at the time limit of {time_limit:g} s")
    if alive:
        return None
    job.process.join()
    return _give_up(job, store, event, f"its process ended with exit code {job.process.exitcode} (out of memory, or killed)")


def _give_up(job: Job, store: Store, event: Event, reason: str) -> list[Cell]:
    job.process.join()
    cell = job.cells.pop(0)
    store.put(failure(cell.asked, reason))
    event(cell, "failed", 0, 0, float("nan"))
    return job.cells


def _work(specs: list[RunSpec], folder: Path, pipe: Connection) -> None:
    """What a process does: one cell after the other, telling its progress."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    store = Store(folder)

    def tell(stage: str, step: int, steps: int, loss: float) -> None:
        try:
            pipe.send((stage, step, steps, loss))
        except OSError:  # the parent is gone
            os._exit(1)

    for spec in specs:
        try:
            run(spec, store=store, progress=tell)
            tell("done", 0, 0, float("nan"))
        except (UserError, TrainingFailedError) as error:
            store.put(failure(spec, str(error)))
            tell("failed", 0, 0, float("nan"))
        except Exception as error:
            traceback.print_exc()
            store.put(failure(spec, f"{type(error).__name__}: {error}"))
            tell("failed", 0, 0, float("nan"))
