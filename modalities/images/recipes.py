"""Which steps a view consists of: the recipes of SimCLR and MoCo v2, and every operation alone."""

from collections.abc import Callable

import torch

from modalities.images import views
from modalities.images.preprocess import Pictures
from modalities.images.views import Step

SIMCLR_JITTER = (0.4, 0.4, 0.4, 0.1)
"""Brightness, contrast, saturation, hue: (0.8, 0.8, 0.8, 0.2) times the strength 0.5 for CIFAR (Chen et al. 2020, B.9)."""

MOCO_JITTER = (0.4, 0.4, 0.4, 0.1)  # Chen et al., MoCo v2, 2020
SIMCLR_AREA, MOCO_AREA = 0.08, 0.2  # least area of a crop; i-Mix takes 0.2 too (kibok90/imix@d40fabe)


def steps(name: str, transform: Pictures, mask_rate: float | None) -> list[Step]:
    """The steps of a recipe. Greyscale pictures have no colour parts, digits and letters no flip in the composed recipes."""
    if name == "domain":
        name = _domain(transform.flips)
    mean = torch.from_numpy(transform.mean).float()
    half = 0.5 if transform.flips else 0.0
    coloured = transform.shape[0] == 3
    to_grey = [views.to_grey()] if coloured else []
    made: dict[str, Callable[[], list[Step]]] = {
        "agnostic": lambda: [views.masking(mask_rate or 0.0, mean)],
        "simclr": lambda: [views.crop(SIMCLR_AREA, half), views.jitter(SIMCLR_JITTER), *to_grey],
        "mocov2": lambda: [views.crop(MOCO_AREA, half), views.jitter(MOCO_JITTER), *to_grey, views.blur(0.5)],
        "crop": lambda: [views.crop(SIMCLR_AREA, 0.0)],
        "flip": lambda: [views.flip()],
        "colour": lambda: [views.jitter(SIMCLR_JITTER), *to_grey],
        "blur": lambda: [views.blur(0.5)],
        "noise": lambda: [views.noise()],
        "cutout": lambda: [views.cutout(mean)],
        "rotation": lambda: [views.rotation()],
        "sobel": lambda: [views.sobel()],
    }
    return made[name]()


def said(name: str, channels: int, flips: bool) -> tuple[str, ...]:
    """What a recipe leaves out for these pictures, in sentences."""
    name = _domain(flips) if name == "domain" else name
    found = []
    if name in ("simclr", "mocov2", "colour") and channels == 1:
        found.append(f"Greyscale pictures: views {name!r} leave out saturation, hue and greyscale.")
    if name in ("simclr", "mocov2") and not flips:
        found.append(f"Digits and letters: views {name!r} leave out the flip.")
    return tuple(found)


def _domain(flips: bool) -> str:
    return "simclr" if flips else "crop"
