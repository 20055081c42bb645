"""g: h -> z, projection heads.

Kinds as in the i-Mix reference code (FC = Linear): `mlpbn` is FC BN ReLU FC BN, `mlpbn1` is FC BN ReLU FC, `mlp` is
FC ReLU FC; `linear` is FC; `none` is the identity. The hidden width is the feature dimension.
"""

from torch import nn


def head(kind: str, dim: int, out: int) -> nn.Module:
    """A projection head from h of width `dim` to z of width `out` (for `none`, z is h).

    The first Linear of a normalised layer keeps its bias, as the reference does; BatchNorm makes it idle.
    """
    layers: dict[str, list[nn.Module]] = {
        "none": [],
        "linear": [nn.Linear(dim, out)],
        "mlp": [nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, out)],
        "mlpbn1": [nn.Linear(dim, dim), nn.BatchNorm1d(dim), nn.ReLU(), nn.Linear(dim, out)],
        "mlpbn": [nn.Linear(dim, dim), nn.BatchNorm1d(dim), nn.ReLU(), nn.Linear(dim, out), nn.BatchNorm1d(out)],
    }
    return nn.Sequential(*layers[kind])
