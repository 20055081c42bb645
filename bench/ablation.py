"""Ablation: mixers {none, i-Mix, InputMix, both} against views {domain, agnostic, none}, a pure function of records."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from bench.figures import Bar, Forest
from bench.record import Record
from bench.spec import RunSpec
from bench.stats import Interval
from bench.tables import SCRATCH, SEEDS, Row, Section, Table, once, sections
from bench.words import MARK, code, markdown_table, marked, mean_half, share, slug, text

VIEWS = ("domain", "agnostic", "none")
MIXES = ((), ("imix",), ("inputmix",), ("imix", "inputmix"))
ROWS = 90  # of one forest plot: about 22 inches
HEADING = "i-Mix minus its base"
NAMES = ("no mixer", "i-Mix", "InputMix", "i-Mix + InputMix")
ABOUT = """\
What mixing does under views that know the data (`domain`), that only mask (`agnostic`; for tables the two are one recipe),
and that change nothing (`none`: the two views of a row are equal, and only a mixer makes them differ). A cell is the score
with its 95 % t-interval over seeds, then the paired difference to the same method without a mixer under the same views, in
points: ▲ ▼ the interval excludes zero, ≈ it does not; below three seeds there is no mark. *missing* cells have not been run.
No correction for the number of comparisons. Supervised rows and controls stand on the pages of the modalities."""


class Grid(NamedTuple):
    """Mixers against views, for one base at one fraction of one data set."""

    dataset: str
    where: str  # budget, protocol and cut, in words
    base: str
    tables: Mapping[str, Table]  # by views
    unusual: bool  # of another protocol than the default

    @property
    def filled(self) -> int:
        """Cells with runs."""
        return sum(self.row(views, mixers) is not None for views in VIEWS for mixers in MIXES)

    def row(self, views: str, mixers: tuple[str, ...]) -> Row | None:
        """The row of a cell, if it has runs."""
        row = self.tables[views].rows.get("+".join((self.base, *mixers))) if views in self.tables else None
        return row if row is not None and row.scores and row.division == SCRATCH else None

    def effect(self, views: str, mixers: tuple[str, ...]) -> Interval | None:
        """Paired difference of a cell to the unmixed one under the same views."""
        row = self.row(views, mixers)
        return self.tables[views].effect(row) if row is not None and mixers else None


def grids(found: Sequence[Section]) -> list[Grid]:
    """Every grid of which some mixed cell has runs, by data set; the usual protocol and the fullest grids before the others."""
    places: dict[tuple[str, str, str, float, float], dict[str, Table]] = {}
    for section, table in once(found):
        dataset, protocol, budget, views, axis = section.place
        if views in VIEWS:
            places.setdefault((dataset, budget, protocol, axis or table.fraction, table.fraction), {})[views] = table
    made = []
    for (dataset, budget, protocol, pretrained, fraction), tables in sorted(places.items()):
        kept = "" if pretrained in (fraction, 1) else f", {share(pretrained)} of the rows pretrain"
        where = f"{share(fraction)} of the {'rows' if fraction == pretrained < 1 else 'labels'}{kept}, {budget}, {protocol}"
        bases = {row.base for table in tables.values() for row in table.rows.values() if row.mixers and not row.is_control}
        every = [Grid(dataset, where, base, tables, protocol != RunSpec().protocol) for base in sorted(bases)]
        made += [grid for grid in every if any(grid.row(v, m) for v in tables for m in MIXES[1:])]
    return sorted(made, key=lambda grid: (grid.dataset, grid.unusual, -grid.filled))


def ablation(boards: Mapping[str, Sequence[Record]], seeds_wanted: int = SEEDS) -> str:
    """The page. boards: modality -> records."""
    return crossed({modality: grids(sections(records, seeds_wanted)) for modality, records in sorted(boards.items())})


def crossed(boards: Mapping[str, Sequence[Grid]]) -> str:
    """The page, of grids by modality."""
    parts = [MARK, "# Ablation: mixers against views", "[Overview](README.md)", ABOUT]
    for modality, found in boards.items():
        parts += [f"## {text(modality)}"] if found else []
        drawn = forests(modality, found)
        for dataset, of_set in groupby(found, key=lambda grid: grid.dataset):
            parts += [f"![{_alt(plot)}]({name})" for name, plot in drawn.get(dataset, {}).items()]
            for grid in of_set:
                parts += [f"**{text(grid.dataset)}, `{grid.base}`, {text(grid.where)}**", _table(grid)]
    return "\n\n".join(parts if parts[4:] else [*parts, "No mixed rows yet."]) + "\n"


def forests(modality: str, found: Sequence[Grid]) -> dict[str, dict[str, Forest]]:
    """The effect of i-Mix, a bar per data set, base, cut and views: data set above whose tables it stands -> path -> figure.

    One figure for all data sets where it has at most `ROWS` rows; else each data set has its own, in sheets of that many.
    """
    groups: dict[str, dict[str, list[Bar]]] = {}
    for grid in found:
        for views in VIEWS:
            if (effect := grid.effect(views, ("imix",))) is not None:
                bar = Bar(f"{views}, {grid.where}", effect.mean, effect.half if effect.decides else None)
                groups.setdefault(grid.dataset, {}).setdefault(f"{grid.dataset}, {grid.base}", []).append(bar)
    whole = _sheets(group for of_set in groups.values() for group in of_set.items())
    if len(whole) == 1:
        return {found[0].dataset: {f"figures/{slug('ablation', modality)}.svg": Forest(f"{modality}: {HEADING}", whole[0])}}
    made: dict[str, dict[str, Forest]] = {}
    for dataset, of_set in groups.items():
        sheets = _sheets(of_set.items())
        for number, sheet in enumerate(sheets, start=1):
            path = f"figures/{slug('ablation', modality, dataset, *[f'part{number}'] * (number > 1))}.svg"
            part = f", part {number} of {len(sheets)}" if sheets[1:] else ""
            made.setdefault(dataset, {})[path] = Forest(f"{modality}/{dataset}: {HEADING}{part}", sheet)
    return made


def _sheets(groups: Iterable[tuple[str, Sequence[Bar]]]) -> list[list[tuple[str, Sequence[Bar]]]]:
    """Groups of bars, no more rows at once than `ROWS`; a group stays whole."""
    sheets: list[list[tuple[str, Sequence[Bar]]]] = []
    for group in groups:
        if not sheets or sum(1 + len(bars) for _, bars in [*sheets[-1], group]) > ROWS:
            sheets.append([])
        sheets[-1].append(group)
    return sheets


def _alt(plot: Forest) -> str:
    only = plot.heading.partition(f": {HEADING}")
    return f"Effect of i-Mix with its interval, by data set, views and cut, for {text(only[0] + only[2])}"


def _table(grid: Grid) -> str:
    rows = [[code(views), *(_cell(grid, views, mixers) for mixers in MIXES)] for views in VIEWS]
    return markdown_table(["views", *NAMES], rows, left=1)


def _cell(grid: Grid, views: str, mixers: tuple[str, ...]) -> str:
    row = grid.row(views, mixers)
    if row is None:
        return "*missing*"
    effect = grid.effect(views, mixers)
    return mean_half(row.interval) + (f"<br>{marked(effect)}" if effect is not None else "")
