"""Controls: supervised training learns, its rate is chosen once, and nothing is chosen by the test split."""

import numpy as np
import pytest
import torch
from small import First, clouds, noisy, plan
from torch import nn

from bench import RunSpec, baseline, run
from bench.adapter import Encoder
from bench.baseline import RATES, Choice, Classifier, Supervised, _best, classical
from bench.data import folds
from bench.home import home, load_tensors
from bench.outcome import inputs
from bench.prepare import prepare
from bench.probe import scores
from bench.recipes import resolve
from bench.seeds import seed_globally
from bench.train import TrainingFailedError, fit


def control(n: int = 60, apart: float = 8.0, **over) -> Supervised:
    """Supervised training of a small network on three clouds."""
    x, y = clouds(n, apart=apart)

    def build() -> Classifier:
        seed_globally(0, "a small classifier")
        body = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU())
        return Classifier(Encoder(First(), body, 16), 3)

    usual = {"build": build, "x": (torch.from_numpy(x),), "y": y, "fold": folds(y)[0], "view": noisy, "n_classes": 3}
    return Supervised(**{**usual, "metric": "accuracy", **over})


LONG = plan(steps=60, batch_size=16, lr=0.1)


@pytest.mark.parametrize("mixup_alpha", [None, 1.0])
def test_supervised_training_separates_separable_classes(mixup_alpha):
    made = control(mixup_alpha=mixup_alpha)
    x_test, y_test = clouds(90, apart=8.0, seed=1)
    assert made.validated(LONG) == 1.0
    model, fitted = made.final(LONG)
    assert fitted.steps == LONG.steps
    proba = made.predict(model, (torch.from_numpy(x_test),), LONG)
    assert scores(proba, y_test)["accuracy"] == 1.0
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-5)


def test_mixup_softens_what_the_classifier_says():
    x_test = (torch.from_numpy(clouds(90, apart=8.0, seed=1)[0]),)
    plain, mixed = (control(mixup_alpha=alpha) for alpha in (None, 1.0))
    sure, soft = (made.predict(made.final(LONG)[0], x_test, LONG).max(axis=1).mean() for made in (plain, mixed))
    assert soft < sure


def test_validation_rows_do_not_train_while_a_length_is_chosen_and_do_in_the_end(monkeypatch):
    made, seen = control(), []
    inner = baseline.fit

    def spy(model, loss, n, short, **more):
        seen.append(n)
        return inner(model, loss, n, short, **more)

    monkeypatch.setattr(baseline, "fit", spy)
    made.validated(LONG)
    made.final(LONG)
    assert seen == [len(made.fold[0]), len(made.y)] == [48, 60]


def test_the_rate_and_the_length_with_the_best_validation_score_are_chosen_and_remembered(tmp_path, monkeypatch):
    tried = []

    def validated(self, used):  # noqa: ARG001 - it stands for a method
        tried.append((round(used.lr / LONG.lr, 3), used.steps))
        return 0.75 if used.steps < 60 and used.lr < LONG.lr else 0.5

    monkeypatch.setattr(Supervised, "validated", validated)
    choice = control().choose(LONG, tmp_path / "choices" / "x.safetensors")
    assert tried == [(rate, steps) for steps in (60, 18) for rate in RATES]
    assert choice == Choice(rate=0.3, steps=18, val_score=0.75)  # of equals the first: the longest, then the highest rate
    assert control().choose(LONG, tmp_path / "choices" / "x.safetensors") == choice
    assert len(tried) == 6  # read from the file the second time


def test_every_length_is_a_whole_schedule(monkeypatch):
    """Training that is cut off while its rate is high ends at a worse point than one that anneals."""
    seen = []

    def spy(model, loss, n, short, **more):
        seen.append((short.steps, short.lr_at(short.steps - 1)))
        return fit(model, loss, n, short, **more)

    monkeypatch.setattr(baseline, "fit", spy)
    control().choose_among(LONG, [(1.0, 60), (1.0, 15)])
    assert [steps for steps, _ in seen] == [60, 15]
    assert all(last < 0.02 * LONG.lr for _, last in seen)


def supervised(seed: int, **over) -> RunSpec:
    usual = {"dataset": "toy", "method": "supervised", "budget": "smoke", "precision": "fp32", "device": "cpu"}
    return RunSpec(**{**usual, "seed": seed, **over})


def test_every_seed_reads_what_was_chosen_at_seed_0(monkeypatch):
    chosen_for = []
    inner = Supervised.choose

    def spy(self, used, memory):
        if not memory.exists():
            chosen_for.append((used.seed, self.y.tolist()))
        return inner(self, used, memory)

    monkeypatch.setattr(Supervised, "choose", spy)
    later, first = run(supervised(2)), run(supervised(0))
    zero = prepare(supervised(0))
    assert chosen_for == [(0, zero.labels.tolist())]  # though seed 2 ran first, its rows had no part
    _, chosen = load_tensors(next((home() / "choices").glob("*.safetensors")))
    assert later.lr == first.lr == pytest.approx(chosen["rate"] * zero.plan.lr)
    assert later.chosen == first.chosen
    assert later.val_score != first.val_score  # of its own fold
    assert run(supervised(1)).lr == first.lr
    assert len(list((home() / "choices").glob("*.safetensors"))) == 1


def test_a_choice_belongs_to_its_fraction_and_its_views():
    for over in ({}, {"label_fraction": 0.5}, {"views": "none"}, {"method": "supervised+mixup"}):
        run(supervised(0, steps=3, **over))
    assert len(list((home() / "choices").glob("*.safetensors"))) == 4


def own_table(folder, seed) -> RunSpec:
    rows = "\n".join(f"{i % 7},{i * i % 11},{'xyz'[i % 3]}" for i in range(90))
    (folder / "rows.csv").write_text(f"one,two,y\n{rows}\n")
    return supervised(seed, dataset="", data=str(folder / "rows.csv"), target="y", steps=3)


def test_where_the_seed_draws_the_test_rows_each_seed_chooses_for_itself(tmp_path, monkeypatch):
    """Seed 0 would validate on rows that are test rows of another seed."""
    seen = []
    inner = Supervised.choose

    def spy(self, used, memory):
        seen.append(used.seed)
        return inner(self, used, memory)

    monkeypatch.setattr(Supervised, "choose", spy)
    records = [run(own_table(tmp_path, seed)) for seed in (0, 1)]
    assert seen == [0, 1]
    assert records[0].dataset_fingerprint != records[1].dataset_fingerprint


def test_test_rows_that_are_training_rows_are_told(tmp_path):
    spec = own_table(tmp_path, 0)
    (tmp_path / "test.csv").write_text("one,two,y\n0,0,x\n99,99,y\n")
    record = run(spec.replace(test=str(tmp_path / "test.csv"), method="raw", steps=None))
    assert "1 of 2 test rows are equal to a training row" in record.notes


def test_a_table_with_the_name_of_a_catalogued_set_gets_the_recipe_of_its_modality():
    assert resolve(RunSpec(data="covtype.csv", target="y", method="npair")).recipe == "imix-higgs"
    assert resolve(RunSpec(dataset="covtype", method="npair")).recipe == "imix-covtype"


def test_where_every_class_has_one_labelled_row_nothing_is_chosen():
    record = run(supervised(0, label_fraction=3 / 240, steps=3))
    assert (record.n_labels, record.val_score, record.chosen) == (3, None, "base_lr=0.125 steps=3")
    assert run(RunSpec(dataset="toy", method="raw", budget="smoke", label_fraction=3 / 240)).val_score is None


def test_a_damaged_choice_is_set_aside_and_made_again(tmp_path):
    path = tmp_path / "choices" / "x.safetensors"
    first = control().choose(LONG, path)
    path.write_bytes(path.read_bytes().replace(b"steps", b"st3ps"))
    assert control().choose(LONG, path) == first
    assert len(list(path.parent.glob("*.damaged"))) == 1


class Column:
    """A classifier that believes one column of its input."""

    def __init__(self, column: int) -> None:
        self.column = column

    def get_params(self) -> dict[str, int]:
        return {"column": self.column}

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:  # noqa: ARG002 - scikit-learn's signature
        self.classes_ = np.unique(y)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return (x[:, [self.column]] == self.classes_).astype(np.float32)


def test_classical_is_chosen_by_validation_though_another_candidate_is_best_on_test():
    y, y_test = np.arange(60) % 3, np.arange(30) % 3
    lying, lying_test = (y + 1) % 3, (y_test + 1) % 3
    x, x_test = np.column_stack([lying, y, lying]), np.column_stack([y_test, lying_test, y_test])
    found = classical([Column(0), Column(1), Column(2)], x, y, x_test, 3, folds(y), "accuracy")
    assert found.chosen == "column=1"
    assert found.val_score == 1.0
    assert scores(found.proba, y_test)["accuracy"] == 0.0


def test_classical_leaves_its_candidates_unfitted_and_names_a_single_one_by_its_class():
    y = np.arange(20) % 2
    candidate = Column(0)
    found = classical([candidate], y[:, None], y, y[:, None], 3, folds(y), "accuracy")
    assert not hasattr(candidate, "classes_")
    assert found.chosen == "Column"
    assert (found.proba[:, 2] == 0).all()  # a class without labelled rows


def test_random_is_the_untrained_encoder_of_the_contrastive_runs():
    """The same weights that pretraining starts from, at every seed."""
    for seed in (0, 1):
        usual = {"dataset": "toy", "budget": "smoke", "precision": "fp32", "device": "cpu", "seed": seed}
        untrained, pretrained = (prepare(RunSpec(method=m, **usual)) for m in ("random", "npair"))
        a, b = (r.encoder(inputs(r).transform).state_dict() for r in (untrained, pretrained))
        assert all(torch.equal(a[k], b[k]) for k in a)


def test_raw_sees_the_same_rows_and_no_encoder():
    record = run(RunSpec(dataset="toy", method="raw", budget="smoke", device="cpu", label_fraction=0.5))
    assert (record.n_labels, record.encoder_hash, record.parameters, record.steps) == (120, None, None, None)


def test_a_rate_that_diverges_is_not_chosen_and_where_all_do_the_run_fails():
    def attempt(rate: float) -> Choice:
        if rate > 1:
            raise TrainingFailedError(f"the loss is nan at {rate}")
        return Choice(rate, 9, rate / 2)

    assert _best((3.0, 1.0, 0.3), attempt) == Choice(1.0, 9, 0.5)
    with pytest.raises(TrainingFailedError, match="nan at 2"):
        _best((3.0, 2.0), attempt)
