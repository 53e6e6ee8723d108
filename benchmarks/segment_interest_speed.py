"""Speed of the segment-interest encoder on one thread: ours beside a 40-slot padded run of the same network.

    python benchmarks/segment_interest_speed.py DATASET

DATASET: a dataset folder, e.g. the SegMM sample read with `segrec read segmm ... --split users`. Counted are views a
second: training = batch making, forward, loss, backward, optimizer; scoring = batch making and forward of all views.
The authors' network (SegMMInterest, d = 64, 6 layers, 2 heads, 40 slots, one core, same sample) is quoted, not run
here: 487 views/s in training and 1,780 views/s in scoring, measured once on another machine.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from machine import write_result

from segrec.encoders.segment_interest_columns import SideColumns, Surroundings
from segrec.encoders.segment_interest_config import SegmentInterestConfig
from segrec.encoders.segment_interest_counts import blocks_of
from segrec.encoders.segment_interest_inputs import SegmentInterestInputs
from segrec.encoders.segment_interest_learning import batch_loss, dense_optimizer, training_stream, vectors_of
from segrec.encoders.segment_interest_network import SegmentInterestNetwork, table_specs
from segrec.records import DatasetFolder
from segrec.segments.batching import SegmentBatch, batches_in_order
from segrec.segments.history import HistoryLog
from segrec.segments.views import grid_width, skip_views_of
from segrec.tables import distribute

AUTHORS = {"training": 487.0, "scoring": 1780.0}
SETTINGS = {"paper": ["variant=paper", "width=64", "layers=6", "heads=2"], "hazard": []}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each measurement, at least")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    dataset = DatasetFolder.open(asked.dataset)
    rows = [
        measure(dataset, "paper", padded=False, seconds=asked.seconds),
        measure(dataset, "paper", padded=True, seconds=asked.seconds),
        measure(dataset, "hazard", padded=False, seconds=asked.seconds),
    ]
    show(rows)
    write_result("segment_interest_speed", rows=rows, authors=AUTHORS, dataset=dataset.meta.format, threads=1)


def measure(dataset: DatasetFolder, variant: str, *, padded: bool, seconds: float) -> dict[str, object]:
    config = SegmentInterestConfig.of(sets=SETTINGS[variant])
    device, slots = torch.device("cpu"), grid_width(dataset.meta.segment_ms)
    views = skip_views_of(dataset, ["train"])
    surroundings = Surroundings.of(dataset, vectors_of(config, dataset))
    columns = SideColumns.fit(dataset, views, surroundings) if config.context else SideColumns(())
    blocks = blocks_of(views, config.folds, dataset.meta.utc_offset_hours)
    extra = [config.page] if config.context and config.page in dataset.meta.context else []
    inputs, table = SegmentInterestInputs.learn(
        config, columns, views, blocks=blocks, log=HistoryLog.of(views, extra), surroundings=surroundings, width=slots
    )
    specs = table_specs(config, inputs.table_sizes)
    network = SegmentInterestNetwork(
        config, specs, slots=slots, dense_width=inputs.dense_width, known_width=inputs.known_width,
        vector_width=inputs.vector_width,
    )  # fmt: skip
    module = distribute(network, specs, seed=1)
    optimizer = dense_optimizer(module, config, 10_000)
    order = np.random.default_rng(1).permutation(len(table))

    def padded_batches() -> Iterator[SegmentBatch]:
        for start in range(0, len(order), config.batch_size):
            yield table.batch(order[start : start + config.batch_size], slots)

    def train() -> None:
        module.train()
        for batch in padded_batches() if padded else training_stream(table, config, slots, device).epoch(0):
            optimizer.zero_grad(set_to_none=True)
            batch_loss(module(batch), batch, config).backward()
            optimizer.step()

    @torch.no_grad()
    def score() -> None:
        module.eval()
        for batch in batches_in_order(table, config.batch_size, slots if padded else None):
            module(batch)

    return {
        "model": f"segment_interest:{variant}",
        "form": "40 slots, padded" if padded else "true lengths",
        "training": len(order) / best_time(train, seconds),
        "scoring": len(order) / best_time(score, seconds),
    }


def best_time(run: object, seconds: float) -> float:
    """Seconds of the fastest pass; at least two, the first only warms up."""
    assert callable(run)
    run()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 2:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def show(rows: list[dict[str, object]]) -> None:
    print(f"{'':42}{'training':>12}{'scoring':>12}   views/s, one thread")
    print(f"{'authors (quoted, their 40 slots)':42}{AUTHORS['training']:12,.0f}{AUTHORS['scoring']:12,.0f}")
    for row in rows:
        training, scoring = float(str(row["training"])), float(str(row["scoring"]))
        shares = f"   x {training / AUTHORS['training']:.1f}, x {scoring / AUTHORS['scoring']:.1f} of the authors'"
        print(f"{row['model']!s:26}{row['form']!s:16}{training:12,.0f}{scoring:12,.0f}{shares}")


if __name__ == "__main__":
    main()
