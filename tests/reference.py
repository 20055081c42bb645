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


def unit(v: np.ndarray) -> np.ndarray:
    """v / ‖v‖."""
    return v / math.sqrt(sum(float(x) ** 2 for x in v))


def sigmoid(x: float) -> float:
    """1 / (1 + e^(−x))."""
    return 1 / (1 + math.exp(-x))


def pair_loss(queries: Rows, keys: Rows, which: Sequence[int], loss: str, tau: float, margin: float) -> list[float]:
    """SimCLR Table 2 per query, `nt_logistic` or `margin`, averaged over the negatives; `_sh` takes one semi-hard negative."""
    each = []
    for q, p in zip(queries, which, strict=True):
        s = [cosine(q, k) for k in keys]
        negatives = [m for m in range(len(keys)) if m != p]
        if loss.endswith("_sh"):
            inside = [m for m in negatives if s[m] < s[p] and (loss == "nt_logistic_sh" or s[m] > s[p] - margin)]
            negatives = [max(inside, key=lambda m: s[m])] if inside else [min(negatives, key=lambda m: s[m])]
        if loss.startswith("margin"):
            each.append(sum(max(s[m] - s[p] + margin, 0.0) for m in negatives) / len(negatives))
        else:
            away = sum(math.log(sigmoid(-s[m] / tau)) for m in negatives) / len(negatives)
            each.append(-math.log(sigmoid(s[p] / tau)) - away)
    return each


def nt_logistic_gradient(u: np.ndarray, positive: np.ndarray, negative: np.ndarray, tau: float) -> np.ndarray:
    """SimCLR Table 2: σ(−u·v⁺/τ)/τ v⁺ − σ(u·v⁻/τ)/τ v⁻, of the objective to be maximised."""
    own, other = float(u @ positive) / tau, float(u @ negative) / tau
    return sigmoid(-own) / tau * positive - sigmoid(other) / tau * negative


def margin_gradient(u: np.ndarray, positive: np.ndarray, negative: np.ndarray, margin: float) -> np.ndarray:
    """SimCLR Table 2: v⁺ − v⁻ if u·v⁺ − u·v⁻ < m, else 0, of the objective to be maximised."""
    return positive - negative if float(u @ positive) - float(u @ negative) < margin else 0 * positive


def byol(predictions: Rows, targets: Rows, which: Sequence[int]) -> list[float]:
    """BYOL eq. 2 for every row against target which[i]: ‖p/‖p‖ − t/‖t‖‖²."""
    gaps = [unit(p) - unit(targets[w]) for p, w in zip(predictions, which, strict=True)]
    return [sum(float(x) ** 2 for x in gap) for gap in gaps]


def sup_con(z: Rows, y: Sequence[int], tau: float) -> float:
    """Khosla et al. eq. 2: −1/|P(i)| Σ_p log e^{z_i·z_p/τ} / Σ_{a≠i} e^{z_i·z_a/τ}, averaged over i."""
    total = 0.0
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        s = [cosine(z[i], z[a]) for a in others]
        positives = [n for n, a in enumerate(others) if y[a] == y[i]]
        total += sum(cross_entropy(s, n, tau) for n in positives) / len(positives)
    return total / len(z)


def vicreg(a: Rows, b: Rows, invariance: float, variance: float, covariance: float) -> float:
    """Bardes et al.: λ s + μ (v(a) + v(b)) / 2 + ν (c(a) + c(b)), with γ = 1 and ε = 1e-4."""
    n, d = a.shape
    total = invariance * sum(float((a[i, j] - b[i, j]) ** 2) for i in range(n) for j in range(d)) / (n * d)
    for z in (a, b):
        mean = [sum(z[:, j]) / n for j in range(d)]
        c = [[sum((z[i, j] - mean[j]) * (z[i, k] - mean[k]) for i in range(n)) / (n - 1) for k in range(d)] for j in range(d)]
        total += variance / 2 * sum(max(0.0, 1 - math.sqrt(c[j][j] + 1e-4)) for j in range(d)) / d
        total += covariance * sum(float(c[j][k]) ** 2 for j in range(d) for k in range(d) if j != k) / d
    return float(total)


def cc(a: Rows, b: Rows, p: Rows, r: Rows, tau: float, cluster_tau: float) -> float:
    """Li et al.: NT-Xent of the embeddings, NT-Xent of the columns of the assignments p and r, and Σ (log M − H)."""
    total = nt_xent(a, b, tau) + nt_xent(p.T, r.T, cluster_tau)
    for assigned in (p, r):
        mean = [float(sum(assigned[:, j])) / len(assigned) for j in range(assigned.shape[1])]
        total += math.log(len(mean)) + sum(m * math.log(m) for m in mean)
    return total


def membank(queries: Rows, bank: Rows, rows: Sequence[int], drawn: Sequence[int], which: Sequence[Sequence[int]], tau: float):
    """For query i and every positive row in which[i]: −log of its slot's share among those positives and the drawn slots."""
    losses = []
    for q, positives in zip(queries, which, strict=True):
        slots = [*positives, *(j for j in drawn if j not in positives)]
        s = [cosine(q, bank[j]) for j in slots]
        losses.append([cross_entropy(s, n, tau) for n in range(len(positives))])
    assert len(rows) == len(losses)
    return losses
