"""Shared by the tests: where the real data lie, a home for caches that is not the user's, and a count of what was skipped."""

import itertools
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

NO_DATA = re.compile(r"\bis absent\b")
"""What a test says that skips because real data are not there. `.ci/run` fails on such a skip where there is a data folder."""

sys.path.append(str(Path(__file__).parents[1]))  # last, for `benchmarks`: bench itself is tested as it was installed

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small matrices: more threads only wait for each other
settings.register_profile("bench", deadline=None)  # how fast a busy machine is, is no law
settings.load_profile("bench")
_homes = itertools.count()


@pytest.fixture(scope="session")
def bench_data() -> Path:
    """The folder of real data: $BENCH_DATA, or ../shared/data beside the checkout. Tests that need it skip without it."""
    place = Path(os.environ.get("BENCH_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not place.is_dir():
        pytest.skip(
            f"no real data: {place} is absent; set BENCH_DATA to the folder that holds tabular/, images/, text/, speech/"
        )
    return place


@pytest.fixture(autouse=True)
def _not_the_users_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's caches."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path_factory.getbasetemp() / f"home-{os.getpid()}-{next(_homes)}"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty BENCH_HOME."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many tests were skipped for missing data; append the session's counts to the file $BENCH_TALLY."""
    found = terminalreporter.stats
    missing = sum(bool(NO_DATA.search(str(report.longrepr))) for report in found.get("skipped", ()))
    if missing:
        terminalreporter.write_line(f"{missing} tests skipped for missing data")
    if tally := os.environ.get("BENCH_TALLY"):
        counts = (*(len(found.get(kind, ())) for kind in ("passed", "failed", "error", "skipped")), missing)
        with Path(tally).open("a", encoding="utf-8") as file:
            file.write(" ".join(map(str, counts)) + "\n")
