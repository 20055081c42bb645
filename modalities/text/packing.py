"""Texts of like length side by side: a padded batch in groups that need little padding, and attention within them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from modalities.text.encoder import dropped

GROUP = 64
"""What one more group costs, counted in positions of padding: its attention is a few small matrix products more."""


@dataclass(frozen=True)
class Packing:
    """The rows of a padded batch in groups of like length, the shortest first; a group is as wide as its longest row.

    order: (n,) row numbers. shapes: (rows, width) of each group. real: of each group, bool (rows, width), False for padding.
    places: (sum of rows x width,) where in the flattened batch the positions of all groups are.
    """

    order: Tensor
    shapes: list[tuple[int, int]]
    real: list[Tensor]
    places: Tensor

    @classmethod
    def of(cls, real: Tensor) -> "Packing":
        """Of a batch whose padding follows the tokens of a row. real: bool (n, length), False for padding."""
        n, length = real.shape
        if real.device.type != "cpu":  # to look at the lengths would be to wait for the GPU: all rows are one group
            every = torch.arange(n * length, device=real.device)
            return cls(every[:n], [(n, length)], [real], every)
        lengths, order = real.sum(dim=1).clamp(min=1).sort(stable=True)
        shapes = cut(lengths.numpy())
        groups = list(zip(torch.split(order, [rows for rows, _ in shapes]), [width for _, width in shapes], strict=True))
        places = torch.cat([(rows[:, None] * length + torch.arange(width)).flatten() for rows, width in groups])
        return cls(order, shapes, [real[rows, :width] for rows, width in groups], places)

    def split(self, x: Tensor) -> list[Tensor]:
        """All positions (sum of rows x width, ...) -> those of each group, (rows, width, ...)."""
        parts = torch.split(x, [rows * width for rows, width in self.shapes])
        return [part.unflatten(0, shape) for part, shape in zip(parts, self.shapes, strict=True)]  # type: ignore[no-untyped-call]


def cut(lengths: np.ndarray) -> list[tuple[int, int]]:
    """Ascending lengths (n,) -> (rows, width) of the groups of least cost: their positions, and `GROUP` more for each."""
    widths, counts = np.unique(lengths, return_counts=True)
    ends = np.concatenate(([0], counts.cumsum()))
    least, start = np.zeros(len(ends)), np.zeros(len(ends), np.int64)
    for j, width in enumerate(widths, start=1):  # the best groups of the rows before ends[j]
        cost = least[:j] + (ends[j] - ends[:j]) * width + GROUP
        start[j] = cost.argmin()
        least[j] = cost[start[j]]
    shapes, j = [], len(widths)
    while j:
        shapes.append((int(ends[j] - ends[start[j]]), int(widths[j - 1])))
        j = start[j]
    return shapes[::-1]


def packed_attention(
    module: Any,  # noqa: ARG001 - this and what follows are transformers' interface
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Any,  # noqa: ARG001
    *,
    packing: Packing,
    scaling: float,
    dropout: float = 0.0,
    **more: Any,  # noqa: ARG001
) -> tuple[Tensor, None]:
    """Attention within each text, where all lie in one row: (1, heads, positions, d) -> (1, positions, heads, d)."""
    groups = zip(*(packing.split(t[0].transpose(0, 1)) for t in (query, key, value)), packing.real, strict=True)
    found = [attention(q, k, v, real, scaling, dropout) for q, k, v, real in groups]
    return torch.cat([x.flatten(0, 1) for x in found])[None], None


def attention(q: Tensor, k: Tensor, v: Tensor, real: Tensor, scaling: float, dropout: float = 0.0) -> Tensor:
    """softmax(scaling · q kᵀ) v over the keys that are no padding, all (n, length, heads, d). real: bool (n, length).

    As written where that is fastest, in bf16 on a CPU; elsewhere by torch's fused kernels.
    """
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v, real[:, None, None], dropout, scale=scaling).transpose(1, 2)
    n, heads = q.shape[:2]
    mask = torch.zeros(real.shape, dtype=q.dtype).masked_fill_(~real, torch.finfo(q.dtype).min)
    q, k, v = (t.flatten(0, 1) for t in (q, k, v))
    logits = torch.baddbmm(mask.repeat_interleave(heads, dim=0)[:, None], q, k.mT, alpha=scaling)
    found = dropped(logits.softmax(dim=-1), dropout) @ v
    return found.view(n, heads, *found.shape[1:]).transpose(1, 2)
