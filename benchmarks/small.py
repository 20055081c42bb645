"""What several groups share: the machine's name, versions, and runs of a budget cut short."""

import importlib.metadata
import platform
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

from bench import RunSpec, __version__, perf
from bench.adapter import take
from bench.prepare import prepare
from bench.pretrain import network, trainable
from bench.train import fit
from benchmarks.timing import forget_peak

LIBRARIES = ("torch", "torchvision", "torchaudio", "transformers", "lightly", "scikit-learn")


def machine() -> dict[str, Any]:
    """Where this was measured: processor, precision that `auto` picks there, and versions."""
    device = perf.pick_device("cpu")
    versions = {"bench": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"processor": perf.device_name(device), "precision": perf.pick_precision("auto", device), "versions": versions}


class Cell:
    """A run's method with its network and loss, ready to train for some steps. before: MiB held when only data were there."""

    def __init__(self, spec: RunSpec, steps: int) -> None:
        self.ready = prepare(spec)
        x = take(self.ready.dataset.train.x, self.ready.rows.pretrain)
        self.transform = self.ready.adapter.fit(x, self.ready.dataset, self.ready.spec)
        self.before = forget_peak()
        self.network = network(self.ready, self.transform)
        self.method, self.loss = trainable(self.ready, self.network, self.transform)
        self.plan = replace(self.ready.plan, steps=steps)

    def train(self) -> list[float]:
        """As a run does it. CPU-seconds of every step but the first, in which memory is taken."""
        ends = []

        def after_step() -> None:
            self.method.after_step()
            ends.append(time.process_time())

        fit(self.method, self.loss, len(self.ready.rows.pretrain), self.plan, after_step=after_step)
        return [b - a for a, b in pairwise(ends)]
