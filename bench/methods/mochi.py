"""MoCHi: MoCo whose queue is mixed into harder negatives for every query."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from bench.method import Network
from bench.methods.moco import MoCo

CARD = {
    "title": "MoCHi",
    "what": "MoCo (N + K) with s negatives mixed from pairs of the N hardest keys, and s' from a hard key and the query",
    "cite": "Kalantidis et al., Hard Negative Mixing, NeurIPS 2020; arXiv 2010.01028",
    "version": 1,
    "space": "N + K keys",
    "needs": ["encoder", "views", "training", "projector", "queue", "momentum encoder"],
    "settings": ["temperature", "queue_size", "key_momentum"],
    "options": {
        "hardest": None, "hard_pairs": None, "hard_query": None, "hard_start": 0.05,
        "key_schedule": "constant", "bn_groups": 1, "own_keys": "kept", "steps": None,
    },
    "mixers": {"imix": "mochi", "cutmix": "mochi", "inputmix": "mochi"},
}  # fmt: skip


ROWS = 8
"""Queries whose mixed negatives are measured at once: at s = 256 and d = 128, 2 MiB."""


class HardNegatives(nn.Module):
    """Similarities of each query to s + s' synthetic negatives, (n, s + s').

    The `hardest` (N) allowed keys of the queue are those most similar to the query. `pairs` (s) negatives are
    norm(α n_i + (1 − α) n_j) of two of them, α ~ U(0, 1); `with_query` (s') are norm(β q + (1 − β) n_j), β ~ U(0, 0.5).
    None are made in the first `start` steps. A gradient reaches only the query to which they are compared.
    """

    def __init__(self, hardest: int, pairs: int, with_query: int, start: int) -> None:
        super().__init__()
        self.hardest, self.pairs, self.with_query, self.start = hardest, pairs, with_query, start

    def forward(self, q: Tensor, keys: Tensor, allowed: Tensor | None, step: int) -> Tensor | None:
        """q: (n, d). keys: the queue, (K, d), of length 1. allowed: bool (n, K); None means all. step: from 0."""
        if step < self.start or self.pairs + self.with_query == 0:
            return None
        with torch.autocast(q.device.type, enabled=False):
            q = normalize(q if q.dtype == torch.float64 else q.float(), dim=1)
            s = q @ keys.to(q.dtype).T
            rank = s.detach() if allowed is None else s.detach().masked_fill(~allowed, -torch.inf)
            most, hard = rank.topk(min(self.hardest, len(keys)), dim=1)
            hard = torch.where(most == -torch.inf, hard[:, :1], hard)  # fewer allowed keys than N
            made = torch.cat([self._of_pairs(s, keys, hard), self._with_query(q, s, hard)], dim=1)
        return made if allowed is None else made.masked_fill(~allowed.any(dim=1, keepdim=True), -torch.inf)

    def _of_pairs(self, s: Tensor, keys: Tensor, hard: Tensor) -> Tensor:
        """⟨q, norm(α n_i + (1 − α) n_j)⟩ = (α s_i + (1 − α) s_j) / ‖α n_i + (1 − α) n_j‖, without building the negatives."""
        i, j = (self._draw(hard, self.pairs) for _ in range(2))
        alpha = torch.rand(i.shape, device=s.device, dtype=s.dtype)
        between = dots(keys, i, j).to(s.dtype)
        length = (alpha**2 + (1 - alpha) ** 2 + 2 * alpha * (1 - alpha) * between).clamp_min(1e-12).sqrt()
        return (alpha * s.gather(1, i) + (1 - alpha) * s.gather(1, j)) / length

    def _with_query(self, q: Tensor, s: Tensor, hard: Tensor) -> Tensor:
        """⟨q, norm(β q̄ + (1 − β) n_j)⟩, q̄ the query without gradient."""
        j = self._draw(hard, self.with_query)
        beta = 0.5 * torch.rand(j.shape, device=s.device, dtype=s.dtype)
        near = s.gather(1, j)
        length = (beta**2 + (1 - beta) ** 2 + 2 * beta * (1 - beta) * near.detach()).clamp_min(1e-12).sqrt()
        itself = (q * q.detach()).sum(dim=1, keepdim=True)
        return (beta * itself + (1 - beta) * near) / length

    @staticmethod
    def _draw(hard: Tensor, count: int) -> Tensor:
        """`count` of the hard keys of each query, with repetition: (n, count)."""
        return hard.gather(1, torch.randint(hard.shape[1], (len(hard), count), device=hard.device))


def dots(keys: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """⟨n_i, n_j⟩ for numbers of keys, (n, s) each: (n, s). A few rows at a time, so that what is gathered stays cached."""
    parts = zip(torch.split(i, ROWS), torch.split(j, ROWS), strict=True)
    rows = [torch.linalg.vecdot(keys.index_select(0, a.flatten()), keys.index_select(0, b.flatten())) for a, b in parts]
    return torch.cat(rows).view_as(i)


def mochi(
    net: Network,
    *,
    temperature: float,
    queue_size: int,
    key_momentum: float,
    hardest: int | None = None,
    hard_pairs: int | None = None,
    hard_query: int | None = None,
    hard_start: float = 0.05,
    key_schedule: str = "constant",
    bn_groups: int = 1,
    own_keys: str = "kept",
    steps: int = 1,
    labels: Tensor | None = None,
) -> MoCo:
    """MoCo with hard negatives. By default N, s and s' are the shares of the queue of the paper's (1024, 1024, 128) of 16384.

    Mixing starts after a twentieth of the steps (10 of 200 epochs). Departure: the batch's other keys are candidates, too (as
    in `mocon`), so that i-Mix has its N + K labels and its base differs in nothing else.
    """
    n = max(2, queue_size // 16) if hardest is None else hardest
    s = max(1, queue_size // 16) if hard_pairs is None else hard_pairs
    with_query = max(1, queue_size // 128) if hard_query is None else hard_query
    mine = HardNegatives(n, s, with_query, round(hard_start * steps))
    return MoCo(
        net,
        temperature=temperature,
        queue_size=queue_size,
        key_momentum=key_momentum,
        key_schedule=key_schedule,
        steps=steps,
        bn_groups=bn_groups,
        own_keys=own_keys,
        in_batch=True,
        mine=mine,
        labels=labels,
    )


METHOD = mochi
