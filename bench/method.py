"""Method: what a file in `methods/` provides, and the two pieces that several of them share (network, queue)."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from bench import catalog
from bench.adapter import Batch, Encoder
from bench.mixing import Mixture

GIVEN = {"row count": "n_rows", "class count": "n_classes", "labels": "labels"}
"""What a card's `needs` may ask for about the training rows, and the argument of the constructor that brings it.

labels: (n_rows,) classes of the labelled rows, -1 where the label is not known. No other method can reach a label.
"""


class Network(nn.Module):
    """Encoder and projection head: views -> z. The head is thrown away after pretraining."""

    def __init__(self, encoder: Encoder, head: nn.Module, dim: int) -> None:
        super().__init__()
        self.encoder, self.head, self.dim = encoder, head, dim
        self.last: Tensor | None = None  # z of the last forward, without gradient, for whoever watches the training

    def forward(self, s: Tensor) -> Tensor:
        """Stem output (n, ...) -> z (n, dim), not normalised."""
        return self.project(self.encoder.body(s))

    def project(self, h: Tensor) -> Tensor:
        """h (n, encoder.dim) -> z (n, dim), not normalised."""
        z: Tensor = self.head(h)
        self.last = z.detach()
        return z


class Method(nn.Module, ABC):
    """A contrastive method. Its file has a literal `CARD` and `METHOD = ItsClass`; the card's `settings` are the keyword
    arguments of its constructor, after the network; its `options` are those that may be left out, with the value that then
    counts; what its `needs` say about the training rows comes as `GIVEN` names it."""

    step: int = 0
    """Number of the optimiser step that is being taken, from 0; the training loop sets it."""

    remarks: tuple[str, ...] = ()
    """Sentences for the record."""

    division: str | None = None
    """Why this run is ranked with no other, or None."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    @abstractmethod
    def loss(self, x_q: Batch, x_k: Batch, mixture: Mixture, rows: Tensor) -> Tensor:
        """The loss of one batch of two views. rows: (n,) numbers of the training rows."""

    def cluster_head(self) -> nn.Module | None:
        """h -> logits of clusters (n, C), of a method that learns such a head: `cluster@1` assigns by it. Others have none."""
        return None

    def after_step(self) -> None:
        """What follows an optimiser step: moving the key encoder, enqueueing keys."""


def both(net: Network, x_q: Batch, x_k: Batch, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """z of both views, each (n, d), in one forward: the views share BatchNorm statistics, and the gradient reaches both."""
    s_q, s_k = mixture.stem(net.encoder.stem, x_q, x_k)
    q, k = net(torch.cat([mixture.query(s_q), s_k])).chunk(2)
    return q, k


def forward_in_groups(net: Network, s: Tensor, groups: int, *, shuffle: bool = False) -> Tensor:
    """z (n, d) of stem outputs (n, ...), a forward for each of `groups` parts of the batch, at least two rows each.

    Batch norm then sees the parts apart, as the GPUs of a large run do. `shuffle` draws which rows share a part, so that the
    statistics of a part do not tell which key belongs to which query (MoCo's ShuffleBN, section 3.3).
    """
    groups = min(groups, len(s) // 2)
    if groups < 2:
        return net(s)  # type: ignore[no-any-return]
    order = torch.randperm(len(s), device=s.device) if shuffle else torch.arange(len(s), device=s.device)
    z = torch.cat([net(s[part]) for part in order.tensor_split(groups)])[order.argsort()]
    net.last = z.detach()
    return z


class KeyEncoder(nn.Module):
    """A copy of a network that follows it: θ_k ← m θ_k + (1 − m) θ_q after each step (MoCo, eq. 2).

    BatchNorm normalises by the batch in training mode, and its running statistics are the copy's own, as in the reference.
    """

    def __init__(self, net: Network, momentum: float, schedule: str = "constant", steps: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).requires_grad_(False)
        self.momentum, self.schedule, self.steps, self.groups = momentum, schedule, steps, groups

    @torch.no_grad()
    def forward(self, x_q: Batch, x_k: Batch, mixture: Mixture) -> Tensor:
        """Normalised keys (n, d) of the second views, without gradient. The first views serve InputMix."""
        s_k = mixture.stem_k(self.net.encoder.stem, x_q, x_k)
        return normalize(forward_in_groups(self.net, s_k, self.groups, shuffle=True).float(), dim=1)

    def momentum_at(self, step: int) -> float:
        """m of one step: constant, or rising to 1 as 1 − (1 − m) (1 + cos(π step / steps)) / 2 (BYOL)."""
        if self.schedule == "constant":
            return self.momentum
        return 1 - (1 - self.momentum) * (1 + math.cos(math.pi * step / self.steps)) / 2

    @torch.no_grad()
    def follow(self, net: Network, step: int = 0) -> None:
        """Move towards `net` by one step of the moving average."""
        torch._foreach_lerp_(list(self.net.parameters()), list(net.parameters()), 1 - self.momentum_at(step))


class Queue(nn.Module):
    """A first-in-first-out dictionary of keys, (size, d), and the training row each came from, (size,), -1 for none.

    Keys, rows and position are buffers, so checkpoints carry them.
    """

    keys: Tensor
    rows: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int) -> None:
        """Starts with random unit vectors, as the reference does."""
        super().__init__()
        self.register_buffer("keys", normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("rows", torch.full((size,), -1))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, keys: Tensor, rows: Tensor | None = None) -> None:
        """Overwrite the oldest entries; wraps around at any size. Of more keys than fit, the last ones stay."""
        size = len(self.keys)
        slots = (self.position + torch.arange(len(keys), device=keys.device)) % size
        self.keys[slots[-size:]] = keys[-size:].to(self.keys.dtype)
        self.rows[slots[-size:]] = -1 if rows is None else rows[-size:]
        self.position.copy_((self.position + len(keys)) % size)


def build(base: str, net: Network, settings: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Method:
    """The method of that name around a network. `settings` and `given` may hold more than its card asks for."""
    card = catalog.card(catalog.METHODS, base)
    wanted = {name: settings[name] for name in card["settings"]}
    chosen = {name: settings[name] for name in card.get("options", {}) if settings.get(name) is not None}
    told = {GIVEN[need]: (given or {})[GIVEN[need]] for need in card["needs"] if need in GIVEN}
    method: Method = catalog.find(catalog.METHODS, base)(net, **wanted, **chosen, **told)
    return method
