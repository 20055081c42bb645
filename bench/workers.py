"""Worker processes: how they start. Imports no torch, so that the server they are forked from can load it meanwhile."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def context(*modules: str) -> Any:
    """Processes forked from a server that has imported modules (those that run cells, if none are named, and so torch) but
    computed nothing; fresh ones where forking is unsafe."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload([*modules] or ["bench.experiment", "bench.store"])
    return made


def warm(threads: int) -> None:
    """Start the server now, if it does not run: it loads torch while this process does. Ctrl-C is not meant for it."""
    if sys.platform == "linux":
        from multiprocessing.forkserver import ensure_running

        context()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with environment(threads):
                ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def environment(threads: int) -> Iterator[None]:
    """What processes started inside read once, at their start: OpenMP's threads, and that glibc asks for huge pages.

    A training step goes through hundreds of MiB; in pages of 4 KiB, finding them takes a fifteenth of it. Where the system
    gives huge pages anyway, has none, or another C library, nothing changes; nor where the user has said what to ask for.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc.hugetlb" not in tunables:
        tunables = ":".join(filter(None, (tunables, "glibc.malloc.hugetlb=1")))
    ours = {"OMP_NUM_THREADS": str(threads), "GLIBC_TUNABLES": tunables}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM, which batch systems send, means what Ctrl-C means inside this block: a `KeyboardInterrupt`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
