"""A contrastive run: pretrain without labels (or take the encoder from the cache), embed, evaluate what was learnt."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench import __version__, perf
from bench.adapter import Batch, Encoder, Transform, View, take
from bench.cluster import by_head
from bench.corrupt import CORRUPTIONS
from bench.diagnose import DIAGNOSED, collapse, complaint, top_share, vectors
from bench.finetune import finetuned
from bench.heads import head
from bench.home import home, load_tensors, locked, save_tensors, trim
from bench.kept import KEPT
from bench.method import Method, Network, build
from bench.mixing import Mixers
from bench.outcome import Inputs, Outcome, Progress, probed, scored_batch, size_facts, training_facts
from bench.prepare import Prepared
from bench.seeds import torch_rng
from bench.train import Loss, Plan, TrainingFailedError, contrastive_loss, embed, fit

FEWEST = 8  # rows of a batch from which a collapse can be told

COLLAPSED = "collapsed"  # the division of a run that was told to keep going and had nothing left to rank

LOOKS = 10  # times that training looks for a collapse; two in a row end it


@dataclass(frozen=True)
class Pretrained:
    """An encoder that learnt without labels, its head, and what its training cost. For `random` only the encoder."""

    encoder: Encoder
    net: Network | None
    facts: dict[str, Any]
    losses: Tensor | None = None
    clusters: nn.Module | None = None  # h -> logits of clusters, of a method that has such a head


@dataclass(frozen=True)
class Embedded:
    """One embedding pass, which several protocols share."""

    trained: Pretrained
    h: Tensor  # of the labelled rows
    h_test: Tensor
    facts: dict[str, Any]
    sides: dict[str, Any]


def contrastive(ready: Prepared, given: Inputs, progress: Progress) -> Outcome:
    """Pretrain (or take from the cache), embed, evaluate. For `random` there is nothing to pretrain.

    Raises `TrainingFailedError` where the evaluation changed the encoder: frozen means frozen.
    """
    found = KEPT.get(ready, "embedded", lambda: _embedded(ready, given, progress))
    if found.facts.get("collapsed") and not ready.spec.keep_going:
        raise TrainingFailedError(found.facts["collapsed"])
    outcome = _evaluated(ready, given, found, progress)
    after = module_hash(found.trained.encoder)
    if after != found.facts["encoder_hash"]:
        KEPT.clear()
        raise TrainingFailedError(
            f"{ready.spec.protocol} changed the encoder that it was to score: its weights were "
            f"{found.facts['encoder_hash'][:16]}, and are {after[:16]}. Frozen means frozen; the score would not be comparable."
        )
    return Outcome(outcome.prediction, {**outcome.facts, "encoder_hash_after": after}, {**found.sides, **outcome.sides})


def pretrained(ready: Prepared, transform: Transform, progress: Progress) -> Pretrained:
    """The encoder of a contrastive run, or the untrained one of `random`."""
    if ready.pretrain_id is None:
        return Pretrained(ready.encoder(transform).to(ready.plan.device), None, {})
    return _from_cache(ready, transform, progress)


def _embedded(ready: Prepared, given: Inputs, progress: Progress) -> Embedded:
    trained, plan = pretrained(ready, given.transform, progress), ready.plan
    before = module_hash(trained.encoder)
    progress("embedding", 0, 1, float("nan"))
    probed_net = _probed(ready, trained)
    h, h_test = embed(probed_net, given.labelled, plan), embed(probed_net, given.test, plan)
    some = tuple(t[:DIAGNOSED] for t in given.test)
    view = ready.adapter.view(ready.here, given.transform)
    projections = [] if trained.net is None else [_project(trained.net, view, some, plan, i) for i in (0, 1)]
    seen = h_test[:DIAGNOSED] if probed_net is trained.encoder else embed(trained.encoder, some, plan)
    arrays = vectors(seen, ready.spec.temperature, *projections)
    facts = {**trained.facts, **collapse(seen, *projections), **size_facts(trained.encoder, some)}
    if "negatives" in arrays:
        facts["top_negatives"] = top_share(torch.from_numpy(arrays["negatives"]))
    sides = arrays if trained.losses is None else {**arrays, "losses": trained.losses}
    return Embedded(trained, h, h_test, {**facts, "encoder_hash": before}, sides)


def _evaluated(ready: Prepared, given: Inputs, found: Embedded, progress: Progress) -> Outcome:
    encoder, plan, protocol = found.trained.encoder, ready.plan, ready.spec.protocol
    if protocol == "finetune@1":
        return finetuned(ready, encoder, given, found.facts, progress)
    if protocol == "cluster@1" and found.trained.clusters is not None:
        return Outcome(by_head(embed(_First(found.trained.clusters), (found.h_test,), plan)), found.facts)
    probed_net = _probed(ready, found.trained)
    h_test = embed(probed_net, scored_batch(ready, given), plan) if protocol in CORRUPTIONS else found.h_test

    def seen() -> Tensor:
        return embed(probed_net, given.transform(take(ready.dataset.train.x, ready.rows.pretrain)), plan)

    return probed(ready, found.h, h_test, found.facts, progress, seen)


def _probed(ready: Prepared, trained: Pretrained) -> nn.Module:
    """What gives the features that a protocol scores: h, or z after the projection head."""
    if trained.net is not None and ready.spec.probe_on == "z":
        return nn.Sequential(trained.encoder, trained.net.head)
    return trained.encoder


class _First(nn.Module):
    """A head for h as `embed` calls it: with a batch of one tensor."""

    def __init__(self, clusters: nn.Module) -> None:
        super().__init__()
        self.clusters = clusters

    def forward(self, x: Batch) -> Tensor:
        logits: Tensor = self.clusters(x[0])
        return logits


def cache_path(pretrain_id: str) -> Path:
    """Where a pretrained network lies: safetensors with JSON beside the tensors, and a checksum over both."""
    return home() / "encoders" / f"{pretrain_id}.safetensors"


def _from_cache(ready: Prepared, transform: Transform, progress: Progress) -> Pretrained:
    """The pretrained network, from the cache where it is there."""
    net = network(ready, transform)
    path = cache_path(str(ready.pretrain_id))
    with locked(path):
        found = load_tensors(path)
        if found is None:
            found = _pretrain(ready, net, transform, progress)
            save_tensors(path, *found)
            trim()
    tensors, facts = found
    net.load_state_dict(_below(tensors, "net."))
    cost = {k: v for k, v in facts.items() if k != "made_by"}
    return Pretrained(net.encoder, net, cost, tensors["losses"], _clusters(ready, net, _below(tensors, "clusters.")))


def network(ready: Prepared, transform: Transform) -> Network:
    """The untrained network; what is built next draws on the same generator."""
    spec, encoder = ready.spec, ready.encoder(transform)
    kind = spec.head or "none"
    dim = encoder.dim if kind == "none" else int(spec.projection_dim or 0)
    return Network(encoder, head(kind, encoder.dim, dim, spec.head_width, spec.head_depth or 1), dim).to(ready.plan.device)


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _clusters(ready: Prepared, net: Network, tensors: dict[str, Tensor]) -> nn.Module | None:
    """The method's own cluster head with its trained weights, where it has one."""
    if not tensors:
        return None
    clusters = _method(ready, net).cluster_head()
    assert clusters is not None
    clusters.load_state_dict(tensors)
    return clusters


def _pretrain(
    ready: Prepared, net: Network, transform: Transform, progress: Progress
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Pretrain: what the cache keeps of it, tensors and facts."""
    spec, plan = ready.spec, ready.plan
    method, loss = trainable(ready, net, transform)
    checkpoint = home() / "checkpoints" / f"{ready.pretrain_id}.safetensors"
    vigil = Vigil(net, plan.steps, keep_going=bool(spec.keep_going))

    def watch(step: int, loss: float) -> None:
        progress("pretraining", step, plan.steps, loss)
        vigil(step)

    n = len(ready.rows.pretrain)
    fitted = fit(method, loss, n, plan, after_step=method.after_step, watch=watch, checkpoint=checkpoint, seen=vigil.seen)
    checkpoint.unlink(missing_ok=True)
    facts = {
        "pretrain_seconds": fitted.seconds,
        "peak_memory_mb": perf.peak_memory_mb(plan.device),
        **training_facts(fitted, plan),
        **_remarks(ready, method, vigil),
        "made_by": {"bench": __version__, "torch": torch.__version__, "pretrain_id": ready.pretrain_id},
    }
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    if (clusters := method.cluster_head()) is not None:
        tensors |= {f"clusters.{k}": v for k, v in clusters.state_dict().items()}
    return {**tensors, "losses": torch.from_numpy(fitted.losses)}, facts


def trainable(ready: Prepared, net: Network, transform: Transform) -> tuple[Method, Loss]:
    """The run's method around a network, and its loss on the rows that pretraining sees."""
    spec, plan = ready.spec, ready.plan
    x = tuple(t.to(plan.device) for t in transform(take(ready.dataset.train.x, ready.rows.pretrain)))
    method = _method(ready, net)
    mixers = Mixers(**{k: getattr(spec, k) for k in ("imix_alpha", "cutmix_alpha", "inputmix_aux", "inputmix_floor")})
    view, key_view = ready.adapter.view(ready.here, transform), ready.adapter.key_view(ready.here, transform)
    return method, contrastive_loss(method, x, view, mixers, plan, key_view)


def _method(ready: Prepared, net: Network) -> Method:
    settings = {**ready.spec.settings(), "queue_size": ready.facts["effective_queue_size"]}
    told = {"n_rows": len(ready.rows.pretrain), **_told(ready)}
    return build(ready.method.base, net, settings, told).to(ready.plan.device)


def _told(ready: Prepared) -> dict[str, Any]:
    """What a method's card asks to be told beside the rows. Labels: of the labelled rows, -1 for the others."""
    needs = ready.method.card["needs"]
    told: dict[str, Any] = {}
    if "class count" in needs:
        told["n_classes"] = len(ready.dataset.classes)
    if "labels" in needs:
        told["labels"] = torch.from_numpy(ready.told)
    return told


def _remarks(ready: Prepared, method: Method, vigil: "Vigil") -> dict[str, str]:
    """Facts in words: what the method was told, what it has to say, and whether it collapsed."""
    words = {"n_classes": f"{len(ready.dataset.classes)} classes", "labels": f"{(ready.told >= 0).sum()} labels"}
    facts = {
        "told": ", ".join(words[name] for name in _told(ready)),
        "notes": " ".join(method.remarks),
        "division": ", ".join(filter(None, [method.division, vigil.found and COLLAPSED])),
        "collapsed": vigil.found,
    }
    return {name: text for name, text in facts.items() if text}


class Vigil:
    """Looks at z of the last batch, at every tenth of a training, for a collapse: it costs no forward and no random number.

    Two looks in a row that find one end the training with the reason, or, with `keep_going`, leave the reason in `found`. One
    look is not enough, since some untrained networks start on nearly one point. Batches of fewer than `FEWEST` rows and a z of
    one dimension tell nothing. `seen` is what a checkpoint keeps, so that a continued run looks as one that was not stopped.
    """

    def __init__(self, net: Network, steps: int, *, keep_going: bool) -> None:
        self.net, self.every, self.keep_going = net, steps / LOOKS, keep_going
        self.seen: dict[str, Any] = {"looked": 0, "before": False, "found": ""}

    @property
    def found(self) -> str:
        """The reason, or nothing."""
        return str(self.seen["found"])

    def __call__(self, step: int) -> None:
        """Called now and then, with the number of steps done."""
        z = self.net.last
        if step - self.seen["looked"] < self.every or z is None or len(z) < FEWEST or z.shape[1] < 2:
            return
        reason = complaint(z[:DIAGNOSED])
        if reason and self.seen["before"]:
            self.seen["found"] = f"{reason} after {step} steps"
            if not self.keep_going:
                raise TrainingFailedError(f"{self.found}; --keep-going trains and scores it nevertheless")
        self.seen |= {"looked": step, "before": bool(reason)}


@torch.no_grad()
def _project(net: Network, view: View, x: Batch, plan: Plan, which: int) -> Tensor:
    luck = torch_rng(plan.device, plan.seed, "diagnosis", which)
    seen = view(tuple(t.to(plan.device) for t in x), luck)
    return embed(nn.Sequential(net.encoder, net.head), seen, plan)


def module_hash(module: nn.Module) -> str:
    """SHA-256 over every parameter and buffer."""
    mark = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        mark.update(name.encode() + value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return mark.hexdigest()
