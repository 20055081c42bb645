"""What was learnt, and what collapsed: pure functions of embeddings; rows are examples. `reading` says it in words."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

Vectors = dict[str, np.ndarray]
"""Arrays of a diagnosis by name, float32."""


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


def spectrum(z: Tensor) -> Tensor:
    """Singular values of the centred rows over √n, descending, (min(n, d),): square roots of the covariance's eigenvalues.

    What Jing et al. (ICLR 2022) plot, there as the logarithm of the covariance's own singular values, which are the squares.
    """
    z = z.float()
    sigma: Tensor = torch.linalg.svdvals(z - z.mean(dim=0)) / len(z) ** 0.5
    return sigma


def effective_rank(sigma: Tensor) -> float:
    """Effective rank (Roy & Vetterli, EUSIPCO 2007): exp(−Σ p_k log p_k), p_k = σ_k / Σσ, of singular values (k,).

    RankMe's formula without its 1e-7. Of `spectrum`, hence of centred rows. Between 1 and k; 0 where all σ are 0.
    """
    total = sigma.sum()
    if total <= 1e-6 * len(sigma):  # rounding of equal unit rows
        return 0.0
    return float(torch.special.entr(sigma / total).sum().exp())


def dimension_stds(z: Tensor) -> Tensor:
    """Standard deviation of each dimension of ℓ2-normalised z (n, d), (d,); `dimension_std` is its mean and least."""
    return normalize(z.float(), dim=1).std(dim=0, correction=0)


def negative_shares(q: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Share of the loss that each negative carries, by rank, mean over queries: (n − 1,), descending, summing to one.

    q, keys: two views of the same n rows, (n, d). For query i the gradient of InfoNCE in the logit of negative j is
    p_ij = softmax_j(q_i · k_j / τ); its share is p_ij / Σ_{j ≠ i} p_ij. Shares are sorted before they are averaged
    (the matching probabilities of MoCHi, Kalantidis et al., NeurIPS 2020, figure 2). Equal negatives: 1 / (n − 1) each.
    """
    logits = normalize(q.float(), dim=1) @ normalize(keys.float(), dim=1).T / temperature
    own = torch.eye(len(q), dtype=torch.bool, device=q.device)
    shares = logits[~own].view(len(q), len(q) - 1).softmax(dim=1)
    return shares.sort(dim=1, descending=True).values.mean(dim=0)


def top_share(shares: Tensor, part: float = 0.01) -> float:
    """What the hardest `part` of the negatives (at least one) carries together, of `negative_shares`."""
    return float(shares[: max(1, round(part * len(shares)))].sum())


def collapse(h: Tensor, z: Tensor | None = None, z_other: Tensor | None = None) -> dict[str, float]:
    """The scalars a record carries. h: features (n, d); z, z_other: projections of two views of the same rows."""
    found = {"rank_h": rankme(h), "effective_rank_h": effective_rank(spectrum(h))}
    if z is not None and z_other is not None:
        mean, least = dimension_std(z)
        found |= {"rank_z": rankme(z), "std_mean": mean, "std_min": least}
        found |= {"effective_rank_z": effective_rank(spectrum(normalize(z.float(), dim=1)))}
        found |= {"alignment": alignment(z, z_other), "uniformity": uniformity(z)}
    return found


def vectors(h: Tensor, temperature: float | None, z: Tensor | None = None, z_other: Tensor | None = None) -> Vectors:
    """What the side file keeps: spectra of h and of ℓ2-normalised z, spread per dimension, shares of the negatives."""
    found = {"spectrum_h": spectrum(h), "std_h": dimension_stds(h)}
    if z is not None:
        found |= {"spectrum_z": spectrum(normalize(z.float(), dim=1)), "std_z": dimension_stds(z)}
    if z is not None and z_other is not None and temperature is not None and len(z) > 1:
        found["negatives"] = negative_shares(z, z_other, temperature)
    return {name: value.numpy().astype(np.float32) for name, value in found.items()}


DIAGNOSED = 1024
"""Test rows, without labels, that are looked at."""

COMPLETE, DIMENSIONAL, DEAD = 0.1, 0.25, 1e-3
"""Thresholds of `reading`: of √d · mean std of z, of effective rank / dimensions, and of σ_k / σ_1."""


def reading(found: Mapping[str, float | None], arrays: Mapping[str, np.ndarray], rows: int = DIAGNOSED) -> str:
    """Scalars of a record and its vectors in words: complete collapse, dimensional collapse, or healthy, and by what.

    Complete: √d · (mean std of ℓ2-normalised z) is below 0.1 (of h: 0.01), where even directions give 1. Dimensional: the
    effective rank is below a quarter of the dimensions, or some singular values are below a thousandth of the greatest. z is
    judged where there is one, else h; of z only as many dimensions as h has, since a head is no wider than its input, and of
    either no more than `rows` centred rows can fill. A rank compares runs of one encoder and head, and high rank does not mean
    useful features.
    """
    which = "z" if "spectrum_z" in arrays else "h"
    std = arrays[f"std_{which}"]
    sigma = arrays[f"spectrum_{which}"].astype(np.float64)[: min(len(arrays["std_h"]), rows - 1)]
    spread = float(np.sqrt(len(std)) * std.mean())
    least = COMPLETE if which == "z" else COMPLETE / 10  # rectified features lie on one side, nearer to each other
    rank = found.get(f"effective_rank_{which}")
    rank = effective_rank(torch.from_numpy(sigma)) if rank is None else rank
    dead = int((sigma < DEAD * sigma[0]).sum()) if sigma[0] > 0 else len(sigma)
    if spread < least:
        return f"complete collapse: the spread of {which} is {spread:.3g} of that of even directions, below {least:g}"
    said = f"effective rank of {which} {rank:.1f} of {len(sigma)}"
    if rank < DIMENSIONAL * len(sigma):
        return f"dimensional collapse: {said}, below {DIMENSIONAL:g} of the dimensions; {dead} of them are dead"
    if dead:
        few = f"{dead} of {len(sigma)} singular values of {which} are below {DEAD:g} of the greatest"
        return f"dimensional collapse: {few}; {said}"
    return f"healthy: {said}, at least {DIMENSIONAL:g} of the dimensions, none dead" + (
        f"; the spread of z is {spread:.2f} of that of even directions" if which == "z" else ""
    )
