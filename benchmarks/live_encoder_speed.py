"""Speed of training ContentCTR / KuaiHL: windows as views of one table beside a loader that copies each window.

    python benchmarks/live_encoder_speed.py [--rooms 40] [--seconds 10] [--full]

The copying loader is the usual one: each window of 20 is cut out beforehand, its vectors stacked to (B, 20, E), and
every position of every window is fused. Ours gathers and fuses each distinct segment of a batch once. Both run the same
network, loss and optimizer on one thread; with CUDA on the device (bf16). Printed are windows a second and their ratio;
and the bytes that each way keeps of the vectors. `--full`: also the papers' setting (d 512, 8 heads, 3 + 3 layers,
window 20, batch 48), which is slow on a CPU.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from machine import write_result

from segrec.encoders.kuaihl import KuaiHLConfig
from segrec.encoders.live_batches import LiveBatch, LiveTable, Samples, SegmentInputs
from segrec.encoders.live_inputs import LiveInputs
from segrec.encoders.live_network import LiveNetwork
from segrec.encoders.live_training import batch_loss, dense_optimizer, samples_of
from segrec.segments.rooms import Rooms
from segrec.tables import distribute
from segrec.testing.live_dataset import make_live_dataset

SETTINGS = {
    "d 64, batch 48": ["variant=paper", "width=64", "heads=8", "align=none"],
    "d 64, batch 48, neighbouring windows": ["variant=paper", "width=64", "heads=8", "align=none"],
    "papers' setting: d 512, 8 heads, 3 + 3 layers, batch 48": ["variant=paper", "align=none"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", type=int, default=40)
    parser.add_argument("--segments", type=int, default=120)
    parser.add_argument("--width", type=int, default=512, help="of the visual and the text vectors")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each measurement, at least")
    parser.add_argument("--full", action="store_true", help="the papers' setting, too")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    names = list(SETTINGS) if asked.full else list(SETTINGS)[:2]
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_live_dataset(
            Path(folder) / "dataset", rooms=asked.rooms, segments=asked.segments, width=asked.width
        )
        rows = [measure(name, Rooms.of(dataset, ["train"]), asked.seconds) for name in names]
    for row in rows:
        print(
            f"{row['setting']:58} {row['views']:9.1f} windows/s as views, {row['copies']:9.1f} copied: "
            f"x {row['ratio']:.2f}; vectors kept: {row['kept_MB']:.1f} MB, copied {row['copied_MB']:.1f} MB"
        )
    write_result("live_encoder_speed", rows=rows, threads=1)


def measure(name: str, rooms: Rooms, seconds: float) -> dict[str, object]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = "bf16" if device.type == "cuda" else "fp32"
    config = KuaiHLConfig.of(sets=[*SETTINGS[name], "min_viewers=null", f"precision={precision}"])
    target = rooms.target(config.target, config.label_shift)
    inputs, table = LiveInputs.learn(config, rooms, target, rooms, None)
    samples = samples_of(rooms, target, config)
    shape = inputs.shape(None)
    module = distribute(LiveNetwork(config, shape), shape.table_specs(config), seed=1, device=device)
    optimizer = dense_optimizer(module, config, 1)
    order = np.arange(len(samples))
    if "neighbouring" not in name:
        order = np.random.default_rng(1).permutation(len(samples))

    def step(batch: LiveBatch) -> None:
        optimizer.zero_grad(set_to_none=True)
        batch_loss(module, batch.to(device), config, weighted=False).total.backward()
        optimizer.step()

    def batches() -> Iterator[Samples]:
        for start in range(0, len(order), config.batch_size):
            rows = order[start : start + config.batch_size]
            yield Samples(samples.starts[rows], samples.lengths[rows])

    module.train()
    views = windows_a_second(lambda part: step(table.batch(part, banded=False)), batches, seconds)
    copies = windows_a_second(lambda part: step(copied(table, part)), batches, seconds)
    each = 4 * sum(shape.vector_widths.values())
    return {
        "setting": name, "device": str(device), "views": views, "copies": copies, "ratio": views / copies,
        "kept_MB": len(rooms.room) * each / 1e6, "copied_MB": int(samples.lengths.sum()) * each / 1e6,
    }  # fmt: skip


def copied(table: LiveTable, samples: Samples) -> LiveBatch:
    """The same windows with every position gathered and fused by itself."""
    batch = table.batch(samples, banded=False)
    rows = batch.samples_Bn.flatten()
    segments = SegmentInputs(
        tuple(part[rows] for part in batch.segments.contents),
        tuple(part[rows] for part in batch.segments.present),
        batch.segments.author_M[rows],
        batch.segments.known_MF[rows],
    )
    return replace(batch, segments=segments, samples_Bn=torch.arange(len(rows)).view(batch.samples_Bn.shape))


def windows_a_second(
    step: Callable[[Samples], None], batches: Callable[[], Iterator[Samples]], seconds: float
) -> float:
    """Over at least `seconds`, after two steps to warm up."""
    done, begun = 0, 0.0
    for number, part in enumerate(part for _ in range(10_000) for part in batches()):
        if number == 2:
            done, begun = 0, time.perf_counter()
        step(part)
        done += len(part)
        if number > 3 and time.perf_counter() - begun > seconds:
            break
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return done / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
