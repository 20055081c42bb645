"""Dimensional collapse in a few linear units: the two toy experiments of Jing et al. (ICLR 2022), trained with our InfoNCE.

As in the authors' scripts (facebookresearch/directclr@a86f64c): 16 inputs and outputs, dot products at τ = 0.1, batches of
128, plain gradient descent, 10,000 steps. The bounds follow a re-run by an independent program over three seeds.
"""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.objective import info_nce

WIDTH, BATCH, STEPS = 16, 128, 10_000

pytestmark = pytest.mark.full


def spectrum(layers: list[Tensor], noise: Tensor, rate: float) -> np.ndarray:
    """Eigenvalues, largest first, of the covariance of 1000 fresh samples after training a product of linear layers.

    noise: (16,) standard deviation of what each view adds to every input.
    """
    draw, own = torch.Generator().manual_seed(0), torch.eye(BATCH)
    layers = [w.clone().requires_grad_() for w in layers]
    data = torch.randn(10_000, WIDTH, generator=draw)
    for _ in range(STEPS):
        x = data[torch.randint(len(data), (BATCH,), generator=draw)]
        q, k = (through(layers, x + noise * torch.randn(x.shape, generator=draw)) for _ in range(2))
        grads = torch.autograd.grad(info_nce(q, k, own, 0.1, similarity="dot"), layers)
        with torch.no_grad():
            for w, g in zip(layers, grads, strict=True):
                w -= rate * g
    with torch.no_grad():
        z = through(layers, torch.randn(1000, WIDTH, generator=draw)).double().numpy()
    return np.linalg.eigvalsh(np.cov(z.T))[::-1].clip(1e-30)


def through(layers: list[Tensor], x: Tensor) -> Tensor:
    for w in layers:
        x = x @ w.T
    return x


def effective_rank(eigenvalues: np.ndarray) -> float:
    """exp of the entropy of the normalised spectrum (Roy and Vetterli, 2007)."""
    p = eigenvalues / eigenvalues.sum()
    return math.exp(-float((p * np.log(p)).sum()))


def test_strong_augmentation_makes_the_augmented_dimensions_small():
    """One layer; both views add noise to the last 8 inputs. Theorem 1: their singular values shrink, the more the stronger."""
    weight = torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(1)) / WIDTH**0.5
    strengths = (0.01, 0.5, 1.5)
    found = [spectrum([weight], s * torch.arange(WIDTH).ge(8).float(), 1e-3) for s in strengths]
    ranks = [effective_rank(f) for f in found]
    assert ranks[0] > ranks[1] > ranks[2]
    assert ranks[0] > 14.5  # 15.8 in the re-run
    assert ranks[2] < 11.5  # 9.8
    strong = found[2]
    assert strong[7] > 8 * strong[8]  # a gap between the 8 that are augmented and the 8 that are not
    assert strong[8:].max() > 1e-4  # which stay on a plateau, about 1e-2: it is no exact rank of 8


def test_two_layers_of_skewed_start_leave_small_singular_values_behind():
    """Hardly any augmentation. Theorems 2 and 3: singular values grow in proportion to themselves, so the least stay tiny."""
    draw = torch.Generator().manual_seed(1)
    skew = torch.exp(-0.35 * torch.arange(WIDTH))
    layers = [
        torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=draw)).Q * skew
        @ torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=draw)).Q
        for _ in range(2)
    ]  # fmt: skip
    found = spectrum(layers, torch.full((WIDTH,), 1e-3), 1e-2)
    assert effective_rank(found) < 14.5  # 12.8 in the re-run
    assert found[-2] < 1e-5 * np.median(found)  # five orders of magnitude below, at least for two
    assert found[7] > 0.1 * found[0]  # most have grown to about the same size
