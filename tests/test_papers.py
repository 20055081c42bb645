"""Each method of the papers against a slow loop written from its paper, a limit, or a public library."""

import math

import numpy as np
import pytest
import reference
import torch
from small import GIVEN, SETTINGS, method, network, noisy, plan, views
from torch import Tensor, nn
from torch.nn.functional import normalize

from bench.adapter import Encoder
from bench.heads import head
from bench.method import KeyEncoder, Network, build, forward_in_groups
from bench.methods.cc import unused
from bench.methods.mochi import HardNegatives
from bench.methods.vicreg import vicreg
from bench.mixing import Mixers, Mixture, blend
from bench.objective import Contrast, bilinear, semi_hard
from bench.seeds import seed_globally
from bench.train import contrastive_loss, fit

N, K, D, TAU = 6, 9, 5, 0.2
LOSSES = ["nt_logistic", "margin", "nt_logistic_sh", "margin_sh"]
EXACT = 1e-11  # float64 on both sides, values of about 1
SINGLE = 2e-5  # float32 cosines of a few numbers, divided by τ


def some(n: int, d: int = D, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def order(n: int) -> Tensor:
    return torch.arange(n)


def plain(made, n: int = N, seed: int = 0) -> float:
    """The loss of one unmixed batch."""
    return made.loss(*views(n, seed=seed), Mixture(), order(n)).item()


def embedded(net, *batches) -> list[np.ndarray]:
    with torch.no_grad():
        return [net(x[0]).double().numpy() for x in batches]


def imix_draw(n: int) -> tuple[Tensor, Tensor]:
    return Mixers(imix_alpha=1.0).draw(n, 0, 0, torch.device("cpu")).queries


# -- the losses of SimCLR Table 2 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [0.1, 0.8])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_pair_loss_is_the_slow_loop(loss, margin):
    q, keys = some(N), some(N + K, seed=1)
    found = Contrast(TAU, loss, "cosine", margin)(q, keys, torch.eye(N))
    expected = reference.pair_loss(q.numpy(), keys.numpy(), range(N), loss, TAU, margin)
    assert found.item() == pytest.approx(np.mean(expected), rel=EXACT)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_pair_loss_of_simclr_is_the_slow_loop_over_all_others(loss):
    made, (x_q, x_k) = method("simclr", loss=loss), views(N)
    z = np.concatenate(embedded(made.net, x_q, x_k))
    each = []
    for i in range(2 * N):
        others = [(i + N) % (2 * N), *(m for m in range(2 * N) if m not in (i, (i + N) % (2 * N)))]
        each += reference.pair_loss(z[[i]], z[others], [0], loss, TAU, 0.4)
    assert made.loss(x_q, x_k, Mixture(), order(N)).item() == pytest.approx(np.mean(each), abs=SINGLE)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_pair_loss_of_a_mixed_target_is_the_mixture_of_its_losses(loss):
    q, keys, (rows, weights) = some(N), some(N, seed=1), imix_draw(N)
    found = Contrast(TAU, loss)(q, keys, blend(torch.eye(N, dtype=torch.float64), rows, weights))
    each = [reference.pair_loss(q.numpy(), keys.numpy(), w.tolist(), loss, TAU, 0.4) for w in rows]
    expected = sum(float(w) * e for ws, es in zip(weights, each, strict=True) for w, e in zip(ws, es, strict=True)) / N
    assert found.item() == pytest.approx(expected, rel=1e-6)  # λ is float32


def direction(loss: str, u: Tensor, positive: Tensor, negative: Tensor, margin: float) -> np.ndarray:
    """The gradient of −loss with respect to u, on raw dot products, so that nothing else is differentiated."""
    u = u.clone().requires_grad_()
    Contrast(TAU, loss, "dot", margin)(u[None], torch.stack([positive, negative]), torch.eye(2, dtype=u.dtype)[:1]).backward()
    return -u.grad.numpy()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["", "_sh"])
def test_gradients_are_the_closed_forms_of_simclr_table_2(kind, seed):
    u, v, w = (normalize(some(3, seed=seed), dim=1)[i] for i in range(3))
    logistic = reference.nt_logistic_gradient(u.numpy(), v.numpy(), w.numpy(), TAU)
    np.testing.assert_allclose(direction(f"nt_logistic{kind}", u, v, w, 0.4), logistic, atol=1e-10)
    for margin in (0.0, 0.4, 1.6):
        triplet = reference.margin_gradient(u.numpy(), v.numpy(), w.numpy(), margin)
        np.testing.assert_allclose(direction(f"margin{kind}", u, v, w, margin), triplet, atol=1e-10)
    info = reference.nt_xent_gradient(u.numpy(), v.numpy(), w[None].numpy(), TAU)
    np.testing.assert_allclose(direction("nt_xent", u, v, w, 0.4), info, atol=1e-10)


def test_margin_is_the_triplet_loss_of_an_independent_library():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    reducers = pytest.importorskip("pytorch_metric_learning.reducers")
    distances = pytest.importorskip("pytorch_metric_learning.distances")
    q, keys = some(N).float(), some(N, seed=1).float()
    theirs = losses.TripletMarginLoss(0.4, distance=distances.CosineSimilarity(), reducer=reducers.MeanReducer())
    expected = theirs(q, order(N), ref_emb=keys, ref_labels=order(N))
    assert Contrast(TAU, "margin")(q, keys, torch.eye(N)).item() == pytest.approx(expected.item(), abs=1e-6)


def test_a_semi_hard_negative_is_the_nearest_beyond_the_positive_else_the_farthest():
    s = torch.tensor([[0.5, 0.9, 0.4, 0.1], [0.1, 0.9, 0.4, 0.2]])
    own, negative = s[:, :1], torch.tensor([[False, True, True, True]] * 2)
    assert semi_hard(s, own, negative).tolist() == [[False, False, True, False], [False, False, False, True]]
    assert semi_hard(s, own, negative, 0.05).tolist() == [[False, False, False, True], [False, False, False, True]]


def test_semi_hard_negatives_are_those_that_an_independent_library_mines():
    miners = pytest.importorskip("pytorch_metric_learning.miners")
    distances = pytest.importorskip("pytorch_metric_learning.distances")
    q, keys = some(N).float(), some(N, seed=1).float()
    mine = miners.TripletMarginMiner(0.4, "semihard", distance=distances.CosineSimilarity())
    anchors, _, negatives = mine(q, order(N), ref_emb=keys, ref_labels=order(N))
    s = normalize(q, dim=1) @ normalize(keys, dim=1).T
    ours = semi_hard(s, s.diagonal()[:, None], ~torch.eye(N, dtype=torch.bool), 0.4).int().argmax(dim=1)
    for i in set(anchors.tolist()):
        theirs = negatives[anchors == i]
        assert ours[i] == theirs[s[i, theirs].argmax()]


@pytest.mark.parametrize("loss", ["nt_xent", *LOSSES])
@pytest.mark.parametrize("name", ["npair", "simclr"])
def test_in_batch_methods_take_every_loss_and_similarity(name, loss):
    found = {s: plain(method(name, loss=loss, similarity=s, margin=0.8)) for s in ("cosine", "dot")}
    assert all(math.isfinite(v) for v in found.values())
    assert found["cosine"] != found["dot"]


def test_the_margin_is_read_by_the_margin_losses_and_by_no_other():
    for loss in ("nt_xent", *LOSSES):
        one, two = (plain(method("npair", loss=loss, margin=m)) for m in (0.4, 0.9))
        assert (one != two) == loss.startswith("margin"), loss


# -- BYOL ---------------------------------------------------------------------------------------------------------------


def test_byol_is_the_slow_loop_with_targets_that_are_not_normalised_again():
    q, keys, (rows, weights) = some(N), some(N, seed=1), imix_draw(N)
    assert bilinear(q, keys, torch.eye(N)).item() == pytest.approx(
        np.mean(reference.byol(q.numpy(), keys.numpy(), range(N))), rel=EXACT
    )
    mixed = bilinear(q, keys, blend(torch.eye(N, dtype=torch.float64), rows, weights))
    own, other = (reference.byol(q.numpy(), keys.numpy(), r.tolist()) for r in rows)
    lam = weights[0].tolist()
    expected = sum(w * a + (1 - w) * b for w, a, b in zip(lam, own, other, strict=True)) / N
    assert mixed.item() == pytest.approx(expected, rel=1e-6)


def test_byol_predicts_the_target_networks_embedding_of_the_second_view():
    made, (x_q, x_k) = method("byol"), views(N)
    with torch.no_grad():
        made.target.net.head.weight += 0.3
        predicted = made.predictor(made.net(x_q[0])).double().numpy()
    (keys,) = embedded(made.target.net, x_k)
    made = method("byol")
    with torch.no_grad():
        made.target.net.head.weight += 0.3
    assert plain(made) == pytest.approx(np.mean(reference.byol(predicted, keys, range(N))), abs=SINGLE)


def test_byol_trains_its_predictor_and_moves_its_target_by_the_moving_average():
    made, short = method("byol", norm=True, key_momentum=0.9), plan(steps=1)
    before = [p.clone() for p in made.target.parameters()]
    predictor = [p.clone() for p in made.predictor.parameters()]
    fit(made, contrastive_loss(made, views(16)[0], noisy, Mixers(), short), 16, short, after_step=made.after_step)
    for was, now, leader in zip(before, made.target.net.parameters(), made.net.parameters(), strict=True):
        torch.testing.assert_close(now, 0.9 * was + 0.1 * leader)
    assert any(not torch.equal(a, b) for a, b in zip(predictor, made.predictor.parameters(), strict=True))


# -- memory bank --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixed", [False, True])
def test_membank_is_the_slow_loop_over_own_slots_and_drawn_ones(mixed):
    made, rows = method("membank", queue_size=40), torch.tensor([9, 3, 40, 7, 12, 63])
    drawn = Mixture(queries=imix_draw(N)) if mixed else Mixture()
    x_q, x_k = views(N)
    torch.manual_seed(5)
    found = made.loss(x_q, x_k, drawn, rows).item()
    torch.manual_seed(5)
    slots = torch.randint(64, (40,)).tolist()
    assert set(slots) & set(rows.tolist())  # some drawn slot is a row's own, and so no negative of it
    (q,) = embedded(made.net, (drawn.query(x_q[0]),))
    partner, lam = (drawn.queries[0][1].tolist(), drawn.queries[1][0].tolist()) if mixed else (range(N), [1.0] * N)
    which = [list(dict.fromkeys([int(rows[i]), int(rows[partner[i]])])) for i in range(N)]
    losses = reference.membank(q, made.bank.double().numpy(), rows.tolist(), slots, which, TAU)
    expected = sum(w * own[0] + (1 - w) * own[-1] for w, own in zip(lam, losses, strict=True)) / N
    assert found == pytest.approx(expected, abs=SINGLE)


def test_a_slot_moves_by_its_momentum_after_the_step_and_stays_of_length_one():
    made, rows = method("membank", bank_momentum=0.5), torch.tensor([9, 3, 40, 7])
    before = made.bank.clone()
    x_q, x_k = views(4)
    made.loss(x_q, x_k, Mixture(), rows)
    assert torch.equal(made.bank, before)
    made.after_step()
    with torch.no_grad():
        expected = normalize(0.5 * before[rows] + 0.5 * normalize(made.net(x_q[0]), dim=1), dim=1)
    torch.testing.assert_close(made.bank[rows], expected)
    untouched = torch.ones(64, dtype=torch.bool)
    untouched[rows] = False
    assert torch.equal(made.bank[untouched], before[untouched])
    torch.testing.assert_close(made.bank.norm(dim=1), torch.ones(64))


def test_membank_looks_at_the_first_view_only():
    made, (x_q, x_k) = method("membank"), views(N)
    values = set()
    for other in (x_k, (x_k[0] + 5,)):
        torch.manual_seed(0)
        values.add(made.loss(x_q, other, Mixture(), order(N)).item())
    assert len(values) == 1


# -- MoCHi --------------------------------------------------------------------------------------------------------------


def synthetic(q: np.ndarray, keys: np.ndarray, hard: list[int], draws: dict[str, np.ndarray]) -> list[float]:
    """Kalantidis et al., one query: build the negatives, normalise them, compare."""
    made = [
        reference.unit(a * keys[hard[i]] + (1 - a) * keys[hard[j]])
        for a, i, j in zip(draws["alpha"], draws["i"], draws["j"], strict=True)
    ]
    made += [reference.unit(b * q + (1 - b) * keys[hard[j]]) for b, j in zip(draws["beta"], draws["k"], strict=True)]
    return [float(q @ h) for h in made]


def test_synthetic_negatives_are_those_that_are_built_and_normalised():
    """Against the same luck, drawn in the same order: two hard keys, α, one hard key, β."""
    hardest, pairs, with_query = 4, 5, 3
    q, keys = normalize(some(N), dim=1), normalize(some(K, seed=1), dim=1)
    torch.manual_seed(3)
    found = HardNegatives(hardest, pairs, with_query, 0)(q, keys, torch.ones(N, K, dtype=torch.bool), 0)
    torch.manual_seed(3)
    i, j = (torch.randint(hardest, (N, pairs)) for _ in range(2))
    alpha = torch.rand(N, pairs, dtype=torch.float64)
    k, beta = torch.randint(hardest, (N, with_query)), 0.5 * torch.rand(N, with_query, dtype=torch.float64)
    for row in range(N):
        similar = [reference.cosine(q[row], key) for key in keys]
        hard = sorted(range(K), key=lambda m: -similar[m])[:hardest]
        draws = {n: t[row].numpy() for n, t in (("alpha", alpha), ("i", i), ("j", j), ("beta", beta), ("k", k))}
        assert found[row].tolist() == pytest.approx(synthetic(q[row].numpy(), keys.numpy(), hard, draws), abs=1e-10)


def test_the_gradient_reaches_the_query_only_as_what_is_compared():
    """A negative of a query and a key is a constant: its gradient is the negative itself, on the sphere."""
    q, keys = normalize(some(1), dim=1).requires_grad_(), normalize(some(1, seed=1), dim=1)
    torch.manual_seed(3)
    HardNegatives(1, 0, 1, 0)(q, keys, torch.ones(1, 1, dtype=torch.bool), 0).sum().backward()
    torch.manual_seed(3)
    torch.randint(1, (1, 0))
    torch.randint(1, (1, 0))
    torch.rand(1, 0, dtype=torch.float64)
    torch.randint(1, (1, 1))
    beta = 0.5 * torch.rand(1, 1, dtype=torch.float64)
    u = q.detach()
    h = normalize(beta * u + (1 - beta) * keys, dim=1)
    torch.testing.assert_close(q.grad, h - (h * u).sum() * u)


def test_synthetic_negatives_harden_the_loss_and_none_are_made_before_the_start():
    waiting, at_once = (method("mochi", hard_start=s, steps=100, hardest=4) for s in (0.5, 0.0))
    mocon = plain(method("mocon"))
    assert plain(waiting) == pytest.approx(mocon, rel=1e-6)
    assert plain(at_once) > mocon  # more candidates in the denominator
    waiting.step = 50
    assert plain(waiting) > mocon


def test_only_allowed_keys_are_mixed():
    q, keys = normalize(some(N), dim=1), normalize(some(K, seed=1), dim=1)
    allowed = torch.zeros(N, K, dtype=torch.bool)
    allowed[:, 4] = True
    made = HardNegatives(5, 3, 0, 0)(q, keys, allowed, 0)
    torch.testing.assert_close(made, (q @ keys[4])[:, None].expand(N, 3))  # a key mixed with itself
    assert (HardNegatives(5, 3, 2, 0)(q, keys, allowed & False, 0) == -torch.inf).all()


def test_the_oracle_drops_keys_of_the_querys_class_and_nothing_else():
    made, n = method("mochi_oracle", hard_start=1.0, steps=9), 6
    for step in range(2):
        made.loss(*views(n, seed=step), Mixture(), order(n) + n * step)
        made.after_step()
    allowed = made._candidates(torch.eye(n), order(n))
    y, owners = GIVEN["labels"], [*range(n), *made.queue.rows.tolist()]
    for i in range(n):
        for m, owner in enumerate(owners):
            same = owner >= 0 and y[owner] == y[i]
            assert allowed[i, m] == (m == i or not same)


def test_the_oracle_keeps_keys_whose_label_is_not_known():
    made = build("mochi_oracle", network(), SETTINGS, {"labels": torch.full((64,), -1)})
    assert made._candidates(torch.eye(N), order(N)).all()


# -- an example's own older keys, momentum schedules, ShuffleBN -----------------------------------------------------------


@pytest.mark.parametrize("name", ["moco", "mocon", "mochi"])
def test_an_examples_own_older_key_is_among_its_negatives_unless_masked(name):
    for own_keys, stays in (("kept", True), ("masked", False)):
        made = method(name, own_keys=own_keys)
        made.loss(*views(4), Mixture(), torch.tensor([9, 3, 40, 7]))
        made.after_step()
        allowed = made._candidates(torch.eye(3), torch.tensor([3, 50, 9]))[:, 3:]  # the queue's first four are 9, 3, 40, 7
        assert allowed[:, 4:].all()
        assert allowed[0, :4].tolist() == [True, stays, True, True]
        assert allowed[1, :4].all()
        assert allowed[2, :4].tolist() == [stays, True, True, True]


def test_both_rows_of_a_mixed_query_are_masked():
    made = method("mocon", own_keys="masked")
    made.loss(*views(4), Mixture(), torch.tensor([9, 3, 40, 7]))
    made.after_step()
    targets = torch.tensor([[0.7, 0.3], [0.0, 1.0]])
    allowed = made._candidates(targets, torch.tensor([3, 9]))
    assert allowed[:, :2].tolist() == [[True, True], [True, True]]
    assert allowed[:, 2:6].tolist() == [[False, False, True, True], [False, True, True, True]]


def test_the_momentum_of_keys_is_constant_or_rises_to_one_by_half_a_cosine():
    constant, rising = (KeyEncoder(network(), 0.9, kind, 100) for kind in ("constant", "cosine"))
    assert {constant.momentum_at(s) for s in range(100)} == {0.9}
    found = [rising.momentum_at(s) for s in (0, 50, 100)]
    assert found == pytest.approx([0.9, 0.95, 1.0])


@pytest.mark.parametrize(("n", "groups", "sizes"), [(8, 4, {2}), (7, 3, {2, 3}), (3, 8, {3}), (8, 1, {8})])
def test_batch_norm_sees_groups_apart_and_rows_come_back_in_order(n, groups, sizes):
    seen = []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return x - x.mean(dim=0) if groups == 1 else x

    net = Network(Encoder(nn.Identity(), Spy(), 2), nn.Sequential(), 2)
    x = torch.arange(2 * n).view(n, 2).float()
    for shuffle in (False, True):
        out = forward_in_groups(net, x, groups, shuffle=shuffle)
        assert groups == 1 or torch.equal(out, x)
    assert set(seen) == sizes


def test_shuffled_groups_normalise_each_group_by_its_own_rows():
    net = Network(Encoder(nn.Identity(), nn.BatchNorm1d(2, affine=False), 2), nn.Sequential(), 2)
    x = torch.randn(8, 2)
    torch.manual_seed(1)
    found = forward_in_groups(net, x, 4, shuffle=True)
    torch.manual_seed(1)
    for part in torch.randperm(8).tensor_split(4):
        expected = nn.BatchNorm1d(2, affine=False)(x[part])
        torch.testing.assert_close(found[part], expected)


# -- heads ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "width", "depth", "layers"),
    [
        ("none", None, 1, ""),
        ("linear", None, 1, "5-3"),
        ("mlp", None, 1, "5-5 R 5-3"),
        ("mlp", 7, 2, "5-7 R 7-7 R 7-3"),
        ("mlpbn1", None, 1, "5-5 B5 R 5-3"),
        ("mlpbn1", 7, 2, "5-7 B7 R 7-7 B7 R 7-3"),
        ("mlpbn", None, 1, "5-5 B5 R 5-3 B3"),
        ("mlpbn", 8, 3, "5-8 B8 R 8-8 B8 R 8-8 B8 R 8-3 B3"),
    ],
)
def test_a_head_has_the_layers_that_its_name_width_and_depth_say(kind, width, depth, layers):
    words = {nn.Linear: lambda m: f"{m.in_features}-{m.out_features}", nn.ReLU: lambda m: "R"}  # noqa: ARG005
    words[nn.BatchNorm1d] = lambda m: f"B{m.num_features}"
    assert " ".join(words[type(m)](m) for m in head(kind, 5, 3, width, depth)) == layers


# -- CC, VICReg, SupCon, alignment, DirectCLR -----------------------------------------------------------------------------


def test_cc_is_the_slow_loop_of_embeddings_and_assignments():
    made, (x_q, x_k) = method("cc"), views(N)
    a, b = embedded(made.net, x_q, x_k)
    with torch.no_grad():
        p, r = (made.cluster(made.net.encoder.body(x[0])).softmax(dim=1).double().numpy() for x in (x_q, x_k))
    assert plain(made) == pytest.approx(reference.cc(a, b, p, r, TAU, 1.0), abs=SINGLE)


def test_the_entropy_term_is_zero_for_clusters_in_equal_use_and_log_m_for_one_cluster():
    assert unused(torch.eye(4)).item() == pytest.approx(0.0, abs=1e-6)
    assert unused(torch.eye(4)[[0, 0, 0]]).item() == pytest.approx(math.log(4))


def test_the_cluster_head_is_kept_beside_the_network_and_has_a_unit_for_every_class():
    made = method("cc")
    head = made.cluster_head()
    assert {f"cluster.{k}" for k in head.state_dict()} == {k for k in made.state_dict() if k.startswith("cluster.")}
    assert len(head[2].bias) == GIVEN["n_classes"]


def test_vicreg_is_the_slow_loop_and_an_independent_library():
    a, b = some(N), some(N, seed=1)
    ours = vicreg(a, b, 25, 25, 1).item()
    assert ours == pytest.approx(reference.vicreg(a.numpy(), b.numpy(), 25, 25, 1), rel=EXACT)
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    theirs = losses.VICRegLoss(invariance_lambda=25, variance_mu=25, covariance_v=1)(a.float(), ref_emb=b.float())
    assert ours == pytest.approx(theirs.item(), rel=1e-5)


def test_vicreg_is_not_moved_by_a_shift_and_its_variance_term_is_all_of_a_collapsed_batch():
    a, b = some(N), some(N, seed=1)
    assert vicreg(a + 3, b + 3, 25, 25, 1).item() == pytest.approx(vicreg(a, b, 25, 25, 1).item())
    point = torch.ones(N, D)
    assert vicreg(point, point, 25, 25, 1).item() == pytest.approx(25 * (1 - 0.01))  # √1e-4 of the deviation is ε


@pytest.mark.parametrize("known", [[0, 1, 0, 2, 1, 0], [0, 1, 0, -1, -1, 0], [-1] * 6])
def test_supcon_is_the_slow_loop_and_rows_without_a_label_have_their_other_view(known):
    made = build("supcon", network(), SETTINGS, {"labels": torch.tensor(known)})
    a, b = embedded(made.net, *views(N))
    y = [c if c >= 0 else 100 + i for i, c in enumerate(known)] * 2
    assert plain(made) == pytest.approx(reference.sup_con(np.concatenate([a, b]), y, TAU), abs=SINGLE)
    if max(known) < 0:
        assert plain(made) == pytest.approx(reference.nt_xent(a, b, TAU), abs=SINGLE)


def test_supcon_is_an_independent_library():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    known = torch.tensor([0, 1, 0, 2, 1, 0])
    made = build("supcon", network(), SETTINGS, {"labels": known})
    with torch.no_grad():
        z = torch.cat([made.net(x[0]) for x in views(N)])
    theirs = losses.SupConLoss(temperature=TAU)(z, known.repeat(2))
    assert plain(made) == pytest.approx(theirs.item(), abs=SINGLE)


def test_alignment_is_the_mean_squared_distance_of_the_normalised_views():
    made = method("alignment")
    a, b = embedded(made.net, *views(N))
    expected = np.mean([((reference.unit(x) - reference.unit(y)) ** 2).sum() for x, y in zip(a, b, strict=True)])
    assert plain(made) == pytest.approx(expected, abs=SINGLE)


class Residual(nn.Module):
    """x + Wx, as a body that says what it is."""

    residual = True

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.inner = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def headless(body: nn.Module) -> Network:
    return Network(Encoder(network().encoder.stem, body, 6), nn.Sequential(), 6)


def test_directclr_takes_the_losses_of_npair_and_says_when_no_feature_is_left_out():
    x_q, x_k = views(N)
    made = method("directclr", subvector=3, loss="margin", margin=0.3)
    q, keys = (made.net(x[0])[:, :3] for x in (x_q, x_k))
    wanted = Contrast(TAU, "margin", "cosine", 0.3)(q, keys, torch.eye(N))
    assert made.loss(x_q, x_k, Mixture(), order(N)).item() == pytest.approx(wanted.item(), abs=SINGLE)
    everything = method("directclr", subvector=5)
    assert everything.division == "not as published"
    assert "all 4 are in it" in everything.remarks[-1]


def test_directclr_is_npair_of_the_first_features():
    seed_globally(0, "body")
    made = build("directclr", headless(Residual(6)), SETTINGS)
    a, b = embedded(made.net, *views(N))
    assert plain(made) == pytest.approx(reference.n_pair(a[:, :3], b[:, :3], TAU), abs=SINGLE)


def test_directclr_leaves_features_outside_the_loss_without_gradient_unless_a_residual_sum_feeds_them():
    made = build("directclr", headless(nn.Linear(6, 6)), SETTINGS)
    made.loss(*views(N), Mixture(), order(N)).backward()
    grad = made.net.encoder.body.weight.grad
    assert grad[:3].abs().sum() > 0
    assert torch.equal(grad[3:], torch.zeros(3, 6))
    assert made.division == "not as published"
    assert "residual" in made.remarks[0]
    assert build("directclr", headless(Residual(6)), SETTINGS).division is None


def test_directclr_sees_the_papers_share_of_the_features_by_default():
    net = Network(Encoder(nn.Identity(), nn.Linear(6, 2048), 2048), nn.Sequential(), 2048)
    assert build("directclr", net, {"temperature": 0.1}).seen == 360
