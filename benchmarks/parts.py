"""Where the seconds of a step go: the parts of a run as the trainer calls them, timed from outside."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch.optim import SGD

from bench import RunSpec, perf
from bench.adapter import take
from bench.prepare import prepare
from bench.pretrain import network, trainable
from bench.train import fit
from benchmarks.row import Row
from benchmarks.timing import Spread, share, taken

PARTS = ("views", "stem", "body", "mixing, head and loss", "backward", "optimiser", "loop")
"""Of a step, in order; the encoder is stem + body, forward. `loop`: drawing rows, seeding, the losses' book."""


class Clock:
    """CPU-seconds spent inside functions and modules, by name."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time taken."""

        def wrapped(*args: Any, **more: Any) -> Any:
            began = time.process_time()
            found = function(*args, **more)
            self.spent[name] += time.process_time() - began
            return found

        return wrapped

    def watch(self, name: str, module: nn.Module) -> None:
        """Take the time of a module's forward."""
        began = [0.0]

        def before(*_: Any) -> None:
            began[0] = time.process_time()

        def after(*_: Any) -> None:
            self.spent[name] += time.process_time() - began[0]

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)


def breakdown(spec: RunSpec, rounds: int, steps: int) -> dict[str, list[float]]:
    """CPU-seconds of a step by part and round, of a run's training cut to `steps`, after one in which memory is taken."""
    with perf.threads(1):
        ready = prepare(spec)
        adapter, clock = ready.adapter, Clock()
        transform = adapter.fit(take(ready.dataset.train.x, ready.rows.pretrain), ready.dataset, ready.spec)
        net = network(ready, transform)
        clock.watch("stem", net.encoder.stem)
        clock.watch("body", net.encoder.body)
        view = clock.timed("views", adapter.view(ready.spec, transform))
        with patch.object(adapter, "view", lambda *_: view):
            method, loss = trainable(ready, net, transform)
        loss, plan = clock.timed("loss", loss), replace(ready.plan, steps=steps + 1)

        def once() -> dict[str, float]:
            ends = []

            def after_step() -> None:
                method.after_step()
                ends.append(time.process_time())
                if len(ends) == 1:
                    clock.spent.clear()

            with ExitStack() as stack:
                stack.enter_context(patch.object(torch.Tensor, "backward", clock.timed("backward", torch.Tensor.backward)))
                stack.enter_context(patch.object(SGD, "step", clock.timed("optimiser", SGD.step)))
                fit(method, loss, len(ready.rows.pretrain), plan, after_step=after_step)
            spent = clock.spent
            spent["mixing, head and loss"] = spent["loss"] - spent["views"] - spent["stem"] - spent["body"]
            spent["loop"] = ends[-1] - ends[0] - spent["loss"] - spent["backward"] - spent["optimiser"]
            return {name: spent[name] / steps for name in PARTS}

        found = taken({"step": once}, rounds)["step"]
        return {name: [part[name] for part in found] for name in PARTS}


def rows(what: str, times: dict[str, list[float]]) -> Iterator[Row]:
    """A row for the whole step and one for the share of each part."""
    totals = [sum(parts) for parts in zip(*times.values(), strict=True)]
    yield Row(f"{what}, a step", Spread.of([1000 * t for t in totals]), "ms")
    for name, spent in times.items():
        yield Row(f"{what}: {name}", share(spent, totals), "%")
