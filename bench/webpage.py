"""The boards as one web page that needs no network: a pure function of the records."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.figures import style
from bench.record import Record
from bench.stats import Interval
from bench.tables import SEEDS, Row, Section, Table, sections
from bench.words import labels, marked, mean_half, percent, ratio, share

LIMIT = 2_000_000  # bytes
_WEB = Path(__file__).with_name("web")


def webpage(boards: Mapping[str, Sequence[Record]], cards: Mapping[str, Mapping[str, Any]], seeds_wanted: int = SEEDS) -> str:
    """HTML. boards: modality -> records; cards: modality -> CARD. Above `LIMIT` bytes the seeds' scores are left out.

    Raises `UserError` where that is not enough.
    """
    for with_seeds in (True, False):
        html = _html(_data(boards, cards, seeds_wanted, with_seeds))
        if len(html.encode()) < LIMIT:
            return html
    raise UserError(
        f"the page would have {len(html.encode()):,} bytes, more than {LIMIT:,}. Publish fewer data sets into these boards, or "
        "make a page of each part: python -m bench leaderboard --boards DIR --html FILE"
    )


def _html(data: dict[str, Any]) -> str:
    page, look, script = ((_WEB / f"board.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    # "<" cannot end the script element, or begin anything, inside the data
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    parts = {"{{style}}": look.strip(), "{{script}}": script.strip(), "{{data}}": text}
    for name in ("{{style}}", "{{script}}", "{{data}}"):  # the data last, so that nothing in them is replaced
        before, after = page.split(name)
        page = before + parts[name] + after
    return page


def _data(
    boards: Mapping[str, Sequence[Record]], cards: Mapping[str, Mapping[str, Any]], seeds_wanted: int, with_seeds: bool
) -> dict[str, Any]:
    """What the script reads: places (curves), tables (one cut), rows (one method), and texts as the markdown has them."""
    data: dict[str, Any] = {"places": [], "tables": [], "rows": [], "looks": {}, "data": []}
    for modality, records in sorted(boards.items()):
        known = cards[modality].get("datasets", {})
        found = sections(records, seeds_wanted)
        for name in sorted({section.place.dataset for section in found}):
            facts = known.get(name, {})
            data["data"].append([f"{modality}/{name}", *(str(facts.get(key, "—")) for key in ("source", "licence", "cite"))])
        for section in found:
            data["places"].append(_place(modality, section))
            for table in section.tables:
                data["tables"].append(_table(section, table, len(data["places"]) - 1))
                rows = [table.rows[name] for name in table.order]
                data["rows"] += [_row(section, table, row, len(data["tables"]) - 1, with_seeds) for row in rows]
    data["looks"] = {name: _look(name) for name in sorted({row["method"] for row in data["rows"]})}
    versions = sorted({r.bench_version for records in boards.values() for r in records if r.status == "ok"})
    finished = sum(r.status == "ok" for records in boards.values() for r in records)
    data["made"] = f"Made of {finished:,} finished runs of bench {', '.join(versions)}. Works from disk, without a network."
    return data


def _place(modality: str, section: Section) -> dict[str, Any]:
    place = section.place
    axis = "rows and labels cut together" if not place.axis else f"labels cut, {share(place.axis)} of the rows pretrain"
    return {
        "modality": modality, "dataset": place.dataset, "views": place.views, "setting": f"{place.budget}, {place.protocol}",
        "axis": axis,
    }  # fmt: skip


def _table(section: Section, table: Table, place: int) -> dict[str, Any]:
    axis = section.place.axis
    kept = "" if axis in (0, 1) else f", {share(axis)} of rows pretrain"
    cut = f"{share(table.fraction)} of {'labels' if axis else 'rows'}{kept}"
    return {"place": place, "fraction": table.fraction, "cut": cut}


def _row(section: Section, table: Table, row: Row, where: int, with_seeds: bool) -> dict[str, Any]:
    found, supervised, base = row.interval, table.difference(row.method, "supervised"), None
    if row.mixers and not row.is_control:
        base = table.effect(row)
    gap, needs, seconds, memory = (
        table.gap_closed(row),
        section.labels_needed(row),
        row.mean("seconds"),
        row.mean("peak_memory_mb"),
    )
    open_ranks = table.rank_intervals.get(row.method)
    failed = f"failed: {row.failures[0].reason or 'no reason given'}" if row.failures else ""
    return {
        "table": where,
        "method": row.method,
        "control": row.is_control,
        "rank": table.ranks.get(row.method),
        "open": open_ranks,
        "score": _points(found),
        "half": 0.0 if found is None or found.half is None else round(100 * found.half, 4),
        "score_text": mean_half(found) if found is not None else "failed" if failed else "missing",
        "interval_text": _interval(found, failed),
        "supervised": _points(supervised),
        "supervised_text": marked(supervised),
        "base": _points(base),
        "base_text": marked(base),
        "gap": None if gap is None else round(gap, 4),
        "gap_text": "—" if gap is None else ratio(gap),
        "needs": None if needs is None else round(needs.needed or 2 * needs.most, 1),
        "needs_text": labels(needs),
        "cost": None if seconds is None else round(seconds, 3),
        "cost_text": "—" if seconds is None else f"{seconds:,.1f}",
        "memory": None if memory is None else round(memory, 1),
        "memory_text": "—" if memory is None else f"{memory:,.0f}",
        "seeds": [[r.seed, percent(r.score or 0.0), r.run_id] for r in row.records if with_seeds],
        "n": len(row.scores),
        "seeds_text": f"{len(row.scores)}/{table.seeds_wanted}",
        "failed": failed,
    }


def _points(found: Interval | None) -> float | None:
    return None if found is None else round(100 * found.mean, 4)


def _interval(found: Interval | None, failed: str) -> str:
    if found is None:
        return failed or "not run"
    if found.half is None:
        return f"{percent(found.mean)}, one seed, no interval"
    return f"{mean_half(found)}, from {percent(found.mean - found.half)} to {percent(found.mean + found.half)}, {found.n} seeds"


def _look(method: str) -> dict[str, Any]:
    """Colour and dashes as in the figures."""
    drawn = style(method)
    dash = drawn["linestyle"][1] if isinstance(drawn["linestyle"], tuple) else ()
    filled = drawn.get("markerfacecolor") != "none"
    return {"colour": drawn["color"], "dash": " ".join(str(2 * d) for d in dash) or "none", "filled": filled}
