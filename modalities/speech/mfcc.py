"""MFCC statistics: what was the standard before networks, for the control `classical`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bench.adapter import Arrays
from modalities.speech.mels import RATE, in_chunks, waves

COEFFICIENTS = 20
PIECES = 4


def statistics(x: Arrays) -> np.ndarray:
    """float32 (n, 160): of 20 MFCCs the mean and spread over the clip, the spread and mean size of their changes from frame to
    frame, and the mean over each quarter of the clip."""
    from torchaudio.transforms import MFCC

    mfcc = MFCC(RATE, COEFFICIENTS, melkwargs={"n_fft": 512, "hop_length": 160, "n_mels": 40})

    def some(clips: torch.Tensor) -> torch.Tensor:
        c = mfcc(waves(clips))
        change = c.diff(dim=2)
        pieces = [p.mean(dim=2) for p in c.tensor_split(PIECES, dim=2)]
        return torch.cat([c.mean(2), c.std(2), change.std(2), change.abs().mean(2), *pieces], dim=1)

    table: np.ndarray = in_chunks(some, torch.from_numpy(np.ascontiguousarray(x[0]))).numpy()
    return table


def candidates() -> Sequence[Any]:
    """Unfitted classifiers: logistic regression on standardised statistics, at three strengths."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return [make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000)) for c in (0.01, 0.1, 1.0)]
