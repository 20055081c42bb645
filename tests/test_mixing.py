"""Mixers: what is drawn, and that mixing inputs and labels is what the papers write."""

import math

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import First, views
from torch import Tensor

from bench.errors import UserError
from bench.mixing import Mixers, Mixture, blend, draw_cutmix, draw_imix, draw_inputmix
from bench.objective import info_nce
from bench.spec import parse_method

N, D = 7, 5
CPU = torch.device("cpu")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def rows(n: int = N, d: int = D, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair(partner: list[int], lam: list[float]) -> tuple[Tensor, Tensor]:
    """A draw of i-Mix, written out."""
    own = torch.arange(len(partner))
    return torch.stack([own, torch.tensor(partner)]), torch.tensor([lam, [1 - v for v in lam]], dtype=torch.float64)


def test_blend_is_the_weighted_sum_of_a_loop_in_every_shape():
    x = rows(N, 12).view(N, 3, 4)
    draw = rng()
    picked, weights = draw.integers(0, N, (3, N)), draw.random((3, N))
    mixed = blend(x, torch.from_numpy(picked), torch.from_numpy(weights))
    for i in range(N):
        expected = sum(weights[k, i] * x[picked[k, i]].numpy() for k in range(3))
        np.testing.assert_allclose(mixed[i].numpy(), expected, rtol=1e-12)


def test_blend_is_linear_in_what_it_mixes():
    draw = draw_imix(N, 1.0, rng())
    a, b = rows(), rows(seed=1)
    torch.testing.assert_close(blend(2 * a - 3 * b, *draw), 2 * blend(a, *draw) - 3 * blend(b, *draw))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_blend_keeps_the_dtype(dtype):
    assert blend(rows().to(dtype), *draw_imix(N, 1.0, rng())).dtype == dtype


@pytest.mark.parametrize(
    "draw", [pair([3, 0, 1, 2, 6, 5, 4], [1.0] * N), pair(list(range(N)), [0.5, 0.6, 0.7, 0.8, 0.9, 1, 1])]
)
def test_lambda_one_and_the_identity_permutation_both_give_the_plain_loss(draw):
    mixture, plain, x, keys = Mixture(queries=draw), Mixture(), rows(), rows(seed=1)
    mixed = info_nce(mixture.query(x), keys, mixture.targets(N, CPU), 0.1)
    assert mixed.item() == pytest.approx(info_nce(plain.query(x), keys, plain.targets(N, CPU), 0.1).item(), rel=1e-6)


def test_each_example_is_weighted_by_its_own_lambda():
    """A λ of shape (n, 1) times losses of shape (n,) would give the mean λ times the mean loss instead."""
    partner, lam = [3, 0, 1, 2, 6, 4, 5], [0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 0.99]
    mixture, x, keys = Mixture(queries=pair(partner, lam)), rows(), rows(seed=1)
    loss = info_nce(mixture.query(x), keys, mixture.targets(N, CPU).double(), 0.1).item()
    mixed = reference.mix_inputs(x.numpy(), partner, lam)
    # The virtual labels are float32, so a weight carries a rounding of 2^-24; losses are below 2/τ + log n = 22.
    assert loss == pytest.approx(reference.imix(mixed, keys.numpy(), partner, lam, 0.1), abs=22 * 2**-23)
    averaged = reference.imix(mixed, keys.numpy(), partner, [float(np.mean(lam))] * N, 0.1)
    assert abs(loss - averaged) > 1e-2  # the trap gives a number that is clearly another


def test_mixed_labels_are_the_mix_of_the_losses():
    partner, lam = [1, 2, 0, 4, 3, 6, 5], [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 0.75]
    draw, q, keys = pair(partner, lam), rows(), rows(seed=1)
    mixed = info_nce(q, keys, blend(torch.eye(N).double(), *draw), 0.1).item()
    own, other = (reference.n_pair_each(q.numpy(), keys.numpy(), 0.1, w) for w in (range(N), partner))
    expected = np.mean([w * a + (1 - w) * b for w, a, b in zip(lam, own, other, strict=True)])
    assert mixed == pytest.approx(expected, rel=1e-11)


@given(n=st.integers(2, 40), alpha=st.floats(0.05, 8), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_an_imix_draw_is_one_permutation_with_the_own_key_as_larger_target(n, alpha, seed):
    picked, weights = draw_imix(n, alpha, rng(seed))
    assert torch.equal(picked[0], torch.arange(n))
    assert torch.equal(picked[1].sort().values, torch.arange(n))
    assert weights.dtype == torch.float32
    assert ((weights[0] >= 0.5) & (weights[0] <= 1)).all()
    targets = Mixture(queries=(picked, weights)).targets(n, CPU)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(n))  # two float32 weights: one rounding each
    assert (targets >= 0).all()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_lambda_follows_the_folded_beta(alpha):
    """max(λ, 1 − λ) keeps (λ − ½)², whose mean is the variance of Beta(α, α), 1 / (4 (2α + 1))."""
    n = 20_000
    lam = draw_imix(n, alpha, rng())[1][0].double().numpy()
    squares = (lam - 0.5) ** 2
    assert squares.mean() == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=4 * squares.std() / math.sqrt(n))  # 4 standard errors
    assert len(np.unique(lam)) > 0.99 * n  # one λ per example, not per batch


@given(n=st.integers(2, 40), aux=st.integers(1, 4), floor=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_an_inputmix_draw_keeps_the_principal_in_front(n, aux, floor, seed):
    picked, weights = draw_inputmix(n, aux, floor, rng(seed))
    assert picked.shape == weights.shape == (1 + aux, n)
    assert torch.equal(picked[0], torch.arange(n))
    for k in range(1, 1 + aux):
        assert torch.equal(picked[k].sort().values, torch.arange(n))
    least = 0.5 if aux == 1 else floor
    assert (weights[0] >= least - 2**-24).all()
    assert (weights[0] <= 1 + 2**-24).all()
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(n))


def test_two_auxiliaries_share_what_the_floor_leaves():
    """0.5 + 0.5 · Dirichlet(1, 1, 1): means 2/3, 1/6, 1/6; a weight's spread is 0.5 · sqrt(1/18) = 0.118."""
    n = 20_000
    weights = draw_inputmix(n, 2, 0.5, rng())[1].double()
    torch.testing.assert_close(
        weights.mean(dim=1), torch.tensor([2 / 3, 1 / 6, 1 / 6]).double(), rtol=0, atol=4 * 0.118 / math.sqrt(n)
    )


def test_auxiliaries_are_drawn_by_different_permutations():
    picked, _ = draw_inputmix(50, 2, 0.5, rng())
    assert not torch.equal(picked[1], picked[2])


def test_inputmix_keeps_the_virtual_label_and_imix_does_not():
    only_inputs = Mixers(inputmix_aux=2, inputmix_floor=0.5).draw(N, 0, 0, CPU)
    assert torch.equal(only_inputs.targets(N, CPU), torch.eye(N))
    assert not torch.equal(Mixers(imix_alpha=1.0).draw(N, 0, 0, CPU).targets(N, CPU), torch.eye(N))


def test_inputmix_mixes_both_views_with_auxiliaries_of_either_view():
    n = 64
    mixture = Mixers(inputmix_aux=2, inputmix_floor=0.5).draw(n, 0, 0, CPU)
    picked, weights = mixture.inputs
    assert picked.shape == (3, 2 * n)
    assert ((picked[1:, :n] >= n).any(dim=1) & (picked[1:, :n] < n).any(dim=1)).all()  # chance of failing: 2^-62
    (a,), (b,) = views(n)
    mixed = torch.cat(mixture.stem(First(), (a,), (b,)))
    both = torch.cat([a, b])
    for i in (0, n - 1, n, 2 * n - 1):
        expected = sum(weights[k, i] * both[picked[k, i]] for k in range(3))
        torch.testing.assert_close(mixed[i], expected)


@pytest.mark.parametrize("mixers", [Mixers(), Mixers(inputmix_aux=2, inputmix_floor=0.5), Mixers(imix_alpha=1.0)])
def test_one_view_alone_goes_through_a_stem_as_beside_the_other(mixers):
    mixture, x_q, x_k = mixers.draw(N, 0, 0, CPU), *views(N)
    s_q, s_k = mixture.stem(First(), x_q, x_k)
    assert torch.equal(mixture.stem_q(First(), x_q, x_k), s_q)
    assert torch.equal(mixture.stem_k(First(), x_q, x_k), s_k)


def test_inputmix_beside_imix_does_not_change_what_imix_draws():
    alone, beside = (Mixers(imix_alpha=1.0, inputmix_floor=0.5, inputmix_aux=aux).draw(N, 0, 3, CPU) for aux in (None, 2))
    assert all(torch.equal(a, b) for a, b in zip(alone.queries, beside.queries, strict=True))


@given(seed=st.integers(0, 2**32), height=st.integers(1, 40), width=st.integers(1, 40))
@settings(max_examples=100)
def test_the_target_of_cutmix_is_the_area_that_was_pasted(seed, height, width):
    x = torch.arange(N).float()[:, None, None, None].expand(N, 3, height, width)
    queries, box = draw_cutmix(N, 1.0, (height, width), rng(seed))
    mixture = Mixture(queries=queries, box=box)
    mixed, targets = mixture.query(x), mixture.targets(N, CPU)
    share = torch.stack([(mixed == n).float().mean(dim=(1, 2, 3)) for n in range(N)], dim=1)
    torch.testing.assert_close(targets, share)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(N))


def test_the_box_of_cutmix_leaves_half_of_the_picture_or_more():
    """λ is the larger share and the box is clipped, so that the own label is never the smaller one."""
    kept = [draw_cutmix(2, 1.0, (28, 28), rng(seed))[0][1][0, 0].item() for seed in range(200)]
    assert min(kept) >= 0.5
    assert len(set(kept)) > 50


def test_imix_and_cutmix_are_refused_together():
    with pytest.raises(UserError, match="both mix the query"):
        parse_method("npair+imix+cutmix")


def test_imix_touches_the_queries_and_never_the_keys():
    mixture = Mixers(imix_alpha=1.0).draw(N, 0, 0, CPU)
    x_q, x_k = views(N)
    s_q, s_k = mixture.stem(First(), x_q, x_k)
    assert torch.equal(s_q, x_q[0])
    assert torch.equal(s_k, x_k[0])
    assert not torch.equal(mixture.query(s_q), s_q)


def test_without_mixers_nothing_changes():
    mixture = Mixers().draw(N, 0, 0, CPU)
    x_q, x_k = views(N)
    s_q, s_k = mixture.stem(First(), x_q, x_k)
    assert torch.equal(mixture.query(s_q), x_q[0])
    assert torch.equal(s_k, x_k[0])
    assert torch.equal(mixture.targets(N, CPU), torch.eye(N))
