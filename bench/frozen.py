"""Using what was learnt: the encoder of a run with its preprocessing, frozen, for rows it has never seen."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from torch import Tensor, nn

from bench import __version__, perf
from bench.adapter import Adapter, Arrays, Batch, Dataset, Encoder, Given, Transform
from bench.control import trained
from bench.errors import UserError
from bench.outcome import Progress, fitted_inputs
from bench.prepare import Prepared, prepare
from bench.pretrain import cache_path, module_hash, pretrained
from bench.record import Record
from bench.store import Store, write
from bench.train import Plan, embed


@final
class Frozen(nn.Module):
    """f: rows -> h of a finished run. In evaluation mode and without gradients for good.

    Called with a batch it gives h, (n, dim); `embed` takes raw rows, `read` makes those of a file. `notes` says what differs
    from the run, for example that it had to be trained again.
    """

    def __init__(self, encoder: Encoder, transform: Transform, ready: Prepared, record: Record, notes: tuple[str, ...]) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()
        self.transform, self.record, self.notes, self.dim = transform, record, notes, encoder.dim
        self._adapter: Adapter = ready.adapter
        self._dataset: Dataset = ready.dataset
        self._plan: Plan = ready.plan

    def train(self, mode: bool = True) -> "Frozen":  # noqa: ARG002 - frozen means frozen
        """Stays in evaluation mode."""
        return super().train(False)

    def forward(self, x: Batch) -> Tensor:
        with perf.autocast(self._plan.device, self._plan.precision):  # as the run embedded its rows
            h: Tensor = self.encoder(x)
        return h.float()

    def read(self, path: Path | str) -> Given:
        """Raw rows of a file or folder, coded as those that the encoder learnt from. Labels are not needed."""
        return self._adapter.read(str(path), self._dataset, self.record.spec)

    def embed(self, x: Arrays) -> np.ndarray:
        """Features of raw rows, float32 (n, dim), at the run's own precision and threads."""
        with perf.threads(self.record.threads):
            h: np.ndarray = embed(self.encoder, self.transform(x), self._plan).numpy()
        return h


def load(run_id: str, records: Path | str = "runs", progress: Progress | None = None) -> Frozen:
    """The encoder of a finished run by its id, or the first digits of it, in a folder of records.

    Its weights lie in the cache, as safetensors with JSON that says which version made them; nothing is unpickled. Where
    the cache was emptied the run's training is repeated, and the weights are compared with the hash in the record.
    Preprocessing is fitted again on the run's own rows. Raises `UserError` where data or code are no longer those of the run,
    or where the run has no encoder.
    """
    record = Store(records).find(run_id)
    ready = _ready(record)
    with perf.threads(record.threads):
        given = fitted_inputs(ready)
        cached = ready.pretrain_id is None or cache_path(ready.pretrain_id).exists()
        tell = progress or _silent
        if ready.method.base == "supervised":
            encoder, cached = trained(ready, given, tell).model.encoder, False
        else:
            encoder = pretrained(ready, given.transform, tell).encoder
    notes = [] if cached else ["its training was repeated, since the encoder is not in the cache"]
    if record.encoder_hash not in (None, module_hash(encoder)):
        notes.append(
            f"its weights are {module_hash(encoder)[:16]}, the record's {str(record.encoder_hash)[:16]}: another processor, "
            "or other versions, round differently"
        )
    return Frozen(encoder, given.transform, ready, record, tuple(notes))


def _ready(record: Record) -> Prepared:
    if record.status != "ok":
        raise UserError(f"run {record.run_id} failed ({record.reason}), so there is no encoder. Name a finished run.")
    if record.method in ("raw", "classical"):
        raise UserError(f"run {record.run_id} is {record.method}, which has no encoder. Name a run of a method that has one.")
    ready = prepare(record.spec)
    if ready.run_id != record.run_id:
        before, now = record.identity(), {**ready.facts, **ready.spec.settings()}
        moved = [f"{k} was {v}, is {now.get(k)}" for k, v in sorted(before.items()) if now.get(k) != v]
        raise UserError(
            f"run {record.run_id} cannot be used: here it would be another run ({'; '.join(moved)}). Use the data and the "
            f"version of bench that it was made with, {record.bench_version} (this is {__version__})."
        )
    return ready


def write_embeddings(run_id: str, records: Path, data: str, out: Path) -> str:
    """Embed the rows of a file or folder and write them as Parquet. Returns what to say.

    Columns: h0, h1, ...; before them `file`, where every row is a file.
    """
    if out.suffix != ".parquet":
        raise UserError(f"--out {out} must end in .parquet, which is what is written.")
    frozen = load(run_id, records, _telling())
    given = frozen.read(data)
    h = frozen.embed(given.x)
    r = frozen.record
    about = {
        "run_id": r.run_id,
        "method": r.method,
        "dataset": r.dataset,
        "encoder_hash": module_hash(frozen.encoder),
        "trained_by_bench": r.bench_version,
        "embedded_by_bench": __version__,
    }
    write(out, _parquet(h, given.names, about))
    return "\n".join(
        [
            f"{out}: {len(h)} rows of {data}, {frozen.dim} features each, by {r.method} of run {r.run_id}",
            *given.notes,
            *frozen.notes,
        ]
    )


def _parquet(h: np.ndarray, names: Sequence[str] | None, about: dict[str, str]) -> Callable[[Any], object]:
    import pyarrow as pa
    from pyarrow import parquet

    files = {} if names is None else {"file": list(names)}
    table = pa.table({**files, **{f"h{i}": h[:, i] for i in range(h.shape[1])}})
    table = table.replace_schema_metadata({"bench": json.dumps(about, sort_keys=True)})
    return lambda file: parquet.write_table(table, file)


def _telling() -> Progress:
    """Says on standard error that a training goes on, once a stage."""
    said: set[str] = set()

    def tell(stage: str, step: int, steps: int, loss: float) -> None:  # noqa: ARG001 - the signature of Progress
        if stage not in said:
            said.add(stage)
            print(f"{stage} ...", file=sys.stderr)

    return tell


def _silent(stage: str, step: int, steps: int, loss: float) -> None:
    """Show nothing."""
