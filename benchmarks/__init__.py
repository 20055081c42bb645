"""What `bench` costs beside its peers and beside what the machine could do at best.

    python -m benchmarks [GROUP ...] [--rounds N]

Every group is a module with a function `rows(rounds)`. Each runs in a process of its own, on one pinned core and one thread
(unless the module says `CORES = 2`), and leaves what it measured in `leaderboards/performance/GROUP.json`;
`leaderboards/performance.md` is made of those files. Peers are in the extra `perf`.

Sides that are compared take turns in one run. Times are CPU-seconds; a ratio compares the sides of one round, and printed are
its median over the rounds and its range.
"""

GROUPS = (
    "quality", "training", "views", "losses", "tabular", "text", "speech", "probes", "methods", "sweeps", "growth", "memory",
    "startup", "boards",
)  # fmt: skip
"""Modules that measure, in the order of the page."""
