"""One run, top to bottom: RunSpec -> load -> cut -> pretrain or control -> probe -> Record -> store."""

import datetime
import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench import __version__, baseline, perf
from bench.adapter import Batch, Transform, View, take
from bench.data import folds
from bench.diagnose import collapse
from bench.heads import head
from bench.home import home, home_at, load_tensors, locked, save_tensors, trim
from bench.method import Network, build
from bench.mixing import Mixers
from bench.prepare import Prepared, prepare
from bench.probe import PROBES, Prediction, scores
from bench.recipes import departures
from bench.record import Record
from bench.seeds import torch_rng
from bench.spec import RunSpec, digest, identity, run_id
from bench.store import Store
from bench.train import Fitted, Plan, contrastive_loss, embed, fit

DIAGNOSED = 1024  # test rows, without labels, from which the scalars of collapse are computed

Progress = Callable[[str, int, int, float], None]
"""Called now and then with (stage, steps done, steps, recent loss)."""


@dataclass(frozen=True)
class Outcome:
    """What a run found: the prediction, and fields for its record."""

    prediction: Prediction
    facts: Mapping[str, Any]
    losses: Any = None


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
    same = before.score == after.score and before.encoder_hash == after.encoder_hash
    if same:
        return f"identical: score {after.score}, encoder {after.encoder_hash or 'none'}"
    return f"within {abs((before.score or 0) - (after.score or 0)):.6f}: score {before.score} then, {after.score} now"


def _work(ready: Prepared, progress: Progress) -> Outcome:
    """Fit preprocessing on the cut rows, do what the method is, and note what the user should know of the data."""
    progress("preparing", 0, 1, float("nan"))
    notes = (*ready.dataset.notes, *_rare(ready))
    if ready.method.base == "classical":
        return _noted(_classical(ready, progress), notes)
    transform, labelled = _labelled(ready)
    x_test = transform(ready.dataset.test.x)
    if ready.method.base == "raw":
        h, h_test = (torch.from_numpy(ready.adapter.raw(x, transform)) for x in (labelled, x_test))
        outcome = _probed(ready, h, h_test, {}, progress)
    elif ready.method.base == "supervised":
        outcome = _supervised(ready, transform, labelled, x_test, progress)
    else:
        outcome = _contrastive(ready, transform, labelled, x_test, progress)
    return _noted(outcome, (*notes, *transform.notes))


def _noted(outcome: Outcome, notes: Sequence[str]) -> Outcome:
    return replace(outcome, facts={**outcome.facts, "notes": " ".join(notes) or None})


def _rare(ready: Prepared) -> list[str]:
    """Sentences about classes with one labelled row, or none."""
    names, counts = ready.dataset.classes, np.bincount(ready.labels, minlength=len(ready.dataset.classes))
    once, never = ([names[c] for c in np.flatnonzero(counts == k)] for k in (1, 0))
    told = [(once, "one labelled row, which trains and never validates"), (never, "no labelled row and count as wrong on test")]
    return [
        f"{len(c)} of {len(names)} classes have {what}: {', '.join(c[:5])}{', ...' if len(c) > 5 else ''}."
        for c, what in told
        if c
    ]


def _contrastive(ready: Prepared, transform: Transform, labelled: Batch, x_test: Batch, progress: Progress) -> Outcome:
    """Pretrain (or take from the cache), embed, probe. For `random` there is nothing to pretrain."""
    view = ready.adapter.view(ready.spec, transform)
    if ready.pretrain_id is None:
        facts: dict[str, Any] = {}
        net, encoder, losses = None, ready.encoder(transform).to(ready.plan.device), None
    else:
        net, facts, losses = _pretrained(ready, transform, view, progress)
        encoder = net.encoder
    before = _hash(encoder)
    progress("embedding", 0, 1, float("nan"))
    h, h_test = embed(encoder, labelled, ready.plan), embed(encoder, x_test, ready.plan)
    some = tuple(t[:DIAGNOSED] for t in x_test)
    projections = [] if net is None else [_project(net, view, some, ready.plan, i) for i in (0, 1)]
    facts = {**facts, **collapse(h_test[:DIAGNOSED], *projections), **_size(encoder, some), "encoder_hash": before}
    outcome = _probed(ready, h, h_test, facts, progress)
    return Outcome(outcome.prediction, {**outcome.facts, "encoder_hash_after": _hash(encoder)}, losses)


def _pretrained(
    ready: Prepared, transform: Transform, view: View, progress: Progress
) -> tuple[Network, dict[str, Any], Tensor]:
    """The pretrained network, from the cache where it is there: (network, cost, losses)."""
    spec, plan = ready.spec, ready.plan
    encoder = ready.encoder(transform)
    dim = encoder.dim if spec.head == "none" else int(spec.projection_dim or 0)
    net = Network(encoder, head(str(spec.head), encoder.dim, dim), dim).to(plan.device)
    path = home() / "encoders" / f"{ready.pretrain_id}.safetensors"
    with locked(path):
        found = load_tensors(path)
        if found is None:
            found = _pretrain(ready, net, transform, view, progress)
            save_tensors(path, *found)
            trim()
    tensors, facts = found
    net.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
    return net, dict(facts), tensors["losses"]


def _pretrain(
    ready: Prepared, net: Network, transform: Transform, view: View, progress: Progress
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Pretrain without labels: what the cache keeps of it, tensors and facts."""
    spec, plan = ready.spec, ready.plan
    x = tuple(t.to(plan.device) for t in transform(take(ready.dataset.train.x, ready.rows.pretrain)))
    settings = {**spec.settings(), "queue_size": ready.facts["effective_queue_size"]}
    method = build(ready.method.base, net, settings).to(plan.device)
    mixers = Mixers(**{k: getattr(spec, k) for k in ("imix_alpha", "inputmix_aux", "inputmix_floor")})
    checkpoint = home() / "checkpoints" / f"{ready.pretrain_id}.safetensors"

    def watch(step: int, loss: float) -> None:
        progress("pretraining", step, plan.steps, loss)

    fitted = fit(
        method,
        contrastive_loss(method, x, view, mixers, plan),
        len(x[0]),
        plan,
        after_step=method.after_step,
        watch=watch,
        checkpoint=checkpoint,
    )
    checkpoint.unlink(missing_ok=True)
    facts = {
        "pretrain_seconds": fitted.seconds,
        "peak_memory_mb": perf.peak_memory_mb(plan.device),
        **_trained(fitted, plan),
    }
    return {**{f"net.{k}": v for k, v in net.state_dict().items()}, "losses": torch.from_numpy(fitted.losses)}, facts


def _probed(ready: Prepared, h: Tensor, h_test: Tensor, facts: Mapping[str, Any], progress: Progress) -> Outcome:
    progress("probing", 0, 1, float("nan"))
    y, c = ready.labels, len(ready.dataset.classes)
    began = perf.clock(ready.plan.device)
    prediction = PROBES[ready.spec.protocol](h, y, h_test, c, folds(y), ready.dataset.metric)
    return Outcome(prediction, {**facts, "evaluate_seconds": perf.clock(ready.plan.device) - began})


def _classical(ready: Prepared, progress: Progress) -> Outcome:
    progress("fitting", 0, 1, float("nan"))
    data, adapter = ready.dataset, ready.adapter
    x = adapter.classical_input(take(data.train.x, ready.rows.labelled), data)
    x_test = adapter.classical_input(data.test.x, data)
    y = ready.labels
    began = perf.clock(ready.plan.device)
    prediction = baseline.classical(adapter.classical(data), x, y, x_test, len(data.classes), folds(y), data.metric)
    return Outcome(prediction, {"evaluate_seconds": perf.clock(ready.plan.device) - began})


def _supervised(ready: Prepared, transform: Transform, labelled: Batch, x_test: Batch, progress: Progress) -> Outcome:
    """Choose the learning rate at seed 0 and the steps at this seed, then train on all labelled rows."""
    spec, began = ready.spec, perf.clock(ready.plan.device)
    memory = home() / "choices" / f"{digest(identity(spec, ready.facts, ('seed', 'split_fingerprint', 'protocol')))[:16]}.json"
    control = _control(ready, transform, labelled, progress)
    if spec.seed == 0:
        choice = control.choose_rate(ready.plan, memory)
        plan = replace(ready.plan, lr=ready.plan.lr * choice.rate)
    else:
        first = prepare(ready.asked.replace(seed=0))
        rate = _control(first, *_labelled(first), progress).choose_rate(first.plan, memory).rate
        plan = replace(ready.plan, lr=ready.plan.lr * rate)
        choice = baseline.Choice(rate, *control.early_stopped(plan))
    model, fitted = control.final(plan, choice.stop)
    proba = control.predict(model, x_test, plan)
    facts = {
        "lr": plan.lr,
        "evaluate_seconds": perf.clock(ready.plan.device) - began,
        **_trained(fitted, plan),
        **_size(model.encoder, tuple(t[:DIAGNOSED] for t in x_test)),
    }
    chosen = f"base_lr={(spec.base_lr or 0) * choice.rate:g} steps={choice.stop}"
    return Outcome(Prediction(proba, choice.val_score, chosen), facts, fitted.losses)


def _labelled(ready: Prepared) -> tuple[Transform, Batch]:
    """Preprocessing fitted on the cut rows, and the labelled rows through it."""
    x = ready.dataset.train.x
    transform = ready.adapter.fit(take(x, ready.rows.pretrain), ready.dataset)
    return transform, transform(take(x, ready.rows.labelled))


def _control(ready: Prepared, transform: Transform, labelled: Batch, progress: Progress) -> baseline.Supervised:
    y, data, device = ready.labels, ready.dataset, ready.plan.device
    return baseline.Supervised(
        build=lambda: baseline.Classifier(ready.encoder(transform), len(data.classes)).to(device),
        x=tuple(t.to(device) for t in labelled),
        y=y,
        fold=folds(y)[0],
        view=ready.adapter.view(ready.spec, transform),
        n_classes=len(data.classes),
        metric=data.metric,
        mixup_alpha=ready.spec.mixup_alpha,
        watch=progress,
    )


def _trained(fitted: Fitted, plan: Plan) -> dict[str, float]:
    """Speed and losses of a training, for the record."""
    return {
        "samples_per_s": fitted.samples_per_s(plan.batch_size),
        "first_loss": float(fitted.losses[0]),
        "last_loss": float(fitted.losses[-max(1, len(fitted.losses) // 50) :].mean()),
    }


def _record(ready: Prepared, outcome: Outcome, store: Store | None) -> Record:
    data, spec, y = ready.dataset, ready.spec, ready.labels
    counts = torch.bincount(torch.from_numpy(y), minlength=len(data.classes))
    found: dict[str, Any] = dict(scores(outcome.prediction.proba, data.test.y))
    facts: dict[str, Any] = {**ready.facts, **outcome.facts}
    facts["peak_memory_mb"] = max(facts.get("peak_memory_mb", 0.0), perf.peak_memory_mb(ready.plan.device))
    spent = [facts.get("pretrain_seconds"), facts.get("evaluate_seconds")]
    sides = {} if outcome.losses is None else {"losses": outcome.losses}
    labels = outcome.prediction.labels
    return Record(
        **spec.settings(),
        **{"lr": ready.plan.lr or None, **facts},
        **found,
        run_id=ready.run_id,
        pretrain_id=ready.pretrain_id,
        status="ok",
        bench_version=__version__,
        asked=ready.method.asked if ready.method.asked != ready.method.name else None,
        departures=departures(ready.asked, spec) or None,
        n_train=len(ready.rows.pretrain),
        n_labels=len(y),
        n_test=len(data.test),
        n_classes=len(data.classes),
        least_labels=int(counts.min()),
        metric=data.metric,
        score=found[data.metric],
        val_score=outcome.prediction.val_score,
        chosen=outcome.prediction.chosen,
        chance=1 / len(data.classes),
        majority=float((data.test.y == int(counts.argmax())).mean()),
        seconds=sum(s for s in spent if s is not None),
        device_name=perf.device_name(ready.plan.device),
        created=_now(),
        torch_version=torch.__version__,
        predictions_hash=store.put_side(ready.run_id, predictions=labels, y_test=data.test.y, **sides) if store else None,
    )


@torch.no_grad()
def _project(net: Network, view: View, x: Batch, plan: Plan, which: int) -> Tensor:
    luck = torch_rng(plan.device, plan.seed, "diagnosis", which)
    seen = view(tuple(t.to(plan.device) for t in x), luck)
    return embed(nn.Sequential(net.encoder, net.head), seen, plan)


def _size(encoder: nn.Module, x: Batch) -> dict[str, int]:
    device = next(encoder.parameters()).device
    return {
        "parameters": perf.parameters(encoder),
        "forward_flops": perf.forward_flops(encoder, tuple(t[:16].to(device) for t in x)),
    }


def _hash(module: nn.Module) -> str:
    """SHA-256 over every parameter and buffer."""
    mark = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        mark.update(name.encode() + value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return mark.hexdigest()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _silent(stage: str, step: int, steps: int, loss: float) -> None:
    """Show nothing."""
