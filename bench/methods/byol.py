"""BYOL: a predictor guesses the target network's embedding of the other view; there are no negatives."""

from torch import Tensor

from bench.adapter import Batch
from bench.heads import head
from bench.method import KeyEncoder, Method, Network, forward_in_groups
from bench.mixing import Mixture
from bench.objective import bilinear

CARD = {
    "title": "BYOL",
    "what": "a predictor matches the slowly moving target network's embedding of the other view; no negatives",
    "cite": "Grill et al., BYOL, NeurIPS 2020, arXiv 2006.07733; one-sided and bilinear as in Lee et al., i-Mix, ICLR 2021",
    "version": 1,
    "space": "N target embeddings",
    "needs": ["encoder", "views", "training", "projector", "momentum encoder"],
    "settings": ["key_momentum"],
    "options": {"key_schedule": "constant", "bn_groups": 1, "steps": None},
    "mixers": {"imix": "byol", "cutmix": "byol", "inputmix": "byol"},
}


class BYOL(Method):
    """2 − 2 ⟨p / ‖p‖, F̃ v⟩, p the prediction from one view and F̃ the normalised target embeddings of the other.

    Departures, both with the i-Mix reference (kibok90/imix@d40fabe): the loss is one-sided, not summed over swapped views, and
    the momentum is constant unless `key_schedule` says cosine, which is the paper's. The predictor is FC BN ReLU FC with as
    many hidden units as h has dimensions (the paper: 4096).
    """

    def __init__(
        self, net: Network, *, key_momentum: float, key_schedule: str = "constant", steps: int = 1, bn_groups: int = 1
    ) -> None:
        super().__init__(net)
        self.bn_groups = bn_groups
        self.target = KeyEncoder(net, key_momentum, key_schedule, steps, bn_groups)
        self.predictor = head("mlpbn1", net.dim, net.dim, net.encoder.dim)

    def loss(self, x_q: Batch, x_k: Batch, mixture: Mixture, rows: Tensor) -> Tensor:
        """See `Method.loss`."""
        s_q = mixture.stem_q(self.net.encoder.stem, x_q, x_k)
        p = self.predictor(forward_in_groups(self.net, mixture.query(s_q), self.bn_groups))
        return bilinear(p, self.target(x_q, x_k, mixture), mixture.targets(len(rows), rows.device))

    def after_step(self) -> None:
        """Move the target network."""
        self.target.follow(self.net, self.step)


METHOD = BYOL
