"""Pages: the markdown of one modality, a pure function of its records. No clock, no disk, no torch."""

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.figures import lines as plotted
from bench.record import Record
from bench.stats import binomial_error
from bench.tables import SCRATCH, SEEDS, Row, Section, Table, sections
from bench.words import CLASSICAL, code, markdown_table, marked, mean_half, percent, ratio, share, slug, text, verdict

MARK = "<!-- Written by `python -m bench leaderboard` from the records beside it. Do not edit. -->"
LEGEND = """\
- **score ±**: mean over seeds and 95 % t-interval, in percent. The interval covers the randomness of training
  (initialisation, batches, views, and which rows are labelled) on one fixed test set, and not the choice of the test
  rows: **test ±** is half of a 95 % interval over those, for one run (bootstrap over test rows, or over speakers where
  test rows share them; for records without it 1.96 √(p (1 − p) / n), to which a bootstrap over rows amounts).
- **rank**: over all rows trained from scratch with every seed. Rows tie while the paired interval of their difference to
  the first of their group holds zero. **Bold** is the tie group of the best row. Rows with fewer seeds are not ranked.
- **vs supervised**, **vs base**: differences in points, paired by seed on equal rows; the base of `npair+imix` is `npair`.
  ▲ ▼ the 95 % interval excludes zero; ≈ it does not: *no significant difference*. No correction for the number of comparisons.
- **gap closed**: (score − random) / (supervised − random); 0 is an untrained encoder, 1 the supervised one. Left out where
  supervised is not reliably above random.
- **cost**: mean per run, training and evaluation, in CPU-seconds of all threads (seconds on a GPU), and peak memory. A
  pretraining that several rows share counts in full in each. The trials of three learning rates count in the run that made
  them, the first of seed 0.
- Contrastive rows train with their recipe's learning rate and a fixed number of steps; the supervised rows choose one of
  three rates (the recipe's and two below it) and when to stop, on validation rows. Where the highest rate is chosen, a
  higher one might have been better still. Both rules stand against a fixed recipe; neither says what more tuning would give.
- With few labels the probe's strength rests on few validation rows; that choice is part of why intervals at 1 % are wide.
- The cut into fractions is stratified, so it looks at labels; nothing in pretraining after it does. The best contrastive
  row named in words is picked by its test mean, which flatters it a little.
- Controls: `random` is an untrained encoder, `raw` no encoder, `classical` {classical}, and `supervised` the same
  encoder trained on the labelled rows only. *missing* cells have not been run."""


def page(
    records: Sequence[Record], modality: str, card: Mapping[str, Any], sweeps: Sequence[str] = (), seeds_wanted: int = SEEDS
) -> str:
    """The board of one modality. card: the modality's CARD; sweeps: names of the sweep files that fill it."""
    found = sections(records, seeds_wanted)
    parts = [MARK, f"# {text(modality)}: {text(card.get('title', 'leaderboard'))}", _counted(records, modality), "## In words"]
    for section in found:
        parts.append(f"**{_heading(section)}**")
        parts.append("\n".join(f"- {_cut(section, table)}: {' '.join(verdict(table, modality))}" for table in section.tables))
    parts += ["## How to read the tables", LEGEND.format(classical=text(CLASSICAL.get(modality, "the usual method")))]
    for section in found:
        parts += _section(section, modality)
    parts += ["## Data", _data(found, card), "## Reproduce", _reproduce(records, sweeps)]
    return "\n\n".join(parts) + "\n"


def figure_name(section: Section, modality: str) -> str:
    """The figure's path below the boards, or "" for a section with a single fraction."""
    if len(section.tables) < 2 or not plotted(section):
        return ""
    return f"figures/{_anchor(section, modality)}.svg"


def _counted(records: Sequence[Record], modality: str) -> str:
    done = sum(record.status == "ok" for record in records)
    failed = len(records) - done
    counted = f"{done:,} finished runs" + (f" and {failed:,} failed" if failed else "")
    return f"[Overview](README.md) · [records](records/{modality}.jsonl): {counted}"


def _heading(section: Section) -> str:
    place = section.place
    axis = "data and labels cut together" if not place.axis else "labels cut"
    axis += f", pretraining on {'all' if place.axis == 1 else share(place.axis) + ' of the'} rows" if place.axis else ""
    return f"{text(place.dataset)}: views {text(place.views)}, budget {text(place.budget)}, {text(place.protocol)}, {axis}"


def _anchor(section: Section, modality: str) -> str:
    place = section.place
    axis = f"labels{100 * place.axis:g}" if place.axis else "data"
    return slug(modality, place.dataset, place.views, place.budget, axis, place.protocol)


def _cut(section: Section, table: Table) -> str:
    counts = sorted({r.n_labels for row in table.rows.values() for r in row.records if r.n_labels is not None})
    of = "labels" if section.place.axis else "rows, labels included"
    span = f" ({counts[0]:,}{f' to {counts[-1]:,}' if counts[1:] else ''} rows)" if counts else ""
    return f"{share(table.fraction)} of the {of}{span}"


def _section(section: Section, modality: str) -> list[str]:
    parts = [f"## {_heading(section)}"]
    figure = figure_name(section, modality)
    if figure:
        parts.append(f"![Test score against the fraction, one line per method, for {_heading(section)}]({figure})")
    parts.append(_facts(section))
    for table in section.tables:
        anchor = f"{_anchor(section, modality)}-{100 * table.fraction:g}"
        parts += [f"### {text(section.place.dataset)}, {_cut(section, table)}", _table(table, anchor), _runs(table, anchor)]
    return parts


def _facts(section: Section) -> str:
    """What the rows of a section have in common, and the machines they ran on."""
    records = section.records
    said = []
    tests = sorted({r.n_test for r in records if r.n_test})
    said += [f"Test rows: {', '.join(f'{n:,}' for n in tests)}."] if tests else []
    rates = [(r.chance, r.majority) for r in records if r.chance is not None and r.majority is not None]
    if rates:
        chance, majority = min(rates)
        said.append(f"Chance {percent(chance)}, majority class {percent(majority)}.")
    sizes = sorted({(r.parameters, r.forward_flops or 0) for r in records if r.parameters})
    said += [f"Encoder: {'; '.join(f'{p:,} parameters, {f:,} FLOPs per example' for p, f in sizes)}."] if sizes else []
    machines = Counter((r.device_name or r.device, r.threads, r.precision) for r in records)
    ran = [
        f"{text(name)}, {t} thread{'s' * (t > 1)}, {text(p)} ({n} run{'s' * (n > 1)})"
        for (name, t, p), n in sorted(machines.items())
    ]
    said += [f"Machines: {'; '.join(ran)}."] if ran else []
    left_out = sum(row.left_out for table in section.tables for row in table.rows.values())
    said += [f"{left_out} runs of older method versions or other machine settings are not shown."] if left_out else []
    return " ".join(said)


def _table(table: Table, anchor: str) -> str:
    columns = _columns(table, anchor)
    order = [table.rows[name] for name in table.order]
    shown = [[cell(row) for cell in columns.values()] for row in order]
    first = next((i for i, row in enumerate(order) if row.is_control), len(order))
    shown.insert(first, ["", "*controls*", *[""] * (len(columns) - 2)])
    return markdown_table(columns, shown, left=2)


def _columns(table: Table, anchor: str) -> dict[str, Callable[[Row], str]]:
    """Column title -> what a row shows there."""
    records = [record for row in table.rows.values() for record in row.records]
    metric = records[0].metric if records and records[0].metric else "score"
    columns: dict[str, Callable[[Row], str]] = {
        "rank": lambda row: str(table.ranks.get(row.method, "—")),
        "method": lambda row: code(row.method) + ("" if row.division == SCRATCH else f" ({text(row.division)})"),
        f"{metric} ±": lambda row: _score(table, row),
        "test ±": _test_half,
    }
    if any((r.majority or 0) > 1.5 * (r.chance or 1) for r in records):
        columns["balanced"] = lambda row: _shown(row.mean("balanced_accuracy"), percent)
    return {
        **columns,
        "vs supervised": lambda row: marked(table.difference(row.method, "supervised")),
        "vs base": lambda row: marked(table.effect(row)) if row.mixers and not row.is_control else "—",
        "gap closed": lambda row: _shown(table.gap_closed(row), ratio),
        "cost": cost,
        "peak MiB": lambda row: _shown(row.mean("peak_memory_mb"), "{:,.0f}".format),
        "seeds": lambda row: _seeds(row, table.seeds_wanted, anchor),
    }


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
    shown = f"[{shown}](#{anchor})" if row.records else shown
    lost = {r.seed for r in row.failures} - {r.seed for r in row.records}
    return shown + (f", {len(lost)} failed" if lost else "")


def _shown(value: float | None, how: Callable[[float], str]) -> str:
    return "—" if value is None else how(value)


def _runs(table: Table, anchor: str) -> str:
    """Run ids and the command of every row, folded away."""
    rows = [row for row in (table.rows[name] for name in table.order) if row.records]
    if not rows:
        return "No finished runs."
    told = [
        f"- {code(row.method)} {', '.join(f'{r.seed}: `{r.run_id}`' for r in row.records)}<br>"
        + code(command(row.records[0], row.records[-1].seed + 1)).replace(r"\|", "|")  # no table here
        for row in rows
    ]
    return (
        f'<details id="{anchor}"><summary>Records (seed: run id) and commands</summary>\n\n'
        + "\n".join(told)
        + "\n\n</details>"
    )


def command(record: Record, seeds: int) -> str:
    """The command that runs a row again."""
    r = record
    asked = {"modality": r.modality, "dataset": r.dataset, "method": r.method, "views": r.views, "budget": r.budget}
    asked |= {"pretrain-fraction": f"{r.pretrain_fraction:g}", "label-fraction": f"{r.label_fraction:g}"}
    asked |= {"evaluate-on": r.evaluate_on} if r.evaluate_on else {}
    asked |= {"protocol": r.protocol, "seeds": str(seeds)}
    return "python -m bench run " + " ".join(f"--{name} {shlex.quote(value)}" for name, value in asked.items()) + " --alone"


def _data(found: Sequence[Section], card: Mapping[str, Any]) -> str:
    known = card.get("datasets", {})
    names = sorted({section.place.dataset for section in found})
    facts = ("rows", "columns", "classes", "source", "licence", "cite")
    rows = [[code(name), *(text(known.get(name, {}).get(fact, "—")) for fact in facts)] for name in names]
    return markdown_table(["data set", "rows (train + test)", *facts[1:]], rows)


def _reproduce(records: Sequence[Record], sweeps: Sequence[str]) -> str:
    whole = [f"python -m bench sweep leaderboards/sweeps/{name}" for name in sweeps]
    after = ["python -m bench publish runs", "python -m bench leaderboard"]
    versions = sorted({(r.bench_version, r.torch_version or "?") for r in records if r.status == "ok"})
    return (
        "```\n" + "\n".join(whole + after) + "\n```\n\n"
        "One row: the command below its table. One run, exactly: `python -m bench rerun RUN_ID`. Scores repeat bit for bit on "
        "an equal machine with equal threads and precision, and within the intervals elsewhere.\n\n"
        "Written by bench " + "; ".join(f"{text(b)} (torch {text(t)})" for b, t in versions) + "."
    )
