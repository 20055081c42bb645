"""Protocols beside the linear and k-NN probes: closed forms, scikit-learn, scipy, and what several of them share."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.linear_model import Ridge
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from small import clouds

from bench import RunSpec, experiment, finetune, outcome, pretrain, run
from bench.adapter import Dataset, Split
from bench.cluster import by_head, cluster, matched, partition_scores
from bench.corrupt import CORRUPTIONS, MISSING, NOISE
from bench.data import folds
from bench.errors import UserError
from bench.home import home_at
from bench.kept import KEPT
from bench.prepare import prepare
from bench.probe import STRENGTHS, RidgePath, Rows, label_scores, log_loss, per_class, ridge, scores
from bench.recipes import PROTOCOLS, UNTUNED, resolve
from bench.store import Store
from bench.sweep import cells, jobs
from bench.train import TrainingFailedError

TOY = {"dataset": "toy", "budget": "smoke", "precision": "fp32", "device": "cpu"}


# ridge@1


@pytest.mark.parametrize("strength", STRENGTHS)
def test_ridge_is_scikit_learns_on_one_hot_labels(strength):
    x, y = clouds(60, apart=2.0)
    path = RidgePath(Rows(torch.from_numpy(x)), y, 4)  # class 3 has no row
    theirs = Ridge(alpha=strength * len(y), solver="cholesky").fit(x.astype(np.float64), np.eye(4)[y])
    np.testing.assert_allclose(path.weights(strength).numpy(), theirs.coef_.T, atol=1e-6)
    other = clouds(30, apart=2.0, seed=1)[0]
    (ours,) = path.proba(Rows(torch.from_numpy(other)), [strength])
    outputs = theirs.predict(other.astype(np.float64))
    np.testing.assert_array_equal(ours.argmax(axis=1), outputs.argmax(axis=1))
    np.testing.assert_allclose(outputs.sum(axis=1), 1.0)  # so clipping and scaling keep the order of the classes
    np.testing.assert_allclose(ours.sum(axis=1), 1.0, rtol=1e-5)
    assert (ours[:, 3] == 0).all()


def test_ridge_in_one_dimension_is_the_closed_form():
    """Centred x = ±1, labels by sign: covariance 1/2 with y − mean = ±1/2, variance 1, so w = (1/2) / (1 + λ)."""
    x, y = Rows(torch.tensor([[-1.0], [1.0]])), np.array([0, 1])
    assert RidgePath(x, y, 2).weights(1.0).tolist() == [[-0.25, 0.25]]
    assert RidgePath(x, y, 2).proba(x, [1.0])[0].tolist() == [[0.75, 0.25], [0.25, 0.75]]


def test_ridge_chooses_its_strength_by_the_rule_of_the_linear_probe():
    h, y = clouds(90, apart=2.0)
    found = ridge(torch.from_numpy(h), y, torch.from_numpy(h), 3, folds(y), "accuracy")
    assert found.chosen.removeprefix("strength=") in {f"{s:g}" for s in STRENGTHS}
    assert found.val_score > 0.75


# cluster@1


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_matching_finds_the_best_of_all_namings(classes):
    draw = np.random.default_rng(classes)
    clusters, y = draw.integers(0, classes, (2, 40))
    best = max((np.array(names)[clusters] == y).mean() for names in itertools.permutations(range(classes)))
    assert label_scores(matched(clusters, y, classes), y)["accuracy"] == pytest.approx(best)
    agree = np.array([[((clusters == i) & (y == j)).sum() for j in range(classes)] for i in range(classes)])
    assert agree[linear_sum_assignment(-agree)].sum() / 40 == pytest.approx(best)


def test_a_renamed_partition_is_perfect_and_names_do_not_matter():
    y = np.arange(30) % 3
    assert (matched((y + 1) % 3, y, 3) == y).all()
    assert partition_scores((y + 1) % 3, y) == pytest.approx({"nmi": 1.0, "ari": 1.0})


def test_one_cluster_says_nothing_and_finds_the_commonest_class():
    y = np.array([0, 0, 0, 1, 2])
    assert partition_scores(np.zeros(5, int), y) == pytest.approx({"nmi": 0.0, "ari": 0.0})
    assert label_scores(matched(np.zeros(5, int), y, 3), y)["accuracy"] == 0.6


def test_more_clusters_than_classes_leave_some_without_a_class():
    named = matched(np.array([0, 1, 2, 3]), np.array([0, 0, 1, 1]), 2)
    assert (named < 2).sum() == 2
    assert label_scores(named, np.array([0, 0, 1, 1]))["accuracy"] == 0.5


def test_partition_scores_are_scikit_learns():
    a, b = np.random.default_rng(0).integers(0, 4, (2, 50))
    found = partition_scores(a, b)
    assert found == {"nmi": normalized_mutual_info_score(b, a), "ari": adjusted_rand_score(b, a)}


def test_separate_clouds_are_found_without_a_label():
    h, _ = clouds(120)
    h_test, y_test = clouds(60, seed=1)
    found = cluster(torch.from_numpy(h), torch.from_numpy(h_test), 3, seed=0)
    assert label_scores(matched(found.labels, y_test, 3), y_test)["accuracy"] == 1.0
    again = cluster(torch.from_numpy(h), torch.from_numpy(h_test), 3, seed=0)
    assert (again.proba == found.proba).all()


def test_a_methods_own_cluster_head_assigns_by_its_greatest_logit():
    assert by_head(torch.tensor([[0.0, 2.0], [1.0, -1.0]])).labels.tolist() == [1, 0]


# Scores


def test_scores_of_labels_and_of_likelihoods_are_those_of_probabilities():
    proba, y = np.array([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]]), np.array([0, 1, 1])
    assert scores(proba, y) == {**label_scores(proba.argmax(axis=1), y), "log_loss": log_loss(np.array([0.7, 0.6, 0.1]))}
    assert label_scores(proba.argmax(axis=1), y) == {"accuracy": 2 / 3, "balanced_accuracy": 0.75}


def test_recall_and_precision_of_each_class():
    found = per_class(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 3]), 4)
    np.testing.assert_array_equal(found["recall"], [1, 0.5, np.nan, 0])
    np.testing.assert_array_equal(found["precision"], [0.5, 0.5, np.nan, np.nan])
    assert found["class_rows"].tolist() == [1, 2, 0, 1]


# noise@1, missing@1


def raw_rows(kind: str, n: int) -> np.ndarray:
    draw = np.random.default_rng(n)
    return {
        "numbers": lambda: draw.normal(5, 2, (n, 6)).astype(np.float32),
        "codes": lambda: draw.integers(0, 4, (n, 6)).astype(np.int32),
        "pictures": lambda: draw.integers(0, 256, (n, 3, 16, 16)).astype(np.uint8),
        "sound": lambda: draw.integers(-9000, 9000, (n, 640)).astype(np.int16),
        "texts": lambda: np.array([" ".join(f"w{j}" for j in range(20))] * n, dtype=object),
    }[kind]()


@pytest.mark.parametrize("protocol", CORRUPTIONS)
@pytest.mark.parametrize("kind", ["numbers", "codes", "pictures", "sound", "texts"])
def test_worse_rows_keep_their_kind_and_come_again_by_seed(protocol, kind):
    x, train = raw_rows(kind, 50), raw_rows(kind, 80)
    before = x.copy()
    (worse,), (again,), (other,) = (CORRUPTIONS[protocol]((x,), (train,), np.random.default_rng(s)) for s in (0, 0, 1))
    assert (worse.shape, worse.dtype) == (x.shape, x.dtype)
    assert np.array_equal(x, before)
    equal = {"equal_nan": True} if kind == "numbers" else {}
    assert np.array_equal(worse, again, **equal)
    assert not np.array_equal(worse, other, **equal)
    assert not np.array_equal(worse, x, **equal)


def test_numbers_get_half_a_standard_deviation_of_noise_and_lose_thirty_percent():
    x = raw_rows("numbers", 4000)
    (worse,) = CORRUPTIONS["noise@1"]((x,), (x,), np.random.default_rng(0))
    # A standard deviation of n values has a relative error of 1 / sqrt(2 n).
    np.testing.assert_allclose((worse - x).std(axis=0), NOISE * x.std(axis=0), rtol=3 / np.sqrt(2 * 4000))
    (fewer,) = CORRUPTIONS["missing@1"]((x,), (x,), np.random.default_rng(0))
    assert np.isnan(fewer).mean() == pytest.approx(MISSING, abs=3 * np.sqrt(MISSING * (1 - MISSING) / x.size))
    assert np.array_equal(fewer[~np.isnan(fewer)], x[~np.isnan(fewer)])


def test_texts_lose_words_and_never_all_of_them():
    x = np.array(["one", " ".join("abcdefghij")] * 40, dtype=object)
    (fewer,) = CORRUPTIONS["missing@1"]((x,), (x,), np.random.default_rng(0))
    assert set(fewer[::2]) == {"one"}
    assert all(set(text.split()) <= set("abcdefghij") and text for text in fewer[1::2])
    (mixed,) = CORRUPTIONS["noise@1"]((x,), (x,), np.random.default_rng(0))
    assert all(sorted(text.split()) == list("abcdefghij") for text in mixed[1::2])


def test_pictures_lose_whole_cells_in_every_channel_to_the_mean_of_training():
    x, train = np.zeros((20, 3, 16, 16), np.uint8), np.full((4, 3, 16, 16), 100, np.uint8)
    (fewer,) = CORRUPTIONS["missing@1"]((x,), (train,), np.random.default_rng(0))
    cells_ = fewer.reshape(20, 3, 8, 2, 8, 2)
    assert set(np.unique(fewer)) == {0, 100}
    assert (cells_ == cells_[:, :1, :, :1, :, :1]).all()


def test_numbers_per_row_stay_as_they_are():
    lengths = np.array([3, 5])
    assert CORRUPTIONS["noise@1"]((lengths,), (lengths,), np.random.default_rng(0))[0] is lengths


# Whole runs


@pytest.fixture
def ready():
    KEPT.clear()
    yield prepare(RunSpec(method="npair", **TOY))
    KEPT.clear()


def test_protocols_share_one_pretraining_one_embedding_pass_and_one_training_of_a_control(tmp_path, monkeypatch):
    """`linear@1`, `knn@1`, `ridge@1` embed labelled and test rows once; the others add only the rows they need."""
    KEPT.clear()
    passes, fits, real = [], [], pretrain.embed

    def counted(module, x, *more):
        passes.append(len(x[0]))
        return real(module, x, *more)

    monkeypatch.setattr(pretrain, "embed", counted)
    monkeypatch.setattr(outcome, "PROBES", {**outcome.PROBES})
    monkeypatch.setattr("bench.baseline.Supervised.final", _counting(fits))
    with home_at(tmp_path):
        for protocol in ("linear@1", "knn@1", "ridge@1"):
            run(RunSpec(method="npair", protocol=protocol, **TOY))
        assert passes == [240, 60, 60, 60]  # labelled, test, and both views of the test rows for the diagnosis
        run(RunSpec(method="npair", protocol="noise@1", **TOY))
        assert passes[4:] == [60]
        run(RunSpec(method="npair", protocol="cluster@1", **TOY))
        assert passes[5:] == [240]
        for protocol in ("linear@1", "noise@1", "cluster@1"):
            run(RunSpec(method="supervised", protocol=protocol, **TOY))
    assert len(fits) == 1


def _counting(calls):
    from bench.baseline import Supervised

    real = Supervised.final

    def final(self, plan):
        calls.append(plan.steps)
        return real(self, plan)

    return final


def test_cells_that_differ_in_the_protocol_stand_side_by_side_in_one_job():
    specs = [
        RunSpec(method=m, protocol=p, label_fraction=f, **TOY)
        for p in ("linear@1", "knn@1")
        for f in (1.0, 0.5)
        for m in ("npair", "random")
    ]
    found = jobs(cells(specs))
    assert len(found) == 3  # one pretraining for both fractions; `random` has none to share, and so is split by fraction
    (shared,) = (j for j in found if j.current.spec.method == "npair")
    assert [(c.spec.label_fraction, c.spec.protocol) for c in shared.cells] == [
        (1.0, "linear@1"),
        (1.0, "knn@1"),
        (0.5, "linear@1"),
        (0.5, "knn@1"),
    ]


@pytest.mark.parametrize("method", ["npair", "random", "raw", "classical"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_scores_every_kind_of_method(protocol, method, tmp_path):
    if protocol == "finetune@1" and method in UNTUNED:
        with pytest.raises(UserError, match="has nothing to fine-tune"):
            run(RunSpec(method=method, protocol=protocol, **TOY))
        return
    record = run(RunSpec(method=method, protocol=protocol, **TOY), store=Store(tmp_path))
    assert record.status == "ok"
    assert 0 <= record.score <= 1
    assert (record.log_loss is None) == (protocol == "cluster@1") == (record.nmi is not None)
    side = Store(tmp_path).side(record.run_id)
    assert {"recall", "precision", "class_rows"} <= side.keys()
    assert ("likelihood" in side) == (protocol != "cluster@1")
    assert record.encoder_hash == record.encoder_hash_after


def test_sharing_what_was_embedded_changes_no_number():
    specs = [RunSpec(method="npair", protocol=p, **TOY) for p in ("knn@1", "ridge@1", "finetune@1", "linear@1")]
    KEPT.clear()
    shared = [run(s) for s in specs]
    for spec, before in zip(specs, shared, strict=True):
        KEPT.clear()
        assert run(spec).score == before.score


def test_an_encoder_touched_by_an_evaluation_is_caught(ready, monkeypatch, tmp_path):
    """On purpose: a probe that moves one weight."""
    seen = {}

    def embed(module, x, plan, real=pretrain.embed):
        seen.setdefault("encoder", module)
        return real(module, x, plan)

    def meddling(*arguments):
        with torch.no_grad():
            next(seen["encoder"].parameters()).view(-1)[0] += 1e-3
        return outcome_linear(*arguments)

    outcome_linear = outcome.PROBES["linear@1"]
    monkeypatch.setattr(pretrain, "embed", embed)
    monkeypatch.setattr(outcome, "PROBES", {**outcome.PROBES, "linear@1": meddling})
    with home_at(tmp_path), pytest.raises(TrainingFailedError, match=r"linear@1 changed the encoder .* Frozen means frozen"):
        experiment._work(ready, experiment._silent)


def test_fine_tuning_leaves_the_pretrained_encoder_as_it_was_and_takes_rate_and_length_from_the_grid(tmp_path):
    with home_at(tmp_path):
        record = run(RunSpec(method="npair", protocol="finetune@1", **TOY))
    assert record.encoder_hash == record.encoder_hash_after
    rate, steps = (part.partition("=")[2] for part in record.chosen.split())
    base, per_epoch = record.base_lr, 240 // record.effective_batch_size
    assert float(rate) in [pytest.approx(base * r, rel=1e-4) for r in (1.0, 0.3, 0.1)]
    assert int(steps) in {min(record.steps, e * per_epoch) for e in finetune.EPOCHS}


def test_under_cluster_the_predictions_are_named_so_that_the_score_can_be_computed_from_them(tmp_path):
    store = Store(tmp_path)
    record = run(RunSpec(method="npair", protocol="cluster@1", **TOY), store=store)
    side = store.side(record.run_id)
    assert label_scores(side["predictions"], side["y_test"])["accuracy"] == record.score
    assert partition_scores(side["predictions"], side["y_test"]) == {"nmi": record.nmi, "ari": record.ari}
    assert record.val_score is None


# Transfer


def test_scoring_on_the_data_set_itself_is_no_transfer():
    assert resolve(RunSpec(evaluate_on="toy", **TOY)).evaluate_on is None


def test_an_unknown_data_set_to_score_on_is_refused():
    with pytest.raises(Exception, match="unknown data set 'tyo'"):
        resolve(RunSpec(evaluate_on="tyo", **TOY))


def test_a_field_that_says_nothing_keeps_run_ids(ready):
    assert "evaluate_on" not in ready.facts or ready.facts.get("evaluate_fingerprint") is None
    assert ready.scored is ready.dataset


def test_tables_of_other_columns_are_refused_with_those_columns():
    with pytest.raises(Exception, match=r"cannot be scored on digits: .*Only a table of equal columns"):
        prepare(RunSpec(method="npair", evaluate_on="digits", **TOY))


@pytest.fixture
def toy_rows(tmp_path):
    """A file with the columns of `toy`, its categories in another order, and other rows."""
    import pandas as pd

    toy = prepare(RunSpec(method="raw", **TOY)).dataset
    numeric, codes = toy.train.x
    columns = {name: numeric[:, j] for j, name in enumerate(toy.meta["numeric"])}
    for j, (name, words) in enumerate(toy.meta["categorical"].items()):
        columns[name] = [None if c < 0 else words[c] for c in codes[:, j]]
    frame = pd.DataFrame({**dict(reversed(columns.items())), "kind": [f"k{c}" for c in toy.train.y]}).iloc[30:]
    frame.to_csv(tmp_path / "mine.csv", index=False)
    return str(tmp_path / "mine.csv")


def test_a_table_of_equal_columns_is_scored_with_the_codes_that_the_encoder_knows(toy_rows, tmp_path):
    spec = RunSpec(
        method="npair", data=toy_rows, target="kind", evaluate_on="toy", budget="smoke", precision="fp32", device="cpu"
    )
    ready = prepare(spec)
    toy = prepare(RunSpec(method="raw", **TOY)).dataset
    assert ready.scored.meta == ready.dataset.meta
    for ours, theirs in ((ready.dataset.meta["categorical"], toy.meta["categorical"]),):
        for j, (name, words) in enumerate(ours.items()):
            k = list(theirs).index(name)
            mine, true = ready.scored.test.x[1][:, j], toy.test.x[1][:, k]
            assert [None if c < 0 else words[c] for c in mine] == [None if c < 0 else theirs[name][c] for c in true]
    with home_at(tmp_path / "home"):
        record, plain = run(spec), run(spec.replace(evaluate_on=None))
    assert (record.n_test, record.n_labels) == (60, 240)
    assert record.n_train == plain.n_train < 240
    assert record.pretrain_id == plain.pretrain_id
    assert record.evaluate_fingerprint == ready.scored.fingerprint
    assert record.scored_on.endswith(" to toy")
    assert record.run_id != plain.run_id


def test_arrays_of_other_shapes_are_refused():
    from bench import catalog
    from bench.adapter import Adapter

    def data(name, width):
        split = Split((np.zeros((4, width), np.uint8),), np.arange(4) % 2)
        return Dataset(name, split, split, ("a", "b"))

    adapter = catalog.find(catalog.MODALITIES, "tabular")
    assert Adapter.transferred(adapter, data("a", 3), data("b", 3)).name == "b"
    with pytest.raises(Exception, match="its rows are uint8 3, those of b uint8 4"):
        Adapter.transferred(adapter, data("a", 3), data("b", 4))
