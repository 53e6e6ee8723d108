"""Frames through Swin, ViT and ResNet against the models' own outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segrec.content.checkpoint import Checkpoint
from segrec.content.encoder import ModelPlace
from segrec.content.frame_encoder import FrameEncoder
from segrec.records import DataError


def _images(count: int = 4) -> list[Image.Image]:
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)) for i in range(count)]


def _encode(encoder: FrameEncoder, images: list[Image.Image]) -> np.ndarray:
    return encoder.encode(encoder.prepare(images))


def test_mean_of_swins_patches_is_its_pooler(swin: Path) -> None:
    """Swin pools by the mean over positions itself: an oracle for ours."""
    patches, pooled = (FrameEncoder(Checkpoint.find(str(swin)), pool=pool) for pool in ("patches", "pooled"))
    assert patches.dim == pooled.dim == 16
    np.testing.assert_allclose(_encode(patches, _images()), _encode(pooled, _images()), atol=1e-6)
    assert patches.digest != pooled.digest
    assert pooled.identity.endswith("pooler_output, float32")


def test_a_frame_does_not_hang_on_its_batch(swin: Path) -> None:
    encoder = FrameEncoder(Checkpoint.find(str(swin)))
    alone = np.concatenate([_encode(encoder, [image]) for image in _images()])
    np.testing.assert_allclose(_encode(encoder, _images()), alone, atol=1e-6)
    assert encoder.prepare([]) == []


def test_nothing_is_trained(swin: Path) -> None:
    encoder = FrameEncoder(Checkpoint.find(str(swin)))
    assert not encoder._model.training
    assert not any(parameter.requires_grad for parameter in encoder._model.parameters())


def test_a_convolutional_model(tmp_path: Path) -> None:
    """ResNet's last state is (n, d, h, w); its own pooler is the mean over h and w."""
    from transformers import ResNetConfig, ResNetModel
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    sizes = {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic"}
    ResNetModel(ResNetConfig(**sizes)).save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    patches, pooled = (FrameEncoder(Checkpoint.find(str(tmp_path)), pool=pool) for pool in ("patches", "pooled"))
    assert patches.dim == 12
    np.testing.assert_allclose(_encode(patches, _images()), _encode(pooled, _images()), atol=1e-5)


def test_a_model_without_a_pooler(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = ViTModel(ViTConfig(image_size=16, patch_size=8, **sizes), add_pooling_layer=False)
    model.save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    encoder = FrameEncoder(Checkpoint.find(str(tmp_path)))
    pixels = torch.stack(encoder.prepare(_images(1)))  # type: ignore[arg-type]
    with torch.no_grad():
        states = model.eval()(pixel_values=pixels).last_hidden_state
    np.testing.assert_allclose(encoder.encode(list(pixels)), states.mean(1).numpy(), atol=1e-6)
    with pytest.raises(DataError, match=r"lacks weights, which would be drawn at random \(found: 2, first pooler"):
        FrameEncoder(Checkpoint.find(str(tmp_path)), pool="pooled")


def test_bfloat16_stays_near(swin: Path) -> None:
    exact, rough = (
        FrameEncoder(Checkpoint.find(str(swin)), place=ModelPlace(device="cpu", precision=precision))
        for precision in ("float32", "bfloat16")
    )
    found = _encode(rough, _images())
    assert found.dtype == np.float32
    assert exact.digest != rough.digest
    np.testing.assert_allclose(found, _encode(exact, _images()), atol=0.05)


@pytest.mark.gpu
def test_on_cuda_in_bfloat16(swin: Path) -> None:
    exact = FrameEncoder(Checkpoint.find(str(swin)), place=ModelPlace(device="cpu"))
    there = FrameEncoder(Checkpoint.find(str(swin)))
    assert there.identity.endswith("bfloat16")
    np.testing.assert_allclose(_encode(there, _images()), _encode(exact, _images()), atol=0.05)
