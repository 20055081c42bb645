"""Adapter: what a modality provides, and the values that pass between it and the core."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.errors import UserError, refuse
from bench.seeds import rng
from bench.spec import RunSpec

Arrays = tuple[np.ndarray, ...]
"""Raw rows as loaded: arrays with one first axis (numeric table and category codes; images; texts; clips and lengths)."""

Batch = tuple[Tensor, ...]
"""Rows ready for the encoder: tensors with one first axis."""

View = Callable[[Batch, torch.Generator], Batch]
"""One random view of every example of a batch; same shapes and dtypes."""


def same(x: Batch, rng: torch.Generator) -> Batch:  # noqa: ARG001 - the signature of every view
    """The view that changes nothing."""
    return x


def take(arrays: Arrays, rows: np.ndarray) -> Arrays:
    """Some rows of raw arrays."""
    return tuple(a[rows] for a in arrays)


def _kinds(arrays: Sequence[tuple[np.dtype[Any], tuple[int, ...]]]) -> str:
    return " and ".join(f"{dtype} {'x'.join(map(str, shape)) or 'each'}" for dtype, shape in arrays)


def select(batch: Batch, rows: Tensor) -> Batch:
    """Some rows of a batch."""
    return tuple(t.index_select(0, rows) for t in batch)


def join(first: Batch, second: Batch) -> Batch:
    """The rows of two batches, one after the other."""
    return tuple(torch.cat(pair) for pair in zip(first, second, strict=True))


@dataclass(frozen=True)
class Split:
    """Rows with labels. y: integers 0..C-1, shape (n,). groups: for example speakers, shape (n,), or None."""

    x: Arrays
    y: np.ndarray
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Given:
    """Raw rows of the user's, without labels. names: of the files they came from, one each, or None; notes: what was done."""

    x: Arrays
    names: Sequence[str] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """A loaded data set: nothing fitted, nothing cut. `meta` is what the modality wants to remember (column names)."""

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    metric: str = "accuracy"
    notes: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        present = len(np.unique(self.train.y))
        refuse(
            [f"{self.name}: {len(s)} {n} rows; at least 2 are needed." for n, s in self._splits() if len(s) < 2]
            + ([f"{self.name}: {present} class among the training rows; at least 2 are needed."] if present < 2 else [])
        )

    def _splits(self) -> tuple[tuple[str, Split], tuple[str, Split]]:
        return (("training", self.train), ("test", self.test))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every array of both splits, and the class names."""
        mark = hashlib.sha256("\0".join(self.classes).encode())
        for name, split in self._splits():
            for a in (*split.x, split.y, *(() if split.groups is None else (split.groups,))):
                mark.update(f"{name} {a.shape} {a.dtype.kind}".encode())
                mark.update("\0".join(map(str, a)).encode() if a.dtype == object else np.ascontiguousarray(a).data)
        return mark.hexdigest()


TEST_SHARE = 0.2
"""Rows held out of data that come without a test set."""


def hold_out(y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers for training and test, ascending: a stratified fifth is held out.

    A class gives a fifth of its rows, rounded; one with fewer than three rows gives none.
    """
    order = rng(seed, "hold out").permutation(len(y))
    held = [(rows := order[y[order] == c])[: round(TEST_SHARE * len(rows))] for c in np.unique(y)]
    test = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(y)), test), test


class Encoder(nn.Module):
    """f: x -> h, as stem + body.

    stem: Batch -> float tensor (n, ...), linear in one-hot inputs, so that mixing its output mixes inputs.
    body: that tensor -> h of shape (n, dim).
    """

    def __init__(self, stem: nn.Module, body: nn.Module, dim: int) -> None:
        super().__init__()
        self.stem, self.body, self.dim = stem, body, dim

    @property
    def residual(self) -> bool:
        """Whether h is the sum of a residual block; a body (or a part of it) says so by an attribute of this name."""
        return any(getattr(module, "residual", False) for module in self.body.modules())

    def forward(self, x: Batch) -> Tensor:
        h: Tensor = self.body(self.stem(x))
        return h


class Transform(ABC):
    """Raw rows -> Batch, with statistics fitted on the cut training rows and on nothing else."""

    @abstractmethod
    def __call__(self, x: Arrays) -> Batch:
        """Raw rows -> tensors on the CPU, one first axis."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What fitting had to say (columns dropped, for example), one sentence each."""
        return ()


class Adapter(ABC):
    """One kind of data. A modality is one file with a literal `CARD`, one final `Adapter` and `ADAPTER = ThatClass()`."""

    @abstractmethod
    def load(self, spec: RunSpec) -> Dataset:
        """Load `spec.dataset`, or the user's own `spec.data`, `spec.test`, `spec.target`. Every modality has a `toy`.

        Raises `UserError` for data that cannot be used, saying what came, what was wanted and what to do.
        """

    def expand(self, name: str) -> list[str]:
        """The data sets behind one name, for a sweep. A name that stands for itself comes back alone."""
        return [name]

    def transferred(self, source: Dataset, target: Dataset) -> Dataset:
        """`target` with its raw rows coded as those of `source`, for an encoder that was trained on `source`.

        Raises `UserError` where rows of one cannot be rows of the other. Unless overridden: equal kinds and sizes of arrays.
        """
        ours, theirs = ([(a.dtype, a.shape[1:]) for a in data.train.x] for data in (source, target))
        if ours != theirs:
            raise UserError(
                f"an encoder trained on {source.name} cannot be scored on {target.name}: its rows are {_kinds(ours)}, those of "
                f"{target.name} {_kinds(theirs)}. Name a data set of equal rows with --evaluate-on."
            )
        return target

    def read(self, path: str, dataset: Dataset, spec: RunSpec) -> Given:  # noqa: ARG002 - what an override needs
        """Raw rows of a file or folder of the user's, coded as those of `dataset`. They need no labels.

        A file's rows keep their order; files of a folder come sorted by name. Raises `UserError` for what cannot be rows of
        that data set.
        """
        raise UserError(
            f"{spec.modality} cannot read rows without labels from a file yet; in Python, give arrays to bench.load."
        )

    @abstractmethod
    def fit(self, x: Arrays, dataset: Dataset, spec: RunSpec) -> Transform:
        """Fit preprocessing on raw training rows (after the cut). `spec` is without holes."""

    @abstractmethod
    def view(self, spec: RunSpec, transform: Transform) -> View:
        """The function that draws one view under `spec.views` and its settings. For `none` it returns its input."""

    def key_view(self, spec: RunSpec, transform: Transform) -> View:
        """The function that draws the second view of a pair; most recipes draw both views alike."""
        return self.view(spec, transform)

    @abstractmethod
    def encoder(self, spec: RunSpec, transform: Transform) -> Encoder:
        """An untrained encoder. Draws its weights from torch's global generator."""

    def division(self, spec: RunSpec) -> str:  # noqa: ARG002 - most modalities train from scratch, whatever the spec
        """Which rows a run may be ranked with: `from scratch`, or `pretrained` for a checkpoint trained elsewhere."""
        return "from scratch"

    @abstractmethod
    def sheet(self, x: Batch, transform: Transform) -> np.ndarray | list[str]:
        """What a person sees of a batch, for `bench views`: pictures uint8 (n, height, width[, 3]), or n lines of text."""

    @abstractmethod
    def raw(self, x: Batch, transform: Transform) -> np.ndarray:
        """Features without an encoder, float32 (n, d), for the control `raw`. `transform` is what made x."""

    @abstractmethod
    def classical(self, dataset: Dataset) -> Sequence[Any]:
        """Unfitted scikit-learn classifiers for the control `classical`; validation chooses among them."""

    @abstractmethod
    def classical_input(self, x: Arrays, dataset: Dataset) -> Any:
        """Raw rows as those classifiers want them, indexable by row. Anything fitted belongs into the classifier."""
