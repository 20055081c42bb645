"""prepare(): everything that a run's name depends on, before any work: resolved spec, data, cut, effective sizes, run id."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import catalog, perf
from bench.adapter import Adapter, Dataset, Encoder, Transform
from bench.data import Fold, Rows, cut, folds
from bench.errors import UserError
from bench.recipes import Effective, effective, resolve
from bench.seeds import seed_globally
from bench.spec import Method, RunSpec, digest, identity, parse_method, run_id
from bench.train import Plan


@dataclass(frozen=True)
class Prepared:
    """A run before its work: everything that its name depends on."""

    asked: RunSpec
    spec: RunSpec  # without holes: device, precision, steps and key momentum are those that run
    method: Method
    adapter: Adapter
    dataset: Dataset  # to learn from
    rows: Rows
    plan: Plan
    facts: Mapping[str, Any]
    run_id: str
    pretrain_id: str | None  # None where nothing is pretrained
    shared_id: str  # runs with equal ones differ in nothing but the protocol
    other: Dataset | None = None  # to score on, where `evaluate_on` names one

    @property
    def scored(self) -> Dataset:
        """The data set whose labelled rows fit the probe and whose test rows are scored."""
        return self.other or self.dataset

    @property
    def labels(self) -> np.ndarray:
        """The known labels, in the order of the labelled rows."""
        known: np.ndarray = self.scored.train.y[self.rows.labelled]
        return known

    @property
    def told(self) -> np.ndarray:
        """Labels of the rows that pretraining sees, for methods that are told them: -1 for those whose label is not known."""
        y, spec = self.dataset.train.y, self.spec
        known = len(cut(y, spec.pretrain_fraction, spec.label_fraction, spec.seed).labelled)
        labels: np.ndarray = y[self.rows.pretrain].copy()
        labels[known:] = -1  # the labelled rows are the first of those that pretraining sees
        return labels

    @property
    def folds(self) -> list[Fold]:
        """Validation inside the labelled rows, by whole groups where the data have groups."""
        groups = self.scored.train.groups
        return folds(self.labels, None if groups is None else groups[self.rows.labelled])

    @property
    def here(self) -> RunSpec:
        """`spec` for what may be compiled: without `compile` where that does not work."""
        works = self.spec.compile and perf.can_compile(self.spec.device)
        return self.spec.replace(compile=works or None)

    def encoder(self, transform: Transform) -> Encoder:
        """The untrained encoder of this run's seed; what is built next draws on the same generator."""
        seed_globally(self.spec.seed, "encoder")
        return self.adapter.encoder(self.spec, transform)


def prepare(asked: RunSpec) -> Prepared:
    """Resolve a spec, load and cut its data, and compute its run id. Trains nothing."""
    spec = resolve(asked)
    method = parse_method(spec.method)
    adapter: Adapter = catalog.find(catalog.MODALITIES, spec.modality)
    dataset = load_data(spec)
    _check_fingerprint(spec, dataset)
    other = None if spec.evaluate_on is None else adapter.transferred(dataset, _other(spec))
    rows = cut_rows(spec, dataset, other)
    needs = method.card["needs"]
    device = perf.pick_device(spec.device if "encoder" in needs else "cpu")
    precision = perf.pick_precision(spec.precision, device) if "encoder" in needs else "fp32"
    n_rows = len(rows.labelled) if method.is_control else len(rows.pretrain)
    limits = effective(spec, len(dataset.train), n_rows) if "training" in needs else Effective()
    compiled = spec.compile if "training" in needs else None
    spec = spec.replace(device=device.type, precision=precision, compile=compiled, **limits.filled())
    facts = {
        "dataset_fingerprint": dataset.fingerprint,
        "split_fingerprint": rows.fingerprint,
        "method_version": method.card["version"],
        "modality_version": catalog.card(catalog.MODALITIES, spec.modality)["version"],
        "world_size": 1,
        "effective_batch_size": limits.batch_size,
        "effective_queue_size": limits.queue_size,
        "evaluate_fingerprint": None if other is None else other.fingerprint,
    }
    pretrain_id = None
    if "training" in needs and not method.is_control:
        pretrain_id = digest(_shared(spec, facts, rows, labels="labels" in needs))[:16]
    plan = _plan(spec, limits.batch_size or 0, device)
    names = run_id(spec, facts), pretrain_id, digest(identity(spec, facts, ("protocol",)))[:16]
    return Prepared(asked, spec, method, adapter, dataset, rows, plan, facts, *names, other)


def cut_rows(spec: RunSpec, dataset: Dataset, other: Dataset | None) -> Rows:
    """The rows to learn from, and those with labels: of the same data set, or of the other one that is scored."""
    rows = cut(dataset.train.y, spec.pretrain_fraction, spec.label_fraction, spec.seed)
    if other is None:
        return rows
    return Rows(rows.pretrain, cut(other.train.y, spec.label_fraction, spec.label_fraction, spec.seed).labelled)


def _other(spec: RunSpec) -> Dataset:
    """The data set of `evaluate_on`, checked like the one of `dataset`."""
    other = RunSpec(modality=spec.modality, dataset=str(spec.evaluate_on), seed=spec.seed)
    dataset = load_data(other)
    _check_fingerprint(other, dataset)
    return dataset


def _shared(spec: RunSpec, facts: Mapping[str, Any], rows: Rows, *, labels: bool) -> dict[str, Any]:
    """What pretraining depends on: with labels also on which are known, else every label fraction shares it."""
    seen = rows.fingerprint if labels else rows.pretrain_fingerprint
    evaluation = ("protocol", "probe_on", "evaluate_on", "evaluate_fingerprint")
    others = (*evaluation, *(() if labels else ("label_fraction",)))
    return identity(spec, {**facts, "split_fingerprint": seen}, others)


def _check_fingerprint(spec: RunSpec, dataset: Dataset) -> None:
    """Refuse a catalogued data set that is not what the catalogue describes: its scores would not be comparable."""
    catalogued = catalog.card(catalog.MODALITIES, spec.modality)["datasets"].get(spec.dataset, {}) if spec.data is None else {}
    wanted = catalogued.get("fingerprint")
    if wanted is not None and not dataset.fingerprint.startswith(wanted):
        raise UserError(
            f"data set {spec.dataset!r} has changed: fingerprint {dataset.fingerprint[:16]}, the catalogue says {wanted}. "
            "Install the version of the library (or restore the file) that it came from; if the change is right, the data set "
            "needs a new name, since its scores cannot be compared with earlier ones."
        )


def load_data(spec: RunSpec) -> Dataset:
    """The data of a spec, loaded once for all specs that name the same. A seed matters where it draws the test rows."""
    names = ("modality", "dataset", "data", "test", "target", "text_column")
    seed = spec.seed if spec.data and not spec.test else 0
    what = RunSpec(**{name: getattr(spec, name) for name in names}, seed=seed)
    return _load(what, tuple(_stamp(path) for path in (spec.data, spec.test)))


def forget_data() -> None:
    """Free the data that `load_data` holds for the next spec."""
    _load.cache_clear()


def _stamp(path: str | None) -> tuple[int, int]:
    """Changes when a file, or a file of a folder, changes: (size, time of the latest change)."""
    if path is None or not Path(path).exists():
        return 0, 0
    stats = [p.stat() for p in (Path(path), *Path(path).rglob("*"))]
    return sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)


@lru_cache(maxsize=2)
def _load(what: RunSpec, stamps: tuple[tuple[int, int], ...]) -> Dataset:  # noqa: ARG001 - part of the cache's key
    adapter: Adapter = catalog.find(catalog.MODALITIES, what.modality)
    return adapter.load(what)


def _plan(spec: RunSpec, batch: int, device: torch.device) -> Plan:
    return Plan(
        steps=spec.steps or 0,
        batch_size=batch,
        lr=(spec.base_lr or 0.0) * batch / 256,
        weight_decay=spec.weight_decay or 0.0,
        sgd_momentum=spec.sgd_momentum or 0.0,
        warmup=spec.warmup or 0.0,
        seed=spec.seed,
        precision=spec.precision,
        device=device,
        compile=bool(spec.compile),
    )
