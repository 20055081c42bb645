"""One run, top to bottom: RunSpec -> load -> cut -> pretrain or control -> probe -> Record -> store."""

import contextlib
import datetime
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench import __version__, perf
from bench.adapter import Batch, take
from bench.cluster import matched, partition_scores
from bench.control import classical, supervised
from bench.data import repeated_rows
from bench.errors import UserError
from bench.home import home_at
from bench.outcome import Inputs, Outcome, Progress, inputs, probed, scored_batch
from bench.prepare import Prepared, prepare
from bench.pretrain import contrastive
from bench.probe import Prediction, label_scores, per_class, scores
from bench.recipes import departures, resolve, unlike_paper
from bench.record import Record
from bench.spec import RunSpec, run_id
from bench.stats import bootstrap_interval
from bench.store import Store, side_hash
from bench.tables import SCRATCH


def run(spec: RunSpec, *, store: Store | None = None, progress: Progress | None = None) -> Record:
    """Run one spec and return its record; with a store, keep it there, and reuse what is already there.

    Raises `UserError` for a request or data that cannot be used, `TrainingFailedError` when training breaks down.
    """
    ready = prepare(spec)
    if store is not None and (known := store.get(ready.run_id)) is not None:
        return known
    with perf.threads(ready.spec.threads):
        outcome = _work(ready, progress or _silent)
    record = _record(ready, outcome, store)
    if store is not None and not store.put(record):
        return store.get(record.run_id) or record
    return record


def failure(spec: RunSpec, reason: str) -> Record:
    """The record of a run that did not finish."""
    try:
        ready = prepare(spec)
        spec, facts, name = ready.spec, dict(ready.facts), ready.run_id
    except Exception:  # the data or the request itself is what failed, so there are no facts to tell
        with contextlib.suppress(UserError):
            spec = resolve(spec)
        facts, name = {}, run_id(spec, {"method_version": 1, "modality_version": 1, "world_size": 1})
    return Record(
        **spec.settings(), **facts, run_id=name, status="failed", reason=reason, bench_version=__version__, created=_now()
    )


def run_afresh(record: Record) -> Record:
    """Run a record's exact configuration again, without any cache or earlier record."""
    with tempfile.TemporaryDirectory(prefix="bench-rerun-") as empty, home_at(Path(empty)):
        return run(record.spec)


def compare(before: Record, after: Record) -> str:
    """In words: whether a run again is identical, within a distance, or of another run id (with the fields that differ)."""
    if before.run_id != after.run_id:
        a, b = before.identity(), after.identity()
        moved = [f"{k} was {a.get(k)}, is {b.get(k)}" for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k)]
        return f"differs: this is another run now ({'; '.join(moved)}); score {before.score} then, {after.score} now"
    if before.encoder_hash == after.encoder_hash and before.score == after.score:
        return f"identical: score {after.score}, encoder {after.encoder_hash or 'none'}"
    if before.score == after.score:
        return f"equal score {after.score} from another encoder: {before.encoder_hash} then, {after.encoder_hash} now"
    return f"within {abs((before.score or 0) - (after.score or 0)):.6f}: score {before.score} then, {after.score} now"


def _work(ready: Prepared, progress: Progress) -> Outcome:
    notes = (*ready.scored.notes, *_rare(ready), *_repeated(ready), *_eager(ready))
    if ready.method.base == "classical":
        return _noted(classical(ready, progress), notes)
    given = inputs(ready)
    if ready.method.base == "raw":
        outcome = _raw(ready, given, progress)
    elif ready.method.base == "supervised":
        outcome = supervised(ready, given, progress)
    else:
        outcome = contrastive(ready, given, progress)
    return _noted(outcome, (*notes, *given.transform.notes))


def _raw(ready: Prepared, given: Inputs, progress: Progress) -> Outcome:
    def features(x: Batch) -> Tensor:
        return torch.from_numpy(ready.adapter.raw(x, given.transform))

    def seen() -> Tensor:
        return features(given.transform(take(ready.dataset.train.x, ready.rows.pretrain)))

    return probed(ready, features(given.labelled), features(scored_batch(ready, given)), {}, progress, seen)


def _noted(outcome: Outcome, notes: Sequence[str]) -> Outcome:
    said = [*notes, *([outcome.facts["notes"]] if outcome.facts.get("notes") else [])]
    return replace(outcome, facts={**outcome.facts, "notes": " ".join(said) or None})


def _division(ready: Prepared, own: str | None) -> str:
    """Which rows a run is ranked with: those from scratch, unless the modality or the method says otherwise."""
    kinds = [ready.adapter.division(ready.spec), "labels" if "labels" in ready.method.card["needs"] else None, own]
    return ", ".join(kind for kind in kinds if kind not in (None, SCRATCH)) or SCRATCH


def _repeated(ready: Prepared) -> list[str]:
    """A sentence about test rows of the user's own that are training rows, too."""
    data = ready.scored
    if ready.spec.data is None or ready.other is not None or not (count := repeated_rows(data.train.x, data.test.x)):
        return []
    return [f"{count} of {len(data.test)} test rows are equal to a training row; a score on them measures memory, too."]


def _eager(ready: Prepared) -> list[str]:
    """A sentence where a training was to be compiled and could not be."""
    if ready.here.compile == ready.spec.compile:
        return []
    return [
        "torch.compile does not work here, so nothing was compiled; on a CPU it needs a C++ compiler that knows the processor."
    ]


def _rare(ready: Prepared) -> list[str]:
    """Sentences about classes with one labelled row, or none."""
    names, counts = ready.scored.classes, np.bincount(ready.labels, minlength=len(ready.scored.classes))
    once, never = ([names[c] for c in np.flatnonzero(counts == k)] for k in (1, 0))
    told = [(once, "one labelled row, which trains and never validates"), (never, "no labelled row and count as wrong on test")]
    return [
        f"{len(c)} of {len(names)} classes have {what}: {', '.join(c[:5])}{', ...' if len(c) > 5 else ''}."
        for c, what in told
        if c
    ]


def _record(ready: Prepared, outcome: Outcome, store: Store | None) -> Record:
    data, spec, y = ready.scored, ready.spec, ready.labels
    counts = torch.bincount(torch.from_numpy(y), minlength=len(data.classes))
    labels, found = _judged(ready, outcome.prediction)
    by_class = data.test.y if data.metric == "balanced_accuracy" else None
    low, high = bootstrap_interval(labels == data.test.y, classes=by_class, groups=data.test.groups)
    facts: dict[str, Any] = {**ready.facts, **outcome.facts}
    facts["peak_memory_mb"] = max(facts.get("peak_memory_mb", 0.0), perf.peak_memory_mb(ready.plan.device))
    division = _division(ready, facts.pop("division", None))
    spent = [facts.get("pretrain_seconds"), facts.get("evaluate_seconds")]
    sides = {**outcome.sides, **per_class(labels, data.test.y, len(data.classes))}
    if spec.protocol != "cluster@1":
        sides["likelihood"] = outcome.prediction.proba[np.arange(len(data.test)), data.test.y].astype(np.float32)
    if data.test.groups is not None:
        sides["groups"] = np.unique(data.test.groups, return_inverse=True)[1]
    arrays = {"predictions": labels, "y_test": data.test.y, **sides}
    return Record(
        **spec.settings(),
        **{"lr": ready.plan.lr or None, **facts},
        **found,
        run_id=ready.run_id,
        pretrain_id=ready.pretrain_id,
        status="ok",
        bench_version=__version__,
        division=division,
        asked=ready.method.asked if ready.method.asked != ready.method.name else None,
        departures=departures(ready.asked, spec) or None,
        unlike_paper=unlike_paper(resolve(ready.asked)) or None,
        n_train=len(ready.rows.pretrain),
        n_labels=len(y),
        n_test=len(data.test),
        n_classes=len(data.classes),
        least_labels=int(counts.min()),
        metric=data.metric,
        score=found[data.metric],
        test_low=low,
        test_high=high,
        val_score=outcome.prediction.val_score,
        chosen=outcome.prediction.chosen,
        chance=1 / len(data.classes),
        majority=float((data.test.y == int(counts.argmax())).mean()),
        seconds=sum(s for s in spent if s is not None),
        device_name=perf.device_name(ready.plan.device),
        created=_now(),
        torch_version=torch.__version__,
        predictions_hash=store.put_side(ready.run_id, **arrays) if store else None,
        side_hash=side_hash(arrays) if store else None,
    )


def _judged(ready: Prepared, prediction: Prediction) -> tuple[np.ndarray, dict[str, Any]]:
    """Predicted classes and their scores. Under `cluster@1` clusters get the best names first, and there is no log-loss."""
    y = ready.scored.test.y
    if ready.spec.protocol != "cluster@1":
        return prediction.labels, scores(prediction.proba, y)
    labels = matched(prediction.labels, y, len(ready.scored.classes))
    return labels, {**label_scores(labels, y), **partition_scores(labels, y)}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _silent(stage: str, step: int, steps: int, loss: float) -> None:
    """Show nothing."""
