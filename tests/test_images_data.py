"""Pictures from disk: the field's sets in their own layout, the user's folders, and what cannot be used."""

import functools
import gzip
import hashlib
import http.server
import pickle
import shutil
import struct
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torchvision")
pytest.importorskip("mlxtend")

from PIL import Image
from torchvision import datasets

from bench import catalog
from bench.errors import UserError
from bench.experiment import run
from bench.prepare import prepare
from bench.spec import RunSpec
from modalities.images import downloads
from modalities.images.folder import _picture
from modalities.images.sources import LOADERS

ADAPTER = catalog.find("modalities", "images")
CARDS = catalog.card("modalities", "images")["datasets"]


def load(name: str):
    return ADAPTER.load(RunSpec(modality="images", dataset=name))


def own(place: Path, test: Path | None = None, **more):
    return ADAPTER.load(RunSpec(modality="images", data=str(place), test=None if test is None else str(test), **more))


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def folders(place: Path, each: int = 6, classes: str = "ab", size: tuple[int, ...] = (10, 12, 3), ending: str = "png") -> Path:
    """A folder of class folders with noise; class number and picture number decide the pixels."""
    for c, name in enumerate(classes):
        (place / name).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            Image.fromarray(noise(100 * c + i, *size)).save(place / name / f"{i}.{ending}")
    return place


@pytest.fixture
def offline(monkeypatch):
    """torchvision's addresses lead to a port of this machine where nobody listens."""
    nowhere = "http://127.0.0.1:9/"
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [nowhere])
    monkeypatch.setattr(datasets.CIFAR10, "url", nowhere + "cifar-10-python.tar.gz")
    monkeypatch.setattr(datasets.CIFAR100, "url", nowhere + "cifar-100-python.tar.gz")
    monkeypatch.setattr(datasets.STL10, "url", nowhere + "stl10_binary.tar.gz")
    lists = {part: [nowhere + rest[0].rpartition("/")[2], *rest[1:]] for part, rest in datasets.SVHN.split_list.items()}
    monkeypatch.setattr(datasets.SVHN, "split_list", lists)
    monkeypatch.delenv("BENCH_DATA", raising=False)


@pytest.fixture
def serve():
    """serve(folder) -> address of a server on this machine that hands out its files."""
    servers = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    def start(folder: Path) -> str:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


# The card


def test_every_data_set_of_the_card_has_a_loader():
    assert set(CARDS) == set(LOADERS)


@pytest.mark.parametrize("name", ["mnist5k", "digits", "toy"])
def test_a_data_set_is_what_its_card_says(name):
    card, d = CARDS[name], load(name)
    (pixels,) = d.train.x
    size, mode = card["size"].split()
    assert f"{len(d.train)} + {len(d.test)}" == card["rows"]
    assert "x".join(map(str, pixels.shape[2:])) == size
    assert pixels.shape[1] == {"grey": 1, "RGB": 3}[mode]
    assert (pixels.dtype, d.train.y.dtype) == (np.uint8, np.int64)
    assert len(d.classes) == card["classes"]
    assert d.fingerprint.startswith(card["fingerprint"])
    counts = np.bincount(d.test.y)
    assert counts.max() - counts.min() <= 2
    assert not {p.tobytes() for p in pixels} & {p.tobytes() for p in d.test.x[0]}


def test_mnist5k_shows_digits_of_full_contrast():
    (pixels,) = load("mnist5k").train.x
    assert pixels.max() == 255
    assert 0.1 < (pixels > 127).mean() < 0.15  # ink covers an eighth of the paper


# The field's sets, each in the layout of its own files


def idx(a: np.ndarray) -> bytes:
    """The IDX format of MNIST: two zeros, type 8 (unsigned byte), number of axes, their lengths, the bytes."""
    return gzip.compress(struct.pack(f">HBB{a.ndim}I", 0, 8, a.ndim, *a.shape) + a.tobytes())


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.fixture
def small_fashion(tmp_path, monkeypatch) -> Path:
    """A folder with the four files of Fashion-MNIST, of 30 and 20 pictures, and torchvision told their sums."""
    place = tmp_path / "served"
    place.mkdir()
    sums = []
    for part, n in (("train", 30), ("t10k", 20)):
        for kind, a in (("images-idx3", noise(n, n, 28, 28)), ("labels-idx1", (np.arange(n) % 10).astype(np.uint8))):
            path = place / f"{part}-{kind}-ubyte.gz"
            path.write_bytes(idx(a))
            sums.append((path.name, md5(path)))
    monkeypatch.setattr(datasets.FashionMNIST, "resources", sums)
    return place


@pytest.mark.usefixtures("offline")
def test_fashion_mnist_is_downloaded_unpacked_and_then_there(small_fashion, serve, monkeypatch):
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [serve(small_fashion)])
    first = load("fashion_mnist")
    assert first.train.x[0].shape == (30, 1, 28, 28)
    assert np.array_equal(first.train.x[0][:, 0], noise(30, 30, 28, 28))
    assert np.array_equal(first.test.y, np.arange(20) % 10)
    assert first.classes[0] == "T-shirt/top"
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    assert load("fashion_mnist").fingerprint == first.fingerprint


@pytest.mark.usefixtures("offline")
def test_fashion_mnist_takes_packed_files_that_lie_there(small_fashion):
    raw = downloads.home() / "FashionMNIST" / "raw"
    raw.parent.mkdir(parents=True)
    small_fashion.rename(raw)
    assert load("fashion_mnist").test.x[0].shape == (20, 1, 28, 28)


def lend(bench_data: Path, name: str) -> None:
    """A copy of real files where downloads lie."""
    if not (bench_data / "images" / name).is_dir():
        pytest.skip(f"no real data: {bench_data / 'images' / name} is absent")
    shutil.copytree(bench_data / "images" / name, downloads.home() / name)


def test_the_real_fashion_mnist_is_what_its_card_says(bench_data, monkeypatch):
    lend(bench_data, "FashionMNIST")
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    d = load("fashion_mnist")
    assert f"{len(d.train)} + {len(d.test)}" == CARDS["fashion_mnist"]["rows"]
    assert np.bincount(d.train.y).tolist() == [6000] * 10
    assert d.fingerprint.startswith(CARDS["fashion_mnist"]["fingerprint"])


def test_the_real_sign_digits_is_what_its_card_says(bench_data):
    lend(bench_data, "sign_digits")
    d = load("sign_digits")
    assert f"{len(d.train)} + {len(d.test)}" == CARDS["sign_digits"]["rows"]
    assert d.train.x[0].shape == (1546, 3, 64, 64)
    assert d.classes == tuple("0123456789")
    assert d.fingerprint.startswith(CARDS["sign_digits"]["fingerprint"])


def cifar_archive(place: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive in CIFAR's layout: pickled batches of rows of 3072 bytes, and a file of class names."""
    fine = name == "cifar100"
    base = "cifar-100-python" if fine else "cifar-10-batches-py"
    parts = ["train", "test"] if fine else [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    key, names = ("fine_labels", "fine_label_names") if fine else ("labels", "label_names")
    folder = place / base
    folder.mkdir(parents=True)
    for i, part in enumerate(parts):
        entry = {"data": noise(i, 10, 3072), key: list(range(10))}
        (folder / part).write_bytes(pickle.dumps(entry))
    (folder / ("meta" if fine else "batches.meta")).write_bytes(pickle.dumps({names: [f"c{i}" for i in range(10)]}))
    archive = place / ("cifar-100-python.tar.gz" if fine else "cifar-10-python.tar.gz")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, base)
    kind = datasets.CIFAR100 if fine else datasets.CIFAR10
    listed = [[p, md5(folder / p)] for p in parts]
    meta = {**kind.meta, "md5": md5(folder / kind.meta["filename"])}
    changed = {"tgz_md5": md5(archive), "train_list": listed[:-1], "test_list": listed[-1:], "meta": meta}
    for attribute, value in changed.items():
        monkeypatch.setattr(kind, attribute, value)
    return archive


@pytest.mark.parametrize(("name", "rows"), [("cifar10", 50), ("cifar100", 10)])
@pytest.mark.usefixtures("offline")
def test_cifar_is_downloaded_and_read_in_its_own_layout(name, rows, tmp_path, serve, monkeypatch):
    archive = cifar_archive(tmp_path / "served", name, monkeypatch)
    monkeypatch.setattr(getattr(datasets, name.upper()), "url", serve(archive.parent) + archive.name)
    d = load(name)
    assert d.train.x[0].shape == (rows, 3, 32, 32)
    assert np.array_equal(d.train.x[0][:10].reshape(10, -1), noise(0, 10, 3072))
    assert d.classes == tuple(f"c{i}" for i in range(10))


@pytest.mark.usefixtures("offline")
def test_cifar_takes_an_archive_that_lies_there(tmp_path, monkeypatch):
    archive = cifar_archive(tmp_path / "served", "cifar10", monkeypatch)
    downloads.home().mkdir(parents=True)
    archive.rename(downloads.home() / archive.name)
    assert len(load("cifar10").test) == 10


@pytest.mark.usefixtures("offline")
def test_svhn_is_read_in_its_own_layout(tmp_path, serve, monkeypatch):
    from scipy.io import savemat

    lists = {}
    address = serve(tmp_path)
    for part, n in (("train", 30), ("test", 20)):
        path = tmp_path / f"{part}_32x32.mat"
        savemat(path, {"X": noise(n, 32, 32, 3, n), "y": (np.arange(n) % 10 + 1).astype(np.uint8)[:, None]})  # 10 means 0
        lists[part] = [address + path.name, path.name, md5(path)]
    monkeypatch.setattr(datasets.SVHN, "split_list", lists)
    d = load("svhn")
    assert d.train.x[0].shape == (30, 3, 32, 32)
    assert np.array_equal(d.train.x[0][7], noise(30, 32, 32, 3, 30)[..., 7].transpose(2, 0, 1))
    assert np.array_equal(d.test.y, (np.arange(20) + 1) % 10)


@pytest.mark.usefixtures("offline")
def test_stl10_is_read_in_its_own_layout(tmp_path, serve, monkeypatch):
    inside = tmp_path / "served" / "stl10_binary"
    inside.mkdir(parents=True)
    lists = {"train_list": [], "test_list": []}
    (inside / "class_names.txt").write_text("\n".join(f"c{i}" for i in range(10)))
    for part, n in (("train", 20), ("test", 10), ("unlabeled", 1)):
        (inside / f"{part}_X.bin").write_bytes(noise(n, n, 3, 96, 96).tobytes())
        (inside / f"{part}_y.bin").write_bytes((np.arange(n) % 10 + 1).astype(np.uint8).tobytes())
        kinds = ("X",) if part == "unlabeled" else ("X", "y")
        lists["test_list" if part == "test" else "train_list"] += [
            [f"{part}_{kind}.bin", md5(inside / f"{part}_{kind}.bin")] for kind in kinds
        ]
    archive = tmp_path / "served" / "stl10_binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(inside, "stl10_binary")
    for attribute, value in {**lists, "tgz_md5": md5(archive), "url": serve(archive.parent) + archive.name}.items():
        monkeypatch.setattr(datasets.STL10, attribute, value)
    d = load("stl10")
    assert d.train.x[0].shape == (20, 3, 96, 96)
    assert np.array_equal(d.test.y, np.arange(10))
    assert np.array_equal(d.train.x[0][3], noise(20, 20, 3, 96, 96)[3].transpose(0, 2, 1))  # stored column by column


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "cifar100", "svhn", "stl10", "sign_digits"])
@pytest.mark.usefixtures("offline")
def test_without_a_network_the_message_says_which_file_to_put_where(name):
    with pytest.raises(UserError, match=r"Get them from https?://\S+ where there is a network .* mnist5k or digits") as caught:
        load(name)
    files, page = downloads.PAGES[name]
    assert all(part in str(caught.value) for part in (name, files, page, str(downloads.home())))


@pytest.mark.usefixtures("offline")
def test_a_damaged_download_is_never_read(small_fashion):
    raw = downloads.home() / "FashionMNIST" / "raw"
    raw.parent.mkdir(parents=True)
    small_fashion.rename(raw)
    path = raw / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="fashion_mnist needs the files"):
        load("fashion_mnist")


# The user's own folder


def test_a_folder_of_class_folders_gives_a_stratified_fifth_to_the_test(tmp_path):
    d = own(folders(tmp_path / "mine", each=10, classes="abc"), seed=3)
    assert (d.name, d.classes) == ("mine", ("a", "b", "c"))
    assert d.train.x[0].shape == (24, 3, 10, 12)
    assert np.bincount(d.test.y).tolist() == [2, 2, 2]
    assert "6 of 30 pictures are held out, drawn by seed 3" in d.notes[0]
    assert own(tmp_path / "mine", seed=3).fingerprint == d.fingerprint
    assert own(tmp_path / "mine", seed=4).fingerprint != d.fingerprint
    shown = {p.tobytes() for p in np.concatenate((d.train.x[0], d.test.x[0]))}
    assert shown == {noise(100 * c + i, 10, 12, 3).transpose(2, 0, 1).tobytes() for c in range(3) for i in range(10)}


@pytest.mark.parametrize("given", ["inside", "beside"])
def test_a_test_folder_is_found_inside_or_named_beside(tmp_path, given):
    folders(tmp_path / "train", each=4)
    folders(tmp_path / "test", each=2, classes="bc")
    d = own(tmp_path) if given == "inside" else own(tmp_path / "train", tmp_path / "test")
    assert (len(d.train), len(d.test)) == (8, 4)
    assert d.classes == ("a", "b", "c")
    assert d.test.y.tolist() == [1, 1, 2, 2]
    assert "No training picture has the class 'c'" in d.notes[0]


def test_grey_pictures_stay_grey_and_one_coloured_picture_makes_all_rgb(tmp_path):
    folders(tmp_path / "g", size=(8, 8))
    assert own(tmp_path / "g").train.x[0].shape[1] == 1
    Image.fromarray(noise(0, 8, 8, 3)).save(tmp_path / "g" / "a" / "colour.png")
    assert own(tmp_path / "g").train.x[0].shape[1] == 3


def test_mixed_sizes_become_the_commonest_and_it_is_said_once(tmp_path):
    folders(tmp_path / "m", each=6)
    Image.fromarray(noise(0, 20, 30, 3)).save(tmp_path / "m" / "a" / "big.png")
    Image.fromarray(noise(0, 5, 5, 3)).save(tmp_path / "m" / "b" / "small.png")
    d = own(tmp_path / "m")
    assert d.train.x[0].shape[2:] == (10, 12)
    assert sum("are not 10x12 pixels" in note for note in d.notes) == 1
    assert "2 of 14 pictures" in d.notes[0]


def test_large_pictures_are_read_smaller(tmp_path):
    folders(tmp_path / "l", each=3, size=(300, 600, 3), ending="jpg")
    assert own(tmp_path / "l").train.x[0].shape[2:] == (128, 256)


def test_pictures_of_every_kind_are_read_as_a_person_sees_them(tmp_path):
    place = folders(tmp_path / "k", each=3, size=(8, 8, 3))
    grey = np.full((8, 8), 128, np.uint8)
    clear = np.dstack([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)])
    turned = Image.fromarray(np.repeat(np.repeat(np.eye(2, dtype=np.uint8) * 255, 4, 0), 4, 1)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(grey).convert("P").save(place / "a" / "palette.gif")
    Image.fromarray(clear).save(place / "a" / "transparent.png")
    turned.save(place / "a" / "turned.png", exif=exif)
    Image.fromarray(np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)).save(place / "a" / "deep.png")
    Image.fromarray(grey > 0).save(place / "b" / "bits.png")
    Image.fromarray(noise(1, 8, 8, 3)).convert("CMYK").save(place / "b" / "print.jpg")
    assert (_picture(place / "a" / "palette.gif") == 128).all()
    assert (_picture(place / "a" / "transparent.png") == 255).all()
    assert _picture(place / "a" / "turned.png")[0, 0].tolist() == [0, 0, 0]
    deep = _picture(place / "a" / "deep.png")
    assert (deep.min(), deep.max(), deep.ndim) == (0, 255, 2)
    assert (_picture(place / "b" / "bits.png") == 255).all()
    assert own(place).train.x[0].shape[1:] == (3, 8, 8)


def test_files_that_are_no_pictures_are_left_out_and_said(tmp_path):
    place = folders(tmp_path / "f")
    (place / "a" / "notes.txt").write_text("no picture")
    (place / "a" / ".hidden").write_text("")
    (place / "labels.csv").write_text("")
    assert "Left out 1 file of f that is no pictures: notes.txt" in own(place).notes[0]


def test_a_picture_that_only_pretends_or_is_cut_off_is_named(tmp_path):
    place = folders(tmp_path / "t", each=4, size=(40, 40, 3), ending="jpg")
    whole = (place / "a" / "1.jpg").read_bytes()
    (place / "a" / "1.jpg").write_bytes(whole[: len(whole) // 2])
    (place / "b" / "2.jpg").write_text("no picture at all")
    (place / "b" / "3.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"(?s)a/1\.jpg: cannot be read.*truncated.*b/2\.jpg.*b/3\.jpg.*Repair or remove them"):
        own(place)


BAD = {
    "not there": (lambda p: p / "gone", r"gone does not exist; a folder is wanted that holds one folder of pictures per class"),
    "a file": (lambda p: p / "a" / "0.png", r"0\.png is a file; a folder is wanted"),
    "pictures directly": (lambda p: p / "a", r"a holds no folders \(6 pictures lie in it directly\)"),
    "one class": (
        lambda p: folders(p / "one", each=12, classes="a"),
        r"1 class among the training rows; at least 2 are needed",
    ),
    "too few": (lambda p: folders(p / "few", each=1), r"of 2 pictures, a fifth of each class leaves 0 to test on.*--test"),
    "empty class": (lambda p: (folders(p / "e") / "c").mkdir() or p / "e", r"class folder \S+c holds no pictures: it is empty"),
    "only train": (lambda p: folders(p / "o" / "train").parent, r"holds train: are these classes\?.*name them train and test"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_folder_that_cannot_be_used_says_why(tmp_path, case):
    make, message = BAD[case]
    folders(tmp_path / "good")
    with pytest.raises(UserError, match=message):
        own(make(tmp_path / "good"))


def test_a_class_folder_without_a_picture_says_what_lies_in_it(tmp_path):
    place = folders(tmp_path / "x")
    (place / "c").mkdir()
    (place / "c" / "a.txt").write_text("")
    with pytest.raises(UserError, match=r"none of its 1 file is a picture \(\.jpg"):
        own(place)


def test_a_target_column_makes_no_sense_for_pictures(tmp_path):
    with pytest.raises(UserError, match="the class of a picture is the name of its folder; leave out --target"):
        own(folders(tmp_path / "x"), target="y")


def test_an_unknown_data_set_names_the_nearest():
    with pytest.raises(UserError, match=r"unknown data set 'mnist'.*Did you mean 'mnist5k'\?"):
        load("mnist")


# Whole runs

METHODS = ("simclr", "moco", "npair+imix+inputmix", "npair+cutmix", "supervised+mixup")


@pytest.mark.full
@pytest.mark.parametrize(
    "method", ["npair+imix", "npair+cutmix", "moco+inputmix", "simclr", "supervised+mixup", "classical", "raw", "random"]
)
def test_every_kind_of_row_runs_on_the_toy(method):
    record = run(RunSpec(modality="images", dataset="toy", budget="smoke", method=method))
    assert record.status == "ok"
    assert record.score > record.chance / 2


@pytest.mark.full
def test_a_resnet_runs_through_the_same_loop():
    spec = RunSpec(modality="images", dataset="toy", budget="smoke", method="npair", encoder="resnet18", steps=2)
    record = run(spec.replace(batch_size=16, pretrain_fraction=0.25, label_fraction=0.25))
    assert record.parameters > 11_000_000


@pytest.mark.full
def test_a_run_on_ones_own_folder_says_in_its_record_what_was_done(tmp_path):
    place = folders(tmp_path / "mine", each=12, size=(40, 50))
    Image.fromarray(noise(0, 20, 30)).save(place / "a" / "odd.png")
    record = run(RunSpec(modality="images", data=str(place), budget="smoke", method="npair", steps=3))
    for words in ("are not 40x50 pixels", "held out", "are made 26x32", "leave out saturation, hue and greyscale"):
        assert words in record.notes


RUNS = [
    *((recipe, method, "domain") for recipe in ("simclr-cifar", "moco-cifar", "imix-cifar") for method in METHODS),
    *(("imix-cifar", "npair", views) for views in ("agnostic", "none", "mocov2")),
]


@pytest.mark.parametrize(("recipe", "method", "views"), RUNS)
def test_every_recipe_leaves_no_hole(recipe, method, views):
    ready = prepare(RunSpec(modality="images", dataset="toy", recipe=recipe, method=method, views=views))
    assert ready.plan.lr > 0


# -- rows without classes ------------------------------------------------------------------------------------------------


def test_pictures_of_a_folder_are_the_rows_they_were_saved_from_with_their_names(tmp_path):
    data = load("toy")
    for i in (2, 0, 1):
        (tmp_path / "in" / "deeper").mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.test.x[0][i].transpose(1, 2, 0)).save(tmp_path / "in" / "deeper" / f"{i}.png")
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    found = ADAPTER.read(str(tmp_path / "in"), data, RunSpec(modality="images"))
    np.testing.assert_array_equal(found.x[0], data.test.x[0][:3])
    assert (found.names, found.notes) == (["deeper/0.png", "deeper/1.png", "deeper/2.png"], ())
    alone = ADAPTER.read(str(tmp_path / "in" / "deeper" / "1.png"), data, RunSpec(modality="images"))
    np.testing.assert_array_equal(alone.x[0], data.test.x[0][1:2])
    assert alone.names == ["1.png"]


def test_pictures_take_the_size_and_colours_of_those_that_trained(tmp_path):
    Image.fromarray(noise(0, 40, 30, 3)).save(tmp_path / "colour.png")
    Image.fromarray(noise(1, 28, 28)).save(tmp_path / "grey.png")
    found = ADAPTER.read(str(tmp_path), load("mnist5k"), RunSpec(modality="images"))
    assert found.x[0].shape == (2, 1, 28, 28)
    np.testing.assert_array_equal(found.x[0][1, 0], noise(1, 28, 28))
    assert found.notes == ("1 of 2 pictures are not 28x28 pixels (height x width) and are resized to it.",)
    assert ADAPTER.read(str(tmp_path), load("toy"), RunSpec(modality="images")).x[0].shape == (2, 3, 16, 16)


def test_a_place_without_pictures_is_refused(tmp_path):
    for place, said in ((tmp_path / "nowhere", "does not exist"), (tmp_path, "holds no pictures")):
        with pytest.raises(UserError, match=said):
            ADAPTER.read(str(place), load("toy"), RunSpec(modality="images"))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"broken.png: cannot be read as a picture"):
        ADAPTER.read(str(tmp_path), load("toy"), RunSpec(modality="images"))
