"""The encoder for tables: a stem that is linear in one-hot rows, and the MLP of i-Mix behind per-group embeddings."""

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from bench.adapter import Batch, Encoder
from bench.encoders import imix_mlp, one_hot_weight
from modalities.tabular.preprocess import Preprocessing

GROUP = 64
"""Width of every group's embedding (kibok90/imix@d40fabe); a group is all numeric columns, or one categorical column."""


class Columns(nn.Module):
    """Stem: (values (n, p), codes (n, q)) -> (n, p + 64 q): numbers as they are, one embedding vector per category.

    An embedding is a bias-free linear layer on the column's one-hot states, so mixing the output mixes one-hot inputs.
    """

    first: Tensor

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.register_buffer("first", states.cumsum(0) - states, persistent=False)
        self.weight = nn.Parameter(one_hot_weight(states, GROUP)) if len(states) else None

    def forward(self, x: Batch) -> Tensor:
        values, codes = x
        if self.weight is None:
            return values
        return torch.cat((values, F.embedding(codes + self.first, self.weight).flatten(1)), dim=1)


class Groups(nn.Module):
    """The numeric columns' own linear embedding beside those of the categories: (n, p + 64 q) -> (n, 64 [p > 0] + 64 q)."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.numbers = numbers
        self.numeric = nn.Linear(numbers, GROUP, bias=False) if numbers else None

    def forward(self, x: Tensor) -> Tensor:
        if self.numeric is None:
            return x
        embedded: Tensor = self.numeric(x[:, : self.numbers])
        return torch.cat((embedded, x[:, self.numbers :].to(embedded.dtype)), dim=1) if x.shape[1] > self.numbers else embedded


def encoder(transform: Preprocessing, width: int) -> Encoder:
    """An untrained encoder: linear embeddings of 64 per group, then `imix_mlp`; features of dimension 32 * width.

    The reference code follows the single group of Higgs with batch norm and ReLU. We keep every group linear: squeezing 16
    columns through 64 rectified units cost about one point on held-out training rows of letter, at every label fraction.
    """
    states, numbers = torch.from_numpy(transform.states), transform.width
    mlp, dim = imix_mlp(GROUP * ((numbers > 0) + len(states)), width)
    return Encoder(Columns(states), nn.Sequential(Groups(numbers), *mlp), dim)
