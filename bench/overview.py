"""Overview: the front page of the boards, a pure function of all their records."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from bench.columns import cost
from bench.ranking import DATA_SETS, across, signed_rank
from bench.record import Record
from bench.stats import Interval
from bench.tables import SEEDS, Row, Section, Table, sections
from bench.words import (
    MARK,
    classical,
    code,
    effects,
    markdown_table,
    marked,
    mean_half,
    mixing,
    percent,
    points,
    share,
    text,
)  # fmt: skip

NOTE = """\
Differences are in points, paired by seed on equal rows, with 95 % t-intervals over seeds on a fixed test set: ▲ ▼ the
interval excludes zero, ≈ it does not (no significant difference). There is no mean over modalities: their scores do not
measure one thing. Cost is the mean per run. The best contrastive row is picked by its test mean, which flatters it a little.
[Mixers against views](ablation.md); how to read the rest stands on each page: """
SHOWN = 4  # rows of a tie group that are named


class Found(NamedTuple):
    """A difference and where it was found."""

    modality: str
    section: Section
    table: Table
    row: Row
    difference: Interval

    @property
    def dataset(self) -> str:
        return f"{self.modality}/{self.section.place.dataset}"


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
        parts += ["\n".join(_answers(found)), _summary(found), NOTE + pages + ".", "## Across data sets", *_across(found)]
    else:
        parts.append("No records yet: run `python -m bench sweep`, then `python -m bench publish runs`.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _tables(found: Mapping[str, Sequence[Section]]) -> Iterator[tuple[str, Section, Table]]:
    for modality, of_modality in found.items():
        for section in of_modality:
            for table in section.tables:
                yield modality, section, table


def _effects(found: Mapping[str, Sequence[Section]]) -> list[Found]:
    return [Found(*where, row, difference) for where in _tables(found) for row, difference in effects(where[2])]


def _champions(found: Mapping[str, Sequence[Section]], control: str) -> list[Found]:
    """The best contrastive row of every table against a control."""
    made = []
    for modality, section, table in _tables(found):
        best = table.best_contrastive
        difference = table.difference(best.method, control) if best else None
        if best is not None and difference is not None:
            made.append(Found(modality, section, table, best, difference))
    return made


def _answers(found: Mapping[str, Sequence[Section]]) -> list[str]:
    """What came of every kind of comparison: counts, the range of what was significant, and on which data."""
    by_mixing: dict[str, list[Found]] = {}
    for one in _effects(found):
        by_mixing.setdefault(mixing(one.row), []).append(one)
    told = []
    for name, some in sorted(by_mixing.items()):
        told.append(f"- **{name}** over its unmixed base {_counts(some, 'helps', 'hurts')}{_places(some, 'Helps', 'Hurts')}")
    for modality in found:
        against = _champions({modality: found[modality]}, "classical")
        if against:
            told.append(
                f"- **{text(modality)}: the best contrastive row** against {classical(modality)} "
                f"{_counts(against, 'wins', 'loses')}{_places(against, 'Wins', 'Loses')}"
            )
    against = _champions(found, "supervised")
    if against:
        told.append(
            "- **The best contrastive row** against supervised training of the same encoder "
            f"{_counts(against, 'wins', 'loses')}{_places(against, 'Wins', 'Loses')}"
        )
    return [*told, *_costs(found)]


def _counts(some: Sequence[Found], better: str, worse: str) -> str:
    differences = [one.difference for one in some]
    signs = Counter(difference.sign for difference in differences if difference.half is not None)
    alone = sum(difference.half is None for difference in differences)
    parts = [
        f"{word} in {signs[sign]}{_range([d.mean for d in differences if d.half is not None and d.sign == sign])}"
        for sign, word in ((1, better), (-1, worse))
    ]
    parts.append(f"no significant difference in {signs[0]}")
    parts += [f"one seed and so no interval in {alone}"] if alone else []
    return f"{', '.join(parts)} of {len(differences)} comparisons."


def _range(means: Sequence[float]) -> str:
    if not means:
        return ""
    low, high = (percent(abs(mean)) for mean in (min(means, key=abs), max(means, key=abs)))
    return f" (by {low} points)" if low == high else f" (by {low} to {high} points)"


def _places(some: Sequence[Found], better: str, worse: str) -> str:
    """` Helps on tabular/letter (3 of 4). Hurts on …. Neither on ….`"""
    by_data: dict[str, Counter[int]] = {}
    for one in some:
        if one.difference.half is not None:
            by_data.setdefault(one.dataset, Counter())[one.difference.sign] += 1
    said = []
    for sign, word in ((1, better), (-1, worse)):
        named = [f"{text(name)} ({n[sign]} of {n.total()})" for name, n in sorted(by_data.items()) if n[sign]]
        said += [f" {word} on {', '.join(named)}."] if named else []
    neither = [text(name) for name, n in sorted(by_data.items()) if not n[1] and not n[-1]]
    return "".join(said) + (f" Neither on {', '.join(neither)}." if neither else "")


def _costs(found: Mapping[str, Sequence[Section]]) -> list[str]:
    """Median cost of a run by kind of row, per modality."""
    told = []
    for modality, of_modality in found.items():
        kinds: dict[str, list[float]] = {"contrastive": [], "supervised": [], "classical": []}
        devices = set()
        for _, _, table in _tables({modality: of_modality}):
            for row in table.rows.values():
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


def _summary(found: Mapping[str, Sequence[Section]]) -> str:
    head = ["data", "cut", "mixing − base", "first rank", "best contrastive", "− classical", "− supervised", "cost"]
    rows = []
    for modality, section, table in _tables(found):
        place, best = section.place, table.best_contrastive
        axis = "rows" if not place.axis else "labels" if place.axis == 1 else f"labels, {share(place.axis)} of rows pretrain"
        compared = [row for row in (best, table.rows.get("classical"), table.rows.get("supervised")) if row and row.records]
        rows.append(
            [
                f"[{text(modality)}]({modality}.md) {text(place.dataset)}, views {text(place.views)}, "
                f"{text(place.budget)}, {text(place.protocol)}",
                f"{share(table.fraction)} {axis}",
                "<br>".join(f"{code(row.method)} {marked(difference)}" for row, difference in effects(table)) or "—",
                _first(table),
                f"{code(best.method)} {mean_half(best.interval)}" if best else "—",
                marked(table.difference(best.method, "classical")) if best else "—",
                marked(table.difference(best.method, "supervised")) if best else "—",
                "<br>".join(f"{code(row.method)} {cost(row)}" for row in compared) or "—",
            ]
        )
    return markdown_table(head, rows, left=5) if rows else ""


def _first(table: Table) -> str:
    """The tie group of the best ranked row, the first few by name."""
    names = [f"{code(row.method)} {mean_half(row.interval)}" for row in table.best]
    rest = len(names) - SHOWN
    return "<br>".join(names[:SHOWN] + ([f"and {rest} more tie"] if rest > 0 else [])) or "no row has every seed"


def _across(found: Mapping[str, Sequence[Section]]) -> list[str]:
    """Tests over data sets for the pairs named beforehand: every mixed row and its base, under each kind of views."""
    by_pair: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for one in _effects(found):
        pair = (one.row.method, one.row.base, one.section.place.views)
        by_pair.setdefault(pair, {}).setdefault(one.dataset, []).append(one.difference.mean)
    samples = {pair: [sum(d) / len(d) for d in by_data.values()] for pair, by_data in by_pair.items()}
    adjusted = across(samples)
    sets = {(modality, section.place.dataset) for modality, section, _ in _tables(found)}
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
        "data set counts once, with the mean of its differences over cuts, budgets and protocols. p is corrected by Holm over "
        "the pairs below. Data sets were chosen by hand: the test speaks for data sets like these."
    )
    return [told, markdown_table(["pair", "views", "data sets", "median points", "p", "p, Holm", "finding"], rows, left=2)]
