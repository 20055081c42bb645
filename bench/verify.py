"""Verify: whether records are what their runs said. Scores, seeds, fingerprints and names are computed again."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bench import catalog
from bench.adapter import Dataset
from bench.cluster import partition_scores
from bench.errors import UserError
from bench.predictions import LIMIT, Evidence, load, of_run, path
from bench.prepare import cut_rows, load_data
from bench.probe import label_scores, log_loss
from bench.publish import lines, modalities, records_path, why_not
from bench.recipes import resolve
from bench.record import Record
from bench.spec import RunSpec, digest, identity
from bench.stats import bootstrap_interval
from bench.store import Store, parse
from bench.tables import SEEDS

CLOSE = 1e-6  # likelihoods are kept in float32, and a mean over rows rounds


@dataclass
class Verified:
    """What was looked at, and what is wrong with it."""

    records: int = 0
    recomputed: int = 0  # records whose scores were computed again
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The summary for a person."""
        told = [f"wrong: {text}" for text in self.wrong] + [f"note: {text}" for text in self.notes]
        bad = f"{len(self.wrong)} things are wrong" if self.wrong else "nothing is wrong"
        return [*told, f"{self.records} records, the scores of {self.recomputed} computed again: {bad}"]


def verify_boards(boards: Path) -> Verified:
    """Every committed record and prediction: each line by itself, then what the records of a modality say together."""
    _must_be_there(boards)
    done = Verified()
    names = sorted({*modalities(boards), *(p.stem for p in (boards / "predictions").glob("*.npz"))})
    for modality in names:
        found: dict[str, Record] = {}
        for number, line in enumerate(lines(boards, modality), start=1):
            where = f"{records_path(boards, modality)}, line {number}"
            try:
                record = parse(line)
            except ValueError as wrong:
                done.wrong.append(f"{where}: {wrong}")
                continue
            if record.modality != modality:
                done.wrong.append(f"{where}: its modality is {record.modality!r}")
            elif record.run_id in found:
                done.wrong.append(f"{where}: run {record.run_id} stands there already")
            found.setdefault(record.run_id, record)
        try:
            evidence = load(boards, modality)
        except UserError as problem:
            done.wrong.append(str(problem))
            evidence = {}
        done.wrong += [f"{modality}: predictions of {r}, which no record names" for r in sorted(evidence.keys() - found.keys())]
        place = path(boards, modality)
        full = place.exists() and place.stat().st_size > LIMIT / 2
        for record in found.values():
            done.wrong += [f"{_name(record)}: {text}" for text in board_problems(record)]
        _check(list(found.values()), evidence, done, bare_is_wrong=not full)
    return done


def _must_be_there(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(
            f"{folder} is no folder, so there is nothing to verify. Check the path ({Path.cwd()} is where you are)."
        )


def verify_runs(runs: Store) -> Verified:
    """The records of a working folder. What the store would set aside is renamed, as every reader does, and told."""
    _must_be_there(runs.folder)
    done = Verified()
    records = runs.records()
    evidence = {r.run_id: e for r in records if r.status == "ok" and (e := of_run(runs, r.run_id)) is not None}
    _check(records, evidence, done, bare_is_wrong=True)
    done.wrong += runs.problems
    return done


def _check(records: Sequence[Record], evidence: Mapping[str, Evidence], done: Verified, *, bare_is_wrong: bool) -> None:
    """bare_is_wrong: predictions may be missing only from boards whose file of them is full."""
    done.records += len(records)
    finished = [r for r in records if r.status == "ok"]
    bare = 0
    for r in finished:
        wrong = record_problems(r)
        if r.run_id in evidence:
            wrong += evidence_problems(r, evidence[r.run_id])
            done.recomputed += 1
        elif bare_is_wrong:
            wrong.append("there are no predictions beside it, so its scores cannot be computed again")
        else:
            bare += 1
        done.wrong += [f"{_name(r)}: {text}" for text in wrong]
    if bare:
        done.notes.append(f"{bare} records have no predictions beside them, only their hash, so their scores stand unchecked")
    done.wrong += seed_problems(records)
    few = sum(len(seeds) < SEEDS for seeds in _seeds(records).values())
    if few:
        done.notes.append(f"{few} rows have fewer than {SEEDS} seeds; they are shown, and not ranked")
    done.wrong += data_problems(finished, evidence, done.notes)


def board_problems(r: Record) -> list[str]:
    """What a record says that no run could have asked for, or that is not published."""
    found = [f"it cannot be on a board: {reason}" for reason in [why_not(r)] if reason]
    try:
        whole = resolve(r.spec)
    except UserError as problem:
        return [*found, str(problem)]
    other = [f"{name} {value}" for name, value in r.spec.settings().items() if getattr(whole, name) != value]
    return found + [f"a run would not record {text} here" for text in other]


def record_problems(r: Record) -> list[str]:
    """What is wrong with a finished record by itself."""
    found = [f"{name} is missing" for name in ("metric", "score", "predictions_hash") if getattr(r, name) is None]
    if r.metric is not None and r.score != getattr(r, r.metric, None):
        found.append(f"score {r.score} is not its {r.metric}, {getattr(r, r.metric, None)}")
    if r.n_classes and r.chance is not None and abs(r.chance - 1 / r.n_classes) > CLOSE:
        found.append(f"chance {r.chance} is not 1 / {r.n_classes}")
    try:
        frozen = not r.is_control or r.method == "random"
    except UserError as problem:
        return [*found, str(problem)]
    if frozen and (r.encoder_hash is None or r.encoder_hash_after is None):
        found.append("it does not say that the encoder was the same before and after probing")
    elif r.encoder_hash != r.encoder_hash_after:
        found.append("the encoder was another one after probing; frozen means frozen")
    return found


def evidence_problems(r: Record, e: Evidence) -> list[str]:
    """What the predictions say against a record's hash, sizes and scores."""
    if r.predictions_hash != e.hash:
        return [f"its predictions are not those it was made from: hash {e.hash[:16]}, recorded {str(r.predictions_hash)[:16]}"]
    if len(e.labels) != len(e.y) or len(e.y) != r.n_test:
        return [f"{len(e.labels)} predictions and {len(e.y)} labels for {r.n_test} test rows"]
    again: dict[str, float | None] = {**label_scores(e.labels, e.y)}
    if r.protocol == "cluster@1":
        again |= partition_scores(e.labels, e.y)
    if e.likelihood is not None:
        again["log_loss"] = log_loss(e.likelihood)
    elif None not in (r.side_hash, e.side_hash, r.log_loss):
        return ["its log_loss has no likelihoods beside it to be computed from"]
    if None not in (r.side_hash, e.side_hash) and r.side_hash != e.side_hash:
        told = f"hash {str(e.side_hash)[:16]}, recorded {str(r.side_hash)[:16]}"
        return [f"the arrays beside it are not those of the run: {told}"]
    if r.test_low is not None:
        classes = e.y if r.metric == "balanced_accuracy" else None
        again["test_low"], again["test_high"] = bootstrap_interval(e.labels == e.y, classes=classes, groups=e.groups)
    near = {name: 1 / len(e.y) + CLOSE for name in ("test_low", "test_high")}  # another numpy may draw one row otherwise
    return [
        f"{name} is {getattr(r, name)}, its predictions give {v}"
        for name, v in again.items()
        if _apart(getattr(r, name), v, near.get(name, CLOSE))
    ]


def seed_problems(records: Sequence[Record]) -> list[str]:
    """Runs of one row must be seeds 0, 1, 2, ... with none left out, failures included, and none there twice."""
    twice: dict[str, list[Record]] = defaultdict(list)
    for r in records:
        if r.status == "ok":
            facts = {"method_version": r.method_version, "modality_version": r.modality_version}
            own = r.dataset_fingerprint if r.data is not None else None
            twice[digest([identity(r.spec, facts), own])].append(r)
    found = [
        f"{_name(same[0])}: the seed was run again under other rows, as {', '.join(r.run_id for r in same[1:])}"
        for same in twice.values()
        if len(same) > 1
    ]
    cuts: dict[tuple[Any, ...], dict[str, int]] = defaultdict(dict)
    for r in records:
        if r.status == "ok" and r.split_fingerprint is not None:
            rows = (r.modality, r.dataset_fingerprint, r.evaluate_fingerprint, r.pretrain_fraction, r.label_fraction)
            seed = cuts[rows].setdefault(r.split_fingerprint, r.seed)
            if seed != r.seed:
                found.append(f"{_name(r)}: its rows are those that seed {seed} drew; a seed draws its own")
    for cell, seeds in sorted(_seeds(records).items()):
        if missing := sorted(set(range(max(seeds) + 1)) - seeds):
            where, shown = " ".join(map(str, filter(None, cell))), ", ".join(map(str, missing))
            found.append(f"{where}: seeds {shown} missing below seed {max(seeds)}; a choice of seeds is no mean")
    return found


def _seeds(records: Sequence[Record]) -> dict[tuple[Any, ...], set[int]]:
    found: dict[tuple[Any, ...], set[int]] = defaultdict(set)
    for r in records:
        if r.data is None:
            cell = (r.method, r.scored_on, r.protocol, r.budget, r.views, r.pretrain_fraction, r.label_fraction)
            found[*cell, r.departures or ""].add(r.seed)
    return found


def data_problems(records: Sequence[Record], evidence: Mapping[str, Evidence], notes: list[str]) -> list[str]:
    """Fingerprints: one per data set, that of the catalogue; of embedded data computed again, with the rows and test labels."""
    public = [r for r in records if r.data is None]
    marks: dict[tuple[str, str], set[str | None]] = defaultdict(set)
    for r in public:
        marks[r.modality, r.dataset].add(r.dataset_fingerprint)
        if r.evaluate_on:
            marks[r.modality, r.evaluate_on].add(r.evaluate_fingerprint)
    found: list[str] = []
    loaded: dict[tuple[str, str], Dataset] = {}
    for place, seen in sorted(marks.items()):
        found += _fingerprint_problems(place, seen, loaded, notes)
    found += _label_problems(public, evidence)
    far = sorted({"/".join(place) for place in marks.keys() - loaded.keys() if not _catalogued(*place).get("embedded")})
    if far:
        notes.append(f"not embedded, so compared only with each other and with the catalogue: {', '.join(far)}")
    for r in public:
        data = [loaded.get((r.modality, name)) for name in (r.dataset, r.evaluate_on or r.dataset)]
        if data[0] is not None and data[1] is not None:
            found += [f"{_name(r)}: {text}" for text in _row_problems(r, data[0], data[1], evidence.get(r.run_id))]
    return found


def _label_problems(records: Sequence[Record], evidence: Mapping[str, Evidence]) -> list[str]:
    """Runs scored on equal data have equal test labels beside their predictions."""
    first: dict[tuple[str, str | None], tuple[Record, np.ndarray]] = {}
    found = []
    for r in records:
        if r.run_id not in evidence:
            continue
        y = evidence[r.run_id].y
        other, known = first.setdefault((r.modality, r.evaluate_fingerprint or r.dataset_fingerprint), (r, y))
        if not np.array_equal(y, known):
            found.append(f"{_name(r)}: its test labels are not those of {other.run_id}, which was scored on the same data")
    return found


def _fingerprint_problems(
    place: tuple[str, str], seen: set[str | None], loaded: dict[tuple[str, str], Dataset], notes: list[str]
) -> list[str]:
    """What is wrong with the fingerprints of one data set; embedded data that are right come into `loaded`."""
    name, about = "/".join(place), _catalogued(*place)
    shown = ", ".join(str(mark)[:16] for mark in sorted(seen, key=str))
    if len(seen) > 1:
        return [f"{name}: records of {len(seen)} different data: fingerprints {shown}"]
    if about.get("fingerprint") and not shown.startswith(about["fingerprint"]):
        return [f"{name}: fingerprint {shown}, the catalogue says {about['fingerprint']}"]
    if not about.get("embedded"):
        return []
    try:
        data = load_data(RunSpec(modality=place[0], dataset=place[1]))
    except UserError as problem:
        notes.append(f"{name} is not here to be compared with: {problem}")
        return []
    if seen != {data.fingerprint}:
        return [f"{name}: fingerprint {shown}, the data here have {data.fingerprint[:16]}"]
    loaded[place] = data
    return []


def _row_problems(r: Record, dataset: Dataset, scored: Dataset, e: Evidence | None) -> list[str]:
    try:
        rows = _rows(_Labels(dataset, scored), r.pretrain_fraction, r.label_fraction, r.seed)
    except UserError as problem:
        return [str(problem)]
    counts = np.bincount(scored.train.y[rows.labelled], minlength=len(scored.classes))
    told: dict[str, Any] = {
        "metric": scored.metric,
        "least_labels": int(counts.min()),
        "majority": float((scored.test.y == int(counts.argmax())).mean()),
        "split_fingerprint": rows.fingerprint,
        "n_train": len(rows.pretrain),
        "n_labels": len(rows.labelled),
        "n_test": len(scored.test),
        "n_classes": len(scored.classes),
    }
    found = [f"{name} is {getattr(r, name)}, the data give {v}" for name, v in told.items() if getattr(r, name) != v]
    if e is not None and not np.array_equal(e.y, scored.test.y):
        found.append("the labels beside its predictions are not those of the test rows")
    return found


@dataclass(frozen=True)
class _Labels:
    """Two data sets, hashable: a cut asks for their training labels only."""

    dataset: Dataset
    scored: Dataset

    def __hash__(self) -> int:
        return hash((id(self.dataset), id(self.scored)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Labels) and self.dataset is other.dataset and self.scored is other.scored


@cache
def _rows(labels: _Labels, pretrain_fraction: float, label_fraction: float, seed: int) -> Any:
    spec = RunSpec(pretrain_fraction=pretrain_fraction, label_fraction=label_fraction, seed=seed)
    return cut_rows(spec, labels.dataset, None if labels.scored is labels.dataset else labels.scored)


def _catalogued(modality: str, name: str) -> dict[str, Any]:
    if modality not in catalog.names(catalog.MODALITIES):
        return {}
    about: dict[str, Any] = catalog.card(catalog.MODALITIES, modality)["datasets"].get(name, {})
    return about


def _apart(told: float | None, again: float | None, near: float) -> bool:
    return told is None or again is None or abs(told - again) > near


def _name(r: Record) -> str:
    return f"{r.run_id} ({r.method}, {r.scored_on}, {r.protocol}, seed {r.seed})"
