"""Store: one file per run in a working folder, written whole or not at all, and never trusted unread."""

import contextlib
import errno
import hashlib
import json
import os
import re
import uuid
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, final

import numpy as np
from pydantic import ValidationError

from bench.errors import UserError
from bench.record import SCHEMA_VERSION, Record, dump, load
from bench.spec import digest

_OK, _FAILED, _SIDE = ".json", ".failed.json", ".npz"
_NAME = re.compile(r"(?P<run_id>[0-9a-f]{16})(\.failed)?\.json")


class NewerRecordError(ValueError):
    """A record of a later version of bench: sound as far as we can tell, but not ours to read."""


@final
class Store:
    """The runs of one folder. `RUN_ID.json` is a finished run, `RUN_ID.failed.json` the latest failure of one that never
    finished, `RUN_ID.npz` its arrays. The first finished record of a run id counts; a finished one replaces a failure.

    What cannot be trusted (torn, misspelt, not what its name says) is renamed to `*.damaged` and told in `problems`.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"--records {self.folder} is a file; it must name a folder for records.")
        self.problems: list[str] = []

    def get(self, run_id: str) -> Record | None:
        """The finished record of a run, or None."""
        return self._load(self.folder / f"{run_id}{_OK}")

    def failure(self, run_id: str) -> Record | None:
        """The record of a run's latest failure, or None."""
        return self._load(self.folder / f"{run_id}{_FAILED}")

    def put(self, record: Record) -> bool:
        """Store a record; False if a finished one of this run is there already. Safe against other writers and a kill.

        Raises `ValueError` if the run id is not the hash of the record, `UserError` if the disk is full.
        """
        _check_run_id(record)
        text = (json.dumps(dump(record), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
        if self.get(record.run_id) is not None:
            return False
        if record.status == "failed":
            write(self.folder / f"{record.run_id}{_FAILED}", lambda file: file.write(text))
            return True
        created = write(self.folder / f"{record.run_id}{_OK}", lambda file: file.write(text), replace=False)
        (self.folder / f"{record.run_id}{_FAILED}").unlink(missing_ok=True)
        return created

    def records(self) -> list[Record]:
        """Every finished run, and the failures of runs that never finished, sorted by run id."""
        found: dict[str, Record] = {}
        for path in self._paths():
            record = self._load(path)
            if record is not None and (record.status == "ok" or record.run_id not in found):
                found[record.run_id] = record
        return [found[run_id] for run_id in sorted(found)]

    def named(self, prefix: str) -> list[str]:
        """The run ids that start so."""
        return sorted({path.name[:16] for path in self._paths() if path.name.startswith(prefix)})

    def find(self, prefix: str) -> Record:
        """The record whose run id starts so. Raises `UserError` if there is none, or more than one."""
        ids = self.named(prefix)
        if len(ids) > 1:
            shown = ", ".join(ids[:8]) + (", ..." if len(ids) > 8 else "")
            raise UserError(f"{len(ids)} runs in {self.folder} start with {prefix!r}: {shown}. Give more digits.")
        record = (self.get(ids[0]) or self.failure(ids[0])) if ids else None
        if record is None:
            told = "".join(f"\n{problem}" for problem in self.problems)
            raise UserError(f"no run in {self.folder} starts with {prefix!r}. Say where records are with --records DIR.{told}")
        return record

    def put_side(self, run_id: str, *, predictions: Any, y_test: Any, **more: Any) -> str:
        """Store a run's arrays and return `predictions_hash`. Before `put`: a finished run keeps the arrays it has."""
        arrays = {"predictions": predictions, "y_test": y_test, **more}
        arrays = {name: np.asarray(value) for name, value in arrays.items()}
        refused = [name for name, value in arrays.items() if value.dtype.hasobject]
        if refused:
            raise ValueError(f"arrays of Python objects cannot be stored without pickle: {', '.join(refused)}")
        path = self.folder / f"{run_id}{_SIDE}"
        if self.get(run_id) is None or not path.exists():
            write(path, lambda file: np.savez_compressed(file, **arrays))
        return predictions_hash(arrays["predictions"], arrays["y_test"])

    def side(self, run_id: str) -> dict[str, np.ndarray] | None:
        """A run's arrays, or None. Arrays that are not those its record was made from are set aside."""
        path = self.folder / f"{run_id}{_SIDE}"
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            record = self.get(run_id)
            told = record.predictions_hash if record is not None else None
            if told is not None and told != predictions_hash(arrays["predictions"], arrays["y_test"]):
                raise ValueError("its predictions are not those of the record")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as wrong:
            self._set_aside(path, str(wrong))
            return None
        return arrays

    def _paths(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))

    def _load(self, path: Path) -> Record | None:
        try:
            record = parse(path.read_text(encoding="utf-8"))
            named = record.run_id + (_OK if record.status == "ok" else _FAILED)
            if named != path.name:
                raise ValueError(f"its content belongs in {named}")
        except FileNotFoundError:
            return None
        except NewerRecordError as newer:
            self.problems.append(f"{path} is left out: {newer}")
            return None
        except ValueError as wrong:
            self._set_aside(path, str(wrong))
            return None
        return record

    def _set_aside(self, path: Path, reason: str) -> None:
        aside = path.with_name(path.name + ".damaged")
        while aside.exists():
            aside = aside.with_name(aside.name + "+")
        try:
            path.rename(aside)
        except FileNotFoundError:  # another process was faster
            return
        except OSError as refused:
            self.problems.append(f"{path} is damaged ({reason}) and cannot be set aside ({refused.strerror}); it is left out.")
            return
        self.problems.append(f"{path} is damaged ({reason}); it was set aside as {aside.name}, and the run counts as not done.")


def parse(text: str) -> Record:
    """The record in one JSON text. Raises `ValueError` that says what is wrong with it."""
    row = json.loads(text)
    if not isinstance(row, dict):
        raise ValueError("it is not a JSON object")
    version = row.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise NewerRecordError(f"schema version {version} is later than ours, {SCHEMA_VERSION}. Use the bench that wrote it.")
    try:
        record = load(row)
    except ValidationError as invalid:
        first, more = invalid.errors()[0], invalid.error_count() - 1
        where = ".".join(map(str, first["loc"]))
        raise ValueError(": ".join(filter(None, [where, first["msg"]])) + (f", and {more} more" if more else "")) from None
    _check_run_id(record)
    return record


def _check_run_id(record: Record) -> None:
    expected = digest(record.identity())[:16]
    if record.run_id != expected:
        raise ValueError(f"run id {record.run_id} is not the hash of the record, {expected}")


def predictions_hash(predictions: Any, y_test: Any) -> str:
    """SHA-256 of test predictions and test labels: dtype, shape and bytes of each, in C order and little-endian."""
    total = hashlib.sha256()
    for array in (np.asarray(predictions), np.asarray(y_test)):
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        total.update(f"{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return total.hexdigest()


def side_hash(arrays: Mapping[str, Any]) -> str:
    """SHA-256 of everything in a side file: names, and of each array dtype, shape and bytes."""
    total = hashlib.sha256()
    for name, value in sorted(arrays.items()):
        array = np.asarray(value)
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        total.update(f"{name}\0{array.dtype.str}{array.shape}".encode() + array.tobytes())
    return total.hexdigest()


def write(path: Path, fill: Callable[[BinaryIO], object], *, replace: bool = True) -> bool:
    """Write a whole file or nothing: temporary in the same folder, fsync, link or rename.

    With `replace=False` the first writer wins and a later one gets False. Raises `UserError` where the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        if not replace:
            return _link(temporary, path)
        temporary.replace(path)
        return True
    except OSError as wrong:
        if wrong.errno not in _REFUSED:
            raise
        raise UserError(f"cannot write {path}: {_REFUSED[wrong.errno]} Then give the same command again.") from wrong
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


_REFUSED = {
    errno.ENOSPC: "the disk is full. Free some space (python -m bench clean empties the caches), or choose another folder.",
    errno.EDQUOT: "your disk quota is used up. Free some space (python -m bench clean empties the caches).",
    errno.EROFS: "the file system is read-only. Choose another folder.",
    errno.ENOENT: "there is no such folder, and none can be made there. Choose another one.",
    errno.ENOTDIR: "a part of that path is a file, not a folder. Choose another one.",
    errno.EISDIR: "that is a folder. Give the name of a file.",
    errno.EACCES: "permission denied. Choose a folder that you may write to.",
}


def _link(temporary: Path, path: Path) -> bool:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as wrong:
        if wrong.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV):
            raise
        # No hard links here (FAT, some network folders). A rename is whole too; of two writers in the same instant the
        # later one wins, and both wrote the same run.
        if path.exists():
            return False
        temporary.replace(path)
    return True
