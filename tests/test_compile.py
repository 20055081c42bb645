"""Training by torch.compile: it computes what training without it does, and where it does not work nothing fails."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import RunSpec, experiment, perf
from bench.adapter import Encoder
from bench.prepare import prepare
from bench.pretrain import network as untrained
from bench.pretrain import trainable
from bench.train import fit

ALONE = {"dataset": "toy", "method": "npair", "budget": "smoke"}
ASKED = RunSpec(**ALONE, compile=True)


@pytest.fixture
def _does_not_compile(monkeypatch):
    monkeypatch.setattr(perf, "can_compile", lambda device: False)  # noqa: ARG005


def test_a_compiled_training_has_a_name_of_its_own_and_its_record_says_so():
    ready, eager = prepare(ASKED), prepare(ASKED.replace(compile=None))
    assert ready.spec.compile is True
    assert ready.plan.compile
    assert len({ready.run_id, eager.run_id}) == len({ready.pretrain_id, eager.pretrain_id}) == 2
    assert prepare(ASKED.replace(compile=False)).run_id == eager.run_id


@pytest.mark.parametrize("method", ["random", "raw", "classical"])
def test_what_does_not_train_is_not_compiled(method):
    ready = prepare(ASKED.replace(method=method))
    assert ready.spec.compile is None
    assert ready.run_id == prepare(ASKED.replace(method=method, compile=None)).run_id


@pytest.mark.usefixtures("_does_not_compile")
def test_where_nothing_can_be_compiled_the_run_says_so():
    """It keeps the name that was asked for, so that other machines find it and cells of a sweep do not depend on them."""
    assert "it needs a C++ compiler" in " ".join(experiment._eager(prepare(ASKED)))
    assert experiment._eager(prepare(ASKED.replace(method="raw"))) == []


@pytest.mark.usefixtures("_does_not_compile")
def test_where_nothing_can_be_compiled_losses_are_the_usual_ones():
    pytest.importorskip("torchvision")
    np.testing.assert_array_equal(losses("simclr", compiled=True), losses("simclr", compiled=False))


@pytest.mark.full
@pytest.mark.parametrize("name", ["simclr", "moco"])
def test_compiled_and_eager_training_agree_in_loss_to_rounding(name):
    pytest.importorskip("torchvision")
    if not perf.can_compile("cpu"):
        pytest.skip("torch.compile does not work here")
    eager, compiled = (losses(name, compiled=how) for how in (False, True))
    np.testing.assert_allclose(compiled, eager, rtol=5e-5)  # float32 rounds at 6e-8, and now and then a byte the other way
    assert not np.array_equal(compiled, eager)


def losses(name: str, *, compiled: bool) -> np.ndarray:
    """Of three steps of the small convolutional network on generated pictures, too small to carry differences on."""
    spec = RunSpec(modality="images", dataset="toy", method=name, views="simclr", budget="smoke", steps=3, base_lr=1e-4)
    ready = prepare(spec.replace(precision="fp32", compile=compiled))
    assert ready.plan.compile == compiled
    transform = ready.adapter.fit(ready.dataset.train.x, ready.dataset, ready.spec)
    method, loss = trainable(ready, untrained(ready, transform), transform)
    found = fit(method, loss, len(ready.rows.pretrain), ready.plan, after_step=method.after_step).losses
    assert all("forward" not in vars(part.body) for part in method.modules() if isinstance(part, Encoder))
    return found


@pytest.mark.full
def test_a_run_without_a_compiler_says_so_and_is_the_usual_one(tmp_path):
    line = [sys.executable, "-m", "bench", "run", "--dataset", "toy", "--method", "npair", "--budget", "smoke", "--alone"]
    there = {**os.environ, "CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    asked = [*line, "--records", str(tmp_path / "runs"), "--compile"]
    done = subprocess.run(asked, env=there, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == 0, done.stderr
    assert "it needs a C++ compiler" in done.stdout
    assert [file.stem for file in (tmp_path / "runs").glob("*.json")] == [prepare(ASKED).run_id]
