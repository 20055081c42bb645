"""Outcome: what a run found, and the steps that pretrained encoders and controls share on the way to one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bench import perf
from bench.adapter import Batch, Transform, take
from bench.prepare import Prepared
from bench.probe import PROBES, Prediction
from bench.train import Fitted, Plan

Progress = Callable[[str, int, int, float], None]
"""Called now and then with (stage, steps done, steps, recent loss)."""


@dataclass(frozen=True)
class Outcome:
    """What a run found: the prediction, and fields for its record."""

    prediction: Prediction
    facts: Mapping[str, Any]
    losses: Any = None


def labelled_rows(ready: Prepared) -> tuple[Transform, Batch]:
    """Preprocessing fitted on the cut rows, and the labelled rows through it."""
    x = ready.dataset.train.x
    transform = ready.adapter.fit(take(x, ready.rows.pretrain), ready.dataset, ready.spec)
    return transform, transform(take(x, ready.rows.labelled))


def probed(ready: Prepared, h: Tensor, h_test: Tensor, facts: Mapping[str, Any], progress: Progress) -> Outcome:
    """Score features (n_labels, d) and (n_test, d) by the run's protocol."""
    progress("probing", 0, 1, float("nan"))
    y, c = ready.labels, len(ready.dataset.classes)
    began = perf.clock(ready.plan.device)
    prediction = PROBES[ready.spec.protocol](h, y, h_test, c, ready.folds, ready.dataset.metric)
    return Outcome(prediction, {**facts, "evaluate_seconds": perf.clock(ready.plan.device) - began})


def training_facts(fitted: Fitted, plan: Plan) -> dict[str, float]:
    """Speed and losses of a training, for the record."""
    return {
        "samples_per_s": fitted.samples_per_s(plan.batch_size),
        "first_loss": float(fitted.losses[0]),
        "last_loss": float(fitted.losses[-max(1, len(fitted.losses) // 50) :].mean()),
    }


def size_facts(encoder: nn.Module, x: Batch) -> dict[str, int]:
    """Parameters and forward FLOPs per example, from the first rows of a batch."""
    device = next(encoder.parameters()).device
    return {
        "parameters": perf.parameters(encoder),
        "forward_flops": perf.forward_flops(encoder, tuple(t[:16].to(device) for t in x)),
    }
