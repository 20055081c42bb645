"""The controls that are not probes: boosted trees and the like, and the same encoder trained with labels."""

from dataclasses import replace

from bench import baseline, perf
from bench.adapter import Batch, Transform, take
from bench.home import home
from bench.outcome import Outcome, Progress, labelled_rows, size_facts, training_facts
from bench.prepare import Prepared, prepare
from bench.probe import Prediction
from bench.spec import digest, identity


def classical(ready: Prepared, progress: Progress) -> Outcome:
    """The modality's classical models, the best on validation, on the labelled rows."""
    progress("fitting", 0, 1, float("nan"))
    data, adapter = ready.dataset, ready.adapter
    x = adapter.classical_input(take(data.train.x, ready.rows.labelled), data)
    x_test = adapter.classical_input(data.test.x, data)
    y = ready.labels
    began = perf.clock(ready.plan.device)
    prediction = baseline.classical(adapter.classical(data), x, y, x_test, len(data.classes), ready.folds, data.metric)
    return Outcome(prediction, {"evaluate_seconds": perf.clock(ready.plan.device) - began})


def supervised(ready: Prepared, transform: Transform, labelled: Batch, x_test: Batch, progress: Progress) -> Outcome:
    """Choose the learning rate at seed 0 and the steps at this seed, then train on all labelled rows."""
    spec, began = ready.spec, perf.clock(ready.plan.device)
    # Where the seed also draws the test rows, rows that validate at seed 0 may be this seed's test rows.
    own_test = spec.data is not None and spec.test is None
    first = ready if spec.seed == 0 or own_test else prepare(ready.asked.replace(seed=0))
    memory = home() / "choices" / f"{digest(identity(first.spec, first.facts, ('protocol',)))[:16]}.safetensors"
    control = _control(ready, transform, labelled, progress)
    if first is ready:
        choice = control.choose_rate(ready.plan, memory)
        plan = replace(ready.plan, lr=ready.plan.lr * choice.rate)
    else:
        rate = _control(first, *labelled_rows(first), progress).choose_rate(first.plan, memory).rate
        plan = replace(ready.plan, lr=ready.plan.lr * rate)
        choice = baseline.Choice(rate, *control.early_stopped(plan))
    model, fitted = control.final(plan, choice.stop)
    proba = control.predict(model, x_test, plan)
    facts = {
        "lr": plan.lr,
        "evaluate_seconds": perf.clock(ready.plan.device) - began,
        **training_facts(fitted, plan),
        **size_facts(model.encoder, x_test),
    }
    chosen = f"base_lr={(spec.base_lr or 0) * choice.rate:g} steps={choice.stop}"
    return Outcome(Prediction(proba, choice.val_score, chosen), facts, fitted.losses)


def _control(ready: Prepared, transform: Transform, labelled: Batch, progress: Progress) -> baseline.Supervised:
    y, data, device = ready.labels, ready.dataset, ready.plan.device
    return baseline.Supervised(
        build=lambda: baseline.Classifier(ready.encoder(transform), len(data.classes)).to(device),
        x=tuple(t.to(device) for t in labelled),
        y=y,
        fold=ready.folds[0] if ready.folds else None,
        view=ready.adapter.view(ready.spec, transform),
        n_classes=len(data.classes),
        metric=data.metric,
        mixup_alpha=ready.spec.mixup_alpha,
        watch=progress,
    )
