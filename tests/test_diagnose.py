"""Scalars of collapse: closed forms, bounds, and the slow loops."""

import math

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from bench import RunSpec, cli, run
from bench.diagnose import (
    COMPLETE,
    DIMENSIONAL,
    alignment,
    collapse,
    dimension_std,
    dimension_stds,
    effective_rank,
    negative_shares,
    rankme,
    reading,
    spectrum,
    top_share,
    uniformity,
    vectors,
)
from bench.errors import UserError
from bench.examine import diagnosis
from bench.store import Store


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
@settings(max_examples=40)
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


def test_a_record_gets_every_scalar_and_without_a_head_only_the_ranks_of_h():
    h, z, other = rows(20, 8), rows(20, 4), rows(20, 4, seed=1)
    assert collapse(h) == {"rank_h": rankme(h), "effective_rank_h": effective_rank(spectrum(h))}
    found = collapse(h, z, other)
    ranks = {"rank_h", "rank_z", "effective_rank_h", "effective_rank_z"}
    assert set(found) == {*ranks, "std_mean", "std_min", "alignment", "uniformity"}
    assert found["alignment"] == alignment(z, other)
    assert found["rank_z"] == rankme(z)


# Spectra


@pytest.mark.parametrize("d", [2, 5])
def test_the_spectrum_of_rows_along_all_axes_is_flat(d):
    """±e_1 ... ±e_d: mean zero, covariance I/d."""
    sigma = spectrum(torch.cat([torch.eye(d), -torch.eye(d)]))
    torch.testing.assert_close(sigma, torch.full((d,), d**-0.5))
    assert effective_rank(sigma) == pytest.approx(d, rel=1e-5)


def test_the_spectrum_is_the_root_of_the_covariances_eigenvalues_and_knows_no_mean():
    z = rows(50, 4) @ torch.diag(torch.tensor([3.0, 1.0, 0.3, 0.1]))
    eigenvalues = np.linalg.eigvalsh(np.cov(z.double().numpy().T, bias=True))[::-1]
    np.testing.assert_allclose(spectrum(z).numpy(), np.sqrt(eigenvalues), rtol=1e-4)
    torch.testing.assert_close(spectrum(z + 7), spectrum(z), atol=1e-5, rtol=1e-4)


def test_effective_rank_of_two_values_is_the_exponential_of_their_entropy():
    p = np.array([0.75, 0.25])
    assert effective_rank(torch.tensor([3.0, 1.0])) == pytest.approx(math.exp(-(p * np.log(p)).sum()))
    assert effective_rank(torch.tensor([2.0, 0.0, 0.0])) == pytest.approx(1.0)
    assert effective_rank(torch.zeros(4)) == 0.0


def test_spread_per_dimension_is_what_its_mean_and_least_are_taken_of():
    z = rows(30, 5)
    assert dimension_std(z) == (float(dimension_stds(z).mean()), float(dimension_stds(z).min()))


# Negatives


@pytest.mark.parametrize("n", [3, 101])
def test_equal_negatives_carry_equal_shares(n):
    shares = negative_shares(torch.ones(n, 4), torch.ones(n, 4), 0.1)
    torch.testing.assert_close(shares, torch.full((n - 1,), 1 / (n - 1)))
    assert top_share(shares) == pytest.approx(max(1, round(0.01 * (n - 1))) / (n - 1))


def test_one_equal_key_among_orthogonal_ones_carries_the_softmax_of_its_lead():
    """Query 0 equals key 1; its other negatives are at right angles: e^(1/τ) / (e^(1/τ) + n − 2)."""
    n, tau = 6, 0.5
    q, keys = torch.eye(n)[:1].repeat(n, 1), torch.eye(n)
    keys = keys.roll(1, dims=0)  # key 1 is e_0
    lead = math.exp(1 / tau)
    first = lead / (lead + n - 2)
    expected = [((n - 1) * first + 1 / (n - 1)) / n]  # query 1's own key is the equal one, so its negatives are alike
    assert negative_shares(q, keys, tau)[0].item() == pytest.approx(expected[0], rel=1e-5)


def test_shares_sum_to_one_fall_and_sharpen_as_the_temperature_falls():
    q, keys = rows(40, 8), rows(40, 8, seed=1)
    warm, cold = (negative_shares(q, keys, tau) for tau in (1.0, 0.05))
    for shares in (warm, cold):
        assert float(shares.sum()) == pytest.approx(1.0, rel=1e-5)
        assert (shares.diff() <= 0).all()
    assert top_share(cold) > top_share(warm)


def test_shares_are_the_slow_loop():
    q, keys = normalize(rows(7, 3), dim=1), normalize(rows(7, 3, seed=1), dim=1)
    slow = np.zeros(6)
    for i in range(7):
        e = np.array([math.exp(float(q[i] @ keys[j]) / 0.2) for j in range(7) if j != i])
        slow += np.sort(e / e.sum())[::-1] / 7
    np.testing.assert_allclose(negative_shares(q, keys, 0.2).numpy(), slow, rtol=1e-4)


# Readings


def read(z: torch.Tensor) -> str:
    h = rows(len(z), 16)
    return reading(collapse(h, z, z), vectors(h, 0.2, z, z))


def test_even_directions_read_as_healthy():
    assert read(rows(400, 16)).startswith("healthy: effective rank of z 15.")


def test_equal_rows_read_as_complete_collapse_and_name_the_threshold():
    z = torch.ones(400, 16) + 1e-3 * rows(400, 16)  # spread 1e-3 · √(15/16) of even directions
    assert read(z).startswith("complete collapse: ")
    assert read(z).endswith(f"below {COMPLETE:g}")


def test_few_directions_read_as_dimensional_collapse_and_name_the_threshold():
    flat = torch.diag(torch.tensor([1.0] * 3 + [5e-3] * 13))
    said = read(rows(400, 16) @ flat)
    assert said.startswith("dimensional collapse: effective rank of z 3.")
    assert f"below {DIMENSIONAL:g} of the dimensions; 0 of them are dead" in said


def test_dead_directions_read_as_dimensional_collapse_even_where_the_rest_is_even():
    dead = torch.diag(torch.tensor([1.0] * 12 + [0.0] * 4))
    assert "4 of 16 singular values of z are below 0.001 of the greatest" in read(rows(400, 16) @ dead)


def test_more_dimensions_of_z_than_of_h_are_not_held_against_it():
    """A head of 16 inputs fills 16 of 64 dimensions, and no more could be asked of it."""
    wide = torch.linalg.qr(rows(64, 16, seed=2)).Q.T
    said = read(rows(400, 16) @ wide)
    assert said.startswith("healthy: effective rank of z 15.")
    assert " of 16, " in said


def test_without_a_head_h_is_read():
    h = rows(400, 16)
    assert "of h 15." in reading(collapse(h), vectors(h, None))


def test_a_run_can_be_diagnosed_with_a_figure(tmp_path, capsys):
    store = Store(tmp_path)
    usual = {"dataset": "toy", "budget": "smoke", "precision": "fp32", "device": "cpu"}
    record = run(RunSpec(method="npair", **usual), store=store)
    side = store.side(record.run_id)
    assert {"spectrum_h", "spectrum_z", "std_h", "std_z", "negatives"} <= side.keys()
    assert record.effective_rank_z == pytest.approx(effective_rank(torch.from_numpy(side["spectrum_z"])), rel=1e-4)
    assert record.top_negatives == pytest.approx(top_share(torch.from_numpy(side["negatives"])), rel=1e-5)
    with pytest.raises(SystemExit) as ended:
        cli.main(["show", record.run_id, "--records", str(tmp_path), "--diagnose"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"reading: {reading(vars(record), side)}" in said
    assert (tmp_path / f"{record.run_id}-spectrum.svg").read_text().startswith("<?xml")
    bare = run(RunSpec(method="raw", **usual), store=store)
    with pytest.raises(UserError, match="only frozen encoders are diagnosed"):
        diagnosis(bare, store, None)


def test_fewer_rows_than_dimensions_are_no_collapse():
    """n centred rows span n - 1 directions, however healthy they are."""
    rows = torch.randn(100, 128, generator=torch.Generator().manual_seed(0))
    arrays = vectors(rows, None)
    assert reading(collapse(rows), arrays, rows=100).startswith("healthy")
    assert "dimensional collapse" in reading(collapse(rows), arrays)


def test_equal_features_are_a_complete_collapse_also_without_a_head():
    rows = torch.ones(100, 8)
    assert reading(collapse(rows), vectors(rows, None), rows=100).startswith("complete collapse")
