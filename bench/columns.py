"""Columns: one label fraction as a markdown table, a row per method."""

from collections.abc import Callable

from bench.stats import GROUPS, binomial_error
from bench.tables import SCRATCH, Row, Section, Table
from bench.words import code, labels, markdown_table, marked, mean_half, percent, ratio, text


def rows(section: Section, table: Table, anchor: str, groups: int | None = None) -> str:
    """The rows of one label fraction, the controls below. groups: how many the test rows come in, where they do."""
    columns = _columns(section, table, anchor, groups)
    order = [table.rows[name] for name in table.order]
    shown = [[cell(row) for cell in columns.values()] for row in order]
    first = next((i for i, row in enumerate(order) if row.is_control), len(order))
    shown.insert(first, ["", "*controls*", *[""] * (len(columns) - 2)])
    return markdown_table(columns, shown, left=2)


def _columns(section: Section, table: Table, anchor: str, groups: int | None) -> dict[str, Callable[[Row], str]]:
    """Column title -> what a row shows there."""
    records = [record for row in table.rows.values() for record in row.records]
    metric = records[0].metric if records and records[0].metric else "score"
    columns: dict[str, Callable[[Row], str]] = {
        "rank": lambda row: str(table.ranks.get(row.method, "—")),
        "method": lambda row: code(row.method) + ("" if row.division == SCRATCH else f" ({text(row.division)})"),
        f"{metric} ±": lambda row: _score(table, row),
        "test ±": lambda row: _test_half(row) if groups is None or groups >= GROUPS else "—",
    }
    if any((r.majority or 0) > 1.5 * (r.chance or 1) for r in records):
        columns["balanced"] = lambda row: _shown(row.mean("balanced_accuracy"), percent)
    return {
        **columns,
        "vs supervised": lambda row: marked(table.difference(row.method, "supervised")),
        "vs base": lambda row: marked(table.effect(row)) if row.mixers and not row.is_control else "—",
        "gap closed": lambda row: _shown(table.gap_closed(row), ratio),
        **({"supervised needs": lambda row: labels(section.labels_needed(row))} if len(section.supervised) > 1 else {}),
        "open ranks": lambda row: _open(table.rank_intervals.get(row.method)),
        "cost": cost,
        "peak MiB": lambda row: _shown(row.mean("peak_memory_mb"), "{:,.0f}".format),
        "seeds": lambda row: _seeds(row, table.seeds_wanted, anchor),
    }


def _open(ranks: tuple[int, int] | None) -> str:
    return "—" if ranks is None else str(ranks[0]) if ranks[0] == ranks[1] else f"{ranks[0]}–{ranks[1]}"


def _score(table: Table, row: Row) -> str:
    if row.interval is None:
        return f"failed: {text((row.failures[0].reason or 'no reason given')[:80])}" if row.failures else "*missing*"
    shown = mean_half(row.interval)
    return f"**{shown}**" if table.ranks.get(row.method) == 1 else shown


def _test_half(row: Row) -> str:
    low, high, accuracy, n_test = (row.mean(name) for name in ("test_low", "test_high", "accuracy", "n_test"))
    if low is not None and high is not None:
        return percent((high - low) / 2)
    if accuracy is None or not n_test or row.records[0].metric != "accuracy":
        return "—"
    return percent(1.96 * binomial_error(accuracy, round(n_test)))


def cost(row: Row) -> str:
    """Mean CPU- or GPU-seconds of a run."""
    seconds = row.mean("seconds")
    if seconds is None:
        return "—"
    record = row.records[0]
    return f"{seconds:,.1f} CPU-s" if record.device == "cpu" else f"{seconds:,.1f} GPU-s"


def _seeds(row: Row, wanted: int, anchor: str) -> str:
    shown = f"{len(row.scores)}/{wanted}"
    shown = f"[{shown}](#{anchor})" if row.records or row.failures else shown
    lost = {r.seed for r in row.failures} - {r.seed for r in row.records}
    return shown + (f", {len(lost)} failed" if lost else "")


def _shown(value: float | None, how: Callable[[float], str]) -> str:
    return "—" if value is None else how(value)
