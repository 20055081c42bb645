"""MoCo: each query against its own key and K queued ones, keys by a momentum encoder."""

import torch
from torch import Tensor

from bench.adapter import Batch
from bench.method import KeyEncoder, Method, Network, Queue
from bench.mixing import Mixture
from bench.objective import info_nce

CARD = {
    "title": "MoCo",
    "what": "momentum key encoder and queue; the own key and K queued keys are candidates",
    "cite": "He et al., MoCo, CVPR 2020, eq. 1 and algorithm 1; arXiv 1911.05722",
    "version": 1,
    "needs": ["encoder", "views", "training", "queue", "momentum encoder"],
    "settings": ["temperature", "queue_size", "key_momentum"],
    "mixers": {"imix": "mocon", "cutmix": "mocon", "inputmix": "moco"},
}


class MoCo(Method):
    """Query against [k_1 ... k_N, queue] / τ, target row i. With `in_batch` all N + K are candidates (`mocon`), otherwise the
    own key and the queue. Keys join the queue after the step, so a key is never among its own negatives."""

    def __init__(
        self, net: Network, *, temperature: float, queue_size: int, key_momentum: float, in_batch: bool = False
    ) -> None:
        super().__init__(net)
        self.temperature, self.in_batch = temperature, in_batch
        self.key_encoder = KeyEncoder(net, key_momentum)
        self.queue = Queue(queue_size, net.dim)
        self.fresh: Tensor | None = None  # this step's keys, until they are enqueued

    def loss(self, x_q: Batch, x_k: Batch, mixture: Mixture, rows: Tensor) -> Tensor:
        """See `Method.loss`."""
        s_q, _ = mixture.stem(self.net.encoder.stem, x_q, x_k)
        q = self.net(mixture.query(s_q))
        self.fresh = self.key_encoder(x_q, x_k, mixture)
        targets = mixture.targets(len(rows), rows.device)
        keys = torch.cat([self.fresh, self.queue.keys])
        return info_nce(q, keys, targets, self.temperature, None if self.in_batch else self._own_and_queue(len(rows)))

    def _own_and_queue(self, n: int) -> Tensor:
        candidates = torch.ones(n, n + len(self.queue.keys), dtype=torch.bool, device=self.queue.keys.device)
        candidates[:, :n] = torch.eye(n, dtype=torch.bool)
        return candidates

    def after_step(self) -> None:
        """Move the key encoder, then enqueue this step's keys."""
        assert self.fresh is not None
        self.key_encoder.follow(self.net)
        self.queue.push(self.fresh)
        self.fresh = None


METHOD = MoCo
