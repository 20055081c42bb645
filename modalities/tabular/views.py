"""Views of table rows: independent masking, the one recipe of i-Mix for tables (kibok90/imix@d40fabe)."""

from functools import cache

import torch
from torch import Tensor

from bench.adapter import Batch, View
from bench.errors import UserError
from modalities.tabular.preprocess import Preprocessing


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
