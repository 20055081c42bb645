"""The papers as slow float64 loops, written from their equations and from nothing in `bench`. Rows are examples."""

import math
from collections.abc import Sequence

import numpy as np

Rows = np.ndarray  # (n, d)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """s(a, b) = aᵀb / (‖a‖ ‖b‖)."""
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(float(x) ** 2 for x in a) * sum(float(y) ** 2 for y in b))


def softmax(values: Sequence[float]) -> list[float]:
    """exp(v) / Σ exp(v), around the largest value."""
    top = max(values)
    raised = [math.exp(v - top) for v in values]
    return [r / sum(raised) for r in raised]


def cross_entropy(similarities: Sequence[float], which: int, tau: float) -> float:
    """−log( exp(s_which / τ) / Σ_m exp(s_m / τ) )."""
    top = max(s / tau for s in similarities)
    return top + math.log(sum(math.exp(s / tau - top) for s in similarities)) - similarities[which] / tau


def nt_xent(first: Rows, second: Rows, tau: float) -> float:
    """SimCLR eq. 1, ℓ(i, j) = −log e^{s(z_i, z_j)/τ} / Σ_{k≠i} e^{s(z_i, z_k)/τ}, averaged over all 2N anchors."""
    n, z = len(first), [*first, *second]
    total = 0.0
    for i in range(2 * n):
        partner = i + n if i < n else i - n
        others = [k for k in range(2 * n) if k != i]
        total += cross_entropy([cosine(z[i], z[k]) for k in others], others.index(partner), tau)
    return total / (2 * n)


def n_pair_each(queries: Rows, keys: Rows, tau: float, which: Sequence[int]) -> list[float]:
    """i-Mix section 3.1: ℓ_i = −log e^{s(f_i, f̃_w)/τ} / Σ_n e^{s(f_i, f̃_n)/τ} for the key w = which[i] of every query."""
    return [cross_entropy([cosine(q, k) for k in keys], w, tau) for q, w in zip(queries, which, strict=True)]


def n_pair(queries: Rows, keys: Rows, tau: float) -> float:
    """The mean over queries, each against its own key."""
    return float(np.mean(n_pair_each(queries, keys, tau, range(len(queries)))))


def moco(queries: Rows, keys: Rows, queue: Rows, tau: float) -> float:
    """MoCo eq. 1: the own key is candidate 0 of 1 + K, the K queued keys are the negatives."""
    total = 0.0
    for q, own in zip(queries, keys, strict=True):
        total += cross_entropy([cosine(q, own), *(cosine(q, k) for k in queue)], 0, tau)
    return total / len(queries)


def mocon(queries: Rows, keys: Rows, queue: Rows, tau: float) -> float:
    """MoCo in the N + K label space of i-Mix: candidates are the batch's keys, then the queue."""
    return float(np.mean(n_pair_each(queries, np.concatenate([keys, queue]), tau, range(len(queries)))))


def soft(queries: Rows, keys: Rows, targets: np.ndarray, tau: float) -> float:
    """i-Mix eq. 3: −Σ_n v_{i,n} log softmax_n(s(f_i, f̃_n) / τ), averaged over i."""
    total = 0.0
    for q, v in zip(queries, targets, strict=True):
        p = softmax([cosine(q, k) / tau for k in keys])
        total -= sum(float(v[n]) * math.log(p[n]) for n in range(len(v)))
    return total / len(queries)


def imix(mixed: Rows, keys: Rows, partner: Sequence[int], lam: Sequence[float], tau: float) -> float:
    """i-Mix eq. 2: λ_i ℓ(mixed_i, v_i) + (1 − λ_i) ℓ(mixed_i, v_partner(i)), each example with its own λ."""
    own = n_pair_each(mixed, keys, tau, range(len(mixed)))
    other = n_pair_each(mixed, keys, tau, partner)
    return sum(w * a + (1 - w) * b for w, a, b in zip(lam, own, other, strict=True)) / len(mixed)


def mix_inputs(x: Rows, partner: Sequence[int], lam: Sequence[float]) -> Rows:
    """λ_i x_i + (1 − λ_i) x_partner(i)."""
    return np.stack([lam[i] * x[i] + (1 - lam[i]) * x[partner[i]] for i in range(len(x))])


def nt_xent_gradient(u: np.ndarray, positive: np.ndarray, negatives: Rows, tau: float) -> np.ndarray:
    """SimCLR Table 2, gradient of the NT-Xent objective (to be maximised) with respect to u; all vectors have length 1."""
    p = softmax([float(u @ v) / tau for v in (positive, *negatives)])
    gradient = (1 - p[0]) * positive / tau
    for share, v in zip(p[1:], negatives, strict=True):
        gradient = gradient - share * v / tau
    return gradient


def weighted_neighbours(x: Rows, y: np.ndarray, query: np.ndarray, k: int, n_classes: int) -> np.ndarray:
    """Votes of the k rows nearest by cosine, weighted by exp(s / 0.1) (the kNN of InstDisc, section 3.4)."""
    near = sorted(range(len(x)), key=lambda i: -cosine(x[i], query))[:k]
    votes = np.zeros(n_classes)
    for i in near:
        votes[y[i]] += math.exp(cosine(x[i], query) / 0.1)
    return votes / votes.sum()


def rankme(z: Rows) -> float:
    """exp of the entropy of the normalised singular values."""
    sigma = np.sqrt(np.clip(np.linalg.eigvalsh(z.T @ z), 0, None))
    p = [s / sigma.sum() for s in sigma if s > 0]
    return math.exp(-sum(v * math.log(v) for v in p))


def uniformity(z: Rows, t: float) -> float:
    """log of the mean over distinct pairs of exp(−t ‖x − y‖²), rows of length 1."""
    pairs = [(i, j) for i in range(len(z)) for j in range(i)]
    return math.log(sum(math.exp(-t * float(((z[i] - z[j]) ** 2).sum())) for i, j in pairs) / len(pairs))
