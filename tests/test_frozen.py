"""Using what was learnt: a run's encoder on other rows, frozen, from the cache or trained again, never from a pickle."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open

import bench
from bench import RunSpec, run
from bench.cli import main
from bench.errors import UserError
from bench.frozen import load
from bench.home import clean
from bench.kept import KEPT
from bench.prepare import prepare
from bench.pretrain import cache_path, module_hash
from bench.store import Store

TOY = {"dataset": "toy", "budget": "smoke", "precision": "fp32", "device": "cpu"}


@pytest.fixture
def record(tmp_path):
    KEPT.clear()
    return run(RunSpec(method="npair", **TOY), store=Store(tmp_path / "runs"))


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def mine(tmp_path):
    """The test rows of `toy` as a file without the class, columns in another order, and one column more."""
    data = prepare(RunSpec(method="raw", **TOY)).dataset
    numeric, codes = data.test.x
    columns = {name: numeric[:, j] for j, name in enumerate(data.meta["numeric"])}
    for j, (name, words) in enumerate(data.meta["categorical"].items()):
        columns[name] = [None if c < 0 else words[c] for c in codes[:, j]]
    frame = pd.DataFrame({"more": range(len(codes)), **dict(reversed(columns.items()))})
    frame.to_csv(tmp_path / "mine.csv", index=False)
    return tmp_path / "mine.csv"


def embed(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["embed", *map(str, arguments)])
    return ended.value.code


def test_a_file_of_rows_becomes_their_features(record, runs, mine, tmp_path, capsys):
    out = tmp_path / "embeddings.parquet"
    assert embed(record.run_id, "--records", runs, "--data", mine, "--out", out) == 0
    assert "60 rows of" in capsys.readouterr().out
    table = pd.read_parquet(out)
    frozen = load(record.run_id, runs)
    expected = frozen.embed(prepare(record.spec).dataset.test.x)
    assert list(table.columns) == [f"h{i}" for i in range(frozen.dim)]
    np.testing.assert_allclose(table.to_numpy(), expected, rtol=1e-5, atol=1e-6)  # a CSV writes decimal digits
    from pyarrow import parquet

    about = json.loads(parquet.read_schema(out).metadata[b"bench"])
    assert about["run_id"] == record.run_id
    assert about["encoder_hash"] == record.encoder_hash
    assert about["trained_by_bench"] == bench.__version__


def test_the_loaded_module_is_the_runs_encoder_and_stays_frozen(record, runs):
    frozen = bench.load(record.run_id[:8], runs)
    assert frozen.notes == ()
    assert module_hash(frozen.encoder) == record.encoder_hash
    assert not any(p.requires_grad for p in frozen.parameters())
    frozen.train()
    assert not any(m.training for m in frozen.modules())
    x = frozen.transform(prepare(record.spec).dataset.test.x)
    h = frozen(x)
    assert (h.shape, h.requires_grad) == ((60, frozen.dim), False)
    torch.testing.assert_close(h, torch.from_numpy(frozen.embed(prepare(record.spec).dataset.test.x)))


def test_an_encoder_file_is_tensors_and_json_that_names_the_version(record):
    with safe_open(cache_path(record.pretrain_id), framework="pt") as file:
        facts = json.loads(file.metadata()["facts"])
        assert all(isinstance(file.get_tensor(name), torch.Tensor) for name in file.keys())  # noqa: SIM118 - not a dict
    assert facts["made_by"] == {"bench": bench.__version__, "torch": torch.__version__, "pretrain_id": record.pretrain_id}


def test_an_emptied_cache_is_filled_again_with_the_same_weights(record, runs):
    clean()
    frozen = load(record.run_id, runs)
    assert frozen.notes == ("its training was repeated, since the encoder is not in the cache",)
    assert module_hash(frozen.encoder) == record.encoder_hash


def test_weights_that_are_not_those_of_the_record_are_told(record, runs):
    path = runs / f"{record.run_id}.json"
    path.write_text(path.read_text().replace(record.encoder_hash, "0" * 64))
    assert "round differently" in load(record.run_id, runs).notes[0]


@pytest.mark.parametrize("method", ["random", "supervised"])
def test_controls_that_have_an_encoder_can_be_loaded(method, runs):
    record = run(RunSpec(method=method, **TOY), store=Store(runs))
    assert load(record.run_id, runs).dim > 0


@pytest.mark.parametrize("method", ["raw", "classical"])
def test_controls_without_an_encoder_are_refused(method, runs):
    record = run(RunSpec(method=method, **TOY), store=Store(runs))
    with pytest.raises(UserError, match="has no encoder"):
        load(record.run_id, runs)


def test_data_or_code_that_moved_since_are_refused_with_what_moved(record, runs, monkeypatch):
    from bench import catalog

    card = {**catalog.card(catalog.METHODS, "npair"), "version": 99}
    real = catalog.card
    monkeypatch.setattr(catalog, "card", lambda package, name: card if name == "npair" else real(package, name))
    with pytest.raises(UserError, match="method_version was 1, is 99"):
        load(record.run_id, runs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop(columns=frame.columns[-1]), "lacks the column"),
        (lambda frame: frame.assign(**{frame.columns[-1]: "text"}), "holds text where toy has numbers"),
        (lambda frame: frame.assign(**{frame.columns[-1]: np.inf}), "infinite"),
    ],
)
def test_a_file_whose_rows_cannot_be_rows_of_the_data_set_is_refused(change, said, record, runs, mine, tmp_path, capsys):
    change(pd.read_csv(mine)).to_csv(mine, index=False)
    assert embed(record.run_id, "--records", runs, "--data", mine, "--out", tmp_path / "e.parquet") == 2
    assert said in capsys.readouterr().err


def test_only_parquet_is_written(record, runs, mine, tmp_path, capsys):
    assert embed(record.run_id, "--records", runs, "--data", mine, "--out", tmp_path / "e.csv") == 2
    assert "must end in .parquet" in capsys.readouterr().err


def test_a_category_that_training_never_had_is_unknown_and_a_file_may_have_one_row(record, runs, mine):
    frame = pd.read_csv(mine).iloc[:1]
    name = next(iter(prepare(record.spec).dataset.meta["categorical"]))
    frame[name] = "never seen"
    frame.to_csv(mine, index=False)
    frozen = load(record.run_id, runs)
    assert frozen.read(mine).x[1][0, list(prepare(record.spec).dataset.meta["categorical"]).index(name)] == -1
    assert frozen.embed(frozen.read(mine).x).shape == (1, frozen.dim)
