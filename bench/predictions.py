"""Predictions of published runs: one compact file per modality, from which anybody can compute the scores again."""

import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import UserError
from bench.record import Record
from bench.store import Store, predictions_hash, side_hash, write

LIMIT = 10 * 2**20
"""Bytes of one file; of the runs beyond it only `predictions_hash` is published."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a score is computed from: predicted and true classes of the test rows, (n,) each.

    groups: numbers of the rows' groups (speakers). In working folders only: likelihood, probabilities of the true classes, and
    side_hash, of everything that the run's side file holds.
    """

    labels: np.ndarray
    y: np.ndarray
    groups: np.ndarray | None = None
    likelihood: np.ndarray | None = None
    side_hash: str | None = None

    @property
    def hash(self) -> str:
        """The record's `predictions_hash`."""
        return predictions_hash(self.labels, self.y)


def of_run(runs: Store, run_id: str) -> Evidence | None:
    """The evidence in a run's side file, or None."""
    side = runs.side(run_id)
    if side is None:
        return None
    return Evidence(side["predictions"], side["y_test"], side.get("groups"), side.get("likelihood"), side_hash(side))


def path(boards: Path, modality: str) -> Path:
    """Where the predictions of a modality's published runs lie."""
    return boards / "predictions" / f"{modality}.npz"


def keep(runs: Store, records: Iterable[Record], boards: Path, modality: str, limit: int = LIMIT) -> tuple[int, int]:
    """Add the predictions of published records that `runs` has: (kept in all, left out for the limit).

    Runs that are no longer on the board go. What is there stays before what is new, and that comes by run id.
    """
    told = {r.run_id: r.predictions_hash for r in records if r.status == "ok" and r.predictions_hash}
    before = load(boards, modality)
    found = {run_id: e for run_id, e in before.items() if told.get(run_id) == e.hash}
    for run_id in sorted(told.keys() - found.keys()):
        evidence = of_run(runs, run_id)
        if evidence is not None and evidence.hash == told[run_id]:
            found[run_id] = evidence
    kept = _within(found, limit)
    if kept.keys() != before.keys():
        write(path(boards, modality), lambda file: np.savez_compressed(file, **_packed(kept)))
    return len(kept), len(found) - len(kept)


def load(boards: Path, modality: str) -> dict[str, Evidence]:
    """Evidence by run id. Raises `UserError` for a file that cannot be read."""
    place = path(boards, modality)
    try:
        with place.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            index = json.loads(stored["index"].tobytes())
            return {run_id: _unpacked(stored, run_id, about) for run_id, about in index.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error) as wrong:
        raise UserError(f"{place} is damaged ({wrong}). Restore it with git, or publish the runs again.") from wrong


def _packed(found: Mapping[str, Evidence]) -> dict[str, Any]:
    """Arrays of one file: true classes once per test set, and of each run how far it is off, (labels − y) mod C, mostly 0."""
    arrays: dict[str, Any] = {}
    index = {}
    for run_id, e in sorted(found.items()):
        classes = int(max(e.labels.max(), e.y.max())) + 1
        y = _small(e.y)
        name = predictions_hash(y, [] if e.groups is None else e.groups)[:16]
        arrays[f"y-{name}"] = y
        if e.groups is not None:
            arrays[f"g-{name}"] = _small(e.groups)
        arrays[f"p-{run_id}"] = _small((e.labels.astype(np.int64) - e.y) % classes)
        index[run_id] = {"y": name, "classes": classes, "types": [e.labels.dtype.str, e.y.dtype.str]}
    text = json.dumps(index, sort_keys=True, separators=(",", ":")).encode()
    return {"index": np.frombuffer(text, dtype=np.uint8), **arrays}


def _unpacked(stored: Mapping[str, np.ndarray], run_id: str, about: Mapping[str, Any]) -> Evidence:
    types, classes, name = about["types"], about["classes"], f"g-{about['y']}"
    y = stored[f"y-{about['y']}"].astype(np.int64)
    labels = (stored[f"p-{run_id}"].astype(np.int64) + y) % classes
    groups = stored[name].astype(np.int64) if name in stored else None
    return Evidence(labels.astype(types[0]), y.astype(types[1]), groups)


def _within(found: Mapping[str, Evidence], limit: int) -> dict[str, Evidence]:
    """The first runs that fit, by the size of their compressed arrays and of the names of a zip file's members."""
    kept: dict[str, Evidence] = {}
    seen: set[str] = set()
    size = 1000
    for run_id, evidence in found.items():
        arrays = {k: a for k, a in _packed({run_id: evidence}).items() if k not in seen}
        size += sum(len(zlib.compress(a.tobytes())) + 350 for a in arrays.values())
        if size > limit:
            break
        seen |= arrays.keys() - {"index"}
        kept[run_id] = evidence
    return kept


def _small(a: np.ndarray) -> np.ndarray:
    """The same numbers in the smallest unsigned type."""
    return a.astype(np.min_scalar_type(int(a.max(initial=0))))
