"""fit(): the one loop. Every method and the supervised control train here; interrupted and resumed equals never interrupted."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD

from bench import perf
from bench.adapter import Batch, Encoder, View, select
from bench.data import batches
from bench.home import load_tensors, save_tensors
from bench.method import Method
from bench.mixing import Mixers
from bench.seeds import seed_globally, torch_rng

CHECKPOINT_SECONDS = 15.0
STOP = threading.Event()  # a worker that is asked to stop sets it: `fit` writes its checkpoint and raises `StoppedError`
REPORTS = 100  # how often a run reports its progress, at most


class StoppedError(Exception):
    """Someone asked this process to stop; the checkpoint holds what was done."""


class TrainingFailedError(Exception):
    """Training cannot go on; the message is the reason that stands in the record."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to train: everything the loop reads, beside the model and the loss."""

    steps: int
    batch_size: int
    lr: float  # the peak
    weight_decay: float
    sgd_momentum: float
    warmup: float  # share of the steps
    seed: int
    precision: str
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    compile: bool = False

    def lr_at(self, step: int) -> float:
        """Linear warm-up, then half a cosine to zero, as a pure function of the step (0-based)."""
        rise = round(self.warmup * self.steps)
        if step < rise:
            return self.lr * (step + 1) / rise
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, self.steps - rise)))


@dataclass(frozen=True)
class Fitted:
    """What training cost and how its loss went. losses: (steps,), one per optimiser step."""

    steps: int
    seconds: float  # CPU-seconds, or wall-clock seconds of a GPU
    wall: float
    losses: np.ndarray

    def samples_per_s(self, batch_size: int) -> float:
        """Examples per wall-clock second of training."""
        return self.steps * batch_size / max(self.wall, 1e-9)


Loss = Callable[[Tensor, int], Tensor]
"""(row numbers of a batch (n,), step) -> scalar loss."""

Watch = Callable[[int, float], None]
"""Called now and then with (steps done, mean loss since the last call)."""


@perf.kept_memory()
def fit(
    model: nn.Module,
    loss: Loss,
    n: int,
    plan: Plan,
    *,
    after_step: Callable[[], None] | None = None,
    watch: Watch | None = None,
    checkpoint: Path | None = None,
    seen: dict[str, Any] | None = None,
) -> Fitted:
    """Train `model` for `plan.steps` steps on n rows by SGD, minimising `loss`; `after_step` follows each step.

    Every random draw is a function of (seed, step), so a checkpoint is the model, the optimiser and the losses so far; a
    run continued from it is bit-identical on one CPU at equal threads. Losses stay on the device between reports. seen: JSON
    values that `watch` remembers; they are kept in the checkpoint and come back from it.
    Raises `TrainingFailedError` when a loss is not finite, `StoppedError` when it was asked to stop.
    """
    optimiser = SGD(
        model.parameters(), lr=plan.lr, momentum=plan.sgd_momentum, weight_decay=plan.weight_decay, fused=_can_fuse(plan)
    )
    bodies = Compiled(model) if plan.compile and perf.can_compile(plan.device.type) else contextlib.nullcontext()
    losses = torch.zeros(plan.steps, device=plan.device)
    start, spent, passed = _resume(checkpoint, model, optimiser, losses, seen)
    began, clock = time.perf_counter(), perf.clock(plan.device)
    saved = began
    every = max(1, plan.steps // REPORTS)
    model.train()
    for step, rows in _steps(n, plan, start):
        for group in optimiser.param_groups:
            group["lr"] = plan.lr_at(step)
        seed_globally(plan.seed, "dropout", step)
        optimiser.zero_grad(set_to_none=True)
        with bodies:
            with perf.autocast(plan.device, plan.precision):
                value = loss(rows, step)
            value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if after_step is not None:
            after_step()
        losses[step] = value.detach()
        done = step + 1
        if done % every == 0 or done == plan.steps:
            recent = float(losses[max(start, done - every) : done].mean())
            if not math.isfinite(recent):
                raise TrainingFailedError(
                    f"the loss is {recent} after {done} steps at learning rate {plan.lr:g}; try a smaller base_lr"
                )
            if watch is not None:
                watch(done, recent)
        stop, now = STOP.is_set(), time.perf_counter()  # at every step: a step of a large network takes seconds
        if checkpoint is not None and done < plan.steps and (stop or now - saved > CHECKPOINT_SECONDS):
            saved = now
            seconds = spent + perf.clock(plan.device) - clock
            _save(
                checkpoint,
                model,
                optimiser,
                losses,
                {"step": done, "seconds": seconds, "wall": passed + now - began, "seen": seen or {}},
            )
        if stop:
            raise StoppedError
    kept = losses.cpu().numpy()  # waits for the device
    return Fitted(plan.steps, spent + perf.clock(plan.device) - clock, passed + time.perf_counter() - began, kept)


def contrastive_loss(method: Method, x: Batch, view: View, mixers: Mixers, plan: Plan, key_view: View | None = None) -> Loss:
    """The loss of one contrastive step: rows -> two views -> mixture -> method. No label is in reach.

    key_view draws the second view where it is another recipe than the first.
    """
    second = key_view or view

    def loss(rows: Tensor, step: int) -> Tensor:
        method.step = step
        batch = select(x, rows)
        luck = torch_rng(plan.device, plan.seed, "views", step)
        height, width = (1, 1, *batch[0].shape)[-2:]
        mixture = mixers.draw(len(rows), plan.seed, step, plan.device, (height, width))
        return method.loss(view(batch, luck), second(batch, luck), mixture, rows)

    return loss


@torch.no_grad()
def embed(module: nn.Module, x: Batch, plan: Plan, chunk: int = 4096) -> Tensor:
    """Features of all rows, float32 (n, d) on the CPU, in evaluation mode. x may lie on any device."""
    module.eval()
    n, found = len(x[0]), torch.empty(0)
    with perf.autocast(plan.device, plan.precision):
        for rows in (slice(i, min(i + chunk, n)) for i in range(0, n, chunk)):
            h = module(tuple(t[rows].to(plan.device) for t in x))
            found = torch.empty(n, *h.shape[1:]) if rows.start == 0 else found
            found[rows] = h
    return found


class Compiled:
    """Inside this context the bodies of a model's encoders run compiled; elsewhere, as in evaluation, they run as they are."""

    def __init__(self, model: nn.Module) -> None:
        bodies = [part.body for part in model.modules() if isinstance(part, Encoder)]
        self.forwards = [(body, torch.compile(body.forward)) for body in bodies]
        self.settings = contextlib.ExitStack()

    def __enter__(self) -> None:
        self.settings.enter_context(perf.compiling())
        for body, forward in self.forwards:
            vars(body)["forward"] = forward

    def __exit__(self, *error: object) -> None:
        for body, _ in self.forwards:
            del vars(body)["forward"]
        self.settings.close()


def _steps(n: int, plan: Plan, start: int) -> Iterator[tuple[int, Tensor]]:
    numbers = batches(n, plan.batch_size, plan.seed, start)
    for step in range(start, plan.steps):
        yield step, torch.from_numpy(next(numbers)).to(plan.device, non_blocking=True)


def _can_fuse(plan: Plan) -> bool:
    return plan.device.type in ("cpu", "cuda")


def _save(path: Path, model: nn.Module, optimiser: SGD, losses: Tensor, facts: dict[str, Any]) -> None:
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    for i, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{k}": v for k, v in state.items() if isinstance(v, Tensor)}
    save_tensors(path, {**tensors, "losses": losses}, facts)


def _resume(
    path: Path | None, model: nn.Module, optimiser: SGD, losses: Tensor, seen: dict[str, Any] | None
) -> tuple[int, float, float]:
    """Load a checkpoint into model, optimiser, losses and `seen`: (steps done, seconds, wall seconds), zeros without one."""
    found = load_tensors(path) if path is not None else None
    if found is None:
        return 0, 0.0, 0.0
    tensors, facts = found
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, i, key = name.split(".", 2)
            # The fused step goes through memory as it lies, so a momentum must lie as its parameter does (channels last).
            state.setdefault(int(i), {})[key] = torch.empty_like(parameters[int(i)]).copy_(value)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    losses.copy_(tensors["losses"])
    if seen is not None:
        seen |= facts.get("seen", {})
    return int(facts["step"]), float(facts["seconds"]), float(facts["wall"])
