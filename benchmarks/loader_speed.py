"""How fast impressions become batches, against how fast a DCN-V2 training step uses them up.

    python benchmarks/loader_speed.py [--users 3000] [--copies 10] [--rounds 3] [--threads 2]

The log is a made world of short videos (150 views a user), read as `segrec read kuairand` does; the large log repeats
it `copies` times with other videos, and is larger than what the loader keeps in memory. `loader`: rows/s of the stream
alone, in its first epoch (files are read and encoded) and its second one. `step`: rows/s of a DCN-V2 training step
(default settings, `threads` of torch) with batches at hand. `training`: rows/s of the same steps fed by the loader.
Each case runs in a process of its own; ratios are medians over rounds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from machine import write_result

WARM, STEPS, LOADED_ROWS = 5, 30, 600_000
SETTINGS: dict[str, list[str]] = {"plain": [], "histories": ["features.history.length=50"]}
CASES = [("small", "plain", 512), ("small", "plain", 4096), ("small", "histories", 512), ("small", "histories", 4096),
         ("large", "plain", 512), ("large", "plain", 4096), ("large", "histories", 4096)]  # fmt: skip


def make_small(folder: Path, users: int) -> None:
    """A made world as a dataset folder."""
    from segrec.datasets import read_dataset
    from segrec.worlds.short_video import ShortVideoConfig, make_short_video
    from segrec.worlds.short_video_writers import write_short_video

    sizes = {"viewers": {"users": users}, "videos": {"items": 4000}, "exposure": {"impressions_per_user": 150}}
    with tempfile.TemporaryDirectory() as made:
        write_short_video(make_short_video(ShortVideoConfig.checked(sizes)), Path(made) / "world", format="kuairand")
        read_dataset("kuairand", Path(made) / "world", folder)


def make_large(small: Path, folder: Path, copies: int) -> None:
    """The same log `copies` times, each with videos of its own."""
    import polars as pl

    def repeated(frame: pl.DataFrame) -> pl.DataFrame:
        videos = int(pl.scan_parquet(small / "items.parquet").select(pl.col("item_id").max()).collect().item()) + 1
        return pl.concat([frame.with_columns(pl.col("item_id") + copy * videos) for copy in range(copies)])

    folder.mkdir()
    (folder / "users.parquet").write_bytes((small / "users.parquet").read_bytes())
    repeated(pl.read_parquet(small / "items.parquet")).write_parquet(folder / "items.parquet", compression="zstd")
    for file in sorted(small.glob("interactions/*/*.parquet")):
        target = folder / file.relative_to(small)
        target.parent.mkdir(parents=True)
        rows = repeated(pl.read_parquet(file)).sort("time_ms", "user_id", "item_id")
        rows.write_parquet(target, compression="zstd")
    meta = json.loads((small / "dataset.json").read_text())
    meta["rows"] = {split: count * copies for split, count in meta["rows"].items()}
    (folder / "dataset.json").write_text(json.dumps(meta))


def rows_a_second(batches: Iterable[Any], most: int) -> float:
    """Over at most `most` rows."""
    rows, start = 0, time.perf_counter()
    for batch in batches:
        rows += batch.rows
        if rows >= most:
            break
    return rows / (time.perf_counter() - start)


def trainer(config: Any, data: Any, stream: Any) -> Any:
    """One step of what `segrec rank dcn_v2` trains, on an iterator of batches."""
    import torch
    from torchrec.optim.optimizers import in_backward_optimizer_filter

    from ranking.training.label_loss import LabelLoss
    from ranking.training.model import build_ranker
    from ranking.training.trained_ranker import TrainedRanker
    from segrec.fitting.stepping import PipelinedStep
    from segrec.tables import distribute

    model = build_ranker("dcn_v2", config, data.features, stream.source.dense_names, label=data.label)
    module = distribute(TrainedRanker(model.module, LabelLoss(data.label, config.tasks)), model.tables, 0, "cpu")
    dense = [weight for _, weight in in_backward_optimizer_filter(module.named_parameters())]
    return PipelinedStep(module, torch.optim.AdamW(dense, lr=1e-3), torch.device("cpu"), share_ids_ahead=False)


def trained(step: Any, batches: Iterator[Any], batch_size: int) -> float:
    """Rows/s of STEPS steps after WARM ones."""
    for _ in range(WARM):
        step(batches)
    start = time.perf_counter()
    for _ in range(STEPS):
        step(batches)
    return STEPS * batch_size / (time.perf_counter() - start)


def case(folder: Path, settings: str, batch_size: int, threads: int) -> dict[str, float]:
    """Rows/s of one case, and the peak memory of its process in GiB."""
    import torch

    from ranking.rankers.dcn_v2 import DcnV2Config
    from ranking.targets.labels import fit_label
    from ranking.training.ranker_data import RankerData
    from segrec.records import DatasetFolder

    torch.set_num_threads(threads)
    dataset = DatasetFolder.open(folder)
    config = DcnV2Config.of(None, [*SETTINGS[settings], f"batch_size={batch_size}", "device=cpu"])
    data = RankerData.fit(dataset, fit_label(dataset, "is_click"), config, None)
    stream = data.stream(dataset, ["train"], config)
    found = {f"loader, epoch {epoch + 1}": rows_a_second(stream.epoch(epoch), LOADED_ROWS) for epoch in (0, 1)}
    found["loader memory, GiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    at_hand = list(itertools.islice(stream.epoch(2), 8))
    step = trainer(config, data, stream)
    found["step"] = trained(step, itertools.cycle(at_hand), batch_size)
    found["training"] = trained(step, iter(stream.epoch(3)), batch_size)
    return found


def measured(folder: Path, settings: str, batch_size: int, threads: int) -> dict[str, float]:
    """`case` in a process of its own."""
    line = [sys.executable, __file__, "--case", settings, "--folder", str(folder), "--batch", str(batch_size)]
    line += ["--threads", str(threads)]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compared(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Medians over rounds."""

    def middle(top: str, bottom: str) -> float:
        return statistics.median(each[top] / each[bottom] for each in rounds)

    return {
        "loader / step, first epoch": middle("loader, epoch 1", "step"),
        "loader / step, second epoch": middle("loader, epoch 2", "step"),
        "training / step": middle("training", "step"),
        "loader rows/s, first epoch": statistics.median(each["loader, epoch 1"] for each in rounds),
        "loader rows/s, second epoch": statistics.median(each["loader, epoch 2"] for each in rounds),
        "step rows/s": statistics.median(each["step"] for each in rounds),
        "loader memory, GiB": max(each["loader memory, GiB"] for each in rounds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--users", type=int, default=3000, help="of the made world")
    parser.add_argument("--copies", type=int, default=10, help="of the world in the large log")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of the training step; the loader has its own")
    parser.add_argument("--case", choices=SETTINGS, help="run one, print its JSON")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--batch", type=int)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(case(options.folder, options.case, options.batch, options.threads)))
        return
    result = {}
    with tempfile.TemporaryDirectory() as work:
        make_small(Path(work) / "small", options.users)
        make_large(Path(work) / "small", Path(work) / "large", options.copies)
        for log, settings, batch_size in CASES:
            rounds = [measured(Path(work) / log, settings, batch_size, options.threads) for _ in range(options.rounds)]
            name = f"{log} log, {settings}, batch {batch_size}"
            result[name] = {**compared(rounds), "rounds": rounds}
            told = ", ".join(f"{key} {value:,.2f}" for key, value in result[name].items() if key != "rounds")
            print(f"{name}: {told}", flush=True)
    write_result("loader_speed", threads=options.threads, users=options.users, copies=options.copies, cases=result)


if __name__ == "__main__":
    main()
