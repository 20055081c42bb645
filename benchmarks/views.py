"""Views of pictures, beside lightly and torchvision.

Views of 256 pictures of 32x32 RGB. `bench` draws and applies its recipes `simclr` and `mocov2` to all of them at once, bytes to
bytes; lightly its transforms of the same operations (`SimCLRTransform(32, gaussian_blur=0, cj_strength=0.5)` and
`MoCoV2Transform(32)`) to one PIL picture after the other, to normalised floats. Two views of a picture count as two. `bench`
draws one order of the four colour operations for 64 pictures, lightly one for each picture.

Then every operation of the two recipes beside torchvision's own in float64, for equal pictures and parameters: the largest
difference of a value in [0, 1], over 96 pictures, some of them grey, black or white. torchvision turns hues in float32 whatever
comes in, and rounds as much itself; there the other side is Python's `colorsys`.
"""

import colorsys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bench import perf
from benchmarks.pictures import BATCH, FITTED, PIXELS, VIEWS, Rows, transform
from benchmarks.row import Row
from benchmarks.timing import Side, Spread, per_second, ratio, turns
from modalities.images import colour, geometry, recipes, views

TITLES = {"simclr": "SimCLR", "moco": "MoCo v2, with blur"}
RATE = {"simclr": ">= 20000", "moco": ""}
RATIO = {"simclr": ">= 10", "moco": ""}
EQUAL = "<= 1e-6"


def rows(rounds: int) -> Iterator[Row]:
    """Views a second, then differences."""
    for method, title in TITLES.items():
        yield from speed(method, title, rounds)
    for name, (got, wanted) in operations().items():
        worst = max(float((mine.double() - theirs).abs().max()) for mine, theirs in zip(got, wanted, strict=True))
        peer = "colorsys" if name == "hue" else "torchvision"
        yield Row(f"{name}: largest difference from {peer}", Spread.of([worst]), "", EQUAL)


def speed(method: str, title: str, rounds: int) -> Iterator[Row]:
    """Views a second, of bench and of lightly."""
    sides = {"bench": ours(method), "compiled": ours(method, compiled=True), "lightly": theirs(method)}
    if not perf.can_compile("cpu"):
        del sides["compiled"]
    with perf.kept_memory(), perf.compiling():  # as in `bench.train.fit`
        times = turns(sides, rounds, {**dict.fromkeys(sides, 4), "lightly": 1})
    yield Row(f"{title}: views a second of a core", per_second(times["bench"], 2 * BATCH), "/s", RATE[method])
    yield Row(f"{title}: lightly's time over bench's", ratio(times["lightly"], times["bench"]), "x", RATIO[method])
    if "compiled" in times:
        yield Row(f"{title}, --compile: views a second of a core", per_second(times["compiled"], 2 * BATCH), "/s")


def ours(method: str, *, compiled: bool = False) -> Side:
    """Both views of a batch."""
    view = views.view(recipes.steps(VIEWS[method], FITTED, None, compiled=compiled))
    batch, luck = (torch.from_numpy(PIXELS[:BATCH]),), torch.Generator().manual_seed(0)
    return lambda: (view(batch, luck), view(batch, luck))


def theirs(method: str) -> Side:
    """Both views of as many pictures."""
    each = Rows(transform(method))
    return lambda: [each[i] for i in range(BATCH)]


def operations() -> dict[str, tuple[Tensor, list[Tensor]]]:
    """By name: what ours makes of some pictures, float32 (n, c, h, w), and torchvision's of each in float64."""
    from torchvision.transforms.v2 import functional as tv

    n, luck = 96, torch.Generator().manual_seed(1)
    x = torch.from_numpy(PIXELS[:n]).clone()
    x[0], x[1], x[2, :, :16] = 0, 255, 64
    x = views.floats(x)
    exact = [picture.double() for picture in x]
    box, flip = views.boxes(x, recipes.SIMCLR_AREA, luck), torch.rand(n, generator=luck) < 0.5
    factor, shift = (0.2 + 1.6 * torch.rand(n, generator=luck)), torch.rand(n, generator=luck) - 0.5
    sigma, taps = 0.1 + 1.9 * torch.rand(n, generator=luck), [2 * geometry.TAPS + 1] * 2

    def cropped(i: int) -> Tensor:
        made = tv.resized_crop(exact[i], *box[i].int().tolist(), [32, 32], antialias=True)
        return tv.horizontal_flip(made) if flip[i] else made

    adjusted: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Tensor, Callable[[Tensor, float], Tensor]]] = {
        "brightness": (colour.brightness, factor, tv.adjust_brightness),
        "contrast": (colour.contrast, factor, tv.adjust_contrast),
        "saturation": (colour.saturation, factor, tv.adjust_saturation),
        "hue": (colour.hue, shift, turned),
        "blur": (geometry.blur, sigma, lambda picture, s: tv.gaussian_blur(picture, taps, [s, s])),
        "greyscale": (colour.greyed, torch.ones(n), lambda picture, _: tv.rgb_to_grayscale(picture, 3)),
    }
    found = {"crop and flip": (geometry.crop_flip(x, box, flip), [cropped(i) for i in range(n)])}
    for name, (ours_, by, theirs_) in adjusted.items():
        found[name] = ours_(x, by), [theirs_(picture, float(p)) for picture, p in zip(exact, by, strict=True)]
    return found


def turned(picture: Tensor, shift: float) -> Tensor:
    """The hue of every pixel turned, (3, h, w) in float64."""
    hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in picture.flatten(1).T.tolist()]
    rgb = [colorsys.hsv_to_rgb((h + shift) % 1, s, v) for h, s, v in hsv]
    return torch.tensor(rgb, dtype=torch.float64).T.reshape(picture.shape)
