"""Losses: NT-Xent and the queue of MoCo beside lightly's.

Forward and backward to embeddings of 128 dimensions, τ = 0.1, one pinned core. lightly computes in fp32, as its users do; ours
is measured under bf16 autocast, as the trainer calls it where the processor multiplies bf16, and in fp32. The bound of NT-Xent
is the three products of its size, U Uᵀ forward, and S U and Sᵀ U backward, with bf16 in and out where the processor has it.
Extra memory is what a fresh process holds at most beyond what it held before.

Memory of a large tensor that is freed goes back to the system and has to be mapped anew, for which lightly's larger tensors pay
most. A training of `bench` keeps it; rows "memory kept" give that to all sides, lightly too, whose users do not have it.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from multiprocessing import get_context

import torch

from bench import perf
from bench.objective import info_nce, nt_xent
from benchmarks.row import Row
from benchmarks.timing import Side, Spread, forget_peak, peak_mb, per_second, ratio, turns

D, TAU = 128, 0.1
LARGE = 8192
MEMORY = {"": nullcontext, ", memory kept": perf.kept_memory}
QUEUES = (4096, 65_536)
BATCH = 256


def rows(rounds: int) -> Iterator[Row]:
    """See the module."""
    for n in (256, 1024, LARGE):
        yield from _nt_xent(n, min(rounds, 3) if n == LARGE else rounds)
    for name, reach in (("ours", "<= 64"), ("lightly", "")):
        yield Row(f"NT-Xent, N = {LARGE}: extra memory, {name}", _extra("NT-Xent", name), "MiB", reach)
    yield Row("NT-Xent, N = 1024: fp32 gradient beside float64, relative error", _error(), "", "<= 1e-5")
    for size in QUEUES:
        yield from _queue(size, rounds)
    clone = QUEUES[-1] * D * 4 // 2**20
    for name, reach in (("ours", f"<= {clone - 1}"), ("lightly", "")):
        what = f"MoCo, batch {BATCH}, K = {QUEUES[-1]}: extra memory, {name}"
        yield Row(what, _extra("MoCo", name), "MiB", reach, f"a copy of the queue would take {clone} MiB" if reach else "")


def _nt_xent(n: int, rounds: int) -> Iterator[Row]:
    sides = {**_pairs(n), "bound": _three_products(2 * n)}
    for with_, memory in MEMORY.items():
        with memory():
            times = turns(sides, rounds, max(1, LARGE // n // 4))
        size, judged = f"NT-Xent, N = {n}{with_}", n == LARGE and not with_
        yield Row(f"{size}: lightly's time over ours", ratio(times["lightly"], times["ours"]), "x", ">= 15" if judged else "")
        yield Row(f"{size}: lightly's time over ours in fp32", ratio(times["lightly"], times["fp32"]), "x")
        yield Row(f"{size}: ours over its bound", ratio(times["ours"], times["bound"]), "x", "<= 1.3" if judged else "")


def _pairs(n: int) -> dict[str, Side]:
    """NT-Xent and its gradient, of n examples."""
    from lightly.loss import NTXentLoss

    z, peer = torch.randn(2 * n, D, requires_grad=True), NTXentLoss(temperature=TAU)

    def ours(*, bf16: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = nt_xent(z, TAU)
        loss.backward()

    return {"lightly": lambda: peer(z[:n], z[n:]).backward(), "ours": lambda: ours(bf16=True), "fp32": lambda: ours(bf16=False)}


def _three_products(n: int) -> Side:
    """The products of one forward and backward of n logits a side, a thousand rows at a time, where they are fastest."""
    dtype, step = torch.bfloat16 if perf.multiplies_bf16() else torch.float32, min(n, 1024)
    z = torch.randn(n, D).to(dtype)
    s, grad = torch.empty(step, n, dtype=dtype), torch.zeros(n, D, dtype=dtype)

    def side() -> None:
        for i in range(0, n, step):
            torch.mm(z[i : i + step], z.T, out=s)
            torch.mm(s, z, out=grad[i : i + step])
            torch.mm(s.T, z[i : i + step], out=grad)

    return side


def _extra(loss: str, name: str) -> Spread:
    with get_context("spawn").Pool(1) as pool:
        grown = pool.apply(_grown, (loss, name))
    return Spread(grown, grown, grown)


def _grown(loss: str, name: str) -> float:
    """MiB that this process holds at most while it computes a loss and its gradient, beyond what it held before."""
    torch.set_num_threads(1)
    for large in (False, True):  # the first loads what both need
        work = (_moco(QUEUES[large]) if loss == "MoCo" else _pairs(LARGE if large else 64))[name]
        before = forget_peak()
        work()
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


def _moco(size: int) -> dict[str, Side]:
    """MoCo's loss with a queue of that size, its gradient, and the new keys in the queue."""
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

    return {"lightly": lambda: peer(q, k).backward(), "ours": lambda: ours(bf16=True), "fp32": lambda: ours(bf16=False)}


def _queue(size: int, rounds: int) -> Iterator[Row]:
    sides = _moco(size)
    for with_, memory in MEMORY.items():
        with memory():
            times = turns(sides, rounds, 5)
        what, reach = f"MoCo, batch {BATCH}, K = {size}{with_}", ">= 6" if size == QUEUES[-1] and not with_ else ""
        yield Row(f"{what}: lightly's time over ours", ratio(times["lightly"], times["ours"]), "x", reach)
        yield Row(f"{what}: lightly's time over ours in fp32", ratio(times["lightly"], times["fp32"]), "x")
        yield Row(f"{what}: ours", per_second(times["ours"], 1), "/s")
