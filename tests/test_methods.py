"""Every file in `bench/methods`, under every mixer its card allows: conformance, the papers' losses, queue and key encoder."""

import copy
import inspect
import itertools
import json
import math
import os
from collections import deque
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
from small import method, network, noisy, plan, views
from torch import nn
from torch.nn.functional import normalize

from bench import RunSpec, catalog, run
from bench.adapter import Batch
from bench.method import GIVEN, KeyEncoder, Method, Queue
from bench.mixing import Mixers, Mixture, blend
from bench.recipes import PROTOCOLS, UNTUNED
from bench.spec import SETTINGS, parse_method
from bench.train import contrastive_loss, fit

NAMES = catalog.names(catalog.METHODS)
PARAMETERS = {"imix": {"imix_alpha": 1.0}, "inputmix": {"inputmix_aux": 2, "inputmix_floor": 0.5}}
CPU = torch.device("cpu")
NEEDS = {
    "encoder", "views", "training", "projector", "queue", "momentum encoder", "residual last block", *GIVEN,
}  # fmt: skip
MOMENTUM = [n for n in NAMES if "queue" in catalog.card(catalog.METHODS, n)["needs"]]
RANDOM_AT_FIRST = {"byol", "membank"}
"""Methods whose untrained predictor or slots are no better than chance, so that the right pair has no lower loss."""


def combinations(cards: dict[str, dict]) -> list[str]:
    """Every base with every set of mixers its card allows, in canonical form. Mixers that need a grid have their own tests."""
    asked = [
        "+".join((base, *mix))
        for base, card in cards.items()
        for size in range(len(card["mixers"]) + 1)
        for mix in itertools.combinations([m for m in card["mixers"] if not catalog.mixers()[m].get("grid")], size)
    ]
    return sorted({parse_method(text).name for text in asked})


MIXED = combinations({name: catalog.card(catalog.METHODS, name) for name in NAMES})
CONTROLS = combinations(catalog.controls())


def mixture(name: str, n: int, seed: int = 0) -> Mixture:
    """What the mixers of a canonical method draw for one batch."""
    settings = {k: v for m in parse_method(name).mixers for k, v in PARAMETERS[m].items()}
    return Mixers(**settings).draw(n, seed, 0, CPU)


def rows(n: int) -> torch.Tensor:
    return torch.arange(n)


CHANGED = {
    "temperature": 0.5, "queue_size": 13, "key_momentum": 0.5, "loss": "nt_logistic", "similarity": "dot", "bn_groups": 2,
    "own_keys": "masked", "key_schedule": "cosine", "bank_momentum": 0.9, "hardest": 5, "hard_pairs": 4, "hard_query": 4,
    "hard_start": 1.0, "cluster_temperature": 0.3, "subvector": 2, "invariance": 1.0, "variance": 1.0, "covariance": 9.0,
}  # fmt: skip
"""A value that differs from the usual one, for every setting and option."""


# -- conformance: what every file in bench/methods must do --------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_a_method_is_and_names_only_what_exists(name):
    card = catalog.card(catalog.METHODS, name)
    assert {"title", "what", "cite", "version", "space", "needs", "settings", "mixers"} <= set(card)
    assert isinstance(card["version"], int)
    assert set(card["settings"]) <= set(SETTINGS)
    assert set(card.get("options", {})) <= set(SETTINGS)
    assert set(card.get("values", {})) <= set(SETTINGS)
    assert set(card["needs"]) <= NEEDS
    assert set(card["mixers"]) <= set(catalog.mixers())
    assert set(card["mixers"].values()) <= set(NAMES)
    assert {"encoder", "views", "training"} <= set(card["needs"])


@pytest.mark.parametrize("name", NAMES)
def test_instance_labels_are_mixed_only_where_there_is_a_label_space_and_else_refused_with_a_reason(name):
    card = catalog.card(catalog.METHODS, name)
    assert "inputmix" in card["mixers"]  # InputMix leaves the labels alone, so every method takes it
    if card["space"].startswith("none"):
        assert card["mixers"].get("imix") != name
        assert "imix" in card["mixers"] or card["refuses"]["imix"]
    else:
        assert card["mixers"]["imix"] == card["mixers"]["cutmix"] == name


@pytest.mark.parametrize("name", NAMES)
def test_settings_needs_and_options_of_a_card_are_the_arguments_of_the_method(name):
    card = catalog.card(catalog.METHODS, name)
    parameters = inspect.signature(catalog.find(catalog.METHODS, name)).parameters.values()
    arguments = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    required = {name for name, default in arguments.items() if default is inspect.Parameter.empty}
    wanted = {*card["settings"], *(GIVEN[need] for need in card["needs"] if need in GIVEN)}
    assert required <= wanted <= set(arguments)
    assert {n: arguments[n] for n in card.get("options", {}) if n != "steps"} == {
        n: v for n, v in card.get("options", {}).items() if n != "steps"
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_changes_the_training(name):
    def after_steps(**settings):
        made = method(name, norm=True, **settings)
        x, luck = views(24)[0], plan(steps=8, lr=0.002)
        fit(made, contrastive_loss(made, x, noisy, Mixers(), luck), 24, luck, after_step=made.after_step)
        return made.net.head.weight

    card = catalog.card(catalog.METHODS, name)
    idle = {"steps", "margin"} | ({"own_keys"} if "labels" in card["needs"] else set())  # the oracle drops the own class
    for setting in {*card["settings"], *card.get("options", {})} - idle:  # each does its work only beside another one
        assert not torch.equal(after_steps(), after_steps(**{setting: CHANGED[setting]})), setting


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("n", [2, 7, 16])
def test_the_loss_is_a_finite_number_whose_gradient_reaches_the_whole_network(name, n):
    made = method(parse_method(name).base)
    loss = made.loss(*views(n), mixture(name, n), rows(n))
    loss.backward()
    assert loss.shape == ()
    assert torch.isfinite(loss)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.net.parameters())


@pytest.mark.parametrize("name", MIXED)
def test_several_steps_with_batches_of_changing_size_stay_finite(name):
    made = method(parse_method(name).base, norm=True)
    for n in (8, 3, 12, 5):  # 12 is more than the queue of 10 holds
        loss = made.loss(*views(n, seed=n), mixture(name, n), rows(n))
        made.after_step()
        assert torch.isfinite(loss)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_a_batch_changes_nothing(name):
    (a,), (b,) = views(8)
    order = torch.tensor([5, 2, 7, 0, 1, 6, 4, 3])
    made = method(name, norm=True, hard_start=1.0, steps=9)  # before synthetic negatives, which are drawn query by query
    loss, again = (fresh(made).loss((a[o],), (b[o],), Mixture(), rows(8)[o]) for o in (torch.arange(8), order))
    assert again.item() == pytest.approx(loss.item(), rel=1e-5)  # sums of 8 float32 terms in another order


def fresh(made):
    """The same method with torch's generator at the start of a step, for those that draw negatives."""
    torch.manual_seed(0)
    return made


@pytest.mark.parametrize("name", sorted(set(NAMES) - RANDOM_AT_FIRST))
def test_the_first_view_pairs_with_its_own_second_view(name):
    """Two equal views of distant rows have a loss near 0; views paired with another row's have one near 2/τ."""
    made = fresh(method(name, temperature=0.05))
    x = 10 * torch.eye(6)
    right = made.loss((x,), (x,), Mixture(), rows(6)).item()
    wrong = made.loss((x,), (x.roll(1, dims=0),), Mixture(), rows(6)).item()
    assert right < (0.95 if name in ("cc", "supcon", "vicreg") else 0.5) * wrong  # other terms, other positives


@pytest.mark.parametrize("name", MIXED)
def test_lambda_one_and_the_identity_permutation_give_the_plain_loss(name):
    base, n = parse_method(name).base, 6
    plain = fresh(method(base)).loss(*views(n), Mixture(), rows(n)).item()
    partner = torch.tensor([3, 0, 1, 5, 2, 4])

    def draw(size, weight, other):
        own = torch.arange(size)
        return torch.stack([own, other]), torch.stack([torch.full((size,), weight), torch.full((size,), 1 - weight)])

    for weight, other in ((1.0, partner), (0.7, torch.arange(n))):
        imix = draw(n, weight, other) if "imix" in parse_method(name).mixers else None
        twice = torch.cat([other, other + n])
        inputmix = draw(2 * n, weight, twice) if "inputmix" in parse_method(name).mixers else None
        mixed = fresh(method(base)).loss(*views(n), Mixture(inputmix, imix), rows(n)).item()
        assert mixed == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_state_dict_carries_everything_that_the_loss_depends_on(name):
    made = method(name, norm=True)
    for step in range(3):
        made.loss(*views(7, seed=step), Mixture(), rows(7))
        made.after_step()
    other = method(name, norm=True)
    other.load_state_dict({k: v.clone() for k, v in made.state_dict().items()})
    for step in range(3, 5):
        ours, theirs = (fresh(m).loss(*views(7, seed=step), Mixture(), rows(7)) for m in (made, other))
        assert torch.equal(ours, theirs)
        made.after_step()
        other.after_step()


# -- the papers' losses, through the whole method -----------------------------------------------------------------------
# float32 embeddings of 4 numbers: a cosine is off by about 1e-6 at most, divided by τ = 0.2 that is 5e-6.


def embeddings(net, *batches):
    with torch.no_grad():
        return [net(s).double().numpy() for s in batches]


def test_npair_is_the_slow_loop_of_its_embeddings():
    made, (x_q, x_k) = method("npair"), views(6)
    q, k = embeddings(made.net, x_q[0], x_k[0])
    assert made.loss(x_q, x_k, Mixture(), rows(6)).item() == pytest.approx(reference.n_pair(q, k, 0.2), abs=2e-5)


def test_simclr_is_the_slow_loop_of_its_embeddings():
    made, (x_q, x_k) = method("simclr"), views(6)
    a, b = embeddings(made.net, x_q[0], x_k[0])
    assert made.loss(x_q, x_k, Mixture(), rows(6)).item() == pytest.approx(reference.nt_xent(a, b, 0.2), abs=2e-5)
    assert made.loss(x_k, x_q, Mixture(), rows(6)).item() == pytest.approx(reference.nt_xent(a, b, 0.2), abs=2e-5)


@pytest.mark.parametrize("name", ["moco", "mocon"])
def test_moco_and_mocon_are_the_slow_loops_of_their_embeddings_over_three_steps(name):
    made, expected = method(name), getattr(reference, name)
    with torch.no_grad():
        made.key_encoder.net.head.weight += 0.3  # so that keys of the wrong network would be noticed
    for step in range(3):
        x_q, x_k = views(4, seed=step)
        (q,), (k,) = embeddings(made.net, x_q[0]), embeddings(made.key_encoder.net, x_k[0])
        loss = made.loss(x_q, x_k, Mixture(), rows(4))
        assert loss.item() == pytest.approx(expected(q, k, made.queue.keys.double().numpy(), 0.2), abs=2e-5)
        made.after_step()


@pytest.mark.parametrize("name", ["npair", "mocon"])
def test_imix_is_the_slow_loop_with_one_lambda_per_example(name):
    n, (x_q, x_k), made = 6, views(6), method(name)
    drawn = mixture(f"{name}+imix", n)
    partner, lam = drawn.queries[0][1].tolist(), drawn.queries[1][0].double().tolist()
    mixed = torch.from_numpy(reference.mix_inputs(x_q[0].double().numpy(), partner, lam)).float()
    (q,) = embeddings(made.net, mixed)
    (k,) = embeddings(made.net if name == "npair" else made.key_encoder.net, x_k[0])
    candidates = k if name == "npair" else np.concatenate([k, made.queue.keys.double().numpy()])
    loss = made.loss(x_q, x_k, drawn, rows(n))
    assert loss.item() == pytest.approx(reference.imix(q, candidates, partner, lam, 0.2), abs=2e-5)


def test_inputmix_comes_before_imix_and_reaches_the_keys():
    n, (x_q, x_k), made = 6, views(6), method("npair")
    drawn = mixture("npair+imix+inputmix", n)
    both = blend(torch.cat([x_q[0], x_k[0]]), *drawn.inputs)
    expected = method("npair").loss((both[:n],), (both[n:],), Mixture(queries=drawn.queries), rows(n))
    assert made.loss(x_q, x_k, drawn, rows(n)).item() == pytest.approx(expected.item(), rel=1e-6)


def test_both_views_share_one_forward_and_so_their_batch_norm_statistics():
    made, (x_q, x_k) = method("npair", norm=True), views(6)
    norm = made.net.encoder.body[1]
    made.loss(x_q, x_k, Mixture(), rows(6))
    assert norm.num_batches_tracked == 1
    seen = made.net.encoder.body[0](torch.cat([x_q[0], x_k[0]])).mean(dim=0)
    torch.testing.assert_close(norm.running_mean, 0.1 * seen)  # torch's momentum of 0.1, from zero


# -- queue and key encoder ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "batch"), [(10, 4), (7, 3), (5, 5), (5, 8), (6, 13), (1, 3)])
def test_the_queue_is_first_in_first_out_at_every_size(size, batch):
    queue, expected = Queue(size, 2), deque(maxlen=size)
    for key in queue.keys:
        expected.append(key.tolist())
    for step in range(7):
        keys = torch.arange(2 * batch).view(batch, 2).float() + 1000 * step
        queue.push(keys)
        expected.extend(keys.tolist())
        oldest_first = queue.keys.roll(-int(queue.position), dims=0)
        assert oldest_first.tolist() == list(expected)


def test_a_queue_starts_with_unit_vectors():
    torch.testing.assert_close(Queue(9, 5).keys.norm(dim=1), torch.ones(9))


@pytest.mark.parametrize("name", MOMENTUM)
def test_a_step_computes_its_logits_before_it_enqueues_its_keys(name):
    made = method(name)
    for step in range(4):
        x_q, x_k = views(4, seed=step)
        before = made.queue.keys.clone()
        made.loss(x_q, x_k, Mixture(), rows(4))
        assert torch.equal(made.queue.keys, before)
        keys = made.fresh.clone()
        assert not any((keys[:, None] == before).all(dim=2).flatten())  # no key is among its own negatives
        made.after_step()
        assert all((keys[:, None] == made.queue.keys).all(dim=2).any(dim=1))


@pytest.mark.parametrize("name", MOMENTUM)
def test_keys_in_the_queue_come_from_the_key_encoder_before_it_moves(name):
    made, (x_q, x_k) = method(name), views(4)
    made.loss(x_q, x_k, Mixture(), rows(4))
    with torch.no_grad():
        expected = normalize(made.key_encoder.net(x_k[0]), dim=1)
        for p in made.net.parameters():
            p += 1.0
    made.after_step()
    assert torch.equal(made.queue.keys[:4], expected)


@pytest.mark.parametrize(("name", "candidates"), [("npair", 6), ("simclr", 11), ("moco", 1 + 10), ("mocon", 6 + 10)])
def test_the_loss_is_the_log_of_the_candidates_when_every_embedding_agrees(name, candidates):
    """In-batch keys are candidates in mocon, and in moco only the own one is (N = 6, K = 10)."""
    made = method(name)
    with torch.no_grad():
        for key, value in made.state_dict().items():
            if value.is_floating_point():
                value.fill_(0.0 if key.endswith("weight") else 1.0)
                if key == "queue.keys":
                    value /= math.sqrt(value.shape[1])
    assert made.loss(*views(6), Mixture(), rows(6)).item() == pytest.approx(math.log(candidates), rel=1e-5)


def test_the_key_encoder_moves_by_the_moving_average_and_only_then():
    net = network()
    follower = KeyEncoder(net, 0.9)
    before = [p.clone() for p in follower.net.parameters()]
    with torch.no_grad():
        for p in net.parameters():
            p += torch.randn_like(p)
    assert all(torch.equal(a, b) for a, b in zip(before, follower.net.parameters(), strict=True))
    follower.follow(net)
    for was, now, leader in zip(before, follower.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(now, 0.9 * was + 0.1 * leader)


def test_momentum_one_never_moves_the_key_encoder_and_momentum_zero_copies():
    for momentum, expected in ((1.0, "before"), (0.0, "leader")):
        net = network()
        follower = KeyEncoder(net, momentum)
        before = copy.deepcopy(follower.net)
        with torch.no_grad():
            for p in net.parameters():
                p += 1.0
        follower.follow(net)
        wanted = before if expected == "before" else net
        for now, then in zip(follower.net.parameters(), wanted.parameters(), strict=True):
            torch.testing.assert_close(now, then)


@pytest.mark.parametrize("name", MOMENTUM)
def test_no_gradient_reaches_keys_queue_or_key_encoder(name):
    made = method(name, norm=True)
    made.loss(*views(6), Mixture(), rows(6)).backward()
    assert not made.fresh.requires_grad
    assert not made.queue.keys.requires_grad
    assert all(p.grad is None for p in made.key_encoder.parameters())


@pytest.mark.parametrize("name", MOMENTUM)
def test_the_optimiser_leaves_the_key_encoder_alone(name):
    """Weight decay would shrink it, if it took part."""
    made, short = method(name, norm=True, key_momentum=1.0), plan(steps=3, weight_decay=0.5)
    before = [p.clone() for p in made.key_encoder.parameters()]
    fit(made, contrastive_loss(made, views(16)[0], noisy, Mixers(), short), 16, short, after_step=made.after_step)
    assert all(torch.equal(a, b) for a, b in zip(before, made.key_encoder.parameters(), strict=True))


@pytest.mark.parametrize("name", MOMENTUM)
def test_queue_and_position_are_saved_and_restored(name):
    made = method(name)
    made.loss(*views(7), Mixture(), rows(7))
    made.after_step()
    state = made.state_dict()
    assert int(state["queue.position"]) == 7
    other = method(name)
    other.load_state_dict(state)
    assert torch.equal(other.queue.keys, made.queue.keys)
    assert int(other.queue.position) == 7


# -- CutMix -------------------------------------------------------------------------------------------------------------


def on_a_grid(name: str) -> Method:
    """The small method, for inputs (n, 1, 2, 3)."""
    made = method(name)
    for net in (made.net, *(m.net for m in made.modules() if isinstance(m, KeyEncoder))):
        net.encoder.body = nn.Sequential(nn.Flatten(), net.encoder.body)
    return made


def grid_views(n: int) -> tuple[Batch, Batch]:
    return tuple((x.view(n, 1, 2, 3),) for (x,) in views(n))


def grid_loss(name: str, box: tuple[int, int, int, int] | None, partners: list[int] | None = None) -> float:
    """The loss where a box, of the share of the cells that it has, is pasted from the partners."""
    n = 4
    queries = None
    if box is not None:
        top, bottom, left, right = box
        share = torch.full((n,), (bottom - top) * (right - left) / 6)
        queries = torch.tensor([list(range(n)), partners]), torch.stack([1 - share, share])
    torch.manual_seed(0)
    return on_a_grid(name).loss(*grid_views(n), Mixture(queries=queries, box=box), rows(n)).item()


GRIDDED = [name for name in NAMES if catalog.card(catalog.METHODS, name)["mixers"].get("cutmix") == name]


@pytest.mark.parametrize("name", GRIDDED)
def test_cutmix_of_an_empty_box_or_from_itself_changes_nothing_and_a_whole_box_takes_the_partner(name):
    alone = grid_loss(name, None)
    assert grid_loss(name, (0, 0, 0, 0), [1, 2, 3, 0]) == pytest.approx(alone, rel=1e-6)
    assert grid_loss(name, (0, 1, 0, 2), [0, 1, 2, 3]) == pytest.approx(alone, rel=1e-6)
    assert grid_loss(name, (0, 1, 0, 2), [1, 2, 3, 0]) != pytest.approx(alone, rel=1e-3)


# -- golden runs --------------------------------------------------------------------------------------------------------

GOLDEN = Path(__file__).with_name("golden") / "smoke.json"
ROW = 1 / 60  # one test row of `toy`
EVERY_PROTOCOL = ("npair", "npair+imix", "random", "raw")  # what follows the features does not depend on who made them

# Training magnifies roundings: on processors with other vector units, losses differ by 1e-6 in the first step, by up to 1e-3
# after three and by several percent (scores by three rows) after thirty. So three steps are compared closely, and the whole
# smoke run coarsely.
NEAR = {"score": 1.5 * ROW, "first_loss": 1e-4, "third_loss": 5e-3, "smoke_score": 6.5 * ROW}


def _key(name: str) -> str:
    tables = catalog.card(catalog.MODALITIES, "tabular")["version"]
    return f"{name} version {parse_method(name).card['version']}, tabular version {tables}"


def _golden(name: str, protocol: str) -> dict[str, float | None]:
    spec = RunSpec(
        dataset="toy",
        method=name,
        budget="smoke",
        seed=0,
        protocol=protocol,
        precision="fp32",
        device="cpu",
        threads=1,
        keep_going=True,
    )
    whole = run(spec)
    if "training" not in parse_method(name).card["needs"]:
        return {"score": whole.score}
    short = run(spec.replace(steps=3))
    return {
        "score": short.score,
        "first_loss": short.first_loss,
        "third_loss": short.last_loss,
        "smoke_score": whole.score,
    }


@pytest.mark.full
@pytest.mark.parametrize("name", [*MIXED, *CONTROLS])
def test_a_score_moves_only_with_the_version_of_its_method(name):
    protocols = ["linear@1"]
    if "probe" in parse_method(name).card["needs"] or name in MIXED:
        protocols = [*PROTOCOLS] if name in EVERY_PROTOCOL else ["linear@1", "knn@1"]
        protocols = [p for p in protocols if not (p == "finetune@1" and name in UNTUNED)]
    found = {f"{_key(name)} {protocol}": _golden(name, protocol) for protocol in protocols}
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("BENCH_WRITE_GOLDEN"):
        kept = {k: v for k, v in known.items() if not k.startswith(f"{name} version ")}
        GOLDEN.write_text(json.dumps({**kept, **found}, indent=1, sort_keys=True) + "\n")
        return
    for key, now in found.items():
        assert key in known, f"no golden run of {key!r}: run this test with BENCH_WRITE_GOLDEN=1 and commit {GOLDEN.name}"
        assert now.keys() == known[key].keys()
        for fact, then in known[key].items():
            assert now[fact] == pytest.approx(then, abs=NEAR[fact]), f"{fact} of {key} was {then}, is {now[fact]}"


def test_golden_runs_hold_every_method_mixer_and_control_and_nothing_else():
    if os.environ.get("BENCH_WRITE_GOLDEN"):
        pytest.skip("golden runs are being written")
    known = {key.rsplit(" ", 1)[0] for key in json.loads(GOLDEN.read_text())}
    assert known == {_key(name) for name in (*MIXED, *CONTROLS)}
