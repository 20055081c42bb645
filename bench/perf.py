"""Device, precision, threads, and what a run cost."""

import contextlib
import ctypes
import os
import platform
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.errors import UserError
from bench.workers import cores as cores


def pick_device(name: str) -> torch.device:
    """`auto` takes CUDA, then Apple's MPS, then the CPU. Raises `UserError` for a device that is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, present in there.items() if present))
    if not there[name]:
        raise UserError(f"device {name!r} was asked for, but torch sees none here. Use --device cpu, or leave it out.")
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> str:
    """`auto` takes bf16 where the hardware multiplies it natively (AVX512-BF16, AMX, Ampere and later), else fp32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    return "bf16" if device.type == "cpu" and multiplies_bf16() else "fp32"


@cache
def multiplies_bf16() -> bool:
    """Whether the processor itself multiplies bf16; torch's own check also says yes where it is emulated, and slow."""
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


@contextlib.contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """bf16 where a matrix product gains from it; parameters, normalisation statistics and losses stay fp32."""
    if precision == "fp32":
        yield
    else:
        with torch.autocast(device.type, torch.bfloat16):
            yield


@cache
def can_compile(device: str) -> bool:
    """Whether torch.compile works on this kind of device, by trying, which takes seconds. A CPU needs a C++ compiler."""
    try:
        with warnings.catch_warnings(), compiling(forgiving=False):
            warnings.simplefilter("ignore")  # of what torch itself imports here
            torch.compile(torch.square)(torch.ones(8, device=device))
    except Exception:  # whatever is missing, a run goes on without
        return False
    return True


@contextlib.contextmanager
def compiling(*, forgiving: bool = True) -> Iterator[None]:
    """Settings of torch.compile while it compiles. forgiving: what it cannot compile runs as it is."""
    from torch._dynamo import config as tracing
    from torch._inductor import config as inductor

    taken = {"cpp.vec_isa_ok": True}  # torch would start six processes to see whether the processor's own instructions work
    with tracing.patch(suppress_errors=forgiving), inductor.patch(taken):
        yield


@contextlib.contextmanager
def rough_products() -> Iterator[None]:
    """Products of float32 matrices on the CPU round their factors to bf16, where it multiplies that; sums stay float32."""
    backend: Any = torch.backends.mkldnn  # its attributes are made at run time
    before = backend.matmul.fp32_precision
    backend.matmul.fp32_precision = "bf16" if multiplies_bf16() else before
    try:
        yield
    finally:
        backend.matmul.fp32_precision = before


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Run a block with this many CPU threads. Results are bit-identical only between runs of equal thread count."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):  # OpenMP and BLAS of numpy, scipy and scikit-learn
            yield
    finally:
        torch.set_num_threads(before)


_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # names of glibc's malloc.h
_keeping = 0


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Inside, memory that is freed stays with the process, for the next step of a training, which needs as much again.

    glibc would give tensors of 32 MiB and more back to the system, which then zeroes them anew, page by page, at every step: a
    fifth of the time of a wide network. Does nothing where there is no glibc, or where the user has told it what to keep.
    """
    global _keeping
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version") or _told(os.environ):
        yield
        return
    _keeping += 1
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        _keeping -= 1
        if not _keeping:  # the values that glibc itself arrives at, once it has seen large tensors
            libc.mallopt(_MMAP_MAX, 65_536)
            libc.mallopt(_MMAP_THRESHOLD, 32 * 2**20)
            libc.mallopt(_TRIM_THRESHOLD, 64 * 2**20)
            libc.malloc_trim(0)


def _told(environment: Mapping[str, str]) -> bool:
    """Whether somebody has told glibc what memory to keep."""
    tunables = environment.get("GLIBC_TUNABLES", "")
    variables = any(name.startswith(("MALLOC_MMAP", "MALLOC_TRIM")) for name in environment)
    return variables or "malloc.mmap" in tunables or "malloc.trim" in tunables


def clock(device: torch.device) -> float:
    """Seconds of cost so far: CPU-seconds of all threads on the CPU, wall-clock seconds on a GPU."""
    return time.process_time() if device.type == "cpu" else time.perf_counter()


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory so far: of the process on the CPU, of torch's allocator on a GPU. MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def resident_mb(pid: int) -> float:
    """Memory that another process holds now, in MiB; 0 where it cannot be read, as after its end."""
    with contextlib.suppress(OSError, ValueError):
        if sys.platform == "linux":
            return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize() / 2**20
        said = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return int(said.stdout) / 1024
    return 0.0


def device_name(device: torch.device) -> str:
    """The processor's name as its maker writes it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def parameters(module: nn.Module) -> int:
    """Number of trainable scalars."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def forward_flops(module: nn.Module, x: Any) -> int:
    """Floating-point operations of one forward pass per example, matrix products and convolutions only.

    x: a tensor, or a batch of several; rows are examples.
    """
    training = module.training
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(x)
    module.train(training)
    return int(counter.get_total_flops() // len(x if isinstance(x, torch.Tensor) else x[0]))
