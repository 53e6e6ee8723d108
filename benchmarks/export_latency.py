"""Latency of one request, 500 candidates of one user: the run as trained, its export, and the export compiled.

    python benchmarks/export_latency.py [--ranker dcn_v2] [--rows 100000] [--features 20]

From codes to probabilities, on one thread: look-ups and dense part, not the encoding of raw rows. Weights are drawn,
not fitted: time does not depend on them. All contestants take turns, request by request, in one process; each request
holds other candidates. Parity is measured by the export itself and printed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from machine import write_result
from safetensors.torch import save_file

from ranking.batching import RankingBatch
from ranking.encoding.feature_encoding import FittedFeatures
from ranking.encoding.feature_spec import DenseFeature, FeatureSpec, HistoryConfig, IdFeature, SequenceFeature
from ranking.export.compilation import compiler_there
from ranking.export.exported import ExportedRanker
from ranking.export.exporting import ExportConfig, export_run
from ranking.export.made_batch import made_batch
from ranking.opened_run import OpenedRun
from ranking.rankers import find_ranker
from ranking.targets.labels import FlagLabel
from ranking.training.model import build_ranker
from ranking.training.ranker_data import RankerData
from ranking.training.trained_ranker import WEIGHTS
from segrec.records import RunMeta, write_run_meta
from segrec.tables import Vocabulary

CANDIDATES, REQUESTS, WARM = 500, 300, 20
DIM, DENSE, EVENTS = 16, 8, 50
Answer = Callable[[RankingBatch], torch.Tensor]


def vocabulary(size: int) -> Vocabulary:
    ids = pl.Series("id", np.arange(size, dtype=np.int64))
    return Vocabulary(ids, pl.Series("count", np.ones(size, dtype=np.uint32)))


def features_of(count: int, rows: int, *, histories: bool) -> FittedFeatures:
    names = ["user_id", "item_id", *(f"id_{number}" for number in range(2, count))]
    dense = [f"number_{number}" for number in range(DENSE)]
    spec = FeatureSpec(
        ids=tuple(IdFeature(name=name, column=name) for name in names),
        dense=tuple(DenseFeature(name=name, column=name, missing="reject") for name in dense),
        sequences=(SequenceFeature(name="past_item_id", column="item_id", id_feature="item_id"),) if histories else (),
        history=HistoryConfig(length=EVENTS if histories else 0),
    )
    known = vocabulary(rows)
    return FittedFeatures(
        spec,
        dict.fromkeys(names, known),
        {"user_id": known, "item_id": known},
        {},
        dict.fromkeys(dense, (0.0, 1.0)),
        (0, 1),
    )


def write_run(folder: Path, ranker: str, features: FittedFeatures) -> OpenedRun:
    settings = {"device": "cpu", "embedding_dim": DIM, "features": {"label_rates": False}}
    config = find_ranker(ranker).config.checked(settings)
    label = FlagLabel(name="is_click", rate=0.2)
    folder.mkdir()
    RankerData(features, label, None, None).save(folder)
    (folder / "config.yaml").write_text(config.to_yaml())
    meta = RunMeta(kind="ranker", name=ranker, seed=0, dataset="none", dataset_fingerprint="none", label="is_click")
    write_run_meta(folder, meta)
    model = build_ranker(ranker, config, features, features.dense_names, label=label, device="cpu")
    save_file({name: value.contiguous() for name, value in model.module.state_dict().items()}, folder / WEIGHTS)
    return OpenedRun.of(folder)


def requests(features: FittedFeatures) -> list[RankingBatch]:
    """Candidates that share their user, as a request's do."""
    found = []
    for seed in range(WARM):
        batch = made_batch(
            features, CANDIDATES, dense_width=DENSE, max_segments=None, seed=seed, events=features.spec.history.length
        )
        batch.sparse.values()[:CANDIDATES] = seed + 2
        found.append(batch)
    return found


def timed(contestants: dict[str, Answer], asked: list[RankingBatch]) -> dict[str, list[float]]:
    """Milliseconds of each contestant's requests; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    with torch.inference_mode():
        for number in range(REQUESTS + WARM):
            batch = asked[number % len(asked)]
            for name, answer in contestants.items():
                start = time.perf_counter()
                torch.sigmoid(answer(batch))
                if number >= WARM:
                    times[name].append(1000 * (time.perf_counter() - start))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--ranker", default="dcn_v2")
    parser.add_argument("--rows", type=int, default=100_000, help="of each table")
    parser.add_argument("--features", type=int, default=20, help="ids, a table each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    entry = find_ranker(options.ranker)
    features = features_of(options.features, options.rows, histories=entry.reads_histories)
    contestants: dict[str, Answer] = {}
    sizes, parity = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        run = write_run(Path(folder) / "run", options.ranker, features)
        contestants["eager"] = run.model().module
        for quantise in ("none", "int8"):
            out = Path(folder) / quantise
            _, compared = export_run(
                run, out, ExportConfig(quantise, compile_for="cpu" if compiler_there() else None), dataset=None
            )
            parity[quantise] = compared.to_json()
            sizes[quantise] = (out / "tables.safetensors").stat().st_size / 2**20
            contestants[f"exported, {quantise}"] = ExportedRanker.open(out, compiled=False).logits
            if compiler_there():
                contestants[f"compiled, {quantise}"] = ExportedRanker.open(out, compiled=True).logits
        times = timed(contestants, requests(features))
    p50 = {name: statistics.median(values) for name, values in times.items()}
    p99 = {name: float(np.quantile(values, 0.99)) for name, values in times.items()}
    print(f"{options.ranker}, {options.features} tables of {options.rows:,} x {DIM}, {CANDIDATES} candidates a request")
    for name in contestants:
        print(
            f"{name:18} p50 {p50[name]:7.3f} ms  p99 {p99[name]:7.3f} ms  eager / this {p50['eager'] / p50[name]:5.2f}"
        )
    for quantise, compared in parity.items():
        lost = ", ".join(f"{value:.2g}" for value in compared["auc_loss"].values())
        print(
            f"{quantise}: tables {sizes[quantise]:.1f} MiB, largest difference {compared['largest_difference']:.2g}, "
            f"AUC lost {lost}"
        )
    write_result(
        f"export_latency_{options.ranker}", threads=1, candidates=CANDIDATES, requests=REQUESTS, options=vars(options),
        p50_ms=p50, p99_ms=p99, ratio={name: p50["eager"] / value for name, value in p50.items()}, tables_mib=sizes,
        parity=parity,
    )  # fmt: skip


if __name__ == "__main__":
    main()
