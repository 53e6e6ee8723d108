"""Texts to vectors by any transformers text model, frozen."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import torch
import transformers
from torch import Tensor

from segrec.content.checkpoint import Checkpoint
from segrec.content.encoder import ModelPlace, Vectors
from segrec.records import ConfigError, DataError

TextPool = Literal["cls", "mean"]
Tokens = list[int]
_TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
_NO_LIMIT = 1_000_000
"Tokenizers without a limit say 1e30."


class TextEncoder:
    """AutoModel with its AutoTokenizer. BERT: the last state of the CLS token (ContentCTR, section 3.1).

    pool: `cls` = the last state of the first token, which must be the tokenizer's CLS; `mean` = mean over all tokens.
    `max_tokens` counts CLS and SEP; what is longer is cut at the end.

    :raises DataError: no tokenizer, not a text model.
    :raises ConfigError: `cls` with a tokenizer that has none, more tokens than the model takes.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        pool: TextPool = "cls",
        max_tokens: int = 200,
        place: ModelPlace | None = None,
    ) -> None:
        self._pool, self._max_tokens, self._place = pool, max_tokens, place or ModelPlace()
        self._device = self._place.torch_device()
        self._model = checkpoint.model(self._place, "input_ids")
        self._tokenizer = checkpoint.part(
            "tokenizer", transformers.AutoTokenizer, _TOKENIZER_FILES
        )  # fmt: skip
        self._check(checkpoint.name)
        self._special = set(self._tokenizer.all_special_ids) - {self._tokenizer.unk_token_id}
        precision = "bfloat16" if self._place.in_bfloat16() else "float32"
        self.identity = f"{checkpoint.identity}, {_POOLED[pool]}, {max_tokens} tokens, {precision}"
        self.digest = hashlib.sha256(
            f"texts {checkpoint.sha256} {pool} {max_tokens} {precision}".encode()
        ).hexdigest()  # fmt: skip
        self.dim = int(self._model.config.hidden_size)
        self._tokens = self._unknown = 0

    def prepare(self, contents: Sequence[str]) -> list[Tokens | None]:
        """Token ids of each text, CLS and SEP included; None where the tokenizer finds nothing in it."""
        if not contents:
            return []
        ids: list[Tokens] = self._tokenizer(
            list(contents), truncation=True, max_length=self._max_tokens, return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]  # fmt: skip
        self._tokens += sum(map(len, ids))
        self._unknown += sum(tokens.count(self._tokenizer.unk_token_id) for tokens in ids)
        return [tokens if any(token not in self._special for token in tokens) else None for tokens in ids]

    def notes(self) -> list[str]:
        """A warning when the tokenizer knows less than half of what it saw: it is made for another language."""
        share = self._unknown / max(self._tokens, 1)
        return (
            [f"{share:.0%} of the tokens are unknown to the model: is it one of this language?"] if share > 0.5 else []
        )

    def size(self, prepared: Tokens) -> int:
        """Tokens."""
        return len(prepared)

    @torch.no_grad()
    def encode(self, batch: Sequence[Tokens]) -> Vectors:
        """(n, dim) float32 of n texts' tokens."""
        ids, mask = self._padded(batch)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._place.in_bfloat16()):
            states: Tensor = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        states = states.float()
        means = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        vectors: Vectors = (states[:, 0] if self._pool == "cls" else means).cpu().numpy()
        return vectors

    def _padded(self, batch: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
        width = max(map(len, batch))
        pad = self._tokenizer.pad_token_id or 0
        ids = torch.tensor([[*tokens, *([pad] * (width - len(tokens)))] for tokens in batch])
        mask = torch.tensor([[1] * len(tokens) + [0] * (width - len(tokens)) for tokens in batch])
        return ids.to(self._device, non_blocking=True), mask.to(self._device, non_blocking=True)

    def _check(self, name: str) -> None:
        if not hasattr(self._model.config, "hidden_size"):
            raise DataError(name, "tells no hidden_size in config.json", fix="pass an encoder such as BERT")
        known, words = int(self._model.config.vocab_size), len(self._tokenizer)
        if words > known:
            found = f"{words} tokens, of which the model knows {known}"
            raise DataError(name, "holds the tokenizer of another model", found=found, fix="put its own beside it")
        limits: list[Any] = [
            self._tokenizer.model_max_length, getattr(self._model.config, "max_position_embeddings", None)
        ]  # fmt: skip
        limit = min((int(limit) for limit in limits if limit is not None and 0 < limit < _NO_LIMIT), default=_NO_LIMIT)
        if not 3 <= self._max_tokens <= limit:
            raise ConfigError(f"--max-tokens {self._max_tokens} is out of range for {name} (expected: 3 to {limit})")
        first = self._tokenizer("a")["input_ids"][:1]
        if self._pool == "cls" and (self._tokenizer.cls_token_id is None or first != [self._tokenizer.cls_token_id]):
            raise ConfigError(f"{name} puts no CLS token first, so there is no CLS vector; pass --pool mean")


_POOLED = {"cls": "CLS", "mean": "mean of tokens"}
