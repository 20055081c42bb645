"""Encoders for token ids: stems that are linear in one-hot tokens, and bodies that tell padding by an extra channel."""

import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from bench.adapter import Batch, Encoder
from bench.encoders import imix_mlp, linear_bn_relu
from bench.spec import RunSpec
from modalities.text.tokens import PAD, Tokens

EMBEDDING = 64
SIMCSE_DROPOUT = 0.1
"""The rate of SimCSE (Gao et al. 2021, arXiv 2104.08821, table 4), for the views `dropout`; otherwise there is no dropout."""

ORDERS = (1, 2, 3, 4)
BUCKETS = 2**15
"""n-grams are hashed into this many embeddings; the first orders of a small vocabulary keep one each."""


def encoder(spec: RunSpec, transform: Tokens) -> Encoder:
    """The encoder that `spec.encoder` names."""
    name, width = str(spec.encoder), int(spec.width or 1)
    rate = SIMCSE_DROPOUT if spec.views == "dropout" else 0.0
    if name.startswith("pretrained:"):
        from modalities.text import pretrained

        return pretrained.encoder(name.removeprefix("pretrained:"), rate, spec.device)
    if name == "bag":
        body, dim = imix_mlp(EMBEDDING * 2, width)
        return Encoder(NGrams(len(transform), EMBEDDING * 2), nn.Sequential(*_dropout(rate), body), dim)
    if name == "cnn":
        cnn = Convolutions(EMBEDDING, width, rate)
        return Encoder(Embeddings(len(transform), EMBEDDING), cnn, cnn.dim)
    from modalities.text import pretrained

    return pretrained.from_config(len(transform), transform.length, width, rate, spec.device)


def _dropout(rate: float) -> list[nn.Module]:
    return [nn.Dropout(rate)] if rate else []


class Embeddings(nn.Module):
    """Stem: (ids (n, length), lengths) -> (n, longest, d + 1): one vector per token, zero for padding; the last channel is
    1 where a token stands and 0 where padding does.

    It is linear in one-hot tokens (padding: no token), so mixing its output mixes those; and a mixed position is padding
    (its last channel 0) exactly where all that went into it was padding. `longest` is that of the batch on a CPU.
    """

    present: Tensor

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(tokens, width))
        present = torch.ones(tokens, 1)
        present[PAD] = 0
        self.register_buffer("present", present, persistent=False)

    def forward(self, x: Batch) -> Tensor:
        ids, lengths = x
        if ids.device.type == "cpu":  # elsewhere it would wait for the device
            ids = ids[:, : int(lengths.max())]
        table = torch.cat((self.weight * self.present, self.present), dim=1)
        return F.embedding(ids, table)


class Convolutions(nn.Module):
    """Body: (n, length, d + 1) -> (n, dim): convolutions of several widths, the largest value of each over the text.

    After Kim 2014 (arXiv 1408.5882), with a layer behind them.
    """

    def __init__(self, inputs: int, width: int, dropout: float = 0.0, spans: tuple[int, ...] = (2, 3, 4, 5)) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        channels = 32 * width
        self.reach = max(spans) - 1
        self.convolutions = nn.ModuleList(nn.Conv1d(inputs, channels, s) for s in spans)
        self.dim = 32 * width
        self.top = nn.Sequential(nn.BatchNorm1d(channels * len(spans)), nn.ReLU(), *linear_bn_relu(channels * len(spans), self.dim))

    def forward(self, s: Tensor) -> Tensor:
        real = s[..., -1:] > 0
        x = self.dropout(s[..., :-1]).transpose(1, 2)
        parts = []
        for convolution in self.convolutions:
            reach = convolution.kernel_size[0] - 1
            y = convolution(F.pad(x, (reach, 0)))
            parts.append(y.masked_fill(~real.transpose(1, 2), -math.inf).amax(dim=2))
        return self.top(torch.cat(parts, dim=1).float())


class NGrams(nn.Module):
    """Stem: (ids, lengths) -> (n, d): the mean embedding of all n-grams of a text, so linear in its bag of one-hot n-grams."""

    def __init__(self, tokens: int, width: int, orders: tuple[int, ...] = ORDERS, buckets: int = BUCKETS) -> None:
        super().__init__()
        self.orders, self.buckets = orders, buckets
        self.weight = nn.Parameter(torch.randn(len(orders) * buckets, width))
        with torch.no_grad():
            self.weight[0] = 0

    def forward(self, x: Batch) -> Tensor:
        ids, lengths = x
        if ids.device.type == "cpu":
            ids = ids[:, : int(lengths.max())]
        grams = self.grams(ids)
        total = F.embedding_bag(grams, self.weight, mode="sum", padding_idx=0)
        return total / (grams != 0).sum(dim=1, keepdim=True).sqrt()

    def grams(self, ids: Tensor) -> Tensor:
        """Row of `weight` of every n-gram: (n, about length * orders) with 0 for none. Collisions are shared rows."""
        wide = ids.long()
        code, found = torch.zeros_like(wide), []
        edge = F.pad(wide, (1, 1))
        for i, order in enumerate(self.orders):
            source = wide if order == 1 else edge
            count = source.shape[1] - order + 1
            if count < 1:
                break
            code = source[:, :count]
            for k in range(1, order):
                code = (code * 1_000_003 + source[:, k : k + count]) & 0x7FFFFFFF
            code = (code * 0x9E3779B1) & 0x7FFFFFFF
            row = 1 + i * self.buckets + (code >> 12) % (self.buckets - 1)
            # an n-gram with one edge is whole; one that reaches further holds padding beyond a text's end
            inside = source[:, order - 1 : order - 1 + count] if order == 1 else source[:, max(order - 2, 0) : max(order - 2, 0) + count]
            found.append(torch.where(inside != PAD, row, 0))
        return torch.cat(found, dim=1)
