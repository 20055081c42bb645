"""Probes against scikit-learn, on problems with a known answer, and against chance."""

import math

import numpy as np
import pytest
import reference
import torch
from scipy.special import log_softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from small import clouds
from torch.nn.functional import normalize

from bench import RunSpec, run
from bench.data import folds
from bench.probe import NEIGHBOURS, PROBES, STRENGTHS, LogisticPath, Rows, Standardise, choose, linear, scores, votes


def problem(n: int = 150, d: int = 6, classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Overlapping clouds: standardised features with correlated columns of different spread, and labels."""
    draw = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = draw.normal(size=(n, d)) + draw.normal(size=(classes, d))[y]
    x = x @ draw.normal(size=(d, d))
    h = torch.from_numpy(x.astype(np.float32))
    return Standardise(h)(h), y


def objective(x: torch.Tensor, y: np.ndarray, w: np.ndarray, b: np.ndarray, strength: float) -> float:
    """Mean cross-entropy + λ/2 ‖W‖², in float64. w: (d, C), b: (C,)."""
    log_p = log_softmax(x.double().numpy() @ w + b, axis=1)
    return float(-log_p[np.arange(len(y)), y].mean() + strength / 2 * (w**2).sum())


@pytest.mark.parametrize("strength", STRENGTHS)
def test_the_linear_probe_is_scikit_learns_logistic_regression(strength):
    x, y = problem()
    path = LogisticPath(Rows(x), y)
    for s in STRENGTHS[: STRENGTHS.index(strength) + 1]:
        path.solve(s)
    theirs = LogisticRegression(C=1 / (strength * len(y)), tol=1e-10, max_iter=20_000).fit(x.double().numpy(), y)
    w, b = path.v[:-1].double().numpy(), path.v[-1].double().numpy()
    best = objective(x, y, theirs.coef_.T, theirs.intercept_, strength)
    assert objective(x, y, w, b, strength) == pytest.approx(best, rel=1e-4)
    ours = path.proba(Rows(x), 3)
    # Near the optimum the excess is the mean KL divergence; 1e-4 · 0.96 nats are a mean distance of sqrt(1e-4 / 2) = 0.007.
    np.testing.assert_allclose(ours, theirs.predict_proba(x.double().numpy()), atol=0.007)
    np.testing.assert_allclose(ours.sum(axis=1), 1.0, rtol=1e-5)


def test_where_classes_separate_the_linear_probe_predicts_what_scikit_learns_does():
    """There the objective falls towards 0 as λ does, so an absolute tolerance would stop far from the optimum."""
    digits = load_digits()
    h, y = torch.from_numpy(digits.data.astype(np.float32)), digits.target
    x, unseen = (Standardise(h[:300])(part) for part in (h[:300], h[300:]))
    path = LogisticPath(Rows(x), y[:300])
    for strength in STRENGTHS:
        theirs = LogisticRegression(C=1 / (strength * 300), tol=1e-8, max_iter=20_000).fit(x.double().numpy(), y[:300])
        path.solve(strength)
        best = objective(x, y[:300], theirs.coef_.T, theirs.intercept_, strength)
        ours = objective(x, y[:300], path.v[:-1].numpy(), path.v[-1].numpy(), strength)
        # Both solvers stop short by their own tolerance; 1 % of an objective of 2e-4 is 2e-6 nats a row.
        assert ours == pytest.approx(best, rel=1e-2 if strength < 1e-4 else 1e-4)
        agree = path.proba(Rows(unseen), 10).argmax(axis=1) == theirs.predict(unseen.double().numpy())
        assert agree.mean() > (0.995 if strength >= 1e-3 else 0.98)


def test_many_rows_have_the_same_optimum_as_few_although_steps_are_of_bf16(monkeypatch):
    """`EXACT` parts few rows from many: from 0 on every row is one of many, looked at in blocks of 16."""
    x, y = problem()
    monkeypatch.setattr("bench.probe.EXACT", 0)
    monkeypatch.setattr("bench.probe.LOOK", 16 * 6)
    path = LogisticPath(Rows(x), y)
    assert path.dtype == torch.float32
    for strength in STRENGTHS:
        path.solve(strength)
        theirs = LogisticRegression(C=1 / (strength * len(y)), tol=1e-10, max_iter=20_000).fit(x.double().numpy(), y)
        best = objective(x, y, theirs.coef_.T, theirs.intercept_, strength)
        ours = objective(x, y, path.v[:-1].double().numpy(), path.v[-1].double().numpy(), strength)
        assert ours == pytest.approx(best, rel=1e-5)  # the gain that ends; what is left is less
    assert set(path.solved) == set(STRENGTHS)


@pytest.mark.parametrize("rows", [None, np.array([7, 3, 3, 12, 0])])
def test_rows_come_in_blocks_standardised_by_the_statistics_they_are_given(rows, monkeypatch):
    h = torch.randn(13, 4, generator=torch.Generator().manual_seed(0)) * 5 + 2
    standardise = Standardise(h[:9])
    monkeypatch.setattr("bench.probe.LOOK", 3 * 4)
    seen = Rows(h, standardise, rows)
    places, parts = zip(*seen.blocks(torch.float64), strict=True)
    wanted = standardise(h if rows is None else h[rows])
    assert seen.shape == tuple(wanted.shape)
    assert torch.equal(torch.cat(parts), wanted.double())
    assert [i for place in places for i in range(*place.indices(len(seen)))] == list(range(len(seen)))


@pytest.mark.parametrize("strength", [1.0, 1e-3])
def test_a_solution_does_not_depend_on_where_the_path_started(strength):
    x, y = problem()
    cold = LogisticPath(Rows(x), y).solve(strength).proba(Rows(x), 3)
    other = LogisticPath(Rows(x, rows=np.arange(0, 150, 2)), y[::2]).solve(1e-2)
    warm = LogisticPath(Rows(x), y).start(other.classes, other.v).solve(strength).proba(Rows(x), 3)
    np.testing.assert_allclose(warm, cold, atol=0.01)


def test_classes_without_a_labelled_row_get_probability_zero():
    x, y = problem()
    labels = np.array([1, 4, 6])[y]
    for proba in (
        LogisticPath(Rows(x), labels).solve(0.1).proba(Rows(x), 8),
        PROBES["knn@1"](x, labels, x, 8, folds(y), "accuracy").proba,
    ):
        assert proba.shape == (150, 8)
        assert (proba[:, [0, 2, 3, 5, 7]] == 0).all()
        np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("protocol", PROBES)
def test_separable_features_give_one(protocol):
    h, y = clouds(120)
    h_test, y_test = clouds(60, seed=1)
    found = PROBES[protocol](torch.from_numpy(h), y, torch.from_numpy(h_test), 3, folds(y), "accuracy")
    assert scores(found.proba, y_test)["accuracy"] == 1.0
    assert found.val_score == 1.0


@pytest.mark.parametrize("protocol", PROBES)
def test_permuted_labels_give_chance(protocol):
    """20 permutations of the training labels: the mean balanced accuracy is within 3 standard errors of 1/C."""
    draw, classes = np.random.default_rng(0), 3
    h, y = clouds(90, classes, apart=2.0)
    h_test, y_test = clouds(150, classes, apart=2.0, seed=1)
    found = []
    for _ in range(20):
        labels = draw.permutation(y)
        proba = PROBES[protocol](
            torch.from_numpy(h), labels, torch.from_numpy(h_test), classes, folds(labels), "accuracy"
        ).proba
        found.append(scores(proba, y_test)["balanced_accuracy"])
    assert np.mean(found) == pytest.approx(1 / classes, abs=3 * np.std(found, ddof=1) / math.sqrt(20))
    right = PROBES[protocol](torch.from_numpy(h), y, torch.from_numpy(h_test), classes, folds(y), "accuracy").proba
    assert scores(right, y_test)["balanced_accuracy"] > 0.75  # the same features with their labels are far from chance


@pytest.mark.parametrize("protocol", PROBES)
def test_test_rows_have_no_part_in_any_choice(protocol):
    h, y = clouds(90, apart=2.0)
    some = torch.from_numpy(clouds(30, apart=2.0, seed=1)[0])
    alone = PROBES[protocol](torch.from_numpy(h), y, some, 3, folds(y), "accuracy")
    beside = PROBES[protocol](torch.from_numpy(h), y, torch.cat([some, 1000 * some]), 3, folds(y), "accuracy")
    assert alone.chosen == beside.chosen
    assert alone.val_score == beside.val_score
    np.testing.assert_allclose(beside.proba[:30], alone.proba, atol=1e-6)  # blocks of another size round differently


@pytest.mark.parametrize("protocol", PROBES)
def test_the_scale_of_a_feature_does_not_matter_and_a_constant_one_is_ignored(protocol):
    h, y = clouds(90, apart=2.0)
    h_test, _ = clouds(30, apart=2.0, seed=1)
    stretched = [np.column_stack([a * [1, 100, 0.01, 7], np.full(len(a), 3.25)]).astype(np.float32) for a in (h, h_test)]
    plain, other = (
        PROBES[protocol](torch.from_numpy(a), y, torch.from_numpy(b), 3, folds(y), "accuracy")
        for a, b in ((h, h_test), stretched)
    )
    assert other.chosen == plain.chosen
    np.testing.assert_allclose(other.proba, plain.proba, atol=2e-3)


def test_a_constant_feature_becomes_zero_even_where_test_rows_differ():
    h = torch.tensor([[1.0, 2.0], [1.0, 4.0]])
    assert Standardise(h)(torch.tensor([[9.0, 3.0]])).tolist() == [[0.0, 0.0]]
    assert Standardise(h)(h).tolist() == [[0.0, -1.0], [0.0, 1.0]]


def test_statistics_of_blocks_are_those_of_the_whole(monkeypatch):
    h = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)) * 5 + 100
    h[:, 1] = 0.1  # whose mean must not round, or a constant would become a feature
    monkeypatch.setattr("bench.probe.LOOK", 3 * 7)
    found = Standardise(h)
    np.testing.assert_allclose(found.mean, h.double().mean(dim=0), rtol=1e-6)
    assert found.scale[1] == 0
    np.testing.assert_allclose(1 / found.scale[::2], h[:, ::2].double().std(dim=0, correction=0), rtol=1e-5)


@pytest.mark.parametrize("k", NEIGHBOURS)
def test_neighbours_vote_like_scikit_learns_and_like_the_slow_loop(k):
    x, y = problem(130)
    x = torch.nn.functional.normalize(x, dim=1)
    queries = torch.nn.functional.normalize(problem(40, seed=1)[0], dim=1)
    ours = votes(x, y, queries, 3, (k,))[0]
    theirs = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.1)).fit(x, y)
    np.testing.assert_allclose(ours, theirs.predict_proba(queries), atol=1e-4)
    for i in (0, 17):
        slow = reference.weighted_neighbours(x.double().numpy(), y, queries[i].double().numpy(), k, 3)
        np.testing.assert_allclose(ours[i], slow, atol=1e-4)


def test_many_rows_vote_like_few_up_to_the_rounding_of_bf16(monkeypatch):
    """A cosine of factors rounded to bf16 is off by at most 2⁻⁸, and a vote exp(s / 0.1) by 4 %. All vote, so none joins."""
    x, y = problem(130)
    x, queries = (normalize(part, dim=1) for part in (x, problem(40, seed=1)[0]))
    exact = votes(x, y, queries, 3, (130,))[0]
    monkeypatch.setattr("bench.probe.EXACT", 0)
    np.testing.assert_allclose(votes(x, y, queries, 3, (130,))[0], exact, rtol=0.08)


def test_fewer_rows_than_neighbours_all_vote():
    h, y = clouds(9)
    found = PROBES["knn@1"](torch.from_numpy(h), y, torch.from_numpy(h), 3, folds(y), "accuracy")
    assert scores(found.proba, y)["accuracy"] == 1.0


def test_choose_takes_the_best_mean_over_folds_and_of_equals_the_first():
    y = [np.array([0, 1]), np.array([1, 1, 0, 0])]
    right = [np.eye(2)[labels] for labels in y]
    wrong = [np.eye(2)[1 - labels] for labels in y]
    half = [np.eye(2)[np.zeros_like(labels)] for labels in y]
    assert choose(["a", "b", "c"], [list(p) for p in zip(wrong, right, right, strict=True)], y, "accuracy") == (1, 1.0)
    assert choose(["a", "b"], [list(p) for p in zip(half, half, strict=True)], y, "accuracy") == (0, 0.5)
    mixed = [[right[0], half[0]], [wrong[1], half[1]]]  # 1 and 0 against twice a half: equal means, whatever the fold sizes
    assert choose(["a", "b"], mixed, y, "accuracy") == (0, 0.5)


def test_the_metric_decides_the_choice():
    """Always answering the common class is more often right; the other candidate finds the rare class."""
    y = np.array([0] * 8 + [1] * 2)
    common, rare = np.eye(2)[np.zeros(10, int)], np.eye(2)[np.array([0] * 5 + [1] * 5)]
    assert choose(["common", "rare"], [[common, rare]], [y], "accuracy")[0] == 0
    assert choose(["common", "rare"], [[common, rare]], [y], "balanced_accuracy")[0] == 1


def test_scores_of_a_written_out_example():
    proba = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.6, 0.4, 0.0], [1.0, 0.0, 0.0]])
    found = scores(proba, np.array([0, 1, 1, 2]))
    assert found["accuracy"] == 0.5
    assert found["balanced_accuracy"] == pytest.approx((1 + 0.5 + 0) / 3)
    logs = [math.log(0.9), math.log(0.8), math.log(0.4), math.log(1e-7)]  # an impossible class costs log 1e-7, not infinity
    assert found["log_loss"] == pytest.approx(-np.mean(logs))


@pytest.mark.parametrize("protocol", PROBES)
def test_validation_is_scored_on_rows_that_the_candidates_did_not_see(protocol):
    """Unique random features with random labels: seen rows would be remembered, unseen ones are at chance."""
    draw = np.random.default_rng(0)
    h, y = torch.from_numpy(draw.normal(size=(200, 100)).astype(np.float32)), draw.integers(0, 2, 200)
    found = PROBES[protocol](h, y, h[:2], 2, folds(y), "accuracy")
    # 40 validation rows, the best of 7 candidates: beyond 0.5 + 4 · sqrt(0.25 / 40) = 0.82 it would be no luck.
    assert found.val_score < 0.82


@pytest.mark.parametrize("protocol", PROBES)
@pytest.mark.parametrize("name", ["random", "npair"])
def test_probing_does_not_change_the_encoder(name, protocol):
    record = run(RunSpec(dataset="toy", method=name, budget="smoke", protocol=protocol, precision="fp32", device="cpu"))
    assert record.encoder_hash == record.encoder_hash_after
    assert len(record.encoder_hash) == 64


def test_labels_of_one_class_are_predicted_without_an_optimum_to_find():
    h = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    y = np.array([1, 1, 1, 1, 0, 0])
    one_class = (np.arange(4), np.array([4, 5]))  # its training part has one class
    found = linear(h, y, h, 2, [one_class], "accuracy")
    assert np.isfinite(found.proba).all()


def test_neighbours_are_found_in_blocks_of_any_size(monkeypatch):
    x = normalize(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    y = np.arange(50) % 3
    whole = votes(x, y, x[:20], 3)
    monkeypatch.setattr("bench.probe.AT_ONCE", 120)
    for a, b in zip(whole, votes(x, y, x[:20], 3), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
