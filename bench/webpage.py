"""The boards as one web page that needs no network: a pure function of the records."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.figures import division_of, style
from bench.record import Record
from bench.tables import SCRATCH, SEEDS, Row, Section, Table, sections
from bench.words import labels, marked, mean_half, percent, ratio, share

LIMIT = 2_000_000  # bytes
_WEB = Path(__file__).with_name("web")


def webpage(
    boards: Mapping[str, Sequence[Record]],
    cards: Mapping[str, Mapping[str, Any]],
    seeds_wanted: int = SEEDS,
    withdrawn: Sequence[tuple[Record, str]] = (),
) -> str:
    """HTML. boards: modality -> records; cards: modality -> CARD; withdrawn: records that must not be used, and why.

    Above `LIMIT` bytes the seeds' scores are left out. Raises `UserError` where that is not enough.
    """
    data = _data(boards, cards, seeds_wanted, withdrawn)
    rows = data.pop("rows")
    for with_seeds in (True, False):
        html = _html(data | _packed(rows, with_seeds))
        if len(html.encode()) < LIMIT:
            return html
    raise UserError(
        f"the page would have {len(html.encode()):,} bytes even without the scores of single seeds, more than {LIMIT:,}. Make "
        "several of it: copy the lines of some data sets or modalities from records/*.jsonl into DIR/records/, and run "
        "python -m bench leaderboard --boards DIR --html FILE"
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
    boards: Mapping[str, Sequence[Record]],
    cards: Mapping[str, Mapping[str, Any]],
    seeds_wanted: int,
    withdrawn: Sequence[tuple[Record, str]],
) -> dict[str, Any]:
    """What the script reads: places (curves), tables (one cut), rows (one method), and texts as the markdown has them."""
    data: dict[str, Any] = {"places": [], "tables": [], "rows": [], "data": [], "scratch": SCRATCH}
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
                data["rows"] += [_row(section, table, row, len(data["tables"]) - 1) for row in rows]
    data["looks"] = {name: _look(name) for name in sorted({texts["method"] for texts, _ in data["rows"]})}
    data["withdrawn"] = [[r.run_id, r.method, f"{r.modality}/{r.scored_on}", str(r.seed), why] for r, why in withdrawn]
    versions = sorted({r.bench_version for records in boards.values() for r in records if r.status == "ok"})
    finished = sum(r.status == "ok" for records in boards.values() for r in records)
    data["made"] = f"Made of {finished:,} finished runs of bench {', '.join(versions)}. Works from disk, without a network."
    return data


def _packed(rows: Sequence[tuple[dict[str, str], dict[str, Any]]], with_seeds: bool) -> dict[str, Any]:
    """Rows as bare values, texts first; a text, however many rows it stands in, is written once, and rows hold its number."""
    numbers: dict[str, int] = {}
    packed: list[list[Any]] = []
    for texts, values in rows:
        row = [*(numbers.setdefault(text, len(numbers)) for text in texts.values()), *values.values()]
        row = row if with_seeds else row[:-1]
        while row[-1] is None:
            row.pop()
        packed.append(row)
    return {"columns": [[*part] for part in rows[0]] if rows else [[], []], "rows": packed, "texts": [*numbers]}


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


def _row(section: Section, table: Table, row: Row, where: int) -> tuple[dict[str, str], dict[str, Any]]:
    """Texts, and values: the often missing ones last, since they are left out there. Seeds are the last of all."""
    found, base = row.interval, table.effect(row) if row.mixers and not row.is_control else None
    gap, seconds, memory = table.gap_closed(row), row.mean("seconds"), row.mean("peak_memory_mb")
    failed = f"failed: {row.failures[0].reason or 'no reason given'}" if row.failures else ""
    texts = {
        "method": row.method,
        "division": row.division if row.records else division_of(row.method, section) or SCRATCH,
        "score_text": mean_half(found) if found is not None else "failed" if failed else "missing",
        "supervised": marked(table.difference(row.method, "supervised")),
        "base": marked(base),
        "gap": "—" if gap is None else ratio(gap),
        "needs": labels(section.labels_needed(row)),
        "cost": "—" if seconds is None else f"{seconds:,.1f}",
        "memory": "—" if memory is None else f"{memory:,.0f}",
        "seeds_text": f"{len(row.scores)}/{table.seeds_wanted}",
        "failed": failed,
    }
    values = {
        "table": where,
        "n": len(row.scores),
        "score": None if found is None else round(100 * found.mean, 2),
        "half": None if found is None or found.half is None else round(100 * found.half, 2),
        "rank": table.ranks.get(row.method),
        "open": table.rank_intervals.get(row.method),
        "seeds": ", ".join(f"{r.seed}: {percent(r.score or 0.0)} ({r.run_id})" for r in row.records) or None,
    }
    return texts, values


def _look(method: str) -> dict[str, Any]:
    """Colour and dashes as in the figures, and whether it is a control."""
    drawn = style(method)
    dash = drawn["linestyle"][1] if isinstance(drawn["linestyle"], tuple) else ()
    filled = drawn.get("markerfacecolor") != "none"
    dashes = " ".join(str(2 * d) for d in dash) or "none"
    return {"control": Row(method).is_control, "colour": drawn["color"], "dash": dashes, "filled": filled}
