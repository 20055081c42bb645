"""The objective against the papers' equations, their limits and their symmetries."""

import math

import numpy as np
import pytest
import reference
import torch
from torch import Tensor

from bench import objective
from bench.objective import info_nce, nt_xent

N, K, D = 6, 9, 5


def rows(n: int, d: int = D, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one_sided(q: Tensor, keys: Tensor, tau: float) -> Tensor:
    return info_nce(q, keys, torch.eye(len(q)), tau)


def both_sided(first: Tensor, second: Tensor, tau: float) -> Tensor:
    """NT-Xent as `simclr` asks for it."""
    return nt_xent(torch.cat([first, second]), tau)


def own_and_queue(n: int, k: int) -> Tensor:
    return torch.cat([torch.eye(n), torch.ones(n, k)], dim=1).bool()


# Both sides compute in float64 with logits of at most 1/τ, so they agree up to a few hundred roundings of 1e-16 / τ.
EXACT = 1e-11


@pytest.mark.parametrize("tau", [0.01, 0.1, 1.0])
def test_npair_equals_the_slow_loop(tau):
    q, k = rows(N), rows(N, seed=1)
    assert one_sided(q, k, tau).item() == pytest.approx(reference.n_pair(q.numpy(), k.numpy(), tau), rel=EXACT, abs=EXACT)


@pytest.mark.parametrize("tau", [0.01, 0.1, 1.0])
def test_simclr_equals_the_slow_loop_over_all_2n_anchors(tau):
    a, b = rows(N), rows(N, seed=1)
    assert both_sided(a, b, tau).item() == pytest.approx(reference.nt_xent(a.numpy(), b.numpy(), tau), rel=EXACT, abs=EXACT)


@pytest.mark.parametrize("tau", [0.01, 0.1, 1.0])
def test_moco_equals_the_slow_loop_over_one_and_k_candidates(tau):
    q, k, queue = rows(N), rows(N, seed=1), rows(K, seed=2)
    loss = info_nce(q, torch.cat([k, queue]), torch.eye(N), tau, own_and_queue(N, K))
    assert loss.item() == pytest.approx(reference.moco(q.numpy(), k.numpy(), queue.numpy(), tau), rel=EXACT, abs=EXACT)


@pytest.mark.parametrize("tau", [0.01, 0.1, 1.0])
def test_mocon_equals_the_slow_loop_over_n_and_k_candidates(tau):
    q, k, queue = rows(N), rows(N, seed=1), rows(K, seed=2)
    loss = one_sided(q, torch.cat([k, queue]), tau)
    assert loss.item() == pytest.approx(reference.mocon(q.numpy(), k.numpy(), queue.numpy(), tau), rel=EXACT, abs=EXACT)


@pytest.mark.parametrize("queued", [0, K])
def test_soft_targets_equal_the_slow_loop(queued):
    q, keys = rows(N), rows(N + queued, seed=1)
    targets = rows(N, N, seed=3).softmax(dim=1)
    expected = reference.soft(q.numpy(), keys.numpy(), targets.numpy(), 0.1)
    assert info_nce(q, keys, targets, 0.1).item() == pytest.approx(expected, rel=EXACT)


def test_simclr_equals_an_independent_library():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    a, b = rows(N).float(), rows(N, seed=1).float()
    theirs = losses.NTXentLoss(temperature=0.1)(torch.cat([a, b]), torch.arange(N).repeat(2))
    # float32 logits of size 10 carry errors of about 10 · 2^-24 · D = 3e-6.
    assert both_sided(a, b, 0.1).item() == pytest.approx(theirs.item(), abs=1e-5)


def test_npair_equals_an_independent_library():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    q, k = rows(N).float(), rows(N, seed=1).float()
    theirs = losses.NTXentLoss(temperature=0.1)(q, torch.arange(N), ref_emb=k, ref_labels=torch.arange(N))
    assert one_sided(q, k, 0.1).item() == pytest.approx(theirs.item(), abs=1e-5)


@pytest.mark.parametrize("m", [4, 16])
def test_the_loss_is_log_m_when_all_embeddings_agree(m):
    loss = info_nce(torch.ones(4, 8), torch.ones(m, 8), torch.eye(4), 0.1)
    assert loss.item() == pytest.approx(math.log(m))


def test_only_candidates_count_when_all_embeddings_agree():
    moco = info_nce(torch.ones(N, D), torch.ones(N + K, D), torch.eye(N), 0.1, own_and_queue(N, K))
    simclr = both_sided(torch.ones(N, D), torch.ones(N, D), 0.1)
    assert moco.item() == pytest.approx(math.log(1 + K))
    assert simclr.item() == pytest.approx(math.log(2 * N - 1))


def test_the_gradient_is_the_closed_form_of_simclr_table_2():
    u = torch.nn.functional.normalize(rows(1), dim=1).requires_grad_()
    keys = torch.nn.functional.normalize(rows(1 + K, seed=1), dim=1)
    info_nce(u, keys, torch.eye(1), 0.1).backward()
    ascent = reference.nt_xent_gradient(u.detach()[0].numpy(), keys[0].numpy(), keys[1:].numpy(), 0.1)
    direction = u.detach()[0].numpy()
    on_the_sphere = ascent - direction * (direction @ ascent)  # the loss normalises u, so only this part remains
    np.testing.assert_allclose(u.grad[0].numpy(), -on_the_sphere, atol=1e-10)


def test_the_gradient_reaches_every_embedding_as_anchor_and_as_candidate():
    z = torch.nn.functional.normalize(rows(2 * N), dim=1)
    a, b = z[:N].clone().requires_grad_(), z[N:].clone().requires_grad_()
    both_sided(a, b, 0.2).backward()
    u, tau, expected = z.numpy(), 0.2, np.zeros((2 * N, D))
    for i in range(2 * N):
        partner, others = (i + N) % (2 * N), [k for k in range(2 * N) if k not in (i, (i + N) % (2 * N))]
        p = reference.softmax([float(u[i] @ u[k]) / tau for k in (partner, *others)])
        expected[i] -= reference.nt_xent_gradient(u[i], u[partner], u[others], tau)
        expected[partner] -= (1 - p[0]) * u[i] / tau
        for share, k in zip(p[1:], others, strict=True):
            expected[k] += share * u[i] / tau
    expected = (expected - u * (u * expected).sum(axis=1, keepdims=True)) / (2 * N)
    np.testing.assert_allclose(torch.cat([a.grad, b.grad]).numpy(), expected, atol=1e-10)


def test_a_common_rotation_changes_nothing():
    q, keys, targets = rows(N), rows(N + K, seed=1), torch.eye(N)
    rotation = torch.linalg.qr(rows(D, seed=4)).Q
    turned = info_nce(q @ rotation, keys @ rotation, targets, 0.1)
    assert turned.item() == pytest.approx(info_nce(q, keys, targets, 0.1).item(), rel=EXACT)


def test_the_length_of_an_embedding_changes_nothing():
    q, keys, targets = rows(N), rows(N + K, seed=1), torch.eye(N)
    longer = info_nce(q * torch.arange(1, N + 1)[:, None], keys * 1e-3, targets, 0.1)
    assert longer.item() == pytest.approx(info_nce(q, keys, targets, 0.1).item(), rel=EXACT)


def test_swapping_the_views_changes_nothing_in_simclr_but_does_in_npair():
    a, b = rows(N), rows(N, seed=1)
    assert both_sided(a, b, 0.1).item() == pytest.approx(both_sided(b, a, 0.1).item(), rel=EXACT)
    assert one_sided(a, b, 0.1).item() != pytest.approx(one_sided(b, a, 0.1).item(), rel=1e-3)


def test_what_is_no_candidate_has_no_influence_and_gets_no_gradient():
    q, keys = rows(N), rows(N + K, seed=1)
    candidates = torch.ones(N, N + K, dtype=torch.bool)
    candidates[:, -1] = False
    other = torch.cat([keys[:-1], 100 * rows(1, seed=5)]).requires_grad_()
    loss = info_nce(q, other, torch.eye(N), 0.1, candidates)
    loss.backward()
    assert loss.item() == pytest.approx(one_sided(q, keys[:-1], 0.1).item(), rel=EXACT)
    assert torch.equal(other.grad[-1], torch.zeros(D, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_masked_candidates_give_no_nan_in_loss_or_gradient(dtype):
    z = rows(4).to(dtype).requires_grad_()
    itself = torch.eye(4, dtype=torch.bool)
    loss = info_nce(z, z, itself.roll(2, dims=1).to(dtype), 0.1, candidates=itself.roll(2, dims=1))  # one candidate each
    loss.backward()
    assert loss.item() == 0.0  # the only candidate is the right one
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("tau", [0.1, 1 / objective.STEEPEST, 0.01])
def test_float32_stays_close_to_float64_where_exponentials_would_overflow(tau):
    q = rows(N, 64)
    keys = torch.cat([-q, rows(K, 64, seed=1)])  # the own key is the worst candidate, so losses are near 2/τ
    keys[1] = q[0]  # e^(1/0.01) is above the largest float32
    exact = one_sided(q, keys, tau).item()
    single = one_sided(q.float(), keys.float(), tau).item()
    # A cosine of 64 products carries at most 64 roundings of 2^-24; dividing by τ magnifies them.
    assert single == pytest.approx(exact, abs=64 * 2**-24 / tau)
    assert one_sided(q.float(), q.float(), tau).item() == pytest.approx(one_sided(q, q, tau).item(), abs=64 * 2**-24 / tau)


@pytest.mark.parametrize("loss", [lambda q, k: one_sided(q, k, 0.1), lambda q, k: both_sided(q, k, 0.1)])
def test_under_bf16_autocast_the_loss_is_float32_of_operands_rounded_to_bf16(loss):
    """A cosine of operands rounded by at most 2^-8 each is off by less than 2^-7, a difference of two by twice that."""
    q, keys = rows(N).float(), rows(N, seed=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        cast = loss(q, keys)
    assert cast.dtype == torch.float32
    assert cast.item() == pytest.approx(loss(q, keys).item(), abs=2 * 2**-7 / 0.1)
    before = loss(q, keys)
    assert before.item() == pytest.approx(loss(q.double(), keys.double()).item(), rel=1e-5)  # and fp32 is fp32 again


# -- blocks and gradients ------------------------------------------------------------------------------------------------


def plain(q, keys, targets, tau, candidates, more):
    """The same loss as autograd would differentiate it, from whole matrices."""
    q, keys = (torch.nn.functional.normalize(t, dim=1) for t in (q, keys))
    logits = (q @ keys.T / tau).masked_fill(~candidates, -torch.inf)
    logits = torch.cat([logits, more / tau], dim=1)
    return logits.logsumexp(dim=1).mean() - (targets * (q @ keys[: len(q)].T / tau)).sum(dim=1).mean()


def some_candidates(m: int) -> Tensor:
    """A random mask that leaves every query its own key."""
    return (torch.rand(N, m, generator=torch.Generator().manual_seed(3)) < 0.7) | torch.eye(N, m, dtype=torch.bool)


@pytest.mark.parametrize("tau", [0.3, 1 / objective.STEEPEST, 0.01])
@pytest.mark.parametrize("queued", [0, K])
@pytest.mark.parametrize("block", [1, 2 * (N + K), 3 * (N + K) + 1, 2**20])
def test_blocks_of_queries_and_of_the_queue_change_nothing(block, queued, tau, monkeypatch):
    """The last `queued` keys come as a queue, without gradient, or all of them as keys."""
    monkeypatch.setattr(objective, "BLOCK", block)
    candidates = some_candidates(N + K)
    shares = torch.rand(N, N, generator=torch.Generator().manual_seed(4)).double() * candidates[:, :N]
    targets = shares / shares.sum(dim=1, keepdim=True)
    everything = torch.nn.functional.normalize(rows(N + K, seed=1), dim=1)
    keys, queue = everything[: N + K - queued].requires_grad_(), everything[N + K - queued :]
    given = [rows(N).requires_grad_(), keys, rows(N, seed=2).requires_grad_()]
    q, _, more = given
    ours = info_nce(q, keys, targets, tau, candidates, queue=queue if queued else None, more=more)
    autograd = plain(q, torch.cat([keys, queue]), targets, tau, candidates, more)
    assert ours.item() == pytest.approx(autograd.item(), rel=EXACT)
    for mine, theirs in zip(torch.autograd.grad(ours, given), torch.autograd.grad(autograd, given), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_candidates_that_end_with_the_keys_leave_the_queue_in_the_denominator():
    q, k, queue = rows(N), rows(N, seed=1), torch.nn.functional.normalize(rows(K, seed=2), dim=1)
    short = info_nce(q, k, torch.eye(N), 0.1, torch.eye(N, dtype=torch.bool), queue=queue)
    assert short.item() == pytest.approx(reference.moco(q.numpy(), k.numpy(), queue.numpy(), 0.1), rel=EXACT)
    assert short.item() == info_nce(q, k, torch.eye(N), 0.1, own_and_queue(N, K), queue=queue).item()


def test_a_block_of_the_queue_without_a_candidate_adds_nothing(monkeypatch):
    monkeypatch.setattr(objective, "BLOCK", N)  # one key at a time
    q, k, queue = rows(N), rows(N, seed=1), torch.nn.functional.normalize(rows(K, seed=2), dim=1)
    for gone in (slice(0, 4), slice(5, K)):
        allowed = own_and_queue(N, K)
        allowed[:, N:][:, gone] = False
        left = queue[allowed[0, N:]]
        expected = reference.moco(q.numpy(), k.numpy(), left.numpy(), 0.01)
        assert info_nce(q, k, torch.eye(N), 0.01, allowed, queue=queue).item() == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize("tau", [0.01, 1 / 64, 0.3])
@pytest.mark.parametrize("side", [1, 3, 5, 2 * N])
def test_squares_change_nothing_in_nt_xent_or_its_gradient(side, tau, monkeypatch):
    """All in one square at last; 0.01 is too steep for them."""
    monkeypatch.setattr(objective, "SIDE", side)
    z = rows(2 * N).requires_grad_()
    itself, other = torch.eye(2 * N, dtype=torch.bool), torch.arange(2 * N).roll(N)
    u = torch.nn.functional.normalize(z, dim=1)
    autograd = torch.nn.functional.cross_entropy((u @ u.T / tau).masked_fill(itself, -torch.inf), other)
    ours = nt_xent(z, tau)
    assert ours.item() == pytest.approx(autograd.item(), rel=EXACT)
    mine, theirs = (torch.autograd.grad(loss, z)[0] for loss in (ours, autograd))
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("z", [torch.ones(64, 8), torch.cat([torch.ones(32, 8), -torch.ones(32, 8)])])
def test_nt_xent_stays_finite_where_exp_is_largest_and_least(z):
    z.requires_grad_()
    loss = nt_xent(z, 1 / objective.STEEPEST)
    loss.backward()
    assert loss.isfinite()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("name", ["info_nce", "nt_xent"])
def test_in_single_precision_gradients_are_within_1e_5_of_double(name):
    q, keys = rows(64, seed=4), rows(512, seed=5)
    found = []
    for dtype in (torch.float32, torch.float64):
        given = q.to(dtype).requires_grad_()
        loss = nt_xent(given, 0.1) if name == "nt_xent" else info_nce(given, keys.to(dtype), torch.eye(64), 0.1)
        loss.backward()
        found.append(given.grad.double())
    assert (found[0] - found[1]).norm() < 1e-5 * found[1].norm()
