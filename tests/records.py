"""Valid records made of a few chosen values, for tests of what reads records."""

from typing import Any

from bench.record import FACTS, Record
from bench.spec import RunSpec, run_id

SPEC = {
    "modality": "tabular",
    "dataset": "letter",
    "method": "npair+imix",
    "budget": "small",
    "device": "cpu",
    "precision": "fp32",
}
ROW = {
    "status": "ok", "bench_version": "0.1.0", "dataset_fingerprint": "d" * 64, "split_fingerprint": "5" * 64,
    "n_train": 16000, "n_labels": 1600, "n_test": 4000, "n_classes": 26, "metric": "accuracy", "score": 0.8,
    "accuracy": 0.8, "balanced_accuracy": 0.8, "chance": 1 / 26, "majority": 0.04, "steps": 1000,
    "effective_batch_size": 512, "seconds": 30.0, "peak_memory_mb": 400.0,
    "device_name": "one core",
}  # fmt: skip


def make_record(**over: Any) -> Record:
    """A finished run, with some values replaced; its run id is the hash of what it says."""
    row = {**SPEC, **ROW, **over}
    if "score" in over and "accuracy" not in over:
        row["accuracy"] = over["score"]
    if row["status"] == "failed":
        row = {k: v for k, v in row.items() if k not in ("score", "accuracy", "balanced_accuracy", "seconds")}
    spec = RunSpec(**{k: v for k, v in row.items() if k in RunSpec.__dataclass_fields__})
    name = run_id(spec, {fact: row.get(fact, Record.__dataclass_fields__[fact].default) for fact in FACTS})
    return Record(**{"run_id": name, **row})
