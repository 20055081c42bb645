"""Transformers: a small one from a configuration, or any checkpoint by local path or hub name."""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from bench.adapter import Batch, Encoder
from bench.errors import UserError
from modalities.text.tokens import Encode


def from_config(tokens: int, length: int, width: int, dropout: float, device: str) -> Encoder:
    """A BERT of 2 layers and 32 * width units, untrained, mean over the tokens."""
    from transformers import BertConfig, BertModel

    from modalities.text.encoder import Embeddings

    units = 32 * width
    config = BertConfig(
        vocab_size=1,
        hidden_size=units,
        num_hidden_layers=2,
        num_attention_heads=max(1, units // 32),
        intermediate_size=2 * units,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        max_position_embeddings=length,
        pad_token_id=0,
        attn_implementation=_attention(device),
    )
    model = BertModel(config, add_pooling_layer=False)
    return Encoder(Embeddings(tokens, units), Contextual(model), units)


def _attention(device: str) -> str:
    return "sdpa" if device == "cuda" else "eager"  # torch's bf16 kernel is slow on a CPU


class Contextual(nn.Module):
    """Body: (n, length, d + 1) -> (n, dim): a transformer on the vectors, then the mean of its last states over the tokens."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        model.set_input_embeddings(nn.Identity())  # those are the stem's
        self.model = model

    def forward(self, s: Tensor) -> Tensor:
        real = s[..., -1] > 0
        states = self.model(inputs_embeds=s[..., :-1], attention_mask=real.long()).last_hidden_state.float()
        weight = real.unsqueeze(-1).float()
        return (states * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
