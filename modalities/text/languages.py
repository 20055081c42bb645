"""langid: the names of territories, languages, currencies and cities in 34 languages, from the CLDR tables of babel."""

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from bench.adapter import Dataset, Split
from bench.errors import UserError

LANGUAGES = (
    "af", "az", "ca", "cs", "cy", "da", "de", "en", "es", "et", "eu", "fi", "fr", "ga", "gl", "hr", "hu",
    "id", "is", "it", "lt", "lv", "nb", "nl", "pl", "pt", "ro", "sk", "sl", "sq", "sv", "sw", "tr", "vi",
)  # fmt: skip
"""ISO 639-1 codes of languages in Latin script with full CLDR tables: the classes."""

TEST_SHARE = 0.2


def langid() -> Dataset:
    """Which language a short string is in.

    A concept is a kind with a code, for example ("territories", "DE"). Its names in all languages stand on one side of the
    split, so a test row cannot be guessed from the same name in a relative of its language. Strings that two languages
    share (letter case aside) are left out, and so are strings that are not in Latin script.
    """
    names = list(_names())
    spoken = defaultdict(set)
    for label, _, text in names:
        spoken[text.casefold()].add(label)
    rows: dict[str, tuple[int, bool]] = {}
    for label, concept, text in names:
        if len(spoken[text.casefold()]) == 1:
            rows.setdefault(text, (label, _tests(concept)))
    train, test = ([(t, label) for t, (label, tests) in rows.items() if tests == wanted] for wanted in (False, True))
    return Dataset("langid", _split(train), _split(test), LANGUAGES)


def _names() -> Iterator[tuple[int, str, str]]:
    """(class, concept, text) of every name in Latin script, by class, kind and code."""
    try:
        from babel import Locale
    except ModuleNotFoundError as missing:
        raise UserError(
            "langid is made from the tables of the library babel, which is not installed. Install it with: "
            "pip install -e '.[text]', or use the generated data set toy."
        ) from missing
    for label, language in enumerate(LANGUAGES):
        locale = Locale.parse(language)
        cities = {code: zone["city"] for code, zone in locale.time_zones.items() if "city" in zone}
        tables = {"territories": locale.territories, "languages": locale.languages, "currencies": locale.currencies}
        for kind, table in {**tables, "cities": cities}.items():
            for code in sorted(table):
                text = " ".join(unicodedata.normalize("NFC", table[code]).split())
                if _is_latin(text):
                    yield label, f"{kind}/{code}", text


def _is_latin(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    return bool(letters) and all(unicodedata.name(c, "").startswith("LATIN ") for c in letters)


def _tests(concept: str) -> bool:
    """Whether the names of a concept are test rows: a fifth of all concepts, by their hash."""
    number = int.from_bytes(hashlib.sha256(concept.encode()).digest()[:8], "big")
    return number < TEST_SHARE * 2**64


def _split(rows: list[tuple[str, int]]) -> Split:
    texts, labels = zip(*rows, strict=True)
    return Split((np.array(texts, dtype=object),), np.array(labels, dtype=np.int64))
