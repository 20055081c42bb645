"""`bench show RUN_ID --diagnose`: what a run's encoder learnt, in numbers, in words and as a figure."""

from pathlib import Path

import numpy as np

from bench.diagnose import DIAGNOSED, reading
from bench.errors import UserError
from bench.record import Record
from bench.store import Store

_SCALARS = {
    "rank_h": "RankMe of h",
    "rank_z": "RankMe of z",
    "effective_rank_h": "effective rank of h, centred",
    "effective_rank_z": "effective rank of z, normalised and centred",
    "std_mean": "spread of z per dimension, mean",
    "std_min": "spread of z per dimension, least",
    "alignment": "alignment (0 best, 4 worst)",
    "uniformity": "uniformity (lower is more even, 0 is collapse)",
    "top_negatives": "share of the loss in the hardest 1 % of the negatives",
}


def diagnosis(record: Record, store: Store, out: Path | None) -> str:
    """Scalars, a reading and where the figure was written. Everything is from held-out rows, without labels."""
    side = store.side(record.run_id) or {}
    if "spectrum_h" not in side:
        has_one = record.status == "ok" and (not record.is_control or record.method == "random")
        raise UserError(
            f"run {record.run_id} ({record.method}) has no diagnosis beside it"
            + (", since an earlier version made it. Run it again into another folder with --records DIR."
               if has_one else ": only frozen encoders are diagnosed.")
        )  # fmt: skip
    scalars = {name: getattr(record, name) for name in _SCALARS}
    lines = [f"{record.run_id}: {record.method} on {record.scored_on}, {record.views} views, seed {record.seed}"]
    lines += [f"  {_SCALARS[name]}: {value:.4g}" for name, value in scalars.items() if value is not None]
    lines += [f"  even spread per dimension would be {len(side['std_z']) ** -0.5:.4g}"] if "std_z" in side else []
    rows = min(DIAGNOSED, record.n_test or DIAGNOSED)
    path = out or store.folder / f"{record.run_id}-spectrum.svg"
    draw({name: side[name] for name in ("spectrum_h", "spectrum_z") if name in side}, side.get("negatives"), path)
    return "\n".join([*lines, f"reading: {reading(scalars, side, rows)}", f"figure: {path}"])


def draw(spectra: dict[str, np.ndarray], negatives: np.ndarray | None, out: Path) -> None:
    """Singular values over their rank, each relative to the greatest; beside it what the hardest negatives carry together."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9 if negatives is not None else 5, 3.6), layout="constrained")
    panels = figure.subplots(1, 1 if negatives is None else 2, squeeze=False)[0]
    for name, sigma in spectra.items():
        panels[0].semilogy(np.arange(1, len(sigma) + 1), np.maximum(sigma / max(sigma[0], 1e-12), 1e-8), label=name[-1])
    panels[0].set(xlabel="rank k", ylabel="singular value / greatest", title="spectrum of centred embeddings")
    panels[0].legend(frameon=False)
    if negatives is not None:
        panels[1].semilogx(np.arange(1, len(negatives) + 1), 100 * np.cumsum(negatives))
        panels[1].set(xlabel="hardest negatives", ylabel="share of the loss, %", title="what the hardest negatives carry")
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=110)
    except (OSError, ValueError) as error:
        raise UserError(f"{out}: cannot be written: {error}. Give a file that ends in .svg or .png.") from error
