"""Settings that every ranker has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from ranking.features import FeatureConfig
from ranking.rankers.multi_task import TasksConfig
from ranking.rankers.table_settings import TableOverride
from ranking.rows.data_config import DataConfig
from ranking.warm_start_config import WarmStartConfig
from segrec.fitting import FitConfig
from segrec.records import Config, ConfigError
from segrec.tables.sharding import ShardingConfig
from segrec.tables.specs import TableOptimizer, TableSpec, TableType

DENSE_BUCKETS = 10
HISTORY_LENGTH = 50
Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


class ScoresConfig(Config):
    """What becomes of the per-segment scores that `--scores` gives."""

    use: Literal["features", "weights", "both", "none"] = "features"
    "Dense features, weights of per-segment logits (SegRec), both, or left aside."
    weighting: Literal["segrec", "segsum", "segadjust", "video"] = "segrec"
    "segrec: softmax of the scores; segsum: all 1; segadjust: one trained weight a position; video: no segments."
    enter: Literal["head", "input"] = "head"
    "Where a segment's position meets the row: at the last layer (cost of one row), or at the input (of N rows)."
    temperature: PositiveFloat = 1.0
    "Scores are divided by it before the softmax."
    position_width: PositiveInt = 8
    live_window: PositiveInt = 20
    "Live scores: an impression gets those of so many newest segments of its room, of those that have ended."
    max_segments: PositiveInt = 40
    "Later segments are left out of the weighting."


class RankerConfig(FitConfig):
    """A ranker's settings; each ranker adds its own."""

    batch_size: PositiveInt = 512
    "Rows of one step, over all processes together; larger ones train large logs faster."
    features: FeatureConfig = FeatureConfig()
    scores: ScoresConfig = ScoresConfig()
    data: DataConfig = DataConfig()
    tasks: TasksConfig = TasksConfig()
    warm_start: WarmStartConfig = WarmStartConfig()
    embedding_dim: Annotated[int, Field(gt=0, multiple_of=4)] = 16
    table_learning_rate: PositiveFloat = 0.05
    table_optimizer: TableOptimizer = "rowwise_adagrad"
    table_eps: PositiveFloat = 1e-8
    table_weight_decay: NonNegativeFloat = 0.0
    table_init_std: NonNegativeFloat = 0.01
    table_dtype: TableType = "fp32"
    tables: dict[str, TableOverride] = {}
    "Tables that differ from the others, by feature: hashed or managed ids, width, type, optimizer, place."
    sharding: ShardingConfig = ShardingConfig()
    weight_decay: NonNegativeFloat = 0.0
    "Of the dense part (AdamW)."
    monitor: Literal["LogLoss", "AUC"] = "LogLoss"
    "The valid metric that decides which weights are kept; rates of segments have LogLoss only."
    weight_by_trials: bool = True
    "Rows that are segments: a row weighs as much as it has trials (binomial likelihood); papers weigh all alike."
    allow_leak: bool = False
    "Rows that are segments: gives the predicted segment's own counts as inputs, as the papers do; marked +leak."

    def feature_config(self) -> FeatureConfig:
        """`features`, with what this ranker needs where they leave the choice to it."""
        return self.features

    def named_features(self) -> dict[str, tuple[str, ...]]:
        """Ids and bags that this ranker's own settings name, by setting."""
        return {}

    def check_features(self, found: Sequence[str]) -> None:
        """:raises ConfigError: a setting names an id or bag that is not among those found."""
        for setting, names in self.named_features().items():
            for name in names:
                if name not in found:
                    raise ConfigError(f"{setting}: {name!r} is no id or bag of this ranker (found: {', '.join(found)})")

    def table_template(self) -> TableSpec:
        """Settings of every table; name, rows and feature follow."""
        return TableSpec(
            name="template",
            rows=1,
            dim=self.embedding_dim,
            features=("template",),
            pooling="mean",
            init_std=self.table_init_std,
            dtype=self.table_dtype,
            optimizer=self.table_optimizer,
            learning_rate=self.table_learning_rate,
            eps=self.table_eps,
            weight_decay=self.table_weight_decay,
        )


def bucketed(features: FeatureConfig) -> FeatureConfig:
    """With dense columns as ids of DENSE_BUCKETS buckets too, unless `dense_buckets` says otherwise."""
    chosen = features.dense_buckets
    return features.model_copy(update={"dense_buckets": DENSE_BUCKETS if chosen is None else chosen})


def with_history(features: FeatureConfig, length: int = HISTORY_LENGTH) -> FeatureConfig:
    """With histories of `length` events, unless `history.length` says otherwise."""
    chosen = features.history.length
    history = features.history.model_copy(update={"length": length if chosen is None else chosen})
    return features.model_copy(update={"history": history})
