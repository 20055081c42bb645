"""Figures as SVG, readable on white and on dark pages: curves, quality against cost. Each carries the hash of what it plots."""

import io
import re
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, final

from bench import workers
from bench.spec import digest
from bench.tables import SCRATCH, Place, Row, Section, Table
from bench.words import share

FEW = 8  # figures: for fewer than that a worker process is not worth starting
LOOK = 6  # raise it when the drawing changes, so that committed figures count as stale
GREY = "#777777"  # text and axes: contrast 4.5 on white, 4.2 on a dark page
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a63d2", "#a07000")  # first four: Okabe and Ito, for colour blindness
BASES = (
    "npair", "mocon", "simclr", "moco", "byol", "mochi", "membank", "directclr", "cc", "vicreg", "supcon", "mochi_oracle",
    "alignment",
)  # fmt: skip
_CONTROLS = {  # dash pattern and marker
    "random": ((1, 2), "x"),
    "raw": ((4, 2), "P"),
    "classical": ((8, 2), "D"),
    "supervised": ((6, 2, 1, 2), "s"),
    "supervised+mixup": ((3, 1, 1, 1), "v"),
}
_MIXED = {(): 0, ("imix",): 0, ("inputmix",): 1, ("imix", "inputmix"): 2}
_MARKERS = (("o", "^", "s", "d"), ("D", "<", "p", "*"), ("h", ">", "8", "X"))  # by mixers; a row for each use of the colours
_TITLE = {"color": GREY, "fontsize": 11, "y": 1}  # without y, matplotlib lays out all ticks to find one
_HASH = re.compile(r"plotted data sha256:([0-9a-f]{64})")


class Drawing(ABC):
    """One figure: what it shows, and how. It holds no records, so that it can go to another process at little cost."""

    @abstractmethod
    def title(self) -> str:
        """What it is of, in words."""

    @abstractmethod
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""

    @abstractmethod
    def plotted(self) -> list[Any]:
        """Every number and name that the figure shows, as JSON values."""

    @abstractmethod
    def plot(self, figure: Any) -> None:
        """Draw into an empty matplotlib figure."""


def plotted_hash(drawing: Drawing) -> str:
    """SHA-256 of what the figure shows, numbers rounded to 9 digits."""
    return digest([LOOK, type(drawing).__name__, drawing.title(), _rounded(drawing.plotted())])


def _rounded(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return round(value, 9) if isinstance(value, float) else value


def hash_in(svg: str) -> str | None:
    """The hash that a figure carries."""
    found = _HASH.search(svg)
    return found[1] if found else None


def draw(drawing: Drawing) -> str:
    """The figure as SVG text."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    out = io.StringIO()
    about = {"Title": drawing.title(), "Description": f"plotted data sha256:{plotted_hash(drawing)}", "Date": None}
    with rc_context({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10}):
        figure = Figure(figsize=drawing.size())
        drawing.plot(figure)
        figure.savefig(out, format="svg", transparent=True, metadata=about)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def draw_all(drawings: Sequence[Drawing]) -> Iterator[str]:
    """The figures as SVG text, in the order given: by worker processes, one a core, where there are many."""
    count = min(workers.cores(), len(drawings) // FEW)
    if count < 2:
        yield from map(draw, drawings)
        return
    context = workers.context("bench.figures", "matplotlib.figure", "matplotlib.backends.backend_svg")
    with ProcessPoolExecutor(count, context, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield from pool.map(draw, drawings, chunksize=2)


def division_of(method: str, section: Section) -> str:
    """The division of a method's runs; nothing where they were trained from scratch."""
    return ", ".join(sorted({t.rows[method].division for t in section.tables if t.rows[method].records} - {SCRATCH}))


def labels(section: Section) -> dict[str, str]:
    """Method -> its name in a legend, with the division of a row that is ranked with no others."""
    found = {}
    for method in section.methods:
        division = division_of(method, section)
        space = "\n" if len(f"{method} ({division})") > 22 else " "
        found[method] = f"{method}{space}({division})" if division else method
    return found


def _height(names: Iterable[str]) -> float:
    """Of a legend, in inches."""
    return 0.3 + 0.225 * sum(1 + name.count("\n") for name in names)


class Line(NamedTuple):
    """One method: at each label fraction its mean and the half-width of its interval (0 where there is none)."""

    method: str
    label: str
    points: tuple[tuple[float, float, float], ...]


def lines(section: Section) -> list[Line]:
    """What is plotted, in the order of the table of the largest fraction; methods without any run are left out."""
    found = []
    for method, label in labels(section).items():
        intervals = [(table.fraction, table.rows[method].interval) for table in section.tables]
        drawn = tuple((x, interval.mean, interval.half or 0.0) for x, interval in intervals if interval is not None)
        if drawn:
            found.append(Line(method, label, drawn))
    return found


@final
class Curve(Drawing):
    """Score against the fraction, one line per method."""

    def __init__(self, section: Section) -> None:
        self.place, self.lines = section.place, lines(section)
        self.ticks = [(table.fraction, _tick(table)) for table in section.tables]

    def title(self) -> str:
        """See `Drawing`."""
        return place_title(self.place)

    def size(self) -> tuple[float, float]:
        """See `Drawing`."""
        return 9, max(4.2, _height(line.label for line in self.lines))

    def plotted(self) -> list[Any]:
        """See `Drawing`."""
        return [list(self.place), self.ticks, [[line.label, [[*point] for point in line.points]] for line in self.lines]]

    def plot(self, figure: Any) -> None:
        """See `Drawing`."""
        axes = figure.add_subplot()
        count, bars = len(self.lines), []
        for i, line in enumerate(self.lines):
            dodge = 1.04 ** (min(1, 12 / count) * (i - (count - 1) / 2))  # bars at one fraction stand side by side
            look = style(line.method)
            drawn = [(dodge * x, 100 * mean, 100 * half) for x, mean, half in line.points]
            axes.plot([x for x, _, _ in drawn], [mean for _, mean, _ in drawn], label=plain(line.label), **look)
            bars += [(*point, look["color"]) for point in drawn]
        _whiskers(axes, bars)
        axes.set_xscale("log")
        axes.set_xticks([fraction for fraction, _ in self.ticks], [label for _, label in self.ticks])
        axes.minorticks_off()
        axes.set_xlabel("label fraction" if self.place.axis else "data fraction")
        axes.set_ylabel("test score, %")
        axes.set_title(plain(self.title()), **_TITLE)
        dress(axes)
        figure.subplots_adjust(left=0.085, right=0.685, top=0.92, bottom=0.17)
        figure.legend(loc="upper left", bbox_to_anchor=(0.69, 0.94), frameon=False, labelcolor=GREY, handlelength=3.6)


class Point(NamedTuple):
    """One method in a panel of costs."""

    method: str
    seconds: float
    mean: float
    half: float


@final
class Costs(Drawing):
    """Score against seconds of computing per run, a panel per fraction (the first, the middle and the last of many)."""

    def __init__(self, section: Section) -> None:
        self.place, self.labels = section.place, labels(section)
        last = len(section.tables) - 1
        shown = [section.tables[i] for i in sorted({0, last // 2, last})]
        self.panels = [(table.fraction, [*_points(table, section.methods)]) for table in shown]

    def title(self) -> str:
        """See `Drawing`."""
        return f"quality against cost, {place_title(self.place)}"

    def size(self) -> tuple[float, float]:
        """See `Drawing`."""
        return 9, max(3.4, *(_height(self.labels[p.method] for p in points) for _, points in self.panels))

    def plotted(self) -> list[Any]:
        """See `Drawing`."""
        named = [[fraction, [[self.labels[p.method], *p[1:]] for p in points]] for fraction, points in self.panels]
        return [list(self.place), named]

    def plot(self, figure: Any) -> None:
        """See `Drawing`."""
        drawn = figure.subplots(1, len(self.panels), squeeze=False)[0]
        named: dict[str, Any] = {}
        for axes, (fraction, points) in zip(drawn, self.panels, strict=True):
            for method, seconds, mean, _ in points:
                (named[method],) = axes.plot([seconds], [100 * mean], **{**style(method), "linestyle": "none"})
            _whiskers(axes, [(p.seconds, 100 * p.mean, 100 * p.half, style(p.method)["color"]) for p in points])
            axes.set_xscale("log")
            axes.set_title(f"{share(fraction)} of the {'labels' if self.place.axis else 'rows'}", **{**_TITLE, "fontsize": 10})
            axes.set_xlabel("seconds of computing")
            ticks = _decades([point.seconds for point in points])
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
            dress(axes)
        drawn[0].set_ylabel("test score, %")
        figure.suptitle(plain(self.title()), color=GREY, fontsize=11)
        figure.subplots_adjust(left=0.085, right=0.76, top=0.82, bottom=0.16, wspace=0.25)
        order = [method for method in self.labels if method in named]
        figure.legend(
            [named[m] for m in order], [plain(self.labels[m]) for m in order], loc="upper left", bbox_to_anchor=(0.77, 0.86),
            frameon=False, labelcolor=GREY, fontsize=9,
        )  # fmt: skip


def _points(table: Table, methods: Iterable[str]) -> Iterator[Point]:
    for row in map(table.rows.__getitem__, methods):
        seconds = row.mean("seconds")
        if seconds is not None and row.interval:
            yield Point(row.method, max(seconds, 0.01), row.interval.mean, row.interval.half or 0.0)


class Bar(NamedTuple):
    """One line of a forest plot: its label and a difference, with the half-width of its interval (None where there is none)."""

    label: str
    mean: float
    half: float | None


@final
@dataclass(frozen=True)
class Forest(Drawing):
    """Differences with their intervals, one below the other, by group."""

    heading: str
    groups: Sequence[tuple[str, Sequence[Bar]]]

    def title(self) -> str:
        """See `Drawing`."""
        return self.heading

    def size(self) -> tuple[float, float]:
        """See `Drawing`."""
        return 9, 0.9 + 0.24 * sum(1 + len(bars) for _, bars in self.groups)

    def plotted(self) -> list[Any]:
        """See `Drawing`."""
        return [[name, [[*bar] for bar in bars]] for name, bars in self.groups]

    def plot(self, figure: Any) -> None:
        """See `Drawing`."""
        axes = figure.add_subplot()
        at, ticks, heads, spans, faces = 0, [], set(), [], []
        for name, bars in self.groups:
            ticks.append((at, plain(name)))
            heads.add(at)
            for bar in bars:
                at += 1
                ticks.append((at, plain(bar.label)))
                half = bar.half or 0.0
                clear = bar.half is not None and abs(bar.mean) > half
                colour = GREY if not clear else COLOURS[0] if bar.mean > 0 else COLOURS[1]
                spans.append((at, 100 * bar.mean, 100 * half, colour))
                faces.append(colour if clear else "none")
            at += 1
        _whiskers(axes, spans, upright=False)
        places, means, _, colours = zip(*spans, strict=True)
        axes.scatter(means, places, s=25, c=faces, edgecolors=colours, zorder=2)
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.set_yticks([y for y, _ in ticks], [label for _, label in ticks])
        for (y, _), label in zip(ticks, axes.get_yticklabels(), strict=True):
            label.set_fontweight("bold" if y in heads else "normal")
        axes.set_ylim(at - 0.4, -0.6)
        axes.set_xlabel("difference in points; filled: the 95 % interval excludes zero")
        axes.set_title(plain(self.title()), **_TITLE)
        dress(axes, "x")
        axes.tick_params(axis="y", length=0)
        height, longest = self.size()[1], max(len(bar.label) for _, bars in self.groups for bar in bars)
        figure.subplots_adjust(
            left=min(0.6, max(0.36, 0.0083 * longest)), right=0.98, top=1 - 0.32 / height, bottom=0.5 / height
        )


def _whiskers(axes: Any, bars: Sequence[tuple[float, float, float, str]], *, upright: bool = True) -> None:
    """Intervals of (place, mean, half-width, colour), all in two artists: of `Axes.errorbar`'s three for each, drawing a figure
    takes twice as long."""
    if not bars:
        return
    places, means, halves, colours = zip(*bars, strict=True)
    low, high = ([mean + side * half for mean, half in zip(means, halves, strict=True)] for side in (-1, 1))
    at, ends = [*places, *places], [*low, *high]
    line, caps = {"colors": colours, "linewidths": 1.2, "zorder": 1.9}, {"c": [*colours, *colours], "linewidths": 1, "s": 25}
    if upright:
        axes.vlines(places, low, high, **line)
        axes.scatter(at, ends, marker="_", **caps)
    else:
        axes.hlines(places, low, high, **line)
        axes.scatter(ends, at, marker="|", **caps)


def _decades(values: Sequence[float]) -> list[float]:
    """Ticks 0.1, 0.3, 1, 3, … that frame the values."""
    ticks = [digit * 10.0**power for power in range(-2, 7) for digit in (1, 3)]
    least, most = min(values, default=1.0), max(values, default=1.0)
    low, high = max([t for t in ticks if t <= least], default=ticks[0]), min([t for t in ticks if t >= most], default=ticks[-1])
    kept = [t for t in ticks if low <= t <= high]
    return kept if len(kept) <= 5 else [t for t in kept if f"{t:g}".strip("0.") == "1"]


def dress(axes: Any, grid: str = "y") -> None:
    """Grey axes and text that can be read on white and on dark."""
    axes.grid(visible=True, axis=grid, color=GREY, alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(which="both", colors=GREY)
    axes.xaxis.label.set_color(GREY)
    axes.yaxis.label.set_color(GREY)


def style(method: str) -> dict[str, Any]:
    """Colour by base, marker by mixers, open and dashed without; controls are grey with a dash and a marker each."""
    row = Row(method)
    if row.is_control:
        dash, marker = _CONTROLS.get(method, ((2, 2), "*"))
        return {"color": GREY, "linestyle": (0, dash), "marker": marker, "linewidth": 1.2, "markersize": 4.5}
    again, colour = divmod(BASES.index(row.base) if row.base in BASES else len(BASES), len(COLOURS))
    marker = _MARKERS[again][_MIXED.get(row.mixers, 3)]
    look = {"color": COLOURS[colour], "marker": marker, "linewidth": 1.8, "markersize": 6}
    if row.mixers:
        return {**look, "linestyle": "-"}
    return {**look, "markerfacecolor": "none", "linestyle": (0, (5, 2))}


def place_title(place: Place) -> str:
    """What a section's figures are of."""
    return f"{place.dataset}: {place.protocol}, views {place.views}, budget {place.budget}"


def _tick(table: Table) -> str:
    rows = sorted({r.n_labels for row in table.rows.values() for r in row.records if r.n_labels is not None})
    return share(table.fraction) + (f"\n{rows[0]:,} rows" if rows else "")


def plain(label: str) -> str:
    """No mathematics in names."""
    return label.replace("$", r"\$")
