"""Tables: records -> sections (one curve) of tables (one label fraction) of rows (one method). Pure, and no formatting."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from operator import attrgetter
from typing import Any, NamedTuple

from bench.ranking import rank_intervals, ranks
from bench.record import FACTS, Record
from bench.spec import RunSpec
from bench.stats import Interval, Labels, Scores, gap_closed, labels_needed, paired_difference, t_interval

CONTROLS = ("random", "raw", "classical", "supervised", "supervised+mixup")
"""Pinned in this order below the contrastive rows of every table. A board is readable without the plug-ins of its rows."""
VIEWLESS = frozenset({"random", "raw", "classical"})  # controls that use no views: they join the tables of all views
BARE = frozenset({"raw", "classical"})  # controls without an encoder: device and precision do not reach them
SEEDS, SCRATCH = 5, "from scratch"
_SCIENCE = [f.name for f in fields(RunSpec) if f.metadata.get("identity", True)]
_settings = attrgetter(*sorted({*_SCIENCE, *FACTS} - {"method", "seed", "split_fingerprint", "dataset_fingerprint"}))


class Place(NamedTuple):
    """Where a curve stands. axis: the pretraining fraction while labels are cut, or 0.0 if both are cut together."""

    dataset: str
    protocol: str
    budget: str
    views: str
    axis: float


@dataclass(frozen=True)
class Row:
    """The runs of one method at one label fraction: one per seed, all with equal settings."""

    method: str
    records: tuple[Record, ...] = ()
    failures: tuple[Record, ...] = ()
    left_out: int = 0  # finished runs of older versions or other settings

    @cached_property
    def scores(self) -> Scores:
        return {(r.seed, r.dataset_fingerprint, r.split_fingerprint): r.score for r in self.records if r.score is not None}

    @cached_property
    def interval(self) -> Interval | None:
        return t_interval([*self.scores.values()]) if self.scores else None

    @cached_property
    def by_seed(self) -> Scores:
        """Scores to be paired with those of other fractions: the rows of a seed are nested, so the seed is the pair."""
        return {r.seed: r.score for r in self.records if r.score is not None}

    @property
    def base(self) -> str:
        return self.method.partition("+")[0]

    @property
    def mixers(self) -> tuple[str, ...]:
        return tuple(self.method.split("+")[1:])

    @property
    def is_control(self) -> bool:
        return self.base in CONTROLS

    @property
    def division(self) -> str:
        """See `division_of_all`."""
        return division_of_all(self.records)

    def mean(self, field: str) -> float | None:
        """Mean of a record's field over the seeds that have it."""
        values = [value for value in (getattr(record, field) for record in self.records) if value is not None]
        return t_interval(values).mean if values else None


def division_of_all(records: Iterable[Record]) -> str:
    """From scratch, or what sets any run of a row apart from that: one collapsed seed takes the row out of the ranking."""
    return ", ".join(dict.fromkeys(r.division for r in records if r.division != SCRATCH)) or SCRATCH


@dataclass(frozen=True)
class Table:
    """Every row at one label fraction, the missing ones too."""

    fraction: float
    rows: Mapping[str, Row]
    seeds_wanted: int = SEEDS

    @cached_property
    def ranks(self) -> Mapping[str, int]:
        """Rank by method, of the ranked rows."""
        return ranks({name: row.scores for name, row in self.rows.items() if self.is_ranked(row)})

    def is_ranked(self, row: Row) -> bool:
        """Only rows trained from scratch, with every seed."""
        return len(row.scores) >= self.seeds_wanted and row.division == SCRATCH

    @cached_property
    def rank_intervals(self) -> dict[str, tuple[int, int]]:
        """The ranks that the scores of the ranked rows leave open."""
        return rank_intervals({name: self.rows[name].scores for name in self.ranks})

    def difference(self, method: str, other: str) -> Interval | None:
        """Paired difference of two rows; None if one has no runs, or they share no seed on equal rows."""
        a, b = self.rows.get(method), self.rows.get(other)
        return paired_difference(a.scores, b.scores) if a and b and method != other else None

    def effect(self, row: Row) -> Interval | None:
        """A mixed row minus its unmixed base, if both were trained from equal means and agree in every setting they share."""
        base = self.rows.get(row.base)
        return self.difference(row.method, row.base) if base and _alike(row, base) else None

    def gap_closed(self, row: Row) -> float | None:
        random, supervised = (self.rows[name].scores for name in ("random", "supervised"))
        return gap_closed(row.scores, random, supervised)

    @property
    def best(self) -> list[Row]:
        """The tie group of the best ranked row."""
        return sorted((self.rows[name] for name, rank in self.ranks.items() if rank == 1), key=_height, reverse=True)

    @property
    def best_contrastive(self) -> Row | None:
        """The contrastive row from scratch with the best mean: of the ranked ones, or of all where none is ranked."""
        rows = [r for r in self.rows.values() if r.scores and not r.is_control and r.division == SCRATCH]
        return max([row for row in rows if row.method in self.ranks] or rows, key=_height, default=None)

    @property
    def order(self) -> list[str]:
        """Contrastive rows by rank, then by mean, missing ones last; then the controls, always in the same order."""
        rows = sorted(self.rows.values(), key=lambda row: (self.ranks.get(row.method, 10**9), -_height(row)[0], row.method))
        contrastive = [row.method for row in rows if not row.is_control]
        return contrastive + sorted((m for m in self.rows if m not in contrastive), key=_pinned)


@dataclass(frozen=True)
class Section:
    """One curve: a data set, protocol, budget, views and axis, with a table per label fraction."""

    place: Place
    tables: tuple[Table, ...]

    @property
    def methods(self) -> list[str]:
        return [*self.tables[-1].order] if self.tables else []

    @cached_property
    def supervised(self) -> dict[float, Scores]:
        """The supervised curve: labelled rows -> scores by seed."""
        rows = [table.rows["supervised"] for table in self.tables]
        return {n: row.by_seed for row in rows if (n := row.mean("n_labels")) is not None}

    def labels_needed(self, row: Row) -> Labels | None:
        """How many labels `supervised` needs to match a row; None where it was run at one fraction or none."""
        return labels_needed(row.by_seed, self.supervised) if len(self.supervised) > 1 and row.base != "supervised" else None

    @property
    def records(self) -> list[Record]:
        return [record for table in self.tables for row in table.rows.values() for record in row.records]

    @cached_property
    def is_transfer(self) -> bool:
        """Whether the data set that was scored is another one than that which was learnt from."""
        return any(record.evaluate_on is not None for record in self.records)


def once(found: Iterable[Section]) -> Iterator[tuple[Section, Table]]:
    """Every table of some sections a single time, for whatever counts them: that of all rows with all labels lies on two
    curves where labels are cut and where both are cut together."""
    seen = set()
    for section in found:
        for table in section.tables:
            cut = (*section.place[:4], section.place.axis or table.fraction, table.fraction)
            if cut not in seen:
                seen.add(cut)
                yield section, table


def sections(records: Iterable[Record], seeds_wanted: int = SEEDS) -> list[Section]:
    """Group records, whatever their order, in one pass. Viewless controls join the tables of every views.

    The rows of a data set, protocol, budget and views are of one modality version, recipe and machine setting.
    """
    cells: dict[tuple[Any, ...], dict[tuple[float, float], dict[str, list[Record]]]]
    cells = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for r in records:
        views = None if r.method in VIEWLESS and r.views == "none" else r.views
        cells[r.scored_on, r.protocol, r.budget, views][r.pretrain_fraction, r.label_fraction][r.method].append(r)
    with_views = {key[:3] for key in cells if key[3] is not None}
    found = []
    for *where, views in cells:
        shared = cells.get((*where, None), {})
        if views is None and tuple(where) in with_views:
            continue  # these controls stand in the tables of the views
        own = cells[*where, views]
        points = {p: {**by_method, **shared.get(p, {})} for p, by_method in own.items()}
        common = _common(own) or _common(shared)
        for axis, on_axis in _axes(points):
            place = Place(where[0], where[1], where[2], views or "none", axis)
            found.append(Section(place, _tables({p[1]: points[p] for p in on_axis}, common, seeds_wanted)))
    return sorted(found, key=_order)


def _order(section: Section) -> tuple[Any, ...]:
    """By data set; the usual protocol and views before the others."""
    place, usual = section.place, RunSpec()
    others = place.protocol != usual.protocol, place.protocol, place.budget, place.views != usual.views, place.views
    return (place.dataset, *others, -place.axis)


def _axes(points: Iterable[tuple[float, float]]) -> list[tuple[float, list[tuple[float, float]]]]:
    """The curves that (pretraining, label) fractions lie on: labels cut under one pretraining, or both cut together."""
    points = sorted(points)
    both = [p for p in points if p[0] == p[1]]
    pretrained = {p[0] for p in points if p[1] < p[0]}
    if not pretrained and both == [(1.0, 1.0)]:
        pretrained = {1.0}
    cut = [(axis, [p for p in points if p[0] == axis]) for axis in sorted(pretrained)]
    return cut + ([(0.0, both)] if any(p[0] < 1 for p in both) else [])


def _conditions(r: Record) -> tuple[Any, ...]:
    """What all rows of a curve have in common, the modality version first. None: it does not reach this row."""
    machine = (None, None, None) if r.method in BARE else (bool(r.compile), r.device, r.precision)
    return (r.modality_version, r.threads, None if r.method in VIEWLESS else r.recipe, *machine)


def _common(points: Mapping[Any, Mapping[str, list[Record]]]) -> tuple[Any, ...]:
    """The conditions of the newest modality version under which most runs were made; of equals those recorded first."""
    runs: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in (r for by_method in points.values() for of_one in by_method.values() for r in of_one if _finished(r)):
        runs[_conditions(record)].append(record)
    of_encoders = {c: of_one for c, of_one in runs.items() if c[-1] is not None} or runs
    order = {c: (-c[0], -len(of_one), min(r.created or "" for r in of_one), str(c)) for c, of_one in of_encoders.items()}
    return min(order, key=order.__getitem__, default=())


def _finished(record: Record) -> bool:
    return record.status == "ok" and record.score is not None


def _tables(
    by_fraction: Mapping[float, Mapping[str, list[Record]]], common: tuple[Any, ...], seeds_wanted: int
) -> tuple[Table, ...]:
    methods = {method for by_method in by_fraction.values() for method in by_method} | set(CONTROLS)
    methods |= {method.partition("+")[0] for method in methods}
    return tuple(
        Table(fraction, {method: _row(method, by_method.get(method, []), common) for method in sorted(methods)}, seeds_wanted)
        for fraction, by_method in sorted(by_fraction.items())
    )


def _row(method: str, records: list[Record], common: tuple[Any, ...]) -> Row:
    """Of the runs under the common conditions the newest method version; of its settings those with most seeds, then the
    first to be recorded."""
    variants: dict[Any, list[Record]] = defaultdict(list)
    finished = [record for record in records if _finished(record)]
    for record in finished:
        if all(mine in (None, wanted) for mine, wanted in zip(_conditions(record), common, strict=True)):
            variants[_variant(record)].append(record)
    failures = sorted((r for r in records if r.status == "failed"), key=lambda r: (r.seed, r.run_id))
    done = sorted(
        variants.values(),
        key=lambda runs: (-runs[0].method_version, -len(runs), min(r.created or "" for r in runs), min(r.run_id for r in runs)),
    )
    chosen: dict[int, Record] = {}
    for record in sorted(done[0], key=lambda r: (r.seed, r.created or "", r.run_id)) if done else []:
        chosen.setdefault(record.seed, record)  # a seed counts once, even if its rows were cut in two ways
    return Row(method, tuple(chosen.values()), tuple(failures), len(finished) - len(chosen))


def _variant(record: Record) -> tuple[object, ...]:
    """What the runs of one row have in common: all that a run id holds, beside the seed and the rows that it drew.

    Of the user's own table a seed may draw the test rows too, so its fingerprint differs from seed to seed.
    """
    return _settings(record), None if record.data is not None else record.dataset_fingerprint


def _alike(a: Row, b: Row) -> bool:
    """Whether two rows have runs and agree in their division and in every setting that both of them read."""
    if not (a.records and b.records and a.division == b.division):
        return False
    return all(None in (x, y) or x == y for x, y in zip(_settings(a.records[0]), _settings(b.records[0]), strict=True))


def _height(row: Row) -> tuple[float, str]:
    return (row.interval.mean if row.interval else -1.0, row.method)


def _pinned(method: str) -> tuple[int, str]:
    return (CONTROLS.index(method) if method in CONTROLS else len(CONTROLS), method)
