"""Gradient-boosted discrete-time hazard (LightGBM): the strong plain baseline that an encoder has to meet.

One training row for each segment that a view reached; the label says whether it ended there. Inputs: context and side
features, position, remaining segments, and exit statistics of user, item and author, out of fold on the training rows.
The trees start from the logit of the (length, position) hazard. Rounds are chosen by early stopping on valid.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, PositiveFloat, PositiveInt

from segrec.encoders.exit_statistics import SEGMENT_NAMES, VIEW_NAMES, ExitStatistics, StatisticFeatures, out_of_fold
from segrec.encoders.exit_table import IntArray, Outcomes
from segrec.encoders.prediction import ExitPrediction, concatenate
from segrec.encoders.priors import lengths_of
from segrec.encoders.side_columns import SideColumns
from segrec.records import Config, ConfigError, DatasetFolder

Matrix = npt.NDArray[np.float32]

PLACE_NAMES = ("position", "remaining", "length")

_VIEWS_AT_ONCE = 20_000


class BoostedHazardConfig(Config):
    """Settings; the defaults were chosen on validation days of KuaiRand-Pure, where results hardly depend on them."""

    rounds: PositiveInt = 3000
    "At most; early stopping decides."
    rounds_without_valid: PositiveInt = 300
    patience: PositiveInt = 100
    "Rounds without a better valid loss before it stops."
    learning_rate: PositiveFloat = 0.03
    leaves: int = Field(default=31, ge=2)
    min_rows_a_leaf: PositiveInt = 100
    feature_share: float = Field(default=0.5, gt=0, le=1)
    row_share: float = Field(default=0.8, gt=0, le=1)
    l2: float = Field(default=10.0, ge=0)
    folds: int = Field(default=5, ge=2)
    "Blocks of time for the training rows' own statistics."
    max_views: PositiveInt = 500_000
    "Newest training views that the trees see; statistics are counted on all."
    seed: int = 1
    threads: int = Field(default=0, ge=0)
    "0 = all cores."


@dataclass(frozen=True)
class BoostedHazard:
    """Fitted trees with what their inputs are made of."""

    name: ClassVar[str] = "lightgbm_hazard"
    booster: Any
    statistics: ExitStatistics
    side: SideColumns

    @classmethod
    def fit(
        cls, train: pl.DataFrame, valid: pl.DataFrame, dataset: DatasetFolder, config: BoostedHazardConfig | None = None
    ) -> Self:
        """From views in time order; `dataset` gives the side tables and says which columns are context.

        :raises ConfigError: LightGBM is not installed, or there are fewer views than folds.
        """
        settings = config or BoostedHazardConfig()
        lightgbm = _lightgbm()
        side, statistics = SideColumns.fit(train, dataset), ExitStatistics.fit(train)
        newest = np.arange(train.height)[-settings.max_views :]
        features = _rows(out_of_fold(train, settings.folds), newest)
        fitted = _training_set(lightgbm, train[newest], features, side)
        stops, watched, rounds = [], [], settings.rounds_without_valid
        if valid.height:
            watched = [_training_set(lightgbm, valid, statistics.features(valid), side, fitted)]
            stops, rounds = [lightgbm.early_stopping(settings.patience, verbose=False)], settings.rounds
        booster = lightgbm.train(_parameters(settings), fitted, rounds, valid_sets=watched, callbacks=stops)
        return cls(booster, statistics, side)

    def predict(self, views: pl.DataFrame) -> ExitPrediction:
        """One row a view, in the order of `views`."""
        starts = range(0, max(views.height, 1), _VIEWS_AT_ONCE)
        return concatenate([self._predict(views[start : start + _VIEWS_AT_ONCE]) for start in starts])

    def importance(self) -> pl.DataFrame:
        """Columns by their share of the trees' gain, largest first."""
        gain = self.booster.feature_importance("gain").astype(np.float64)
        names = [*self.side.names, *VIEW_NAMES, *PLACE_NAMES, *SEGMENT_NAMES]
        return pl.DataFrame({"column": names, "gain": gain / max(gain.sum(), 1e-12)}).sort("gain", descending=True)

    def _predict(self, views: pl.DataFrame) -> ExitPrediction:
        lengths = lengths_of(views)
        rows, places = _segments(lengths)
        matrix, offset = _matrix(views, self.statistics.features(views), self.side, rows, places)
        logits = np.zeros((len(lengths), int(lengths.max(initial=1))))
        if len(rows):
            logits[rows, places] = self.booster.predict(matrix, raw_score=True) + offset
        return ExitPrediction.from_logits(logits, lengths)


def _training_set(
    lightgbm: ModuleType,
    views: pl.DataFrame,
    features: StatisticFeatures,
    side: SideColumns,
    reference: Any = None,
) -> Any:
    outcomes = Outcomes.of(views)
    rows, places = _segments(outcomes.last + 1)
    matrix, offset = _matrix(views, features, side, rows, places)
    ended = places == outcomes.exits[rows]
    return lightgbm.Dataset(matrix, ended, init_score=offset, reference=reference)


def _matrix(
    views: pl.DataFrame, features: StatisticFeatures, side: SideColumns, rows: IntArray, places: IntArray
) -> tuple[Matrix, npt.NDArray[np.float64]]:
    """Inputs (T, F) of the segments `places` of the views `rows`, and the logits (T,) that the trees start from."""
    lengths = lengths_of(views)[rows]
    whole = np.concatenate([side.numbers(views), features.view], axis=1)
    there = np.stack([places, lengths - places, lengths], axis=1).astype(np.float32)
    here = features.segment[rows, places]
    return np.concatenate([whole[rows], there, here], axis=1), here[:, 0].astype(np.float64)


def _segments(counts: IntArray) -> tuple[IntArray, IntArray]:
    """(row, segment) of segments 0 .. counts[row] - 1 of each row."""
    rows = np.repeat(np.arange(len(counts)), counts)
    return rows, np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)


def _rows(features: StatisticFeatures, chosen: IntArray) -> StatisticFeatures:
    return StatisticFeatures(features.view[chosen], features.segment[chosen])


def _parameters(config: BoostedHazardConfig) -> dict[str, Any]:
    return {
        "objective": "binary",
        "learning_rate": config.learning_rate,
        "num_leaves": config.leaves,
        "min_data_in_leaf": config.min_rows_a_leaf,
        "feature_fraction": config.feature_share,
        "bagging_fraction": config.row_share,
        "bagging_freq": 1,
        "lambda_l2": config.l2,
        "seed": config.seed,
        "num_threads": config.threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def _lightgbm() -> ModuleType:
    try:
        import lightgbm
    except ImportError:
        raise ConfigError("lightgbm_hazard needs LightGBM, which is not installed; pip install lightgbm") from None
    except OSError as error:
        raise ConfigError(f"lightgbm_hazard: LightGBM does not load ({error}); install its libgomp") from None
    module: ModuleType = lightgbm
    return module
