"""What turns content into vectors: the one interface of frame, text and later encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from segrec.records import Config, ConfigError

if TYPE_CHECKING:
    import torch

Vectors = npt.NDArray[np.float32]
Content_contra = TypeVar("Content_contra", contravariant=True)
Prepared = TypeVar("Prepared")


class ContentEncoder(Protocol[Content_contra, Prepared]):
    """A frozen model. `prepare` may run in a reading thread while `encode` runs in the main one."""

    @property
    def identity(self) -> str:
        """Name and revision for people: stands in vectors.json."""
        ...

    @property
    def digest(self) -> str:
        """Hash of all that a vector hangs on besides its content: weights, configs, pooling, precision."""
        ...

    @property
    def dim(self) -> int:
        """Width of a vector."""
        ...

    def prepare(self, contents: Sequence[Content_contra]) -> list[Prepared | None]:
        """What `encode` takes, one for each content; None where nothing is in it (a text without tokens)."""
        ...

    def size(self, prepared: Prepared) -> int:
        """Cost of one: a batch holds neighbours in size (tokens), so that little is padded."""
        ...

    def encode(self, batch: Sequence[Prepared]) -> Vectors:
        """(n, dim) float32, the same for a content whatever else is in the batch (up to rounding)."""
        ...


class ModelPlace(Config):
    """Where a model computes, and how exactly."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    "auto: CUDA where there is one."
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    "auto: bfloat16 autocast on CUDA, float32 elsewhere. Vectors come out as float32 either way."

    def torch_device(self) -> torch.device:
        """:raises ConfigError: "cuda" without a CUDA device."""
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("--device cuda was asked for but torch sees no CUDA device; use --device cpu or auto")
        asked = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        return torch.device(asked)

    def in_bfloat16(self) -> bool:
        """Whether the model runs under bfloat16 autocast."""
        return self.precision == "bfloat16" or (self.precision == "auto" and self.torch_device().type == "cuda")
