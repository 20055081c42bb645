"""Supervised contrastive learning: every example of an anchor's class is its positive. It uses labels."""

import torch
from torch import Tensor

from bench.adapter import Batch
from bench.method import Method, Network, both
from bench.mixing import Mixture
from bench.objective import info_nce

CARD = {
    "title": "Supervised contrastive",
    "what": "NT-Xent over all 2N views whose positives are the views of the anchor's class; uses the known labels",
    "cite": "Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, eq. 2; arXiv 2004.11362",
    "version": 1,
    "space": "none: positives are classes, and each anchor leaves itself out",
    "needs": ["encoder", "views", "training", "projector", "labels"],
    "settings": ["temperature"],
    "mixers": {"inputmix": "supcon"},
    "refuses": {
        "imix": "its positives are classes, so there is no label of an instance to mix",
        "cutmix": "its positives are classes, so there is no label of an instance to mix",
    },
}


class SupCon(Method):
    """L_out: −1/|P(i)| Σ_{p ∈ P(i)} log e^{z_i·z_p/τ} / Σ_{a ≠ i} e^{z_i·z_a/τ}, averaged over all 2N anchors.

    A row whose label is not known has only its other view as a positive, as in SimCLR.
    """

    labels: Tensor

    def __init__(self, net: Network, *, temperature: float, labels: Tensor) -> None:
        super().__init__(net)
        self.temperature = temperature
        self.register_buffer("labels", labels, persistent=False)

    def loss(self, x_q: Batch, x_k: Batch, mixture: Mixture, rows: Tensor) -> Tensor:
        """See `Method.loss`."""
        z = torch.cat(both(self.net, x_q, x_k, mixture))
        known = self.labels[rows]
        y = torch.where(known < 0, -1 - rows, known).repeat(2)
        itself = torch.eye(len(z), device=z.device, dtype=torch.bool)
        positives = ((y[:, None] == y) & ~itself).float()
        return info_nce(z, z, positives / positives.sum(dim=1, keepdim=True), self.temperature, ~itself)


METHOD = SupCon
