"""Record: one flat row of scalars = the spec, its scores, and where they came from."""

from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from bench.spec import RunSpec, identity, parse_method

SCHEMA_VERSION = 1
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Version -> what makes a row of it one of the next version. A new optional field needs neither; a field that is renamed,
dropped or changes its meaning needs both. `tests/records_of/` holds rows of every version."""
FACTS = (  # outcome fields that belong to a run's identity, beside the science fields of the spec
    "dataset_fingerprint", "split_fingerprint", "method_version", "modality_version", "effective_batch_size",
    "effective_queue_size", "world_size", "evaluate_fingerprint",
)  # fmt: skip


Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Count = Annotated[int, Field(strict=True, ge=0)]
Cost = Annotated[float, Field(strict=True, ge=0)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Record(RunSpec):
    """One run. Scores are shares in [0, 1]; costs are CPU-seconds on a CPU, seconds on a GPU; sizes are MiB.

    The JSON Schema is `schema()`.

    The inherited fields are the request with every hole filled; fields named `effective_*` say what the rows allowed.
    """

    schema_version: Annotated[int, Field(strict=True, ge=1)] = SCHEMA_VERSION
    run_id: str
    status: Literal["ok", "failed"]
    reason: str | None = None
    bench_version: str
    asked: str | None = None  # the method as typed, where it runs under another name
    notes: str | None = None  # what loading and fitting had to say, one sentence each
    departures: str | None = None  # settings that differ from recipe and budget, name=value
    unlike_paper: str | None = None  # where the run differs from the recipe's paper, its length and encoder included
    method_version: int = 1
    modality_version: int = 1  # of its preprocessing, views, encoder and classical models
    division: str = "from scratch"

    dataset_fingerprint: str | None = None
    evaluate_fingerprint: str | None = None  # of the data set that was scored, where it is another one
    split_fingerprint: str | None = None  # of the rows this run saw and which of them had labels
    pretrain_id: str | None = None  # runs with equal pretrain_id share one pretrained encoder
    n_train: Count | None = None  # rows pretraining saw
    n_labels: Count | None = None  # rows with known labels
    n_test: Count | None = None
    n_classes: Count | None = None
    least_labels: Count | None = None  # labelled rows of the rarest class

    metric: str | None = None
    score: Share | None = None  # the metric on the test split, scored once
    val_score: Share | None = None  # the metric on validation rows, for the chosen strength
    accuracy: Share | None = None
    balanced_accuracy: Share | None = None
    log_loss: Cost | None = None
    nmi: Share | None = None  # cluster@1: normalised mutual information of clusters and classes
    ari: float | None = None  # cluster@1: adjusted Rand index
    test_low: Share | None = None  # 95 % bootstrap interval of the score over test rows, or over their groups (speakers)
    test_high: Share | None = None
    chance: Share | None = None  # 1 / classes
    majority: Share | None = None  # accuracy of always answering the commonest training class
    chosen: str | None = None  # what validation chose: probe strength, k, learning rate, model

    effective_batch_size: Count | None = None
    effective_queue_size: Count | None = None
    lr: float | None = None  # peak learning rate

    seconds: Cost | None = None  # CPU-seconds (wall-clock on a GPU) of training and evaluation; a shared pretraining in full
    pretrain_seconds: Cost | None = None
    evaluate_seconds: Cost | None = None
    samples_per_s: Cost | None = None  # wall-clock, in training; two views of one row are one example
    peak_memory_mb: Cost | None = None
    parameters: Count | None = None  # of the encoder
    forward_flops: Count | None = None  # of the encoder, per example
    device_name: str | None = None
    world_size: int = 1
    created: str | None = None  # UTC, ISO 8601
    torch_version: str | None = None

    first_loss: float | None = None
    last_loss: float | None = None
    collapsed: str | None = None  # why training would have ended, where it was told to keep going
    told: str | None = None  # what pretraining was told beside the rows: the class count, labels
    encoder_hash: str | None = None  # before probing
    encoder_hash_after: str | None = None  # frozen means equal
    std_mean: float | None = None  # of normalised z, over dimensions; 1/sqrt(d) is healthy, 0 is complete collapse
    std_min: float | None = None
    rank_h: float | None = None  # RankMe
    rank_z: float | None = None
    effective_rank_h: float | None = None  # of the centred features
    effective_rank_z: float | None = None
    top_negatives: Share | None = None  # share of the loss' gradient that the hardest 1 % of the negatives carry
    alignment: float | None = None
    uniformity: float | None = None
    predictions_hash: str | None = None  # SHA-256 of the test predictions and y_test in the side file
    side_hash: str | None = None  # SHA-256 of everything in the side file

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.status == "ok" and self.score is None:
            raise ValueError("status is ok, but there is no score")
        if self.test_low is not None and self.test_high is not None and self.test_low > self.test_high:
            raise ValueError(f"test_low {self.test_low:g} is above test_high {self.test_high:g}")
        for name in ("pretrain_fraction", "label_fraction"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name):g}, not a share above 0 and up to 1")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}, below 0")
        if self.created is not None:
            datetime.fromisoformat(self.created)
        return self

    @property
    def spec(self) -> RunSpec:
        """The exact configuration, to run it again."""
        return RunSpec(**{f.name: getattr(self, f.name) for f in fields(RunSpec)})

    @property
    def scored_on(self) -> str:
        """The data set whose test rows were scored, with the one that was learnt from where that is another."""
        return self.dataset if self.evaluate_on is None else f"{self.dataset} to {self.evaluate_on}"

    @property
    def is_control(self) -> bool:
        return parse_method(self.method).is_control

    def identity(self) -> dict[str, Any]:
        """What the run id is the hash of."""
        return identity(self, {name: getattr(self, name) for name in FACTS})


_ADAPTER = TypeAdapter(Record)


def schema() -> dict[str, Any]:
    """The published JSON Schema of a record."""
    return _ADAPTER.json_schema()


def dump(record: Record, *, full: bool = False) -> dict[str, Any]:
    """A record as plain JSON values. Fields that say nothing (None) are left out, unless `full`."""
    plain: dict[str, Any] = _ADAPTER.dump_python(record, mode="json", exclude_none=not full)
    return plain


def load(row: dict[str, Any]) -> Record:
    """Validate a row of this version or an older one.

    Raises pydantic's `ValidationError` for a missing, misspelt or mistyped field.
    """
    return _ADAPTER.validate_python(upgraded(row))


def upgraded(row: dict[str, Any]) -> dict[str, Any]:
    """A row of an older version as one of ours. Its run id must stay the hash of its identity."""
    while isinstance(version := row.get("schema_version", 1), int) and version in MIGRATIONS:
        row = {**MIGRATIONS[version](row), "schema_version": version + 1}
    return row
