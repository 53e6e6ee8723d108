"""Checkpoints that do not fit, each with its message; identity by content."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from segrec.content.checkpoint import Checkpoint
from segrec.content.encoder import ModelPlace
from segrec.content.frame_encoder import FrameEncoder
from segrec.content.text_encoder import TextEncoder
from segrec.records import ConfigError, DataError

Copy = Callable[[Path], Path]


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """A copy of a checkpoint that may be damaged."""
    return lambda folder: Path(shutil.copytree(folder, tmp_path / "model"))


def test_identity_hangs_on_every_file(swin: Path, copy: Copy) -> None:
    first = Checkpoint.find(str(swin))
    second = Checkpoint.find(str(copy(swin)))
    assert first.sha256 == second.sha256
    assert first.identity == f"{swin} (sha256 {first.sha256})"
    config = json.loads((second.folder / "preprocessor_config.json").read_text())
    (second.folder / "preprocessor_config.json").write_text(json.dumps({**config, "image_mean": [0.4, 0.4, 0.4]}))
    assert Checkpoint.find(str(second.folder)).sha256 != first.sha256


def test_a_model_of_the_local_cache_by_its_hub_name(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache as huggingface_hub lays it out: refs/main names the commit, snapshots/COMMIT holds the files."""
    commit, repository = "0123456789abcdef0123456789abcdef01234567", tmp_path / "models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(bert, repository / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    found = Checkpoint.find("someone/tiny")
    assert found.identity == f"someone/tiny (commit {commit}, sha256 {Checkpoint.find(str(bert)).sha256})"
    assert TextEncoder(found, max_tokens=8).dim == 16
    with pytest.raises(DataError, match="is neither a folder nor a model in the local Hugging Face cache"):
        Checkpoint.find("someone/tiny", revision="other")


def _without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _torn_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _unknown_type(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "unheard_of"}')


def _torn_weights(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def _half_the_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "layer.1." not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def _other_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 24}))


def _code_of_its_own(folder: Path) -> None:
    config = {"model_type": "unheard_of", "auto_map": {"AutoModel": "model.Own", "AutoConfig": "model.OwnConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.py").write_text("raise SystemExit('code of the checkpoint ran')")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_config, r"holds no transformers model \(config.json is missing\) \(found: model.safetensors, "),
        (
            _pickled,
            r"has no safetensors weights, and pickled ones are never loaded \(found: pytorch_model.bin\)",
        ),
        (_torn_config, "does not load as a transformers model"),
        (_unknown_type, "does not load as a transformers model .*unheard_of"),
        (_torn_weights, "does not load as a transformers model"),
        (_half_the_weights, r"lacks weights, which would be drawn at random \(found: 16, first encoder.layer.1."),
        (_other_shape, "does not load as a transformers model"),
        (_code_of_its_own, "does not load as a transformers model"),
    ],
)
def test_a_damaged_checkpoint_is_one_line(bert: Path, copy: Copy, damage: Callable[[Path], None], message: str) -> None:
    folder = copy(bert)
    damage(folder)
    with pytest.raises(DataError, match=message) as error:
        Checkpoint.find(str(folder)).model(ModelPlace(device="cpu"), "input_ids")
    assert "\n" not in str(error.value)


def test_models_of_another_kind(swin: Path, bert: Path) -> None:
    with pytest.raises(DataError, match=r"is a model of another kind \(found: swin, which takes pixel_values; expect"):
        Checkpoint.find(str(swin)).model(ModelPlace(device="cpu"), "input_ids")
    with pytest.raises(DataError, match=r"found: bert, which takes input_ids; expected: a vision model"):
        Checkpoint.find(str(bert)).model(ModelPlace(device="cpu"), "pixel_values")


def test_an_encoder_decoder_and_a_dual_model(tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPModel, T5Config, T5Model

    T5Model(T5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)).save_pretrained(
        tmp_path / "t5"
    )
    text = {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    sight = {"image_size": 8, "patch_size": 4, **{name: text[name] for name in list(text)[1:]}}
    CLIPModel(CLIPConfig(text_config=text, vision_config=sight, projection_dim=8)).save_pretrained(tmp_path / "clip")
    with pytest.raises(DataError, match="t5, an encoder-decoder; expected: a text model"):
        Checkpoint.find(str(tmp_path / "t5")).model(ModelPlace(device="cpu"), "input_ids")
    with pytest.raises(DataError, match=r"clip, which holds both a vision and a text model.*CLIPVisionModel"):
        Checkpoint.find(str(tmp_path / "clip")).model(ModelPlace(device="cpu"), "pixel_values")


def test_no_tokenizer_and_no_image_processor(bert: Path, swin: Path, copy: Copy, tmp_path: Path) -> None:
    for file in copy(bert).glob("*token*"):
        file.unlink()
    with pytest.raises(DataError, match=r"has no tokenizer \(found: .*\); write its tokenizer beside the weights"):
        TextEncoder(Checkpoint.find(str(tmp_path / "model")))
    folder = Path(shutil.copytree(swin, tmp_path / "swin"))
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(DataError, match=r"has no image processor \(found: .*makes preprocessor_config.json"):
        FrameEncoder(Checkpoint.find(str(folder)))


def test_the_tokenizer_of_another_model(bert: Path, copy: Copy) -> None:
    folder = copy(bert)
    told = json.loads((folder / "tokenizer.json").read_text())
    told["model"]["vocab"]["more"] = len(told["model"]["vocab"])
    (folder / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(DataError, match=r"holds the tokenizer of another model \(found: 14 tokens, .* knows 13\)"):
        TextEncoder(Checkpoint.find(str(folder)), max_tokens=8)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="has no tokenizer that loads"):
        TextEncoder(Checkpoint.find(str(folder)), max_tokens=8)


def test_cuda_that_is_not_there() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ConfigError, match="--device cuda was asked for but torch sees no CUDA device"):
        ModelPlace(device="cuda").torch_device()
    assert not ModelPlace().in_bfloat16()
