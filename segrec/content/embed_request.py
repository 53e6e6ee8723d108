"""What `segrec embed` was asked for: checked, then joined from source, encoder and grid."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

from segrec.content.embedding import Embedded, EmbedOptions, embed
from segrec.content.encoder import ModelPlace
from segrec.content.segment_grid import SegmentGrid
from segrec.content.vector_export import export_vectors
from segrec.records import Config, ConfigError, DataError, DatasetFolder
from segrec.records.segment_vectors import VectorType

_TEXT_WINDOW = 32
"Batches of texts that are sorted by length together."
_POOLS = {"visual": ("patches", "pooled"), "text": ("cls", "mean")}


class EmbedRequest(Config):
    """Options of `segrec embed`."""

    visual: Path | None = None
    texts: Path | None = None
    model: str
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")] | None = None
    "Folder under segments/; null = visual or text."
    pool: Literal["patches", "pooled", "cls", "mean"] | None = None
    frames: PositiveInt = 3
    max_tokens: PositiveInt = 200
    batch_size: PositiveInt = 32
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    vectors_type: VectorType = "float32"
    skip_unreadable: bool = False
    download: bool = False
    revision: str | None = None
    overwrite: bool = False
    export: Path | None = None
    "Also written there, in the form that `segrec read` takes."

    @property
    def kind(self) -> Literal["visual", "text"]:
        """:raises ConfigError: not exactly one of --visual and --texts, or a pool of the other kind."""
        if (self.visual is None) == (self.texts is None):
            found = "both" if self.visual is not None else "neither"
            raise ConfigError(f"segrec embed takes --visual FOLDER or --texts FILE.jsonl (found: {found})")
        kind: Literal["visual", "text"] = "visual" if self.visual is not None else "text"
        if self.pool is not None and self.pool not in _POOLS[kind]:
            raise ConfigError(f"--pool {self.pool} is not for {kind} (expected: {' or '.join(_POOLS[kind])})")
        return kind

    @property
    def vectors_name(self) -> str:
        """Name of the folder under segments/."""
        return self.name or self.kind

    def run(self, dataset: DatasetFolder, told: Any = None) -> Embedded:
        """Writes the vectors into the dataset folder; `told` hears the counts after each batch.

        :raises DataError: whatever `embed`, the source or the checkpoint refuses.
        """
        kind = self.kind
        out = dataset.path / "segments" / self.vectors_name
        if out.exists() and not self.overwrite:
            raise DataError(out, "exists already", fix="choose another --name, or pass --overwrite")
        if self.export is not None and self.export.exists() and not self.overwrite:
            raise DataError(self.export, "exists already", fix="choose another --export, or pass --overwrite")
        grid = SegmentGrid.of(dataset)
        source: Any = self._frames(grid) if kind == "visual" else self._texts(dataset, grid)
        encoder = self._encoder(kind)
        options = EmbedOptions(
            batch_size=self.batch_size, window=1 if kind == "visual" else _TEXT_WINDOW,
            threads=min(8, os.cpu_count() or 1) if kind == "visual" else 1,
            dtype=self.vectors_type, overwrite=self.overwrite, told=told or (lambda contents, encoded: None),
        )  # fmt: skip
        taken = f", mean of {self.frames} frames" if kind == "visual" else ""
        done = embed(out, grid, source, encoder, options=options, model=encoder.identity + taken)
        if self.export is not None:
            export_vectors(dataset.vectors(self.vectors_name), grid, self.export, live=dataset.segments() is not None)
        return replace(done, notes=encoder.notes())

    def _frames(self, grid: SegmentGrid) -> Any:
        from segrec.content.frame_folders import FrameFolders

        assert self.visual is not None
        return FrameFolders(self.visual, grid, frames=self.frames, skip_unreadable=self.skip_unreadable)

    def _texts(self, dataset: DatasetFolder, grid: SegmentGrid) -> Any:
        from segrec.content.segment_texts import SegmentTexts

        assert self.texts is not None
        if self.texts == Path("dataset"):
            return SegmentTexts.of_dataset(dataset, grid)
        return SegmentTexts.of_json_lines(self.texts, grid)

    def _encoder(self, kind: str) -> Any:
        from segrec.content.checkpoint import Checkpoint
        from segrec.content.frame_encoder import FrameEncoder
        from segrec.content.text_encoder import TextEncoder

        place = ModelPlace(device=self.device, precision=self.precision)
        checkpoint = Checkpoint.find(self.model, revision=self.revision, download=self.download)
        if kind == "visual":
            return FrameEncoder(checkpoint, pool="pooled" if self.pool == "pooled" else "patches", place=place)
        pool: Literal["cls", "mean"] = "mean" if self.pool == "mean" else "cls"
        return TextEncoder(checkpoint, pool=pool, max_tokens=self.max_tokens, place=place)
