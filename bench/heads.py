"""g: h -> z, projection heads.

Kinds as in the i-Mix reference code (FC = Linear): `mlpbn` is FC BN ReLU FC BN, `mlpbn1` is FC BN ReLU FC, `mlp` is
FC ReLU FC; `linear` is FC; `none` is the identity. Further hidden layers repeat the
first one.
"""

from torch import nn


def head(kind: str, dim: int, out: int, width: int | None = None, depth: int = 1) -> nn.Module:
    """A projection head from h of width `dim` to z of width `out` (for `none`, z is h).

    width: units of each of the `depth` hidden layers; None means `dim`. The first Linear of a normalised layer keeps its
    bias, as the reference does; BatchNorm makes it idle.
    """
    if kind == "none":
        return nn.Sequential()
    layers: list[nn.Module] = []
    for _ in range(0 if kind == "linear" else depth):
        layers.append(nn.Linear(dim, width or dim))
        dim = width or dim
        layers += [nn.BatchNorm1d(dim)] if kind in ("mlpbn1", "mlpbn") else []
        layers.append(nn.ReLU())
    layers.append(nn.Linear(dim, out))
    layers += [nn.BatchNorm1d(out)] if kind == "mlpbn" else []
    return nn.Sequential(*layers)
