"""`leaderboards/performance.md`, made of what the groups left in `leaderboards/performance/`."""

import json
from pathlib import Path
from typing import Any

from bench.figures import draw, hash_in, plotted_hash
from benchmarks import GROUPS
from benchmarks.curve import Curve, Growth
from benchmarks.row import Row

BOARDS = Path(__file__).parents[1] / "leaderboards"
FOLDER = BOARDS / "performance"
PAGE = BOARDS / "performance.md"

INTRODUCTION = """# Performance

<!-- Made by `python -m benchmarks`; edits are lost. -->

How fast `bench` is beside its peers and beside what the machine could do at best. All of it: `tox -e perf`. Sides take turns in
one run, on one pinned core and one thread where nothing else is said; times are CPU-seconds, and a ratio compares the sides of
one round. Numbers are medians over the rounds, with the range. A verdict goes by the median, or by the end of the range that
its goal names.
"""


def kept() -> dict[str, dict[str, Any]]:
    """What each group left, in the order of the page."""
    files = {name: FOLDER / f"{name}.json" for name in GROUPS}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items() if path.exists()}


def drawings(found: dict[str, dict[str, Any]]) -> dict[str, Growth]:
    """File name -> figure, of the groups that left curves."""
    return {
        f"{name}.svg": Growth(group["title"], [Curve.unpacked(c) for c in group["curves"]])
        for name, group in found.items()
        if "curves" in group
    }


def goals(found: dict[str, dict[str, Any]]) -> list[str]:
    """How many goals are met, and a table of those that are missed."""
    judged = [(group["title"], row) for group in found.values() for row in map(Row.unpacked, group["rows"]) if row.verdict]
    missed = [(title, row.cells()) for title, row in judged if row.verdict == "missed"]
    lines = [f"{len(judged) - len(missed)} of {len(judged)} goals are met{'; missed:' if missed else '.'}", ""]
    if missed:
        lines += ["| group | what | measured | to reach |", "|---|---|---|---|"]
        lines += [f"| {title.partition(':')[0]} | {' | '.join(cells[:3])} |" for title, cells in missed]
        lines.append("")
    return lines


def render(found: dict[str, dict[str, Any]]) -> str:
    """The page, of what the groups measured."""
    parts, figures = [INTRODUCTION, *goals(found)], drawings(found)
    for name, group in found.items():
        m = group["machine"]
        versions = ", ".join(f"{library} {version}" for library, version in m["versions"].items())
        parts += [f"## {group['title']}\n", *([group["about"] + "\n"] if group["about"] else [])]
        if (file := f"{name}.svg") in figures:
            parts += [f"![{figures[file].title()}]({FOLDER.name}/{file})\n"]
        rows = [Row.unpacked(row) for row in group["rows"]]
        parts += ["| what | measured | to reach | verdict |", "|---|---|---|---|"]
        parts += [f"| {' | '.join(row.cells())} |" for row in rows]
        parts += ["", *(f"- {row.what}: {row.note}" for row in rows if row.note)]
        parts += [f"\n`{group['command']}`: {m['processor']}, {m['precision']} where nothing is said; {versions}.\n"]
    return "\n".join(parts)


def write() -> None:
    """Make the page and its figures anew; a figure that shows the same numbers stays as it is."""
    found = kept()
    PAGE.write_text(render(found), encoding="utf-8")
    for name, drawing in drawings(found).items():
        path = FOLDER / name
        if not path.exists() or hash_in(path.read_text(encoding="utf-8")) != plotted_hash(drawing):
            path.write_text(draw(drawing), encoding="utf-8")
