"""Contact sheets: what the views of a modality look like to a person."""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from bench.adapter import take
from bench.errors import UserError
from bench.prepare import prepare
from bench.seeds import torch_rng
from bench.spec import RunSpec

COLUMNS = 8
"""Views shown beside each row."""


def contact_sheet(spec: RunSpec, rows: int, out: Path | None) -> str:
    """Some training rows, each with random views of it: a picture in the file `out`, or lines of text. Returns what to say.

    The first column of the picture (the first line of each group) is the row itself.
    """
    ready = prepare(spec)
    x = ready.dataset.train.x
    transform = ready.adapter.fit(take(x, ready.rows.pretrain), ready.dataset, ready.spec)
    batch = transform(take(x, ready.rows.pretrain[:rows]))
    view = ready.adapter.view(ready.here, transform)
    luck = [torch_rng(batch[0].device, spec.seed, "views", i) for i in range(COLUMNS)]
    seen = [ready.adapter.sheet(b, transform) for b in (batch, *(view(batch, rng) for rng in luck))]
    if isinstance(seen[0], list):
        return "\n".join(chain.from_iterable(_group(lines) for lines in zip(*seen, strict=True)))
    if out is None:
        raise UserError("the views of this modality are pictures; say where to write them with --out FILE.png.")
    _draw(np.stack([np.asarray(s) for s in seen], axis=1), out)
    return f"{out}: {len(batch[0])} rows of {ready.spec.dataset}, each followed by {COLUMNS} views ({ready.spec.views})"


def _group(lines: Any) -> list[str]:
    first, *others = lines
    return [first, *(f"    {line}" for line in others)]


def _draw(tiles: np.ndarray, out: Path) -> None:
    """tiles: uint8 (rows, columns, height, width[, 3])."""
    from matplotlib.figure import Figure

    n, m, height, width = tiles.shape[:4]
    figure = Figure(figsize=(m * width / max(height, width), n * height / max(height, width)))
    for place, (i, j) in enumerate(np.ndindex(n, m), start=1):
        axes = figure.add_subplot(n, m, place)
        axes.imshow(tiles[i, j], cmap="gray" if tiles.ndim == 4 else None, vmin=0, vmax=255, interpolation="nearest")
        axes.set_axis_off()
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.995, 0.03, 0.03)
    try:
        figure.savefig(out, dpi=110)
    except (OSError, ValueError) as error:
        raise UserError(f"{out}: cannot be written: {error}. Give a file that ends in .png or .svg.") from error
