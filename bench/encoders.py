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


def linear_bn_relu(inputs: int, outputs: int) -> list[nn.Module]:
    """Linear, batch norm, ReLU. No bias in the linear layer: the batch norm subtracts it again."""
    return [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]


def one_hot_weight(states: Tensor, width: int) -> Tensor:
    """Initial weight (sum of states, width) of one bias-free linear layer per categorical column, stacked.

    states: (q,) how many states each column has. Bounds are torch's own for a Linear on that column's one-hot input.
    """
    bound = states.double().rsqrt().float().repeat_interleave(states)
    return (torch.rand(len(bound), width) * 2 - 1) * bound[:, None]
