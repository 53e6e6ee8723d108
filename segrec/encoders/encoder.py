"""What an encoder is to the rest: fitted on a dataset, frozen, thawed, asked for predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from torch import Tensor

from segrec.encoders.prediction import SkipPrediction
from segrec.fitting import FitConfig, FitResult
from segrec.freezing import FrozenEncoder
from segrec.records import DataError, DatasetFolder
from segrec.segments.history import HistoryLog
from segrec.segments.rooms import Rooms
from segrec.segments.views import skip_views_of


@dataclass(frozen=True)
class Withheld:
    """Training rows that a fit must not see at all, neither as rows nor as somebody's past: from_ms <= time < to_ms."""

    from_ms: int
    to_ms: int

    def kept(self) -> pl.Expr:
        """True for the rows that may be seen."""
        hidden = (pl.col("split") == "train") & pl.col("time_ms").is_between(self.from_ms, self.to_ms, closed="left")
        return ~hidden


@dataclass(frozen=True)
class Parts:
    """What an encoder is made of when frozen."""

    tensors: Mapping[str, Tensor]
    frames: Mapping[str, pl.DataFrame]
    extra: Mapping[str, Any]


class Encoder(ABC):
    """A fitted encoder: `SkipEncoder` for views of videos, `LiveEncoder` for segments of live rooms."""

    Config: ClassVar[type[FitConfig]]
    task: ClassVar[Literal["skip", "highlight"]]

    @classmethod
    def notes(cls, config: Any, dataset: DatasetFolder) -> list[str]:
        """What a user should know about this config on this dataset."""
        del config, dataset
        return []

    @classmethod
    @abstractmethod
    def fit(
        cls, config: Any, dataset: DatasetFolder, folder: Path, withheld: Withheld | None = None
    ) -> tuple[Self, FitResult]:
        """Fits on the train rows, early stopping on the valid rows; checkpoints and events go into `folder`."""

    @classmethod
    @abstractmethod
    def thaw(cls, frozen: FrozenEncoder) -> Self:
        """From what `parts` gave, frozen."""

    @abstractmethod
    def parts(self) -> Parts:
        """What to freeze."""

    @classmethod
    @abstractmethod
    def trained_until(cls, dataset: DatasetFolder) -> int:
        """Newest time_ms that a fit on `dataset` can have learned from.

        :raises DataError: there is nothing to train on.
        """

    @classmethod
    @abstractmethod
    def measured(cls, dataset: DatasetFolder, metric: str) -> tuple[str, int]:
        """Protocol of a validation metric, and how many valid rows it stands on."""


class SkipEncoder(Encoder):
    """Scores the segments of a video for a view, from what is known before it."""

    task: ClassVar[Literal["skip", "highlight"]] = "skip"
    calibrated: bool
    "True: predicts exit distributions; False: only an order of segments."
    past_columns: Sequence[str] = ()
    "Interaction columns of past views that predictions look at, beside PAST_COLUMNS."
    past_views: int
    "How many past views of a user can matter to a prediction."

    @classmethod
    def trained_until(cls, dataset: DatasetFolder) -> int:
        """Newest time_ms of the train impressions."""
        newest = dataset.interactions(["train"]).select(pl.col("time_ms").max()).collect().item()
        if newest is None:
            raise DataError(dataset.path, "has no train row", fix="read it again with another split")
        return int(newest)

    @classmethod
    def measured(cls, dataset: DatasetFolder, metric: str) -> tuple[str, int]:
        """NLL on all valid views, NDCG on those that ended before the end."""
        valid = skip_views_of(dataset, ["valid"])
        if metric.startswith("NDCG"):
            return "masked_skip", valid.filter(pl.col("exit_segment") < pl.col("n_segments")).height
        return ("exit" if metric == "NLL" else "fit"), valid.height

    @abstractmethod
    def surroundings(self, dataset: DatasetFolder) -> Any:
        """What of the dataset, beside its impressions, predictions need; read once."""

    @abstractmethod
    def predict(self, views: pl.DataFrame, log: HistoryLog, surroundings: Any) -> SkipPrediction:
        """One row a view, in the order of `views`; `log` may hold the views themselves and later ones."""


class LiveEncoder(Encoder):
    """Scores each segment of a live room from that segment and those before it, never from later ones."""

    task: ClassVar[Literal["skip", "highlight"]] = "highlight"
    target: str
    "The rate that scores stand for: lvtr or ctr."
    label_shift: int
    "0: the rate of the segment itself; 1: of the next one (which is not over yet)."

    @classmethod
    def trained_until(cls, dataset: DatasetFolder) -> int:
        """Newest end_ms of the train segments, not later than the valid rooms' first day."""
        rooms = Rooms.of(dataset, ["train"])
        newest = int(rooms.end_ms.max())
        valid_from = dataset.meta.split.valid_from_ms
        return newest if valid_from is None else min(newest, valid_from - 1)

    @classmethod
    def measured(cls, dataset: DatasetFolder, metric: str) -> tuple[str, int]:
        """On all valid segments."""
        del metric
        return "fit", len(Rooms.of(dataset, ["valid"]).end_ms)

    @abstractmethod
    def predict(self, rooms: Rooms, dataset: DatasetFolder) -> npt.NDArray[np.float32]:
        """(T,) finite scores, one a segment of `rooms`; a later segment never changes an earlier one's score.

        :raises DataError: `dataset` lacks the segment vectors that it was fitted on.
        """
