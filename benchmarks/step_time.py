"""What an optimiser step costs: every method relative to `npair`, and every mixer relative to none, on one thread.

    python benchmarks/step_time.py [--dataset letter] [--budget small] [--rounds 7] [--steps 10] [--precision auto]

Cells alternate: each round trains every cell for a few steps, and a ratio compares cells of one round, so that a machine that
slows down slows both. Printed are the median over rounds and the range of the middle half. CPU-seconds on a CPU.
"""

import argparse
from dataclasses import dataclass, replace
from statistics import median, quantiles

from bench import RunSpec, catalog, perf
from bench.adapter import take
from bench.errors import UserError
from bench.prepare import Prepared, prepare
from bench.pretrain import network, trainable
from bench.spec import parse_method, settings_used
from bench.train import fit

BASE = "npair"


@dataclass(frozen=True)
class Cell:
    """A method with its network and loss, ready to train on."""

    ready: Prepared
    method: object
    loss: object

    @classmethod
    def of(cls, spec: RunSpec) -> "Cell":
        ready = prepare(spec)
        x = take(ready.dataset.train.x, ready.rows.pretrain)
        transform = ready.adapter.fit(x, ready.dataset, ready.spec)
        return cls(ready, *trainable(ready, network(ready, transform), transform))

    def seconds(self, steps: int) -> float:
        """Seconds of one step, over a training of `steps`."""
        plan = replace(self.ready.plan, steps=steps)
        fitted = fit(self.method, self.loss, len(self.ready.rows.pretrain), plan, after_step=self.method.after_step)
        return fitted.seconds / steps


def names(modality: str) -> list[str]:
    """Every method, and every method under every single mixer that it takes under its own name."""
    found = []
    for base in catalog.names(catalog.METHODS):
        mixers = [m for m, runs_as in catalog.card(catalog.METHODS, base)["mixers"].items() if runs_as == base]
        grid = catalog.card(catalog.MODALITIES, modality).get("grid")
        found += [base, *(f"{base}+{m}" for m in mixers if grid or not catalog.mixers()[m].get("grid"))]
    return found


def _at_once(name: str) -> dict[str, float]:
    """No waiting for the negatives of MoCHi, which otherwise start after a twentieth of the steps."""
    return {"hard_start": 0.0} if "hard_start" in settings_used(RunSpec(method=name), parse_method(name)) else {}


def measured(cells: dict[str, Cell], rounds: int, steps: int) -> dict[str, list[float]]:
    """Seconds of a step per cell and round; one round before them warms up."""
    times: dict[str, list[float]] = {name: [] for name in cells}
    for number in range(rounds + 1):
        for name, cell in cells.items():
            spent = cell.seconds(steps)
            if number:
                times[name].append(spent)
    return times


def against(times: dict[str, list[float]], name: str, base: str) -> str:
    """The ratio of two cells, round by round: median and the range of its middle half."""
    ratios = [a / b for a, b in zip(times[name], times[base], strict=True)]
    low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else (ratios[0],) * 3
    return f"{median(ratios):5.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Print one line per method, then one per method and mixer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, usual in (
        ("modality", "tabular"),
        ("dataset", ""),
        ("budget", "small"),
        ("precision", "auto"),
        ("device", "cpu"),
    ):
        parser.add_argument(f"--{name}", default=usual)
    for name, many in (("rounds", 7), ("steps", 10), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=many)
    parser.add_argument("--methods", nargs="+", help="default: all")
    options = vars(parser.parse_args())
    rounds, steps, chosen = options.pop("rounds"), options.pop("steps"), options.pop("methods")
    wanted = [n for n in names(options["modality"]) if not chosen or parse_method(n).base in {BASE, *chosen}]
    with perf.threads(options["threads"]):
        cells = {name: Cell.of(RunSpec(method=name, **options, **_at_once(name))) for name in wanted}
        times = measured(cells, rounds, steps)
    plan = cells[BASE].ready.plan
    print(f"batch {plan.batch_size}, {plan.precision}, {perf.device_name(plan.device)}; {rounds} rounds of {steps} steps")
    print(f"{'method':<24} {'ms':>7}  relative to {BASE}")
    for name in (n for n in times if "+" not in n):
        print(f"{name:<24} {1000 * median(times[name]):7.2f}  {against(times, name, BASE)}")
    print(f"{'mixed':<24} {'ms':>7}  relative to its base")
    for name in (n for n in times if "+" in n):
        print(f"{name:<24} {1000 * median(times[name]):7.2f}  {against(times, name, parse_method(name).base)}")


if __name__ == "__main__":
    try:
        main()
    except UserError as problem:
        raise SystemExit(str(problem)) from None
