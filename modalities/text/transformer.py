"""Transformers behind a linear stem: a small one from a configuration, or any checkpoint by local path or hub name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from bench.adapter import Batch, Encoder
from bench.errors import UserError
from bench.spec import RunSpec
from modalities.text.encoder import Dropout, Embeddings, mean_of_tokens, trimmed
from modalities.text.packing import Packing, packed_attention
from modalities.text.tokens import Encode, Tokens


def from_scratch(transform: Tokens, units: int, dropout: float) -> Encoder:
    """BERT with 2 layers of `units` units, untrained; the mean over the tokens (Reimers and Gurevych 2019)."""
    return Encoder(Embeddings(len(transform), units), bert(units, 2, transform.length, dropout), units)


def bert(units: int, layers: int, length: int, dropout: float) -> "Contextual":
    """An untrained BERT for texts of at most `length` tokens, without embeddings of words."""
    from transformers import AttentionInterface, BertConfig, BertModel

    AttentionInterface.register("packed", packed_attention)
    config: Any = BertConfig(  # type: ignore[call-arg]
        vocab_size=1,  # the tokens' embeddings are the stem's
        hidden_size=units,
        num_hidden_layers=layers,
        num_attention_heads=max(1, units // 32),
        intermediate_size=2 * units,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        max_position_embeddings=length,
        attn_implementation="packed",
    )
    return Contextual(BertModel(config, add_pooling_layer=False), in_one_row)


def pretrained(name: str, transform: Tokens, dropout: float, spec: RunSpec) -> Encoder:
    """A checkpoint's encoder; its word embeddings become the stem. Only safetensors are read, and no code of a repository."""
    from transformers import AutoConfig, AutoModel

    with _checkpoint(name):
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        if getattr(config, "is_encoder_decoder", False):
            raise ValueError("it is an encoder-decoder; an encoder such as BERT is wanted")
        _fits(transform.length, getattr(config, "max_position_embeddings", None))
        for key in [k for k in config.to_dict() if k.endswith(("dropout", "dropout_prob"))]:
            if isinstance(getattr(config, key, None), float):
                setattr(config, key, dropout)
        model = AutoModel.from_pretrained(
            name, config=config, use_safetensors=True, trust_remote_code=False, attn_implementation=_attention(spec)
        )
        stem = Words(model.get_input_embeddings().weight.detach().float(), tokenizer(name))
    return Encoder(stem, Contextual(model.float(), group_by_group), int(config.hidden_size))


def _fits(length: int, most: int | None) -> None:
    """Raises `ValueError` for texts that are longer than the checkpoint's positions; RoBERTa sets two of them aside."""
    if most is not None and most > 0 and length + 4 > most:
        raise ValueError(f"it has {most} positions, too few for texts of {length} tokens; set max_length to {most - 4}")


class Words(nn.Module):
    """Stem of a checkpoint: its word embeddings of [first] text [last], with the channel that tells padding; see `Embeddings`.

    The checkpoint's first and last special tokens (CLS and SEP) stand around every text; views never touch them.
    """

    def __init__(self, weight: Tensor, tokenizer: Any) -> None:
        super().__init__()
        first, last = _ends(tokenizer)
        self.first, self.last, self.shift = first, last, tuple(ids_of(tokenizer))
        self.embeddings = Embeddings(len(self.shift), weight.shape[1])
        self.ends = nn.Parameter(weight[[i for i in (first, last) if i is not None]])
        with torch.no_grad():
            self.embeddings.weight.copy_(weight[list(self.shift)])

    def forward(self, x: Batch) -> Tensor:
        ids, lengths = trimmed(x), x[1]
        s: Tensor = self.embeddings((ids, lengths))
        ends = F.pad(self.ends, (0, 1), value=1.0).to(s.dtype)
        if self.first is not None:
            s = torch.cat((ends[:1].expand(len(s), 1, -1), s), dim=1)
        if self.last is None:
            return s
        place = lengths + (self.first is not None)
        s = F.pad(s, (0, 0, 0, 1))
        here = torch.arange(s.shape[1], device=s.device) == place[:, None]
        return torch.where(here.unsqueeze(-1), ends[-1], s)


States = Callable[[Any, Tensor, Packing], list[Tensor]]
"""(model, vectors (n, length, d), how to pack them) -> last states of each group, (texts, width, dim)."""


def in_one_row(model: Any, x: Tensor, packing: Packing) -> list[Tensor]:
    """All tokens at once, as one row, which `packed_attention` takes apart."""
    row, positions = x.flatten(0, 1).index_select(0, packing.tokens), packing.tokens % x.shape[1]
    by_head = packing.by_head(model.config.num_attention_heads)
    found = model(inputs_embeds=row[None], position_ids=positions[None], packing=packing, by_head=by_head)
    return packing.grouped(found.last_hidden_state[0])


def group_by_group(model: Any, x: Tensor, packing: Packing) -> list[Tensor]:
    """A forward for every group, padded: how a checkpoint numbers positions, and what its attention does, is its own affair."""
    parts = torch.split(x.index_select(0, packing.order), [texts for texts, _ in packing.shapes])
    return [
        model(inputs_embeds=part[:, : real.shape[1]], attention_mask=real.long()).last_hidden_state
        for part, real in zip(parts, packing.real, strict=True)
    ]


class Contextual(nn.Module):
    """Body: (n, length, d + 1) -> (n, dim): a transformer on the vectors, then the mean of its last states over the tokens.

    Padding is left out where it can be. No layer lets a text know of another, so that this changes no feature beyond rounding;
    dropout draws other masks.
    """

    def __init__(self, model: Any, states: States) -> None:
        super().__init__()
        model.set_input_embeddings(nn.Identity())  # those are the stem's
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        for part in model.modules():
            for name, module in part.named_children():
                if isinstance(module, nn.Dropout):
                    setattr(part, name, Dropout(module.p))
        self.model, self.states = model, states

    def forward(self, s: Tensor) -> Tensor:
        packing = Packing.of(s[..., -1] > 0)
        states = self.states(self.model, s[..., :-1], packing)
        h = torch.cat([mean_of_tokens(x, real[:, :, None]) for x, real in zip(states, packing.real, strict=True)])
        return h.index_select(0, packing.order.argsort())


def vocabulary(name: str) -> tuple[Encode, tuple[str, ...]]:
    """A checkpoint's tokenizer as (texts -> ids, what each id stands for): its special tokens go, padding, mask and unknown
    become the first three."""
    with _checkpoint(name):
        made = tokenizer(name)
        theirs = ids_of(made)
    place = {t: i for i, t in reversed(list(enumerate(theirs)))}
    names = made.convert_ids_to_tokens(theirs)

    def encode(texts: Any) -> list[Any]:
        found = made(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
        return [[place[t] for t in ids] for ids in found]

    return encode, ("", "_", "?", *names[3:])


def tokenizer(name: str) -> Any:
    """A checkpoint's tokenizer."""
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    if made.pad_token_id is None:
        raise ValueError("its tokenizer has no padding token")
    return made


def ids_of(made: Any) -> list[int]:
    """The checkpoint's id of each of ours: padding, mask, unknown, then every other token in its own order."""
    pad = made.pad_token_id
    unknown = pad if made.unk_token_id is None else made.unk_token_id
    mask = unknown if made.mask_token_id is None else made.mask_token_id
    return [pad, mask, unknown, *sorted(set(made.get_vocab().values()) - {pad, mask, unknown})]


def _ends(made: Any) -> tuple[int | None, int | None]:
    """The special tokens that the checkpoint wants before and after a text."""
    bare, around = (made("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    start = next((i for i in range(len(around)) if around[i : i + len(bare)] == bare), 0)
    end = start + len(bare)
    return (around[start - 1] if start else None), (around[end] if end < len(around) else None)


def _attention(spec: RunSpec) -> str | None:
    """None: the model's own choice. Torch's fused kernels are slow in bf16 on a CPU; see `packing.attention`."""
    return "eager" if (spec.device, spec.precision) == ("cpu", "bf16") else None


@contextmanager
def _checkpoint(name: str) -> Iterator[None]:
    """Errors of loading a checkpoint become `UserError`."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"the checkpoint {name!r} cannot be used: {reason}. Give the folder of a transformers checkpoint with its "
            "tokenizer and safetensors weights, or a name on the hub (without a network: run hf download NAME elsewhere and "
            "give the folder here). The encoders bag, cnn and transformer need no checkpoint."
        ) from error
