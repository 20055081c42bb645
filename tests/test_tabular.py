"""Tables: what is fitted and from which rows, what a view may change, what the stem is linear in, what data sets hold."""

import gzip
import itertools
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch

from bench import catalog
from bench.adapter import Dataset, Split, hold_out, select
from bench.encoders import Maxout, imix_mlp
from bench.errors import UserError
from bench.spec import RunSpec
from modalities.tabular import downloads, files, preprocess, trees
from modalities.tabular.encoder import GROUP, Columns
from modalities.tabular.sources import LOADERS
from modalities.tabular.table import Part, from_frames, numbers

ADAPTER = catalog.find("modalities", "tabular")
SPEC = RunSpec(dataset="toy", mask_rate=0.2, mask_fill="mean", mask_columns="all", width=1)


@pytest.fixture(scope="module")
def toy() -> Dataset:
    return ADAPTER.load(SPEC)


@pytest.fixture(scope="module")
def fitted(toy):
    return ADAPTER.fit(toy.train.x, toy, SPEC)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frame(rows: int = 40, **columns) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    base = {"a": draw.normal(size=rows), "b": draw.choice(["u", "v"], rows), "y": np.resize(["no", "yes"], rows)}
    return pd.DataFrame({**base, **columns})


def write(folder: Path, name: str, table: pd.DataFrame) -> str:
    path = folder / name
    table.to_parquet(path) if name.endswith("parquet") else table.to_csv(path, index=False)
    return str(path)


def load(folder: Path, table: pd.DataFrame, test: pd.DataFrame | None = None, **more) -> Dataset:
    files = {"data": write(folder, "train.csv", table), "test": None if test is None else write(folder, "test.csv", test)}
    return ADAPTER.load(RunSpec(**{**files, "target": "y", **more}))


# Preprocessing


def test_training_numbers_have_mean_zero_and_spread_one_where_they_are_known(toy, fitted):
    values, _ = fitted(toy.train.x)
    for j, column in enumerate(fitted.keep):
        known = ~np.isnan(toy.train.x[0][:, column])
        z = values[:, j].numpy()[known]
        assert abs(z.mean()) < 1e-6
        assert z.std() == pytest.approx(1, abs=1e-5)
        assert not values[:, j].numpy()[~known].any()


def test_every_column_with_missing_training_values_has_a_centred_indicator(toy, fitted):
    values, _ = fitted(toy.train.x)
    gone = np.isnan(toy.train.x[0][:, fitted.keep])
    assert list(fitted.parent) == list(np.flatnonzero(gone.any(axis=0)))
    assert len(fitted.parent) == 2
    expected = gone[:, fitted.parent] - gone[:, fitted.parent].mean(axis=0)
    np.testing.assert_allclose(values[:, len(fitted.keep) :].numpy(), expected, atol=1e-6)


def test_test_rows_cannot_change_a_training_statistic(toy):
    numeric, codes = (a.copy() for a in toy.test.x)
    numeric[:], codes[:] = numeric * 100 + 7, 0
    other = Dataset("toy", toy.train, Split((numeric, codes), toy.test.y), toy.classes, meta=toy.meta)
    before, after = (ADAPTER.fit(d.train.x, d, SPEC).state() for d in (toy, other))
    assert all(np.array_equal(before[k], after[k]) for k in before)
    assert toy.fingerprint != other.fingerprint


def test_new_categories_and_classes_in_test_rows_do_not_renumber_those_of_training():
    train, test = frame(), frame(4, b=["aaa", "u", "v", None], y=["maybe", "no", "no", "yes"])
    plain, more = from_frames("t", train, frame(4), "y"), from_frames("t", train, test, "y")
    assert np.array_equal(plain.train.x[1], more.train.x[1])
    assert np.array_equal(plain.train.y, more.train.y)
    assert more.classes == ("no", "yes", "maybe")
    assert "count as wrong" in more.notes[-1]
    transform = ADAPTER.fit(more.train.x, more, SPEC)
    assert transform(more.test.x)[1][:, 0].tolist() == [2, 0, 1, 2]  # unseen and never-missing: the masked state


def test_missing_is_a_state_where_training_has_it_and_unknown_where_it_has_not(toy, fitted):
    states = fitted(toy.train.x)[1]
    shape = toy.train.x[1][:, 1]
    assert fitted.states.tolist() == [4, 4]  # three colours and masked; two shapes, missing and masked
    assert set(states[:, 1].numpy()[shape == -1]) == {2}
    only_known = tuple(a[shape >= 0] for a in toy.train.x)
    refitted = ADAPTER.fit(only_known, toy, SPEC)
    assert refitted.states.tolist() == [4, 3]
    assert set(refitted(toy.train.x)[1][:, 1].numpy()[shape == -1]) == {2}  # the masked state


def test_constant_and_empty_columns_are_dropped_and_said():
    table = frame(same=3.0, empty=np.nan, word="w", nothing=pd.Series([None] * 40, dtype=object))
    d = from_frames("t", table, table, "y")
    transform = ADAPTER.fit(d.train.x, d, SPEC)
    values, states = transform(d.train.x)
    assert (values.shape, states.shape) == ((40, 1), (40, 1))
    said = " ".join(transform.notes)
    assert all(f"'{name}'" in said for name in ("same", "empty", "word", "nothing"))


def test_a_table_without_a_usable_column_is_refused():
    table = frame()[["y"]].assign(same=1.0)
    d = from_frames("t", table, table, "y")
    with pytest.raises(UserError, match=r"No column is left to learn from.*'same'"):
        ADAPTER.fit(d.train.x, d, SPEC)


def test_a_large_mean_costs_no_precision():
    x = (np.arange(1000, dtype=np.float32)[:, None] % 2 + 4e6, np.empty((1000, 0), np.int32))
    z = preprocess.fit(x, {"numeric": ["t"], "categorical": {}})(x)[0]
    assert sorted(set(z.flatten().tolist())) == [-1, 1]


def test_rare_categories_of_a_wide_column_count_as_unknown():
    codes = np.concatenate([np.arange(400), np.arange(250)]).astype(np.int32)[:, None]
    x = (np.empty((650, 0), np.float32), codes)
    transform = preprocess.fit(x, {"numeric": [], "categorical": {"zip": [str(i) for i in range(400)]}})
    assert transform.states.tolist() == [preprocess.MOST_STATES + 1]
    assert "400 categories" in transform.notes[0]
    assert transform(x)[1].max() == preprocess.MOST_STATES
    assert len(set(transform(x)[1][:250, 0].tolist())) == 250


def test_rows_are_transformed_alike_in_one_piece_and_in_many(toy, fitted, monkeypatch):
    whole = fitted(toy.train.x)
    monkeypatch.setattr(preprocess, "_ROWS", 7)
    pieces, refitted = fitted(toy.train.x), ADAPTER.fit(toy.train.x, toy, SPEC)
    assert all(torch.equal(a, b) for a, b in zip(whole, pieces, strict=True))
    np.testing.assert_allclose(refitted.std, fitted.std)


def test_a_fitted_transform_survives_being_taken_apart(toy, fitted):
    again = preprocess.Preprocessing.from_state(fitted.state())
    assert all(torch.equal(a, b) for a, b in zip(again(toy.test.x), fitted(toy.test.x), strict=True))


def test_raw_features_are_the_values_and_one_column_per_state(toy, fitted):
    batch = fitted(toy.test.x)
    raw = ADAPTER.raw(batch, fitted)
    assert raw.dtype == np.float32
    assert raw.shape == (60, fitted.width + 8)
    np.testing.assert_array_equal(raw[:, : fitted.width], batch[0].numpy())
    ones = [torch.nn.functional.one_hot(batch[1][:, j], int(s)).numpy() for j, s in enumerate(fitted.states)]
    np.testing.assert_array_equal(raw[:, fitted.width :], np.concatenate(ones, axis=1))


@pytest.mark.full
def test_a_million_rows_are_standardised_in_seconds():
    x = (np.random.default_rng(0).random((1_000_000, 20), np.float32), np.empty((1_000_000, 0), np.int32))
    start = time.perf_counter()
    preprocess.fit(x, {"numeric": [str(j) for j in range(20)], "categorical": {}})(x)
    assert time.perf_counter() - start < 10


# Views


@pytest.mark.parametrize("views", ["domain", "agnostic", "none"])
def test_a_view_keeps_shapes_and_dtypes_and_is_made_by_its_generator(toy, fitted, views):
    x = fitted(toy.train.x)
    kept = tuple(t.clone() for t in x)
    view = ADAPTER.view(SPEC.replace(views=views), fitted)
    first, again, other = view(x, rng(1)), view(x, rng(1)), view(x, rng(2))
    for a, b, c, before, now in zip(first, again, other, kept, x, strict=True):
        assert (a.shape, a.dtype) == (before.shape, before.dtype)
        assert torch.equal(a, b)
        assert torch.equal(a, c) == (views == "none")
        assert torch.equal(before, now)


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_cells_are_masked_independently_at_the_rate(rate):
    rows, p, q = 4000, 5, 3
    x = (np.ones((rows, p), np.float32), np.zeros((rows, q), np.int32))
    x[0][0], x[1][0] = 2, 1
    names = {"numeric": list("abcde"), "categorical": {c: ["u", "v"] for c in "fgh"}}
    transform = preprocess.fit(x, names)
    batch = transform(x)
    values, states = ADAPTER.view(SPEC.replace(mask_rate=rate), transform)(batch, rng())
    hit = torch.cat((values == 0, states == 2), dim=1).double()
    error = (rate * (1 - rate) / rows) ** 0.5
    assert (hit.mean(dim=0) - rate).abs().max() < 4.5 * error
    off_diagonal = torch.corrcoef(hit.T) - torch.eye(p + q)
    assert off_diagonal.abs().max() < 5 / rows**0.5


def test_a_masked_cell_is_the_mean_and_does_not_tell_that_it_was_missing(toy, fitted):
    values, states = ADAPTER.view(SPEC.replace(mask_rate=1.0), fitted)(fitted(toy.train.x), rng())
    assert not values.any()
    assert torch.equal(states, torch.from_numpy(fitted.states - 1).expand_as(states))
    values, _ = ADAPTER.view(SPEC.replace(mask_rate=0.5), fitted)(fitted(toy.train.x), rng())
    k = len(fitted.keep)
    missing = torch.from_numpy(np.isnan(toy.train.x[0][:, fitted.keep]))
    masked = (values[:, :k] == 0) & ~missing
    assert not values[:, k:][masked[:, fitted.parent]].any()


@pytest.mark.parametrize(
    ("columns", "changed"), [("numeric", (True, False)), ("categorical", (False, True)), ("all", (True, True))]
)
def test_mask_columns_chooses_what_is_masked(toy, fitted, columns, changed):
    x = fitted(toy.train.x)
    out = ADAPTER.view(SPEC.replace(mask_columns=columns), fitted)(x, rng())
    assert tuple(not torch.equal(a, b) for a, b in zip(out, x, strict=True)) == changed


SCARF = RunSpec(dataset="toy", views="scarf", width=1)


def test_scarf_replaces_three_fifths_of_the_columns_by_values_of_training_rows(toy):
    transform = ADAPTER.fit(toy.train.x, toy, SCARF)
    values, states = transform(toy.train.x)
    k, columns = len(transform.keep), len(transform.keep) + len(transform.columns)
    seen, codes = ADAPTER.view(SCARF, transform)((values, states), rng())
    moved = (seen[:, :k] != values[:, :k]).sum(dim=1) + (codes != states).sum(dim=1)
    assert moved.max() <= int(0.6 * columns)  # fewer where the donor has the same value
    assert moved.float().mean() > 1
    for column in range(values.shape[1]):
        assert set(seen[:, column].tolist()) <= set(values[:, column].tolist())
    for column in range(states.shape[1]):
        assert set(codes[:, column].tolist()) <= set(states[:, column].tolist())


def test_scarf_takes_a_cell_and_its_missing_value_indicator_from_one_row(toy):
    transform = ADAPTER.fit(toy.train.x, toy, SCARF)
    values, states = transform(toy.train.x)
    seen, _ = ADAPTER.view(SCARF, transform)((values, states), rng())
    for m, column in enumerate(transform.parent):
        pairs, after = (
            set(zip(v[:, column].tolist(), v[:, len(transform.keep) + m].tolist(), strict=True)) for v in (values, seen)
        )
        assert after <= pairs


def test_scarf_knows_the_cut_rows_only_and_leaves_the_second_view_alone(toy):
    few = tuple(a[:40] for a in toy.train.x)
    transform = ADAPTER.fit(few, toy, SCARF)
    assert [len(a) for a in transform.sample] == [40, 40]
    batch = transform(toy.train.x)
    assert ADAPTER.key_view(SCARF, transform)(batch, rng()) is batch
    assert ADAPTER.fit(few, toy, SPEC).sample is None


def test_a_mask_that_could_hit_nothing_is_refused():
    d = ADAPTER.load(RunSpec(dataset="wine"))
    with pytest.raises(UserError, match=r"13 numeric and 0 categorical columns.*Set mask_columns to all"):
        ADAPTER.view(SPEC.replace(mask_columns="categorical"), ADAPTER.fit(d.train.x, d, SPEC))


# Encoder


def test_mixing_after_the_stem_is_mixing_one_hot_rows(toy, fitted):
    x = fitted(toy.train.x)
    stem = Columns(torch.from_numpy(fitted.states))
    parts = [s.T for s in torch.split(stem.weight, fitted.states.tolist())]  # each 64 x states: a Linear without bias
    linear = torch.block_diag(torch.eye(fitted.width), *parts)
    one_hot = torch.from_numpy(ADAPTER.raw(x, fitted))
    lam, order = torch.rand(len(one_hot), 1, generator=rng()), torch.randperm(len(one_hot), generator=rng(1))
    after = lam * stem(x) + (1 - lam) * stem(select(x, order))
    before = (lam * one_hot + (1 - lam) * one_hot[order]) @ linear.T
    torch.testing.assert_close(after, before)
    assert after.shape[1] == fitted.width + GROUP * len(fitted.states)


@pytest.mark.parametrize(("drop", "width"), [((), 1), ((0,), 2), ((1,), 1)], ids=["mixed", "categorical only", "numeric only"])
def test_an_encoder_says_its_dimension_and_has_every_weight_from_the_start(toy, drop, width):
    numeric, codes = (a[:, :0] if j in drop else a for j, a in enumerate(toy.train.x))
    names = toy.meta["numeric"] if 0 not in drop else [], toy.meta["categorical"] if 1 not in drop else {}
    transform = preprocess.fit((numeric, codes), {"numeric": names[0], "categorical": names[1]})
    torch.manual_seed(0)
    encoder = ADAPTER.encoder(SPEC.replace(width=width), transform)
    count = sum(p.numel() for p in encoder.parameters())
    h = encoder(transform((numeric, codes)))
    assert h.shape == (240, encoder.dim) == (240, 32 * width)
    h.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())
    assert sum(p.numel() for p in encoder.parameters()) == count


def test_the_mlp_has_the_published_widths():
    body, dim = imix_mlp(64, 64)
    assert [m.out_features for m in body if isinstance(m, torch.nn.Linear)] == [2048, 2048, 4096, 4096, 8192]
    assert dim == 2048


def test_maxout_takes_the_largest_of_each_group():
    x = torch.randn(3, 8, generator=rng())
    expected = [[max(row[j], row[j + 2], row[j + 4], row[j + 6]) for j in range(2)] for row in x.tolist()]
    assert Maxout(4)(x).tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_maxout_has_the_gradient_of_amax_also_where_inputs_are_equal(dtype):
    x = torch.randint(4, (30, 12), generator=rng()).to(dtype).requires_grad_()  # many equals
    grad = torch.randn(30, 4, generator=rng(1)).to(dtype)
    for pieces in (1, 3):
        (ours,) = torch.autograd.grad(Maxout(pieces)(x[:, : 4 * pieces]), x, grad)
        (theirs,) = torch.autograd.grad(x[:, : 4 * pieces].view(30, pieces, 4).amax(dim=1), x, grad)
        assert torch.equal(ours, theirs)


# Boosted trees


def test_boosted_trees_take_missing_values_wide_columns_and_a_class_with_one_row():
    rows = 300
    draw = np.random.default_rng(0)
    table = frame(rows, wide=[f"w{i}" for i in draw.permutation(rows) % 290], gap=np.where(np.arange(rows) % 3, 1.0, np.nan))
    table["y"] = np.where(table.gap.isna(), "no", "yes")
    table.loc[0, "y"] = "once"
    d = from_frames("t", table, table.iloc[:50], "y")
    x, test = (ADAPTER.classical_input(s.x, d) for s in (d.train, d.test))
    assert x.dtype == np.float32
    assert np.isnan(x[:, 1]).sum() == 100
    for model in ADAPTER.classical(d):
        assert model.fit(x, d.train.y).score(test, d.test.y) >= 0.98


def test_boosted_trees_take_columns_without_any_value_and_categories_they_never_saw():
    """A cut may leave a column empty, and test rows may bring new categories; both are as if missing."""
    draw = np.random.default_rng(0)
    x = np.column_stack([draw.normal(size=80), np.full(80, np.nan), draw.integers(0, 3, 80), np.full(80, np.nan)])
    y = (x[:, 0] > 0).astype(int)
    model = trees.Trees((False, False, True, True)).fit(x, y)
    unseen = x.copy()
    unseen[:, [1, 2, 3]] = 7
    missing = x.copy()
    missing[:, 2] = np.nan
    assert model.score(x, y) == 1
    np.testing.assert_array_equal(model.predict_proba(unseen), model.predict_proba(missing))


def test_a_missing_category_is_missing_for_the_trees(toy):
    assert np.array_equal(np.isnan(trees.table(toy.train.x)[:, 5:]), toy.train.x[1] < 0)


# Data sets


def test_every_data_set_of_the_card_has_a_loader():
    assert set(catalog.card("modalities", "tabular")["datasets"]) == set(LOADERS)


@pytest.mark.parametrize("name", ["letter", "adult", "diamonds", "digits", "breast_cancer", "wine", "toy"])
def test_a_data_set_is_what_its_card_says(name):
    if name == "diamonds":
        pytest.importorskip("plotnine")
    card, d = catalog.card("modalities", "tabular")["datasets"][name], ADAPTER.load(RunSpec(dataset=name))
    numeric, codes = d.train.x
    assert f"{len(d.train)} + {len(d.test)}" == card["rows"]
    assert len(d.classes) == card["classes"]
    assert card["columns"].startswith(f"{numeric.shape[1]} numeric")
    assert codes.shape[1] == 0 or f"{codes.shape[1]} categorical" in card["columns"]
    assert (numeric.dtype, codes.dtype, d.train.y.dtype) == (np.float32, np.int32, np.int64)
    assert set(d.train.y) == set(range(len(d.classes)))
    assert d.fingerprint == ADAPTER.load(RunSpec(dataset=name, seed=5)).fingerprint


@pytest.mark.parametrize("name", ["letter", "adult"])
def test_an_embedded_table_equals_its_source(name, bench_data):
    d = ADAPTER.load(RunSpec(dataset=name))
    for part, split in (("train", d.train), ("test", d.test)):
        source = bench_data / "tabular" / name / part
        table = pd.read_csv(f"{source}.csv") if name == "letter" else pd.read_parquet(f"{source}.parquet")
        target = table.columns[-1]
        assert [d.classes[c] for c in split.y] == table[target].tolist()
        np.testing.assert_array_equal(split.x[0], table[d.meta["numeric"]].to_numpy(np.float32))
        for j, (column, names) in enumerate(d.meta["categorical"].items()):
            assert [names[c] if c >= 0 else None for c in split.x[1][:, j]] == [
                v if isinstance(v, str) else None for v in table[column]
            ]


def test_a_class_gives_a_fifth_of_its_rows_and_a_single_row_stays_in_training():
    y = np.repeat([0, 1, 2], [50, 10, 1])
    train, test = hold_out(y, seed=0)
    assert sorted([*train, *test]) == list(range(61))
    assert np.bincount(y[test], minlength=3).tolist() == [10, 2, 0]
    assert not np.array_equal(test, hold_out(y, seed=1)[1])


def covtype_file(rows: int = 15_200) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    x = np.zeros((rows, 54))
    x[:, :10] = draw.integers(0, 3000, (rows, 10))
    x[np.arange(rows), 10 + draw.integers(0, 4, rows)] = 1
    x[np.arange(rows), 14 + draw.integers(0, 40, rows)] = 1
    y = np.concatenate([draw.permutation(np.repeat(np.arange(1, 8), 2160)), draw.integers(1, 8, rows - 15_120)])
    return x, y.astype(np.int32)


def test_covtype_is_read_from_the_files_that_scikit_learn_keeps(home):
    x, y = covtype_file()
    (home / "data" / "covertype").mkdir(parents=True)
    joblib.dump(x, home / "data" / "covertype" / "samples_py3")
    joblib.dump(y, home / "data" / "covertype" / "targets_py3")
    d = ADAPTER.load(RunSpec(dataset="covtype"))
    assert (len(d.train), len(d.test)) == (15_120, 80)
    assert np.bincount(d.train.y).tolist() == [2160] * 7
    np.testing.assert_array_equal(d.test.x[0], x[15_120:, :10].astype(np.float32))
    np.testing.assert_array_equal(d.train.x[1][:, 1], x[:15_120, 14:].argmax(axis=1))
    assert d.meta["numeric"][0] == "Elevation"
    assert {k: len(v) for k, v in d.meta["categorical"].items()} == {"Wilderness_Area": 4, "Soil_Type": 40}


def test_covtype_in_another_order_is_refused():
    x, y = covtype_file()
    y[0] = y[0] % 7 + 1
    with pytest.raises(UserError, match="should hold 2160 of each of 7 classes"):
        downloads.covtype_from(x, y, list("abcdefghij"))
    x, y = covtype_file()
    x[3, 10:14] = 1
    with pytest.raises(UserError, match="without exactly one 1"):
        downloads.covtype_from(x, y, list("abcdefghij"))


@pytest.mark.usefixtures("home")
def test_covtype_without_a_network_says_what_to_do(monkeypatch):
    def offline(**_):
        raise OSError("no route to host")

    monkeypatch.setattr("sklearn.datasets.fetch_covtype", offline)
    with pytest.raises(UserError, match=r"no route to host.*copy its folder covertype to .*home/data/covertype.*letter"):
        ADAPTER.load(RunSpec(dataset="covtype"))


def higgs_file(home: Path, rows: int) -> np.ndarray:
    draw = np.random.default_rng(0)
    table = np.concatenate([draw.integers(0, 2, (rows, 1)), draw.normal(size=(rows, 28))], axis=1)
    (home / "data" / "higgs").mkdir(parents=True)
    with gzip.open(home / "data" / "higgs" / "HIGGS.csv.gz", "wt") as file:
        np.savetxt(file, table, delimiter=",", fmt="%.18e")
    return table


def test_higgs_tests_on_its_last_rows_and_small_draws_are_prefixes_of_large_ones(home):
    table = higgs_file(home, 200)
    small, large = (downloads.higgs("higgs", n, rows=200, test=50) for n in (40, 100))
    assert (len(small.train), len(large.train), len(large.test)) == (40, 100, 50)
    np.testing.assert_array_equal(large.test.x[0], table[150:, 1:22].astype(np.float32))
    np.testing.assert_array_equal(large.test.y, table[150:, 0])
    rows = {tuple(r) for r in large.train.x[0]}
    assert {tuple(r) for r in small.train.x[0]} < rows < {tuple(r) for r in table[:150, 1:22].astype(np.float32)}
    with pytest.raises(UserError, match="has 200 rows where 201 are expected"):
        downloads.higgs("higgs", 40, rows=201, test=50)


@pytest.mark.parametrize("name", ["higgs", "higgs100k"])
def test_higgs_without_its_file_says_where_to_get_and_put_it(home, name):
    place = home / "data" / "higgs" / "HIGGS.csv.gz"
    with pytest.raises(UserError, match=rf"{name} needs the file HIGGS.csv.gz.*uci.edu.*put it at {place}"):
        ADAPTER.load(RunSpec(dataset=name))


def test_diamonds_without_its_library_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    with pytest.raises(UserError, match=r"plotnine, which is not installed.*\[tabular\]"):
        LOADERS["diamonds"]()


# Your own table


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet", "t.tsv"])
def test_a_table_is_read_by_its_ending(tmp_path, name):
    table = frame(b=np.resize(["u", None, "w w"], 40))
    path = write(tmp_path, name, table)
    if name == "t.tsv":
        table.to_csv(path, index=False, sep="\t")
    d = ADAPTER.load(RunSpec(data=path, target="y"))
    assert (d.name, len(d.train), len(d.test), d.classes) == (Path(name).stem, 32, 8, ("no", "yes"))
    assert d.meta == {"numeric": ["a"], "categorical": {"b": ["u", "w w"]}}
    assert "8 of 40 rows are held out, drawn by seed 0" in d.notes[0]
    assert ADAPTER.load(RunSpec(data=path, target="y", seed=1)).fingerprint != d.fingerprint


def test_a_semicolon_table_is_read(tmp_path):
    frame().to_csv(tmp_path / "t.csv", index=False, sep=";")
    assert ADAPTER.load(RunSpec(data=str(tmp_path / "t.csv"), target="y")).meta["numeric"] == ["a"]


def test_a_test_file_may_order_its_columns_differently_and_hold_new_categories(tmp_path):
    test = frame(10, b=["7"] * 10)[["y", "b", "a"]]
    d = load(tmp_path, frame(), test)
    assert (len(d.train), len(d.test)) == (40, 10)
    assert d.meta["categorical"] == {"b": ["u", "v", "7"]}
    np.testing.assert_allclose(d.test.x[0][:, 0], test.a, rtol=1e-6)


def test_dates_become_days_booleans_categories_and_question_marks_missing(tmp_path):
    table = frame(when=pd.date_range("2000-01-02", periods=40), flag=np.resize([True, False, True], 40))
    d = ADAPTER.load(RunSpec(data=write(tmp_path, "t.parquet", table), target="flag"))
    assert d.meta["numeric"] == ["a", "when"]
    assert d.classes == ("False", "True")
    assert sorted([*d.train.x[0][:, 1], *d.test.x[0][:, 1]]) == list(range(1, 41))
    d = load(tmp_path, frame(a=np.resize(["1.5", "?", "2"], 40)))
    assert d.meta["numeric"] == ["a"]
    assert np.isnan(d.train.x[0]).any()


def test_nullable_columns_of_parquet_are_numbers_with_gaps(tmp_path):
    table = frame(
        k=pd.array(np.resize([1, None, 3], 40), dtype="Int64"), f=pd.array(np.resize([True, None], 40), dtype="boolean")
    )
    d = ADAPTER.load(RunSpec(data=write(tmp_path, "t.parquet", table), target="y"))
    assert d.meta["numeric"] == ["a", "k"]
    assert d.meta["categorical"]["f"] == ["True"]
    assert np.isnan(d.train.x[0][:, 1]).any()


def test_parquet_in_parts_is_the_table_that_pandas_reads_at_once(tmp_path):
    draw = np.random.default_rng(0)
    wide = {f"x{i}": draw.normal(size=50).astype(np.float32) for i in range(37)}
    kinds = {
        "gaps": pd.array([1, None] * 25, dtype="Int64"),
        "day": pd.date_range("2020", periods=50),
        "shade": pd.Categorical(["dark", None] * 25),
        "x.y": list(range(50)),
    }
    given = pd.DataFrame({**kinds, **wide, "text": ["a", None] * 25}, index=pd.Index(range(100, 150), name="row"))
    path = Path(write(tmp_path, "t.parquet", given))
    pd.testing.assert_frame_equal(files.read(path), pd.read_parquet(path).reset_index(drop=True))


def test_parts_of_a_frame_make_the_same_data_set_as_copies_of_their_rows():
    whole = frame(60, n=pd.array([None, 5, 7] * 20, dtype="Int64"), day=pd.date_range("2020", periods=60))
    rows = np.array([3, 1, *range(10, 60)]), np.array([0, 2, 4, 5, 6, 7, 8, 9])
    lazy, copied = (
        from_frames("t", *(kind(r) for r in rows), "y") for kind in (lambda r: Part(whole, r), whole.iloc.__getitem__)
    )
    assert lazy.fingerprint == copied.fingerprint
    assert lazy.meta == copied.meta


@pytest.mark.parametrize("columns", [0, 1, 16, 35])
def test_numbers_of_any_count_of_columns_stand_where_they_belong(columns):
    x = np.random.default_rng(0).normal(size=(7, columns)).astype(np.float32)
    np.testing.assert_array_equal(numbers(pd.DataFrame(x), list(range(columns))), x)


def test_identifiers_and_row_numbers_are_dropped_and_said(tmp_path):
    table = frame(name=[f"row {i}" for i in range(40)])
    table.to_csv(tmp_path / "t.csv")
    d = ADAPTER.load(RunSpec(data=str(tmp_path / "t.csv"), target="y"))
    assert d.meta["numeric"] == ["a"]
    assert list(d.meta["categorical"]) == ["b"]
    assert "it only counts rows" in d.notes[0]
    assert "never repeats in the training rows: 'name'" in d.notes[-1]


@pytest.mark.parametrize(
    ("values", "classes"),
    [([0, 1], ("0", "1")), ([10, 9, 8], ("8", "9", "10")), ([0.5, 1.5], ("0.5", "1.5")), ([2.0, 1.0], ("1", "2"))],
    ids=["integers", "sorted as numbers", "few fractions", "whole floats"],
)
def test_a_target_of_few_numbers_holds_classes(tmp_path, values, classes):
    assert load(tmp_path, frame(y=np.resize(values, 40))).classes == classes


BAD = {
    "fractions": (
        frame(y=np.linspace(0, 1, 40)),
        r"'y' is a number with 40 different values in 40 rows. That looks like regression",
    ),
    "many whole numbers": (frame(400, y=np.arange(400) % 150), r"number with 150 different values.*looks like regression"),
    "identifier as target": (
        frame(y=[f"c{i}" for i in range(40)]),
        r"40 different values in 40 rows. That looks like an identifier",
    ),
    "rows without target": (frame(y=np.resize(["no", "yes", None, "yes"], 40)), r"10 rows have no value in the target 'y'"),
    "infinite": (frame(a=np.resize([1.0, np.inf, 2.0, -np.inf], 40)), r"column 'a' has 20 infinite cells"),
    "one class": (frame(y="same"), r"1 class among the training rows; at least 2 are needed"),
    "one column": (frame()[["y"]], r"has no column beside the target 'y'"),
    "too few rows": (frame(2), r"of 2 rows, a fifth of each class leaves 0 to test on.*--test"),
    "misspelt target": (frame().rename(columns={"y": "yy"}), r"unknown column 'y'.*Did you mean 'yy'\?"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_table_that_cannot_be_used_says_why(tmp_path, case):
    table, message = BAD[case]
    with pytest.raises(UserError, match=message):
        load(tmp_path, table)


def test_every_infinite_column_is_named_at_once(tmp_path):
    with pytest.raises(UserError) as caught:
        load(tmp_path, frame(a=np.inf, c=np.resize([1e300, 1], 40)))
    assert "'a' has 40" in str(caught.value)
    assert "'c' has 20" in str(caught.value)


TEST_BAD = {
    "lacks a column": (frame(10).drop(columns="b"), r"test.csv lacks 1 of the columns of .*train.csv: 'b'"),
    "has one more": (frame(10, z=1), r"test.csv has 1 more than .*train.csv: 'z'"),
    "text for numbers": (frame(10, a="x"), r"'a' holds numbers in the training rows, text in the test rows"),
    "no target value": (frame(10, y=None), r"10 rows have no value in the target"),
    "one row": (frame(1), r"1 test rows; at least 2 are needed"),
}


@pytest.mark.parametrize("case", TEST_BAD)
def test_a_test_table_that_does_not_fit_says_why(tmp_path, case):
    table, message = TEST_BAD[case]
    with pytest.raises(UserError, match=message):
        load(tmp_path, frame(), table)


def test_the_same_file_for_training_and_test_is_refused(tmp_path):
    path = write(tmp_path, "rows.csv", frame())
    with pytest.raises(UserError, match="name the same file"):
        ADAPTER.load(RunSpec(data=path, test=str(tmp_path / "." / "rows.csv"), target="y"))


def test_a_column_named_twice_is_refused_though_pandas_would_rename_it(tmp_path):
    (tmp_path / "twice.csv").write_text("a,b,a,y\n1,2,3,u\n4,5,6,v\n")
    with pytest.raises(UserError, match="column 'a' stands there more than once"):
        ADAPTER.load(RunSpec(data=str(tmp_path / "twice.csv"), target="y"))


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    files = {
        "empty.csv": (b"", "cannot be read as a table"),
        "header.csv": (b"a,b,y\n", "the table has 0 rows and 3 columns"),
        "bytes.csv": (b"\xff\xfe\x00\x81", "is not UTF-8 text \\(byte 0xff at 0\\)"),
        "ragged.csv": (b"a,y\n1,2\n1,2,3,4\n", "cannot be read as a table"),
        "not.csv.gz": (b"plain", "cannot be read as a table"),
        "not.parquet": (b"plain", "cannot be read as a table"),
        "table.xlsx": (b"PK", "do not know this kind of file"),
    }
    for name, (content, message) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message) as caught:
            ADAPTER.load(RunSpec(data=str(tmp_path / name), target="y"))
        assert name in str(caught.value)
    for path, message in ((tmp_path / "gone.csv", "there is no such file"), (tmp_path, "do not know this kind of file")):
        with pytest.raises(UserError, match=message):
            ADAPTER.load(RunSpec(data=str(path), target="y"))


def test_a_table_without_a_named_target_lists_its_columns(tmp_path):
    with pytest.raises(UserError, match=r"Name it with --target; the columns are: a, b, y\."):
        load(tmp_path, frame(), target=None)


def test_cells_that_hold_lists_are_refused(tmp_path):
    path = write(tmp_path, "t.parquet", frame(tags=[[1, 2]] * 40))
    with pytest.raises(UserError, match=r"'tags' holds .* values; a cell must be a number or text"):
        ADAPTER.load(RunSpec(data=path, target="y"))


def test_an_unknown_data_set_names_the_nearest():
    with pytest.raises(UserError, match=r"unknown data set 'leter'.*Did you mean 'letter'\?"):
        ADAPTER.load(RunSpec(dataset="leter"))


def test_fingerprints_differ_between_data_sets():
    prints = [ADAPTER.load(RunSpec(dataset=n)).fingerprint for n in ("toy", "wine", "breast_cancer")]
    assert all(a != b for a, b in itertools.combinations(prints, 2))
