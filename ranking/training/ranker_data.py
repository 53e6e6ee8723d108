"""What a ranker's run fits on train before its first step: features, label, lagged rates, the scaling of scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ranking.encoding.feature_encoding import FittedFeatures, RowEncoder
from ranking.features import FeatureConfig, build_spec
from ranking.rankers.config import RankerConfig, ScoresConfig
from ranking.rankers.table_settings import with_codings
from ranking.rows.impressions import ImpressionSource, ScoreUse, fit_score_scaling
from ranking.rows.stream import RankingStream
from ranking.score_lookup import ScoreLookup
from ranking.targets.labels import AnyLabel, RateLabel, StoredLabel, tasks_of
from ranking.targets.task_rates import AnyRates, fit_rates, load_rates
from ranking.training.model import needs_scores, weighted
from segrec.records import DataError, DatasetFolder, ScoreTable, Split
from segrec.tables import rank, world_size

LABEL_RATES = "label_rates.safetensors"
RATED_ROWS = 100
"Ids whose tables have more rows get rates; the model sees enough of the others."


@dataclass(frozen=True)
class RankerData:
    """What a run fits on train before its first step, stored in the run folder."""

    features: FittedFeatures
    label: AnyLabel
    rates: AnyRates | None
    scores: ScoreUse | None

    @classmethod
    def fit(cls, dataset: DatasetFolder, label: AnyLabel, config: RankerConfig, table: ScoreTable | None) -> RankerData:
        """Fits features, label rates and the scaling of score features on train."""
        spec = with_codings(build_spec(dataset, config.feature_config()), config.tables)
        config.check_features([feature.name for feature in spec.coded])
        features = FittedFeatures.fit(dataset, spec)
        encoder, scores = RowEncoder(features, dataset), score_use(config.scores, table)
        if scores is not None:
            train = ImpressionSource(dataset, encoder, ["train"], scores=scores)
            scores = replace(scores, scaling=fit_score_scaling(train))
        rates = fit_label_rates(dataset, encoder, label, config.features)
        return cls(features, label, rates, scores)

    def saved(self, folder: Path) -> RankerData:
        """Itself, after `save`."""
        self.save(folder)
        return self

    def save(self, folder: Path) -> None:
        """Writes features/, label.yaml and score_scaling.json."""
        self.features.save(folder / "features")
        (folder / "label.yaml").write_text(StoredLabel(label=self.label).to_yaml(), encoding="utf-8")
        if self.rates is not None:
            self.rates.save(folder / LABEL_RATES)
        if self.scores is not None:
            (folder / "score_scaling.json").write_text(json.dumps(self.scores.scaling) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, config: RankerConfig, table: ScoreTable | None) -> RankerData:
        """What `save` wrote, with the scores of `table`.

        :raises DataError: a file is missing or damaged.
        """
        scores = score_use(config.scores, table)
        if scores is not None:
            scaling = json.loads((folder / "score_scaling.json").read_text(encoding="utf-8"))
            scores = replace(scores, scaling=tuple((mean, deviation) for mean, deviation in scaling))
        label = StoredLabel.load(folder / "label.yaml")
        rates = load_rates(folder / LABEL_RATES, label) if config.features.label_rates else None
        return cls(FittedFeatures.load(folder / "features"), label, rates, scores)

    def rows_of(self, dataset: DatasetFolder, split: Split) -> dict[str, int]:
        """Rows of the split that have each of the labels.

        :raises DataError: none has one of them.
        """
        counts = [task.known().sum().alias(task.name) for task in tasks_of(self.label)]
        rows = dataset.interactions([split]).select(counts).collect(engine="streaming").row(0, named=True)
        empty = next((name for name, count in rows.items() if not count), None)
        if empty is not None:
            raise DataError(dataset.path, f"has no {split} row with label {empty}", fix="choose another --label")
        return rows

    def stream(
        self, dataset: DatasetFolder, splits: Sequence[Split], config: RankerConfig, *, labelled: bool = True
    ) -> RankingStream:
        """Batches of the rows of `splits` that have the label; of all their rows where `labelled` is False."""
        source = ImpressionSource(
            dataset,
            RowEncoder(self.features, dataset),
            splits,
            label=self.label if labelled else None,
            rates=self.rates,
            scores=self.scores,
            with_segments=weighted(config.scores),
            piece_rows=config.data.piece_rows,
            at_least=2 * config.data.lanes,
        )
        return RankingStream(
            source,
            batch_size=config.batch_size,
            seed=config.seed,
            max_segments=config.scores.max_segments,
            data=config.data,
            rank=rank(),
            world_size=world_size(),
            pin_memory=config.torch_device().type == "cuda",
        )


def fit_label_rates(
    dataset: DatasetFolder, encoder: RowEncoder, label: AnyLabel, config: FeatureConfig
) -> AnyRates | None:
    """Rates of ids with more than RATED_ROWS table rows; None where the config wants none.

    Ids that share a row by their hash share its rate; managed ids come and go, and get none. A live room lies in one
    split as a whole: for rows that are its segments, its id gets no rate.
    """
    if not config.label_rates:
        return None
    source = ImpressionSource(dataset, encoder, ["train"], label=label)
    features = [feature.name for feature in encoder.fitted.spec.ids]
    of_rooms = isinstance(label, RateLabel)
    rated = [
        feature.name
        for feature in encoder.fitted.spec.ids
        if feature.coding.ids != "managed" and not (of_rooms and feature.column == "item_id")
    ]
    sizes = {name: encoder.fitted.rows_of(name) for name in rated if encoder.fitted.rows_of(name) > RATED_ROWS}
    train = RankingStream(source, batch_size=1)
    return fit_rates(train.encoded, label, features, sizes, config.rate_strength)


def score_use(config: ScoresConfig, table: ScoreTable | None) -> ScoreUse | None:
    """How the config puts `table` to use; None where it does not."""
    if table is None or config.use == "none":
        return None
    use = ScoreUse(
        ScoreLookup.of(table, config.live_window),
        features=config.use in ("features", "both"),
        weights=needs_scores(config),
    )
    return use if use.features or use.weights else None
