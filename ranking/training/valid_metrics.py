"""What a validation tells of a ranker: metrics of each of its labels, and which of them decides."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ranking.rankers.config import RankerConfig
from ranking.targets.labels import AnyLabel, JointLabel, RateLabel, SingleLabel, tasks_of
from ranking.targets.watch_labels import WatchShareLabel, WatchTimeLabel
from ranking.training.loss import mean_cross_entropy
from ranking.training.shared_prediction import Predicted
from segrec.metrics.auc import auc
from segrec.metrics.log_loss import log_loss
from segrec.records import ConfigError, MetricRow, RunMeta

WATCH_LOSS = "WatchLoss"
"The loss of a watch time, see `WatchTimeLabel`."


def valid_metrics(found: Predicted, label: AnyLabel) -> dict[str, float]:
    """LogLoss and AUC; for shares and rates the mean cross-entropy, for watch times WatchLoss, MAE and RMSE.

    Of several labels: METRIC_LABEL, each over the rows that have the label.
    """
    if not isinstance(label, JointLabel):
        return _of_label(label, found.logits, found.labels, found.weights)
    metrics = {}
    for place, task in enumerate(label.tasks):
        known = ~np.isnan(found.labels[:, place])
        logits, labels = found.logits[known, place], found.labels[known, place]
        for name, value in _of_label(task, logits, labels, found.weights[known]).items():
            metrics[_named(name, task.name)] = value
    return metrics


def monitored(config: RankerConfig, label: AnyLabel) -> tuple[str, bool]:
    """The metric of `valid_metrics` that decides, and whether lower is better.

    :raises ConfigError: the AUC of a label that is not 0 or 1.
    """
    tasks = tasks_of(label)
    task = next((task for task in tasks if task.name == config.tasks.monitor_task), tasks[0])
    metric: str = config.monitor
    if isinstance(task, WatchTimeLabel | WatchShareLabel):
        if metric == "AUC":
            raise ConfigError(f"monitor=AUC needs labels 0 and 1, and {task.name} is none; set monitor=LogLoss")
        metric = WATCH_LOSS if isinstance(task, WatchTimeLabel) else metric
    return (_named(metric, task.name) if len(tasks) > 1 else metric), metric != "AUC"


def valid_rows(meta: RunMeta, metrics: dict[str, float], label: AnyLabel, rows: dict[str, int]) -> list[MetricRow]:
    """Metric rows of a validation, a protocol a label.

    :param rows: valid rows of each label.
    """
    found = []
    for told, value in metrics.items():
        metric, _, task = told.partition("_") if isinstance(label, JointLabel) else (told, "", label.name)
        row = MetricRow(
            task="ctr", split="valid", protocol=task, model=meta.model, seed=meta.seed, metric=metric, value=value,
            n=rows[task],
        )  # fmt: skip
        found.append(row)
    return found


def _named(metric: str, task: str) -> str:
    return f"{metric}_{task}"


def _of_label(
    label: SingleLabel,
    logits: npt.NDArray[np.float64],
    labels: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
) -> dict[str, float]:
    answers = label.answers(logits)
    if isinstance(label, WatchTimeLabel):
        error = answers - labels
        return {
            WATCH_LOSS: _watch_loss(label, logits, labels),
            "MAE": float(np.abs(error).mean()),
            "RMSE": float(np.sqrt((error**2).mean())),
        }
    if isinstance(label, RateLabel | WatchShareLabel):
        return {"LogLoss": mean_cross_entropy(labels, answers, weights)}
    return {"LogLoss": log_loss(labels, answers), "AUC": auc(labels, answers)}


def _watch_loss(label: WatchTimeLabel, logits: npt.NDArray[np.float64], labels: npt.NDArray[np.float32]) -> float:
    over_mean = labels.astype(np.float64) / label.mean
    return float(((1 + over_mean) * np.logaddexp(0, logits) - over_mean * logits).mean())
