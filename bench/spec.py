"""RunSpec: a frozen flat value that says what to run, and the small grammar that names methods."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from bench import catalog
from bench.errors import UserError, unknown


def _say(default: Any, help: str, **more: Any) -> Any:  # noqa: A002 - argparse's own word
    return field(default=default, metadata={"help": help, **more})


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """What to run. A setting that is None takes its value from the recipe and the budget (`recipes.resolve`).

    A misspelt field is a TypeError. Fields marked `identity=False` stay out of the run id: they cannot change a number, or
    what the rows made of them (`recipes.effective`) stands there in their place.
    """

    modality: str = _say("tabular", "kind of data")
    dataset: str = _say("", "data set; empty means the modality's default")
    data: str | None = _say(None, "your own training file instead of a named data set", identity=False)
    test: str | None = _say(None, "your own test file; without it a stratified fifth is held out", identity=False)
    target: str | None = _say(None, "column of your file that holds the class", identity=False)
    text_column: str | None = _say(None, "column of your file that holds the texts", identity=False)
    evaluate_on: str | None = _say(None, "another data set to score the encoder on: its labelled rows, its test rows")
    method: str = _say("npair+imix", "BASE[+MIXER...], a control, or an alias such as imix")
    views: str = _say("domain", "domain, agnostic, none, or a recipe the modality lists")
    budget: str = _say("small", "smoke (seconds), small (under a minute a cell), paper")
    recipe: str | None = _say(None, "hyper-parameters as published; default: the data set's own recipe", identity=False)
    pretrain_fraction: float = _say(1.0, "share of the training rows that pretraining sees")
    label_fraction: float = _say(1.0, "share of the training rows whose labels are known")
    seed: int = _say(0, "drives row order, initialisation, batches and views")
    protocol: str = _say("linear@1", "how what was learnt is scored (python -m bench list methods names all)")

    steps: int | None = _say(None, "optimiser steps")
    epochs: float | None = _say(None, "passes over the full training rows, instead of steps", identity=False)
    batch_size: int | None = _say(None, "examples per step", identity=False)
    base_lr: float | None = _say(None, "learning rate per 256 examples; the rate is base_lr x batch / 256")
    weight_decay: float | None = _say(None, "L2 penalty of the optimiser, on all parameters")
    sgd_momentum: float | None = _say(None, "momentum of SGD")
    warmup: float | None = _say(None, "share of the steps with linearly rising learning rate")
    encoder: str | None = _say(None, "network of a modality that has several")
    width: int | None = _say(None, "width factor of the encoder")
    image_size: int | None = _say(None, "longest side of a picture, in pixels; larger ones are made smaller")
    tokenizer: str | None = _say(None, "how texts become tokens: characters, bytes, bpe, wordpiece, pretrained:NAME")
    max_length: int | None = _say(None, "tokens of a text that are read, at most")
    features: str | None = _say(None, "speech: mel32 (32 bands x 32 frames) or mel64 (64 x 101)")
    head: str | None = _say(None, "projection head: none, linear, mlp, mlpbn1 (BN inside), mlpbn (BN after both layers)")
    projection_dim: int | None = _say(None, "dimension of z")
    temperature: float | None = _say(None, "softmax temperature of the contrastive loss")
    queue_size: int | None = _say(None, "keys kept in the queue", identity=False)
    key_momentum: float | None = _say(None, "momentum of the key encoder; default 1 - 10/steps, at most 0.999")
    imix_alpha: float | None = _say(None, "i-Mix: lambda ~ Beta(alpha, alpha)")
    cutmix_alpha: float | None = _say(None, "CutMix: lambda ~ Beta(alpha, alpha), one for the batch")
    inputmix_aux: int | None = _say(None, "InputMix: number of auxiliary examples")
    inputmix_floor: float | None = _say(None, "InputMix with 2 or more auxiliaries: least weight of the principal example")
    mixup_alpha: float | None = _say(None, "supervised+mixup: lambda ~ Beta(alpha, alpha)")
    mask_rate: float | None = _say(None, "probability that a cell is masked in a view")
    mask_fill: str | None = _say(None, "what a masked numeric cell becomes: mean")
    mask_columns: str | None = _say(None, "which columns are masked: all, numeric, categorical")
    loss: str | None = _say(None, "in-batch methods: nt_xent, nt_logistic, margin, nt_logistic_sh, margin_sh (semi-hard)")
    margin: float | None = _say(None, "margin of the losses margin and margin_sh")
    similarity: str | None = _say(None, "in-batch methods: cosine (L2-normalised z) or dot")
    head_width: int | None = _say(None, "units of a hidden layer of the projection head; default: the feature dimension")
    head_depth: int | None = _say(None, "hidden layers of the projection head")
    probe_on: str | None = _say(None, "what is probed: h (features) or z (after the projection head)")
    key_schedule: str | None = _say(None, "momentum of the key encoder: constant, or cosine (rises to 1)")
    bn_groups: int | None = _say(
        None, "groups of a batch that batch norm sees apart; keys are shuffled between them (ShuffleBN)"
    )
    own_keys: str | None = _say(None, "an example's own older keys in the queue: kept or masked")
    bank_momentum: float | None = _say(None, "memory bank: share of a slot that stays when its row is seen")
    hardest: int | None = _say(None, "MoCHi's N: hardest keys of a query that are mixed; default: a sixteenth of the queue")
    hard_pairs: int | None = _say(None, "MoCHi's s: negatives mixed of two hard keys; default: a sixteenth of the queue")
    hard_query: int | None = _say(
        None, "MoCHi's s': negatives mixed of a hard key and the query; default: a 128th of the queue"
    )
    hard_start: float | None = _say(None, "MoCHi: share of the steps before mixing starts")
    cluster_temperature: float | None = _say(None, "contrastive clustering: temperature between clusters")
    subvector: int | None = _say(None, "DirectCLR's d0: features that the loss sees; default: 360 of 2048, in proportion")
    invariance: float | None = _say(None, "VICReg: weight of the invariance term")
    variance: float | None = _say(None, "VICReg: weight of the variance term")
    covariance: float | None = _say(None, "VICReg: weight of the covariance term")

    device: str = _say("auto", "auto, cpu, cuda, mps")
    precision: str = _say("auto", "auto (bf16 where the processor has it), bf16, fp32")
    threads: int = _say(1, "CPU threads of one run")
    compile: bool | None = _say(
        None,
        "train compiled by torch.compile, or as usual where that does not work: faster steps after a minute's start",
    )
    keep_going: bool | None = _say(
        None,
        "train on when the embedding has collapsed (never after a loss that is not finite); the record says so",
        identity=False,
    )

    def replace(self, **changes: Any) -> "RunSpec":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def settings(self) -> dict[str, Any]:
        """Every field by name."""
        return {f.name: getattr(self, f.name) for f in fields(RunSpec)}


TRAINING = (
    "steps", "epochs", "batch_size", "base_lr", "weight_decay", "sgd_momentum", "warmup"
)  # fmt: skip
"""What the one training loop reads, for every method that trains."""

_NOT_SETTINGS = {"data", "test", "target", "text_column", "evaluate_on", "recipe", "compile", "keep_going"}
SETTINGS = tuple(f.name for f in fields(RunSpec) if f.default is None and f.name not in _NOT_SETTINGS)
"""Fields that default to None: hyper-parameters, each used by some methods, views or encoders and not by others."""


_SCIENCE = tuple(f.name for f in fields(RunSpec) if f.metadata.get("identity", True))


class Method(NamedTuple):
    """A parsed `--method`: what runs, its mixers (sorted), and what was asked for if that has another name."""

    base: str
    mixers: tuple[str, ...] = ()
    asked: str = ""

    @property
    def name(self) -> str:
        """The canonical string: the name of a leaderboard row."""
        return "+".join((self.base, *self.mixers))

    @property
    def is_control(self) -> bool:
        return self.base in catalog.controls()

    @property
    def unmixed(self) -> str:
        """The base this method is compared with: the same run without its mixers."""
        return self.base

    @property
    def card(self) -> dict[str, Any]:
        return catalog.controls()[self.base] if self.is_control else catalog.card(catalog.METHODS, self.base)


ALIASES = {"imix": "npair+imix"}


def parse_method(text: str) -> Method:
    """Parse `BASE[+MIXER...]` into its canonical form.

    `imix` alone is `npair+imix`. A base without a fixed label space runs as its N-way relative when mixed (its card says
    which): `simclr+imix` is `npair+imix`, `moco+imix` is `mocon+imix`.
    Raises `UserError` for an unknown name and for a mixer that the base cannot use, with the reason.
    """
    asked = text.strip()
    head, plus, rest = asked.partition("+")
    base, *mixers = f"{ALIASES.get(head, head)}{plus}{rest}".split("+")
    bases = {*catalog.names(catalog.METHODS), *catalog.controls()}
    if base not in bases:
        raise UserError(unknown("method", base, bases | set(ALIASES), where="bench/methods and the controls"))
    card = Method(base).card
    allowed: Mapping[str, str] = card["mixers"]
    for mixer in mixers:
        if mixer not in allowed:
            raise UserError(_why_not(base, mixer, card))
    for mixer in mixers:
        if clash := sorted(set(mixers) & set(catalog.mixers()[mixer].get("excludes", ()))):
            raise UserError(f"{asked} makes no sense: {mixer} and {clash[0]} both mix the query. Leave one of them out.")
    runs_as = next((allowed[m] for m in mixers if allowed[m] != base), base)
    method = Method(runs_as, tuple(sorted(set(mixers))), asked)
    return method if runs_as == base else parse_method(method.name)._replace(asked=asked)


def _why_not(base: str, mixer: str, card: Mapping[str, Any]) -> str:
    allowed = card["mixers"]
    known = set(catalog.mixers())
    if mixer not in known:
        return unknown("mixer", mixer, known, where="bench/mixing.py")
    reason = card.get("refuses", {}).get(mixer, f"{base} takes {', '.join(allowed) if allowed else 'no mixer'}")
    return f"{base}+{mixer} makes no sense: {reason}."


def settings_used(spec: RunSpec, method: Method) -> set[str]:
    """The hyper-parameters that this method, its mixers, its views and the modality's preprocessing and encoder read."""
    modality = catalog.card(catalog.MODALITIES, spec.modality)
    used = {s for m in method.mixers for s in catalog.mixers()[m]["settings"]} | set(method.card["settings"])
    if method.card["needs"]:
        used |= set(modality.get("input", ()))
    if "encoder" in method.card["needs"]:
        used |= set(modality["encoder"])
    if "training" in method.card["needs"]:
        used |= set(TRAINING)
    if "projector" in method.card["needs"]:
        used |= {"head", "projection_dim"}
    used |= options(method).keys()
    if "views" in method.card["needs"]:
        used |= set(modality["views"].get(spec.views, {}).get("settings", ()))
    return used


def options(method: Method) -> dict[str, Any]:
    """The settings that a method reads and that may stay None, and the value that None stands for."""
    found = dict(method.card.get("options", {}))
    if "projector" in method.card["needs"]:
        found |= {"head_width": None, "head_depth": 1, "probe_on": "h"}
    return found


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, no NaN. Equal values give equal strings."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of a value."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def identity(spec: RunSpec, facts: Mapping[str, Any], leave_out: Iterable[str] = ()) -> dict[str, Any]:
    """Everything that can change a number: the spec's science fields and the facts (fingerprints, effective values).

    A None says nothing, so a field introduced later keeps old run ids as long as it is None.
    """
    skip = set(leave_out)
    said = {**{name: getattr(spec, name) for name in _SCIENCE}, **facts}
    science = {k: v for k, v in said.items() if k not in skip and v is not None}
    return {k: float(v) if k.endswith("_fraction") else v for k, v in science.items()}


def run_id(spec: RunSpec, facts: Mapping[str, Any]) -> str:
    """The name of a run: 16 hex digits of the SHA-256 of its identity."""
    return digest(identity(spec, facts))[:16]
