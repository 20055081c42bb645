"""Every modality, also one of another package, does what an adapter promises. Run on its generated data set `toy`."""

import dataclasses
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import RunSpec, catalog, run
from bench.adapter import Adapter, Batch, Encoder, Transform, take
from bench.data import cut
from bench.errors import UserError
from bench.mixing import blend, draw_imix
from bench.prepare import Prepared, prepare
from bench.recipes import budgets, recipes, resolve
from bench.seeds import torch_rng

EXAMPLE = Path(__file__).with_name("example_modality")
NAMES = list(catalog.names(catalog.MODALITIES))
CPU = torch.device("cpu")


def toy(name: str, **over) -> RunSpec:
    return RunSpec(**{"modality": name, "dataset": "toy", "budget": "smoke", "device": "cpu", "precision": "fp32", **over})


@pytest.fixture(scope="module", params=NAMES)
def modality(request) -> str:
    for library in catalog.card(catalog.MODALITIES, request.param).get("libraries", ()):
        pytest.importorskip(library)
    return str(request.param)


@pytest.fixture
def card(modality) -> dict:
    return catalog.card(catalog.MODALITIES, modality)


@pytest.fixture
def ready(modality) -> Prepared:
    return prepare(toy(modality, views="agnostic"))


@pytest.fixture
def transform(ready) -> Transform:
    return ready.adapter.fit(take(ready.dataset.train.x, ready.rows.pretrain), ready.dataset, ready.spec)


@pytest.fixture
def batch(ready, transform) -> Batch:
    return transform(take(ready.dataset.train.x, ready.rows.pretrain[:12]))


def encoder(ready: Prepared, transform: Transform) -> Encoder:
    return ready.encoder(transform)


def same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(s, t) for s, t in zip(a, b, strict=True))


def test_a_card_says_what_a_reader_wants_to_know(card, modality):
    assert {"domain", "agnostic", "none"} <= card["views"].keys()
    assert card["views"]["none"]["settings"] == []
    assert card["datasets"][card["default"]]["embedded"]
    assert card["recipe"] in recipes(modality)
    assert {"smoke"} <= budgets(modality).keys()
    for about in card["datasets"].values():
        assert {"rows", "classes", "source", "licence", "cite", "embedded", "metric"} <= about.keys()
        assert about.get("recipe", card["recipe"]) in recipes(modality)


def test_every_view_and_budget_resolves_to_a_run_without_holes(card, modality):
    for views in card["views"]:
        for budget in budgets(modality):
            spec = resolve(toy(modality, views=views, budget=budget))
            assert spec.base_lr is not None


def test_toy_is_the_same_at_every_load_and_is_what_the_catalogue_says(card, ready):
    again = ready.adapter.load(ready.spec)
    assert again.fingerprint == ready.dataset.fingerprint
    assert again.fingerprint.startswith(card["datasets"]["toy"].get("fingerprint", ""))
    assert 100 <= len(again.train) <= 1000
    assert again.metric == card["datasets"]["toy"]["metric"]


def test_no_group_is_on_both_sides_of_the_split(ready):
    train, test = ready.dataset.train.groups, ready.dataset.test.groups
    assert (train is None) == (test is None)
    assert train is None or not set(train) & set(test)


def test_a_card_says_how_many_groups_the_test_rows_come_in(card, ready):
    groups = ready.dataset.test.groups
    assert [*card["datasets"]["toy"].get("test_groups", {}).values()] == ([] if groups is None else [len(set(groups))])


def test_preprocessing_gives_finite_tensors_with_one_first_axis(batch):
    assert all(isinstance(t, torch.Tensor) and len(t) == 12 for t in batch)
    assert all(t.isfinite().all() for t in batch)


def test_preprocessing_depends_on_the_rows_it_is_fitted_on_and_on_no_others(ready):
    """Everything else of the data set replaced: its two splits change places."""
    data, few = ready.dataset, cut(ready.dataset.train.y, 0.3, 0.3, 0).pretrain
    x, other = take(data.train.x, few), dataclasses.replace(data, train=data.test, test=data.train)
    fitted, again = (ready.adapter.fit(x, d, ready.spec) for d in (data, other))
    assert same(fitted(x), again(x))


def test_rows_are_preprocessed_one_by_one(transform, ready, batch):
    alone = [transform(take(ready.dataset.train.x, ready.rows.pretrain[i : i + 1])) for i in range(3)]
    for i, row in enumerate(alone):
        for a, b in zip(row, batch, strict=True):
            torch.testing.assert_close(a[0], b[i], rtol=1e-5, atol=1e-5)


def test_a_view_keeps_shapes_and_dtypes_and_is_made_by_its_generator(card, modality):
    for name in card["views"]:
        own = prepare(toy(modality, views=name))
        transform = own.adapter.fit(take(own.dataset.train.x, own.rows.pretrain), own.dataset, own.spec)
        batch = transform(take(own.dataset.train.x, own.rows.pretrain[:16]))
        before = tuple(t.clone() for t in batch)
        view = own.adapter.view(own.spec, transform)
        first, again, other = (view(batch, torch_rng(CPU, seed, "test")) for seed in (0, 0, 1))
        assert same(batch, before), f"{name} writes into its input"
        assert [(t.shape, t.dtype) for t in first] == [(t.shape, t.dtype) for t in batch], name
        assert all(t.isfinite().all() for t in first), name
        assert same(first, again), name
        if name == "none":
            assert same(first, batch)
        elif name != "dropout":  # its luck is in the encoder
            assert not same(first, other), name


def test_each_example_of_a_batch_has_a_view_of_its_own(ready, transform, batch):
    twice = tuple(t[:1].expand(16, *t.shape[1:]).contiguous() for t in batch)
    seen = ready.adapter.view(ready.spec, transform)(twice, torch_rng(CPU, 0, "test"))
    assert any(not torch.equal(t[0], t[i]) for t in seen for i in range(1, 16))


def test_an_encoder_says_its_width_and_repeats_with_its_seed(ready, transform, batch):
    made, again = encoder(ready, transform).eval(), encoder(ready, transform).eval()
    h = made(batch)
    assert h.shape == (12, made.dim)
    assert h.isfinite().all()
    assert torch.equal(h, again(batch))


def test_what_the_stem_gives_can_be_mixed(ready, transform, batch):
    made = encoder(ready, transform).eval()
    s = made.stem(batch)
    assert s.is_floating_point()
    assert len(s) == 12
    mixed = made.body(blend(s, *draw_imix(12, 1.0, np.random.default_rng(0))))
    assert mixed.shape == (12, made.dim)
    assert mixed.isfinite().all()


def test_features_of_a_row_do_not_depend_on_its_neighbours(ready, transform, batch):
    made = encoder(ready, transform).eval()
    together, alone = made(batch), torch.cat([made(tuple(t[i : i + 1] for t in batch)) for i in range(12)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_raw_features_are_a_finite_table(ready, transform, batch):
    raw = ready.adapter.raw(batch, transform)
    assert raw.dtype == np.float32
    assert (raw.ndim, len(raw)) == (2, 12)
    assert np.isfinite(raw).all()


def test_the_classical_models_learn_the_toy(ready):
    data, adapter = ready.dataset, ready.adapter
    x, x_test = (adapter.classical_input(s.x, data) for s in (data.train, data.test))
    models = adapter.classical(data)
    assert len({str(m.get_params()) for m in models}) == len(models)
    majority = np.bincount(data.test.y).max() / len(data.test)
    assert max(m.fit(x, data.train.y).score(x_test, data.test.y) for m in models) > majority


def test_a_sheet_shows_every_row(ready, transform, batch):
    shown = ready.adapter.sheet(batch, transform)
    assert len(shown) == 12
    if isinstance(shown, list):
        assert all(isinstance(line, str) and "\n" not in line for line in shown)
    else:
        assert shown.dtype == np.uint8
        assert shown.ndim in (3, 4)


@pytest.mark.full
@pytest.mark.parametrize("method", ["npair+imix+inputmix", "mocon+imix", "supervised+mixup", "raw", "classical", "random"])
def test_every_kind_of_method_runs(modality, method):
    record = run(toy(modality, method=method))
    assert record.status == "ok"
    assert record.encoder_hash == record.encoder_hash_after
    assert 0 <= record.score <= 1


@pytest.mark.full
def test_every_view_trains(modality, card):
    for views in card["views"]:
        record = run(toy(modality, method="npair+imix", views=views, steps=4))
        assert record.last_loss is not None, views


@pytest.mark.full
def test_cutmix_runs_where_inputs_lie_on_a_grid(modality, card):
    if not card.get("grid"):
        pytest.skip("no grid")
    record = run(toy(modality, method="npair+cutmix"))
    assert record.status == "ok"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder on the path with the example package as an installer leaves it."""
    folder = tmp_path_factory.mktemp("example")
    for file in EXAMPLE.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    build = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", build, str(folder)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    zipfile.ZipFile(next(folder.glob("*.whl"))).extractall(folder / "site")
    return folder / "site"


def bench(site: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), str(Path(__file__).parents[1])])
    surroundings = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([sys.executable, "-m", "bench", *words], cwd=folder, env=surroundings, capture_output=True, text=True)


@pytest.mark.full
def test_a_modality_of_another_package_is_listed_and_runs(installed, tmp_path):
    listed = bench(installed, tmp_path, "list", "modalities")
    assert "modality waves: Waves of three shapes" in listed.stdout
    done = bench(installed, tmp_path, "run", "--modality", "waves", "--method", "imix", "--budget", "smoke")
    assert done.returncode == 0, done.stderr
    assert "waves/toy: 240 labelled of 240 training rows" in done.stdout
    assert all(name in done.stdout for name in ("npair+imix", "supervised+mixup", "classical", "random", "raw"))
    shown = bench(installed, tmp_path, "views", "--modality", "waves", "--budget", "smoke", "--rows", "2")
    assert len(shown.stdout.splitlines()) == 18


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    card = {**catalog.card(catalog.MODALITIES, "tabular"), "libraries": ["no_such_library"], "extra": "tables"}
    monkeypatch.setattr(catalog, "card", lambda *_: card)
    with pytest.raises(UserError, match=r"needs the library 'no_such_library'.*pip install -e '.\[tables\]'"):
        catalog.find(catalog.MODALITIES, "tabular")


def test_every_plug_in_of_ours_is_tested():
    folder = Path(__file__).parents[1] / "modalities"
    ours = {p.stem for p in folder.iterdir() if (p.is_dir() and (p / "__init__.py").exists()) or p.suffix == ".py"}
    assert ours - {"__init__"} <= set(NAMES)
    assert all(isinstance(catalog.find(catalog.MODALITIES, n), Adapter) for n in ("tabular",))
