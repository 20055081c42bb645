"""The contrastive objectives: one InfoNCE with soft targets serves most methods and mixers; the losses beside it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import normalize, one_hot, softplus

BLOCK = 2**20
"""Logits computed at once: 4 MiB, which stay in the cache of most processors."""


def similarities(q: Tensor, keys: Tensor, similarity: str = "cosine") -> Tensor:
    """Cosines, or dot products, of queries (n, d) and keys (m, d): (n, m)."""
    if similarity == "cosine":
        q, keys = normalize(q, dim=1), normalize(keys, dim=1)
    return q @ keys.T


def info_nce(
    q: Tensor,
    keys: Tensor,
    targets: Tensor,
    temperature: float,
    candidates: Tensor | None = None,
    *,
    similarity: str = "cosine",
    more: Tensor | None = None,
) -> Tensor:
    """InfoNCE with soft targets: the mean over queries of −Σ_n v_n log softmax_m(s(q, k_m) / τ)[n], s the cosine.

    MoCo eq. 1 for one-hot targets; i-Mix eq. 3 for mixed ones. q: (n, d). keys: (m, d), m >= n; row i < n is example i's
    key, later rows are the queue. targets: (n, n), rows sum to one. candidates: bool (n, m), which keys stand in the
    denominator; None means all (`npair`, `mocon`). more: (n, e) similarities of each query to negatives of its own.
    Always computed in fp32 (float64 inputs stay float64). Differentiable once.
    """
    with torch.autocast(q.device.type, enabled=False):
        q, keys = (_wide(t) for t in (q, keys))
        if similarity == "cosine":
            q, keys = normalize(q, dim=1), normalize(keys, dim=1)
        loss: Tensor = _InfoNCE.apply(q, keys, targets.to(q.dtype), 1 / temperature, candidates, more)  # type: ignore[no-untyped-call]
        return loss


class _InfoNCE(torch.autograd.Function):
    """Loss and gradients in one pass over blocks of queries, whose logits stay in the cache and are overwritten in place.

    With logits s, p = softmax(s) and a target v that sums to one: ℓ = log Σ_m exp(s_m) − Σ_n v_n s_n and ∂ℓ/∂s = p − v.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, keys: Tensor, targets: Tensor, scale: float, candidates: Tensor | None, more: Tensor | None
    ) -> Tensor:
        (n, t), loss = targets.shape, q.new_zeros(())
        grad_q, grad_keys = torch.empty_like(q), torch.zeros_like(keys) if ctx.needs_input_grad[1] else None
        grad_more = None if more is None else torch.empty_like(more)
        size = max(1, BLOCK // len(keys))
        for block in (slice(start, start + size) for start in range(0, n, size)):
            s, v = (q[block] * scale) @ keys.T, targets[block]
            if candidates is not None:  # the least float, not -inf, so that a zero target times it is zero
                s.masked_fill_(~candidates[block], torch.finfo(s.dtype).min)
            top = s.amax(dim=1, keepdim=True)
            own = None if more is None else more[block] * scale
            if own is not None:
                top = torch.maximum(top, own.amax(dim=1, keepdim=True))
            loss -= torch.linalg.vecdot(v, s[:, :t]).sum()
            total = s.sub_(top).exp_().sum(dim=1, keepdim=True)
            if own is not None:
                total = total + own.sub_(top).exp_().sum(dim=1, keepdim=True)
            loss += (total.log() + top).sum()
            s.mul_(scale / n / total)
            s[:, :t].sub_(v, alpha=scale / n)
            torch.mm(s, keys, out=grad_q[block])
            if grad_keys is not None:
                grad_keys.addmm_(s.T, q[block])
            if own is not None and grad_more is not None:
                torch.mul(own, scale / n / total, out=grad_more[block])
        ctx.save_for_backward(grad_q, grad_keys, grad_more)
        return loss / n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_q, grad_keys, grad_more = (None if t is None else t * grad for t in ctx.saved_tensors)
        return grad_q, grad_keys, None, None, None, grad_more


@dataclass(frozen=True)
class Contrast:
    """The losses of SimCLR Table 2, with and without ℓ2 normalisation and temperature (Tables 2, 4 and 5), as a choice.

    Per query with positive n, s the similarity to every candidate: `nt_xent` is InfoNCE; `nt_logistic` is
    −log σ(s_n / τ) − mean over negatives of log σ(−s_m / τ); `margin` is the mean over negatives of max(s_m − s_n + margin, 0).
    The paper writes both for one negative; we average over them. `_sh` takes the one semi-hard negative of FaceNet (Schroff
    et al., CVPR 2015): the most similar one that is less similar than the positive (for `margin_sh` by less than the margin);
    where there is none, the least similar one, as TensorFlow's `triplet_semihard_loss` does.
    """

    temperature: float
    loss: str = "nt_xent"
    similarity: str = "cosine"
    margin: float = 0.4

    def __call__(self, q: Tensor, keys: Tensor, targets: Tensor, candidates: Tensor | None = None) -> Tensor:
        """The mean over queries; arguments as for `info_nce`.

        A loss ℓ(q, n) of another form is linear in the target: Σ_n v_n ℓ(q, n), over the two largest targets, since a mixer
        of queries mixes two examples.
        """
        if self.loss == "nt_xent":
            return info_nce(q, keys, targets, self.temperature, candidates, similarity=self.similarity)
        with torch.autocast(q.device.type, enabled=False):
            s = similarities(_wide(q), _wide(keys), self.similarity)
            allowed = torch.ones_like(s, dtype=torch.bool) if candidates is None else candidates
            weights, which = targets.to(s.dtype).topk(min(2, targets.shape[1]), dim=1)
            each = [w * self._against(s, n, allowed) for w, n in zip(weights.T, which.T, strict=True)]
            return torch.stack(each).sum(dim=0).mean()

    def _against(self, s: Tensor, positive: Tensor, allowed: Tensor) -> Tensor:
        """ℓ(q, n) for every query: (n,). s: similarities (n, m). positive: (n,). allowed: bool (n, m)."""
        own = s.gather(1, positive[:, None])
        negative = allowed & ~one_hot(positive, s.shape[1]).bool()
        if self.loss.endswith("_sh"):
            negative = semi_hard(s.detach(), own.detach(), negative, self.margin if self.loss == "margin_sh" else None)
        margin = self.loss.startswith("margin")
        each = (s - own + self.margin).clamp_min(0) if margin else softplus(s / self.temperature)
        mean = (each * negative).sum(dim=1) / negative.sum(dim=1).clamp_min(1)
        return mean if margin else mean + softplus(-own[:, 0] / self.temperature)


def semi_hard(s: Tensor, own: Tensor, negative: Tensor, margin: float | None = None) -> Tensor:
    """Which negative is semi-hard, one for each query: bool (n, m). s: (n, m); own: (n, 1), the positive's similarity."""
    less = negative & (s < own)
    if margin is not None:
        less &= s > own - margin
    nearest = s.masked_fill(~less, -torch.inf).argmax(dim=1)
    farthest = s.masked_fill(~negative, torch.inf).argmin(dim=1)
    return one_hot(torch.where(less.any(dim=1), nearest, farthest), s.shape[1]).bool() & negative


def bilinear(q: Tensor, keys: Tensor, targets: Tensor) -> Tensor:
    """BYOL with soft targets: the mean of 2 − 2 ⟨q / ‖q‖, Fᵀv⟩, F the normalised keys (m, d), v a row of targets (n, m).

    ‖q/‖q‖ − Fᵀv‖² for a one-hot v (BYOL, eq. 2). Fᵀv is not normalised again, so the loss is linear in v: of a mixed target
    it is the mixture of the losses (Lee et al., i-Mix, ICLR 2021).
    """
    with torch.autocast(q.device.type, enabled=False):
        q, keys = (normalize(_wide(t), dim=1) for t in (q, keys))
        return (2 - 2 * (q * (targets.to(q.dtype) @ keys)).sum(dim=1)).mean()


def _wide(t: Tensor) -> Tensor:
    return t if t.dtype == torch.float64 else t.float()
