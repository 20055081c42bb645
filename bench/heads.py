"""g: h -> z, projection heads.

Kinds as in the i-Mix reference code (FC = Linear): `mlpbn` is FC BN ReLU FC BN, `mlpbn1` is FC BN ReLU FC, `mlp` is
FC ReLU FC; `linear` is FC; `none` is the identity. Further hidden layers repeat the first one.
"""

from torch import nn


def head(kind: str, dim: int, out: int, width: int | None = None, depth: int = 1) -> nn.Module:
    """A projection head from h of width `dim` to z of width `out` (for `none`, z is h).

    width: units of each of the `depth` hidden layers; None means `dim`. The first Linear of a normalised layer keeps its
    bias, as the reference does; BatchNorm makes it idle. All kinds draw their weights, in this order, before one is chosen:
    published runs drew them so, and a seed goes on meaning the same weights.
    """
    kinds: dict[str, list[nn.Module]] = {
        "none": [],
        "linear": [nn.Linear(dim, out)],
        "mlp": [*_hidden(dim, width, depth), nn.Linear(width or dim, out)],
        "mlpbn1": [*_hidden(dim, width, depth, norm=True), nn.Linear(width or dim, out)],
        "mlpbn": [*_hidden(dim, width, depth, norm=True), nn.Linear(width or dim, out), nn.BatchNorm1d(out)],
    }
    return nn.Sequential(*kinds[kind])


def _hidden(dim: int, width: int | None, depth: int, *, norm: bool = False) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers.append(nn.Linear(dim, width or dim))
        dim = width or dim
        layers += [nn.BatchNorm1d(dim), nn.ReLU()] if norm else [nn.ReLU()]
    return layers
