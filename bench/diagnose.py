"""Scalars of collapse. Pure functions of embeddings; rows are examples."""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def rankme(z: Tensor) -> float:
    """RankMe (Garrido et al., ICML 2023): exp(−Σ p_k log p_k), p_k = σ_k / ‖σ‖₁ + 1e-7, σ the singular values of z (n, d).

    Not centred, not covariance. Between 1 (complete collapse) and min(n, d).
    """
    sigma = torch.linalg.svdvals(z.float())
    p = sigma / sigma.sum().clamp_min(1e-12) + 1e-7
    return float((-(p * p.log()).sum()).exp())


def dimension_std(z: Tensor) -> tuple[float, float]:
    """(mean, least) over dimensions of the standard deviation of ℓ2-normalised z (n, d), as in SimSiam (Chen & He, 2021).

    About 1/√d when directions are spread evenly; 0 when every row is the same.
    """
    std = normalize(z.float(), dim=1).std(dim=0, correction=0)
    return float(std.mean()), float(std.min())


def alignment(a: Tensor, b: Tensor) -> float:
    """E ‖f(x) − f(x⁺)‖² over positive pairs of ℓ2-normalised rows, (n, d) each (Wang & Isola, ICML 2020, eq. 4). 0 to 4."""
    return float((normalize(a.float(), dim=1) - normalize(b.float(), dim=1)).square().sum(dim=1).mean())


def uniformity(z: Tensor, t: float = 2.0) -> float:
    """log E e^(−t ‖f(x) − f(y)‖²) over distinct pairs of ℓ2-normalised rows (n, d) (Wang & Isola, ICML 2020, eq. 5).

    Between −2t (antipodal pairs alone would reach −4t) and 0, complete collapse.
    """
    distances = torch.pdist(normalize(z.float(), dim=1)).square()
    return float((-t * distances).exp().mean().log())


LEAST_STD = 0.05
"""A healthy mean standard deviation of ℓ2-normalised z is about 1/√d; below this share of it, all rows are one point.

After a smoke run on `toy` every method with something that holds rows apart stands between 0.49 and 0.99; with positives alone
it falls to 0.03 and stays there, as the gradient vanishes with the distances.
"""

LEAST_RANK = 1.1
"""Below this RankMe, all rows of z lie on one line."""


def complaint(z: Tensor) -> str | None:
    """In words, why embeddings (n, d) of a batch count as collapsed, or None."""
    mean, rank = dimension_std(z)[0] * z.shape[1] ** 0.5, rankme(z)
    if mean >= LEAST_STD and rank >= LEAST_RANK:
        return None
    return (
        f"the embedding has collapsed: the standard deviation of normalised z is {mean:.2g} / sqrt(d) (least {LEAST_STD:g}), "
        f"its RankMe {rank:.3g} (least {LEAST_RANK:g})"
    )


def collapse(h: Tensor, z: Tensor | None = None, z_other: Tensor | None = None) -> dict[str, float]:
    """The scalars a record carries. h: features (n, d); z, z_other: projections of two views of the same rows."""
    found = {"rank_h": rankme(h)}
    if z is not None and z_other is not None:
        mean, least = dimension_std(z)
        found |= {"rank_z": rankme(z), "std_mean": mean, "std_min": least}
        found |= {"alignment": alignment(z, z_other), "uniformity": uniformity(z)}
    return found
