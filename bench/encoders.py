"""f: x -> h. Bodies shared by modalities; each says its feature width."""

from itertools import pairwise

import torch
from torch import Tensor, nn


class Maxout(nn.Module):
    """The largest of `pieces` values per output (Goodfellow et al. 2013): (n, pieces * d) -> (n, d)."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        # Which inputs form a group is a naming of random weights; groups that lie d apart reduce faster than neighbours.
        return torch.amax(x.view(len(x), self.pieces, -1), dim=1)

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}"


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
    net.maxpool, net.fc = nn.Identity(), nn.Identity()
    net.residual = True  # h averages the sums of its last residual block
    if width > 1:
        for i, count in enumerate(layers):
            stage = net._make_layer(block, planes * 2**i, count, stride=1 if i == 0 else 2)
            setattr(net, f"layer{i + 1}", stage)
    for module in net.modules():  # the layers that were replaced start as torchvision starts the others
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net, planes * 8 * block.expansion


def linear_bn_relu(inputs: int, outputs: int) -> list[nn.Module]:
    """Linear, batch norm, ReLU. No bias in the linear layer: the batch norm subtracts it again."""
    return [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]


def one_hot_weight(states: Tensor, width: int) -> Tensor:
    """Initial weight (sum of states, width) of one bias-free linear layer per categorical column, stacked.

    states: (q,) how many states each column has. Bounds are torch's own for a Linear on that column's one-hot input.
    """
    bound = states.double().rsqrt().float().repeat_interleave(states)
    return (torch.rand(len(bound), width) * 2 - 1) * bound[:, None]
