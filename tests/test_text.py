"""Texts: what is fitted and from which rows, what a view may change, what the stems are linear in, how padding survives."""

import copy
import importlib.util
import itertools
import json
import math

import numpy as np
import pytest
import torch

from bench import catalog
from bench.adapter import Dataset, Split, join, select
from bench.errors import UserError
from bench.mixing import Mixture, draw_imix, draw_inputmix
from bench.prepare import prepare
from bench.spec import RunSpec

pytest.importorskip("tokenizers", reason="tokenizers is not installed; pip install -e '.[text]'")
transformers = pytest.importorskip("transformers", reason="transformers is not installed; pip install -e '.[text]'")

from modalities.text import packing, tokens, transformer, views  # noqa: E402
from modalities.text.encoder import Convolution, Embeddings, NGrams, dropped, mean_of_tokens  # noqa: E402
from modalities.text.packing import Packing  # noqa: E402
from modalities.text.tokens import MASK, PAD, UNKNOWN  # noqa: E402

ADAPTER = catalog.find("modalities", "text")
SPEC = RunSpec(
    modality="text", dataset="toy", tokenizer="characters", max_length=64, encoder="bag", width=2, mask_rate=0.2, device="cpu"
)
VIEWS = sorted(catalog.card("modalities", "text")["views"])
ENCODERS = ["bag", "cnn", "transformer"]
TEXTS = np.array(["abcd", "e", "ab cab", "ddd eee fff"], dtype=object)


@pytest.fixture(scope="module")
def toy() -> Dataset:
    return ADAPTER.load(SPEC)


@pytest.fixture(scope="module")
def fitted(toy):
    return ADAPTER.fit(toy.train.x, toy, SPEC)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    """A tiny BERT with random weights and its tokenizer, as `save_pretrained` writes them."""
    folder = tmp_path_factory.mktemp("bert")
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    made = transformers.BertTokenizerFast(vocab={word: i for i, word in enumerate(words)})
    made.save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(made), max_position_embeddings=48, **sizes)
    transformers.utils.logging.disable_progress_bar()
    transformers.BertModel(config).save_pretrained(folder)
    return str(folder)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def built(name: str, fitted, **more):
    torch.manual_seed(0)
    return ADAPTER.encoder(SPEC.replace(encoder=name, **more), fitted).eval()


# Tokens


@pytest.mark.parametrize("tokenizer", ["characters", "bytes", "bpe:40", "wordpiece:40"])
def test_a_batch_is_ids_with_lengths_and_padding_behind(tokenizer):
    fitted = tokens.fit(TEXTS, tokenizer, 64)
    ids, lengths = fitted((TEXTS,))
    assert (ids.dtype, lengths.dtype, len(ids), len(lengths)) == (torch.int32, torch.int64, 4, 4)
    assert torch.equal((ids != PAD).sum(dim=1), lengths)
    assert torch.equal(ids != PAD, torch.arange(ids.shape[1]) < lengths[:, None])
    assert int(ids.max()) < len(fitted)
    assert not (ids == UNKNOWN).any()


def test_characters_and_bytes_are_read_back_as_they_were():
    texts = np.array(["Ünï ß", "日本 x", "a😀b"], dtype=object)
    assert tokens.fit(texts, "characters", 64).words(tokens.fit(texts, "characters", 64)((texts,))) == list(texts)
    ids, lengths = tokens.fit(texts, "bytes", 64)((texts,))
    assert [bytes(i - 3 for i in row[:n]).decode() for row, n in zip(ids.tolist(), lengths.tolist(), strict=True)] == list(
        texts
    )


@pytest.mark.parametrize("tokenizer", ["characters", "bytes", "bpe:60", "wordpiece:60"])
def test_test_rows_cannot_change_what_is_fitted(toy, tokenizer):
    other = Split((np.array(["日本語 zzz qqq"] * len(toy.test), dtype=object),), toy.test.y)
    spec = SPEC.replace(tokenizer=tokenizer)
    one, two = (ADAPTER.fit(d.train.x, d, spec) for d in (toy, Dataset("toy", toy.train, other, toy.classes)))
    assert (one.names, one.length) == (two.names, two.length)
    assert np.array_equal(one.pool, two.pool)
    assert all(torch.equal(a, b) for a, b in zip(one(toy.train.x), two(toy.train.x), strict=True))


def test_the_vocabulary_is_that_of_the_cut_rows():
    texts = np.array(["aa", "bb", "cc"], dtype=object)
    fitted = tokens.fit(texts[:2], "characters", 8)
    assert fitted.names[3:] == ("a", "b")
    assert fitted((texts,))[0][2].tolist() == [UNKNOWN, UNKNOWN]
    assert "c" not in "".join(tokens.fit(texts[:2], "bpe:30", 8).names)


def test_a_text_without_a_token_is_one_unknown_token():
    fitted = tokens.fit(TEXTS, "bpe:40", 8)
    ids, lengths = fitted((np.array(["\u200b \n", "ab"], dtype=object),))
    assert lengths[0] == 1
    assert ids[0, 0] == UNKNOWN


def test_texts_are_cut_at_the_length_that_almost_all_training_texts_have_and_that_is_said():
    texts = np.array(["a" * 10] * 299 + ["a" * 5000], dtype=object)
    fitted = tokens.fit(texts, "characters", 128)
    assert fitted.length == 10
    assert fitted((texts,))[1].tolist() == [10] * 300
    assert "1 of 300 training texts are longer than 10 tokens (the longest has 5000)" in fitted.notes[0]
    assert tokens.fit(texts, "characters", 4).length == 4
    assert tokens.fit(texts[:299], "characters", 128).notes == ()


def test_random_tokens_are_drawn_as_often_as_training_has_them():
    fitted = tokens.fit(np.array(["a" * 75 + "b" * 25], dtype=object), "characters", 8)
    share = np.bincount(fitted.pool, minlength=5)[3:] / len(fitted.pool)
    assert share == pytest.approx([0.75, 0.25], abs=0.01)


@pytest.mark.parametrize("name", ["byts", "bpe:x", "bpe:3", "pretrained:", "characters:5"])
def test_an_unknown_tokenizer_says_which_there_are(name):
    with pytest.raises(UserError, match=r"tokenizer '(byts|pretrained:|characters:5)'.*wordpiece|a vocabulary of 16 to 65536"):
        tokens.fit(TEXTS, name, 8)


def test_raw_features_are_log_counts_of_tokens(fitted, toy):
    batch = fitted(toy.test.x)
    raw = ADAPTER.raw(batch, fitted)
    assert (raw.shape, raw.dtype) == ((64, len(fitted)), np.float32)
    one = np.bincount(batch[0][0][: batch[1][0]].numpy(), minlength=len(fitted))
    np.testing.assert_allclose(raw[0], np.log1p(one), rtol=1e-6)


# Views


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_keeps_shape_and_dtype_and_is_made_by_its_generator(toy, fitted, name):
    x = fitted(toy.train.x)
    kept = tuple(t.clone() for t in x)
    view = ADAPTER.view(SPEC.replace(views=name), fitted)
    first, again, other = view(x, rng(1)), view(x, rng(1)), view(x, rng(2))
    for a, b, before, now in zip(first, again, kept, x, strict=True):
        assert (a.shape, a.dtype) == (before.shape, before.dtype)
        assert torch.equal(a, b)
        assert torch.equal(before, now)
    assert torch.equal(first[0], other[0]) == (name in ("none", "dropout"))
    ids, lengths = first
    assert torch.equal(ids != PAD, torch.arange(ids.shape[1]) < lengths[:, None])
    assert lengths.min() >= 1
    assert int(ids.max()) < len(fitted)


def test_tokens_are_masked_independently_at_the_rate_and_padding_never():
    ids = torch.full((4000, 6), 7, dtype=torch.int32)
    ids[:, 5] = PAD
    out, lengths = views.masking(0.2)((ids, torch.full((4000,), 5)), rng())
    hit = (out[:, :5] == MASK).double()
    assert (hit.mean(dim=0) - 0.2).abs().max() < 4.5 * math.sqrt(0.2 * 0.8 / 4000)
    assert (torch.corrcoef(hit.T) - torch.eye(5)).abs().max() < 5 / math.sqrt(4000)
    assert not (out[:, 5] != PAD).any()
    assert lengths.tolist() == [5] * 4000


def test_replaced_tokens_come_from_training_at_the_rate(fitted, toy):
    ids, lengths = fitted(toy.train.x)
    out, _ = views.replacement(0.1, fitted)((ids, lengths), rng())
    changed = ((out != ids) & (ids != PAD)).sum() / lengths.sum()
    same = np.square(np.bincount(fitted.pool) / len(fitted.pool)).sum()  # a draw that gives the token that was there
    assert float(changed) == pytest.approx(0.1 * (1 - same), abs=4.5 * math.sqrt(0.09 / int(lengths.sum())))
    assert set(out.unique().tolist()) <= {PAD, *fitted.pool.tolist()}


def test_compact_is_the_loop_over_examples():
    x = tokens.fit(TEXTS, "characters", 16)((TEXTS,))
    for stay in (views.draw_deletion(x, 0.5, rng()), views.draw_span(x, 0.9, rng())):
        ids, lengths = views.compact(x[0], stay)
        for i, row in enumerate(x[0]):
            kept = [int(t) for t, s in zip(row, stay[i], strict=True) if s]
            assert ids[i, : lengths[i]].tolist() == kept
            assert not ids[i, lengths[i] :].any()


def test_deletion_drops_at_the_rate_and_always_leaves_a_token():
    x = torch.full((4000, 8), 5, dtype=torch.int32), torch.full((4000,), 8)
    stay = views.draw_deletion(x, 0.3, rng())
    assert abs(float(stay.double().mean()) - 0.7) < 4.5 * math.sqrt(0.21 / 32000)
    short = torch.tensor([[5, 0, 0], [5, 6, 0]], dtype=torch.int32), torch.tensor([1, 2])
    assert views.draw_deletion(short, 1.0, rng()).sum(dim=1).tolist() == [1, 1]


def test_a_span_is_one_stretch_of_up_to_its_share_at_any_place():
    n, length = 4000, 20
    x = torch.full((n, length), 5, dtype=torch.int32), torch.full((n,), length)
    gone = ~views.draw_span(x, 0.5, rng())
    starts = (gone.int().diff(dim=1) == 1).sum(dim=1) + gone[:, 0]
    assert starts.max() == 1
    share = gone.double().mean(dim=1)
    assert share.max() == 0.5
    assert abs(float(share.mean()) - 0.25) < 4.5 * 0.5 / math.sqrt(12 * n)
    assert gone.any(dim=0).all()
    single = torch.tensor([[5, 0]], dtype=torch.int32), torch.tensor([1])
    assert views.draw_span(single, 1.0, rng()).tolist() == [[True, False]]


# Stems and padding


def one_hot(ids: torch.Tensor, size: int) -> torch.Tensor:
    """Tokens as one-hot rows; padding is no token."""
    hot = torch.nn.functional.one_hot(ids.long(), size).float()
    hot[..., PAD] = 0
    return hot


def test_mixing_after_the_embeddings_is_mixing_one_hot_tokens(fitted, toy):
    x = select(fitted(toy.train.x), torch.arange(32))
    stem = Embeddings(len(fitted), 8)
    mix = Mixture(draw_inputmix(64, 2, 0.5, np.random.default_rng(0)), draw_imix(32, 1.0, np.random.default_rng(1)))
    s_q, s_k = mix.stem(stem, x, x)
    s_q = mix.query(s_q)

    class Hot(torch.nn.Module):
        def forward(self, batch):
            return one_hot(batch[0][:, : int(batch[1].max())], len(fitted))

    h_q, h_k = mix.stem(Hot(), x, x)
    table = torch.cat((stem.weight, torch.ones(len(fitted), 1)), dim=1)
    torch.testing.assert_close(s_q, mix.query(h_q) @ table)
    torch.testing.assert_close(s_k, h_k @ table)


def test_a_mixed_position_is_padding_exactly_where_all_that_went_into_it_is():
    x = torch.tensor([[5, 6, 0, 0], [7, 0, 0, 0], [5, 6, 7, 0]], dtype=torch.int32), torch.tensor([2, 1, 3])
    rows, lam = torch.tensor([[0, 1, 2], [1, 0, 1]]), torch.tensor([[0.6, 0.9, 1.0], [0.4, 0.1, 0.0]])
    mixed = Mixture(queries=(rows, lam)).query(Embeddings(9, 4)(x))
    assert (mixed[..., -1] > 0).tolist() == [[True, True, False], [True, True, False], [True, True, True]]
    assert not mixed[0, 2].any()


def test_mixing_after_the_bag_is_mixing_bags_of_one_hot_ngrams(fitted, toy):
    x = select(fitted(toy.train.x), torch.arange(32))
    stem = NGrams(8, fitted.orders, buckets=64)
    rows = stem.rows(x)
    bags = torch.zeros(32, len(stem.weight)).scatter_add_(1, rows, torch.ones(rows.shape))
    bags[:, 0] = 0
    bags = bags / bags.sum(dim=1, keepdim=True).sqrt()
    mix = Mixture(queries=draw_imix(32, 1.0, np.random.default_rng(1)))
    torch.testing.assert_close(mix.query(stem(x)), mix.query(bags) @ stem.weight)


def test_every_ngram_of_a_text_and_its_ends_is_in_the_bag():
    stem = NGrams(4, (1, 2, 3))
    x = torch.tensor([[5, 6, 7, 0, 0], [5, 0, 0, 0, 0], [5, 6, 7, 8, 9]], dtype=torch.int32), torch.tensor([3, 1, 5])
    rows = stem.rows(x)
    count = [n + (n + 1) + n for n in (3, 1, 5)]  # tokens; pairs and triples of them and both ends
    assert (rows != 0).sum(dim=1).tolist() == count
    alone = stem.rows(select(x, torch.tensor([0])))[0]
    assert alone[alone != 0].tolist() == rows[0][rows[0] != 0].tolist()
    assert len(set(rows[2][rows[2] != 0].tolist())) == count[2]  # no two of these share a bucket


@pytest.mark.parametrize("name", ENCODERS)
def test_features_do_not_depend_on_who_else_is_in_the_batch(name, fitted, toy):
    x = select(fitted(toy.test.x), torch.arange(8))
    encoder = built(name, fitted)
    with torch.no_grad():
        whole = encoder(x)
        alone = torch.cat([encoder(select(x, torch.tensor([i]))) for i in range(len(x[0]))])
    torch.testing.assert_close(whole, alone, atol=2e-5, rtol=1e-4)


def test_the_convolution_is_torchs_own(fitted, toy):
    x = select(fitted(toy.test.x), torch.arange(8))
    body = Convolution(6, 10, 0.0).eval()
    s = Embeddings(len(fitted), 6)(x)
    weight = body.filters.weight.view(10, 6, body.span)
    y = torch.nn.functional.conv1d(s[..., :-1].transpose(1, 2), weight, body.filters.bias, padding=2).relu().transpose(1, 2)
    real = torch.arange(s.shape[1]) < x[1][:, None]
    expected = torch.stack([row[keep].mean(dim=0) for row, keep in zip(y, real, strict=True)])
    torch.testing.assert_close(mean_of_tokens(y, real.unsqueeze(-1)), expected)
    torch.testing.assert_close(body(s), body.norm(expected))


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_says_its_dimension_and_every_weight_learns(name, fitted, toy):
    encoder = built(name, fitted).train()
    h = encoder(fitted(toy.train.x))
    assert h.shape == (256, encoder.dim)
    (h * torch.randn(h.shape, generator=rng())).square().sum().backward()
    unused = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert [n for n in unused if "attention.self.key.bias" not in n] == []  # softmax does not see a key's bias


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("views_name", VIEWS)
def test_dropout_is_on_for_its_own_views_only(name, views_name, fitted, toy):
    x = select(fitted(toy.train.x), torch.arange(64))
    encoder = built(name, fitted, views=views_name).train()
    first, second = encoder(x), encoder(x)
    assert torch.equal(first, second) == (views_name != "dropout")


@pytest.mark.parametrize("shape", [(1000, 64), (7, 3), (1,)])
def test_dropout_draws_each_element_alone_at_its_rate(shape):
    torch.manual_seed(0)
    x = torch.rand(shape) + 1
    y = dropped(x, 0.1)
    kept = y != 0
    torch.testing.assert_close(y[kept], x[kept] / (1 - round(0.1 * 2**16) / 2**16))
    assert torch.equal(dropped(x, 0.0), x)
    if x.numel() == 64_000:
        gone = (~kept).flatten().double()
        assert gone.mean() == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / 64_000))
        for lag in (1, 2, 3, 4, 64):  # four neighbours share a draw
            assert (gone[lag:] * gone[:-lag]).mean() == pytest.approx(0.01, abs=4 * math.sqrt(0.0099 / 64_000))


def test_dropout_has_torchs_gradient_for_its_own_mask():
    torch.manual_seed(0)
    x = (torch.rand(5, 33) + 1).bfloat16().requires_grad_()
    y = dropped(x, 0.5)
    y.sum().backward()
    assert torch.equal(x.grad, torch.where(y == 0, 0, 2).to(x.dtype))


# Groups of like length


@pytest.mark.parametrize("cost", [0, 3, 20, 1000])
def test_groups_are_the_cheapest_way_to_cut_the_sorted_lengths(cost, monkeypatch):
    monkeypatch.setattr(packing, "GROUP", cost)
    for seed in range(5):
        lengths = np.sort(np.random.default_rng(seed).integers(1, 12, 9))

        def price(ends: tuple[int, ...], lengths=lengths) -> int:
            parts = np.split(lengths, ends)
            return sum(len(part) * part[-1] + cost for part in parts)

        every = [ends for k in range(9) for ends in itertools.combinations(range(1, 9), k)]
        found = packing.cut(lengths)
        assert [width for _, width in found] == [part[-1] for part in np.split(lengths, np.cumsum([n for n, _ in found])[:-1])]
        assert price(tuple(np.cumsum([n for n, _ in found])[:-1])) == min(map(price, every))


def padded(body: torch.nn.Module, s: torch.Tensor) -> torch.Tensor:
    """The body's features as transformers computes them, every row padded to the longest."""
    model, real = copy.deepcopy(body.model), s[..., -1:] > 0
    model.set_attn_implementation("eager")
    states = model(inputs_embeds=s[..., :-1], attention_mask=real.squeeze(-1).long()).last_hidden_state
    return mean_of_tokens(states, real)


@pytest.mark.parametrize("cost", [0, 10, None])
@pytest.mark.parametrize("states", [transformer.in_one_row, transformer.group_by_group])
def test_a_transformer_without_padding_gives_what_it_gives_for_padded_rows(cost, states, monkeypatch):
    if cost is None:  # as on a GPU
        monkeypatch.setattr(Packing, "of", Packing.whole)
    else:
        monkeypatch.setattr(packing, "GROUP", cost)
    torch.manual_seed(0)
    body = transformer.bert(32, 2, 20, 0.0)
    if states is transformer.group_by_group:
        body.states = states
        body.model.set_attn_implementation("eager")
    lengths = torch.tensor([3, 20, 1, 7, 7, 12, 2, 19])
    s = torch.randn(8, 20, 33)
    s[..., -1] = 1
    s[torch.arange(20) >= lengths[:, None]] = 0
    s = Mixture(queries=draw_imix(8, 1.0, np.random.default_rng(0))).query(s).requires_grad_()
    wanted = torch.randn(8, 32)
    expected = torch.autograd.grad((padded(body, s) * wanted).sum(), s)
    h = body(s)
    torch.testing.assert_close(h, padded(body, s), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.autograd.grad((h * wanted).sum(), s), expected, atol=1e-5, rtol=1e-5)


def test_a_row_holds_every_token_once_and_one_padding():
    lengths = torch.tensor([40, 3, 4, 41, 3, 4] * 20)
    real = torch.arange(50) < lengths[:, None]
    packed = Packing.of(real)
    assert packed.shapes == [(80, 4), (40, 41)]
    inside = real.flatten().nonzero()[:, 0]
    assert torch.equal(packed.tokens[:-1].sort().values, inside)
    assert not real.flatten()[packed.tokens[-1]]
    for rows, own, group in zip(packed.order.split([80, 40]), packed.real, packed.grouped(packed.tokens[:, None]), strict=True):
        assert torch.equal(own, real[rows, : own.shape[1]])
        places = rows[:, None] * 50 + torch.arange(own.shape[1])
        assert torch.equal(group[..., 0][own], places[own])
    there, back = packed.by_head(3)
    once = there[there < 3 * len(inside)]
    assert torch.equal(once.sort().values, torch.arange(3 * len(inside)))
    assert torch.equal(there[back], torch.arange(3 * len(packed.tokens)))


def test_a_batch_without_padding_is_packed_as_it_is():
    packed = Packing.of(torch.ones(5, 7, dtype=torch.bool))
    assert torch.equal(packed.tokens, torch.arange(35))
    assert packed.shapes == [(5, 7)]


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
def test_attention_is_a_softmax_over_the_tokens(dtype, error):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 5, 2, 9, 4)
    real = torch.arange(9) < torch.tensor([[9], [1], [4], [8], [9]])
    found = packing.attention(q.to(dtype), k.to(dtype), v.to(dtype), real, 0.5)
    for i, n in enumerate(real.sum(dim=1)):
        for head in range(2):
            weights = (0.5 * q[i, head] @ k[i, head, :n].T).softmax(dim=1)
            torch.testing.assert_close(found[i, head].float(), weights @ v[i, head, :n], atol=error, rtol=error)


# Checkpoints


def test_a_checkpoint_gives_what_transformers_gives(checkpoint):
    spec = SPEC.replace(encoder=f"pretrained:{checkpoint}", max_length=32)
    d = Dataset("t", Split((TEXTS,), np.arange(4) % 2), Split((TEXTS,), np.arange(4) % 2), ("a", "b"))
    fitted = ADAPTER.fit(d.train.x, d, spec)
    encoder = ADAPTER.encoder(spec, fitted).eval()
    made, model = transformers.AutoTokenizer.from_pretrained(checkpoint), transformers.AutoModel.from_pretrained(checkpoint)
    batch = made(list(TEXTS), padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model.eval()(**batch).last_hidden_state
        h = encoder(fitted(d.train.x))
    mask = batch["attention_mask"].unsqueeze(-1)
    torch.testing.assert_close(h, (states * mask).sum(dim=1) / mask.sum(dim=1), atol=1e-5, rtol=1e-4)
    assert (encoder.dim, ADAPTER.division(spec), ADAPTER.division(SPEC)) == (32, "pretrained", "from scratch")
    assert ADAPTER.division(SPEC.replace(tokenizer=f"pretrained:{checkpoint}")) == "pretrained"
    named = {t.data_ptr() for t in encoder.state_dict().values()}
    assert len(named) == len(encoder.state_dict())  # safetensors refuses shared weights


def test_a_checkpoint_that_cannot_be_used_says_why(checkpoint, tmp_path):
    fitted = tokens.fit(TEXTS, f"pretrained:{checkpoint}", 64)
    long = tokens.fit(np.array(["a " * 60] * 2, dtype=object), f"pretrained:{checkpoint}", 64)
    with pytest.raises(UserError, match=r"it has 48 positions, too few for texts of 60 tokens; set max_length to 44"):
        built(f"pretrained:{checkpoint}", long)
    with pytest.raises(UserError, match=r"the checkpoint '.*' cannot be used: .* Give the folder of a transformers checkpoint"):
        built(f"pretrained:{tmp_path}", fitted)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "is_encoder_decoder": True}))
    with pytest.raises(UserError, match="it is an encoder-decoder"):
        built(f"pretrained:{tmp_path}", fitted)


# The main job


def test_a_batch_is_shown_as_lines_of_text(toy, fitted):
    x = fitted(toy.train.x)
    assert ADAPTER.sheet(x, fitted) == list(toy.train.x[0])
    masked = ADAPTER.view(SPEC.replace(views="agnostic", mask_rate=1.0), fitted)(x, rng())
    assert set("".join(ADAPTER.sheet(masked, fitted))) == {"_"}


def test_the_classical_candidates_read_words_and_characters(toy):
    x, y = ADAPTER.classical_input(toy.train.x, toy), toy.train.y
    x_test = ADAPTER.classical_input(toy.test.x, toy)
    words, characters = (model.fit(x, y).score(x_test, toy.test.y) for model in ADAPTER.classical(toy))
    assert characters > 0.25 + 4.5 * math.sqrt(0.25 * 0.75 / 64)  # far above chance of four classes
    assert words < characters  # invented words seldom come twice


@pytest.mark.full
@pytest.mark.parametrize("method", ["imix", "moco", "simclr+inputmix", "supervised+mixup", "classical", "raw"])
def test_a_method_runs_on_texts(method):
    from bench import run

    record = run(RunSpec(modality="text", dataset="toy", method=method, budget="smoke"))
    assert record.status == "ok"
    assert record.score > 0.25


@pytest.mark.full
@pytest.mark.parametrize("encoder", ["cnn", "transformer", "pretrained"])
def test_an_encoder_is_trained_on_texts(encoder, checkpoint):
    from bench import run

    name = f"pretrained:{checkpoint}" if encoder == "pretrained" else encoder
    record = run(
        RunSpec(modality="text", dataset="toy", budget="smoke", encoder=name, width=2 if encoder != "pretrained" else 1)
    )
    assert (record.status, record.division) == ("ok", "pretrained" if encoder == "pretrained" else "from scratch")
    assert record.last_loss < record.first_loss


def test_join_keeps_ids_and_lengths(fitted, toy):
    x = fitted(toy.test.x)
    assert [len(t) for t in join(x, x)] == [128, 128]


@pytest.mark.skipif(importlib.util.find_spec("babel") is None, reason="babel is not installed; pip install -e '.[text]'")
def test_a_method_is_told_labels_of_the_rows_it_learns_from_whatever_is_scored():
    spec = RunSpec(modality="text", dataset="toy", method="supcon", label_fraction=0.25, budget="smoke")
    here, there = prepare(spec), prepare(spec.replace(evaluate_on="langid"))
    assert (here.told >= 0).sum() == len(here.labels)
    np.testing.assert_array_equal(here.told[: len(here.labels)], here.labels)
    np.testing.assert_array_equal(there.told, here.told)
    assert len(there.labels) != len(here.labels)
