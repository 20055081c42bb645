"""The contrastive objective: one loss with soft targets serves every method and mixer."""

import torch
from torch import Tensor
from torch.nn.functional import normalize


def info_nce(q: Tensor, keys: Tensor, targets: Tensor, temperature: float, candidates: Tensor | None = None) -> Tensor:
    """InfoNCE with soft targets: the mean over queries of −Σ_n v_n log softmax_m(s(q, k_m) / τ)[n], s the cosine.

    MoCo eq. 1 for one-hot targets; i-Mix eq. 3 for mixed ones. q: (n, d). keys: (m, d), m >= n; row i < n is example i's
    key, later rows are the queue. targets: (n, n), rows sum to one. candidates: bool (n, m), which keys stand in the
    denominator; None means all (`npair`, `mocon`). Always computed in fp32 (float64 inputs stay float64).
    """
    with torch.autocast(q.device.type, enabled=False):
        q, keys = (t if t.dtype == torch.float64 else t.float() for t in (q, keys))
        logits = normalize(q, dim=1) @ normalize(keys, dim=1).T / temperature
        if candidates is not None:  # the least float, not -inf, so that a zero target times log 0 is zero
            logits = logits.masked_fill(~candidates, torch.finfo(logits.dtype).min)
        log_p = logits.log_softmax(dim=1)[:, : len(q)]
        return -(targets.to(log_p.dtype) * log_p).sum(dim=1).mean()
