"""Pages: the markdown of one modality, a pure function of its records. No clock, no disk, no torch."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from bench.columns import rows
from bench.figures import Costs, Curve, Drawing, lines
from bench.ranking import win_tie_loss
from bench.record import Record
from bench.spec import SETTINGS, RunSpec
from bench.stats import GROUPS, detectable
from bench.tables import CONTROLS, SCRATCH, SEEDS, Section, Table, once, sections
from bench.words import CLASSICAL, MARK, code, effects, markdown_table, percent, share, slug, text, verdict

LEGEND = """\
- **score ±**: mean over seeds and 95 % t-interval, in percent. The interval covers the randomness of training
  (initialisation, batches, views, and which rows are labelled) on one fixed test set, and not the choice of the test
  rows: **test ±** is half of a 95 % interval over those, for one run (bootstrap over test rows, or over speakers where
  test rows share them and there are {groups} or more; for records without it 1.96 √(p (1 − p) / n), to which a bootstrap over
  rows amounts).
- **rank**: over all rows trained from scratch with every seed. Rows tie while the paired interval of their difference to
  the first of their group holds zero. **Bold** is the tie group of the best row. Rows with fewer seeds are not ranked.
- **open ranks**: for all ranked rows of a table together, the ranks that the scores leave open at 95 %: paired t tests of
  all pairs with Holm's correction. **vs supervised** and the marks below are not corrected; these are.
- **vs supervised**, **vs base**: differences in points, paired by seed on equal rows; the base of `npair+imix` is `npair`.
  ▲ ▼ the 95 % interval excludes zero; ≈ it does not: *no significant difference*. Below three pairs there is no mark. A row
  and a base that differ in a setting both have are not compared. No correction for the number of comparisons.
- **gap closed**: (score − random) / (supervised − random); 0 is an untrained encoder, 1 the supervised one. Left out where
  supervised is not reliably above random.
- **supervised needs**: how many labelled rows `supervised` needs to reach the row's score, interpolated over the logarithm of
  the rows, with the interval of the paired difference carried along; more than the row had means labels saved. The number is
  where its curve first reaches the score; where the curve falls again, the upper end is where it stays there for good.
  Nothing is extrapolated: > n means that it never reaches it up to n, ≤ n that it does with the fewest it was run with.
- **cost**: mean per run, training and evaluation, in CPU-seconds of all threads (seconds on a GPU), and peak memory. A
  pretraining that several rows share counts in full in each. The trials of three learning rates count in the run that made
  them, the first of seed 0.
- Contrastive rows train with their recipe's learning rate and a fixed number of steps; the supervised rows choose one of
  three rates (the recipe's and two below it) and when to stop, on validation rows. Where the highest rate is chosen, a
  higher one might have been better still. Both rules stand against a fixed recipe; neither says what more tuning would give.
- With few labels the probe's strength rests on few validation rows; that choice is part of why intervals at 1 % are wide.
- The cut into fractions is stratified, so it looks at labels; nothing in pretraining after it does. The best contrastive
  row named in words is the one with the best test mean of those with every seed (of all, where none has every seed), a choice
  that flatters it a little.
- Controls: `random` is an untrained encoder, `raw` no encoder, `classical` {classical}, and `supervised` the same
  encoder trained on the labelled rows only. *missing* cells have not been run."""


def page(
    records: Sequence[Record],
    modality: str,
    card: Mapping[str, Any],
    sweeps: Sequence[str] = (),
    seeds_wanted: int = SEEDS,
    withdrawn: Sequence[tuple[Record, str]] = (),
    found: Sequence[Section] | None = None,
) -> str:
    """The board of one modality. card: the modality's CARD; sweeps: names of the sweep files that fill it; withdrawn: records
    that must not be used, and why; found: the sections of the records, where they are known already."""
    found = sections(records, seeds_wanted) if found is None else found
    parts = [MARK, f"# {text(modality)}: {text(card.get('title', 'leaderboard'))}", _counted(records, modality), "## In words"]
    for section in found:
        parts.append(f"**{_heading(section)}**")
        parts.append("\n".join(f"- {_cut(section, table)}: {' '.join(verdict(table, modality))}" for table in section.tables))
    legend = LEGEND.format(classical=text(CLASSICAL.get(modality, "the usual method")), groups=GROUPS)
    parts += ["## How to read the tables", legend]
    for section in found:
        parts += _section(section, modality, card)
    parts += [*_wins(found), "## Data", _data(found, card), *_withdrawn(withdrawn), "## Reproduce", _reproduce(records, sweeps)]
    return "\n\n".join(part for part in parts if part) + "\n"


def figures(section: Section, modality: str) -> dict[str, Drawing]:
    """A section's figures by their path below the boards: a curve where there are several fractions, and what quality costs."""
    path, drawn = f"figures/{_anchor(section, modality)}", lines(section)
    found: dict[str, Drawing] = {f"{path}.svg": Curve(section)} if len(section.tables) > 1 and drawn else {}
    return found | ({f"{path}-cost.svg": Costs(section)} if len(drawn) > 1 else {})


def _counted(records: Sequence[Record], modality: str) -> str:
    done = sum(record.status == "ok" for record in records)
    failed = len(records) - done
    counted = f"{done:,} finished runs" + (f" and {failed:,} failed" if failed else "")
    return f"[Overview](README.md) · [ablation](ablation.md) · [records](records/{modality}.jsonl): {counted}"


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


def _section(section: Section, modality: str, card: Mapping[str, Any]) -> list[str]:
    parts = [f"## {_heading(section)}"]
    alt = {Curve: "Test score against the fraction, one line per method", Costs: "Test score against seconds of computing"}
    drawn = figures(section, modality)
    parts += [f"![{alt[type(drawing)]}, for {_heading(section)}]({name})" for name, drawing in drawn.items()]
    groups = _groups(section, card)
    parts.append(_facts(section, groups))
    for table in section.tables:
        anchor = f"{_anchor(section, modality)}-{100 * table.fraction:g}"
        parts.append(f"### {text(section.place.dataset)}, {_cut(section, table)}")
        parts += [rows(section, table, anchor, min(groups.values(), default=None)), _power(table), _runs(table, anchor)]
    return parts


def _groups(section: Section, card: Mapping[str, Any]) -> Mapping[str, int]:
    """What the test rows of a section come in, and how many of them there are: `{"speakers": 2}`, by the card of the data."""
    scored = next((r.evaluate_on or r.dataset for r in section.records), section.place.dataset)
    found: Mapping[str, int] = card.get("datasets", {}).get(scored, {}).get("test_groups", {})
    return found


def _facts(section: Section, groups: Mapping[str, int]) -> str:
    """What the rows of a section have in common, and the machines they ran on."""
    records = section.records
    said = []
    tests = sorted({r.n_test for r in records if r.n_test})
    of = "".join(f" of {n} {text(kind)}" + (", too few for a test ±" if n < GROUPS else "") for kind, n in groups.items())
    said += [f"Test rows: {', '.join(f'{n:,}' for n in tests)}{of}."] if tests else []
    rates = [(r.chance, r.majority) for r in records if r.chance is not None and r.majority is not None]
    if rates:
        chance, majority = min(rates)
        said.append(f"Chance {percent(chance)}, majority class {percent(majority)}.")
    sizes = sorted({(r.parameters, r.forward_flops or 0) for r in records if r.parameters})
    said += [f"Encoder: {'; '.join(f'{p:,} parameters, {f:,} FLOPs per example' for p, f in sizes)}."] if sizes else []
    recipes = sorted({r.recipe for r in records if r.recipe})
    said += [f"Recipe: {text(', '.join(recipes))}."] if recipes else []
    machines = Counter((r.device_name or r.device, r.threads, r.precision) for r in records)
    ran = [
        f"{text(name)}, {t} thread{'s' * (t > 1)}, {text(p)} ({n} run{'s' * (n > 1)})"
        for (name, t, p), n in sorted(machines.items())
    ]
    said += [f"Machines: {'; '.join(ran)}."] if ran else []
    left_out = sum(row.left_out for table in section.tables for row in table.rows.values())
    said += [f"{left_out} runs of older versions or other settings are not shown."] if left_out else []
    return " ".join(said)


def _power(table: Table) -> str:
    """What the seeds at hand could have found."""
    found = []
    for kind, differences in (
        ("a mixer against its base", [difference for _, difference in effects(table)]),
        ("a row against `supervised`", [table.difference(name, "supervised") for name in table.order]),
    ):
        sizes = sorted(size for d in differences if d is not None and (size := detectable(d)) is not None)
        if sizes:
            found.append(
                f"{percent(sizes[0])} to {percent(sizes[-1])} points for {kind}"
                if sizes[1:]
                else f"{percent(sizes[0])} points for {kind}"
            )
    return f"Smallest true difference that these seeds find with a probability of 80 %: {'; '.join(found)}." if found else ""


def _wins(found: Sequence[Section]) -> list[str]:
    """Who beats whom, over all tables of the page."""
    tables = [table for _, table in once(found)]
    counted = win_tie_loss({n: r.scores for n, r in t.rows.items() if r.scores and r.division == SCRATCH} for t in tables)
    names = [name for name in dict.fromkeys(n for t in tables for n in t.order) if any(name == a for a, _ in counted)]
    names = [n for n in names if n not in CONTROLS] + [n for n in CONTROLS if n in names]
    if len(names) < 2:
        return []
    cells = [[code(a), *("/".join(map(str, counted[a, b])) if (a, b) in counted else "—" for b in names)] for a in names]
    told = (
        "In how many tables of this page the row's method is significantly better than the column's, not significantly "
        "different, and significantly worse. Tables share data sets and controls, so the counts are not independent."
    )
    return ["## Wins, ties, losses", told, markdown_table(["", *map(code, names)], cells, left=1)]


def _runs(table: Table, anchor: str) -> str:
    """Run ids and the command of every row, folded away; failures of seeds that have not finished, too."""
    rows = [row for row in (table.rows[name] for name in table.order) if row.records or row.failures]
    if not rows:
        return "No runs."
    told = []
    for row in rows:
        done = {r.seed for r in row.records}
        runs = [*row.records, *(r for r in row.failures if r.seed not in done)]
        ids = ", ".join(f"{r.seed}: `{r.run_id}`" + " failed" * (r.status == "failed") for r in runs)
        again = command(runs[0], max(r.seed for r in runs) + 1)
        told.append(f"- {code(row.method)} {ids}<br>" + code(again).replace(r"\|", "|"))  # no table here
    return (
        f'<details id="{anchor}"><summary>Records (seed: run id) and commands</summary>\n\n'
        + "\n".join(told)
        + "\n\n</details>"
    )


def command(record: Record, seeds: int) -> str:
    """The command that runs a row again: all that was asked for but the settings, which recipe and budget fill again."""
    asked = {f.name.replace("_", "-"): getattr(record, f.name) for f in fields(RunSpec) if f.name not in (*SETTINGS, "seed")}
    told = [f"--{name}" + ("" if value is True else f" {shlex.quote(str(value))}") for name, value in asked.items() if value]
    return " ".join(["python -m bench run", *told, f"--seeds {seeds} --alone"])


def _data(found: Sequence[Section], card: Mapping[str, Any]) -> str:
    known = card.get("datasets", {})
    names = sorted({section.place.dataset for section in found})
    facts = ("rows", "columns", "classes", "source", "licence", "cite")
    rows = [[code(name), *(text(known.get(name, {}).get(fact, "—")) for fact in facts)] for name in names]
    return markdown_table(["data set", "rows (train + test)", *facts[1:]], rows)


def _withdrawn(records: Sequence[tuple[Record, str]]) -> list[str]:
    rows = [[f"`{r.run_id}`", code(r.method), code(r.dataset), str(r.seed), text(why)] for r, why in records]
    if not rows:
        return []
    told = "Committed, but wrong, and in no table above:"
    return ["## Withdrawn", told, markdown_table(["run id", "method", "data set", "seed", "reason"], rows)]


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
