"""Pictures: views against torchvision's own operations, what is fitted and from which rows, encoders, classical features."""

import colorsys
import copy
import math

import numpy as np
import pytest
import torch

pytest.importorskip("torchvision")
pytest.importorskip("skimage")

from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from bench import catalog
from bench.adapter import Dataset, Split, select
from bench.encoders import MeanPool, SideBySide
from bench.mixing import blend
from bench.spec import RunSpec
from modalities.images import colour, geometry, preprocess, recipes, views
from modalities.images.preprocess import Pictures

ADAPTER = catalog.find("modalities", "images")
CARD = catalog.card("modalities", "images")
SPEC = RunSpec(modality="images", dataset="toy", mask_rate=0.2, encoder="convnet", width=1, image_size=32)
RECIPES = [name for name in CARD["views"] if name not in ("domain", "none")]


@pytest.fixture(scope="module")
def toy() -> Dataset:
    return ADAPTER.load(SPEC)


@pytest.fixture(scope="module")
def fitted(toy):
    return ADAPTER.fit(toy.train.x, toy, SPEC)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int, c: int, h: int, w: int) -> torch.Tensor:
    """Floats in [0, 1] with flat parts, a grey picture, black and white: what operations on colours stumble over."""
    x = torch.rand(n, c, h, w, generator=rng(n + c))
    x[0], x[1], x[2, :, : h // 2] = 0.0, 1.0, 0.25
    return views.floats((x * 255).round().to(torch.uint8))


def transform(channels: int, side: int = 12, flips: bool = True) -> Pictures:
    return Pictures((channels, side, side), np.full(channels, 0.4), np.full(channels, 0.2), flips)


# Operations, against the field's own for the same parameters


@pytest.mark.parametrize(("c", "h", "w"), [(3, 32, 32), (1, 28, 28), (3, 20, 33)])
def test_crop_and_flip_are_those_of_torchvision(c, h, w):
    x = pictures(40, c, h, w)
    box = views.boxes(x, 0.08, rng())
    flip = torch.rand(40, generator=rng(1)) < 0.5
    got = geometry.crop_flip(x, box, flip)
    for i, (top, left, height, width) in enumerate(box.int().tolist()):
        want = tv.resized_crop(x[i].contiguous().double(), top, left, height, width, [h, w], antialias=True)
        want = tv.horizontal_flip(want) if flip[i] else want
        torch.testing.assert_close(got[i].double(), want.double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("kind", "channels"), [("brightness", 1), ("brightness", 3), ("contrast", 1), ("contrast", 3), ("saturation", 3)]
)
def test_brightness_contrast_and_saturation_are_those_of_torchvision(kind, channels):
    x = pictures(24, channels, 16, 16)
    factor = 0.2 + 1.6 * torch.rand(24, generator=rng())
    got = getattr(colour, kind)(x, factor)
    for i in range(24):
        want = getattr(tv, f"adjust_{kind}")(x[i].contiguous(), float(factor[i]))
        torch.testing.assert_close(got[i].double(), want.double(), atol=1e-6, rtol=0)


def test_hue_is_that_of_torchvision_and_of_python():
    """Within 1e-6 of the exact value; torchvision rounds as much in float32 itself, so within twice that of torchvision."""
    x = pictures(16, 3, 8, 8)
    shift = torch.rand(16, generator=rng()) - 0.5
    got = colour.hue(x, shift)
    for i in range(16):
        theirs = tv.adjust_hue(x[i].contiguous(), float(shift[i]))
        torch.testing.assert_close(got[i], theirs, atol=2e-6, rtol=0)
        turned = [(h + float(shift[i]), s, v) for h, s, v in (colorsys.rgb_to_hsv(*p) for p in x[i].flatten(1).T.tolist())]
        exact = torch.tensor([colorsys.hsv_to_rgb(h % 1, s, v) for h, s, v in turned]).T.reshape(3, 8, 8)
        torch.testing.assert_close(got[i], exact, atol=1e-6, rtol=0)


def test_greyscale_is_that_of_torchvision_and_leaves_the_others_alone():
    x = pictures(6, 3, 8, 8)
    got = colour.greyed(x, torch.tensor([True, False] * 3))
    for i in range(6):
        want = tv.rgb_to_grayscale(x[i].contiguous(), num_output_channels=3) if i % 2 == 0 else x[i]
        torch.testing.assert_close(got[i].double(), want.double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("h", "w"), [(32, 32), (9, 15), (8, 8)])
def test_blur_is_that_of_torchvision_and_zero_changes_nothing(h, w):
    x = pictures(12, 3, h, w)
    sigma = torch.linspace(0.1, 2, 12)
    got, taps = geometry.blur(x, sigma), [2 * min(geometry.TAPS, side - 1) + 1 for side in (w, h)]
    for i in range(12):
        want = tv.gaussian_blur(x[i].contiguous(), taps, [float(sigma[i])] * 2)
        torch.testing.assert_close(got[i].double(), want.double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(geometry.blur(x, torch.zeros(12)), x, atol=0, rtol=0)


def test_the_blur_leaves_out_little_of_the_widest_gaussian():
    """What lies beyond three standard deviations: 0.27 %."""
    inside = math.erf(geometry.TAPS / 2 / math.sqrt(2))
    assert inside > 0.997


def test_quarter_turns_are_those_of_torchvision():
    x, turns = pictures(8, 3, 9, 9), torch.arange(8) % 4
    got = geometry.quarter_turns(x, turns)
    for i in range(8):
        torch.testing.assert_close(got[i], tv.rotate(x[i].contiguous(), 90.0 * (i % 4)), atol=1e-6, rtol=0)
    oblong = pictures(4, 1, 6, 9)
    assert torch.equal(geometry.quarter_turns(oblong, torch.arange(4))[[0, 1, 3]], oblong[[0, 1, 3]])
    assert torch.equal(geometry.quarter_turns(oblong, torch.arange(4))[2], oblong[2].flip(1, 2))


def test_cutout_erases_as_torchvision():
    x, fill = pictures(8, 3, 12, 12), torch.tensor([0.1, 0.5, 0.9])
    box = torch.tensor([[-2.0, 3, 6, 6], [4, 9, 6, 6], [0, 0, 6, 6], [3, 3, 6, 6]] * 2)
    got = geometry.erase(x, box, fill)
    for i, (top, left, height, width) in enumerate(box.int().tolist()):
        inside = max(top, 0), max(left, 0), min(top + height, 12) - max(top, 0), min(left + width, 12) - max(left, 0)
        want = tv.erase(x[i].contiguous(), *inside, fill[:, None, None])
        torch.testing.assert_close(got[i], want, atol=0, rtol=0)


def test_edges_are_those_of_scikit_image():
    from skimage.filters import sobel

    x = pictures(6, 3, 12, 10)
    got = geometry.sobel(x, torch.tensor([True] * 5 + [False]))
    for i in range(5):
        want = np.stack([sobel(channel.double().numpy(), mode="reflect") for channel in x[i]])
        np.testing.assert_allclose(got[i].numpy(), want, atol=1e-6)
    assert torch.equal(got[5], x[5])
    assert got.max() <= 1


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_jitter_applies_the_four_operations_in_its_order(order):
    x, factors = pictures(8, 3, 8, 8), torch.tensor([[1.3, 0.7, 1.2, 0.08]]).expand(8, -1)
    got = colour.jitter(x, factors, torch.tensor([order] * 8))
    for i in range(8):
        want = x[i].contiguous()
        for k in order:
            want = getattr(tv, f"adjust_{colour.JITTER[k]}")(want, float(factors[i, k]))
        torch.testing.assert_close(got[i], want, atol=5e-6, rtol=0)  # four operations, each within 1e-6


# Draws


@pytest.mark.parametrize(("h", "w"), [(32, 32), (16, 40)])
def test_crops_are_distributed_as_those_of_torchvision(h, w):
    """Mean and spread of the boxes of 4,000 draws of ours and of torchvision's: within 4.5 standard errors."""
    n = 4000
    ours = views.boxes(torch.empty(n, 1, h, w), 0.08, rng()).double()
    torch.manual_seed(0)
    theirs = v2.RandomResizedCrop((h, w), scale=(0.08, 1))
    drawn = [theirs.make_params([torch.empty(1, h, w)]) for _ in range(n)]
    other = torch.tensor([[p["top"], p["left"], p["height"], p["width"]] for p in drawn]).double()
    for power in (1, 2):
        a, b = ours**power, other**power
        error = ((a.var(dim=0) + b.var(dim=0)) / n).sqrt()
        assert ((a.mean(dim=0) - b.mean(dim=0)).abs() < 4.5 * error).all()
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, 0] + ours[:, 2] <= h).all()
    assert (ours[:, 1] + ours[:, 3] <= w).all()


def test_jitter_factors_lie_in_their_range_and_are_neutral_where_it_is_off():
    n = 4000
    factors, order = views.jitter((0.4, 0.3, 0.2, 0.1), 0.8).draw(torch.empty(n, 3, 4, 4), rng())
    away = (factors - torch.tensor([1.0, 1.0, 1.0, 0.0])).abs()
    assert (away <= torch.tensor([0.4, 0.3, 0.2, 0.1]) + 1e-6).all()
    off = (away == 0).all(dim=1).double().mean()
    assert abs(off - 0.2) < 4.5 * (0.16 / n) ** 0.5
    assert (order.sort(dim=1).values == torch.arange(4)).all()
    assert len({tuple(o) for o in order.tolist()}) > 12  # of 24 orders, over 63 chunks


def test_patches_are_masked_independently_at_the_rate_and_become_the_mean():
    n, rate = 2000, 0.2
    x = torch.full((n, 1, 28, 28), 200, dtype=torch.uint8)
    (seen,) = views.view(recipes.steps("agnostic", transform(1, 28), rate))((x,), rng())
    assert set(seen.unique().tolist()) == {102, 200}  # the mean, 0.4, in bytes
    hit = (seen[:, 0] == 102)[:, ::4, ::4].double()  # 28 pixels in 8 patches: 3 or 4 pixels each
    assert abs(hit.mean() - rate) < 4.5 * (rate * (1 - rate) / hit[0, ::2, ::2].numel() / n) ** 0.5
    cells = torch.from_numpy(np.arange(28) * 8 // 28)
    first = torch.tensor([int((cells == i).nonzero()[0]) for i in range(8)])
    grid = (seen[:, 0] == 102)[:, first][:, :, first].flatten(1).double()
    assert torch.equal((seen[:, 0] == 102), grid.bool().view(n, 8, 8)[:, cells][:, :, cells])
    apart = torch.corrcoef(grid.T) - torch.eye(64)
    assert apart.abs().max() < 5 / n**0.5


# Views


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", RECIPES)
def test_a_view_keeps_shape_dtype_and_input_and_is_made_by_its_generator(name, channels):
    x = ((pictures(70, channels, 12, 12) * 255).round().to(torch.uint8).contiguous(),)
    kept = x[0].clone()
    view = views.view(recipes.steps(name, transform(channels), 0.2))
    first, again, other = (view(x, rng(seed))[0] for seed in (1, 1, 2))
    assert (first.shape, first.dtype) == (kept.shape, kept.dtype)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(x[0], kept)
    assert not first.is_inference()  # whatever learns may go on with it


@pytest.mark.parametrize("name", RECIPES)
def test_a_view_loses_no_digits_where_training_runs_in_bf16(name):
    x = ((pictures(20, 3, 12, 12) * 255).round().to(torch.uint8).contiguous(),)
    view = views.view(recipes.steps(name, transform(3), 0.2))
    with torch.autocast("cpu", torch.bfloat16):
        inside = view(x, rng())[0]
    assert torch.equal(inside, view(x, rng())[0])


@pytest.mark.parametrize("name", RECIPES)
def test_a_whole_batch_is_a_loop_over_pictures_with_the_same_parameters(name):
    x = pictures(20, 3, 12, 12)
    for step in recipes.steps(name, transform(3), 0.2):
        drawn = step.draw(x, rng())
        whole = step.apply(x, *drawn)
        assert whole.min() >= -1e-6
        assert whole.max() <= 1 + 1e-6
        for i in range(20):
            one = step.apply(x[i : i + 1], *(p[i : i + 1] for p in drawn))
            torch.testing.assert_close(whole[i], one[0], atol=1e-6, rtol=0)


def test_two_views_in_one_step_differ_and_none_is_the_picture(toy, fitted):
    x = fitted(toy.train.x)
    view, luck = ADAPTER.view(SPEC, fitted), rng()
    assert not torch.equal(view(x, luck)[0], view(x, luck)[0])
    assert ADAPTER.view(SPEC.replace(views="none"), fitted)(x, luck)[0] is x[0]


def test_the_size_of_a_chunk_changes_nothing_but_the_order_of_colour_operations(monkeypatch):
    x = ((pictures(100, 3, 12, 12) * 255).to(torch.uint8).contiguous(),)
    steps = [s for name in ("crop", "blur", "noise", "cutout") for s in recipes.steps(name, transform(3), None)]
    whole = views.view(steps)(x, rng())[0]
    monkeypatch.setattr(views, "CHUNK", 7)
    parts = views.view(steps)(x, rng())[0]
    assert (whole.int() - parts.int()).abs().max() <= 1  # sums in another order may round the other way


def test_what_a_recipe_leaves_out_is_said(toy):
    grey = (toy.train.x[0][:, :1],)
    for name, views_, x, words in (
        ("toy", "simclr", grey, "leave out saturation, hue and greyscale"),
        ("toy", "domain", grey, "leave out saturation, hue and greyscale"),
        ("svhn", "simclr", toy.train.x, "leave out the flip"),
    ):
        d = Dataset(name, Split(x, toy.train.y), Split(x, toy.train.y), toy.classes)
        assert words in " ".join(ADAPTER.fit(x, d, SPEC.replace(views=views_)).notes)
    assert ADAPTER.fit(toy.train.x, toy, SPEC).notes == ()


def test_digits_and_letters_are_never_mirrored_by_a_composed_recipe():
    half = torch.zeros(64, 3, 12, 12, dtype=torch.uint8)
    half[..., :6] = 255
    for name in ("domain", "simclr", "mocov2"):
        (seen,) = views.view(recipes.steps(name, transform(3, flips=False), None))((half,), rng())
        left, right = seen[..., :4].float().mean(dim=(1, 2, 3)), seen[..., -4:].float().mean(dim=(1, 2, 3))
        assert (left >= right - 1).all()
        (seen,) = views.view(recipes.steps(name, transform(3), None))((half,), rng())
        left, right = seen[..., :4].float().mean(dim=(1, 2, 3)), seen[..., -4:].float().mean(dim=(1, 2, 3))
        assert (left < right - 50).any()


# Preprocessing


def test_channels_have_mean_zero_and_spread_one_over_the_training_pixels(toy, fitted):
    z = fitted.standardised(fitted(toy.train.x)[0]).double()
    assert z.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    assert (z.std(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-5


def test_test_rows_cannot_change_a_training_statistic(toy, fitted):
    other = Dataset("toy", toy.train, Split((255 - toy.test.x[0],), toy.test.y), toy.classes)
    again = ADAPTER.fit(other.train.x, other, SPEC)
    assert np.array_equal(again.mean, fitted.mean)
    assert np.array_equal(again.std, fitted.std)
    assert toy.fingerprint != other.fingerprint


def test_large_pictures_are_made_smaller_as_torchvision_does_and_it_is_said():
    x = np.random.default_rng(0).integers(0, 256, (5, 3, 40, 60), np.uint8)
    d = Dataset("big", Split((x,), np.arange(5) % 2), Split((x,), np.arange(5) % 2), ("a", "b"))
    small = ADAPTER.fit((x,), d, SPEC)
    assert small.shape == (3, 21, 32)
    assert "40x60 pixels are made 21x32" in small.notes[0]
    want = tv.resize(torch.from_numpy(x).float(), [21, 32], antialias=True).round()
    assert (small((x,))[0].float() - want).abs().max() <= 1
    assert ADAPTER.fit((x,), d, SPEC.replace(image_size=64)).shape == (3, 40, 60)


def test_a_channel_without_any_spread_is_no_division_by_zero():
    x = (np.full((4, 1, 8, 8), 7, np.uint8),)
    t = preprocess.fit(x, 32, True, ())
    assert not t.standardised(t(x)[0]).abs().max() > 1e-6


def test_raw_features_are_standardised_pixels(toy, fitted):
    raw = ADAPTER.raw(fitted(toy.test.x), fitted)
    assert (raw.shape, raw.dtype) == ((64, 3 * 16 * 16), np.float32)
    z = (toy.test.x[0] / 255 - fitted.mean[:, None, None]) / fitted.std[:, None, None]
    np.testing.assert_allclose(raw, z.reshape(64, -1), atol=1e-5)


# Encoders


def test_mixing_after_the_stem_is_mixing_pictures(toy, fitted):
    x = fitted(toy.train.x)
    torch.manual_seed(0)
    stem = ADAPTER.encoder(SPEC, fitted).stem
    n = len(x[0])
    rows, lam = torch.stack([torch.arange(n), torch.randperm(n, generator=rng())]), torch.rand(n, generator=rng(1))
    weights = torch.stack([lam, 1 - lam])
    before = blend(x[0].double(), rows, weights)
    scale, shift = fitted.affine()
    torch.testing.assert_close(blend(stem(x), rows, weights).double(), before * scale + shift, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["convnet", "resnet18"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 21, 32)])
def test_an_encoder_says_its_dimension_and_has_every_weight_from_the_start(name, shape):
    torch.manual_seed(0)
    t = Pictures(shape, np.full(shape[0], 0.5), np.full(shape[0], 0.2), True)
    encoder = ADAPTER.encoder(SPEC.replace(encoder=name), t)
    h = encoder((torch.randint(0, 256, (4, *shape), dtype=torch.uint8, generator=rng()),))
    assert h.shape == (4, encoder.dim)
    h.square().sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


@pytest.mark.parametrize(("side", "stride"), [(4, 1), (3, 1), (8, 2), (7, 2), (1, 1), (1, 2), (5, 1)])
@pytest.mark.parametrize("count", [1, 3, 12])
def test_a_convolution_of_pictures_side_by_side_is_that_of_each_alone(side, stride, count):
    torch.manual_seed(0)
    plain = torch.nn.Conv2d(5, 6, 3, stride, padding=1, bias=False, dtype=torch.float64)
    laid = SideBySide.of(copy.deepcopy(plain))
    x, y = (torch.randn(12, 5, 3, side, dtype=torch.float64, generator=rng()).requires_grad_() for _ in range(2))
    one, other = plain(x), laid.laid(y, count)
    torch.testing.assert_close(other, one)
    for out in (one, other):
        out.square().sum().backward()
    torch.testing.assert_close(y.grad, x.grad)
    torch.testing.assert_close(laid.weight.grad, plain.weight.grad)


@pytest.mark.parametrize(("n", "narrow"), [(64, True), (7, False)])
def test_narrow_pictures_in_bf16_are_laid_side_by_side_and_others_are_not(n, narrow, monkeypatch):
    torch.manual_seed(0)
    plain, lain = torch.nn.Conv2d(4, 4, 3, padding=1, bias=False).bfloat16(), []
    conv = SideBySide.of(plain)
    monkeypatch.setattr(conv, "laid", lambda x, count: lain.append(count) or SideBySide.laid(conv, x, count))
    for side in (4, 16):
        x = torch.randn(n, 4, side, side, generator=rng()).bfloat16()
        torch.testing.assert_close(conv(x), plain(x))
        conv.float()(x.float())
        conv.bfloat16()
    assert lain == ([32] if narrow else [])


def test_laying_side_by_side_draws_no_random_number_and_renames_nothing():
    drawn = []
    for kind in (lambda conv: conv, SideBySide.of):
        torch.manual_seed(0)
        names = list(kind(torch.nn.Conv2d(2, 3, 3, padding=1, bias=False)).state_dict())
        drawn.append((names, torch.rand(1).item()))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    ("side", "shape"), [(1, (8, 8)), (1, (1, 5)), (2, (4, 6)), (2, (2, 2)), (3, (9, 3)), (2, (5, 4)), (2, (7, 7))]
)
def test_means_of_parts_are_those_of_torch_and_so_is_their_gradient(side, shape):
    made, torchs = MeanPool(side), torch.nn.AdaptiveAvgPool2d(side)
    x, y = (torch.randn(3, 5, *shape, dtype=torch.float64, generator=rng()).requires_grad_() for _ in range(2))
    one, other = torchs(x), made(y)
    torch.testing.assert_close(other, one)
    for out in (one, other):
        out.pow(3).sum().backward()
    torch.testing.assert_close(y.grad, x.grad)


@pytest.mark.parametrize("side", [1, 2])
def test_what_comes_before_the_means_gets_a_gradient_that_lies_channels_last(side):
    x = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    seen = []
    before = x.relu()
    before.register_hook(seen.append)
    MeanPool(side)(before).square().sum().backward()
    assert seen[0].stride()[1] == 1
    assert side > 1 or seen[0].untyped_storage().nbytes() == 4 * 2 * 3  # one number for each picture and channel
    assert x.grad.is_contiguous(memory_format=torch.channels_last)


def test_the_encoders_of_the_card_have_the_published_sizes():
    t = Pictures((3, 32, 32), np.full(3, 0.5), np.full(3, 0.2), True)
    sizes = {}
    with torch.device("meta"):
        for name in CARD["encoders"]:
            encoder = ADAPTER.encoder(SPEC.replace(encoder=name), t)
            sizes[name] = encoder.dim, sum(p.numel() for p in encoder.parameters())
    assert sizes["resnet18"] == (512, 11_168_832)  # CIFAR stem, without the classifier
    assert sizes["resnet50"] == (2048, 23_500_352)


def test_a_batch_of_pictures_has_a_grid_for_cutmix(toy, fitted):
    batch = fitted(toy.train.x)
    stem = ADAPTER.encoder(SPEC, fitted).stem
    assert stem(batch).shape[-2:] == batch[0].shape[-2:] == (16, 16)


# Controls


@pytest.mark.parametrize(("c", "h", "w"), [(1, 8, 8), (3, 16, 16), (1, 7, 40)])
def test_classical_features_are_pixels_and_gradients_and_learn_both_ways(c, h, w):
    draw = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = draw.integers(0, 20, (40, c, h, w), np.uint8)
    x[y == 1, :, :, w // 4 : 3 * w // 4] += 120  # two upright edges
    d = Dataset("t", Split((x,), y), Split((x,), y), ("a", "b"))
    table = ADAPTER.classical_input((x,), d)
    models = ADAPTER.classical(d)
    assert {m.features for m in models} == {"hog", "pca"}
    assert table.dtype == np.float32
    assert table.shape[1] > models[0].pixels
    for model in models:
        assert model.fit(table[:30], y[:30]).score(table[30:], y[30:]) >= 0.9


def test_a_sheet_shows_the_pixels(toy, fitted):
    batch = select(fitted(toy.train.x), torch.arange(3))
    assert np.array_equal(ADAPTER.sheet(batch, fitted), toy.train.x[0][:3].transpose(0, 2, 3, 1))
    assert ADAPTER.sheet((batch[0][:, :1],), fitted).shape == (3, 16, 16)
