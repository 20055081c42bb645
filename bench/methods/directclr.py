"""DirectCLR: no projection head; the loss sees the first features of h, the probe all of them."""

from torch import Tensor

from bench.adapter import Batch
from bench.method import Method, Network, both
from bench.mixing import Mixture
from bench.objective import Contrast

CARD = {
    "title": "DirectCLR",
    "what": "InfoNCE on the first d0 features without a projection head; residual connections feed the others",
    "cite": "Jing et al., Dimensional Collapse, ICLR 2022; arXiv 2110.09348",
    "version": 1,
    "space": "N keys",
    "needs": ["encoder", "views", "training", "residual last block"],
    "settings": ["temperature"],
    "options": {"subvector": None, "loss": "nt_xent", "similarity": "cosine", "margin": 0.4},
    "mixers": {"imix": "directclr", "cutmix": "directclr", "inputmix": "directclr"},
}


class DirectCLR(Method):
    """N-way InfoNCE on r[0:d0], normalised (Jing et al.). d0 is 360 of 2048 features in the reference
    (facebookresearch/directclr@a86f64c), and the same share of h here unless `subvector` says otherwise.

    The features beyond d0 learn only through residual connections: without a residual last block they get no gradient at all,
    and the run is no DirectCLR. Departure: one-sided, so that i-Mix applies; the reference contrasts both ways.
    """

    def __init__(
        self,
        net: Network,
        *,
        temperature: float,
        subvector: int | None = None,
        loss: str = "nt_xent",
        similarity: str = "cosine",
        margin: float = 0.4,
    ) -> None:
        super().__init__(net)
        self.contrast = Contrast(temperature, loss, similarity, margin)
        self.seen = min(net.dim, subvector or max(2, round(360 / 2048 * net.dim)))
        missed = []
        if not net.encoder.residual:
            missed.append("wants an encoder whose last block is residual: here, features outside the loss learn nothing")
        if self.seen == net.dim:
            missed.append(f"wants features outside the loss, and all {net.dim} are in it")
        if missed:
            self.division = "not as published"
            self.remarks = tuple(f"directclr {what}. The row is not ranked." for what in missed)

    def loss(self, x_q: Batch, x_k: Batch, mixture: Mixture, rows: Tensor) -> Tensor:
        """See `Method.loss`."""
        q, keys = (z[:, : self.seen] for z in both(self.net, x_q, x_k, mixture))
        return self.contrast(q, keys, mixture.targets(len(rows), rows.device))


METHOD = DirectCLR
