"""Overview: the front page of the boards, a pure function of all their records."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from bench.pages import MARK, cost
from bench.record import Record
from bench.stats import Interval
from bench.tables import SEEDS, Section, Table, sections
from bench.words import code, effects, markdown_table, marked, mean_half, mixing, percent, share, text

ENOUGH_DATA_SETS = 6  # for a rank test across data sets
NOTE = """\
Differences are in points, paired by seed on equal rows, with 95 % t-intervals over seeds on a fixed test set: ▲ ▼ the
interval excludes zero, ≈ it does not (no significant difference). There is no mean over modalities: their scores do not
measure one thing. Cost is the mean per run. How to read the rest stands on each page: """


def overview(boards: Mapping[str, Sequence[Record]], seeds_wanted: int = SEEDS) -> str:
    """The front page: what helps, where, by how much, at what cost. boards: modality -> records."""
    found = {modality: sections(records, seeds_wanted) for modality, records in sorted(boards.items())}
    parts = [
        MARK,
        "# Leaderboards",
        "How much does contrastive pretraining buy over supervised training, on which data, at which number of labels, and "
        "does mixing the instance labels (i-Mix) help?",
        "## What helps, where, by how much, at what cost",
    ]
    if found:
        pages = " · ".join(f"[{text(modality)}]({modality}.md)" for modality in found)
        parts += ["\n".join(_answers(found)), _summary(found), _across(found), NOTE + pages + "."]
    else:
        parts.append("No records yet: run `python -m bench sweep`, then `python -m bench publish runs`.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _tables(found: Mapping[str, Sequence[Section]]) -> Iterator[tuple[str, Section, Table]]:
    for modality, of_modality in found.items():
        for section in of_modality:
            for table in section.tables:
                yield modality, section, table


def _answers(found: Mapping[str, Sequence[Section]]) -> list[str]:
    """Counts of what came of every comparison, and the range of what was significant."""
    by_mixing: dict[str, list[Interval]] = {}
    champions: dict[str, list[Interval]] = {"classical": [], "supervised": []}
    for _, _, table in _tables(found):
        for row, difference in effects(table):
            by_mixing.setdefault(mixing(row), []).append(difference)
        best = table.best_contrastive
        for control, differences in champions.items():
            behind = table.difference(best.method, control) if best else None
            differences += [behind] if behind else []
    told = [
        f"- **{name}** over its unmixed base: {_counts(some, 'helps', 'hurts')}" for name, some in sorted(by_mixing.items())
    ]
    names = {"classical": "the classical control (boosted trees for tables)", "supervised": "supervised training"}
    return told + [
        f"- **The best contrastive row** against {names[control]}: {_counts(some, 'wins', 'loses')}"
        for control, some in champions.items()
        if some
    ]


def _counts(differences: Sequence[Interval], better: str, worse: str) -> str:
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


def _summary(found: Mapping[str, Sequence[Section]]) -> str:
    head = ["data", "cut", "mixing − base", "best row", "best contrastive", "− classical", "− supervised", "cost"]
    rows = []
    for modality, section, table in _tables(found):
        place, best = section.place, table.best_contrastive
        axis = "rows" if not place.axis else "labels" if place.axis == 1 else f"labels, {share(place.axis)} of rows pretrain"
        rows.append(
            [
                f"[{text(modality)}]({modality}.md) {text(place.dataset)}, views {text(place.views)}, "
                f"{text(place.budget)}, {text(place.protocol)}",
                f"{share(table.fraction)} {axis}",
                "<br>".join(f"{code(row.method)} {marked(difference)}" for row, difference in effects(table)) or "—",
                "<br>".join(f"{code(row.method)} {mean_half(row.interval)}" for row in table.best) or "no row has every seed",
                f"{code(best.method)} {mean_half(best.interval)}" if best else "—",
                marked(table.difference(best.method, "classical")) if best else "—",
                marked(table.difference(best.method, "supervised")) if best else "—",
                "<br>".join(
                    f"{code(row.method)} {cost(row)}"
                    for row in (best, table.rows.get("classical"), table.rows.get("supervised"))
                    if row is not None and row.records
                )
                or "—",
            ]
        )
    return markdown_table(head, rows, left=5) if rows else ""


def _across(found: Mapping[str, Sequence[Section]]) -> str:
    sets = {(modality, section.place.dataset) for modality, section, _ in _tables(found)}
    there = f"there {'is' if len(sets) == 1 else 'are'} {len(sets)}"
    why = "so none is made" if len(sets) < ENOUGH_DATA_SETS else "but none has been computed"
    return (
        f"A rank test across data sets needs {ENOUGH_DATA_SETS} or more of them; {there}, {why}, and nothing here speaks for "
        "data sets in general."
    )
