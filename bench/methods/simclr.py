"""SimCLR: NT-Xent over both views, each anchor against the other 2N − 1."""

import torch
from torch import Tensor

from bench.adapter import Batch
from bench.method import Method, Network, both
from bench.mixing import Mixture
from bench.objective import Contrast, nt_xent

CARD = {
    "title": "SimCLR",
    "what": "NT-Xent over all 2N views; the anchor itself is left out of its candidates",
    "cite": "Chen et al., SimCLR, ICML 2020, eq. 1; arXiv 2002.05709",
    "version": 1,
    "space": "none: an anchor leaves itself out",
    "needs": ["encoder", "views", "training", "projector"],
    "settings": ["temperature"],
    "options": {"loss": "nt_xent", "similarity": "cosine", "margin": 0.4},
    "mixers": {"imix": "npair", "cutmix": "npair", "inputmix": "simclr"},
}


class SimCLR(Method):
    """The mean over all 2N anchors of SimCLR eq. 1. (The authors' TensorFlow code adds two means, twice this value.)"""

    def __init__(
        self, net: Network, *, temperature: float, loss: str = "nt_xent", similarity: str = "cosine", margin: float = 0.4
    ) -> None:
        super().__init__(net)
        self.contrast = Contrast(temperature, loss, similarity, margin)

    def loss(self, x_q: Batch, x_k: Batch, mixture: Mixture, rows: Tensor) -> Tensor:
        """See `Method.loss`. i-Mix has no fixed label space here, and runs as `npair+imix` instead."""
        z = torch.cat(both(self.net, x_q, x_k, mixture))
        if self.contrast.loss == "nt_xent":
            return nt_xent(z, self.contrast.temperature, similarity=self.contrast.similarity)
        itself = torch.eye(len(z), device=z.device, dtype=torch.bool)
        return self.contrast(z, z, itself.roll(len(rows), dims=1).float(), ~itself)


METHOD = SimCLR
