"""Scalars of collapse: closed forms, bounds, and the slow loops."""

import math

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from bench.diagnose import alignment, collapse, dimension_std, rankme, uniformity


def rows(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


# The published 1e-7 that is added to every p_k raises the entropy by at most d · 1e-7 · 16, below 1e-4 for d = 32.


@pytest.mark.parametrize("d", [2, 8, 32])
def test_orthonormal_rows_have_full_rank(d):
    assert rankme(torch.linalg.qr(rows(d, d)).Q) == pytest.approx(d, rel=1e-4)
    assert rankme(torch.eye(d).repeat(5, 1)) == pytest.approx(d, rel=1e-4)


@pytest.mark.parametrize("rank", [1, 3])
def test_rows_in_a_subspace_have_its_dimension_as_rank(rank):
    basis = torch.linalg.qr(rows(16, rank)).Q  # (16, rank)
    assert rankme(torch.eye(rank).repeat(4, 1) @ basis.T) == pytest.approx(rank, rel=1e-3)


def test_rank_is_the_entropy_of_the_singular_values():
    z = rows(40, 6) @ torch.diag(torch.tensor([10.0, 5.0, 2.0, 1.0, 0.5, 0.1]))
    assert rankme(z) == pytest.approx(reference.rankme(z.double().numpy()), rel=1e-4)


def test_identical_rows_are_complete_collapse():
    z = rows(1, 8).repeat(20, 1)
    assert rankme(z) == pytest.approx(1.0, rel=1e-3)
    assert dimension_std(z) == pytest.approx((0.0, 0.0), abs=1e-6)
    assert uniformity(z) == pytest.approx(0.0, abs=1e-6)


def test_rows_along_all_axes_have_the_healthy_spread():
    """±e_1 ... ±e_d: every dimension has mean 0 and variance 1/d."""
    d = 9
    assert dimension_std(torch.cat([torch.eye(d), -torch.eye(d)])) == pytest.approx((1 / 3, 1 / 3))


def test_one_dead_dimension_shows_in_the_least_spread():
    z = rows(50, 4)
    z[:, 2] = 0
    mean, least = dimension_std(z)
    assert least == 0.0
    assert mean > 0.3


def test_alignment_is_zero_for_equal_and_four_for_opposite_views():
    z = rows(10, 5)
    assert alignment(z, 3 * z) == pytest.approx(0.0, abs=1e-6)
    assert alignment(z, -z) == pytest.approx(4.0)
    assert alignment(torch.eye(5), torch.eye(5).roll(1, dims=0)) == pytest.approx(2.0)  # right angles


@pytest.mark.parametrize("t", [1.0, 2.0])
def test_two_antipodal_rows_have_uniformity_minus_4_t(t):
    assert uniformity(torch.tensor([[1.0, 0.0], [-2.0, 0.0]]), t) == pytest.approx(-4 * t)  # squared distance 4


def test_orthogonal_rows_have_uniformity_minus_2_t():
    assert uniformity(torch.eye(7)) == pytest.approx(-4.0)  # every squared distance is 2, t is 2


def test_uniformity_is_the_slow_loop_over_distinct_pairs():
    z = rows(12, 3)
    assert uniformity(z) == pytest.approx(reference.uniformity(normalize(z.double(), dim=1).numpy(), 2.0), rel=1e-4)


@given(n=st.integers(2, 20), d=st.integers(1, 12), seed=st.integers(0, 999), scale=st.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_bounds_and_scale(n, d, seed, scale):
    z, other = rows(n, d, seed), rows(n, d, seed + 1)
    assert 1 - 1e-3 <= rankme(z) <= min(n, d) * (1 + 1e-3)
    assert rankme(scale * z) == pytest.approx(rankme(z), rel=1e-3)
    assert 0 <= alignment(z, other) <= 4 + 1e-5
    assert -8 - 1e-5 <= uniformity(z) <= 1e-6
    mean, least = dimension_std(z)
    assert 0 <= least <= mean <= 1 / math.sqrt(d) + 1e-6  # the variances of unit rows sum to at most 1


def test_more_noise_dimensions_lost_means_lower_rank():
    z = rows(200, 8)
    ranks = [rankme(z * torch.tensor([1.0] * k + [1e-3] * (8 - k))) for k in (8, 6, 4, 2)]
    assert ranks == sorted(ranks, reverse=True)
    assert np.allclose(ranks, [8, 6, 4, 2], rtol=0.1)  # singular values of 200 random rows spread by ± sqrt(8 / 200) = 0.2


def test_a_record_gets_every_scalar_and_without_a_head_only_the_rank_of_h():
    h, z, other = rows(20, 8), rows(20, 4), rows(20, 4, seed=1)
    assert collapse(h) == {"rank_h": rankme(h)}
    found = collapse(h, z, other)
    assert set(found) == {"rank_h", "rank_z", "std_mean", "std_min", "alignment", "uniformity"}
    assert found["alignment"] == alignment(z, other)
    assert found["rank_z"] == rankme(z)
