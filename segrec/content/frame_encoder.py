"""Frames to vectors by any transformers vision model, frozen."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import torch
import transformers
from PIL import Image
from torch import Tensor

from segrec.content.checkpoint import Checkpoint
from segrec.content.encoder import ModelPlace, Vectors
from segrec.records import DataError

FramePool = Literal["patches", "pooled"]


class FrameEncoder:
    """AutoModel with its AutoImageProcessor. Swin: 49 x d patches, their mean is the vector (KuaiHL, supplement).

    pool: `patches` = mean of last_hidden_state over all its positions, (n, positions, d) or (n, d, h, w);
    `pooled` = the model's own pooler_output, where it is trained (DINOv2, CLIP's vision half) or a plain mean (ResNet).

    :raises DataError: no such output, no image processor, not a vision model.
    """

    def __init__(self, checkpoint: Checkpoint, *, pool: FramePool = "patches", place: ModelPlace | None = None) -> None:
        self._pool, self._place = pool, place or ModelPlace()
        self._device = self._place.torch_device()
        self._model = checkpoint.model(self._place, "pixel_values", pooler=pool == "pooled")
        self._processor = checkpoint.part(
            "image processor", transformers.AutoImageProcessor, ("preprocessor_config.json", "processor_config.json"),
            backend="pil",
        )  # fmt: skip
        self._name = checkpoint.name
        precision = "bfloat16" if self._place.in_bfloat16() else "float32"
        self.identity = f"{checkpoint.identity}, {_POOLED[pool]}, {precision}"
        self.digest = hashlib.sha256(f"frames {checkpoint.sha256} {pool} {precision}".encode()).hexdigest()
        self.dim = int(self.encode(self.prepare([Image.new("RGB", (32, 32))])).shape[1])

    def prepare(self, contents: Sequence[Image.Image]) -> list[Tensor | None]:
        """Each image as (3, height, width) float32, resized and normalised as the checkpoint says."""
        if not contents:
            return []
        pixels: Tensor = self._processor(images=list(contents), return_tensors="pt")["pixel_values"]
        return list(pixels)

    def notes(self) -> list[str]:
        """Nothing to warn of."""
        return []

    def size(self, prepared: Tensor) -> int:
        """All frames cost the same."""
        return 1

    @torch.no_grad()
    def encode(self, batch: Sequence[Tensor | None]) -> Vectors:
        """(n, dim) float32 of n prepared frames."""
        pixels = torch.stack([frame for frame in batch if frame is not None]).to(self._device, non_blocking=True)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._place.in_bfloat16()):
            outputs = self._model(pixel_values=pixels)
        vectors: Vectors = self._pooled(outputs).float().cpu().numpy()
        return vectors

    def _pooled(self, outputs: Any) -> Tensor:
        wanted = "last_hidden_state" if self._pool == "patches" else "pooler_output"
        states: Tensor | None = getattr(outputs, wanted, None)
        if states is None:
            other = "pooled" if self._pool == "patches" else "patches"
            raise DataError(
                self._name, f"gives no {wanted}", found=", ".join(outputs.keys()), fix=f"pass --pool {other}"
            )
        if self._pool == "pooled":
            return states.flatten(1)
        return states.flatten(2).mean(2) if states.ndim == 4 else states.mean(1)


_POOLED = {"patches": "mean of last_hidden_state", "pooled": "pooler_output"}
