"""MoCo: each query against its own key and K queued ones, keys by a momentum encoder."""

import torch
from torch import Tensor, nn

from bench.adapter import Batch
from bench.method import KeyEncoder, Method, Network, Queue, forward_in_groups
from bench.mixing import Mixture
from bench.objective import info_nce

CARD = {
    "title": "MoCo",
    "what": "momentum key encoder and queue; the own key and K queued keys are candidates",
    "cite": "He et al., MoCo, CVPR 2020, eq. 1 and algorithm 1; arXiv 1911.05722",
    "version": 1,
    "space": "none: 1 + K keys",
    "needs": ["encoder", "views", "training", "projector", "queue", "momentum encoder"],
    "settings": ["temperature", "queue_size", "key_momentum"],
    "options": {"key_schedule": "constant", "bn_groups": 1, "own_keys": "kept", "steps": None},
    "mixers": {"imix": "mocon", "cutmix": "mocon", "inputmix": "moco"},
}


class MoCo(Method):
    """Query against [k_1 ... k_N, queue] / τ, target row i. With `in_batch` all N + K are candidates (`mocon`), otherwise the
    own key and the queue. Keys join the queue after the step, so a key is never among its own negatives.

    An epoch shorter than the queue leaves an example's older key among its negatives, as in the reference; `own_keys` masked
    takes it out. `bn_groups` imitates the reference's GPUs, each of which normalises its part of the batch, with ShuffleBN.
    mine: gives each query negatives of its own (`mochi`). labels: (n_rows,), drops negatives of the query's class (an oracle).
    """

    def __init__(
        self,
        net: Network,
        *,
        temperature: float,
        queue_size: int,
        key_momentum: float,
        key_schedule: str = "constant",
        steps: int = 1,
        bn_groups: int = 1,
        own_keys: str = "kept",
        in_batch: bool = False,
        mine: nn.Module | None = None,
        labels: Tensor | None = None,
    ) -> None:
        super().__init__(net)
        self.temperature, self.in_batch, self.bn_groups, self.own_keys = temperature, in_batch, bn_groups, own_keys
        self.key_encoder = KeyEncoder(net, key_momentum, key_schedule, steps, bn_groups)
        self.queue = Queue(queue_size, net.dim)
        self.mine = mine
        self.register_buffer("labels", labels, persistent=False)
        self.fresh: Tensor | None = None  # this step's keys, until they are enqueued
        self.rows: Tensor | None = None

    def loss(self, x_q: Batch, x_k: Batch, mixture: Mixture, rows: Tensor) -> Tensor:
        """See `Method.loss`."""
        s_q = mixture.stem_q(self.net.encoder.stem, x_q, x_k)
        q = forward_in_groups(self.net, mixture.query(s_q), self.bn_groups)
        self.fresh, self.rows = self.key_encoder(x_q, x_k, mixture), rows
        targets, n = mixture.targets(len(rows), rows.device), len(rows)
        allowed = None if self.in_batch else torch.eye(n, dtype=torch.bool, device=rows.device)
        if self.own_keys == "masked" or self.labels is not None:
            allowed = self._candidates(targets, rows)
        behind = allowed[:, n:] if allowed is not None and allowed.shape[1] > n else None
        more = None if self.mine is None else self.mine(q, self.queue.keys, behind, self.step)
        return info_nce(q, self.fresh, targets, self.temperature, allowed, queue=self.queue.keys, more=more)

    def _candidates(self, targets: Tensor, rows: Tensor) -> Tensor:
        """Which of the N + K keys are candidates of each query: bool (N, N + K). Keys with a target always are."""
        n = len(rows)
        owners = torch.cat([rows, self.queue.rows])
        allowed = torch.ones(n, len(owners), dtype=torch.bool, device=rows.device)
        if self.own_keys == "masked":
            allowed &= ~_of_either(targets, rows[:, None] == owners)
        if isinstance(self.labels, Tensor):
            known = torch.where(owners < 0, -1, self.labels[owners])
            allowed &= ~_of_either(targets, (known[:n, None] == known) & (known >= 0))
        own = torch.eye(n, dtype=torch.bool, device=rows.device)
        allowed[:, :n] = allowed[:, :n] | (targets > 0) if self.in_batch else own
        return allowed

    def after_step(self) -> None:
        """Move the key encoder, then enqueue this step's keys."""
        assert self.fresh is not None
        self.key_encoder.follow(self.net, self.step)
        self.queue.push(self.fresh, self.rows)
        self.fresh = self.rows = None


def _of_either(targets: Tensor, true: Tensor) -> Tensor:
    """Whether `true` (N, M) holds for one of the examples in a query, itself or whom it is mixed with: bool (N, M)."""
    weights, which = targets.topk(min(2, len(targets)), dim=1)
    found: Tensor = (true[which] & (weights > 0)[..., None]).any(dim=1)
    return found


METHOD = MoCo
