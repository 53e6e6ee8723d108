"""What each metric is, in a sentence, and which way is better."""

from __future__ import annotations

import math
from typing import Literal

from segrec.records import MetricRow

Better = Literal["lower", "higher", "one", "neither"]
Verdict = Literal["better", "worse", "undecided", "no interval"]

_LOWER = {"NLL", "LogLoss", "NE", "ECE", "WatchLoss", "MAE", "RMSE"}
_COUNTS = {"gauc_groups"}
ORACLE_SHARE = "oracle_share_"
"Start of the metrics that say how much of the oracle's lift over the (length, position) prior is reached."
EXIT_SHARE = "exit_share@"
"Start of the points of a curve: the share of views that end in a segment."

_MEANING = {
    "NLL": "negative log-likelihood of where the view ended, nats a view",
    "HR@": "share of skips whose segment is among the K lowest scores",
    "NDCG@": "1 / log2(rank + 1) of the skipped segment, 0 beyond K",
    "AUC": "chance that a positive row is scored above a negative one, ties half (exit: an exit in the first segment)",
    "gauc_": "AUC inside each user, averaged over users (weighted as named)",
    "gauc_groups": "users with both labels, over whom the grouped AUCs are taken",
    "ECE": "mean distance between predicted and observed share over bins of predictions",
    ORACLE_SHARE: "(model - prior) / (oracle - prior), prior = (length, position)",
    "LogLoss": "negative log-likelihood of the label, nats a row",
    "F1": "harmonic mean of precision and recall at threshold 0.5",
    "NE": "LogLoss over that of always saying the mean rate",
    "calibration_ratio": "sum of predictions over sum of labels",
    "tau_room": "Kendall's tau-b inside each room, mean over rooms whose truth varies; @x: segments above rate x",
    "tau_window": "Kendall's tau-b inside each window of segments, mean over windows",
    "tau_global": "Kendall's tau-b over the last segments of all full windows, pooled",
    "kendall_pairs": "tau-b between differences of scores and of truths, over pairs whose truths differ by more",
    "spearman": "Spearman's rank correlation inside each room, mean over rooms",
    "mAP": "mean over rooms of the average precision of the better segments",
    "F1@50%": "F1 of the better half of a room's segments",
    "calibration_ratio_trials": "the same with segments weighted by their trials",
    "concordance": "share of pairs of views whose watch times are ordered rightly",
    "concordance_user": "the same inside each user, averaged with the user's rows as weight",
    "spearman_rows": "Spearman's rank correlation over all rows",
    "MAE": "mean distance between prediction and truth, seconds of a watch time",
    "RMSE": "root of the mean squared distance, seconds of a watch time",
    "WatchLoss": "weighted logistic loss of a watch time, a row",
}
_ORDER = [
    "NLL", "NDCG@5", "HR@1", "HR@5", "NDCG@1", "NDCG@10", "HR@10", "AUC", "concordance", "concordance_user",
    "spearman_rows", "MAE", "RMSE", "WatchLoss", "ECE",
    "tau_room", "tau_window", "tau_global", "spearman", "mAP", "F1@50%",
    "gauc_impression", "LogLoss", "NE", "calibration_ratio", "gauc_mean", "gauc_positive", "F1", "gauc_groups",
]  # fmt: skip


def better(metric: str) -> Better:
    """Which way a metric improves; a validation of several labels calls it METRIC_LABEL."""
    if metric.startswith("calibration_ratio"):
        return "one"
    if metric in _COUNTS:
        return "neither"
    return "lower" if metric.partition("_")[0] in _LOWER else "higher"


def meaning(metric: str) -> str | None:
    """One sentence, or None for a metric that this page does not know."""
    found = [start for start in _MEANING if metric.startswith(start)]
    return _MEANING[max(found, key=len)] if found else None


def in_order(metrics: set[str]) -> list[str]:
    """Proper scores and headline metrics first, unknown ones last by name."""
    return sorted(metrics, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


def verdict(row: MetricRow) -> Verdict:
    """What a paired difference decides: only an interval wholly on one side of zero decides."""
    if row.low is None or row.high is None or math.isnan(row.low) or math.isnan(row.high):
        return "no interval"
    if row.low <= 0 <= row.high or better(row.metric) in ("one", "neither"):
        return "undecided"
    return "better" if (row.high < 0) == (better(row.metric) == "lower") else "worse"
