"""Losses: NT-Xent and the queue of MoCo beside lightly's.

Forward and backward to embeddings of 128 dimensions, τ = 0.1, one pinned core. lightly computes in fp32, as its users do; ours
is measured under bf16 autocast, where the trainer uses that, and in fp32. The bound of NT-Xent is three products of its size,
2N x d by d x 2N and twice the other way round, with bf16 in and out. Extra memory is the growth of a fresh process's peak.
"""

from collections.abc import Iterator
from multiprocessing import get_context

import torch
from torch import Tensor

from bench.objective import info_nce, nt_xent
from benchmarks.row import Row
from benchmarks.timing import Side, Spread, peak_mb, per_second, ratio, turns

D, TAU = 128, 0.1
LARGE = 8192
QUEUES = (4096, 65_536)
BATCH = 256


def rows(rounds: int) -> Iterator[Row]:
    """See the module."""
    for n in (256, 1024, LARGE):
        yield from _nt_xent(n, min(rounds, 3) if n == LARGE else rounds)
    for name, reach in (("ours", "<= 64"), ("lightly", "")):
        yield Row(f"NT-Xent, N = {LARGE}: extra memory, {name}", _extra(name), "MiB", reach)
    yield Row("NT-Xent, N = 1024: fp32 gradient beside float64, relative error", _error(), "", "<= 1e-5")
    for size in QUEUES:
        yield from _queue(size, rounds)


def _nt_xent(n: int, rounds: int) -> Iterator[Row]:
    from lightly.loss import NTXentLoss

    z = torch.randn(2 * n, D, requires_grad=True)
    peer = NTXentLoss(temperature=TAU)
    sides = {
        "lightly": lambda: peer(z[:n], z[n:]).backward(),
        "bf16": lambda: _ours(z, bf16=True),
        "fp32": lambda: _ours(z, bf16=False),
        "bound": _three_products(2 * n),
    }
    times = turns(sides, rounds, {"lightly": 1, "bf16": max(1, LARGE // n // 4), "fp32": 1, "bound": max(1, LARGE // n // 4)})
    size = f"NT-Xent, N = {n}"
    yield Row(f"{size}: lightly's time over ours", ratio(times["lightly"], times["bf16"]), "x", ">= 15" if n == LARGE else "")
    yield Row(f"{size}: lightly's time over ours in fp32", ratio(times["lightly"], times["fp32"]), "x")
    yield Row(f"{size}: ours over its bound", ratio(times["bf16"], times["bound"]), "x", "<= 1.3" if n == LARGE else "")


def _ours(z: Tensor, *, bf16: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = nt_xent(z, TAU)
    loss.backward()


def _three_products(n: int) -> Side:
    """The products of one forward and backward of n logits a side, a thousand rows at a time, where they are fastest."""
    z = torch.randn(n, D).bfloat16()
    step = min(n, 1024)
    s, grad = torch.empty(step, n, dtype=torch.bfloat16), torch.zeros(n, D, dtype=torch.bfloat16)

    def side() -> None:
        for i in range(0, n, step):
            torch.mm(z[i : i + step], z.T, out=s)
            torch.mm(s, z, out=grad[i : i + step])
            torch.mm(s.T, z[i : i + step], out=grad)

    return side


def _extra(name: str) -> Spread:
    with get_context("spawn").Pool(1) as pool:
        grown = pool.apply(_grown, (name,))
    return Spread(grown, grown, grown)


def _grown(name: str) -> float:
    """MiB by which the peak of this process rises."""
    from lightly.loss import NTXentLoss

    torch.set_num_threads(1)
    peer = NTXentLoss(temperature=TAU)
    for n in (64, LARGE):  # the first loads what both need
        z = torch.randn(2 * n, D, requires_grad=True)
        before = peak_mb()
        if name == "lightly":
            peer(z[:n], z[n:]).backward()
        else:
            _ours(z, bf16=True)
    return peak_mb() - before


def _error() -> Spread:
    grads = []
    wide = torch.randn(2048, D, dtype=torch.float64)
    for dtype in (torch.float32, torch.float64):
        z = wide.to(dtype).requires_grad_()
        nt_xent(z, TAU).backward()
        grads.append(z.grad.double())
    error = float((grads[0] - grads[1]).norm() / grads[1].norm())
    return Spread(error, error, error)


def _queue(size: int, rounds: int) -> Iterator[Row]:
    from lightly.loss import NTXentLoss

    q = torch.randn(BATCH, D, requires_grad=True)
    k = torch.nn.functional.normalize(torch.randn(BATCH, D), dim=1)
    queue = torch.nn.functional.normalize(torch.randn(size, D), dim=1)
    own = torch.eye(BATCH)
    peer = NTXentLoss(temperature=TAU, memory_bank_size=(size, D))

    def ours(*, bf16: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = info_nce(q, k, own, TAU, own.bool(), queue=queue)
        loss.backward()
        queue[:BATCH] = k  # what `Queue.push` does

    sides = {
        "lightly": lambda: peer(q, k).backward(),
        "bf16": lambda: ours(bf16=True),
        "fp32": lambda: ours(bf16=False),
    }
    times = turns(sides, rounds, 5)
    what = f"MoCo, batch {BATCH}, K = {size}"
    yield Row(
        f"{what}: lightly's time over ours", ratio(times["lightly"], times["bf16"]), "x", ">= 6" if size == QUEUES[-1] else ""
    )
    yield Row(f"{what}: lightly's time over ours in fp32", ratio(times["lightly"], times["fp32"]), "x")
    yield Row(f"{what}: ours", per_second(times["bf16"], 1), "/s")
