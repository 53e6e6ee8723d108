"""Tiny checkpoints with drawn weights, saved as any other, and a dataset of rooms to embed for."""

from __future__ import annotations

import socket
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import polars as pl
import pytest
from PIL import Image

from segrec.content.segment_grid import SegmentGrid
from segrec.records import DatasetFolder, DatasetMeta, SplitRule

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "good", "room", "sale", "price", "now", "nice", "好"]
ROOM_START = 1_747_000_000_000


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks up a host fails the test."""

    def refuse(*asked: Any, **_: Any) -> None:
        pytest.fail(f"the network was asked for {asked[0]}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="session")
def swin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Swin of 8 x 8 = 64 patches that end as 16 positions of 16 numbers; images of 32 x 32."""
    import torch
    from transformers import SwinConfig, SwinModel
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    folder = tmp_path_factory.mktemp("models") / "tiny-swin"
    torch.manual_seed(0)
    config = SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4)
    SwinModel(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of width 16 that knows `WORDS` and takes 64 tokens."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    folder.mkdir()
    (folder / "words.txt").write_text("\n".join(WORDS), encoding="utf-8")
    BertTokenizer(vocab=str(folder / "words.txt"), model_max_length=64).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def write_rooms(tmp_path: Path) -> Callable[..., DatasetFolder]:
    """Rooms 7 (segments 0, 1, 2, gap, 4) and 8 (segments 0, 1) of 30 s; 8 starts an hour later."""

    def write(name: str = "rooms", *, id_form: str | None = None) -> DatasetFolder:
        segments = [(7, 0), (7, 1), (7, 2), (7, 4), (8, 0), (8, 1)]
        starts = {7: ROOM_START, 8: ROOM_START + 3_600_000}
        frame = pl.DataFrame(
            [(item, segment, starts[item] + segment * 30_000) for item, segment in segments],
            schema={"item_id": pl.Int64, "segment": pl.Int32, "start_ms": pl.Int64}, orient="row",
        ).with_columns(end_ms=pl.col("start_ms") + 30_000)  # fmt: skip
        items = pl.DataFrame({"item_id": [7, 8], "author_id": [1, 2], "start_ms": [starts[7], starts[8]]})
        if id_form is not None:
            frame, items = (table.with_columns(item_id=pl.format(id_form, "item_id")) for table in (frame, items))
        folder = tmp_path / name
        (folder / "segments").mkdir(parents=True)
        frame.write_parquet(folder / "segments" / "part-00000.parquet")
        items.write_parquet(folder / "items.parquet")
        return _described(folder, 30_000)

    return write


@pytest.fixture
def rooms(write_rooms: Callable[..., DatasetFolder]) -> DatasetFolder:
    return write_rooms()


@pytest.fixture
def write_videos_dataset(tmp_path: Path) -> Callable[..., DatasetFolder]:
    """A short-video dataset whose items have these durations (item_id -> ms), segments of 5 s."""

    def write(durations: dict[int, int], *, in_items: bool = True) -> DatasetFolder:
        folder = tmp_path / "videos"
        items = pl.DataFrame({"item_id": list(durations), "duration_ms": list(durations.values())})
        if in_items:
            folder.mkdir()
            items.write_parquet(folder / "items.parquet")
        else:
            (folder / "interactions" / "day=2025-05-11").mkdir(parents=True)
            twice = pl.concat([items, items.with_columns(pl.col("duration_ms") - 1)])
            twice.write_parquet(folder / "interactions" / "day=2025-05-11" / "part-0.parquet")
        return _described(folder, 5_000)

    return write


def _described(folder: Path, segment_ms: int) -> DatasetFolder:
    """Writes dataset.json."""
    meta = DatasetMeta(
        format="table", segment_ms=segment_ms, split=SplitRule(rule="given"), rows={"train": 0, "valid": 0, "test": 0},
        licence="made", source="made", fingerprint="f",
    )  # fmt: skip
    (folder / "dataset.json").write_text(meta.model_dump_json(), encoding="utf-8")
    return DatasetFolder.open(folder)


@pytest.fixture
def grid(rooms: DatasetFolder) -> SegmentGrid:
    return SegmentGrid.of(rooms)


@pytest.fixture
def paint(tmp_path: Path) -> Callable[..., Path]:
    """Writes an image of one grey level (or of noise drawn from a seed) under tmp_path / frames."""

    def paint(name: str, level: int | None = None, *, seed: int = 0, size: tuple[int, int] = (24, 20)) -> Path:
        file = tmp_path / "frames" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(noise if level is None else np.full((*size, 3), level, np.uint8)).save(file)
        return file

    return paint


@pytest.fixture
def vectors_of() -> Callable[[DatasetFolder, str], dict[tuple[Any, int], np.ndarray]]:
    """Vector by (item_id, segment)."""

    def vectors_of(dataset: DatasetFolder, name: str) -> dict[tuple[Any, int], np.ndarray]:
        vectors = dataset.vectors(name)
        return {(item, segment): vectors.matrix[row] for item, segment, row in vectors.index().iter_rows()}

    return vectors_of


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Writes a video of 64 x 32: frame k shows k's eight bits as black and white bars. `ticks`: frames' begins, ms."""

    def make(
        name: str, codec: str = "libx264", *, frames: int = 120, group: int = 12,
        ticks: list[int] | None = None,
    ) -> Path:  # fmt: skip
        ticks = [100 * number for number in range(frames)] if ticks is None else ticks
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(file), "w") as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
            stream.codec_context.time_base = Fraction(1, 1000)
            stream.codec_context.gop_size = group
            if codec == "libx264":
                stream.options = {"bf": "3", "preset": "veryfast", "crf": "4"}
            for number, tick in enumerate(ticks):
                frame = av.VideoFrame.from_ndarray(_bars(number), format="rgb24")
                frame.pts, frame.time_base = tick, Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return file

    return make


def _bars(number: int) -> np.ndarray:
    """(32, 64, 3): bit b of `number` is white in columns 8 b to 8 b + 7."""
    bits = np.unpackbits(np.array([number], np.uint8), bitorder="little")
    return np.broadcast_to(np.repeat(bits * 255, 8)[None, :, None], (32, 64, 3)).copy()
