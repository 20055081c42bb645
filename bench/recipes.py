"""Papers' values and budgets: turn a RunSpec with holes into one without, or say everything that is wrong with it."""

import difflib
import math
import tomllib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from bench import catalog
from bench.errors import UserError, refuse, unknown
from bench.spec import SETTINGS, Method, RunSpec, options, parse_method, settings_used

PROTOCOLS = {
    "linear@1": "multinomial logistic regression on frozen, standardised h",
    "knn@1": "cosine k-nearest neighbours on frozen, standardised h",
    "ridge@1": "least squares on one-hot labels, closed form, on frozen, standardised h",
    "cluster@1": "k-means on frozen h without labels: accuracy by Hungarian matching, NMI, ARI",
    "finetune@1": "encoder and a linear layer trained on the labelled rows; rate and epochs from a small grid",
    "noise@1": "linear@1 with noise on the test rows",
    "missing@1": "linear@1 with 30 % of every test row missing",
}
CHOICES = {
    "device": ("auto", "cpu", "cuda", "mps"),
    "precision": ("auto", "bf16", "fp32"),
    "head": ("none", "linear", "mlp", "mlpbn1", "mlpbn"),
    "mask_fill": ("mean",),
    "features": ("mel32", "mel64"),
    "mask_columns": ("all", "numeric", "categorical"),
    "loss": ("nt_xent", "nt_logistic", "margin", "nt_logistic_sh", "margin_sh"),
    "similarity": ("cosine", "dot"),
    "probe_on": ("h", "z"),
    "key_schedule": ("constant", "cosine"),
    "own_keys": ("kept", "masked"),
}
UNTUNED = ("random", "raw")
"""Controls that `finetune@1` cannot score."""

FLAT = ("none", "linear")
"""Projection heads without a hidden layer."""

_AT_LEAST = {  # setting -> (least value, whether the least value itself is allowed)
    "steps": (1, True), "epochs": (0, False), "batch_size": (2, True), "base_lr": (0, False), "weight_decay": (0, True),
    "width": (1, True), "image_size": (4, True), "max_length": (1, True), "projection_dim": (1, True),
    "temperature": (0, False), "queue_size": (1, True), "imix_alpha": (0, False), "cutmix_alpha": (0, False),
    "inputmix_aux": (1, True), "mixup_alpha": (0, False), "threads": (1, True), "seed": (0, True),
    "margin": (0, True), "head_width": (1, True), "head_depth": (1, True), "bn_groups": (1, True), "hardest": (1, True),
    "hard_pairs": (0, True), "hard_query": (0, True), "cluster_temperature": (0, False), "subvector": (1, True),
    "invariance": (0, True), "variance": (0, True), "covariance": (0, True),
}  # fmt: skip
_SHARES = ("sgd_momentum", "warmup", "key_momentum", "inputmix_floor", "mask_rate", "bank_momentum", "hard_start")


@cache
def book() -> dict[str, Any]:
    """The parsed `recipes.toml`: {"recipes": {...}, "budgets": {...}}."""
    return tomllib.loads(Path(__file__).with_name("recipes.toml").read_text(encoding="utf-8"))


def budgets(modality: str) -> dict[str, dict[str, Any]]:
    """Budgets of a modality by name: those of `recipes.toml`, and those of its own card."""
    ours = {name: by_modality[modality] for name, by_modality in book()["budgets"].items() if modality in by_modality}
    return {**ours, **catalog.card(catalog.MODALITIES, modality).get("budgets", {})}


def recipes(modality: str) -> dict[str, dict[str, Any]]:
    """Recipes by name: those of `recipes.toml`, and those of the modality's own card."""
    return {**book()["recipes"], **catalog.card(catalog.MODALITIES, modality).get("recipes", {})}


IMIX = "imix-paper"
"""The recipe of the i-Mix paper for the data at hand, whatever its name."""


def _recipe(spec: RunSpec, modality: dict[str, Any]) -> str:
    """The recipe's own name: the one given, that of the data set, or that of the modality."""
    card = modality["datasets"].get(spec.dataset, {}) if spec.data is None else {}
    usual = str(card.get("recipe") or modality["recipe"])
    if spec.recipe != IMIX:
        return spec.recipe or usual
    own = usual if usual.startswith("imix-") else str(modality["recipe"])
    if not own.startswith("imix-"):
        raise UserError(
            f"the i-Mix paper has no {spec.modality}, so there is no recipe {IMIX} for it. Use {usual}, or leave it out."
        )
    return own


def published(recipe: str, method: Method, modality: str) -> dict[str, Any]:
    """What the recipe's paper says of encoder, length and batch, which budgets otherwise decide; `paper` follows it.

    A table `momentum` within holds what it says otherwise of methods with a momentum encoder.
    """
    paper = recipes(modality)[recipe].get("paper", {})
    more = paper.get("momentum", {}) if "momentum encoder" in method.card["needs"] else {}
    return {**{k: v for k, v in paper.items() if k != "momentum"}, **more}


def unlike_paper(spec: RunSpec) -> str:
    """Where a resolved spec differs from the recipe's paper, as `name=value (paper value)` joined by commas."""
    if "paper" not in budgets(spec.modality):
        return ""
    kept = {"views", "precision"}
    paper = resolve(spec.replace(**{n: None for n in SETTINGS if n not in kept}, budget="paper"))
    found = []
    for name in SETTINGS:
        ours, theirs = getattr(spec, name), getattr(paper, name)
        if name == "epochs" or ours == theirs or (name == "steps" and spec.epochs == paper.epochs is not None):
            continue
        said = f"epochs={paper.epochs:g}" if name == "steps" and theirs is None and paper.epochs else theirs
        found.append(f"{name}={ours} (paper {said})")
    return ", ".join(found)


def resolve(spec: RunSpec) -> RunSpec:
    """Fill every hole of a spec from the data set's recipe and the budget, and bring names into canonical form.

    A setting that the method, its mixers, the views and the encoder do not use stays None; giving it is an error.
    Raises `UserError` with all problems at once. Needs no data and imports no torch.
    """
    spec = _typed(spec)
    modality = catalog.card(catalog.MODALITIES, spec.modality)
    method = parse_method(spec.method)
    spec = spec.replace(method=method.name, dataset=_dataset(spec, modality), compile=spec.compile or None)
    if spec.evaluate_on == spec.dataset and spec.data is None:
        spec = spec.replace(evaluate_on=None)
    if "views" not in method.card["needs"]:
        spec = spec.replace(views="none")
    problems = [*_names(spec, modality), *_grids(method, spec.modality, modality), *_ranges(spec)]
    refuse(problems)
    used = settings_used(spec, method)
    refuse([_unused(name, method, spec) for name in SETTINGS if getattr(spec, name) is not None and name not in used])
    filled = _filled(spec, used, method, modality)
    refuse(_pointless(spec, filled))
    return filled


def departures(spec: RunSpec, resolved: RunSpec) -> str:
    """Settings by which a run departs from its recipe and budget, as `name=value` joined by spaces."""
    given = [n for n in SETTINGS if getattr(spec, n) is not None]
    plain = resolve(spec.replace(**dict.fromkeys(given)))
    return " ".join(f"{n}={getattr(resolved, n)}" for n in given if getattr(resolved, n) != getattr(plain, n))


@dataclass(frozen=True)
class Effective:
    """What the rows at hand make of what was asked. All None for a control that does not train."""

    steps: int | None = None
    key_momentum: float | None = None
    batch_size: int | None = None  # recorded beside the requested one, like queue_size
    queue_size: int | None = None

    def filled(self) -> dict[str, Any]:
        """The values that a spec without holes carries."""
        return {"steps": self.steps, "epochs": None, "key_momentum": self.key_momentum}


def effective(spec: RunSpec, n_full: int, n_rows: int) -> Effective:
    """Steps, key momentum, batch and queue of a resolved spec.

    n_full: training rows before the cut (epochs count passes over these, so every fraction trains equally long);
    n_rows: rows it trains on. The batch is at most the rows; the queue at most a quarter of them, at least one batch (slots
    drawn from a memory bank may be fewer).
    """
    assert spec.batch_size is not None
    batch = min(spec.batch_size, n_rows)
    steps = spec.steps or max(1, round((spec.epochs or 0) * n_full / spec.batch_size))
    card = parse_method(spec.method).card
    least = batch if "queue" in card["needs"] else 1
    queue = None if spec.queue_size is None else max(min(spec.queue_size, n_rows // 4), least)
    uses_keys = "key_momentum" in card["settings"]
    momentum = spec.key_momentum if spec.key_momentum is not None else min(max(1 - 10 / steps, 0.0), 0.999)
    return Effective(steps, momentum if uses_keys else None, batch, queue)


def _typed(spec: RunSpec) -> RunSpec:
    """Values of the fields' own types: a whole number where a float is wanted becomes one, so that equal runs hash equally."""
    wrong, right = [], {}
    for f in fields(RunSpec):
        value, wanted = getattr(spec, f.name), str(getattr(f.type, "__name__", f.type)).removesuffix(" | None")
        if isinstance(value, int) and not isinstance(value, bool) and wanted == "float":
            right[f.name] = float(value)
        elif value is not None and type(value).__name__ != wanted:
            wrong.append(f"{f.name} is {value!r}, a {type(value).__name__}; it must be of type {wanted}.")
    refuse(wrong)
    return spec.replace(**right)


def _dataset(spec: RunSpec, modality: dict[str, Any]) -> str:
    if spec.data is not None:
        return spec.dataset or Path(spec.data).stem
    return spec.dataset or str(modality["default"])


def _names(spec: RunSpec, modality: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for name in [spec.dataset if spec.data is None else None, spec.evaluate_on]:
        known = [*modality["datasets"], *modality.get("schemes", {})]
        if name is not None and name not in known and name.partition(":")[0] + ":" not in known:
            found.append(unknown("data set", name, known, spec.modality))
    if spec.data is None and (spec.test or spec.target):
        found.append("--test and --target describe a file of yours; give that file with --data FILE.")
    if spec.views not in modality["views"]:
        found.append(unknown("views", spec.views, modality["views"], where=spec.modality))
    if spec.budget not in budgets(spec.modality):
        found.append(unknown("budget", spec.budget, budgets(spec.modality), where=spec.modality))
    if spec.recipe is not None and spec.recipe not in (IMIX, *recipes(spec.modality)):
        found.append(unknown("recipe", spec.recipe, [IMIX, *recipes(spec.modality)], where="bench/recipes.toml"))
    if spec.protocol not in PROTOCOLS:
        found.append(unknown("protocol", spec.protocol, PROTOCOLS))
    found += _encoders(spec, modality)
    for name, choices in CHOICES.items():
        value = getattr(spec, name)
        if value is not None and value not in choices:
            found.append(unknown(name, str(value), choices))
    return found


def _grids(method: Method, name: str, modality: dict[str, Any]) -> list[str]:
    """Mixers that cut boxes need inputs that lie on a grid."""
    wanted = [m for m in method.mixers if catalog.mixers()[m].get("grid")]
    return [
        f"{m} cuts boxes out of a grid (pictures, spectrograms), which {name} has not. Use imix."
        for m in wanted
        if not modality.get("grid")
    ]


def _encoders(spec: RunSpec, modality: dict[str, Any]) -> list[str]:
    """An encoder by name, or `SCHEME:REST` where the card lists `SCHEME:`."""
    known = modality.get("encoders", {})
    if spec.encoder is None or not known or spec.encoder in known or spec.encoder.partition(":")[0] + ":" in known:
        return []
    return [unknown("encoder", spec.encoder, known, where=spec.modality)]


def _pointless(asked: RunSpec, spec: RunSpec) -> list[str]:
    """What was given and would change nothing, or could not be done, with the reason."""
    found = [
        f"{name} is set to {getattr(asked, name)}, but the head {spec.head!r} has no hidden layer. Use mlp, mlpbn1 or mlpbn."
        for name in ("head_width", "head_depth")
        if spec.head in FLAT and getattr(asked, name) is not None
    ]
    if asked.margin is not None and not (spec.loss or "").startswith("margin"):
        found.append(f"margin is set to {asked.margin:g}, but the loss is {spec.loss or 'nt_xent'}. Use margin or margin_sh.")
    if asked.hardest is not None and spec.hard_pairs == spec.hard_query == 0:
        found.append(f"hardest is set to {asked.hardest}, but hard_pairs and hard_query are 0, so nothing is mixed from them.")
    if spec.bn_groups is not None and spec.batch_size is not None and spec.bn_groups > spec.batch_size // 2:
        found.append(
            f"bn_groups {spec.bn_groups} is too much for a batch of {spec.batch_size}: every group needs two rows. Give at "
            f"most {spec.batch_size // 2}."
        )
    if spec.protocol == "finetune@1" and parse_method(spec.method).base in UNTUNED:
        found.append(
            f"finetune@1 has nothing to fine-tune in {spec.method}: an untrained encoder that learns with labels is supervised."
        )
    if spec.probe_on == "z" and spec.protocol == "finetune@1":
        found.append("finetune@1 trains the encoder, which ends at h; it cannot look at z. Leave --probe-on out.")
    if spec.probe_on == "z" and spec.protocol == "cluster@1" and "class count" in parse_method(spec.method).card["needs"]:
        found.append(f"{spec.method} predicts clusters by its own head on h; it cannot look at z. Leave --probe-on out.")
    return found


def _ranges(spec: RunSpec) -> list[str]:
    found = []
    for name in ("pretrain_fraction", "label_fraction"):
        value = getattr(spec, name)
        if not 0 < value <= 1:
            found.append(f"{name} {value:g} is outside (0, 1]. Give the share of the training rows, for example 0.1.")
    if spec.label_fraction > spec.pretrain_fraction:
        found.append(
            f"label_fraction {spec.label_fraction:g} is above pretrain_fraction {spec.pretrain_fraction:g}: labelled rows "
            "are the first of the pretraining rows. Raise pretrain_fraction, or set both with --fraction."
        )
    for name, (least, allowed) in _AT_LEAST.items():
        value = getattr(spec, name)
        if value is not None and not math.isfinite(value):
            found.append(f"{name} {value:g} is not a number to work with; it must be {_bound(least, allowed)} and finite.")
        elif value is not None and not (value >= least if allowed else value > least):
            found.append(f"{name} {value:g} is too small; it must be {_bound(least, allowed)}.")
    for name in _SHARES:
        value = getattr(spec, name)
        if value is not None and not 0 <= value <= 1:
            found.append(f"{name} {value:g} is outside [0, 1].")
    if spec.steps is not None and spec.epochs is not None:
        found.append(f"steps {spec.steps} and epochs {spec.epochs:g} both say how long to train. Give one of them.")
    return found


def _bound(least: float, allowed: bool) -> str:
    return f"{'at least' if allowed else 'above'} {least}"


def _unused(name: str, method: Method, spec: RunSpec) -> str:
    near = difflib.get_close_matches(name, settings_used(spec, method), n=1, cutoff=0.75)
    return (
        f"{name} is set to {getattr(spec, name)}, but {method.name} with views {spec.views!r} does not use it. Leave it out"
        + (f", or did you mean {near[0]!r}?" if near else ".")
    )


def _filled(spec: RunSpec, used: set[str], method: Method, modality: dict[str, Any]) -> RunSpec:
    """Recipe, then what the method's own paper says otherwise, then budget. An option may stay None: its usual value."""
    recipe = _recipe(spec, modality)
    budget = budgets(spec.modality)[spec.budget]
    special = budget.get(spec.dataset, {}) if spec.data is None else {}  # your file may bear a catalogued name
    budget = {**{k: v for k, v in budget.items() if not isinstance(v, dict)}, **special}
    if spec.budget == "paper":
        budget |= published(recipe, method, spec.modality)
    if "steps" in used and (spec.steps is not None or spec.epochs is not None):
        budget = {k: v for k, v in budget.items() if k not in ("steps", "epochs")}
    values = {**recipes(spec.modality)[recipe], **method.card.get("values", {}), **budget}
    missing = [n for n in sorted(used) if getattr(spec, n) is None and n in values]
    spec = spec.replace(recipe=recipe, **{n: values[n] for n in missing})
    usual = options(method)
    idle = [n for n, value in usual.items() if n not in values and getattr(spec, n) == value]  # None says the same
    idle += [n for n in ("head_width", "head_depth") if spec.head in FLAT and n in values]
    spec = spec.replace(**dict.fromkeys(idle))
    holes = used - {"steps", "epochs", "key_momentum"} - usual.keys() - {n for n in used if getattr(spec, n) is not None}
    if holes:
        raise UserError(
            f"recipe {recipe!r} says nothing about {', '.join(sorted(holes))}, which {spec.method} needs. "
            f"Set {'it' if len(holes) == 1 else 'them'} on the command line, or choose another recipe."
        )
    return spec
