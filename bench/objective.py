"""The contrastive objectives: one InfoNCE with soft targets serves most methods and mixers; the losses beside it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import normalize, one_hot, softplus

from bench import perf

BLOCK, SIDE = 2**21, 2**10
"""Logits of InfoNCE computed at once, and the side of the squares of NT-Xent: 8 and 4 MiB, which large caches hold."""

STEEPEST = 64
"""Largest 1/τ at which exp(cosine / τ), and a sum of millions of them, is an fp32 number whatever the cosines are."""


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
    queue: Tensor | None = None,
    more: Tensor | None = None,
) -> Tensor:
    """InfoNCE with soft targets: the mean over queries of −Σ_n v_n log softmax_m(s(q, k_m) / τ)[n], s the cosine.

    MoCo eq. 1 for one-hot targets; i-Mix eq. 3 for mixed ones. q: (n, d). keys: (m, d), m >= n; row i < n is example i's
    key, later rows are further keys. targets: (n, n), rows sum to one. queue: (K, d), keys behind those, of length one and
    without gradient, which are read where they lie. candidates: bool, (n, m) or (n, m + K), which keys stand in the
    denominator; None means all (`npair`, `mocon`), as it does for a queue that has no columns. more: (n, e) similarities of
    each query to negatives of its own, cosines like the others. The loss is fp32 (float64 inputs stay float64); under bf16
    autocast its products take operands rounded to bf16 and add in fp32. Differentiable once.
    """
    with _products(q):
        q, keys = (_wide(t) for t in (q, keys))
        if similarity == "cosine":
            q, keys = normalize(q, dim=1), normalize(keys, dim=1)
        bounded = similarity == "cosine" and temperature >= 1 / STEEPEST
        loss: Tensor = _InfoNCE.apply(q, keys, targets.to(q.dtype), 1 / temperature, bounded, candidates, queue, more)  # type: ignore[no-untyped-call]
        return loss


class _InfoNCE(torch.autograd.Function):
    """Loss and gradients in one pass over blocks of logits, which stay in the cache and are overwritten in place.

    With logits s, p = softmax(s) and a target v that sums to one: ℓ = log Σ_m exp(s_m) − Σ_n v_n s_n and ∂ℓ/∂s = p − v. The
    queue comes first, a block of keys after the other: since only q gets a gradient from it, Σ_m exp(s_m) k_m is all that
    must be remembered. Then blocks of queries meet all keys, when the sum of every softmax is known. Where logits are bounded,
    by 1/τ for cosines, exp needs no shift.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        keys: Tensor,
        targets: Tensor,
        scale: float,
        bounded: bool,
        candidates: Tensor | None,
        queue: Tensor | None,
        more: Tensor | None,
    ) -> Tensor:
        (n, t), m, loss = targets.shape, len(keys), q.new_zeros(())
        grad_q, grad_keys = torch.empty_like(q), torch.zeros_like(keys) if ctx.needs_input_grad[1] else None
        grad_more = None if more is None else torch.empty_like(more)
        space, far = q.new_empty(max(BLOCK, n, m)), Running(q, bounded)
        scaled, turned = q * scale, keys.T.contiguous()
        if queue is not None:
            wanted = scaled.T.contiguous()
            behind = None if candidates is None or candidates.shape[1] == m else candidates[:, m:]
            for part in _slices(len(queue), BLOCK // n):
                s = _product(some := queue[part].to(q.dtype), wanted, space)
                far.add(s, some, None if behind is None else behind[:, part].T)
        if more is not None:
            far.add(more.T * scale)
        for rows in _slices(n, BLOCK // m):
            s, v = _product(scaled[rows], turned, space), targets[rows]
            near = None if candidates is None else candidates[rows, :m]
            loss -= torch.linalg.vecdot(v, s[:, :t]).sum()
            top = far.risen(s, near, dim=1, rows=rows)
            shrink = (far.top[rows] - top).exp_()[:, None]
            top = top[:, None]
            total = far.weights(s, near, top).sum(dim=1, keepdim=True).add_(far.total[rows, None] * shrink)
            loss += (total.log() + top).sum()
            share = scale / n / total
            s.mul_(share)
            s[:, :t].sub_(v, alpha=scale / n)
            torch.addmm(far.pulled[rows].mul_(shrink * share), s, keys, out=grad_q[rows])
            if grad_keys is not None:
                grad_keys.addmm_(s.T, q[rows])
            if more is not None and grad_more is not None:
                torch.mul((more[rows] * scale - top).exp_(), share, out=grad_more[rows])
        ctx.save_for_backward(grad_q, grad_keys, grad_more)
        return loss / n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_q, grad_keys, grad_more = (None if t is None else t * grad for t in ctx.saved_tensors)
        return grad_q, grad_keys, None, None, None, None, None, grad_more


class Running:
    """A softmax over keys that come a block at a time (Milakov and Gimelshein 2018, arXiv 1805.02867).

    top: (n,), the largest logit so far. total: (n,), Σ_m exp(s_m − top). pulled: (n, d), Σ_m exp(s_m − top) k_m.
    """

    def __init__(self, q: Tensor, bounded: bool) -> None:
        self.bounded, n = bounded, len(q)
        self.top = q.new_zeros(n) if bounded else q.new_full((n,), -torch.inf)
        self.total, self.pulled = q.new_zeros(n), torch.zeros_like(q)

    def add(self, s: Tensor, keys: Tensor | None = None, candidates: Tensor | None = None) -> None:
        """Logits (b, n), which are overwritten, and the keys (b, d) that they belong to, if those pull at the queries.

        A row is a key, since torch multiplies tall matrices by narrow ones four times as fast as the transposed on CPUs.
        """
        top = self.risen(s, candidates, dim=0)
        shrink = (self.top - top).exp_()
        self.top, self.total = top, (self.total * shrink).add_(self.weights(s, candidates, top).sum(dim=0))
        self.pulled.mul_(shrink[:, None])
        if keys is not None:
            self.pulled.addmm_(s.T, keys)

    def risen(self, s: Tensor, candidates: Tensor | None, dim: int, rows: slice = slice(None)) -> Tensor:
        """The largest logits once those of `s` are known, along `dim`; what is no candidate becomes the least float."""
        if self.bounded:
            return self.top[rows]
        least = torch.finfo(s.dtype).min
        if candidates is not None:
            s.masked_fill_(~candidates, least)
        return torch.maximum(self.top[rows], s.amax(dim=dim)).clamp_min_(least)

    def weights(self, s: Tensor, candidates: Tensor | None, top: Tensor) -> Tensor:
        """exp(s − top) in place, after `risen`; 0 for what is no candidate."""
        if not self.bounded:
            return s.sub_(top).exp_()
        s.exp_()  # of sensible numbers: where exp underflows, a CPU takes ten times as long
        return s if candidates is None else s.masked_fill_(~candidates, 0)


def nt_xent(z: Tensor, temperature: float, *, similarity: str = "cosine") -> Tensor:
    """SimCLR eq. 1 over z (2n, d), of which rows i and i + n are views of one example: the mean over all 2n anchors.

    Every anchor's candidates are the others; precision as for `info_nce`. Differentiable once.
    """
    if similarity == "cosine" and temperature >= 1 / STEEPEST:
        with _products(z):
            loss: Tensor = _NTXent.apply(_wide(z), 1 / temperature)  # type: ignore[no-untyped-call]
            return loss
    itself = torch.eye(len(z), device=z.device, dtype=torch.bool)
    return info_nce(z, z, itself.roll(len(z) // 2, dims=1).float(), temperature, ~itself, similarity=similarity)


class _NTXent(torch.autograd.Function):
    """Logits of cosines are symmetric and at most 1/τ: the squares above the diagonal are enough, and exp needs no shift.

    With u the normalised z, e = exp(u uᵀ / τ) off the diagonal and t its row sums, the gradient to u of the summed loss is
    g = ((e ∘ (1/t + 1/tᵀ)) u − 2 u_other) / τ, and that to z is (g − ⟨g, u⟩ u) / ‖z‖. A first pass over the squares finds t, a
    second the gradient.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, scale: float) -> Tensor:
        length = torch.linalg.vector_norm(z, dim=1, keepdim=True).clamp_min_(1e-12)
        u, total = z / length, z.new_zeros(len(z))
        squares: Iterable[Square] = _exponentials(u, scale)
        if alone := len(u) <= SIDE:
            squares = [*squares]  # is still there for the second pass
        for i, j, e in squares:
            total[i] += e.sum(dim=1)
            if i != j:
                total[j] += e.sum(dim=0)
        other = u.roll(len(u) // 2, dims=0)
        loss: Tensor = total.log().mean() - scale * torch.linalg.vecdot(u, other).mean()
        if ctx.needs_input_grad[0]:
            grad, share, space = other.mul_(-2), 1 / total, z.new_empty(SIDE**2)
            for i, j, e in squares if alone else _exponentials(u, scale):
                e.mul_(torch.add(share[i, None], share[j], out=space[: e.numel()].view_as(e)))
                grad[i].addmm_(e, u[j])
                if i != j:
                    grad[j].addmm_(e.T, u[i])
            grad.addcmul_(torch.linalg.vecdot(grad, u)[:, None], u, value=-1)
            ctx.save_for_backward(grad.mul_(scale / len(z) / length))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (found,) = ctx.saved_tensors
        return found * grad, None


Square = tuple[slice, slice, Tensor]
"""Rows, columns, and what lies there."""


def _exponentials(z: Tensor, scale: float) -> Iterator[Square]:
    """exp(scale z zᵀ) with a diagonal of zeros, in squares on and above the diagonal."""
    parts, space = list(_slices(len(z), SIDE)), z.new_empty(SIDE**2)
    turned = [z[j].T.contiguous() for j in parts]
    for k, i in enumerate(parts):
        left = z[i] * scale
        for j, right in zip(parts[k:], turned[k:], strict=True):
            e = _product(left, right, space).exp_()
            yield i, j, e.fill_diagonal_(0) if i == j else e


def _slices(count: int, size: int) -> Iterator[slice]:
    """Slices of `count` rows, `size` in each, but at least one."""
    size = max(1, size)
    return (slice(start, start + size) for start in range(0, count, size))


def _product(a: Tensor, b: Tensor, space: Tensor) -> Tensor:
    """a @ b at the beginning of `space`: memory of this size is dear to get anew, since the system maps it page by page.

    As a batch of one, and with b contiguous: otherwise oneDNN takes fp32 kernels for up to a thousand rows, also where operands
    may be rounded to bf16, which takes three times as long.
    """
    return torch.bmm(a[None], b[None], out=space[: len(a) * b.shape[1]].view(1, len(a), -1))[0]


@contextmanager
def _products(q: Tensor) -> Iterator[None]:
    """No autocast; where it was bf16, products of fp32 on a CPU round their operands to bf16, and add and answer in fp32."""
    kind = q.device.type
    rough = kind == "cpu" and torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16
    with torch.autocast(kind, enabled=False), perf.rough_products() if rough else nullcontext():
        yield


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
