"""wordnet_supersense: glosses of nouns with their lexicographer file, read from an installed WordNet."""

import hashlib
import io
import os
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.adapter import Dataset
from bench.errors import UserError
from modalities.text.texts import from_rows

_NAMES = """Tops act animal artifact attribute body cognition communication event feeling food group location motive object
person phenomenon plant possession process quantity relation shape state substance time"""

LEXICOGRAPHER_FILES = dict(enumerate(_NAMES.split(), start=3))
"""Number -> name of the noun files (lexnames(5WN))."""

DEBIAN = Path("/usr/share/wordnet")

LEAST, MOST = 500, 800
"""A class has at least 500 glosses, and 800 of them at most are taken."""

TEST_SHARE = 0.25


def places() -> list[Path]:
    """Where `data.noun` may lie: $WNSEARCHDIR, $WNHOME/dict, Debian's folder, NLTK's corpora (a folder or a zip file)."""
    found = [Path(os.environ["WNSEARCHDIR"])] if "WNSEARCHDIR" in os.environ else []
    found += [Path(os.environ["WNHOME"]) / "dict"] if "WNHOME" in os.environ else []
    found += [DEBIAN]
    roots: list[str | Path] = [*filter(None, os.environ.get("NLTK_DATA", "").split(os.pathsep)), Path.home() / "nltk_data"]
    roots += ["/usr/share/nltk_data", "/usr/local/share/nltk_data", "/usr/lib/nltk_data"]
    return found + [Path(r) / "corpora" / kind for r in roots for kind in ("wordnet", "wordnet.zip")]


def load() -> Dataset:
    """The glosses of the first WordNet that is installed. Which rows are taken, and which test, follows from their text."""
    for place in places():
        if place.suffix == ".zip" and place.is_file():
            return from_lines(_zipped(place), place)
        if (place / "data.noun").is_file():
            return from_lines((place / "data.noun").read_text(encoding="utf-8", errors="replace").splitlines(), place)
    raise UserError(
        "wordnet_supersense is read from an installed WordNet, and there is none. Install Debian's package wordnet-base, or "
        "NLTK's corpus wordnet, or set WNSEARCHDIR to the folder that holds data.noun; or use the embedded data set langid."
    )


def from_lines(lines: Iterable[str], place: Path) -> Dataset:
    """The data set from the lines of a file `data.noun` (wndb(5WN))."""
    glosses: dict[str, str] = {}
    for name, gloss in _glosses(lines):
        glosses.setdefault(gloss, name)
    by_class = defaultdict(list)
    for gloss, name in glosses.items():
        by_class[name].append(gloss)
    kept = {name: sorted(own, key=_hash)[:MOST] for name, own in sorted(by_class.items()) if len(own) >= LEAST}
    if len(kept) < 2:
        raise UserError(
            f"{place}: {len(kept)} lexicographer files have {LEAST} glosses or more; at least 2 are needed. Is this the whole "
            "file data.noun of a WordNet?"
        )
    held = {gloss for own in kept.values() for gloss in own[: round(TEST_SHARE * len(own))]}
    order = sorted((gloss for own in kept.values() for gloss in own), key=_hash)
    train, test = [g for g in order if g not in held], [g for g in order if g in held]
    classes = [[glosses[g] for g in part] for part in (train, test)]
    note = f"Glosses of the WordNet in {place}."
    return from_rows("wordnet_supersense", (train, classes[0]), (test, classes[1]), [note])


def _glosses(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(lexicographer file, gloss before the first example) of every synset; the licence's lines begin with two spaces."""
    for line in lines:
        fields, mark, gloss = line.partition(" | ")
        if mark and not line.startswith("  "):
            name = LEXICOGRAPHER_FILES.get(int(fields.split()[1]))
            text = gloss.partition('; "')[0].strip()
            if name and text:
                yield f"noun.{name}", text


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _zipped(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("wordnet/data.noun") as file:
            return io.TextIOWrapper(file, encoding="utf-8", errors="replace").read().splitlines()
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as NLTK's corpus wordnet: {error}. Download it again.") from error
