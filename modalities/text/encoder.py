"""Encoders for token ids: stems that are linear in one-hot tokens or n-grams, and bodies that tell padding by a channel."""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from bench.adapter import Batch, Encoder
from bench.spec import RunSpec
from modalities.text.tokens import PAD, Tokens

SIMCSE_DROPOUT = 0.1
"""The rate of SimCSE (Gao et al. 2021, arXiv 2104.08821, table 4), for the views `dropout`; otherwise there is no dropout."""

BUCKETS = 2**13
"""n-grams of each order are hashed into this many embeddings; the first is none."""

INITIAL = 0.01
"""Spread of an untrained n-gram embedding, chosen on validation rows: from 1 it does not move within a small budget."""


def encoder(spec: RunSpec, transform: Tokens) -> Encoder:
    """The encoder that `spec.encoder` names."""
    assert spec.width is not None
    name, width = str(spec.encoder), spec.width
    rate = SIMCSE_DROPOUT if spec.views == "dropout" else 0.0
    if name == "bag":
        dim = 32 * width
        return Encoder(NGrams(dim, transform.orders), nn.Sequential(Dropout(rate), nn.BatchNorm1d(dim)), dim)
    if name == "cnn":
        return Encoder(Embeddings(len(transform), 4 * width), Convolution(4 * width, 16 * width, rate), 16 * width)
    from modalities.text import transformer  # takes a second to import

    if name.startswith("pretrained:"):
        return transformer.pretrained(name.removeprefix("pretrained:"), transform, rate, spec)
    return transformer.from_scratch(transform, 16 * width, rate)


def trimmed(x: Batch) -> Tensor:
    """The ids of a batch without the columns that are padding in every row; all of them where looking would wait for a GPU."""
    ids, lengths = x
    return ids[:, : int(lengths.max())] if ids.device.type == "cpu" else ids


class NGrams(nn.Module):
    """Stem: (ids, lengths) -> (n, d): the embeddings of all n-grams of a text, summed and divided by the root of their number.

    Linear in a text's bag of one-hot n-grams, so mixing its output mixes those (Charagram: Wieting et al. 2016, arXiv
    1607.02789; hashed as in fastText: Bojanowski et al. 2017, arXiv 1607.04606). Both ends of a text count as a token.
    """

    def __init__(self, width: int, orders: tuple[int, ...], buckets: int = BUCKETS) -> None:
        super().__init__()
        self.orders, self.buckets = orders, buckets
        self.weight = nn.Parameter(torch.randn(len(orders) * buckets, width) * INITIAL)

    def forward(self, x: Batch) -> Tensor:
        rows = self.rows(x)
        total = F.embedding_bag(rows, self.weight, mode="sum", padding_idx=0)
        return total * (rows != 0).sum(dim=1, keepdim=True).clamp(min=1).rsqrt()

    def rows(self, x: Batch) -> Tensor:
        """The row of `weight` of every n-gram of every text, 0 for none: int64 (n, about length * orders)."""
        ids = F.pad(trimmed(x).long(), (1, 1))  # a text's ends; what follows is padding, like the end itself
        last = x[1][:, None] + 2
        found, code = [], ids
        for i, order in enumerate(self.orders):
            starts = torch.arange(ids.shape[1] - order + 1, device=ids.device)
            code = ids[:, : len(starts)]
            for k in range(1, order):
                code = (code * 1_000_003 + ids[:, k : k + len(starts)]) & 0x3FFFFFFF
            bucket = ((code * 2_654_435_761) >> 12) % (self.buckets - 1)  # Knuth's multiplier; the low bits mix worst
            there = (starts + order <= last) if order > 1 else ids != PAD
            found.append(torch.where(there, 1 + i * self.buckets + bucket, 0))
        return torch.cat(found, dim=1)


class Embeddings(nn.Module):
    """Stem: (ids, lengths) -> (n, longest, d + 1): one vector per token; the last channel is 1 for a token, 0 for padding.

    Padding is zero throughout. So the stem is linear in one-hot tokens (padding: no token), mixing its output mixes those, and
    a mixed position is padding exactly where all that went into it is. `longest` is the batch's own on a CPU.
    """

    present: Tensor

    def __init__(self, tokens: int, width: int, pad: int = PAD) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(tokens, width))
        present = torch.ones(tokens, 1)
        present[pad] = 0
        self.register_buffer("present", present, persistent=False)

    def forward(self, x: Batch) -> Tensor:
        table = torch.cat((self.weight * self.present, self.present), dim=1)
        return F.embedding(trimmed(x), table)


def dropped(x: Tensor, rate: float) -> Tensor:
    """Dropout. On a CPU a 64-bit draw serves four elements, where torch draws for each; so the rate is rounded to 2^-16."""
    if rate == 0 or x.device.type != "cpu":
        return F.dropout(x, rate)
    gone = round(rate * 2**16)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    keep = torch.ge(draws[: x.numel()].view(x.shape), gone - 2**15, out=torch.empty_like(x))
    return x * keep.mul_(2**16 / (2**16 - gone))


class Dropout(nn.Dropout):
    """torch's module with our draws."""

    def forward(self, x: Tensor) -> Tensor:
        return dropped(x, self.p) if self.training else x


def mean_of_tokens(states: Tensor, real: Tensor) -> Tensor:
    """Mean over the positions that are no padding, float32. states: (n, length, d); real: bool (n, length, 1)."""
    return states.masked_fill(~real, 0).sum(dim=1, dtype=torch.float32) / real.sum(dim=1).clamp(min=1)


class Convolution(nn.Module):
    """Body: (n, length, d + 1) -> (n, dim): one convolution over five tokens, ReLU, the mean over the text, batch norm."""

    span = 5

    def __init__(self, inputs: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.filters = nn.Linear(inputs * self.span, dim)
        self.norm = nn.BatchNorm1d(dim)

    def forward(self, s: Tensor) -> Tensor:
        real = s[..., -1:] > 0
        x = F.pad(self.dropout(s[..., :-1]), (0, 0, self.span // 2, self.span // 2))
        windows = x.unfold(1, self.span, 1).flatten(2)  # as one matrix product this is faster than torch's convolution
        h: Tensor = self.norm(mean_of_tokens(self.filters(windows).relu(), real))
        return h
