# ruff: noqa: E402 - the card stands first
"""Short texts with a class each.

`languages` (langid), `wordnet`, `hub` and `files` (yours) load; `tokens`, `views` and `encoder` make batches, views and
features (`pretrained` the transformers); `classical` is the control.
"""

# fmt: off
CARD = {
    "title": "Short texts",
    "extra": "text",
    "version": 1,
    "default": "langid",
    "recipe": "text-characters",
    "views": {
        "domain": {"settings": [], "what": "characters or pieces dropped at random"},
        "agnostic": {"settings": ["mask_rate"], "what": "independent masking of tokens"},
        "none": {"settings": [], "what": "two identical inputs"},
        "dropout": {"settings": [], "what": "two identical inputs, dropout 0.1 in the encoder (SimCSE)"},
        "deletion": {"settings": [], "what": "tokens dropped at random, the rest moves up"},
        "replacement": {"settings": [], "what": "tokens exchanged for others at random"},
        "span": {"settings": [], "what": "a stretch of the text dropped"},
    },
    "input": ["tokenizer", "max_length"],
    "encoder": ["encoder", "width"],
    "encoders": {
        "bag": "mean embedding of hashed n-grams of tokens, then the MLP of i-Mix",
        "cnn": "convolutions over token embeddings, largest value over the text",
        "transformer": "a small BERT from a configuration",
        "pretrained:": "a transformers checkpoint, by path or hub name (division: pretrained)",
    },
    "datasets": {
        "langid": {
            "rows": "20771 + 4810", "classes": 34,
            "source": "names of territories, languages, currencies and cities in the CLDR tables that babel installs",
            "licence": "Unicode-3.0 (CLDR), BSD-3-Clause (Babel)", "cite": "Unicode Common Locale Data Repository",
            "fingerprint": "a88ea780e0b38175",
            "embedded": True, "metric": "accuracy", "recipe": "text-characters",
        },
        "toy": {
            "rows": "256 + 64", "classes": 4,
            "source": "generated",
            "licence": "MIT", "cite": "",
            "embedded": True, "metric": "accuracy", "recipe": "text-characters",
        },
    },
}
# fmt: on

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.adapter import Adapter, Arrays, Batch, Dataset, Encoder, Transform, View
from bench.errors import UserError, unknown
from bench.spec import RunSpec
from modalities.text import classical, tokens, views
from modalities.text.encoder import encoder
from modalities.text.sources import LOADERS
from modalities.text.tokens import Tokens


class Text(Adapter):
    """Raw rows: (texts, an object array of str (n,),). A batch: (ids int32 (n, length), lengths int64 (n,)); see `Tokens`."""

    def load(self, spec: RunSpec) -> Dataset:
        name = spec.dataset or str(CARD["default"])
        if name not in LOADERS:
            raise UserError(unknown("data set", name, LOADERS, "text"))
        return LOADERS[name]()

    def fit(self, x: Arrays, dataset: Dataset, spec: RunSpec) -> Transform:  # noqa: ARG002 - texts say it all
        return tokens.fit(x[0], str(spec.tokenizer), int(spec.max_length or 1))

    def view(self, spec: RunSpec, transform: Transform) -> View:
        assert isinstance(transform, Tokens)
        return views.recipe(spec, transform)

    def encoder(self, spec: RunSpec, transform: Transform) -> Encoder:
        assert isinstance(transform, Tokens)
        return encoder(spec, transform)

    def division(self, spec: RunSpec) -> str:
        named = (spec.encoder or "", spec.tokenizer or "")
        return "pretrained" if any(name.startswith("pretrained:") for name in named) else "from scratch"

    def raw(self, x: Batch, transform: Transform) -> np.ndarray:
        assert isinstance(transform, Tokens)
        return transform.counts(x)

    def classical(self, dataset: Dataset) -> Sequence[Any]:  # noqa: ARG002 - the same for all
        return classical.candidates()

    def classical_input(self, x: Arrays, dataset: Dataset) -> np.ndarray:  # noqa: ARG002 - texts as they are
        return x[0]

    def sheet(self, x: Batch, transform: Transform) -> list[str]:
        assert isinstance(transform, Tokens)
        return transform.words(x)


ADAPTER = Text()
