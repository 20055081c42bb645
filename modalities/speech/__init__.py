# ruff: noqa: E402 - the card stands first
"""Speech: short recordings of one word each, as log-mel spectrograms.

`embedded` (rendered, generated), `corpora` (Speech Commands, FSDD) and `files` (yours) load, through `audio`; `mels` makes
log-mels, `views` and `waves` change them, `encoder` reads them; `mfcc` is the classical control.
"""

# fmt: off
CARD = {
    "title": "Speech: words of one second, as log-mel spectrograms (espeak_words, the default, is synthetic)",
    "extra": "speech",
    "libraries": ["torchaudio", "soundfile"],
    "version": 1,
    "default": "espeak_words",
    "recipe": "imix-speech",
    "grid": True,
    "views": {
        "domain": {
            "settings": [],
            "what": "log-mels stretched and shifted in time, shifted along the bands, with noise, gain and a mask on each axis",
        },
        "agnostic": {"settings": ["mask_rate"], "what": "independent masking of cells of time and frequency"},
        "none": {"settings": [], "what": "two identical inputs"},
        "waveform": {
            "settings": [],
            "what": "the i-Mix paper's recipe: gain, speed, stretch, shift and noise, each with probability 1/2; slow",
        },
    },
    "encoder": ["encoder", "width", "features"],
    "encoders": {
        "bands": "four convolutions; time is averaged at the end, the frequency axis stays",
        "resnet18": "torchvision's ResNet-18, 3x3 stem of one channel",
        "resnet34": "torchvision's ResNet-34, 3x3 stem of one channel",
        "resnet50": "torchvision's ResNet-50, 3x3 stem of one channel (the i-Mix paper's)",
    },
    "datasets": {
        "espeak_words": {
            "rows": "2280 + 560", "classes": 20,
            "source": "synthetic: Speech Commands' 20 core words in 71 voices and 8 accents of eSpeak NG, with noise",
            "licence": "MIT; the voices come from eSpeak NG (GPL 3), which espeakng-loader installs",
            "cite": "eSpeak NG; words of Warden 2018",
            "fingerprint": "49a5afeb0505d94e", "test_groups": {"voices": 14},
            "embedded": True, "metric": "accuracy", "recipe": "imix-speech-noaug",
        },
        "speech_commands": {
            "rows": "84843 + 11005", "classes": 35,
            "source": "recorded; Speech Commands v0.02 through torchaudio, downloaded (2.3 GB); official lists",
            "licence": "CC BY 4.0", "cite": "Warden 2018, arXiv 1804.03209",
            "embedded": False, "metric": "accuracy", "recipe": "imix-speech",
        },
        "speech_commands12": {
            "rows": "56196 + 6835", "classes": 12,
            "source": "recorded; Speech Commands v0.01 through torchaudio, downloaded (1.4 GB): the i-Mix paper's ten "
                      "commands, unknown and silence",
            "licence": "CC BY 4.0", "cite": "Warden 2018, arXiv 1804.03209",
            "embedded": False, "metric": "accuracy", "recipe": "imix-speech",
        },
        "fsdd": {
            "rows": "2000 + 1000", "classes": 10,
            "source": "recorded; Free Spoken Digit Dataset from its folder; test speakers theo and yweweler",
            "licence": "CC BY-SA 4.0", "cite": "Jackson et al., Free Spoken Digit Dataset",
            "fingerprint": "9803751a9d415fa5", "test_groups": {"speakers": 2},
            "embedded": False, "metric": "accuracy", "recipe": "imix-speech",
        },
        "toy": {
            "rows": "240 + 80", "classes": 4,
            "source": "generated",
            "licence": "MIT", "cite": "",
            "fingerprint": "632b7a3031fba0ef", "test_groups": {"speakers": 2},
            "embedded": True, "metric": "accuracy", "recipe": "imix-speech",
        },
    },
}
# fmt: on

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.adapter import Adapter, Arrays, Batch, Dataset, Encoder, Given, Transform, View, same
from bench.errors import UserError, unknown
from bench.spec import RunSpec
from modalities.speech import corpora, embedded, files, mels, mfcc, views, waves
from modalities.speech.encoder import encoder
from modalities.speech.mels import Sound

LOADERS: dict[str, Callable[[], Dataset]] = {
    "espeak_words": embedded.espeak_words,
    "speech_commands": partial(corpora.speech_commands, "speech_commands", "v0.02", twelve=False),
    "speech_commands12": partial(corpora.speech_commands, "speech_commands12", "v0.01", twelve=True),
    "fsdd": corpora.fsdd,
    "toy": embedded.toy,
}
"""Name -> function without arguments."""


class Speech(Adapter):
    """Raw rows: (clips int16 (n, 16000),), one second at 16 kHz. A batch is log-mels, or clips and controls; see `Sound`."""

    def load(self, spec: RunSpec) -> Dataset:
        name = spec.dataset or str(CARD["default"])
        if spec.data is not None:
            return files.load(spec)
        if name not in LOADERS:
            raise UserError(unknown("data set", name, LOADERS, "speech"))
        return LOADERS[name]()

    def read(self, path: str, dataset: Dataset, spec: RunSpec) -> Given:  # noqa: ARG002 - clips say all
        return files.given(Path(path))

    def fit(self, x: Arrays, dataset: Dataset, spec: RunSpec) -> Transform:  # noqa: ARG002 - clips say all
        return mels.fit(x, spec.features or "mel32", waveforms=spec.views == "waveform")

    def view(self, spec: RunSpec, transform: Transform) -> View:
        assert isinstance(transform, Sound)
        if spec.views == "none":
            return same
        if spec.views == "agnostic":
            assert spec.mask_rate is not None
            return views.masking(spec.mask_rate)
        if spec.views == "domain":
            return views.domain(transform)
        if "cutmix" in spec.method:
            raise UserError("cutmix cuts boxes out of log-mels, but views 'waveform' hold waveforms. Use --views domain.")
        return waves.recipe(transform)

    def encoder(self, spec: RunSpec, transform: Transform) -> Encoder:
        assert isinstance(transform, Sound)
        assert spec.encoder is not None
        assert spec.width is not None
        return encoder(spec.encoder, transform, spec.width)

    def raw(self, x: Batch, transform: Transform) -> np.ndarray:  # noqa: ARG002 - the batch is what is wanted
        flat: np.ndarray = x[0].flatten(1).numpy()
        return flat

    def classical(self, dataset: Dataset) -> Sequence[Any]:  # noqa: ARG002 - the same for all
        return mfcc.candidates()

    def classical_input(self, x: Arrays, dataset: Dataset) -> np.ndarray:  # noqa: ARG002 - clips say all
        return mfcc.statistics(x)

    def sheet(self, x: Batch, transform: Transform) -> np.ndarray:
        assert isinstance(transform, Sound)
        if not transform.waveforms:
            return mels.picture(transform.restore(x[0]))
        with torch.no_grad():
            return mels.picture(transform.restore(waves.LogMel(transform)(x)[:, 0]))


ADAPTER = Speech()
