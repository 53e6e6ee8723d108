"""Whether an exported ranker answers as the run does: the largest difference, and what its rounding costs in AUC."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ranking.batching import RankingBatch
from segrec.metrics.auc import auc

FloatArray = npt.NDArray[np.float64]
Logits = Callable[[RankingBatch], Tensor]
TOLERANCE = {"none": 1e-5, "int8": 1e-3}
"Of a probability with plain tables; of AUC with int8 ones."
HALF_TOLERANCE = 1e-3
"Of a probability with fp16 tables: a run rounds pooled bags to fp16, an export pools in fp32."


@dataclass(frozen=True)
class Parity:
    """parity.json."""

    rows: int
    checked_on: str
    "Rows of which dataset, or rows made from the feature spec."
    labels: dict[str, Literal["logged", "drawn"]]
    "By output; drawn: each from the run's own probability, where rows do not have labels of both 0 and 1."
    quantise: str
    largest_difference: float
    "Of a probability, over all rows and outputs."
    largest_logit_difference: float
    auc_loss: dict[str, float]
    "AUC of the run minus that of the export, by output."
    tolerance: float

    @property
    def measured(self) -> float:
        """What `tolerance` bounds: the loss of AUC of int8 tables, else the largest difference."""
        return max(self.auc_loss.values(), default=0.0) if self.quantise == "int8" else self.largest_difference

    @property
    def holds(self) -> bool:
        """Whether the export answers as the run does; never where an answer is NaN."""
        return bool(np.isfinite(self.largest_difference) and self.measured <= self.tolerance)

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {**asdict(self), "holds": self.holds}


@torch.inference_mode()
def measured_parity(
    run: Logits,
    exported: Logits,
    batches: Iterable[RankingBatch],
    besides: Iterable[RankingBatch],
    *,
    outputs: tuple[str, ...],
    checked_on: str,
    quantise: Literal["none", "int8"],
    tolerance: float | None = None,
) -> Parity:
    """Both on the same batches.

    :param besides: compared too, but not in AUC: batches of odd sizes.
    :param tolerance: None = `TOLERANCE`.
    """
    asked = list(batches)
    first, second = (_answers(logits, asked) for logits in (run, exported))
    known = torch.cat([batch.labels.reshape(-1, len(outputs)) for batch in asked]).numpy()
    odd = list(besides)
    all_first, all_second = (
        np.concatenate([part, _answers(logits, odd)]) for part, logits in ((first, run), (second, exported))
    )
    one, two = _sigmoid(all_first), _sigmoid(all_second)
    drawn = (np.random.default_rng(0).random(first.shape) < _sigmoid(first)).astype(np.float32)
    logged = _logged(known) if len(known) == len(first) else np.zeros(len(outputs), dtype=bool)
    truth = np.where(logged, known, drawn) if logged.any() else drawn
    return Parity(
        rows=len(all_first),
        checked_on=checked_on,
        labels={name: "logged" if there else "drawn" for name, there in zip(outputs, logged, strict=True)},
        quantise=quantise,
        largest_difference=float(np.abs(one - two).max(initial=0.0)),
        largest_logit_difference=float(np.abs(all_first - all_second).max(initial=0.0)),
        auc_loss=_auc_loss(outputs, truth, first, second),
        tolerance=TOLERANCE[quantise] if tolerance is None else tolerance,
    )


def _answers(logits: Logits, batches: Iterable[RankingBatch]) -> FloatArray:
    """(n, K)"""
    answers: FloatArray = torch.cat([logits(batch).double().reshape(batch.rows, -1).cpu() for batch in batches]).numpy()
    return answers


def _logged(labels: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """(K,) whether the known labels (n, K) of an output are 0 and 1, and both occur."""
    binary = (np.isnan(labels) | (labels == 0) | (labels == 1)).all(axis=0)
    return np.asarray(binary & (labels == 0).any(axis=0) & (labels == 1).any(axis=0))


def _auc_loss(
    outputs: tuple[str, ...], labels: npt.NDArray[np.float32], run: FloatArray, exported: FloatArray
) -> dict[str, float]:
    """By output; one whose rows have one label only, drawn ones too, has no AUC and is left out."""
    lost = {}
    for place, name in enumerate(outputs):
        known = ~np.isnan(labels[:, place]) & ~np.isnan(exported[:, place])
        if 0 < labels[known, place].sum() < known.sum():
            before, after = (auc(labels[known, place], logits[known, place]) for logits in (run, exported))
            lost[name] = before - after
    return lost


def _sigmoid(logits: FloatArray) -> FloatArray:
    probabilities: FloatArray = torch.sigmoid(torch.from_numpy(logits)).numpy()
    return probabilities
