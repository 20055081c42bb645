"""Encoders for pictures: a stem that standardises, and a small convolutional network or a ResNet behind it."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from bench.adapter import Batch, Encoder
from bench.encoders import MeanPool, SideBySide, resnet
from modalities.images.preprocess import Pictures


class Standardise(nn.Module):
    """Stem: bytes (n, c, h, w) -> float, mean 0 and spread 1 per channel; affine, so mixing after it mixes pictures."""

    scale: Tensor
    shift: Tensor

    def __init__(self, transform: Pictures) -> None:
        super().__init__()
        scale, shift = transform.affine()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: Batch) -> Tensor:
        (pixels,) = x
        return torch.addcmul(self.shift, pixels, self.scale)


class ChannelsLast(nn.Module):
    """A convolutional network whose tensors lie as (n, h, w, c) in memory, which CPUs and GPUs multiply fastest."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.net(x.contiguous(memory_format=torch.channels_last))
        return h


def convnet(channels: int, width: int) -> tuple[nn.Module, int]:
    """Three 3x3 convolutions with stride 2, BN and ReLU, then the mean of each quarter: (n, c, h, w) -> (n, 512w).

    32w, 64w and 128w planes. At w = 1: 93 thousand weights; 4.3 MFLOP for 28x28 grey, 5.2 for 32x32 RGB.
    """
    planes = (channels, 32 * width, 64 * width, 128 * width)
    layers: list[nn.Module] = []
    for a, b in pairwise(planes):
        conv = SideBySide.of(nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False))
        layers += [conv, nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers, MeanPool(2), nn.Flatten()), 4 * planes[-1]


def encoder(transform: Pictures, name: str, width: int) -> Encoder:
    """`convnet`, or `resnet18`, `resnet34`, `resnet50` with the CIFAR stem."""
    channels = transform.shape[0]
    net, dim = convnet(channels, width) if name == "convnet" else resnet(int(name.removeprefix("resnet")), channels, width)
    return Encoder(Standardise(transform), ChannelsLast(net), dim)
