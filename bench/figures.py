"""Figures: the curve of a section as SVG, readable on white and on dark pages. A figure carries the hash of what it plots."""

import io
import re
from typing import Any, NamedTuple

from bench.spec import digest
from bench.tables import Row, Section
from bench.words import share

LOOK = 1  # raise it when the drawing changes, so that committed figures count as stale
GREY = "#777777"  # text and axes: contrast 4.5 on white, 4.2 on a dark page
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a63d2", "#a07000")  # first four: Okabe and Ito, for colour blindness
BASES = ("npair", "mocon", "simclr", "moco", "byol", "mochi", "membank", "directclr", "cc")
_CONTROLS = {  # dash pattern and marker
    "random": ((1, 2), "x"),
    "raw": ((4, 2), "P"),
    "classical": ((8, 2), "D"),
    "supervised": ((6, 2, 1, 2), "s"),
    "supervised+mixup": ((3, 1, 1, 1), "v"),
}
_MARKERS = {(): "o", ("imix",): "o", ("inputmix",): "^", ("imix", "inputmix"): "s"}
_HASH = re.compile(r"plotted data sha256:([0-9a-f]{64})")


class Line(NamedTuple):
    """One method: at each label fraction its mean and the half-width of its interval (0 where there is none)."""

    method: str
    points: tuple[tuple[float, float, float], ...]


def lines(section: Section) -> list[Line]:
    """What is plotted, in the order of the table of the largest fraction; methods without any run are left out."""
    found = []
    for method in section.methods:
        intervals = [(table.fraction, table.rows[method].interval) for table in section.tables]
        drawn = tuple((x, interval.mean, interval.half or 0.0) for x, interval in intervals if interval is not None)
        if drawn:
            found.append(Line(method, drawn))
    return found


def plotted_hash(section: Section) -> str:
    """SHA-256 of what the figure shows, means and half-widths rounded to 9 digits."""
    rows = [[line.method, [[round(value, 9) for value in point] for point in line.points]] for line in lines(section)]
    return digest([LOOK, list(section.place), _labels(section), rows])


def hash_in(svg: str) -> str | None:
    """The hash that a figure carries."""
    found = _HASH.search(svg)
    return found[1] if found else None


def draw(section: Section) -> str:
    """The figure as SVG text."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    out = io.StringIO()
    about = {"Title": _title(section), "Description": f"plotted data sha256:{plotted_hash(section)}", "Date": None}
    with rc_context({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10}):
        figure = Figure(figsize=(9, 4.2))
        _plot(figure, section)
        figure.savefig(out, format="svg", transparent=True, metadata=about)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _plot(figure: Any, section: Section) -> None:
    axes = figure.add_subplot()
    drawn = lines(section)
    for i, line in enumerate(drawn):
        dodge = 1.04 ** (i - (len(drawn) - 1) / 2)  # bars at one fraction stand side by side
        x, mean, half = zip(*line.points, strict=True)
        heights = ([100 * m for m in mean], [100 * h for h in half])
        axes.errorbar([dodge * v for v in x], heights[0], heights[1], label=_plain(line.method), **_style(line.method))
    axes.set_xscale("log")
    ticks = _labels(section)
    axes.set_xticks([fraction for fraction, _ in ticks], [label for _, label in ticks])
    axes.minorticks_off()
    axes.set_xlabel("label fraction" if section.place.axis else "data fraction")
    axes.set_ylabel("test score, %")
    axes.set_title(_plain(_title(section)), color=GREY, fontsize=11)
    axes.grid(visible=True, axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=GREY)
    axes.xaxis.label.set_color(GREY)
    axes.yaxis.label.set_color(GREY)
    figure.subplots_adjust(left=0.07, right=0.685, top=0.92, bottom=0.17)
    figure.legend(loc="upper left", bbox_to_anchor=(0.69, 0.94), frameon=False, labelcolor=GREY, handlelength=3.6)


def _style(method: str) -> dict[str, Any]:
    """Colour by base, marker by mixers, open and dashed without; controls are grey with a dash and a marker each."""
    row = Row(method)
    if row.is_control:
        dash, marker = _CONTROLS.get(method, ((2, 2), "*"))
        thin = {"linewidth": 1.2, "capsize": 2, "elinewidth": 0.9, "markersize": 4.5}
        return {"color": GREY, "linestyle": (0, dash), "marker": marker, **thin}
    place = BASES.index(row.base) if row.base in BASES else len(BASES)
    look = {"color": COLOURS[place % len(COLOURS)], "linewidth": 1.8, "capsize": 3, "markersize": 6, "elinewidth": 1.2}
    if row.mixers:
        return {**look, "marker": _MARKERS.get(row.mixers, "D"), "linestyle": "-"}
    return {**look, "marker": "o", "markerfacecolor": "none", "linestyle": (0, (5, 2))}


def _title(section: Section) -> str:
    place = section.place
    return f"{place.dataset}: {place.protocol}, views {place.views}, budget {place.budget}"


def _labels(section: Section) -> list[tuple[float, str]]:
    found = []
    for table in section.tables:
        rows = sorted({r.n_labels for row in table.rows.values() for r in row.records if r.n_labels is not None})
        found.append((table.fraction, share(table.fraction) + (f"\n{rows[0]:,} rows" if rows else "")))
    return found


def _plain(label: str) -> str:
    """No mathematics in names."""
    return label.replace("$", r"\$")
