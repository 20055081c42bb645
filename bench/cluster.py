"""`cluster@1`: what a partition of the rows says about classes that nobody told it."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import normalize

from bench.probe import Prediction, Standardise
from bench.seeds import number

ROWS, RESTARTS, ITERATIONS = 10_000, 10, 100


def cluster(h: Tensor, h_test: Tensor, n_classes: int, seed: int) -> Prediction:
    """`cluster@1`: k-means with k = the number of classes, fitted without labels on the rows that pretraining saw.

    Features are standardised with the statistics of those rows, then ℓ2-normalised. Fitted on the first 10,000 of them in
    the seed's order, from 10 starts (k-means++), at most 100 iterations each, the least inertia wins; test rows join the
    nearest centre. A method with a cluster head of its own (`Method.cluster_head`) assigns by that instead.
    Scored on test rows by `partition_scores`. proba is one-hot in *clusters*; `matched` names them.
    """
    from sklearn.cluster import KMeans

    standardise = Standardise(h)
    x, x_test = (normalize(standardise(part), dim=1).numpy() for part in (h[:ROWS], h_test))
    k = min(n_classes, len(x))
    state = number(seed, "k-means") % 2**32
    found = KMeans(k, n_init=RESTARTS, max_iter=ITERATIONS, random_state=state, algorithm="lloyd").fit(x)
    return Prediction(np.eye(n_classes, dtype=np.float32)[found.predict(x_test)], None, f"k={k} restarts={RESTARTS}")


def by_head(logits: Tensor) -> Prediction:
    """Assignment by a method's own cluster head: (n, C) logits of test rows."""
    assigned = torch.nn.functional.one_hot(logits.argmax(dim=1), logits.shape[1])
    return Prediction(assigned.float().numpy(), None, "cluster head")


def matched(clusters: np.ndarray, y: np.ndarray, n_classes: int) -> np.ndarray:
    """Clusters named after classes, one to one, so that most rows agree (Hungarian method, Kuhn 1955), (n,).

    The names come from the labels of the rows that are scored, as the field does it; so the accuracy is that of the best
    naming, and is not comparable with a probe's. More clusters than classes: the ones left over keep a number above.
    """
    k = int(max(n_classes, clusters.max() + 1))
    agree = np.zeros((k, k), dtype=np.int64)
    np.add.at(agree, (clusters, y), 1)
    names = np.empty(k, dtype=np.int64)
    rows, columns = linear_sum_assignment(agree, maximize=True)
    names[rows] = columns
    named: np.ndarray = names[clusters]
    return named


def partition_scores(labels: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """nmi (mutual information over the arithmetic mean of the entropies) and ari (Hubert and Arabie 1985) of a partition.

    Both depend on who is together with whom, and not on names. 1 is the classes themselves, 0 is chance (for ari in the mean).
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    return {"nmi": float(normalized_mutual_info_score(y, labels)), "ari": float(adjusted_rand_score(y, labels))}
