"""Training on pictures, beside lightly.

Steps of SimCLR and MoCo (K = 4096) on 256 pictures of 32x32 RGB that lie in memory as bytes, from the pictures to the updated
weights. `bench` is its own trainer, `bench.train.fit`, with its views `simclr` and `mocov2`, in a process as it starts its
workers. lightly is its documented loop: PIL pictures, `SimCLRTransform(32, gaussian_blur=0, cj_strength=0.5)` (what it advises
for small pictures, and our strength) or `MoCoV2Transform(32)`, torch's DataLoader without workers, `NTXentLoss`,
`update_momentum` and its memory bank. Both train the same network by SGD with momentum: a small one of three convolutions (16,
32, 64 planes; 24 thousand weights, 4.9 MFLOP) or torchvision's ResNet-18 with the CIFAR stem, and a head with one hidden layer
as wide as the features (for SimCLR with batch norm), 128 out. In its turn a side takes eight steps with the small network; with
ResNet-18 `bench` takes two, lightly one. `bench` takes four more before them that do not count, in which its process gets the
memory that it then keeps. Every side has a process of its own.

Differences: `bench` draws one order of the four colour operations for 64 pictures, lightly one for each; batch norm sees both
views of SimCLR at once here, one after the other there. `bench` with its defaults is bf16 where the processor has it, and
computes with tensors that lie channels last, also in fp32; lightly is fp32, as it documents, and rows that say fp32 have it on
both sides. The layers are the same, but `bench` averages over places by a step of its own, and in bf16 its ResNet-18 computes
convolutions with narrow outputs for several pictures side by side. ResNet-18 was not measured at equal precision.

Parts of a step are those of `bench` with its defaults. Forward and backward are of stem, encoder and head; the backward pass of
the loss is counted there. "Outside" is all but them and the views: loss, optimiser, momentum, queue, and what lies between.
"""

from collections.abc import Callable, Iterator

import torch

from bench import perf
from benchmarks.pictures import BATCH, Apart, Lightly, Ours, body
from benchmarks.row import Row
from benchmarks.timing import Spread, product, ratio, share, taken, timed

TITLES = {"simclr": "SimCLR", "moco": "MoCo", "small": "small network", "resnet18": "ResNet-18"}
STEPS = {"small": (8, 8), "resnet18": (2, 1)}
"""In a turn, of bench and of lightly."""
REACH = {
    ("small", "simclr"): {"defaults": ">= 4.5", "fp32": ">= 3", "--compile": ">= 6"},
    ("small", "moco"): {"defaults": ">= 5", "fp32": ">= 4", "--compile": ""},
    ("resnet18", "simclr"): {"defaults": ">= 2.5"},
    ("resnet18", "moco"): {"defaults": ">= 2.5"},
}
OUTSIDE = {"simclr": "<= 4", "moco": "<= 8"}
CEILING = "floating-point operations per second, three times those of a forward pass, over those of a 2048x2048 matrix product"

Part = dict[str, float]
Side = Callable[[], Part]


def rows(rounds: int) -> Iterator[Row]:
    """Every comparison, then the parts of a step."""
    import lightly  # noqa: F401 - the peer; where it is missing that is said before processes start

    precision = perf.pick_precision("auto", torch.device("cpu"))
    multiply, flop = product(torch.bfloat16 if precision == "bf16" else torch.float32)
    parts: list[Row] = []
    for (net, method), reach in REACH.items():
        ours = [name for name in reach if name != "--compile" or perf.can_compile("cpu")]
        sides: dict[str, Side] = {name: side(name, method, net) for name in ours}
        sides["lightly"], once = Apart(Lightly, method, net, STEPS[net][1]), timed(multiply, 10)
        found = taken({**sides, "product": lambda once=once: {"all": once()}}, rounds)
        seconds = {name: [sum(part.values()) for part in all_] for name, all_ in found.items()}
        what, spent, total = f"{TITLES[net]}, {TITLES[method]}", found["defaults"], seconds["defaults"]
        for name in ours:
            yield Row(
                f"{what}, {name}: lightly's time over bench's", ratio(seconds["lightly"], seconds[name]), "x", reach[name]
            )
        if net == "small":
            yield Row(
                f"{what}: outside encoder and views", share([outside(part) for part in spent], total), "%", OUTSIDE[method]
            )
        else:
            yield Row(f"{what}: views", share([part["views"] for part in spent], total), "%", "<= 1.5")
        if (net, method) == ("resnet18", "simclr"):
            rates = [needed() / encoder(part) / (flop / t) for part, t in zip(spent, seconds["product"], strict=True)]
            yield Row(f"{what}: encoder, of a product's rate", Spread.of([100 * r for r in rates]), "%", ">= 75", CEILING)
        for name in spent[0]:
            each = Spread.of([1e3 * part[name] for part in spent])
            parts.append(Row(f"{what}, {precision}: {name}", each, "ms"))
    yield from parts


def side(name: str, method: str, net: str) -> Side:
    """`bench` with its defaults, in fp32, or compiled."""
    return Apart(Ours, method, net, STEPS[net][0], "fp32" if name == "fp32" else "auto", name == "--compile")


def needed() -> float:
    """Floating-point operations of ResNet-18 in a step of SimCLR, forward and backward."""
    return 3.0 * 2 * BATCH * perf.forward_flops(body("resnet18"), torch.zeros(1, 3, 32, 32))


def encoder(part: Part) -> float:
    """Seconds of stem, encoder and head, forward and backward."""
    return sum(part.get(name, 0.0) for name in ("forward", "forward of keys", "backward"))


def outside(part: Part) -> float:
    """Seconds of what is neither encoder nor views."""
    return sum(part.values()) - encoder(part) - part["views"]
