"""Memory bank: every training row has a slot, which is its positive; the negatives are slots drawn at random."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bench.adapter import Batch
from bench.method import Method, Network
from bench.mixing import Mixture
from bench.objective import info_nce

CARD = {
    "title": "Memory bank",
    "what": "one slot per training row, its positive, and K slots drawn at random; one view; slots move by momentum",
    "cite": "Wu et al., CVPR 2018, arXiv 1805.01978; with InfoNCE as in He et al., MoCo, CVPR 2020, figure 2b",
    "version": 1,
    "space": "a slot for every training row",
    "needs": ["encoder", "views", "training", "projector", "row count"],
    "settings": ["temperature", "queue_size"],
    "options": {"bank_momentum": 0.5},
    "mixers": {"imix": "membank", "cutmix": "membank", "inputmix": "membank"},
}


class MemoryBank(Method):
    """−log e^{q·m_i/τ} / (e^{q·m_i/τ} + Σ_j e^{q·m_j/τ}) over K = `queue_size` slots j drawn uniformly, m_i the own.

    Slots have length 1 and start at random. After the step m_i ← norm(t m_i + (1 − t) q), t = `bank_momentum`; of a mixed query
    so does the slot of its own row. Only the first view is used. A drawn slot that is a positive is no negative. With i-Mix
    the classes are the training rows, and of the batch's slots those of the mixed rows are candidates.
    Departures: the reference estimates the softmax over all slots by NCE; like MoCo's comparison we use InfoNCE. The K slots
    are drawn once for the batch; the reference draws them for every query.
    """

    bank: Tensor

    def __init__(self, net: Network, *, temperature: float, queue_size: int, n_rows: int, bank_momentum: float = 0.5) -> None:
        super().__init__(net)
        self.temperature, self.drawn, self.bank_momentum = temperature, queue_size, bank_momentum
        self.register_buffer("bank", normalize(torch.randn(n_rows, net.dim), dim=1))
        self.fresh: tuple[Tensor, Tensor] | None = None  # rows and their new representations, until the step is done

    def loss(self, x_q: Batch, x_k: Batch, mixture: Mixture, rows: Tensor) -> Tensor:
        """See `Method.loss`."""
        s_q = mixture.stem_q(self.net.encoder.stem, x_q, x_k)
        q = self.net(mixture.query(s_q))
        self.fresh = rows, normalize(q.detach().float(), dim=1)
        targets = mixture.targets(len(rows), rows.device)
        drawn = torch.randint(len(self.bank), (self.drawn,), device=rows.device)
        own = targets > 0
        collides = own.float() @ (rows[:, None] == drawn).float() > 0
        slots = self.bank[torch.cat([rows, drawn])]
        return info_nce(q, slots, targets, self.temperature, torch.cat([own, ~collides], dim=1))

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the slots of this step's rows."""
        assert self.fresh is not None
        rows, q = self.fresh
        t = self.bank_momentum
        self.bank[rows] = normalize(t * self.bank[rows] + (1 - t) * q, dim=1)
        self.fresh = None


METHOD = MemoryBank
