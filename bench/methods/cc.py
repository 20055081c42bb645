"""Contrastive clustering: rows of the batch contrast embeddings, columns contrast clusters."""

import math

import torch
from torch import Tensor, nn

from bench.adapter import Batch
from bench.method import Method, Network
from bench.mixing import Mixture
from bench.objective import nt_xent

CARD = {
    "title": "Contrastive clustering",
    "what": "NT-Xent over examples and over clusters, and an entropy term that keeps clusters in use; told how many classes",
    "cite": "Li et al., Contrastive Clustering, AAAI 2021; arXiv 2009.09687",
    "version": 1,
    "space": "none: clusters and examples share one loss",
    "needs": ["encoder", "views", "training", "projector", "class count"],
    "settings": ["temperature"],
    "options": {"cluster_temperature": 1.0},
    "values": {"temperature": 0.5, "head": "mlp"},
    "mixers": {"inputmix": "cc"},
    "refuses": {
        "imix": "its cluster loss compares columns of the batch, which have no instance label to mix",
        "cutmix": "its cluster loss compares columns of the batch, which have no instance label to mix",
    },
}


class ContrastiveClustering(Method):
    """L = L_ins + L_clu on two heads of h: NT-Xent over the 2N embeddings, and over the 2M columns of the two N × M matrices
    of soft assignments, less the entropies of the mean assignments: + Σ_views (log M − H(P)).

    The cluster head is FC ReLU FC softmax as in the reference (XLearning-SCU/2021-AAAI-CC@6dd9370); it is kept beside the
    network, so that clusters can be predicted. Departures: the reference trains and scores on training and test rows
    together; and both views pass in one forward, so that batch norm sees them together.
    """

    def __init__(self, net: Network, *, temperature: float, n_classes: int, cluster_temperature: float = 1.0) -> None:
        super().__init__(net)
        self.temperature, self.cluster_temperature = temperature, cluster_temperature
        dim = net.encoder.dim
        self.cluster = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, n_classes))

    def cluster_head(self) -> nn.Module:
        """h -> logits of clusters, (n, M)."""
        return self.cluster

    def loss(self, x_q: Batch, x_k: Batch, mixture: Mixture, rows: Tensor) -> Tensor:  # noqa: ARG002 - see `Method.loss`
        """See `Method.loss`."""
        h = self.net.encoder.body(torch.cat(mixture.stem(self.net.encoder.stem, x_q, x_k)))
        first, second = self.cluster(h).float().softmax(dim=1).chunk(2)
        clusters = nt_xent(torch.cat([first.T, second.T]), self.cluster_temperature)
        examples = nt_xent(self.net.project(h), self.temperature)
        return examples + clusters + unused(first) + unused(second)


def unused(p: Tensor) -> Tensor:
    """log M − H(P) of assignments (n, M), P their mean: 0 when every cluster is used alike, log M when only one is."""
    mean = p.mean(dim=0)
    entropy: Tensor = -torch.special.xlogy(mean, mean).sum()
    return math.log(len(mean)) - entropy


METHOD = ContrastiveClustering
