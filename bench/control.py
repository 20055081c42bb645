"""The controls that are not probes: boosted trees and the like, and the same encoder trained with labels."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench import baseline, perf
from bench.adapter import take
from bench.home import home
from bench.kept import KEPT
from bench.outcome import Inputs, Outcome, Progress, fitted_inputs, scored_arrays, scored_batch, size_facts, training_facts
from bench.prepare import Prepared, prepare
from bench.probe import Prediction
from bench.spec import digest, identity
from bench.train import Fitted, Plan


def classical(ready: Prepared, progress: Progress) -> Outcome:
    """The modality's classical models, the best on validation, on the labelled rows."""
    predict, cost = KEPT.get(ready, "classical", lambda: _classical(ready, progress))
    began = perf.clock(ready.plan.device)
    prediction = predict(ready.adapter.classical_input(scored_arrays(ready), ready.scored))
    return Outcome(prediction, {"evaluate_seconds": cost + perf.clock(ready.plan.device) - began})


def _classical(ready: Prepared, progress: Progress) -> tuple[Callable[[np.ndarray], Prediction], float]:
    """What predicts test rows, and the seconds that choosing and fitting it took."""
    progress("fitting", 0, 1, float("nan"))
    data, adapter = ready.scored, ready.adapter
    x = adapter.classical_input(take(data.train.x, ready.rows.labelled), data)
    began = perf.clock(ready.plan.device)
    predict = baseline.best_classical(adapter.classical(data), x, ready.labels, len(data.classes), ready.folds, data.metric)
    return predict, perf.clock(ready.plan.device) - began


@dataclass(frozen=True)
class Supervised:
    """The trained control, how its training was chosen, and what that cost."""

    control: baseline.Supervised
    model: baseline.Classifier
    choice: baseline.Choice
    plan: Plan
    fitted: Fitted
    seconds: float


def supervised(ready: Prepared, given: Inputs, progress: Progress) -> Outcome:
    """The same encoder trained with labels on the labelled rows; protocols differ in the rows that it predicts."""
    found = KEPT.get(ready, "supervised", lambda: trained(ready, given, progress))
    began = perf.clock(ready.plan.device)
    proba = found.control.predict(found.model, scored_batch(ready, given), found.plan)
    facts: dict[str, Any] = {
        "lr": found.plan.lr,
        "evaluate_seconds": found.seconds + perf.clock(ready.plan.device) - began,
        **training_facts(found.fitted, found.plan),
        **size_facts(found.model.encoder, given.test),
    }
    chosen = f"base_lr={(ready.spec.base_lr or 0) * found.choice.rate:g} steps={found.choice.steps}"
    return Outcome(Prediction(proba, found.choice.val_score, chosen), facts, {"losses": found.fitted.losses})


def trained(ready: Prepared, given: Inputs, progress: Progress) -> Supervised:
    """Choose learning rate and length at seed 0, then train on all labelled rows; every seed has its own validation score."""
    spec, began = ready.spec, perf.clock(ready.plan.device)
    # Where the seed also draws the test rows, rows that validate at seed 0 may be this seed's test rows.
    own_test = spec.data is not None and spec.test is None
    first = ready if spec.seed == 0 or own_test else prepare(ready.asked.replace(seed=0))
    memory = home() / "choices" / f"{digest(identity(first.spec, first.facts, ('protocol',)))[:16]}.safetensors"
    control = _control(ready, given, progress)
    chooser = control if first is ready else _control(first, fitted_inputs(first), progress)
    choice = chooser.choose(first.plan, memory)
    plan = replace(ready.plan, lr=ready.plan.lr * choice.rate, steps=choice.steps)
    if first is not ready:
        choice = replace(choice, val_score=control.validated(plan))
    model, fitted = control.final(plan)
    return Supervised(control, model, choice, plan, fitted, perf.clock(ready.plan.device) - began)


def _control(ready: Prepared, given: Inputs, progress: Progress) -> baseline.Supervised:
    data, device = ready.scored, ready.plan.device
    return baseline.Supervised(
        build=lambda: baseline.Classifier(ready.encoder(given.transform), len(data.classes)).to(device),
        x=tuple(t.to(device) for t in given.labelled),
        y=ready.labels,
        fold=ready.folds[0] if ready.folds else None,
        view=ready.adapter.view(ready.here, given.transform),
        n_classes=len(data.classes),
        metric=data.metric,
        mixup_alpha=ready.spec.mixup_alpha,
        watch=progress,
    )
