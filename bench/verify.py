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
from bench.predictions import Evidence, load, of_run
from bench.prepare import cut_rows, load_data
from bench.probe import label_scores, log_loss
from bench.publish import lines, modalities, records_path
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
        _check(list(found.values()), evidence, done)
    return done


def verify_runs(runs: Store) -> Verified:
    """The records of a working folder. What the store would set aside is renamed, as every reader does, and told."""
    done = Verified()
    records = runs.records()
    evidence = {r.run_id: e for r in records if r.status == "ok" and (e := of_run(runs, r.run_id)) is not None}
    _check(records, evidence, done)
    done.wrong += runs.problems
    return done


def _check(records: Sequence[Record], evidence: Mapping[str, Evidence], done: Verified) -> None:
    done.records += len(records)
    finished = [r for r in records if r.status == "ok"]
    bare = 0
    for r in finished:
        wrong = record_problems(r)
        if r.run_id in evidence:
            wrong += evidence_problems(r, evidence[r.run_id])
            done.recomputed += 1
        bare += r.run_id not in evidence
        done.wrong += [f"{_name(r)}: {text}" for text in wrong]
    if bare:
        done.notes.append(f"{bare} records have no predictions beside them, only their hash, so their scores stand unchecked")
    done.wrong += seed_problems(records)
    few = sum(len(seeds) < SEEDS for seeds in _seeds(records).values())
    if few:
        done.notes.append(f"{few} rows have fewer than {SEEDS} seeds; they are shown, and not ranked")
    done.wrong += data_problems(finished, evidence, done.notes)


def record_problems(r: Record) -> list[str]:
    """What is wrong with a finished record by itself."""
    found = [f"{name} is missing" for name in ("metric", "score", "predictions_hash") if getattr(r, name) is None]
    if r.metric is not None and r.score != getattr(r, r.metric, None):
        found.append(f"score {r.score} is not its {r.metric}, {getattr(r, r.metric, None)}")
    if r.n_classes and r.chance is not None and abs(r.chance - 1 / r.n_classes) > CLOSE:
        found.append(f"chance {r.chance} is not 1 / {r.n_classes}")
    for name in ("score", "accuracy", "balanced_accuracy", "val_score"):
        value = getattr(r, name)
        if value is not None and not 0 <= value <= 1:
            found.append(f"{name} {value} is outside [0, 1]")
    frozen = not r.is_control or r.method == "random"
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
    if r.test_low is not None:
        classes = e.y if r.metric == "balanced_accuracy" else None
        again["test_low"], again["test_high"] = bootstrap_interval(e.labels == e.y, classes=classes, groups=e.groups)
    return [
        f"{name} is {getattr(r, name)}, its predictions give {v}" for name, v in again.items() if _apart(getattr(r, name), v)
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
    for cell, seeds in sorted(_seeds(records).items()):
        if missing := sorted(set(range(max(seeds) + 1)) - seeds):
            shown = ", ".join(map(str, missing))
            found.append(
                f"{' '.join(map(str, cell))}: seeds {shown} missing below seed {max(seeds)}; a choice of seeds is no mean"
            )
    return found


def _seeds(records: Sequence[Record]) -> dict[tuple[Any, ...], set[int]]:
    found: dict[tuple[Any, ...], set[int]] = defaultdict(set)
    for r in records:
        if r.data is None:
            found[r.method, r.scored_on, r.protocol, r.budget, r.views, r.pretrain_fraction, r.label_fraction].add(r.seed)
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
    for r in public:
        data = [loaded.get((r.modality, name)) for name in (r.dataset, r.evaluate_on or r.dataset)]
        if data[0] is not None and data[1] is not None:
            found += [f"{_name(r)}: {text}" for text in _row_problems(r, data[0], data[1], evidence.get(r.run_id))]
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
    rows = _rows(_Labels(dataset, scored), r.pretrain_fraction, r.label_fraction, r.seed)
    told = {
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


def _apart(told: float | None, again: float | None) -> bool:
    return told is None or again is None or abs(told - again) > CLOSE


def _name(r: Record) -> str:
    return f"{r.run_id} ({r.method}, {r.scored_on}, {r.protocol}, seed {r.seed})"
