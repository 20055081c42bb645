"""Mixers: draw first, then apply. One `blend` mixes inputs, virtual labels and, for the supervised control, real labels."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bench.adapter import Batch, join
from bench.seeds import rng

CARDS = {
    "imix": {
        "title": "i-Mix",
        "what": "mixes the query's input with another example's, and their instance labels alike",
        "settings": ["imix_alpha"],
        "cite": "Lee et al., i-Mix, ICLR 2021, eq. 2; arXiv 2010.08887",
    },
    "cutmix": {
        "title": "i-Mix with CutMix",
        "what": "i-Mix that pastes a box of another example; the instance labels mix by its area",
        "settings": ["cutmix_alpha"],
        "cite": "Yun et al., CutMix, ICCV 2019, arXiv 1905.04899; in i-Mix for ImageNet (Lee et al., ICLR 2021)",
        "grid": True,
        "excludes": ["imix"],
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


Box = tuple[int, int, int, int]
"""(top, bottom, left, right) of a box on a grid; top and left belong to it, bottom and right do not."""


def draw_cutmix(
    n: int, alpha: float, grid: tuple[int, int], rng: np.random.Generator, device: torch.device | None = None
) -> tuple[Draw, Box]:
    """One permutation, one λ ~ Beta(α, α) and one box for the whole batch, on a grid of (height, width) cells.

    The box has sides √(1 − λ) of the grid's, with max(λ, 1 − λ) for λ, and a uniform centre; it is clipped at the border, and
    the weights are the areas really left and pasted (kibok90/imix@d40fabe builder.py). Returns ((rows, weights), box).
    """
    lam = rng.beta(alpha, alpha)
    share = np.sqrt(1 - max(lam, 1 - lam))
    sides, centre = [int(size * share) for size in grid], [int(rng.integers(size)) for size in grid]
    (top, bottom), (left, right) = (
        (max(c - s // 2, 0), min(c - s // 2 + s, size)) for c, s, size in zip(centre, sides, grid, strict=True)
    )
    pasted = (bottom - top) * (right - left) / (grid[0] * grid[1])
    rows = np.stack([np.arange(n), rng.permutation(n)])
    return _tensors(rows, np.stack([np.full(n, 1 - pasted), np.full(n, pasted)]), device), (top, bottom, left, right)


def paste(x: Tensor, partners: Tensor, box: Box) -> Tensor:
    """x (n, ..., height, width) with the box of every example taken from example `partners[i]`."""
    top, bottom, left, right = box
    mixed = x.clone()
    mixed[..., top:bottom, left:right] = x.index_select(0, partners)[..., top:bottom, left:right]
    return mixed


def _tensors(rows: np.ndarray, weights: np.ndarray, device: torch.device | None) -> Draw:
    return (
        torch.from_numpy(rows).to(device, non_blocking=True),
        torch.from_numpy(np.ascontiguousarray(weights, dtype=np.float32)).to(device, non_blocking=True),
    )


@dataclass(frozen=True)
class Mixture:
    """How one step mixes, after the stem: InputMix over the 2n stacked views, then i-Mix over the n queries.

    With both None it changes nothing. With a box, i-Mix pastes instead of blending. No method asks which mixer is on.
    """

    inputs: Draw | None = None
    queries: Draw | None = None
    box: Box | None = None

    def stem(self, stem: nn.Module, x_q: Batch, x_k: Batch) -> tuple[Tensor, Tensor]:
        """Both views through a stem and InputMix: (queries, keys), each (n, ...). Auxiliaries come from either view."""
        s = stem(join(x_q, x_k))
        s = s if self.inputs is None else blend(s, *self.inputs)
        return s[: len(x_q[0])], s[len(x_q[0]) :]

    def stem_q(self, stem: nn.Module, x_q: Batch, x_k: Batch) -> Tensor:
        """The queries alone, (n, ...); the keys are looked at where InputMix takes auxiliaries from them."""
        return stem(x_q) if self.inputs is None else self.stem(stem, x_q, x_k)[0]

    def stem_k(self, stem: nn.Module, x_q: Batch, x_k: Batch) -> Tensor:
        """The keys alone, (n, ...)."""
        return stem(x_k) if self.inputs is None else self.stem(stem, x_q, x_k)[1]

    def query(self, s_q: Tensor) -> Tensor:
        """i-Mix of the queries' stem outputs, (n, ...)."""
        if self.queries is None:
            return s_q
        return blend(s_q, *self.queries) if self.box is None else paste(s_q, self.queries[0][1], self.box)

    def targets(self, n: int, device: torch.device) -> Tensor:
        """Virtual labels (n, n): row i says how much of each example's key query i should match; rows sum to one."""
        own = torch.eye(n, device=device)
        return own if self.queries is None else blend(own, *self.queries)


@dataclass(frozen=True)
class Mixers:
    """Which mixers a run uses, with their parameters; draws one `Mixture` a step."""

    imix_alpha: float | None = None
    cutmix_alpha: float | None = None
    inputmix_aux: int | None = None
    inputmix_floor: float | None = None

    def draw(self, n: int, seed: int, step: int, device: torch.device, grid: tuple[int, int] = (0, 0)) -> Mixture:
        """The mixture of one batch of n examples at one step; each mixer has its own stream. grid: cells for CutMix."""
        inputs = queries = box = None
        if self.inputmix_aux is not None:
            inputs = draw_inputmix(2 * n, self.inputmix_aux, self.inputmix_floor or 0.0, rng(seed, "inputmix", step), device)
        if self.imix_alpha is not None:
            queries = draw_imix(n, self.imix_alpha, rng(seed, "mixing", step), device)
        elif self.cutmix_alpha is not None:
            queries, box = draw_cutmix(n, self.cutmix_alpha, grid, rng(seed, "cutmix", step), device)
        return Mixture(inputs, queries, box)
