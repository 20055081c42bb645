# ruff: noqa: E402 - the card stands first
"""A modality in a package of its own: short generated waves of three shapes. As small as a modality can be."""

CARD = {
    "title": "Waves of three shapes",
    "version": 1,
    "default": "toy",
    "recipe": "waves",
    "views": {
        "domain": {"settings": ["mask_rate"], "what": "a random shift, then masking"},
        "agnostic": {"settings": ["mask_rate"], "what": "independent masking of samples"},
        "none": {"settings": [], "what": "two identical inputs"},
    },
    "encoder": ["width"],
    "datasets": {
        "toy": {
            "rows": "240 + 60",
            "classes": 3,
            "source": "generated",
            "licence": "MIT",
            "cite": "",
            "embedded": True,
            "metric": "accuracy",
        },
    },
    "recipes": {
        "waves": {
            "base_lr": 0.125,
            "weight_decay": 1e-4,
            "sgd_momentum": 0.9,
            "temperature": 0.1,
            "imix_alpha": 1.0,
            "inputmix_aux": 2,
            "inputmix_floor": 0.5,
            "queue_size": 256,
            "head": "mlpbn",
            "projection_dim": 16,
            "mask_rate": 0.2,
            "mixup_alpha": 1.0,
        }
    },
    "budgets": {"smoke": {"steps": 30, "batch_size": 64, "width": 1, "warmup": 0.1}},
}

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.adapter import Adapter, Arrays, Batch, Dataset, Encoder, Split, Transform, View
from bench.encoders import imix_mlp
from bench.seeds import rng
from bench.spec import RunSpec

LENGTH = 32


class Standardise(Transform):
    """Mean and spread of the training waves."""

    def __init__(self, x: np.ndarray) -> None:
        self.mean, self.std = x.mean(), x.std()

    def __call__(self, x: Arrays) -> Batch:
        return (torch.from_numpy((x[0] - self.mean) / self.std),)


class First(nn.Module):
    """The stem: the only tensor of a batch."""

    def forward(self, x: Batch) -> Tensor:
        return x[0]


class Waves(Adapter):
    """Raw rows and batches: samples float32 (n, 32)."""

    def load(self, spec: RunSpec) -> Dataset:  # noqa: ARG002 - there is only one data set
        draw, y = rng(0, "waves"), np.arange(300) % 3
        time = np.arange(LENGTH) / 8 + draw.random((300, 1))
        shapes = np.stack([np.sin(2 * np.pi * time), np.sign(np.sin(2 * np.pi * time)), 2 * (time % 1) - 1])
        x = (shapes[y, np.arange(300)] + 0.4 * draw.normal(size=(300, LENGTH))).astype(np.float32)
        return Dataset("toy", Split((x[:240],), y[:240]), Split((x[240:],), y[240:]), ("sine", "square", "saw"))

    def fit(self, x: Arrays, dataset: Dataset, spec: RunSpec) -> Transform:  # noqa: ARG002
        return Standardise(x[0])

    def view(self, spec: RunSpec, transform: Transform) -> View:  # noqa: ARG002
        def view(x: Batch, luck: torch.Generator) -> Batch:
            wave = x[0]
            if spec.views == "domain":
                shift = torch.randint(LENGTH, (len(wave), 1), generator=luck, device=wave.device)
                wave = wave.gather(1, (torch.arange(LENGTH, device=wave.device) + shift) % LENGTH)
            if spec.mask_rate:
                wave = wave.masked_fill(torch.rand(wave.shape, generator=luck, device=wave.device) < spec.mask_rate, 0.0)
            return (wave,)

        return view

    def encoder(self, spec: RunSpec, transform: Transform) -> Encoder:  # noqa: ARG002
        body, dim = imix_mlp(LENGTH, spec.width or 1)
        return Encoder(First(), body, dim)

    def raw(self, x: Batch, transform: Transform) -> np.ndarray:  # noqa: ARG002
        return x[0].cpu().numpy()

    def classical(self, dataset: Dataset) -> Sequence[Any]:  # noqa: ARG002
        from sklearn.neighbors import KNeighborsClassifier

        return [KNeighborsClassifier(k) for k in (1, 5)]

    def classical_input(self, x: Arrays, dataset: Dataset) -> np.ndarray:  # noqa: ARG002
        return x[0]

    def sheet(self, x: Batch, transform: Transform) -> list[str]:  # noqa: ARG002
        return ["".join(" .:-=+*#"[int(v)] for v in (wave.clamp(-2, 1.99) + 2) * 2) for wave in x[0]]


ADAPTER = Waves()
