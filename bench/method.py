"""Method: what a file in `methods/` provides, and the two pieces that several of them share (network, queue)."""

import copy
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from bench import catalog
from bench.adapter import Batch, Encoder
from bench.mixing import Mixture


class Network(nn.Module):
    """Encoder and projection head: views -> z. The head is thrown away after pretraining."""

    def __init__(self, encoder: Encoder, head: nn.Module, dim: int) -> None:
        super().__init__()
        self.encoder, self.head, self.dim = encoder, head, dim

    def forward(self, s: Tensor) -> Tensor:
        """Stem output (n, ...) -> z (n, dim), not normalised."""
        z: Tensor = self.head(self.encoder.body(s))
        return z


class Method(nn.Module, ABC):
    """A contrastive method. Its file has a literal `CARD` and `METHOD = ItsClass`; the card's `settings` are the keyword
    arguments of its constructor, after the network."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    @abstractmethod
    def loss(self, x_q: Batch, x_k: Batch, mixture: Mixture, rows: Tensor) -> Tensor:
        """The loss of one batch of two views. rows: (n,) numbers of the training rows. No labels come here."""

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


class KeyEncoder(nn.Module):
    """A copy of a network that follows it: θ_k ← m θ_k + (1 − m) θ_q after each step (MoCo, eq. 2).

    BatchNorm normalises by the batch in training mode, and its running statistics are the copy's own, as in the reference.
    """

    def __init__(self, net: Network, momentum: float) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).requires_grad_(False)
        self.momentum = momentum

    @torch.no_grad()
    def forward(self, x_q: Batch, x_k: Batch, mixture: Mixture) -> Tensor:
        """Normalised keys (n, d) of the second views, without gradient. The first views serve InputMix."""
        _, s_k = mixture.stem(self.net.encoder.stem, x_q, x_k)
        return normalize(self.net(s_k).float(), dim=1)

    @torch.no_grad()
    def follow(self, net: Network) -> None:
        """Move towards `net` by one step of the moving average."""
        torch._foreach_lerp_(list(self.net.parameters()), list(net.parameters()), 1 - self.momentum)


class Queue(nn.Module):
    """A first-in-first-out dictionary of keys, (size, d). Keys and position are buffers, so checkpoints carry both."""

    keys: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int) -> None:
        """Starts with random unit vectors, as the reference does."""
        super().__init__()
        self.register_buffer("keys", normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Overwrite the oldest entries; wraps around at any size. Of more keys than fit, the last ones stay."""
        size = len(self.keys)
        slots = (self.position + torch.arange(len(keys), device=keys.device)) % size
        self.keys[slots[-size:]] = keys[-size:].to(self.keys.dtype)
        self.position.copy_((self.position + len(keys)) % size)


def build(base: str, net: Network, settings: dict[str, Any]) -> Method:
    """The method of that name around a network. `settings` may hold more than its card asks for."""
    wanted = catalog.card(catalog.METHODS, base)["settings"]
    method: Method = catalog.find(catalog.METHODS, base)(net, **{name: settings[name] for name in wanted})
    return method
