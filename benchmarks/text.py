"""Text.

A SimCSE step of a transformer: 64 sentences, both views in one forward, dropout 0.1, 4 layers of 128 units (4 heads, 256 units
between), InfoNCE, AdamW (fused), the precision below. Lengths are log-normal (mean 18.6, spread of the logarithm 0.6) and at
most 64; the same eight batches for every side. The other side is transformers' own BERT of that size, padded to 64. Ours
packs the tokens of a batch without padding: who is whose negative stays as it was, and features are the same up to rounding.
Its dropout takes a quarter of torch's draws, which rounds the rate to 2^-16. How much of the ratio is packing and how much our
attention and dropout is told by a row in which our own network pads to the longest sentence of the batch.

The default run is `python -m bench run --modality text --budget small`: langid as characters, batch 512, a bag of n-grams,
npair+imix. Shares are of CPU-seconds of a step; stem and body are the encoder's forward.
"""

from collections.abc import Callable, Iterator
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from bench import RunSpec, perf
from bench.adapter import Batch, take
from bench.objective import info_nce
from bench.prepare import prepare
from benchmarks import parts
from benchmarks.row import Row
from benchmarks.timing import Side, Spread, ratio, share, turns

LONGEST, SENTENCES, BATCHES, VOCABULARY, UNITS, LAYERS, DROPOUT = 64, 64, 8, 4096, 128, 4, 0.1

Body = Callable[[Tensor], Tensor]


def sentences(rng: np.random.Generator) -> Batch:
    """A batch: random ids (n, 64) with padding behind them, and lengths (n,)."""
    drawn = rng.lognormal(np.log(18.6) - 0.6**2 / 2, 0.6, SENTENCES)
    lengths = torch.from_numpy(np.clip(np.rint(drawn), 1, LONGEST).astype(np.int64))
    ids = torch.from_numpy(rng.integers(3, VOCABULARY, (SENTENCES, LONGEST), dtype=np.int32))
    return ids.masked_fill(torch.arange(LONGEST) >= lengths[:, None], 0), lengths


class Padded(nn.Module):
    """transformers' own BERT on rows padded to 64, with its own attention, then the mean over the tokens."""

    def __init__(self, attention: str) -> None:
        from transformers import BertConfig, BertModel

        super().__init__()
        config = BertConfig(
            vocab_size=1,
            hidden_size=UNITS,
            num_hidden_layers=LAYERS,
            num_attention_heads=UNITS // 32,
            intermediate_size=2 * UNITS,
            hidden_dropout_prob=DROPOUT,
            attention_probs_dropout_prob=DROPOUT,
            max_position_embeddings=LONGEST,
            attn_implementation=attention,
        )
        self.model = BertModel(config, add_pooling_layer=False)

    def forward(self, s: Tensor) -> Tensor:
        from modalities.text.encoder import mean_of_tokens

        s = nn.functional.pad(s, (0, 0, 0, LONGEST - s.shape[1]))
        real = s[..., -1:] > 0
        states = self.model(inputs_embeds=s[..., :-1], attention_mask=real.squeeze(-1).long()).last_hidden_state
        return mean_of_tokens(states, real)


def training(body: nn.Module, precision: str) -> Side:
    """Eight steps."""
    from modalities.text.encoder import Embeddings

    torch.manual_seed(0)
    stem, rng = Embeddings(VOCABULARY, UNITS), np.random.default_rng(0)
    batches = [sentences(rng) for _ in range(BATCHES)]
    optimiser = torch.optim.AdamW([*stem.parameters(), *body.parameters()], lr=1e-4, fused=True)
    body.train()

    def epoch() -> None:
        for ids, lengths in batches:
            optimiser.zero_grad(set_to_none=True)
            with perf.autocast(torch.device("cpu"), precision):
                q, keys = body(stem((ids.repeat(2, 1), lengths.repeat(2)))).chunk(2)
                loss = info_nce(q, keys, torch.eye(SENTENCES), 0.05)
            loss.backward()
            optimiser.step()

    return epoch


def transformer(rounds: int) -> Iterator[Row]:
    """The SimCSE step against padding to 64, and what attention takes of it."""
    from modalities.text import packing
    from modalities.text.transformer import bert

    precision = perf.pick_precision("auto", torch.device("cpu"))
    torch.manual_seed(0)
    ours = training(bert(UNITS, LAYERS, LONGEST, DROPOUT), precision)

    def padded() -> None:
        with patch.object(packing.Packing, "of", packing.Packing.whole):
            ours()

    def without_attention() -> None:
        with patch.object(packing, "attention", lambda q, k, v, *_: q + k + v):
            ours()

    sides = {
        "ours": ours,
        "eager": training(Padded("eager"), precision),
        "sdpa": training(Padded("sdpa"), precision),
        "padded": padded,
        "without": without_attention,
    }
    times = turns(sides, rounds)
    yield Row("transformer, over BERT padded to 64, eager attention", ratio(times["eager"], times["ours"]), "x", ">= 3")
    yield Row("transformer, over BERT padded to 64, its default attention", ratio(times["sdpa"], times["ours"]), "x")
    yield Row("transformer, over ours padded to the longest of the batch", ratio(times["padded"], times["ours"]), "x")
    shares = [100 * (1 - b / a) for a, b in zip(times["ours"], times["without"], strict=True)]
    yield Row("transformer: attention's share of a step", Spread.of(shares), "%", note="by a step that adds q, k and v instead")


def tokenising(rounds: int, step: list[float]) -> Iterator[Row]:
    """What tokenising the texts of every batch anew would add to a default step; they are tokenised once."""
    ready = prepare(RunSpec(modality="text", budget="small", device="cpu"))
    x = take(ready.dataset.train.x, ready.rows.pretrain)
    transform = ready.adapter.fit(x, ready.dataset, ready.spec)
    some = take(x, np.arange(ready.plan.batch_size))
    spent = turns({"batch": lambda: transform(some)}, rounds, repeats=5)["batch"]
    yield Row("tokenising a batch on the fly would add", share(spent, step), "%")


def rows(rounds: int) -> Iterator[Row]:
    """See the docstring of the module."""
    try:
        import transformers  # noqa: F401 - the peer, and a part of the extra `text`
    except ImportError as error:
        raise SystemExit("this group needs transformers. Install it with: pip install -e '.[perf,text]'") from error
    yield from transformer(rounds)
    times = parts.breakdown(RunSpec(modality="text", budget="small", device="cpu"), rounds, 20)
    yield from parts.rows("default text run", times)
    yield from tokenising(rounds, [sum(step) for step in zip(*times.values(), strict=True)])
