"""(root seed, purpose) -> generator: the only place where randomness starts.

A generator is a pure function of its name, for example (seed, "views", step). Nothing is carried from step to step, so a
resumed run draws what the uninterrupted run would have drawn, and a checkpoint needs no generator state beyond the step.
"""

import hashlib

import numpy as np
import torch


def number(seed: int, *purpose: str | int) -> int:
    """A 63-bit integer that depends on the root seed and the purpose, and on nothing else."""
    name = repr((seed, *purpose)).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little") >> 1


def rng(seed: int, *purpose: str | int) -> np.random.Generator:
    """A numpy generator for one purpose."""
    return np.random.Generator(np.random.PCG64(number(seed, *purpose)))


def torch_rng(device: torch.device, seed: int, *purpose: str | int) -> torch.Generator:
    """A torch generator on a device for one purpose."""
    return torch.Generator(device).manual_seed(number(seed, *purpose))


def seed_globally(seed: int, *purpose: str | int) -> None:
    """Seed torch's global generators, which initialisation and dropout draw from.

    Without a GPU the CPU's is the only one: `torch.manual_seed` would keep a stack trace for each kind of device that might
    still come, which in every step costs half a millisecond.
    """
    seeding = torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed
    seeding(number(seed, *purpose))
