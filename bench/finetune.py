"""`finetune@1`: the pretrained encoder goes on learning, with labels."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench import perf
from bench.adapter import Encoder
from bench.baseline import RATES, Classifier, Supervised
from bench.outcome import Inputs, Outcome, Progress
from bench.prepare import Prepared
from bench.probe import Prediction
from bench.seeds import seed_globally

EPOCHS = (10, 30)
"""Passes over the labelled rows that `finetune@1` chooses from; never more steps than the run's budget."""


def finetuned(ready: Prepared, encoder: Encoder, given: Inputs, facts: Mapping[str, Any], progress: Progress) -> Outcome:
    """`finetune@1`: a copy of the encoder with a linear layer on h, trained whole on the labelled rows.

    The trainer, the views and the settings of the control `supervised`, of which it differs in where it starts. Learning
    rate (1, 0.3 or 0.1 times the recipe's, for this batch) and length (10 or 30 passes, each a whole schedule) are those that
    did best on validation (the first fold where there are several); then it trains anew on all labelled rows. Without
    a fold the first of both stands. Chosen at every seed.
    """
    began = perf.clock(ready.plan.device)
    control = _control(ready, encoder, given, progress)
    batch = min(ready.plan.batch_size, len(ready.labels))
    plan = replace(ready.plan, batch_size=batch, lr=(ready.spec.base_lr or 0.0) * batch / 256)
    steps = dict.fromkeys(min(plan.steps, epochs * max(1, len(ready.labels) // batch)) for epochs in EPOCHS)
    choice = control.choose_among(plan, [(rate, length) for rate in RATES for length in steps])
    plan = replace(plan, lr=plan.lr * choice.rate, steps=choice.steps)
    model, _ = control.final(plan)
    proba = control.predict(model, given.test, plan)
    chosen = f"base_lr={(ready.spec.base_lr or 0) * choice.rate:g} steps={choice.steps}"
    facts = {**facts, "evaluate_seconds": perf.clock(ready.plan.device) - began}
    return Outcome(Prediction(proba, choice.val_score, chosen), facts)


def _control(ready: Prepared, encoder: Encoder, given: Inputs, progress: Progress) -> Supervised:
    def build() -> Classifier:
        seed_globally(ready.spec.seed, "finetune")
        return Classifier(copy.deepcopy(encoder), len(ready.scored.classes)).to(ready.plan.device)

    return Supervised(
        build=build,
        x=tuple(t.to(ready.plan.device) for t in given.labelled),
        y=ready.labels,
        fold=ready.folds[0] if ready.folds else None,
        view=ready.adapter.view(ready.here, given.transform),
        n_classes=len(ready.scored.classes),
        metric=ready.scored.metric,
        watch=progress,
    )
