"""Views of token sequences: draw which tokens are hit, then apply; whole batches at once."""

from functools import cache

import torch
from torch import Tensor

from bench.adapter import Batch, View, same
from bench.spec import RunSpec
from modalities.text.tokens import MASK, PAD, Tokens

DELETED = 0.1
"""Share of tokens that `deletion` drops: EDA's α (Wei and Zou 2019, arXiv 1901.11196)."""

REPLACED = 0.1
"""Share of tokens that `replacement` exchanges: the same α."""

SPAN = 0.5
"""Largest share of a text that `span` drops; the share is uniform between 0 and this. Chosen on validation rows."""


def recipe(spec: RunSpec, transform: Tokens) -> View:
    """The view that `spec.views` names. `dropout` changes no token: the encoder makes its views differ."""
    if spec.views in ("none", "dropout"):
        return same
    if spec.views == "agnostic":
        assert spec.mask_rate is not None
        return masking(spec.mask_rate)
    if spec.views == "replacement":
        return replacement(REPLACED, transform)
    return deletion(DELETED) if spec.views == "deletion" else span(SPAN)  # which is also what `domain` means


def masking(rate: float) -> View:
    """Every token becomes the mask token with probability `rate`, independently."""

    def view(x: Batch, rng: torch.Generator) -> Batch:
        ids, lengths = x
        return ids.masked_fill((_uniform(ids, rng) < rate) & (ids != PAD), MASK), lengths

    return view


def replacement(rate: float, transform: Tokens) -> View:
    """Every token is exchanged, with probability `rate`, for one drawn by its frequency in the training texts."""

    @cache
    def pool(device: torch.device) -> Tensor:
        return torch.from_numpy(transform.pool).to(device)

    def view(x: Batch, rng: torch.Generator) -> Batch:
        ids, lengths = x
        hit = (_uniform(ids, rng) < rate) & (ids != PAD)
        drawn = torch.randint(len(transform.pool), ids.shape, generator=rng, device=ids.device)
        return torch.where(hit, pool(ids.device)[drawn], ids), lengths

    return view


def deletion(rate: float) -> View:
    """Every token is dropped with probability `rate`, independently; what is left moves up. One token always stays."""

    def view(x: Batch, rng: torch.Generator) -> Batch:
        return compact(x[0], draw_deletion(x, rate, rng))

    return view


def span(most: float) -> View:
    """A stretch of every text is dropped: a share of its length, uniform in [0, most], at a uniform place."""

    def view(x: Batch, rng: torch.Generator) -> Batch:
        return compact(x[0], draw_span(x, most, rng))

    return view


def draw_deletion(x: Batch, rate: float, rng: torch.Generator) -> Tensor:
    """Which tokens stay, bool (n, length): each with probability 1 - rate, and always the one with the largest draw."""
    ids, lengths = x
    luck = _uniform(ids, rng).masked_fill(~_inside(ids, lengths), -1.0)
    stay: Tensor = (luck >= rate) | ((luck == luck.amax(dim=1, keepdim=True)) & (luck >= 0))
    return stay


def draw_span(x: Batch, most: float, rng: torch.Generator) -> Tensor:
    """Which tokens stay, bool (n, length): all but one stretch, which never holds the whole text."""
    ids, lengths = x
    share, place = torch.rand((2, len(ids), 1), generator=rng, device=ids.device)
    total = lengths[:, None]
    gone = torch.minimum((share * most * total).round().long(), total - 1)
    first = (place * (total - gone + 1)).long()
    where = torch.arange(ids.shape[1], device=ids.device)
    stay: Tensor = _inside(ids, lengths) & ~((where >= first) & (where < first + gone))
    return stay


def compact(ids: Tensor, stay: Tensor) -> Batch:
    """The tokens that stay, moved up, with padding behind them: (ids, lengths). stay: bool (n, length)."""
    n, length = ids.shape
    place = torch.where(stay, stay.cumsum(dim=1) - 1, length)
    moved = ids.new_full((n, length + 1), PAD).scatter_(1, place, ids)[:, :length]
    return moved.contiguous(), stay.sum(dim=1)


def _uniform(ids: Tensor, rng: torch.Generator) -> Tensor:
    return torch.rand(ids.shape, generator=rng, device=ids.device)


def _inside(ids: Tensor, lengths: Tensor) -> Tensor:
    return torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
