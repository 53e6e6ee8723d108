"""Protocol `live`: Kendall's tau in three named groupings at thresholds on the true rate, Spearman, calibration.

A prediction that is constant where the truth is not orders nothing: its tau there counts as 0, so that every model is
measured on the same rooms and windows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segrec.highlight_evaluation.sums import Key, Measured, PairStatistic, Ratio
from segrec.highlight_evaluation.task import BoolArray, Cohort, FloatArray, HighlightTask
from segrec.metrics.kendall import KendallCounts, kendall_counts, kendall_windows, tau_influence
from segrec.metrics.rank_correlation import spearman
from segrec.segments.rooms import IntArray

PROTOCOL = "live"
THRESHOLDS = (0.0, 0.2, 0.4, 0.6)
"Only segments whose TRUE observed rate lies above count; 0 = all of them (KuaiHL's Delta)."


def live_measures(predicted: FloatArray, task: HighlightTask, cohort: Cohort, *, is_rate: bool) -> Measured:
    """All metrics of predictions (N,) on a cohort.

    :param is_rate: the predictions are rates, so that calibration says something.
    """
    counted = task.counted & cohort.rows(task.tested.room)
    found: dict[Key, Ratio | PairStatistic] = {}
    for threshold in THRESHOLDS:
        kept = counted & (task.truth > threshold) if threshold else counted
        suffix = f"@{threshold:g}" if threshold else ""
        found[PROTOCOL, f"tau_global{suffix}"] = _tau_global(predicted, task, kept)
        found[PROTOCOL, f"tau_room{suffix}"] = _tau_room(predicted, task, kept)
        found[PROTOCOL, f"tau_window{suffix}"] = _tau_window(predicted, task, kept)
    found[PROTOCOL, "spearman"] = _spearman(predicted, task, counted)
    if is_rate:
        found[PROTOCOL, "calibration_ratio"] = _calibration(predicted, task, counted, np.ones(len(predicted)))
        if not np.isnan(task.trials[counted]).any():
            found[PROTOCOL, "calibration_ratio_trials"] = _calibration(predicted, task, counted, task.trials)
    return found


def _tau_global(predicted: FloatArray, task: HighlightTask, kept: BoolArray) -> PairStatistic:
    """Over the last segments of all full windows, pooled."""
    rows = np.flatnonzero(kept & task.window_end)
    truth = task.truth[rows]
    if len(np.unique(truth)) > 1 and len(np.unique(predicted[rows])) == 1:
        return PairStatistic(0.0, np.zeros(task.room_count), len(rows))
    value, influence = tau_influence(predicted[rows], truth)
    return PairStatistic(value, _by_room(task, task.tested.room[rows], influence.numpy()), len(rows))


def _tau_room(predicted: FloatArray, task: HighlightTask, kept: BoolArray) -> Ratio:
    """Mean over the rooms whose truth is not constant."""
    sizes = np.bincount(task.tested.room[kept], minlength=task.room_count)
    counts = kendall_counts(predicted[kept], task.truth[kept], np.append(0, sizes.cumsum()))
    tau, varies = _orders(counts)
    return Ratio(tau, varies.astype(np.float64), int(sizes[varies].sum()))


def _tau_window(predicted: FloatArray, task: HighlightTask, kept: BoolArray) -> Ratio:
    """Mean over all full windows whose truth is not constant."""
    counts, last = kendall_windows(predicted, task.truth, task.tested.run_offsets, task.window, kept)
    tau, varies = _orders(counts)
    room = task.tested.room[last.numpy()]
    return Ratio(_by_room(task, room, tau), _by_room(task, room, varies), int(varies.sum()))


def _spearman(predicted: FloatArray, task: HighlightTask, kept: BoolArray) -> Ratio:
    sizes = np.bincount(task.tested.room[kept], minlength=task.room_count)
    offsets = np.append(0, sizes.cumsum())
    _, varies = _orders(kendall_counts(task.truth[kept], task.truth[kept], offsets))
    found = spearman(predicted[kept], task.truth[kept], offsets)
    return Ratio(_numbers(found) * varies, varies.astype(np.float64), int(sizes[varies].sum()))


def _calibration(predicted: FloatArray, task: HighlightTask, kept: BoolArray, weights: FloatArray) -> Ratio:
    """Mean prediction over mean truth, both pooled over all segments first."""
    room, weight = task.tested.room[kept], weights[kept]
    above, below = (_by_room(task, room, weight * column[kept]) for column in (predicted, task.truth))
    return Ratio(above, below, int(kept.sum()))


def _by_room(task: HighlightTask, room: IntArray, values: npt.NDArray[np.generic]) -> FloatArray:
    return np.bincount(room, values.astype(np.float64), minlength=task.room_count).astype(np.float64)


def _orders(counts: KendallCounts) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """tau of each group, 0 where undefined, and whether its truth varies."""
    varies = counts.concordant + counts.discordant + counts.tied_predictions > 0
    return _numbers(counts.tau), varies.numpy()


def _numbers(values: Tensor) -> FloatArray:
    found: FloatArray = torch.nan_to_num(values, nan=0.0).numpy()
    return found
