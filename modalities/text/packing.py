"""Texts of unequal length without their padding: the tokens of a batch in one row, and attention within each text."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor
from torch.autograd.function import once_differentiable

from modalities.text.encoder import dropped

GROUP = 128
"""What one more group costs, counted in places of padding: its attention is a few small matrix products more."""


@dataclass(frozen=True)
class Packing:
    """The tokens of a padded batch in one row, a text after the other, the shortest first, with one padding for all of it.

    Where texts have to be padded (in attention, in a mean), those of like length form a group, as wide as its longest.

    order: (n,) row numbers. shapes: (texts, width) of each group. real: bool (texts, width) of each, False for padding.
    tokens: (t,) where in the flattened batch the packed positions are. slots: (sum of texts x width,) which packed position
    stands at each place of the groups; home: (t,) the place of each packed position, the other way round.
    """

    order: Tensor
    shapes: list[tuple[int, int]]
    real: list[Tensor]
    tokens: Tensor
    slots: Tensor
    home: Tensor

    @classmethod
    def of(cls, real: Tensor) -> "Packing":
        """Of a batch whose padding follows the tokens of a row. real: bool (n, length), False for padding."""
        if real.device.type != "cpu":  # to look at the lengths would be to wait for the GPU
            return cls.whole(real)
        length = real.shape[1]
        lengths, order = real.sum(dim=1).clamp(min=1).sort(stable=True)
        shapes = cut(lengths.numpy())
        rows = torch.split(order, [texts for texts, _ in shapes])
        groups = [real.index_select(0, own)[:, :width] for own, (_, width) in zip(rows, shapes, strict=True)]
        places = [own[:, None] * length + torch.arange(width) for own, (_, width) in zip(rows, shapes, strict=True)]
        inside = torch.cat([group.flatten() for group in groups])
        home = torch.cat((inside.nonzero()[:, 0], (~inside).nonzero()[:1, 0]))
        slots = torch.where(inside, inside.cumsum(0) - 1, len(home) - 1)
        tokens = torch.cat([at.flatten() for at in places]).index_select(0, home)
        return cls(order, shapes, groups, tokens, slots, home)

    @classmethod
    def whole(cls, real: Tensor) -> "Packing":
        """Of a batch with its padding, in one group."""
        n, length = real.shape
        every = torch.arange(n * length, device=real.device)
        return cls(every[:n], [(n, length)], [real], every, every, every)

    def grouped(self, states: Tensor) -> list[Tensor]:
        """Packed states (t, dim) -> those of each group, (texts, width, dim)."""
        parts = torch.split(moved(states, self.slots, self.home), [texts * width for texts, width in self.shapes])
        return [part.view(*shape, -1) for part, shape in zip(parts, self.shapes, strict=True)]

    def by_head(self, heads: int) -> tuple[Tensor, Tensor]:
        """`slots` and `home` where every head has a row of its own: in groups (texts, heads, width), packed (t, heads)."""
        own = torch.split(self.slots, [texts * width for texts, width in self.shapes])
        head = torch.arange(heads, device=self.slots.device)[:, None]
        slots = [(s.view(texts, 1, width) * heads + head).flatten() for s, (texts, width) in zip(own, self.shapes, strict=True)]
        there = torch.cat(slots)
        return there, there.new_empty(len(self.tokens) * heads).scatter_(
            0, there, torch.arange(len(there), device=there.device)
        )


def cut(lengths: np.ndarray) -> list[tuple[int, int]]:
    """Ascending lengths (n,) -> (texts, width) of the groups of least cost: their places, and `GROUP` more for each."""
    widths, counts = np.unique(lengths, return_counts=True)
    ends = np.concatenate(([0], counts.cumsum()))
    least, start = np.zeros(len(ends)), np.zeros(len(ends), np.int64)
    for j, width in enumerate(widths, start=1):  # the best groups of the texts before ends[j]
        cost = least[:j] + (ends[j] - ends[:j]) * width + GROUP
        start[j] = cost.argmin()
        least[j] = cost[start[j]]
    shapes, j = [], len(widths)
    while j:
        shapes.append((int(ends[j] - ends[start[j]]), int(widths[j - 1])))
        j = start[j]
    return shapes[::-1]


class _Moved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return x.index_select(0, there)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return grad.index_select(0, back), None, None


def moved(x: Tensor, there: Tensor, back: Tensor) -> Tensor:
    """x.index_select(0, there), where `back` leads each row home: the gradient, too, is taken from there, and nothing added up.

    What stands at several places is padding, whose gradient is zero at all of them.
    """
    found: Tensor = _Moved.apply(x, there, back)  # type: ignore[no-untyped-call]
    return found


def packed_attention(
    module: Any,  # noqa: ARG001 - this and what follows are transformers' interface
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Any,  # noqa: ARG001
    *,
    packing: Packing,
    by_head: tuple[Tensor, Tensor],
    scaling: float,
    dropout: float = 0.0,
    **more: Any,  # noqa: ARG001
) -> tuple[Tensor, None]:
    """Attention within each text of a packed row: (1, heads, t, d) -> (1, t, heads, d). by_head: `Packing.by_head(heads)`."""
    there, back = by_head
    heads, d = query.shape[1], query.shape[3]
    sizes = [texts * heads * width for texts, width in packing.shapes]
    rows = (moved(t.transpose(1, 2).reshape(-1, d), there, back) for t in (query, key, value))
    found = []
    for q, k, v, real in zip(*(torch.split(t, sizes) for t in rows), packing.real, strict=True):
        q, k, v = (t.view(len(real), heads, -1, d) for t in (q, k, v))
        found.append(attention(q, k, v, real, scaling, dropout).reshape(-1, d))
    return moved(torch.cat(found), back, there).view(1, -1, heads, d), None


def attention(q: Tensor, k: Tensor, v: Tensor, real: Tensor, scaling: float, dropout: float = 0.0) -> Tensor:
    """softmax(scaling · q kᵀ) v over the keys that are no padding, all (n, heads, length, d). real: bool (n, length).

    As written where that is fastest, in bf16 on a CPU; elsewhere by torch's fused kernels.
    """
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v, real[:, None, None], dropout, scale=scaling)
    shape, heads = q.shape, q.shape[1]
    least = torch.zeros(real.shape, dtype=q.dtype).masked_fill_(~real, torch.finfo(q.dtype).min)
    q, k, v = (t.flatten(0, 1) for t in (q, k, v))
    logits = torch.baddbmm(least.repeat_interleave(heads, dim=0)[:, None], q, k.mT, alpha=scaling)
    return torch.bmm(dropped(logits.softmax(dim=-1), dropout), v).view(shape)
