"""The user's own pictures: a folder of folders, one per class, with test pictures or without."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bench.adapter import Dataset, Given, Split, hold_out
from bench.errors import UserError, refuse
from bench.spec import RunSpec

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
LONGEST = 256
"""Larger pictures are made smaller while they are read; what the encoder sees is smaller still."""

_SHOWN = 5  # problems of one kind that a message lists
_PARTS = {"train", "test", "val", "valid", "validation"}


def load(spec: RunSpec) -> Dataset:
    """`spec.data` with test pictures in `spec.test`, or `spec.data`/train and /test, or a stratified fifth held out by seed."""
    assert spec.data is not None
    given = [name for name in ("target", "text_column") if getattr(spec, name) is not None]
    if given:
        raise UserError(f"the class of a picture is the name of its folder; leave out --{given[0].replace('_', '-')}.")
    train, name = Path(spec.data), spec.dataset or Path(spec.data).resolve().name
    if spec.test is not None:
        return read(name, train, Path(spec.test))
    inside = {path.name.lower(): path for path in _folders(train)}
    if {"train", "test"} <= inside.keys() and inside.keys() <= _PARTS:
        return read(name, inside["train"], inside["test"])
    if inside and inside.keys() <= _PARTS:
        raise UserError(
            f"{train} holds {', '.join(sorted(inside))}: are these classes? With training and test pictures name them train "
            "and test, or give the training folder with --data and the test folder with --test."
        )
    return read(name, train, None, spec.seed)


def read(name: str, train: Path, test: Path | None, seed: int = 0) -> Dataset:
    """Pictures of one or two folders of class folders. Raises `UserError` with every file and folder that cannot be used."""
    notes: list[str] = []
    files, labels, names = _listed(train, notes)
    classes = sorted(names)
    n_train = len(files)
    if test is not None:
        more, more_labels, more_names = _listed(test, notes)
        new = sorted(set(more_names) - set(classes))
        if new:
            notes.append(f"No training picture has the class {', '.join(map(repr, new))}: test pictures of it count as wrong.")
        classes, files, labels = [*classes, *new], files + more, labels + more_labels
    pixels = _same_size(files, notes)
    y = np.array([classes.index(label) for label in labels], np.int64)
    rows, held = np.arange(n_train), np.arange(n_train, len(y))
    if test is None:
        rows, held = hold_out(y, seed)
        if len(held) < 2:
            raise UserError(
                f"{train}: of {len(y)} pictures, a fifth of each class leaves {len(held)} to test on; at least 2 are needed. "
                "Give more pictures, or test pictures of their own with --test."
            )
        notes.append(f"No test folder: {len(held)} of {len(y)} pictures are held out, drawn by seed {seed}.")
    first, last = (Split((pixels[r],), y[r]) for r in (rows, held))
    return Dataset(name, first, last, tuple(classes), notes=tuple(notes))


def given(place: Path, like: np.ndarray) -> Given:
    """One picture, or every picture of a folder and its folders, as `like` has them: uint8 (n, c, h, w)."""
    if not place.exists():
        raise UserError(f"{place} does not exist; a picture or a folder of pictures is wanted.")
    files = sorted(p for p in _files(place) if p.suffix.lower() in ENDINGS) if place.is_dir() else [place]
    if not files:
        raise UserError(f"{place} holds no pictures ({', '.join(ENDINGS)}).")
    channels, *size = like.shape[1:]
    pictures, other = _pictures(files), 0
    for i, picture in enumerate(pictures):
        fitted = _fitted(_coloured(picture) if channels == 3 else _grey(picture), tuple(size))
        other += picture.shape[:2] != tuple(size)
        pictures[i] = fitted[None] if channels == 1 else fitted.transpose(2, 0, 1)
    notes = (f"{other} of {len(files)} pictures are not {size[0]}x{size[1]} pixels (height x width) and are resized to it.",)
    names = [p.relative_to(place).as_posix() if place.is_dir() else p.name for p in files]
    return Given((np.stack(pictures),), names, notes if other else ())


def _folders(place: Path) -> list[Path]:
    if not place.is_dir():
        what = "is a file" if place.is_file() else "does not exist"
        raise UserError(
            f"{place} {what}; a folder is wanted that holds one folder of pictures per class. Check the path ({Path.cwd()} is "
            "the current folder)."
        )
    try:
        return sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"{place} cannot be read: {error.strerror}. Check its permissions.") from error


def _listed(place: Path, notes: list[str]) -> tuple[list[Path], list[str], list[str]]:
    """(files, the class of each, class names) of a folder of class folders; other files are left out and said."""
    folders = _folders(place)
    if not folders:
        loose = sum(path.suffix.lower() in ENDINGS for path in place.iterdir())
        raise UserError(
            f"{place} holds no folders ({loose} pictures lie in it directly). Put the pictures of each class into a folder "
            "that has the name of the class."
        )
    found = {path.name: sorted(_files(path)) for path in folders}
    kept = {name: [p for p in files if p.suffix.lower() in ENDINGS] for name, files in found.items()}
    refuse([_empty(place / name, found[name]) for name, files in kept.items() if not files])
    others = [p for name, files in found.items() for p in files if p.suffix.lower() not in ENDINGS]
    if others:
        notes.append(f"Left out {_count(others, 'file')} of {place.name} that {_are(others)} no pictures: {_some(others)}.")
    return [p for files in kept.values() for p in files], [n for n, files in kept.items() for _ in files], list(kept)


def _files(place: Path) -> Iterator[Path]:
    try:
        yield from (p for p in place.rglob("*") if p.is_file() and not p.name.startswith("."))
    except OSError as error:
        raise UserError(f"{place} cannot be read: {error.strerror}. Check its permissions.") from error


def _empty(place: Path, files: Sequence[Path]) -> str:
    what = f"none of its {_count(files, 'file')} is a picture ({', '.join(ENDINGS)})" if files else "it is empty"
    return f"The class folder {place} holds no pictures: {what}. Fill it or remove it."


def _same_size(files: Sequence[Path], notes: list[str]) -> np.ndarray:
    """uint8 (n, c, h, w): RGB unless every picture is grey, all of the commonest size."""
    pictures = _pictures(files)
    sizes = Counter(p.shape[:2] for p in pictures)
    size = min(sizes, key=lambda s: (-sizes[s], s))  # of equals the smallest
    if len(sizes) > 1:
        odd = len(pictures) - sizes[size]
        notes.append(
            f"{odd} of {len(pictures)} pictures are not {size[0]}x{size[1]} pixels (height x width) and are resized to it."
        )
    if all(p.ndim == 2 for p in pictures):
        return np.stack([_fitted(p, size) for p in pictures])[:, None]
    return np.stack([_fitted(p, size).transpose(2, 0, 1) for p in map(_coloured, pictures)])


def _pictures(files: Sequence[Path]) -> list[np.ndarray]:
    """Every picture by `_picture`. Raises `UserError` that names those that cannot be read."""
    pictures, problems = [], []
    for path in files:
        try:
            pictures.append(_picture(path))
        except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow raises for damaged files
            problems.append(f"{path}: cannot be read as a picture: {str(error).replace(str(path), path.name)}.")
    if problems:
        rest = [f"And {len(problems) - _SHOWN} more."] if len(problems) > _SHOWN else []
        refuse([*problems[:_SHOWN], *rest, f"Repair or remove {'it' if len(problems) == 1 else 'them'} and run again."])
    return pictures


def _picture(path: Path) -> np.ndarray:
    """uint8 (h, w) or (h, w, 3), upright; transparent parts lie on white; at most `LONGEST` pixels wide and high."""
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        file.load()
        picture: Image.Image = ImageOps.exif_transpose(file)
    if picture.mode.startswith(("I", "F")):  # 16 bits and more a pixel
        wide = np.asarray(picture, np.float64)
        picture = Image.fromarray((wide / max(wide.max(), 1) * 255).astype(np.uint8))
    if "A" in picture.mode or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        paper = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(paper, picture).convert("RGB")
    picture = picture.convert("L" if picture.mode in ("1", "L") else "RGB")
    if max(picture.size) > LONGEST:
        picture.thumbnail((LONGEST, LONGEST), Image.Resampling.BILINEAR, reducing_gap=None)
    return np.asarray(picture)


def _coloured(picture: np.ndarray) -> np.ndarray:
    return np.stack([picture] * 3, axis=2) if picture.ndim == 2 else picture


def _grey(picture: np.ndarray) -> np.ndarray:
    from PIL import Image

    return picture if picture.ndim == 2 else np.asarray(Image.fromarray(picture).convert("L"))


def _fitted(picture: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    from PIL import Image

    if picture.shape[:2] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _count(files: Sequence[Path], what: str) -> str:
    return f"{len(files)} {what}{'' if len(files) == 1 else 's'}"


def _are(files: Sequence[Path]) -> str:
    return "is" if len(files) == 1 else "are"


def _some(files: Sequence[Path]) -> str:
    return ", ".join(p.name for p in files[:3]) + (", ..." if len(files) > 3 else "")
