"""Small networks, batches and plans for tests of the training stages."""

import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.adapter import Batch, Encoder
from bench.method import Method, Network, build
from bench.seeds import seed_globally
from bench.train import Plan

SETTINGS = {"temperature": 0.2, "queue_size": 10, "key_momentum": 0.9, "subvector": 3, "hard_start": 0.0}
"""Values for every setting that a card of `bench/methods` may ask for, and some options that small networks want."""

GIVEN = {"n_rows": 64, "n_classes": 3, "labels": torch.arange(64) % 3}
"""What a card may ask to be told about the training rows."""


class First(nn.Module):
    """Stem that takes the only tensor of a batch."""

    def forward(self, x: Batch) -> Tensor:
        return x[0]


def network(inputs: int = 6, dim: int = 5, out: int = 4, *, norm: bool = False) -> Network:
    """Linear encoder and head, drawn from torch's global generator; with `norm`, batch norm and a rectifier between."""
    body = [nn.Linear(inputs, dim), nn.BatchNorm1d(dim), nn.ReLU()] if norm else [nn.Linear(inputs, dim)]
    return Network(Encoder(First(), nn.Sequential(*body), dim), nn.Linear(dim, out), out)


def method(name: str, *, norm: bool = False, **settings: Any) -> Method:
    """A method around a small network, the same at every call."""
    seed_globally(0, "a small network")
    return build(name, network(norm=norm), {**SETTINGS, **settings}, GIVEN)


def views(n: int, inputs: int = 6, seed: int = 0) -> tuple[Batch, Batch]:
    """Two noisy views of n random rows."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(n, inputs, generator=draw)
    a, b = (x + 0.3 * torch.randn(n, inputs, generator=draw) for _ in range(2))
    return (a,), (b,)


def noisy(x: Batch, rng: torch.Generator) -> Batch:
    """A view: every cell moves a little."""
    return tuple(t + 0.3 * torch.randn(t.shape, generator=rng) for t in x)


def same(x: Batch, rng: torch.Generator) -> Batch:  # noqa: ARG001 - the signature of every view
    """A view that changes nothing."""
    return x


def plan(**over: Any) -> Plan:
    """A short plan."""
    usual = {"steps": 12, "batch_size": 8, "lr": 0.05, "weight_decay": 1e-4, "sgd_momentum": 0.9, "warmup": 0.2}
    return Plan(**{**usual, "seed": 0, "precision": "fp32", **over})


def clouds(n: int, classes: int = 3, apart: float = 20.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(points, classes): unit clouds whose centres stand `apart` on the axes, so that no two overlap."""
    draw = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return (draw.normal(size=(n, classes + 1)) + apart * np.eye(classes, classes + 1)[y]).astype(np.float32), y


def fingerprint(module: nn.Module) -> str:
    """SHA-256 over every parameter and buffer."""
    mark = hashlib.sha256()
    for name, value in module.state_dict().items():
        mark.update(name.encode() + value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return mark.hexdigest()
