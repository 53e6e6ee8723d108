"""Live scoring beside re-encoding the last 20 segments: throughput of 512 rooms' new segments, latency, memory.

    python benchmarks/live_scoring.py

Two sizes: the default width, and the papers' (d 512, 8 heads, 3 + 3 layers). Weights are drawn, not fitted: time and
memory do not depend on them. Ours begins with raw segments, as Python objects (`push_many`) or arrays
(`push_columns`), of 512 rooms anywhere among 10,000. Re-encoding runs the same network over the last 20 segments of
each room; it begins with arrays of raw vectors (`ratio`), with scaled tensors at hand (`ratio_ready_inputs`, the
stricter one), or with fused segments, so that only its decoder is left (`ratio_decoder_only`).
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from machine import write_result
from torch import Tensor

from segrec.encoders.kuaihl import KuaiHL, KuaiHLConfig
from segrec.encoders.live_inputs import LiveInputs
from segrec.encoders.live_network import LiveNetwork
from segrec.scoring.live import LiveScorer, LiveScorerConfig
from segrec.scoring.live_columns import SegmentColumns
from segrec.scoring.live_segments import LiveSegment
from segrec.segments.rooms import Rooms
from segrec.testing.live_dataset import BEGIN_MS, SEGMENT_MS, make_live_dataset

ROOMS, ALL_ROOMS, WINDOW, VECTOR = 512, 10_000, 20, 512
SIZES = {
    "default": {},
    "d512": {"width": 512, "heads": 8, "fusion_layers": 3, "layers": 3},
}


def encoder_of(settings: dict[str, int], folder: Path) -> KuaiHL:
    dataset = make_live_dataset(folder, rooms=40, segments=30, width=VECTOR)
    config = KuaiHLConfig(window=WINDOW, **settings)
    train = Rooms.of(dataset, ["train"])
    inputs, _ = LiveInputs.learn(config, train, train.target("lvtr", 1), Rooms.of(dataset), None)
    shape = inputs.shape(None)
    return KuaiHL(inputs, LiveNetwork(config, shape, "cpu").eval(), shape)


class Stream:
    """New segments of many rooms, one each a call, with vectors, counters, ctr at once."""

    def __init__(self, encoder: KuaiHL, rooms: Sequence[int]) -> None:
        draw, known = np.random.default_rng(0), encoder.inputs.columns
        self.rooms, self.turn = rooms, 0
        self.vectors = draw.normal(size=(2, len(rooms), VECTOR)).astype(np.float32)
        self.counters = dict.fromkeys(() if known is None else known.counters, 12.0)

    def segments(self) -> list[tuple[int, LiveSegment]]:
        start = BEGIN_MS + self.turn * SEGMENT_MS
        self.turn += 1
        return [
            (
                room,
                LiveSegment(
                    start, start + SEGMENT_MS, room, {"visual": visual, "text": text}, self.counters,
                    {"ctr": (0.1, 100.0)},
                ),
            )
            for room, visual, text in zip(self.rooms, *self.vectors, strict=True)
        ]  # fmt: skip

    def columns(self) -> SegmentColumns:
        ids, start = np.array(self.rooms), BEGIN_MS + self.turn * SEGMENT_MS
        self.turn += 1
        return SegmentColumns(
            rooms=ids,
            start_ms=np.full(len(ids), start),
            end_ms=np.full(len(ids), start + SEGMENT_MS),
            streamers=ids,
            vectors=dict(zip(("visual", "text"), self.vectors, strict=True)),
            counters={name: np.full(len(ids), count) for name, count in self.counters.items()},
            rates={"ctr": (np.full(len(ids), 0.1), np.full(len(ids), 100.0))},
        )


def running(encoder: KuaiHL) -> tuple[LiveScorer, Stream]:
    """10,000 rooms that have begun, and a stream of 512 of them, in any order, that has filled its windows."""
    scorer, draw = LiveScorer(encoder, "drawn", LiveScorerConfig(capacity=ALL_ROOMS)), np.random.default_rng(2)
    for first in range(0, ALL_ROOMS, ROOMS):
        scorer.push_columns(Stream(encoder, range(first, min(first + ROOMS, ALL_ROOMS))).columns())
    stream = Stream(encoder, draw.choice(ALL_ROOMS, ROOMS, replace=False).tolist())
    for stream.turn in range(1, WINDOW + 1):
        scorer.push_columns(stream.columns())
    return scorer, stream


def medians(calls: Mapping[str, Callable[[], object]], times: int) -> dict[str, float]:
    """Seconds of each call, the calls taking turns, so that whatever else the machine does slows all of them."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(times + 1):
        for name, call in calls.items():
            before = time.perf_counter()
            call()
            if turn:
                found[name].append(time.perf_counter() - before)
    return {name: float(np.median(taken)) for name, taken in found.items()}


@torch.inference_mode()
def throughput(encoder: KuaiHL, times: int) -> dict[str, float]:
    """Segments per second, from medians."""
    network, draw = encoder.network, np.random.default_rng(1)
    count = ROOMS * WINDOW
    vectors = {name: draw.normal(size=(count, VECTOR)).astype(np.float32) for name in ("visual", "text")}
    known = draw.normal(size=(count, len(encoder.inputs.known_scales.means))).astype(np.float32)
    codes = np.ones(count, np.int64)
    inputs = encoder.segment_inputs(vectors, codes, known)

    def last(fused: Tensor) -> Tensor:
        return network.head(network.decoder.windows(fused.view(ROOMS, WINDOW, -1))[:, -1]).sigmoid()

    fused = network.fuse(inputs)
    scorer, stream = running(encoder)
    objects, arrays = zip(*((stream.segments(), stream.columns()) for _ in range(times + 1)), strict=True)
    next_objects, next_arrays = iter(objects), iter(arrays)
    taken = medians(
        {
            "push_many": lambda: scorer.push_many(next(next_objects)),
            "push_columns": lambda: scorer.push_columns(next(next_arrays)),
            "re_encoding": lambda: last(network.fuse(encoder.segment_inputs(vectors, codes, known))),
            "re_encoding_ready_inputs": lambda: last(network.fuse(inputs)),
            "re_encoding_decoder_only": lambda: last(fused),
        },
        times,
    )
    rates = {name: ROOMS / found for name, found in taken.items()}
    for ratio, way in (("ratio", ""), ("ratio_ready_inputs", "_ready_inputs"), ("ratio_decoder_only", "_decoder_only")):
        rates[ratio] = rates["push_many"] / rates[f"re_encoding{way}"]
        rates[f"columns_{ratio}"] = rates["push_columns"] / rates[f"re_encoding{way}"]
    return rates


def latency(encoder: KuaiHL) -> dict[str, float]:
    """Milliseconds of one `push`, over 2,000 of them in 100 rooms that run for longer than the window."""
    scorer, stream = LiveScorer(encoder, "drawn", LiveScorerConfig(capacity=ROOMS)), Stream(encoder, range(100))
    for _ in range(WINDOW):
        scorer.push_many(stream.segments())
    found = []
    for room, segment in (one for _ in range(20) for one in stream.segments()):
        before = time.perf_counter()
        scorer.push(room, segment)
        found.append(1e3 * (time.perf_counter() - before))
    return {"p50_ms": float(np.percentile(found, 50)), "p99_ms": float(np.percentile(found, 99))}


def memory(encoder: KuaiHL) -> dict[str, float]:
    """GB of 10,000 rooms: growth of resident memory with every buffer written, and the bytes computed."""
    gc.collect()
    before = resident()
    scorer = LiveScorer(encoder, "drawn", LiveScorerConfig(capacity=ALL_ROOMS))
    scorer.decoded.ring.fill_(0.0)
    for first in range(0, ALL_ROOMS, ROOMS):
        scorer.push_many(Stream(encoder, range(first, min(first + ROOMS, ALL_ROOMS))).segments())
    return {
        "rooms": len(scorer),
        "resident_gb": (resident() - before) / 1e9,
        "buffers_gb": scorer.nbytes / 1e9,
    }


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--times", type=int, default=9, help="of each way; medians are told")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--no-write", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    found = {}
    for name in chosen.sizes:
        with tempfile.TemporaryDirectory() as folder:
            encoder = encoder_of(SIZES[name], Path(folder) / "rooms")
        found[name] = {**throughput(encoder, chosen.times), **latency(encoder), **memory(encoder)}
        told = found[name]
        for way, kind in (("push_many", ""), ("push_columns", "columns_")):
            print(
                f"{name}, {way}: {told[way]:,.0f} segments/s, {told[f'{kind}ratio']:.1f} x re-encoding windows of "
                f"{WINDOW} ({told[f'{kind}ratio_ready_inputs']:.1f} x with inputs ready, "
                f"{told[f'{kind}ratio_decoder_only']:.1f} x the decoder alone)"
            )
        print(
            f"{name}: one push {told['p50_ms']:.2f} ms (p50), "
            f"{told['p99_ms']:.2f} ms (p99); {told['rooms']:,} rooms: {told['resident_gb']:.2f} GB resident, "
            f"{told['buffers_gb']:.2f} GB of buffers"
        )
    if not chosen.no_write:
        print(write_result("live_scoring", threads=chosen.threads, rooms_a_call=ROOMS, window=WINDOW, sizes=found))


if __name__ == "__main__":
    main()
