"""Tables: what a training step takes around its network.

A step of `bench` on the data set letter, batch 512: rows, two masked views, mixing, the MLP of i-Mix and its head over both
views at once, loss, backward, update. Beside it the bare network on one cached batch of as many rows: forward and backward of
encoder and head and the update of their parameters by torch's fused SGD, in the same precision. Outside the network is what a
step takes beyond that. A width of 64 is the paper's network (2048-2048-4096-4096-8192), 8 that of budget `small`. The update
alone is a row of its own: it reads and writes 20 bytes for each parameter and multiplies nothing, so memory bounds it. The
ceiling of forward and backward is a product of square matrices of that precision in the same rounds.

A side's time is the median of its steps in a turn: the first, and at width 64 now and then another, takes memory from the
system.
"""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import torch
from torch.optim import SGD

from bench import RunSpec, perf
from benchmarks.row import Row
from benchmarks.small import Cell
from benchmarks.timing import Side, Spread, product, share, taken, timed

SIDE = 2048  # of the matrices whose product is the ceiling
CASES = {64: (7, "<= 2"), 8: (40, "<= 10")}  # width: steps in a turn, and what to reach

Turn = Callable[[], float]
"""CPU-seconds of one step."""


def rows(rounds: int) -> Iterator[Row]:
    """A row for each method and width, then what bounds the network."""
    for width, (steps, reach) in CASES.items():
        for method in ("npair", "npair+imix"):
            spec = RunSpec(modality="tabular", dataset="letter", method=method, budget="small", width=width, device="cpu")
            sides, flops, most = _sides(spec, steps)
            times = taken(sides, rounds)
            bare = [a + b for a, b in zip(times["network"], times["update"], strict=True)]
            what = f"{method}, width {width}"
            outside = [100 * (1 - b / s) for b, s in zip(bare, times["step"], strict=True)]
            yield Row(f"{what}: a step", Spread.of([1000 * t for t in times["step"]]), "ms")
            yield Row(f"{what}: outside the network", Spread.of(outside), "%", reach)
            if method == "npair":
                yield Row(f"{what}: update of the parameters", share(times["update"], times["step"]), "%")
                rate = share([flops / most * t for t in times["product"]], times["network"])
                yield Row(f"{what}: forward and backward, of the ceiling", rate, "%", ">= 75" if width == 64 else "")


def _sides(spec: RunSpec, steps: int) -> tuple[dict[str, Turn], float, float]:
    """The sides by name, each the CPU-seconds of one step; floating-point operations of the network, and of the product."""
    cell = Cell(spec, steps + 1)
    net, plan = cell.network, cell.plan
    x = torch.randn(2 * plan.batch_size, cell.transform.width)
    grad = torch.randn(2 * plan.batch_size, net.dim) / plan.batch_size
    update = SGD(net.parameters(), lr=1e-9, momentum=plan.sgd_momentum, weight_decay=plan.weight_decay, fused=True)
    multiply, most = product(torch.bfloat16 if plan.precision == "bf16" else torch.float32, SIDE)

    def forth_and_back() -> None:
        net.zero_grad(set_to_none=True)
        with perf.autocast(plan.device, plan.precision):
            z = net(x)
        z.float().backward(grad)

    def bare(work: Side) -> float:
        once = timed(work)
        with perf.kept_memory():
            return median([once() for _ in range(steps + 1)][1:])

    works = {"network": forth_and_back, "update": update.step, "product": multiply}
    sides = {"step": lambda: median(cell.train()), **{name: partial(bare, work) for name, work in works.items()}}
    flops = perf.forward_flops(net, x) * len(x)
    return sides, 3.0 * flops, most  # the products of a backward are twice those of a forward
