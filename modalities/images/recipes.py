"""Which steps a view consists of: the recipes of SimCLR and MoCo v2, one for digits and letters, and every operation alone."""

from collections.abc import Callable

from modalities.images import views
from modalities.images.preprocess import Pictures
from modalities.images.views import Step

JITTER = (0.4, 0.4, 0.4, 0.1)
"""Brightness, contrast, saturation, hue. SimCLR for CIFAR: (0.8, 0.8, 0.8, 0.2) times the strength 0.5 (Chen et al. 2020,
B.9); the same in MoCo v2 (Chen et al. 2020) and i-Mix (kibok90/imix@d40fabe)."""

SIMCLR_AREA, MOCO_AREA = 0.08, 0.2
"""Least area of a crop; i-Mix takes 0.2 too."""


def steps(name: str, transform: Pictures, mask_rate: float | None, *, compiled: bool = False) -> list[Step]:
    """The steps of a recipe. Greyscale pictures have no colour parts, digits and letters no flip in the composed recipes.

    compiled: the colour jitter, which is half of the work, runs by torch.compile.
    """
    mean = tuple(transform.mean.tolist())
    flip = 0.5 if transform.flips else 0.0
    colours = [views.jitter(JITTER, compiled=compiled), *([views.to_grey()] if transform.shape[0] == 3 else [])]
    made: dict[str, Callable[[], list[Step]]] = {
        "agnostic": lambda: [views.masking(mask_rate or 0.0, mean)],
        "simclr": lambda: [views.crop(SIMCLR_AREA, flip), *colours],
        "mocov2": lambda: [views.crop(MOCO_AREA, flip), *colours, views.blur(0.5)],
        "glyphs": lambda: [views.crop(MOCO_AREA, 0.0)],  # in smaller crops a thin digit is often not to be seen
        "crop": lambda: [views.crop(SIMCLR_AREA, 0.0)],
        "flip": lambda: [views.flip()],
        "colour": lambda: colours,
        "blur": lambda: [views.blur(0.5)],
        "noise": lambda: [views.noise()],
        "cutout": lambda: [views.cutout(mean)],
        "rotation": lambda: [views.rotation()],
        "sobel": lambda: [views.sobel()],
    }
    return made[meant(name, transform.flips)]()


def said(name: str, channels: int, flips: bool) -> tuple[str, ...]:
    """What a recipe leaves out for these pictures, in sentences."""
    name = meant(name, flips)
    found = []
    if name in ("simclr", "mocov2", "colour") and channels == 1:
        found.append(f"Greyscale pictures: views {name!r} leave out saturation, hue and greyscale.")
    if name in ("simclr", "mocov2") and not flips:
        found.append(f"Digits and letters: views {name!r} leave out the flip.")
    return tuple(found)


def meant(name: str, flips: bool) -> str:
    """`domain` by what the pictures show: what may be mirrored counts as natural pictures, the rest as digits and letters."""
    return name if name != "domain" else "simclr" if flips else "glyphs"
