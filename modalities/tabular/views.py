"""Views of table rows: independent masking, i-Mix's recipe for tables (kibok90/imix@d40fabe), and SCARF's corruption."""

from functools import cache

import torch
from torch import Tensor

from bench.adapter import Batch, View
from bench.errors import UserError
from modalities.tabular.preprocess import Preprocessing

CORRUPTED = 0.6
"""Share of a row's cells that SCARF replaces."""


def masking(rate: float, columns: str, transform: Preprocessing) -> View:
    """Every cell of `columns` (all, numeric, categorical) is masked with probability `rate`, independently.

    A masked number becomes 0, its training mean, and so does its missing-value indicator: a masked cell must not tell
    that it was missing. A masked category becomes the column's `masked` state.
    """
    numbers, categories = len(transform.keep), len(transform.columns)
    blur_numbers, blur_categories = numbers and columns != "categorical", categories and columns != "numeric"
    if not (blur_numbers or blur_categories):
        raise UserError(
            f"mask_columns is {columns!r}, but the table has {numbers} numeric and {categories} categorical columns, so no "
            "cell could be masked. Set mask_columns to all."
        )

    @cache
    def on(device: torch.device) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(transform.parent).to(device), torch.from_numpy(transform.states - 1).to(device)

    def view(x: Batch, rng: torch.Generator) -> Batch:
        values, codes = x
        parent, masked = on(values.device)
        if blur_numbers:
            hit = torch.rand((len(values), numbers), generator=rng, device=values.device) < rate
            values = values.masked_fill(torch.cat((hit, hit[:, parent]), dim=1) if len(parent) else hit, 0.0)
        if blur_categories:
            hit = torch.rand((len(codes), categories), generator=rng, device=codes.device) < rate
            codes = torch.where(hit, masked, codes)
        return values, codes

    return view


def scarf(transform: Preprocessing) -> View:
    """In every row 60 % of the columns, rounded down and drawn anew, take the value of a random training row each.

    Draws from the empirical marginals of the cut training rows (Bahri et al., SCARF, ICLR 2022, arXiv 2106.15147). The missing
    value indicator comes from the same row as its cell. The paper corrupts one view; the other is the row as it is.
    """
    assert transform.sample is not None
    some_values, some_states = transform.sample
    numbers, columns = len(transform.keep), len(transform.keep) + len(transform.columns)
    count = max(1, int(CORRUPTED * columns))

    @cache
    def on(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        return tuple(torch.from_numpy(a).to(device) for a in (some_values, some_states, transform.parent))  # type: ignore[return-value]

    def view(x: Batch, rng: torch.Generator) -> Batch:
        values, codes = x
        from_values, from_codes, parent = on(values.device)
        luck = torch.rand((len(values), columns), generator=rng, device=values.device)
        hit = luck <= luck.kthvalue(count, dim=1, keepdim=True).values
        donor = torch.randint(len(from_values), hit.shape, generator=rng, device=values.device)
        which, whose = (torch.cat((t[:, :numbers], t[:, parent]), dim=1) for t in (hit, donor))
        values = torch.where(which, from_values.gather(0, whose), values)
        return values, torch.where(hit[:, numbers:], from_codes.gather(0, donor[:, numbers:]), codes)

    return view
