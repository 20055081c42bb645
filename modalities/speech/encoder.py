"""Encoders of log-mels: a small convolutional network that keeps the frequency axis, and ResNets with a one-channel stem."""

import torch
from torch import Tensor, nn

from bench.adapter import Batch, Encoder
from bench.encoders import resnet
from modalities.speech.mels import Sound
from modalities.speech.waves import LogMel


class Picture(nn.Module):
    """Stem: log-mels (n, mels, frames) as pictures of one channel, (n, 1, mels, frames)."""

    def forward(self, x: Batch) -> Tensor:
        return x[0][:, None]


class Bands(nn.Module):
    """A small convolutional network: (n, 1, mels, frames) -> (n, dim).

    Strides shrink both axes; at the end only time is averaged, so that h says in which band something was heard.
    """

    def __init__(self, mels: int, width: int) -> None:
        super().__init__()
        planes = (1, 16 * width, 32 * width, 64 * width, 64 * width)
        strides = ((2, 2), (2, 2), (2, 1), (1, 1)) if mels <= 32 else ((2, 3), (2, 2), (2, 2), (2, 1))
        layers: list[nn.Module] = []
        for i, stride in enumerate(strides):
            size = 5 if i == 0 else 3
            layers += [nn.Conv2d(planes[i], planes[i + 1], size, stride, size // 2, bias=False), nn.BatchNorm2d(planes[i + 1])]
            layers += [nn.ReLU(inplace=True)]
            mels = -(-mels // stride[0])
        self.layers = nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dim = planes[-1] * mels

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.layers(x.contiguous(memory_format=torch.channels_last)).mean(dim=3).flatten(1)
        return h


def encoder(name: str, transform: Sound, width: int) -> Encoder:
    """An untrained encoder: `bands`, `resnet18`, `resnet34` or `resnet50`."""
    stem = LogMel(transform) if transform.waveforms else Picture()
    if name.startswith("resnet"):
        return Encoder(stem, *resnet(int(name.removeprefix("resnet")), channels=1, width=width))
    body = Bands(transform.settings.mels, width)
    return Encoder(stem, body, body.dim)
