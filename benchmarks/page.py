"""`leaderboards/performance.md`, made of what the groups left in `leaderboards/performance/`."""

import json
from pathlib import Path
from typing import Any

from benchmarks.row import Row

BOARDS = Path(__file__).parents[1] / "leaderboards"
FOLDER = BOARDS / "performance"
PAGE = BOARDS / "performance.md"

INTRODUCTION = """# Performance

<!-- Made by `python -m benchmarks`; edits are lost. -->

How fast `bench` is beside its peers and beside what the machine could do at best. All of it: `tox -e perf`. Sides take turns in
one run, on one pinned core and one thread where nothing else is said; times are CPU-seconds, and a ratio compares the sides of
one round. Numbers are medians over the rounds, with the range. A verdict goes by the median.
"""


def render(kept: list[dict[str, Any]]) -> str:
    """The page, of what the groups measured."""
    parts = [INTRODUCTION]
    for group in kept:
        m = group["machine"]
        versions = ", ".join(f"{name} {version}" for name, version in m["versions"].items())
        parts += [f"## {group['title']}\n", *([group["about"] + "\n"] if group["about"] else [])]
        rows = [Row.unpacked(row) for row in group["rows"]]
        parts += ["| what | measured | to reach | verdict |", "|---|---|---|---|"]
        parts += [f"| {' | '.join(row.cells())} |" for row in rows]
        parts += ["", *(f"- {row.what}: {row.note}" for row in rows if row.note)]
        parts += [f"\n`{group['command']}`: {m['processor']}, {m['precision']} where nothing is said; {versions}.\n"]
    return "\n".join(parts)


def write() -> None:
    """Make the page anew."""
    PAGE.write_text(
        render([json.loads(p.read_text(encoding="utf-8")) for p in sorted(FOLDER.glob("*.json"))]), encoding="utf-8"
    )
