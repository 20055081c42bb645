"""Data sets by name: generated, from an installed library, from files that were put in place, or from the hub."""

from collections.abc import Callable
from functools import partial

import numpy as np

from bench import seeds
from bench.adapter import Dataset, Split
from modalities.text import hub, wordnet
from modalities.text.languages import langid

_ONSETS, _VOWELS = "bdfghjklmnprstvz", "aeiou"
_TOY_CLASSES = ("avian", "boreal", "coral", "dune")


def toy() -> Dataset:
    """320 generated strings of one to three words in four invented languages that differ in their syllables. For tests."""
    rng = seeds.rng(0, "toy texts")
    syllables = np.array([a + b for a in _ONSETS for b in _VOWELS])
    taste = rng.dirichlet(np.full(len(syllables), 0.15), len(_TOY_CLASSES)) * 0.8 + 0.2 / len(syllables)
    y = np.arange(320) % len(_TOY_CLASSES)
    texts = np.empty(len(y), dtype=object)
    for i, c in enumerate(y):
        words = ("".join(rng.choice(syllables, rng.integers(2, 4), p=taste[c])) for _ in range(rng.integers(1, 4)))
        texts[i] = " ".join(words)
    train, test = (Split((texts[rows],), y[rows]) for rows in (slice(0, 256), slice(256, None)))
    return Dataset("toy", train, test, _TOY_CLASSES)


def supersense() -> Dataset:
    """Glosses of nouns: files put in place, else an installed WordNet."""
    return hub.in_place("wordnet_supersense") or wordnet.load()


LOADERS: dict[str, Callable[[], Dataset]] = {
    "langid": langid,
    "wordnet_supersense": supersense,
    **{name: partial(hub.load, name) for name in hub.SOURCES},
    "toy": toy,
}
"""Name -> function without arguments."""
