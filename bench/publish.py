"""Publish: working records -> the committed, sorted JSON lines that the pages are made of, one file per modality."""

import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import UserError, refuse
from bench.predictions import keep
from bench.recipes import resolve
from bench.record import Record, dump
from bench.spec import SETTINGS, canonical
from bench.store import Store, parse, write

_OWN, _SMOKE = (
    "of your own table (a board names data that others can get)",
    "of the smoke budget (seconds of training prove nothing)",
)
_DEPARTS = "with settings that depart from recipe and budget"
_RECIPE = "of another recipe than the data set's own, or of what is not known here (the rows of a table share one recipe)"


@dataclass
class Published:
    """What `publish` did."""

    added: Counter[str] = field(default_factory=Counter)  # modality -> records new to its board
    known: int = 0
    reproduced: int = 0  # of the known: measured again, and with the same score
    failed: int = 0  # failures among the boards' records: cells that nobody has finished
    skipped: Counter[str] = field(default_factory=Counter)  # reason -> records
    conflicts: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The summary for a person."""
        told = [f"{n} records added to {modality}" for modality, n in sorted(self.added.items())] or ["nothing new to publish"]
        again = f", {self.reproduced} of them measured again with the same score" if self.reproduced else ""
        told += [f"{self.known} were there already{again}"] if self.known else []
        told += [f"{self.failed} cells have only failures, which stand on the board as such"] if self.failed else []
        told += [f"{n} left out: {reason}" for reason, n in sorted(self.skipped.items())]
        return told + self.conflicts


def publish(runs: Store, boards: Path) -> Published:
    """Merge the records of a working store into `boards/records/<modality>.jsonl`. Publishing twice changes nothing.

    The first finished record of a run id counts; a later one with another score is told, not taken. A failure gives way
    to a finished run of the same cell. Records of the user's own table, of the smoke budget, of another recipe than the
    data set's own, or with settings of their own stay in the working store.
    """
    done, new = Published(), defaultdict(list)
    for record in runs.records():
        reason = why_not(record)
        if reason:
            done.skipped[reason] += 1
        else:
            new[record.modality].append(record)
    for modality, records in sorted(new.items()):
        there = _read(boards, modality)
        after = _merged([record for _, record in there.values()], records, done)
        done.added[modality] += len({r.run_id for r in after} - there.keys())
        done.failed += sum(record.status == "failed" for record in after)
        texts = [_line(record, *there.get(record.run_id, ("", None))) for record in after]
        if texts != [text for text, _ in there.values()]:
            write(records_path(boards, modality), lambda file, texts=texts: file.write(("\n".join(texts) + "\n").encode()))  # type: ignore[misc]
        _, beyond = keep(runs, after, boards, modality)
        if beyond:
            done.skipped[f"of {modality} from the file of predictions, which is full; their hashes stand in the records"] = (
                beyond
            )
    done.added += Counter()  # drop zeros
    return done


def load(boards: Path, modality: str) -> list[Record]:
    """The committed records of a modality, sorted by run id. Raises `UserError` with file, line and reason for a bad line."""
    return [record for _, record in _read(boards, modality).values()]


def withdrawn(boards: Path) -> dict[str, str]:
    """Run id -> why its record must not be used, from `withdrawn.toml`. The record itself stays where it is.

    What made a record wrong is mended under a new version of the method, protocol or modality, and so under a new run id.
    """
    path = boards / "withdrawn.toml"
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as wrong:
        raise UserError(f'{path} is not TOML: {wrong}. Write one line each: "RUN_ID" = "reason"') from wrong
    whole = re.compile("[0-9a-f]{16}").fullmatch
    bad = [key for key, why in said.items() if not (whole(key) and isinstance(why, str) and why.strip())]
    refuse([f'{path}: {key} needs a whole run id and a reason. Write: "RUN_ID" = "reason"' for key in bad])
    return said


def _read(boards: Path, modality: str) -> dict[str, tuple[str, Record]]:
    """Run id -> (its line, its record), sorted by run id. The first record of a run id counts, so a second is refused."""
    path = records_path(boards, modality)
    found: dict[str, tuple[int, str, Record]] = {}
    for number, line in enumerate(lines(boards, modality), start=1):
        try:
            record = parse(line)
            if record.modality != modality:
                raise ValueError(f"its modality is {record.modality!r}")
            if record.run_id in found:
                raise ValueError(f"run {record.run_id} stands on line {found[record.run_id][0]} already; keep the first")
        except ValueError as wrong:
            raise UserError(f"{path}, line {number}: {wrong}. Mend or delete that line; git shows what it was.") from wrong
        found[record.run_id] = (number, line, record)
    return {run_id: found[run_id][1:] for run_id in sorted(found)}


def _line(record: Record, text: str, before: Record | None) -> str:
    """A record's line. One that is there already stays as it was written, also by an older version."""
    return text if record is before else canonical(dump(record))


def modalities(boards: Path) -> list[str]:
    """The modalities with committed records."""
    return sorted(path.stem for path in (boards / "records").glob("*.jsonl"))


def records_path(boards: Path, modality: str) -> Path:
    """Where the committed records of a modality lie."""
    return boards / "records" / f"{modality}.jsonl"


def lines(boards: Path, modality: str) -> list[str]:
    """The lines of a modality's committed records, unread."""
    path = records_path(boards, modality)
    try:
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except UnicodeDecodeError as wrong:
        raise UserError(f"{path} is not UTF-8 text ({wrong}). Restore it with git.") from wrong


def why_not(record: Record) -> str | None:
    """Why a record is not published, or None."""
    if record.data is not None:
        return _OWN
    if record.budget == "smoke":
        return _SMOKE
    if record.departures:
        return _DEPARTS
    return None if _own_recipe(record) else _RECIPE


def _own_recipe(record: Record) -> bool:
    """Whether the recipe is that of the data set, or says nothing else to this method."""
    if record.recipe is None:  # it failed before it had one
        return True
    asked = record.spec.replace(**dict.fromkeys(SETTINGS))
    try:
        own = resolve(asked.replace(recipe=None))
        return own.recipe == record.recipe or resolve(asked) == own.replace(recipe=record.recipe)
    except UserError:  # of a data set or a method that is not known here
        return False


def find(runs: Store, boards: Path, prefix: str) -> Record:
    """The record whose run id starts so: of the working store, or else of the boards. Raises `UserError` if there is none, or
    more than one."""
    if runs.named(prefix):
        return runs.find(prefix)
    found = [r for modality in modalities(boards) for r in load(boards, modality) if r.run_id.startswith(prefix)]
    if len(found) > 1:
        raise UserError(f"{len(found)} runs on the boards in {boards} start with {prefix!r}. Give more digits.")
    if not found:
        raise UserError(
            f"no run in {runs.folder}, and none on the boards in {boards}, starts with {prefix!r}. Say where they are with "
            "--records DIR or --boards DIR."
        )
    return found[0]


def _merged(before: Iterable[Record], new: Iterable[Record], done: Published) -> list[Record]:
    found = {record.run_id: record for record in before}
    for record in new:
        old = found.get(record.run_id)
        if old is None or old.status == "failed":
            if old is None or record.status == "ok" or (record.created or "") > (old.created or ""):
                found[record.run_id] = record
        elif record.status == "ok":
            done.known += 1
            done.reproduced += record.created != old.created and record.score == old.score
            if record.score != old.score:
                done.conflicts.append(
                    f"run {record.run_id} ({record.method}, {record.dataset}, seed {record.seed}) is on the board with score "
                    f"{old.score} and came again with {record.score}; the first counts. Look into it with: "
                    f"python -m bench rerun {record.run_id}"
                )
    finished = {_cell(record) for record in found.values() if record.status == "ok"}
    kept = (record for record in found.values() if record.status == "ok" or _cell(record) not in finished)
    return sorted(kept, key=lambda record: record.run_id)


def _cell(record: Record) -> tuple[object, ...]:
    """What was asked for: a run that fails before it knows its rows has another run id than the one that succeeds."""
    r = record
    return r.scored_on, r.protocol, r.budget, r.views, r.pretrain_fraction, r.label_fraction, r.method, r.seed
