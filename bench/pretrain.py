"""A contrastive run: pretrain without labels (or take the encoder from the cache), embed, probe the frozen features."""

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from bench import perf
from bench.adapter import Batch, Transform, View, take
from bench.diagnose import collapse, complaint
from bench.heads import head
from bench.home import home, load_tensors, locked, save_tensors, trim
from bench.method import Method, Network, build
from bench.mixing import Mixers
from bench.outcome import Outcome, Progress, probed, size_facts, training_facts
from bench.prepare import Prepared
from bench.seeds import torch_rng
from bench.train import Loss, Plan, TrainingFailedError, contrastive_loss, embed, fit

DIAGNOSED = 1024  # test rows, without labels, from which the scalars of collapse are computed

LOOKS = 10  # times that training looks for a collapse; two in a row end it


def contrastive(ready: Prepared, transform: Transform, labelled: Batch, x_test: Batch, progress: Progress) -> Outcome:
    """Pretrain (or take from the cache), embed, probe. For `random` there is nothing to pretrain."""
    view = ready.adapter.view(ready.spec, transform)
    if ready.pretrain_id is None:
        facts: dict[str, Any] = {}
        net, encoder, losses = None, ready.encoder(transform).to(ready.plan.device), None
    else:
        net, facts, losses = _pretrained(ready, transform, progress)
        encoder = net.encoder
    probed_net = nn.Sequential(encoder, net.head) if net is not None and ready.spec.probe_on == "z" else encoder
    before = _hash(encoder)
    progress("embedding", 0, 1, float("nan"))
    h, h_test = embed(probed_net, labelled, ready.plan), embed(probed_net, x_test, ready.plan)
    some = tuple(t[:DIAGNOSED] for t in x_test)
    projections = [] if net is None else [_project(net, view, some, ready.plan, i) for i in (0, 1)]
    facts = {**facts, **collapse(h_test[:DIAGNOSED], *projections), **size_facts(encoder, some), "encoder_hash": before}
    outcome = probed(ready, h, h_test, facts, progress)
    return Outcome(outcome.prediction, {**outcome.facts, "encoder_hash_after": _hash(encoder)}, losses)


def _pretrained(ready: Prepared, transform: Transform, progress: Progress) -> tuple[Network, dict[str, Any], Tensor]:
    """The pretrained network, from the cache where it is there: (network, cost, losses)."""
    net = network(ready, transform)
    path = home() / "encoders" / f"{ready.pretrain_id}.safetensors"
    with locked(path):
        found = load_tensors(path)
        if found is None:
            found = _pretrain(ready, net, transform, progress)
            save_tensors(path, *found)
            trim()
    tensors, facts = found
    if facts.get("collapsed") and not ready.spec.keep_going:
        raise TrainingFailedError(facts["collapsed"])
    net.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
    return net, dict(facts), tensors["losses"]


def network(ready: Prepared, transform: Transform) -> Network:
    """The untrained network; what is built next draws on the same generator."""
    spec, encoder = ready.spec, ready.encoder(transform)
    kind = spec.head or "none"
    dim = encoder.dim if kind == "none" else int(spec.projection_dim or 0)
    return Network(encoder, head(kind, encoder.dim, dim, spec.head_width, spec.head_depth or 1), dim).to(ready.plan.device)


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
    fitted = fit(method, loss, n, plan, after_step=method.after_step, watch=watch, checkpoint=checkpoint)
    checkpoint.unlink(missing_ok=True)
    facts = {
        "pretrain_seconds": fitted.seconds,
        "peak_memory_mb": perf.peak_memory_mb(plan.device),
        **training_facts(fitted, plan),
        **_remarks(ready, method, vigil),
    }
    kept = {f"method.{k}": v for k, v in method.state_dict().items() if k.startswith(method.keeps)}
    net_now = {f"net.{k}": v for k, v in net.state_dict().items()}
    return {**net_now, **kept, "losses": torch.from_numpy(fitted.losses)}, facts


def trainable(ready: Prepared, net: Network, transform: Transform) -> tuple[Method, Loss]:
    """The run's method around a network, and its loss on the rows that pretraining sees."""
    spec, plan = ready.spec, ready.plan
    x = tuple(t.to(plan.device) for t in transform(take(ready.dataset.train.x, ready.rows.pretrain)))
    settings = {**spec.settings(), "queue_size": ready.facts["effective_queue_size"]}
    method = build(ready.method.base, net, settings, {"n_rows": len(x[0]), **_told(ready)}).to(plan.device)
    mixers = Mixers(**{k: getattr(spec, k) for k in ("imix_alpha", "cutmix_alpha", "inputmix_aux", "inputmix_floor")})
    view, key_view = ready.adapter.view(spec, transform), ready.adapter.key_view(spec, transform)
    return method, contrastive_loss(method, x, view, mixers, plan, key_view)


def _told(ready: Prepared) -> dict[str, Any]:
    """What a method's card asks to be told beside the rows. Labels: of the labelled rows, -1 for the others."""
    needs = ready.method.card["needs"]
    told: dict[str, Any] = {}
    if "class count" in needs:
        told["n_classes"] = len(ready.dataset.classes)
    if "labels" in needs:  # the labelled rows are the first of those that pretraining sees
        known = torch.full((len(ready.rows.pretrain),), -1)
        known[: len(ready.labels)] = torch.from_numpy(ready.labels)
        told["labels"] = known
    return told


def _remarks(ready: Prepared, method: Method, vigil: "Vigil") -> dict[str, str]:
    """Facts in words: what the method was told, what it has to say, and whether it collapsed."""
    words = {"n_classes": f"{len(ready.dataset.classes)} classes", "labels": f"{len(ready.labels)} labels"}
    facts = {
        "told": ", ".join(words[name] for name in _told(ready)),
        "notes": " ".join(method.remarks),
        "division": method.division,
        "collapsed": vigil.found,
    }
    return {name: text for name, text in facts.items() if text}


class Vigil:
    """Looks at z of the last batch, at every tenth of a training, for a collapse: it costs no forward and no random number.

    Two looks in a row that find one end the training with the reason, or, with `keep_going`, leave the reason in `found`. One
    look is not enough, since some untrained networks start on nearly one point.
    """

    def __init__(self, net: Network, steps: int, *, keep_going: bool) -> None:
        self.net, self.every, self.keep_going = net, steps / LOOKS, keep_going
        self.looked, self.before, self.found = 0.0, False, ""

    def __call__(self, step: int) -> None:
        """Called now and then, with the number of steps done."""
        if step - self.looked < self.every or self.net.last is None:
            return
        self.looked = step
        reason = complaint(self.net.last[:DIAGNOSED])
        if reason and self.before:
            self.found = f"{reason} after {step} steps"
            if not self.keep_going:
                raise TrainingFailedError(f"{self.found}; --keep-going trains and scores it nevertheless")
        self.before = bool(reason)


@torch.no_grad()
def _project(net: Network, view: View, x: Batch, plan: Plan, which: int) -> Tensor:
    luck = torch_rng(plan.device, plan.seed, "diagnosis", which)
    seen = view(tuple(t.to(plan.device) for t in x), luck)
    return embed(nn.Sequential(net.encoder, net.head), seen, plan)


def _hash(module: nn.Module) -> str:
    """SHA-256 over every parameter and buffer."""
    mark = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        mark.update(name.encode() + value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return mark.hexdigest()
