"""DirectCLR: no projection head; the loss sees the first features of h, the probe all of them."""

from torch import Tensor

from bench.adapter import Batch
from bench.method import Method, Network, both
from bench.mixing import Mixture
from bench.objective import info_nce

CARD = {
    "title": "DirectCLR",
    "what": "InfoNCE on the first d0 features without a projection head; residual connections feed the others",
    "cite": "Jing et al., Dimensional Collapse, ICLR 2022; arXiv 2110.09348",
    "version": 1,
    "space": "N keys",
    "needs": ["encoder", "views", "training", "residual last block"],
    "settings": ["temperature"],
    "options": {"subvector": None},
    "mixers": {"imix": "directclr", "cutmix": "directclr", "inputmix": "directclr"},
}


class DirectCLR(Method):
    """N-way InfoNCE on r[0:d0], normalised (Jing et al.). d0 is 360 of 2048 features in the reference
    (facebookresearch/directclr@a86f64c), and the same share of h here unless `subvector` says otherwise.

    The features beyond d0 learn only through residual connections: without a residual last block they get no gradient at all,
    and the run is no DirectCLR. Departure: one-sided, so that i-Mix applies; the reference contrasts both ways.
    """

    def __init__(self, net: Network, *, temperature: float, subvector: int | None = None) -> None:
        super().__init__(net)
        self.temperature = temperature
        self.seen = min(net.dim, subvector or max(2, round(360 / 2048 * net.dim)))
        if not net.encoder.residual:
            self.division = "not as published"
            self.remarks = (
                "directclr wants an encoder whose last block is residual, which this one has not: features outside the "
                "loss learn nothing, and the row is not ranked.",
            )

    def loss(self, x_q: Batch, x_k: Batch, mixture: Mixture, rows: Tensor) -> Tensor:
        """See `Method.loss`."""
        q, keys = (z[:, : self.seen] for z in both(self.net, x_q, x_k, mixture))
        return info_nce(q, keys, mixture.targets(len(rows), rows.device), self.temperature)


METHOD = DirectCLR
