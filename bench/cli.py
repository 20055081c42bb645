"""The command line. Parsing needs the standard library alone; each command imports what it uses when it runs."""

import argparse
import difflib
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from bench.errors import UserError, refuse
from bench.grid import checked, expand, read_table, replaced, single
from bench.recipes import UNTUNED
from bench.spec import ALIASES, RunSpec, parse_method
from bench.workers import warm

_TYPES: dict[str, Callable[[str], Any]] = {"str": str, "int": int, "float": float}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command. Exit code 0: all went well; 1: a run failed, or pages are stale; 2: the request was wrong."""
    arguments = parser().parse_args(argv)
    try:
        code = arguments.command(arguments)
    except UserError as problem:
        print(problem, file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("\nstopped; the same command continues where this one was", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        code = 0
    sys.exit(code)


class Parser(argparse.ArgumentParser):
    """argparse that names the nearest option when one is unknown, and no abbreviations."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Like argparse, but an unknown option of a sub-command is answered with the nearest one."""
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            options = [o for a in getattr(found, "parser", self)._actions for o in a.option_strings if o.startswith("--")]
            strange = next((r.partition("=")[0] for r in rest if r.startswith("-")), rest[0])
            near = difflib.get_close_matches(strange, options, n=1)
            self.error(f"unknown option {strange!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return found

    def error(self, message: str) -> NoReturn:
        """One message, exit code 2."""
        self.exit(2, f"{message}\nSee: {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; `run` and `sweep` take every field of RunSpec."""
    top = Parser(prog="python -m bench", description="What does contrastive pretraining buy on your kind of data?")
    commands = top.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command, parser=sub)
        return sub

    sub = add("run", run, "Train and evaluate one method beside its base and the controls, on the same rows and budget.")
    sub.add_argument("file", nargs="?", type=Path, help="a TOML file of settings; options given beside it replace its keys")
    _spec_options(sub, several=["protocol"])
    sub.add_argument("--seeds", type=int, metavar="N", help="repeat with seeds 0..N-1 and show intervals (default: 1)")
    sub.add_argument("--alone", action="store_true", help="only the method itself, without its base and the controls")
    _work_options(sub)
    sub = add("sweep", sweep, "Run every combination of TOML files, or of options that take several values.")
    sub.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="TOML files, run one after the other; options replace their keys"
    )
    _spec_options(sub, several=[f.name for f in fields(RunSpec)])
    sub.add_argument(
        "--dry-run", action="store_true", help="print the cells, what is done and the time the rest will take; run nothing"
    )
    sub.add_argument("--shard", metavar="I/N", help="only the I-th of N parts; N machines that share a folder take one each")
    _boards_option(sub)
    _work_options(sub)
    sub = add("views", views, "A contact sheet: rows of a data set, each followed by random views of it.")
    _spec_options(sub)
    sub.add_argument("--rows", type=int, default=8, metavar="N", help="how many rows to show (default: 8)")
    sub.add_argument(
        "--out", type=Path, metavar="FILE", help="picture to write, .png or .svg (not needed where views are text)"
    )
    sub = add("list", list_, "What there is: modalities, data sets, methods, mixers, controls, recipes, budgets.")
    sub.add_argument("what", nargs="?", default="all", choices=("all", "modalities", "methods", "recipes"))
    sub = add("audit", audit, "What the rows of a data set say about scores on it: repeats, leaks, balance, chance.")
    _data_options(sub)
    _records_option(sub)
    sub = _about_a_run(add("show", show, "Print the record of a run."))
    sub.add_argument(
        "--diagnose", action="store_true", help="what its encoder learnt, in words, and the figure of its spectrum"
    )
    sub.add_argument("--out", type=Path, metavar="FILE", help="that figure, .svg or .png (default: beside the record)")
    _boards_option(sub)
    _boards_option(_about_a_run(add("rerun", rerun, "Run a record's exact configuration again and compare.")))
    sub = _about_a_run(add("embed", embed, "Apply the encoder of a run to rows of yours, and write their features."))
    sub.add_argument("--data", required=True, metavar="FILE", help="rows like those it was trained on; labels are not needed")
    sub.add_argument("--out", type=Path, required=True, metavar="FILE", help="Parquet file to write, one row for each of yours")
    add("clean", clean, "Delete cached encoders and checkpoints under BENCH_HOME; records and downloaded data stay.")
    sub = add("publish", publish, "Merge working records into the committed ones.")
    _records_option(sub)
    _boards_option(sub)
    sub = add("verify", verify, "Compute published scores, names, seeds and fingerprints again; exit with 1 if one is wrong.")
    sub.add_argument("--records", type=Path, metavar="DIR", help="check the working records of this folder instead")
    _boards_option(sub)
    sub = add("leaderboard", leaderboard, "Write the pages from the committed records.")
    sub.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is stale")
    sub.add_argument(
        "--html", nargs="?", type=Path, const=Path("leaderboard.html"), metavar="FILE",
        help="instead write one web page to sort and filter, which needs no network (default: leaderboard.html)",
    )  # fmt: skip
    _boards_option(sub)
    add("schema", schema, "Print the JSON Schema of a record.")
    return top


def _about_a_run(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument("run_id", help="the run's id, or the first digits of it")
    _records_option(sub)
    return sub


def _data_options(sub: argparse.ArgumentParser) -> None:
    for f in fields(RunSpec):
        if f.name in ("modality", "dataset", "data", "test", "target", "text_column"):
            default = f" (default: {f.default})" if f.default else ""
            option = "--" + f.name.replace("_", "-")
            sub.add_argument(option, default=None, metavar="STR", help=f.metadata["help"].replace("%", "%%") + default)


def _spec_options(sub: argparse.ArgumentParser, *, several: Sequence[str] = ()) -> None:
    """An option for every field of RunSpec; those of `several` take more than one value."""
    sweeps = len(several) > 1
    for f in fields(RunSpec):
        kind = str(getattr(f.type, "__name__", f.type)).removesuffix(" | None")
        if kind == "bool":
            sub.add_argument("--" + f.name.replace("_", "-"), action="store_true", default=None, help=f.metadata["help"])
            continue
        default = "" if f.default in (None, "") or sweeps else f" (default: {f.default})"
        more: dict[str, Any] = {"nargs": "+"} if f.name in several else {}
        option = "--" + f.name.replace("_", "-")
        sub.add_argument(
            option,
            type=_TYPES[kind],
            default=None,
            metavar=kind.upper(),
            help=f.metadata["help"].replace("%", "%%") + default,
            **more,
        )
    more = {"nargs": "+"} if sweeps else {}
    sub.add_argument("--fraction", type=float, metavar="FLOAT", help="sets both fractions", **more)


def _work_options(sub: argparse.ArgumentParser) -> None:
    _records_option(sub)
    sub.add_argument("--jobs", type=int, metavar="N", help="processes side by side (default: cores / threads)")
    sub.add_argument("--time-limit", type=float, metavar="SECONDS", help="stop a cell that takes longer, and record that")
    sub.add_argument("--memory-limit", type=float, metavar="MIB", help="stop a cell that holds more, and record that")
    sub.add_argument("--json", action="store_true", help="print the records as one JSON array, and nothing else, on stdout")


def _records_option(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--records", type=Path, default=Path("runs"), metavar="DIR", help="working records (default: runs)")


def _boards_option(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--boards", type=Path, default=Path("leaderboards"), metavar="DIR", help="default: leaderboards")


def run(arguments: argparse.Namespace) -> int:
    """`bench run`"""
    asked, count = _asked(arguments)
    method = parse_method(asked[0].method)
    if method.asked != method.name and method.asked not in ALIASES:
        print(f"{method.asked} runs and is recorded as {method.name}", file=sys.stderr)
    wanted = [method.name] if arguments.alone else beside(method.name)
    seeds = range(count) if count > 1 else [asked[0].seed]
    names = [asked[0].method if name == method.name else name for name in wanted]
    pairs = [(name, spec) for name in names for spec in asked if not (name in UNTUNED and spec.protocol == "finetune@1")]
    specs = checked([spec.replace(method=name, seed=seed) for seed in seeds for name, spec in pairs])
    warm(specs[0].threads)
    _prepare_first(specs[0])
    records, store = _execute(specs, arguments)
    if not arguments.json:
        _conclude(records, method.name, store, arguments)
    own = [r for r in records if r.method == method.name]
    return 0 if own and all(r.status == "ok" for r in own) else 1


def _asked(arguments: argparse.Namespace) -> tuple[list[RunSpec], int]:
    """The specs of one run, one for each protocol, from its file and its options, and how many seeds it asks for."""
    given = _given(arguments)
    table = replaced(read_table(arguments.file) if arguments.file else {}, given)
    seeds = table.pop("seeds", 1)
    seeds = seeds if arguments.seeds is None else arguments.seeds
    if not isinstance(seeds, int) or seeds < 1:
        raise UserError(f"seeds {seeds!r} must be a whole number of at least 1. Lists are for: python -m bench sweep")
    if seeds > 1 and "seed" in table:
        raise UserError(f"seed and seeds {seeds} both say which seeds to run. Give one of them.")
    return single(table), seeds


def _prepare_first(spec: RunSpec) -> None:
    """Load and cut the data once, so that data that cannot be used are refused before anything runs."""
    from bench.prepare import prepare

    prepare(spec)


def beside(method: str) -> list[str]:
    """A method with what it is judged against: its unmixed base and every control, slowest first."""
    names = ["supervised+mixup", "supervised", method, parse_method(method).unmixed, "classical", "random", "raw"]
    return list(dict.fromkeys(names))


def sweep(arguments: argparse.Namespace) -> int:
    """`bench sweep`"""
    _check_work(arguments)
    tables = [read_table(file) for file in arguments.files] or [{}]
    specs = [spec for table in tables for spec in checked(expand(replaced(table, _given(arguments))))]
    if arguments.dry_run:
        return _dry_run(specs, arguments)
    warm(specs[0].threads)
    records, store = _execute(specs, arguments)
    failed = [r for r in records if r.status == "failed"]
    if not arguments.json:
        print(f"{len(records) - len(failed)} runs finished, {len(failed)} failed; records in {store.folder}")
        for record in failed:
            print(f"  {record.run_id} {record.method} {record.dataset} seed {record.seed}: {record.reason}")
        print(_next(arguments))
    return 1 if failed else 0


def _dry_run(specs: Sequence[RunSpec], arguments: argparse.Namespace) -> int:
    """Print the cells, what is done, what shares a pretraining, and how long the rest takes."""
    from bench.forecast import span
    from bench.report import label
    from bench.store import Store
    from bench.sweep import missing, side_by_side

    store = Store(arguments.records)
    wanted = _cells(specs, arguments)
    left = missing(wanted, store)
    missed = {cell.run_id for cell in left}
    parallel = side_by_side(wanted, arguments.jobs)
    forecast = _forecast(left, store, parallel, arguments)
    for cell in wanted:
        state = "done   " if cell.run_id not in missed else "failed " if store.failure(cell.run_id) else "missing"
        shared = f"  pretraining {cell.pretrain_id}" if cell.pretrain_id else ""
        costs = f"  about {span(forecast.cells[cell.run_id])}" if cell.run_id in forecast.cells else ""
        print(f"{cell.run_id}  {state}  {label(cell)}{shared}{costs}")
    groups = len({c.pretrain_id for c in wanted if c.pretrain_id})
    print(f"{len(wanted)} cells, {len(wanted) - len(left)} done, {len(left)} missing; {groups} pretrainings")
    if forecast.cells:
        beside = f"; of {forecast.unknown} cells nothing is known" if forecast.unknown else ""
        print(
            f"expected from past records: {span(forecast.work)} of computing, about {span(forecast.wall)} with {parallel} "
            f"side by side{beside}"
        )
    elif left:
        print("expected time: unknown, there are no past records of cells like these")
    return 0


def _cells(specs: Sequence[RunSpec], arguments: argparse.Namespace) -> list[Any]:
    """The cells of a command, or of its shard."""
    from bench.sweep import cells, shard

    wanted, part = cells(specs), _shard(arguments)
    return shard(wanted, *part) if part else wanted


def _forecast(left: Sequence[Any], store: Any, parallel: int, arguments: argparse.Namespace) -> Any:
    """What the missing cells will cost, by the working records and the committed ones."""
    from bench.forecast import Past, expected
    from bench.home import home
    from bench.publish import load

    known = [r for m in sorted({cell.spec.modality for cell in left}) for r in load(arguments.boards, m)] if left else []
    cached = {c.pretrain_id for c in left if c.pretrain_id and (home() / "encoders" / f"{c.pretrain_id}.safetensors").exists()}
    return expected(left, Past([*known, *store.records()] if left else []), parallel, cached)


def _execute(specs: Sequence[RunSpec], arguments: argparse.Namespace) -> tuple[list[Any], Any]:
    """Run what is missing with progress on standard error; `--json` prints the records. Returns (records, store)."""
    from bench.record import dump
    from bench.report import Screen
    from bench.store import Store
    from bench.sweep import Limits, missing, run_cells, side_by_side

    _check_work(arguments)
    store = Store(arguments.records)
    wanted = _cells(specs, arguments)
    left, parallel = missing(wanted, store), side_by_side(wanted, arguments.jobs)
    forecast = _forecast(left, store, parallel, arguments).cells if hasattr(arguments, "boards") else {}
    limits = Limits(arguments.time_limit, arguments.memory_limit)
    with Screen(left, forecast, parallel) as screen:
        records = run_cells(wanted, store, event=screen, parallel=arguments.jobs, limits=limits)
    for problem in store.problems:
        print(problem, file=sys.stderr)
    if arguments.json:
        print(json.dumps([dump(r, full=True) for r in records], indent=1))
    return records, store


def _shard(arguments: argparse.Namespace) -> tuple[int, int] | None:
    """(part, parts) of `--shard I/N`."""
    said = getattr(arguments, "shard", None)
    if said is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", said)
    part, parts = (int(n) for n in found.groups()) if found else (0, 0)
    if not 1 <= part <= parts:
        raise UserError(f"--shard {said} is not a part of a whole. Write I/N with 1 <= I <= N, for example --shard 1/2.")
    return part, parts


def _check_work(arguments: argparse.Namespace) -> None:
    problems = []
    if arguments.jobs is not None and arguments.jobs < 1:
        problems.append(f"--jobs {arguments.jobs} is too small; it must be at least 1.")
    if arguments.time_limit is not None and not arguments.time_limit > 0:
        problems.append(f"--time-limit {arguments.time_limit:g} is too small; it must be above 0 seconds.")
    if arguments.memory_limit is not None and not arguments.memory_limit > 0:
        problems.append(f"--memory-limit {arguments.memory_limit:g} is too small; it must be above 0 MiB.")
    refuse(problems)
    _shard(arguments)


def _conclude(records: Sequence[Any], method: str, store: Any, arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from bench.report import show_table, verdicts

    console = Console(width=None if sys.stdout.isatty() else 140)
    show_table(records, method, console)
    ids = " ".join(r.run_id for r in records if r.method == method)
    print(f"records: {store.folder}/ (python -m bench show RUN_ID prints one; {method}: {ids})")
    print(_next(arguments))
    print("\n".join(verdicts(records, method)))


def _next(arguments: argparse.Namespace) -> str:
    records = "" if str(arguments.records) == "runs" else f" --records {arguments.records}"
    return f"leaderboard: python -m bench publish{records} && python -m bench leaderboard"


def views(arguments: argparse.Namespace) -> int:
    """`bench views`"""
    from bench.contact import contact_sheet

    (spec,) = checked(single(_given(arguments)))
    if arguments.rows < 1:
        raise UserError(f"--rows {arguments.rows} is too small; it must be at least 1.")
    print(contact_sheet(spec, arguments.rows, arguments.out))
    return 0


def list_(arguments: argparse.Namespace) -> int:
    """`bench list`"""
    from bench.listing import lines

    print("\n".join(lines(arguments.what)))
    return 0


def show(arguments: argparse.Namespace) -> int:
    """`bench show`"""
    from bench.publish import find
    from bench.record import dump
    from bench.store import Store

    store = Store(arguments.records)
    if arguments.out and not arguments.diagnose:
        raise UserError("--out says where the figure of --diagnose goes; give both.")
    if not arguments.diagnose:
        print(json.dumps(dump(find(store, arguments.boards, arguments.run_id)), indent=1))
        return 0
    from bench.examine import diagnosis

    print(diagnosis(store.find(arguments.run_id), store, arguments.out))
    return 0


def audit(arguments: argparse.Namespace) -> int:
    """`bench audit`"""
    from bench.audit import audit as examined
    from bench.store import Store

    (spec,) = checked(single(_given(arguments) | {"method": "raw"}))
    lines, sound = examined(spec, Store(arguments.records))
    print("\n".join(lines))
    return 0 if sound else 1


def embed(arguments: argparse.Namespace) -> int:
    """`bench embed`"""
    from bench.frozen import write_embeddings

    print(write_embeddings(arguments.run_id, arguments.records, arguments.data, arguments.out))
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """`bench verify`"""
    from bench.store import Store
    from bench.verify import verify_boards, verify_runs

    done = verify_boards(arguments.boards) if arguments.records is None else verify_runs(Store(arguments.records))
    print("\n".join(done.lines()))
    return 1 if done.wrong else 0


def rerun(arguments: argparse.Namespace) -> int:
    """`bench rerun`: the exact configuration again, in an empty cache."""
    from bench.experiment import compare, run_afresh
    from bench.publish import find
    from bench.store import Store
    from bench.train import TrainingFailedError

    record = find(Store(arguments.records), arguments.boards, arguments.run_id)
    try:
        again = run_afresh(record)
    except TrainingFailedError as reason:
        print(f"training failed this time: {reason}")
        return 1
    print(compare(record, again))
    return 0 if again.score == record.score else 1


def clean(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes them
    """`bench clean`"""
    from bench.home import clean as empty
    from bench.home import home

    count, size = empty()
    print(f"{count} files, {size:.1f} MiB deleted under {home()}")
    return 0


def publish(arguments: argparse.Namespace) -> int:
    """`bench publish`"""
    from bench.publish import publish as merge
    from bench.store import Store

    store = Store(arguments.records)
    print("\n".join(merge(store, arguments.boards).lines()))
    for problem in store.problems:
        print(problem, file=sys.stderr)
    return 0


def leaderboard(arguments: argparse.Namespace) -> int:
    """`bench leaderboard`"""
    from bench.leaderboard import check, write, write_html

    if arguments.html is not None:
        if arguments.check:
            raise UserError("--check looks at the markdown pages and --html writes another. Give one of them.")
        write_html(arguments.boards, arguments.html)
        print(f"wrote {arguments.html}: open it in a browser")
        return 0
    if not arguments.check:
        changed = write(arguments.boards)
        print("\n".join(f"wrote {path}" for path in changed) or "every page is up to date")
        return 0
    stale = check(arguments.boards)
    print("\n".join(f"stale: {path}" for path in stale) or "every page is up to date")
    if stale:
        print("write them with: python -m bench leaderboard", file=sys.stderr)
    return 1 if stale else 0


def schema(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes them
    """`bench schema`"""
    from bench.record import schema as describe

    print(json.dumps(describe(), indent=1))
    return 0


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of a RunSpec: its fields, and `fraction` for both fractions."""
    names = [*(f.name for f in fields(RunSpec)), "fraction"]
    return {name: value for name in names if (value := getattr(arguments, name, None)) is not None}
