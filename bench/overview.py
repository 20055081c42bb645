"""Overview: the front page of the boards, a pure function of all their records."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from bench.ablation import MIXES, VIEWS
from bench.columns import cost
from bench.ranking import DATA_SETS, across, signed_rank
from bench.record import Record
from bench.spec import RunSpec
from bench.stats import Interval
from bench.tables import SEEDS, Row, Section, Table, once, sections
from bench.words import (
    MARK,
    classical,
    code,
    effects,
    few,
    markdown_table,
    marked,
    mean_half,
    mixing,
    percent,
    points,
    share,
    text,
)  # fmt: skip

PROTOCOL = RunSpec().protocol
ABOUT_VIEWS = {
    "domain": "Views that know the data (`domain`)",
    "agnostic": "Views that only mask (`agnostic`)",
    "none": "No views: both are the row itself (`none`)",
}
NOTE = """\
Differences are in points, paired by seed on equal rows, with 95 % t-intervals over seeds on a fixed test set: ▲ ▼ the
interval excludes zero, ≈ it does not (no significant difference), no mark: fewer than three seeds. What is counted above is
scored by {protocol} on the data set that was learnt from; the comparisons are not corrected for their number and **not
independent**: label fractions share a pretraining, rows share bases and controls. There is no mean over modalities: their
scores do not measure one thing. Cost is the mean per run. The best contrastive row is the one with the best test mean of those
with every seed (of all, where none has every seed), which flatters it a little; (n/{wanted}) stands where seeds are missing.
[Mixers against views](ablation.md); how to read the rest stands on each page: {pages}."""
SHOWN = 4  # rows of a tie group that are named


class Cell(NamedTuple):
    """A table and where it stands."""

    modality: str
    section: Section
    table: Table

    @property
    def dataset(self) -> str:
        return f"{self.modality}/{self.section.place.dataset}"

    @property
    def is_counted(self) -> bool:
        """Whether headlines and tests count it: one protocol, and no second data set that the same encoder was scored on."""
        return self.section.place.protocol == PROTOCOL and not self.section.is_transfer


class Found(NamedTuple):
    """A difference, of which row, and where it was found."""

    cell: Cell
    row: Row
    difference: Interval


def overview(boards: Mapping[str, Sequence[Record]], seeds_wanted: int = SEEDS) -> str:
    """The front page: what helps, where, by how much, at what cost. boards: modality -> records."""
    return front({modality: sections(records, seeds_wanted) for modality, records in sorted(boards.items())})


def front(found: Mapping[str, Sequence[Section]]) -> str:
    """The front page, of sections by modality."""
    parts = [
        MARK,
        "# Leaderboards",
        "How much does contrastive pretraining buy over supervised training, on which data, at which number of labels, and "
        "does mixing the instance labels (i-Mix) help?",
        "## What helps, where, by how much, at what cost",
    ]
    if found:
        pages = " · ".join(f"[{text(modality)}]({modality}.md)" for modality in found)
        cells = [Cell(modality, *at) for modality, of_modality in found.items() for at in once(of_modality)]
        counted = [cell for cell in cells if cell.is_counted]
        note = NOTE.format(protocol=code(PROTOCOL), wanted=SEEDS, pages=pages)
        parts += [*_answers(counted), _summary(cells), note, "## Across data sets", *_across(counted)]
    else:
        parts.append("No records yet: run `python -m bench sweep`, then `python -m bench publish runs`.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _effects(cells: Sequence[Cell]) -> list[Found]:
    return [Found(cell, row, difference) for cell in cells for row, difference in effects(cell.table)]


def _champions(cells: Sequence[Cell], control: str) -> list[Found]:
    """The best contrastive row of every table against a control."""
    bests = [(cell, best) for cell in cells if (best := cell.table.best_contrastive) is not None]
    return [
        Found(cell, best, difference)
        for cell, best in bests
        if (difference := cell.table.difference(best.method, control)) is not None
    ]


def _answers(cells: Sequence[Cell]) -> list[str]:
    """What came of every kind of comparison under each kind of views, those that know the data first, and the cost."""
    by_views: dict[str, list[Cell]] = {}
    for cell in cells:
        by_views.setdefault(cell.section.place.views, []).append(cell)
    told = []
    for views in sorted(by_views, key=lambda name: (VIEWS.index(name) if name in VIEWS else len(VIEWS), name)):
        if answers := _under(by_views[views]):
            told += [f"**{ABOUT_VIEWS.get(views, f'Views {code(views)}')}**", "\n".join(answers)]
    return [*told[:2], "\n".join(_costs(cells)), *told[2:]]


def _under(cells: Sequence[Cell]) -> list[str]:
    """Counts, the range of what was significant, and on which data: mixers, the classical control, supervised training."""
    mixed: dict[tuple[str, ...], list[Found]] = {}
    for one in _effects(cells):
        mixed.setdefault(one.row.mixers, []).append(one)
    order = sorted(mixed, key=lambda mixers: (MIXES.index(mixers) if mixers in MIXES else len(MIXES), mixers))
    told = [_told(f"**{mixing(mixed[m][0].row)}** over its unmixed base", mixed[m], "helps", "hurts") for m in order]
    for modality in dict.fromkeys(cell.modality for cell in cells):
        against = _champions([cell for cell in cells if cell.modality == modality], "classical")
        who = f"**{text(modality)}: the best contrastive row** against {classical(modality)}"
        told += [_told(who, against, "wins", "loses")] if against else []
    against = _champions(cells, "supervised")
    who = "**The best contrastive row** against supervised training of the same encoder"
    return [*told, *([_told(who, against, "wins", "loses")] if against else [])]


def _told(who: str, some: Sequence[Found], better: str, worse: str) -> str:
    return f"- {who} {_counts(some, better, worse)}{_places(some, better.capitalize(), worse.capitalize())}"


def _counts(some: Sequence[Found], better: str, worse: str) -> str:
    differences = [one.difference for one in some]
    signs = Counter(difference.sign for difference in differences if difference.decides)
    alone = len(differences) - signs.total()
    parts = [
        f"{word} in {signs[sign]}{_range([d.mean for d in differences if d.sign == sign])}"
        for sign, word in ((1, better), (-1, worse))
    ]
    parts.append(f"no significant difference in {signs[0]}")
    parts += [f"fewer than three seeds in {alone}"] if alone else []
    return f"{', '.join(parts)} of {len(differences)} comparisons."


def _range(means: Sequence[float]) -> str:
    if not means:
        return ""
    low, high = (percent(abs(mean)) for mean in (min(means, key=abs), max(means, key=abs)))
    return f" (by {low} points)" if low == high else f" (by {low} to {high} points)"


def _places(some: Sequence[Found], better: str, worse: str) -> str:
    """` Helps on tabular/letter (3 of 4). Hurts on …. No significant difference anywhere on ….`"""
    by_data: dict[str, Counter[int]] = {}
    for one in some:
        if one.difference.decides:
            by_data.setdefault(one.cell.dataset, Counter())[one.difference.sign] += 1
    said = []
    for sign, word in ((1, better), (-1, worse)):
        named = [f"{text(name)} ({n[sign]} of {n.total()})" for name, n in sorted(by_data.items()) if n[sign]]
        said += [f" {word} on {', '.join(named)}."] if named else []
    neither = [text(name) for name, n in sorted(by_data.items()) if not n[1] and not n[-1]]
    return "".join(said) + (f" No significant difference anywhere on {', '.join(neither)}." if neither else "")


def _costs(cells: Sequence[Cell]) -> list[str]:
    """Median cost of a run by kind of row, per modality."""
    told = []
    for modality in dict.fromkeys(cell.modality for cell in cells):
        kinds: dict[str, list[float]] = {"contrastive": [], "supervised": [], "classical": []}
        devices = set()
        for row in (row for cell in cells if cell.modality == modality for row in cell.table.rows.values()):
            kind = "contrastive" if not row.is_control else row.method
            seconds = row.mean("seconds")
            if kind in kinds and seconds is not None:
                kinds[kind].append(seconds)
                devices |= {"CPU" if r.device == "cpu" else "GPU" for r in row.records}
        if kinds["contrastive"]:
            said = ", ".join(f"{kind} {median(values):,.1f}" for kind, values in kinds.items() if values)
            unit = f"{'/'.join(sorted(devices))}-seconds"
            told.append(f"- **Cost**, {text(modality)}: {said} {unit} a run, medians over the tables' rows.")
    return told


def _summary(cells: Sequence[Cell]) -> str:
    head = ["data", "cut", "mixing − base", "first rank", "best contrastive", "− classical", "− supervised", "cost"]
    rows = []
    for modality, section, table in cells:
        place, best = section.place, table.best_contrastive
        axis = "rows" if not place.axis else "labels" if place.axis == 1 else f"labels, {share(place.axis)} of rows pretrain"
        compared = [row for row in (best, table.rows.get("classical"), table.rows.get("supervised")) if row and row.records]
        rows.append(
            [
                f"[{text(modality)}]({modality}.md) {text(place.dataset)}, views {text(place.views)}, "
                f"{text(place.budget)}, {text(place.protocol)}",
                f"{share(table.fraction)} {axis}",
                "<br>".join(f"{code(row.method)} {_of_seeds(difference, table)}" for row, difference in effects(table)) or "—",
                _first(table),
                f"{code(best.method)} {mean_half(best.interval)}{few(len(best.scores), table.seeds_wanted)}" if best else "—",
                *(_of_seeds(table.difference(best.method, c) if best else None, table) for c in ("classical", "supervised")),
                "<br>".join(f"{code(row.method)} {cost(row)}" for row in compared) or "—",
            ]
        )
    return markdown_table(head, rows, left=5) if rows else ""


def _of_seeds(difference: Interval | None, table: Table) -> str:
    """A difference with its mark, and with its number of seeds where some are missing."""
    return marked(difference) + ("" if difference is None else few(difference.n, table.seeds_wanted))


def _first(table: Table) -> str:
    """The tie group of the best ranked row, the first few by name."""
    names = [f"{code(row.method)} {mean_half(row.interval)}" for row in table.best]
    rest = len(names) - SHOWN
    return "<br>".join(names[:SHOWN] + ([f"and {rest} more tie"] if rest > 0 else [])) or "no row has every seed"


def _across(cells: Sequence[Cell]) -> list[str]:
    """Tests over data sets for the pairs named beforehand: every mixed row and its base, under each kind of views."""
    by_pair: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for cell, row, difference in _effects(cells):
        pair = (row.method, row.base, cell.section.place.views)
        by_pair.setdefault(pair, {}).setdefault(cell.dataset, []).append(difference.mean)
    samples = {pair: [sum(d) / len(d) for d in by_data.values()] for pair, by_data in by_pair.items()}
    adjusted = across(samples)
    sets = {cell.dataset for cell in cells}
    if not adjusted:
        there = f"there {'is' if len(sets) == 1 else 'are'} {len(sets)}"
        none = "so none is made" if len(sets) < DATA_SETS else "but no pair of rows has them, so none is made"
        return [
            f"A rank test across data sets needs {DATA_SETS} or more of them; {there}, {none}, and nothing here speaks for "
            "data sets in general."
        ]
    rows = []
    for pair, p in sorted(adjusted.items()):
        mixed, base, views = pair
        middle = median(samples[pair])
        finding = "no significant difference" if p >= 0.05 else "helps" if middle > 0 else "hurts"
        numbers = [str(len(samples[pair])), points(Interval(middle, None, 1)), f"{signed_rank(samples[pair]):.3f}", f"{p:.3f}"]
        rows.append([code(f"{mixed} − {base}"), text(views), *numbers, finding])
    told = (
        f"Wilcoxon's signed-rank test over data sets, for mixed rows against their bases with {DATA_SETS} or more data sets; a "
        f"data set counts once, with the mean of its differences over cuts and budgets, scored by {code(PROTOCOL)} on its own "
        "test rows. p is corrected by Holm over the pairs below. Data sets were chosen by hand: the test speaks for data sets "
        "like these."
    )
    return [told, markdown_table(["pair", "views", "data sets", "median points", "p", "p, Holm", "finding"], rows, left=2)]
