"""CTR peers side by side on one dataset folder: same features, same tuning budget, same early stopping, three seeds.

    python benchmarks/ctr_peers.py DATASET [--labels is_click,long_view] [--peers lightgbm,...] [--keep FOLDER]

Every peer tries `BUDGET` settings at seed 0 and keeps the one with the lowest valid log loss; that one is fitted with
each seed, and only its test predictions are measured. All stop by valid log loss; torch peers run their authors' model
with their usual optimizer under one loop (four validations an epoch, best weights kept). Needs the extra `bench`; one
thread. About 26 minutes for both labels of the KuaiRand-Pure sample on a busy machine, a third of it FuxiCTR.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
import torch
from ctr_inputs import BIG, PeerInputs, fold_rates, read_inputs
from machine import write_result
from rich.console import Console
from rich.table import Table
from scipy import sparse
from torch import Tensor, nn

from ranking.evaluation import Prediction, metric_rows
from ranking.measures.outcomes import Outcomes
from ranking.measures.prediction_files import read_predictions
from ranking.prediction import predict
from ranking.rankers.dcn_v2 import DcnV2Config
from ranking.targets.labels import fit_label
from ranking.training.ranker_run import train_ranker
from segrec.metrics.log_loss import log_loss
from segrec.records import KEY, DatasetFolder, MetricRow

SEEDS = (0, 1, 2)
BUDGET = 4
OURS = "dcn_v2"
EPOCHS, VALIDATIONS, PATIENCE, BATCH = 4, 4, 4, 1024

Setting = dict[str, Any]
Fit = Callable[[PeerInputs, Setting, int], np.ndarray]
"(inputs, setting, seed) -> probabilities of all rows."


def lightgbm(inputs: PeerInputs, setting: Setting, seed: int) -> np.ndarray:
    """Small id columns as LightGBM's own categories; big ones as their rates and counts, lagged or out of fold."""
    import lightgbm as gbm

    small = [place for place, size in enumerate(inputs.sizes[: inputs.codes.shape[1]]) if size <= BIG]
    bags = [bag[:, :1] for bag in inputs.bags.values()]
    more = [fold_rates(inputs)] if setting["fold_rates"] else []
    table = np.concatenate([inputs.codes[:, small], *bags, inputs.numeric, *more], axis=1)
    train, valid = inputs.part("train"), inputs.part("valid")
    categories = list(range(len(small) + len(bags)))
    fixed = {"objective": "binary", "metric": "binary_logloss", "learning_rate": 0.05, "bagging_freq": 1}
    fixed |= {"bagging_fraction": 0.8, "min_data_in_leaf": 50, "cat_smooth": 50, "max_cat_threshold": 16}
    fixed |= {"feature_fraction": 0.3, "num_leaves": setting["num_leaves"], "num_threads": 1, "verbosity": -1}
    data = gbm.Dataset(table[train], inputs.labels[train], categorical_feature=categories, free_raw_data=False)
    watched = gbm.Dataset(table[valid], inputs.labels[valid], reference=data)
    stop = gbm.early_stopping(60, verbose=False)
    booster = gbm.train({**fixed, "seed": seed}, data, 1500, valid_sets=[watched], callbacks=[stop])
    return booster.predict(table, num_iteration=booster.best_iteration)


def logistic_regression(inputs: PeerInputs, setting: Setting, seed: int) -> np.ndarray:
    """One-hot ids, multi-hot bags, numbers and rates; scikit-learn's lbfgs (deterministic)."""
    from sklearn.linear_model import LogisticRegression

    rows = len(inputs.codes)
    blocks = [inputs.codes[:, [place]] for place in range(inputs.codes.shape[1])] + list(inputs.bags.values())
    parts = []
    for codes, size in zip(blocks, inputs.sizes, strict=True):
        row, column = np.repeat(np.arange(rows), codes.shape[1]), codes.reshape(-1)
        parts.append(sparse.csr_matrix((np.ones(len(row)), (row, column)), shape=(rows, size)))
    table = sparse.hstack([*parts, sparse.csr_matrix(inputs.numeric)], format="csr")
    train = inputs.part("train")
    model = LogisticRegression(C=setting["C"], max_iter=300, random_state=seed)
    return model.fit(table[train], inputs.labels[train]).predict_proba(table)[:, 1]


def torch_rechub_dcn_v2(inputs: PeerInputs, setting: Setting, seed: int) -> np.ndarray:
    """torch_rechub.models.ranking.DCNv2 (full cross weights), Adam with its trainer's default weight decay or ours."""
    from torch_rechub.basic.features import DenseFeature, SequenceFeature, SparseFeature
    from torch_rechub.models.ranking import DCNv2

    torch.manual_seed(seed)
    ids = inputs.names[: inputs.codes.shape[1]]
    width = setting["dim"]
    features: list[Any] = [SparseFeature(name, size, width) for name, size in zip(ids, inputs.sizes, strict=False)]
    for name, size in zip(inputs.bags, inputs.sizes[len(ids) :], strict=True):
        features.append(SequenceFeature(name, size, width, pooling="mean", padding_idx=0))
    features.append(DenseFeature("numeric", inputs.numeric.shape[1]))
    mlp = {"dims": [128, 64], "dropout": 0.2, "activation": "relu"}
    model = DCNv2(features, 2, mlp, use_low_rank_mixture=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=setting["weight_decay"])
    columns = named_columns(inputs)

    def step(rows: np.ndarray) -> None:
        loss = nn.functional.binary_cross_entropy(model(take(columns, rows)), torch.from_numpy(inputs.labels[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return fit_torch(inputs, model, step, lambda rows: model(take(columns, rows)), seed)


def fuxictr_dcn_v2(inputs: PeerInputs, setting: Setting, seed: int) -> np.ndarray:
    """DCN-V2 of FuxiCTR's model zoo, assembled from the wheel's layers, with its own step and regularizer."""
    from fuxictr.features import FeatureMap
    from fuxictr.pytorch.layers import CrossNetV2, FeatureEmbedding, MLP_Block
    from fuxictr.pytorch.models import BaseModel

    torch.manual_seed(seed)
    logging.disable(logging.INFO)
    ids = inputs.names[: inputs.codes.shape[1]]
    features = FeatureMap("peers", tempfile.gettempdir())
    for name, size in zip(ids, inputs.sizes, strict=False):
        features.features[name] = {"type": "categorical", "vocab_size": size}
    for name, size in zip(inputs.bags, inputs.sizes[len(ids) :], strict=True):
        pooled = "layers.MaskedAveragePooling()"
        features.features[name] = {"type": "sequence", "vocab_size": size, "padding_idx": 0, "feature_encoder": pooled}
    for place in range(inputs.numeric.shape[1]):
        features.features[f"numeric_{place}"] = {"type": "numeric"}
    features.labels, width = ["label"], setting["dim"]

    class DCNv2(BaseModel):
        def __init__(self) -> None:
            regularizer = setting["regularizer"]
            quiet = {"verbose": 0, "model_root": tempfile.gettempdir(), "metrics": ["AUC"]}
            super().__init__(features, gpu=-1, embedding_regularizer=regularizer, **quiet)
            self.embedding_layer = FeatureEmbedding(features, width)
            wide = width * len(features.features)
            self.crossnet = CrossNetV2(wide, 2)
            self.parallel_dnn = MLP_Block(
                input_dim=wide, output_dim=None, hidden_units=[128, 64], dropout_rates=0.2, batch_norm=False
            )
            self.fc = nn.Linear(wide + 64, 1)
            self.compile("adam", "binary_crossentropy", 1e-3)
            self.reset_parameters()
            self._max_gradient_norm = 10.0

        def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            x = self.embedding_layer(self.get_inputs(batch), flatten_emb=True)
            hidden = torch.cat([self.crossnet(x), self.parallel_dnn(x)], dim=-1)
            return {"y_pred": self.output_activation(self.fc(hidden))}

    model, columns = DCNv2(), named_columns(inputs)
    numeric = columns.pop("numeric")
    columns |= {f"numeric_{place}": numeric[:, place] for place in range(numeric.shape[1])}
    columns["label"] = torch.from_numpy(inputs.labels)
    return fit_torch(
        inputs, model, lambda rows: model.train_step(take(columns, rows)),
        lambda rows: model(take(columns, rows))["y_pred"][:, 0], seed,
    )  # fmt: skip


def our_dcn_v2(inputs: PeerInputs, setting: Setting, seed: int) -> np.ndarray:
    """`segrec rank dcn_v2` without scores; it makes its features from the dataset folder itself."""
    same = {
        "batch_size": BATCH,
        "validations_per_epoch": VALIDATIONS,
        "patience": PATIENCE,
        "epochs": EPOCHS,
    }
    values = {**same, **setting, "seed": seed, "monitor": "LogLoss", "device": "cpu"}
    config = DcnV2Config.of(sets=[f"{key}={value}" for key, value in values.items()])
    probabilities = np.full(len(inputs.labels), np.nan)
    with tempfile.TemporaryDirectory() as folder:
        run, _ = train_ranker(OURS, inputs.dataset, Path(folder) / "run", label=inputs.label, config=config)
        for split in ("valid", "test"):
            found, rows = predict(run, inputs.dataset, split), inputs.part(split)
            assert found.select(KEY).equals(inputs.keys[rows]), "rows of another order"
            probabilities[rows] = found["prediction"].to_numpy()
    return probabilities


def named_columns(inputs: PeerInputs) -> dict[str, Tensor]:
    """Columns by name, as the torch peers take them."""
    ids = {
        name: torch.from_numpy(inputs.codes[:, place].copy())
        for place, name in zip(range(inputs.codes.shape[1]), inputs.names, strict=False)
    }
    bags = {name: torch.from_numpy(bag) for name, bag in inputs.bags.items()}
    return {**ids, **bags, "numeric": torch.from_numpy(inputs.numeric)}


def take(columns: dict[str, Tensor], rows: np.ndarray) -> dict[str, Tensor]:
    """A batch."""
    index = torch.from_numpy(rows)
    return {name: column[index] for name, column in columns.items()}


def fit_torch(
    inputs: PeerInputs,
    model: nn.Module,
    step: Callable[[np.ndarray], object],
    predict: Callable[[np.ndarray], Tensor],
    seed: int,
) -> np.ndarray:
    """Valid log loss `VALIDATIONS` times an epoch; stops `PATIENCE` after the best; predicts by its weights."""
    train, valid, everything = inputs.part("train"), inputs.part("valid"), np.arange(len(inputs.labels))
    shuffled, lowest, best, left = np.random.default_rng(seed), np.inf, model.state_dict(), PATIENCE
    for _ in range(EPOCHS):
        for part in np.array_split(shuffled.permutation(train), VALIDATIONS):
            model.train()
            for start in range(0, len(part), BATCH):
                step(part[start : start + BATCH])
            reached = log_loss(inputs.labels[valid], predicted(model, predict, valid))
            left -= 1
            if reached < lowest:
                lowest, best, left = reached, copy.deepcopy(model.state_dict()), PATIENCE
            if not left:
                break
        if not left:
            break
    model.load_state_dict(best)
    return predicted(model, predict, everything)


@torch.no_grad()
def predicted(model: nn.Module, predict: Callable[[np.ndarray], Tensor], rows: np.ndarray) -> np.ndarray:
    """Probabilities of rows, in evaluation mode."""
    model.eval()
    parts = [predict(rows[start : start + 8192]) for start in range(0, len(rows), 8192)]
    return torch.cat(parts).double().clamp(0, 1).numpy()


PEERS: dict[str, tuple[Fit, list[Setting], tuple[int, ...]]] = {
    OURS: (
        our_dcn_v2,
        [{"table_learning_rate": r, "embedding_dim": d} for r in (0.01, 0.05) for d in (8, 16)],
        SEEDS,
    ),
    "lightgbm": (lightgbm, [{"num_leaves": n, "fold_rates": f} for n in (15, 31) for f in (False, True)], SEEDS),
    "logistic_regression_sklearn": (logistic_regression, [{"C": c} for c in (0.01, 0.03, 0.1, 0.3)], SEEDS[:1]),
    "torch_rechub_dcn_v2": (
        torch_rechub_dcn_v2, [{"dim": d, "weight_decay": w} for d in (8, 16) for w in (1e-5, 1e-4)], SEEDS,
    ),
    "fuxictr_dcn_v2": (
        fuxictr_dcn_v2, [{"dim": d, "regularizer": r} for d in (8, 16) for r in (1e-5, 1e-4)], SEEDS,
    ),
}  # fmt: skip
"Fit, its settings (BUDGET of them), and its seeds (one where nothing is drawn)."


def best_setting(fit: Fit, settings: list[Setting], inputs: PeerInputs) -> tuple[Setting, float]:
    """The setting with the lowest valid log loss at seed 0, and that loss."""
    valid = inputs.part("valid")
    reached = [log_loss(inputs.labels[valid], fit(inputs, setting, 0)[valid]) for setting in settings]
    return settings[int(np.argmin(reached))], min(reached)


def peer_predictions(name: str, inputs: PeerInputs, keep: Path | None, console: Console) -> Iterator[Prediction]:
    """Test predictions of a peer with each seed, at its best setting; taken from `keep` where they lie there."""
    fit, settings, seeds = PEERS[name]
    assert len(settings) == BUDGET
    test, start = inputs.part("test"), time.perf_counter()
    files = {seed: keep / f"{name}.{inputs.label}.{seed}.parquet" if keep else None for seed in seeds}
    if not all(file and file.is_file() for file in files.values()):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            setting, reached = best_setting(fit, settings, inputs)
            fitted = {seed: fit(inputs, setting, seed)[test] for seed in seeds}
        console.print(
            f"{name}: {setting} of {BUDGET} (valid LogLoss {reached:.4f}), {time.perf_counter() - start:.0f} s"
        )
    for seed, file in files.items():
        if file and file.is_file():
            yield Prediction(name, read_predictions(file, inputs.keys[test]), seed)
            continue
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            inputs.keys[test].with_columns(prediction=pl.Series(fitted[seed])).write_parquet(file)
        yield Prediction(name, fitted[seed], seed)


def show(rows: list[MetricRow], label: str, console: Console) -> None:
    """The table of one label, all rows."""
    shown = ("AUC", "gauc_impression", "LogLoss", "NE", "calibration_ratio")
    table = Table("model", *shown, title=f"{label}, test")
    models = dict.fromkeys((row.model, row.versus) for row in rows if row.cohort == "all")
    for model, versus in models:
        own = [row for row in rows if (row.model, row.versus, row.cohort, row.seed) == (model, versus, "all", None)]
        mean = {row.metric: row for row in own}
        cells = [f"{mean[m].value:.4f} [{mean[m].low:.4f}, {mean[m].high:.4f}]" for m in shown]
        table.add_row(model if versus is None else f"{model} - {versus}", *cells)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--labels", default="is_click,long_view")
    parser.add_argument("--peers", default=",".join(PEERS), help="the first is compared with all others")
    parser.add_argument("--name", default="ctr_peers", help="of the file in benchmarks/results")
    parser.add_argument("--keep", type=Path, help="folder of test predictions: written, and read again when there")
    options = parser.parse_args()
    names = options.peers.split(",")
    torch.set_num_threads(1)
    console, dataset, rows = Console(width=150), DatasetFolder.open(options.dataset), []
    for label in options.labels.split(","):
        inputs = read_inputs(dataset, label)
        outcomes = Outcomes.of(dataset, fit_label(dataset, label), "test")
        predictions = [made for name in names for made in peer_predictions(name, inputs, options.keep, console)]
        pairs = [(names[0], other) for other in names[1:]]
        found = metric_rows(outcomes, predictions, pairs, cohorts=("all", "warm", "cold"))
        rows += found
        show(found, label, console)
    written = write_result(
        options.name, dataset=dataset.meta.format, fingerprint=dataset.meta.fingerprint, budget=BUDGET,
        rows=[row.model_dump(mode="json") for row in rows],
    )  # fmt: skip
    console.print(f"wrote {written}")


if __name__ == "__main__":
    main()
