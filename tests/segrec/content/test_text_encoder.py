"""Texts through BERT against the model called by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from segrec.content.checkpoint import Checkpoint
from segrec.content.encoder import ModelPlace
from segrec.content.text_encoder import TextEncoder, TextPool
from segrec.records import ConfigError, DataError

TEXTS = ["hello", "good room sale price now", "nice nice", "hello good room now hello good"]
CLS, SEP, UNK = 2, 3, 1


def _encoder(bert: Path, pool: TextPool = "cls", max_tokens: int = 32, **place: str) -> TextEncoder:
    return TextEncoder(Checkpoint.find(str(bert)), pool=pool, max_tokens=max_tokens, place=ModelPlace(**place))


def _encode(encoder: TextEncoder, texts: list[str]) -> np.ndarray:
    return encoder.encode([tokens for tokens in encoder.prepare(texts) if tokens is not None])


def test_tokens_and_the_cut(bert: Path) -> None:
    """hello = 5, good = 6, room = 7; four tokens with CLS and SEP leave two words."""
    prepared = _encoder(bert, max_tokens=4).prepare(["hello good room", "room", "unheard", ""])
    assert prepared == [[CLS, 5, 6, SEP], [CLS, 7, SEP], [CLS, UNK, SEP], None]
    assert _encoder(bert).size([CLS, 7, SEP]) == 3
    assert _encoder(bert).prepare([]) == []


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_padding_changes_nothing(bert: Path, pool: TextPool) -> None:
    from transformers import BertModel

    model = BertModel.from_pretrained(bert).eval()
    encoder = _encoder(bert, pool)
    found = _encode(encoder, TEXTS)
    for text, vector in zip(TEXTS, found, strict=True):
        with torch.no_grad():
            states = model(input_ids=torch.tensor([encoder.prepare([text])[0]])).last_hidden_state[0]
        np.testing.assert_allclose(vector, states[0] if pool == "cls" else states.mean(0), atol=1e-5)


def test_identity_tells_pool_tokens_and_precision(bert: Path) -> None:
    encoders = [
        _encoder(bert),
        _encoder(bert, "mean"),
        _encoder(bert, max_tokens=16),
        _encoder(bert, precision="bfloat16"),
    ]
    assert len({encoder.digest for encoder in encoders}) == 4
    assert encoders[0].identity.endswith("), CLS, 32 tokens, float32")
    np.testing.assert_allclose(_encode(encoders[3], TEXTS), _encode(encoders[0], TEXTS), atol=0.05)


def test_a_model_of_another_language_is_noted(bert: Path) -> None:
    """CLS, SEP and unknown: 3 of 5 tokens, then 3 of 12."""
    encoder = _encoder(bert)
    assert encoder.notes() == []
    encoder.prepare(["xxx yyy zzz"])
    assert encoder.notes() == ["60% of the tokens are unknown to the model: is it one of this language?"]
    encoder.prepare(["hello good room sale price"])
    assert encoder.notes() == []


@pytest.mark.parametrize("max_tokens", [2, 65])
def test_more_tokens_than_the_model_takes(bert: Path, max_tokens: int) -> None:
    with pytest.raises(ConfigError, match=rf"--max-tokens {max_tokens} is out of range for .* \(expected: 3 to 64\)"):
        _encoder(bert, max_tokens=max_tokens)


def test_a_tokenizer_without_a_first_cls(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import GPT2Config, GPT2Model, PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"[UNK]": 0, "hello": 1, "good": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", padding_side="left").save_pretrained(tmp_path)
    model = GPT2Model(GPT2Config(vocab_size=3, n_positions=16, n_embd=8, n_layer=1, n_head=2)).eval()
    model.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="puts no CLS token first, so there is no CLS vector; pass --pool mean"):
        _encoder(tmp_path, max_tokens=8)
    found = _encode(_encoder(tmp_path, "mean", max_tokens=8), ["hello good", "good"])
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([[1, 2]])).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_a_vision_model_takes_no_texts(swin: Path) -> None:
    with pytest.raises(DataError, match="swin, which takes pixel_values"):
        TextEncoder(Checkpoint.find(str(swin)))


@pytest.mark.gpu
def test_on_cuda_in_bfloat16(bert: Path) -> None:
    np.testing.assert_allclose(_encode(_encoder(bert), TEXTS), _encode(_encoder(bert, device="cpu"), TEXTS), atol=0.05)
