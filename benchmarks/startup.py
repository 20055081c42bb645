"""Start-up: how long a command takes before it does anything.

Fresh processes one after the other, by the clock, start to end; files are in the system's cache. `python -c pass` is what the
interpreter itself takes, and is contained in the others.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial

from benchmarks.row import Row
from benchmarks.timing import Spread, taken

EACH = 5  # processes in a round
COMMANDS = {
    "python -c pass": "",
    "python -c 'import bench'": "",
    "python -m bench --help": "<= 0.3",
    "python -m bench list": "<= 0.6",
    "python -m bench run --help": "",
}


def rows(rounds: int) -> Iterator[Row]:
    """A row for every command."""
    sides = {name: partial(_seconds, name.replace("'", "").split(" ", 2 if " -c " in name else -1)) for name in COMMANDS}
    times = taken(sides, rounds * EACH)
    for name, reach in COMMANDS.items():
        yield Row(f"`{name}`", Spread.of(times[name]), "s", reach)
    yield Row("torch and numpy among what `import bench` imports", Spread.of([_imported()]), "", "<= 0")


def _seconds(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *command[1:]], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def _imported() -> float:
    code = "import sys, bench; print(len({'torch', 'numpy'} & set(sys.modules)))"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
