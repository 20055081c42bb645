"""A contrastive run: pretrain without labels (or take the encoder from the cache), embed, probe the frozen features."""

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from bench import perf
from bench.adapter import Batch, Transform, View, take
from bench.diagnose import collapse
from bench.heads import head
from bench.home import home, load_tensors, locked, save_tensors, trim
from bench.method import Network, build
from bench.mixing import Mixers
from bench.outcome import Outcome, Progress, probed, size_facts, training_facts
from bench.prepare import Prepared
from bench.seeds import torch_rng
from bench.train import Plan, contrastive_loss, embed, fit

DIAGNOSED = 1024  # test rows, without labels, from which the scalars of collapse are computed


def contrastive(ready: Prepared, transform: Transform, labelled: Batch, x_test: Batch, progress: Progress) -> Outcome:
    """Pretrain (or take from the cache), embed, probe. For `random` there is nothing to pretrain."""
    view = ready.adapter.view(ready.spec, transform)
    if ready.pretrain_id is None:
        facts: dict[str, Any] = {}
        net, encoder, losses = None, ready.encoder(transform).to(ready.plan.device), None
    else:
        net, facts, losses = _pretrained(ready, transform, view, progress)
        encoder = net.encoder
    before = _hash(encoder)
    progress("embedding", 0, 1, float("nan"))
    h, h_test = embed(encoder, labelled, ready.plan), embed(encoder, x_test, ready.plan)
    some = tuple(t[:DIAGNOSED] for t in x_test)
    projections = [] if net is None else [_project(net, view, some, ready.plan, i) for i in (0, 1)]
    facts = {**facts, **collapse(h_test[:DIAGNOSED], *projections), **size_facts(encoder, some), "encoder_hash": before}
    outcome = probed(ready, h, h_test, facts, progress)
    return Outcome(outcome.prediction, {**outcome.facts, "encoder_hash_after": _hash(encoder)}, losses)


def _pretrained(
    ready: Prepared, transform: Transform, view: View, progress: Progress
) -> tuple[Network, dict[str, Any], Tensor]:
    """The pretrained network, from the cache where it is there: (network, cost, losses)."""
    spec, plan = ready.spec, ready.plan
    encoder = ready.encoder(transform)
    dim = encoder.dim if spec.head == "none" else int(spec.projection_dim or 0)
    net = Network(encoder, head(str(spec.head), encoder.dim, dim), dim).to(plan.device)
    path = home() / "encoders" / f"{ready.pretrain_id}.safetensors"
    with locked(path):
        found = load_tensors(path)
        if found is None:
            found = _pretrain(ready, net, transform, view, progress)
            save_tensors(path, *found)
            trim()
    tensors, facts = found
    net.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
    return net, dict(facts), tensors["losses"]


def _pretrain(
    ready: Prepared, net: Network, transform: Transform, view: View, progress: Progress
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Pretrain without labels: what the cache keeps of it, tensors and facts."""
    spec, plan = ready.spec, ready.plan
    x = tuple(t.to(plan.device) for t in transform(take(ready.dataset.train.x, ready.rows.pretrain)))
    settings = {**spec.settings(), "queue_size": ready.facts["effective_queue_size"]}
    method = build(ready.method.base, net, settings).to(plan.device)
    mixers = Mixers(**{k: getattr(spec, k) for k in ("imix_alpha", "cutmix_alpha", "inputmix_aux", "inputmix_floor")})
    checkpoint = home() / "checkpoints" / f"{ready.pretrain_id}.safetensors"

    def watch(step: int, loss: float) -> None:
        progress("pretraining", step, plan.steps, loss)

    fitted = fit(
        method,
        contrastive_loss(method, x, view, mixers, plan),
        len(x[0]),
        plan,
        after_step=method.after_step,
        watch=watch,
        checkpoint=checkpoint,
    )
    checkpoint.unlink(missing_ok=True)
    facts = {
        "pretrain_seconds": fitted.seconds,
        "peak_memory_mb": perf.peak_memory_mb(plan.device),
        **training_facts(fitted, plan),
    }
    return {**{f"net.{k}": v for k, v in net.state_dict().items()}, "losses": torch.from_numpy(fitted.losses)}, facts


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
