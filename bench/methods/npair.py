"""N-pair: each query against the N second views of its batch. What the i-Mix paper calls SimCLR."""

from torch import Tensor

from bench.adapter import Batch
from bench.method import Method, Network, both
from bench.mixing import Mixture
from bench.objective import Contrast

CARD = {
    "title": "N-pair",
    "what": "one-sided N-way softmax over the batch's second views; MoCo's end-to-end dictionary",
    "cite": "Sohn, NIPS 2016; in the form of Lee et al., i-Mix, ICLR 2021, section 3.1",
    "version": 1,
    "space": "N keys",
    "needs": ["encoder", "views", "training", "projector"],
    "settings": ["temperature"],
    "options": {"loss": "nt_xent", "similarity": "cosine", "margin": 0.4},
    "mixers": {"imix": "npair", "cutmix": "npair", "inputmix": "npair"},
}


class NPair(Method):
    """ℓ_i = −Σ_n v_{i,n} log softmax_n( s(f_i, f̃_n) / τ ) (i-Mix, section 3.1), both views in one forward as in the reference
    (kibok90/imix@d40fabe builder.py)."""

    def __init__(
        self, net: Network, *, temperature: float, loss: str = "nt_xent", similarity: str = "cosine", margin: float = 0.4
    ) -> None:
        super().__init__(net)
        self.contrast = Contrast(temperature, loss, similarity, margin)

    def loss(self, x_q: Batch, x_k: Batch, mixture: Mixture, rows: Tensor) -> Tensor:
        """See `Method.loss`."""
        q, keys = both(self.net, x_q, x_k, mixture)
        return self.contrast(q, keys, mixture.targets(len(rows), rows.device))


METHOD = NPair
