"""Shared by the tests: where the real data lie, and a home for caches that is not the user's."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bench_data() -> Path:
    """The folder of real data: $BENCH_DATA, or ../shared/data beside the checkout. Tests that need it skip without it."""
    place = Path(os.environ.get("BENCH_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not place.is_dir():
        pytest.skip(
            f"no real data: {place} is absent; set BENCH_DATA to the folder that holds tabular/, images/, text/, speech/"
        )
    return place


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty BENCH_HOME."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
