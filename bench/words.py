"""Words: numbers and verdicts as a person reads them, and names that cannot break a page."""

import html
import re
from collections.abc import Iterable

from bench.spec import digest
from bench.stats import Interval, Labels
from bench.tables import Row, Table

MARK = "<!-- Written by `python -m bench leaderboard` from the records beside it. Do not edit. -->"
MIXERS = {"imix": "i-Mix", "inputmix": "InputMix", "cutmix": "CutMix"}
CLASSICAL = {"tabular": "boosted trees", "text": "TF-IDF", "speech": "MFCC statistics", "images": "HOG or PCA features"}
MARKS = {1: "▲", -1: "▼", 0: "≈"}


def share(value: float) -> str:
    """A share in percent: 1 %, 0.5 %, 100 %."""
    return f"{100 * value:g} %"


def percent(value: float) -> str:
    """A score in percent with one decimal, without the sign."""
    return f"{100 * value:.1f}"


def mean_half(interval: Interval | None) -> str:
    """`80.1 ± 0.4`; without the half-width below two seeds."""
    if interval is None:
        return "—"
    return percent(interval.mean) + ("" if interval.half is None else f" ± {percent(interval.half)}")


def ratio(value: float) -> str:
    """A plain number with two decimals and a true minus sign."""
    return f"{value:.2f}".replace("-", "−")


def points(interval: Interval) -> str:
    """A difference in percentage points with its sign: `+2.5 ± 0.4`."""
    value = percent(abs(interval.mean))
    sign = "" if float(value) == 0 else "+" if interval.mean > 0 else "−"
    return sign + value + ("" if interval.half is None else f" ± {percent(interval.half)}")


def marked(interval: Interval | None) -> str:
    """A difference with ▲ or ▼ where its interval excludes zero and ≈ where it does not; no mark where it decides nothing."""
    if interval is None:
        return "—"
    return points(interval) + (f" {MARKS[interval.sign]}" if interval.decides else "")


def few(n: int, wanted: int) -> str:
    """` (3/5)` where there are fewer seeds than wanted."""
    return "" if n >= wanted else f" ({n}/{wanted})"


def _undecided(interval: Interval) -> str:
    return "one seed, no interval" if interval.n == 1 else f"{interval.n} seeds, too few to judge"


def labels(found: Labels | None) -> str:
    """How many labels supervised training needs, with its interval: `2,310 (1,900 to > 16,000)`."""
    if found is None:
        return "—"
    said = [_labels(value, found) for value in (found.needed, found.low, found.high)]
    return said[0] if len(set(said)) == 1 else f"{said[0]} ({said[1]} to {said[2]})"


def _labels(value: float | None, found: Labels) -> str:
    if value is None:
        return f"> {found.most:,.0f}"
    return f"≤ {found.least:,.0f}" if value <= found.least else f"{value:,.0f}"


def mixing(row: Row) -> str:
    """`i-Mix`, or `i-Mix + InputMix`."""
    return " + ".join(MIXERS.get(mixer, mixer) for mixer in row.mixers)


def effect(row: Row, interval: Interval) -> str:
    """What mixing did: `i-Mix helps npair: +2.5 ± 0.4 points`."""
    said = {1: f"helps {code(row.base)}", -1: f"hurts {code(row.base)}", 0: f"on {code(row.base)}: no significant difference"}
    if not interval.decides:
        return f"{mixing(row)} on {code(row.base)}: {points(interval)} points ({_undecided(interval)})"
    number = f" ({points(interval)} points)" if interval.sign == 0 else f": {points(interval)} points"
    return f"{mixing(row)} {said[interval.sign]}{number}"


def against(interval: Interval, other: str) -> str:
    """What came of a comparison: `loses to boosted trees (−4.1 ± 0.5 points)`."""
    if not interval.decides:
        return f"stands {points(interval)} points against {other} ({_undecided(interval)})"
    said = {1: f"beats {other}", -1: f"loses to {other}", 0: f"shows no significant difference from {other}"}
    return f"{said[interval.sign]} ({points(interval)} points)"


def verdict(table: Table, modality: str) -> list[str]:
    """One label fraction in sentences: what mixing did, which row is best, and how contrastive pretraining stands."""
    found = [f"{effect(row, difference)}." for row, difference in effects(table)]
    if table.best:
        names = ", ".join(f"{code(row.method)} ({mean_half(row.interval)})" for row in table.best)
        found.append(f"The best row is {names}." if len(table.best) == 1 else f"The best rows tie: {names}.")
    champion = table.best_contrastive
    if champion is not None:
        compared = [
            against(difference, name)
            for control, name in (("classical", classical(modality)), ("supervised", "`supervised`"))
            if (difference := table.difference(champion.method, control)) is not None
        ]
        if compared:
            seeds = f"{len(champion.scores)} of {table.seeds_wanted} seeds"
            of = " of those with every seed" if table.is_ranked(champion) else f" so far ({seeds})"
            found.append(f"The best contrastive row{of}, {code(champion.method)}, {' and '.join(compared)}.")
    return found or ["Nothing to compare yet."]


def effects(table: Table) -> list[tuple[Row, Interval]]:
    """The mixed rows that have an unmixed base to be compared with, by base and mixers."""
    rows = sorted((row for row in table.rows.values() if row.mixers and not row.is_control), key=lambda row: row.method)
    return [(row, difference) for row in rows if (difference := table.effect(row)) is not None]


def classical(modality: str) -> str:
    """What the control `classical` is, for one kind of data."""
    return f"{CLASSICAL[modality]} (`classical`)" if modality in CLASSICAL else "`classical`"


def text(value: object) -> str:
    """Any string as plain text in a markdown table or paragraph."""
    flat = html.escape(" ".join(str(value).split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", flat)


def code(value: object) -> str:
    """Any string as a code span that a table cell can hold."""
    flat = " ".join(str(value).split()).replace("`", "'").replace("|", r"\|")
    return f"`{flat}`" if flat else "—"


def slug(*parts: object) -> str:
    """A name for anchors and files: lower-case letters, digits and dashes. Letters that get lost come back as a hash."""
    return "-".join(map(_slug, map(str, parts)))


def _slug(part: str) -> str:
    plain = re.sub(r"[^a-z0-9.]+", "-", part.lower()).strip("-.")
    return plain if re.fullmatch(r"[\w.@+: -]*", part, re.ASCII) and plain else f"{plain}-{digest(part)[:6]}".strip("-")


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[str]], *, left: int | None = None) -> str:
    """A table; the first `left` columns (all, by default) are left-aligned, the others right."""
    head = list(head)
    left = len(head) if left is None else left
    lines = [head, ["---"] * left + ["---:"] * (len(head) - left), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
