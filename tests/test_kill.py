"""Killed at a random moment and started again equals never killed, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench import RunSpec
from bench.experiment import run
from bench.record import Record
from bench.store import Store

PROGRAM = """
import sys
import bench.train
from bench import RunSpec
from bench.experiment import run
from bench.store import Store
bench.train.CHECKPOINT_SECONDS = 0.05
run(RunSpec(dataset="toy", budget="smoke", method=sys.argv[1], steps=600, precision="fp32"), store=Store(sys.argv[2]))
"""
COSTS = ("seconds", "pretrain_seconds", "evaluate_seconds", "samples_per_s", "peak_memory_mb", "created", "departures")


@pytest.mark.full
@pytest.mark.parametrize("method", ["npair+imix", "moco"])
def test_a_run_killed_at_random_moments_and_continued_equals_one_that_was_not(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = 0
    luck = np.random.default_rng(0)
    environment = {**os.environ, "BENCH_HOME": str(tmp_path / "killed"), "OMP_NUM_THREADS": "1"}
    for _ in range(20):
        worker = subprocess.Popen([sys.executable, "-c", PROGRAM, method, str(tmp_path / "runs")], env=environment)
        checkpoints = tmp_path / "killed" / "checkpoints"
        before = stamp(checkpoints)
        while worker.poll() is None and stamp(checkpoints) == before and killed < 4:
            time.sleep(0.01)
        try:
            worker.wait(float(luck.uniform(0, 0.3)) if killed < 4 else 120)
        except subprocess.TimeoutExpired:
            worker.send_signal(signal.SIGKILL)
            killed += 1
        if worker.wait() == 0:
            break
    assert worker.returncode == 0
    assert killed >= 1
    (resumed,) = Store(tmp_path / "runs").records()

    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "whole"))
    spec = RunSpec(dataset="toy", budget="smoke", method=method, steps=600, precision="fp32")
    whole = run(spec, store=Store(tmp_path / "whole-runs"))
    assert science(resumed) == science(whole)
    arrays = [Store(tmp_path / place).side(whole.run_id) for place in ("runs", "whole-runs")]
    assert all(a is not None for a in arrays)
    assert np.array_equal(arrays[0]["losses"], arrays[1]["losses"])  # type: ignore[index]


def stamp(folder: Path) -> list[int]:
    """When the checkpoints were last written."""
    return sorted(p.stat().st_mtime_ns for p in folder.glob("*.safetensors")) if folder.is_dir() else []


def science(record: Record) -> dict[str, object]:
    """Everything but what was measured of the machine."""
    return {k: v for k, v in vars(record).items() if k not in COSTS and not k.startswith("_")}
