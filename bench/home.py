"""Caches under BENCH_HOME: tensors with a checksum, written atomically; what is damaged is set aside, never trusted."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from bench.errors import UserError

CAP_MB = 4096
_elsewhere: ContextVar[Path | None] = ContextVar("elsewhere", default=None)


def home() -> Path:
    """The cache folder: $BENCH_HOME, or ~/.cache/bench; inside `home_at`, that folder."""
    return _elsewhere.get() or _lasting()


@contextlib.contextmanager
def home_at(folder: Path) -> Iterator[None]:
    """Use another cache folder inside this block; downloaded data sets stay where they are."""
    token = _elsewhere.set(folder)
    try:
        yield
    finally:
        _elsewhere.reset(token)


def downloads() -> Path:
    """The folder for downloaded data sets: data below $BENCH_HOME or ~/.cache/bench, also inside `home_at`."""
    return _lasting() / "data"


def _lasting() -> Path:
    return Path(os.environ.get("BENCH_HOME") or Path.home() / ".cache" / "bench")


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file atomically: write beside it, flush to disk, rename. Raises `UserError` if that is impossible."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise UserError(
            f"cannot write {path}: {error.strerror}. Free some space (python -m bench clean), or point BENCH_HOME to "
            "another folder, and run the same command again: it continues."
        ) from error


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write named tensors and JSON facts as one safetensors file with a checksum over both."""
    flat = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    text = json.dumps(dict(facts), sort_keys=True)
    write_bytes(path, save(flat, metadata={"facts": text, "sha256": _checksum(flat, text)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Read what `save_tensors` wrote, or None if there is no such file or it is damaged (then it is set aside)."""
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            meta = file.metadata() or {}
        if meta.get("sha256") != _checksum(tensors, meta.get("facts", "")):
            raise ValueError("its checksum does not match")
        facts: dict[str, Any] = json.loads(meta["facts"])
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        aside = path.with_suffix(".damaged")
        path.replace(aside)
        print(f"{path.name} is damaged ({error}); set aside as {aside.name} and not used", file=sys.stderr)
        return None
    os.utime(path)
    return tensors, facts


def _checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    mark = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        t = tensors[name]
        mark.update(f"{name} {tuple(t.shape)} {t.dtype}".encode())
        mark.update(t.reshape(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b"")
    return mark.hexdigest()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock beside a file, so that two processes do not compute the same thing at once.

    Raises `UserError` where no file can be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_suffix(".lock").open("w")
    except OSError as error:
        raise UserError(
            f"cannot write into {path.parent}: {error.strerror}. Point BENCH_HOME to a folder that you may write to."
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def files() -> list[Path]:
    """Every file in the caches of encoders, checkpoints and choices, least recently used first."""
    found = [p for folder in ("encoders", "checkpoints", "choices") for p in (home() / folder).glob("*") if p.is_file()]
    return sorted(found, key=lambda p: p.stat().st_mtime)


def trim(cap_mb: float = CAP_MB) -> list[Path]:
    """Delete the least recently used cache files until the rest fits into `cap_mb`. Returns what was deleted."""
    present = [p for p in files() if p.suffix != ".lock"]
    excess = sum(p.stat().st_size for p in present) - cap_mb * 2**20
    gone = []
    for path in present:
        if excess <= 0:
            break
        excess -= path.stat().st_size
        path.unlink(missing_ok=True)
        gone.append(path)
    return gone


def clean() -> tuple[int, float]:
    """Delete the caches; downloaded data stays. Returns how many files and MiB went."""
    present = files()
    size = sum(p.stat().st_size for p in present) / 2**20
    for folder in ("encoders", "checkpoints", "choices"):
        shutil.rmtree(home() / folder, ignore_errors=True)
    return len(present), size
