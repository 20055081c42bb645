"""Alignment alone: pull the two views of a row together and nothing apart. The control that collapses."""

from torch import Tensor
from torch.nn.functional import normalize

from bench.adapter import Batch
from bench.method import Method, both
from bench.mixing import Mixture

CARD = {
    "title": "Alignment only",
    "what": "positives only, nothing holds embeddings apart: the control that shows complete collapse",
    "cite": "Wang and Isola, ICML 2020, eq. 4 without eq. 5; arXiv 2005.10242",
    "version": 1,
    "space": "none: there is nothing but the own key",
    "needs": ["encoder", "views", "training", "projector"],
    "settings": [],
    "values": {"head": "mlp"},  # batch norm at the end of a head alone would keep the variance of z
    "mixers": {"inputmix": "alignment"},
    "refuses": {
        "imix": "it has no other example's key to mix the label with",
        "cutmix": "it has no other example's key to mix the label with",
    },
}


class Alignment(Method):
    """E ‖f(x) − f(x⁺)‖² of the ℓ2-normalised views."""

    def loss(self, x_q: Batch, x_k: Batch, mixture: Mixture, rows: Tensor) -> Tensor:  # noqa: ARG002 - see `Method.loss`
        """See `Method.loss`."""
        q, k = (normalize(z.float(), dim=1) for z in both(self.net, x_q, x_k, mixture))
        return (q - k).square().sum(dim=1).mean()


METHOD = Alignment
