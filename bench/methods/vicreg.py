"""VICReg: views agree (invariance), every dimension varies (variance), dimensions do not repeat each other (covariance)."""

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from bench.adapter import Batch
from bench.method import Method, Network, both
from bench.mixing import Mixture

CARD = {
    "title": "VICReg",
    "what": "invariance, variance and covariance terms on an expander's embeddings; no negatives, no momentum encoder",
    "cite": "Bardes, Ponce and LeCun, VICReg, ICLR 2022, algorithm 1; arXiv 2105.04906",
    "version": 1,
    "space": "none: it compares dimensions, not examples",
    "needs": ["encoder", "views", "training", "projector"],
    "settings": [],
    "options": {"invariance": 25.0, "variance": 25.0, "covariance": 1.0},
    "values": {"head": "mlpbn1", "head_depth": 2, "base_lr": 0.005},
    "mixers": {"inputmix": "vicreg"},
    "refuses": {
        "imix": "it compares dimensions, not examples, so it has no instance labels to mix",
        "cutmix": "it compares dimensions, not examples, so it has no instance labels to mix",
    },
}


class VICReg(Method):
    """λ s(Z, Z') + μ (v(Z) + v(Z')) / 2 + ν (c(Z) + c(Z')), on embeddings as they are, with the means of algorithm 1: s is
    the mean over rows and dimensions, v averages over the views (as facebookresearch/vicreg does), c divides by d.

    Departures: the expander is the run's projection head with two hidden layers of the feature dimension (the paper: 8192 wide
    throughout); SGD, not LARS, at a 25th of the usual rate, since the terms weigh 25; both views in one forward.
    """

    def __init__(self, net: Network, *, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0) -> None:
        super().__init__(net)
        self.weights = invariance, variance, covariance

    def loss(self, x_q: Batch, x_k: Batch, mixture: Mixture, rows: Tensor) -> Tensor:  # noqa: ARG002 - see `Method.loss`
        """See `Method.loss`."""
        a, b = both(self.net, x_q, x_k, mixture)
        return vicreg(a.float(), b.float(), *self.weights)


def vicreg(a: Tensor, b: Tensor, invariance: float, variance: float, covariance: float) -> Tensor:
    """The loss of embeddings of two views, (n, d) each."""
    with torch.autocast(a.device.type, enabled=False):
        spread = (too_narrow(a) + too_narrow(b)) / 2
        return invariance * mse_loss(a, b) + variance * spread + covariance * (repeated(a) + repeated(b))


def too_narrow(z: Tensor) -> Tensor:
    """v(Z): the mean over dimensions of max(0, 1 − √(var + 1e-4))."""
    return (1 - (z.var(dim=0) + 1e-4).sqrt()).clamp_min(0).mean()


def repeated(z: Tensor) -> Tensor:
    """c(Z): the sum of squared covariances of different dimensions, divided by d."""
    centred = z - z.mean(dim=0)
    squares = (centred.T @ centred / (len(z) - 1)).square()
    return (squares.sum() - squares.diagonal().sum()) / z.shape[1]


METHOD = VICReg
