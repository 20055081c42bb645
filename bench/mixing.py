"""Mixers: draw first, then apply. One `blend` mixes inputs, virtual labels and, for the supervised control, real labels."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bench.adapter import Batch, join

CARDS = {
    "imix": {
        "title": "i-Mix",
        "what": "mixes the query's input with another example's, and their instance labels alike",
        "settings": ["imix_alpha"],
        "cite": "Lee et al., i-Mix, ICLR 2021, eq. 2; arXiv 2010.08887",
    },
    "inputmix": {
        "title": "InputMix",
        "what": "mixes both views with auxiliary inputs; the instance label stays the principal's",
        "settings": ["inputmix_aux", "inputmix_floor"],
        "cite": "Lee et al., i-Mix, ICLR 2021, section 3.4; arXiv 2010.08887",
    },
    "mixup": {
        "title": "MixUp",
        "what": "mixes inputs and class labels (for the supervised control)",
        "settings": ["mixup_alpha"],
        "cite": "Zhang et al., mixup, ICLR 2018; arXiv 1710.09412",
    },
}

Draw = tuple[Tensor, Tensor]
"""(rows, weights), both (k, n): result i is the sum over k of weights[k, i] times example rows[k, i]."""


def blend(x: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Σ_k weights[k, i] · x[rows[k, i]] for every i. x: (n, ...); rows, weights: (k, n). Keeps the dtype of x."""
    (first, w), *others = zip(rows, weights.to(x.dtype).view(*weights.shape, *[1] * (x.dim() - 1)), strict=True)
    mixed: Tensor = w * x.index_select(0, first)
    for more, w in others:
        mixed = torch.addcmul(mixed, w, x.index_select(0, more))
    return mixed


def draw_imix(n: int, alpha: float, rng: np.random.Generator, device: torch.device | None = None) -> Draw:
    """One permutation of the batch, and λ ~ Beta(α, α) for each example (i-Mix, section 3.1).

    Like the authors (kibok90/imix@d40fabe builder.py) we take max(λ, 1 - λ), so that an example's own key stays the larger
    target. Returns (rows, weights), each (2, n); row 0 is the example itself.
    """
    lam = rng.beta(alpha, alpha, n)
    lam = np.maximum(lam, 1 - lam)
    return _tensors(np.stack([np.arange(n), rng.permutation(n)]), np.stack([lam, 1 - lam]), device)


def draw_inputmix(n: int, aux: int, floor: float, rng: np.random.Generator, device: torch.device | None = None) -> Draw:
    """Auxiliary examples by independent permutations, with Dirichlet(1, ..., 1) weights (kibok90/imix@d40fabe builder.py).

    With one auxiliary the principal takes the larger weight; with two or more, `floor` is set aside for it and the rest is
    Dirichlet, so its weight lies in [floor, 1]. Returns (rows, weights), each (1 + aux, n); row 0 is the principal.
    """
    weights = rng.dirichlet(np.ones(1 + aux), n).T
    if aux == 1:
        weights = np.sort(weights, axis=0)[::-1]
    else:
        weights = (1 - floor) * weights
        weights[0] += floor
    return _tensors(np.stack([np.arange(n), *(rng.permutation(n) for _ in range(aux))]), weights, device)


def _tensors(rows: np.ndarray, weights: np.ndarray, device: torch.device | None) -> Draw:
    return (
        torch.from_numpy(rows).to(device, non_blocking=True),
        torch.from_numpy(np.ascontiguousarray(weights, dtype=np.float32)).to(device, non_blocking=True),
    )


@dataclass(frozen=True)
class Mixture:
    """How one step mixes, after the stem: InputMix over the 2n stacked views, then i-Mix over the n queries.

    With both None it changes nothing. No method asks which mixer is on.
    """

    inputs: Draw | None = None
    queries: Draw | None = None

    def stem(self, stem: nn.Module, x_q: Batch, x_k: Batch) -> tuple[Tensor, Tensor]:
        """Both views through a stem and InputMix: (queries, keys), each (n, ...). Auxiliaries come from either view."""
        s = stem(join(x_q, x_k))
        s = s if self.inputs is None else blend(s, *self.inputs)
        return s[: len(x_q[0])], s[len(x_q[0]) :]

    def query(self, s_q: Tensor) -> Tensor:
        """i-Mix of the queries' stem outputs, (n, ...)."""
        return s_q if self.queries is None else blend(s_q, *self.queries)

    def targets(self, n: int, device: torch.device) -> Tensor:
        """Virtual labels (n, n): row i says how much of each example's key query i should match; rows sum to one."""
        own = torch.eye(n, device=device)
        return own if self.queries is None else blend(own, *self.queries)


@dataclass(frozen=True)
class Mixers:
    """Which mixers a run uses, with their parameters; draws one `Mixture` a step."""

    imix_alpha: float | None = None
    inputmix_aux: int | None = None
    inputmix_floor: float | None = None

    def draw(self, n: int, rng: np.random.Generator, device: torch.device) -> Mixture:
        """The mixture of one batch of n examples."""
        inputs = queries = None
        if self.inputmix_aux is not None:
            inputs = draw_inputmix(2 * n, self.inputmix_aux, self.inputmix_floor or 0.0, rng, device)
        if self.imix_alpha is not None:
            queries = draw_imix(n, self.imix_alpha, rng, device)
        return Mixture(inputs, queries)
