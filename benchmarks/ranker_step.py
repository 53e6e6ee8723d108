"""Time of a DCN-V2 training step and peak memory: ours, bare TorchRec with the same layers, and the peers from PyPI.

    python benchmarks/ranker_step.py [--rows 26000,10400000] [--rounds 3] [--steps 12] [--out FILE.json]

26 tables of width 16, batch 4,096, 2 full cross layers beside an MLP 256-128, one thread, the same random ids. Each
contestant runs in a process of its own, one after another, `rounds` times: ratios are medians of ratios within a round.
Ours is what `segrec rank dcn_v2` runs: `distribute`, `fit`'s loop, pipeline, loss, AdamW, timed between batches. Bare
TorchRec is FusedEmbeddingBagCollection (row-wise Adagrad) and a plain loop over the same cross network and MLP. The
peers run their trainer's step with its default optimizer and penalties (dense Adam: every row of every table moves at
each step); TorchRec moves the touched rows alone.

Where there is a CUDA device, ours also runs on it: 100 million rows of width 64, batch 65,536, in fp32, TF32 and bf16:
samples a second, and the share of the device's memory bandwidth (as a copy on it reaches it) that the rows need which a
step must read and write: read forward; read and written again by row-wise Adagrad, with 4 bytes of state each way.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from machine import write_result
from torch import Tensor, nn

TABLES, DIM, BATCH, CROSS, MLP = 26, 16, 4096, 2, (256, 128)
BATCHES, WARM = 4, 3
NAMES = tuple(f"c{number}" for number in range(TABLES))
OURS, BARE = "segrec_dcn_v2", "torchrec_bare"

CUDA_ROWS, CUDA_DIM, CUDA_BATCH, CUDA_STEPS = 100_000_000, 64, 65_536, 60
CUDA_SETTINGS = {"fp32": {}, "tf32": {"tf32": True}, "bf16": {"precision": "bf16", "tf32": True}}

Step = Callable[[int], object]


def batches(rows: int, size: int = BATCH) -> list[tuple[np.ndarray, np.ndarray]]:
    """(ids (TABLES, size), labels (size,)) of each batch; `rows` over all tables."""
    rng = np.random.default_rng(0)
    return [
        (rng.integers(0, rows // TABLES, (TABLES, size)), (rng.random(size) < 0.3).astype(np.float32))
        for _ in range(BATCHES)
    ]


def ranking_batches(rows: int, size: int = BATCH) -> list[Any]:
    """The same as RankingBatch."""
    from ranking.batching import make_batch
    from ranking.rows.encoded_rows import EncodedRows

    return [
        make_batch(EncodedRows(ids.astype(np.int32), {}, np.zeros((size, 0), np.float32), labels), NAMES, size, 1)
        for ids, labels in batches(rows, size)
    ]


def fitted_dcn_v2(rows: int, dim: int, device: str, **settings: Any) -> tuple[Any, Any]:
    """Config and what `fit` takes: the module, optimizer and pipeline that `segrec rank dcn_v2` trains with."""
    from torchrec.optim.optimizers import in_backward_optimizer_filter

    from ranking.layers import RankerInputs
    from ranking.layers.feature_embedding import one_table_each
    from ranking.rankers.dcn_v2 import DcnV2, DcnV2Config
    from ranking.targets.labels import FlagLabel
    from ranking.training.dense_speed import apply_speed_settings
    from ranking.training.label_loss import LabelLoss
    from ranking.training.trained_ranker import TrainedRanker
    from segrec.fitting import Fittable
    from segrec.fitting.stepping import PipelinedStep
    from segrec.tables import distribute

    config = DcnV2Config(
        device=device, embedding_dim=dim, cross_layers=CROSS, mlp=MLP, dropout=0.0, epochs=1,
        **{"batch_size": BATCH, **settings},
    )  # fmt: skip
    tables = one_table_each(NAMES, [rows // TABLES] * TABLES, config.table_template())
    bf16_on = device if config.precision == "bf16" else None
    loss = LabelLoss(FlagLabel(name="is_click", rate=0.3), config.tasks)
    trained = TrainedRanker(DcnV2(config, RankerInputs(tables, NAMES, 0)), loss, bf16_on=bf16_on)
    apply_speed_settings(trained, config, torch.device(device))
    module = distribute(trained, tables, 0, device)
    dense = [weight for _, weight in in_backward_optimizer_filter(module.named_parameters())]
    optimizer = torch.optim.AdamW(dense, lr=1e-3)
    step = PipelinedStep(module, optimizer, torch.device(device), share_ids_ahead=device == "cuda")
    fittable: Fittable[Any] = Fittable(
        module=module,
        loss=None,
        optimizer=optimizer,
        validate=lambda: {"LogLoss": 0.0},
        monitor="LogLoss",
        minimize=True,
        step=step,
    )
    return config, fittable


def ours(rows: int, steps: int) -> tuple[np.ndarray, float]:
    """`clocks` of each step inside `segrec.fitting.fit`, and peak GiB before its checkpoint."""
    from segrec.fitting import fit

    config, fittable = fitted_dcn_v2(rows, DIM, "cpu")
    given, marks, peak = ranking_batches(rows), [], [0.0]

    class Timed:
        def batches(self, epoch: int) -> int:
            return steps

        def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
            for number in range(steps):
                marks.append(clocks())
                yield given[number % BATCHES]
                peak[0] = peak_gib()

    with tempfile.TemporaryDirectory() as folder:
        fit(fittable, Timed(), config, Path(folder))
    return np.diff(marks, axis=0), peak[0]


def on_cuda(setting: str) -> dict[str, float]:
    """Samples a second of our step on the device, and its share of the memory bandwidth."""
    from itertools import chain, repeat

    _, fittable = fitted_dcn_v2(CUDA_ROWS, CUDA_DIM, "cuda", batch_size=CUDA_BATCH, **CUDA_SETTINGS[setting])
    given = [batch.pin_memory() for batch in ranking_batches(CUDA_ROWS, CUDA_BATCH)]
    stream = chain.from_iterable(repeat(given))
    for _ in range(WARM * BATCHES):
        fittable.step(stream)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(CUDA_STEPS):
        fittable.step(stream)
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - start) / CUDA_STEPS
    needed = CUDA_BATCH * TABLES * (3 * CUDA_DIM * 4 + 2 * 4)
    bandwidth = copied_bytes_per_second()
    return {
        "samples_per_second": CUDA_BATCH / seconds,
        "step_seconds": seconds,
        "bandwidth_share": needed / seconds / bandwidth,
        "copied_gb_per_second": bandwidth / 1e9,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
    }


def copied_bytes_per_second() -> float:
    """Bytes read and written by copies of 1 GiB on the device."""
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(20):
        target.copy_(source)
    torch.cuda.synchronize()
    return 20 * 2 * 2**30 / (time.perf_counter() - start)


class CrossAndMlp(nn.Module):
    """The dense part of bare TorchRec: our layers, without anything around them."""

    def __init__(self) -> None:
        super().__init__()
        from ranking.layers import CrossNetwork, Mlp

        width = TABLES * DIM
        self.cross, self.mlp, self.head = CrossNetwork(width, CROSS), Mlp(width, MLP), nn.Linear(width + MLP[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.cross(x), self.mlp(x)], dim=1))[:, 0]


def torchrec_bare(rows: int) -> Step:
    from torchrec.modules.embedding_configs import EmbeddingBagConfig
    from torchrec.modules.fused_embedding_modules import FusedEmbeddingBagCollection
    from torchrec.optim import RowWiseAdagrad

    tables = [
        EmbeddingBagConfig(num_embeddings=rows // TABLES, embedding_dim=DIM, name=f"t_{name}", feature_names=[name])
        for name in NAMES
    ]
    embeddings = FusedEmbeddingBagCollection(tables, RowWiseAdagrad, {"lr": 0.05}, device=torch.device("cpu"))
    dense, given = CrossAndMlp(), ranking_batches(rows)
    optimizer = torch.optim.AdamW(dense.parameters(), lr=1e-3)

    def step(number: int) -> None:
        batch = given[number % BATCHES]
        embedded = embeddings(batch.sparse)
        logits = dense(torch.cat([embedded[name] for name in NAMES], dim=1))
        loss = nn.functional.binary_cross_entropy_with_logits(logits, batch.labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def torch_rechub(rows: int) -> Step:
    from torch_rechub.basic.features import SparseFeature
    from torch_rechub.models.ranking import DCNv2

    features = [SparseFeature(name, rows // TABLES, DIM) for name in NAMES]
    model = DCNv2(features, CROSS, {"dims": list(MLP), "activation": "relu"}, use_low_rank_mixture=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)  # CTRTrainer's
    given = named_batches(rows)

    def step(number: int) -> None:
        columns, labels = given[number % BATCHES]
        loss = nn.functional.binary_cross_entropy(model(columns), labels)
        model.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def fuxictr(rows: int) -> Step:
    """DCN-V2 of FuxiCTR's model zoo, assembled from the layers of its wheel, with its own training step."""
    from fuxictr.features import FeatureMap
    from fuxictr.pytorch.layers import CrossNetV2, FeatureEmbedding, MLP_Block
    from fuxictr.pytorch.models import BaseModel

    features = FeatureMap("step", tempfile.gettempdir())
    for name in NAMES:
        features.features[name] = {"type": "categorical", "vocab_size": rows // TABLES}
    features.labels = ["label"]

    class DCNv2(BaseModel):
        def __init__(self) -> None:
            super().__init__(features, gpu=-1, verbose=0, model_root=tempfile.gettempdir(), metrics=["AUC"])
            self.embedding_layer, wide = FeatureEmbedding(features, DIM), TABLES * DIM
            self.crossnet = CrossNetV2(wide, CROSS)
            self.parallel_dnn = MLP_Block(wide, hidden_units=list(MLP), output_dim=None, batch_norm=False)
            self.fc = nn.Linear(wide + MLP[-1], 1)
            self.compile("adam", "binary_crossentropy", 1e-3)
            self._max_gradient_norm = 10.0

        def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            x = self.embedding_layer(self.get_inputs(batch), flatten_emb=True)
            hidden = torch.cat([self.crossnet(x), self.parallel_dnn(x)], dim=-1)
            return {"y_pred": self.output_activation(self.fc(hidden))}

    model = DCNv2()
    given = [{**columns, "label": labels} for columns, labels in named_batches(rows)]
    return lambda number: model.train_step(given[number % BATCHES])


def deepctr_torch(rows: int) -> Step:
    """DCN (matrix) with the step of its fit(): l2 terms over every row of every table."""
    from deepctr_torch.inputs import SparseFeat
    from deepctr_torch.models import DCN

    columns = [SparseFeat(name, rows // TABLES, embedding_dim=DIM) for name in NAMES]
    model = DCN([], columns, cross_num=CROSS, cross_parameterization="matrix", dnn_hidden_units=MLP)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    given = [
        (torch.from_numpy(ids.T.astype(np.float32)), torch.from_numpy(labels)) for ids, labels in batches(rows)
    ]  # ids as floats is what its fit() makes of them

    def step(number: int) -> None:
        ids, labels = given[number % BATCHES]
        loss = nn.functional.binary_cross_entropy(model(ids).squeeze(), labels, reduction="sum")
        optimizer.zero_grad()
        (loss + model.get_regularization_loss()).backward()
        optimizer.step()

    return step


def named_batches(rows: int) -> list[tuple[dict[str, Tensor], Tensor]]:
    """Columns by name, and labels."""
    return [
        ({name: torch.from_numpy(column.copy()) for name, column in zip(NAMES, ids, strict=True)}, torch.from_numpy(y))
        for ids, y in batches(rows)
    ]


LOOPS: dict[str, Callable[[int], Step]] = {
    BARE: torchrec_bare, "torch_rechub": torch_rechub, "fuxictr": fuxictr, "deepctr_torch": deepctr_torch,
}  # fmt: skip
CONTESTANTS = (OURS, *LOOPS)
PEERS = tuple(name for name in LOOPS if name != BARE)


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def clocks() -> tuple[float, float]:
    """Wall and CPU seconds: on a shared machine the CPU time is the steadier one."""
    return time.perf_counter(), time.process_time()


def contest(name: str, rows: int, steps: int) -> dict[str, float]:
    """Median seconds of a step after the first WARM ones, and the process's peak memory."""
    torch.set_num_threads(1)
    if name == OURS:
        times, peak = ours(rows, steps)
    else:
        step, times = LOOPS[name](rows), []
        for number in range(steps):
            start = clocks()
            step(number)
            times.append(np.subtract(clocks(), start))
        peak = peak_gib()
    wall, cpu = np.median(times[WARM:], axis=0).tolist()
    return {"seconds": wall, "cpu_seconds": cpu, "peak_gib": peak}


def measured(name: str, rows: int, steps: int) -> dict[str, float]:
    """`contest` in a process of its own."""
    line = [sys.executable, __file__, "--contestant", name, "--rows", str(rows), "--steps", str(steps)]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def cuda_result(setting: str) -> dict[str, float]:
    """`on_cuda` in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--cuda", setting], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def ratios(rounds: list[dict[str, dict[str, float]]], top: str, bottom: str, what: str) -> float:
    """Median over rounds of top / bottom."""
    return statistics.median(each[top][what] / each[bottom][what] for each in rounds)


def middle(rounds: list[dict[str, dict[str, float]]], name: str, clock: str) -> float:
    """Median over rounds."""
    return statistics.median(each[name][clock] for each in rounds)


def compared(by_rows: dict[int, list[dict[str, dict[str, float]]]], clock: str) -> dict[str, float]:
    """The ratios that the targets speak of, by one clock; `small` and `large` = fewest and most rows."""
    small, large = by_rows[min(by_rows)], by_rows[max(by_rows)]
    fastest = {
        size: min(PEERS, key=lambda name, each=each: middle(each, name, clock))
        for size, each in (("small", small), ("large", large))
    }
    growth = {name: middle(large, name, clock) / middle(small, name, clock) for name in CONTESTANTS}
    return {
        "ours / bare, small": ratios(small, OURS, BARE, clock),
        "ours / bare, large": ratios(large, OURS, BARE, clock),
        "peak memory ours / bare, large": ratios(large, OURS, BARE, "peak_gib"),
        f"fastest peer ({fastest['large']}) / ours, large": ratios(large, fastest["large"], OURS, clock),
        f"ours / fastest peer ({fastest['small']}), small": ratios(small, OURS, fastest["small"], clock),
        "growth small to large, ours / bare": growth[OURS] / growth[BARE],
        **{f"growth small to large, {name}": value for name, value in growth.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", default="26000,10400000", help="over all tables")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--contestant", choices=CONTESTANTS, help="run one, print its JSON")
    parser.add_argument("--cuda", choices=CUDA_SETTINGS, help="run ours on the CUDA device, print its JSON")
    options = parser.parse_args()
    if options.cuda:
        with contextlib.redirect_stdout(io.StringIO()):
            found = on_cuda(options.cuda)
        print(json.dumps(found))
        return
    if options.contestant:
        with contextlib.redirect_stdout(io.StringIO()):
            found = contest(options.contestant, int(options.rows), options.steps)
        print(json.dumps(found))
        return
    by_rows: dict[int, list[dict[str, dict[str, float]]]] = {}
    for rows in map(int, options.rows.split(",")):
        by_rows[rows] = []
        for number in range(options.rounds):
            by_rows[rows].append({name: measured(name, rows, options.steps) for name in CONTESTANTS})
            told = ", ".join(
                f"{name} {found['seconds']:.3f} s {found['peak_gib']:.2f} GiB"
                for name, found in by_rows[rows][-1].items()
            )
            print(f"{rows:,} rows, round {number + 1}: {told}", flush=True)
    result = {"wall": compared(by_rows, "seconds"), "cpu": compared(by_rows, "cpu_seconds")}
    for clock in ("wall", "cpu"):
        for name, value in result[clock].items():
            print(f"{value:6.2f}  {clock}: {name}")
    if torch.cuda.is_available():
        result["cuda"] = {"device": torch.cuda.get_device_name(), **{name: cuda_result(name) for name in CUDA_SETTINGS}}
        print(json.dumps(result["cuda"], indent=1))
    write_result("ranker_step", threads=1, **result, rounds=by_rows)


if __name__ == "__main__":
    main()
