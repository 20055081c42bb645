"""The one loop: schedule, determinism, checkpoints, failure, and what may not reach it (labels, test rows)."""

import ctypes
import dataclasses
import math
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from small import fingerprint, method, network, noisy, plan, same, views
from torch import nn

from bench import RunSpec, catalog, experiment, perf, pretrain, train
from bench.adapter import take
from bench.data import batches
from bench.diagnose import complaint
from bench.home import home_at, load_tensors
from bench.mixing import Mixers, Mixture
from bench.outcome import Outcome, inputs
from bench.prepare import Prepared, prepare
from bench.seeds import number, seed_globally
from bench.train import Fitted, TrainingFailedError, contrastive_loss, embed, fit

ROWS = 24
CASES = {
    **dict.fromkeys(catalog.names(catalog.METHODS), Mixers()),
    "npair": Mixers(imix_alpha=1.0),
    "membank": Mixers(imix_alpha=1.0),
    "mocon": Mixers(imix_alpha=1.0, inputmix_aux=2, inputmix_floor=0.5),
}


class Interrupted(Exception):  # noqa: N818 - it stands for a signal, not for an error
    """What stops a training in these tests."""


def trained(name: str, checkpoint: Path | None = None, stop: int | None = None, **over) -> tuple[nn.Module, Fitted]:
    """Train a small method with batch norm on ROWS rows, stopped before step `stop` + 1 if given."""

    def watch(step: int, loss: float) -> None:  # noqa: ARG001 - the signature of every watch
        if step == stop:
            raise Interrupted

    made, short = method(name, norm=True), plan(**over)
    loss = contrastive_loss(made, views(ROWS)[0], noisy, CASES[name], short)
    return made, fit(made, loss, ROWS, short, after_step=made.after_step, watch=watch, checkpoint=checkpoint)


@pytest.fixture
def _checkpoint_at_every_step(monkeypatch):
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0.0)


# -- schedule -----------------------------------------------------------------------------------------------------------


def test_the_rate_rises_linearly_and_falls_as_half_a_cosine():
    long = plan(steps=100, warmup=0.1, lr=0.5)
    rates = [long.lr_at(s) for s in range(100)]
    assert rates[:10] == pytest.approx([0.05 * (s + 1) for s in range(10)])
    assert rates[10:] == pytest.approx([0.25 * (1 + math.cos(math.pi * s / 90)) for s in range(90)])
    assert max(rates) == rates[10] == 0.5
    assert 0 < rates[-1] < 0.001


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert plan(warmup=0.0, lr=0.5).lr_at(0) == 0.5


def test_the_optimiser_is_sgd_with_momentum_decay_and_the_rate_of_each_step():
    """Against the update written out: g ← ∇ + wd θ; v ← μ v + g; θ ← θ − lr v."""
    short, weight, speed = plan(steps=5, lr=0.1), torch.tensor([2.0, -1.0]), torch.zeros(2)
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(weight[None])
    fit(model, lambda rows, step: (model.weight**2).sum() * (step + 1), 8, short)  # noqa: ARG005
    for step in range(5):
        speed = 0.9 * speed + 2 * (step + 1) * weight + 1e-4 * weight
        weight = weight - short.lr_at(step) * speed
    torch.testing.assert_close(model.weight[0].detach(), weight)


def test_seeding_globally_is_seeding_torch():
    seed_globally(3, "dropout", 5)
    drawn = torch.rand(4)
    torch.manual_seed(number(3, "dropout", 5))
    assert torch.equal(drawn, torch.rand(4))


def test_the_loss_gets_the_rows_of_the_batches_of_its_seed():
    model, seen, short = nn.Linear(1, 1), [], plan(steps=7, seed=3)

    def loss(rows, step):
        seen.append((step, rows.tolist()))
        return model.weight.sum()

    fit(model, loss, ROWS, short)
    stream = batches(ROWS, 8, 3)
    assert seen == [(step, next(stream).tolist()) for step in range(7)]


# -- determinism and resume ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_two_equal_trainings_are_bitwise_equal_and_another_seed_is_not(name):
    (a, first), (b, second), (c, _) = trained(name), trained(name), trained(name, seed=1)
    assert np.array_equal(first.losses, second.losses)
    assert fingerprint(a) == fingerprint(b) != fingerprint(c)


@pytest.mark.usefixtures("_checkpoint_at_every_step")
@pytest.mark.parametrize("stops", [(2,), (11,), (5, 5, 9)])
@pytest.mark.parametrize("name", CASES)
def test_interrupted_and_resumed_is_never_interrupted(name, stops, tmp_path):
    whole, expected = trained(name)
    path = tmp_path / "some" / "checkpoint.safetensors"
    for stop in stops:
        with pytest.raises(Interrupted):
            trained(name, path, stop)
    assert load_tensors(path)[1]["step"] == stops[-1] - 1  # the checkpoint follows the watch
    torch.manual_seed(99)  # what ran in between cannot matter
    resumed, found = trained(name, path)
    assert np.array_equal(found.losses, expected.losses)
    assert fingerprint(resumed) == fingerprint(whole)


@pytest.mark.usefixtures("_checkpoint_at_every_step")
def test_dropout_is_drawn_anew_in_every_step_and_alike_after_a_resume(tmp_path):
    def dropped(checkpoint: Path | None = None, stop: int | None = None) -> np.ndarray:
        def watch(step: int, loss: float) -> None:  # noqa: ARG001 - the signature of every watch
            if step == stop:
                raise Interrupted

        model, short = nn.Sequential(nn.Dropout(0.5), nn.Linear(64, 1)), plan(lr=1e-9)
        nn.init.ones_(model[1].weight)
        nn.init.zeros_(model[1].bias)
        return fit(model, lambda rows, step: model(torch.ones(64)).sum(), 8, short, watch=watch, checkpoint=checkpoint).losses  # noqa: ARG005

    whole = dropped()
    assert len(set(whole.tolist())) > 3  # twice the number of 64 inputs that stay: a binomial draw in each of 12 steps
    with pytest.raises(Interrupted):
        dropped(tmp_path / "checkpoint.safetensors", 7)
    torch.manual_seed(99)
    assert np.array_equal(dropped(tmp_path / "checkpoint.safetensors"), whole)


@pytest.mark.usefixtures("_checkpoint_at_every_step")
def test_weights_that_lie_channels_last_are_resumed_alike(tmp_path):
    def convolved(checkpoint: Path | None = None, stop: int | None = None) -> nn.Module:
        def watch(step: int, loss: float) -> None:  # noqa: ARG001 - the signature of every watch
            if step == stop:
                raise Interrupted

        torch.manual_seed(0)
        model = nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last)
        x = torch.randn(8, 3, 5, 5)
        fit(model, lambda rows, step: model(x[rows]).square().mean(), 8, plan(), watch=watch, checkpoint=checkpoint)  # noqa: ARG005
        return model

    whole = convolved()
    with pytest.raises(Interrupted):
        convolved(tmp_path / "checkpoint.safetensors", 7)
    assert fingerprint(convolved(tmp_path / "checkpoint.safetensors")) == fingerprint(whole)


@pytest.mark.usefixtures("_checkpoint_at_every_step")
def test_resuming_does_not_repeat_finished_steps_and_adds_up_the_cost(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Interrupted):
        trained("npair", path, stop=8)
    spent = load_tensors(path)[1]["seconds"]
    made, short, seen = method("npair", norm=True), plan(), []
    inner = contrastive_loss(made, views(ROWS)[0], noisy, CASES["npair"], short)

    def loss(rows, step):
        seen.append(step)
        return inner(rows, step)

    fitted = fit(made, loss, ROWS, short, checkpoint=path)
    assert seen == list(range(7, 12))
    assert fitted.seconds >= spent > 0
    assert len(fitted.losses) == 12


def test_a_request_to_stop_is_heard_at_every_step_however_long_the_training(tmp_path, monkeypatch):
    """Progress of 10,000 steps is told every hundred."""
    monkeypatch.setattr(train, "STOP", threading.Event())
    path, made = tmp_path / "checkpoint.safetensors", nn.Linear(1, 1)

    def loss(rows, step):  # noqa: ARG001 - the signature of every loss
        if step == 4:
            train.STOP.set()
        return made(torch.ones(1)).sum()

    with pytest.raises(train.StoppedError):
        fit(made, loss, 8, plan(steps=10_000), checkpoint=path)
    assert load_tensors(path)[1]["step"] == 5


@pytest.mark.usefixtures("_checkpoint_at_every_step")
@pytest.mark.parametrize("damage", ["cut off", "one byte", "empty", "not tensors"])
def test_a_damaged_checkpoint_is_set_aside_and_training_starts_again(damage, tmp_path, capsys):
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Interrupted):
        trained("npair", path, stop=6)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes({"cut off": content[:-9], "one byte": content, "empty": b"", "not tensors": b"{}" * 50}[damage])
    _, found = trained("npair", path)
    assert np.array_equal(found.losses, trained("npair")[1].losses)
    assert (tmp_path / "checkpoint.damaged").exists()
    assert "checkpoint.safetensors is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_training_with_a_reason(value):
    model = nn.Linear(1, 1)

    def loss(rows, step):  # noqa: ARG001 - the signature of every loss
        return model.weight.sum() * (value if step == 4 else 1.0)

    with pytest.raises(TrainingFailedError, match=r"loss is (nan|-?inf) after 5 steps at learning rate 0\.05; try a smaller"):
        fit(model, loss, ROWS, plan())


def test_watch_hears_every_step_of_a_short_training():
    made, short, heard = method("npair"), plan(), []
    fitted = fit(
        made,
        contrastive_loss(made, views(ROWS)[0], noisy, Mixers(), short),
        ROWS,
        short,
        watch=lambda step, loss: heard.append((step, loss)),
    )
    assert [step for step, _ in heard] == list(range(1, short.steps + 1))
    assert fitted.steps == len(fitted.losses) == short.steps
    assert [loss for _, loss in heard] == pytest.approx(fitted.losses.tolist())


def test_operations_are_counted_for_one_example_of_a_tensor_or_of_a_batch():
    class Second(nn.Conv2d):
        def forward(self, x):
            return super().forward(x[1])

    shape = {"in_channels": 3, "out_channels": 8, "kernel_size": 3, "padding": 1}
    pictures = torch.zeros(5, 3, 4, 4)
    products = 2 * 3 * 9 * 8 * 16  # a multiplication and an addition for every weight and place
    assert perf.forward_flops(nn.Conv2d(**shape), pictures) == products
    assert perf.forward_flops(Second(**shape), (torch.zeros(5), pictures)) == products


def test_embedding_in_pieces_is_embedding_at_once_and_changes_no_statistic():
    made, x = method("npair", norm=True), views(ROWS)[0]
    before = fingerprint(made)
    pieces, whole = (embed(made.net.encoder, x, plan(), chunk=c) for c in (5, 4096))
    torch.testing.assert_close(pieces, whole)
    assert fingerprint(made) == before
    assert whole.dtype == torch.float32


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="glibc alone gives memory back so")
def test_memory_that_is_freed_stays_during_a_training_and_goes_back_after():
    with perf.kept_memory():
        before = perf.resident_mb(os.getpid())
        torch.ones(2**26)  # 256 MiB, freed at once
        inside = perf.resident_mb(os.getpid())
    assert inside - before > 200
    assert inside - perf.resident_mb(os.getpid()) > 200


# -- what may not reach pretraining -------------------------------------------------------------------------------------


def ready(**over) -> Prepared:
    usual = {"dataset": "toy", "method": "npair+imix", "budget": "smoke", "precision": "fp32", "device": "cpu"}
    return prepare(RunSpec(**{**usual, **over}))


def work(run: Prepared, home: Path) -> Outcome:
    with home_at(home), perf.threads(1):
        return experiment._work(run, experiment._silent)


def changed(run: Prepared, split: str, **parts) -> Prepared:
    """The same prepared run, whose cut is made, with other labels or rows in one split."""
    other = dataclasses.replace(getattr(run.dataset, split), **parts)
    return dataclasses.replace(run, dataset=dataclasses.replace(run.dataset, **{split: other}))


NEEDS = {name: catalog.card(catalog.METHODS, name)["needs"] for name in catalog.names(catalog.METHODS)}
WITH_LABELS = [name for name, needs in NEEDS.items() if "labels" in needs]


def test_the_methods_that_are_told_labels_are_these_and_no_others():
    assert WITH_LABELS == ["mochi_oracle", "supcon"]


@pytest.mark.parametrize("name", ["npair+imix", "moco+inputmix", *sorted(NEEDS.keys() - set(WITH_LABELS))])
def test_labels_shuffled_after_the_cut_leave_pretraining_bit_identical(name, tmp_path):
    run = ready(method=name, label_fraction=0.5, steps=4)
    shuffled = np.random.default_rng(0).permutation(run.dataset.train.y)
    a, b = (work(r, tmp_path / h) for h, r in (("a", run), ("b", changed(run, "train", y=shuffled))))
    assert a.facts["encoder_hash"] == b.facts["encoder_hash"]
    assert torch.equal(a.sides["losses"], b.sides["losses"])
    assert not np.array_equal(a.prediction.proba, b.prediction.proba)  # the probe did see other labels


@pytest.mark.parametrize("name", WITH_LABELS)
def test_a_method_with_labels_sees_those_of_the_labelled_rows_and_no_others(name, tmp_path):
    run = ready(method=name, label_fraction=0.5, steps=4)
    y, known = run.dataset.train.y, run.rows.labelled
    unknown = np.setdiff1d(np.arange(len(y)), known)
    others, own = y.copy(), y.copy()
    others[unknown] = np.roll(y[unknown], 7)
    own[known] = np.roll(y[known], 7)
    cases = {"a": run, "b": changed(run, "train", y=others), "c": changed(run, "train", y=own)}
    a, b, c = (work(r, tmp_path / h).facts["encoder_hash"] for h, r in cases.items())
    assert a == b != c


@pytest.mark.parametrize("name", WITH_LABELS)
def test_a_method_with_labels_pretrains_anew_for_every_label_fraction_and_is_ranked_with_no_other(name):
    assert ready(method=name).pretrain_id != ready(method=name, label_fraction=0.5).pretrain_id
    record = experiment.run(RunSpec(dataset="toy", method=name, budget="smoke", steps=3, device="cpu", label_fraction=0.5))
    assert (record.division, record.told) == ("labels", "120 labels")


def test_what_pretraining_was_told_and_why_a_run_is_not_ranked_stand_in_its_record():
    usual = {"dataset": "toy", "budget": "smoke", "steps": 3, "device": "cpu"}
    found = {name: experiment.run(RunSpec(method=name, **usual)) for name in ("cc", "directclr", "byol")}
    assert (found["cc"].division, found["cc"].told) == ("from scratch", "3 classes")
    assert found["directclr"].division == "not as published"
    assert "last block is residual" in found["directclr"].notes
    assert (found["byol"].division, found["byol"].told) == ("from scratch", None)


def test_the_probe_looks_at_h_or_at_z_of_one_pretraining(tmp_path, monkeypatch):
    h = work(ready(steps=4), tmp_path)
    monkeypatch.setattr(pretrain, "fit", None)  # a second training would fail
    z = work(ready(steps=4, probe_on="z"), tmp_path)
    assert z.facts["encoder_hash"] == h.facts["encoder_hash"]
    assert not np.array_equal(z.prediction.proba, h.prediction.proba)
    assert ready(steps=4, probe_on="h").run_id == ready(steps=4).run_id != ready(steps=4, probe_on="z").run_id


def test_the_method_hears_the_number_of_the_step():
    made, short, heard = method("moco"), plan(steps=5), []
    fit(
        made, contrastive_loss(made, views(ROWS)[0], noisy, Mixers(), short), ROWS, short,
        after_step=lambda: (heard.append(made.step), made.after_step()),
    )  # fmt: skip
    assert heard == [0, 1, 2, 3, 4]


def test_the_second_view_may_be_drawn_by_another_recipe():
    made, short, seen = method("npair"), plan(), []
    made.loss = lambda x_q, x_k, mixture, rows: seen.append((x_q, x_k))  # noqa: ARG005
    x = views(ROWS)[0]
    contrastive_loss(made, x, noisy, Mixers(), short, same)(torch.arange(4), 0)
    ((x_q, x_k),) = seen
    assert torch.equal(x_k[0], x[0][:4])
    assert not torch.equal(x_q[0], x[0][:4])


# -- collapse -----------------------------------------------------------------------------------------------------------

POINT, SPREAD = torch.ones(64, 8), torch.randn(64, 8, generator=torch.Generator().manual_seed(0))


def vigil(*seen: torch.Tensor, keep_going: bool = False, steps: int = 20) -> pretrain.Vigil:
    """What a vigil found that saw these embeddings, one at every tenth of 20 steps."""
    net = network()
    found = pretrain.Vigil(net, steps, keep_going=keep_going)
    for i, z in enumerate(seen):
        net.last = z
        for step in (2 * i + 1, 2 * i + 2):
            found(step)
    return found


def test_two_looks_in_a_row_at_one_point_end_a_training_and_one_does_not():
    assert vigil(POINT, SPREAD, POINT, SPREAD, SPREAD).found == ""
    with pytest.raises(TrainingFailedError, match=r"embedding has collapsed.* after 6 steps; --keep-going"):
        vigil(SPREAD, POINT, POINT, SPREAD)
    assert "after 6 steps" in vigil(SPREAD, POINT, POINT, SPREAD, SPREAD, keep_going=True).found


def test_a_batch_of_few_rows_and_a_z_of_one_dimension_tell_nothing():
    assert vigil(POINT[:7], POINT[:7], POINT[:7]).found == ""
    assert vigil(POINT[:, :1], POINT[:, :1], POINT[:, :1]).found == ""


@pytest.mark.usefixtures("_checkpoint_at_every_step")
def test_what_a_vigil_saw_before_a_stop_counts_after_it(tmp_path):
    def look(stop: int | None = None) -> str:
        made, short = method("npair"), plan()
        alarm = pretrain.Vigil(made.net, short.steps, keep_going=True)

        def watch(step: int, loss: float) -> None:  # noqa: ARG001
            made.net.last = POINT if step <= 4 else SPREAD  # at one point at the first two looks and never again
            alarm(step)
            if step == stop:
                raise Interrupted

        loss = contrastive_loss(made, views(ROWS)[0], noisy, Mixers(), short)
        checkpoint = tmp_path / "c" / "checkpoint.safetensors"
        fit(made, loss, ROWS, short, watch=watch, checkpoint=checkpoint, seen=alarm.seen)
        return alarm.found

    with pytest.raises(Interrupted):
        look(10)
    assert "embedding has collapsed" in look()


@pytest.mark.parametrize("name", ["moco", "byol"])
def test_a_vigil_sees_the_whole_batch_where_batch_norm_sees_parts_of_it(name):
    made = method(name, norm=True, bn_groups=6)
    made.loss(*views(12), Mixture(), torch.arange(12))
    assert made.net.last.shape == (12, 4)


def test_embeddings_on_one_line_count_as_collapsed_and_almost_equal_ones_do_too():
    line = torch.randn(64, 1) * torch.ones(1, 8)
    assert "RankMe 1 " in complaint(line)
    assert complaint(POINT + 1e-3 * SPREAD) is not None
    assert complaint(SPREAD) is None
    assert complaint(POINT + 0.5 * SPREAD) is None


def test_a_vigil_draws_nothing_and_changes_no_healthy_run(tmp_path, monkeypatch):
    watched = work(ready(), tmp_path / "a")
    monkeypatch.setattr(pretrain.Vigil, "__call__", lambda self, step: None)  # noqa: ARG005
    alone = work(ready(), tmp_path / "b")
    assert watched.facts["encoder_hash"] == alone.facts["encoder_hash"]


def test_a_collapsed_run_fails_with_its_reason_and_keeps_going_when_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "complaint", lambda z: f"the embedding has collapsed: {len(z)} rows at one point")
    with pytest.raises(TrainingFailedError, match="rows at one point after 6 steps"):
        work(ready(), tmp_path)
    going = work(ready(keep_going=True), tmp_path)
    assert "rows at one point" in going.facts["collapsed"]
    assert going.facts["division"] == "collapsed"  # so that it is ranked with no other
    with pytest.raises(TrainingFailedError, match="rows at one point"):  # from the cache, too
        work(ready(), tmp_path)
    assert ready().run_id == ready(keep_going=True).run_id


@pytest.mark.full
def test_alignment_alone_collapses_and_is_reported():
    with pytest.raises(TrainingFailedError, match="embedding has collapsed"):
        experiment.run(RunSpec(dataset="toy", method="alignment", budget="smoke", steps=300, device="cpu", precision="fp32"))


def test_another_training_row_changes_pretraining(tmp_path):
    """So that the equality of the test above means something."""
    run = ready()
    numeric, codes = run.dataset.train.x
    other = changed(run, "train", x=(numeric + np.eye(*numeric.shape, dtype=np.float32), codes))
    a, b = work(run, tmp_path / "a"), work(other, tmp_path / "b")
    assert a.facts["encoder_hash"] != b.facts["encoder_hash"]


def test_perturbed_test_rows_change_no_training_statistic(tmp_path):
    run = ready()
    numeric, codes = run.dataset.test.x
    other = changed(run, "test", x=(numeric * 100 + 7, np.zeros_like(codes)))
    rows = take(run.dataset.train.x, run.rows.pretrain)
    through = [r.adapter.fit(rows, r.dataset, r.spec)(rows) for r in (run, other)]
    assert all(torch.equal(a, b) for a, b in zip(*through, strict=True))
    a, b = work(run, tmp_path / "a"), work(other, tmp_path / "b")
    assert a.facts["encoder_hash"] == b.facts["encoder_hash"]
    assert a.prediction.chosen == b.prediction.chosen
    assert a.prediction.val_score == b.prediction.val_score
    assert not np.array_equal(a.prediction.proba, b.prediction.proba)


def test_statistics_are_fitted_on_the_cut_rows_only():
    run = ready(pretrain_fraction=0.5, label_fraction=0.25)
    x, _ = inputs(run).transform(take(run.dataset.train.x, run.rows.pretrain))
    continuous = x[:, [0, 2]]  # columns of toy without missing values
    torch.testing.assert_close(continuous.mean(dim=0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(continuous.std(dim=0, correction=0), torch.ones(2), atol=1e-5, rtol=0)


def test_one_pretraining_serves_every_label_fraction_and_protocol(tmp_path, monkeypatch):
    first = work(ready(), tmp_path)
    monkeypatch.setattr(pretrain, "fit", None)  # a second training would fail
    for over in ({"label_fraction": 0.2}, {"protocol": "knn@1"}):
        assert work(ready(**over), tmp_path).facts["encoder_hash"] == first.facts["encoder_hash"]
    with pytest.raises(TypeError):
        work(ready(seed=1), tmp_path)
