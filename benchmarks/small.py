"""What several groups share: the machine's name, versions, and runs of a budget cut short."""

import importlib.metadata
import platform
from typing import Any

from bench import __version__, perf

LIBRARIES = ("torch", "torchvision", "torchaudio", "lightly", "pytorch-metric-learning", "scikit-learn")


def machine() -> dict[str, Any]:
    """Where this was measured: processor, precision that `auto` picks there, and versions."""
    device = perf.pick_device("cpu")
    versions = {"bench": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"processor": perf.device_name(device), "precision": perf.pick_precision("auto", device), "versions": versions}
