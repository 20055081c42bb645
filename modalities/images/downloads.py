"""Data sets of the field, each by torchvision's own class: files that are there already, else a download that it checks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.adapter import Dataset, Split
from bench.errors import UserError
from bench.home import downloads
from modalities.images import folder

PAGES = {
    "fashion_mnist": ("FashionMNIST/raw/*.gz", "https://github.com/zalandoresearch/fashion-mnist"),
    "cifar10": ("cifar-10-python.tar.gz", "https://www.cs.toronto.edu/~kriz/cifar.html"),
    "cifar100": ("cifar-100-python.tar.gz", "https://www.cs.toronto.edu/~kriz/cifar.html"),
    "svhn": ("train_32x32.mat and test_32x32.mat", "http://ufldl.stanford.edu/housenumbers"),
    "stl10": ("stl10_binary.tar.gz", "https://cs.stanford.edu/~acoates/stl10"),
    "sign_digits": (
        "sign_digits/train/<0..9>/*.jpg and sign_digits/test/<0..9>/*.jpg",
        "https://github.com/ardamavi/Sign-Language-Digits-Dataset",
    ),
}
"""Data set -> (the files it needs, where they come from)."""


def home() -> Path:
    """The folder for downloaded pictures."""
    return downloads() / "images"


def fashion_mnist() -> Dataset:
    """Fashion-MNIST, official split. Of files that lie as `.gz`, only the unpacking is left to do."""

    def part(kind: Any, train: bool) -> tuple[np.ndarray, np.ndarray, list[str]]:
        found = kind(str(home()), train=train, download=True)
        return found.data.numpy()[:, None], found.targets.numpy(), found.classes

    return _assembled("fashion_mnist", "FashionMNIST", part)


def cifar(name: str) -> Dataset:
    """CIFAR-10 or CIFAR-100 (fine classes), official split."""

    def part(kind: Any, train: bool) -> tuple[np.ndarray, np.ndarray, list[str]]:
        found = kind(str(home()), train=train, download=True)
        return found.data.transpose(0, 3, 1, 2), np.asarray(found.targets), found.classes

    return _assembled(name, name.upper(), part)


def svhn() -> Dataset:
    """Street View House Numbers, cropped digits, official split without the extra pictures."""

    def part(kind: Any, train: bool) -> tuple[np.ndarray, np.ndarray, list[str]]:
        found = kind(str(home()), split="train" if train else "test", download=True)
        return found.data, found.labels, list("0123456789")

    return _assembled("svhn", "SVHN", part)


def stl10() -> Dataset:
    """STL-10, the labelled pictures, official split; the 100,000 unlabelled ones are not used."""

    def part(kind: Any, train: bool) -> tuple[np.ndarray, np.ndarray, list[str]]:
        found = kind(str(home()), split="train" if train else "test", download=True)
        return found.data, found.labels, found.classes

    return _assembled("stl10", "STL10", part)


def sign_digits() -> Dataset:
    """Sign Language Digits, photos of hand signs, 64x64 RGB, in folders per class with a split of their own."""
    place = home() / "sign_digits"
    if (place / "train").is_dir():
        return folder.read("sign_digits", place / "train", place / "test")
    raise UserError(_missing("sign_digits", "they are not there; nothing downloads them"))


def _assembled(name: str, kind: str, part: Callable[[Any, bool], tuple[np.ndarray, np.ndarray, list[str]]]) -> Dataset:
    """Both parts by torchvision's class `kind`. Raises `UserError` that says which file to put where."""
    try:
        from torchvision import datasets
    except ModuleNotFoundError as missing:
        raise UserError(
            f"{name} is read by the library torchvision, which is not installed. Install it with: pip install -e '.[images]', "
            "or use the data set digits, which needs no library of its own."
        ) from missing
    try:
        (x, y, classes), (x_test, y_test, _) = (part(getattr(datasets, kind), train) for train in (True, False))
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        raise UserError(_missing(name, f"{type(error).__name__}: {error}")) from error
    first, last = (
        Split((np.ascontiguousarray(pixels, np.uint8),), labels.astype(np.int64))
        for pixels, labels in ((x, y), (x_test, y_test))
    )
    return Dataset(name, first, last, tuple(str(c) for c in classes))


def _missing(name: str, why: str) -> str:
    files, page = PAGES[name]
    why = " ".join(why.split()).rstrip(".")
    return (
        f"{name} needs the files {files} in {home()} ({why}). Get them from {page} where there is a network and put them "
        "there, or use the data set mnist5k or digits, which come with the installation."
    )
