"""One line of the table: what was measured, what was to be reached, and the verdict."""

import operator
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.timing import Spread

SENSES = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Row:
    """A measurement. reach: what the project set out to reach, as ">= 15"; "" where nothing was set, and the row informs.

    unit: "x" for ratios, "%", "MiB", "s", "ms", "/s", "" for plain numbers. judged: which of the three numbers the verdict is
    about; the upper end of an interval, where nothing but a clear loss is a failure.
    """

    what: str
    measured: Spread
    unit: str
    reach: str = ""
    note: str = ""
    judged: str = "median"

    @property
    def verdict(self) -> str:
        """`met`, `missed`, or nothing."""
        if not self.reach:
            return ""
        sense, bound = self.reach.split()
        return "met" if SENSES[sense](getattr(self.measured, self.judged), float(bound)) else "missed"

    def cells(self) -> tuple[str, ...]:
        """What stands in the table's row."""
        m = self.measured
        same = number(m.low) == number(m.high)
        found = number(m.median) if same else f"{number(m.median)} ({number(m.low)} to {number(m.high)})"
        reach = self.reach.replace(">=", "≥").replace("<=", "≤") + ("" if self.judged == "median" else f" ({self.judged})")
        return (
            self.what,
            f"{found} {_shown(self.unit)}".rstrip(),
            f"{reach} {_shown(self.unit)}".strip() if reach else "",
            self.verdict,
        )

    def packed(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def unpacked(cls, given: dict[str, Any]) -> "Row":
        """From JSON."""
        return cls(**{**given, "measured": Spread(**given["measured"])})


def number(value: float) -> str:
    """Three digits that count; whole numbers from 100."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _shown(unit: str) -> str:
    return "×" if unit == "x" else unit
