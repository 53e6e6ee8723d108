"""Where the time of `segrec embed` goes: share outside the model, and what encoding each content once saves.

    python benchmarks/embed_speed.py [--model-layers 2 --width 128]

Rooms are made: frames of noise as JPEG files of 360 x 640, of which a share is frozen (the same file again), and
comments drawn from a small vocabulary, of which a share repeats. The models have drawn weights (Swin and BERT of the
asked size), so the seconds in the model say nothing about a real one; the seconds outside it do.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import write_result
from PIL import Image

from segrec.content.checkpoint import Checkpoint
from segrec.content.embedding import EmbedOptions, embed
from segrec.content.encoder import ModelPlace
from segrec.content.frame_encoder import FrameEncoder
from segrec.content.frame_folders import FrameFolders
from segrec.content.segment_grid import SegmentGrid
from segrec.content.segment_texts import SegmentTexts
from segrec.content.text_encoder import TextEncoder
from segrec.records import DatasetFolder
from segrec.testing.live_dataset import make_live_dataset

WORDS = [f"word{number}" for number in range(2_000)]


@dataclass
class Timed:
    """An encoder whose `encode` is timed."""

    inner: Any
    seconds: float = 0.0
    vectors: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode(self, batch: Sequence[Any]) -> Any:
        start = time.perf_counter()
        vectors = self.inner.encode(batch)
        self.seconds += time.perf_counter() - start
        self.vectors += len(batch)
        return vectors


def save_models(folder: Path, width: int, layers: int) -> tuple[Path, Path]:
    """A Swin for 224 x 224 and a BERT, weights drawn."""
    from transformers import BertConfig, BertModel, BertTokenizer, SwinConfig, SwinModel
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    swin, bert = folder / "swin", folder / "bert"
    sizes = {"embed_dim": width // 8, "depths": [layers] * 4, "num_heads": [1, 2, 4, 8]}
    SwinModel(SwinConfig(**sizes)).save_pretrained(swin)
    ViTImageProcessorPil().save_pretrained(swin)
    vocabulary = folder / "words.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    BertTokenizer(vocab=str(vocabulary)).save_pretrained(bert)
    shape = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 4 * width,
    }
    BertModel(BertConfig(vocab_size=len(WORDS) + 5, **shape)).save_pretrained(bert)
    return swin, bert


def make_content(dataset: DatasetFolder, folder: Path, repeated: float, seed: int) -> tuple[Path, Path]:
    """Three frames and up to 12 lines a segment; each repeats the one before with probability `repeated`."""
    draw = np.random.default_rng(seed)
    frames, lines = folder / "frames", folder / "texts.jsonl"
    folder.mkdir()
    data, text = b"", "word0"
    with lines.open("w") as stream:
        for item, segment in SegmentGrid.of(dataset).frame.select("item_id", "segment").iter_rows():
            (frames / str(item)).mkdir(parents=True, exist_ok=True)
            for frame in range(3):
                file = frames / str(item) / f"{segment}_{frame}.jpg"
                if not data or draw.random() >= repeated:
                    pixels = draw.integers(0, 256, (40, 23, 3), dtype=np.uint8)
                    Image.fromarray(pixels).resize((360, 640)).save(file, quality=85)
                    data = file.read_bytes()
                file.write_bytes(data)
            if draw.random() >= repeated:
                text = " ".join(draw.choice(WORDS, int(draw.integers(1, 120))))
            stream.write(json.dumps({"item_id": item, "segment": segment, "source": "speech", "text": text}) + "\n")
    return frames, lines


def measure(out: Path, grid: SegmentGrid, source: Any, encoder: Any, options: EmbedOptions) -> dict[str, float]:
    timed = Timed(encoder)
    start = time.perf_counter()
    done = embed(out, grid, source, timed, options=options, model=encoder.identity)
    seconds = time.perf_counter() - start
    return {
        "contents": done.contents,
        "distinct": done.distinct,
        "seconds": round(seconds, 3),
        "seconds_in_model": round(timed.seconds, 3),
        "share_outside_model": round(1 - timed.seconds / seconds, 3),
        "contents_a_second": round(done.contents / seconds, 1),
        "encoded_share": round(done.encoded / done.contents, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rooms", type=int, default=6)
    parser.add_argument("--segments", type=int, default=30)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--model-layers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.manual_seed(asked.seed)
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        swin, bert = (Checkpoint.find(str(path)) for path in save_models(place, asked.width, asked.model_layers))
        encoders = {"frames": FrameEncoder(swin, place=ModelPlace()), "texts": TextEncoder(bert, place=ModelPlace())}
        for repeated in (0.0, 0.5):
            dataset = make_live_dataset(place / f"dataset{repeated}", rooms=asked.rooms, segments=asked.segments)
            grid = SegmentGrid.of(dataset)
            frames, lines = make_content(dataset, place / f"content{repeated}", repeated, asked.seed)
            sources = {"frames": FrameFolders(frames, grid), "texts": SegmentTexts.of_json_lines(lines, grid)}
            for kind, source in sources.items():
                frames_options = EmbedOptions(threads=asked.threads)
                options = frames_options if kind == "frames" else EmbedOptions(window=32)
                run = measure(dataset.path / "segments" / f"bench_{kind}", grid, source, encoders[kind], options)
                runs.append({"kind": kind, "repeated": repeated, **run})
                print(json.dumps(runs[-1]))
    write_result("embed_speed", asked=vars(asked), runs=runs)


if __name__ == "__main__":
    main()
