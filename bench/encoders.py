"""f: x -> h. Bodies shared by modalities; each says its feature width."""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, pad

NARROW = 4
"""Columns of a convolution's output up to which pictures are laid side by side."""


class Maxout(nn.Module):
    """The largest of `pieces` values per output (Goodfellow et al. 2013): (n, pieces * d) -> (n, d)."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        # Which inputs form a group is a naming of random weights; groups that lie d apart reduce faster than neighbours.
        largest: Tensor = _Largest.apply(x.view(len(x), self.pieces, -1))  # type: ignore[no-untyped-call]
        return largest

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"


class _Largest(torch.autograd.Function):
    """The largest over dimension 1, (n, k, d) -> (n, d); equals share the gradient.

    So does `torch.amax`, whose backward goes through a tensor of bool, which takes four times as long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        largest = x.amax(dim=1)
        ctx.save_for_backward(x, largest)
        return largest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, largest = ctx.saved_tensors
        hit = torch.eq(x, largest[:, None], out=torch.empty_like(x))
        return hit.mul_((grad / hit.sum(dim=1))[:, None])


def imix_mlp(inputs: int, width: int) -> tuple[nn.Sequential, int]:
    """The MLP of i-Mix for tables, (n, inputs) -> (n, 32 * width), and its feature width.

    Linear-BN-ReLU of 32w, 32w, 64w, 64w units, Linear to 128w, maxout over groups of four
    (Lee et al., ICLR 2021; kibok90/imix@d40fabe, `mlp_5layer`, where w = 64).
    """
    sizes = (inputs, 32 * width, 32 * width, 64 * width, 64 * width)
    layers = [part for a, b in pairwise(sizes) for part in linear_bn_relu(a, b)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 128 * width), Maxout(4)), 32 * width


def resnet(depth: int, channels: int, width: int = 1) -> tuple[nn.Module, int]:
    """torchvision's ResNet-18, 34 or 50 with the CIFAR stem, (n, channels, height, width) -> (n, dim), and dim.

    A 3x3 convolution of stride 1 and no pooling stand for the 7x7 convolution and the pooling (Chen et al., SimCLR, B.9).
    `width` multiplies the planes of every stage (64, 128, 256, 512).
    """
    from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

    layers = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}[depth]
    block = Bottleneck if depth == 50 else BasicBlock
    net = ResNet(block, list(layers))
    net.inplanes = planes = 64 * width
    net.conv1, net.bn1 = nn.Conv2d(channels, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes)
    net.maxpool, net.avgpool, net.fc = nn.Identity(), MeanPool(1), nn.Identity()
    net.residual = True  # h averages the sums of its last residual block
    if width > 1:
        for i, count in enumerate(layers):
            stage = net._make_layer(block, planes * 2**i, count, stride=1 if i == 0 else 2)
            setattr(net, f"layer{i + 1}", stage)
    for module in net.modules():  # the layers that were replaced start as torchvision starts the others
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    for part in list(net.modules()):
        if isinstance(part, nn.ReLU):
            part.inplace = False  # in place takes longer in bf16, and saves no memory behind a batch norm
        for name, conv in part.named_children():
            if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3):
                setattr(part, name, SideBySide.of(conv))
    return net, planes * 8 * block.expansion


class SideBySide(nn.Conv2d):
    """A 3x3 convolution without bias; in bf16 on a CPU it lays pictures side by side where its output is narrow.

    A matrix unit takes sixteen neighbours of a row at once, and rows of four leave most of it idle. Between pictures lies at
    least one column of zeros, as the padding of each, so the result is the same.
    """

    @classmethod
    def of(cls, conv: nn.Conv2d) -> "SideBySide":
        """With the weights of another, and no random number drawn. ValueError where that is another kind of convolution."""
        if (conv.kernel_size, conv.padding, conv.dilation, conv.groups, conv.bias) != ((3, 3), (1, 1), (1, 1), 1, None):
            raise ValueError(f"{conv} is not a 3x3 convolution with padding 1, one group and no bias")
        with torch.device("meta"):
            made = cls(conv.in_channels, conv.out_channels, 3, stride=conv.stride[0], padding=1, bias=False)
        made.weight = conv.weight
        return made

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, planes, ⌈h / stride⌉, ⌈w / stride⌉)."""
        narrow, count = math.ceil(x.shape[3] / self.stride[0]) <= NARROW, math.gcd(len(x), 32)
        if narrow and count > 1 and x.dtype == torch.bfloat16 and x.device.type == "cpu":
            return self.laid(x, count)
        return super().forward(x)

    def laid(self, x: Tensor, count: int) -> Tensor:
        """The same, of `count` pictures in a row."""
        (n, c, h, w), step = x.shape, self.stride[0]
        room = step * (w // step + 1)  # the columns of a picture and those of zeros behind it, in whole steps
        apart = pad(x.permute(0, 2, 3, 1), (0, 0, 0, room - w)).view(-1, count, h, room, c)
        y = super().forward(apart.transpose(1, 2).reshape(-1, h, count * room, c).permute(0, 3, 1, 2))
        apart = y.permute(0, 2, 3, 1).reshape(n // count, -1, count, room // step, self.out_channels)
        return apart[:, :, :, : math.ceil(w / step)].transpose(1, 2).flatten(0, 1).permute(0, 3, 1, 2)


class MeanPool(nn.Module):
    """The means of `side` x `side` equal parts of a picture, (n, c, h, w) -> (n, c, side, side): `nn.AdaptiveAvgPool2d`.

    Its gradient takes no memory of its own where the part is the whole picture, and lies channels last elsewhere. That of torch
    lies channels first, and whatever comes before turns it, at a tenth of a step of a small network. Parts of unequal size are
    left to torch.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % self.side or x.shape[3] % self.side:
            return adaptive_avg_pool2d(x, self.side)
        means: Tensor = _Means.apply(x, self.side)  # type: ignore[no-untyped-call]
        return means


class _Means(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, side: int) -> Tensor:
        ctx.part = x.shape[2] // side, x.shape[3] // side
        return avg_pool2d(x, ctx.part)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (n, c, *sides), (a, b) = grad.shape, ctx.part
        each = (grad / (a * b)).permute(0, 2, 3, 1)[:, :, None, :, None]
        spread = each.expand(n, sides[0], a, sides[1], b, c)
        return spread.reshape(n, sides[0] * a, sides[1] * b, c).permute(0, 3, 1, 2), None


def linear_bn_relu(inputs: int, outputs: int) -> list[nn.Module]:
    """Linear, batch norm, ReLU. No bias in the linear layer: the batch norm subtracts it again."""
    return [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]


def one_hot_weight(states: Tensor, width: int) -> Tensor:
    """Initial weight (sum of states, width) of one bias-free linear layer per categorical column, stacked.

    states: (q,) how many states each column has. Bounds are torch's own for a Linear on that column's one-hot input.
    """
    bound = states.double().rsqrt().float().repeat_interleave(states)
    return (torch.rand(len(bound), width) * 2 - 1) * bound[:, None]
