"""Texts -> token ids with lengths. A vocabulary is fitted on the cut training texts only, or is a named checkpoint's."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from bench.adapter import Arrays, Batch, Transform
from bench.errors import UserError, unknown

PAD, MASK, UNKNOWN = 0, 1, 2
RESERVED = 3
"""The first ids of every vocabulary: padding, a masked token, a token that training texts never had."""

MOST_CHARACTERS = 4096
SUBWORDS = 4096
COVERED = 0.99
"""Texts are cut to the length that this share of the training texts stays within, and to `max_length` at most."""

POOL = 4096
"""Entries of the table from which random tokens are drawn, in proportion to their frequency in training."""

TOKENIZERS = {
    "characters": "one token per Unicode character of the training texts",
    "bytes": "one token per byte of UTF-8",
    "bpe": "byte-pair pieces trained on the training texts; bpe:SIZE for a vocabulary of SIZE",
    "wordpiece": "WordPiece pieces trained on the training texts; wordpiece:SIZE for a vocabulary of SIZE",
    "pretrained:": "the tokenizer of a transformers checkpoint, by path or hub name",
}

Encode = Callable[[Sequence[str]], list[Any]]
"""Texts -> one sequence of ids each, without padding and special tokens."""


@dataclass(frozen=True, eq=False)
class Tokens(Transform):
    """A fitted tokenizer. A batch is (ids int32 (n, length), lengths int64 (n,)): padding follows the tokens of a text.

    names: (V,) what each id stands for, for people. pool: (4096,) ids in proportion to their frequency in training.
    """

    encode: Encode = field(repr=False)
    names: tuple[str, ...]
    length: int
    pool: np.ndarray
    pieces: bool = False  # of words; else characters or bytes
    said: tuple[str, ...] = ()

    @property
    def orders(self) -> tuple[int, ...]:
        """The n-grams that say something: pairs of pieces, or up to three characters."""
        return (1, 2) if self.pieces else (1, 2, 3)

    @property
    def notes(self) -> tuple[str, ...]:
        return self.said

    def __len__(self) -> int:
        return len(self.names)

    def __call__(self, x: Arrays) -> Batch:
        """(texts (n,),) -> (ids (n, length), lengths (n,)). A text without a token becomes one unknown token."""
        sequences = self.encode(list(x[0]))
        ids = np.full((len(sequences), self.length), PAD, np.int32)
        lengths = np.array([min(max(len(s), 1), self.length) for s in sequences], np.int64)
        flat = np.concatenate([np.asarray(s if len(s) else [UNKNOWN], np.int32)[: self.length] for s in sequences])
        ids[np.arange(self.length) < lengths[:, None]] = flat
        return torch.from_numpy(ids), torch.from_numpy(lengths)

    def counts(self, x: Batch) -> np.ndarray:
        """How often each token stands in each text, float32 (n, V), as log(1 + count)."""
        ids, _ = (t.cpu().numpy() for t in x)
        out = np.zeros((len(ids), len(self)), np.float32)
        rows, columns = np.nonzero(ids != PAD)
        np.add.at(out, (rows, ids[rows, columns]), 1.0)
        return np.log1p(out)

    def words(self, x: Batch) -> list[str]:
        """Rows as text; `_` is a masked token, `?` an unknown one."""
        ids, lengths = (t.cpu().tolist() for t in x)
        joint = " " if self.pieces else ""
        return [joint.join(self.names[i] for i in row[:n]) for row, n in zip(ids, lengths, strict=True)]


def fit(texts: np.ndarray, tokenizer: str, max_length: int) -> Tokens:
    """Fit a tokenizer on training texts (n,); see `TOKENIZERS` for the names."""
    encode, names = _trained(list(texts), tokenizer)
    sequences = encode(list(texts))
    lengths = np.array([len(s) for s in sequences])
    length = int(max(1, min(max_length, np.quantile(lengths, COVERED, method="higher"))))
    pieces = tokenizer not in ("characters", "bytes")
    return Tokens(encode, names, length, _pool(sequences), pieces, _cut_note(lengths, length))


def _trained(texts: list[str], tokenizer: str) -> tuple[Encode, tuple[str, ...]]:
    kind, _, rest = tokenizer.partition(":")
    if kind == "pretrained" and rest:
        from modalities.text import transformer

        return transformer.vocabulary(rest)
    if kind in ("bpe", "wordpiece"):
        return _subwords(texts, kind, _size(tokenizer, rest))
    if tokenizer in ("characters", "bytes"):
        return _characters(texts) if kind == "characters" else _bytes()
    raise UserError(unknown("tokenizer", tokenizer, TOKENIZERS, where="text"))


def _cut_note(lengths: np.ndarray, length: int) -> tuple[str, ...]:
    cut = int((lengths > length).sum())
    if not cut:
        return ()
    return (
        f"{cut} of {len(lengths)} training texts are longer than {length} tokens (the longest has {lengths.max()}) and are "
        "cut there, as longer test texts are.",
    )


def _pool(sequences: list[Any]) -> np.ndarray:
    flat = np.sort(np.concatenate([np.asarray(s, np.int32) for s in sequences if len(s)] or [np.array([UNKNOWN], np.int32)]))
    return flat[np.linspace(0, len(flat) - 1, POOL).round().astype(np.int64)]


def _characters(texts: list[str]) -> tuple[Encode, tuple[str, ...]]:
    """One id per character of the training texts, the most frequent 4096 at most; case is kept."""
    counts = Counter("".join(texts))
    known = sorted(sorted(counts, key=lambda c: (-counts[c], c))[:MOST_CHARACTERS])
    table = np.full(0x110000, UNKNOWN, np.int32)
    table[[ord(c) for c in known]] = RESERVED + np.arange(len(known))

    def encode(texts: Sequence[str]) -> list[Any]:
        return [table[np.frombuffer(t.encode("utf-32-le", "replace"), np.uint32)] for t in texts]

    return encode, ("", "_", "?", *known)


def _bytes() -> tuple[Encode, tuple[str, ...]]:
    def encode(texts: Sequence[str]) -> list[Any]:
        return [np.frombuffer(t.encode("utf-8", "replace"), np.uint8).astype(np.int32) + RESERVED for t in texts]

    return encode, ("", "_", "?", *(chr(b) if 32 <= b < 127 else f"\\x{b:02x}" for b in range(256)))


def _size(tokenizer: str, rest: str) -> int:
    if rest and not (rest.isdecimal() and 16 <= int(rest) <= 65536):
        raise UserError(f"tokenizer {tokenizer!r}: a vocabulary of 16 to 65536 pieces is wanted, for example bpe:4096.")
    return int(rest or SUBWORDS)


def _subwords(texts: list[str], kind: str, size: int) -> tuple[Encode, tuple[str, ...]]:
    """Pieces of words (lower case, accents kept), trained by the library tokenizers. Equal texts give equal pieces."""
    import json

    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    bpe = kind == "bpe"
    made: Any = Tokenizer(models.BPE(unk_token="[UNK]") if bpe else models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # The trainers number pieces that carry a mark in the order of a hash table, which differs from run to run, and break ties
    # by number. So the first of them are given to it in order, as if they were special; afterwards nothing is.
    letters = sorted(set(made.normalizer.normalize_str("".join(texts))))
    marked = [f"{c}</w>" if bpe else f"##{c}" for c in letters if not c.isspace()]
    settings: Any = {"vocab_size": size, "show_progress": False, "special_tokens": ["[PAD]", "[MASK]", "[UNK]", *marked]}
    trainer: Any = trainers.BpeTrainer(end_of_word_suffix="</w>", **settings) if bpe else trainers.WordPieceTrainer(**settings)
    made.train_from_iterator(texts, trainer)
    ready: Any = Tokenizer.from_str(json.dumps({**json.loads(made.to_str()), "added_tokens": []}))

    def encode(texts: Sequence[str]) -> list[Any]:
        return [e.ids for e in ready.encode_batch(list(texts), add_special_tokens=False)]

    names = [ready.id_to_token(i) for i in range(RESERVED, ready.get_vocab_size())]
    if bpe:  # for people: `wait+ ing`
        names = [n.removesuffix("</w>") if n.endswith("</w>") else f"{n}+" for n in names]
    return encode, ("", "_", "?", *names)
