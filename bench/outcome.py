"""Outcome: what a run found, and the steps that pretrained encoders and controls share on the way to one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from bench import perf
from bench.adapter import Arrays, Batch, Transform, take
from bench.cluster import cluster
from bench.corrupt import CORRUPTIONS
from bench.kept import KEPT
from bench.prepare import Prepared
from bench.probe import PROBES, Prediction
from bench.seeds import rng
from bench.train import Fitted, Plan

Progress = Callable[[str, int, int, float], None]
"""Called now and then with (stage, steps done, steps, recent loss)."""


@dataclass(frozen=True)
class Outcome:
    """What a run found: the prediction, fields for its record, and arrays for its side file."""

    prediction: Prediction
    facts: Mapping[str, Any]
    sides: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Inputs:
    """Preprocessing fitted on the cut rows, and the labelled rows and the test rows through it."""

    transform: Transform
    labelled: Batch
    test: Batch


def inputs(ready: Prepared) -> Inputs:
    """Fit preprocessing on the rows that pretraining sees, and apply it. Runs that differ in the protocol share it."""
    return KEPT.get(ready, "inputs", lambda: fitted_inputs(ready))


def fitted_inputs(ready: Prepared) -> Inputs:
    """`inputs`, not kept."""
    transform = ready.adapter.fit(take(ready.dataset.train.x, ready.rows.pretrain), ready.dataset, ready.spec)
    return Inputs(transform, transform(take(ready.scored.train.x, ready.rows.labelled)), transform(ready.scored.test.x))


def scored_arrays(ready: Prepared) -> Arrays:
    """Raw test rows as the protocol wants them: worse ones for `noise@1` and `missing@1`, the same for every method."""
    x, protocol = ready.scored.test.x, ready.spec.protocol
    if protocol not in CORRUPTIONS:
        return x
    train = take(ready.scored.train.x, ready.rows.labelled)
    return CORRUPTIONS[protocol](x, train, rng(ready.spec.seed, protocol))


def scored_batch(ready: Prepared, given: Inputs) -> Batch:
    """Preprocessed test rows as the protocol wants them."""
    return given.transform(scored_arrays(ready)) if ready.spec.protocol in CORRUPTIONS else given.test


def probed(
    ready: Prepared, h: Tensor, h_test: Tensor, facts: Mapping[str, Any], progress: Progress, seen: Callable[[], Tensor]
) -> Outcome:
    """Score features (n_labels, d) and (n_test, d) by the run's protocol. seen: features of all rows that pretraining saw."""
    progress("probing", 0, 1, float("nan"))
    spec, c = ready.spec, len(ready.scored.classes)
    began = perf.clock(ready.plan.device)
    if spec.protocol == "cluster@1":
        prediction = cluster(seen(), h_test, c, spec.seed)
    else:
        probe = PROBES.get(spec.protocol, PROBES["linear@1"])  # `noise@1` and `missing@1` change the test rows alone
        prediction = probe(h, ready.labels, h_test, c, ready.folds, ready.scored.metric)
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
