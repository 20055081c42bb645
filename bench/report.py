"""What the terminal shows: live progress, the table at the end, and the verdict in words."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape

from bench.forecast import Clock, span
from bench.record import Record
from bench.spec import RunSpec, parse_method
from bench.stats import paired_difference, t_interval
from bench.sweep import Cell
from bench.tables import SCRATCH, VIEWLESS, division_of_all

LINE_EVERY = 10.0  # seconds between two lines of one cell, where the output is not a terminal


class Screen:
    """Progress of several cells on standard error: live bars on a terminal, lines elsewhere."""

    def __init__(
        self, cells: Sequence[Cell], forecast: Mapping[str, float] | None = None, parallel: int = 1, console: Any = None
    ) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = console or Console(stderr=True)
        self.live = self.console.is_terminal
        self.clock = Clock([cell.run_id for cell in cells], forecast or {}, parallel)
        self.total, self.done, self.failed = len(cells), 0, 0
        self.tasks: dict[str, Any] = {}
        self.spoke: dict[str, tuple[str, float]] = {}  # cell -> stage and time of its last line
        self.heard: dict[tuple[str, str], tuple[int, float]] = {}  # cell and stage -> step and time of its first word
        self.bars = Progress(
            TextColumn("{task.description:<34}"), BarColumn(24), TextColumn("{task.fields[said]}"), TimeRemainingColumn(),
            console=self.console, transient=True, disable=not self.live,
        )  # fmt: skip
        self.whole = self.bars.add_task("all cells", total=self.total, said="") if self.total > 1 else None

    def __enter__(self) -> "Screen":
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def __call__(self, cell: Cell, stage: str, step: int, steps: int, loss: float) -> None:
        """See `sweep.Event`."""
        if stage in ("done", "failed"):
            self._ended(cell, stage)
            return
        if stage == "started":
            self.clock.start(cell.run_id, time.monotonic())
        if cell.run_id not in self.tasks:
            self.tasks[cell.run_id] = self.bars.add_task(escape(label(cell)), total=None, said="")
        said = self._words(cell, stage, step, steps, loss)
        self.bars.update(self.tasks[cell.run_id], total=steps or None, completed=step, said=said)
        if self.whole is not None:
            self.bars.update(self.whole, completed=self.done + self.failed, said=self.status())
        before, at = self.spoke.get(cell.run_id, ("", 0.0))
        if not self.live and (stage != before or time.monotonic() - at > LINE_EVERY) and stage != "started":
            self._say(f"{label(cell)}: {said}")
            self.spoke[cell.run_id] = (stage, time.monotonic())

    def _ended(self, cell: Cell, stage: str) -> None:
        took = self.clock.finish(cell.run_id, time.monotonic())
        self.done, self.failed = self.done + (stage == "done"), self.failed + (stage == "failed")
        status = f"; {self.status()}" if self.total > 1 else ""
        self._say(f"[{self.done + self.failed}/{self.total}] {label(cell)}: {stage} after {span(took)}{status}")
        if cell.run_id in self.tasks:
            self.bars.remove_task(self.tasks.pop(cell.run_id))

    def status(self) -> str:
        """Counts, and the time left where anything is known of it."""
        left = self.clock.left(time.monotonic())
        time_left = f", about {span(left)}" if left is not None and self.done + self.failed < self.total else ""
        return (
            f"{self.done} done, {len(self.clock.began)} running, {self.failed} failed, "
            f"{len(self.clock.waiting)} waiting{time_left}"
        )

    def _words(self, cell: Cell, stage: str, step: int, steps: int, loss: float) -> str:
        if steps <= 1 or step == 0:
            return stage
        first, at = self.heard.get((cell.run_id, stage), (step, 0.0))
        if step <= first:  # the stage begins, or begins again
            first, at = self.heard[cell.run_id, stage] = step, time.monotonic()
        passed = time.monotonic() - at
        rate = (step - first) / passed if passed > 0 else 0.0
        left = f", {(steps - step) / rate:.0f} s left" if rate > 0 else ""
        return f"{stage} {step}/{steps}" + (f", {rate:.0f} steps/s" if rate else "") + _loss(loss) + ("" if self.live else left)

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _loss(loss: float) -> str:
    return "" if math.isnan(loss) else f", loss {loss:.3f}"


def label(cell: Cell) -> str:
    """A cell's short name: method, data set, views that are not the usual ones, fraction and seed."""
    spec = cell.spec
    views = "" if spec.views == "domain" or spec.method in VIEWLESS else f" {spec.views}"
    cut = "" if spec.label_fraction == 1 else f" {100 * spec.label_fraction:g}%"
    other = f" to {spec.evaluate_on}" if spec.evaluate_on else ""
    protocol = "" if spec.protocol == RunSpec().protocol else f" {spec.protocol}"
    return f"{spec.method} {spec.dataset}{other}{views}{cut}{protocol} seed {spec.seed}"


def by_method(records: Sequence[Record]) -> dict[str, dict[int, Record]]:
    """Finished records by method and seed."""
    found: dict[str, dict[int, Record]] = {}
    for record in records:
        if record.status == "ok":
            found.setdefault(record.method, {})[record.seed] = record
    return found


def by_protocol(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records by protocol, in the order in which protocols first come."""
    return {p: [r for r in records if r.protocol == p] for p in dict.fromkeys(r.protocol for r in records)}


def show_table(records: Sequence[Record], method: str, console: Any) -> None:
    """The closing tables, one for each protocol: the asked method beside its base and the controls, best first, with cost and
    failures."""
    for same in by_protocol(records).values():
        rows = by_method(same)
        finished = [r for by_seed in rows.values() for r in by_seed.values()]
        if finished:
            console.print(_table(rows, finished[0], same, method))
    for note in dict.fromkeys(r.notes for r in records if r.notes):
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    for r in records:
        if r.status == "failed" or r.collapsed:
            what = f"failed: {r.reason}" if r.status == "failed" else f"was kept going: {r.collapsed}"
            text = f"{r.method} {r.protocol} seed {r.seed} {what}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)


def _table(rows: dict[str, dict[int, Record]], some: Record, records: Sequence[Record], method: str) -> Any:
    from rich.table import Table

    imbalanced = some.metric == "accuracy" and (some.majority or 0) > 1.5 * (some.chance or 1)
    table = Table(
        title=escape(_title(some, records)), title_justify="left", caption=escape(_caption(some)), caption_justify="left"
    )
    for column in (
        "method",
        "test " + str(some.metric),
        *(["balanced"] if imbalanced else []),
        "validation",
        "seconds",
        "MiB",
        "chosen",
    ):
        table.add_column(column, justify="left" if column in ("method", "chosen") else "right")
    for name, by_seed in sorted(rows.items(), key=lambda kv: -_mean(kv[1], "score")):
        cells = [
            name if (apart := division_of_all(by_seed.values())) == SCRATCH else f"{name} ({apart})",
            _interval(by_seed, "score"),
            *([_interval(by_seed, "balanced_accuracy")] if imbalanced else []),
        ]
        cells += [
            _interval(by_seed, "val_score"),
            f"{_mean(by_seed, 'seconds'):.1f}",
            f"{_mean(by_seed, 'peak_memory_mb'):.0f}",
        ]
        first = min(by_seed.values(), key=lambda r: r.seed)
        table.add_row(*cells, (first.chosen or "") if len(by_seed) == 1 else "", style="bold" if name == method else None)
    return table


def verdicts(records: Sequence[Record], method: str) -> list[str]:
    """The last line, one for each protocol: what mixing bought, and how far the asked method stands from the best control."""
    tables = by_protocol(records)
    return [(f"{p}: " if len(tables) > 1 else "") + _verdict(same, method) for p, same in tables.items()]


def _verdict(records: Sequence[Record], method: str) -> str:
    """`verdicts` of one protocol."""
    rows = by_method(records)
    if method not in rows:
        return f"{method} did not finish; see above."
    asked, said = parse_method(method), []
    mine = _scores(rows[method])
    if asked.mixers and asked.unmixed in rows:
        names = {"imix": "i-Mix", "inputmix": "InputMix", "mixup": "MixUp"}
        said.append(f"{' + '.join(names[m] for m in asked.mixers)} {_points(mine, rows[asked.unmixed])} over {asked.unmixed}")
    controls = {n: t for n, t in rows.items() if parse_method(n).is_control and n != method}
    if controls:
        best = max(controls, key=lambda n: _mean(controls[n], "score"))
        said += [f"{method} {_points(mine, controls[best])} against {best}, the best control"]
        if best != "supervised" and "supervised" in controls:
            said.append(f"{_points(mine, controls['supervised'])} against supervised")
    seeds = len(rows[method])
    note = "one seed, no interval" if seeds == 1 else f"{seeds} seeds, 95 % t-intervals of paired differences"
    return f"{', '.join(said) or f'{method} has nothing to be compared with here'}; {note}."


def _points(mine: dict[int, float], other: dict[int, Record]) -> str:
    found = paired_difference(mine, _scores(other))
    if found is None:
        return "(no common seed)"
    half = "" if found.half is None else f" ± {100 * found.half:.1f}"
    word = "" if found.sign or not found.decides else ", no significant difference,"
    return f"{100 * found.mean:+.1f}{half} points{word}".replace("-", "−")


def _scores(by_seed: dict[int, Record]) -> dict[int, float]:
    return {seed: r.score for seed, r in by_seed.items() if r.score is not None}


def _values(by_seed: dict[int, Record], name: str) -> list[float]:
    return [v for r in by_seed.values() if (v := getattr(r, name)) is not None]


def _mean(by_seed: dict[int, Record], name: str) -> float:
    values = _values(by_seed, name)
    return sum(values) / len(values) if values else float("nan")


def _interval(by_seed: dict[int, Record], name: str) -> str:
    values = _values(by_seed, name)
    if not values:
        return "–"
    found = t_interval(values)
    return f"{100 * found.mean:.1f}" + ("" if found.half is None else f" ± {100 * found.half:.1f}")


def _title(some: Record, records: Sequence[Record]) -> str:
    seeds = len({r.seed for r in records})
    return (
        f"{some.modality}/{some.scored_on}: {some.n_labels} labelled of {some.n_train} training rows, {some.n_test} test rows, "
        f"{some.n_classes} classes; views {max(records, key=lambda r: r.views != 'none').views}, budget {some.budget}, "
        f"{some.protocol}, {seeds} seed{'s' if seeds > 1 else ''}"
    )


def _caption(some: Record) -> str:
    plural = "s" if some.threads > 1 else ""
    return (
        f"Scores in percent. Chance {100 * (some.chance or 0):.1f}, majority class {100 * (some.majority or 0):.1f}. "
        f"Seconds of computing, training and evaluation, on {some.threads} thread{plural} of {some.device_name}."
    )
