# ruff: noqa: E402 - the card stands first
"""Short texts with a class each.

`languages` (langid), `wordnet`, `hub` and `files` (yours) load, `sources` lists them by name, and `texts` turns columns into a
Dataset; `tokens`, `views` and `encoder` (`transformer`) make batches, views and features; `classical` is the control.
"""

# fmt: off
CARD = {
    "title": "Short texts",
    "extra": "text",
    "libraries": ["tokenizers"],
    "version": 1,
    "default": "langid",
    "recipe": "text-characters",
    "views": {
        "domain": {"settings": [], "what": "a stretch of up to half of the text dropped; the same as span"},
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
        "bag": "sum of the embeddings of hashed n-grams of tokens",
        "cnn": "a convolution over five tokens, mean over the text",
        "transformer": "a BERT of 2 layers from a configuration, mean over the text",
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
        "wordnet_supersense": {
            "rows": "12435 + 4145", "classes": 21,
            "source": "glosses of nouns by lexicographer file, from an installed WordNet (Debian, NLTK)",
            "licence": "WordNet 3.0 licence", "cite": "Fellbaum 1998; Ciaramita and Johnson 2003",
            "embedded": False, "metric": "accuracy", "recipe": "text-pieces",
        },
        "banking77": {
            "rows": "10003 + 3080", "classes": 77,
            "source": "Hugging Face PolyAI/banking77, or files in place",
            "licence": "CC BY 4.0", "cite": "Casanueva et al. 2020, arXiv 2003.04807",
            "embedded": False, "metric": "accuracy", "recipe": "text-pieces",
        },
        "clinc150": {
            "rows": "15000 + 4500", "classes": 150,
            "source": "Hugging Face clinc/clinc_oos without its class oos, or files in place",
            "licence": "CC BY 3.0", "cite": "Larson et al. 2019, arXiv 1909.02027",
            "embedded": False, "metric": "accuracy", "recipe": "text-pieces",
        },
        "clinc_oos": {
            "rows": "15250 + 5500", "classes": 151,
            "source": "Hugging Face clinc/clinc_oos, configuration plus",
            "licence": "CC BY 3.0", "cite": "Larson et al. 2019, arXiv 1909.02027",
            "embedded": False, "metric": "accuracy", "recipe": "text-pieces",
        },
        "ag_news": {
            "rows": "120000 + 7600", "classes": 4,
            "source": "Hugging Face fancyzhx/ag_news",
            "licence": "unknown; for non-commercial use (AG's corpus)", "cite": "Zhang, Zhao and LeCun 2015, arXiv 1509.01626",
            "embedded": False, "metric": "accuracy", "recipe": "text-pieces",
        },
        "sst2": {
            "rows": "67349 + 872", "classes": 2,
            "source": "Hugging Face stanfordnlp/sst2; tests on its validation rows",
            "licence": "unknown", "cite": "Socher et al. 2013",
            "embedded": False, "metric": "accuracy", "recipe": "text-pieces",
        },
        "trec": {
            "rows": "5452 + 500", "classes": 6,
            "source": "Hugging Face CogComp/trec, coarse classes",
            "licence": "unknown", "cite": "Li and Roth 2002",
            "embedded": False, "metric": "accuracy", "recipe": "text-pieces",
        },
        "toy": {
            "rows": "256 + 64", "classes": 4,
            "source": "generated",
            "licence": "MIT", "cite": "",
            "fingerprint": "febc6b2da3abbe52",
            "embedded": True, "metric": "accuracy", "recipe": "text-characters",
        },
    },
    "schemes": {"hf:": "data set of the Hugging Face hub, hf:OWNER/NAME or hf:OWNER/NAME:CONFIG"},
}
# fmt: on

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.adapter import Adapter, Arrays, Batch, Dataset, Encoder, Given, Transform, View
from bench.errors import UserError, unknown
from bench.spec import RunSpec
from modalities.text import classical, files, hub, tokens, views
from modalities.text.encoder import encoder
from modalities.text.sources import LOADERS
from modalities.text.tokens import Tokens


class Text(Adapter):
    """Raw rows: (texts, an object array of str (n,),). A batch: (ids int32 (n, length), lengths int64 (n,)); see `Tokens`."""

    def load(self, spec: RunSpec) -> Dataset:
        name = spec.dataset or str(CARD["default"])
        if spec.data is not None:
            return files.load(spec)
        if name.startswith("hf:"):
            return hub.load(name)
        if name not in LOADERS:
            raise UserError(unknown("data set", name, [*LOADERS, "hf:"], "text"))
        return LOADERS[name]()

    def read(self, path: str, dataset: Dataset, spec: RunSpec) -> Given:  # noqa: ARG002 - texts are texts
        return files.given(Path(path), spec)

    def fit(self, x: Arrays, dataset: Dataset, spec: RunSpec) -> Transform:  # noqa: ARG002 - texts say it all
        assert spec.tokenizer is not None
        assert spec.max_length is not None
        own = (spec.encoder or "").startswith("pretrained:")  # a checkpoint brings its tokenizer
        return tokens.fit(x[0], str(spec.encoder) if own else spec.tokenizer, spec.max_length)

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
