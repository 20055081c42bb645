"""How a cost grows: points, the slope to expect, and one figure of many such curves."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import linear_regression
from typing import Any

from bench.figures import COLOURS, GREY, Drawing, dress

ACROSS = 3  # panels


@dataclass(frozen=True)
class Curve:
    """One cost against one quantity, both on logarithmic axes.

    against, unit: what the horizontal and the vertical axis show; a figure has a panel for each pair. points: ascending.
    expected: the exponent that the cost should grow with once the quantity rules it.
    """

    against: str
    unit: str
    name: str
    points: list[tuple[float, float]]
    expected: float

    def slope(self) -> float:
        """The exponent measured over the upper half of the points, by least squares on the logarithms."""
        upper = self.points[len(self.points) // 2 :]
        return linear_regression([math.log(x) for x, _ in upper], [math.log(y) for _, y in upper]).slope

    def packed(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def unpacked(cls, given: dict[str, Any]) -> "Curve":
        """From JSON."""
        return cls(**{**given, "points": [(x, y) for x, y in given["points"]]})


class Growth(Drawing):
    """A panel for every cost against every quantity; grey lines have the expected slope and end where a curve ends."""

    def __init__(self, what: str, curves: Sequence[Curve]) -> None:
        self.what, self.curves = what, curves
        self.panels = list(dict.fromkeys((c.against, c.unit) for c in curves))

    def title(self) -> str:
        return self.what

    def size(self) -> tuple[float, float]:
        return 2.7 * ACROSS, 2.4 * math.ceil(len(self.panels) / ACROSS)

    def plotted(self) -> list[Any]:
        return [c.packed() for c in self.curves]

    def plot(self, figure: Any) -> None:
        for number, panel in enumerate(self.panels, start=1):
            axes = figure.add_subplot(math.ceil(len(self.panels) / ACROSS), ACROSS, number)
            shown = [c for c in self.curves if (c.against, c.unit) == panel]
            for colour, curve in zip(COLOURS, shown, strict=False):
                self._line(axes, curve, colour)
            self._scales(axes, shown)
            dress(axes, "both")
            axes.legend(frameon=False, fontsize=7, labelcolor=GREY, handlelength=1.2)
            axes.set_xlabel(panel[0])
            axes.set_ylabel(panel[1])
        figure.tight_layout()

    @staticmethod
    def _scales(axes: Any, shown: Sequence[Curve]) -> None:
        """Plain ticks: some of the points, and powers of ten; a decade at least, so that what is flat looks flat."""
        xs, ys = ([point[i] for c in shown for point in c.points] for i in (0, 1))
        axes.set_xscale("log")
        axes.set_yscale("log")
        some = sorted(set(xs))
        axes.set_xticks(some[:: math.ceil(len(some) / 5)], [short(x) for x in some[:: math.ceil(len(some) / 5)]])
        low, high = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)))
        decades = [10.0**k for k in range(low, max(high, low + 1) + 1)]
        axes.set_yticks(decades, [short(y) for y in decades])
        axes.set_ylim(decades[0], decades[-1])
        axes.minorticks_off()

    @staticmethod
    def _line(axes: Any, curve: Curve, colour: str) -> None:
        xs, ys = zip(*curve.points, strict=True)
        axes.plot(xs, ys, marker="o", markersize=3, linewidth=1.5, color=colour, label=curve.name)
        expected = [ys[-1] * (x / xs[-1]) ** curve.expected for x in xs]
        seen = [(x, y) for x, y in zip(xs, expected, strict=True) if y >= min(ys) / 2]
        axes.plot(*zip(*seen, strict=True), linewidth=0.8, linestyle=(0, (4, 3)), color=GREY, zorder=1)


def short(value: float) -> str:
    """As a tick says it: 0.1, 64, 4k, 1M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{int(value / size)}{letter}"
    return f"{value:g}"
