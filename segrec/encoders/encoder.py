"""What an encoder is to the rest: fitted on a dataset, frozen, thawed, asked for predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl
from torch import Tensor

from segrec.encoders.prediction import SkipPrediction
from segrec.fitting import FitConfig, FitResult
from segrec.freezing import FrozenEncoder
from segrec.records import DatasetFolder
from segrec.segments.history import HistoryLog


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
    """A fitted encoder of segments."""

    Config: ClassVar[type[FitConfig]]
    calibrated: bool
    "True: predicts exit distributions; False: only an order of segments."
    past_columns: Sequence[str] = ()
    "Interaction columns of past views that predictions look at, beside PAST_COLUMNS."
    past_views: int
    "How many past views of a user can matter to a prediction."

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

    @abstractmethod
    def surroundings(self, dataset: DatasetFolder) -> Any:
        """What of the dataset, beside its impressions, predictions need; read once."""

    @abstractmethod
    def predict(self, views: pl.DataFrame, log: HistoryLog, surroundings: Any) -> SkipPrediction:
        """One row a view, in the order of `views`; `log` may hold the views themselves and later ones."""
