"""A transformers checkpoint on this disk: found without the network, checked, and hashed for its identity."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError

from segrec.content.encoder import ModelPlace
from segrec.records import DataError

_WANTED = ("*.json", "*.safetensors", "*.txt", "*.model")
"What is ever taken from a hub: no pickles, no code."
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")


@dataclass(frozen=True)
class Checkpoint:
    """A folder with config.json and safetensors weights."""

    name: str
    "As the user wrote it."
    folder: Path
    revision: str | None
    "Commit of the hub it came from, where it came from one."

    @classmethod
    def find(cls, name: str, *, revision: str | None = None, download: bool = False) -> Checkpoint:
        """A folder of that name, else the snapshot of that hub model in the local cache.

        :raises DataError: neither is there (with `download`: nor at the hub), no config, no safetensors weights.
        """
        folder = Path(name)
        if not folder.is_dir():
            folder = _snapshot(name, revision, download)
        if not (folder / "config.json").is_file():
            raise DataError(
                name, "holds no transformers model (config.json is missing)", found=_listed(folder),
                fix="pass the folder that `save_pretrained` wrote",
            )  # fmt: skip
        if not any(folder.glob("*.safetensors")):
            pickles = [file.name for pattern in _PICKLES for file in sorted(folder.glob(pattern))]
            raise DataError(
                name, "has no safetensors weights, and pickled ones are never loaded", found=", ".join(pickles) or None,
                fix="load it where you trust it and write it again with model.save_pretrained(FOLDER)",
            )  # fmt: skip
        return cls(name, folder, folder.resolve().name if folder.resolve().parent.name == "snapshots" else None)

    @cached_property
    def sha256(self) -> str:
        """Of the weights and all configs and vocabularies beside them, names included."""
        digest = hashlib.sha256()
        files = sorted(file for pattern in _WANTED for file in self.folder.glob(pattern))
        for file in files:
            with file.open("rb") as stream:
                digest.update(f"{file.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
        return digest.hexdigest()

    @property
    def identity(self) -> str:
        """Name, commit where there is one, and hash of the files."""
        commit = f"commit {self.revision}, " if self.revision else ""
        return f"{self.name} ({commit}sha256 {self.sha256})"

    def model(self, place: ModelPlace, takes: str, *, pooler: bool = False) -> Any:
        """The frozen model on its device, if its main input is `takes` (pixel_values, input_ids).

        Weights of a pooler may be missing, as in most checkpoints of masked language models, unless `pooler` is used.

        :raises DataError: it does not load, its weights are not all there, or it takes something else.
        """
        _quiet()
        try:
            model, loading = transformers.AutoModel.from_pretrained(
                self.folder, local_files_only=True, use_safetensors=True, trust_remote_code=False,
                output_loading_info=True, dtype=torch.float32,
            )  # fmt: skip
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise DataError(
                self.name, "does not load as a transformers model", found=_first_line(error),
                fix="pass a checkpoint that AutoModel knows",
            ) from None  # fmt: skip
        self._check_kind(model, takes)
        missing = sorted(key for key in loading["missing_keys"] if pooler or "pooler" not in key)
        if missing:
            raise DataError(
                self.name, "lacks weights, which would be drawn at random", found=f"{len(missing)}, first {missing[0]}",
                fix="pass a checkpoint of the model's own kind",
            )  # fmt: skip
        return model.requires_grad_(False).eval().to(place.torch_device())

    def part(self, what: str, loader: Any, files: Sequence[str], **options: Any) -> Any:
        """The tokenizer or image processor beside the model, which one of `files` describes.

        :raises DataError: it is not there or does not load.
        """
        _quiet()
        fix = f"write its {what} beside the weights ({what}.save_pretrained makes {files[0]})"
        if not any((self.folder / file).is_file() for file in files):
            # transformers would make a tokenizer without a vocabulary.
            raise DataError(self.name, f"has no {what}", found=_listed(self.folder), fix=fix)
        try:
            return loader.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False, **options)
        except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
            raise DataError(
                self.name, f"has no {what} that loads", found=_first_line(error), fix=fix
            ) from None  # fmt: skip

    def _check_kind(self, model: Any, takes: str) -> None:
        kinds = {"pixel_values": "a vision model", "input_ids": "a text model"}
        config = model.config
        if hasattr(config, "vision_config") and hasattr(config, "text_config"):
            found = f"{config.model_type}, which holds both a vision and a text model"
            fix = "save the half that is needed (for CLIP: CLIPVisionModel or CLIPTextModel) into a folder of its own"
        elif getattr(config, "is_encoder_decoder", False):
            found, fix = f"{config.model_type}, an encoder-decoder", "pass an encoder"
        elif model.main_input_name != takes:
            found = f"{config.model_type}, which takes {model.main_input_name}"
            fix = "frames need --visual with a vision model, texts --texts with a text model"
        else:
            return
        raise DataError(self.name, "is a model of another kind", found=found, expected=kinds[takes], fix=fix)


def _snapshot(name: str, revision: str | None, download: bool) -> Path:
    try:
        found = snapshot_download(
            name, revision=revision, local_files_only=not download, allow_patterns=list(_WANTED)
        )  # fmt: skip
    except (LocalEntryNotFoundError, HFValidationError, HfHubHTTPError, OSError, ValueError) as error:
        if download:
            raise DataError(
                name, "cannot be downloaded", found=_first_line(error), fix="check the name, --revision and the network"
            ) from None
        raise DataError(
            name, "is neither a folder nor a model in the local Hugging Face cache",
            fix="pass the folder of a checkpoint, or --download to fetch it by its hub name",
        ) from None  # fmt: skip
    return Path(found)


def _listed(folder: Path) -> str:
    names = sorted(file.name for file in folder.iterdir())
    return ", ".join(names[:6]) + (" ..." if len(names) > 6 else "") if names else "an empty folder"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def _quiet() -> None:
    """Keeps transformers from writing bars and hints between our lines."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
