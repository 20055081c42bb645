"""Many runs: specs -> what is not yet stored -> one-thread processes side by side -> records.

The same command again does only what is missing. A failed cell is a record with its reason, and the others go on.
"""

import hashlib
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from bench import workers
from bench.errors import UserError
from bench.experiment import failure, run
from bench.perf import cores, resident_mb
from bench.prepare import forget_data, prepare
from bench.recipes import resolve
from bench.record import Record
from bench.spec import RunSpec, canonical
from bench.store import Store
from bench.train import STOP, StoppedError, TrainingFailedError

GRACE = 20.0  # seconds that processes have to write and stop


@dataclass(frozen=True)
class Cell:
    """One run of a sweep. Cells with equal `pretrain_id` share one pretraining."""

    asked: RunSpec
    spec: RunSpec  # resolved
    run_id: str
    pretrain_id: str | None = None
    shared_id: str | None = None  # cells with equal ones differ only in the protocol

    @property
    def group(self) -> str:
        """The name of what runs in one process: the pretraining, or the training that several protocols score."""
        return self.pretrain_id or self.shared_id or self.run_id


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
    """Prepare every spec; the same run asked for twice is one cell. One whose data cannot be used is a cell that will fail.

    Each data set is loaded once, however the specs are ordered, and freed: the processes that run the cells load their own.
    The cells keep the order of the specs.
    """
    specs = list(specs)
    made: dict[int, Cell] = {}
    for i in sorted(range(len(specs)), key=lambda i: (specs[i].modality, specs[i].dataset, i)):
        made[i] = _cell(specs[i])
    forget_data()
    found: dict[str, Cell] = {}
    for i in range(len(specs)):
        found.setdefault(made[i].run_id, made[i])
    return list(found.values())


def _cell(spec: RunSpec) -> Cell:
    try:
        ready = prepare(spec)
    except UserError as problem:
        return Cell(spec, resolve(spec), failure(spec, str(problem)).run_id)
    return Cell(spec, ready.spec, ready.run_id, ready.pretrain_id, ready.shared_id)


def missing(wanted: Sequence[Cell], store: Store) -> list[Cell]:
    """The cells without a finished record."""
    return [cell for cell in wanted if store.get(cell.run_id) is None]


def shard(wanted: Iterable[Cell], part: int, parts: int) -> list[Cell]:
    """The cells of one machine out of several, 1 <= part <= parts: whole pretrainings, by the hash that names them.

    It depends on nothing but what is asked, so that machines need not talk or be alike, and adding cells later moves none.
    """
    return [cell for cell in wanted if _share(cell.spec) % parts == part - 1]


def _share(spec: RunSpec) -> int:
    """A number that cells of one pretraining have in common, whatever `auto` means on this machine."""
    alike = spec.replace(device="auto", precision="auto", threads=1, protocol="", label_fraction=1.0, evaluate_on=None)
    return int(hashlib.sha256(canonical(alike.settings()).encode()).hexdigest(), 16)


def jobs(wanted: Iterable[Cell]) -> list[Job]:
    """Cells grouped into processes: those that share a pretraining, or a control's training, run together.

    Within a group, those that differ only in the protocol stand side by side, so that they share one embedding pass.
    """
    groups: dict[str, dict[str, list[Cell]]] = {}
    for cell in wanted:
        shared = cell.shared_id or cell.run_id
        groups.setdefault(cell.group, {}).setdefault(shared, []).append(cell)
    return [Job([cell for part in group.values() for cell in part]) for group in groups.values()]


@dataclass(frozen=True)
class Limits:
    """What a cell may use. Its process is stopped when it takes more, and the failure is recorded."""

    seconds: float | None = None
    memory_mb: float | None = None  # resident memory of the process, looked at twice a second

    def passed(self, job: Job) -> str | None:
        """Which limit a job's current cell has passed, in words."""
        if self.seconds is not None and time.monotonic() - job.since > self.seconds:
            return f"stopped at the time limit of {self.seconds:g} s"
        held = resident_mb(job.process.pid) if self.memory_mb is not None else 0.0
        if self.memory_mb is not None and held > self.memory_mb:
            return f"stopped at the memory limit of {self.memory_mb:g} MiB (it held {held:.0f} MiB)"
        return None


NO_LIMITS = Limits()


def side_by_side(wanted: Sequence[Cell], parallel: int | None) -> int:
    """How many processes run at once, where the user does not say: one on a GPU, else as many as the cores feed."""
    first = wanted[0].spec if wanted else RunSpec()
    return parallel or (1 if first.device == "cuda" else max(1, cores() // first.threads))


def run_cells(
    wanted: Sequence[Cell], store: Store, *, event: Event, parallel: int | None = None, limits: Limits = NO_LIMITS
) -> list[Record]:
    """Run what is missing, at most `parallel` processes at once, and return every cell's record in the order asked.

    Ctrl-C lets every process write its checkpoint and stops it; the same call continues there.
    """
    wanting = jobs(missing(wanted, store))
    most = side_by_side(wanted, parallel)
    running: list[Job] = []
    with workers.interruptible():
        try:
            while wanting or running:
                while wanting and len(running) < most:
                    running.append(_start(wanting.pop(0), store, event))
                wait([j.pipe for j in running if j.pipe] + [j.process.sentinel for j in running], timeout=0.5)
                for job in list(running):
                    rest = _attend(job, store, event, limits)
                    if rest is not None:
                        running.remove(job)
                        wanting[:0] = jobs(rest)
        finally:
            _stop([job.process for job in running])
    return [r for c in wanted if (r := store.get(c.run_id) or store.failure(c.run_id)) is not None]


def _stop(processes: Sequence[Any]) -> None:
    """Ask the processes to stop, and give them time to write; a second Ctrl-C does not wait."""
    for process in processes:
        process.terminate()
    until = time.monotonic() + GRACE
    try:
        for process in processes:
            process.join(max(0.0, until - time.monotonic()))
    finally:
        for process in processes:
            process.kill()
            process.join()


def _start(job: Job, store: Store, event: Event) -> Job:
    context = workers.context()
    here, there = context.Pipe(duplex=False)
    ours = {name: value for name, value in os.environ.items() if name.startswith("BENCH_")}  # the server's may be older
    job.process = context.Process(target=_work, args=([c.asked for c in job.cells], store.folder, there, ours), daemon=True)
    workers.warm(job.current.spec.threads)
    with workers.environment(job.current.spec.threads):
        job.process.start()
    there.close()
    job.pipe, job.since = here, time.monotonic()
    event(job.current, "started", 0, 0, float("nan"))
    return job


def _attend(job: Job, store: Store, event: Event, limits: Limits) -> list[Cell] | None:
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
    if alive and (reason := limits.passed(job)):
        job.process.kill()
        return _give_up(job, store, event, reason)
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


def _end_with_parent() -> None:
    """A parent that was killed cannot stop its processes; what they have not written is lost, and nobody waits for it."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _work(specs: list[RunSpec], folder: Path, pipe: Connection, surroundings: dict[str, str]) -> None:
    """What a process does: one cell after the other, telling its progress."""
    os.environ.update(surroundings)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, lambda *_: STOP.set())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    store = Store(folder)

    def tell(stage: str, step: int, steps: int, loss: float) -> None:
        try:
            pipe.send((stage, step, steps, loss))
        except OSError:  # the parent is gone
            os._exit(1)
        if STOP.is_set() and step == 0:  # a new stage; inside training, `fit` stops when its checkpoint is written
            raise StoppedError

    for spec in specs:
        try:
            run(spec, store=store, progress=tell)
            tell("done", 1, 1, float("nan"))
        except StoppedError:
            return
        except (UserError, TrainingFailedError) as error:
            store.put(failure(spec, str(error)))
            tell("failed", 1, 1, float("nan"))
        except Exception as error:
            traceback.print_exc()
            store.put(failure(spec, f"{type(error).__name__}: {error}"))
            tell("failed", 1, 1, float("nan"))
