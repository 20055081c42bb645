"""Training steps on pictures as `bench` takes them and as lightly documents them, around one network."""

import contextlib
import copy
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from bench import perf
from bench.adapter import Encoder
from bench.encoders import MeanPool, resnet
from bench.heads import head
from bench.method import Network, build
from bench.mixing import Mixers
from bench.train import Plan, contrastive_loss, fit
from modalities.images import recipes, views
from modalities.images.encoder import ChannelsLast, Standardise
from modalities.images.preprocess import Pictures

BATCH, OUT, QUEUE, MOMENTUM, LR, DECAY = 256, 128, 4096, 0.999, 0.06, 5e-4
TEMPERATURE = {"simclr": 0.1, "moco": 0.2}
VIEWS = {"simclr": "simclr", "moco": "mocov2"}
HEADS = {"simclr": "mlpbn1", "moco": "mlp"}

PIXELS = np.random.default_rng(0).integers(0, 256, (8 * BATCH, 3, 32, 32), np.uint8)
FITTED = Pictures((3, 32, 32), np.full(3, 0.45), np.full(3, 0.25), flips=True)


WARMING = 4
"""Steps until the process holds all the memory that a step needs, as it does for the rest of a run."""

DIM = {"small": 64, "resnet18": 512}
"""Features of a network."""


def body(net: str) -> nn.Module:
    """`small`, pooled as `bench` does it, or `bench`'s `resnet18`: (n, 3, 32, 32) -> (n, DIM)."""
    torch.manual_seed(0)
    if net == "resnet18":
        return resnet(18, 3)[0]
    layers: list[nn.Module] = []
    for a, b, stride in ((3, 16, 2), (16, 32, 1), (32, 64, 2)):
        layers += [nn.Conv2d(a, b, 3, stride, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers, MeanPool(1), nn.Flatten())


def torchvisions(net: str) -> nn.Module:
    """The same for lightly of torch's own parts: torchvision's ResNet-18 as it comes, but for the CIFAR stem."""
    if net != "resnet18":
        parts = body(net).children()
        return nn.Sequential(*(nn.AdaptiveAvgPool2d(1) if isinstance(part, MeanPool) else part for part in parts))
    from torchvision.models import resnet18

    made = resnet18()
    made.conv1, made.maxpool, made.fc = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity(), nn.Identity()
    return made


class Ours:
    """`steps` steps of a method by `bench.train.fit`, after some that take memory; a call gives {part: CPU-seconds of one}."""

    def __init__(self, method: str, net: str, steps: int, precision: str = "auto", compiled: bool = False) -> None:
        dim = DIM[net]
        encoder = Encoder(Standardise(FITTED), ChannelsLast(body(net)), dim)
        network = Network(encoder, head(HEADS[method], dim, OUT), OUT)
        settings = {"temperature": TEMPERATURE[method], "queue_size": QUEUE, "key_momentum": MOMENTUM}
        self.method = build(method, network, settings)
        self.plan = Plan(
            steps=steps + WARMING,
            batch_size=BATCH,
            lr=LR,
            weight_decay=DECAY,
            sgd_momentum=0.9,
            warmup=0.0,
            seed=0,
            precision=perf.pick_precision(precision, torch.device("cpu")),
            compile=compiled,
        )
        view = views.view(recipes.steps(VIEWS[method], FITTED, None, compiled=compiled))
        self.parts: dict[str, float] = defaultdict(float)
        self.since = 0.0
        loss = contrastive_loss(self.method, FITTED((PIXELS,)), self._timed("views", view), Mixers(), self.plan)
        self.loss, self.after_step = self._timed("loss", loss), self._timed("momentum, queue", self.method.after_step)
        self._watch(network)

    def __call__(self) -> dict[str, float]:
        done = 0

        def after_step() -> None:
            nonlocal done
            self.after_step()
            done += 1
            if done == WARMING:
                self.parts, self.since = defaultdict(float), time.process_time()

        fit(self.method, self.loss, len(PIXELS), self.plan, after_step=after_step)
        self._lap("between")
        return {name: spent / (self.plan.steps - WARMING) for name, spent in self.parts.items()}

    def _watch(self, network: Network) -> None:
        """Have what `fit` calls noted: stem, encoder and head, those of the keys, and the optimiser."""
        network.encoder.stem.register_forward_pre_hook(lambda *_: self._lap("between"))
        network.register_forward_hook(lambda *_: self._lap("forward"))
        if hasattr(self.method, "key_encoder"):
            self.method.key_encoder.register_forward_hook(lambda *_: self._lap("forward of keys"))
        register_optimizer_step_pre_hook(lambda *_: self._lap("backward"))
        register_optimizer_step_post_hook(lambda *_: self._lap("optimiser"))

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self._lap("between")
            result = function(*arguments)
            self._lap(part)
            return result

        return call

    def _lap(self, part: str) -> None:
        """What has passed since the last lap was this part."""
        now = time.process_time()
        self.parts[part] += now - self.since
        self.since = now


class Rows(torch.utils.data.Dataset[Any]):
    """Two views of every picture, and a label, as torchvision's data sets give them."""

    def __init__(self, transform: Callable[[Any], Any]) -> None:
        self.pixels, self.transform = np.ascontiguousarray(PIXELS.transpose(0, 2, 3, 1)), transform

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, i: int) -> tuple[list[Tensor], int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.pixels[i])), 0


class Lightly:
    """`steps` steps as in lightly's examples `simclr.py` and `moco.py`; a call gives {"all": CPU-seconds of a step}."""

    def __init__(self, method: str, net: str, steps: int) -> None:
        from lightly.loss import NTXentLoss
        from lightly.models.modules.heads import MoCoProjectionHead, SimCLRProjectionHead

        kind = SimCLRProjectionHead if method == "simclr" else MoCoProjectionHead
        self.model = nn.Sequential(torchvisions(net), kind(DIM[net], DIM[net], OUT))
        self.keys = copy.deepcopy(self.model).requires_grad_(False) if method == "moco" else None
        self.criterion = NTXentLoss(TEMPERATURE[method], memory_bank_size=(QUEUE, OUT) if method == "moco" else 0)
        self.optimiser = torch.optim.SGD(self.model.parameters(), lr=LR, momentum=0.9, weight_decay=DECAY)
        self.batches, self.steps = self._batches(transform(method)), steps

    def __call__(self) -> dict[str, float]:
        began = time.process_time()
        for _ in range(self.steps):
            (x_q, x_k), _ = next(self.batches)
            loss = self._simclr(x_q, x_k) if self.keys is None else self._moco(x_q, x_k)
            loss.backward()
            self.optimiser.step()
            self.optimiser.zero_grad()
        return {"all": (time.process_time() - began) / self.steps}

    def _simclr(self, first: Tensor, second: Tensor) -> Tensor:
        loss: Tensor = self.criterion(self.model(first), self.model(second))
        return loss

    def _moco(self, x_q: Tensor, x_k: Tensor) -> Tensor:
        from lightly.models.utils import update_momentum

        assert self.keys is not None
        update_momentum(self.model, self.keys, MOMENTUM)
        loss: Tensor = self.criterion(self.model(x_q), self.keys(x_k).detach())
        return loss

    @staticmethod
    def _batches(transform: Callable[[Any], Any]) -> Iterator[tuple[list[Tensor], Tensor]]:
        loader = torch.utils.data.DataLoader(Rows(transform), BATCH, shuffle=True, drop_last=True, num_workers=0)
        while True:
            yield from loader


def transform(method: str) -> Callable[[Any], Any]:
    """lightly's transform that draws as our recipe does: picture -> two views."""
    from lightly.transforms import MoCoV2Transform, SimCLRTransform

    if method == "moco":
        return MoCoV2Transform(32)  # type: ignore[no-any-return]
    return SimCLRTransform(32, gaussian_blur=0.0, cj_strength=0.5)  # type: ignore[no-any-return]


class Apart:
    """A side in a process of its own; a call gives what the side gives."""

    def __init__(self, make: Callable[..., Callable[[], dict[str, float]]], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, its = context.Pipe()
        context.Process(target=_serve, args=(its, make, arguments), daemon=True).start()

    def __call__(self) -> dict[str, float]:
        self.pipe.send("go")
        found: dict[str, float] = self.pipe.recv()
        return found


def _serve(pipe: Any, make: Callable[..., Callable[[], dict[str, float]]], arguments: tuple[Any, ...]) -> None:
    side = make(*arguments)
    with contextlib.suppress(EOFError):  # whoever asked has ended
        while pipe.recv():
            pipe.send(side())
